"""The entry point of the Spark image, with Spark's own commands replaced by ones that tell how they were called."""

from __future__ import annotations

import importlib.resources
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

IMAGE = Path(str(importlib.resources.files("cloudmesh.images") / "spark"))
SECRET = "a-long-secret-word"  # noqa: S105
SUBMIT = "org.apache.spark.deploy.SparkSubmit"
# Stands for spark-class and java: tells how it was called, then does what $THEN says. As Spark's launcher it only
# writes a command, as that does: without a carriage return at the end of a word. It starts often: nothing is imported
# that it can do without.
RECORDER = f"""#!{sys.executable} -IS
import os, signal, sys, time
if "org.apache.spark.launcher.Main" in sys.argv:
    words = [sys.argv[0], *sys.argv[sys.argv.index("org.apache.spark.launcher.Main") + 1 :]]
    sys.stdout.write("\\0\\n" + "".join(word.removesuffix("\\r") + "\\0" for word in words))
    sys.exit(int(os.environ.get("LAUNCHED", "0")))
import json
folder = os.environ.get("SPARK_CONF_DIR", "")
told = {{
    "arguments": sys.argv[1:],
    "environment": dict(os.environ),
    "conf": open(folder + "/spark-defaults.conf").read() if folder else "",
    "logging": open(folder + "/log4j2.properties").read() if folder else "",
    "mode": os.stat(folder + "/spark-defaults.conf").st_mode & 0o777 if folder else 0,
}}
with open(os.environ["TOLD"], "a") as file:
    file.write(json.dumps(told) + "\\n")
exec(os.environ.get("THEN", ""))
"""
HANG = "time.sleep(60)"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


class Spark:
    """An entry point beside recorders."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._told = directory / "told"
        for name in ("home/bin/spark-class", "java/bin/java"):
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(RECORDER)
            path.chmod(0o755)
        (directory / "home/conf").mkdir()
        for name in ("spark-defaults.conf", "log4j2.properties"):
            shutil.copy(IMAGE / name, directory / "home/conf")
        self.secret = directory / "secret"
        self.secret.write_text(SECRET + "\n")
        self.master = directory / "master"
        self.environment = {
            # `python3` is the one that runs the tests
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": str(directory),
            "TOLD": str(self._told),
            "SPARK_HOME": str(directory / "home"),
            "JAVA_HOME": str(directory / "java"),
            "CMS_ADDRESS": "10.0.0.5",
            "CMS_SECRET_FILE": str(self.secret),
            "CMS_MASTER_PORT": "7077",
            "CMS_WEBUI_PORT": "8080",
            "CMS_WORKER_PORT": "7078",
            "CMS_CORES": "2",
            "CMS_MEMORY_MB": "1024",
            "CMS_MASTER_FILE": str(self.master),
            "CMS_DRIVER_PORT": "7079",
            "CMS_BLOCKMANAGER_PORT": "7080",
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", str(IMAGE / "entrypoint.sh"), *arguments],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Return the exit status and what went to stderr."""
        with self.start(*arguments, **environment) as process:
            _, error = process.communicate(timeout=30)
            return process.returncode, error

    def told(self, count: int = 1) -> dict[str, Any]:
        """Return what the `count`th recorder was called with, as soon as it was."""
        deadline = time.monotonic() + 10
        while not self._told.exists() or len(self._told.read_text().splitlines()) < count:
            assert time.monotonic() < deadline, "nothing was started"
            time.sleep(0.02)
        return json.loads(self._told.read_text().splitlines()[count - 1])

    @property
    def started(self) -> bool:
        return self._told.exists()


@pytest.fixture
def spark(tmp_path: Path) -> Spark:
    return Spark(tmp_path)


@contextmanager
def listening() -> Iterator[str]:
    """Yield HOST:PORT of something that accepts connections, as a master does, and cuts them at the end."""
    connections: list[socket.socket] = []

    def accept() -> None:
        try:
            while True:
                connections.append(server.accept()[0])
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()


def refusing() -> str:
    """Return HOST:PORT of nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_the_master_listens_where_it_is_told_and_shows_its_page_on_loopback_only(spark):
    assert spark.run("master") == (0, "")
    told = spark.told()
    assert told["arguments"] == [
        "org.apache.spark.deploy.master.Master",
        *("--host", "10.0.0.5", "--port", "7077", "--webui-port", "8080"),
    ]
    assert told["environment"]["SPARK_LOCAL_IP"] == "127.0.0.1"


@pytest.mark.parametrize("role", ["master", "worker", "driver"])
def test_the_secret_is_in_a_file_that_only_the_user_can_read_and_nowhere_else(spark, role):
    with listening() as master:
        spark.master.write_text(master)
        spark.run(role, CMS_MASTER=master)
    told = spark.told()
    assert f"spark.authenticate.secret {SECRET}\n" in told["conf"]
    assert "spark.authenticate true\nspark.network.crypto.enabled true\n" in told["conf"]
    assert told["mode"] == 0o600
    assert SECRET not in json.dumps([told["arguments"], told["environment"]])


@pytest.mark.parametrize("role", ["master", "worker", "driver"])
@pytest.mark.parametrize("content", [None, ""])
def test_without_a_secret_nothing_is_started(spark, role, content):
    spark.secret.unlink()
    if content is not None:
        spark.secret.write_text(content)
    status, error = spark.run(role, CMS_MASTER="127.0.0.1:1")
    assert (status, spark.started) == (64, False)
    assert "CMS_SECRET_FILE" in error


@pytest.mark.parametrize("name", ["CMS_ADDRESS", "CMS_WEBUI_PORT", "CMS_SECRET_FILE", "CMS_CORES", "CMS_MASTER_FILE"])
def test_a_variable_that_is_missing_is_named(spark, name):
    status, error = spark.run("worker", **{name: ""})
    assert (status, spark.started) == (64, False)
    assert f"{name} is not set" in error


@pytest.mark.parametrize("arguments", [(), ("bash",), ("Master",)])
def test_an_unknown_role_is_refused(spark, arguments):
    status, error = spark.run(*arguments)
    assert (status, spark.started) == (64, False)
    assert "master, worker, driver or executor" in error


def test_the_worker_waits_until_its_master_is_known_and_answers(spark):
    with spark.start("worker") as process:
        time.sleep(0.3)
        spark.master.write_text(refusing())
        time.sleep(1)
        assert not spark.started
        with listening() as master:
            spark.master.write_text(f"{master}\n")
            assert spark.told()["arguments"][-1] == f"spark://{master}"
            assert process.wait(10) == 0
    options = spark.told()["arguments"][1:-3]
    assert dict(zip(options[::2], options[1::2], strict=True)) == {
        "--host": "10.0.0.5",
        "--port": "7078",
        "--webui-port": "8080",
        "--cores": "2",
        "--memory": "1024m",
    }


def test_a_worker_that_gets_no_master_in_time_has_nothing_to_do(spark):
    status, error = spark.run("worker", CMS_WAIT_SECONDS="1")
    assert (status, spark.started) == (0, False)
    assert "no master has answered in 1 s" in error


def test_a_worker_ends_well_once_its_master_has_gone(spark):
    with listening() as master:
        spark.master.write_text(master)
        process = spark.start("worker", THEN=HANG)
        spark.told()
    begun = time.monotonic()
    _, error = process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"the master at {master} has gone" in error
    assert 4 < time.monotonic() - begun < 10


def test_a_worker_ends_at_once_when_its_master_was_taken_off_the_list(spark):
    with listening() as master:
        spark.master.write_text(master)
        process = spark.start("worker", THEN=HANG)
        spark.told()
        spark.master.write_text("")
    begun = time.monotonic()
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert time.monotonic() - begun < 3


def test_a_worker_stays_while_its_master_only_left_the_list(spark):
    with listening() as master:
        spark.master.write_text(master)
        process = spark.start("worker", THEN=HANG)
        spark.told()
        spark.master.write_text("")
        time.sleep(1.5)
        assert process.poll() is None
    assert process.wait(10) == 0
    process.communicate()


def test_a_worker_follows_its_master_to_another_address(spark):
    with listening() as second:
        with listening() as first:
            spark.master.write_text(first)
            process = spark.start("worker", THEN=HANG)
            assert spark.told()["arguments"][-1] == f"spark://{first}"
            spark.master.write_text(second)
        assert spark.told(2)["arguments"][-1] == f"spark://{second}"
        spark.master.write_text("")
    assert process.wait(20) == 0
    process.communicate()


def test_a_worker_that_fails_is_not_said_to_have_ended_well(spark):
    with listening() as master:
        spark.master.write_text(master)
        assert spark.run("worker", THEN="sys.exit(50)")[0] == 50


def test_the_driver_is_reached_at_its_address_and_ports(spark):
    with listening() as master:
        assert spark.run("driver", "--name", "a b", "pi.py", "$(id)", CMS_MASTER=master) == (0, "")
    told = spark.told()
    assert told["arguments"] == ["cloudmesh.EndWithMain", SUBMIT, "--name", "a b", "pi.py", "$(id)"]
    settings = dict(line.split(" ", 1) for line in told["conf"].splitlines())
    assert settings["spark.master"] == f"spark://{master}"
    assert settings["spark.driver.host"] == settings["spark.driver.bindAddress"] == "10.0.0.5"
    assert (settings["spark.driver.port"], settings["spark.driver.blockManager.port"]) == ("7079", "7080")
    assert settings["spark.ui.enabled"] == "false"


def test_the_driver_on_kubernetes_waits_for_no_master_and_makes_its_own_secret(spark):
    assert spark.run("driver", "pi.py", CMS_MASTER="k8s://https://kubernetes.default.svc", CMS_SECRET_FILE="") == (
        0,
        "",
    )
    conf = spark.told()["conf"]
    assert "spark.master k8s://https://kubernetes.default.svc\n" in conf
    assert "spark.authenticate true\n" in conf
    assert "spark.authenticate.secret" not in conf


@pytest.mark.parametrize(("then", "status"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), signal.SIGKILL)", 137)])
def test_the_driver_ends_as_spark_submit_ended(spark, then, status):
    with listening() as master:
        assert spark.run("driver", CMS_MASTER=master, THEN=then)[0] == status


def test_a_driver_without_a_master_fails(spark):
    status, error = spark.run("driver", CMS_MASTER=refusing(), CMS_WAIT_SECONDS="1")
    assert (status, spark.started) == (69, False)
    assert "does not answer" in error


def test_a_driver_that_takes_too_long_gives_124(spark):
    with listening() as master:
        status, error = spark.run("driver", CMS_MASTER=master, CMS_TIMEOUT_SECONDS="1", THEN=HANG)
    assert status == 124
    assert "the time of 1 s is over" in error


def test_a_driver_that_takes_too_long_and_ignores_sigterm_gives_124_all_the_same(spark):
    hasty = "import sys, supervise; supervise.GRACE = 0.3; sys.exit(supervise.main())"
    with listening() as master:
        environment = {**spark.environment, "CMS_MASTER": master, "CMS_TIMEOUT_SECONDS": "1", "THEN": STUBBORN}
        environment["PYTHONPATH"] = str(IMAGE)
        command = [sys.executable, "-B", "-c", hasty, "driver", str(spark.directory / "java/bin/java")]
        assert subprocess.run(command, env=environment, timeout=20, check=False).returncode == 124


@pytest.mark.parametrize("role", ["driver", "worker"])
def test_a_stop_is_passed_on_to_spark(spark, role):
    with listening() as master:
        spark.master.write_text(master)
        process = spark.start(role, CMS_MASTER=master, THEN=HANG)
        spark.told()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 143


def test_a_stop_while_waiting_for_the_master_is_heard(spark):
    process = spark.start("worker")
    _await_handler(process.pid)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143


def _await_handler(pid: int) -> None:
    """Wait until the process catches SIGTERM."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        caught = next(
            line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt")
        )
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.05)
    raise AssertionError("SIGTERM is never caught")


@pytest.mark.parametrize("word", ["x\r", "\r", "a\rb\r\n", "\ue000\r", "ä€😀", "", "two\nlines\n", "$$ ${x} 'q' \"r\""])
def test_a_driver_gets_its_arguments_byte_for_byte(spark, word):
    with listening() as master:
        spark.run("driver", "--conf", f"spark.x={word}", "pi.py", word, "--", "--conf", CMS_MASTER=master)
    assert spark.told()["arguments"][2:] == ["--conf", f"spark.x={word}", "pi.py", word, "--", "--conf"]


def test_a_driver_may_wait_for_the_threads_that_its_main_leaves(spark):
    waits = "spark.submit.callSystemExitOnMainExit=false"
    with listening() as master:
        spark.run("driver", "--conf", waits, "pi.py", CMS_MASTER=master)
        spark.run("driver", "pi.py", "--conf", waits, CMS_MASTER=master)
    assert spark.told(1)["arguments"][0] == SUBMIT
    assert "CMS_END_WITH_MAIN" not in spark.told(1)["environment"]
    assert spark.told(2)["arguments"][0] == "cloudmesh.EndWithMain"
    assert spark.told(2)["environment"]["CMS_END_WITH_MAIN"] == "1"


def test_arguments_that_spark_refuses_are_not_run(spark):
    with listening() as master:
        assert spark.run("driver", "--nonsense", CMS_MASTER=master, LAUNCHED="1")[0] == 1
    assert not spark.started


@pytest.mark.parametrize("form", ["{}/events", "file:{}/events", "file://{}/events"])
def test_a_folder_of_event_logs_that_is_not_there_is_told_before_anything_is_started(spark, form):
    conf = ["--conf", "spark.eventLog.enabled=true", "--conf", f"spark.eventLog.dir={form.format(spark.directory)}"]
    with listening() as master:
        status, error = spark.run("driver", *conf, "pi.py", CMS_MASTER=master)
        assert (status, spark.started) == (64, False)
        assert f"spark.eventLog.dir: the directory {spark.directory}/events does not exist" in error
        (spark.directory / "events").mkdir()
        assert spark.run("driver", *conf, "pi.py", CMS_MASTER=master) == (0, "")


@pytest.mark.parametrize(
    "conf", [["spark.eventLog.dir=/nowhere"], ["spark.eventLog.enabled=true", "spark.eventLog.dir=s3a://b/x"]]
)
def test_event_logs_that_are_off_or_elsewhere_are_sparks_matter(spark, conf):
    words = [word for pair in conf for word in ("--conf", pair)]
    with listening() as master:
        assert spark.run("driver", *words, "pi.py", "--conf", "spark.eventLog.enabled=true", CMS_MASTER=master) == (
            0,
            "",
        )


@pytest.mark.parametrize("role", ["master", "worker", "driver"])
def test_spark_says_warnings_only_unless_the_job_has_its_own_settings(spark, role):
    with listening() as master:
        spark.master.write_text(master)
        spark.run(role, CMS_MASTER=master)
        (spark.directory / "log4j2.properties").write_text("rootLogger.level = debug\n")
        spark.run(role, CMS_MASTER=master, CMS_JOB_DIR=str(spark.directory))
    assert "rootLogger.level = warn\n" in spark.told(1)["logging"]
    assert spark.told(2)["logging"] == "rootLogger.level = debug\n"


LEAVES_THREADS = """
import atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
threading.Thread(target=time.sleep, args=(60,), name="left").start()
ThreadPoolExecutor(1).submit(time.sleep, 60)
atexit.register(print, "tidied up")
print("main ends")
if sys.argv[1] == "raise":
    raise ValueError("boom")
sys.exit(int(sys.argv[1]))
"""


def run_python_driver(spark, program):
    """Run the driver, in whose place spark-submit runs a Python program."""
    with listening() as master:
        environment = {"CMS_MASTER": master, "PYTHONPATH": str(IMAGE), "THEN": program}
        return subprocess.run(
            ["sh", str(IMAGE / "entrypoint.sh"), "driver"],
            env={**spark.environment, **environment},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )


@pytest.mark.parametrize(("how", "status"), [("0", 0), ("3", 3), ("raise", 1)])
def test_a_python_program_ends_when_its_main_ends_with_its_exit_code_whatever_threads_are_left(spark, how, status):
    program = spark.directory / "program.py"
    program.write_text(LEAVES_THREADS)
    as_spark_does = (
        f"import subprocess; done = subprocess.run([sys.executable, {str(program)!r}, {how!r}], stdout=-1);"
        "sys.exit(done.returncode)"
    )
    done = run_python_driver(spark, as_spark_does)
    assert (done.returncode, done.stdout) == (status, "main ends\ntidied up\n")
    assert "driver: main has ended; threads that are left end with it: ThreadPoolExecutor-0_0, left\n" in done.stderr
    assert ("ValueError: boom" in done.stderr) == (how == "raise")


def test_what_a_python_program_prints_is_the_containers_own_output_whatever_spark_submit_does_with_its_pipe(spark):
    program = spark.directory / "program.py"
    program.write_text(
        "import subprocess, sys\nprint('result')\nprint('trouble', file=sys.stderr)\n"
        "child = [sys.executable, '-c', 'print(1 + 1)']\n"
        "print('child said', subprocess.run(child, capture_output=True, text=True).stdout.strip())\n"
    )
    as_spark_does = f"import subprocess; subprocess.run([sys.executable, {str(program)!r}], stdout=-1, stderr=-2)"
    done = run_python_driver(spark, as_spark_does)
    done.check_returncode()
    assert done.stdout == "result\nchild said 2\n"
    assert done.stderr == "trouble\n"


def test_an_executor_on_kubernetes_gets_its_options_in_order(spark):
    options = {f"SPARK_JAVA_OPT_{number}": f"-Doption{number}=a b $(id)\nSPARK_JAVA_OPT_99=" for number in range(11)}
    spark.run(
        "executor",
        **options,
        SPARK_EXECUTOR_MEMORY="1g",
        SPARK_EXECUTOR_ID="7",
        SPARK_EXECUTOR_CORES="2",
        SPARK_EXECUTOR_POD_IP="10.1.0.9",
        SPARK_EXECUTOR_POD_NAME="exec-7",
        SPARK_APPLICATION_ID="spark-1",
        SPARK_DRIVER_URL="spark://driver",
    )
    arguments = spark.told()["arguments"]
    (logging,) = [Path(folder) for folder in arguments[15].split(":") if Path(folder, "log4j2.properties").exists()][:1]
    assert (logging / "log4j2.properties").read_text() == (IMAGE / "log4j2.properties").read_text()
    assert arguments[:11] == list(options.values())
    assert arguments[11:14] == ["-Xms1g", "-Xmx1g", "-Dspark.master=k8s://driver"]
    assert arguments[16:] == [
        "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend",
        *("--driver-url", "spark://driver", "--executor-id", "7", "--cores", "2", "--app-id", "spark-1"),
        *("--hostname", "10.1.0.9", "--resourceProfileId", "0", "--podName", "exec-7"),
    ]
