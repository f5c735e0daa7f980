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
    server = plan.host_files(spec, make_plan("10.0.0.1", Role.SERVER), [])
    worker = plan.host_files(spec, make_plan("10.0.0.2", Role.WORKER), [])
    assert ClusterSecrets.loads(server["etc/secrets.json"]) == spec.secrets
    assert not any(spec.secrets.authority.key in content or b"t0ken" in content for content in worker.values())


def test_the_registry_is_on_the_first_server_alone_and_wants_a_certificate(spec):
    server = plan.host_files(spec, make_plan("10.0.0.1", Role.SERVER), [])
    worker = plan.host_files(spec, make_plan("10.0.0.2", Role.WORKER), [])
    assert json.loads(server["etc/registry.yml"])["http"]["tls"]["clientcas"]
    assert json.loads(server["etc/registry.yml"])["http"]["addr"] == "10.0.0.1:5443"
    assert "etc/registry.yml" not in worker
    assert worker["registry"] == server["registry"] == b"10.0.0.1:5443"


def test_a_host_plan_has_the_device_of_its_address():
    assert make_plan("10.0.0.2", Role.WORKER).interface == "eth1"


def test_marker_and_certificate_have_the_nodes_name(spec):
    from cryptography import x509

    long = dataclasses.replace(make_plan("10.0.0.2", Role.WORKER), host=Host("x" * 200), node="n" * 63)
    files = plan.host_files(spec, long, [])
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
