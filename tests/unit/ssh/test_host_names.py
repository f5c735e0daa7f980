"""Names of hosts that lead nowhere: what is said of them."""

from pathlib import Path

import pytest

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import UnreachableError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh.connect import connect


@pytest.mark.parametrize("name", ["x" * 64, "a..b", f"{'x' * 64}.example"])
def test_a_name_that_dns_cannot_have_is_told_in_plain_words(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UnreachableError) as caught:
        connect(Host(name), SshSettings(known_hosts=tmp_path / "known_hosts"))
    message = str(caught.value)
    assert message == f"{name}: {name} is no name that DNS can have: each part between dots has 1 to 63 characters"
