"""What every provider promises of a HadoopService: jobs share its files and YARN, and any worker may be lost."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import wait_until

from contract import test_containers as containers
from contract.conftest import EXAMPLES, Cluster, run_on_all
from contract.test_hadoop import count_words, fetch, parse_counts, write_brief
from contract.test_jobs import read_job, write, write_job_file

pytestmark = pytest.mark.cluster

SERVICE, DISKS, VOLUME, DIRECTORY = "hdfs-1", "data", "warehouse", "/srv/cms-hdfs"
REFUSED_SECONDS = 60
DATA_NODE = "'[o]rg.apache.hadoop.hdfs.server.datanode.DataNode'"  # a pattern that does not fit the search itself
TASK = "'[o]rg.apache.hadoop.mapred.YarnChild'"
EXECUTOR_SECONDS = 60  # a third of that on a machine that has nothing else to do
WRITE = """
import sys, time
from pyspark.sql import SparkSession
began = time.monotonic()
spark = SparkSession.builder.getOrCreate()
while spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size() < 2:  # the driver is one
    time.sleep(0.1)
print(time.monotonic() - began)
spark.range(1000).repartition(3).write.parquet(sys.argv[1] + "/numbers")
"""
READ = """
import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print(spark.read.parquet(sys.argv[1] + "/numbers").groupBy().sum("id").first()[0])
"""


@pytest.fixture(scope="module")
def warehouse(cluster: Cluster) -> Iterator[str]:
    """Yield the name of a volume that is a directory of the service's file system."""
    cluster.cms("storage", "add", f"--directory={DIRECTORY}", DISKS).ok()
    try:
        cluster.cms("submit", f"--id={SERVICE}", str(EXAMPLES / "hadoop-service.yaml")).ok()
        cluster.cms("storage", "add", f"--hadoop={SERVICE}/spark", VOLUME).ok()
        yield VOLUME
    finally:
        cluster.cms("stop", SERVICE).ok()
        cluster.cms("storage", "remove", "--yes", VOLUME)
        assert wait_until(lambda: cluster.cms("storage", "remove", "--yes", DISKS).status == 0, 60), (
            "never: nothing uses the disks"
        )
        run_on_all(cluster, f"rm -rf {DIRECTORY}")


def write_job(warehouse: str, folder: Path, program: str) -> str:
    """Write a job file for a program whose argument is the volume's URI; return its path."""
    storage = [{"name": warehouse, "mount": "/unused"}]
    return write_job_file(folder, program, storage=storage, arguments=[f"${{storage.{warehouse}}}"])


def test_what_one_spark_job_has_written_another_reads_though_each_worker_was_killed_once(cluster, warehouse, tmp_path):
    written = cluster.cms("submit", write_job(warehouse, tmp_path, WRITE)).ok()
    assert float(written.stdout) < EXECUTOR_SECONDS, "until there is an executor"
    for index in range(2):
        worker = next(task for task in read_job(cluster, SERVICE)["tasks"] if task["name"] == f"worker-{index}")
        killed = run_on_all(cluster, f"test $(hostname) = {worker['host']} && pkill -KILL -f {DATA_NODE}")
        assert [status for status, _ in killed].count(0) == 1
        outcome = cluster.cms("submit", write_job(warehouse, tmp_path, READ)).ok()
        assert outcome.stdout == f"{sum(range(1000))}\n"
        assert wait_until(
            lambda: {task["state"] for task in read_job(cluster, SERVICE)["tasks"]} == {"running"}, 120
        ), "never: all run again"
        assert wait_until(lambda: count_data_nodes(cluster) == 2, 120), "never: both workers serve blocks again"


def test_hadoop_jobs_share_its_yarn_and_one_that_is_stopped_leaves_nothing_there(cluster, warehouse, tmp_path):
    cluster.cms("submit", "--id=endless", "--detach", write_endless_job(warehouse, tmp_path)).ok()
    # Its task stands still: it would take a processor from all that runs beside it.
    assert wait_until(lambda: 0 in [status for status, _ in run_on_all(cluster, f"pkill -STOP -f {TASK}")], 180), (
        "never: it has a task"
    )
    assert count_masters(cluster) == 1
    shared = write_brief("hadoop-shared", tmp_path)
    cluster.cms("submit", "--id=hadoop-shared", f"--param=place={warehouse}", shared).ok()
    assert parse_counts(fetch(cluster, "hadoop-shared", tmp_path / "counts")) == count_words()
    assert [task["name"] for task in read_job(cluster, "hadoop-shared")["tasks"]] == ["client-0"]
    assert wait_until(lambda: count_masters(cluster) == 1, 60), "never: of the job that has ended, nothing runs"
    cluster.cms("stop", "endless").ok()
    assert wait_until(lambda: count_masters(cluster) == 0, 30), (
        "never: the service runs nothing of the job that was stopped"
    )


def test_a_host_that_has_the_services_data_is_not_removed_and_takes_jobs_as_before(cluster, warehouse):
    nodes = cluster.cms("info", "--output=json").json()["nodes"]
    workers = {node["name"] for node in nodes if "server" not in node["roles"]}
    host = min(workers & {task["host"] for task in read_job(cluster, SERVICE)["tasks"]})
    outcome = cluster.cms("remove", "--yes", host)
    outcome.expect_failure(1, f"services are bound to it, and have data there: {SERVICE}: stop them first")
    assert outcome.seconds < REFUSED_SECONDS
    assert cluster.cms("info", "--output=json").json()["healthy"]
    assert cluster.cms("jobs", SERVICE, "--output=json").json()["state"] == "running"


def write_endless_job(warehouse: str, folder: Path) -> str:
    """Write a job file for a program that takes longer than anybody waits."""
    spec = {
        **{"jar": "examples", "program": "pi", "arguments": ["1", "1000000000000"]},
        "storage": [{"name": warehouse, "mount": "/unused"}],
    }
    described = {"apiVersion": "cms/v1", "kind": "HadoopJob", "metadata": {"name": "endless"}, "spec": spec}
    return write(folder, "endless.yaml", json.dumps(described))


def count_masters(cluster: Cluster) -> int:
    """Return how many MapReduce jobs run."""
    return sum(int(output) for _, output in run_on_all(cluster, "pgrep -c -f '^[^ ]*java .*[M]RAppMaster'"))


def count_data_nodes(cluster: Cluster) -> int:
    """Return on how many hosts blocks are served."""
    return [status for status, _ in run_on_all(cluster, f"pgrep -f {DATA_NODE}")].count(0)


CALLERS = """
import json, os, subprocess, sys
sys.path.insert(0, "/opt/cloudmesh")
import kerberos, settings, task

def calls(who, environment, **conf):
    properties = {**json.loads(os.environ["CMS_HADOOP_CLIENT"]), "dfs.client.failover.max.attempts": "0", **conf}
    kerberos.write(task.FOLDER / "core-site.xml", settings.document(properties))
    java = ["java", "-Xmx128m", "-cp", ":".join((str(task.FOLDER), *settings.LIBRARIES))]
    command = [*java, "org.apache.hadoop.fs.FsShell", "-ls", os.environ["CMS_HADOOP_URI"] + "/"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    print(who, done.returncode, " ".join(done.stderr.split()))

task.FOLDER.mkdir(parents=True, exist_ok=True)
for who, secret in (("friend", os.environ["CMS_HADOOP_SECRET"]), ("guesser", "a guess")):
    calls(who, kerberos.enter(task.FOLDER, secret, os.environ["CMS_HADOOP_KDC"]))
calls("stranger", {}, **{"hadoop.security.authentication": "simple"})
"""


def test_a_client_without_the_services_secret_is_refused(cluster, warehouse, tmp_path):
    client = {"image": "hadoop", "command": ["python3", "-c", CALLERS], "resources": {"cores": 1, "memory": "384m"}}
    file = containers.write_job_file(tmp_path, storage=[{"name": warehouse, "mount": "/unused"}], **client)
    lines = cluster.cms("submit", file).ok().stdout.splitlines()
    answers = {line.split()[0]: line.partition(" ")[2] for line in lines}
    assert answers["friend"].startswith("0 ")
    assert re.match(r"1 .*LoginException", answers["guesser"])
    assert re.match(r"1 .*SIMPLE authentication is not enabled", answers["stranger"])
