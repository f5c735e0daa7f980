"""Hosts as users write them: `[user@]host[:port]`, comma lists and ranges."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.names import quote_short

MAX_HOSTS = 1000
_MAX_NAME_LENGTH = 253
# Those with a meaning to a shell, in a path or in patterns of ~/.ssh/config, and those that separate users and ports.
_UNSAFE = frozenset("'\"`$\\;&<>|(){}[]*?!#~^/,@:")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@\\-]{0,63}")
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._-]+)?)\](?::(.*))?")


def parse_hosts(text: str, *, user: str = "", port: int = 0, key: str = "") -> tuple[Host, ...]:
    """Return the hosts that `text` names, in the order written.

    Args:
        text: "h1,bob@h2:2222,node[01-10],[fe80::1]:22".
        user: for the hosts written without one.
        port: for the hosts written without one.
        key: path of a private key file for all of them.

    Raises:
        UsageError: a host, user, port or range is malformed, or a host is given twice; or there is no host, or
            more than 1000.
    """
    if user and not _USER.fullmatch(user):
        raise UsageError(f"user name {user[:60]!a} is not valid")
    if port and not 0 < port < 65536:
        raise UsageError(f"port {port} is not valid: use 1 to 65535")
    hosts: dict[Host, None] = {}
    for item in _split_commas(text):
        for name, item_user, item_port in _expand_item(item):
            host = Host(name, user=item_user or user, port=item_port or port, key=key)
            if host in hosts:
                raise UsageError(f"host {host} is given twice, the second time by {quote_short(item)}: name it once")
            hosts[host] = None
        if len(hosts) > MAX_HOSTS:
            raise UsageError(f"more than {MAX_HOSTS} hosts: {quote_short(text)}")
    if not hosts:
        raise UsageError("no host given")
    return tuple(hosts)


def _split_commas(text: str) -> Iterator[str]:
    """Yield the items of `text`, which are separated by commas outside brackets."""
    for part in re.split(r",(?![^\[]*\])", text):
        if item := part.strip():
            yield item


def _expand_item(item: str) -> Iterator[tuple[str, str, int]]:
    """Yield name, user ("" where not written) and port (0 where not written) of the hosts that `item` names."""
    user, at, rest = item.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise UsageError(f"user name in {quote_short(item)} is not valid")
    if match := _BRACKETED.fullmatch(rest):
        yield _parse_ipv6(match[1], item), user, _parse_port(match[2], item)
    elif rest.count(":") > 1 and "[" not in rest:
        yield _parse_ipv6(rest, item), user, 0
    else:
        for host in _expand_ranges(rest, item):
            name, _, port = host.partition(":")
            if not _is_safe_name(name):
                raise UsageError(
                    f"host {quote_short(item)} is not valid: use [user@]host[:port], node[01-10] or a list of them"
                )
            yield name, user, _parse_port(port if ":" in host else None, item)


def _is_safe_name(name: str) -> bool:
    """Return whether a name can be one that OpenSSH takes, also as an alias, and means nothing to a shell."""
    if not 0 < len(name) <= _MAX_NAME_LENGTH or name.startswith(("-", ".")):
        return False
    return not any(letter in _UNSAFE or letter.isspace() or not letter.isprintable() for letter in name)


def _expand_ranges(text: str, item: str) -> list[str]:
    import hostlist

    try:
        hosts: list[str] = hostlist.expand_hostlist(text)
    except hostlist.BadHostlist as error:
        raise UsageError(f"host range {quote_short(item)} is not valid: {error}") from error
    return hosts


def _parse_ipv6(text: str, item: str) -> str:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise UsageError(f"{quote_short(item)} is not an IPv6 address") from None
    return text.lower()


def _parse_port(text: str | None, item: str) -> int:
    if text is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise UsageError(f"port in {quote_short(item)} is not valid: use 1 to 65535")
    return int(text)
