"""The job by which a cluster is tested: one task on each of its hosts, the first of which the others come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloudmesh.cluster.jobs.bundle import JOB_DIR
from cloudmesh.cluster.jobs.model import Job
from cloudmesh.cluster.jobs.parts import Layout, Part

_CORES, _MEMORY_MB = 1, 128
_HEAD, _OTHER = "head", "probe"


@dataclass(frozen=True)
class ProbeJob(Job):
    """A probe on each host (`cloudmesh/images/proof/probe.py`).

    Attributes:
        programs: the probe, and what it is made of.
        hosts: how many.
        patience: seconds that the first one waits for the others.
        mounted: where the places of `storage` are, by their names.
    """

    kind = "ProbeJob"

    image: str = "spark"
    programs: tuple[Path, ...] = ()
    hosts: int = 0
    patience: float = 60.0
    mounted: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every local file that travels with the job."""
        return self.programs


def layout(job: ProbeJob, hosts: Sequence[str]) -> Layout:
    """Return a task for each host; the number in CMS_PROBE is the host's in `hosts`."""
    command = ("python3", f"{JOB_DIR}/{job.programs[0].name}")
    arguments = (str(job.patience), str(len(hosts)))
    parts = [
        Part(
            name=_OTHER if index else _HEAD,
            count=1,
            cores=_CORES,
            memory_mb=_MEMORY_MB,
            command=command,
            arguments=arguments,
            env={"CMS_PROBE": str(index), "CMS_PROBE_STORAGE": json.dumps(dict(job.mounted), sort_keys=True)},
            ports={"meet": 0},
            host=host,
        )
        for index, host in enumerate(hosts)
    ]
    return Layout(tuple(parts))
