"""What expires soon is told, by the host's own files and clock."""

from __future__ import annotations

import base64
import datetime
import time
from typing import Any, cast

import pytest

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.errors import HostError
from cloudmesh.cluster.core.model import ClusterInfo, Host, Node
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts import expiry
from cloudmesh.cluster.hosts.expiry import HostCertificates
from cloudmesh.cluster.ssh.host_script import ScriptOutput

DAY = 86400
START = 1_800_000_000.0
AUTHORITY = certificates.new_authority("demo", now=START)


class Answering:
    """A connection to a host that says this."""

    def __init__(self, *lines: str) -> None:
        self.host = Host("h1")
        self._output = ScriptOutput()
        for line in lines:
            self._output.feed(line)

    def run(self, *_: Any, **__: Any) -> ScriptOutput:
        return self._output


def host(days: int, *, rotation: str = "none") -> Any:
    """A host whose certificate was made `days` ago by its own clock."""
    pair = certificates.issue(AUTHORITY, "h1", lifetime=datetime.timedelta(days=365), now=START)
    lines = [
        f"::fact certificate {name} {base64.b64encode(pem).decode()}"
        for name, pem in {"ca": AUTHORITY.certificate, "host": pair.certificate}.items()
    ]
    return Answering(*lines, f"::fact clock {START + days * DAY}", f"::fact rotation {rotation}")


@pytest.mark.parametrize(
    ("days", "notice"),
    [
        (0, ""),
        (334, ""),
        (336, "its certificate host expires in 29 days, on 2028-01-15T08:00:00Z"),
        (366, "its certificate host has expired on 2028-01-15T08:00:00Z"),
    ],
)
def test_a_certificate_is_told_of_from_thirty_days_before_its_end(days: int, notice: str) -> None:
    answer = expiry.read(host(days))
    assert expiry.describe(answer) == notice
    assert (answer.first[0], answer.rotation) == ("host", "")


def test_how_far_a_rotation_has_come_is_read_too() -> None:
    assert expiry.read(host(0, rotation="abc trust")).rotation == "abc trust"


@pytest.mark.parametrize(
    "lines", [(), ("::fact clock 1", "::fact rotation none"), ("::fact certificate ca AAAA", "::fact clock 1")]
)
def test_a_host_without_certificates_is_named(lines: tuple[str, ...]) -> None:
    with pytest.raises(HostError, match=r"^h1: its certificates make no sense"):
        expiry.read(cast(Any, Answering(*lines)))


def test_info_has_the_end_of_what_ends_first_and_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    report = Silence()
    monkeypatch.setattr(report, "note", notes.append)
    nodes = (Node("h1", "10.0.0.1", (), "ready"), Node("h2", "10.0.0.2", (), "ready"))
    info = ClusterInfo("demo", "1", "nomad", "", "", nodes, healthy=True)
    complete = expiry.complete(info, {"10.0.0.1": (Host("h1"), host(350))}, report)
    assert [node.expires for node in complete.nodes] == ["2028-01-15T08:00:00Z", None]
    assert notes == [
        "h1: its certificate host expires in 15 days, on 2028-01-15T08:00:00Z: "
        "`cms cluster rotate -n demo` makes new ones"
    ]


def test_of_certificates_in_one_file_the_first_to_end_counts() -> None:
    pair = certificates.issue(AUTHORITY, "h1", lifetime=datetime.timedelta(days=1))
    both = AUTHORITY.certificate + pair.certificate
    assert certificates.earliest_end(both) == certificates.earliest_end(pair.certificate)
    assert certificates.earliest_end(pair.certificate) == pytest.approx(time.time() + 86400, abs=60)
    assert HostCertificates(0, {"a": 2, "b": 1}).first == ("b", 1)
