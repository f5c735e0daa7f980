"""Jobs of kinds HadoopJob and HadoopService, and their parts. See images/hadoop/hadoop.py for the other end.

A HadoopJob is a cluster of its own: HDFS and YARN come up for it and go with it. A HadoopService is the same and stays,
with its data in a place on the hosts; a HadoopJob whose storage is a place of a service runs there, a client alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from cloudmesh.cluster.spec import hadoop_client, local_files, validators
from cloudmesh.cluster.spec.common_fields import FIELDS, Found, common_fields, cores, memory, paths
from cloudmesh.cluster.spec.fields import Fields
from cloudmesh.cluster.spec.job import Executor, JobSpec, Resources, resources
from cloudmesh.cluster.spec.job_bundle import JOB_DIR
from cloudmesh.cluster.spec.task_groups import TaskGroup, TaskLayout
from cloudmesh.cluster.spec.yaml_document import quoted

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
_EACH = len(_HEAD_PORTS) + len(_BLOCK_PORTS)
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
class HadoopJob(JobSpec):
    """Programs that run one after another; the first that fails is the last. In HDFS they have a working directory.

    Attributes:
        jar: on this machine; None where it is in the image.
        jar_in_image: its absolute path in the image, where `jar` is None.
        main_class: of the jar; empty: as its manifest says.
        steps: the programs; none: one, with `main_class` and `arguments`.
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
    input: tuple[Path, ...] = ()
    output: str = ""
    conf: Mapping[str, str] = field(default_factory=dict)
    head: Resources = field(default_factory=lambda: Resources(1, 1536))
    worker: Executor = field(default_factory=lambda: Executor(1, 2048, 2))

    def layout(self, hosts: Sequence[str] = ()) -> TaskLayout:
        """Return head and workers; of a job whose storage has come to be that of a service, its client."""
        return _job_layout(self)

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
        """Return what is its kind's own, as a job file would say it."""
        return {
            "replication": self.replication,
            "yarn": self.yarn,
            "conf": dict(sorted(self.conf.items())),
            "head": resources(self.head),
            "worker": {"instances": self.worker.instances, **resources(self.worker)},
        }


def _job_layout(job: HadoopJob) -> TaskLayout:
    """Return the parts of a HadoopJob; of one whose storage has come to be that of a service, its client."""
    plan = _job_plan(job)
    if hadoop_client.URI in job.env:
        needs = replace(job.head, memory_mb=job.head.memory_mb // 2)
        return TaskLayout((replace(_task_group("client", needs, plan, {}), retries=job.retries),))
    head = _task_group("head", job.head, plan, dict.fromkeys(_HEAD_PORTS, 0))
    worker = _task_group("worker", job.worker, plan, dict.fromkeys((*_BLOCK_PORTS, *_computing_ports(_OWN_MASTERS)), 0))
    return TaskLayout((replace(head, retries=job.retries), replace(worker, count=job.worker.instances)))


def _service_layout(job: HadoopService, hosts: Sequence[str]) -> TaskLayout:
    """Return the parts of a HadoopService: a worker on each of the hosts, and the head on the first of them."""
    conf = {**job.conf, "dfs.replication": str(job.replication)}
    plan = _plan(job.worker.instances, _SHARED_MASTERS, conf) | {"stays": True}
    first = _FIRST_STATIC_PORT + crc32(job.name.encode()) % (_STATIC_PORTS // _EACH) * _EACH
    numbers = {name: first + at for at, name in enumerate((*_HEAD_PORTS, *_BLOCK_PORTS))}
    # Where clients go is always the same; what YARN's processes tell each other need not be.
    computing = dict.fromkeys(_computing_ports(_SHARED_MASTERS) if job.yarn else (), 0)
    head_ports = _HEAD_PORTS if job.yarn else HDFS_PORTS
    head = _task_group("head", job.head, plan, {name: numbers[name] for name in head_ports})
    worker = _task_group("worker", job.worker, plan, {**{name: numbers[name] for name in _BLOCK_PORTS}, **computing})
    parts = (head, *[worker] * job.worker.instances)
    # While no hosts are given yet, what matters is how many tasks there are.
    bound = zip(parts, (*hosts[:1], *hosts) or [""] * len(parts), strict=True)
    data = {"CMS_DATA": job.storage[0].mount}
    return TaskLayout(tuple(replace(each, host=host, env={**each.env, **data}) for each, host in bound), stays=True)


def _job_plan(job: HadoopJob) -> dict[str, Any]:
    jar = f"{JOB_DIR}/{job.jar.name}" if job.jar else job.jar_in_image
    steps = job.steps or (Step(job.main_class, job.arguments),)
    return _plan(job.worker.instances, _OWN_MASTERS, job.conf) | {
        "steps": [
            {"jar": jar, "class": each.main_class or job.main_class, "arguments": list(each.arguments)}
            for each in steps
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


MAX_INSTANCES = 1000
MAX_STEPS = 100
MAX_REPLICATION = 3
_IN_IMAGE = re.compile(r"local://(/[\w./+=@~-]+\.jar)")
_IN_HDFS = re.compile(r"/?[\w.+=@~][\w.+=@~-]*(?:/[\w.+=@~-]+)*")
_PROPERTY = re.compile(r"[A-Za-z0-9][\w.-]*")
# Who is let in, where a process listens, and by what a job's own things are known, is not a job's to say.
_OURS = re.compile(
    r"hadoop\.(security|rpc|http|tmp|ssl|proxyuser)\..*|ipc\..*|fs\.defaultFS|ignore\..*"
    r"|dfs\.(data\.transfer|encrypt|web|block\.access).*|dfs\.(user\.home|client\.failover)\..*|dfs\.nameservices"
    r"|mapreduce\.job\.tags|.*[.-](address|port|bind-host|principal|keytab|keytab\.file|dir|dirs|port-range)|.*acl.*"
    r"|yarn\.nodemanager\..*"
)
# What processes take beside tasks, and the least that a program can run in.
_HEAD_MB, _WORKER_MB = 1280, 1536
_SERVICE_MB = 512
_TOO_LITTLE = "Hadoop's processes would not fit"
_JOB_DEFAULTS, _SERVICE_DEFAULTS = HadoopJob("default"), HadoopService("default")
_HDFS_ALONE = HadoopService("default", yarn=False, head=Resources(1, 1024), worker=Executor(1, 768, 2))


def hadoop_job(root: Fields, folder: Path, arguments: Sequence[str]) -> HadoopJob:
    """Return the HadoopJob that a file describes.

    Args:
        root: the file's fields.
        folder: what its paths are relative to.
        arguments: instead of the file's own, where there are any.

    Raises:
        UsageError: a field is wrong; file, line and field are named.
    """
    known = (*FIELDS, "jar", "mainClass", "program", "steps", "input", "output", "conf", "head", "worker")
    spec = root.table("spec").only(*known)
    found: Found = []
    jar, jar_in_image = _jar(spec, folder, found)
    shared = common_fields(root, arguments, _JOB_DEFAULTS.image)
    if program := spec.text("program"):
        shared["arguments"] = (program, *shared["arguments"])
    job = HadoopJob(
        **shared,
        jar=jar,
        jar_in_image=jar_in_image,
        main_class=_main_class(spec),
        steps=_steps(spec, bool(shared["arguments"])),
        input=paths(spec, "input", folder, found),
        output=_output(spec),
        conf=_conf(spec),
        head=_resources(spec.table("head").only("cores", "memory"), _JOB_DEFAULTS.head, _HEAD_MB),
        worker=_worker(spec, _JOB_DEFAULTS.worker, _WORKER_MB, 1),
    )
    local_files.check_together(found)
    return job


def hadoop_service(root: Fields, folder: Path, arguments: Sequence[str]) -> HadoopService:
    """Return the HadoopService that a file describes; see `hadoop_job`.

    Raises:
        UsageError: a field is wrong; file, line and field are named.
    """
    spec = root.table("spec").only(*FIELDS, "replication", "yarn", "conf", "head", "worker")
    shared = common_fields(root, arguments, _SERVICE_DEFAULTS.image)
    if shared["arguments"]:
        raise spec.at("arguments").error("a service runs no program, and takes no arguments")
    default = _SERVICE_DEFAULTS if spec.boolean("yarn", True) else _HDFS_ALONE
    head_mb, worker_mb = (_HEAD_MB, _WORKER_MB) if default.yarn else (_SERVICE_MB, _SERVICE_MB)
    worker = _worker(spec, default.worker, worker_mb, 2)
    job = HadoopService(
        **shared,
        replication=spec.integer(
            "replication", min(worker.instances, MAX_REPLICATION), 2, min(worker.instances, MAX_REPLICATION)
        ),
        yarn=default.yarn,
        conf=_conf(spec),
        head=_resources(spec.table("head").only("cores", "memory"), default.head, head_mb),
        worker=worker,
    )
    if len(job.storage) != 1:
        raise spec.at("storage").error(
            "must name one place, a directory on the hosts: the data of the service goes there"
        )
    if job.storage[0].read_only:
        raise spec.at("storage").error("is readOnly: the data of the service goes there")
    return job


def _jar(spec: Fields, folder: Path, found: Found) -> tuple[Path | None, str]:
    value = spec.required("jar")
    if value.text == "examples":
        return None, EXAMPLES
    if not value.text.startswith("local:"):
        path = local_files.find_file(value, folder, (".jar",))
        found.append((value.place, path))
        return path, ""
    match = _IN_IMAGE.fullmatch(value.text)
    if not match:
        raise value.place.error(f"{quoted(value.text)}: a jar in the image is written local:///folder/name.jar")
    return None, match[1]


def _main_class(spec: Fields) -> str:
    value = spec.value("mainClass")
    return "" if value is None else validators.class_name(value)


def _steps(spec: Fields, has_arguments: bool) -> tuple[Step, ...]:
    found = tuple(
        Step(
            _main_class(fields.only("mainClass", "arguments")), tuple(each.text for each in fields.values("arguments"))
        )
        for fields in spec.tables("steps")
    )
    if found and has_arguments:
        raise spec.at("steps").error("have arguments of their own; the job must have none")
    if len(found) > MAX_STEPS:
        raise spec.at("steps").error(f"are more than {MAX_STEPS}")
    return found


def _output(spec: Fields) -> str:
    value = spec.value("output")
    if value is None:
        return ""
    if not _IN_HDFS.fullmatch(value.text) or ".." in value.text.split("/"):
        raise value.place.error(f"must be a path in HDFS, not {quoted(value.text)}")
    return value.text


def _conf(spec: Fields) -> dict[str, str]:
    found = spec.pairs("conf")
    for name, value in found.items():
        if not _PROPERTY.fullmatch(name):
            raise value.place.error("is no Hadoop property")
        if _OURS.fullmatch(name):
            raise value.place.error("is set by the cluster and cannot be changed; remove it")
    return {name: value.text for name, value in found.items()}


def _resources(fields: Fields, default: Resources, least: int) -> Resources:
    return Resources(cores(fields), memory(fields, default.memory_mb, least, _TOO_LITTLE))


def _worker(spec: Fields, default: Executor, least: int, fewest: int) -> Executor:
    fields = spec.table("worker").only("instances", "cores", "memory")
    needs = _resources(fields, default, least)
    return Executor(needs.cores, needs.memory_mb, fields.integer("instances", default.instances, fewest, MAX_INSTANCES))
