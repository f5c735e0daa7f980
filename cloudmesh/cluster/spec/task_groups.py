"""What engines know of a job that is not Spark's: task groups, each of some equal tasks that find each other.

Every task has in its environment
    CMS_JOB_ID, CMS_TASK ("worker-2"), CMS_TASK_INDEX, CMS_TASK_COUNT (of its group)
    CMS_ADDRESS          the address by which other tasks reach it, and on which it must listen
    CMS_PORT_NAME        for each of its group's ports, the number to listen on
    CMS_PEERS_FILE       lines "GROUP INDEX PORT HOST:PORT", one for each port of each task of the job; it grows, and it
                         changes where a task is started anew elsewhere
    CMS_SECRET_FILE      a secret that only the tasks of this job have
    CMS_RESULTS          a directory that it can write to, whose files `get` brings
    CMS_JOB_DIR          where the job's local files are
beside the job's own variables and secrets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class TaskGroup:
    """Some equal tasks.

    Attributes:
        name: "head", "worker", "task"; at most 12 characters.
        count: how many.
        cores: whole processors of each.
        memory_mb: MiB of each, all its processes together.
        command: instead of the image's entry point; empty: the image's own.
        arguments: after it, as they are.
        env: as it is, beside the job's own.
        ports: by name ("namenode"; letters and digits); 0: any that is free.
        retries: how often a task that failed is started again; the job fails with a task that fails more often.
        host: engine's name of the host that its tasks are bound to; empty: any.
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
    """A job as its parts.

    Attributes:
        parts: the job is over when all tasks of the first one are; its output is theirs.
        stays: whether it is a service, whose tasks are started again whenever they end, on the hosts they are bound to.
    """

    parts: tuple[TaskGroup, ...]
    stays: bool = False


@dataclass(frozen=True)
class ScheduledGroup:
    """A part as an engine runs it.

    Attributes:
        part: of one task, where others have the same name.
        name: no other group of the job has it.
        first: the number of its first task among those of the same part's name.
        total: how many tasks have the part's name.
        leads: whether its end is the job's.
    """

    part: TaskGroup
    name: str
    first: int
    total: int
    leads: bool

    @property
    def alone(self) -> bool:
        """Whether no other group has the name of its part."""
        return self.name == self.part.name


def schedule_groups(parts: Iterable[TaskGroup]) -> list[ScheduledGroup]:
    """Return the parts with what tells them apart; parts of the same name are taken apart into their tasks."""
    given = list(parts)
    same = Counter(part.name for part in given)
    total: Counter[str] = Counter()
    for part in given:
        total[part.name] += part.count
    passed: Counter[str] = Counter()
    found: list[ScheduledGroup] = []
    for part in given:
        shared = same[part.name] > 1
        for one in [replace(part, count=1)] * part.count if shared else [part]:
            at = passed[one.name]
            name = f"{one.name}-{at}" if shared else one.name
            found.append(ScheduledGroup(one, name, at, total[one.name], leads=not found))
            passed[one.name] += one.count
    return found
