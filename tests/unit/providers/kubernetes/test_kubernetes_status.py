"""What Kubernetes' answers mean."""

import json

import pytest

from cloudmesh.cluster.core.model import Role, State
from cloudmesh.cluster.providers.kubernetes import indexed_jobs, nodes, pod_spec, pod_status, status

BEGAN, ENDED = "2026-11-24T06:00:00Z", "2026-11-24T06:00:10Z"


def full(*conditions: dict, stopped: bool = False) -> dict:
    annotations = {pod_spec.DIGEST: "d", pod_spec.NAME: "pi"} | ({pod_spec.STOPPED: "true"} if stopped else {})
    metadata = {"name": "pi-1", "creationTimestamp": BEGAN, "annotations": annotations}
    return {"metadata": metadata, "status": {"conditions": list(conditions)}}


def condition(kind: str, says: str = "True", **fields: str) -> dict:
    return {"type": kind, "status": says, **fields}


def pod(name: str, role: str, state: dict, *conditions: dict, number: str = "", phase: str = "Running") -> dict:
    labels = {pod_spec.JOB: "pi-1", pod_spec.ROLE: role} | ({"spark-exec-id": number} if number else {})
    return {
        "metadata": {"name": name, "creationTimestamp": BEGAN, "labels": labels},
        "spec": {"nodeName": "h1", "containers": [{"image": "x:1"}]},
        "status": {"phase": phase, "containerStatuses": [{"state": state}], "conditions": list(conditions)},
    }


def ended(code: int, reason: str = "Error") -> dict:
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": BEGAN, "finishedAt": ENDED}}


RUNNING = {"running": {"startedAt": BEGAN}}
READY = condition("Ready")
UNPLACED = condition(
    "PodScheduled",
    "False",
    reason="Unschedulable",
    message="0/3 nodes are available: 1 node(s) had untolerated taint, 2 Insufficient cpu, 1 Insufficient memory.",
)


def read(whole: dict, *pods: dict, now: float = 0.0):
    return status.job_status(whole, pods, now)


def test_a_job_that_is_complete_is_a_success():
    found = read(full(condition("Complete")), pod("d", "driver", ended(0), phase="Succeeded"))
    assert (found.state, found.exit_code, found.duration, found.name) == (State.SUCCEEDED, 0, 10.0, "pi")


@pytest.mark.parametrize(
    ("state", "code", "says"),
    [(ended(7), 7, "exit code 7"), (ended(124), 124, "timeout"), (ended(137, "OOMKilled"), 137, "out of memory")],
)
def test_a_job_that_failed_tells_the_drivers_exit_code_and_why(state, code, says):
    failed = condition("Failed", reason="BackoffLimitExceeded", message="it has failed too often")
    found = read(full(failed), pod("d", "driver", state, phase="Failed"))
    assert (found.state, found.exit_code) == (State.FAILED, code)
    assert says in found.reason


def test_the_newest_of_several_drivers_counts():
    first, second = pod("d1", "driver", ended(3), phase="Failed"), pod("d2", "driver", RUNNING, READY)
    second["metadata"]["creationTimestamp"] = ENDED
    assert read(full(), second, first).state is State.RUNNING
    assert [each["metadata"]["name"] for each in status.leading_pods([second, first])] == ["d1", "d2"]


def test_a_job_that_was_stopped_is_told_as_such_and_one_that_ended_before_is_not():
    over = condition("Failed", reason="DeadlineExceeded")
    assert read(full(over, stopped=True)).state is State.STOPPED
    assert read(full(stopped=True), pod("d", "driver", RUNNING, READY)).state is State.STOPPED
    assert read(full(condition("Complete"), stopped=True)).state is State.SUCCEEDED
    assert read(full(over)).state is State.FAILED


def test_a_job_that_waits_for_room_says_of_what():
    found = read(full(), pod("d", "driver", {}, UNPLACED, phase="Pending"))
    assert (found.state, found.reason) == (State.QUEUED, "waits for room: cpu, memory")


def test_a_driver_whose_turn_has_not_come_says_what_for():
    message = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match pod topology spread constraints."
    not_yet = condition("PodScheduled", "False", reason="Unschedulable", message=message)
    found = read(full(), pod("d", "driver", {}, not_yet, phase="Pending"))
    assert (found.state, found.reason) == (State.QUEUED, "waits for other Spark jobs to end")


def test_a_running_job_says_what_its_executors_wait_for():
    waiting = pod("e", "executor", {}, UNPLACED, number="1", phase="Pending")
    found = read(full(), pod("d", "driver", RUNNING, READY), waiting)
    assert found.state is State.RUNNING
    assert "waits for room" in found.reason
    assert [(task.name, task.state) for task in found.tasks] == [
        ("driver", State.RUNNING),
        ("executor-1", State.QUEUED),
    ]


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", "not found"),
        (
            "ImagePullBackOff",
            'Back-off pulling image "x:1": ErrImagePull: rpc error: code = NotFound desc = '
            'failed to pull and unpack image "x:1": failed to resolve reference "x:1": x:1: not found',
        ),
    ],
)
def test_an_image_that_cannot_be_pulled_is_named_with_the_cause_alone(reason, message):
    state = {"waiting": {"reason": reason, "message": message}}
    said = read(full(), pod("d", "driver", state, phase="Pending")).reason
    assert said == "image x:1 could not be pulled: not found"


MISSING = 'ErrImagePull: rpc error: code = NotFound desc = failed to resolve reference "x:1": x:1: not found'
SILENT = 'ErrImagePull: failed to resolve reference "x:1": dial tcp 10.0.0.9:443: connect: connection refused'


@pytest.mark.parametrize(
    ("message", "after", "hopeless"), [(MISSING, 21, True), (MISSING, 10, False), (SILENT, 3600, False)]
)
def test_a_job_whose_image_is_not_there_fails_soon_and_says_why(message, after, hopeless):
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "x:1": {message}'}}
    waits = pod("d", "driver", waiting, phase="Pending")
    waits["status"]["startTime"] = BEGAN
    job, now = full(), pod_status.parse_time(BEGAN) + after
    assert status.why_hopeless(job, [waits], now) == ""  # somebody else's
    job["metadata"]["labels"] = {pod_spec.JOB: "pi-1"}
    why = status.why_hopeless(job, [waits], now)
    assert bool(why) is hopeless
    assert status.why_hopeless(job, [waits, pod("e", "executor", RUNNING)], now) == ""
    if hopeless:
        ended_for_it = full(condition("Failed", reason="DeadlineExceeded"), stopped=True)
        ended_for_it["metadata"]["annotations"][pod_spec.HOPELESS] = why
        assert (read(ended_for_it).state, read(ended_for_it).reason) == (State.FAILED, why)
        assert why == "image x:1 could not be pulled: not found"


def test_a_driver_whose_host_is_silent_is_not_called_running():
    found = read(full(), pod("d", "driver", RUNNING, condition("Ready", "False")))
    assert (found.state, found.reason) == (State.UNKNOWN, "its host h1 does not answer")


def test_a_driver_that_was_lost_with_its_host_says_so():
    lost = condition("DisruptionTarget", reason="DeletionByTaintManager")
    found = read(full(condition("Failed")), pod("d", "driver", ended(137), lost, phase="Failed"))
    assert (found.state, found.reason) == (State.FAILED, "its host h1 was lost")


def host(*conditions: dict, annotated: bool = True, server: bool = True, **spec: object) -> dict:
    said = nodes.introduction("h1:22", "ops@h1:22", "ssh-ed25519 AAAA")["metadata"]["annotations"]
    labels = {"node-role.kubernetes.io/control-plane": ""} if server else {}
    return {
        "metadata": {"name": "h1", "labels": labels, "annotations": said if annotated else {}},
        "spec": spec,
        "status": {
            "conditions": list(conditions),
            "capacity": {"cpu": "2"},
            "allocatable": {"cpu": "2", "memory": "4Gi"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.36.3"},
        },
    }


def asking(namespace: str, cpu: str, memory: str, name: str = "p", ready: str = "True", on: str = "h1") -> dict:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {"k8s-app": name}},
        "spec": {
            "nodeName": on,
            "containers": [{"resources": {"requests": {"cpu": cpu, "memory": memory}}}],
        },
        "status": {"conditions": [condition("Ready", ready)]},
    }


WELL = (READY, condition("NetworkUnavailable", "False"))
DNS = asking("kube-system", "20m", "70Mi", name="kube-dns")


def test_a_host_has_the_cores_that_jobs_can_use_and_those_that_are_free():
    system, job = asking("kube-system", "380m", "1Gi"), asking("cms-jobs", "800m", "1Gi")
    found = nodes.parse_node(host(*WELL), [DNS, system, job])
    assert (found.cores, found.free_cores) == (2, 1)
    assert (found.memory_mb, found.free_memory_mb) == (3002, 1978)
    assert (found.name, found.address, found.contact, found.status) == ("h1:22", "10.0.0.1", "ops@h1:22", "ready")
    assert found.roles == (Role.SERVER, Role.WORKER)


def test_a_tainted_server_takes_no_jobs():
    found = nodes.parse_node(host(*WELL, taints=[{"key": "node-role.kubernetes.io/control-plane"}]), [DNS])
    assert (found.roles, found.cores, found.memory_mb) == ((Role.SERVER,), 0, 0)


@pytest.mark.parametrize(
    ("node", "pods", "says"),
    [
        (host(condition("Ready", "Unknown")), [DNS], "down"),
        (host(*WELL, annotated=False), [DNS], "joining"),
        (host(READY), [DNS], "no network"),
        (host(*WELL), [], "no DNS"),
        (host(*WELL, server=False), [], "ready"),
        (host(*WELL, unschedulable=True), [DNS], "drained"),
        (host(*WELL, unschedulable=True), [DNS, asking("cms-jobs", "1", "1")], "draining"),
    ],
)
def test_a_host_is_ready_when_all_that_jobs_need_is_there(node, pods, says):
    assert nodes.parse_node(node, pods).status == says


def test_a_server_with_a_name_server_of_its_own_waits_for_that_one():
    other = asking("kube-system", "20m", "70Mi", name="kube-dns", on="h2")
    own = asking("kube-system", "20m", "70Mi", name="kube-dns", ready="False")
    assert nodes.parse_node(host(*WELL), [other]).status == "ready"
    assert nodes.parse_node(host(*WELL), [other, own]).status == "no DNS"


def test_a_job_whose_driver_has_ended_and_whose_outcome_is_not_told_yet_does_not_wait_again():
    found = read(full(), pod("d", "driver", ended(0), phase="Succeeded"))
    assert (found.state, found.exit_code) == (State.RUNNING, None)


def gang_pod(task: int, state: dict, *conditions: dict, of: str = "pi-1", phase: str = "Running", **its: str) -> dict:
    part = "head" if of == "pi-1" else "worker"
    found = pod(f"{of}-{task}", "", state, *conditions, phase=phase)
    found["metadata"]["labels"] = {pod_spec.JOB: "pi-1", pod_spec.PART: part, pod_status.NATIVE_JOB: of}
    found["metadata"]["annotations"] = {indexed_jobs.INDEX: str(task), indexed_jobs.FIRST: "0"}
    found["status"] |= its
    return found


def test_a_job_is_told_by_the_tasks_of_its_first_part_and_fails_with_any_other():
    head, worker = gang_pod(0, RUNNING, READY), gang_pod(1, ended(5), of="pi-1-worker", phase="Failed")
    assert read(full(), head, worker).state is State.RUNNING
    other = full(condition("Failed", reason="FailedIndexes"))
    other["metadata"]["name"] = "pi-1-worker"
    found = status.job_status(full(), [head, worker], 0.0, [other])
    assert (found.state, found.exit_code, found.reason) == (State.FAILED, 5, "worker-1: exit code 5")


def test_other_parts_that_are_ended_with_the_job_have_not_failed_it():
    other = full(condition("Failed", reason="DeadlineExceeded"), stopped=True)
    assert status.job_status(full(condition("Complete")), [], 0.0, [other]).state is State.SUCCEEDED
    assert status.job_status(full(stopped=True), [], 0.0, [other]).state is State.STOPPED


def test_a_task_that_ran_too_long_says_so_whatever_ended_it():
    late = gang_pod(0, ended(137), phase="Failed", reason="DeadlineExceeded")
    found = read(full(condition("Failed", reason="FailedIndexes")), late)
    assert (found.exit_code, found.reason) == (124, "timeout: it ran longer than timeoutSeconds")


def test_a_task_that_is_being_ended_is_on_no_silent_host():
    ending = gang_pod(0, RUNNING, condition("Ready", "False"), phase="Failed", reason="DeadlineExceeded")
    assert read(full(), ending).state is State.RUNNING


def test_a_service_that_fails_again_and_again_says_why():
    again = gang_pod(0, {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}})
    again["status"]["containerStatuses"][0]["lastState"] = ended(137, "OOMKilled")
    found = read(full(), again)
    assert (found.state, found.reason) == (State.QUEUED, "it is started again: out of memory: give it more")


def test_of_each_task_the_last_attempt_has_the_results_and_one_that_went_with_the_job_is_known():
    first, second = gang_pod(0, ended(1), phase="Failed"), gang_pod(0, ended(0))
    second["metadata"] |= {"name": "pi-1-0-b", "creationTimestamp": ENDED}
    stopped = full(stopped=True)
    stopped["metadata"]["annotations"][pod_spec.PLACED] = json.dumps([["pi-1-worker-0-x", "worker-0", "h2", BEGAN]])
    found = status.task_placements(stopped, [second, first])
    assert [(each.pod, each.task, each.host) for each in found] == [
        ("pi-1-0-b", "head-0", "h1"),
        ("pi-1-worker-0-x", "worker-0", "h2"),
    ]
    assert ("worker-0", State.STOPPED) in [(task.name, task.state) for task in read(stopped, second).tasks]


def test_a_submission_that_was_cut_off_says_what_to_do():
    half = full()
    half["metadata"]["labels"] = {pod_spec.JOB: "pi-1"}
    half["spec"] = {"suspend": True}
    assert "submit it again" in read(half).reason
