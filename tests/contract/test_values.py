"""What every provider promises of environment values, arguments, parameters and secrets: they arrive as they are."""

import json
from pathlib import Path

import pytest

from contract.conftest import Cluster
from contract.test_containers import write_job_file as write_container_job
from contract.test_jobs import write, write_job_file

pytestmark = pytest.mark.cluster

VALUES = {
    "DOLLAR": "$",
    "DOLLARS": "a$$b$$$",
    "BRACED": "${X} $${X} $$${X}",
    "NAMED": "${HOME} $HOME $(HOME) $$(HOME)",
    "OURS": "${NOMAD_TASK_NAME} $(CMS_POD) ${node.unique.name} {{ env `HOME` }}",
    "PERCENT": "% %% %{x} %%{ if y }",
    "QUOTES": '\'one\' "two" `three` \\ \\n \\"',
    "LINES": "one\n  two\r\n\nthree\n",
    "RETURN": "one\rtwo\r",
    "UNICODE": "ä€😀\u2028\u00a0",
    "BLANKS": "  a\tb  ",
    "PUNCTUATION": "|;&<>#!*?[a-z]~",
    "JSON": '{"k": [1, "two"], "x": null}',
    "ASSIGNED": "a=b=--c",
    "EMPTY": "",
}
SHOWN = [*VALUES, "SECRET_JSON", "SECRET_DOLLARS", "SECRET_LINES"]
SECRETS = {
    "SECRET_JSON": '{"key": "<&>\\u0041"}',
    "SECRET_DOLLARS": "${HOME} $$ $(HOME) %{x} {{ .X }}",
    "SECRET_LINES": "-----BEGIN-----\nä'\"#\\\n-----END-----\n",
}
# Prints the driver's arguments and variables, and those of the Python worker and of the JVM of an executor.
SPARK_PROGRAM = f"""
import json, os, pathlib, sys
from pyspark.sql import SparkSession

def variables(_=0):
    return {{name: os.environ.get(name) for name in {SHOWN!r}}}

def of_java(_=0):
    process = pathlib.Path("/proc/self")
    while (process / "comm").read_text() != "java\\n":
        process = process.parent / (process / "stat").read_text().rpartition(")")[2].split()[1]
    pairs = (pair.partition(b"=") for pair in (process / "environ").read_bytes().split(b"\\0"))
    environment = {{name.decode(): value.decode() for name, _, value in pairs}}
    return {{name: environment.get(name) for name in {SHOWN!r}}}

context = SparkSession.builder.getOrCreate().sparkContext
executor = context.parallelize([0], 1).map(lambda _: (variables(), of_java())).collect()[0]
print(json.dumps([sys.argv[1:], variables(), of_java(), *executor]))
"""
CONTAINER_PROGRAM = f"""
import json, os, sys
print(json.dumps([sys.argv[1:], {{name: os.environ.get(name) for name in {SHOWN!r}}}]))
"""


def write_secrets(folder: Path) -> str:
    """Write a file with the secrets' values; return the option that names it."""
    path = write(folder, "keys.yaml", json.dumps(SECRETS))
    Path(path).chmod(0o600)
    return f"--secrets={path}"


@pytest.fixture
def fields() -> dict:
    """Return the fields of a job that gets all values and secrets, and a parameter as its last argument."""
    return {"env": VALUES, "secrets": [{"name": "all", "env": list(SECRETS)}]}


def test_driver_and_executors_get_arguments_variables_and_secrets_as_they_are(cluster, fields, tmp_path):
    job = write_job_file(tmp_path, SPARK_PROGRAM, **fields)
    words = [*VALUES.values(), "${storage.data}", "--help", "--file=x", "*.py"]
    arguments, *environments = cluster.cms("submit", write_secrets(tmp_path), job, "--", *words).json()
    assert arguments == words
    assert environments == [VALUES | SECRETS] * 4


def test_a_container_gets_arguments_variables_and_secrets_as_they_are(cluster, fields, tmp_path):
    write(tmp_path, "show.py", CONTAINER_PROGRAM)
    job = write_container_job(tmp_path, command=["python3", "/opt/cloudmesh/job/show.py"], files=["show.py"], **fields)
    words = [*VALUES.values(), "${storage.data}", "--help", "--file=x", "*.py"]
    arguments, environment = cluster.cms("submit", write_secrets(tmp_path), job, "--", *words).json()
    assert arguments == words
    assert environment == VALUES | SECRETS


def test_a_parameter_arrives_as_it_is(cluster: Cluster, tmp_path: Path) -> None:
    job = write_container_job(
        tmp_path,
        params={name: {} for name in VALUES},
        command=["python3", "-c", CONTAINER_PROGRAM],
        arguments=[f"${{params.{name}}}" for name in VALUES],
    )
    options = [f"--param={name}={value}" for name, value in VALUES.items()]
    arguments, _ = cluster.cms("submit", *options, job).json()
    assert arguments == list(VALUES.values())
