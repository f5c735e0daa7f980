"""What every provider promises of a HadoopService: jobs share its files and YARN, and it outlives any one worker."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract import test_containers as containers
from contract.conftest import EXAMPLES, Cluster, on_all
from contract.test_hadoop import brief, counted, fetched, words
from contract.test_jobs import job, job_file, until, write

pytestmark = pytest.mark.cluster

SERVICE, DISKS, PLACE, DIRECTORY = "hdfs-1", "data", "warehouse", "/srv/cms-hdfs"
DATA_NODE = "'[o]rg.apache.hadoop.hdfs.server.datanode.DataNode'"  # a pattern that does not fit the search itself
TASK = "'[o]rg.apache.hadoop.mapred.YarnChild'"
WRITE = """
import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
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
    """Yield the name of a place that is a directory of the service's file system."""
    cluster.cms("storage", "add", f"--directory={DIRECTORY}", DISKS).ok()
    try:
        cluster.cms("submit", f"--id={SERVICE}", str(EXAMPLES / "hadoop-service.yaml")).ok()
        cluster.cms("storage", "add", f"--hadoop={SERVICE}/spark", PLACE).ok()
        yield PLACE
    finally:
        cluster.cms("stop", SERVICE).ok()
        cluster.cms("storage", "remove", "--yes", PLACE)
        until(lambda: cluster.cms("storage", "remove", "--yes", DISKS).status == 0, 60, "nothing uses the disks")
        on_all(cluster, f"rm -rf {DIRECTORY}")


def using(warehouse: str, folder: Path, program: str) -> str:
    """Write a job file for a program whose argument is the place."""
    storage = [{"name": warehouse, "mount": "/unused"}]
    return job_file(folder, program, storage=storage, arguments=[f"${{storage.{warehouse}}}"])


def test_what_one_spark_job_has_written_another_reads_though_each_worker_was_killed_once(cluster, warehouse, tmp_path):
    cluster.cms("submit", using(warehouse, tmp_path, WRITE)).ok()
    for index in range(2):
        worker = next(task for task in job(cluster, SERVICE)["tasks"] if task["name"] == f"worker-{index}")
        killed = on_all(cluster, f"test $(hostname) = {worker['host']} && pkill -KILL -f {DATA_NODE}")
        assert [status for status, _ in killed].count(0) == 1
        outcome = cluster.cms("submit", using(warehouse, tmp_path, READ)).ok()
        assert outcome.stdout == f"{sum(range(1000))}\n"
        until(lambda: {task["state"] for task in job(cluster, SERVICE)["tasks"]} == {"running"}, 120, "all run again")
        until(lambda: data_nodes(cluster) == 2, 120, "both workers serve blocks again")


def test_hadoop_jobs_share_its_yarn_and_one_that_is_stopped_leaves_nothing_there(cluster, warehouse, tmp_path):
    cluster.cms("submit", "--id=endless", "--detach", endless(warehouse, tmp_path)).ok()
    # Its task stands still: it would take a processor from all that runs beside it.
    until(lambda: 0 in [status for status, _ in on_all(cluster, f"pkill -STOP -f {TASK}")], 180, "it has a task")
    assert masters(cluster) == 1
    shared = brief("hadoop-shared", tmp_path)
    cluster.cms("submit", "--id=hadoop-shared", f"--param=place={warehouse}", shared).ok()
    assert counted(fetched(cluster, "hadoop-shared", tmp_path / "counts")) == words()
    assert [task["name"] for task in job(cluster, "hadoop-shared")["tasks"]] == ["client-0"]
    until(lambda: masters(cluster) == 1, 60, "of the job that has ended, nothing runs")
    cluster.cms("stop", "endless").ok()
    until(lambda: masters(cluster) == 0, 30, "the service runs nothing of the job that was stopped")


def endless(warehouse: str, folder: Path) -> str:
    """Write a job file for a program that takes longer than anybody waits."""
    spec = {
        **{"jar": "examples", "program": "pi", "arguments": ["1", "1000000000000"]},
        "storage": [{"name": warehouse, "mount": "/unused"}],
    }
    described = {"apiVersion": "cms/v1", "kind": "HadoopJob", "metadata": {"name": "endless"}, "spec": spec}
    return write(folder, "endless.yaml", json.dumps(described))


def masters(cluster: Cluster) -> int:
    """Return how many MapReduce jobs run."""
    return sum(int(output) for _, output in on_all(cluster, "pgrep -c -f '^[^ ]*java .*[M]RAppMaster'"))


def data_nodes(cluster: Cluster) -> int:
    """Return on how many hosts blocks are served."""
    return [status for status, _ in on_all(cluster, f"pgrep -f {DATA_NODE}")].count(0)


CALLERS = """
import json, os, subprocess, sys
sys.path.insert(0, "/opt/cloudmesh")
import kerberos, settings, task

def calls(who, environment, **conf):
    its = {**json.loads(os.environ["CMS_HADOOP_CLIENT"]), "dfs.client.failover.max.attempts": "0", **conf}
    kerberos.write(task.FOLDER / "core-site.xml", settings.document(its))
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
    file = containers.job_file(tmp_path, storage=[{"name": warehouse, "mount": "/unused"}], **client)
    lines = cluster.cms("submit", file).ok().stdout.splitlines()
    answers = {line.split()[0]: line.partition(" ")[2] for line in lines}
    assert answers["friend"].startswith("0 ")
    assert re.match(r"1 .*LoginException", answers["guesser"])
    assert re.match(r"1 .*SIMPLE authentication is not enabled", answers["stranger"])
