"""Logs in to hosts: tries private keys in order, and explains failures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import AuthenticationError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh import keys
from cloudmesh.cluster.ssh.ssh_config import Target

if TYPE_CHECKING:
    import paramiko


def log_in(transport: paramiko.Transport, host: Host, target: Target) -> None:
    """Authenticate with the first key that the host accepts; nobody is asked for anything.

    Args:
        transport: after its key exchange and the verification of the host's key.
        host: the host; its `private_key`, if it has one, is the only key that is tried.
        target: the login name, and the keys to try otherwise.

    Raises:
        AuthenticationError: no key was accepted, or there is no key that can be used.
        paramiko.SSHException, EOFError, OSError: the connection failed.
    """
    import paramiko

    tried: list[str] = []
    unusable: list[str] = []
    for label, key in _list_keys(host, target, unusable):
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
        except paramiko.SSHException as error:
            if not transport.is_active():
                raise
            unusable.append(f"{label}: {error}")
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


def _list_keys(host: Host, target: Target, unusable: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield the keys to try; if the host has a private key in memory, it is the only one."""
    if host.private_key:
        yield "the key made for it", keys.load_private_key(host.private_key.encode())
        return
    if target.keys_forbidden:
        raise AuthenticationError(
            str(host),
            f"user {target.user} may not log in by key, as the SSH configuration here has {target.keys_forbidden}: "
            "allow publickey there for this host",
        )
    for label, key in keys.list_keys(target, unusable):
        if objection := target.algorithms.find_objection(key):
            unusable.append(f"{label} is not used, as the SSH configuration here has {objection}")
        else:
            yield label, key
