"""What job files of kinds HadoopJob and HadoopService may say, and what they are for an engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec import hadoop_client, task_groups
from cloudmesh.cluster.spec.hadoop import EXAMPLES, HadoopJob, HadoopService, Step
from cloudmesh.cluster.spec.job import Executor, JobSpec, Resources, VolumeClaim, describe
from cloudmesh.cluster.spec.load import load

FILES = Path(__file__).parents[3] / "examples"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(kind: str, spec: str, *arguments: str) -> JobSpec:
    """Load a job file with the given spec, from line 5 on."""
    Path("job.yaml").write_text(f"apiVersion: cms/v1\nkind: {kind}\nmetadata: {{name: big}}\nspec:\n{spec}")
    job = load("job.yaml", arguments, {})
    assert isinstance(job, JobSpec)
    return job


def plan(task_group: task_groups.TaskGroup) -> dict[str, object]:
    """Return what the image is told to do."""
    plan: dict[str, object] = json.loads(task_group.env["CMS_HADOOP"])
    return plan


def test_files_that_programs_read_travel_where_they_are_listed_or_an_argument_names_them() -> None:
    for name in ("puzzle.dta", "more.dta", "rules.txt", "a.txt"):
        Path(name).write_text(name)
    Path("folder").mkdir()
    job = made(
        "HadoopJob",
        "  jar: examples\n  arguments: [sudoku, puzzle.dta, puzzle.dta, a.txt, folder, ../job.yaml, gone]\n"
        "  deps: {files: [rules.txt]}\n  input: [a.txt]\n",
    )
    assert isinstance(job, HadoopJob)
    assert job.attached == (Path.cwd() / "rules.txt", Path.cwd() / "puzzle.dta")
    assert [file.name for file in job.files] == ["rules.txt", "puzzle.dta", "a.txt"]
    again = made("HadoopJob", "  jar: examples\n  steps: [{arguments: [sudoku, more.dta]}]\n")
    assert [file.name for file in again.files] == ["more.dta"]
    on_command_line = made("HadoopJob", "  jar: examples\n  program: sudoku\n", "puzzle.dta")
    assert [file.name for file in on_command_line.files] == ["puzzle.dta"]
    Path("again.json").write_text(json.dumps(describe(job)))
    assert load("again.json", [], {}) == job


def test_every_field_of_a_job_arrives() -> None:
    for name in ("x.jar", "a.txt"):
        Path(name).write_text(name)
    job = made(
        "HadoopJob",
        "  jar: x.jar\n  mainClass: org.example.Main\n  arguments: [a]\n  input: [a.txt]\n  output: /out/x\n"
        "  conf: {mapreduce.job.reduces: 3}\n  head: {cores: 2, memory: 2g}\n"
        "  worker: {instances: 4, cores: 3, memory: 4g}\n  retries: 1\n",
    )
    assert job == HadoopJob(
        "big",
        image="hadoop",
        jar=Path.cwd() / "x.jar",
        main_class="org.example.Main",
        arguments=("a",),
        input=(Path.cwd() / "a.txt",),
        output="/out/x",
        conf={"mapreduce.job.reduces": "3"},
        head=Resources(2, 2048),
        worker=Executor(3, 4096, 4),
        retries=1,
    )
    assert [path.name for path in job.files] == ["x.jar", "a.txt"]


@pytest.mark.parametrize("name", ["wordcount", "pi", "terasort", "service", "shared"])
def test_what_is_described_loads_as_the_same_job(name: str) -> None:
    job = load(str(FILES / f"hadoop-{name}.yaml"), [], {})
    assert isinstance(job, JobSpec)
    Path("again.yaml").write_text(json.dumps(describe(job)))
    assert load("again.yaml", [], {}) == job


def test_the_jar_of_the_examples_has_a_short_name_and_its_program_goes_before_the_arguments() -> None:
    job = made("HadoopJob", "  jar: examples\n  program: pi\n  arguments: [2, 10]\n")
    assert isinstance(job, HadoopJob)
    assert (job.jar_in_image, job.arguments) == (EXAMPLES, ("pi", "2", "10"))
    given = made("HadoopJob", "  jar: examples\n  program: pi\n  arguments: [2, 10]\n", "4", "20")
    assert given.arguments == ("pi", "4", "20")


def test_a_job_is_a_head_whose_program_is_the_job_and_workers() -> None:
    Path("x.jar").write_text("x")
    Path("in.txt").write_text("x")
    job = made(
        "HadoopJob", "  jar: x.jar\n  arguments: [a]\n  input: [in.txt]\n  worker: {instances: 3}\n  retries: 2\n"
    )
    head, worker = job.layout().groups
    assert (head.name, head.count, head.retries, head.arguments) == ("head", 1, 2, ("head",))
    assert (worker.name, worker.count, worker.retries, worker.arguments) == ("worker", 3, 0, ("worker",))
    assert not job.layout().is_service
    assert job.hosts_wanted == 0
    assert plan(head)["steps"] == [{"jar": "/opt/cloudmesh/job/x.jar", "class": "", "arguments": ["a"]}]
    assert (plan(head)["input"], plan(head)["workers"], plan(head)["fetch"]) == (["in.txt"], 3, False)
    assert set(head.ports.values()) | set(worker.ports.values()) == {0}


def test_steps_run_one_after_another_with_the_class_of_the_job_or_their_own() -> None:
    job = made("HadoopJob", "  jar: examples\n  mainClass: a.B\n  steps: [{arguments: [x]}, {mainClass: c.D}]\n")
    assert isinstance(job, HadoopJob)
    assert job.steps == (Step("", ("x",)), Step("c.D"))
    steps = plan(job.layout().groups[0])["steps"]
    assert isinstance(steps, list)
    assert [(step["class"], step["arguments"]) for step in steps] == [("a.B", ["x"]), ("c.D", [])]


def test_a_service_has_a_worker_on_each_of_its_hosts_and_ports_that_are_always_the_same() -> None:
    job = made("HadoopService", "  storage: [{name: data, mount: /data}]\n  worker: {instances: 3}\n")
    assert isinstance(job, HadoopService)
    assert (job.replication, job.storage) == (3, (VolumeClaim("data", "/data"),))
    assert job.hosts_wanted == 3
    layout = job.layout(["h1", "h2", "h3"])
    assert layout.is_service
    assert [(group.name, group.host) for group in layout.groups] == [
        ("head", "h1"),
        ("worker", "h1"),
        ("worker", "h2"),
        ("worker", "h3"),
    ]
    numbers = [*layout.groups[0].ports.values(), *filter(None, layout.groups[1].ports.values())]
    assert len(set(numbers)) == 8
    assert all(10000 <= number < 20000 for number in numbers)
    # What clients need not know is on any port that is free.
    assert {name for name, number in layout.groups[1].ports.items() if not number} >= {"nodemanager", "shuffle"}
    assert job.layout(["h1", "h2", "h3"]) == layout
    assert {group.env["CMS_DATA"] for group in layout.groups} == {"/data"}


def test_a_service_without_yarn_keeps_files_and_takes_less() -> None:
    storage = "  storage: [{name: data, mount: /data}]\n"
    whole, files = (made("HadoopService", f"{storage}  yarn: {yarn}\n") for yarn in ("true", "false"))
    head, worker, _ = files.layout(["h1", "h2"]).groups
    assert (set(head.ports), set(worker.ports)) == ({"kdc", "namenode"}, {"datanode", "blocks"})
    assert (head.memory_mb, worker.memory_mb) == (1024, 768)
    its_head, its_worker, _ = whole.layout(["h1", "h2"]).groups
    assert (its_head.memory_mb, its_worker.memory_mb) == (1536, 2048)
    # Clients find it where they find any other.
    assert head.ports.items() < its_head.ports.items()


def test_a_job_on_a_service_is_a_client_alone_with_half_of_what_a_head_gets() -> None:
    given = made("HadoopJob", "  jar: examples\n  program: pi\n  head: {memory: 2g}\n  retries: 1\n")
    resolved = replace(given, env=hadoop_client.computing("fs", lambda port: f"h:{len(port)}", "a secret").env)
    (client,) = resolved.layout().groups
    assert (client.name, client.count, client.memory_mb, client.retries) == ("client", 1, 1024, 1)
    assert (client.arguments, client.ports) == (("client",), {})
    assert plan(client) == plan(given.layout().groups[0])


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("HadoopJob", "  program: pi\n", "job.yaml:4: spec.jar: is missing"),
        ("HadoopJob", "  jar: x.py\n", "job.yaml:5: spec.jar: 'x.py' must end with .jar"),
        ("HadoopJob", "  jar: local://x.jar\n", "job.yaml:5: spec.jar: 'local://x.jar': a jar in the image"),
        ("HadoopJob", "  jar: examples\n  output: ../x\n", "job.yaml:6: spec.output: must be a path in HDFS"),
        (
            "HadoopJob",
            "  jar: examples\n  conf: {hadoop.security.authentication: simple}\n",
            "job.yaml:6: spec.conf.hadoop.security.authentication: is set by the cluster",
        ),
        (
            "HadoopJob",
            "  jar: examples\n  conf: {dfs.namenode.http-address: 0.0.0.0:80}\n",
            "job.yaml:6: spec.conf.dfs.namenode.http-address: is set by the cluster",
        ),
        (
            "HadoopJob",
            "  jar: examples\n  conf: {mapreduce.job.tags: mine}\n",
            "job.yaml:6: spec.conf.mapreduce.job.tags: is set by the cluster",
        ),
        (
            "HadoopJob",
            "  jar: examples\n  arguments: [a]\n  steps: [{arguments: [b]}]\n",
            "job.yaml:7: spec.steps: have arguments of their own",
        ),
        ("HadoopJob", "  jar: examples\n  worker: {memory: 1g}\n", "job.yaml:6: spec.worker.memory: 1g is too little"),
        ("HadoopService", "  worker: {instances: 2}\n", "job.yaml:4: spec.storage: must name one place"),
        (
            "HadoopService",
            "  storage: [{name: data, mount: /d}]\n  replication: 1\n",
            "job.yaml:6: spec.replication: must be a whole number from 2 to 2, not '1'",
        ),
        ("HadoopJob", "  jar: examples\n  output: -x\n", "job.yaml:6: spec.output: must be a path in HDFS"),
        ("HadoopService", "  yarn: 1\n", "job.yaml:5: spec.yarn: must be true or false"),
        (
            "HadoopService",
            "  storage: [{name: data, mount: /d}]\n  worker: {memory: 1g}\n",
            "job.yaml:6: spec.worker.memory: 1g is too little",
        ),
        (
            "HadoopService",
            "  storage: [{name: data, mount: /d, readOnly: true}]\n",
            "job.yaml:5: spec.storage: is readOnly",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_line(kind: str, spec: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        made(kind, spec)
    assert str(error.value).startswith(said)


def test_a_client_of_a_service_names_it_by_its_job_and_its_secret_is_in_no_setting() -> None:
    client = hadoop_client.client("hdfs1", "10.0.0.1:10216", "10.0.0.1:10215", "the secret")
    assert client.uri == "hdfs://hdfs1"
    assert client.env["CMS_HADOOP_KDC"] == "10.0.0.1:10215"
    assert json.loads(client.env["CMS_HADOOP_CLIENT"]) == hadoop_client.settings("hdfs1", "10.0.0.1:10216")
    assert client.secrets == {"CMS_HADOOP_SECRET": "the secret"}
    assert client.spark_conf["spark.hadoop.dfs.namenode.rpc-address.hdfs1.0"] == "10.0.0.1:10216"
    assert "the secret" not in str(client)


def test_a_hadoop_job_is_told_where_all_of_a_services_masters_are_and_its_secret_is_in_nothing_else() -> None:
    client = hadoop_client.computing("hdfs1", lambda port: f"h:{len(port)}", "the secret")
    assert client.env["CMS_HADOOP_URI"] == client.uri == "hdfs://hdfs1"
    head = json.loads(client.env["CMS_HADOOP_HEAD"])
    assert head["resourcemanager"] == "h:15"
    assert set(head) == {"kdc", "namenode", "resourcemanager", "scheduler", "history"}
    assert client.secrets == {"CMS_HADOOP_SECRET": "the secret"}
    assert "the secret" not in str(client)
