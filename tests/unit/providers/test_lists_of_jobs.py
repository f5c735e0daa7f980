"""Three hundred jobs are listed by a handful of requests, on both engines, from APIs that answer page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import nomad
import pytest
import requests
from kubernetes.client import ApiClient, Configuration
from support.http_api import Answer, HttpApi, answering

from cloudmesh.cluster.core.errors import ApiError
from cloudmesh.cluster.core.model import State
from cloudmesh.cluster.providers.cluster_time import ClusterClock
from cloudmesh.cluster.providers.kubernetes import api_client
from cloudmesh.cluster.providers.kubernetes import requests as kubernetes_requests
from cloudmesh.cluster.providers.kubernetes.jobs import JobStore
from cloudmesh.cluster.providers.nomad import api_client as nomad_api_client
from cloudmesh.cluster.providers.nomad.api import NomadEngine

JOBS = 300
TIME = "2026-01-01T00:00:00Z"


def page_of(entries: list[Any], size: int, token: str) -> tuple[list[Any], str]:
    """Return a page of a list, and the token of the next one."""
    start = int(token or 0)
    end = start + size
    return entries[start:end], str(end) if end < len(entries) else ""


# --- Nomad -----------------------------------------------------------------------------------------------------------


def nomad_summary(number: int, **changed: Any) -> dict[str, Any]:
    meta = {"cms_digest": "d", "cms_name": f"name-{number}", "cms_first": "task", "cms_leaders": "task 2"}
    return {
        "ID": f"job-{number:03}",
        "Name": f"job-{number:03}",
        "Type": "batch",
        "Stop": False,
        "Status": "dead",
        "Meta": meta,
        "CreateIndex": 10,
        "JobModifyIndex": 10,
        "SubmitTime": number * 10**9 + 5,
        "JobSummary": {"Summary": {"task": {}}},
        **changed,
    }


def nomad_allocation(number: int, index: int, code: int = 0, **changed: Any) -> dict[str, Any]:
    event = {"Type": "Terminated", "ExitCode": code, "Details": {}, "DisplayMessage": ""}
    state = {"State": "dead", "Failed": code != 0, "StartedAt": TIME, "FinishedAt": TIME, "Events": [event]}
    return {
        "ID": f"{number}-{index}",
        "JobID": f"job-{number:03}",
        "Name": f"job-{number:03}.task[{index}]",
        "TaskGroup": "task",
        "NodeID": "n1",
        "NodeName": "host",
        "CreateIndex": 11,
        "ClientStatus": "failed" if code else "complete",
        "TaskStates": {"task": state},
        **changed,
    }


class NomadApi:
    """Nomad's lists, in pages."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {
            "/v1/jobs": [nomad_summary(number) for number in range(JOBS)],
            "/v1/allocations": [nomad_allocation(number, index) for number in range(JOBS) for index in (0, 1)],
            "/v1/evaluations": [
                {"JobID": f"job-{number:03}", "CreateIndex": 10, "CreateTime": number * 10**9, "Status": "complete"}
                for number in range(JOBS)
            ],
        }
        self.jobs: dict[str, dict[str, Any]] = {}

    def __call__(self, path: str, query: Mapping[str, str]) -> Answer:
        if path in self.lists:
            entries, token = page_of(self.lists[path], int(query["per_page"]), query.get("next_token", ""))
            return Answer(entries, {"X-Nomad-NextToken": token} if token else {})
        if path == "/v1/status/leader":
            return Answer("10.0.0.1:4647")
        if path == "/v1/node/n1":
            return Answer({"ID": "n1", "Name": "host", "Meta": None})
        job = self.jobs.get(path.removeprefix("/v1/job/"))
        return Answer(job, status=200 if job else 404)


@contextmanager
def nomad_engine(api: NomadApi) -> Iterator[tuple[NomadEngine, HttpApi]]:
    with answering(api) as server, requests.Session() as session:
        session.trust_env = False
        yield NomadEngine(nomad.Nomad(address=server.url, session=session)), server


def test_nomad_lists_300_jobs_by_three_requests_one_for_each_host_and_one_for_the_time():
    with nomad_engine(NomadApi()) as (engine, server):
        jobs = engine.jobs()
    assert len(server.asked) == 3 + 1 + 1
    assert [job.id for job in jobs] == [f"job-{number:03}" for number in reversed(range(JOBS))]
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    assert (jobs[0].name, jobs[0].submitted, jobs[0].hosts) == ("name-299", 299.0, ("host",))
    assert [task.name for task in jobs[0].tasks] == ["task-0", "task-1"]


def test_nomad_s_lists_are_read_to_their_end_page_by_page(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nomad_api_client, "PAGE_SIZE", 250)
    with nomad_engine(NomadApi()) as (engine, server):
        assert len(engine.jobs()) == JOBS
    lists = [path for path in server.asked if not path.startswith(("/v1/node/", "/v1/status/"))]
    assert len(lists) == 2 + 3 + 2
    assert all("per_page=250" in path for path in lists)


def test_a_job_of_nomads_has_not_succeeded_while_one_of_its_tasks_is_to_come():
    api = NomadApi()
    api.lists["/v1/allocations"] = [nomad_allocation(1, 0), nomad_allocation(2, 0), nomad_allocation(2, 1, code=3)]
    with nomad_engine(api) as (engine, _):
        states = {job.id: job.state for job in engine.jobs()}
    assert states["job-001"] is State.RUNNING or not states["job-001"].ended
    assert states["job-002"] is State.FAILED


def test_what_is_of_an_earlier_job_of_the_id_does_not_count():
    api = NomadApi()
    api.lists["/v1/jobs"] = [nomad_summary(1, CreateIndex=20, Status="pending")]
    api.lists["/v1/evaluations"][1]["CreateIndex"] = 5
    with nomad_engine(api) as (engine, _):
        (job,) = engine.jobs()
    assert (job.state, job.submitted, job.tasks) == (State.QUEUED, 1.000000005, ())


def test_jobs_of_others_are_told_from_the_list_and_those_that_were_changed_are_asked_for():
    api = NomadApi()
    api.lists["/v1/jobs"] = [
        nomad_summary(1, Meta=None),
        nomad_summary(2, Meta=None, JobModifyIndex=12),
        nomad_summary(3, Meta={"cms_digest": "d"}),
        nomad_summary(4, ID="job-004/periodic-1"),
    ]
    group = {"Name": "task", "Count": 2, "Tasks": [{"Name": "task"}]}
    api.jobs = {
        f"job-{number:03}": nomad_summary(number, Meta=meta, TaskGroups=[group])
        for number, meta in {2: None, 3: {"cms_digest": "d"}}.items()
    }
    with nomad_engine(api) as (engine, server):
        jobs = {job.id: job.state for job in engine.jobs()}
    assert jobs == dict.fromkeys(("job-001", "job-002", "job-003"), State.SUCCEEDED)
    assert [path for path in server.asked if path.startswith("/v1/job/")] == ["/v1/job/job-002", "/v1/job/job-003"]


# --- Kubernetes ------------------------------------------------------------------------------------------------------


class KubernetesApi:
    """Jobs and pods, in pages; the first pages are forgotten so often before a list can be read to its end."""

    def __init__(self, expires: int = 0) -> None:
        self.expires = expires

    def __call__(self, path: str, query: Mapping[str, str]) -> Answer:
        kind = path.rpartition("/")[2]
        if kind == "version":
            return Answer({})
        if query.get("continue") and self.expires:
            self.expires -= 1
            return Answer({"message": "The provided continue parameter is too old"}, status=410)
        metadata = [{"name": f"{kind}-{number:03}", "creationTimestamp": TIME} for number in range(JOBS)]
        complete = {"conditions": [{"type": "Complete", "status": "True"}]}
        everything = [{"metadata": {**fields, "labels": {}}, "spec": {}, "status": complete} for fields in metadata]
        items, token = page_of(everything, int(query["limit"]), query.get("continue", ""))
        return Answer({"items": items if kind == "jobs" else [], "metadata": {"continue": token} if token else {}})


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "PAGE_SIZE", 130)


def test_kubernetes_lists_300_jobs_by_two_requests_and_one_for_the_time():
    with answering(KubernetesApi()) as server, ApiClient(Configuration(host=server.url)) as client:
        jobs = JobStore(client, ClusterClock(partial(api_client.read_time, client))).all()
    assert len(server.asked) == 2 + 1
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    assert len({job.id for job in jobs}) == JOBS


def test_a_list_of_kubernetes_is_read_page_by_page_with_its_selectors(small_pages: None):
    with answering(KubernetesApi()) as server, ApiClient(Configuration(host=server.url)) as client:
        objects = api_client.list_all(client, kubernetes_requests.JOBS.list(labels="a=b"))
    assert len({job["metadata"]["name"] for job in objects}) == JOBS
    assert len(server.asked) == 3
    assert all("labelSelector=a%3Db&limit=130" in path for path in server.asked)


def test_a_list_whose_beginning_is_too_old_is_begun_anew(small_pages: None):
    with answering(KubernetesApi(expires=1)) as server, ApiClient(Configuration(host=server.url)) as client:
        assert len(api_client.list_all(client, kubernetes_requests.JOBS.list())) == JOBS
    assert len(server.asked) == 2 + 3
    with (
        answering(KubernetesApi(expires=99)) as server,
        ApiClient(Configuration(host=server.url)) as client,
        pytest.raises(ApiError, match="too old"),
    ):
        api_client.list_all(client, kubernetes_requests.JOBS.list())
