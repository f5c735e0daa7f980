"""Places for data that outlive jobs: what a job that names them gets. Policy; the engine keeps the places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloudmesh.cluster.api import Volume
from cloudmesh.cluster.errors import UsageError
from cloudmesh.cluster.jobs.model import Job
from cloudmesh.cluster.model import Place


@dataclass(frozen=True)
class Resolved:
    """What the storage that a job names comes to on this cluster.

    Attributes:
        volumes: what its tasks find mounted.
        env: CMS_STORAGE_NAME for each place: the URI by which programs reach it.
        secrets: environment variables that are kept as the engine keeps secrets.
        spark_conf: Spark properties, for a SparkJob.
    """

    volumes: tuple[Volume, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    spark_conf: Mapping[str, str] = field(default_factory=dict)


def variable(name: str) -> str:
    """Return the environment variable that has the URI of a place."""
    return f"CMS_STORAGE_{name.upper().replace('-', '_')}"


def resolve(job: Job, places: Sequence[Place]) -> Resolved:
    """Return what the storage of `job` comes to.

    Raises:
        UsageError: the cluster knows no such place.
    """
    known = {place.name for place in places}
    if unknown := [each.name for each in job.storage if each.name not in known]:
        raise UsageError(f"storage {unknown[0]}: the cluster has no such place; `cms cluster storage` lists them")
    return Resolved()
