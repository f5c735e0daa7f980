"""Connects to a host: by TCP, a proxy command or jump hosts; then verifies its key, logs in and gains root."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import (
    AuthenticationError,
    ClusterError,
    HostError,
    HostKeyError,
    UnreachableError,
    UsageError,
)
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.retrying import retry
from cloudmesh.cluster.ssh import (
    authentication,
    interactive_login,
    known_hosts,
    openssh,
    openssh_config,
    root_access,
    ssh_config,
)
from cloudmesh.cluster.ssh.connection import Connection, Link, translate_errors
from cloudmesh.cluster.ssh.host_keys import HostKeys, describe
from cloudmesh.cluster.ssh.jump_hosts import JUMP_HOSTS
from cloudmesh.cluster.ssh.proxy_command import ProxyProcess
from cloudmesh.cluster.ssh.ssh_config import Target
from cloudmesh.cluster.ssh.transport import ByteStream, Transport

if TYPE_CHECKING:
    import paramiko

_ATTEMPTS = 5
_BUSY_SECONDS = 120.0  # in which a host that has many logins at once is tried again
_PENALTY_SECONDS = 60.0  # in which one is tried again that refuses this machine: mostly for 15 s, at most for 10 min
# What sshd says before it hangs up.
_TOO_MANY_LOGINS, _PENALTY = "Exceeded MaxStartups", "Not allowed at this time"
_ADDRESS_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}  # as the SSH configuration names them
_PATIENCE = 6  # how many times the seconds of a connection a login may take, and the start of a ProxyCommand
# What ssh says where it has nothing in common with a host, and the settings that allow more.
_NO_COMMON = re.compile(r"no matching (.+?) found\. Their offer: ([^,\s]+)")
_SETTINGS = {
    "key exchange method": "KexAlgorithms",
    "host key type": "HostKeyAlgorithms",
    "cipher": "Ciphers",
    "MAC": "MACs",
}
# A stream, and a function that releases everything except the stream itself.
_ByteStream = tuple["socket.socket | ByteStream | ProxyProcess", Callable[[], None]]


def connect(host: Host, settings: SshSettings, *, is_given_up: Callable[[], bool] = lambda: False) -> Connection:
    """Connect to `host`, log in and find out how to become root.

    Args:
        host: to connect to.
        settings: of the operator's side.
        is_given_up: says whether nobody waits for the connection any more; no other way is tried then.

    Raises:
        UnreachableError: DNS, TCP or the key exchange failed.
        HostKeyError: the host's key is unknown and not accepted, revoked, or has changed.
        AuthenticationError: no key was accepted, or sudo refused.
        HostTimeoutError: the host answered too late.
        UsageError: the SSH configuration cannot be read, or its jump hosts form a circle.
    """
    _silence_paramiko()
    target = ssh_config.resolve(host)
    if not host.address and not openssh_config.program():
        settings.tell_once("OpenSSH's client is not installed here: its configuration is read as well as we can")
    _refuse_jump_loops(host, target)
    link = _open_link(host, target, settings, known_hosts.comment_for(host), is_given_up)
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
        target = ssh_config.resolve(ssh_config.parse_jump_host(target.jumps[0]))


def _open_link(
    host: Host, target: Target, settings: SshSettings, comment: str, is_given_up: Callable[[], bool] = lambda: False
) -> Link:
    """Connect to `target` and log in; `comment` is written with a new host key into our known_hosts file.

    Where that does not succeed by what we can do ourselves, OpenSSH's own client is let to try.
    """
    host_keys = HostKeys(
        str(host),
        target,
        trusted=host.host_key,
        store=settings.known_hosts,
        comment=comment,
        accept_new=settings.accept_new_hostkeys,
        confirm=settings.confirm,
        note=settings.tell_once,
    )
    if host.address or host.private_key:  # a local host, which OpenSSH knows nothing of
        return _open_own_link(host, target, settings, host_keys)
    try:
        if target.foreign:
            raise _IncompatibleError(
                str(host), f"the SSH configuration wants {target.foreign}, which only OpenSSH knows"
            )
        return _open_own_link(host, target, settings, host_keys, leave_to_openssh=True)
    except (UnreachableError, HostKeyError, AuthenticationError) as error:
        if is_given_up():
            raise
        # Where the host or a jump host is out of reach, only a connection that is open already leads there.
        is_unreachable = isinstance(error, UnreachableError) and not isinstance(error, _IncompatibleError)
        if is_unreachable or isinstance(error.__cause__, HostError):  # which is a jump host's error
            if transport := openssh.use_open_connection(host):
                return _make_link(host, target, transport, host_keys.verified, host_keys, lambda: None)
            raise
        # Of a host key that has changed or is revoked, OpenSSH would say the same.
        if isinstance(error, HostKeyError) and not isinstance(error, _DoubtfulKeyError):
            raise
        return _open_link_by_openssh(host, target, settings, host_keys, error)


def _open_own_link(
    host: Host,
    target: Target,
    settings: SshSettings,
    host_keys: HostKeys,
    *,
    leave_to_openssh: bool = False,
    refusal: AuthenticationError | None = None,
) -> Link:
    """Connect and log in by paramiko: without questions, or by them after `refusal`, for which it failed without."""
    transport, release = _exchange_keys(host, target, settings, host_keys)
    try:
        with translate_errors(host):
            key = _read_server_key(transport, host, target)
            if leave_to_openssh:
                _leave_doubts_to_openssh(host, key, host_keys)
            host_keys.verify(key)
            if refusal:
                interactive_login.log_in(transport, host, target, settings, refusal)
            else:
                authentication.log_in(transport, host, target)
    except BaseException as error:
        transport.close()
        release()
        if isinstance(error, UnreachableError):
            raise _IncompatibleError(str(host), f"the login was broken off: {error.cause}") from error.__cause__
        if isinstance(error, Exception) and not isinstance(error, ClusterError):  # whatever paramiko stumbled over
            raise _IncompatibleError(str(host), f"the login failed: {error!r}") from error
        raise
    return _make_link(host, target, transport, key, host_keys, release)


def _leave_doubts_to_openssh(host: Host, key: str, host_keys: HostKeys) -> None:
    """Raise _DoubtfulKeyError if OpenSSH may know more of the host's key than we do."""
    if not host_keys.is_sure_of(key):
        voucher = host_keys.foreign or (openssh.has_open_connection(host) and "a connection that is open")
        if voucher:
            raise _DoubtfulKeyError(str(host), f"unknown host key {describe(key)}: {voucher} may vouch for it")


def _open_link_by_openssh(
    host: Host, target: Target, settings: SshSettings, host_keys: HostKeys, error: HostError
) -> Link:
    """Have OpenSSH's client connect to `host`, after an attempt of ours has failed with `error`."""
    try:
        opened = openssh.connect(host, target, settings, host_keys)
    except openssh.OpenSshError as failure:
        if isinstance(error, _IncompatibleError):
            raise UnreachableError(str(host), _explain_incompatibility(error, failure)) from error
        if isinstance(error, HostKeyError):
            return _open_own_link(host, target, settings, host_keys)
        # Questions come last: nothing is asked for where OpenSSH gets in without.
        if isinstance(error, AuthenticationError) and (settings.passphrase or settings.password):
            return _open_own_link(host, target, settings, host_keys, refusal=error)
        raise error from failure
    return _make_link(host, target, opened.transport, opened.host_key, host_keys, lambda: None)


def _explain_incompatibility(error: _IncompatibleError, failure: openssh.OpenSshError) -> str:
    if openssh_config.program():
        remedy = ""
        if (missing := _NO_COMMON.search(str(failure))) and missing[1] in _SETTINGS:
            remedy = f": write {_SETTINGS[missing[1]]} +{missing[2]} for it into ~/.ssh/config, or renew its sshd"
        return f"{error.cause}; OpenSSH's client does not get in, either: {failure}{remedy}"
    return (
        f"{error.cause}: install OpenSSH's client here (openssh-client), which is used for such hosts, or let its sshd "
        "offer more (KexAlgorithms, Ciphers, MACs, HostKeyAlgorithms)"
    )


def _make_link(
    host: Host,
    target: Target,
    transport: Transport,
    key: str,
    host_keys: HostKeys,
    release: Callable[[], None],
) -> Link:
    address = f"[{target.address}]" if ":" in target.address else target.address
    return Link(
        transport,
        target.user,
        contact=f"{target.user}@{address}:{target.port}",
        host_key=key,
        remember=lambda: host_keys.remember(key, known_hosts.comment_for(host)) if key else None,
        forget=host_keys.forget,
        on_close=release,
    )


class _DoubtfulKeyError(HostKeyError):
    """The host's key is not known to us, but may be to OpenSSH."""


class _IncompatibleError(UnreachableError):
    """The host speaks SSH, but we did not come to terms with it: it may want something that we do not have."""


def _exchange_keys(
    host: Host, target: Target, settings: SshSettings, host_keys: HostKeys
) -> tuple[paramiko.Transport, Callable[[], None]]:
    """Return a transport after its key exchange, and a function that releases what it runs through.

    Where sshd hangs up at once, try again; for longer where it says that too many others are logging in, or that this
    machine has failed to log in lately: connections that were given up because it was slow count as such failures.

    Raises:
        UnreachableError: there was no way to the host, or the key exchange failed.
    """

    def exchange() -> tuple[paramiko.Transport, Callable[[], None]]:
        return retry(
            lambda: _exchange_keys_once(host, target, settings, host_keys),
            lambda error: isinstance(error, _HungUpError),
            attempts=_ATTEMPTS,
            pause_seconds=0.2,
            grows=True,
        )

    def wait_for_room() -> tuple[paramiko.Transport, Callable[[], None]]:
        return retry(
            exchange,
            lambda error: isinstance(error, _BusyError),
            seconds=_BUSY_SECONDS,
            pause_seconds=0.5,
            grows=True,
        )

    def is_penalty(error: BaseException) -> bool:
        if isinstance(error, _PenaltyError):
            settings.tell_once(f"{host}: {error.cause}; waiting for up to {_PENALTY_SECONDS:g} s")
            return True
        return False

    return retry(wait_for_room, is_penalty, seconds=_PENALTY_SECONDS, pause_seconds=2.0)


class _BusyError(UnreachableError):
    """The server takes no more logins for the moment: MaxStartups of them have begun."""


class _PenaltyError(UnreachableError):
    """The server refuses this machine for a while, see PerSourcePenalties in sshd_config(5)."""


class _HungUpError(UnreachableError):
    """The server closed the connection at once."""


class _HungUpOnUsError(_HungUpError, _IncompatibleError):
    """The server closed the connection once it had heard what we offer."""


def _exchange_keys_once(
    host: Host, target: Target, settings: SshSettings, host_keys: HostKeys
) -> tuple[paramiko.Transport, Callable[[], None]]:
    import paramiko

    from cloudmesh.cluster.ssh.ordered_transport import OrderedTransport

    stream, release = _open_stream(host, target, settings)
    start = time.monotonic()
    transport = OrderedTransport(stream.stream if isinstance(stream, ProxyProcess) else stream)
    timeout = target.connect_timeout or settings.connect_timeout
    # A ProxyCommand first makes a connection of its own, and a host may ask DNS and others about who comes.
    handshake = timeout if target.connect_timeout else timeout * (_PATIENCE if target.proxy_command else 3)
    transport.banner_timeout = transport.handshake_timeout = handshake
    transport.auth_timeout = max(timeout, settings.connect_timeout) * _PATIENCE
    target.algorithms.restrict(transport)
    host_keys.prefer_known_types(transport)
    try:
        transport.start_client(timeout=2 * handshake)
    except Exception as error:  # paramiko passes on whatever its thread met
        transport.close()
        speaks_ssh = bool(transport.remote_version)
        cause = _explain_failed_handshake(target, error, stream, transport.greeting, speaks_ssh=speaks_ssh)
        release()
        if _TOO_MANY_LOGINS in transport.greeting:
            raise _BusyError(str(host), cause) from error
        if _PENALTY in transport.greeting:
            raise _PenaltyError(str(host), cause) from error
        is_final = isinstance(error, paramiko.ssh_exception.IncompatiblePeer) or target.proxy_command
        if is_final or time.monotonic() - start > timeout / 2:
            raise (_IncompatibleError if speaks_ssh else UnreachableError)(str(host), cause) from error
        raise (_HungUpOnUsError if speaks_ssh else _HungUpError)(str(host), cause) from error
    return transport, release


def _explain_failed_handshake(
    target: Target, error: Exception, stream: object, greeting: str, *, speaks_ssh: bool
) -> str:
    if isinstance(stream, ProxyProcess) and not speaks_ssh:
        last_words = stream.last_words()
        return f"its ProxyCommand gave no SSH connection: {target.proxy_command}" + (last_words and f": {last_words}")
    if _PENALTY in greeting:
        return "its sshd refuses this machine for a while, as logins from it have failed: see PerSourcePenalties there"
    if _TOO_MANY_LOGINS in greeting:
        return "its sshd has too many logins at once: see MaxStartups there"
    if "banner" in str(error):
        said = f" It says {greeting[:80]!a}." if greeting else ""
        return f"port {target.port} answers, but not as sshd does: is it the right port, and is sshd overloaded?{said}"
    return f"the SSH key exchange failed: {str(error) or 'the connection was closed'}"


def _read_server_key(transport: paramiko.Transport, host: Host, target: Target) -> str:
    import paramiko

    try:
        key = transport.get_remote_server_key()
    except paramiko.SSHException as error:  # the key exchange did not end in time, which start_client does not report
        raise TimeoutError from error
    if objection := target.algorithms.find_short(key):
        raise HostKeyError(
            str(host), f"its host key is too short, as the SSH configuration here has {objection}: give it a longer one"
        )
    return f"{key.get_name()} {key.get_base64()}"


def _open_stream(host: Host, target: Target, settings: SshSettings) -> _ByteStream:
    """Return a byte stream to the host's sshd, and a function that releases everything except the stream itself."""
    if target.jumps:
        return _open_channel_through_jump_host(host, target, settings)
    if target.proxy_command:
        try:
            process = ProxyProcess(target.proxy_command)
        except OSError as error:
            raise UnreachableError(str(host), f"its ProxyCommand cannot be run: {error.strerror}") from error
        return process, process.close
    return _connect_tcp(host, target, target.connect_timeout or settings.connect_timeout), lambda: None


def _connect_tcp(host: Host, target: Target, timeout: float) -> socket.socket:
    where = f"{target.address} port {target.port}"
    try:
        stream = retry(
            lambda: _connect_to_first(target, timeout),
            lambda error: isinstance(error, OSError) and not isinstance(error, socket.gaierror),
            attempts=target.connection_attempts,
        )
    except socket.gaierror as error:
        remark = f", of AddressFamily {target.address_family}" if target.address_family else ""
        cause = f"DNS knows no address of {target.address}{remark} ({error.strerror})"
        raise UnreachableError(str(host), cause) from error
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


def _connect_to_first(target: Target, timeout: float) -> socket.socket:
    """Return a connection to the first of the host's addresses that takes one; else raise what the last one met."""
    family = _ADDRESS_FAMILIES.get(target.address_family, socket.AF_UNSPEC)
    failure = OSError("it has no address")
    for address in socket.getaddrinfo(target.address, target.port, family, socket.SOCK_STREAM):
        stream = socket.socket(*address[:3])
        try:
            stream.settimeout(timeout)
            if target.bind_address:
                _bind(stream, target.bind_address)
            stream.connect(address[4])
        except OSError as error:
            stream.close()
            failure = error
        else:
            return stream
    raise failure


def _bind(stream: socket.socket, address: str) -> None:
    try:
        stream.bind(socket.getaddrinfo(address, 0, stream.family, socket.SOCK_STREAM)[0][4])
    except OSError as error:
        raise OSError(f"BindAddress {address} cannot be used ({error.strerror})") from error


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


def _connect_jump_host(before: tuple[str, ...], last: str, settings: SshSettings) -> Link:
    host = ssh_config.parse_jump_host(last)
    target = ssh_config.resolve(host)
    if before:
        target = replace(target, jumps=before, proxy_command="")
    return _open_link(host, target, settings, known_hosts.JUMP)


def _silence_paramiko() -> None:
    """Keep paramiko's log messages off the terminal; what matters of them is raised as exceptions too."""
    logger = logging.getLogger("paramiko")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
