"""What a job file of kind ContainerJob may say, and what it is for an engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec.container import ContainerJob
from cloudmesh.cluster.spec.job import Resources, Secret, VolumeClaim, describe
from cloudmesh.cluster.spec.load import load
from cloudmesh.cluster.spec.spark import SparkJob

HEAD = "apiVersion: cms/v1\nkind: ContainerJob\nmetadata: {name: many}\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(spec: str, *arguments: str, params: str = "", **given: str) -> ContainerJob:
    """Load a job file with the given spec, from line 5 on where there are no params."""
    Path("job.yaml").write_text(f"{HEAD}{params}spec:\n{spec}")
    job = load("job.yaml", arguments, given)
    assert isinstance(job, ContainerJob)
    return job


def test_every_field_arrives() -> None:
    for name in ("a.txt", "b.txt"):
        Path(name).write_text(name)
    job = made(
        "  image: debian:12\n  command: [sh, -c]\n  arguments: [echo hi]\n  count: 3\n"
        "  resources: {cores: 2, memory: 16m}\n  ports: [http, x1]\n  files: [a.txt, b.txt]\n  env: {TZ: UTC}\n"
        "  secrets: [{name: s3, env: [A, B]}]\n  storage: [{name: data, mount: /data/, readOnly: true}]\n"
        "  retries: 2\n  timeoutSeconds: 9\n  ttlSeconds: 600\n  logLimit: 2g\n"
    )
    assert job == ContainerJob(
        "many",
        image="debian:12",
        command=("sh", "-c"),
        arguments=("echo hi",),
        count=3,
        needs=Resources(2, 16),
        ports=("http", "x1"),
        attached=(Path.cwd() / "a.txt", Path.cwd() / "b.txt"),
        env={"TZ": "UTC"},
        secrets=(Secret("s3", ("A", "B")),),
        storage=(VolumeClaim("data", "/data", True),),
        retries=2,
        timeout_seconds=9,
        ttl_seconds=600,
        log_limit_mb=2048,
    )
    assert [location.line for location in job.secrets[0].locations] == [13, 13]


def test_what_is_described_loads_as_the_same_job() -> None:
    job = made("  image: debian:12\n  command: [sh]\n  ports: [http]\n  secrets: [{name: s3, env: [A, B]}]\n")
    Path("again.json").write_text(json.dumps(describe(job)))
    assert load("again.json", [], {}) == job


def test_parameters_are_filled_in_and_arguments_given_stand_in_for_the_files() -> None:
    params = "params: {n: {type: int, default: 2}}\n"
    job = made('  image: spark\n  count: "${params.n}"\n  arguments: [x]\n', "${storage.x}", "-v", params=params, n="5")
    assert (job.count, job.arguments) == (5, ("$${storage.x}", "-v"))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("  count: 1\n", "job.yaml:4: spec.image: is missing"),
        ("  image: a\n  count: 0\n", "job.yaml:6: spec.count: must be a whole number from 1 to 1000"),
        ("  image: a\n  count: 1001\n", "job.yaml:6: spec.count: must be a whole number from 1 to 1000"),
        (
            "  image: a\n  resources: {memory: 15m}\n",
            "job.yaml:6: spec.resources.memory: 15m is too little: give 16m or more",
        ),
        ("  image: a\n  logLimit: 0m\n", "job.yaml:6: spec.logLimit: 0m is too little: give 1m or more"),
        ("  image: a\n  logLimit: 64\n", "job.yaml:6: spec.logLimit: must be a size like 512m or 2g, not '64'"),
        ("  image: a\n  ports: [HTTP]\n", "job.yaml:6: spec.ports[0]: 'HTTP' is no name of a port"),
        ("  image: a\n  ports: [a, a]\n", "job.yaml:6: spec.ports[1]: a is given a second time"),
        ("  image: a\n  driver: {}\n", "job.yaml:6: spec.driver: unknown field; "),
        ("  image: a\n  command: sh\n", "job.yaml:6: spec.command: must be a list"),
        ("  image: a\n  files: [gone]\n", "job.yaml:6: spec.files[0]: "),
    ],
)
def test_a_wrong_field_is_named_with_its_line(spec: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(spec)
    assert str(caught.value).startswith(said)


def test_the_tasks_are_one_group_bound_to_no_host() -> None:
    job = made("  image: a\n  count: 3\n  ports: [http]\n  command: [x]\n  arguments: [y]\n  retries: 2\n")
    (group,) = job.layout().groups
    assert (group.name, group.count, group.cores, group.memory_mb, group.retries) == ("task", 3, 1, 1024, 2)
    assert (group.command, group.arguments, group.ports, group.host) == (("x",), ("y",), {"http": 0}, "")
    assert job.hosts_wanted == SparkJob("s").hosts_wanted == 0
