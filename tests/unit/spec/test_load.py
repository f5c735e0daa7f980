"""What a job file may say, and how it is refused: with the file, the line and the field."""

from __future__ import annotations

import json
import os
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.spec.load import load
from cloudmesh.cluster.spec.spark import SparkJob

EXAMPLES = Path(__file__).parents[3] / "examples"
HEAD = "apiVersion: cms/v1\nkind: SparkJob\nmetadata: {name: count}\n"
MAIN = "  mainApplicationFile: main.py\n"

Make = Callable[..., SparkJob]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Load HEAD, the given parameters, and a spec with the given lines (from line 6 on where there are no params)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main.py").write_text("pass\n")

    def made(spec: str = "", *arguments: str, params: str = "", **given: str) -> SparkJob:
        Path("job.yaml").write_text(f"{HEAD}{params}spec:\n{MAIN}{spec}")
        return load("job.yaml", arguments, given)

    return made


def refused(text: str) -> str:
    """Load a whole job file and return the message of its refusal."""
    Path("job.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load("job.yaml", [], {})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_field_of_a_job_file_arrives(make: Make, tmp_path: Path) -> None:
    for name in ("util.py", "lib.jar", "data.txt"):
        (tmp_path / name).write_text(name)
    job = make(
        "  image: registry:5000/team/spark:1\n  arguments: [a, 10, 1.50, true, '']\n"
        "  sparkConf: {spark.sql.shuffle.partitions: 8}\n  env: {TZ: UTC}\n"
        "  deps: {jars: [lib.jar], pyFiles: [util.py], files: [./data.txt]}\n"
        "  driver: {cores: 2, memory: 2g}\n  executor: {instances: 3, cores: 4, memory: 700m}\n"
        "  retries: 2\n  timeoutSeconds: 3600\n  ttlSeconds: 600\n"
    )
    assert (job.name, job.image) == ("count", "registry:5000/team/spark:1")
    assert job.arguments == ("a", "10", "1.50", "true", "")
    assert job.spark_conf == {"spark.sql.shuffle.partitions": "8"}
    assert job.env == {"TZ": "UTC"}
    assert job.files == tuple(tmp_path / name for name in ("main.py", "lib.jar", "util.py", "data.txt"))
    assert (job.driver.cores, job.driver.memory_mb) == (2, 2048)
    assert (job.executor.instances, job.executor.cores, job.executor.memory_mb) == (3, 4, 700)
    assert (job.retries, job.timeout_seconds, job.ttl_seconds) == (2, 3600, 600)


def test_a_job_file_that_says_little_gets_the_defaults(make: Make) -> None:
    job = make("  deps:\n  arguments:\n")
    assert job == SparkJob("count", main=job.main)


def test_the_examples_load() -> None:
    pi = load(str(EXAMPLES / "pi.yaml"), [], {"slices": "4"})
    words = load(str(EXAMPLES / "wordcount.yaml"), [], {"top": "3", "executors": "5"})
    assert pi.arguments == ("4",)
    assert words.arguments == ("opticks.txt", "3", "4")
    assert words.executor.instances == 5
    assert [path.name for path in words.files] == ["wordcount.py", "opticks.txt"]


@pytest.mark.parametrize(
    ("spec", "line", "said"),
    [
        (
            "  executor: {instances: many}\n",
            7,
            "spec.executor.instances: must be a whole number from 1 to 1000, not 'many'",
        ),
        ("  executor:\n    cores: 1\n    instances: 0\n", 9, "spec.executor.instances: must be a whole number from 1"),
        ("  executor: {instances: 1001}\n", 7, "spec.executor.instances: must be a whole number"),
        ("  driver: {cores: 1.5}\n", 7, "spec.driver.cores: must be a whole number"),
        ("  driver: {cores: '2'}\n", 7, "spec.driver.cores: must be a whole number from 1 to 512, not the text '2'"),
        ("  driver: {cores: 010}\n", 7, "spec.driver.cores: must be a whole number"),
        ("  driver: {cores: true}\n", 7, "spec.driver.cores: must be a whole number"),
        ("  driver: {cores: 99999999999999999999999}\n", 7, "spec.driver.cores: must be a whole number"),
        ("  driver: {memory: 1Gi}\n", 7, "spec.driver.memory: must be a size like 512m or 2g, not '1Gi'"),
        ("  driver: {memory: 1024}\n", 7, "spec.driver.memory: must be a size like 512m or 2g"),
        ("  driver: {memory: 400m}\n", 7, "spec.driver.memory: 400m is too little: Spark refuses less than 471m"),
        ("  driver: {memory: 99999g}\n", 7, "spec.driver.memory: '99999g' is more than 4096g"),
        ("  driver: {memoryMB: 1}\n", 7, "spec.driver.memoryMB: unknown field; did you mean memory?"),
        ("  drivers: {}\n", 7, "spec.drivers: unknown field; did you mean driver?"),
        ("  retries: -1\n", 7, "spec.retries: must be a whole number from 0 to 20"),
        ("  ttlSeconds: 0\n", 7, "spec.ttlSeconds: must be a whole number from 60"),
        ("  arguments: hello\n", 7, "spec.arguments: must be a list"),
        ("  arguments: [a, [b]]\n", 7, "spec.arguments[1]: must be a single value, not a list"),
        ("  arguments:\n  - a\n  -\n", 9, 'spec.arguments[1]: has no value; an empty text is written ""'),
        ('  arguments: ["a\\0b"]\n', 7, "spec.arguments[0]: must not hold a NUL"),
        ("  env: [A]\n", 7, "spec.env: must be a mapping"),
        ("  env: {A-B: c}\n", 7, "spec.env.A-B: is no name of an environment variable"),
        ("  env: {SPARK_HOME: /tmp}\n", 7, "spec.env.SPARK_HOME: is set by the cluster"),
        ("  env: {CMS_MASTER: x}\n", 7, "spec.env.CMS_MASTER: is set by the cluster"),
        ("  sparkConf: {park.a: b}\n", 7, "spec.sparkConf.park.a: is no Spark property"),
        ("  sparkConf: {spark.master: local}\n", 7, "spec.sparkConf.spark.master: is set by the cluster and cannot"),
        ("  sparkConf: {spark.authenticate.secret: a}\n", 7, "is set by the cluster and cannot be changed"),
        ("  sparkConf: {spark.network.crypto.enabled: no}\n", 7, "is set by the cluster and cannot be changed"),
        ("  sparkConf: {spark.driver.bindAddress: 0.0.0.0}\n", 7, "is set by the cluster and cannot be changed"),
        ("  sparkConf: {spark.executor.memory: 9g}\n", 7, "is set by the cluster; use spec.executor.memory"),
        ("  sparkConf: {spark.executorEnv.A: b}\n", 7, "use spec.env"),
        ("  image: Bad Name\n", 7, "spec.image: 'Bad Name' is no name of an image"),
        ("  mainClass: a.B\n", 7, "spec.mainClass: belongs to a .jar"),
        ("  storage: [{name: data, mount: data}]\n", 7, "spec.storage[0].mount: must be an absolute path, not 'data'"),
        ("  storage: [{name: data, mount: /data, readOnly: x}]\n", 7, "readOnly: must be true or false, not 'x'"),
        ("  storage: [{name: data, mount: /}]\n", 7, "spec.storage[0].mount: / is where a task has something else"),
        ("  storage: [{name: a, mount: /opt/cloudmesh/x}]\n", 7, "/opt/cloudmesh/x is where a task has something else"),
        ("  storage: [{name: a, mount: '/a:b'}]\n", 7, "'/a:b': a mount is written with letters"),
        (
            "  storage: [{name: a, mount: /a}, {name: a, mount: /b}]\n",
            7,
            "spec.storage[1].name: storage a is named a second time",
        ),
        (
            "  storage: [{name: a, mount: /a}, {name: b, mount: /a/b/}]\n",
            7,
            "spec.storage[1].mount: /a/b and /a are within each other",
        ),
        (
            "  storage: [{name: data, mount: /data}]\n  arguments: ['${storage.date}/x']\n",
            8,
            "spec.arguments[0]: no storage 'date' under spec.storage; did you mean data?",
        ),
        ("  env: {A: '${storage.a}'}\n", 7, "spec.env.A: no storage 'a' under spec.storage; there are none"),
        ("  secrets: [{name: s3}]\n", 7, "spec.secrets[0].env: is missing"),
        ("  secrets: [{name: s3, env: [CMS_X]}]\n", 7, "spec.secrets[0].env[0]: is set by the cluster"),
        (
            "  env: {A: b}\n  secrets: [{name: s3, env: [A]}]\n",
            8,
            "spec.secrets[0].env[0]: A is set by spec.env already",
        ),
        (
            "  secrets: [{name: a, env: [A]}, {name: b, env: [A]}]\n",
            7,
            "spec.secrets[1].env[0]: A is set by spec.secrets[0].env[0] already",
        ),
        ("  secrets: [{name: S3}]\n", 7, "spec.secrets[0].name: secret name 'S3' is not valid"),
        ("  deps: {files: [none.txt]}\n", 7, "none.txt does not exist"),
        ("  deps: {files: [.]}\n", 7, "is a directory"),
        ("  deps: {files: [/dev/null]}\n", 7, "/dev/null is no regular file"),
        ("  deps: {files: ['s3://a/b']}\n", 7, "'s3://a/b' is an address"),
        ("  deps: {pyFiles: [main.txt]}\n", 7, "spec.deps.pyFiles[0]: 'main.txt' must end with .py or .zip or .egg"),
        ("  deps: {files: [main.py]}\n", 7, "main.py is also the name of spec.mainApplicationFile"),
        ("  deps: {files: ['a,b']}\n", 7, "'a,b': a file that travels is named with"),
        ("  retries: 1\n  retries: 2\n", 8, "'retries' is given a second time"),
        ("  retries: [\n", 8, "is not YAML: "),
        ("  retries: !!python/object:os.system x\n", 7, "the tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("  ? [a]\n  : b\n", 7, "a field's name must be a single word"),
        ("  retries: *gone\n", 7, "*gone refers to nothing"),
        ("  arguments: &a [*a]\n", 7, "*a refers to nothing"),
        ("---\na: b\n", 7, "a second document begins here"),
    ],
)
@pytest.mark.usefixtures("make")
def test_a_wrong_field_is_named_with_its_line(spec: str, line: int, said: str) -> None:
    head = HEAD + "# a line\n"
    message = refused(f"{head}spec:\n{MAIN}{spec}")
    assert message.startswith(f"job.yaml:{line}: ")
    assert said in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "job.yaml: is empty"),
        ("- a\n", "job.yaml:1: must be a mapping"),
        ("kind: SparkJob\n", "job.yaml:1: apiVersion: is missing"),
        (
            "apiVersion: cms/v2\nkind: SparkJob\n",
            "job.yaml:1: apiVersion: must be cms/v1, not 'cms/v2'; no such version",
        ),
        ("apiVersion: cms/v1\nkind: sparkjobs\n", "job.yaml:2: kind: unknown kind 'sparkjobs'; did you mean SparkJob?"),
        ("apiVersion: cms/v1\nkind: SparkJob\nspecs: {}\n", "job.yaml:3: specs: unknown field; did you mean spec?"),
        (HEAD, "job.yaml:1: spec.mainApplicationFile: is missing"),
        (
            HEAD.replace("count", "a/../b") + f"spec:\n{MAIN}",
            "job.yaml:3: metadata.name: job name 'a/../b' is not valid",
        ),
        (HEAD.replace("count", "a" * 41) + f"spec:\n{MAIN}", "job.yaml:3: metadata.name: job name 'aaa"),
        (HEAD.replace("{name: count}", "{}") + f"spec:\n{MAIN}", "job.yaml:3: metadata.name: is missing"),
        ("a: b\n\x07", "job.yaml:2: has the control character '\\x07'"),
        ("[" * 500, "job.yaml:1: is nested more than 100 levels deep"),
        # libyaml may have a limit of its own.
        ("[" * 100_000, "job.yaml:1: is n"),
        ("#" * (1 << 20) + "\n", "job.yaml: is larger than 1 MiB"),
    ],
)
@pytest.mark.usefixtures("make")
def test_what_is_no_job_file_is_refused(text: str, said: str) -> None:
    assert refused(text).startswith(said)


@pytest.mark.usefixtures("make")
def test_text_that_is_not_utf8_is_refused_with_its_line() -> None:
    Path("job.yaml").write_bytes(HEAD.encode() + b"\xff\xfe")
    with pytest.raises(UsageError, match=r"^job\.yaml:4: is not UTF-8 text$"):
        load("job.yaml", [], {})


@pytest.mark.usefixtures("make")
def test_an_alias_bomb_costs_nothing() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 200))
    begun = time.monotonic()
    refused(bomb + HEAD)
    assert "must be a single value, not a list" in refused(
        HEAD + f"spec:\n{MAIN}  arguments:\n  - &a [x, x]\n" + "".join(f"  - &a{n} [*a, *a]\n" for n in range(99))
    )
    assert time.monotonic() - begun < 2


def test_an_alias_stands_for_its_value(make: Make) -> None:
    job = make("  driver: &small {cores: 2, memory: 600m}\n  executor: *small\n")
    assert (job.executor.cores, job.executor.memory_mb, job.executor.instances) == (2, 600, 1)


@pytest.mark.usefixtures("make")
def test_the_job_files_folder_is_where_paths_begin_and_links_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "job.yaml").write_text(f"{HEAD}spec:\n  mainApplicationFile: ./link.py\n")
    (inner / "link.py").symlink_to("../main.py")
    monkeypatch.chdir("/")
    job = load(str(inner / "job.yaml"), [], {})
    assert job.main == inner / "link.py"
    (tmp_path / "main.py").unlink()
    with pytest.raises(UsageError, match=r"link\.py does not exist"):
        load(str(inner / "job.yaml"), [], {})


def test_more_than_512_mib_of_files_are_refused(make: Make, tmp_path: Path) -> None:
    with (tmp_path / "big.bin").open("wb") as file:
        os.truncate(file.fileno(), 512 << 20)
    with pytest.raises(UsageError, match=r"job.yaml:6: spec.deps.files\[0\]: with big.bin the job's files are 512 MiB"):
        make("  deps: {files: [big.bin]}\n")


def test_arguments_on_the_command_line_stand_in_for_the_files(make: Make) -> None:
    assert make("  arguments: [a, b]\n", "--c", "${params.d}").arguments == ("--c", "${params.d}")


@pytest.mark.usefixtures("make")
def test_a_python_file_is_a_job_with_defaults() -> None:
    Path("Word_Count.py").write_text("pass\n")
    job = load("./Word_Count.py", ["1", "--x"], {})
    assert job == SparkJob("word-count", main=Path.cwd() / "Word_Count.py", arguments=("1", "--x"))


@pytest.mark.usefixtures("make")
def test_a_jars_main_class_is_read_from_its_manifest() -> None:
    with zipfile.ZipFile("app.jar", "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\nMain-Class: org.exam\r\n ple.Main\r\n")
    assert load("app.jar", [], {}).main_class == "org.example.Main"


@pytest.mark.usefixtures("make")
def test_a_jar_without_a_main_class_is_refused_unless_the_job_names_one() -> None:
    with zipfile.ZipFile("app.jar", "w") as archive:
        archive.writestr("a", "b")
    text = f"{HEAD}spec:\n  mainApplicationFile: app.jar\n"
    assert "app.jar has no Main-Class in its manifest; name the class in spec.mainClass of a job file" in refused(text)
    assert "'a-b' is no name of a class" in refused(text + "  mainClass: a-b\n")
    Path("job.yaml").write_text(text + "  mainClass: a.B\n")
    assert load("job.yaml", [], {}).main_class == "a.B"
    Path("app.jar").write_text("no zip")
    assert "app.jar is not a jar" in refused(text)


def test_the_main_file_may_be_in_the_image(make: Make) -> None:
    Path("job.yaml").write_text(f"{HEAD}spec:\n  mainApplicationFile: local:///opt/app/main.py\n")
    job = load("job.yaml", [], {})
    assert (job.main, job.main_in_image, job.files) == (None, "/opt/app/main.py", ())
    assert "is written local:///" in refused(f"{HEAD}spec:\n  mainApplicationFile: local:opt/main.py\n")
    assert "spec.mainClass: is missing" in refused(f"{HEAD}spec:\n  mainApplicationFile: local:///opt/a.jar\n")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "a.txt",
        "gone.py",
        "gone.yaml",
        "a\0.yaml",
        "a\nb.yaml",
        "a\nb.py",
        "a\nb.json",
        "$(id)",
        "~nobody-here/a.py",
        "x" * 5000 + ".py",
    ],
)
@pytest.mark.usefixtures("make")
def test_what_is_no_job_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(name, [], {})
    assert re.fullmatch(r"[^\n\0]+", str(caught.value))


@pytest.mark.usefixtures("make")
def test_parameters_for_a_job_without_a_file_are_refused() -> None:
    with pytest.raises(UsageError, match="--param and --params are for a job file"):
        load("main.py", [], {"a": "b"})


@pytest.mark.parametrize("name", ["job.json", "job.yaml"])
def test_json_is_read_as_json_whatever_the_file_is_called(make: Make, name: str) -> None:
    make()
    values = {"A": "ä€😀😀", "B": "\\ud83d\\ude00", "C": "\\😀\u2028", "D": "a\tb"}
    spec = {"mainApplicationFile": "main.py", "env": values}
    job = {"apiVersion": "cms/v1", "kind": "SparkJob", "metadata": {"name": "count"}, "spec": spec}
    Path(name).write_text(json.dumps(job, indent="\t"))
    assert load(name, [], {}).env == values


def test_what_looks_like_a_half_of_a_character_in_yaml_is_text(make: Make) -> None:
    assert make("  env: {A: '\\ud83d\\ude00', B: \\ud83d\\ude00}\n").env == dict.fromkeys("AB", "\\ud83d\\ude00")
