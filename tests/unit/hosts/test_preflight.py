import dataclasses

import pytest

from cloudmesh.cluster.core.model import Facts, Host, Marker, Role
from cloudmesh.cluster.hosts import marker, preflight
from cloudmesh.cluster.hosts.preflight import Needs

NEEDS = Needs(ports=(4646, 4647), memory_mb=1024, disk_mb=4000, packages=("docker.io", "curl"))
GOOD = Facts("m1", "one", "10.0.0.1", "debian-13", "amd64", 2, 2000, 9000, clock=0, skew=0)
OURS = Marker("demo", "a1", "nomad", Role.SERVER, "10.0.0.1", ("10.0.0.9",))
A, B = Host("a"), Host("b")


def _alone(**change: object) -> str:
    facts = dataclasses.replace(GOOD, **change)  # type: ignore[arg-type]
    return preflight.check({A: facts}, NEEDS, "demo", "a1").get("a", "")


def _marked(**change: object) -> str:
    return marker.dumps(dataclasses.replace(OURS, **change)).decode()  # type: ignore[arg-type]


def test_nothing_is_said_of_good_hosts() -> None:
    other = dataclasses.replace(GOOD, machine_id="m2", address="10.0.0.2", skew=-29.0, busy_ports=(22,))
    assert preflight.check({A: GOOD, B: other}, NEEDS, "demo", "a1") == {}


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"root": False}, "not root"),
        ({"os": "fedora-40"}, "unsupported operating system fedora-40: use one of debian-12"),
        ({"apt": False}, "no apt-get"),
        ({"arch": "riscv64"}, "unsupported processor riscv64: the engine's programs are to be had for amd64 and arm64"),
        ({"systemd": False}, "systemd is not running as PID 1"),
        ({"systemd": False, "systemd_silent": True}, "systemd does not answer in 10 s"),
        ({"memory_mb": 512}, "too little memory: 512 MiB, 1024 MiB are needed"),
        ({"disk_free_mb": 10}, "too little disk space: 10 MiB are free, 4000 MiB are needed"),
        ({"address": ""}, "no IPv4 address"),
        ({"busy_ports": (4647, 22)}, "port 4647 is taken"),
        ({"busy_ports": (4647, 4646)}, "ports 4646, 4647 are taken"),
        ({"held": ("vim", "docker.io")}, "the package docker.io is on hold: apt-mark unhold docker.io"),
        ({"held": ("curl", "docker.io")}, "the packages curl docker.io are on hold: apt-mark unhold curl docker.io"),
        ({"skew": 75.4}, "its clock is 75 s ahead of this machine's (30 s are allowed): set it"),
        ({"skew": -31.0}, "its clock is 31 s behind this machine's"),
        ({"marker": _marked(cluster="prod")}, "belongs to the cluster prod: take it out first"),
        ({"marker": _marked(id="b2")}, "belongs to another cluster called demo (id b2, first server 10.0.0.9)"),
        ({"marker": "{"}, "marker.json is damaged"),
    ],
)
def test_each_fault_is_told_with_its_remedy(change: dict[str, object], cause: str) -> None:
    faults = _alone(**change)
    assert cause in faults
    assert ":" in faults, "there is a remedy or a measure"
    assert "; " not in faults, "one fault, one cause"


def test_a_server_that_forwards_nothing_is_refused_and_a_worker_is_not() -> None:
    deaf = dataclasses.replace(GOOD, forwards=False)
    (fault,) = preflight.check({A: deaf}, NEEDS, "demo", "a1", servers=[GOOD.address]).values()
    assert "set AllowTcpForwarding yes" in fault
    assert preflight.check({A: deaf}, NEEDS, "demo", "a1", servers=["10.0.0.7"]) == {}


def test_all_faults_of_a_host_are_told_at_once() -> None:
    faults = _alone(root=False, memory_mb=1, disk_free_mb=1, busy_ports=(4646,), skew=99.0)
    assert len(faults.split("; ")) == 5


def test_only_bad_hosts_are_named_by_what_the_user_wrote() -> None:
    port = Host("a", port=2222)
    bad = dataclasses.replace(GOOD, machine_id="m2", address="10.0.0.2", root=False)
    assert list(preflight.check({A: GOOD, port: bad}, NEEDS, "demo", "a1")) == ["a:2222"]


def test_a_host_of_this_cluster_may_have_its_ports_taken_and_its_disk_filled() -> None:
    assert _alone(marker=_marked(), busy_ports=(4646, 4647), disk_free_mb=1) == ""


def test_one_machine_under_two_names_is_refused_and_both_are_named() -> None:
    faults = preflight.check({A: GOOD, B: GOOD}, NEEDS, "demo", "a1")
    assert faults == {
        "a": "is the same machine as b: name it once",
        "b": "is the same machine as a: name it once",
    }


def test_two_machines_with_one_address_are_refused_and_both_are_named() -> None:
    faults = preflight.check({A: GOOD, B: dataclasses.replace(GOOD, machine_id="m2")}, NEEDS, "demo", "a1")
    assert "the same address 10.0.0.1 as b" in faults["a"]
    assert "the same address 10.0.0.1 as a" in faults["b"]


def test_where_all_hosts_agree_the_operators_own_clock_is_suspected() -> None:
    hosts = {
        A: dataclasses.replace(GOOD, skew=3600.0),
        B: dataclasses.replace(GOOD, machine_id="m2", address="10.0.0.2", skew=3601.0),
    }
    faults = preflight.check(hosts, NEEDS, "demo", "a1")
    assert all("set this machine's clock" in cause for cause in faults.values())
    assert len(faults) == 2


def test_two_kinds_of_processor_in_one_cluster_are_refused_by_name() -> None:
    others = {
        B: dataclasses.replace(GOOD, machine_id="m2", address="10.0.0.2", arch="arm64"),
        Host("c"): dataclasses.replace(GOOD, machine_id="m3", address="10.0.0.3", arch="riscv64"),
    }
    faults = preflight.check({A: GOOD, **others}, NEEDS, "demo", "a1")
    assert list(faults) == ["b", "c"]
    assert faults["b"].startswith("its processor is arm64, and a has amd64: one cluster has one kind")
    assert faults["c"].startswith("unsupported processor riscv64")


def test_a_host_of_another_kind_than_the_clusters_is_not_added() -> None:
    faults = preflight.check({A: GOOD}, NEEDS, "demo", "a1", processor="arm64")
    assert faults["a"].startswith("its processor is amd64, and the cluster's hosts have arm64")


def test_a_route_into_a_network_of_the_clusters_own_is_told_of_a_new_host_and_not_of_a_member() -> None:
    needs = dataclasses.replace(NEEDS, networks={"pods": "10.244.0.0/16"})
    routes = ("10.0.0.0/24 eth0", "10.0.0.0/8 tun0", "0.0.0.0/1 tun0", "10.244.9.9 nameserver")
    new = dataclasses.replace(GOOD, routes=routes)
    faults = preflight.check({A: new}, needs, "demo", "a1")["a"]
    assert "what it reaches as 10.0.0.0/8 tun0 is within the network 10.244.0.0/16" in faults
    assert "what it reaches as 10.244.9.9 nameserver is within" in faults
    assert "eth0" not in faults
    assert "0.0.0.0/1" not in faults
    member = dataclasses.replace(new, marker=_marked())
    assert preflight.check({A: member}, needs, "demo", "a1") == {}
