"""A local host is a host like any other: `remove` takes it out by name, and the same create takes it in again."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.hosts import MARKER, prepare_local_cluster

pytestmark = pytest.mark.cluster


def test_a_local_host_leaves_by_its_name_is_clean_and_comes_back_by_the_same_create(tmp_path: Path) -> None:
    with prepare_local_cluster("fleave", 2, tmp_path) as cluster:
        cluster.create().ok()
        cluster.operator.cms("remove", "-n", cluster.name, f"{cluster.name}-2").ok()
        assert [node["name"] for node in cluster.read_info()["nodes"]] == [f"{cluster.name}-1"]
        cluster.host(2).run(f"test ! -e {MARKER}")
        cluster.create().ok()
        cluster.check_whole()
