"""The status of jobs, pods and nodes, from what Kubernetes reports."""

import json

import pytest

from cloudmesh.cluster.core.model import Role, State
from cloudmesh.cluster.providers.kubernetes import indexed_jobs, nodes, pod_spec, pod_status, status

BEGAN, ENDED = "2026-11-24T06:00:00Z", "2026-11-24T06:00:10Z"


def build_job(*conditions: dict, stopped: bool = False) -> dict:
    annotations = {pod_spec.DIGEST: "d", pod_spec.NAME: "pi"} | ({pod_spec.STOPPED: "true"} if stopped else {})
    metadata = {"name": "pi-1", "creationTimestamp": BEGAN, "annotations": annotations}
    return {"metadata": metadata, "status": {"conditions": list(conditions)}}


def condition(kind: str, says: str = "True", **fields: str) -> dict:
    return {"type": kind, "status": says, **fields}


def pod(name: str, role: str, state: dict, *conditions: dict, number: str = "", phase: str = "Running") -> dict:
    labels = {pod_spec.JOB: "pi-1", pod_spec.ROLE: role} | ({"spark-exec-id": number} if number else {})
    return {
        "metadata": {"name": name, "creationTimestamp": BEGAN, "labels": labels},
        "spec": {"nodeName": "h1", "containers": [{"name": "task", "image": "x:1"}]},
        "status": {
            "phase": phase,
            "containerStatuses": [{"name": "task", "state": state}],
            "conditions": list(conditions),
        },
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


def read_status(root: dict, *pods: dict, now: float = 0.0):
    return status.job_status(root, pods, now)


def test_a_job_that_is_complete_is_a_success():
    job_status = read_status(build_job(condition("Complete")), pod("d", "driver", ended(0), phase="Succeeded"))
    assert (job_status.state, job_status.exit_code, job_status.duration, job_status.name) == (
        State.SUCCEEDED,
        0,
        10.0,
        "pi",
    )


@pytest.mark.parametrize(
    ("state", "code", "says"),
    [(ended(7), 7, "exit code 7"), (ended(124), 124, "timeout"), (ended(137, "OOMKilled"), 137, "out of memory")],
)
def test_a_job_that_failed_tells_the_drivers_exit_code_and_why(state, code, says):
    failed = condition("Failed", reason="BackoffLimitExceeded", message="it has failed too often")
    job_status = read_status(build_job(failed), pod("d", "driver", state, phase="Failed"))
    assert (job_status.state, job_status.exit_code) == (State.FAILED, code)
    assert says in job_status.reason


def test_the_newest_of_several_drivers_counts():
    first, second = pod("d1", "driver", ended(3), phase="Failed"), pod("d2", "driver", RUNNING, READY)
    second["metadata"]["creationTimestamp"] = ENDED
    assert read_status(build_job(), second, first).state is State.RUNNING
    assert [leading_pod["metadata"]["name"] for leading_pod in status.leading_pods([second, first])] == ["d1", "d2"]


def test_a_job_that_was_stopped_is_told_as_such_and_one_that_ended_before_is_not():
    over = condition("Failed", reason="DeadlineExceeded")
    assert read_status(build_job(over, stopped=True)).state is State.STOPPED
    assert read_status(build_job(stopped=True), pod("d", "driver", RUNNING, READY)).state is State.STOPPED
    assert read_status(build_job(condition("Complete"), stopped=True)).state is State.SUCCEEDED
    assert read_status(build_job(over)).state is State.FAILED


def test_a_job_that_waits_for_room_says_of_what():
    job_status = read_status(build_job(), pod("d", "driver", {}, UNPLACED, phase="Pending"))
    assert (job_status.state, job_status.reason) == (State.QUEUED, "waits for room: cpu, memory")


def test_a_driver_whose_turn_has_not_come_says_what_for():
    message = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match pod topology spread constraints."
    not_yet = condition("PodScheduled", "False", reason="Unschedulable", message=message)
    job_status = read_status(build_job(), pod("d", "driver", {}, not_yet, phase="Pending"))
    assert (job_status.state, job_status.reason) == (State.QUEUED, "waits for other Spark jobs to end")


def test_a_running_job_says_what_its_executors_wait_for():
    waiting = pod("e", "executor", {}, UNPLACED, number="1", phase="Pending")
    job_status = read_status(build_job(), pod("d", "driver", RUNNING, READY), waiting)
    assert job_status.state is State.RUNNING
    assert "waits for room" in job_status.reason
    assert [(task.name, task.state) for task in job_status.tasks] == [
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
    reason = read_status(build_job(), pod("d", "driver", state, phase="Pending")).reason
    assert reason == "image x:1 could not be pulled: not found"


MISSING = 'ErrImagePull: rpc error: code = NotFound desc = failed to resolve reference "x:1": x:1: not found'
SILENT = 'ErrImagePull: failed to resolve reference "x:1": dial tcp 10.0.0.9:443: connect: connection refused'


@pytest.mark.parametrize(
    ("message", "after", "hopeless"), [(MISSING, 21, True), (MISSING, 10, False), (SILENT, 3600, False)]
)
def test_a_job_whose_image_is_not_there_fails_soon_and_says_why(message, after, hopeless):
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "x:1": {message}'}}
    waits = pod("d", "driver", waiting, phase="Pending")
    waits["status"]["startTime"] = BEGAN
    job, now = build_job(), pod_status.parse_time(BEGAN) + after
    assert status.why_hopeless(job, [waits], now) == ""  # somebody else's
    job["metadata"]["labels"] = {pod_spec.JOB: "pi-1"}
    why = status.why_hopeless(job, [waits], now)
    assert bool(why) is hopeless
    assert status.why_hopeless(job, [waits, pod("e", "executor", RUNNING)], now) == ""
    if hopeless:
        ended_for_it = build_job(condition("Failed", reason="DeadlineExceeded"), stopped=True)
        ended_for_it["metadata"]["annotations"][pod_spec.HOPELESS] = why
        assert (read_status(ended_for_it).state, read_status(ended_for_it).reason) == (State.FAILED, why)
        assert why == "image x:1 could not be pulled: not found"


def test_a_driver_whose_host_is_silent_is_not_called_running():
    job_status = read_status(build_job(), pod("d", "driver", RUNNING, condition("Ready", "False")))
    assert (job_status.state, job_status.reason) == (State.UNKNOWN, "its host h1 does not answer")


def test_a_driver_that_was_lost_with_its_host_says_so():
    lost = condition("DisruptionTarget", reason="DeletionByTaintManager")
    job_status = read_status(build_job(condition("Failed")), pod("d", "driver", ended(137), lost, phase="Failed"))
    assert (job_status.state, job_status.reason) == (State.FAILED, "its host h1 was lost")


def host(*conditions: dict, annotated: bool = True, server: bool = True, **spec: object) -> dict:
    annotations = nodes.build_annotations_patch("h1:22", "ops@h1:22", "ssh-ed25519 AAAA")["metadata"]["annotations"]
    labels = {"node-role.kubernetes.io/control-plane": ""} if server else {}
    return {
        "metadata": {"name": "h1", "labels": labels, "annotations": annotations if annotated else {}},
        "spec": spec,
        "status": {
            "conditions": list(conditions),
            "capacity": {"cpu": "2"},
            "allocatable": {"cpu": "2", "memory": "4Gi"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.36.3"},
        },
    }


def build_pod_with_requests(
    namespace: str, cpu: str, memory: str, name: str = "p", ready: str = "True", on: str = "h1"
) -> dict:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {"k8s-app": name}},
        "spec": {
            "nodeName": on,
            "containers": [{"resources": {"requests": {"cpu": cpu, "memory": memory}}}],
        },
        "status": {"conditions": [condition("Ready", ready)]},
    }


WELL = (READY, condition("NetworkUnavailable", "False"))
DNS = build_pod_with_requests("kube-system", "20m", "70Mi", name="kube-dns")


def test_a_host_has_the_cores_that_jobs_can_use_and_those_that_are_free():
    system, job = (
        build_pod_with_requests("kube-system", "380m", "1Gi"),
        build_pod_with_requests("cms-jobs", "800m", "1Gi"),
    )
    node = nodes.parse_node(host(*WELL), [DNS, system, job])
    assert (node.cores, node.free_cores) == (2, 1)
    assert (node.memory_mb, node.free_memory_mb) == (3002, 1978)
    assert (node.name, node.address, node.contact, node.status) == ("h1:22", "10.0.0.1", "ops@h1:22", "ready")
    assert node.roles == (Role.SERVER, Role.WORKER)


def test_a_tainted_server_takes_no_jobs():
    node = nodes.parse_node(host(*WELL, taints=[{"key": "node-role.kubernetes.io/control-plane"}]), [DNS])
    assert (node.roles, node.cores, node.memory_mb) == ((Role.SERVER,), 0, 0)


@pytest.mark.parametrize(
    ("node", "pods", "says"),
    [
        (host(condition("Ready", "Unknown")), [DNS], "down"),
        (host(*WELL, annotated=False), [DNS], "joining"),
        (host(READY), [DNS], "no network"),
        (host(*WELL), [], "no DNS"),
        (host(*WELL, server=False), [], "ready"),
        (host(*WELL, unschedulable=True), [DNS], "drained"),
        (host(*WELL, unschedulable=True), [DNS, build_pod_with_requests("cms-jobs", "1", "1")], "draining"),
    ],
)
def test_a_host_is_ready_when_all_that_jobs_need_is_there(node, pods, says):
    assert nodes.parse_node(node, pods).status == says


def test_a_server_with_a_name_server_of_its_own_waits_for_that_one():
    other = build_pod_with_requests("kube-system", "20m", "70Mi", name="kube-dns", on="h2")
    not_ready = build_pod_with_requests("kube-system", "20m", "70Mi", name="kube-dns", ready="False")
    assert nodes.parse_node(host(*WELL), [other]).status == "ready"
    assert nodes.parse_node(host(*WELL), [other, not_ready]).status == "no DNS"


def test_a_host_whose_kubelet_was_not_heard_of_lately_is_silent_whatever_the_api_still_says():
    leases = [
        {
            "metadata": {
                "name": name,
                "managedFields": [{"time": f"2026-01-01T00:00:{second:02}Z"} for second in seconds],
            }
        }
        for name, seconds in (("h1", (8, 10)), ("h2", (10, 31)), ("h3", ()))
    ]
    now = pod_status.parse_time("2026-01-01T00:00:40Z")
    assert nodes.find_silent(leases, now) == {"h1"}
    assert nodes.parse_node(host(*WELL), [DNS], None, {"h1"}).status == "silent"
    assert nodes.parse_node(host(*WELL), [DNS], None, {"h2"}).status == "ready"
    assert nodes.parse_node(host(condition("Ready", "Unknown")), [DNS], None, {"h1"}).status == "down"


def test_a_server_whose_api_server_is_down_is_not_ready_though_its_kubelet_asks_another_one():
    (address,) = [entry["address"] for entry in host(*WELL)["status"]["addresses"] if entry["type"] == "InternalIP"]
    assert nodes.parse_node(host(*WELL), [DNS], {address}).status == "ready"
    assert nodes.parse_node(host(*WELL), [DNS], {"10.9.9.9"}).status == "no API"
    assert nodes.parse_node(host(*WELL, server=False), [DNS], {"10.9.9.9"}).status == "ready"


def test_a_job_whose_driver_has_ended_and_whose_outcome_is_not_told_yet_does_not_wait_again():
    job_status = read_status(build_job(), pod("d", "driver", ended(0), phase="Succeeded"))
    assert (job_status.state, job_status.exit_code) == (State.RUNNING, None)


def build_group_pod(
    task: int, state: dict, *conditions: dict, of: str = "pi-1", phase: str = "Running", **fields: str
) -> dict:
    part = "head" if of == "pi-1" else "worker"
    group_pod = pod(f"{of}-{task}", "", state, *conditions, phase=phase)
    group_pod["metadata"]["labels"] = {pod_spec.JOB: "pi-1", pod_spec.PART: part, pod_status.NATIVE_JOB: of}
    group_pod["metadata"]["annotations"] = {indexed_jobs.INDEX: str(task), indexed_jobs.FIRST: "0"}
    group_pod["status"] |= fields
    return group_pod


def test_a_job_is_told_by_the_tasks_of_its_first_part_and_fails_with_any_other():
    head, worker = build_group_pod(0, RUNNING, READY), build_group_pod(1, ended(5), of="pi-1-worker", phase="Failed")
    assert read_status(build_job(), head, worker).state is State.RUNNING
    other = build_job(condition("Failed", reason="FailedIndexes"))
    other["metadata"]["name"] = "pi-1-worker"
    job_status = status.job_status(build_job(), [head, worker], 0.0, [other])
    assert (job_status.state, job_status.exit_code, job_status.reason) == (State.FAILED, 5, "worker-1: exit code 5")


def test_other_parts_that_are_ended_with_the_job_have_not_failed_it():
    other = build_job(condition("Failed", reason="DeadlineExceeded"), stopped=True)
    assert status.job_status(build_job(condition("Complete")), [], 0.0, [other]).state is State.SUCCEEDED
    assert status.job_status(build_job(stopped=True), [], 0.0, [other]).state is State.STOPPED


def test_a_task_that_ran_too_long_says_so_whatever_ended_it():
    late = build_group_pod(0, ended(137), phase="Failed", reason="DeadlineExceeded")
    job_status = read_status(build_job(condition("Failed", reason="FailedIndexes")), late)
    assert (job_status.exit_code, job_status.reason) == (124, "timeout: it ran longer than timeoutSeconds")


def test_a_task_that_is_being_ended_is_on_no_silent_host():
    ending = build_group_pod(0, RUNNING, condition("Ready", "False"), phase="Failed", reason="DeadlineExceeded")
    assert read_status(build_job(), ending).state is State.RUNNING


def test_a_service_that_fails_again_and_again_says_why():
    again = build_group_pod(0, {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}})
    again["status"]["containerStatuses"][0]["lastState"] = ended(137, "OOMKilled")
    job_status = read_status(build_job(), again)
    assert (job_status.state, job_status.reason) == (State.QUEUED, "it is started again: out of memory: give it more")


def test_of_each_task_the_last_attempt_has_the_results_and_one_that_went_with_the_job_is_known():
    first, second = build_group_pod(0, ended(1), phase="Failed"), build_group_pod(0, ended(0))
    second["metadata"] |= {"name": "pi-1-0-b", "creationTimestamp": ENDED}
    stopped = build_job(stopped=True)
    stopped["metadata"]["annotations"][pod_spec.PLACED] = json.dumps([["pi-1-worker-0-x", "worker-0", "h2", BEGAN]])
    placements = status.task_placements(stopped, [second, first])
    assert [(placement.pod, placement.task, placement.host) for placement in placements] == [
        ("pi-1-0-b", "head-0", "h1"),
        ("pi-1-worker-0-x", "worker-0", "h2"),
    ]
    assert ("worker-0", State.STOPPED) in [(task.name, task.state) for task in read_status(stopped, second).tasks]


def test_a_submission_that_was_cut_off_says_what_to_do():
    half = build_job()
    half["metadata"]["labels"] = {pod_spec.JOB: "pi-1"}
    half["spec"] = {"suspend": True}
    assert "submit it again" in read_status(half).reason


def test_a_process_that_a_restart_of_its_host_ended_has_no_exit_code_and_says_so():
    failed = condition("Failed", reason="BackoffLimitExceeded", message="it has failed too often")
    cut_off = pod("d", "driver", ended(255, "Unknown"), phase="Failed")
    job_status = read_status(build_job(failed), cut_off)
    assert (job_status.state, job_status.exit_code, job_status.reason) == (
        State.FAILED,
        None,
        "its host h1 was restarted",
    )
    assert read_status(build_job(failed), pod("d", "driver", ended(255), phase="Failed")).exit_code == 255


def test_a_task_whose_host_was_removed_is_still_told_with_how_its_job_ended():
    placed = json.dumps([["pi-1-x", "driver", "h2", BEGAN]])
    for root, state, reason in (
        (build_job(condition("Complete")), State.SUCCEEDED, "its host was removed"),
        (build_job(condition("Failed")), State.UNKNOWN, "its host was removed"),
        (build_job(stopped=True), State.STOPPED, ""),
    ):
        root["metadata"]["annotations"][pod_spec.PLACED] = placed
        (task,) = read_status(root).tasks
        assert (task.name, task.host, task.state, task.reason) == ("driver", "h2", state, reason)


@pytest.mark.parametrize(
    ("labels", "leading"),
    [
        ({pod_spec.JOB: "j"}, ["driver"]),
        ({pod_spec.JOB: "j", pod_spec.PART: "head"}, ["head-0", "head-1"]),
        ({}, ["driver", "executor-1", "head-0", "head-1", "worker-0"]),
    ],
)
def test_the_tasks_whose_output_is_the_jobs_are_known_by_name_once_their_pods_are_gone(labels, leading):
    root = {"metadata": {"name": "j", "labels": labels}}
    tasks = ["driver", "executor-1", "head-0", "head-1", "worker-0"]
    assert [task for task in tasks if status.is_leading_task(root, task)] == leading


def test_a_job_whose_host_was_restarted_is_unknown_until_kubernetes_has_decided_what_follows():
    cut_off = {"terminated": {"reason": "Unknown", "exitCode": 255, "finishedAt": None}}
    job_status = read_status(build_job(), pod("d", "driver", cut_off, phase="Failed"))
    assert (job_status.state, job_status.reason) == (State.UNKNOWN, "its host h1 was restarted")


def test_of_a_pod_with_several_containers_the_first_is_told_however_the_kubelet_sorts_them():
    several = pod("native-x", "", RUNNING, READY)
    several["spec"]["containers"].append({"name": "aside", "image": "y:1"})
    several["status"]["containerStatuses"].insert(0, {"name": "aside", "state": ended(3)})
    assert pod_status.state(several) is State.RUNNING
    several["status"]["containerStatuses"][1]["state"] = ended(0)
    assert pod_status.exit_code(several) == 0
