"""What a host is in Nomad, and which tasks are moved when it is emptied."""

from cloudmesh.cluster.core.model import Role
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


def build_node(**changed: object) -> dict:
    resources = {"Cpu": {"CpuShares": 2000}, "Memory": {"MemoryMB": 4000}}
    fields = {
        "ID": "n1",
        "Name": "debian",
        "Status": "ready",
        "SchedulingEligibility": "eligible",
        "NodePool": "default",
    }
    attributes = {"unique.network.ip-address": "10.0.0.1"}
    rest = {
        "Attributes": attributes,
        "NodeResources": resources,
        "ReservedResources": None,
        "Meta": None,
        "Drivers": {},
    }
    return {**fields, **rest, **changed}


def test_a_node_is_called_as_the_operator_wrote_it_and_its_name_in_nomad_stands_beside():
    node = nodes.read_node(build_node(Meta={"cms_host": "Büro_1"}), (), {})
    assert (node.name, node.node) == ("Büro_1", "debian")


def test_a_node_of_an_earlier_version_has_one_name():
    node = nodes.read_node(build_node(Name="127.0.0.1:2201", Meta={"cms_contact": "root@127.0.0.1:2201"}), (), {})
    assert (node.name, node.node) == ("127.0.0.1:2201", "127.0.0.1:2201")


def test_a_server_of_which_the_others_say_nothing_is_down_and_no_worker():
    node = {
        "ID": "n1",
        "Name": "one",
        "Attributes": {"unique.network.ip-address": "10.0.0.1"},
        "NodeResources": {"Cpu": {"CpuShares": 2000}, "Memory": {"MemoryMB": 2048}},
        "ReservedResources": None,
        "NodePool": "default",
        "Meta": {"cms_role": "server"},
        "Status": "ready",
        "SchedulingEligibility": "eligible",
        "Drivers": {"docker": {"Healthy": True}},
    }
    assert nodes.read_node(node, [], {}).status == "down"
    assert nodes.read_node(node, [], {}).roles == (Role.SERVER, Role.WORKER)
    assert nodes.read_node(node, [], {"10.0.0.1": "ready"}).status == "ready"
    worker = {**node, "Meta": {"cms_role": "worker"}}
    assert (nodes.read_node(worker, [], {}).status, nodes.read_node(worker, [], {}).roles) == ("ready", (Role.WORKER,))


def test_a_node_that_is_silent_is_down_whether_or_not_nomad_waits_for_what_ran_there():
    assert nodes.read_node(build_node(Status="disconnected"), (), {}).status == "down"
    assert nodes.read_node(build_node(Status="down"), (), {}).status == "down"
