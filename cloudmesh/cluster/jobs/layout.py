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

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cloudmesh.cluster.jobs.hadoopjob import HadoopJob, HadoopService, job_layout, service_hosts, service_layout
from cloudmesh.cluster.jobs.model import ContainerJob, Job
from cloudmesh.cluster.jobs.parts import Layout, Part
from cloudmesh.cluster.jobs.probe import ProbeJob
from cloudmesh.cluster.jobs.probe import layout as probe_layout

__all__ = ["Layout", "Part", "hosts_wanted", "of"]


def of(job: Job, hosts: Sequence[str] = ()) -> Layout:
    """Return the layout of a job that is not Spark's.

    Args:
        job: the job.
        hosts: engine's names of the hosts that it is given, for a job whose tasks are bound to hosts.
    """
    return _KINDS[type(job)].layout(job, hosts)


def hosts_wanted(job: Job) -> int:
    """Return how many hosts must be given to the job, because its tasks are bound to them; 0 where they are not."""
    kind = _KINDS.get(type(job))
    return kind.hosts(job) if kind else 0


def _container(job: ContainerJob, _: Sequence[str]) -> Layout:
    task = Part(
        name="task",
        count=job.count,
        cores=job.needs.cores,
        memory_mb=job.needs.memory_mb,
        command=job.command,
        arguments=job.arguments,
        ports=dict.fromkeys(job.ports, 0),
        retries=job.retries,
    )
    return Layout((task,))


def _anywhere(_: Job) -> int:
    return 0


class _Kind(NamedTuple):
    layout: Callable[[Any, Sequence[str]], Layout]
    hosts: Callable[[Any], int] = _anywhere


# What is imported for this table takes Part and Layout from `parts`.
_KINDS: Mapping[type[Job], _Kind] = {
    ContainerJob: _Kind(_container),
    HadoopJob: _Kind(job_layout),
    HadoopService: _Kind(service_layout, service_hosts),
    ProbeJob: _Kind(probe_layout, lambda job: job.hosts),
}
