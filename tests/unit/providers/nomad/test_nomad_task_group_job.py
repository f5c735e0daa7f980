"""A job that is not Spark's as a Nomad job."""

from __future__ import annotations

import json

import pytest

from cloudmesh.cluster.providers.base import Mount, Submission
from cloudmesh.cluster.providers.nomad import task_group_job
from cloudmesh.cluster.providers.nomad.job_spec import LOG_LIMIT
from cloudmesh.cluster.spec.container import ContainerJob
from cloudmesh.cluster.spec.job import JobSpec, Resources
from cloudmesh.cluster.spec.task_groups import TaskGroup, TaskLayout

SECRET = "do not tell"  # noqa: S105  # it stands for one


def submission(**fields) -> Submission[JobSpec]:
    given = {key: fields.pop(key) for key in ("volumes", "secrets", "hosts") if key in fields}
    job = ContainerJob("many", image="x", **fields)
    return Submission("many-1", job, "10.0.0.1:5443/cms-jobs/many-1:0123", "d" * 64, **given)


def build(**fields) -> dict:
    return task_group_job.job(submission(**fields))


@pytest.fixture
def build_layout(monkeypatch: pytest.MonkeyPatch):
    """Return the job that a layout comes to, whatever kind makes it."""

    def make(*groups: TaskGroup, is_service: bool = False, **fields) -> dict:
        monkeypatch.setattr(ContainerJob, "layout", lambda *_: TaskLayout(groups, is_service))
        return build(**fields)

    return make


def only_task(job: dict) -> dict:
    [group] = job["TaskGroups"]
    [task] = group["Tasks"]
    return task


def text_of(task: dict, path: str) -> str:
    [template] = [entry for entry in task["Templates"] if entry["DestPath"] == path]
    return template["EmbeddedTmpl"]


def test_the_same_submission_gives_the_same_job():
    volumes = (Mount("data", "/data"),)
    first, second = (build(volumes=volumes, secrets={"B": "2", "A": "1"}, ports=("web",)) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


def test_its_host_is_told_how_much_is_kept_of_what_a_task_prints():
    assert only_task(build(log_limit_mb=64))["Config"]["labels"] == [{LOG_LIMIT: str(64 << 20)}]


def test_every_task_knows_who_it_is_and_where():
    env = only_task(build(count=3, ports=("web",)))["Env"]
    assert env["CMS_JOB_ID"] == "many-1"
    assert env["CMS_TASK"] == "task-${NOMAD_ALLOC_INDEX}"
    assert env["CMS_TASK_INDEX"] == "${NOMAD_ALLOC_INDEX}"
    assert env["CMS_TASK_COUNT"] == "3"
    assert env["CMS_PORT_WEB"] == "${NOMAD_PORT_web}"
    assert env["CMS_RESULTS"] == "${NOMAD_ALLOC_DIR}/data"


def test_what_the_job_sets_does_not_change_who_a_task_is():
    assert only_task(build(env={"CMS_TASK": "boss"}))["Env"]["CMS_TASK"] == "task-${NOMAD_ALLOC_INDEX}"


def test_peers_are_told_by_the_services_that_the_ports_are():
    job = build(count=2, ports=("web",))
    [service] = job["TaskGroups"][0]["Services"]
    assert service["Tags"] == ["task ${NOMAD_ALLOC_INDEX} web"]
    assert f'nomadService "{service["Name"]}"' in text_of(only_task(job), "local/peers")


def test_the_name_of_the_services_fits_the_longest_job_id():
    assert len(task_group_job.build_service_name("x" * 40)) <= 63


def test_a_port_has_the_number_it_asks_for_or_any(build_layout):
    job = build_layout(TaskGroup("head", 1, 1, 64, ports={"name": 10005, "data": 0}))
    [network] = job["TaskGroups"][0]["Networks"]
    assert network["ReservedPorts"] == [{"Label": "name", "Value": 10005}]
    assert network["DynamicPorts"] == [{"Label": "data"}]


def test_a_secret_is_in_the_variable_and_its_value_nowhere_in_the_job():
    job = build(secrets={"PASSWORD": SECRET})
    assert SECRET not in json.dumps(job)
    assert SECRET not in repr(submission(secrets={"PASSWORD": SECRET}))
    assert text_of(only_task(job), "secrets/environment").count("PASSWORD=") == 1


def test_a_volume_is_mounted_as_the_job_says():
    job = build(volumes=(Mount("data", "/data"), Mount("old", "/old", read_only=True)))
    assert only_task(job)["VolumeMounts"] == [
        {"Volume": "data", "Destination": "/data", "ReadOnly": False},
        {"Volume": "old", "Destination": "/old", "ReadOnly": True},
    ]
    assert {volume["AccessMode"] for volume in job["TaskGroups"][0]["Volumes"].values()} == {"single-node-multi-writer"}


def test_words_arrive_as_they_are():
    task = only_task(build(command=("sh", "-c"), arguments=("${HOME}", "%{x}"), env={"A": "${HOME}"}))
    assert task["Config"]["entrypoint"] == ["sh", "-c"]
    assert task["Config"]["args"] == ["$${HOME}", "%%{x}"]
    assert task["Env"]["A"] == "${meta.cms_dollar}{HOME}"


def test_an_image_keeps_its_own_entry_point_unless_the_job_has_a_command():
    assert "entrypoint" not in only_task(build(arguments=("x",)))["Config"]


def test_a_task_is_run_again_as_often_as_asked_and_no_more():
    for retries in (0, 2):
        [group] = build(retries=retries)["TaskGroups"]
        assert group["RestartPolicy"]["Attempts"] == retries
        assert group["RestartPolicy"]["Mode"] == "fail"
        assert group["ReschedulePolicy"]["Attempts"] == 0
        assert group["Disconnect"]["Replace"] is (retries > 0)


def test_a_time_limit_is_kept_by_nomad_itself():
    [service] = only_task(build(timeout_seconds=90))["Services"]
    [check] = service["Checks"]
    assert check["CheckRestart"] == {"Limit": 1, "Grace": 90_000_000_000}
    assert "Services" not in only_task(build())


def test_only_the_part_that_the_job_waits_for_has_a_time_limit(build_layout):
    head, worker = build_layout(TaskGroup("head", 1, 1, 64), TaskGroup("worker", 2, 1, 64), timeout_seconds=9)[
        "TaskGroups"
    ]
    assert "Services" in head["Tasks"][0]
    assert "Services" not in worker["Tasks"][0]


def test_a_bound_task_is_placed_on_its_host_only(build_layout):
    [group] = build_layout(TaskGroup("head", 1, 1, 64, host="n1"))["TaskGroups"]
    assert group["Constraints"] == [{"LTarget": "${node.unique.id}", "RTarget": "n1", "Operand": "="}]


def test_parts_of_one_name_are_counted_through(build_layout):
    job = build_layout(*(TaskGroup("worker", 1, 1, 64, host=host) for host in ("n1", "n2")))
    assert [group["Name"] for group in job["TaskGroups"]] == ["worker-0", "worker-1"]
    envs = [group["Tasks"][0]["Env"] for group in job["TaskGroups"]]
    assert [(env["CMS_TASK"], env["CMS_TASK_COUNT"]) for env in envs] == [("worker-0", "2"), ("worker-1", "2")]


def test_a_service_is_started_again_without_end(build_layout):
    job = build_layout(TaskGroup("head", 1, 1, 64), is_service=True, timeout_seconds=9)
    assert job["Type"] == "service"
    assert job["Update"]["MaxParallel"] == 0
    [group] = job["TaskGroups"]
    assert group["RestartPolicy"]["Mode"] == "delay"
    assert group["ReschedulePolicy"]["Unlimited"] is True
    assert "Services" not in group["Tasks"][0]


def test_equal_tasks_are_spread_over_the_hosts():
    [group] = build(count=3, needs=Resources(1, 64))["TaskGroups"]
    assert group["Spreads"] == [{"Attribute": "${node.unique.id}", "Weight": 100}]


def test_a_task_has_an_init_and_no_second_copy_of_its_output():
    task = only_task(build())
    assert task["Config"]["init"] is True
    assert task["LogConfig"] == {"Disabled": True}
