"""Jobs of kinds HadoopJob and HadoopService, and their task groups. See images/hadoop/hadoop.py for the other end.

A HadoopJob is a cluster of its own: HDFS and YARN come up for it and go with it. A HadoopService is the same and stays,
with its data in a volume on the hosts; a HadoopJob whose storage is a volume of a service runs there, as a client.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from cloudmesh.cluster.spec import hadoop_client
from cloudmesh.cluster.spec.job import Executor, JobSpec, Resources, resources
from cloudmesh.cluster.spec.job_bundle import JOB_DIR
from cloudmesh.cluster.spec.task_groups import TaskGroup, TaskLayout

EXAMPLES = "/opt/hadoop/hadoop-mapreduce-examples.jar"
OUTPUT = "output"
# The KDC and the NameNode; whoever knows them and the secret can use the file system.
HDFS_PORTS = ("kdc", "namenode")
_HEAD_PORTS = (*HDFS_PORTS, "resourcemanager", "scheduler", "tracker", "history")
_BLOCK_PORTS = ("datanode", "blocks")
# A MapReduce job's master takes three of its worker's ports: so many can be on a job's own worker, or on a service's.
_OWN_MASTERS, _SHARED_MASTERS = 2, 4
_PORTS_OF_MASTER = 3
_FIRST_STATIC_PORT = 10000
_STATIC_PORTS = 10000
_STATIC_PORTS_PER_SERVICE = len(_HEAD_PORTS) + len(_BLOCK_PORTS)
# Workers wait this long for the head of the next attempt.
_AGAIN_SECONDS = 120


@dataclass(frozen=True)
class Step:
    """One program that a HadoopJob runs.

    Attributes:
        main_class: of the jar; empty: as its manifest says.
        arguments: of the program.
    """

    main_class: str = ""
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class HadoopJob(JobSpec):
    """Programs that run one after another; the first that fails is the last. In HDFS they have a working directory.

    Attributes:
        jar: on this machine; None where it is in the image.
        jar_in_image: its absolute path in the image, where `jar` is None.
        main_class: of the jar; empty: as its manifest says.
        steps: the programs; none: one, with `main_class` and `arguments`.
        attached: local files that programs read where they run; they lie in the directory of their process.
        input: local files that are put into `input` there.
        output: what of HDFS is copied to the results; empty: `output`, where there is one.
        conf: Hadoop's properties, none of them one that the cluster sets.
        head: its memory is for NameNode, ResourceManager, JobHistory and the program together; half of it where the job
            runs on a service.
        worker: its memory is for DataNode, NodeManager and the tasks together; the service has workers of its own.
    """

    kind = "HadoopJob"

    image: str = "hadoop"
    jar: Path | None = None
    jar_in_image: str = ""
    main_class: str = ""
    steps: tuple[Step, ...] = ()
    attached: tuple[Path, ...] = ()
    input: tuple[Path, ...] = ()
    output: str = ""
    conf: Mapping[str, str] = field(default_factory=dict)
    head: Resources = field(default_factory=lambda: Resources(1, 1536))
    worker: Executor = field(default_factory=lambda: Executor(1, 2048, 2))

    def layout(self, hosts: Sequence[str] = ()) -> TaskLayout:
        """Return head and workers; of a job whose storage has come to be that of a service, its client."""
        return _job_layout(self)

    def rewritten(self, text: Callable[[str], str]) -> HadoopJob:
        """Return the job with `text` applied to each value that may contain `${storage.NAME}`."""
        steps = tuple(replace(step, arguments=tuple(map(text, step.arguments))) for step in self.steps)
        return replace(super().rewritten(text), steps=steps)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every local file that travels with the job, the jar first."""
        return (*((self.jar,) if self.jar else ()), *self.attached, *self.input)

    def spec(self, path: Callable[[Path], str]) -> dict[str, Any]:
        """Return the fields of `spec` that only this kind has, as in a job file."""
        steps = [
            _without_empty({"mainClass": step.main_class, "arguments": list(step.arguments)}) for step in self.steps
        ]
        deps = {"files": [path(file) for file in self.attached]} if self.attached else {}
        optional = {"mainClass": self.main_class, "steps": steps, "deps": deps, "output": self.output}
        return {
            "jar": path(self.jar) if self.jar else f"local://{self.jar_in_image}",
            "input": [path(file) for file in self.input],
            "conf": dict(sorted(self.conf.items())),
            "head": resources(self.head),
            "worker": {"instances": self.worker.instances, **resources(self.worker)},
            **_without_empty(optional),
        }


@dataclass(frozen=True)
class HadoopService(JobSpec):
    """An HDFS and YARN that stay until they are stopped; each task is bound to a host, where its data is.

    Attributes:
        replication: how many hosts have each block.
        yarn: whether it runs jobs; otherwise it is HDFS alone, and takes less memory.
        conf: Hadoop's properties, none of them one that the cluster sets.
        head: as a HadoopJob's, without a program.
        worker: as a HadoopJob's.
    """

    kind = "HadoopService"

    image: str = "hadoop"
    replication: int = 2
    yarn: bool = True
    conf: Mapping[str, str] = field(default_factory=dict)
    head: Resources = field(default_factory=lambda: Resources(1, 1536))
    worker: Executor = field(default_factory=lambda: Executor(1, 2048, 2))

    def layout(self, hosts: Sequence[str] = ()) -> TaskLayout:
        """Return a worker for each of the hosts, and the head on the first of them."""
        return _service_layout(self, hosts)

    @property
    def hosts_wanted(self) -> int:
        """How many hosts its workers are bound to."""
        return self.worker.instances

    def spec(self, path: Callable[[Path], str]) -> dict[str, Any]:
        """Return the fields of `spec` that only this kind has, as in a job file."""
        return {
            "replication": self.replication,
            "yarn": self.yarn,
            "conf": dict(sorted(self.conf.items())),
            "head": resources(self.head),
            "worker": {"instances": self.worker.instances, **resources(self.worker)},
        }


def _job_layout(job: HadoopJob) -> TaskLayout:
    """Return the task groups of a HadoopJob; of one whose storage has come to be that of a service, its client."""
    plan = _job_plan(job)
    if hadoop_client.URI in job.env:
        needs = replace(job.head, memory_mb=job.head.memory_mb // 2)
        return TaskLayout((replace(_task_group("client", needs, plan, {}), retries=job.retries),))
    head = _task_group("head", job.head, plan, dict.fromkeys(_HEAD_PORTS, 0))
    worker = _task_group("worker", job.worker, plan, dict.fromkeys((*_BLOCK_PORTS, *_computing_ports(_OWN_MASTERS)), 0))
    return TaskLayout((replace(head, retries=job.retries), replace(worker, count=job.worker.instances)))


def _service_layout(job: HadoopService, hosts: Sequence[str]) -> TaskLayout:
    """Return the task groups of a HadoopService: a worker on each of the hosts, and the head on the first of them."""
    conf = {**job.conf, "dfs.replication": str(job.replication)}
    plan = _plan(job.worker.instances, _SHARED_MASTERS, conf) | {"stays": True}
    first = (
        _FIRST_STATIC_PORT
        + crc32(job.name.encode()) % (_STATIC_PORTS // _STATIC_PORTS_PER_SERVICE) * _STATIC_PORTS_PER_SERVICE
    )
    numbers = {name: first + at for at, name in enumerate((*_HEAD_PORTS, *_BLOCK_PORTS))}
    # Where clients go is always the same; what YARN's processes tell each other need not be.
    computing = dict.fromkeys(_computing_ports(_SHARED_MASTERS) if job.yarn else (), 0)
    head_ports = _HEAD_PORTS if job.yarn else HDFS_PORTS
    head = _task_group("head", job.head, plan, {name: numbers[name] for name in head_ports})
    worker = _task_group("worker", job.worker, plan, {**{name: numbers[name] for name in _BLOCK_PORTS}, **computing})
    groups = (head, *[worker] * job.worker.instances)
    # While no hosts are given yet, what matters is how many tasks there are.
    bound = zip(groups, (*hosts[:1], *hosts) or [""] * len(groups), strict=True)
    data = {"CMS_DATA": job.storage[0].mount}
    return TaskLayout(
        tuple(replace(group, host=host, env={**group.env, **data}) for group, host in bound), is_service=True
    )


def _job_plan(job: HadoopJob) -> dict[str, Any]:
    jar = f"{JOB_DIR}/{job.jar.name}" if job.jar else job.jar_in_image
    steps = job.steps or (Step(job.main_class, job.arguments),)
    return _plan(job.worker.instances, _OWN_MASTERS, job.conf) | {
        "steps": [
            {"jar": jar, "class": step.main_class or job.main_class, "arguments": list(step.arguments)}
            for step in steps
        ],
        "input": [file.name for file in job.input],
        "output": job.output or OUTPUT,
        "fetch": bool(job.output),
        "again": _AGAIN_SECONDS if job.retries else 0,
    }


def _computing_ports(masters: int) -> tuple[str, ...]:
    numbers = range(1, masters * _PORTS_OF_MASTER + 1)
    return ("nodemanager", "shuffle", *(f"master{number}" for number in numbers))


def _plan(workers: int, masters: int, conf: Mapping[str, str]) -> dict[str, Any]:
    """Return what every task's CMS_HADOOP says."""
    return {
        **{"workers": workers, "masters": masters, "conf": dict(conf), "stays": False, "again": 0},
        **{"steps": [], "input": [], "output": OUTPUT, "fetch": False},
    }


def _task_group(role: str, needs: Resources, plan: Mapping[str, Any], ports: Mapping[str, int]) -> TaskGroup:
    return TaskGroup(
        name=role,
        count=1,
        cores=needs.cores,
        memory_mb=needs.memory_mb,
        arguments=(role,),
        env={
            "CMS_HADOOP": json.dumps(plan, sort_keys=True),
            "CMS_MEMORY_MB": str(needs.memory_mb),
            "CMS_CORES": str(needs.cores),
        },
        ports=ports,
    )


def _without_empty(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if value}
