"""The arguments of one command, as typed values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.core.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from cloudmesh.cluster.cluster import Cluster
    from cloudmesh.cluster.command.console.progress import Progress
    from cloudmesh.cluster.core.context import Context, SshSettings
    from cloudmesh.cluster.core.model import Host
    from cloudmesh.cluster.providers.base import Chunk


HOSTS_VARIABLE = "CLOUDMESH_CLUSTER_HOSTS"


@dataclass(frozen=True)
class Arguments:
    """The arguments of one command, as typed values.

    Attributes:
        arguments: docopt's dictionary.
        progress: where to tell how it gets on.
    """

    arguments: Mapping[str, Any]
    progress: Progress

    @cached_property
    def name(self) -> str:
        """The cluster's name, checked; empty where none is given."""
        from cloudmesh.cluster.core import names

        name = self.arguments["--name"]
        return "" if name is None else names.check(name, "cluster name")

    @cached_property
    def job_id(self) -> str:
        """The job's id, checked; empty where none is given."""
        from cloudmesh.cluster.core import names

        name = self.arguments["--id"] if self.arguments["submit"] else self.arguments["JOBID"]
        return "" if name is None else names.check(name, "job id")

    @cached_property
    def volume(self) -> str:
        """The volume's name, checked; empty where none is given."""
        from cloudmesh.cluster.core import names

        name = self.arguments["VOLUME"]
        return "" if name is None else names.check(name, "storage name")

    def check_names(self) -> None:
        """Check every name given, and that no argument is empty, before anything else is done.

        Raises:
            UsageError: a name is malformed, or an argument is there but empty.
        """
        self.name, self.job_id, self.volume  # noqa: B018 - the properties check them
        for name, value in self.arguments.items():
            words = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            # A program may be given empty arguments.
            if name != "ARGS" and any(not word.strip() for word in words):
                raise UsageError(f"{name} is there but empty: give it a value, or leave it out")

    @cached_property
    def format(self) -> str:
        """The output format."""
        from cloudmesh.cluster.command.console import formats

        return formats.check(self.text("--output"))

    def check_format(self) -> None:
        """Refuse an unknown output format before anything is done.

        Raises:
            UsageError: there is no such format.
        """
        self.format  # noqa: B018 - the property checks it

    def text(self, option: str) -> str:
        """Return an option's value, empty where it is not given."""
        return self.arguments[option] or ""

    def flag(self, option: str) -> bool:
        """Return whether an option without a value is given."""
        return bool(self.arguments[option])

    def number(self, option: str, low: int, high: int) -> int:
        """Return an option's value as a whole number from `low` to `high`; 0 where it is not given.

        Raises:
            UsageError: it is none.
        """
        given = self.text(option)
        if given and not (given.isascii() and given.isdigit() and low <= int(given) <= high):
            raise UsageError(f"{option}={ascii(given)[1:-1]} is not valid: use a whole number from {low} to {high}")
        return int(given or 0)

    def words(self, option: str) -> tuple[str, ...]:
        """Return the words of an option or argument that takes several, with commas between them or apart."""
        value = self.arguments[option] or ()
        words = [value] if isinstance(value, str) else value
        return tuple(word.strip() for part in words for word in part.split(",") if word.strip())

    @property
    def key(self) -> str:
        """The private key's path."""
        return str(Path(self.text("--key")).expanduser()) if self.text("--key") else ""

    def hosts(self, text: str) -> tuple[Host, ...]:
        """Return the hosts that a text names, with --user, --port and --key, or else those that served before."""
        from cloudmesh.cluster.ssh import host_list, known_hosts

        if not text.strip():
            return ()
        port = self.number("--port", 1, 65535)
        return known_hosts.complete(host_list.parse_hosts(text, user=self.text("--user"), port=port, key=self.key))

    @cached_property
    def hostnames(self) -> tuple[Host, ...]:
        """The hosts named by the command's arguments."""
        return self.hosts(",".join(self.arguments["HOSTNAMES"]))

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster that the command is about."""
        from cloudmesh.cluster.cluster import Cluster

        return Cluster(self.name, self.context)

    @cached_property
    def context(self) -> Context:
        """What every operation needs to know."""
        import getpass
        import socket

        from cloudmesh.cluster.core.context import Context

        return Context(
            hosts=self.hosts(self.text("--hosts") or os.environ.get(HOSTS_VARIABLE, "")),
            settings=self._settings(),
            report=self.progress,
            interface=self.text("--interface"),
            mirror=self.text("--mirror"),
            operator=f"{getpass.getuser()}@{socket.gethostname()}",
            ca_bundle=self.text("--ca-bundle"),
            user=self.text("--user"),
            key=self.key,
            port=self.number("--port", 1, 65535),
        )

    def _settings(self) -> SshSettings:
        from cloudmesh.cluster.command.console import prompts
        from cloudmesh.cluster.core.context import SshSettings
        from cloudmesh.cluster.ssh import known_hosts

        def ask_for(what: str) -> Callable[[str], str] | None:
            """Return what asks for a secret, by a text behind `what`; None where nobody can be asked."""
            return (lambda of: prompts.ask_password(self.progress, f"{what}{of}")) if can_ask else None

        can_ask = prompts.can_ask()
        meets_hosts = self.flag("create") or self.flag("add") or self.flag("restore")
        return SshSettings(
            known_hosts=known_hosts.default_path(),
            accept_new_hostkeys=self.flag("--accept-new-hostkeys"),
            confirm=(lambda question: prompts.ask_yes_or_no(self.progress, question))
            if meets_hosts and can_ask
            else None,
            sudo_password=ask_for(""),
            passphrase=ask_for("passphrase of "),
            password=ask_for("SSH password of "),
            note=self.progress.note,
        )

    def confirm(self, question: str) -> None:
        """Ask before something that cannot be undone; where nobody can answer, or with --yes, it is taken as meant.

        Raises:
            ClusterError: the answer is no.
        """
        from cloudmesh.cluster.command.console import prompts

        if not self.flag("--yes") and prompts.can_ask() and not prompts.ask_yes_or_no(self.progress, question):
            raise ClusterError("nothing was done")

    def is_agreed(self, question: str) -> bool:
        """Ask whether to do what was not asked for; where nobody can answer, the answer is no.

        Raises:
            ClusterError: somebody says no.
        """
        from cloudmesh.cluster.command.console import prompts

        if not prompts.can_ask():
            return False
        self.confirm(question)
        return True

    def print(self, line: str) -> None:
        """Write one line of a result to stdout, beneath the progress display."""
        from cloudmesh.cluster.command.console import formats

        with self.progress.suspended():
            formats.emit(f"{line}\n")

    def write_output(self, chunk: Chunk) -> None:
        """Write a piece of a job's output to the stream it came from, as it is."""
        import sys

        stream = sys.stdout if chunk.stream == "stdout" else sys.stderr
        with self.progress.suspended():
            stream.buffer.write(chunk.data)
            stream.flush()

    def show(self, value: Any, columns: tuple[str, ...], nothing: str = "") -> None:
        """Write a result to stdout in the format asked for; `nothing` says in words that a table would be empty."""
        from cloudmesh.cluster.command.console import formats

        self.progress.stop()
        text = formats.render(value, self.format, columns)
        if not text and nothing:
            self.progress.note(nothing)
        formats.emit(text)
