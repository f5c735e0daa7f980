"""A real sshd on a loopback port, for tests of the SSH layer."""

import contextlib
import functools
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh import openssh_config
from support import openssh_home
from support.waiting import wait_until

BINARY = "/usr/sbin/sshd"
ONLY_OPENSSH = "Ciphers chacha20-poly1305@openssh.com"  # the option of an sshd to which paramiko has no cipher
MARKS = [
    pytest.mark.skipif(not Path(BINARY).exists(), reason="no sshd on this machine"),
    pytest.mark.skipif(os.geteuid() != 0, reason="scripts run as root, and users are made by it"),
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The operator's home directory, in modules that import this: no SSH settings of who runs the tests are used."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", openssh_home.path(os.environ["PATH"]))
    openssh_config.ask.cache_clear()
    monkeypatch.setattr("cloudmesh.cluster.core.context._told", set())
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def keygen(*arguments: object) -> None:
    subprocess.run(["ssh-keygen", "-q", *map(str, arguments)], check=True, capture_output=True)


def make_key(path: Path) -> str:
    """Make an Ed25519 key and return the public key, "TYPE BASE64"."""
    key = Ed25519PrivateKey.generate()
    _write_key(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    path.with_name(path.name + ".pub").write_text(f"{public}\n")
    return public


def make_rsa_key(path: Path) -> str:
    """Make a key as `make_key` does, of RSA and 2048 bits: always the same, as making one takes long."""
    private, public = _rsa_key()
    _write_key(path, private)
    path.with_name(path.name + ".pub").write_text(public)
    return public.strip()


@functools.cache
def _rsa_key() -> tuple[bytes, str]:
    with tempfile.TemporaryDirectory() as folder:
        keygen("-t", "rsa", "-b", 2048, "-N", "", "-C", "", "-f", f"{folder}/key")
        return Path(folder, "key").read_bytes(), Path(folder, "key.pub").read_text()


def _write_key(path: Path, private: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(private)


def encrypt_key(path: Path, passphrase: str) -> None:
    """Have a key file want a passphrase, by which it is opened quickly."""
    keygen("-p", "-P", "", "-N", passphrase, "-a", 1, "-f", path)


@contextlib.contextmanager
def run_agent(path: Path, *keys: Path) -> Iterator[None]:
    """Run an SSH agent that has these keys, and whose socket is `path`."""
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: _is_listening(path), 30, pause=0.01)
        for key in keys:
            variables = {**os.environ, "SSH_AUTH_SOCK": str(path)}
            subprocess.run(["ssh-add", "-q", key], check=True, capture_output=True, env=variables)
        yield
    finally:
        process.terminate()
        process.wait()


def _is_listening(path: Path) -> bool:
    """Return whether a program listens on a socket; its file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@contextlib.contextmanager
def throw_away_user() -> Iterator[str]:
    """Yield the name of a new user, who is removed once the last of its sessions has ended."""
    name = f"cms-user-{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True)
    try:
        yield name
    finally:
        end = time.monotonic() + 30
        while subprocess.run(["userdel", name], check=False, capture_output=True).returncode:
            assert time.monotonic() < end, f"the user {name} cannot be removed"
            time.sleep(0.2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Sshd(contextlib.AbstractContextManager):
    """A running sshd, with its configuration, host key and authorized keys in `directory`.

    What takes long beside the rest of a login is left out: what this machine's shells start with, as sessions have an
    empty home directory, and sntrup761, unless an option asks for it.
    """

    def __init__(
        self, directory: Path, *options: str, authorized: str = "", port: int = 0, empty_home: bool = True
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = port or free_port()
        self.host_key = make_key(directory / "host_key")
        self.client_key = directory / "client_key"
        public = make_key(self.client_key)
        keys = directory / "authorized_keys"
        keys.write_text(f"{authorized or public}\n")
        lines = [
            *options,
            "KexAlgorithms -sntrup761*",
            *([f"SetEnv HOME={directory}/home"] if empty_home else []),
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {directory}/host_key",
            f"AuthorizedKeysFile {keys}",
            f"PidFile {directory}/pid",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "StrictModes no",
            "PermitRootLogin prohibit-password",
        ]
        (directory / "sshd_config").write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.start_as([BINARY])

    def start_as(self, program: list[str]) -> None:
        """Start sshd by these words, which run its binary."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [*program, "-D", "-f", f"{self.directory}/sshd_config", "-E", f"{self.directory}/log"]
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError((self.directory / "log").read_text())

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End sshd and its sessions."""
        if self._process:
            self.kill_sessions()
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def sessions(self) -> list[int]:
        """Return the process ids of the sessions' monitors and workers."""
        assert self._process
        processes: list[int] = []
        level = [self._process.pid]
        while level:
            level = [child for parent in level for child in _children(parent) if _name(child).startswith("sshd")]
            processes += level
        return processes

    def kill_sessions(self, number: int = signal.SIGKILL) -> None:
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def host(self, name: str = "127.0.0.1", **fields: object) -> Host:
        return Host(name, **{"user": getpass.getuser(), "port": self.port, "key": str(self.client_key), **fields})

    def settings(self, **fields: object) -> SshSettings:
        """Return settings whose known_hosts file has this sshd's key."""
        known_hosts = self.directory / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{self.port} {self.host_key}\n")
        return SshSettings(**{"known_hosts": known_hosts, **fields})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An sshd that all tests of a module share."""
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def installed(program: str) -> bool:
    return shutil.which(program) is not None
