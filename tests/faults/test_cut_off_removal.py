"""The client of a removal is killed while the host is cleaned: what was there before us stays, and ours goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from contract.conftest import PROVIDERS
from support import snapshot
from support.cms import Operator
from support.hosts import ContainerHost, make_unique_name, start_hosts

pytestmark = [pytest.mark.cluster, pytest.mark.sample]

MOMENTS = {
    "nomad": ("stop Nomad", "remove Docker", "remove packages and files"),
    "kubernetes": ("stop Kubernetes", "remove packages and files"),
}
# A chain with a rule of the host's own, in tables that a container engine uses too, and a table of its own.
THEIRS = """
set -eu
DEBIAN_FRONTEND=noninteractive apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends iptables nftables >/dev/null 2>&1
iptables -N THEIRS
iptables -A THEIRS -p tcp --dport 9 -j DROP
iptables -A INPUT -j THEIRS
iptables -t nat -A POSTROUTING -s 192.0.2.0/24 -j RETURN
nft add table inet theirs
nft add chain inet theirs c
nft add rule inet theirs c tcp dport 9 drop
"""


@dataclass(frozen=True)
class Pair:
    """A cluster of a server, and a host that comes and goes, which has rules of its own in its firewall."""

    name: str
    provider: str
    guest: ContainerHost
    operator: Operator


@pytest.fixture(scope="module", params=PROVIDERS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    name = make_unique_name("cutoff")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 2) as group:
        server, guest = group.hosts
        guest.run(THEIRS)
        operator = Operator(tmp_path_factory.mktemp("home"), group.key)
        operator.cms("create", "-n", name, "-p", request.param, server.where).ok()
        yield Pair(name, request.param, guest, operator)


def test_a_removal_that_is_cut_off_takes_nothing_of_the_hosts_own_and_the_same_command_finishes_it(pair: Pair) -> None:
    before = snapshot.take(pair.guest)
    for moment in MOMENTS[pair.provider]:
        pair.operator.cms("add", "-n", pair.name, pair.guest.where).ok()
        with pair.operator.start("remove", "-n", pair.name, "--yes", pair.guest.where) as running:
            running.wait_until_shown(moment)
            running.kill()
        pair.operator.cms("remove", "-n", pair.name, "--yes", pair.guest.where).ok()
        assert snapshot.find_differences(before, pair.guest) == [], moment
