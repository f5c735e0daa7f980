"""A local host is one like any other: it leaves by its name, and the same create takes it in again."""

from __future__ import annotations

from pathlib import Path

import pytest
from machines import MARKER, local_cluster
from running import cms

pytestmark = pytest.mark.cluster


def test_a_local_host_leaves_by_its_name_is_clean_and_comes_back_by_the_same_create(tmp_path: Path) -> None:
    with local_cluster("fleave", 2, tmp_path) as cluster:
        cluster.create().ok()
        cms(cluster.home, "remove", "-n", cluster.name, f"{cluster.name}-2").ok()
        assert [node["name"] for node in cluster.info()["nodes"]] == [f"{cluster.name}-1"]
        cluster.host(2).run(f"test ! -e {MARKER}")
        cluster.create().ok()
        cluster.is_whole()
