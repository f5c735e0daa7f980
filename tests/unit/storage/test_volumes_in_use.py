"""Places that jobs use: known of every job though none is mounted, and not taken away from one that goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, cast

import pytest

from cloudmesh.cluster.core.errors import InUseError
from cloudmesh.cluster.core.model import JobStatus, State, Volume
from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.kubernetes import status as kubernetes_status
from cloudmesh.cluster.providers.kubernetes import submit
from cloudmesh.cluster.providers.nomad import spark_job, task_group_job
from cloudmesh.cluster.providers.nomad import status as nomad_status
from cloudmesh.cluster.spec.container import ContainerJob
from cloudmesh.cluster.spec.job import JobSpec, VolumeClaim
from cloudmesh.cluster.spec.spark import SparkJob
from cloudmesh.cluster.storage import service

USED = (VolumeClaim("lake", "/unused"), VolumeClaim("data", "/data"))
SPARK = Submission[JobSpec]("s-1", SparkJob("s", main_in_image="/x.py", storage=USED), "x", "d")
OTHER = Submission[JobSpec]("c-1", ContainerJob("c", image="x", storage=USED), "x", "d")
UNUSED = Submission[JobSpec]("u-1", ContainerJob("u", image="x"), "x", "d")


def nomads(submission: Submission[JobSpec]) -> JobStatus:
    """Return a job as Nomad tells it right after it was submitted."""
    made = spark_job.spark_job(cast(Any, submission)) if submission is SPARK else task_group_job.job(submission)
    return nomad_status.job_status({**made, "Status": "pending", "Stop": False, "SubmitTime": 1}, [], [], now=0.0)


def kubernetes(submission: Submission[JobSpec]) -> JobStatus:
    """Return a job as Kubernetes tells it right after it was submitted."""
    first = submit.job_objects(submission, "token")[0]
    first["metadata"]["creationTimestamp"] = "2026-11-24T06:00:00Z"
    return kubernetes_status.job_status(first, [], now=0.0)


@pytest.mark.parametrize("told", [nomads, kubernetes])
def test_a_job_of_any_kind_tells_which_places_it_uses(told: Callable[[Submission[JobSpec]], JobStatus]) -> None:
    assert told(SPARK).volumes == told(OTHER).volumes == ("lake", "data")
    assert told(UNUSED).volumes == ()


class Engine:
    """What of an engine is asked when a place is removed."""

    def __init__(self, *known: JobStatus, mounted: Sequence[str] = ()) -> None:
        self.known, self.mounted, self.removed = known, list(mounted), list[str]()

    def volumes(self) -> tuple[Volume, ...]:
        return (Volume("lake", "s3", {"url": "s3a://lake"}),)

    def jobs(self) -> tuple[JobStatus, ...]:
        return self.known

    def remove_volume(self, name: str) -> None:
        """Refuse once for each job that has the place mounted, as if its tasks ended meanwhile."""
        if self.mounted:
            raise InUseError(name, [self.mounted.pop()])
        self.removed.append(name)


def job(name: str, state: State, *used: str) -> JobStatus:
    """Return a job that uses places."""
    return JobStatus(f"{name}-1", name, state, volumes=used)


class Context:
    """The operator's side."""

    operator = "ann"


class Spec:
    """What the cluster is."""

    cluster = "c"


class Opened:
    """A cluster whose engine is in memory, and of which nothing else is asked."""

    context, spec, server, discovered = Context, Spec, None, None

    def __init__(self, engine: Engine) -> None:
        self.engine = lambda: nullcontext(engine)


def remove(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the engine's volume."""
    monkeypatch.setattr(service.lock, "hold", lambda *_: nullcontext())
    service.VolumeService(cast(Any, Opened(engine))).remove("lake")


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.UNKNOWN])
def test_a_place_is_not_removed_while_a_job_uses_it(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(job("a", State.RUNNING, "data"), job("b", state, "data", "lake"), job("c", State.FAILED, "lake"))
    with pytest.raises(InUseError, match=r"^storage lake is in use by job b-1: stop it, or wait until it has ended$"):
        remove(engine, monkeypatch)
    assert engine.removed == []


def test_a_place_is_removed_when_all_jobs_that_used_it_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = [job(str(state), state, "lake") for state in State if state.ended]
    engine = Engine(*ended, job("other", State.RUNNING, "data"))
    remove(engine, monkeypatch)
    assert engine.removed == ["lake"]


def test_the_last_tasks_of_a_job_that_has_ended_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_POLL_SECONDS", 0)
    engine = Engine(job("a", State.SUCCEEDED, "lake"), mounted=["a-1", "a-1"])
    remove(engine, monkeypatch)
    assert engine.removed == ["lake"]


def test_what_mounts_a_place_beside_our_jobs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(job("native", State.RUNNING), mounted=["native-1"])
    with pytest.raises(InUseError, match="in use by job native-1"):
        remove(engine, monkeypatch)
    assert (engine.removed, engine.mounted) == ([], [])
