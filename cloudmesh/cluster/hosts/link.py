"""An authenticated SSH connection that notices when it is cut, and the one place where paramiko's errors are mapped."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.errors import HostError, HostTimeoutError, UnreachableError
from cloudmesh.cluster.model import Host

if TYPE_CHECKING:
    import paramiko

_KEEPALIVE = 5.0  # seconds between questions to the host
_SILENCE = 30.0  # seconds without an answer after which the link counts as cut


@dataclass(frozen=True)
class SshSettings:
    """How hosts are connected.

    Attributes:
        known_hosts: our file of host keys, see `hosts/known.py`.
        accept_new_hostkeys: accept unknown host keys.
        confirm: asks the user a yes-or-no question about an unknown host key.
        sudo_password: asks the user for the sudo password of "USER@HOST".
        connect_timeout: seconds for each of TCP connection, key exchange and login.
        passphrase: asks the user for the passphrase of a key file.
    """

    known_hosts: Path
    accept_new_hostkeys: bool = False
    confirm: Callable[[str], bool] | None = None
    sudo_password: Callable[[str], str] | None = None
    connect_timeout: float = 10.0
    passphrase: Callable[[str], str] | None = None


class Link:
    """An authenticated SSH connection.

    Args:
        transport: authenticated.
        user: whom it is logged in as.
        contact: how the host was reached, whatever the SSH configuration calls it: "user@host:port".
        host_key: the host's key, "TYPE BASE64".
        remember: puts the host's key into our known_hosts file.
        on_close: releases what the connection runs through.
    """

    def __init__(
        self,
        transport: paramiko.Transport,
        user: str,
        contact: str,
        host_key: str,
        remember: Callable[[], None],
        on_close: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.user = user
        self.contact = contact
        self.host_key = host_key
        self.remember = remember
        self._on_close = on_close
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """End the connection, and the way to it."""
        self.transport.close()
        self._on_close()

    def _watch(self) -> None:
        # A host that is gone without a word answers nothing and refuses nothing: only asking finds out.
        while self.transport.is_active():
            guard = threading.Timer(_SILENCE, self.transport.close)
            guard.daemon = True
            guard.start()
            with contextlib.suppress(Exception):  # a dead transport ends the loop, whatever it raised
                self.transport.global_request("keepalive@openssh.com", wait=True)
            guard.cancel()
            self.transport.join(_KEEPALIVE)


@contextlib.contextmanager
def mapped(host: Host) -> Iterator[None]:
    """Turn what paramiko and sockets raise into errors of `host`.

    Raises:
        HostTimeoutError: there was no answer in time.
        UnreachableError: the connection failed or was cut.
        HostError: the host's sshd refused to open a channel.
    """
    import paramiko

    name = str(host)
    try:
        yield
    except TimeoutError as error:
        raise HostTimeoutError(name, "SSH gave no answer in time") from error
    except (EOFError, ConnectionError) as error:
        raise UnreachableError(name, f"the SSH connection was lost: {error or 'end of stream'}") from error
    except paramiko.ChannelException as error:
        raise HostError(name, f"sshd opened no channel ({error}): see MaxSessions, AllowTcpForwarding there") from error
    except paramiko.SSHException as error:
        lost = "not active" in str(error)  # paramiko's words for a connection that has ended
        raise UnreachableError(name, "the SSH connection was lost" if lost else f"SSH failed: {error}") from error
    except OSError as error:
        raise UnreachableError(name, f"the SSH connection failed: {error.strerror or error}") from error
