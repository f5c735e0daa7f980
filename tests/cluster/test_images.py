"""The Spark image: built, delivered through a real registry, and run as a standalone cluster of real containers."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import socket
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from support.hosts import execute
from support.registry import BINARY, RegistryProcess
from support.waiting import wait_until

from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.images import catalog
from cloudmesh.cluster.images.build import build_image
from cloudmesh.cluster.images.push import push
from cloudmesh.cluster.images.registry import Registry

pytestmark = pytest.mark.cluster

LABEL = "cloudmesh.cluster"
LABEL_VALUE = "test-images"
MASTER, MASTER_PAGE, WORKER, WORKER_PAGE, DRIVER, BLOCKS = 7077, 8080, 7078, 8081, 7079, 7080

# Points of a fixed sequence in the unit square: the answer is always the same, and known.
PI = """
import sys, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
def inside(i):
    x, y = i * 0.6180339887498949 % 1.0, i * 0.7548776662466927 % 1.0
    return x * x + y * y <= 1.0
N = 100000
hits = spark.sparkContext.parallelize(range(N), 4).filter(inside).count()
groups = spark.range(N).selectExpr("id % 7 AS k").groupBy("k").count().collect()
print("pi", 4.0 * hits / N, "rows", sum(row["count"] for row in groups), flush=True)
time.sleep(float(sys.argv[1]))
"""
ANSWER = "pi 3.1412 rows 100000\n"
WRONG = {"CMS_SECRET_FILE": "/cms/wrong"}


class RecordedSteps:
    """A report that remembers its steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, where: str, what: str) -> None:
        self.steps.append(f"{where}: {what}")

    def done(self, where: str, what: str = "") -> None:
        pass

    def failed(self, where: str, why: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    client = docker.from_env(timeout=120)
    yield client
    for container in client.containers.list(all=True, filters={"label": f"{LABEL}={LABEL_VALUE}"}):
        container.remove(force=True)
    client.close()


@pytest.fixture(scope="module")
def spark(engine: Any) -> str:
    return build_image(catalog.find("spark"), report=RecordedSteps())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    if not BINARY:
        pytest.skip("docker-registry is not installed")
    with RegistryProcess(tmp_path_factory.mktemp("registry")) as process:
        yield process


def run_container(engine: Any, image: str, *command: str, **options: Any) -> str:
    """Run a command in a container and return its output."""
    result = engine.containers.run(image, list(command), remove=True, labels={LABEL: LABEL_VALUE}, **options)
    return result.decode()


def test_an_image_that_is_there_is_not_built_again(spark):
    report = RecordedSteps()
    assert build_image(catalog.find("spark"), report=report) == spark
    assert report.steps == []


def test_the_image_is_labelled_and_runs_as_a_user_without_rights(engine, spark):
    image = engine.images.get(spark)
    assert image.labels["cloudmesh.image"] == "spark"
    assert image.attrs["Config"]["User"] == "185:185"
    assert run_container(engine, spark, "-un", entrypoint="id") == "spark\n"
    assert (
        run_container(engine, spark, "-c", 'touch "$CMS_RESULTS/a" && pwd', entrypoint="sh") == "/opt/cloudmesh/work\n"
    )


def test_nothing_of_the_build_is_left_in_the_image(engine, spark):
    left = run_container(
        engine, spark, "-c", "ls -d /build /root/.cache; command -v pip pip3 gcc; :", entrypoint="sh", stderr=False
    )
    assert left == ""
    history = str([entry["CreatedBy"] for entry in engine.images.get(spark).history()])
    assert not re.search("proxy|PIP_|ca-bundle|://", history)


def test_the_pure_python_part_was_compiled_beforehand(engine, spark):
    code = "import pyspark.sql, sys; print(pyspark.__version__, pyspark.sql.__cached__)"
    version, cached = run_container(engine, spark, "-c", code, entrypoint="python3").split()
    assert version == catalog.find("spark").version
    run_container(engine, spark, "-s", cached, entrypoint="test")


def test_a_build_that_fails_shows_its_last_lines(engine, monkeypatch):
    monkeypatch.setattr(
        catalog.Image,
        "context",
        lambda _: {"Dockerfile": b"ARG BASE\nFROM ${BASE}\nRUN seq 100 && echo no more space && exit 7\n"},
    )
    report = RecordedSteps()
    with pytest.raises(ImageError) as error:
        build_image(catalog.find("spark"), report=report)
    lines = str(error.value).splitlines()
    assert lines[0] == "image spark could not be built; its last lines:"
    assert "no more space" in lines
    assert "100" in lines
    assert "returned a non-zero code: 7" in lines[-1]
    assert len(lines) <= 17
    assert [step for step in report.steps if step.startswith("spark: 3/3 RUN seq 100")]


def test_proxy_and_certificate_authorities_reach_the_build_and_not_the_image(engine, monkeypatch, tmp_path):
    dockerfile = (
        b"ARG BASE\nFROM ${BASE} AS build\nARG PIP_INDEX_URL\nCOPY Dockerfile ca-bundle.pem* /build/\n"
        b"RUN cp /build/ca-bundle.pem /seen && echo $http_proxy $PIP_INDEX_URL >> /seen\n"
        b"FROM ${BASE}\nCOPY --from=build /seen /seen\n"
    )
    monkeypatch.setattr(catalog.Image, "context", lambda _: {"Dockerfile": dockerfile})
    monkeypatch.setenv("http_proxy", "http://user:word@proxy.example:3128")
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:word@index.example/simple")
    (tmp_path / "ca.pem").write_text("AUTHORITIES\n")
    tag = build_image(catalog.find("spark"), report=RecordedSteps(), ca_bundle=str(tmp_path / "ca.pem"))
    try:
        seen = run_container(engine, tag, "cat", "/seen")
        assert seen == "AUTHORITIES\nhttp://user:word@proxy.example:3128 https://user:word@index.example/simple\n"
        assert "word" not in str(engine.images.get(tag).history()) + str(engine.images.get(tag).attrs)
    finally:
        engine.images.remove(tag, force=True)


def test_a_ca_bundle_that_cannot_be_read_is_named(engine, monkeypatch):
    monkeypatch.setattr(catalog.Image, "context", lambda _: {"Dockerfile": b"FROM scratch\n# never built\n"})
    with pytest.raises(ImageError, match=r"CA bundle /no/such/file: No such file"):
        build_image(catalog.find("spark"), report=RecordedSteps(), ca_bundle="/no/such/file")


def test_an_image_is_sent_once(engine, spark, registry):
    push(spark, Registry(registry.port), report=RecordedSteps())
    stored, before = registry.stored(), len(registry.requests())
    assert stored > 100_000_000
    report = RecordedSteps()
    assert push(spark, Registry(registry.port), report=report) == spark
    assert {method for method, _ in registry.requests()[before:]} == {"HEAD"}
    assert (registry.stored(), report.steps) == (stored, [])
    assert not [tag for tag in engine.images.get(spark).tags if str(registry.port) in tag]


def test_an_image_that_the_engine_does_not_have_is_named(registry):
    with pytest.raises(ImageError, match="cloudmesh/none:1"):
        push("cloudmesh/none:1", Registry(registry.port), report=RecordedSteps())


def test_a_jobs_layer_is_pulled_and_run_like_any_image(engine, spark, registry):
    repository, _, tag = push(spark, Registry(registry.port), report=RecordedSteps()).partition(":")
    stored = registry.stored()
    job = layer("opt/cloudmesh/job/job.py", b"import pyspark, os\nprint('done by', os.getuid(), pyspark.__version__)\n")
    Registry(registry.port).append_layer(repository, tag, job, "cms-jobs/small", "abc")
    assert registry.stored() - stored < len(job) + 20_000
    image = f"127.0.0.1:{registry.port}/cms-jobs/small:abc"
    engine.images.pull(image)
    try:
        assert run_container(engine, image, "/opt/cloudmesh/job/job.py", entrypoint="python3") == "done by 185 4.0.1\n"
    finally:
        engine.images.remove(image)


def layer(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(archive.getvalue())


# The master's log tells who has come to it.
TELLS_ALL = """
rootLogger.level = info
rootLogger.appenderRef.stdout.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %m%n
"""


class Standalone:
    """A master and a worker that share the network of one container, as processes of one host do."""

    def __init__(self, engine: Any, image: str, directory: Path) -> None:
        self._engine, self._image, self._directory = engine, image, directory
        directory.chmod(0o755)
        (directory / "secret").write_text("right\n")
        (directory / "wrong").write_text("wrong\n")
        (directory / "pi.py").write_text(PI)
        (directory / "fails.py").write_text("import sys\nsys.exit(42)\n")
        (directory / "log4j2.properties").write_text(TELLS_ALL)
        self._host = engine.containers.run(
            image, ["infinity"], entrypoint="sleep", init=True, detach=True, labels={LABEL: LABEL_VALUE}
        )
        self._host.reload()
        self.address: str = self._host.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        (directory / "master").write_text(f"{self.address}:{MASTER}")
        self.master = self.start(
            "master",
            CMS_MASTER_PORT=MASTER,
            CMS_WEBUI_PORT=MASTER_PAGE,
            JDK_JAVA_OPTIONS="-Dlog4j2.configurationFile=/cms/log4j2.properties",
        )
        self.worker = self.start(
            "worker",
            CMS_WORKER_PORT=WORKER,
            CMS_WEBUI_PORT=WORKER_PAGE,
            CMS_CORES=2,
            CMS_MEMORY_MB=512,
            CMS_MASTER_FILE="/cms/master",
        )

    def start(self, *command: str, **environment: object) -> Any:
        return self._engine.containers.run(
            self._image,
            list(command),
            detach=True,
            labels={LABEL: LABEL_VALUE},
            network_mode=f"container:{self._host.id}",
            volumes={str(self._directory): {"bind": "/cms", "mode": "ro"}},
            environment={"CMS_ADDRESS": self.address, "CMS_SECRET_FILE": "/cms/secret", **environment},
        )

    @contextmanager
    def driver(self, *arguments: str, **environment: object) -> Iterator[Any]:
        container = self.start(
            "driver",
            *("--driver-memory", "512m", "--conf", "spark.executor.memory=512m"),
            *arguments,
            CMS_MASTER=f"{self.address}:{MASTER}",
            CMS_DRIVER_PORT=DRIVER,
            CMS_BLOCKMANAGER_PORT=BLOCKS,
            **environment,
        )
        try:
            yield container
        finally:
            container.remove(force=True)

    def listening(self) -> set[tuple[str, int]]:
        """Return address and port of everything that listens on this host."""
        text = execute(self._host, "cat /proc/net/tcp /proc/net/tcp6")[1]
        sockets = [line.split()[1] for line in text.splitlines() if line.split()[3:4] == ["0A"]]
        return {(parse_address(address), int(port, 16)) for address, port in (entry.split(":") for entry in sockets)}


def parse_address(address: str) -> str:
    """Return an address of /proc/net/tcp or tcp6, an IPv4 one in IPv6 as IPv4."""
    words = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
    if len(words) == 16 and words.startswith(bytes(10) + b"\xff\xff"):
        words = words[12:]
    return socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words)


def wait_for_output(container: Any, text: str) -> str:
    """Return the container's output once `text` is in it; AssertionError: the container ends, or 120 s are over."""

    def read_output() -> str:
        output: str = container.logs(stderr=True).decode()
        if text not in output:
            container.reload()
            assert container.status == "running", output
        return output

    output = wait_until(read_output, 120, pause=0.2, satisfies=lambda output: text in output)
    assert text in output, output
    return output


@pytest.fixture(scope="module")
def standalone(engine: Any, spark: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    directory = tmp_path_factory.mktemp("standalone")
    cluster = Standalone(engine, spark, directory)
    wait_for_output(cluster.master, "Registering worker")
    yield cluster
    shutil.rmtree(directory)


def test_a_job_gives_the_right_answer_and_nothing_listens_without_asking_for_the_secret(standalone):
    with standalone.driver("/cms/pi.py", "5") as driver:
        wait_for_output(driver, ANSWER)
        sockets = standalone.listening()
        assert driver.wait()["StatusCode"] == 0
        assert driver.logs(stderr=False).decode() == ANSWER
    outside = {(address, port) for address, port in sockets if not address.startswith("127.") and address != "::1"}
    assert {address for address, _ in outside} == {standalone.address}
    ours = {(standalone.address, port) for port in (MASTER, WORKER, DRIVER, BLOCKS)}
    assert ours <= outside
    assert len(outside - ours) == 1  # the executor's blocks, which ask for the secret as the driver's do
    assert {("127.0.0.1", MASTER_PAGE), ("127.0.0.1", WORKER_PAGE)} <= sockets


def test_no_process_has_the_secret_in_its_arguments(standalone):
    with standalone.driver("/cms/pi.py", "5") as driver:
        wait_for_output(driver, ANSWER)
        for container in (standalone.master, standalone.worker, driver):
            lines = str(container.top(ps_args="-eo pid,args")["Processes"])
            assert "spark" in lines
            assert "right" not in lines


def test_a_driver_with_another_secret_gets_nothing(standalone):
    with standalone.driver("/cms/pi.py", "0", CMS_TIMEOUT_SECONDS=25, **WRONG) as driver:
        since = int(time.time())
        wait_for_output(driver, "Failed to connect to master")
        assert "Registering app" not in standalone.master.logs(since=since).decode()
        assert driver.wait()["StatusCode"] == 124
        assert driver.logs(stderr=False).decode() == ""


def test_a_driver_that_fails_gives_its_exit_status(standalone):
    with standalone.driver("/cms/fails.py") as driver:
        assert driver.wait()["StatusCode"] == 42


def test_a_driver_that_takes_too_long_is_stopped_and_gives_124(standalone):
    with standalone.driver("/cms/pi.py", "600", CMS_TIMEOUT_SECONDS=15) as driver:
        begun = time.monotonic()
        assert driver.wait()["StatusCode"] == 124
        assert time.monotonic() - begun < 40


def test_when_the_master_is_stopped_the_worker_ends_well(standalone):
    standalone.master.stop(timeout=10)
    assert standalone.worker.wait(timeout=30)["StatusCode"] == 0
    assert "has gone" in standalone.worker.logs().decode()
