"""What containers cannot show, as they share a kernel: control groups version 2, NFS, a reboot of all hosts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import emulated
import pytest
from emulated import Machine
from support import snapshot
from support.cms import Operator, Outcome
from support.snapshot import Snapshot
from support.waiting import wait_until

from cloudmesh.cluster.providers import PROVIDERS

pytestmark = pytest.mark.vm

NAME = "t-vm"
JOB, SHARING_JOB = (str(Path(__file__).with_name(name)) for name in ("answer.yaml", "shared.yaml"))
ANSWER = f"the sum is {sum(n * n for n in range(1000))}\n" * 2
EXPORT = "/srv/shared"
# Version 4 alone, and a port that does not change: chance would choose others at every boot.
SERVE_NFS = f"""
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/nfs.conf.d
printf '[nfsd]\nvers3=n\n[mountd]\nport=20048\n' >/etc/nfs.conf.d/version4.conf
systemctl --quiet mask rpcbind.service rpcbind.socket rpc-statd.service rpc-statd-notify.service
{{ apt-get update && apt-get install -y --no-install-recommends nfs-kernel-server; }} >/dev/null
install -d -m 1777 {EXPORT}
echo '{EXPORT} {emulated.NETWORK}(rw,sync,no_subtree_check)' >/etc/exports
exportfs -ra
"""
HEALTHY_SECONDS = 600  # after a reboot, with nobody's help
COMMAND_SECONDS = 3600.0  # for any command
T = TypeVar("T")


@dataclass(frozen=True)
class Story:
    """What was seen while a cluster came, was rebooted, and went.

    Attributes:
        answers: of a job before and after the reboot.
        infos: the cluster at the same two moments, as `info` shows it.
        shared: what two tasks on two machines read of each other on an NFS server, before and after the reboot.
        before: the machines before `create`.
    """

    machines: Sequence[Machine]
    before: Sequence[Snapshot]
    answers: tuple[str, str]
    infos: tuple[Any, Any]
    shared: tuple[str, str]


@pytest.fixture(scope="module", params=PROVIDERS)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    provider = request.param

    def measure(what: str, function: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return function()
        finally:
            logging.info("%s: %s: %.0f s", provider, what, time.monotonic() - began)

    with ExitStack() as stack:
        machines = measure("disk made and both booted", lambda: stack.enter_context(emulated.boot_machines()))
        pool = stack.enter_context(ThreadPoolExecutor())
        operator = Operator(tmp_path_factory.mktemp("home"), machines[0].folder / "key", COMMAND_SECONDS)

        def cms(verb: str, *words: str) -> Outcome:
            return operator.cms(verb, "-n", NAME, *words)

        def read_info() -> Any:
            return cms("info", "--output=json").json()

        def wait_until_healthy() -> Any:
            seen = wait_until(read_info, HEALTHY_SECONDS, pause=2, satisfies=lambda info: info["healthy"])
            assert seen["healthy"], seen
            return seen

        measure("NFS server on the first", lambda: machines[0].run(SERVE_NFS))
        # what a first boot makes is there after it; what every boot makes is another after the second
        measure("reboot of both", lambda: list(pool.map(Machine.reboot, machines)))
        before = list(pool.map(snapshot.take, machines))
        where = [machine.where for machine in machines]
        create = ("-p", provider, f"--interface={emulated.NETWORK}", *where)
        measure("create, to all hosts ready", lambda: cms("create", *create).ok())
        infos = [measure("info", read_info)]
        answers = [measure("first job, image delivered and pulled", lambda: cms("submit", JOB).ok().stdout)]
        nfs = f"--nfs={machines[0].address}:{EXPORT}"
        measure("storage", lambda: cms("storage", "add", "shared", nfs).ok())
        shared = [measure("job on NFS", lambda: cms("submit", SHARING_JOB).ok().stdout)]
        machines[0].run(f"rm {EXPORT}/*")
        measure("reboot of both", lambda: list(pool.map(Machine.reboot, machines)))
        infos.append(measure("from booted to healthy", wait_until_healthy))
        answers.append(measure("second job", lambda: cms("submit", JOB).ok().stdout))
        shared.append(measure("second job on NFS", lambda: cms("submit", SHARING_JOB).ok().stdout))
        machines[0].run(f"rm {EXPORT}/*")
        measure("kill", lambda: cms("kill").ok())
        yield Story(machines, before, (answers[0], answers[1]), (infos[0], infos[1]), (shared[0], shared[1]))


def test_the_machines_have_control_groups_version_2(story: Story) -> None:
    for machine in story.machines:
        assert machine.run("stat -fc %T /sys/fs/cgroup") == "cgroup2fs"


def test_a_job_gives_its_answer(story: Story) -> None:
    assert story.answers[0] == ANSWER


def test_hosts_reach_each_other_by_the_interface_that_was_named(story: Story) -> None:
    assert sorted(node["address"] for node in story.infos[0]["nodes"]) == ["10.99.0.1", "10.99.0.2"]


def test_the_same_cluster_is_healthy_again_after_a_reboot_of_all_its_hosts(story: Story) -> None:
    before, after = story.infos
    assert after["healthy"]
    assert after["id"] == before["id"]
    assert len(after["nodes"]) == len(before["nodes"])


def test_a_job_gives_its_answer_after_the_reboot(story: Story) -> None:
    assert story.answers[1] == ANSWER


def test_tasks_on_both_machines_share_a_place_on_an_nfs_server_and_again_after_the_reboot(story: Story) -> None:
    assert story.shared == ("task-0 was here\ntask-1 was here\n" * 2,) * 2


@pytest.mark.parametrize("index", [0, 1], ids=("server", "worker"))
def test_kill_leaves_the_machine_as_it_was_before_create(story: Story, index: int) -> None:
    differences = snapshot.find_differences(story.before[index], story.machines[index], seconds=120)
    assert not differences, "\n".join(differences)
