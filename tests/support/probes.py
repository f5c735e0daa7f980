"""What somebody without a credential finds on a host: open ports, what these answer, and secrets that can be seen."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

from cloudmesh.cluster.hosts.local import container_config
from support.hosts import ContainerHost

_PLACES = ("/etc", "/var", "/opt", "/run", "/tmp", "/home", "/root", "/usr/local", *container_config.VOLUMES.values())


def list_listening(host: ContainerHost) -> dict[int, set[str]]:
    """Return the addresses that something listens on, by TCP port, as the host itself lists them."""
    addresses: dict[int, set[str]] = {}
    for line in host.run("ss -Hltn | awk '{ print $4 }'").splitlines():
        address, _, port = line.rpartition(":")
        addresses.setdefault(int(port), set()).add(address)
    return addresses


def find_open_ports(host: ContainerHost) -> set[int]:
    """Return the TCP ports of a host that are open from outside; all are tried."""
    open_ports = set()
    for port in range(1, 65536):
        with socket.socket() as probe:
            probe.settimeout(2)
            if probe.connect_ex((host.address, port)) == 0:
                open_ports.add(port)
    return open_ports


def ask(host: ContainerHost, port: int, question: bytes) -> bytes:
    """Return what a TCP port answers to some bytes; it is waited for no longer than 2 s at a time."""
    with socket.create_connection((host.address, port), timeout=2) as connection:
        answer = b""
        with contextlib.suppress(OSError):
            connection.sendall(question)
            while chunk := connection.recv(4096):
                answer += chunk
        return answer


def read_tls_refusal(host: ContainerHost, port: int, greeting: bytes = b"", certificate: Path | None = None) -> str:
    """Return why a server does not talk TLS with a client; empty if it does.

    The reason is the server's where it arrives: a server that hangs up at once may be quicker than its last word.

    Args:
        host: of the server.
        port: of the server.
        greeting: what the client sends before TLS begins.
        certificate: the client's, with its key, as PEM; None: the client has none.
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


def call_https(
    host: ContainerHost,
    port: int,
    call: str,
    *,
    body: str = "",
    headers: Mapping[str, str] | None = None,
    certificate: Path | None = None,
) -> tuple[int, str]:
    """Return status and body of the answer to `call`, "METHOD PATH", from outside; answers that never end time out."""
    method, _, path = call.partition(" ")
    fields = {"Content-Type": "application/json", **(headers or {})}
    connection = http.client.HTTPSConnection(host.address, port, timeout=30, context=_context(certificate))
    with contextlib.closing(connection):
        connection.request(method, path, body=body, headers=fields)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")


def find_exposed(host: ContainerHost, *secrets: str) -> list[str]:
    """Return the paths of what has one of the secrets in it and should not.

    These are files that everyone can read, and the arguments and environments of processes.
    """
    # The secrets go through a file, so that the search does not come upon itself.
    pattern, lines = "/root/.search", "\n".join(secrets)
    host.run(f"umask 077; cat >{pattern} <<'END'\n{lines}\nEND")
    # The shell that writes the file has ended: a secret that is seen now is exposed by somebody else.
    script = f"""
        grep -lsaF -f {pattern} /proc/[0-9]*/cmdline /proc/[0-9]*/environ
        find {" ".join(_PLACES)} -xdev -type d ! -perm -001 -prune -o -type f -perm -004 -size -1024k -print0 |
            xargs -0 grep -lsaF -f {pattern}
        true
    """
    return host.run(script).splitlines()


def _context(certificate: Path | None) -> ssl.SSLContext:
    """Return settings that accept any server; `certificate` is the client's."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    return context
