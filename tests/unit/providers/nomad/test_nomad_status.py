"""What Nomad's answers mean."""

from cloudmesh.cluster.core.model import State
from cloudmesh.cluster.providers.nomad import events, native, status

START, END = "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:10.5Z"

MASTER = {"Name": "master", "Lifecycle": {"Hook": "prestart"}}


def nomad_job(**changed) -> dict:
    fields = {
        "ID": "pi-1",
        "Type": "batch",
        "SubmitTime": 1_000_000_000,
        "Stop": False,
        "Status": "running",
        "Meta": {"cms_digest": "d", "cms_name": "pi"},
        "TaskGroups": [{"Name": "head", "Count": 1, "Tasks": [MASTER, {"Name": "driver", "Lifecycle": None}]}],
    }
    return {**fields, **changed}


def event(kind: str, code: int = 0, **details) -> dict:
    return {"Type": kind, "ExitCode": code, "Details": details, "DisplayMessage": f"{kind} message"}


def head(*events, state="dead", failed=False, client="complete", started=START) -> dict:
    driver = {"State": state, "Failed": failed, "StartedAt": started, "FinishedAt": END, "Events": list(events)}
    return {
        "ID": "a1",
        "NodeID": "n2",
        "Name": "pi-1.head[0]",
        "TaskGroup": "head",
        "CreateIndex": 7,
        "NodeName": "h2",
        "ClientStatus": client,
        "TaskStates": {"driver": driver},
    }


def read(allocations, evaluations=(), **job):
    return status.job_status(nomad_job(**job), allocations, list(evaluations), now=0.0)


def test_a_driver_that_ended_with_zero_is_a_success():
    job = read([head(event("Terminated", 0))])
    assert (job.state, job.exit_code, job.duration) == (State.SUCCEEDED, 0, 10.0)


def test_a_failed_driver_tells_its_exit_code():
    job = read([head(event("Terminated", 3), failed=True, client="failed")])
    assert (job.state, job.exit_code, job.reason) == (State.FAILED, 3, "exit code 3")


def test_out_of_memory_is_said_in_words():
    job = read([head(event("Terminated", 137, oom_killed="true"), failed=True)])
    assert job.reason.startswith("out of memory")


def test_a_timeout_is_said_in_words():
    assert read([head(event("Terminated", 124), failed=True)]).reason.startswith("timeout")


def test_a_success_stays_one_though_the_job_was_stopped_after():
    assert read([head(event("Terminated", 0))], Stop=True).state is State.SUCCEEDED


def test_a_job_stopped_while_it_ran_is_stopped():
    assert read([head(event("Killing"), event("Terminated", 143))], Stop=True).state is State.STOPPED


def test_a_job_without_room_is_queued_and_says_for_what():
    blocked = {"Status": "blocked", "FailedTGAllocs": {"workers": {"DimensionExhausted": {"memory": 3}}}}
    job = read([], [blocked])
    assert (job.state, job.reason) == (State.QUEUED, "waits for room: memory")


def test_a_lost_driver_is_never_a_success():
    lost = head(state="running", client="lost")
    assert read([lost]).state is State.UNKNOWN
    assert read([lost], Status="dead").state is State.FAILED
    assert "h2" in read([lost]).reason


def test_an_image_that_cannot_be_had_is_said():
    job = read([head(event("Driver Failure"), state="dead", failed=True, client="failed", started=None)])
    assert (job.state, job.reason) == (State.FAILED, "Driver Failure message")


TWO_TASKS = {"TaskGroups": [{"Name": "task", "Count": 2, "Tasks": [{"Name": "task", "Lifecycle": None}]}]}


def allocation(
    index: int, *events, state="dead", failed=False, client="complete", end=END, group="task", create_index=7
) -> dict:
    task = {"State": state, "Failed": failed, "StartedAt": START, "FinishedAt": end, "Events": list(events)}
    return {
        "ID": f"a{index}-{create_index}",
        "Name": f"pi-1.{group}[{index}]",
        "TaskGroup": group,
        "CreateIndex": create_index,
        "NodeName": f"h{index}",
        "ClientStatus": client,
        "TaskStates": {"task": task},
    }


def time_limit() -> dict:
    return event("Restart Signaled", restart_reason='healthcheck: check "timeoutSeconds" unhealthy')


def test_a_job_of_several_tasks_succeeds_with_the_last_of_them():
    ended = allocation(0, event("Terminated", 0))
    assert read([ended, allocation(1, state="running", client="running")], **TWO_TASKS).state is State.RUNNING
    assert read([ended, allocation(1, event("Terminated", 0))], **TWO_TASKS).state is State.SUCCEEDED
    assert read([ended], **TWO_TASKS).state is not State.SUCCEEDED


def test_a_job_of_several_tasks_fails_with_the_first_that_does():
    first = allocation(1, event("Terminated", 3), failed=True, end="2026-01-01T00:00:02Z")
    killed = allocation(0, event("Terminated", 4), failed=True)
    job = read([killed, first], **TWO_TASKS)
    assert (job.state, job.exit_code, job.reason) == (State.FAILED, 3, "task-1: exit code 3")
    assert read([allocation(0, state="running", client="running"), first], **TWO_TASKS).state is State.FAILED


def test_a_time_limit_is_told_whatever_the_task_ended_with():
    for code in (0, 137, 143):
        over = allocation(0, event("Started"), time_limit(), event("Killing"), event("Terminated", code))
        for stop in (False, True):
            job = read([over, allocation(1, event("Terminated", 0))], Stop=stop, **TWO_TASKS)
            assert (job.state, job.exit_code) == (State.FAILED, 124)
            assert "timeout" in job.reason


def test_a_task_that_was_started_again_after_its_time_may_still_succeed():
    events = (event("Started"), time_limit(), event("Terminated", 137), event("Started"), event("Terminated", 0))
    assert read([allocation(0, *events), allocation(1, event("Terminated", 0))], **TWO_TASKS).state is State.SUCCEEDED


def test_a_task_that_runs_again_has_no_exit_code():
    job = read(
        [allocation(0, event("Terminated", 137), event("Started"), state="running", client="running")], **TWO_TASKS
    )
    assert [task.exit_code for task in job.tasks] == [None]


def test_tasks_have_the_number_that_they_know_themselves_by():
    job = read([allocation(1, group="task"), allocation(0, group="task-2")], **TWO_TASKS)
    assert sorted(task.name for task in job.tasks) == ["task-1", "task-2"]


def test_an_image_that_cannot_be_pulled_is_named():
    not_pulled = {**event("Driver Failure"), "DisplayMessage": "Failed to pull `a/b:1`: not found"}
    job = read([head(not_pulled, failed=True, client="failed", started=None)])
    assert job.reason == "image a/b:1 could not be pulled: not found"


def test_a_volume_that_no_host_offers_is_said():
    filtered = {"ConstraintFiltered": {"missing compatible host volumes": 2}}
    job = read([], [{"Status": "blocked", "FailedTGAllocs": {"task": filtered}}])
    assert job.reason == "waits for room: missing compatible host volumes"


def test_results_of_every_try_are_found_and_the_newest_has_the_tasks_name():
    started = status.find_started_tasks(
        [allocation(0, create_index=7), allocation(0, create_index=9), allocation(1, create_index=8)]
    )
    assert [(name, allocation["ID"]) for name, allocation in started] == [
        ("task-0", "a0-9"),
        ("task-0-try-1", "a0-7"),
        ("task-1", "a1-8"),
    ]


def job_summary(**counts) -> dict:
    states = dict.fromkeys(("Queued", "Starting", "Running", "Lost", "Unknown", "Failed", "Complete"), 0)
    summary = {"Summary": {"head": {**states, **counts}}}
    return {"Type": "batch", "Status": "running", "Meta": {"cms_first": "head"}, "JobSummary": summary}


def test_a_job_is_over_with_its_first_part():
    assert status.is_over(job_summary(Complete=1))
    assert status.is_over(job_summary(Failed=1, Running=1))
    assert not status.is_over(job_summary(Complete=1, Running=1))
    assert not status.is_over(job_summary(Starting=1))
    assert not status.is_over({**job_summary(Failed=1), "Type": "service"})


def test_a_service_waits_for_the_host_that_it_is_bound_to():
    filtered = {"ConstraintFiltered": {"${node.unique.id} = n1": 2}}
    lost = allocation(0, state="running", client="lost")
    job = read([lost], [{"Status": "blocked", "FailedTGAllocs": {"task": filtered}}], Type="service", **TWO_TASKS)
    assert [(task.state, task.reason) for task in job.tasks] == [(State.UNKNOWN, "its host h0 was lost")]
    back = read([lost, allocation(0, state="running", client="running", create_index=9)], Type="service", **TWO_TASKS)
    assert [task.state for task in back.tasks] == [State.RUNNING]


def test_what_a_part_waits_for_is_said_in_words():
    filtered = {"ConstraintFiltered": {"${node.unique.id} = n1": 2}}
    job = read([], [{"Status": "blocked", "FailedTGAllocs": {"task": filtered}}])
    assert job.reason == "waits for the host that it is bound to"


def test_a_job_that_was_stopped_tells_when_it_was_submitted():
    assert read([], [{"Status": "complete", "CreateTime": 2_000_000_000}], SubmitTime=9_000_000_000).submitted == 2


def test_a_task_that_the_job_needs_no_more_is_stopped_and_has_not_failed():
    job = read([allocation(0, event("Killing"), event("Terminated", 143))], Stop=True, **TWO_TASKS)
    assert [(task.state, task.exit_code, task.reason) for task in job.tasks] == [(State.STOPPED, 143, "")]


def test_out_of_memory_is_said_of_the_attempt_that_it_ended():
    events = (event("Terminated", 137, oom_killed="true"), event("Started"), event("Terminated", 137))
    assert read([head(*events, failed=True)]).reason == "killed by SIGKILL (exit code 137)"


def test_a_task_that_a_restart_of_its_host_ended_has_no_exit_code_and_says_so():
    cut_off = head(event("Terminated", 255), failed=True, client="failed")
    assert events.may_be_cut_off(cut_off["TaskStates"]["driver"])
    cut_off["TaskStates"]["driver"][events.HOST_RESTARTED] = "h2"
    job = read([cut_off])
    assert (job.state, job.exit_code, job.reason) == (State.FAILED, None, "its host h2 was restarted")
    assert [(task.exit_code, task.reason) for task in job.tasks] == [(None, "its host h2 was restarted")]


def test_only_a_task_that_failed_by_a_signal_is_asked_about():
    def may_be_cut_off(code, failed=True, state="dead"):
        return events.may_be_cut_off(
            head(event("Terminated", code), failed=failed, state=state)["TaskStates"]["driver"]
        )

    assert [may_be_cut_off(code) for code in (1, 127, 137, 143, 255)] == [False, False, True, True, True]
    assert not may_be_cut_off(137, failed=False)
    assert not may_be_cut_off(137, state="running")


def test_a_task_whose_host_does_not_answer_is_not_said_to_run():
    silent = head(event("Started"), state="running", client=status.SILENT)
    job = read([silent])
    assert (job.state, job.reason) == (State.UNKNOWN, "its host h2 does not answer")
    assert [(task.state, task.reason) for task in job.tasks] == [(State.UNKNOWN, "its host h2 does not answer")]


def test_a_source_of_output_tells_how_often_it_was_started_and_whether_more_may_come():
    ended = head(event("Started"), event("Terminated", 1), event("Started"), event("Terminated", 0))
    assert status.find_outputs(nomad_job(), [ended]) == [("a1", "driver", "n2", "h2", 2, True)]
    running = head(event("Started"), state="running", client="running")
    assert status.find_outputs(nomad_job(), [running]) == [("a1", "driver", "n2", "h2", 1, False)]
    assert list(native.find_outputs([running])) == [("a1", "driver", "n2", "h2", 1, False)]
    assert status.find_outputs(nomad_job(), [{**running, "DesiredStatus": "stop"}])[0].is_over
