"""Connects to a host by OpenSSH's own client, where paramiko cannot: an `ssh` runs as control master, and we use it.

It never asks anything, and its host keys are verified as strictly as ours: `StrictHostKeyChecking=yes`, whatever the
user's configuration says. What that refuses is shown to `HostKeys`, which knows what may be accepted.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import HostKeyError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh import keys, known_hosts, openssh_config, ssh_config
from cloudmesh.cluster.ssh.host_keys import HostKeys
from cloudmesh.cluster.ssh.mux import MuxTransport
from cloudmesh.cluster.ssh.ssh_config import Target

_PATIENCE = 6.0  # how many times the seconds of a connection a login may take: hosts ask DNS, users touch their keys
_POLL = 0.02
_END = 2.0  # seconds that a master gets to end
_ANSWER = 15.0  # seconds that a master gets to answer a request of ours
_LONGEST_FOLDER = 60  # characters; a socket's path must not have more than about 100
_UNKNOWN_KEY = "Host key verification failed"
_OBJECTION = re.compile(r"Certificate .+|.*\brevoked\b.*")  # to a key, or to a certificate, that is not only unknown
_SHOWN_KEY = re.compile(r"debug1: Server host (?:key|certificate): \S+ (SHA256:[^\s,]+)")
# Lines of `ssh -v` that do not say why a connection failed.
_CHATTER = re.compile(r"(debug\d:|OpenSSH_|Authenticated to|Transferred:|Bytes per second|\*\* |\s*$|ssh_packet_)")

# Options that clients before OpenSSH 8.7 do not know; IgnoreUnknown would replace that of the user's configuration.
_NEW_OPTIONS = ("ForkAfterAuthentication=", "KnownHostsCommand=")
# Nothing but the connection: no terminal, no questions, nothing of the user's that would run or listen beside it.
_OPTIONS = (
    "BatchMode=yes",
    "ForkAfterAuthentication=no",
    "ControlPersist=no",
    "ClearAllForwardings=yes",
    "RemoteCommand=none",
    "PermitLocalCommand=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "Tunnel=no",
    "AddKeysToAgent=no",
    "UpdateHostKeys=no",
    "VisualHostKey=no",
    "HashKnownHosts=no",
    "EscapeChar=none",
    # how it notices a host that has gone silent
    "ServerAliveInterval=5",
    "ServerAliveCountMax=6",
)

# Runs its arguments but the first, and ends them when our end of its stdin is closed: also where this program was
# killed. The first one is a folder, which is removed then.
_GUARD = """exec 3<&0
folder=$1; shift
"$@" 3<&- </dev/null & ssh=$!
{ cat <&3 >/dev/null; kill "$ssh"; rm -rf "$folder"; } >/dev/null 2>&1 &
exec 3<&-
wait "$ssh"
"""


class OpenSshError(Exception):
    """OpenSSH's client did not get in, either; the message is the line in which it says why."""


@dataclass(frozen=True)
class Opened:
    """A connection that OpenSSH's client made, and the host's key, "TYPE BASE64" (empty: it was not told)."""

    transport: MuxTransport
    host_key: str


def connect(host: Host, target: Target, settings: SshSettings, host_keys: HostKeys) -> Opened:
    """Return a connection to `host`, made by OpenSSH's client as the user's configuration says.

    Raises:
        OpenSshError: it did not get in, or is not installed.
        HostKeyError: the host's key is unknown and not accepted, revoked, or has changed.
    """
    client = openssh_config.program()
    if client is None:
        raise OpenSshError("OpenSSH's client is not installed here")
    if transport := use_open_connection(host):
        return Opened(transport, host_keys.verified)
    arguments = _Arguments(client, host, target, settings)
    master = _Master(arguments)
    if _UNKNOWN_KEY in master.failure:
        if "revoked" in master.objection:
            raise HostKeyError(str(host), f"OpenSSH's client refuses its host key: {master.objection}")
        with _temporary_folder() as folder:
            key = arguments.fetch_host_key(folder)
        if key:
            host_keys.verify(key, objection=master.objection)
            master = _Master(arguments)
    if master.transport is None:
        raise OpenSshError(master.failure)
    fingerprint = master.shown_fingerprint
    key = host_keys.find(fingerprint)
    if not key:  # an authority or a command of the user's has vouched for it
        with _temporary_folder() as folder:
            key = arguments.fetch_host_key(folder)
        if not key or known_hosts.fingerprint(key) != fingerprint:
            key = ""
    return Opened(master.transport, key)


def use_open_connection(host: Host) -> MuxTransport | None:
    """Return the connection that the user keeps open to `host` (ControlMaster); None: there is none."""
    client = openssh_config.program()
    if client is None or host.host_key:  # it is not known whether the other end has the trusted key
        return None
    path = openssh_config.ask_control_path(client, host.name, host.user, host.port)
    if path and Path(path).is_socket():
        with contextlib.suppress(Exception):  # whatever is wrong with it, another connection is made
            return MuxTransport(path, _ANSWER)
    return None


def has_open_connection(host: Host) -> bool:
    """Return whether the user keeps a connection to `host` open that `use_open_connection` would return."""
    transport = use_open_connection(host)
    if transport:
        transport.close()
    return transport is not None


@dataclass(frozen=True)
class _Arguments:
    """How OpenSSH's client is called for a host."""

    client: str
    host: Host
    target: Target
    settings: SshSettings

    @property
    def seconds(self) -> float:
        """How long a login may take."""
        return _PATIENCE * max(self.settings.connect_timeout, self.target.connect_timeout)

    def master_command(self, folder: Path) -> list[str]:
        """Return the command line of a control master whose socket is in `folder`."""
        if self.host.host_key:
            (folder / "known_hosts").write_text(
                f"{known_hosts.label(self.target.key_name or self.target.address, self._key_port)} "
                f"{self.host.host_key}\n"
            )
            trusted = ["KnownHostsCommand=none", *_known_hosts_options([folder / "known_hosts"], [])]
        else:
            trusted = _known_hosts_options([*self.target.known_hosts, self.settings.known_hosts], None)
        return self._command("-v", "-N", "-M", "-S", f"{folder}/s", options=["StrictHostKeyChecking=yes", *trusted])

    def fetch_host_key(self, folder: Path) -> str:
        """Return the key that the host shows, without logging in; empty: it shows none that could be read."""
        new = folder / "new"
        options = ["StrictHostKeyChecking=accept-new", "KnownHostsCommand=none", "PreferredAuthentications=none"]
        options += ["ControlMaster=no", "ControlPath=none", "VerifyHostKeyDNS=no", *_known_hosts_options([new], [])]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(  # noqa: S603 - ssh, with names that were checked
                self._command("-N", options=options),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.seconds,
                check=False,
                start_new_session=True,
            )
        return next((entry.key for entry in known_hosts.entries(new)), "")

    @property
    def _key_port(self) -> int:
        return 22 if self.target.key_name else self.target.port

    def _command(self, *switches: str, options: Sequence[str]) -> list[str]:
        command = [self.client, "-T", *switches]
        for option in (*_OPTIONS, *options, *self._choices()):
            if not option.startswith(_NEW_OPTIONS) or openssh_config.knows(self.client, option):
                command += ["-o", option]
        command += ["-l", self.host.user] if self.host.user else []
        command += ["-p", str(self.host.port)] if self.host.port else []
        command += ["-i", str(self.target.key_files[0]).replace("%", "%%")] if self.host.key else []
        command += ["-o", f"ProxyCommand={self._proxy_command()}"] if self.target.jumps else []
        return [*command, "--", self.host.name]

    def _proxy_command(self) -> str:
        """Return a ProxyCommand that goes through the jump hosts, as ProxyJump would, but with our known hosts, too."""
        *before, last = self.target.jumps
        host = ssh_config.parse_jump_host(last)
        target = ssh_config.resolve(host)
        if before:
            target = replace(target, jumps=tuple(before), proxy_command="")
        known = _known_hosts_options([*target.known_hosts, self.settings.known_hosts], None)
        options = ["StrictHostKeyChecking=yes", "ControlMaster=no", *known]
        words = replace(self, host=host, target=target)._command("-W", "\0", options=options)
        # This ssh replaces the tokens of the -W; those of the other words are for the ssh that it starts.
        return shlex.join(words).replace("%", "%%").replace("'\0'", "'[%h]:%p'")

    @functools.cached_property
    def _has_silent_agent(self) -> bool:
        return bool(self.target.agent_socket) and keys.is_silent(self.target.agent_socket)

    def _choices(self) -> Iterator[str]:
        if not self.target.connect_timeout:
            yield f"ConnectTimeout={max(1, round(self.settings.connect_timeout))}"
        if self.host.key:
            yield "IdentitiesOnly=yes"
        if self._has_silent_agent:
            yield "IdentityAgent=none"  # ssh would wait for it for ever


def _known_hosts_options(users: Sequence[Path], systems: Sequence[Path] | None) -> list[str]:
    """Return options that name the known_hosts files; `systems` None: the system's are left as they are."""

    def quote(paths: Sequence[Path]) -> str:
        # the system's files are named twice where they are among `users` too, which does no harm
        return " ".join('"' + str(path).replace("%", "%%") + '"' for path in paths) or "none"

    options = [f"UserKnownHostsFile={quote(users)}"]
    return options if systems is None else [*options, f"GlobalKnownHostsFile={quote(systems)}"]


class _Master:
    """An `ssh` that was started as a control master.

    Attributes:
        transport: the connection; None: ssh did not get in.
        failure: the line in which it says why; with that of an unknown host key, if there is one.
        objection: what it says against the host's key or certificate, other than that it is unknown; empty: nothing.
        shown_fingerprint: of the key that the host showed.
    """

    def __init__(self, arguments: _Arguments) -> None:
        self.transport: MuxTransport | None = None
        self.failure = ""
        self._folder = Path(_make_folder())
        self._log = self._folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - ssh, with names that were checked
                ["/bin/sh", "-c", _GUARD, "sh", str(self._folder), *arguments.master_command(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, and no question can be asked
            )
        try:
            self._wait(arguments.seconds)
        finally:
            self.shown_fingerprint = self._read_fingerprint()
            self.objection = next((line for line in self._read_words() if _OBJECTION.fullmatch(line)), "")
            if self.transport is None:
                self._end()

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        path = self._folder / "s"
        while self._process.poll() is None:
            if path.is_socket():
                with contextlib.suppress(OSError, EOFError):
                    self.transport = MuxTransport(str(path), _ANSWER, self._end)
                    return
            if time.monotonic() > deadline:
                self.failure = f"ssh did not get in after {seconds:.0f} s"
                return
            time.sleep(_POLL)
        self.failure = self._read_failure()

    def _read_lines(self) -> list[str]:
        try:
            return self._log.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return []

    def _read_words(self) -> list[str]:
        return [line.strip() for line in self._read_lines() if not _CHATTER.match(line)]

    def _read_failure(self) -> str:
        lines = self._read_words()
        if lines and _UNKNOWN_KEY in lines[-1]:  # why, stands in the line before
            return " ".join(lines[-2:])
        return lines[-1] if lines else f"ssh ended with status {self._process.returncode}"

    def _read_fingerprint(self) -> str:
        shown = [match[1] for line in self._read_lines() if (match := _SHOWN_KEY.match(line))]
        return shown[-1] if shown else ""

    def _end(self) -> None:
        """End ssh, and remove what it has left."""
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _make_folder() -> str:
    fits = len(tempfile.gettempdir()) <= _LONGEST_FOLDER
    return tempfile.mkdtemp(prefix="cloudmesh-ssh-", dir=None if fits else "/tmp")  # noqa: S108 - mode 0700, a new name


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = Path(_make_folder())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
