"""The host's copy of what pods print: it stays when Kubernetes has deleted a pod, and is bounded as the job says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.task_logs import cri_line
from support.waiting import wait_until

IMAGES = Path(__file__).parents[3] / "cloudmesh/images"
LINE = cri_line(b"x" * 99)
# What containerd says of the pod u1, answered from a folder: "list" asks for its sandbox.
CTR = """#!/bin/sh
case "$*" in
    "containers list --quiet labels."*"==u1,"*) cat "$CTR/sandbox" ;;
    "containers list"*) echo ;;
    "containers info c0ffee") cat "$CTR/labels" ;;
esac
"""


class Host:
    """A host with pods."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for script in ("kubernetes/keep-output.sh", "host/shorten-log.pl"):
            text = (IMAGES / script).read_text()
            (folder / script.rpartition("/")[2]).write_text(text)
        for name in ("pods", "results", "kubelet", "kept"):
            (folder / name).mkdir()
        (folder / "ctr").write_text(CTR)
        (folder / "ctr").chmod(0o755)
        self.describe()

    def add_pod(self, pod: str = "a-0-x", *, limit: int = 0, results: str = "a/task-0") -> Path:
        """Have a pod start; return its log."""
        (self.folder / "results" / results / pod).mkdir(parents=True)
        if limit:
            secrets = self.folder / "kubelet" / "u1" / "volumes" / "kubernetes.io~secret" / "secrets"
            secrets.mkdir(parents=True)
            (secrets / "log-limit").write_text(str(limit))
        return self.add_log(f"cms-jobs_{pod}_u1")

    def describe(self, *labels: str) -> None:
        """Have containerd know these labels of the pod's sandbox."""
        (self.folder / "sandbox").write_text("c0ffee\n")
        (self.folder / "labels").write_text("".join(f'        "{label}": "native",\n' for label in labels))

    def add_log(self, pod: str, container: str = "task") -> Path:
        log = self.folder / "pods" / pod / container / "0.log"
        log.parent.mkdir(parents=True)
        log.write_bytes(LINE)
        return log

    def kept(self, name: str = "0.log", attempt: str = "a/task-0/a-0-x") -> Path:
        return self.folder / "kept" / attempt / name

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Run the script."""
        folders = [str(self.folder / name) for name in ("pods", "results", "kubelet", "kept")]
        command = ["sh", str(self.folder / "keep-output.sh"), *folders]
        path = f"{self.folder}:{os.environ['PATH']}"
        process = subprocess.Popen(command, env={**os.environ, "PATH": path, "CTR": str(self.folder), "PAUSE": "0.05"})
        try:
            yield
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host without pods."""
    return Host(tmp_path)


def test_what_a_pod_prints_stays_when_the_pod_is_deleted(host: Host):
    with host.keeping():
        log = host.add_pod()
        assert wait_until(host.kept().exists, 20, 0.02)
        with log.open("ab") as file:
            file.write(LINE)
        log.unlink()
    assert host.kept().read_bytes() == LINE * 2
    assert host.kept().parent.stat().st_mode & 0o077 == 0
    assert int(host.kept("started").read_text()) > 0


def test_each_start_of_a_container_is_kept(host: Host):
    log = host.add_pod()
    log.with_name("1.log").write_bytes(LINE * 2)
    with host.keeping():
        assert wait_until(lambda: host.kept().exists() and host.kept("1.log").exists(), 20, 0.02)
    assert host.kept("1.log").read_bytes() == LINE * 2


def test_of_what_is_larger_than_its_limit_the_middle_is_dropped(host: Host):
    log = host.add_pod(limit=1 << 20)
    with host.keeping():
        log.write_bytes(LINE * 50_000)
        assert wait_until(host.kept("0.log.gap").exists, 30, 0.05)
    start, end, before = map(int, host.kept("0.log.gap").read_text().split())
    assert (start % len(LINE), end % len(LINE), before) == (0, 0, end // len(LINE) * 100)
    assert log.stat().st_ino == host.kept().stat().st_ino
    assert host.kept("limit").read_text() == f"{1 << 20}"


def test_what_is_within_its_limit_stays_as_it_is(host: Host):
    log = host.add_pod()
    with host.keeping():
        log.write_bytes(LINE * 50_000)
        assert wait_until(host.kept().exists, 20, 0.02)
    assert log.read_bytes() == LINE * 50_000
    assert host.kept("limit").read_text() == f"{1 << 30}\n"


def test_the_output_of_a_pod_that_is_gone_is_bounded_as_well(host: Host):
    host.kept().parent.mkdir(parents=True)
    host.kept("limit").write_text(str(1 << 20))
    host.kept().write_bytes(LINE * 50_000)
    with host.keeping():
        assert wait_until(host.kept("0.log.gap").exists, 30, 0.05)


def test_each_container_of_a_native_jobs_pod_is_kept_as_containerd_knows_the_job(host: Host):
    host.describe("app", "batch.kubernetes.io/job-name")
    host.add_log("cms-jobs_native-x_u1", "main")
    host.add_log("cms-jobs_native-x_u1", "sidecar")
    with host.keeping():
        for container in ("main", "sidecar"):
            assert wait_until(host.kept(attempt=f"native/native-x/{container}").exists, 20, 0.02), container
    assert host.kept("limit", "native/native-x/main").read_text() == f"{1 << 30}\n"


def test_a_native_job_is_asked_for_until_containerd_answers(host: Host):
    host.describe("batch.kubernetes.io/job-name")
    (host.folder / "sandbox").unlink()
    log = host.add_log("cms-jobs_native-x_u1")
    with host.keeping():
        host.add_pod("a-0-y")
        assert wait_until(host.kept(attempt="a/task-0/a-0-y").exists, 20, 0.02)
        assert log.stat().st_nlink == 1
        host.describe("batch.kubernetes.io/job-name")
        assert wait_until(host.kept(attempt="native/native-x/task").exists, 20, 0.02)


@pytest.mark.parametrize("pod", ["kube-system_dns_u1", "cms-jobs_web_u1"])
def test_nothing_is_kept_of_pods_that_are_of_no_job(host: Host, pod: str):
    host.describe("app")
    log = host.add_log(pod)
    with host.keeping():
        ours = host.add_pod("a-0-y")
        assert wait_until(host.kept(attempt="a/task-0/a-0-y").exists, 20, 0.02)
    assert (log.stat().st_nlink, ours.stat().st_nlink) == (1, 2)
