"""A job is taken once by any engine, whatever becomes of the answers; what ended jobs left is cleared."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from support.memory_engine.provider import MemoryEngine

from cloudmesh.cluster.core.errors import ApiError, ClusterError
from cloudmesh.cluster.jobs.engine_jobs import clear_ended, submit_once
from cloudmesh.cluster.providers.base import Leftover, Submission
from cloudmesh.cluster.providers.outcomes import no_such_job
from cloudmesh.cluster.spec.container import ContainerJob
from cloudmesh.cluster.spec.job import JobSpec

JOB: Submission[JobSpec] = Submission("once", ContainerJob("once", image="debian"), "debian", "digest-1")
OTHER = replace(JOB, digest="digest-2")


@dataclass
class Engine(MemoryEngine):
    """An engine that loses answers, or takes another operator's job first."""

    loses_answer: bool = False
    quicker: Submission[JobSpec] | None = None
    refuses: bool = False
    resumed: list[str] = field(default_factory=list)
    left: tuple[Leftover, ...] = ()
    gone: tuple[str, ...] = ()
    ended: list[tuple[str, str]] = field(default_factory=list)
    forgot: int = 0

    def submit(self, submission: Submission[JobSpec]) -> None:
        if self.refuses:
            raise ApiError("no room for more jobs")
        if self.quicker:
            self.submitted[self.quicker.id] = self.quicker
        super().submit(submission)
        if self.loses_answer:
            raise ApiError("the connection was cut")

    def resume(self, submission: Submission[JobSpec]) -> None:
        self.resumed.append(submission.id)

    def leftovers(self) -> tuple[Leftover, ...]:
        return self.left

    def stop(self, job_id: str, why_hopeless: str = "") -> None:
        if job_id in self.gone:
            raise no_such_job(job_id)
        self.ended.append((job_id, why_hopeless))

    def forget_expired(self) -> None:
        self.forgot += 1


def test_a_new_job_is_submitted_and_not_resumed() -> None:
    engine = Engine()
    assert submit_once(engine, JOB)
    assert engine.submitted == {"once": JOB}
    assert engine.resumed == []


def test_the_same_job_again_is_not_submitted_but_what_was_cut_off_is_finished() -> None:
    engine = Engine(submitted={"once": JOB})
    assert not submit_once(engine, JOB)
    assert engine.resumed == ["once"]


@pytest.mark.parametrize("engine", [Engine(loses_answer=True), Engine(quicker=JOB)], ids=["lost answer", "two at once"])
def test_a_job_that_was_taken_though_the_answer_says_otherwise_is_finished(engine: Engine) -> None:
    assert submit_once(engine, JOB)
    assert engine.submitted == {"once": JOB}
    assert engine.resumed == ["once"]


@pytest.mark.parametrize(
    "engine", [Engine(submitted={"once": OTHER}), Engine(quicker=OTHER)], ids=["before", "at once"]
)
def test_another_job_of_the_same_id_is_left_alone_and_named(engine: Engine) -> None:
    with pytest.raises(ClusterError, match="job once exists with another content: choose another --id"):
        submit_once(engine, JOB)
    assert engine.submitted == {"once": OTHER}
    assert engine.resumed == []


def test_a_job_with_other_secrets_is_another_job_and_told_as_that() -> None:
    first, second = (replace(JOB, digest=f"digest-1+{mac}") for mac in ("aa", "bb"))
    with pytest.raises(ClusterError, match="job once exists with other values of its secrets: choose another --id"):
        submit_once(Engine(quicker=first), second)
    assert not submit_once(Engine(submitted={"once": first}), first)


def test_a_job_that_the_engine_refuses_is_refused_in_its_words() -> None:
    with pytest.raises(ApiError, match="no room for more jobs"):
        submit_once(Engine(refuses=True), JOB)


def test_what_ended_jobs_have_left_is_ended_though_one_of_them_has_gone_meanwhile() -> None:
    engine = Engine(left=(Leftover("a"), Leftover("gone"), Leftover("b", "no such image")), gone=("gone",))
    clear_ended(engine)
    assert engine.ended == [("a", ""), ("b", "no such image")]
    assert engine.forgot == 1
