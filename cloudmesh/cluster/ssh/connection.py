"""One host over SSH: runs scripts on it as root, holds locks on it, forwards ports to it, and translates the errors."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from cloudmesh.cluster.core.errors import AuthenticationError, HostError, HostTimeoutError, UnreachableError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.ssh import root_refusal
from cloudmesh.cluster.ssh.frame import make_token
from cloudmesh.cluster.ssh.host_script import ScriptOutput, launch_step
from cloudmesh.cluster.ssh.remote_command import NotBegunError, OutputStream, RemoteCommand
from cloudmesh.cluster.ssh.root_access import RootAccess
from cloudmesh.cluster.ssh.transport import Transport
from cloudmesh.cluster.ssh.tunnel import Tunnel

_KEEPALIVE = 5.0  # seconds between keepalive requests to the host
_SILENCE = 30.0  # seconds without an answer after which the connection counts as cut
_HEARTBEAT = 10.0  # seconds between the dots by which a held script knows that the operator is still there
_RELEASE = 5.0  # seconds that a held script gets to end
_OPEN = 15.0  # seconds to open a channel
_SSH = 22  # the port on which sshd listens, as a rule
_PROHIBITED = 1  # why sshd refuses a channel: its configuration forbids it (RFC 4254, section 5.1)


class Link:
    """An authenticated SSH connection.

    Args:
        transport: the authenticated transport.
        user: the login name.
        contact: how the host was reached after all settings of the SSH configuration, "user@host:port".
        host_key: the host's key, "TYPE BASE64".
        remember: writes the host's key into Cloudmesh's known_hosts file.
        forget: makes that file say that clusters are looked for on the host no more.
        on_close: releases the jump host or proxy command that the connection runs through.
    """

    def __init__(
        self,
        transport: Transport,
        user: str,
        contact: str,
        host_key: str,
        remember: Callable[[], None],
        forget: Callable[[], None],
        on_close: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.user = user
        self.contact = contact
        self.host_key = host_key
        self.remember = remember
        self.forget = forget
        self._on_close = on_close
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """End the connection, and release what it runs through."""
        self.transport.close()
        self._on_close()

    def _watch(self) -> None:
        # A host that has disappeared neither answers nor refuses. Only a request that stays unanswered shows that.
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
    """Translate the exceptions of paramiko and of sockets in the block into a HostError for `host`.

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
        raise HostError(
            name, f"sshd opened no channel ({error.text}): see MaxSessions, AllowTcpForwarding there"
        ) from error
    except paramiko.SSHException as error:
        is_lost = "not active" in str(error)  # paramiko's words for a connection that has ended
        raise UnreachableError(name, "the SSH connection was lost" if is_lost else f"SSH failed: {error}") from error
    except OSError as error:
        raise UnreachableError(name, f"the SSH connection failed: {error.strerror or error}") from error


@dataclass(frozen=True)
class ScriptResult:
    """What a script printed.

    Attributes:
        output: the lines of stdout without the `::` lines, joined by newlines.
        facts: the values of the `::fact` lines, by key.
    """

    output: str
    facts: Mapping[str, str]


class Connection(contextlib.AbstractContextManager["Connection"]):
    """A logged-in connection to one host. Threads may share it. As a context manager, it closes itself at the end.

    Args:
        host: the host, as the user wrote it.
        link: the SSH connection.
        root: how commands become root.

    Attributes:
        host: the host, as the user wrote it.
        contact: how it was reached after all settings of the SSH configuration, "user@host:port".
        host_key: its SSH host key, "TYPE BASE64".
    """

    def __init__(self, host: Host, link: Link, root: RootAccess) -> None:
        self.host = host
        self.contact = link.contact
        self.host_key = link.host_key
        self._link = link
        self._root = root

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        script: str,
        verb: str = "",
        *,
        files: Mapping[str, bytes] | None = None,
        stdin: Iterable[bytes] = (),
        timeout: float = 120.0,
        report: Report | None = None,
    ) -> ScriptResult:
        """Run a POSIX sh script as root, in a new private directory that is removed at the end.

        Args:
            script: the script's text.
            verb: the script's `$1`.
            files: contents by name; they are put into the script's directory with mode 0600. Names may have '/'.
            stdin: what the script reads there, which may be of any size. What it raises is raised here, and the script
                cannot tell that from an end: nothing may become final by the end of its stdin.
            timeout: seconds for all of it. A script that takes longer is not killed: it ends when it next prints.
            report: receives the script's `::step` and `::note` lines.

        Raises:
            HostError: the script failed; the cause is its `::fail` line, else its last line on stderr.
            HostTimeoutError: the script took too long.
            UnreachableError: the connection was cut; how far the script came is not known.
        """
        deadline = time.monotonic() + timeout + self._patience
        lines = ScriptOutput(str(self.host), report)
        with self._limit(timeout, lines), self._start(script, verb, files, stdin) as command:
            try:
                for line in command.lines(deadline):
                    lines.feed(line)
                self._check(command, command.status(deadline), lines)
            except (OSError, EOFError, HostError):
                if command.payload_error:
                    raise command.payload_error from None
                raise
        return ScriptResult("\n".join(lines.output), lines.facts)

    def ask(self, script: str, key: str, verb: str = "", *, timeout: float = 120.0) -> str:
        """Run a script that answers a question in any case, and return its `::fact` line of `key`; see `run`.

        Raises:
            HostError: the script failed, or gave no answer: that is no answer of its own, such as "there is none".
        """
        facts = self.run(script, verb, timeout=timeout).facts
        if key not in facts:
            raise HostError(str(self.host), f"the host gave no answer when it was asked for: {key}")
        return facts[key]

    def hold(
        self, script: str, verb: str = "", *, files: Mapping[str, bytes] | None = None, timeout: float = 30.0
    ) -> HeldScript:
        """Start a script that runs until its stdin ends, and return when it has printed `::fact held yes`.

        Args:
            script: the script's text. It receives a "." on stdin every 10 seconds for as long as it is held.
            verb: the script's `$1`.
            files: as for `run`.
            timeout: seconds until the script must have printed that line.

        Raises:
            HostError: the script failed, or ended without printing that line.
            HostTimeoutError: it did not print that line in time.
            UnreachableError: the connection was cut.
        """
        deadline = time.monotonic() + timeout + self._patience
        lines = ScriptOutput(str(self.host))
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._limit(timeout, lines))
            command = stack.enter_context(self._start(script, verb, files, keep_open=True))
            for line in command.lines(deadline):
                lines.feed(line)
                if lines.facts.get("held") == "yes":
                    stack.pop_all()  # from here on, HeldScript ends the command
                    return HeldScript(command)
            self._check(command, command.status(deadline), lines)
        raise HostError(str(self.host), "the script ended without holding anything")

    @contextlib.contextmanager
    def stream(
        self, script: str, verb: str = "", *, files: Mapping[str, bytes] | None = None, silence: float = 60.0
    ) -> Iterator[OutputStream]:
        """Run a script as `run` does, and yield its stdout as a stream of bytes, which may be of any size.

        Args:
            script: the script's text.
            verb: the script's `$1`.
            files: as for `run`.
            silence: seconds for which the script may print nothing.

        Raises:
            HostError: the script failed; the cause is its last line on stderr.
            HostTimeoutError: the script printed nothing for too long.
            UnreachableError: the connection was cut.
        """
        lines = ScriptOutput(str(self.host))
        with self._limit(silence, lines), self._start(script, verb, files) as command:
            yield OutputStream(command, silence + self._patience)
            self._check(command, command.status(time.monotonic() + silence + self._patience), lines)

    def forward(self, address: str, port: int) -> Tunnel:
        """Return a tunnel: a local port that leads to `address`:`port`, as seen from the host.

        Raises:
            HostError: no local port could be opened.
        """
        with translate_errors(self.host):
            return Tunnel(self._link.transport, address, port)

    def can_forward(self, listening: Iterable[int]) -> bool:
        """Return whether the host's sshd opens connections to ports.

        Args:
            listening: ports of the host's loopback on which programs listen, of which some are tried.
        """
        import paramiko

        # First sshd's usual one: other programs may take it amiss when a connection says nothing.
        for port in sorted(listening, key=lambda port: port != _SSH)[:3] or [_SSH]:
            with translate_errors(self.host):
                try:
                    self._link.transport.open_channel(
                        "direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 0), timeout=_OPEN
                    ).close()
                except paramiko.ChannelException as error:
                    if error.code == _PROHIBITED:
                        continue
                return True
        return False

    def remember(self) -> None:
        """Write the host, its key and how it was reached into our known_hosts file, by which `list` finds clusters.

        Raises:
            ClusterError: the file cannot be written.
        """
        self._link.remember()

    def forget(self) -> None:
        """Have `list` look for clusters on the host no more; our known_hosts file keeps its key and how it is reached.

        Raises:
            ClusterError: the file cannot be written.
        """
        self._link.forget()

    @property
    def alive(self) -> bool:
        """Whether the connection stands; a host that disappears silently is noticed within half a minute."""
        return self._link.transport.is_active()

    def close(self) -> None:
        """End the connection and everything that runs through it."""
        self._link.close()

    @property
    def _patience(self) -> float:
        """Seconds that a script gets for what is before it: the login shell and sudo, which take long on some hosts."""
        return 2 * self._root.delay

    @contextlib.contextmanager
    def _limit(self, timeout: float, lines: ScriptOutput) -> Iterator[None]:
        """Translate errors of the block; a timeout names `timeout` and the step that the script was at."""
        with translate_errors(self.host):
            try:
                yield
            except NotBegunError as error:
                command, user = error.command, self._link.user
                cause = root_refusal.explain_late_shell(user, command.preamble, command.stderr, timeout)
                raise HostTimeoutError(str(self.host), cause) from error
            except TimeoutError as error:
                during = f" (at: {lines.last_step})" if lines.last_step else ""
                raise HostTimeoutError(str(self.host), f"not done in {timeout:g} s{during}") from error

    def _start(
        self,
        script: str,
        verb: str,
        files: Mapping[str, bytes] | None,
        stdin: Iterable[bytes] = (),
        *,
        keep_open: bool = False,
    ) -> RemoteCommand:
        token = make_token()
        return RemoteCommand(
            self._link.transport,
            self._root.command,
            token,
            itertools.chain([self._root.stdin + launch_step(token, script, verb, files or {})], stdin),
            keep_open=keep_open,
            timeout=_OPEN,
        )

    def _check(self, command: RemoteCommand, status: int, lines: ScriptOutput) -> None:
        """Raise HostError if the script was not run, ended with a status other than 0 or printed a `::fail` line."""
        if not command.began:
            raise AuthenticationError(str(self.host), self._root.explain(self._link.user, command, status))
        if status == 0 and not lines.failure:
            return
        last_line = command.stderr.strip().rsplit("\n", 1)[-1].strip()
        ending = "it was killed" if status == -1 else f"exit status {status}"
        cause = f"{last_line} ({ending})" if last_line else f"the script failed: {ending}"
        raise HostError(str(self.host), lines.failure or cause)


class HeldScript(contextlib.AbstractContextManager["HeldScript"]):
    """A script that runs until it is released or the connection ends. As a context manager, it is released at the end.

    Args:
        command: the running script.
    """

    def __init__(self, command: RemoteCommand) -> None:
        self._command = command
        self._released = threading.Event()
        threading.Thread(target=self._send_heartbeats, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def alive(self) -> bool:
        """Whether the script still runs."""
        return not self._released.is_set() and not self._command.channel.status_event.is_set()

    def release(self) -> None:
        """End the script, and return when it has ended or after 5 seconds."""
        self._released.set()
        with contextlib.suppress(OSError, EOFError):
            self._command.channel.shutdown_write()
        self._command.channel.status_event.wait(_RELEASE)
        self._command.close()

    def _send_heartbeats(self) -> None:
        while not self._released.wait(_HEARTBEAT) and self.alive:
            with contextlib.suppress(OSError, EOFError):
                self._command.channel.send(b".")
