"""A cluster leaves nothing behind: every host is after `kill` what it was before `create`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from contract.conftest import PROVIDERS
from contract.test_containers import write_job_file
from support import snapshot
from support.cms import Operator
from support.hosts import ContainerHost, make_unique_name, start_hosts
from support.snapshot import Snapshot

from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.docker_daemon import debian_base
from cloudmesh.cluster.images import catalog

pytestmark = pytest.mark.cluster

# by host; the last has a Docker daemon that somebody else installed
RELEASES = ("13", "12", "13")
WITH_DOCKER = 2
# The last is a group that systemd dissolves as soon as any of its units accounts for its input and output.
DOCKER_BOOKS = (
    "/var/lib/docker/",
    "/var/lib/containerd/",
    "docker/netns/default",
    "docker-netns-default",
    "/sys/fs/cgroup/blkio/docker",
)
DOCKER = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/docker/certs.d/registry.example:5443
echo '{"log-level": "warn"}' >/etc/docker/daemon.json
echo theirs >/etc/docker/certs.d/registry.example:5443/ca.crt
apt-get -qq update
apt-get -qq install --no-install-recommends docker.io docker-cli >/dev/null 2>&1
tar -c -C / bin lib lib64 usr/bin usr/lib usr/lib64 | docker import - theirs:1 >/dev/null
docker run -d --restart unless-stopped --name theirs -p 127.0.0.1:8080:80 theirs:1 sleep infinity >/dev/null
docker network create theirs >/dev/null
docker inspect -f '{{.State.Running}} {{.RestartCount}}' theirs | grep -qx 'true 0'
"""
DOCKER_STATE = r"""
systemctl show -p MainPID -p ActiveEnterTimestampMonotonic docker.service
docker inspect -f '{{.Id}} {{.State.StartedAt}} {{.State.Pid}} {{.RestartCount}} {{.State.Running}}' theirs
docker ps -aq; docker images -q --no-trunc; docker network ls -q
cat /etc/docker/daemon.json
"""

# A task takes all processors of a host, which has this machine's. The server takes no jobs.
WORKERS = len(RELEASES) - 1
JOB = {
    "command": ["sh", "-c", 'hostname >"$CMS_RESULTS/here"; echo done'],
    "count": WORKERS,
    "resources": {"cores": os.cpu_count(), "memory": "64m"},
}


@dataclasses.dataclass(frozen=True)
class Story:
    """What was seen on the hosts while a cluster came and went."""

    hosts: tuple[ContainerHost, ...]
    before: tuple[Snapshot, ...]
    meanwhile: Snapshot
    docker: tuple[str, ...]


@pytest.fixture(scope="module", params=PROVIDERS)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    name = make_unique_name("residue")
    image = debian_base.base_image(catalog.RELEASE, report=Silence())
    file = write_job_file(tmp_path_factory.mktemp("job"), image=image, **JOB)
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), RELEASES) as group:
        with_docker = group.hosts[-1]
        with_docker.run(DOCKER)
        with ThreadPoolExecutor() as pool:
            before = tuple(pool.map(snapshot.take, group.hosts))
        docker = [with_docker.run(DOCKER_STATE)]
        operator = Operator(tmp_path_factory.mktemp("home"), group.key)
        operator.cms("create", "-n", name, "-p", request.param, *group.where).ok()
        docker.append(with_docker.run(DOCKER_STATE))
        meanwhile = snapshot.take(group.hosts[0])
        operator.cms("create", "-n", name, "-p", request.param, *group.where).ok()
        docker.append(with_docker.run(DOCKER_STATE))
        assert operator.cms("submit", "-n", name, "--id=everywhere", file).ok().stdout == "done\n" * WORKERS
        assert len(operator.cms("jobs", "-n", name, "everywhere", "--output=json").json()["hosts"]) == WORKERS
        operator.cms("kill", "-n", name).ok()
        docker.append(with_docker.run(DOCKER_STATE))
        yield Story(group.hosts, before, meanwhile, tuple(docker))


@pytest.mark.parametrize("index", range(len(RELEASES)), ids=("debian-13", "debian-12", "with-docker"))
def test_kill_leaves_the_host_as_it_was_before_create(story: Story, index: int) -> None:
    differences = snapshot.find_differences(story.before[index], story.hosts[index])
    if index == WITH_DOCKER:
        # The engine's own books change with every image and container; what it has is compared below.
        differences = [line for line in differences if not any(book in line for book in DOCKER_BOOKS)]
    assert differences == []


def test_the_comparison_sees_what_a_cluster_changes(story: Story) -> None:
    before, meanwhile = story.before[0], story.meanwhile
    unseen = {section for section, lines in before.items() if not meanwhile[section] - lines}
    assert unseen <= {"mounts"}  # only a job has any


def test_a_docker_engine_that_was_there_keeps_its_containers_and_configuration(story: Story) -> None:
    assert "theirs" not in story.docker[0]  # the state is ids
    assert set(story.docker) == {story.docker[0]}
