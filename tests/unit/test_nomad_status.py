"""What Nomad's answers mean."""

from cloudmesh.cluster.model import State
from cloudmesh.cluster.nomad import status

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
        "Name": "pi-1.head[0]",
        "TaskGroup": "head",
        "CreateIndex": 7,
        "NodeName": "h2",
        "ClientStatus": client,
        "TaskStates": {"driver": driver},
    }


def read(allocations, evaluations=(), **job):
    return status.job(nomad_job(**job), allocations, list(evaluations), now=0.0)


def test_a_driver_that_ended_with_zero_is_a_success():
    found = read([head(event("Terminated", 0))])
    assert (found.state, found.exit_code, found.duration) == (State.SUCCEEDED, 0, 10.0)


def test_a_failed_driver_tells_its_exit_code():
    found = read([head(event("Terminated", 3), failed=True, client="failed")])
    assert (found.state, found.exit_code, found.reason) == (State.FAILED, 3, "exit code 3")


def test_out_of_memory_is_said_in_words():
    found = read([head(event("Terminated", 137, oom_killed="true"), failed=True)])
    assert found.reason.startswith("out of memory")


def test_a_timeout_is_said_in_words():
    assert read([head(event("Terminated", 124), failed=True)]).reason.startswith("timeout")


def test_a_success_stays_one_though_the_job_was_stopped_after():
    assert read([head(event("Terminated", 0))], Stop=True).state is State.SUCCEEDED


def test_a_job_stopped_while_it_ran_is_stopped():
    assert read([head(event("Killing"), event("Terminated", 143))], Stop=True).state is State.STOPPED


def test_a_job_without_room_is_queued_and_says_for_what():
    blocked = {"Status": "blocked", "FailedTGAllocs": {"workers": {"DimensionExhausted": {"memory": 3}}}}
    found = read([], [blocked])
    assert (found.state, found.reason) == (State.QUEUED, "waits for room: memory")


def test_a_lost_driver_is_never_a_success():
    lost = head(state="running", client="lost")
    assert read([lost]).state is State.UNKNOWN
    assert read([lost], Status="dead").state is State.FAILED
    assert "h2" in read([lost]).reason


def test_an_image_that_cannot_be_had_is_said():
    found = read([head(event("Driver Failure"), state="dead", failed=True, client="failed", started=None)])
    assert (found.state, found.reason) == (State.FAILED, "Driver Failure message")
