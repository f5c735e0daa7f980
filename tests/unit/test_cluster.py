"""What programs may say: hosts as texts, lists of texts and values, and never by mistake none; lists as lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmesh.cluster.cluster import Cluster, Hosts, build_images, connection_context, load_job
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import Host

BOB = Host("h3", "bob", 2222)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be no hosts that were met before."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    "hosts",
    ["h[1-2],bob@h3:2222", ["h1", "h2", "bob@h3:2222"], ["h[1-2]", BOB], (Host("h1"), Host("h2"), BOB)],
)
def test_hosts_are_a_text_or_a_list_of_texts_and_values(hosts: Hosts) -> None:
    assert connection_context(hosts=hosts).hosts == (Host("h1"), Host("h2"), BOB)


def test_a_login_for_all_hosts_is_that_of_each_in_a_list() -> None:
    context = connection_context(hosts=["h1", "bob@h2"], user="ann", port=2222)
    assert context.hosts == (Host("h1", "ann", 2222), Host("h2", "bob", 2222))


@pytest.mark.parametrize("hosts", [[], (), " ", ["h1", ""]])
def test_a_list_that_has_come_to_be_empty_makes_no_cluster_of_local_hosts(hosts: Hosts) -> None:
    with pytest.raises(UsageError, match="no host given"):
        Cluster.create("demo", hosts)


@pytest.mark.parametrize("hosts", [["h1", "h1"], [BOB, "bob@h3:2222"], ["h[1-3]", "h2"]])
def test_a_host_that_is_named_twice_is_refused(hosts: Hosts) -> None:
    with pytest.raises(UsageError, match="is given twice"):
        Cluster.create("demo", hosts)


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_hosts_are_read_before_a_cluster_is_looked_for(verb: str) -> None:
    with pytest.raises(UsageError, match="no host given"):
        getattr(Cluster("demo"), verb)([])


def test_a_text_in_place_of_a_list_is_not_taken_for_its_letters(tmp_path: Path) -> None:
    program = tmp_path / "pi.py"
    program.write_text("print(3)\n")
    with pytest.raises(UsageError, match=r"arguments='1000' is one text: use a list, arguments=\['1000'\]"):
        load_job(program, "1000")
    with pytest.raises(UsageError, match="images='spark' is one text"):
        build_images(connection_context(), "spark")
