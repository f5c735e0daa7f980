"""Parameters: declared with a type, given in three places, filled in wherever a value stands."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec.load import load
from cloudmesh.cluster.spec.spark import SparkJob
from cloudmesh.cluster.storage import resolve

DECLARED = """\
apiVersion: cms/v1
kind: SparkJob
metadata: {name: "job-${params.mode}"}
params:
  text: {default: hello}
  size: {type: int, default: 3}
  rate: {type: float, default: 0.5}
  fast: {type: bool, default: false}
  mode: {type: choice, choices: [slow, quick], default: slow}
  cores: {type: choice, choices: [1, 2, 4], default: 2}
  unset: {type: string}
spec:
  mainApplicationFile: "${params.text}.py"
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hello.py").write_text("pass\n")


def made(spec: str, params_file: str = "", head: str = DECLARED, **params: str) -> SparkJob:
    """Load a job with the parameters above."""
    Path("job.yaml").write_text(head + spec)
    return load("job.yaml", [], params, params_file)


def refused(spec: str, params_file: str = "", head: str = DECLARED, **params: str) -> str:
    """Return the message of a refusal."""
    with pytest.raises(UsageError) as caught:
        made(spec, params_file, head, **params)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_references_are_filled_in_wherever_a_value_stands() -> None:
    job = made(
        '  arguments: ["${params.text}", "a${params.size}b${params.rate}", plain, "${HOME}"]\n'
        '  sparkConf: {spark.x: "${params.fast}"}\n  env: {A: "${params.mode}"}\n'
        '  driver: {memory: "${params.size}g", cores: "${params.cores}"}\n  executor: {instances: "${params.size}"}\n'
    )
    assert job.name == "job-slow"
    assert job.arguments == ("hello", "a3b0.5", "plain", "${HOME}")
    assert (job.spark_conf, job.env) == ({"spark.x": "false"}, {"A": "slow"})
    assert (job.driver.memory_mb, job.driver.cores, job.executor.instances) == (3072, 2, 3)


def test_a_reference_keeps_its_type_where_a_number_is_wanted() -> None:
    message = refused('  executor: {instances: "${params.text}"}\n')
    assert message.startswith(
        "job.yaml:14: spec.executor.instances: must be a whole number from 1 to 1000, not 'hello'"
    )
    assert "not the text '33'" in refused('  retries: "${params.size}${params.size}"\n')


def test_the_command_line_goes_before_the_file_and_the_file_before_defaults() -> None:
    Path("values.yaml").write_text("size: 5\nrate: 0.25\n")
    spec = '  arguments: ["${params.size}", "${params.rate}", "${params.mode}"]\n'
    assert made(spec, "values.yaml", size="7").arguments == ("7", "0.25", "slow")


def test_a_parameter_file_may_be_json() -> None:
    Path("values.json").write_text('{\n\t"size": 5,\n\t"fast": true\n}\n')
    assert made('  arguments: ["${params.size}", "${params.fast}"]\n', "values.json").arguments == ("5", "true")


def test_what_is_filled_in_is_not_filled_in_again() -> None:
    job = made('  arguments: ["${params.unset}", "$${params.size}"]\n', unset="${params.size}")
    assert job.arguments == ("${params.size}", "${params.size}")


def test_a_value_that_is_given_stands_for_itself_where_the_file_names_a_volume() -> None:
    given = ["${storage.lake}", "$${storage.lake}", "${storage.}", "a${storage.lake}b"]
    for value in given:
        in_file = made('  arguments: ["${params.unset}"]\n', unset=value)
        assert resolve.resolve(in_file, []).job.arguments == (value,)
    assert resolve.resolve(load("hello.py", given, {}), []).job.arguments == tuple(given)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"size": "x"}, "--param: size: must be a whole number, not 'x'"),
        ({"size": "1.5"}, "--param: size: must be a whole number"),
        ({"rate": "nan"}, "--param: rate: must be a number, not 'nan'"),
        ({"fast": "yes"}, "--param: fast: must be true or false, not 'yes'"),
        ({"mode": "Quick"}, "--param: mode: must be one of slow, quick, not 'Quick'"),
        ({"sise": "1"}, "--param: 'sise': job.yaml declares no such parameter; did you mean size?"),
        ({"x\ny": "1"}, "--param: 'x\\ny': job.yaml declares no such parameter"),
        ({"text": "a\0"}, "--param: text: must not hold a NUL character"),
        ({"text": "\udcff"}, "--param: text: is not UTF-8 text"),
        ({"mode": "quick", "text": "gone"}, "job.yaml:13: spec.mainApplicationFile: "),
    ],
)
def test_a_wrong_value_is_named(params: dict[str, str], said: str) -> None:
    assert refused("", **params).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("size: 5\nrate: x\n", "values.yaml:2: rate: must be a number, not 'x'"),
        ("size: [5]\n", "values.yaml:1: size: must be a single value"),
        ("a: 1\n", "values.yaml:1: 'a': job.yaml declares no such parameter"),
        ("- a\n", "values.yaml:1: must be a mapping"),
    ],
)
def test_a_wrong_value_in_a_parameter_file_is_named_with_its_line(text: str, said: str) -> None:
    Path("values.yaml").write_text(text)
    assert refused("", "values.yaml").startswith(said)


def test_a_missing_parameter_file_is_named() -> None:
    assert refused("", "gone.yaml") == "gone.yaml: no such file"


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("${params.sizes}", "no parameter 'sizes' under params; did you mean size?"),
        ("${params.unset}", "the parameter unset has no value; give --param=unset=VALUE or a default"),
        ("a ${params.size", "'${params.size' has no closing brace"),
        ("${params.}", "no parameter '' under params"),
    ],
)
def test_a_reference_to_nothing_is_refused_with_its_line(argument: str, said: str) -> None:
    message = refused(f'  arguments:\n  - a\n  - "{argument}"\n')
    assert message.startswith(f"job.yaml:16: spec.arguments[1]: {said}")


@pytest.mark.parametrize(
    ("declaration", "said"),
    [
        ("a: {type: integer}", "params.a.type: unknown type 'integer'; did you mean int?"),
        ("a: {type: int, default: x}", "params.a.default: must be a whole number, not 'x'"),
        ("a: {defaults: x}", "params.a.defaults: unknown field; did you mean default?"),
        ("a: {type: choice}", "params.a.choices: belongs to type: choice, which needs at least one"),
        ("a: {choices: [b]}", "params.a.choices: belongs to type: choice"),
        ("a: {type: choice, choices: [b], default: c}", "params.a.default: must be one of b, not 'c'"),
        ("a: {required: maybe}", "params.a.required: must be true or false, not 'maybe'"),
        ("a: 5", "params.a: must be a mapping"),
        ("a b: {}", "params: 'a b' is no name for a parameter"),
        ('a: {default: "${params.text}"}', "params.a.default: cannot refer to a parameter"),
    ],
)
def test_a_wrong_declaration_is_named_with_its_line(declaration: str, said: str) -> None:
    head = DECLARED.replace("params:\n", f"params:\n  {declaration}\n", 1)
    assert refused("", head=head).startswith(f"job.yaml:5: {said}")


def test_required_parameters_without_a_value_are_all_named() -> None:
    head = DECLARED.replace("params:\n", "params:\n  a: {required: true}\n  b: {type: int, required: true}\n", 1)
    assert refused("", head=head) == "job.yaml:5: params.a: has no value; give --param=a=VALUE --param=b=VALUE"
    assert made("", head=head, a="", b="1").arguments == ()


def test_references_cannot_blow_a_job_up() -> None:
    begun = time.monotonic()
    many = "${params.unset}" * 10_000
    assert "is too long" in refused(f'  arguments: ["{many}"]\n', unset="x" * 60_000)
    items = ", ".join(['"${params.unset}"'] * 50_000)
    assert "is too long" in refused(f"  arguments: [{items}]\n", unset="x" * 60_000)
    assert time.monotonic() - begun < 5
