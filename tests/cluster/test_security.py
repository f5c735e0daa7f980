"""What a cluster answers to somebody without a credential: nothing, from outside, on a host, and while it is made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.cms import Operator
from support.hosts import ContainerHost, HostGroup, make_unique_name, start_hosts
from support.probes import ask, find_exposed, find_open_ports, list_listening, read_tls_refusal
from support.waiting import wait_until

from cloudmesh.cluster.core import certificates

pytestmark = pytest.mark.cluster

HTTP, RPC, SERF, REGISTRY, WRITERS = 4646, 4647, 4648, 5443, 5444
TLS = b"\x04"  # by which Nomad's RPC port is told that TLS follows
REFUSED = "certificate|unknown ca|EOF|reset"
# Asked by an unprivileged user as fast as curl can, for as long as the file is there; every answer that came is stored.
RACE = r"""
touch /tmp/race
while [ -e /tmp/race ]; do
    curl -s -m 2 -w ' %{http_code}\n' -X POST http://127.0.0.1:4646/v1/acl/bootstrap -d '{}' >>/tmp/race.answers
    echo . >>/tmp/race.tries
done
"""
# What a token opens; without one, Nomad says no, or shows a list of what everybody may see: nothing.
READS = (
    "jobs",
    "nodes",
    "vars",
    "allocations",
    "evaluations",
    "acl/tokens",
    "acl/policies",
    "agent/self",
    "agent/members",
    "operator/raft/configuration",
    "operator/keyring/keys",
    "client/stats",
    "agent/monitor",
    "agent/pprof/goroutine",
)
JOB = {
    "ID": "x",
    "Name": "x",
    "Type": "batch",
    "Datacenters": ["*"],
    "TaskGroups": [{"Name": "x", "Tasks": [{"Name": "x", "Driver": "docker", "Config": {"image": "x"}}]}],
}
WRITES = {
    "POST jobs": {"Job": JOB},
    "PUT system/gc": {},
    "PUT var/nomad/jobs/x": {"Path": "nomad/jobs/x", "Items": {"a": "b"}},
    "POST acl/token": {"Name": "x", "Type": "management"},
    "POST acl/policy/anonymous": {"Name": "anonymous", "Rules": 'node { policy = "write" }'},
    "POST node/00000000-0000-0000-0000-000000000000/drain": {"DrainSpec": {"Deadline": 1}},
    "PUT agent/servers?address=10.0.0.1:4647": {},
}


@dataclass(frozen=True)
class Guarded:
    """A cluster of two hosts.

    Attributes:
        tries: how often its access control was called while it was made.
        answers: what was answered.
    """

    name: str
    group: HostGroup
    operator: Operator
    tries: int
    answers: str

    @property
    def server(self) -> ContainerHost:
        return self.group.hosts[0]

    @property
    def secrets(self) -> dict[str, str]:
        """All secrets of the cluster and its hosts, by what they are; of keys, the first line within the frame."""
        secrets = json.loads(self.server.run("cat /etc/cloudmesh/cluster/secrets.json"))
        keys = {f"key of {host.name}": host.run("cat /etc/cloudmesh/cluster/host-key.pem") for host in self.group.hosts}
        keys["CA key"] = secrets["ca_key"]
        return {**secrets["engine"], **{name: key.splitlines()[1] for name, key in keys.items()}}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    name = make_unique_name("guard")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13", "13")) as group:
        server = group.hosts[0]
        server.container.exec_run(["sh", "-c", RACE], user="nobody", detach=True)
        operator = Operator(tmp_path_factory.mktemp("home"), group.key)
        operator.cms("create", "-n", name, *group.where).ok()
        server.run("rm /tmp/race")
        tries = int(server.run("wc -l </tmp/race.tries"))
        yield Guarded(name, group, operator, tries, server.run("cat /tmp/race.answers"))


def test_nobody_can_take_the_cluster_while_it_is_made(guarded: Guarded) -> None:
    answers = [(body, status) for body, _, status in (line.rpartition(" ") for line in guarded.answers.splitlines())]
    assert guarded.tries > 100
    assert answers[0] == ("", "000"), "it was not yet there"
    assert {status for _, status in answers} == {"000", "400"}
    (body,) = {body for body, status in answers if status == "400"}
    assert re.fullmatch(r"ACL bootstrap already done \(reset index: \d+\)", body)
    assert guarded.operator.cms("info", "-n", guarded.name).status == 0


def test_from_outside_no_other_ports_are_open_than_those_looked_at_here(guarded: Guarded) -> None:
    server, worker = guarded.group.hosts
    assert find_open_ports(server) == {22, RPC, SERF, REGISTRY}
    assert find_open_ports(worker) == {22}


def test_the_api_listens_on_loopback_only(guarded: Guarded) -> None:
    for host in guarded.group.hosts:
        assert list_listening(host)[HTTP] == {"127.0.0.1"}


def test_rpc_talks_to_nobody_without_a_certificate(guarded: Guarded) -> None:
    # the first byte is how Nomad tells its protocols apart: plain RPC, raft, multiplexed RPC, and TLS
    for kind in (b"\x01", b"\x02", b"\x03", b"\x08"):
        assert ask(guarded.server, RPC, kind + b"\x82\xa6Status.Ping\x00") == b""
    assert re.search(REFUSED, read_tls_refusal(guarded.server, RPC, greeting=TLS))


def test_a_certificate_of_another_authority_opens_nothing(guarded: Guarded, tmp_path: Path) -> None:
    pair = certificates.issue(certificates.new_authority(guarded.name), "operator", ["server.global.nomad"])
    file = tmp_path / "pair.pem"
    file.write_bytes(pair.certificate + pair.key)
    for port, greeting in ((RPC, TLS), (REGISTRY, b"")):
        assert re.search(REFUSED, read_tls_refusal(guarded.server, port, greeting, file))


def test_a_certificate_of_the_cluster_opens_what_others_are_refused(guarded: Guarded, tmp_path: Path) -> None:
    file = tmp_path / "pair.pem"
    file.write_text(guarded.server.run("cat /etc/cloudmesh/cluster/host.pem /etc/cloudmesh/cluster/host-key.pem"))
    for port, greeting in ((RPC, TLS), (REGISTRY, b"")):
        assert read_tls_refusal(guarded.server, port, greeting, file) == ""


def test_gossip_says_nothing_to_those_without_the_key(guarded: Guarded) -> None:
    # memberlist's push/pull, ping and stream messages, in the clear
    for kind in (b"\x06", b"\x00", b"\x05", b"\x0a\x00\x00\x00\x10"):
        answer = ask(guarded.server, SERF, kind + b"\x83\xa5Nodes\x01\xa4Join\xc3\xacUserStateLen\x00" + bytes(64))
        assert guarded.server.where.encode() not in answer
        assert guarded.server.address.encode() not in answer
        assert b"nomad" not in answer


def test_the_registry_talks_to_nobody_without_a_certificate(guarded: Guarded) -> None:
    assert re.search(REFUSED, read_tls_refusal(guarded.server, REGISTRY))
    assert list_listening(guarded.server)[REGISTRY] == {guarded.server.address}


def test_a_workers_certificate_reads_from_the_registry_and_never_writes(guarded: Guarded) -> None:
    server, worker = guarded.group.hosts
    curl = (
        "cd /etc/cloudmesh/cluster; curl -s -m 10 --cacert ca.pem --cert host.pem --key host-key.pem"
        " -o /dev/null -w '%{http_code}' "
    )
    registry = f"https://{server.address}:{REGISTRY}/v2"
    assert worker.run(f"{curl} {registry}/") == "200"
    assert worker.run(f"{curl} -X POST {registry}/a/b/blobs/uploads/") == "405"
    assert list_listening(server)[WRITERS] == {"127.0.0.1"}
    assert server.run(f"{curl} -X POST https://127.0.0.1:{WRITERS}/v2/a/b/blobs/uploads/ || true") == "000"


@pytest.mark.parametrize("path", READS)
def test_on_the_host_an_unprivileged_user_reads_nothing_of_the_api(guarded: Guarded, path: str) -> None:
    assert call_api(guarded, "GET", path, guarded.secrets["token"])[0] == "200"
    status, body = call_api(guarded, "GET", path)
    assert status == "403" or (status, body) == ("200", "[]")


@pytest.mark.parametrize("call", WRITES)
def test_on_the_host_an_unprivileged_user_changes_nothing(guarded: Guarded, call: str) -> None:
    status, body = call_api(guarded, *call.split(), body=WRITES[call])
    assert (status, "Permission denied" in body) == ("403", True)


# Nomad asks for no token here; but those who have not the key of the gossip are not let in.
def test_a_server_can_be_made_to_join_nobody(guarded: Guarded) -> None:
    status, body = call_api(guarded, "POST", f"agent/join?address={guarded.group.hosts[1].address}")
    assert status == "403" or json.loads(body)["num_joined"] == 0


def test_access_control_is_bootstrapped_once_and_for_all(guarded: Guarded) -> None:
    answer = guarded.server.run(
        f"curl -s -m 10 -X POST -d '{{}}' http://127.0.0.1:{HTTP}/v1/acl/bootstrap", user="nobody"
    )
    assert "already done" in answer


def test_an_unprivileged_user_sees_nothing_of_our_files(guarded: Guarded) -> None:
    for host in guarded.group.hosts:
        assert host.run("stat -c '%a %U' /etc/cloudmesh") == "700 root"
        assert not host.succeeds("ls /etc/cloudmesh/cluster", user="nobody")
        assert not host.succeeds("ls /var/lib/cloudmesh/host", user="nobody")
        wide = host.run("find /etc/cloudmesh /var/lib/cloudmesh -xdev -type f -perm /077 -path '/etc/*'")
        assert wide == ""


def test_no_secret_is_in_a_command_line_an_environment_or_a_file_that_others_can_read(guarded: Guarded) -> None:
    secrets = guarded.secrets
    assert {"token", "gossip", "CA key"} < secrets.keys()
    for host in guarded.group.hosts:
        exposed = {what for what, secret in secrets.items() if find_exposed(host, secret)}
        assert exposed == set()


def test_a_secret_that_others_could_read_would_be_found(guarded: Guarded) -> None:
    host, secret = guarded.server, "no-secret-at-all"
    assert not find_exposed(host, secret)
    host.container.exec_run(["sleep", "2"], environment={"SEEN": secret}, detach=True)
    assert wait_until(lambda: find_exposed(host, secret), 10, pause=0.1)
    assert wait_until(lambda: not find_exposed(host, secret), 10, pause=0.1)
    host.run("install -m 644 /root/.search /var/tmp/seen")
    assert find_exposed(host, secret)
    host.run("chmod 600 /var/tmp/seen")
    assert not find_exposed(host, secret)


def test_a_worker_has_the_secrets_of_no_server(guarded: Guarded) -> None:
    worker = guarded.group.hosts[1]
    secrets = {what: secret for what, secret in guarded.secrets.items() if what != f"key of {worker.name}"}
    text = worker.run("cat $(find /etc/cloudmesh /var/lib/cloudmesh /etc/docker -xdev -type f -size -1024k)")
    assert guarded.secrets[f"key of {worker.name}"] in text
    assert {what for what, secret in secrets.items() if secret in text} == set()


def test_the_operator_keeps_no_secret(guarded: Guarded) -> None:
    texts = {path: path.read_text(errors="replace") for path in guarded.operator.home.rglob("*") if path.is_file()}
    assert texts
    assert not [path for path, text in texts.items() for secret in guarded.secrets.values() if secret in text]
    (known_hosts,) = [path for path in texts if path.name == "known_hosts"]
    assert _read_mode(known_hosts) == "600"


def call_api(guarded: Guarded, method: str, path: str, token: str = "", body: object = None) -> tuple[str, str]:
    """Return status and body of a call to the server's API by an unprivileged user of that host."""
    header = f"-H 'X-Nomad-Token: {token}'" if token else ""
    data = "" if body is None else f"-d '{json.dumps(body)}'"
    # some calls answer for as long as they are listened to
    command = (
        f"curl -s -m 3 -w ' %{{http_code}}' -X {method} {header} {data} 'http://127.0.0.1:{HTTP}/v1/{path}' || true"
    )
    answer, _, status = guarded.server.run(command, user="nobody").rpartition(" ")
    return status, answer.strip()


def _read_mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:o}"
