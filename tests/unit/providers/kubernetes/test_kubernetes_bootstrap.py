"""The configuration of kubeadm, the kubelet, containerd and kubectl."""

import base64
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec, HostPlan
from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Facts, Host, Role
from cloudmesh.cluster.providers.base import Delivery
from cloudmesh.cluster.providers.kubernetes import bootstrap, containerd, credentials
from cloudmesh.cluster.providers.kubernetes.provider import KubernetesProvider

SERVERS = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
VERSION = "1.36.1"


@pytest.fixture(scope="module")
def provider():
    return KubernetesProvider()


@pytest.fixture(scope="module")
def secrets(provider):
    return ClusterSecrets(certificates.new_authority("c"), provider.new_secrets())


@pytest.fixture
def spec(secrets):
    return ClusterSpec("c", "1", "kubernetes", SERVERS[:1], secrets, version=VERSION)


@pytest.fixture
def three(secrets):
    return ClusterSpec("c", "1", "kubernetes", SERVERS, secrets, version=VERSION)


def plan(
    role: Role = Role.SERVER, *, name: str = "h1", node: str = "h1", takes_jobs: bool = True, **facts: object
) -> HostPlan:
    fields = {"machine_id": "m", "hostname": "h", "address": "10.0.0.1", "os": "debian-13", "arch": "amd64"}
    facts_of_host = Facts(**fields, cores=2, memory_mb=4000, disk_free_mb=9000, clock=0, skew=0, **facts)
    return HostPlan(Host(name), facts_of_host, role, takes_jobs, "ops@h1:22", "ssh-ed25519 AAAA", node)


def cluster_of(documents):
    return next(document for document in documents if document["kind"] == "ClusterConfiguration")


def cluster_configuration(spec: ClusterSpec, images: str = "") -> dict:
    """What `kubeadm init` is told of the cluster."""
    return cluster_of(bootstrap.build_init_documents(spec, plan(), token=credentials.generate_token(), images=images))


def arguments(component):
    return {argument["name"]: argument["value"] for argument in component["extraArgs"]}


def test_the_kubelet_goes_by_the_name_that_was_chosen_and_the_operators_is_told_beside(provider, spec):
    named = plan(Role.WORKER, name="Büro_1", node="buro-1")
    assert bootstrap.build_join_configuration(named)["nodeRegistration"]["name"] == "buro-1"
    files = provider.host_files(spec, named, Delivery())
    assert files["node"] == b"buro-1"
    assert json.loads(files["node.json"])["metadata"]["annotations"]["cloudmesh/host"] == "Büro_1"


def test_nobody_without_a_credential_is_answered_but_on_whether_the_api_is_well(spec):
    configuration = bootstrap.build_authentication_configuration()
    assert [path["path"] for path in configuration["anonymous"]["conditions"]] == ["/livez", "/readyz", "/healthz"]
    arguments_of_api = arguments(cluster_configuration(spec)["apiServer"])
    assert arguments_of_api["authentication-config"].endswith("authentication.json")
    assert arguments_of_api["audit-log-path"]


def test_every_change_is_in_the_audit_log_and_no_content_of_a_secret():
    rules = bootstrap.build_audit_policy()["rules"]
    assert rules[-1] == {"level": "Metadata"}
    assert {rule["level"] for rule in rules} == {"None", "Metadata"}


def test_images_come_from_the_cluster_or_from_where_kubeadm_looks(spec):
    from_cluster = cluster_configuration(spec, "10.0.0.1:5443/kubernetes")
    from_default = cluster_configuration(spec)
    assert from_cluster["imageRepository"] == "10.0.0.1:5443/kubernetes"
    assert "imageRepository" not in from_default


def test_a_server_that_takes_no_jobs_is_tainted_and_one_that_does_is_not():
    taints = bootstrap.build_join_configuration(plan(takes_jobs=False))["nodeRegistration"]["taints"]
    assert [taint["effect"] for taint in taints] == ["NoSchedule"]
    assert bootstrap.build_join_configuration(plan())["nodeRegistration"]["taints"] == []


def test_a_worker_is_no_control_plane():
    assert "controlPlane" in bootstrap.build_join_configuration(plan(Role.SERVER))
    assert "controlPlane" not in bootstrap.build_join_configuration(plan(Role.WORKER))


def test_only_where_control_groups_are_old_the_check_of_them_is_left_out():
    assert "SystemVerification" in bootstrap.list_ignored_checks(plan(cgroup=1))
    assert "SystemVerification" not in bootstrap.list_ignored_checks(plan(cgroup=2))


def test_only_what_is_there_is_said(provider, spec):
    plain = provider.host_files(spec, plan(cgroup=2), Delivery())["notes"]
    odd = provider.host_files(spec, plan(cgroup=1, raises_limits=False), Delivery())["notes"].decode().splitlines()
    assert plain == b""
    assert ["control groups" in odd[0], "CAP_SYS_RESOURCE" in odd[1]] == [True, True]


def test_the_servers_are_known_by_one_name_on_every_host(provider, three):
    named = provider.host_files(three, plan(Role.WORKER), Delivery())["names/api.cloudmesh"]
    assert named.decode().split() == [*SERVERS]
    assert cluster_configuration(three)["controlPlaneEndpoint"] == "api.cloudmesh:6443"
    names = cluster_configuration(three)["apiServer"]["certSANs"]
    assert {"api.cloudmesh", *SERVERS} <= set(names)


def test_no_key_of_an_authority_leaves_the_servers(provider, spec):
    worker = provider.host_files(spec, plan(Role.WORKER), Delivery())
    assert not any(b"PRIVATE" in content for content in worker.values())
    server = provider.host_files(spec, plan(Role.SERVER), Delivery())
    assert {name for name, content in server.items() if b"PRIVATE" in content} == {
        "pki/ca.key",
        "pki/front-proxy-ca.key",
        "pki-etcd/ca.key",
        "pki/sa.key",
    }


def test_a_token_lets_in_nodes_until_its_moment():
    token = credentials.generate_token()
    secret_object = credentials.build_token_secret(token, datetime(2026, 11, 24, 6, 10, tzinfo=timezone.utc))
    identity, _, secret = token.partition(".")
    assert (len(identity), len(secret)) == (6, 16)
    assert secret_object["metadata"]["name"] == f"bootstrap-token-{identity}"
    assert secret_object["stringData"]["expiration"] == "2026-11-24T06:10:00Z"
    assert secret_object["stringData"]["auth-extra-groups"] == "system:bootstrappers:kubeadm:default-node-token"
    assert credentials.generate_token() != token


def test_an_invitation_has_the_authority_itself(spec):
    kubeconfig = credentials.build_kubeconfig(spec, {"token": "t"})
    cluster = kubeconfig["clusters"][0]["cluster"]
    assert base64.b64decode(cluster["certificate-authority-data"]).decode() == spec.secrets.engine["ca"]
    assert cluster["server"] == "https://api.cloudmesh:6443"


def test_an_image_that_one_server_lacks_is_asked_of_the_others(three):
    hosts = containerd.build_registry_configurations(three)["registry.cloudmesh:5443"]["host"]
    assert list(hosts) == ["https://registry.cloudmesh:5443", *(f"https://{address}:5443" for address in SERVERS)]


def test_upstreams_images_are_asked_of_the_cluster_first_with_the_hosts_certificate(spec):
    hosts = containerd.build_registry_configurations(spec)[containerd.UPSTREAM]
    assert hosts["server"] == "https://registry.k8s.io"
    (mirror,) = hosts["host"]
    assert mirror == "https://registry.cloudmesh:5443/v2/kubernetes"
    assert hosts["host"][mirror]["client"] == [
        ["/etc/cloudmesh/cluster/host.pem", "/etc/cloudmesh/cluster/host-key.pem"]
    ]


@pytest.mark.parametrize("raises", [True, False])
def test_containerd_lowers_no_score_where_it_may_not(spec: ClusterSpec, raises):
    configuration = containerd.build_configuration(spec, plan(raises_limits=raises))
    assert configuration["plugins"]["io.containerd.grpc.v1.cri"]["restrict_oom_score_adj"] is not raises


def test_toml_is_read_back_as_it_was():
    tomllib = pytest.importorskip("tomllib")
    table = {"version": 2, "a b": {"x.y": True, "list": [["c", "k"]], "deep": {"s": 'q"\\', "n": 1}}, "z": {"k": "é"}}
    assert tomllib.loads(containerd.to_toml(table).decode()) == table


def test_what_kubeadm_reads_is_several_documents(provider, spec):
    text = provider.host_files(spec, plan(), Delivery())["init.yaml"].decode()
    kinds = [json.loads(part)["kind"] for part in text.split("\n---\n")]
    assert kinds == ["InitConfiguration", "ClusterConfiguration", "KubeletConfiguration", "KubeProxyConfiguration"]


def test_the_networks_of_pods_and_services_are_such_that_no_host_has_a_route_to(provider, spec) -> None:
    assert provider.choose_networks(["10.0.0.0/24 eth0"]) == {"pods": "10.244.0.0/16", "services": "10.96.0.0/16"}
    chosen = provider.choose_networks(["10.0.0.0/8 tun0", "172.16.0.0/12 br0"])
    assert chosen == {"pods": "100.96.0.0/16", "services": "100.97.0.0/16"}
    secrets = replace(spec.secrets, engine={**spec.secrets.engine, "network pods": chosen["pods"]})
    first = provider.host_files(replace(spec, secrets=secrets), plan(), Delivery())
    assert '"podSubnet": "100.96.0.0/16"' in first["init.yaml"].decode()
    assert '"serviceSubnet": "10.96.0.0/16"' in first["init.yaml"].decode()
    assert "100.96.0.0/16" in first["manifests.json"].decode()
    assert "10.244" not in first["manifests.json"].decode()
    everywhere = ("10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10", "198.18.0.0/15")
    with pytest.raises(ClusterError, match=r"no network is free for the cluster's pods: .*\(10.0.0.0/8 tun0; 172"):
        provider.choose_networks([f"{network} tun0" for network in everywhere])


def test_another_version_is_told_to_kubeadm_for_the_first_host_and_for_the_others(spec: ClusterSpec) -> None:
    configuration = bootstrap.build_upgrade_configuration(spec, plan(cgroup=1))
    apply, node = configuration["apply"], configuration["node"]
    assert configuration["kind"] == "UpgradeConfiguration"
    assert (apply["kubernetesVersion"], apply["forceUpgrade"]) == (f"v{VERSION}", True)
    assert "kubernetesVersion" not in node
    for part in (apply, node):
        assert part["patches"] == {"directory": "/etc/cloudmesh/cluster/patches"}
        assert {"SystemVerification", "CreateJob"} < {*part["ignorePreflightErrors"]}
        assert part["certificateRenewal"] is False
    assert cluster_configuration(spec)["kubernetesVersion"] == f"v{VERSION}"


def test_certificates_of_kubernetes_last_as_long_as_the_clusters_own(spec: ClusterSpec) -> None:
    assert cluster_configuration(spec)["certificateValidityPeriod"] == "31536000s"
    assert timedelta(seconds=31536000) == certificates.LIFETIME
