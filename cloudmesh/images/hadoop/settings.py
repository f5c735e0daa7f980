"""The settings of Hadoop's processes.

There are defaults, which a job may change, and rules, which it may not change: who has access, and where a process
listens. All processes of a task get the same set of settings; each process reads the part that concerns it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape

from kerberos import PRINCIPAL, WEB_PRINCIPAL

# The folder itself contains the (empty) folders of web pages, and the classes of this project.
LIBRARIES = ("/opt/hadoop", "/opt/hadoop/lib/*")
# The address of what nobody may use: on loopback, at any free port. There is no Kerberos ticket for it, either.
_CLOSED = "127.0.0.1:0"
_LONGEST_JOB = str(30 * 86400 * 1000)
FILES = ("core-site.xml", "hdfs-site.xml", "yarn-site.xml", "mapred-site.xml", "capacity-scheduler.xml")
DEFAULT_MEMORY_MB = 512
MASTER_MEMORY_MB = 384
# What the two processes of a worker need.
WORKER_MEMORY_MB = 640


class Head(NamedTuple):
    """The addresses of the head's processes, each "HOST:PORT"; empty: there is no such process."""

    namenode: str
    kdc: str
    resourcemanager: str = ""
    scheduler: str = ""
    tracker: str = ""
    history: str = ""


def document(properties: Mapping[str, str]) -> bytes:
    """Return properties in the XML of Hadoop's configuration files."""
    lines = [
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
        for name, value in sorted(properties.items())
    ]
    return "\n".join(("<configuration>", *lines, "</configuration>", "")).encode()


def defaults(workers: int) -> dict[str, str]:
    """Return the settings that a job may change, for a cluster with so many workers."""
    return {
        "dfs.replication": str(min(2, workers)),
        "dfs.namenode.safemode.extension": "0",
        # A host counts as lost, and its blocks are copied again, after a minute of silence instead of ten.
        "dfs.namenode.heartbeat.recheck-interval": "15000",
        "mapreduce.client.submit.file.replication": str(min(3, workers)),
        "mapreduce.framework.name": "yarn",
        "mapreduce.map.memory.mb": str(DEFAULT_MEMORY_MB),
        "mapreduce.reduce.memory.mb": str(DEFAULT_MEMORY_MB),
        # The rest is for what a JVM needs beside its heap.
        "mapreduce.job.heap.memory-mb.ratio": "0.6",
        "mapreduce.task.io.sort.mb": "64",
        "yarn.app.mapreduce.am.resource.mb": str(MASTER_MEMORY_MB),
        "yarn.app.mapreduce.am.command-opts": "-Xmx224m -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        "yarn.app.mapreduce.am.scheduler.heartbeat.interval-ms": "250",
        "mapreduce.map.java.opts": "-XX:+UseSerialGC",
        "mapreduce.reduce.java.opts": "-XX:+UseSerialGC",
        "mapreduce.client.progressmonitor.pollinterval": "500",
        "mapreduce.client.completion.pollinterval": "500",
        "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": "250",
        # What ran on a lost host runs again elsewhere after a minute of silence instead of ten.
        "yarn.nm.liveness-monitor.expiry-interval-ms": "60000",
        "yarn.scheduler.minimum-allocation-mb": "128",
        "yarn.scheduler.capacity.root.queues": "default",
        "yarn.scheduler.capacity.root.default.capacity": "100",
        "yarn.scheduler.capacity.maximum-am-resource-percent": "0.5",
    }


def everywhere(head: Head, folder: str, service: str = "") -> dict[str, str]:
    """Return the rules for every process, daemon or program.

    Args:
        head: the addresses of the head's processes.
        folder: a folder of this task.
        service: the name that clients use for a service's file system; empty: this is not a service.
    """
    return {
        "fs.defaultFS": f"hdfs://{service or head.namenode}",
        **(_named(service, head.namenode) if service else {}),
        "hadoop.tmp.dir": f"{folder}/tmp",  # noqa: S108 - a folder of this task
        "dfs.permissions.superusergroup": "cms",
        "mapreduce.application.classpath": ",".join(LIBRARIES),
        "yarn.application.classpath": ",".join(LIBRARIES),
        "yarn.resourcemanager.address": head.resourcemanager,
        "yarn.resourcemanager.scheduler.address": head.scheduler,
        "yarn.resourcemanager.resource-tracker.address": head.tracker,
        "mapreduce.jobhistory.address": head.history,
        # The same for all jobs, wherever a job has its other files.
        "mapreduce.jobhistory.intermediate-done-dir": "/history/intermediate",
        "mapreduce.jobhistory.done-dir": "/history/done",
        # The variable is that of the NodeManager on whose host the master of a MapReduce job runs.
        "yarn.app.mapreduce.am.job.client.port-range": "${env.CMS_MASTER_PORTS}",
        "yarn.app.mapreduce.am.webapp.port-range": "${env.CMS_MASTER_PORTS}",
        **_security(f"{folder}/keytab"),
    }


def _named(service: str, namenode: str) -> dict[str, str]:
    """Return the rules that give an address a name. YARN's processes open files and renew tokens by that name, too."""
    failover = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider"
    return {
        "dfs.nameservices": service,
        f"dfs.ha.namenodes.{service}": "0",
        f"dfs.namenode.rpc-address.{service}.0": namenode,
        f"dfs.client.failover.proxy.provider.{service}": failover,
    }


def _security(keytab: str) -> dict[str, str]:
    """Return the rules for Kerberos and encryption; `keytab` is the path of the keytab."""
    principals = {
        f"{process}.principal": PRINCIPAL
        for process in (
            *("dfs.namenode.kerberos", "dfs.datanode.kerberos", "yarn.resourcemanager", "yarn.nodemanager"),
            "mapreduce.jobhistory",
        )
    }
    keytabs = (
        *("dfs.namenode.keytab.file", "dfs.datanode.keytab.file", "yarn.resourcemanager.keytab"),
        *("yarn.nodemanager.keytab", "mapreduce.jobhistory.keytab", "hadoop.http.authentication.kerberos.keytab"),
        "dfs.web.authentication.kerberos.keytab",
    )
    pages = (
        *("hadoop.http.authentication.kerberos.principal", "dfs.web.authentication.kerberos.principal"),
        "dfs.namenode.kerberos.internal.spnego.principal",
    )
    return {
        "hadoop.security.authentication": "kerberos",
        "hadoop.security.authorization": "true",
        "hadoop.rpc.protection": "privacy",
        "dfs.block.access.token.enable": "true",
        "dfs.data.transfer.protection": "privacy",
        "dfs.encrypt.data.transfer.cipher.suites": "AES/CTR/NoPadding",
        "hadoop.security.crypto.codec.classes.aes.ctr.nopadding": "org.apache.hadoop.crypto.JceAesCtrCryptoCodec",
        # Hadoop requires HTTPS or a privileged port, too. The web pages are closed, which is stricter.
        "ignore.secure.ports.for.testing": "true",
        "dfs.webhdfs.enabled": "false",
        "hadoop.http.filter.initializers": "org.apache.hadoop.security.AuthenticationFilterInitializer",
        "hadoop.http.authentication.type": "kerberos",
        "yarn.resourcemanager.webapp.delegation-token-auth-filter.enabled": "false",
        **principals,
        **dict.fromkeys(keytabs, keytab),
        **dict.fromkeys(pages, WEB_PRINCIPAL),
    }


def of_head(head: Head, data: str, masters: int) -> dict[str, str]:
    """Return the rules for the head's processes.

    Args:
        head: their addresses.
        data: directory for data that must outlive the processes.
        masters: the number of MapReduce jobs whose masters each worker has ports for.
    """
    return {
        "dfs.namenode.rpc-address": head.namenode,
        "dfs.namenode.http-address": _CLOSED,
        "dfs.namenode.name.dir": f"file://{data}/name",
        # Nobody renews the tokens of Spark's executors, and no job runs longer than this.
        "dfs.namenode.delegation.token.renew-interval": _LONGEST_JOB,
        "dfs.namenode.delegation.token.max-lifetime": _LONGEST_JOB,
        # Hosts may have no DNS name.
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        "yarn.resourcemanager.admin.address": _CLOSED,
        "yarn.resourcemanager.webapp.address": _CLOSED,
        "mapreduce.jobhistory.admin.address": _CLOSED,
        "mapreduce.jobhistory.webapp.address": _CLOSED,
        # All masters may run on the same worker, so there are no more at a time than it has ports for; the others wait.
        "yarn.scheduler.capacity.root.default.max-parallel-apps": str(masters),
    }


def of_client(folder: str, tag: str) -> dict[str, str]:
    """Return the rules for programs that use a service.

    Args:
        folder: directory in HDFS for their working directory, and for the files with which YARN runs them.
        tag: tag of everything that they run in YARN, by which it can be found.
    """
    return {
        "dfs.user.home.dir.prefix": folder,
        "yarn.app.mapreduce.am.staging-dir": folder,
        "mapreduce.job.tags": tag,
    }


def of_worker(
    address: str, ports: Mapping[str, str], data: str, folder: str, cores: int, memory_mb: int
) -> dict[str, str]:
    """Return the rules for a worker's processes.

    Args:
        address: the address at which they listen.
        ports: port numbers, by name.
        data: directory for blocks.
        folder: directory for temporary data.
        cores: processors for tasks.
        memory_mb: memory of the whole worker in MiB.
    """
    return {
        "dfs.datanode.address": f"{address}:{ports['datanode']}",
        "dfs.datanode.ipc.address": f"{address}:{ports['blocks']}",
        "dfs.datanode.http.address": _CLOSED,
        "dfs.datanode.hostname": address,
        "dfs.datanode.data.dir": f"file://{data}/blocks",
        "dfs.datanode.data.dir.perm": "700",
        **(_computing(address, ports, folder, cores, memory_mb) if "nodemanager" in ports else {}),
    }


def _computing(address: str, ports: Mapping[str, str], folder: str, cores: int, memory_mb: int) -> dict[str, str]:
    """Return the rules for a worker's NodeManager."""
    return {
        "yarn.nodemanager.address": f"{address}:{ports['nodemanager']}",
        "yarn.nodemanager.localizer.address": _CLOSED,
        "yarn.nodemanager.webapp.address": _CLOSED,
        "yarn.nodemanager.local-dirs": f"{folder}/local",
        "yarn.nodemanager.log-dirs": f"{folder}/logs/containers",
        "yarn.nodemanager.aux-services": "mapreduce_shuffle",
        "mapreduce.shuffle.port": ports["shuffle"],
        "yarn.nodemanager.env-whitelist": "JAVA_HOME,HADOOP_HOME,HADOOP_CONF_DIR,CMS_MASTER_PORTS,CMS_JOB_DIR",
        "yarn.nodemanager.resource.memory-mb": str(max(memory_mb - WORKER_MEMORY_MB, MASTER_MEMORY_MB)),
        "yarn.nodemanager.resource.cpu-vcores": str(cores),
        # The container in which all of this runs has its limit already.
        "yarn.nodemanager.pmem-check-enabled": "false",
        "yarn.nodemanager.vmem-check-enabled": "false",
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99",
    }
