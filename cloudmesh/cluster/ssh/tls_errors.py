"""Says what is wrong where TLS is refused: which certificate, and which clock where it is about time."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.ssh import host_script

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Connection

_TOLERABLE_SECONDS = 60.0
_CLOCK_SECONDS = 20.0
# OpenSSL's numbers of why a server's certificate is not accepted here (X509_V_ERR_…).
_NOT_YET_VALID, _EXPIRED = 9, 10
_VERIFICATIONS = {
    _NOT_YET_VALID: "the server's certificate is not valid yet by this machine's clock",
    _EXPIRED: "the server's certificate has expired by this machine's clock",
    **dict.fromkeys((18, 19, 20, 21), "the server's certificate is not of this cluster's authority"),
    **dict.fromkeys((62, 64), "the server's certificate is of another name"),
}
# Parts of OpenSSL's names for what a server says of the certificate of a command.
_ALERTS = {
    "CERTIFICATE_EXPIRED": "the server calls this command's certificate expired or not valid yet",
    "UNKNOWN_CA": "the server does not know the authority of this command's certificate",
    "DECRYPT_ERROR": "the server does not know the authority of this command's certificate",  # one of the same name
    "BAD_CERTIFICATE": "the server does not accept this command's certificate",
    "CERTIFICATE_REQUIRED": "the server wants a certificate",
}


def explain(error: BaseException) -> str:
    """Return what is wrong with a certificate, where that is the error's cause; else an empty text."""
    refusal = _find_ssl_error(error)
    if isinstance(refusal, ssl.SSLCertVerificationError):
        why = _VERIFICATIONS.get(refusal.verify_code, refusal.verify_message)
        return f"certificate verify failed: {why}"
    reason = (refusal.reason or "") if refusal else ""
    return next((why for name, why in _ALERTS.items() if name in reason), "")


def explain_clocks(server: Connection) -> str:
    """Return which clock differs from which, and by how much; empty where a server does not tell its time.

    Args:
        server: the host that is asked for its time. It is taken to be right: the hosts of a cluster agree.
    """
    before = time.time()
    try:
        answer = server.ask(host_script.load("host/clock.sh"), "clock", timeout=_CLOCK_SECONDS)
        ahead = (before + time.time()) / 2 - float(answer)
    except (ClusterError, ValueError):
        return ""
    if abs(ahead) <= _TOLERABLE_SECONDS:
        return f"this machine's clock and that of {server.host} agree"
    direction = "ahead of" if ahead > 0 else "behind"
    return f"this machine's clock is {_in_words(abs(ahead))} {direction} that of {server.host}: set the wrong one"


def _in_words(seconds: float) -> str:
    """Return a time in the largest unit of which there are two."""
    for name, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def _find_ssl_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the error of the ssl module among an error, its arguments and its causes."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        if isinstance(current, ssl.SSLError):
            return current
        seen.add(id(current))
        inner = [argument for argument in current.args if isinstance(argument, BaseException)]
        waiting += [current.__cause__, current.__context__, *inner]
    return None
