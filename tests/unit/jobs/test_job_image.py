"""The image of a job in a real registry: hosts pull what was delivered, whatever its tag names later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.registry import BINARY, RegistryProcess

from cloudmesh.cluster.core.context import Context, SshSettings
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.images import catalog, layers
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.jobs import job_image
from cloudmesh.cluster.spec.container import ContainerJob
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.job_bundle import make_bundle
from cloudmesh.cluster.spec.spark import SparkJob

pytestmark = pytest.mark.skipif(not BINARY, reason="docker-registry is not installed")
ADDRESS = "10.0.0.1:5000"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry that has the Spark image, beside a machine without a Docker daemon."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with RegistryProcess(tmp_path) as process:
        registry = Registry(process.port)
        put(registry, tmp_path, "first")
        yield registry


def put(registry: Registry, folder: Path, content: str) -> None:
    program = folder / "program"
    program.write_text(content)
    layer = layers.pack_program(program, "/program", folder / "layer")
    registry.put_image(*catalog.split_tag(catalog.tag("spark")), layer, {}, content=content)


def deliver(registry: Registry, folder: Path, job: JobSpec) -> str:
    context = Context(SshSettings(folder / "known_hosts"), Silence(), "me@here")
    return job_image.deliver(registry, ADDRESS, job, "job-1", make_bundle(job), context)


def test_an_image_of_ours_is_pulled_by_the_digest_of_what_was_delivered(registry: Registry, tmp_path: Path) -> None:
    tag = catalog.tag("spark")
    job = ContainerJob("c", image="spark")
    first = deliver(registry, tmp_path, job)
    assert first == f"{ADDRESS}/{tag}@{registry.digest(*catalog.split_tag(tag))}"
    put(registry, tmp_path, "second")
    second = deliver(registry, tmp_path, job)
    assert second.startswith(f"{ADDRESS}/{tag}@sha256:")
    assert second != first
    assert registry.has_manifest(catalog.split_tag(tag)[0], first.partition("@")[2])


def test_a_job_s_own_image_is_pulled_by_its_digest(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "pi.py").write_text("print(3)")
    job = SparkJob("pi", main=tmp_path / "pi.py")
    name = deliver(registry, tmp_path, job)
    assert name.startswith(f"{ADDRESS}/cms-jobs/job-1:")
    repository, digest = "cms-jobs/job-1", name.partition("@")[2]
    assert digest == registry.digest(repository, name.partition("@")[0].rpartition(":")[2])
    assert deliver(registry, tmp_path, job) == name


def test_an_image_that_only_hosts_can_pull_keeps_its_name(registry: Registry, tmp_path: Path) -> None:
    job = ContainerJob("c", image="registry.example/team/app:1")
    assert deliver(registry, tmp_path, job) == "registry.example/team/app:1"
