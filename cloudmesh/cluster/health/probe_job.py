"""The job of a cluster's test: one task on each host. The first task is the meeting point of all others."""

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
    """A job that runs the probe (`cloudmesh/images/cluster_test/probe.py`) on each host.

    Attributes:
        image: the image that has Python for the probe.
        programs: the probe's program, and the modules that it imports.
        hosts: the number of hosts.
        patience: seconds that the first task waits for the others.
        mounted: the directory of each volume in the tasks, by the volume's name.
    """

    kind = "ProbeJob"

    image: str = "spark"
    programs: tuple[Path, ...] = ()
    hosts: int = 0
    patience: float = 60.0
    mounted: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """The local files that travel with the job."""
        return self.programs

    @property
    def hosts_wanted(self) -> int:
        """The number of hosts that its tasks are bound to."""
        return self.hosts

    def layout(self, hosts: Sequence[str] = ()) -> TaskLayout:
        """Return one task for each host; its environment variable CMS_PROBE is the host's index in `hosts`."""
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
