"""The results of jobs that Kubernetes has no more, removed by the hosts' own script; kubectl's answers are given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.waiting import wait_until

SCRIPT = Path(__file__).parents[3] / "cloudmesh/images/kubernetes/expire-results.sh"


@pytest.fixture
def expire(tmp_path: Path):
    """Run the script once on `tmp_path/results`, where Kubernetes answers with a shell command."""

    def run(answer: str) -> list[str]:
        asked, results = tmp_path / "asked", tmp_path / "results"
        asked.unlink(missing_ok=True)
        kubectl = tmp_path / "bin" / "kubectl"
        kubectl.parent.mkdir(exist_ok=True)
        kubectl.write_text(
            f'#!/bin/sh\n{answer}\nstatus=$?\nprintf "%s\\n" "$@" >{asked}.new\nmv {asked}.new {asked}\nexit $status\n'
        )
        kubectl.chmod(0o755)
        environment = {**os.environ, "PATH": f"{kubectl.parent}:{os.environ['PATH']}"}
        process = subprocess.Popen(["sh", str(SCRIPT), "0.2", str(results), str(tmp_path / "none")], env=environment)
        try:
            assert wait_until(asked.exists, 20, pause=0.02)
            asked.unlink()
            # What is removed is so before it asks again; where nothing is left, it does not.
            assert wait_until(lambda: asked.exists() or not any(results.iterdir()), 20, pause=0.02)
        finally:
            process.kill()
            process.wait()
        return sorted(str(path.relative_to(results)) for path in results.rglob("file"))

    return run


def leave(results: Path, *attempts: str) -> None:
    for attempt in attempts:
        (results / attempt).mkdir(parents=True)
        (results / attempt / "file").write_text("x")


def test_results_of_jobs_that_there_are_no_more_go_and_others_stay(expire, tmp_path):
    results = tmp_path / "results"
    leave(results, "gone/driver/gone-1", "gone/executor-1/p", "stays/driver/s-1", "stays-2/driver/s", "Odd one/x/y")
    os.utime(results / "stays" / "driver" / "s-1" / "file", (0, 0))  # of any age
    assert expire("echo job.batch/stays; echo job.batch/stays-2") == [
        "Odd one/x/y/file",
        "stays-2/driver/s/file",
        "stays/driver/s-1/file",
    ]
    assert not (results / "gone").exists()


@pytest.mark.parametrize("answer", ["false", "echo job.batch/b; false"])
def test_nothing_goes_while_kubernetes_does_not_answer(expire, tmp_path, answer):
    leave(tmp_path / "results", "a/driver/a-1", "b/driver/b-1")
    assert expire(answer) == ["a/driver/a-1/file", "b/driver/b-1/file"]


def test_where_the_last_result_goes_its_directory_stays(expire, tmp_path):
    leave(tmp_path / "results", "gone/driver/gone-1")
    assert expire("true") == []
    assert list((tmp_path / "results").iterdir()) == []
