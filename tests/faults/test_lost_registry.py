"""The first of three servers is lost, and its registry too: images are delivered to the others, and it catches up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.conftest import PROVIDERS
from support.cms import Operator, Outcome
from support.hosts import ContainerHost, HostGroup, make_unique_name, start_hosts
from support.waiting import wait_until

from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.docker_daemon import debian_base
from cloudmesh.cluster.images import catalog, layers

pytestmark = pytest.mark.cluster

SECONDS = 30  # after so long everything goes on
REGISTRY = "registry.cloudmesh:5443"
PULL = {
    "nomad": "curl -sS --fail --unix-socket /run/docker.sock -X POST"
    " 'http://docker/images/create?fromImage={name}&tag={tag}' | (! grep -i error)"
    " && curl -sS --fail --unix-socket /run/docker.sock -o /dev/null 'http://docker/images/{name}:{tag}/json'",
    "kubernetes": "ctr --address /run/cloudmesh/containerd.sock -n k8s.io images pull"
    " --hosts-dir /etc/cloudmesh/cluster/certs.d {name}:{tag}",
}


class Trio:
    """A cluster of three servers, which take jobs too, and a host beside it."""

    def __init__(self, provider: str, name: str, group: HostGroup, operator: Operator) -> None:
        self.provider, self.name, self.group, self.operator = provider, name, group, operator
        self.first, *self.others = group.hosts[:3]
        self.fresh = group.hosts[3]

    def cms(self, verb: str, *words: str, seconds: float = 180) -> Outcome:
        return self.operator.cms(verb, "-n", self.name, *words, seconds=seconds)

    def read_statuses(self) -> dict[str, str]:
        return {node["name"]: node["status"] for node in self.cms("info", "--output=json").json()["nodes"]}


@pytest.fixture(scope="module", params=PROVIDERS)
def trio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    name = make_unique_name("lostregistry")
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 4) as group:
        trio = Trio(request.param, name, group, Operator(tmp_path_factory.mktemp("home"), group.key))
        trio.cms("create", "-p", request.param, "--servers=3", *group.where[:3], seconds=600).ok()
        yield trio


def write_job(folder: Path, text: str) -> str:
    """Write a job with a file of its own, so that an image is made for it."""
    (folder / "says.txt").write_text(f"{text}\n")
    spec = {
        "image": debian_base.base_image(catalog.RELEASE, report=Silence()),
        "resources": {"cores": 1, "memory": "64m"},
        "command": ["sh", "-c", 'cat "$CMS_JOB_DIR/says.txt"'],
        "files": ["says.txt"],
    }
    described = {"apiVersion": "cms/v1", "kind": "ContainerJob", "metadata": {"name": "job"}, "spec": spec}
    file = folder / "job.yaml"
    file.write_text(json.dumps(described))
    return str(file)


def ask(host: ContainerHost, path: str) -> str:
    """Return what the registry on a server says to that server's own certificate; empty where it has nothing to say."""
    config = "/etc/cloudmesh/cluster"
    keys = f"--cacert {config}/ca.pem --cert {config}/host.pem --key {config}/host-key.pem"
    accept = " ".join(f"-H 'Accept: {kind}'" for kind in layers.LAYER_OF)
    where = f"--connect-to ::{host.address}: https://{REGISTRY}/v2/{path}"
    return host.run(f"curl -sS --fail --max-time 10 {keys} {accept} {where} || true")


def read_tag(host: ContainerHost, job_id: str) -> str:
    """Return the tag of a job's image in the registry on a server; empty where it is not there."""
    listed = ask(host, f"cms-jobs/{job_id}/tags/list")
    if not listed:
        return ""
    (tag,) = json.loads(listed)["tags"]
    return str(tag) if ask(host, f"cms-jobs/{job_id}/manifests/{tag}") else ""


def test_the_image_of_a_job_is_on_every_server_when_it_is_submitted(trio: Trio, tmp_path: Path) -> None:
    trio.cms("submit", "--detach", "--id=early", write_job(tmp_path, "early")).ok()
    tags = {read_tag(host, "early") for host in (trio.first, *trio.others)}
    assert len(tags) == 1
    assert tags != {""}


def test_with_the_first_server_gone_a_job_with_an_image_of_its_own_is_submitted_at_once(
    trio: Trio, tmp_path: Path
) -> None:
    trio.first.container.kill()
    outcome = trio.cms("submit", "--detach", "--id=at-once", write_job(tmp_path, "at once"), seconds=SECONDS).ok()
    assert "the registry of a server that gave no answer catches up when it is back" in outcome.stderr
    assert "" not in {read_tag(host, "at-once") for host in trio.others}
    # The engine may have chosen the lost host, of which it does not know yet.
    trio.cms("stop", "at-once").ok()
    first = trio.first.where
    statuses = wait_until(trio.read_statuses, 120, pause=1, satisfies=lambda statuses: statuses[first] == "down")
    assert statuses[first] == "down"
    outcome = trio.cms("submit", "--id=late", write_job(tmp_path, "late")).ok()
    assert outcome.stdout == "late\n"


def test_with_the_first_server_gone_a_host_joins_and_runs_jobs(trio: Trio, tmp_path: Path) -> None:
    trio.cms("add", trio.fresh.where, seconds=300).ok()
    assert trio.read_statuses()[trio.fresh.where] == "ready"
    trio.fresh.run(PULL[trio.provider].format(name=f"{REGISTRY}/cms-jobs/late", tag=read_tag(trio.others[0], "late")))


def test_when_it_is_back_it_has_what_was_pushed_meanwhile_and_gives_it(trio: Trio) -> None:
    trio.group.start(trio.first)
    assert wait_until(lambda: read_tag(trio.first, "late"), 120, pause=1), "never: it has the image of the job"
    assert read_tag(trio.first, "at-once")
    for host in trio.others:
        host.run("systemctl stop cloudmesh-registry")
    trio.first.run(PULL[trio.provider].format(name=f"{REGISTRY}/cms-jobs/late", tag=read_tag(trio.first, "late")))
