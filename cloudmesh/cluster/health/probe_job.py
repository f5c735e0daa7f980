"""The job by which a cluster is tested: one task on each of its hosts, the first of which the others come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.job_bundle import JOB_DIR
from cloudmesh.cluster.spec.task_groups import TaskGroup, TaskLayout

_CORES, _MEMORY_MB = 1, 128
_HEAD, _OTHER = "head", "probe"


@dataclass(frozen=True)
class ProbeJob(JobSpec):
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

    @property
    def hosts_wanted(self) -> int:
        """How many hosts its tasks are bound to."""
        return self.hosts

    def layout(self, hosts: Sequence[str] = ()) -> TaskLayout:
        """Return a task for each host; the number in CMS_PROBE is the host's in `hosts`."""
        command = ("python3", f"{JOB_DIR}/{self.programs[0].name}")
        arguments = (str(self.patience), str(len(hosts)))
        mounted = json.dumps(dict(self.mounted), sort_keys=True)
        groups = [
            TaskGroup(
                name=_OTHER if index else _HEAD,
                count=1,
                cores=_CORES,
                memory_mb=_MEMORY_MB,
                command=command,
                arguments=arguments,
                env={"CMS_PROBE": str(index), "CMS_PROBE_STORAGE": mounted},
                ports={"meet": 0},
                host=host,
            )
            for index, host in enumerate(hosts)
        ]
        return TaskLayout(tuple(groups))
