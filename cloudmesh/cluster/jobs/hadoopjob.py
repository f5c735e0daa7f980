"""Jobs of kinds HadoopJob and HadoopService, and their parts. See images/hadoop/hadoop.py for the other end.

A HadoopJob is a cluster of its own: HDFS and YARN come up for it and go with it. A HadoopService is an HDFS that stays,
with its data in a place on the hosts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from cloudmesh.cluster.jobs.bundle import JOB_DIR
from cloudmesh.cluster.jobs.model import Executor, Job, Resources, resources
from cloudmesh.cluster.jobs.parts import Layout, Part

EXAMPLES = "/opt/hadoop/hadoop-mapreduce-examples.jar"
OUTPUT = "/output"
# The KDC and the NameNode; whoever knows them and the secret can use the file system.
HDFS_PORTS = ("kdc", "namenode")
_HEAD_PORTS = (*HDFS_PORTS, "resourcemanager", "scheduler", "tracker", "history")
_BLOCK_PORTS = ("datanode", "blocks")
# A MapReduce job's master takes three of its worker's ports: two masters can run on a worker at a time.
_WORKER_PORTS = (*_BLOCK_PORTS, "nodemanager", "shuffle", *(f"master{number}" for number in range(1, 7)))
_FIRST_STATIC_PORT = 10000
_STATIC_PORTS = 10000
_EACH = 5
# So long do workers wait for the head that a retry brings.
_AGAIN_SECONDS = 120


@dataclass(frozen=True)
class Step:
    """One program that a HadoopJob runs.

    Attributes:
        main_class: of the jar; empty: as its manifest says.
        arguments: its own.
    """

    main_class: str = ""
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class HadoopJob(Job):
    """Programs that run one after another on an HDFS and YARN of their own; the first that fails is the last.

    Attributes:
        jar: on this machine; None where it is in the image.
        jar_in_image: its absolute path in the image, where `jar` is None.
        main_class: of the jar; empty: as its manifest says.
        steps: the programs; none: one, with `main_class` and `arguments`.
        input: local files that are put into /input.
        output: what of HDFS is copied to the results; empty: /output, where there is one.
        conf: Hadoop's properties, none of them one that the cluster sets.
        head: its memory is for NameNode, ResourceManager, JobHistory and the program together.
        worker: its memory is for DataNode, NodeManager and the tasks together.
    """

    kind = "HadoopJob"

    image: str = "hadoop"
    jar: Path | None = None
    jar_in_image: str = ""
    main_class: str = ""
    steps: tuple[Step, ...] = ()
    input: tuple[Path, ...] = ()
    output: str = ""
    conf: Mapping[str, str] = field(default_factory=dict)
    head: Resources = field(default_factory=lambda: Resources(1, 1536))
    worker: Executor = field(default_factory=lambda: Executor(1, 2048, 2))

    def rewritten(self, text: Callable[[str], str]) -> HadoopJob:
        """Return the job with each word that may refer to storage as `text` gives it."""
        steps = tuple(replace(each, arguments=tuple(map(text, each.arguments))) for each in self.steps)
        return replace(super().rewritten(text), steps=steps)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every local file that travels with the job, the jar first."""
        return (*((self.jar,) if self.jar else ()), *self.input)

    def spec(self, path: Callable[[Path], str]) -> dict[str, Any]:
        """Return what is its kind's own, as a job file would say it."""
        steps = [
            _without_empty({"mainClass": each.main_class, "arguments": list(each.arguments)}) for each in self.steps
        ]
        optional = {"mainClass": self.main_class, "steps": steps, "output": self.output}
        return {
            "jar": path(self.jar) if self.jar else f"local://{self.jar_in_image}",
            "input": [path(file) for file in self.input],
            "conf": dict(sorted(self.conf.items())),
            "head": resources(self.head),
            "worker": {"instances": self.worker.instances, **resources(self.worker)},
            **_without_empty(optional),
        }


@dataclass(frozen=True)
class HadoopService(Job):
    """An HDFS that stays until it is stopped; each of its tasks is bound to a host, where its data is.

    Attributes:
        replication: how many hosts have each block.
        conf: Hadoop's properties, none of them one that the cluster sets.
        head: of the NameNode.
        worker: of each DataNode.
    """

    kind = "HadoopService"

    image: str = "hadoop"
    replication: int = 2
    conf: Mapping[str, str] = field(default_factory=dict)
    head: Resources = field(default_factory=lambda: Resources(1, 1024))
    worker: Executor = field(default_factory=lambda: Executor(1, 768, 2))

    def spec(self, path: Callable[[Path], str]) -> dict[str, Any]:
        """Return what is its kind's own, as a job file would say it."""
        return {
            "replication": self.replication,
            "conf": dict(sorted(self.conf.items())),
            "head": resources(self.head),
            "worker": {"instances": self.worker.instances, **resources(self.worker)},
        }


def job_layout(job: HadoopJob, _: Sequence[str]) -> Layout:
    """Return the parts of a HadoopJob."""
    jar = f"{JOB_DIR}/{job.jar.name}" if job.jar else job.jar_in_image
    steps = job.steps or (Step(job.main_class, job.arguments),)
    plan = _plan(job.worker.instances, job.conf) | {
        "steps": [
            {"jar": jar, "class": each.main_class or job.main_class, "arguments": list(each.arguments)}
            for each in steps
        ],
        "input": [file.name for file in job.input],
        "output": job.output or OUTPUT,
        "fetch": bool(job.output),
        "again": _AGAIN_SECONDS if job.retries else 0,
    }
    head = _part("head", job.head, plan, dict.fromkeys(_HEAD_PORTS, 0))
    worker = _part("worker", job.worker, plan, dict.fromkeys(_WORKER_PORTS, 0))
    return Layout((replace(head, retries=job.retries), replace(worker, count=job.worker.instances)))


def service_layout(job: HadoopService, hosts: Sequence[str]) -> Layout:
    """Return the parts of a HadoopService: a worker on each of the hosts, and the head on the first of them."""
    conf = {**job.conf, "dfs.replication": str(job.replication)}
    plan = _plan(job.worker.instances, conf) | {"stays": True}
    first = _FIRST_STATIC_PORT + crc32(job.name.encode()) % (_STATIC_PORTS // _EACH) * _EACH
    numbers = {name: first + at for at, name in enumerate((*HDFS_PORTS, *_BLOCK_PORTS))}
    head = _part("head", job.head, plan, {name: numbers[name] for name in HDFS_PORTS})
    worker = _part("worker", job.worker, plan, {name: numbers[name] for name in _BLOCK_PORTS})
    parts = (head, *[worker] * job.worker.instances)
    # While no hosts are given yet, what matters is how many tasks there are.
    bound = zip(parts, (*hosts[:1], *hosts) or [""] * len(parts), strict=True)
    data = {"CMS_DATA": job.storage[0].mount}
    return Layout(tuple(replace(each, host=host, env={**each.env, **data}) for each, host in bound), stays=True)


def service_hosts(job: HadoopService) -> int:
    """Return how many hosts a HadoopService is bound to."""
    return job.worker.instances


def _plan(workers: int, conf: Mapping[str, str]) -> dict[str, Any]:
    """Return what every task's CMS_HADOOP says."""
    return {
        **{"workers": workers, "conf": dict(conf), "stays": False, "again": 0},
        **{"steps": [], "input": [], "output": OUTPUT, "fetch": False},
    }


def _part(role: str, needs: Resources, plan: Mapping[str, Any], ports: Mapping[str, int]) -> Part:
    return Part(
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
