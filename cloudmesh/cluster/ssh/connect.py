"""Connects to a host: by TCP, a proxy command or jump hosts; then verifies its key, logs in and gains root."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import HostError, UnreachableError, UsageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.ssh import authentication, host_list, known_hosts, root_access, ssh_config
from cloudmesh.cluster.ssh.connection import Connection, Link, translate_errors
from cloudmesh.cluster.ssh.host_keys import HostKeys
from cloudmesh.cluster.ssh.ssh_config import Target

if TYPE_CHECKING:
    import paramiko

_ATTEMPTS = 5
# A stream, and a function that releases everything except the stream itself.
_ByteStream = tuple["socket.socket | paramiko.Channel", Callable[[], None]]


def connect(host: Host, settings: SshSettings) -> Connection:
    """Connect to `host`, log in and find out how to become root.

    Raises:
        UnreachableError: DNS, TCP or the key exchange failed.
        HostKeyError: the host's key is unknown and not accepted, revoked, or has changed.
        AuthenticationError: no key was accepted, or sudo refused.
        HostTimeoutError: the host answered too late.
        UsageError: the SSH configuration cannot be read, or its jump hosts form a circle.
    """
    _silence_paramiko()
    target = ssh_config.resolve(host)
    _refuse_jump_loops(host, target)
    link = _open_link(host, target, settings, known_hosts.comment_for(host))
    try:
        with translate_errors(host):
            return Connection(host, link, root_access.gain_root(host, link, settings))
    except BaseException:
        link.close()
        raise


def _refuse_jump_loops(host: Host, target: Target) -> None:
    """Raise UsageError if the jump hosts of `target` form a circle, before any of them is connected.

    Without this check, the threads that connect to them would wait for each other for ever.
    """
    seen: set[tuple[str, ...]] = set()
    while target.jumps:
        if target.jumps in seen:
            raise UsageError(f"{host}: ProxyJump goes round in a circle through {target.jumps[0]}; see ~/.ssh/config")
        seen.add(target.jumps)
        target = ssh_config.resolve(_parse_jump_host(target.jumps[0]))


def _open_link(host: Host, target: Target, settings: SshSettings, comment: str) -> Link:
    """Connect to `target` and log in; `comment` is written with a new host key into our known_hosts file."""
    host_keys = HostKeys(
        str(host),
        target,
        trusted=host.host_key,
        store=settings.known_hosts,
        comment=comment,
        accept_new=settings.accept_new_hostkeys,
        confirm=settings.confirm,
    )
    transport, release = _exchange_keys(host, target, settings, host_keys)
    try:
        with translate_errors(host):
            key = _read_server_key(transport)
            host_keys.verify(key)
            authentication.log_in(transport, host, target, settings.passphrase)
    except BaseException:
        transport.close()
        release()
        raise
    address = f"[{target.address}]" if ":" in target.address else target.address
    return Link(
        transport,
        target.user,
        contact=f"{target.user}@{address}:{target.port}",
        host_key=key,
        remember=lambda: host_keys.remember(key, known_hosts.comment_for(host)),
        forget=host_keys.forget,
        on_close=release,
    )


def _exchange_keys(
    host: Host, target: Target, settings: SshSettings, host_keys: HostKeys
) -> tuple[paramiko.Transport, Callable[[], None]]:
    """Return a transport after its key exchange, and a function that releases what it runs through.

    Where sshd hangs up at once, try again: with MaxStartups, it does so while many others are logging in.

    Raises:
        UnreachableError: there was no way to the host, or the key exchange failed.
    """
    return retry(
        lambda: _exchange_keys_once(host, target, settings, host_keys),
        lambda error: isinstance(error, _HungUpError),
        attempts=_ATTEMPTS,
        pause_seconds=0.2,
        grows=True,
    )


class _HungUpError(UnreachableError):
    """The server closed the connection at once."""


def _exchange_keys_once(
    host: Host, target: Target, settings: SshSettings, host_keys: HostKeys
) -> tuple[paramiko.Transport, Callable[[], None]]:
    import paramiko

    from cloudmesh.cluster.ssh.ordered_transport import OrderedTransport

    stream, release = _open_stream(host, target, settings)
    start = time.monotonic()
    transport = OrderedTransport(stream)
    timeout = settings.connect_timeout
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = timeout
    host_keys.prefer_known_types(transport)
    try:
        transport.start_client(timeout=2 * timeout)
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        release()
        is_final = isinstance(error, paramiko.ssh_exception.IncompatiblePeer) or target.proxy_command
        kind = UnreachableError if is_final or time.monotonic() - start > timeout / 2 else _HungUpError
        raise kind(str(host), _explain_failed_handshake(target, error)) from error
    return transport, release


def _explain_failed_handshake(target: Target, error: Exception) -> str:
    if target.proxy_command:
        return f"its ProxyCommand gave no SSH connection: {target.proxy_command}"
    if "banner" in str(error):
        return f"port {target.port} answers, but not as sshd does: is it the right port, and is sshd overloaded?"
    return f"the SSH key exchange failed: {str(error) or 'the connection was closed'}"


def _read_server_key(transport: paramiko.Transport) -> str:
    import paramiko

    try:
        key = transport.get_remote_server_key()
    except paramiko.SSHException as error:  # the key exchange did not end in time, which start_client does not report
        raise TimeoutError from error
    return f"{key.get_name()} {key.get_base64()}"


def _open_stream(host: Host, target: Target, settings: SshSettings) -> _ByteStream:
    """Return a byte stream to the host's sshd, and a function that releases everything except the stream itself."""
    if target.jumps:
        return _open_channel_through_jump_host(host, target, settings)
    if target.proxy_command:
        process = ProxyProcess(target.proxy_command)
        return process.stream, process.close
    return _connect_tcp(host, target, settings.connect_timeout), lambda: None


def _connect_tcp(host: Host, target: Target, timeout: float) -> socket.socket:
    where = f"{target.address} port {target.port}"
    try:
        stream = socket.create_connection((target.address, target.port), timeout)
    except socket.gaierror as error:
        raise UnreachableError(str(host), f"DNS knows no address of {target.address} ({error.strerror})") from error
    except ConnectionRefusedError as error:
        raise UnreachableError(str(host), f"connection refused at {where}: is sshd running there?") from error
    except TimeoutError as error:
        raise UnreachableError(
            str(host), f"no answer from {where} in {timeout:g} s: is it up, is a firewall on the way?"
        ) from error
    except UnicodeError as error:  # whose text is about a codec
        cause = f"{target.address} is no name that DNS can have: each part between dots has 1 to 63 characters"
        raise UnreachableError(str(host), cause) from error
    except OSError as error:
        raise UnreachableError(str(host), f"no way to {where}: {error.strerror or error}") from error
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def _open_channel_through_jump_host(host: Host, target: Target, settings: SshSettings) -> _ByteStream:
    """Return a channel through the last jump host, whose connection is shared by all hosts behind it."""
    *before, last = target.jumps
    try:
        lease = JUMP_HOSTS.lease((target.jumps, settings), lambda: _connect_jump_host(tuple(before), last, settings))
    except HostError as error:
        raise type(error)(str(host), f"jump host {error.host}: {error.cause}") from error
    try:
        with translate_errors(host):
            channel = lease.link.transport.open_channel(
                "direct-tcpip", (target.address, target.port), ("127.0.0.1", 0), timeout=settings.connect_timeout
            )
    except HostError as error:
        lease.release()
        raise UnreachableError(
            str(host), f"jump host {last} has no way to {target.address} port {target.port}: {error.cause}"
        ) from error
    return channel, lease.release


def _parse_jump_host(text: str) -> Host:
    return host_list.parse_hosts(text.removeprefix("ssh://"))[0]


def _connect_jump_host(before: tuple[str, ...], last: str, settings: SshSettings) -> Link:
    host = _parse_jump_host(last)
    target = ssh_config.resolve(host)
    if before:
        target = replace(target, jumps=before, proxy_command="")
    return _open_link(host, target, settings, known_hosts.JUMP)


def _silence_paramiko() -> None:
    """Keep paramiko's log messages off the terminal; what matters of them is raised as exceptions too."""
    logger = logging.getLogger("paramiko")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


@dataclass
class _SharedLink:
    """A connection to a jump host.

    Attributes:
        lock: is held while the other attributes change, and while the connection is being made.
        link: the connection; None where there is none.
        users: how many leases of it are not released.
        failure: why the last attempt to connect failed; None if it succeeded.
        failed_at: when that was, in the seconds of `time.monotonic`.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    link: Link | None = None
    users: int = 0
    failure: HostError | None = None
    failed_at: float = 0.0


@dataclass(frozen=True)
class Lease:
    """The use of a shared connection until `release` is called."""

    link: Link
    release: Callable[[], None]


class JumpHosts:
    """Connections to jump hosts, shared between the hosts behind them; closed when the last user releases them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._shared: dict[Hashable, _SharedLink] = {}

    def lease(self, key: Hashable, connect: Callable[[], Link]) -> Lease:
        """Return a lease of the connection that is stored under `key`.

        Args:
            key: the same for everything that can share the connection.
            connect: makes the connection if there is none, or none that still stands.

        Raises:
            HostError: `connect` failed, in this thread or in another one for which this thread waited.
        """
        with self._guard:
            shared = self._shared.setdefault(key, _SharedLink())
        start = time.monotonic()
        with shared.lock:
            link = shared.link
            if link is None or not link.transport.is_active():
                # Another thread failed while this one waited: trying again would only take as long once more.
                if shared.failure and shared.failed_at > start:
                    raise type(shared.failure)(shared.failure.host, shared.failure.cause)
                link = self._connect(shared, connect)
            shared.users += 1
        return Lease(link, lambda: self._release(shared, link))

    def _connect(self, shared: _SharedLink, connect: Callable[[], Link]) -> Link:
        if shared.link:
            shared.link.close()
        try:
            shared.link, shared.users, shared.failure = connect(), 0, None
        except HostError as error:
            shared.link, shared.failure, shared.failed_at = None, error, time.monotonic()
            raise
        return shared.link

    def _release(self, shared: _SharedLink, link: Link) -> None:
        with shared.lock:
            if shared.link is not link:
                return  # the link had died and was replaced by another one
            shared.users -= 1
            if not shared.users:
                shared.link = None
                link.close()


JUMP_HOSTS = JumpHosts()


class ProxyProcess:
    """A running ProxyCommand.

    Args:
        command: is run by the local shell, as OpenSSH does; the user wrote it into `~/.ssh/config`.

    Attributes:
        stream: this program's end of the connection.
    """

    def __init__(self, command: str) -> None:
        self.stream, process_end = socket.socketpair()
        with process_end:
            self._process = subprocess.Popen(  # noqa: S602 - a ProxyCommand is shell text by definition
                f"exec {command}",
                shell=True,
                stdin=process_end.fileno(),
                stdout=process_end.fileno(),
                stderr=subprocess.DEVNULL,
            )

    def close(self) -> None:
        """End the process and the connection."""
        self.stream.close()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
