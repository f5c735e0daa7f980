"""A host that was taken out by force, because it was dead, comes back with all that it had: it is not let in."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from contract.conftest import PROVIDERS
from support.cms import Operator
from support.hosts import HostCluster, make_unique_name, start_hosts
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

# By itself, an agent registers again within 22 s, a kubelet within 5 s.
RETURN_SECONDS = 40
AGENT = {"nomad": "cloudmesh-nomad", "kubernetes": "cloudmesh-kubelet"}
ASK_REGISTRY = (
    "cd /etc/cloudmesh/cluster && curl --silent --show-error --max-time 5 --cacert ca.pem --cert host.pem "
    "--key host-key.pem https://registry.cloudmesh:5443/v2/"
)


@pytest.fixture(scope="module", params=PROVIDERS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostCluster]:
    """Yield a cluster of a server and a worker, which is removed by force and comes back."""
    name = make_unique_name("returns")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 2) as group:
        pair = HostCluster(request.param, name, group, Operator(tmp_path_factory.mktemp("home"), group.key))
        pair.cms("create", "-p", request.param, *group.where).ok()
        yield pair


def test_a_host_that_was_removed_by_force_is_not_let_in_when_it_comes_back(pair: HostCluster) -> None:
    assert pair.worker.succeeds(ASK_REGISTRY)
    pair.worker.container.kill()
    outcome = pair.cms("remove", "--force", "--yes", pair.worker.where)
    outcome.expect_failure(1, f"^{pair.worker.where}: ")
    assert f"the servers let nothing in from {pair.worker.address}" in outcome.stderr
    pair.group.start(pair.worker)
    wait_until(lambda: pair.worker.succeeds(f"systemctl is-active {AGENT[pair.provider]}"), 60)
    deadline = time.monotonic() + RETURN_SECONDS
    while time.monotonic() < deadline:
        assert pair.read_statuses() == {pair.server.where: "ready"}
        time.sleep(2)
    assert not pair.worker.succeeds(ASK_REGISTRY)


def test_it_is_kept_out_also_when_the_server_has_been_restarted(pair: HostCluster) -> None:
    pair.group.hosts[0].container.stop()
    pair.group.start(pair.server)
    ready = {pair.server.where: "ready"}
    assert wait_until(pair.read_statuses, 120, pause=1, satisfies=lambda statuses: statuses == ready) == ready
    time.sleep(RETURN_SECONDS / 2)
    assert pair.read_statuses() == ready


def test_it_is_cleaned_by_the_same_command_and_may_join_again(pair: HostCluster) -> None:
    pair.cms("remove", "--yes", pair.worker.where).ok()
    assert not pair.worker.succeeds("ls /etc/cloudmesh || pgrep 'nomad|kubelet'")
    assert not pair.server.succeeds("nft list table inet cloudmesh")
    pair.cms("add", pair.worker.where).ok()
    assert pair.read_statuses() == {pair.server.where: "ready", pair.worker.where: "ready"}
