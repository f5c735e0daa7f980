"""New certificates, keys and tokens while jobs run; old ones are refused, also those of a host removed by force."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from contract.conftest import PROVIDERS
from contract.test_containers import write_job_file
from support.cms import Operator, Outcome
from support.hosts import ContainerHost, HostCluster, make_unique_name, start_hosts
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

# By itself, an agent registers again within 22 s, a kubelet within 5 s.
RETURN_SECONDS = 30
AGENT = {"nomad": "cloudmesh-nomad", "kubernetes": "cloudmesh-kubelet"}
RPC = {"nomad": 4647, "kubernetes": 6443}
JOB_SECONDS = 150
CONFIG = "/etc/cloudmesh/cluster"
# The clients of each engine that a worker has a certificate for.
CREDENTIALS = {
    "nomad": (f"{CONFIG}/host.pem", f"{CONFIG}/host-key.pem"),
    "kubernetes": ("/var/lib/kubelet/pki/kubelet-client-current.pem",) * 2,
}


@dataclass
class Trio(HostCluster):
    """A server and two workers; the last worker is lost, and removed by force.

    Attributes:
        old: secrets of the server before the rotation.
        certificate: of the worker that stays, and its key, before the rotation.
    """

    SECONDS = 900

    folder: Path
    old: Mapping[str, str] = field(default_factory=dict)
    certificate: tuple[str, str] = ("", "")

    @property
    def lost(self) -> ContainerHost:
        return self.group.hosts[2]

    def read_secrets(self) -> Mapping[str, str]:
        secrets = json.loads(self.server.run(f"cat {CONFIG}/secrets.json"))
        assert not secrets.keys() & {"successor", "predecessor"}
        return {"ca": secrets["ca"], **secrets["engine"]}

    def read_certificate(self) -> tuple[str, str]:
        certificate, key = CREDENTIALS[self.provider]
        return self.worker.run(f"cat {certificate}"), self.worker.run(f"cat {key}")

    def lets_in(self, certificate: str, key: str) -> bool:
        """Return whether a server's engine takes a client certificate."""
        files = self.folder / "client.pem", self.folder / "client-key.pem"
        for file, pem in zip(files, (certificate, key), strict=True):
            file.write_text(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(*files)
        ask = ask_nomad if self.provider == "nomad" else ask_kubernetes
        with socket.create_connection((self.server.address, RPC[self.provider]), 5) as connection:
            return ask(connection, context)

    def run_job(self, job_id: str, script: str, *options: str) -> Outcome:
        file = write_job_file(self.folder, command=["sh", "-c", script])
        return self.cms("submit", f"--id={job_id}", *options, file).ok()


def ask_nomad(connection: socket.socket, context: ssl.SSLContext) -> bool:
    """Begin a request to Nomad's servers: a byte that says TLS, and within it one that says what comes."""
    connection.sendall(b"\x04")
    try:
        with context.wrap_socket(connection) as tls:
            tls.settimeout(3)
            tls.sendall(b"\x01")
            return tls.recv(1) != b""
    except TimeoutError:
        return True  # it waits for the request
    except (ssl.SSLError, ConnectionError):
        return False


def ask_kubernetes(connection: socket.socket, context: ssl.SSLContext) -> bool:
    """Ask the API who the client is: one that it does not know may not ask."""
    body = b'{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}'
    head = (
        "POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1\r\nHost: kubernetes\r\nConnection: close\r\n"
    )
    try:
        with context.wrap_socket(connection) as tls:
            tls.settimeout(10)
            tls.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            return b" 201 " in tls.recv(100)
    except (ssl.SSLError, ConnectionError):
        return False


@pytest.fixture(scope="module", params=PROVIDERS)
def trio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    name = make_unique_name("rotate")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 3) as group:
        operator = Operator(tmp_path_factory.mktemp("home"), group.key)
        trio = Trio(request.param, name, group, operator, tmp_path_factory.mktemp("jobs"))
        trio.cms("create", "-p", request.param, "--images=spark", *group.where).ok()
        yield trio


def test_a_host_that_does_not_answer_stops_it_and_the_remedy_works(trio: Trio) -> None:
    trio.old, trio.certificate = trio.read_secrets(), trio.read_certificate()
    assert trio.lets_in(*trio.certificate)
    trio.lost.container.kill()
    outcome = trio.cms("rotate")
    outcome.expect_failure(1, f"^{trio.lost.where}: ")
    assert "nothing was changed: once" in outcome.stderr
    assert trio.read_secrets() == trio.old
    outcome = trio.cms("remove", "--force", "--yes", trio.lost.where)
    outcome.expect_failure(1, f"^{trio.lost.where}: ")
    assert f"`cms cluster rotate -n {trio.name}` keeps it out at any other address too" in outcome.stderr


def test_a_run_that_was_killed_leaves_a_cluster_that_works_and_the_next_one_finishes_it(trio: Trio) -> None:
    trio.run_job("long", f"sleep {JOB_SECONDS}; echo $((6 * 7))", "--detach")
    with trio.operator.start("rotate", "-n", trio.name) as running:
        running.wait_until_shown(rf"{trio.name}: renew\b", seconds=300)
        time.sleep(0.5)
        running.kill()
    expected = {trio.server.where: "ready", trio.worker.where: "ready"}
    # The engine may be starting anew.
    assert wait_until(trio.read_statuses, 120, pause=2, satisfies=lambda read: read == expected) == expected
    assert trio.run_job("between", "echo between").stdout == "between\n"
    trio.cms("rotate").ok()
    assert wait_until(trio.read_statuses, 60, pause=2, satisfies=lambda read: read == expected) == expected


def test_a_job_has_gone_on_to_the_right_answer(trio: Trio) -> None:
    def read_state() -> str:
        return str(trio.cms("jobs", "long", "--output=json").json()["state"])

    state = wait_until(read_state, JOB_SECONDS + 60, pause=3, satisfies=lambda read: read != "running")
    assert state == "succeeded"
    assert trio.cms("logs", "long").ok().stdout == "42\n"


def test_what_was_valid_before_is_refused_and_what_is_new_is_not(trio: Trio) -> None:
    new = trio.read_secrets()
    assert not trio.old.items() & {item for item in new.items() if not item[0].startswith("network")}
    assert not trio.lets_in(*trio.certificate)
    assert trio.lets_in(*trio.read_certificate())
    for host in (trio.server, trio.worker):
        assert host.succeeds(f"openssl verify -CAfile {CONFIG}/ca.pem {CONFIG}/host.pem")
        assert host.run(f"grep -c BEGIN {CONFIG}/ca.pem").strip() == "1"
    if trio.provider == "nomad":
        for token, allowed in ((trio.old["token"], False), (new["token"], True)):
            ask = f"curl --silent --fail -H 'X-Nomad-Token: {token}' http://127.0.0.1:4646/v1/jobs"
            assert trio.server.succeeds(ask) is allowed


def test_a_host_that_was_removed_by_force_gets_in_from_no_address(trio: Trio) -> None:
    # The servers keep its address out beside that: here, they let it try.
    trio.server.run("nft delete table inet cloudmesh")
    trio.group.start(trio.lost)
    wait_until(lambda: trio.lost.succeeds(f"systemctl is-active {AGENT[trio.provider]}"), 60)
    deadline = time.monotonic() + RETURN_SECONDS
    while time.monotonic() < deadline:
        assert trio.read_statuses().keys() == {trio.server.where, trio.worker.where}
        time.sleep(3)
    ask = (
        f"cd {CONFIG} && curl --silent --insecure --max-time 5 --cert host.pem --key host-key.pem "
        "https://registry.cloudmesh:5443/v2/"
    )
    assert not trio.lost.succeeds(ask)
    assert trio.worker.succeeds(ask)


def test_info_says_when_certificates_expire(trio: Trio) -> None:
    nodes = trio.cms("info", "--output=json").json()["nodes"]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", node["expires"]) for node in nodes)
