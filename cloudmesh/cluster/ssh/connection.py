"""One host over SSH: scripts run on it as root, locks held on it, its ports reached, and its errors."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import HostError, HostTimeoutError, UnreachableError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.ssh.host_script import ScriptOutput, bootstrap, pack
from cloudmesh.cluster.ssh.remote_command import Closing, OutputStream, RemoteCommand, RootAccess
from cloudmesh.cluster.ssh.tunnel import Tunnel

if TYPE_CHECKING:
    import paramiko
    from typing_extensions import Self


_KEEPALIVE = 5.0  # seconds between questions to the host
_SILENCE = 30.0  # seconds without an answer after which the link counts as cut


class Link:
    """An authenticated SSH connection.

    Args:
        transport: authenticated.
        user: whom it is logged in as.
        contact: how the host was reached, whatever the SSH configuration calls it: "user@host:port".
        host_key: the host's key, "TYPE BASE64".
        remember: puts the host's key into our known_hosts file.
        on_close: releases what the connection runs through.
    """

    def __init__(
        self,
        transport: paramiko.Transport,
        user: str,
        contact: str,
        host_key: str,
        remember: Callable[[], None],
        on_close: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.user = user
        self.contact = contact
        self.host_key = host_key
        self.remember = remember
        self._on_close = on_close
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """End the connection, and the way to it."""
        self.transport.close()
        self._on_close()

    def _watch(self) -> None:
        # A host that is gone without a word answers nothing and refuses nothing: only asking finds out.
        while self.transport.is_active():
            guard = threading.Timer(_SILENCE, self.transport.close)
            guard.daemon = True
            guard.start()
            with contextlib.suppress(Exception):  # a dead transport ends the loop, whatever it raised
                self.transport.global_request("keepalive@openssh.com", wait=True)
            guard.cancel()
            self.transport.join(_KEEPALIVE)


@contextlib.contextmanager
def translate_errors(host: Host) -> Iterator[None]:
    """Turn what paramiko and sockets raise into errors of `host`.

    Raises:
        HostTimeoutError: there was no answer in time.
        UnreachableError: the connection failed or was cut.
        HostError: the host's sshd refused to open a channel.
    """
    import paramiko

    name = str(host)
    try:
        yield
    except TimeoutError as error:
        raise HostTimeoutError(name, "SSH gave no answer in time") from error
    except (EOFError, ConnectionError) as error:
        raise UnreachableError(name, f"the SSH connection was lost: {error or 'end of stream'}") from error
    except paramiko.ChannelException as error:
        raise HostError(name, f"sshd opened no channel ({error}): see MaxSessions, AllowTcpForwarding there") from error
    except paramiko.SSHException as error:
        lost = "not active" in str(error)  # paramiko's words for a connection that has ended
        raise UnreachableError(name, "the SSH connection was lost" if lost else f"SSH failed: {error}") from error
    except OSError as error:
        raise UnreachableError(name, f"the SSH connection failed: {error.strerror or error}") from error


_HEARTBEAT = 10.0  # seconds between the dots that tell a held script that the operator is still there
_RELEASE = 5.0  # seconds that a held script gets to end
_OPEN = 15.0  # seconds to open a channel


@dataclass(frozen=True)
class ScriptResult:
    """What a script printed.

    Attributes:
        output: the lines that were not `::` lines.
        facts: the values of its `::fact` lines.
    """

    output: str
    facts: Mapping[str, str]


class Connection(Closing):
    """A host that is logged in to; may be used by several threads; a context manager, which closes it.

    Attributes:
        host: as the user wrote it.
        user: whom it is logged in as.
        contact: how it was reached, whatever the SSH configuration calls it: "user@host:port".
        host_key: its SSH host key, "TYPE BASE64".
    """

    def __init__(self, host: Host, link: Link, root: RootAccess) -> None:
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
    ) -> ScriptResult:
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
        lines = ScriptOutput(str(self.host), report)
        with self._timed(timeout, lines), self._started(script, verb, files, keep_open=False) as command:
            for line in command.lines(deadline):
                lines.feed(line)
            self._check(command, command.status(deadline), lines)
        return ScriptResult("\n".join(lines.output), lines.facts)

    def hold(
        self, script: str, verb: str = "", *, files: Mapping[str, bytes] | None = None, timeout: float = 30.0
    ) -> HeldScript:
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
        lines = ScriptOutput(str(self.host))
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._timed(timeout, lines))
            command = stack.enter_context(self._started(script, verb, files, keep_open=True))
            for line in command.lines(deadline):
                lines.feed(line)
                if lines.facts.get("held") == "yes":
                    stack.pop_all()  # from here on, the script is the holder's to end
                    return HeldScript(command, lines.facts)
            self._check(command, command.status(deadline), lines)
        raise HostError(str(self.host), "the script ended without holding anything")

    @contextlib.contextmanager
    def stream(
        self, script: str, verb: str = "", *, files: Mapping[str, bytes] | None = None, silence: float = 60.0
    ) -> Iterator[OutputStream]:
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
        lines = ScriptOutput(str(self.host))
        with self._timed(silence, lines), self._started(script, verb, files, keep_open=False) as command:
            yield OutputStream(command, silence)
            self._check(command, command.status(time.monotonic() + silence), lines)

    def forward(self, address: str, port: int) -> Tunnel:
        """Return a tunnel: a local port behind which is `address`:`port` as the host reaches it."""
        with translate_errors(self.host):
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
    def _timed(self, timeout: float, lines: ScriptOutput) -> Iterator[None]:
        try:
            with translate_errors(self.host):
                yield
        except HostTimeoutError as error:
            during = f" (at: {lines.last_step})" if lines.last_step else ""
            raise HostTimeoutError(str(self.host), f"not done in {timeout:g} s{during}") from error

    def _started(self, script: str, verb: str, files: Mapping[str, bytes] | None, *, keep_open: bool) -> RemoteCommand:
        body, archive = script.encode(), pack(files or {})
        return RemoteCommand(
            self._link.transport,
            self._root.prefix + bootstrap(len(body), len(archive), verb),
            self._root.stdin + body + archive,
            keep_open=keep_open,
            timeout=_OPEN,
        )

    def _check(self, command: RemoteCommand, status: int, lines: ScriptOutput) -> None:
        if status == 0 and not lines.failure:
            return
        said = command.stderr.strip().rsplit("\n", 1)[-1].strip()
        ending = "it was killed" if status == -1 else f"exit status {status}"
        raise HostError(
            str(self.host), lines.failure or (f"{said} ({ending})" if said else f"the script failed: {ending}")
        )


class HeldScript:
    """A script that goes on for as long as this is not released and the link stands; a context manager.

    Attributes:
        facts: what it told before it held.
    """

    def __init__(self, command: RemoteCommand, facts: Mapping[str, str]) -> None:
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
