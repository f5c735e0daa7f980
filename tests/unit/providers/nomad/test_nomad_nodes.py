"""Which tasks are moved when their host is emptied."""

from cloudmesh.cluster.providers.nomad import nodes

HERE = [{"LTarget": "${node.unique.id}", "RTarget": "n1", "Operand": "="}]


def task(group: str, *, kind: str = "batch", bound: bool = False, ours: bool = True) -> dict:
    groups = [{"Name": "head", "Constraints": None}, {"Name": "worker", "Constraints": HERE if bound else None}]
    meta = {"cms_digest": "d"} if ours else None
    return {"TaskGroup": group, "Job": {"Type": kind, "Meta": meta, "TaskGroups": groups}}


def test_what_a_job_waits_for_stays_where_it_is():
    assert not nodes.can_move(task("head"))
    assert nodes.can_move(task("worker"))


def test_what_is_bound_to_its_host_stays_there():
    assert not nodes.can_move(task("worker", bound=True))
    assert nodes.is_bound(task("worker", bound=True))
    assert not nodes.is_bound(task("worker"))


def test_services_and_jobs_that_are_not_ours_are_left_to_nomad():
    assert not nodes.can_move(task("worker", kind="service"))
    assert not nodes.can_move(task("worker", ours=False))
