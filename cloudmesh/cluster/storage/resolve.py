"""Places for data that outlive jobs: what a job that names them gets. Policy; the engine keeps the places.

A job says `${storage.NAME}` in its arguments and the like (`Job.rewritten`), and its programs read CMS_STORAGE_NAME;
both are the URI by which they reach the place, whatever it is.
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


@dataclass(frozen=True)
class ResolvedVolumes:
    """What the storage that a job names comes to on this cluster.

    Attributes:
        job: with everything in it that is no secret: references replaced, `env` and `spark_conf` added.
        volumes: what its tasks find mounted.
        env: CMS_STORAGE_NAME for each place: the URI by which programs reach it; and what their clients need.
        secrets: environment variables that are kept as the engine keeps secrets.
        spark_conf: Spark properties, for a SparkJob; none of them is secret.
        notes: what the user should know, a line each.
    """

    job: JobSpec
    volumes: tuple[Mount, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    spark_conf: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _VolumeAccess:
    """What one place gives a job."""

    uri: str
    volumes: tuple[Mount, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    conf: Mapping[str, str] = field(default_factory=dict)


def variable(name: str) -> str:
    """Return the environment variable that has the URI of a place."""
    return f"CMS_STORAGE_{name.upper().replace('-', '_')}"


def resolve(job: JobSpec, places: Sequence[Volume], address: Address | None = None) -> ResolvedVolumes:
    """Return what the storage of `job` comes to.

    Args:
        job: as its file says.
        places: that the cluster has.
        address: "HOST:PORT" of a port of a job that runs, by the job's id and the port's name; see `Api.address`.

    Raises:
        NotFoundError: the cluster has no such place; the message names those it has.
        UsageError: the places cannot be used together, or the job refers to one that its storage does not list.
    """
    known = {place.name: place for place in places}
    shares = {each.name: _access(job, each, _find_volume(each.name, known), address) for each in job.storage}
    uris = {name: share.uri for name, share in shares.items()}
    env = {variable(name): uri for name, uri in uris.items()}
    env |= _merged("services", {name: share.env for name, share in shares.items()})
    conf = _merged("Spark properties", {name: share.conf for name, share in shares.items()})
    return ResolvedVolumes(
        job=_rewrite(job, uris, env, conf),
        volumes=tuple(volume for share in shares.values() for volume in share.volumes),
        env=env,
        secrets=_merged("keys", {name: share.secrets for name, share in shares.items()}),
        spark_conf=conf,
        notes=tuple(_notes(job, known)),
    )


def _find_volume(name: str, known: Mapping[str, Volume]) -> Volume:
    if name in known:
        return known[name]
    have = f"it has {', '.join(sorted(known))}" if known else "it has none"
    raise NotFoundError(f"storage {name}: the cluster has no such place, {have}: `cms cluster storage` adds one")


def _access(job: JobSpec, asked: VolumeClaim, place: Volume, address: Address | None) -> _VolumeAccess:
    if place.directory:
        return _VolumeAccess(f"file://{asked.mount}", (Mount(place.name, asked.mount, asked.read_only),))
    if place.kind == "s3":
        return _s3(place)
    if place.kind == "hadoop":
        if isinstance(job, HadoopService):
            raise UsageError(
                f"storage {place.name}: a {job.kind} has a file system and Kerberos of its own, and cannot use "
                f"those of the service {place.settings['service']}"
            )
        return _hadoop(job, place, address)
    raise UsageError(f"storage {place.name} is of a kind that this version does not know: {place.kind}")


def _s3(place: Volume) -> _VolumeAccess:
    """Return what a bucket gives. The keys are in the environment alone: properties stand in command lines."""
    url = place.settings["url"]
    bucket = url.removeprefix("s3a://").partition("/")[0]
    own = f"spark.hadoop.fs.s3a.bucket.{bucket}"
    conf = {f"{own}.aws.credentials.provider": _S3_PROVIDER}
    for setting, key in (("endpoint", "endpoint"), ("region", "endpoint.region")):
        if place.settings.get(setting):
            conf[f"{own}.{key}"] = place.settings[setting]
    if place.settings.get("path_style") == "true":
        conf[f"{own}.path.style.access"] = "true"
    return _VolumeAccess(url, secrets={name: place.secrets[key] for name, key in _S3_KEYS.items()}, conf=conf)


def _hadoop(job: JobSpec, place: Volume, address: Address | None) -> _VolumeAccess:
    """Return what a HadoopService gives, wherever it runs now: its file system, and to a HadoopJob its YARN."""
    service, secret = place.settings["service"], place.secrets["secret"]
    if address is None:
        raise UsageError(f"storage {place.name}: only a cluster knows where the service {service} is")
    if isinstance(job, HadoopJob):
        its = hadoop_client.computing(service, partial(address, service), secret)
    else:
        its = hadoop_client.client(service, address(service, "namenode"), address(service, "kdc"), secret)
    path = place.settings["path"].rstrip("/")
    return _VolumeAccess(f"{its.uri}{path}", secrets=its.secrets, conf=its.spark_conf, env=its.env)


def _merged(what: str, parts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return all parts as one.

    Raises:
        UsageError: two places want the same thing otherwise, such as two buckets with keys of their own.
    """
    found: dict[str, str] = {}
    first: dict[str, str] = {}
    for name, part in parts.items():
        for key, value in part.items():
            if found.setdefault(key, value) != value:
                raise UsageError(f"storage {first[key]} and {name} have different {what}: a job can use one of them")
            first.setdefault(key, name)
    return found


def _rewrite(job: JobSpec, uris: Mapping[str, str], env: Mapping[str, str], conf: Mapping[str, str]) -> JobSpec:
    """Return the job with references replaced and what its places need added; its own Spark properties go before."""

    def text(value: str) -> str:
        return STORAGE_REFERENCE.sub(lambda found: _replace_reference(found, uris), value)

    job = job.rewritten(text)
    job = replace(job, env={**job.env, **env})
    return replace(job, spark_conf={**conf, **job.spark_conf}) if isinstance(job, SparkJob) else job


def _replace_reference(found: re.Match[str], uris: Mapping[str, str]) -> str:
    escape, name = found.groups()
    if escape:
        return found[0][1:]
    if name not in uris:
        raise UsageError(f"{found[0]}: the job's storage does not list {name[:60]!a}; write it under spec.storage")
    return uris[name]


def _notes(job: JobSpec, known: Mapping[str, Volume]) -> list[str]:
    found = [
        f"storage {each.name}: readOnly cannot be enforced for {known[each.name].kind}; give it keys that can only read"
        if known[each.name].kind == "s3"
        else f"storage {each.name}: readOnly cannot be enforced for {known[each.name].kind}"
        for each in job.storage
        if each.read_only and not known[each.name].directory
    ]
    if isinstance(job, HadoopJob) and any(known[each.name].kind == "hadoop" for each in job.storage):
        mounted = [each.name for each in job.storage if known[each.name].directory]
        found += [f"storage {name}: the job's tasks run in the service, and do not have it" for name in mounted]
    return found
