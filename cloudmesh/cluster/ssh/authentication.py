"""Logs in to hosts: tries private keys in order, and explains failures."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import question_lock
from cloudmesh.cluster.core.errors import AuthenticationError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh.ssh_config import Target

if TYPE_CHECKING:
    import paramiko

_DEFAULT_FILES = ("id_ed25519", "id_ecdsa", "id_rsa")


def log_in(
    transport: paramiko.Transport, host: Host, target: Target, passphrase: Callable[[str], str] | None = None
) -> None:
    """Authenticate with the first key that the host accepts.

    Args:
        transport: after its key exchange and the verification of the host's key.
        host: the host; its `private_key`, if it has one, is the only key that is tried.
        target: the login name, and the keys to try otherwise.
        passphrase: returns the passphrase of the key file at a path; None: encrypted key files cannot be used.

    Raises:
        AuthenticationError: no key was accepted, or there is no key that can be used.
        paramiko.SSHException, EOFError, OSError: the connection failed.
    """
    import paramiko

    tried: list[str] = []
    unusable: list[str] = []
    for label, key in _yield_distinct_keys(host, target, passphrase, unusable):
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
        str(host), _explain_login_refusal(target.user, tried, unusable, hung_up=not transport.is_active())
    )


def _explain_login_refusal(user: str, tried: list[str], unusable: list[str], *, hung_up: bool) -> str:
    remark = f" ({'; '.join(unusable)})" if unusable else ""
    if not tried:
        return f"no key to log in with as user {user}{remark}: give one by --key or load it with ssh-add"
    refused = f"user {user}: the host refused {', '.join(tried)}{remark}"
    if hung_up:
        return f"{refused} and hung up after that many: name the right one by --key"
    return f"{refused}: give the right one by --user and --key, or add it to the user's ~/.ssh/authorized_keys there"


def _yield_distinct_keys(
    host: Host, target: Target, passphrase: Callable[[str], str] | None, unusable: list[str]
) -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield the keys to try, without repetitions, each with a label for messages.

    If the host has a private key in memory, it is the only one. Otherwise the order is: key files that the user named,
    keys of the SSH agent, default key files. Why a key cannot be used is appended to `unusable`.
    """
    if host.private_key:
        yield "the key made for it", _parse_private_key(host.private_key)
        return
    seen: set[bytes] = set()
    for label, key in _list_keys(target, passphrase, unusable):
        if key.asbytes() not in seen:
            seen.add(key.asbytes())
            yield label, key


def _list_keys(
    target: Target, passphrase: Callable[[str], str] | None, unusable: list[str]
) -> Iterator[tuple[str, paramiko.PKey]]:
    agent = _read_agent_keys()
    for path in target.key_files:
        public = _read_public_key(path)
        matching = [key for key in agent if key.asbytes() == public]
        yield from ((f"{path} (agent)", key) for key in matching)
        if not matching:
            yield from _try_key_file(path, passphrase, unusable)
    if target.agent:
        yield from ((f"agent key {key.get_name()} {key.fingerprint}", key) for key in agent)
    if not target.key_files:
        for path in (Path.home() / ".ssh" / name for name in _DEFAULT_FILES):
            if path.exists():
                yield from _try_key_file(path, passphrase, unusable)


def _read_agent_keys() -> list[paramiko.AgentKey]:
    import paramiko

    try:
        return list(paramiko.Agent().get_keys())
    except (paramiko.SSHException, OSError):
        return []


def _read_public_key(path: Path) -> bytes:
    """Return the public key, as bytes, from the .pub file beside a private key file; b"" if there is none.

    By it, an encrypted key is found in the SSH agent, where no passphrase is needed.
    """
    try:
        return base64.b64decode(path.with_name(path.name + ".pub").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return b""


def _try_key_file(
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
    except (TypeError, paramiko.PasswordRequiredException):  # cryptography raises TypeError
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
    with question_lock:
        answer = passphrase(str(path))
    # paramiko declares str, but passes the value on to cryptography, which needs bytes
    return paramiko.PKey.from_path(path, answer.encode())  # type: ignore[arg-type]


def _parse_private_key(text: str) -> paramiko.PKey:
    import paramiko

    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey):
        with contextlib.suppress(paramiko.SSHException):
            return kind.from_private_key(io.StringIO(text))
    return paramiko.RSAKey.from_private_key(io.StringIO(text))
