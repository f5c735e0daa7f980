"""Logging in and becoming root: which private keys are tried in which order, how sudo is asked, and why it failed."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import AuthenticationError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh.connection import Link
from cloudmesh.cluster.ssh.remote_command import RemoteCommand, RootAccess
from cloudmesh.cluster.ssh.ssh_config import Target

if TYPE_CHECKING:
    import paramiko


_DEFAULT_FILES = ("id_ed25519", "id_ecdsa", "id_rsa")
_asking_passphrase = threading.Lock()  # hosts are connected in parallel; one question at a time


def log_in(
    transport: paramiko.Transport, host: Host, target: Target, passphrase: Callable[[str], str] | None = None
) -> None:
    """Authenticate with the first key that the host accepts.

    Args:
        transport: its host key is verified already.
        host: may carry a key of its own.
        target: says which others to try.
        passphrase: gives the passphrase of the key file named; without it, encrypted files are of no use.

    Raises:
        AuthenticationError: no key was accepted, or none could be used.
        paramiko.SSHException, EOFError, OSError: the connection failed.
    """
    import paramiko

    tried: list[str] = []
    unusable: list[str] = []
    for label, key in _distinct_keys(host, target, passphrase, unusable):
        tried.append(label)
        try:
            further = transport.auth_publickey(target.user, key)
        except paramiko.BadAuthenticationType as error:
            allowed = ", ".join(error.allowed_types)
            raise AuthenticationError(
                str(host), f"user {target.user} cannot log in by key, only by {allowed}"
            ) from error
        except paramiko.AuthenticationException as error:
            if "timeout" in str(error):
                raise TimeoutError from error
            if not transport.is_active():
                break
        else:
            if further:
                raise AuthenticationError(
                    str(host), f"user {target.user}: a key is not enough, it also wants {further[0]}"
                )
            return
    raise AuthenticationError(
        str(host), _login_refusal(target.user, tried, unusable, hung_up=not transport.is_active())
    )


def _login_refusal(user: str, tried: list[str], unusable: list[str], *, hung_up: bool) -> str:
    also = f" ({'; '.join(unusable)})" if unusable else ""
    if not tried:
        return f"no key to log in with as user {user}{also}: give one by --key or load it with ssh-add"
    refused = f"user {user}: the host refused {', '.join(tried)}{also}"
    if hung_up:
        return f"{refused} and hung up after that many: name the right one by --key"
    return f"{refused}: give the right one by --user and --key, or add it to the user's ~/.ssh/authorized_keys there"


def _distinct_keys(
    host: Host, target: Target, passphrase: Callable[[str], str] | None, unusable: list[str]
) -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield keys with a label each: the one in memory alone; else named files, then the agent's, then default files."""
    if host.private_key:
        yield "the key made for it", _parse_private_key(host.private_key)
        return
    seen: set[bytes] = set()
    for label, key in _keys_to_try(target, passphrase, unusable):
        if key.asbytes() not in seen:
            seen.add(key.asbytes())
            yield label, key


def _keys_to_try(
    target: Target, passphrase: Callable[[str], str] | None, unusable: list[str]
) -> Iterator[tuple[str, paramiko.PKey]]:
    agent = _agent_keys()
    for path in target.key_files:
        public = _public_part(path)
        held = [key for key in agent if key.asbytes() == public]
        yield from ((f"{path} (agent)", key) for key in held)
        if not held:
            yield from _key_from_file(path, passphrase, unusable)
    if target.agent:
        yield from ((f"agent key {key.get_name()} {key.fingerprint}", key) for key in agent)
    if not target.key_files:
        for path in (Path.home() / ".ssh" / name for name in _DEFAULT_FILES):
            if path.exists():
                yield from _key_from_file(path, passphrase, unusable)


def _agent_keys() -> list[paramiko.AgentKey]:
    import paramiko

    try:
        return list(paramiko.Agent().get_keys())
    except (paramiko.SSHException, OSError):
        return []


def _public_part(path: Path) -> bytes:
    """Return the public key beside a private key file, as bytes; by it, an encrypted key is found in the agent."""
    try:
        return base64.b64decode(path.with_name(path.name + ".pub").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return b""


def _key_from_file(
    path: Path, passphrase: Callable[[str], str] | None, unusable: list[str]
) -> Iterator[tuple[str, paramiko.PKey]]:
    import paramiko
    from paramiko.pkey import UnknownKeyType

    try:
        yield str(path), _load_private_key(path, passphrase)
    except FileNotFoundError:
        unusable.append(f"key file {path} does not exist")
    except OSError as error:
        unusable.append(f"key file {path} cannot be read: {error.strerror}")
    except (TypeError, paramiko.PasswordRequiredException):  # TypeError is what cryptography says
        unusable.append(f"key file {path} is encrypted and not in the agent: ssh-add {path}")
    except (paramiko.SSHException, ValueError, UnknownKeyType):
        unusable.append(f"key file {path} is no private key that can be used, or its passphrase was wrong")


def _load_private_key(path: Path, passphrase: Callable[[str], str] | None) -> paramiko.PKey:
    import paramiko

    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        if passphrase is None:
            raise
    with _asking_passphrase:
        # paramiko says str, but hands it on to cryptography, which wants bytes
        return paramiko.PKey.from_path(path, passphrase(str(path)).encode())  # type: ignore[arg-type]


def _parse_private_key(text: str) -> paramiko.PKey:
    import paramiko

    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey):
        with contextlib.suppress(paramiko.SSHException):
            return kind.from_private_key(io.StringIO(text))
    return paramiko.RSAKey.from_private_key(io.StringIO(text))


_SUDO_TIMEOUT = 20.0  # sudo waits for DNS and PAM, a few seconds each
_SUDO_PROBE = (
    'if [ "$(id -u)" -eq 0 ]; then echo root; elif ! command -v sudo >/dev/null; then echo missing; '
    "elif sudo -k -n true 2>/dev/null; then echo free; else echo password; fi"
)
_ASKING_SUDO = "env LC_ALL=C sudo -k -S -p '' "
_asking_sudo_password = threading.Lock()  # hosts are connected in parallel; one question at a time


def gain_root(host: Host, link: Link, settings: SshSettings) -> RootAccess:
    """Return how commands become root on `host`, tried out once.

    Raises:
        AuthenticationError: there is no sudo, or it wants a password that is not there, or it refused.
        paramiko.SSHException, OSError: the connection failed.
    """
    if link.user == "root":
        return RootAccess()
    answer = _run_command(link.transport, f"sh -c '{_SUDO_PROBE}'", b"")[1].strip()
    if answer == "root":
        return RootAccess()
    if answer == "free":
        return RootAccess("sudo -k -n ")
    if answer == "missing":
        raise AuthenticationError(str(host), f"user {link.user} is not root and there is no sudo: log in as root")
    return _with_password(host, link, settings)


def _with_password(host: Host, link: Link, settings: SshSettings) -> RootAccess:
    if settings.sudo_password is None:
        raise AuthenticationError(
            str(host), f"sudo wants a password of user {link.user}: run on a terminal, or allow NOPASSWD in sudoers"
        )
    with _asking_sudo_password:
        password = settings.sudo_password(f"{link.user}@{host}")
    privilege = RootAccess(_ASKING_SUDO, password.encode() + b"\n")
    status, _, stderr = _run_command(link.transport, f"{_ASKING_SUDO}true", privilege.stdin)
    if status:
        raise AuthenticationError(str(host), _sudo_refusal(link.user, stderr))
    return privilege


def _sudo_refusal(user: str, stderr: str) -> str:
    if "Sorry, try again" in stderr or "incorrect password" in stderr or "no password was provided" in stderr:
        return f"sudo refused the password of user {user}"
    last = stderr.strip().rsplit("\n", 1)[-1]
    return f"sudo refused user {user}: {last or 'no reason given'}"


def _run_command(transport: paramiko.Transport, command: str, stdin: bytes) -> tuple[int, str, str]:
    deadline = time.monotonic() + _SUDO_TIMEOUT
    with RemoteCommand(transport, command, stdin, timeout=_SUDO_TIMEOUT) as running:
        output = "\n".join(running.lines(deadline))
        return running.status(deadline), output, running.stderr
