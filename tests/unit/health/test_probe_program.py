"""The program that tests the hosts of a cluster, run for real: several on loopback, each with its own address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.sshd import free_port

from cloudmesh.cluster.health.probe_job import ProbeJob

PROGRAM = Path(__file__).resolve().parents[3] / "cloudmesh" / "images" / "cluster_test" / "probe.py"


class Probes:
    """Some tasks of one job, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        (folder / "secret").write_text("of this job")
        (folder / "peers").write_text(f"head 0 meet 127.0.0.1:{self.port}\n")
        self.volumes = {"data": folder / "shared"}
        self.volumes["data"].mkdir()

    def start(self, number: int, expected: int, patience: float = 20, **volumes: Path) -> subprocess.Popen[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "CMS_JOB_ID": "job",
            "CMS_TASK": f"{'probe' if number else 'head'}-0",
            "CMS_ADDRESS": f"127.0.0.{number + 1}",
            "CMS_PORT_MEET": str(self.port),
            "CMS_PEERS_FILE": str(self.folder / "peers"),
            "CMS_SECRET_FILE": str(self.folder / "secret"),
            "CMS_PROBE": str(number),
            "CMS_PROBE_STORAGE": json.dumps({name: str(path) for name, path in (volumes or self.volumes).items()}),
        }
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), str(patience), str(expected)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )


def reports(processes: list[subprocess.Popen[str]]) -> dict[str, dict[str, Any]]:
    """Wait until all have ended, and return the reports that the first printed, by the number of the task."""
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    assert not any(outputs[1:])
    return {report["me"]: report for report in map(json.loads, outputs[0].splitlines())}


@pytest.fixture
def probes(tmp_path: Path) -> Probes:
    return Probes(tmp_path)


def test_all_that_come_reach_each_other_and_see_what_the_others_wrote(probes):
    by_task = reports([probes.start(number, 3) for number in range(3)])
    assert set(by_task) == {"0", "1", "2"}
    for report in by_task.values():
        assert report["reached"] == {"0": "", "1": "", "2": ""}
        assert sorted(report["storage"]["data"]["seen"]) == ["0", "1", "2"]
    assert list(probes.volumes["data"].iterdir()) == []


def test_one_that_never_comes_keeps_the_others_no_longer_than_they_are_patient(probes):
    by_task = reports([probes.start(number, 3, patience=2) for number in range(2)])
    assert set(by_task) == {"0", "1"}
    assert by_task["1"]["reached"] == {"0": "", "1": ""}


def test_a_place_of_its_own_shows_nobody_elses_files_and_one_that_is_not_there_is_told(probes, tmp_path):
    alone = tmp_path / "own"
    alone.mkdir()
    by_task = reports([probes.start(0, 2), probes.start(1, 2, data=alone, lost=tmp_path / "none")])
    assert by_task["1"]["storage"]["data"] == {"seen": ["1"]}
    assert by_task["1"]["storage"]["lost"] == {"failed": "cannot be written: No such file or directory"}


def test_who_has_not_the_jobs_secret_is_not_let_in(probes, tmp_path):
    first = probes.start(0, 2, patience=2)
    (tmp_path / "other").mkdir()
    stranger = Probes(tmp_path / "other")
    (stranger.folder / "secret").write_text("guessed")
    by_task = reports([first, stranger.start(1, 2, patience=2)])
    assert set(by_task) == {"0"}


def test_the_job_has_a_task_on_each_of_its_hosts_and_knows_which_is_where():
    groups = ProbeJob("test", programs=(PROGRAM,), hosts=3).layout(("b", "a", "c")).groups
    assert [(group.name, group.host, group.env["CMS_PROBE"]) for group in groups] == [
        ("head", "b", "0"),
        ("probe", "a", "1"),
        ("probe", "c", "2"),
    ]
    assert ProbeJob("test", programs=(PROGRAM,), hosts=3).hosts_wanted == 3
