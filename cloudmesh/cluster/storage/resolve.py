"""Resolves the volumes that a job names: to mounts, environment variables, secrets and Spark properties.

A job writes `${storage.NAME}` in its arguments and other fields (see `JobSpec.rewritten`), and its programs read the
environment variable CMS_STORAGE_NAME. Both are the URI by which programs reach the volume, of whatever kind it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from cloudmesh.cluster.core.errors import NotFoundError, UsageError
from cloudmesh.cluster.core.model import Volume
from cloudmesh.cluster.providers.base import Mount
from cloudmesh.cluster.spec import hadoop_client
from cloudmesh.cluster.spec.hadoop import HadoopJob, HadoopService
from cloudmesh.cluster.spec.job import STORAGE_REFERENCE, JobSpec, VolumeClaim
from cloudmesh.cluster.spec.spark import SparkJob

_S3_KEYS = {"AWS_ACCESS_KEY_ID": "access_key", "AWS_SECRET_ACCESS_KEY": "secret_key"}
_S3_PROVIDER = "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider"

Address = Callable[[str, str], str]
"""Takes a job's id and the name of a port, and returns "HOST:PORT"; see `Engine.address`."""


@dataclass(frozen=True)
class ResolvedVolumes:
    """A job's volumes, resolved for a cluster.

    Attributes:
        job: the job with everything that is not secret: references replaced, `env` and `spark_conf` added.
        volumes: the volumes that are mounted in its tasks.
        env: CMS_STORAGE_NAME for each volume, with the URI by which programs reach it, and variables for their clients.
        secrets: environment variables that the engine stores as secrets.
        spark_conf: Spark properties, which a SparkJob gets; none of them is secret.
        notes: what the user should know, one line each.
    """

    job: JobSpec
    volumes: tuple[Mount, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    spark_conf: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _VolumeAccess:
    """What a job gets of one volume; see `ResolvedVolumes` for the attributes."""

    uri: str
    mounts: tuple[Mount, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    conf: Mapping[str, str] = field(default_factory=dict)


def variable(name: str) -> str:
    """Return the name of the environment variable with the URI of the volume `name`."""
    return f"CMS_STORAGE_{name.upper().replace('-', '_')}"


def resolve(job: JobSpec, volumes: Sequence[Volume], address: Address | None = None) -> ResolvedVolumes:
    """Resolve the volumes of `job`.

    Args:
        job: the job as its file describes it.
        volumes: the cluster's volumes.
        address: finds a port of a running job; None: volumes in a HadoopService cannot be resolved.

    Raises:
        NotFoundError: the cluster has no volume of a name that the job uses; the message lists those it has.
        UsageError: the job cannot use a volume, or not together with another, or refers to one that its storage does
            not list.
    """
    by_name = {volume.name: volume for volume in volumes}
    accesses = {claim.name: _access(job, claim, _find_volume(claim.name, by_name), address) for claim in job.storage}
    uris = {name: access.uri for name, access in accesses.items()}
    env = {variable(name): uri for name, uri in uris.items()}
    env |= _merge("services", {name: access.env for name, access in accesses.items()})
    conf = _merge("Spark properties", {name: access.conf for name, access in accesses.items()})
    return ResolvedVolumes(
        job=_rewrite(job, uris, env, conf),
        volumes=tuple(mount for access in accesses.values() for mount in access.mounts),
        env=env,
        secrets=_merge("keys", {name: access.secrets for name, access in accesses.items()}),
        spark_conf=conf,
        notes=tuple(_write_notes(job, by_name)),
    )


def _find_volume(name: str, by_name: Mapping[str, Volume]) -> Volume:
    """Return the volume called `name`; NotFoundError where there is none."""
    if name in by_name:
        return by_name[name]
    have = f"it has {', '.join(sorted(by_name))}" if by_name else "it has none"
    raise NotFoundError(
        f"storage {name}: the cluster has no such place, {have}: add it by "
        f"`cms cluster storage -n NAME add --directory=/srv/{name} {name}`, or --nfs, --s3, --hadoop"
    )


def _access(job: JobSpec, claim: VolumeClaim, volume: Volume, address: Address | None) -> _VolumeAccess:
    """Return what the job gets of a volume; UsageError where a job of its kind cannot use the volume."""
    if volume.directory:
        return _VolumeAccess(f"file://{claim.mount}", (Mount(volume.name, claim.mount, claim.read_only),))
    if volume.kind == "s3":
        return _access_s3(volume)
    if volume.kind == "hadoop":
        if isinstance(job, HadoopService):
            raise UsageError(
                f"storage {volume.name}: a {job.kind} has a file system and Kerberos of its own, and cannot use "
                f"those of the service {volume.settings['service']}"
            )
        return _access_hadoop(job, volume, address)
    raise UsageError(f"storage {volume.name} is of a kind that this version does not know: {volume.kind}")


def _access_s3(volume: Volume) -> _VolumeAccess:
    """Return what a job gets of a bucket. The keys are only in the environment: properties appear in command lines."""
    url = volume.settings["url"]
    bucket = url.removeprefix("s3a://").partition("/")[0]
    prefix = f"spark.hadoop.fs.s3a.bucket.{bucket}"
    conf = {f"{prefix}.aws.credentials.provider": _S3_PROVIDER}
    for setting, key in (("endpoint", "endpoint"), ("region", "endpoint.region")):
        if volume.settings.get(setting):
            conf[f"{prefix}.{key}"] = volume.settings[setting]
    if volume.settings.get("path_style") == "true":
        conf[f"{prefix}.path.style.access"] = "true"
    return _VolumeAccess(url, secrets={name: volume.secrets[key] for name, key in _S3_KEYS.items()}, conf=conf)


def _access_hadoop(job: JobSpec, volume: Volume, address: Address | None) -> _VolumeAccess:
    """Return what a job gets of a HadoopService where it runs now: its file system, and a HadoopJob also its YARN."""
    service, secret = volume.settings["service"], volume.secrets["secret"]
    if address is None:
        raise UsageError(f"storage {volume.name}: only a cluster knows where the service {service} is")
    if isinstance(job, HadoopJob):
        client = hadoop_client.computing(service, partial(address, service), secret)
    else:
        client = hadoop_client.client(service, address(service, "namenode"), address(service, "kdc"), secret)
    path = volume.settings["path"].rstrip("/")
    return _VolumeAccess(f"{client.uri}{path}", secrets=client.secrets, conf=client.spark_conf, env=client.env)


def _merge(what: str, parts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the settings of all volumes in one mapping.

    Args:
        what: what the settings are, for the message.
        parts: the settings, by the volume's name.

    Raises:
        UsageError: two volumes have different values of a setting, such as the keys of two buckets.
    """
    merged: dict[str, str] = {}
    first: dict[str, str] = {}  # by setting, the first volume that has it
    for name, part in parts.items():
        for key, value in part.items():
            if merged.setdefault(key, value) != value:
                raise UsageError(f"storage {first[key]} and {name} have different {what}: a job can use one of them")
            first.setdefault(key, name)
    return merged


def _rewrite(job: JobSpec, uris: Mapping[str, str], env: Mapping[str, str], conf: Mapping[str, str]) -> JobSpec:
    """Return the job with references replaced, and with `env` and `conf` added.

    A Spark property of the job takes precedence over one of a volume.
    """

    def replace_references(text: str) -> str:
        return STORAGE_REFERENCE.sub(lambda match: _replace_reference(match, uris), text)

    job = job.rewritten(replace_references)
    job = replace(job, env={**job.env, **env})
    return replace(job, spark_conf={**conf, **job.spark_conf}) if isinstance(job, SparkJob) else job


def _replace_reference(match: re.Match[str], uris: Mapping[str, str]) -> str:
    """Return the URI for a reference, and an escaped reference, `$${storage.NAME}`, without the escape."""
    escape, name = match.groups()
    if escape:
        return match[0][1:]
    if name not in uris:
        raise UsageError(f"{match[0]}: the job's storage does not list {name[:60]!a}; write it under spec.storage")
    return uris[name]


def _write_notes(job: JobSpec, by_name: Mapping[str, Volume]) -> list[str]:
    """Return what the user should know about the job's volumes, one line each."""
    notes = []
    for claim in job.storage:
        volume = by_name[claim.name]
        if claim.read_only and not volume.directory:
            advice = "; give it keys that can only read" if volume.kind == "s3" else ""
            notes.append(f"storage {claim.name}: readOnly cannot be enforced for {volume.kind}{advice}")
    if isinstance(job, HadoopJob) and any(by_name[claim.name].kind == "hadoop" for claim in job.storage):
        mounted = [claim.name for claim in job.storage if by_name[claim.name].directory]
        notes += [f"storage {name}: the job's tasks run in the service, and do not have it" for name in mounted]
    return notes
