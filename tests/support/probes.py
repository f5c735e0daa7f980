"""What somebody without a credential finds on a host: open ports, what they say, and secrets that can be seen."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

from cloudmesh.cluster.hosts.local import container_config
from support.hosts import HandMade

_PLACES = ("/etc", "/var", "/opt", "/run", "/tmp", "/home", "/root", "/usr/local", *container_config.VOLUMES.values())


def listening(host: HandMade) -> dict[int, set[str]]:
    """Return the addresses that something listens on, by TCP port, as the host itself tells."""
    found: dict[int, set[str]] = {}
    for line in host.run("ss -Hltn | awk '{ print $4 }'").splitlines():
        address, _, port = line.rpartition(":")
        found.setdefault(int(port), set()).add(address)
    return found


def reachable(host: HandMade) -> set[int]:
    """Return the open TCP ports of a host, as found from outside by trying them all."""
    found = set()
    for port in range(1, 65536):
        with socket.socket() as probe:
            probe.settimeout(2)
            if probe.connect_ex((host.address, port)) == 0:
                found.add(port)
    return found


def answer(host: HandMade, port: int, sent: bytes) -> bytes:
    """Return what a port says to some bytes within a second or two."""
    with socket.create_connection((host.address, port), timeout=2) as connection:
        said = b""
        with contextlib.suppress(OSError):
            connection.sendall(sent)
            while chunk := connection.recv(4096):
                said += chunk
        return said


def tls_refusal(host: HandMade, port: int, greeting: bytes = b"", certificate: Path | None = None) -> str:
    """Return why a server does not talk TLS with somebody without a certificate, or with this; empty if it does.

    The reason is the server's where it arrives: one that hangs up at once may be quicker than its own last word.
    """
    with socket.create_connection((host.address, port), timeout=5) as plain:
        plain.sendall(greeting)
        try:
            with _context(certificate).wrap_socket(plain) as connection:
                # in TLS 1.3 the refusal of a client arrives after its side of the handshake
                connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
                connection.recv(100)
                return ""
        except (ssl.SSLError, ConnectionError) as error:
            return str(error)


def https(
    host: HandMade,
    port: int,
    call: str,
    *,
    body: str = "",
    headers: Mapping[str, str] | None = None,
    certificate: Path | None = None,
) -> tuple[int, str]:
    """Return status and body of a call from outside, "METHOD PATH", whose answer ends by itself."""
    method, _, path = call.partition(" ")
    given = {"Content-Type": "application/json", **(headers or {})}
    connection = http.client.HTTPSConnection(host.address, port, timeout=30, context=_context(certificate))
    with contextlib.closing(connection):
        connection.request(method, path, body=body, headers=given)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")


def exposed(host: HandMade, *secrets: str) -> list[str]:
    """Return the files that everyone can read, and the processes' arguments and environments, that hold such a text."""
    # The text goes through a file, lest the search find itself.
    pattern, lines = "/root/.search", "\n".join(secrets)
    host.run(f"umask 077; cat >{pattern} <<'END'\n{lines}\nEND")
    # the shell that writes it has ended; what is searched has no copy but a real one
    script = f"""
        grep -lsaF -f {pattern} /proc/[0-9]*/cmdline /proc/[0-9]*/environ
        find {" ".join(_PLACES)} -xdev -type d ! -perm -001 -prune -o -type f -perm -004 -size -1024k -print0 |
            xargs -0 grep -lsaF -f {pattern}
        true
    """
    return host.run(script).splitlines()


def _context(certificate: Path | None) -> ssl.SSLContext:
    """Return how to talk to somebody who need not prove who they are."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    return context
