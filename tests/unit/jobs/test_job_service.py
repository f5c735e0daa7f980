"""Jobs as they go to an engine; the engine is one in memory, that of a cluster is in tests/contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from cloudmesh.cluster.core.errors import ApiError, NotFoundError, UnknownOutcomeError, UsageError
from cloudmesh.cluster.core.model import JobStatus, State, Volume
from cloudmesh.cluster.images import catalog
from cloudmesh.cluster.jobs import follow, job_image
from cloudmesh.cluster.jobs.service import JobService
from cloudmesh.cluster.providers.base import Chunk, Leftover, Submission
from cloudmesh.cluster.spec.container import ContainerJob
from cloudmesh.cluster.spec.job import JobSpec, Secret, VolumeClaim
from cloudmesh.cluster.spec.job_bundle import JobBundle, make_bundle
from cloudmesh.cluster.spec.spark import SparkJob
from cloudmesh.cluster.storage import resolve


@dataclass
class Engine:
    """What of an engine these tests need; `script` is what it says of each job, one after another."""

    script: dict[str, list[State | ApiError]] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    asked: Submission[JobSpec] | None = None

    def specification(self, submission: Submission[JobSpec]) -> Mapping[str, Any]:
        self.asked = submission
        return {"id": submission.id}

    def volumes(self) -> tuple[Volume, ...]:
        return (Volume("data", "directory", {"path": "/srv"}),)

    def address(self, job_id: str, port: str) -> str:
        return f"{job_id}:{port}"

    def job(self, job_id: str) -> JobStatus:
        said = self.script[job_id].pop(0)
        if isinstance(said, ApiError):
            raise said
        return JobStatus(job_id, job_id, said, reason="exit code 3" if said is State.FAILED else "")

    def stop(self, job_id: str, why_hopeless: str = "") -> None:
        self.stopped.append(job_id)


class Told(list[str]):
    """A report that remembers."""

    def step(self, where: str, what: str) -> None:
        self.append(f"{where}: {what}")

    def done(self, where: str, what: str = "") -> None:
        self.append(f"{where}: {what}.")

    def failed(self, where: str, why: str) -> None:
        self.append(f"{where}! {why}")

    def note(self, text: str) -> None:
        self.append(text)


@dataclass
class Design:
    """What of a cluster's blueprint a dry run needs."""

    registry: str = "10.0.0.1:5000"
    cluster: str = "c"
    provider: str = "nomad"


@dataclass
class Context:
    """What of the operator's side a dry run needs."""

    report: Told = field(default_factory=Told)


@dataclass
class Opened:
    """A cluster whose engine is in memory."""

    engine_in_memory: Engine
    context: Context = field(default_factory=Context)
    spec: Design = field(default_factory=Design)
    server: None = None
    discovered: None = None

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        yield self.engine_in_memory


def workload(engine: Engine) -> JobService:
    return JobService(cast(Any, Opened(engine)), resolve.resolve)


def test_a_dry_run_shows_the_job_filled_in_and_needs_and_has_no_secret() -> None:
    engine = Engine()
    job = ContainerJob("j", image="debian", secrets=(Secret("s3", ("KEY",)),), arguments=("${storage.data}/x",))
    job = ContainerJob(**{**vars(job), "storage": (VolumeClaim("data", "/data"),)})
    shown = workload(engine).dryrun(job, "dry")
    assert shown["id"] == "dry"
    assert shown["job"]["spec"]["arguments"] == ["file:///data/x"]
    assert shown["submission"] == {"id": "dry"}
    assert engine.asked is not None
    assert engine.asked.secrets == {"KEY": ""}
    assert engine.asked.volumes[0].mount == "/data"
    assert engine.asked.image == "debian:latest"


def test_the_digest_is_that_of_the_job_as_its_file_says_whatever_the_storage_comes_to() -> None:
    engine = Engine()
    job = ContainerJob("j", image="debian", storage=(VolumeClaim("data", "/data"),), arguments=("${storage.data}",))
    workload(engine).dryrun(job, "dry")
    assert engine.asked is not None
    assert engine.asked.digest == make_bundle(job).digest


def test_a_secret_without_a_value_and_an_unknown_storage_are_refused_before_anything_is_sent() -> None:
    secret = ContainerJob("j", image="debian", secrets=(Secret("s3", ("KEY", "WORD")),))
    with pytest.raises(UsageError, match="its secrets need a value for KEY, WORD"):
        workload(_Busy()).submit(secret, job_id="x")
    with pytest.raises(NotFoundError, match="storage gone"):
        workload(Engine()).dryrun(ContainerJob("j", image="debian", storage=(VolumeClaim("gone", "/x"),)))


class _Busy(Engine):
    def leftovers(self) -> tuple[Leftover, ...]:
        raise ApiError("what cannot be cleared now can be later")


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("debian", ("debian", "latest")),
        ("team/x:1", ("team/x", "1")),
        ("registry:5000/team/x", ("registry-5000/team/x", "latest")),
        ("registry:5000/x:2", ("registry-5000/x", "2")),
        (f"x:1@sha256:{'a' * 64}", ("x", f"sha256:{'a' * 64}")),
        (f"r:5000/x@sha256:{'a' * 64}", ("r-5000/x", f"sha256:{'a' * 64}")),
    ],
)
def test_an_image_of_others_has_a_name_that_a_registry_can_hold(image: str, parts: tuple[str, str]) -> None:
    assert job_image._repository_and_reference(image) == parts


def test_a_job_with_files_has_an_image_of_its_own_and_others_run_the_image_itself(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    packed = JobBundle(b"", "d" * 64)
    at = "10.0.0.1:5000"
    own = f"{at}/cms-jobs/j:{'d' * 16}"
    assert job_image.expected_name(at, SparkJob("s", main_in_image="/x.py"), "j", packed) == own
    assert job_image.expected_name(at, ContainerJob("c", image="x", attached=(tmp_path / "a.txt",)), "j", packed) == own
    assert job_image.expected_name(at, ContainerJob("c", image="spark"), "j", packed) == f"{at}/{catalog.tag('spark')}"
    assert job_image.expected_name(at, ContainerJob("c", image="r:5000/x"), "j", packed) == "r:5000/x:latest"


def test_jobs_are_followed_together_and_each_is_told_and_cleaned_up_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0)
    told = Told()
    engine = Engine(
        {
            "a": [State.QUEUED, ApiError("a leader is being chosen"), State.RUNNING, State.RUNNING, State.SUCCEEDED],
            "b": [State.RUNNING, State.FAILED],
        }
    )
    ended = follow.wait_for_all(cast(Any, engine), ["a", "b"], told)
    assert [(status.id, status.state) for status in ended] == [("a", State.SUCCEEDED), ("b", State.FAILED)]
    assert engine.stopped == ["b", "a"]
    assert told == ["a: queued", "b: running", "a: running", "b! exit code 3", "a: succeeded."]


def test_a_job_that_waits_is_ended_by_the_engine_if_it_can_never_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hopeless(Engine):
        def leftovers(self) -> tuple[Leftover, ...]:
            return (Leftover("a", "there is no such image"),)

        def stop(self, job_id: str, why_hopeless: str = "") -> None:
            super().stop(job_id)
            if why_hopeless:
                self.script[job_id].append(State.FAILED)

        def forget_expired(self) -> None:
            pass

    monkeypatch.setattr(follow, "_POLL_SECONDS", 0)
    monkeypatch.setattr(follow, "_CLEAR_SECONDS", 0)
    assert follow.wait_until_running(cast(Any, Hopeless({"a": [State.QUEUED]})), "a", Told()).state is State.FAILED
    assert follow.wait_for_all(cast(Any, Hopeless({"a": [State.QUEUED]})), ["a"], Told())[0].state is State.FAILED


class Restarting(Engine):
    """An engine with a job that nothing is printed by."""

    def logs(self, job_id: str, follow: bool) -> Iterator[Chunk]:
        return iter(())


def test_an_engine_that_restarts_while_a_job_waits_or_has_just_ended_says_nothing_about_its_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Failing(Restarting):
        def stop(self, job_id: str, why_hopeless: str = "") -> None:
            raise ApiError("it restarts")

    monkeypatch.setattr(follow, "_POLL_SECONDS", 0)
    restart = [ApiError("Permission denied (HTTP 403)"), ApiError("no answer from its API")]
    engine = Failing({"a": [State.QUEUED, *restart, State.QUEUED, State.RUNNING, *restart, State.SUCCEEDED]})
    assert workload(engine).wait("a", lambda chunk: None).state is State.SUCCEEDED
    engine = Failing({"a": [State.QUEUED, *restart, State.SUCCEEDED]})
    assert workload(engine).wait("a").state is State.SUCCEEDED


def test_an_engine_that_goes_away_leaves_the_outcome_unknown_and_the_command_that_asks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Gone(Engine):
        def logs(self, job_id: str, follow: bool) -> Iterator[Chunk]:
            raise ApiError("no answer from its API")

    monkeypatch.setattr(follow, "_SILENCE_SECONDS", 0.01)
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.01)
    silent = ApiError("no answer from its API")
    for said in ([silent] * 9, [State.QUEUED, *[silent] * 9], [State.RUNNING]):
        with pytest.raises(UnknownOutcomeError) as unknown:
            workload(Gone({"a": [*said]})).wait("a", lambda chunk: None)
        assert str(unknown.value) == (
            "job a: the outcome is not known: no answer from its API; ask again: `cms cluster jobs -n c a`"
        )
