"""A third engine is one package and one line: what is above the providers works on it as on the others."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from support.memory_engine.provider import MemoryEngine, MemoryProvider
from support.registry import BINARY, RegistryProcess

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, NotFoundError, UsageError
from cloudmesh.cluster.core.model import State, Volume
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.images import delivery
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.jobs.service import JobService
from cloudmesh.cluster.providers import PROVIDERS, load_provider
from cloudmesh.cluster.providers.base import Chunk, Provider
from cloudmesh.cluster.providers.kubernetes.provider import KubernetesProvider
from cloudmesh.cluster.providers.nomad.provider import NomadProvider
from cloudmesh.cluster.providers.open_cluster import OpenCluster, describe
from cloudmesh.cluster.spec.container import ContainerJob
from cloudmesh.cluster.spec.job import Resources, Secret, VolumeClaim
from cloudmesh.cluster.spec.job_bundle import make_bundle
from cloudmesh.cluster.storage.resolve import resolve

MAX_METHODS = 12
needs_registry = pytest.mark.skipif(not BINARY, reason="docker-registry is not installed")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OpenCluster]:
    """A cluster of the third kind, whose registry is a real one."""
    monkeypatch.setitem(PROVIDERS, "memory", "support.memory_engine.provider:MemoryProvider")
    monkeypatch.setattr(MemoryProvider, "instance", MemoryEngine())
    # The registry of a cluster is reached through SSH; here is no host.
    with RegistryProcess(tmp_path) as process:
        monkeypatch.setattr(delivery, "open_registry", lambda *_: nullcontext(Registry(process.port)))
        context = Context(cast(Any, None), Silence(), "me@here")
        spec = ClusterSpec("demo", "1", "memory", ("10.0.0.1",), cast(Any, None))
        provider = load_provider("Memory")
        yield OpenCluster(context, provider, DiscoveredCluster("demo"), cast(Any, None), spec)


def job(name: str = "hello", **fields: Any) -> ContainerJob:
    return ContainerJob(name, image="team/tool:1", needs=Resources(1, 64), **fields)


@pytest.mark.parametrize("kind", [NomadProvider, KubernetesProvider, MemoryProvider])
def test_a_provider_is_small(kind: type[Provider]) -> None:
    methods = [name for name, _ in inspect.getmembers(Provider, inspect.isfunction) if not name.startswith("_")]
    assert len(methods) <= MAX_METHODS
    assert {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")} == {*methods}


def test_a_kind_that_is_not_registered_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="use nomad or kubernetes"):
        load_provider("memory")


@needs_registry
def test_a_job_is_followed_to_its_end_and_its_output_passed_on(opened: OpenCluster) -> None:
    chunks: list[Chunk] = []
    status = JobService(opened, resolve).submit(job(), job_id="hello-1", output=chunks.append)
    assert (status.state, status.exit_code) == (State.SUCCEEDED, 0)
    assert chunks == [Chunk("stdout", b"output of hello-1\n")]
    assert MemoryProvider.instance.stopped == {"hello-1"}


@needs_registry
def test_jobs_beside_each_other_end_each_in_its_own_way(opened: OpenCluster) -> None:
    jobs = {"good-1": job("good"), "bad-1": job("fails")}
    statuses = JobService(opened, resolve).submit_all(jobs)
    assert [(status.id, status.state, status.reason) for status in statuses] == [
        ("good-1", State.SUCCEEDED, ""),
        ("bad-1", State.FAILED, "exit code 3"),
    ]


@needs_registry
def test_the_same_id_and_content_is_the_same_job_and_another_content_is_refused(
    opened: OpenCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    report = Silence()
    monkeypatch.setattr(report, "step", lambda where, what: told.append(what))
    monkeypatch.setattr(report, "done", lambda where, what="": told.append(what))
    service = JobService(replace(opened, context=replace(opened.context, report=report)), resolve)
    service.submit(job(), job_id="once")
    service.submit(job(), job_id="once")
    assert list(MemoryProvider.instance.submitted) == ["once"]
    assert told[0] == "once"
    assert told[1] == "once submitted"
    assert re.fullmatch(r"once already submitted, 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ: succeeded", told[3])
    with pytest.raises(ClusterError, match="exists with another content"):
        service.submit(job(arguments=("other",)), job_id="once")


@needs_registry
def test_the_digest_tells_secrets_apart_and_has_none_of_them(opened: OpenCluster) -> None:
    authority = certificates.new_authority("demo")
    secrets = ClusterSecrets(authority, {})
    service = JobService(replace(opened, spec=replace(opened.spec, secrets=secrets)), resolve)
    with_secret = job(secrets=(Secret("word", ("WORD",)),))
    service.submit(with_secret, job_id="once", secrets={"WORD": "tree"})
    service.submit(with_secret, job_id="once", secrets={"WORD": "tree"})
    with pytest.raises(ClusterError, match="other values of its secrets"):
        service.submit(with_secret, job_id="once", secrets={"WORD": "house"})
    submission = MemoryProvider.instance.submitted["once"]
    assert submission.secrets == {"WORD": "tree"}
    guess = hashlib.sha256(b'{"WORD": "tree"}').hexdigest()[:32]
    assert submission.digest.startswith(f"{make_bundle(with_secret).digest}+")
    assert guess not in submission.digest


@needs_registry
def test_a_job_that_could_never_run_is_not_sent(opened: OpenCluster) -> None:
    large = ContainerJob("large", image="team/tool:1", needs=Resources(64, 64))
    with pytest.raises(ClusterError, match=r"job large-1 can never run on cluster demo: a task needs 64 cores"):
        JobService(opened, resolve).submit(large, job_id="large-1")
    assert MemoryProvider.instance.submitted == {}


@needs_registry
def test_a_volume_that_a_job_names_is_mounted_and_one_that_is_not_there_is_named(opened: OpenCluster) -> None:
    service = JobService(opened, resolve)
    with pytest.raises(NotFoundError, match="storage data"):
        service.submit(job(storage=(VolumeClaim("data", "/data"),)), job_id="reads")
    MemoryProvider.instance.put_volume(Volume("data", "directory", {"path": "/srv/data"}))
    service.submit(job(storage=(VolumeClaim("data", "/data"),)), job_id="reads")
    (mount,) = MemoryProvider.instance.submitted["reads"].volumes
    assert (mount.mount, mount.read_only) == ("/data", False)


@needs_registry
def test_the_cluster_is_described_by_its_engine(opened: OpenCluster) -> None:
    info = describe(opened.context, opened.provider, opened.spec, opened.engine)
    assert (info.provider, info.healthy, [node.name for node in info.nodes]) == ("memory", True, ["one"])


@needs_registry
def test_a_job_that_the_engine_does_not_know_is_not_found(opened: OpenCluster) -> None:
    with pytest.raises(NotFoundError, match="no job gone"):
        JobService(opened, resolve).job("gone")
