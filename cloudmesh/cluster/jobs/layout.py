"""What a job other than Spark's is for an engine: parts, each of some equal tasks that find each other. Pure.

Every task has in its environment
    CMS_JOB_ID, CMS_TASK ("worker-2"), CMS_TASK_INDEX, CMS_TASK_COUNT (of its part)
    CMS_ADDRESS          the address by which other tasks reach it, and on which it must listen
    CMS_PORT_NAME        for each of its part's ports, the number to listen on
    CMS_PEERS_FILE       lines "PART INDEX PORT HOST:PORT", one for each port of each task of the job; it grows, and it
                         changes where a task is started anew elsewhere
    CMS_SECRET_FILE      a secret that only the tasks of this job have
    CMS_RESULTS          a directory that it can write to, whose files `get` brings
    CMS_JOB_DIR          where the job's local files are
beside the job's own variables and secrets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloudmesh.cluster.jobs.model import ContainerJob, Job


@dataclass(frozen=True)
class Part:
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
class Layout:
    """A job as its parts.

    Attributes:
        parts: the job is over when all tasks of the first one are; its output is theirs.
        stays: whether it is a service, whose tasks are started again whenever they end, on the hosts they are bound to.
    """

    parts: tuple[Part, ...]
    stays: bool = False


def of(job: Job, hosts: Sequence[str] = ()) -> Layout:
    """Return the layout of a job that is not Spark's.

    Args:
        job: the job.
        hosts: engine's names of the hosts that it is given, for a job whose tasks are bound to hosts.
    """
    if isinstance(job, ContainerJob):
        return Layout((_task(job),))
    raise AssertionError(f"{job.kind} has no layout")


def _task(job: ContainerJob) -> Part:
    return Part(
        name="task",
        count=job.count,
        cores=job.needs.cores,
        memory_mb=job.needs.memory_mb,
        command=job.command,
        arguments=job.arguments,
        ports=dict.fromkeys(job.ports, 0),
        retries=job.retries,
    )
