"""What a Kubernetes cluster answers to somebody without a credential, or with one that is for something else."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.cms import Operator
from support.hosts import ContainerHost, HostGroup, make_unique_name, start_hosts
from support.probes import ask, call_https, find_exposed, find_open_ports, list_listening, read_tls_refusal

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets
from cloudmesh.cluster.providers.kubernetes.api_client import administrator_certificate

pytestmark = pytest.mark.cluster

API, KUBELET, ETCD, PEERS, REGISTRY = 6443, 10250, 2379, 2380, 5443
REFUSED = "certificate|unknown ca|EOF|reset"
HEALTH = ("/livez", "/readyz", "/healthz")
# Asked by an unprivileged user for as long as the file is there; every answer that came is stored.
RACE = r"""
touch /tmp/race
while [ -e /tmp/race ]; do
    for url in 6443/api/v1/secrets 10250/pods 10257/metrics 2379/version; do
        curl -sk -m 2 -o /dev/null -w '%{http_code}\n' "https://127.0.0.1:$url" >>/tmp/race.answers
    done
    sleep 0.1
done
"""
# What an administrator reads; without a credential, the API says no.
READS = (
    "/api",
    "/apis",
    "/version",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/livez/ping",
    "/.well-known/openid-configuration",
    "/openid/v1/jwks",
    "/api/v1/nodes",
    "/api/v1/pods",
    "/api/v1/secrets",
    "/api/v1/namespaces",
    "/api/v1/namespaces/kube-public/configmaps/cluster-info",
    "/api/v1/namespaces/cms-jobs/pods",
    "/apis/batch/v1/jobs",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
)
CHANGES = (
    "POST /api/v1/namespaces",
    "POST /api/v1/namespaces/cms-jobs/pods",
    "POST /api/v1/namespaces/kube-system/secrets",
    "POST /api/v1/namespaces/kube-system/serviceaccounts/default/token",
    "POST /apis/batch/v1/namespaces/cms-jobs/jobs",
    "POST /apis/authentication.k8s.io/v1/selfsubjectreviews",
    "POST /apis/authentication.k8s.io/v1/tokenreviews",
    "POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
    "POST /apis/certificates.k8s.io/v1/certificatesigningrequests",
    "POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "DELETE /api/v1/namespaces/cms-jobs",
    "DELETE /api/v1/nodes",
)
KUBELET_READS = (
    "/pods",
    "/runningpods/",
    "/metrics",
    "/metrics/cadvisor",
    "/stats/summary",
    "/configz",
    "/logs/",
    "/healthz",
)
KUBELET_CALLS = (
    "POST /run/kube-system/x/x?cmd=id",
    "POST /exec/kube-system/x/x?command=id&output=1",
    "GET /exec/kube-system/x/x?command=id&output=1",
    "POST /attach/kube-system/x/x?output=1",
    "POST /portForward/kube-system/x",
    "GET /containerLogs/kube-system/x/x",
    "POST /checkpoint/kube-system/x/x",
    "GET /debug/pprof/goroutine",
    "PUT /debug/flags/v",
)
# Of what answers on loopback, everything but health and figures, to an unprivileged user of the host.
LOCAL = {
    "https://127.0.0.1:6443/api/v1/secrets": "401",
    "https://127.0.0.1:10250/pods": "401",
    "http://127.0.0.1:10248/pods": "404",
    "http://127.0.0.1:10249/debug/pprof/": "404",
    "http://127.0.0.1:10256/metrics": "404",
    "https://127.0.0.1:10257/metrics": "403",
    "https://127.0.0.1:10257/configz": "403",
    "https://127.0.0.1:10257/debug/pprof/": "403",
    "https://127.0.0.1:10259/metrics": "403",
    "https://127.0.0.1:10259/configz": "403",
    "https://127.0.0.1:10259/debug/pprof/": "403",
    "https://127.0.0.1:2379/version": "000",
    "http://127.0.0.1:2381/version": "404",
    "http://127.0.0.1:2381/v3/kv/range": "404",
    "http://127.0.0.1:2381/debug/pprof/": "404",
}
# What the account of the jobs' drivers is for, and what it is not for.
ALLOWED_JOBS = ("GET /api/v1/namespaces/cms-jobs/pods", "POST /api/v1/namespaces/cms-jobs/pods?dryRun=All")
FORBIDDEN_JOBS = (
    "GET /api/v1/nodes",
    "GET /api/v1/pods",
    "GET /api/v1/secrets",
    "GET /api/v1/namespaces",
    "GET /api/v1/namespaces/kube-system/secrets",
    "GET /api/v1/namespaces/kube-system/pods",
    "GET /api/v1/namespaces/cms-jobs/secrets",
    "GET /api/v1/namespaces/cms-storage/secrets",
    "GET /metrics",
    "POST /api/v1/namespaces/default/pods?dryRun=All",
    "POST /api/v1/namespaces/kube-system/pods?dryRun=All",
    "POST /api/v1/namespaces/cms-storage/pods?dryRun=All",
    "POST /api/v1/namespaces/cms-jobs/pods/x/exec?command=id",
    "POST /api/v1/namespaces/cms-jobs/serviceaccounts/spark/token",
    "POST /apis/batch/v1/namespaces/cms-jobs/jobs?dryRun=All",
    "POST /apis/rbac.authorization.k8s.io/v1/namespaces/cms-jobs/rolebindings?dryRun=All",
    "POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings?dryRun=All",
)
TOO_MUCH: Mapping[str, dict[str, Any]] = {
    "the host's network": {"hostNetwork": True},
    "the host's processes": {"hostPID": True},
    "the host's files": {"volumes": [{"name": "x", "hostPath": {"path": "/etc/cloudmesh"}}]},
    "the host's devices": {"containers": [{"name": "x", "image": "x", "securityContext": {"privileged": True}}]},
}


@dataclass(frozen=True)
class Guarded:
    """A cluster of two hosts.

    Attributes:
        folder: where certificates are put for those who use them.
        administrator: a certificate that opens everything, with its key.
        token: of the account of the jobs' drivers.
        answers: the status of every call to the server while it was made.
    """

    name: str
    group: HostGroup
    operator: Operator
    folder: Path
    administrator: Path
    token: str
    answers: tuple[str, ...]

    @property
    def server(self) -> ContainerHost:
        return self.group.hosts[0]

    @property
    def worker(self) -> ContainerHost:
        return self.group.hosts[1]

    def kubectl(self, words: str) -> str:
        """Return what kubectl says to an administrator on the server."""
        return self.server.run(f"/opt/cloudmesh/bin/kubectl --kubeconfig /etc/kubernetes/admin.conf {words}")

    def copy_certificate(self, host: ContainerHost, *paths: str) -> Path:
        """Return a local file with a certificate and its key; the next call overwrites it."""
        file = self.folder / "taken.pem"
        file.write_text(host.run(f"cat {' '.join(paths)}"))
        return file


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    name, folder = make_unique_name("kguard"), tmp_path_factory.mktemp("certificates")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13", "13")) as group:
        server = group.hosts[0]
        server.container.exec_run(["sh", "-c", RACE], user="nobody", detach=True)
        operator = Operator(tmp_path_factory.mktemp("home"), group.key)
        operator.cms("create", "-n", name, "-p", "kubernetes", *group.where).ok()
        server.run("rm /tmp/race")
        answers = tuple(server.run("cat /tmp/race.answers").split())
        administrator = administrator_certificate(
            ClusterSecrets.loads(server.run("cat /etc/cloudmesh/cluster/secrets.json").encode())
        )
        (file := folder / "administrator.pem").write_bytes(administrator.certificate + administrator.key)
        without_token = Guarded(name, group, operator, folder, file, "", answers)
        token = without_token.kubectl("create token spark --namespace cms-jobs")
        yield Guarded(name, group, operator, folder, file, token, answers)


@pytest.fixture
def foreign(guarded: Guarded, tmp_path: Path) -> Path:
    """Return a certificate that would open everything if the cluster's own authority had signed it."""
    authority = certificates.new_authority(guarded.name)
    pair = certificates.issue(authority, "kubernetes-admin", ["localhost"], organization="system:masters")
    (file := tmp_path / "pair.pem").write_bytes(pair.certificate + pair.key)
    return file


def test_while_it_is_made_it_answers_nobody_either(guarded: Guarded) -> None:
    assert len(guarded.answers) > 100
    # 500: its controllers cannot yet ask the API whether somebody may
    assert {"000", "401", "403"} <= set(guarded.answers) <= {"000", "401", "403", "500"}


def test_from_outside_no_other_ports_are_open_than_those_looked_at_here(guarded: Guarded) -> None:
    assert find_open_ports(guarded.server) == {22, API, KUBELET, ETCD, PEERS, REGISTRY}
    assert find_open_ports(guarded.worker) == {22, KUBELET}


def test_everything_else_listens_on_loopback_only(guarded: Guarded) -> None:
    for host, ports in ((guarded.server, {API, KUBELET, ETCD, PEERS, REGISTRY}), (guarded.worker, {KUBELET})):
        addresses = list_listening(host)
        open_ports = {port for port, bound in addresses.items() if not all(_is_loopback(address) for address in bound)}
        assert open_ports == {22, *ports}
        assert {10248, 10249, 10256} < addresses.keys(), "kubelet and kube-proxy"


@pytest.mark.parametrize("path", READS)
def test_without_a_credential_the_api_tells_nothing(guarded: Guarded, path: str) -> None:
    assert call_https(guarded.server, API, f"GET {path}", certificate=guarded.administrator)[0] == 200
    assert call_https(guarded.server, API, f"GET {path}")[0] == 401


@pytest.mark.parametrize("call", CHANGES)
def test_without_a_credential_the_api_changes_nothing(guarded: Guarded, call: str) -> None:
    assert call_https(guarded.server, API, call, body="{}")[0] == 401


@pytest.mark.parametrize("path", HEALTH)
def test_whether_it_is_well_is_all_that_the_api_tells_everyone(guarded: Guarded, path: str) -> None:
    assert call_https(guarded.server, API, f"GET {path}") == (200, "ok")
    assert call_https(guarded.server, API, f"POST {path}")[0] == 403
    assert call_https(guarded.server, API, f"GET {path}/ping")[0] == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer made-up"},
        {"Authorization": "Bearer abcdef.0123456789abcdef"},
        {"Authorization": "Basic YWRtaW46YWRtaW4="},
        {"X-Remote-User": "kubernetes-admin", "X-Remote-Group": "system:masters"},
        {"Impersonate-User": "kubernetes-admin", "Impersonate-Group": "system:masters"},
    ],
    ids=str,
)
def test_a_made_up_credential_opens_nothing(guarded: Guarded, headers: dict[str, str]) -> None:
    assert call_https(guarded.server, API, "GET /api/v1/nodes", headers=headers)[0] == 401
    assert call_https(guarded.worker, KUBELET, "GET /pods", headers=headers)[0] == 401


def test_a_token_of_an_account_that_others_signed_opens_nothing(guarded: Guarded) -> None:
    head, claims, _ = guarded.token.split(".")
    assert call_https(guarded.server, API, ALLOWED_JOBS[0], headers=_build_header(guarded.token))[0] == 200
    unsigned = _encode_base64(b'{"alg": "none"}')
    for forged in (f"{head}.{claims}.{_encode_base64(bytes(64))}", f"{head}.{claims}.", f"{unsigned}.{claims}."):
        assert call_https(guarded.server, API, ALLOWED_JOBS[0], headers=_build_header(forged))[0] == 401


def test_a_certificate_of_another_authority_opens_nothing(guarded: Guarded, foreign: Path) -> None:
    assert call_https(guarded.server, API, "GET /api/v1/nodes", certificate=foreign)[0] == 401
    for host in guarded.group.hosts:
        assert call_https(host, KUBELET, "GET /pods", certificate=foreign)[0] == 401
    for port in (ETCD, PEERS, REGISTRY):
        assert re.search(REFUSED, read_tls_refusal(guarded.server, port, certificate=foreign))


@pytest.mark.parametrize("port", [ETCD, PEERS, REGISTRY])
def test_the_stores_talk_to_nobody_without_a_certificate(guarded: Guarded, port: int) -> None:
    assert re.search(REFUSED, read_tls_refusal(guarded.server, port))
    assert re.fullmatch(rb"(HTTP/1.0 400 .*)?", ask(guarded.server, port, b"GET /version HTTP/1.0\r\n\r\n"), re.DOTALL)
    assert list_listening(guarded.server)[port] <= {guarded.server.address, "127.0.0.1"}


def test_a_certificate_is_good_for_one_thing_only(guarded: Guarded) -> None:
    server, pki_folder, cluster = guarded.server, "/etc/kubernetes/pki", "/etc/cloudmesh/cluster"
    etcd = guarded.copy_certificate(
        server, f"{pki_folder}/apiserver-etcd-client.crt", f"{pki_folder}/apiserver-etcd-client.key"
    )
    assert [read_tls_refusal(server, port, certificate=etcd) != "" for port in (ETCD, REGISTRY)] == [False, True]
    assert call_https(server, API, "GET /api/v1/nodes", certificate=etcd)[0] == 401
    host = guarded.copy_certificate(server, f"{cluster}/host.pem", f"{cluster}/host-key.pem")
    assert [read_tls_refusal(server, port, certificate=host) != "" for port in (ETCD, PEERS, REGISTRY)] == [
        True,
        True,
        False,
    ]
    assert call_https(server, API, "GET /api/v1/nodes", certificate=host)[0] == 401
    administrator = guarded.administrator
    assert [read_tls_refusal(server, port, certificate=administrator) != "" for port in (ETCD, PEERS, REGISTRY)] == [
        True,
        True,
        True,
    ]


@pytest.mark.parametrize("call", [*(f"GET {path}" for path in KUBELET_READS), *KUBELET_CALLS])
def test_a_kubelet_does_nothing_without_a_credential_or_for_a_job(guarded: Guarded, call: str) -> None:
    for host in guarded.group.hosts:
        if call[4:] in KUBELET_READS:
            assert call_https(host, KUBELET, call, certificate=guarded.administrator)[0] == 200
        assert call_https(host, KUBELET, call)[0] == 401
        assert call_https(host, KUBELET, call, headers=_build_header(guarded.token))[0] == 403


def test_no_token_that_lets_hosts_in_is_left(guarded: Guarded) -> None:
    assert guarded.kubectl("get secrets --all-namespaces --output name") == ""


@pytest.mark.parametrize("call", ALLOWED_JOBS)
def test_a_job_does_what_it_is_for(guarded: Guarded, call: str) -> None:
    assert call_https(guarded.server, API, call, headers=_build_header(guarded.token), body=_build_pod())[0] in (
        200,
        201,
    )


@pytest.mark.parametrize("call", FORBIDDEN_JOBS)
def test_a_job_does_nothing_else(guarded: Guarded, call: str) -> None:
    status, body = call_https(guarded.server, API, call, headers=_build_header(guarded.token), body="{}")
    assert (status, "system:serviceaccount:cms-jobs:spark" in body) == (403, True)


@pytest.mark.parametrize("what", TOO_MUCH)
def test_a_job_makes_no_pod_that_has_more_of_a_host_than_it_may(guarded: Guarded, what: str) -> None:
    status, body = call_https(
        guarded.server, API, ALLOWED_JOBS[1], headers=_build_header(guarded.token), body=_build_pod(**TOO_MUCH[what])
    )
    assert (status, "violates PodSecurity" in body) == (403, True)


def test_a_worker_has_no_power_over_others(guarded: Guarded) -> None:
    kubelet = guarded.copy_certificate(guarded.worker, "/var/lib/kubelet/pki/kubelet-client-current.pem")
    worker, server = (f"/api/v1/nodes/{host.name}" for host in (guarded.worker, guarded.server))
    label = json.dumps({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}})
    patch = {"Content-Type": "application/merge-patch+json"}

    def call_as_worker(call: str, body: str = "", **headers: str) -> int:
        return call_https(guarded.server, API, call, body=body, headers=headers, certificate=kubelet)[0]

    assert call_as_worker(f"GET {worker}") == 200
    assert call_as_worker(f"PATCH {worker}?dryRun=All", label, **patch) == 403
    assert call_as_worker(f"PATCH {server}?dryRun=All", "{}", **patch) == 403
    assert call_as_worker(f"DELETE {server}?dryRun=All") == 403
    assert call_as_worker("GET /api/v1/secrets") == 403
    assert call_as_worker("POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings?dryRun=All", "{}") == 403
    assert call_https(guarded.server, KUBELET, "GET /pods", certificate=kubelet)[0] == 403
    assert re.search(REFUSED, read_tls_refusal(guarded.server, ETCD, certificate=kubelet))


@pytest.mark.parametrize("url", LOCAL)
def test_on_the_host_an_unprivileged_user_gets_nothing_either(guarded: Guarded, url: str) -> None:
    status = guarded.server.run(f"curl -sk -m 5 -o /dev/null -w '%{{http_code}}' '{url}' || true", user="nobody")
    assert status == LOCAL[url]


def test_who_did_what_is_kept_without_what_is_secret(guarded: Guarded) -> None:
    name, value = f"audited-{int(time.time())}", "no-secret-at-all"
    guarded.kubectl(f"create secret generic {name} --from-literal=it={value}")
    guarded.kubectl(f"get secret {name} --output yaml")
    guarded.kubectl(f"delete secret {name}")
    log = guarded.server.run("cat /var/log/kubernetes/audit.log")
    events = [json.loads(line) for line in log.splitlines()]
    seen = {
        event["verb"]: event["user"]["username"] for event in events if event.get("objectRef", {}).get("name") == name
    }
    assert seen == dict.fromkeys(("get", "create", "delete"), "kubernetes-admin")
    secrets = [value, base64.b64encode(value.encode()).decode(), guarded.token, *_read_keys(guarded.server)]
    assert not [secret for secret in secrets if secret in log]
    assert guarded.server.run("stat -c '%a %U' /var/log/kubernetes/audit.log") == "600 root"


def test_an_unprivileged_user_sees_nothing_of_our_files(guarded: Guarded) -> None:
    for host in guarded.group.hosts:
        for folder in ("/etc/cloudmesh", "/var/lib/cloudmesh"):
            assert host.run(f"stat -c '%a %U' {folder}") == "700 root"
        wide = r"find /etc/kubernetes /var/lib/kubelet/pki ! -type d \( -name '*.key' -o -name '*.conf' \) -perm /077"
        assert host.run(wide) == ""
        for path in ("/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/pods", "/var/lib/kubelet/pki/kubelet.key"):
            assert host.succeeds(f"ls {path}")
            assert not host.succeeds(f"cat {path} || ls {path}/", user="nobody")
        assert not host.succeeds("curl -s --unix-socket /run/cloudmesh/containerd.sock http://x/", user="nobody")


def test_no_secret_is_in_a_command_line_an_environment_or_a_file_that_others_can_read(guarded: Guarded) -> None:
    secrets = {key for host in guarded.group.hosts for key in _read_keys(host)}
    assert len(secrets) > 15
    for host in guarded.group.hosts:
        assert find_exposed(host, *secrets) == []


def test_a_worker_has_the_secrets_of_no_server(guarded: Guarded) -> None:
    workers_keys, servers_keys = _read_keys(guarded.worker), _read_keys(guarded.server)
    assert len(workers_keys) >= 3
    assert workers_keys.isdisjoint(servers_keys)
    # neither as text in another file
    text = guarded.worker.run(
        "cat $(find /etc/cloudmesh /etc/kubernetes /var/lib/cloudmesh/host /var/lib/cloudmesh/kubernetes -type f)"
    )
    assert not [key for key in servers_keys if key in text]


def test_the_operator_keeps_no_secret(guarded: Guarded) -> None:
    texts = {path: path.read_text(errors="replace") for path in guarded.operator.home.rglob("*") if path.is_file()}
    assert texts
    assert not [path for path, text in texts.items() if "PRIVATE KEY" in text or "client-key-data" in text]


def test_the_operators_certificate_is_good_for_days(guarded: Guarded) -> None:
    from cryptography import x509

    ends = x509.load_pem_x509_certificate(guarded.administrator.read_bytes()).not_valid_after_utc
    assert time.time() < ends.timestamp() < time.time() + 8 * 86400


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "[::1]"


def _read_keys(host: ContainerHost) -> set[str]:
    """Return a line of every private key of the cluster that a host has, as it stands in a file."""
    files = "grep -rlE 'PRIVATE KEY|client-key-data' /etc/cloudmesh /etc/kubernetes /var/lib/kubelet/pki"
    text = host.run(f"cat $({files})").replace("\\n", "\n")
    return set(re.findall(r"PRIVATE KEY-----\n(.{40,})\n", text)) | set(re.findall(r"client-key-data: (\S+)", text))


def _build_header(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _encode_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _build_pod(**more: Any) -> str:
    pod = {"containers": [{"name": "x", "image": "x"}], **more}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x"}, "spec": pod})
