"""Jobs in an engine's own language: known for what they are, and refused by file and line where they are none."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from cloudmesh.cluster.command.console import private_file
from cloudmesh.cluster.core.errors import ClusterError, UsageError
from cloudmesh.cluster.core.model import State
from cloudmesh.cluster.providers.nomad import native
from cloudmesh.cluster.spec.load import load
from cloudmesh.cluster.spec.native import NativeJob, check_nomad
from cloudmesh.cluster.spec.spark import SparkJob

JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: pi}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(name: str, text: str) -> NativeJob:
    Path(name).write_text(text)
    job = load(name, [], {})
    assert isinstance(job, NativeJob)
    return job


def refused(name: str, text: str) -> str:
    Path(name).write_text(text)
    with pytest.raises(UsageError) as caught:
        load(name, [], {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.nomad", "a.hcl", "a.nomad.hcl"])
def test_hcl_is_nomads_and_goes_as_it_is(name: str) -> None:
    text = 'job "x" {\n\ttype = "batch"\n}\n'
    assert read(name, text) == NativeJob(name, "nomad", hcl=text)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_nomad_job_as_json_is_known_with_and_without_its_wrapper(wrapped: bool) -> None:
    job = {"ID": "x", "TaskGroups": [{"Name": "\u00e9", "Count": 1e0}]}
    assert read("a.json", json.dumps({"Job": job} if wrapped else job)) == NativeJob("a.json", "nomad", (job,))


def test_manifests_keep_their_order_and_lists_are_opened() -> None:
    items = "".join(f"- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}\n" for name in "ba")
    text = f"---\n# nothing\n---\n{JOB}---\napiVersion: v1\nkind: List\nitems:\n{items}"
    job = read("a.yaml", text)
    assert job.engine == "kubernetes"
    assert [thing["metadata"]["name"] for thing in job.objects] == ["pi", "b", "a"]


def test_a_manifest_may_be_json() -> None:
    thing = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2}}
    assert read("a.json", json.dumps(thing)).objects == (thing,)


def test_yaml_means_to_us_what_it_means_to_kubernetes() -> None:
    data = "data: {text: '1', number: 10, mode: 0644, half: 0.5, yes: off, none: ~, day: 2026-01-01, port: 12:30}\n"
    assert read("a.yaml", f"{JOB}{data}").objects[0]["data"] == {
        "text": "1",
        "number": 10,
        "mode": 0o644,
        "half": 0.5,
        "yes": False,
        "none": None,
        "day": "2026-01-01",
        "port": "12:30",
    }


def test_a_deep_manifest_is_no_hostile_one() -> None:
    deep = "".join(f"{'  ' * level}a{level}:\n" for level in range(60))
    assert read("a.yaml", f"{JOB}spec:\n  x: 1\nmore:\n" + "".join(f"  {line}\n" for line in deep.splitlines()))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.nomad", "", "a.nomad: is empty"),
        ("a.json", " \n", "a.json: is empty"),
        ("a.hcl", "a" * ((1 << 20) + 1), "a.hcl: is larger than 1 MiB"),
        ("a.json", '{"Job":\n}', "a.json:2: is not JSON"),
        ("a.json", '{"ID": "x", "ID": "y"}', "a.json: 'ID' is given a second time"),
        ("a.json", '{"Job": {"ID": NaN}}', "a.json: is not JSON: NaN"),
        ("a.json", "[" * 100_000, "a.json: is "),
        ("a.json", "[]", "a.json: must be a mapping"),
        ("a.json", '{"ID": "x"}', "a.json: is no job: a Nomad job has"),
        ("a.json", '{"Job": {"ID": "a/../../acl/tokens"}}', "a.json: job id 'a/../../acl/tokens' is not valid"),
        ("a.json", '{"Job": {"ID": "x", "Namespace": "other"}}', "a.json: jobs run in Nomad's namespace default"),
        ("a.json", '{"Job": {}}', "a.json: this Nomad job has no ID"),
        ("a.yaml", f"{JOB}---\nkind: Job\n", "a.yaml:5: apiVersion is missing"),
        ("a.yaml", f"{JOB}---\n- a\n", "a.yaml:5: must be a mapping"),
        ("a.yaml", f"{JOB}---\napiVersion: cms/v1\nkind: SparkJob\n", "a.yaml:5: a file holds either"),
        ("a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {generateName: x}\n", "a.yaml:1: this 'Pod' has no metadata"),
        ("a.yaml", f"{JOB}spec: {{a: 1, a: 2}}\n", "a.yaml:4: 'a' is given a second time"),
        ("a.yaml", f"{JOB}spec: [\n", "a.yaml:5: is not YAML"),
        ("a.yaml", f"{JOB}spec: !!python/name:os.system x\n", "a.yaml:4: the tag"),
        ("a.yaml", "[" * 500, "a.yaml:1: is nested more than 100 levels deep"),
        # libyaml may have a limit of its own.
        ("a.yaml", "[" * 100_000, "a.yaml:1: is n"),
        ("a.yaml", JOB.replace("name: pi", "name: ../../x"), "a.yaml:1: metadata.name '../../x' is not valid"),
        ("a.yaml", JOB.replace("batch/v1", "batch/../v1"), "a.yaml:1: apiVersion '../v1' is not valid"),
        ("a.yaml", JOB.replace("name: pi", "name: pi, namespace: a/b"), "a.yaml:1: metadata.namespace 'a/b'"),
        ("a.yaml", f"{JOB}spec: {{a: .inf}}\n", "a.yaml:4: '.inf' is no number"),
    ],
)
def test_what_is_malformed_is_told_by_its_file_and_line(name: str, text: str, said: str) -> None:
    assert refused(name, text).startswith(said)


def test_aliases_that_multiply_are_refused_soon() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    begun = time.monotonic()
    assert "too many values" in refused("a.yaml", JOB + "\n".join(lines))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("name", ["a.nomad", "a.yaml"])
def test_a_native_job_takes_neither_parameters_nor_arguments(name: str) -> None:
    Path(name).write_text(JOB)
    for words, params in ((["1"], {}), ([], {"a": "1"})):
        with pytest.raises(UsageError, match=r"arguments|--param"):
            load(name, words, params)


def test_a_job_file_may_be_json_too() -> None:
    Path("main.py").write_text("pass\n")
    job = {"apiVersion": "cms/v1", "kind": "SparkJob", "metadata": {"name": "x"}}
    Path("a.json").write_text(json.dumps({**job, "spec": {"mainApplicationFile": "main.py"}}, indent="\t"))
    assert isinstance(load("a.json", [], {}), SparkJob)


@pytest.mark.parametrize("job_id", ["a/../../acl/tokens", "x?y", "", "a b", "x" * 41, None, 7])
def test_an_id_that_would_mean_something_else_in_a_url_is_refused(job_id: Any) -> None:
    with pytest.raises(UsageError):
        check_nomad({"ID": job_id}, "a.hcl")


def nomad_job(*clients: str, code: int = 0, **changed: Any) -> Any:
    task = {"State": "dead", "Failed": bool(code), "StartedAt": None, "FinishedAt": None}
    task["Events"] = [{"Type": "Terminated", "ExitCode": code, "Details": {}, "DisplayMessage": ""}]
    allocations = [
        {
            "ID": f"a{number}",
            "Name": "x.g[0]",
            "TaskGroup": "g",
            "CreateIndex": number,
            "NodeName": "h1",
            "ClientStatus": client,
            "TaskStates": {"t": task},
        }
        for number, client in enumerate(clients)
    ]
    full = {"ID": "x", "Name": "x", "SubmitTime": 0, "Stop": False, "Status": "dead", "TaskGroups": [{"Name": "g"}]}
    return native.native_status({**full, **changed}, allocations, [], 0.0)


def test_a_native_job_is_what_its_newest_allocations_are() -> None:
    assert nomad_job("failed", "complete").state is State.SUCCEEDED
    failed = nomad_job("complete", "failed", code=5)
    assert (failed.state, failed.exit_code, failed.reason) == (State.FAILED, 5, "exit code 5")
    assert nomad_job("complete", "running", Status="running").state is State.RUNNING
    assert nomad_job("lost", Status="pending").state is State.UNKNOWN
    assert nomad_job(Status="pending").state is State.QUEUED
    assert nomad_job("complete", Stop=True).state is State.STOPPED


def test_a_native_job_that_ran_nothing_is_no_success() -> None:
    assert nomad_job().state is State.FAILED


def test_only_a_batch_job_that_begins_by_itself_has_an_end() -> None:
    assert native.has_an_end({"Type": "batch"})
    for more in ({"Type": "service"}, {"Periodic": {"Enabled": True}}, {"ParameterizedJob": {"Payload": ""}}):
        assert not native.has_an_end({"Type": "batch", **more})


def test_a_secret_file_is_the_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    os.umask(0o022)
    path = str(tmp_path / "kubeconfig")
    private_file.check(path)
    private_file.write(path, b"x")
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    for link in (path, str(tmp_path / "link")):
        if link != path:
            Path(link).symlink_to(tmp_path / "nowhere")
        for refuse in (private_file.check, lambda location: private_file.write(location, b"y")):
            with pytest.raises(UsageError, match="exists already"):
                refuse(link)
    assert Path(path).read_bytes() == b"x"
    assert not (tmp_path / "nowhere").exists()


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="cannot be written: No such file"):
        private_file.write(str(tmp_path / "no" / "file"), b"x")
