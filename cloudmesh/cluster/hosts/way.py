"""The way to a host: TCP, a proxy command or jump hosts; then the key exchange, the host's key, the login."""

from __future__ import annotations

import logging
import random
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudmesh.cluster.errors import HostError, UnreachableError, UsageError
from cloudmesh.cluster.hosts import address, keys, known, sshconfig
from cloudmesh.cluster.hosts.hostkeys import HostKeys
from cloudmesh.cluster.hosts.jump import JUMPS
from cloudmesh.cluster.hosts.link import Link, SshSettings, mapped
from cloudmesh.cluster.hosts.proxycommand import ProxyProcess
from cloudmesh.cluster.hosts.sshconfig import Target
from cloudmesh.cluster.model import Host

if TYPE_CHECKING:
    import paramiko

_ATTEMPTS = 5
_Stream = tuple["socket.socket | paramiko.Channel", Callable[[], None]]


def open_link(host: Host, settings: SshSettings) -> Link:
    """Connect to `host` and log in.

    Raises:
        UnreachableError, HostKeyError, AuthenticationError, HostTimeoutError: why that was not possible.
        UsageError: the SSH configuration cannot be used.
    """
    _silence_paramiko()
    target = sshconfig.resolve(host)
    _refuse_circles(host, target)
    return _open(host, target, settings, known.comment_for(host))


def _refuse_circles(host: Host, target: Target) -> None:
    """Walk the jump hosts before any of them is connected: those who wait for each other would wait for ever."""
    seen: set[tuple[str, ...]] = set()
    while target.jumps:
        if target.jumps in seen:
            raise UsageError(f"{host}: ProxyJump goes round in a circle through {target.jumps[0]}; see ~/.ssh/config")
        seen.add(target.jumps)
        target = sshconfig.resolve(_jump_host(target.jumps[0]))


def _open(host: Host, target: Target, settings: SshSettings, comment: str) -> Link:
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
        with mapped(host):
            key = _shown_key(transport)
            host_keys.verify(key)
            keys.log_in(transport, host, target, settings.passphrase)
    except BaseException:
        transport.close()
        release()
        raise
    address_ = f"[{target.address}]" if ":" in target.address else target.address
    contact = f"{target.user}@{address_}:{target.port}"
    return Link(transport, target.user, contact, key, lambda: host_keys.remember(key, known.comment_for(host)), release)


def _exchange_keys(
    host: Host, target: Target, settings: SshSettings, host_keys: HostKeys
) -> tuple[paramiko.Transport, Callable[[], None]]:
    """Return a transport after its key exchange; tried again where sshd hangs up at once, as MaxStartups makes it."""
    import paramiko

    from cloudmesh.cluster.hosts.ordered import OrderedTransport

    for attempt in range(_ATTEMPTS):
        stream, release = _connect(host, target, settings)
        began = time.monotonic()
        transport = OrderedTransport(stream)
        timeout = settings.connect_timeout
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = timeout
        host_keys.prefer_known_types(transport)
        try:
            transport.start_client(timeout=2 * timeout)
        except (paramiko.SSHException, EOFError, OSError) as error:
            transport.close()
            release()
            final = isinstance(error, paramiko.ssh_exception.IncompatiblePeer) or target.proxy_command
            if final or time.monotonic() - began > timeout / 2 or attempt == _ATTEMPTS - 1:
                raise UnreachableError(str(host), _no_handshake(target, error)) from error
        else:
            return transport, release
        time.sleep(0.2 * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, guards nothing
    raise AssertionError("unreachable")


def _no_handshake(target: Target, error: Exception) -> str:
    if target.proxy_command:
        return f"its ProxyCommand gave no SSH connection: {target.proxy_command}"
    if "banner" in str(error):
        return f"port {target.port} answers, but not as sshd does: is it the right port, and is sshd overloaded?"
    return f"the SSH key exchange failed: {str(error) or 'the connection was closed'}"


def _shown_key(transport: paramiko.Transport) -> str:
    import paramiko

    try:
        key = transport.get_remote_server_key()
    except paramiko.SSHException as error:  # the key exchange did not end in time; start_client does not say so
        raise TimeoutError from error
    return f"{key.get_name()} {key.get_base64()}"


def _connect(host: Host, target: Target, settings: SshSettings) -> _Stream:
    """Return a byte stream to the host's sshd, and what releases all but the stream itself."""
    if target.jumps:
        return _through(host, target, settings)
    if target.proxy_command:
        process = ProxyProcess(target.proxy_command)
        return process.stream, process.close
    return _tcp(host, target, settings.connect_timeout), lambda: None


def _tcp(host: Host, target: Target, timeout: float) -> socket.socket:
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
    except (OSError, UnicodeError) as error:
        raise UnreachableError(str(host), f"no way to {where}: {getattr(error, 'strerror', error)}") from error
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def _through(host: Host, target: Target, settings: SshSettings) -> _Stream:
    """Return a channel through the last jump host; its connection is shared by all hosts behind it."""

    *before, last = target.jumps
    try:
        lease = JUMPS.lease((target.jumps, settings), lambda: _jump_link(tuple(before), last, settings))
    except HostError as error:
        raise type(error)(str(host), f"jump host {error.host}: {error.cause}") from error
    where = (target.address, target.port)
    try:
        with mapped(host):
            channel = lease.link.transport.open_channel(
                "direct-tcpip", where, ("127.0.0.1", 0), timeout=settings.connect_timeout
            )
    except HostError as error:
        lease.release()
        raise UnreachableError(
            str(host), f"jump host {last} has no way to {where[0]} port {where[1]}: {error.cause}"
        ) from error
    return channel, lease.release


def _jump_host(text: str) -> Host:
    return address.parse(text.removeprefix("ssh://"))[0]


def _jump_link(before: tuple[str, ...], last: str, settings: SshSettings) -> Link:
    host = _jump_host(last)
    target = sshconfig.resolve(host)
    if before:
        target = replace(target, jumps=before, proxy_command="")
    return _open(host, target, settings, known.JUMP)


def _silence_paramiko() -> None:
    """Keep paramiko's own log off the terminal: what matters of it arrives as exceptions."""
    logger = logging.getLogger("paramiko")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
