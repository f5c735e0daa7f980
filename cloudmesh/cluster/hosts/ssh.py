"""One host over SSH: scripts run on it as root, locks held on it, its ports reached."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from cloudmesh.cluster.errors import HostError, HostTimeoutError
from cloudmesh.cluster.hosts import privilege, way
from cloudmesh.cluster.hosts.channel import Command
from cloudmesh.cluster.hosts.closing import Closing
from cloudmesh.cluster.hosts.link import Link, SshSettings, mapped
from cloudmesh.cluster.hosts.privilege import Privilege
from cloudmesh.cluster.hosts.script import Lines, bootstrap, pack
from cloudmesh.cluster.hosts.stream import Stream
from cloudmesh.cluster.hosts.tunnel import Tunnel
from cloudmesh.cluster.model import Host, Report

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Connection", "Held", "Result", "SshSettings", "Stream", "Tunnel", "connect"]

_HEARTBEAT = 10.0  # seconds between the dots that tell a held script that the operator is still there
_RELEASE = 5.0  # seconds that a held script gets to end
_OPEN = 15.0  # seconds to open a channel


@dataclass(frozen=True)
class Result:
    """What a script printed.

    Attributes:
        output: the lines that were not `::` lines.
        facts: the values of its `::fact` lines.
    """

    output: str
    facts: Mapping[str, str]


def connect(host: Host, settings: SshSettings) -> Connection:
    """Connect to `host`, log in and make sure of root.

    Raises:
        UnreachableError: DNS, TCP or the key exchange failed.
        HostKeyError: the host's key is unknown and not accepted, or has changed.
        AuthenticationError: no key was accepted, or sudo refused.
        HostTimeoutError: the host answered too late.
        UsageError: the SSH configuration cannot be used.
    """
    link = way.open_link(host, settings)
    try:
        with mapped(host):
            return Connection(host, link, privilege.gain(host, link, settings))
    except BaseException:
        link.close()
        raise


class Connection(Closing):
    """A host that is logged in to; may be used by several threads; a context manager, which closes it.

    Attributes:
        host: as the user wrote it.
        user: whom it is logged in as.
        contact: how it was reached, whatever the SSH configuration calls it: "user@host:port".
        host_key: its SSH host key, "TYPE BASE64".
    """

    def __init__(self, host: Host, link: Link, root: Privilege) -> None:
        self.host = host
        self.user = link.user
        self.contact = link.contact
        self.host_key = link.host_key
        self._link = link
        self._root = root

    def run(
        self,
        script: str,
        verb: str = "",
        *,
        files: Mapping[str, bytes] | None = None,
        timeout: float = 120.0,
        report: Report | None = None,
    ) -> Result:
        """Run a POSIX sh script as root, in a fresh private directory that is removed at the end; its stdin is empty.

        Args:
            script: its text.
            verb: its `$1`.
            files: content by name, put into its directory, mode 0600; names may have '/'.
            timeout: seconds for all of it. A script that takes longer is left alone: it ends at its next output.
            report: is told its `::step` and `::note` lines.

        Raises:
            HostError: it failed; the cause is its `::fail` line, else its last line on stderr.
            HostTimeoutError: it took too long.
            UnreachableError: the link was cut; how far it came is not known.
        """
        deadline = time.monotonic() + timeout
        lines = Lines(str(self.host), report)
        with self._timed(timeout, lines), self._started(script, verb, files, keep_open=False) as command:
            for line in command.lines(deadline):
                lines.feed(line)
            self._check(command, command.status(deadline), lines)
        return Result("\n".join(lines.output), lines.facts)

    def hold(
        self, script: str, verb: str = "", *, files: Mapping[str, bytes] | None = None, timeout: float = 30.0
    ) -> Held:
        """Run a script that goes on until its stdin ends, and return once it has said `::fact held yes`.

        Args:
            script: its text; gets a "." on stdin every 10 seconds for as long as the operator is there.
            verb: its `$1`.
            files: as for `run`.
            timeout: seconds until it must have said so.

        Raises:
            HostError, HostTimeoutError, UnreachableError: as for `run`.
        """
        deadline = time.monotonic() + timeout
        lines = Lines(str(self.host))
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._timed(timeout, lines))
            command = stack.enter_context(self._started(script, verb, files, keep_open=True))
            for line in command.lines(deadline):
                lines.feed(line)
                if lines.facts.get("held") == "yes":
                    stack.pop_all()  # from here on, the script is the holder's to end
                    return Held(command, lines.facts)
            self._check(command, command.status(deadline), lines)
        raise HostError(str(self.host), "the script ended without holding anything")

    @contextlib.contextmanager
    def stream(
        self, script: str, verb: str = "", *, files: Mapping[str, bytes] | None = None, silence: float = 60.0
    ) -> Iterator[Stream]:
        """Yield the stdout of a script, read as it comes: of any size, and none of it kept.

        Args:
            script: its text.
            verb: its `$1`.
            files: as for `run`.
            silence: seconds for which it may say nothing.

        Raises:
            HostError: it failed; the cause is its last line on stderr.
            HostTimeoutError: it was silent for too long.
            UnreachableError: the link was cut.
        """
        lines = Lines(str(self.host))
        with self._timed(silence, lines), self._started(script, verb, files, keep_open=False) as command:
            yield Stream(command, silence)
            self._check(command, command.status(time.monotonic() + silence), lines)

    def forward(self, address: str, port: int) -> Tunnel:
        """Return a tunnel: a local port behind which is `address`:`port` as the host reaches it."""
        with mapped(self.host):
            return Tunnel(self._link.transport, address, port)

    def remember(self) -> None:
        """Put the host, its key and how it was reached into our known_hosts file, where `list` looks for clusters.

        Raises:
            ClusterError: the file cannot be written.
        """
        self._link.remember()

    @property
    def alive(self) -> bool:
        """Whether the link stands; one that is cut without a word is noticed within half a minute."""
        return self._link.transport.is_active()

    def close(self) -> None:
        """End the connection and everything that runs through it."""
        self._link.close()

    @contextlib.contextmanager
    def _timed(self, timeout: float, lines: Lines) -> Iterator[None]:
        try:
            with mapped(self.host):
                yield
        except HostTimeoutError as error:
            during = f" (at: {lines.last_step})" if lines.last_step else ""
            raise HostTimeoutError(str(self.host), f"not done in {timeout:g} s{during}") from error

    def _started(self, script: str, verb: str, files: Mapping[str, bytes] | None, *, keep_open: bool) -> Command:
        body, archive = script.encode(), pack(files or {})
        return Command(
            self._link.transport,
            self._root.prefix + bootstrap(len(body), len(archive), verb),
            self._root.stdin + body + archive,
            keep_open=keep_open,
            timeout=_OPEN,
        )

    def _check(self, command: Command, status: int, lines: Lines) -> None:
        if status == 0 and not lines.failure:
            return
        said = command.stderr.strip().rsplit("\n", 1)[-1].strip()
        ending = "it was killed" if status == -1 else f"exit status {status}"
        raise HostError(
            str(self.host), lines.failure or (f"{said} ({ending})" if said else f"the script failed: {ending}")
        )


class Held:
    """A script that goes on for as long as this is not released and the link stands; a context manager.

    Attributes:
        facts: what it told before it held.
    """

    def __init__(self, command: Command, facts: Mapping[str, str]) -> None:
        self.facts = facts
        self._command = command
        self._released = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def alive(self) -> bool:
        """Whether the script still runs."""
        return not self._released.is_set() and not self._command.channel.status_event.is_set()

    def release(self) -> None:
        """End the script; returns when it has ended, or after 5 seconds."""
        self._released.set()
        with contextlib.suppress(OSError, EOFError):
            self._command.channel.shutdown_write()
        self._command.channel.status_event.wait(_RELEASE)
        self._command.close()

    def _beat(self) -> None:
        while not self._released.wait(_HEARTBEAT) and self.alive:
            with contextlib.suppress(OSError, EOFError):
                self._command.channel.send(b".")
