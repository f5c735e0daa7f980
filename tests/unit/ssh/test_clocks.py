"""Where TLS fails for the time, the clocks of both sides are told."""

from __future__ import annotations

import pytest
from support.sshd import Sshd, server

from cloudmesh.cluster.ssh import host_script
from cloudmesh.cluster.ssh.connect import connect
from cloudmesh.cluster.ssh.tls_errors import explain_clocks

__all__ = ["server"]


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        ("-432000", "this machine's clock is 5 days ahead of that of 127.0.0.1"),
        ("+7300", "this machine's clock is 2 hours behind that of 127.0.0.1"),
        ("+0", "agree"),
    ],
)
def test_the_clock_that_differs_is_named_with_the_time(
    server: Sshd, monkeypatch: pytest.MonkeyPatch, shift: str, said: str
) -> None:
    script = host_script.load("host/clock.sh").replace('"$(date +%s.%N)"', f'"$(($(date +%s) {shift}))"')
    assert shift in script
    monkeypatch.setattr(host_script, "load", lambda *_: script)
    with connect(server.host(), server.settings()) as connection:
        assert said in explain_clocks(connection)


def test_a_host_that_does_not_tell_its_time_leaves_it_unknown(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_script, "load", lambda *_: "exit 0\n")
    with connect(server.host(), server.settings()) as connection:
        assert explain_clocks(connection) == ""
