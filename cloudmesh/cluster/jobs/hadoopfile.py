"""The fields of job files of kinds HadoopJob and HadoopService."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cloudmesh.cluster.jobs import files, rules
from cloudmesh.cluster.jobs.common import FIELDS, Found, common, cores, memory, paths
from cloudmesh.cluster.jobs.document import shown
from cloudmesh.cluster.jobs.fields import Fields
from cloudmesh.cluster.jobs.hadoopjob import EXAMPLES, HadoopJob, HadoopService, Step
from cloudmesh.cluster.jobs.model import Executor, Resources

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
_JOB, _SERVICE = HadoopJob("default"), HadoopService("default")
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
    shared = common(root, arguments, _JOB.image)
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
        head=_needs(spec.table("head").only("cores", "memory"), _JOB.head, _HEAD_MB),
        worker=_worker(spec, _JOB.worker, _WORKER_MB, 1),
    )
    files.check(found)
    return job


def hadoop_service(root: Fields, folder: Path, arguments: Sequence[str]) -> HadoopService:
    """Return the HadoopService that a file describes; see `hadoop_job`.

    Raises:
        UsageError: a field is wrong; file, line and field are named.
    """
    spec = root.table("spec").only(*FIELDS, "replication", "yarn", "conf", "head", "worker")
    shared = common(root, arguments, _SERVICE.image)
    if shared["arguments"]:
        raise spec.at("arguments").error("a service runs no program, and takes no arguments")
    default = _SERVICE if spec.boolean("yarn", True) else _HDFS_ALONE
    head_mb, worker_mb = (_HEAD_MB, _WORKER_MB) if default.yarn else (_SERVICE_MB, _SERVICE_MB)
    worker = _worker(spec, default.worker, worker_mb, 2)
    job = HadoopService(
        **shared,
        replication=spec.integer(
            "replication", min(worker.instances, MAX_REPLICATION), 2, min(worker.instances, MAX_REPLICATION)
        ),
        yarn=default.yarn,
        conf=_conf(spec),
        head=_needs(spec.table("head").only("cores", "memory"), default.head, head_mb),
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
        path = files.find(value, folder, (".jar",))
        found.append((value.place, path))
        return path, ""
    match = _IN_IMAGE.fullmatch(value.text)
    if not match:
        raise value.place.error(f"{shown(value.text)}: a jar in the image is written local:///folder/name.jar")
    return None, match[1]


def _main_class(spec: Fields) -> str:
    value = spec.value("mainClass")
    return "" if value is None else rules.class_name(value)


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
        raise value.place.error(f"must be a path in HDFS, not {shown(value.text)}")
    return value.text


def _conf(spec: Fields) -> dict[str, str]:
    found = spec.pairs("conf")
    for name, value in found.items():
        if not _PROPERTY.fullmatch(name):
            raise value.place.error("is no Hadoop property")
        if _OURS.fullmatch(name):
            raise value.place.error("is set by the cluster and cannot be changed; remove it")
    return {name: value.text for name, value in found.items()}


def _needs(fields: Fields, default: Resources, least: int) -> Resources:
    return Resources(cores(fields), memory(fields, default.memory_mb, least, _TOO_LITTLE))


def _worker(spec: Fields, default: Executor, least: int, fewest: int) -> Executor:
    fields = spec.table("worker").only("instances", "cores", "memory")
    needs = _needs(fields, default, least)
    return Executor(needs.cores, needs.memory_mb, fields.integer("instances", default.instances, fewest, MAX_INSTANCES))
