"""How engines see a job that is not a SparkJob: groups of equal tasks, which can reach each other.

The environment of every task has
    CMS_JOB_ID, CMS_TASK ("worker-2"), CMS_TASK_INDEX, CMS_TASK_COUNT (of its group)
    CMS_ADDRESS          the address by which other tasks reach it, and on which it must listen
    CMS_PORT_NAME        for each of its group's ports, the number to listen on
    CMS_PEERS_FILE       lines "GROUP INDEX PORT HOST:PORT", one for each port of each task of the job; it grows, and it
                         changes when a task is started again on another host
    CMS_SECRET_FILE      a secret that only the tasks of this job have
    CMS_RESULTS          a directory that it can write to, whose files `get` brings
    CMS_JOB_DIR          where the job's local files are
and the job's own variables and secrets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class TaskGroup:
    """A group of equal tasks.

    Attributes:
        name: "head", "worker", "task"; at most 12 characters.
        count: how many.
        cores: whole processors of each task.
        memory_mb: MiB of each task, for all its processes together.
        command: replaces the image's entry point; empty: the entry point is used.
        arguments: follow the command; nothing in them is expanded.
        env: variables in addition to the job's own; nothing in them is expanded.
        ports: by name ("namenode"; letters and digits); 0: any that is free.
        retries: how often a task that failed is started again; the job fails with a task that fails more often.
        host: the engine's name of the node that its tasks are bound to; empty: any node.
    """

    name: str
    count: int
    cores: int
    memory_mb: int
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    host: str = ""


@dataclass(frozen=True)
class TaskLayout:
    """The task groups of a job.

    Attributes:
        groups: its groups. The job has ended when all tasks of the first group have; its output is theirs.
        is_service: whether the job is a service. Its tasks are started again whenever they end, on the same hosts.
    """

    groups: tuple[TaskGroup, ...]
    is_service: bool = False


@dataclass(frozen=True)
class ScheduledGroup:
    """A task group as an engine runs it.

    Attributes:
        task_group: the group; it has one task if other groups have the same name.
        name: unique in the job: "worker", or "worker-2" if several groups are called so.
        first: the number of its first task among all tasks of groups with the same name.
        total: how many tasks the groups with the same name have together.
        is_leader: whether the job ends with this group.
    """

    task_group: TaskGroup
    name: str
    first: int
    total: int
    is_leader: bool

    @property
    def alone(self) -> bool:
        """Whether no other group has the same name."""
        return self.name == self.task_group.name


def schedule_groups(task_groups: Iterable[TaskGroup]) -> list[ScheduledGroup]:
    """Return the groups with unique names; groups of the same name are split into their single tasks."""
    groups = list(task_groups)
    same_name = Counter(group.name for group in groups)
    total: Counter[str] = Counter()
    for group in groups:
        total[group.name] += group.count
    next_number: Counter[str] = Counter()
    scheduled: list[ScheduledGroup] = []
    for group in groups:
        shares_name = same_name[group.name] > 1
        for task_group in [replace(group, count=1)] * group.count if shares_name else [group]:
            first = next_number[task_group.name]
            name = f"{task_group.name}-{first}" if shares_name else task_group.name
            scheduled.append(ScheduledGroup(task_group, name, first, total[task_group.name], is_leader=not scheduled))
            next_number[task_group.name] += task_group.count
    return scheduled
