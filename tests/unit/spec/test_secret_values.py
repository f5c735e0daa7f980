"""Where the values of a job's secrets come from, and that no message shows one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec import secret_values
from cloudmesh.cluster.spec.job import JobSpec, describe
from cloudmesh.cluster.spec.load import load

JOB = """\
apiVersion: cms/v1
kind: ContainerJob
metadata: {name: copy}
spec:
  image: debian
  secrets:
  - name: s3
    env:
    - KEY
    - WORD
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def job() -> JobSpec:
    Path("job.yaml").write_text(JOB)
    job = load("job.yaml", [], {})
    assert isinstance(job, JobSpec)
    return job


def refused(text: str) -> str:
    """Return the message about a file of secrets."""
    Path("keys").write_text(text)
    with pytest.raises(UsageError) as caught:
        secret_values.from_file("keys")
    return str(caught.value)


def test_the_file_goes_before_the_environment_and_the_environment_before_a_question(job: JobSpec) -> None:
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "typed"

    assert secret_values.collect_values([job], {"KEY": "f"}, {"KEY": "e", "WORD": "e"}, ask) == {
        "KEY": "f",
        "WORD": "e",
    }
    assert not asked
    assert secret_values.collect_values([job, job], {}, {"WORD": ""}, ask) == {"KEY": "typed", "WORD": ""}
    assert asked == ["KEY of secret s3"]


def test_a_variable_without_a_value_is_named_with_its_line_and_the_ways_to_give_it(job: JobSpec) -> None:
    with pytest.raises(UsageError) as caught:
        secret_values.collect_values([job], {"KEY": "x"}, {}, None)
    assert str(caught.value) == (
        "job.yaml:10: spec.secrets[0].env[1]: WORD of secret s3 has no value: "
        "set it in the environment, or in a file, --secrets=FILE"
    )
    with pytest.raises(UsageError, match="WORD of secret s3 has no value"):
        secret_values.collect_values([job], {"KEY": "x"}, {}, lambda _: "")


def test_a_value_that_no_process_or_no_engine_could_hold_is_refused_and_not_shown(job: JobSpec) -> None:
    for value in ("hush\0", "hush\udcff", "hush" * 20_000):
        with pytest.raises(UsageError) as caught:
            secret_values.collect_values([job], {"KEY": value, "WORD": "x"}, {}, None)
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("a.yaml", "A: 1\nB: 'x y'\nC: |\n  two\n  lines\n", {"A": "1", "B": "x y", "C": "two\nlines\n"}),
        ("a.json", '{"A": "=", "B": ""}', {"A": "=", "B": ""}),
        ("a.env", "# mine\n\nexport A='x y'\nB=a=b#c\nC=\"\nD=\n", {"A": "x y", "B": "a=b#c", "C": '"', "D": ""}),
        ("a", "A: =x=\n", {"A": "=x="}),
    ],
)
def test_a_file_is_a_mapping_or_lines(name: str, text: str, values: dict[str, str]) -> None:
    Path(name).write_text(text)
    assert secret_values.from_file(name) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A: *hush\n", "keys:1: is neither a mapping of names to single values, in YAML or JSON, nor lines KEY=VALUE"),
        ("A: 1\nB: !hush x\n", "keys:2: is neither a mapping"),
        ("A: [hush]\n", "keys:1: is neither a mapping"),
        ("hush\n", "keys:1: is neither a mapping"),
        ("A=1\n\nhush\n", "keys:3: is no line KEY=VALUE"),
        ("A=1\nA=hush\n", "keys:2: 'A' is given a second time"),
        ("", "keys: is neither a mapping"),
    ],
)
def test_a_file_that_is_neither_is_refused_and_not_shown(text: str, said: str) -> None:
    message = refused(text)
    assert message.startswith(said)
    assert "hush" not in message


def test_a_line_of_a_file_ends_where_a_text_files_line_does() -> None:
    Path("keys").write_text("A=one\u2028two\x85\nB=three\u00a0\r\n", encoding="utf-8", newline="")
    assert secret_values.from_file("keys") == {"A": "one\u2028two\x85", "B": "three\u00a0"}


def test_a_file_that_others_can_read_is_told_from_one_that_they_cannot() -> None:
    path = Path("keys")
    path.write_text("A=1")
    for mode, told in ((0o600, False), (0o640, True), (0o604, True)):
        path.chmod(mode)
        assert secret_values.open_to_others("keys") is told


def test_a_described_job_names_its_secrets_and_has_no_values(job: JobSpec) -> None:
    assert describe(job)["spec"]["secrets"] == [{"name": "s3", "env": ["KEY", "WORD"]}]
