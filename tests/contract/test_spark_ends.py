"""What every provider promises of how a Spark program ends, and of what is told before it starts."""

import pytest

from contract.conftest import Cluster
from contract.test_jobs import write, write_job_file

pytestmark = pytest.mark.cluster

LEAVES_A_THREAD = """
import sys, threading, time
from pyspark import SparkContext
print("sum", SparkContext().range(10).sum(), flush=True)
threading.Thread(target=time.sleep, args=(600,), name="left").start()
sys.exit(int(sys.argv[1]))
"""
# A Java program without a compiler: a Python program asks its JVM for a thread that is no daemon.
LEAVES_A_JAVA_THREAD = """
from pyspark import SparkContext
jvm = SparkContext()._jvm
timer = jvm.java.util.Timer("left", False)
print("running", flush=True)
"""
SECONDS = 120


@pytest.mark.parametrize("code", [0, 3])
def test_a_program_ends_when_its_main_ends_with_its_exit_code(cluster: Cluster, tmp_path, code):
    outcome = cluster.cms("submit", write(tmp_path, "left.py", LEAVES_A_THREAD), "--", str(code))
    assert outcome.stdout == "sum 45\n"
    assert "threads that are left end with it: left" in outcome.stderr
    assert (outcome.status, outcome.seconds < SECONDS) == (1 if code else 0, True)
    if code:
        assert outcome.stderr.splitlines()[-1].endswith(f"exit code {code}")


def test_a_thread_of_the_jvm_does_not_keep_a_program(cluster, tmp_path):
    outcome = cluster.cms("submit", write(tmp_path, "left.py", LEAVES_A_JAVA_THREAD)).ok()
    assert (outcome.stdout, outcome.seconds < SECONDS) == ("running\n", True)


def test_nothing_that_spark_says_of_itself_buries_the_answer(cluster, tmp_path):
    outcome = cluster.cms("submit", write_job_file(tmp_path, LEAVES_A_THREAD, arguments=["0"])).ok()
    assert " INFO " not in outcome.stderr
    told = cluster.cms(
        "submit", write_job_file(tmp_path, LEAVES_A_THREAD, arguments=["0"], sparkConf={"spark.log.level": "INFO"})
    )
    assert " INFO " in told.ok().stderr


def test_a_folder_of_event_logs_that_is_not_there_is_told_at_once(cluster, tmp_path):
    conf = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": "/nowhere/events"}
    outcome = cluster.cms("submit", write_job_file(tmp_path, "print('ran')", sparkConf=conf))
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "spark.eventLog.dir: the directory /nowhere/events does not exist" in outcome.stderr
    assert outcome.seconds < SECONDS


@pytest.mark.parametrize("zone", ["America/New_York", "US/Eastern"])
def test_time_zones_are_known_by_their_old_names_too(cluster, tmp_path, zone):
    program = (
        "import zoneinfo\n"
        "from pyspark.sql import SparkSession\n"
        f"zone = zoneinfo.ZoneInfo({zone!r})\n"
        "session = SparkSession.builder.getOrCreate()\n"
        "print(session.sql(\"SELECT CAST(TIMESTAMP '2024-07-01 00:00:00 UTC' AS STRING)\").collect()[0][0])\n"
    )
    conf = {"spark.sql.session.timeZone": zone}
    assert cluster.cms("submit", write_job_file(tmp_path, program, sparkConf=conf)).ok().stdout == (
        "2024-06-30 20:00:00\n"
    )
