"""Which version a cluster has, and which may follow it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from cloudmesh.cluster.binaries.pinned import NOMAD, SPECS
from cloudmesh.cluster.core.cluster_spec import ClusterSpec
from cloudmesh.cluster.core.errors import ClusterError, UsageError
from cloudmesh.cluster.core.model import Node, Role
from cloudmesh.cluster.lifecycle import versions


def spec(provider: str, version: str = "") -> ClusterSpec:
    return ClusterSpec("demo", "1", provider, ("10.0.0.1",), cast(Any, None), version=version)


def node(number: int, version: str, *, role: Role = Role.SERVER, status: str = "ready") -> Node:
    return Node(f"h{number}", f"10.0.0.{number}", (role,), status, version=version)


@pytest.mark.parametrize(
    ("provider", "wanted", "present", "target"),
    [
        ("nomad", "", {"1.10.4"}, "1.10.5"),
        ("nomad", "", {"1.10.4", "1.11.1"}, "1.11.1"),  # as an upgrade to it that was cut off leaves them
        ("nomad", "1.11.1", {"1.10.4"}, "1.11.1"),
        ("nomad", "1.10.5", {"1.9.7"}, "1.10.5"),
        ("kubernetes", "", {"1.35.4"}, "1.36.3"),
        ("kubernetes", "1.36.1", {"1.35.4", "1.36.1"}, "1.36.1"),
    ],
)
def test_a_newer_patch_and_the_next_minor_version_may_follow(
    provider: str, wanted: str, present: set[str], target: str
) -> None:
    assert versions.choose_target(spec(provider), wanted, present) == target


@pytest.mark.parametrize(
    ("provider", "wanted", "present", "cause"),
    [
        ("nomad", "1.10.4", {"1.10.5"}, r"^nomad does not go back from 1\.10\.5 to 1\.10\.4"),
        ("kubernetes", "1.36.1", {"1.36.1", "1.36.3"}, "does not go back"),
        ("nomad", "1.11.1", {"1.9.7"}, r"not from 1\.9\.7 to 1\.11\.1: first `--to=1\.10\.5`$"),
        ("kubernetes", "", {"1.34.2"}, r"not from 1\.34\.2 to 1\.36\.3: first `--to=1\.35\.4`$"),
        ("kubernetes", "", {"1.33.0"}, r"this cms has none between them$"),
        ("nomad", "1.2.3", {"1.10.4"}, r"use 1\.10\.4 or 1\.10\.5 or 1\.11\.1$"),
    ],
)
def test_the_way_back_and_what_skips_a_minor_version_are_refused_in_one_line(
    provider: str, wanted: str, present: set[str], cause: str
) -> None:
    with pytest.raises(UsageError, match=cause) as refusal:
        versions.choose_target(spec(provider), wanted, present)
    assert "\n" not in str(refusal.value)


def test_versions_are_compared_as_numbers() -> None:
    assert versions.choose_target(spec("nomad"), "1.10.5", {"1.9.12"}) == "1.10.5"
    assert versions.is_minor_step("1.9.12", "1.10.0")
    assert not versions.is_minor_step("1.10.4", "1.10.5")


def test_a_cluster_has_the_version_that_its_servers_run() -> None:
    nodes = [node(1, "1.10.4"), node(2, "1.10.4", role=Role.WORKER), node(3, "1.10.3", status="down")]
    assert versions.version_of(nodes, spec("nomad", "1.10.5"), between=False) == "1.10.4"


def test_no_host_joins_while_the_servers_have_several_versions() -> None:
    nodes = [node(1, "1.10.5"), node(2, "1.10.4")]
    with pytest.raises(ClusterError, match=r"between nomad 1\.10\.4 and 1\.10\.5, .*upgrade -n demo --to=1\.10\.5`$"):
        versions.version_of(nodes, spec("nomad", "1.10.4"), between=False)
    assert versions.version_of(nodes, spec("nomad", "1.10.4"), between=True) == "1.10.4"


def test_a_cluster_is_not_made_anew_with_another_version() -> None:
    versions.refuse_another(spec("nomad", "1.10.4"), "")
    versions.refuse_another(spec("nomad", "1.10.4"), "1.10.4")
    versions.refuse_another(spec("nomad"), "1.10.5")  # not known yet
    with pytest.raises(UsageError, match=r"has nomad 1\.10\.4: .*`cms cluster upgrade -n demo --to=1\.10\.5` changes"):
        versions.refuse_another(spec("nomad", "1.10.4"), "1.10.5")


def test_new_clusters_get_the_first_that_is_pinned_and_there_are_others_beside_it() -> None:
    for engine in ("nomad", "kubernetes"):
        pinned = [spec.version.split(".") for spec in SPECS if spec.name == engine]
        newest = pinned[0]
        assert any(version[:2] == newest[:2] and version != newest for version in pinned)
    assert SPECS[0] is NOMAD
