"""A cluster is lost with all its hosts, and is there again from its backup: the same one, with what it knew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from contract.conftest import PROVIDERS
from contract.test_containers import write_job_file
from support.cms import Outcome
from support.hosts import LocalCluster, prepare_local_cluster
from support.waiting import wait_until

from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.docker_daemon.debian_base import base_image

pytestmark = pytest.mark.cluster

KEY = "key-of-the-lake"
AUTHORITY = "sha256sum /etc/cloudmesh/cluster/ca.pem"
SERVICE_SECONDS = 240  # until an engine tries again to pull what it could not


@dataclass(frozen=True)
class Lake:
    """A cluster of two local hosts, whose jobs run Debian, and a volume whose key they get.

    Attributes:
        image: Debian's, as the operator's Docker engine has it.
        folder: for files.
    """

    provider: str
    cluster: LocalCluster
    image: str
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "lake.backup"

    def cms(self, verb: str, *words: str, seconds: float = 400) -> Outcome:
        return self.cluster.operator.cms(verb, "-n", self.cluster.name, *words, seconds=seconds)

    def restore_words(self) -> tuple[str, ...]:
        return (f"--passphrase-file={self.folder / 'passphrase'}", "--nodes=2", str(self.file))

    def run_job(self, job_id: str) -> Outcome:
        """Run a job that prints the key of the volume."""
        command, storage = ["sh", "-c", "echo $AWS_SECRET_ACCESS_KEY"], [{"name": "lake", "mount": "/lake"}]
        file = write_job_file(self.folder, image=self.image, command=command, storage=storage)
        return self.cms("submit", f"--id={job_id}", file).ok()

    def start_service(self) -> None:
        """Run what has no end, in the engine's own language."""
        name, _, tag = self.image.partition(":")
        client = docker.from_env()
        digits = client.images.get(self.image).id.rpartition(":")[2][:12]
        client.close()
        image = f"registry.cloudmesh:5443/{name}:{tag}-{digits}"
        file = self.folder / "service.json"
        file.write_text(json.dumps(_nomad_service(image) if self.provider == "nomad" else _deployment(image)))
        self.cms("submit", str(file)).ok()

    def serves(self) -> bool:
        """Return whether the service runs, on some host."""
        return any(host.succeeds("pgrep -f '^sleep 98765'") for host in self.cluster.list_hosts())

    def identity(self) -> str:
        server = self.cluster.host(1)
        return f"{server.read_cluster_id()} {server.run(AUTHORITY)}"

    def read_states(self) -> dict[str, str]:
        return {job["id"]: job["state"] for job in self.cms("jobs", "--output=json").json()}


def _nomad_service(image: str) -> dict[str, object]:
    task = {
        "Name": "task",
        "Driver": "docker",
        "Config": {"image": image, "command": "sleep", "args": ["98765"]},
        "Resources": {"CPU": 100, "MemoryMB": 32},
    }
    # By default Nomad waits ever longer before it starts the task anew.
    restart = {"Attempts": 20, "Interval": 600_000_000_000, "Delay": 3_000_000_000, "Mode": "delay"}
    group = {"Name": "group", "RestartPolicy": restart, "Tasks": [task]}
    return {"Job": {"ID": "service", "Type": "service", "Datacenters": ["*"], "TaskGroups": [group]}}


def _deployment(image: str) -> dict[str, object]:
    labels = {"app": "service"}
    pod = {"containers": [{"name": "task", "image": image, "command": ["sleep", "98765"]}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "service"}, "spec": spec}


@pytest.fixture(scope="module", params=PROVIDERS)
def lake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    image, folder = base_image("13", report=Silence()), tmp_path_factory.mktemp("files")
    (folder / "passphrase").write_text("horse battery\n")
    with prepare_local_cluster("backup", 2, tmp_path_factory.mktemp("home")) as cluster:
        cluster.create("-p", request.param, seconds=400).ok()
        yield Lake(request.param, cluster, image, folder)


def test_a_cluster_that_is_lost_with_all_its_hosts_is_there_again_from_its_backup(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id-of-the-lake")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    lake.cms("storage", "add", "--s3=s3a://lake/in", "lake").ok()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert lake.run_job("before").stdout == f"{KEY}\n"
    lake.start_service()
    assert wait_until(lake.serves, SERVICE_SECONDS), "the service does not run"
    identity = lake.identity()

    lake.cms("backup", f"--passphrase-file={lake.folder / 'passphrase'}", str(lake.file)).ok()
    assert lake.file.stat().st_mode & 0o777 == 0o600
    assert KEY.encode() not in lake.file.read_bytes()
    lake.cms("restore", *lake.restore_words()).expect_failure(1, f"^cluster {lake.cluster.name} lives, on ")
    lake.cms("kill", "--yes").ok()

    with lake.cluster.operator.start("restore", "-n", lake.cluster.name, *lake.restore_words()) as running:
        running.wait_until_shown("put the snapshot in place", seconds=300)
        running.kill()
    lake.cms("restore", *lake.restore_words(), seconds=600).ok()
    lake.cluster.check_whole()
    assert lake.identity() == identity
    assert [volume["name"] for volume in lake.cms("storage", "list", "--output=json").json()] == ["lake"]
    assert lake.read_states()["before"] == "succeeded"
    assert "already submitted" in lake.run_job("before").stderr
    # It brings the image, and gets the key of the volume.
    assert lake.run_job("after").stdout == f"{KEY}\n"
    assert wait_until(lake.serves, SERVICE_SECONDS), "the service does not run again"
    assert "nothing to do" in lake.cms("restore", *lake.restore_words()).ok().stderr
