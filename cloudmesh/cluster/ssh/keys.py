"""The user's keys: reads key files, certificates and the keys of an SSH agent, and says why one cannot be used."""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.ssh.ssh_config import Target

if TYPE_CHECKING:
    import paramiko

_AGENT_SECONDS = 5.0  # in which an agent lists its keys
_SIGNING_SECONDS = 60.0  # in which an agent signs; it may ask its user first
_MAGIC = b"openssh-key-v1\0"


def list_keys(target: Target, unusable: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield the keys to try at a host, without repetitions, each with a label for messages.

    The order is: key files that the user named, keys of the SSH agent, default key files. A key with a certificate
    comes before the same key without.

    Args:
        target: how the host is reached.
        unusable: is extended by why keys cannot be used.
    """
    seen: set[bytes] = set()
    for label, key in _list_all(target, unusable):
        for variant in (*_certify(key, target), key):
            blob = variant.public_blob.key_blob if variant.public_blob else variant.asbytes()
            if blob not in seen:
                seen.add(blob)
                yield label, variant


def list_encrypted(target: Target) -> list[Path]:
    """Return those of the user's key files that need a passphrase."""
    encrypted = []
    for path in (*target.key_files, *target.default_key_files):
        with contextlib.suppress(OSError, ValueError):
            try:
                load_private_key(path.read_bytes())
            except TypeError:
                encrypted.append(path)
    return encrypted


def open_encrypted(path: Path, passphrase: str, target: Target) -> Iterator[paramiko.PKey]:
    """Yield the key of a file, with its certificates and without.

    Raises:
        ValueError: the passphrase is wrong, or the file has no key that can be used.
        OSError: the file cannot be read.
    """
    key = load_private_key(path.read_bytes(), passphrase.encode())
    for _, variant in _with_own_certificate(path, key):
        yield from _certify(variant, target)
        yield variant


def _list_all(target: Target, unusable: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    agent = _read_agent(target.agent_socket, unusable)
    for path in target.key_files:
        public = _read_public_key(path)
        matching = [key for key in agent if key.asbytes() == public]
        yield from ((f"{path} (agent)", key) for key in matching)
        if not matching:
            yield from _try_key_file(path, unusable)
    if target.agent:
        yield from ((f"agent key {key.get_name()} {key.fingerprint}", key) for key in agent)
    for path in target.default_key_files:
        if path.exists():
            public = _read_public_key(path)
            yield from ((f"{path} (agent)", key) for key in agent if key.asbytes() == public)
            yield from _try_key_file(path, unusable)


def _read_agent(path: str, unusable: list[str]) -> list[paramiko.AgentKey]:
    """Return the keys of the agent that listens at `path`."""
    import paramiko
    from paramiko.agent import AgentSSH

    if not path:
        return []
    agent, connection = AgentSSH(), socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_AGENT_SECONDS)
        connection.connect(path)
        agent._connect(connection)  # type: ignore[attr-defined]  # there is no other way to name a socket
        connection.settimeout(_SIGNING_SECONDS)
    except TimeoutError:
        unusable.append(f"the SSH agent at {path} does not answer")
    except (paramiko.SSHException, OSError):
        connection.close()
    return list(agent.get_keys())


def is_silent(path: str) -> bool:
    """Return whether there is an agent at `path` that takes connections and does not answer."""
    remarks: list[str] = []
    _read_agent(path, remarks)
    return bool(remarks)


def _read_public_key(path: Path) -> bytes:
    """Return the public key, as bytes, of a key file: itself, or that beside it, or that within it; b"" if none.

    By it, an encrypted key is found in the SSH agent, where no passphrase is needed.
    """
    for candidate in (path, path.with_name(path.name + ".pub")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if blob := _read_public_line(candidate.read_text()):
                return blob
    try:
        return _extract_public_key(path.read_text())
    except (OSError, ValueError, struct.error):
        return b""


def _read_public_line(text: str) -> bytes:
    """Return the public key of a line "TYPE BASE64 …"; b"" if it has none."""
    try:
        kind, data, *_ = text.split()
        blob = base64.b64decode(data)
    except ValueError:
        return b""
    return blob if blob.startswith(struct.pack(">I", len(kind)) + kind.encode()) else b""


def _extract_public_key(text: str) -> bytes:
    """Return the public key of a private key in OpenSSH's format, where it is not encrypted."""
    data = base64.b64decode("".join(line for line in text.splitlines() if not line.startswith("-")))
    if not data.startswith(_MAGIC):
        return b""
    position = len(_MAGIC)
    fields = []
    for index in range(4):  # cipher, key derivation, its options, public key; the number of keys is before the last
        position += 4 if index == 3 else 0
        (size,) = struct.unpack_from(">I", data, position)
        fields.append(data[position + 4 : position + 4 + size])
        position += 4 + size
    return fields[3]


def _certify(key: paramiko.PKey, target: Target) -> Iterator[paramiko.PKey]:
    """Yield `key` with each of the user's certificates that is for it; keys of agents are left to OpenSSH."""
    import paramiko

    if isinstance(key, paramiko.AgentKey):
        return
    for path in target.certificates:
        try:
            certificate = base64.b64decode(path.read_text().split()[1])
            if _is_for(certificate, key.asbytes()):
                certified = copy.copy(key)
                certified.load_certificate(str(path))
                yield certified
        except (OSError, ValueError, IndexError, struct.error):
            continue


def _is_for(certificate: bytes, public_key: bytes) -> bool:
    """Return whether a certificate has the fields of a public key, which come after its type and its nonce."""

    def skip(data: bytes, fields: int) -> bytes:
        for _ in range(fields):
            data = data[4 + struct.unpack_from(">I", data)[0] :]
        return data

    return skip(certificate, 2).startswith(skip(public_key, 1))


def _try_key_file(path: Path, unusable: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    try:
        data = path.read_bytes()
        if _read_public_line(data.decode("utf-8", "replace")):
            raise ValueError("is a public key, whose private half is not in the agent: ssh-add")
        if b"PRIVATE KEY" in data:
            _check_mode(path)
        key = load_private_key(data)
    except FileNotFoundError:
        unusable.append(f"key file {path} does not exist")
    except OSError as error:
        unusable.append(f"key file {path} cannot be read: {error.strerror}")
    except TypeError:
        unusable.append(f"key file {path} is encrypted and not in the agent: ssh-add {path}")
    except ValueError as error:
        unusable.append(f"key file {path} {error}")
    else:
        yield from _with_own_certificate(path, key)


def _with_own_certificate(path: Path, key: paramiko.PKey) -> Iterator[tuple[str, paramiko.PKey]]:
    own = path.with_name(path.name + "-cert.pub")
    if own.exists():
        yield from ((f"{own}", certified) for certified in _certify(key, Target("", 0, "", certificates=(own,))))
    yield str(path), key


def _check_mode(path: Path) -> None:
    """Raise ValueError where a key file is one that ssh refuses, too: others may read it."""
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == os.getuid() and mode & 0o077:
        raise ValueError(f"may be read by others (mode {mode:04o}), and is refused by ssh too: chmod 600 {path}")


def load_private_key(data: bytes, passphrase: bytes | None = None) -> paramiko.PKey:
    """Return a private key of a file in any format that OpenSSH reads.

    Raises:
        TypeError: it is encrypted and there is no passphrase.
        ValueError: it is no private key, of a type that cannot be used here, or the passphrase is wrong.
    """
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    kinds: dict[type, type[paramiko.PKey]] = {
        rsa.RSAPrivateKey: paramiko.RSAKey,
        ec.EllipticCurvePrivateKey: paramiko.ECDSAKey,
        ed25519.Ed25519PrivateKey: paramiko.Ed25519Key,
    }
    read = serialization.load_ssh_private_key if _is_openssh(data) else serialization.load_pem_private_key
    try:
        key = read(data, passphrase)
    except UnsupportedAlgorithm as error:
        raise ValueError("is of a type that cannot be used here") from error
    except ValueError as error:
        raise ValueError("is no private key") from error
    for kind, result in kinds.items():
        if isinstance(key, kind):
            # paramiko itself does not read all formats
            text = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
            parsed: paramiko.PKey = result.from_private_key(io.StringIO(text.decode()))
            return parsed
    raise ValueError("is of a type that cannot be used here")


def _is_openssh(data: bytes) -> bool:
    return b"BEGIN OPENSSH PRIVATE KEY" in data
