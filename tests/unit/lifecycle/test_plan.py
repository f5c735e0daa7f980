"""The files that make a host part of a cluster."""

import dataclasses
import json

import pytest
from support.memory_engine.provider import MemoryProvider

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec, HostPlan
from cloudmesh.cluster.core.errors import HostsError
from cloudmesh.cluster.core.model import Facts, Host, Role
from cloudmesh.cluster.hosts import marker
from cloudmesh.cluster.lifecycle import plan


@pytest.fixture(scope="module")
def spec():
    secrets = ClusterSecrets(certificates.new_authority("demo"), {"token": "t0ken"})
    return ClusterSpec("demo", "abc", "nomad", ("10.0.0.1",), secrets)


def make_plan(address: str, role: Role) -> HostPlan:
    facts = Facts("m", "h", address, "debian-13", "amd64", 2, 4096, 20000, 0, 0, addresses=(f"eth1 {address}/24",))
    return HostPlan(Host("h"), facts, role, True, "root@h:22", "ssh-ed25519 AAAA", "n")


def test_only_servers_get_the_secrets(spec):
    server = plan.host_files(spec, make_plan("10.0.0.1", Role.SERVER), [], [4646])
    worker = plan.host_files(spec, make_plan("10.0.0.2", Role.WORKER), [], [4646])
    assert ClusterSecrets.loads(server["etc/secrets.json"]) == spec.secrets
    assert not any(spec.secrets.authority.key in content or b"t0ken" in content for content in worker.values())


def test_every_server_has_a_registry_that_wants_a_certificate_and_no_worker_has_one(spec):
    three = dataclasses.replace(spec, servers=("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    for address in three.servers:
        http = json.loads(plan.host_files(three, make_plan(address, Role.SERVER), [], [4646])["etc/registry.yml"])[
            "http"
        ]
        assert http["addr"] == f"{address}:5443"
        assert http["tls"]["clientcas"]
    assert "etc/registry.yml" not in plan.host_files(three, make_plan("10.0.0.4", Role.WORKER), [], [4646])


def test_every_host_finds_every_registry_by_one_name_and_a_server_its_own_first(spec):
    from cryptography import x509

    three = dataclasses.replace(spec, servers=("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    server = plan.host_files(three, make_plan("10.0.0.2", Role.SERVER), [], [4646])
    worker = plan.host_files(three, make_plan("10.0.0.4", Role.WORKER), [], [4646])
    assert worker["registry"] == server["registry"] == b"registry.cloudmesh:5443"
    assert server["names/registry.cloudmesh"] == b"10.0.0.2\n10.0.0.1\n10.0.0.3\n"
    assert worker["names/registry.cloudmesh"] == b"10.0.0.1\n10.0.0.2\n10.0.0.3\n"
    names = [
        x509.load_pem_x509_certificate(files["etc/host.pem"])
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value.get_values_for_type(x509.DNSName)
        for files in (server, worker)
    ]
    assert ["registry.cloudmesh" in of_host for of_host in names] == [True, False]


def test_a_host_plan_has_the_device_of_its_address():
    assert make_plan("10.0.0.2", Role.WORKER).interface == "eth1"


def test_marker_and_certificate_have_the_nodes_name(spec):
    from cryptography import x509

    long = dataclasses.replace(make_plan("10.0.0.2", Role.WORKER), host=Host("x" * 200), node="n" * 63)
    files = plan.host_files(spec, long, [], [4646])
    assert marker.node_of(files["etc/marker.json"].decode()) == "n" * 63
    subject = x509.load_pem_x509_certificate(files["etc/host.pem"]).subject
    assert subject.rfc4514_string() == f"CN={'n' * 63}"


def test_a_server_without_forwarding_is_refused_before_any_host_is_changed(spec):
    deaf = {
        Host(name): dataclasses.replace(make_plan(address, Role.SERVER).facts, machine_id=name, forwards=False)
        for name, address in (("server", "10.0.0.1"), ("worker", "10.0.0.2"))
    }
    with pytest.raises(HostsError, match=r"^server: its sshd opens no forwarding[^;]*AllowTcpForwarding[^;]*$"):
        plan.check_hosts(deaf, MemoryProvider(), spec)


def test_secrets_are_not_shown(spec):
    assert "t0ken" not in repr(spec)
