"""The settings of Hadoop's processes. Pure.

There are defaults, which a job may change, and rules, which it may not: who is let in, and where a process listens. One
set is for all of a task's processes; each of them reads the part that is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape

from kerberos import PRINCIPAL, WEB_PRINCIPAL

# The folder itself has the (empty) folders of web pages, and our own classes.
LIBRARIES = ("/opt/hadoop", "/opt/hadoop/lib/*")
# Takes no order from anybody: on loopback, and there is no ticket for it. The port is any that is free.
_CLOSED = "127.0.0.1:0"
_LONGEST_JOB = str(30 * 86400 * 1000)
FILES = ("core-site.xml", "hdfs-site.xml", "yarn-site.xml", "mapred-site.xml", "capacity-scheduler.xml")
DEFAULT_MEMORY_MB = 512
MASTER_MEMORY_MB = 384
# What a worker's own two processes take.
WORKER_MEMORY_MB = 640


class Head(NamedTuple):
    """Where the processes of the head listen, "HOST:PORT" each; empty: there is no such process."""

    namenode: str
    kdc: str
    resourcemanager: str = ""
    scheduler: str = ""
    tracker: str = ""
    history: str = ""


def document(properties: Mapping[str, str]) -> bytes:
    """Return properties as Hadoop's XML."""
    lines = [
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
        for name, value in sorted(properties.items())
    ]
    return "\n".join(("<configuration>", *lines, "</configuration>", "")).encode()


def defaults(workers: int) -> dict[str, str]:
    """Return what a job may change."""
    return {
        "dfs.replication": str(min(2, workers)),
        "dfs.namenode.safemode.extension": "0",
        # A minute of silence, not ten, and a lost host's blocks are copied anew.
        "dfs.namenode.heartbeat.recheck-interval": "15000",
        "mapreduce.client.submit.file.replication": str(min(3, workers)),
        "mapreduce.framework.name": "yarn",
        "mapreduce.map.memory.mb": str(DEFAULT_MEMORY_MB),
        "mapreduce.reduce.memory.mb": str(DEFAULT_MEMORY_MB),
        # The rest is for what a JVM takes beside its heap.
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
        # A minute of silence, not ten, and what ran on a lost host runs anew elsewhere.
        "yarn.nm.liveness-monitor.expiry-interval-ms": "60000",
        "yarn.scheduler.minimum-allocation-mb": "128",
        "yarn.scheduler.capacity.root.queues": "default",
        "yarn.scheduler.capacity.root.default.capacity": "100",
        "yarn.scheduler.capacity.maximum-am-resource-percent": "0.5",
    }


def everywhere(head: Head, folder: str, service: str = "") -> dict[str, str]:
    """Return the rules for every process, daemon or program.

    Args:
        head: where the head's processes are.
        folder: the task's own.
        service: by what name clients call a service's file system; empty: it is no service.
    """
    return {
        "fs.defaultFS": f"hdfs://{service or head.namenode}",
        **(_named(service, head.namenode) if service else {}),
        "hadoop.tmp.dir": f"{folder}/tmp",  # noqa: S108 - the task's own
        "dfs.permissions.superusergroup": "cms",
        "mapreduce.application.classpath": ",".join(LIBRARIES),
        "yarn.application.classpath": ",".join(LIBRARIES),
        "yarn.resourcemanager.address": head.resourcemanager,
        "yarn.resourcemanager.scheduler.address": head.scheduler,
        "yarn.resourcemanager.resource-tracker.address": head.tracker,
        "mapreduce.jobhistory.address": head.history,
        # The same to all, wherever a job has its other files.
        "mapreduce.jobhistory.intermediate-done-dir": "/history/intermediate",
        "mapreduce.jobhistory.done-dir": "/history/done",
        # The variable is the NodeManager's, on whose host the master of a MapReduce job then runs.
        "yarn.app.mapreduce.am.job.client.port-range": "${env.CMS_MASTER_PORTS}",
        "yarn.app.mapreduce.am.webapp.port-range": "${env.CMS_MASTER_PORTS}",
        **_security(f"{folder}/keytab"),
    }


def _named(service: str, namenode: str) -> dict[str, str]:
    """Return what makes a name of an address. YARN's own processes open files and renew tokens by that name, too."""
    failover = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider"
    return {
        "dfs.nameservices": service,
        f"dfs.ha.namenodes.{service}": "0",
        f"dfs.namenode.rpc-address.{service}.0": namenode,
        f"dfs.client.failover.proxy.provider.{service}": failover,
    }


def _security(keytab: str) -> dict[str, str]:
    principals = {
        f"{each}.principal": PRINCIPAL
        for each in (
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
        # Hadoop wants HTTPS or a privileged port beside that; the web pages are closed, which is more.
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
        head: where they listen.
        data: directory for what must last.
        masters: how many MapReduce jobs' masters each worker has ports for.
    """
    return {
        "dfs.namenode.rpc-address": head.namenode,
        "dfs.namenode.http-address": _CLOSED,
        "dfs.namenode.name.dir": f"file://{data}/name",
        # Nobody renews those of Spark's executors, and no job runs longer.
        "dfs.namenode.delegation.token.renew-interval": _LONGEST_JOB,
        "dfs.namenode.delegation.token.max-lifetime": _LONGEST_JOB,
        # Hosts may have no name.
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        "yarn.resourcemanager.admin.address": _CLOSED,
        "yarn.resourcemanager.webapp.address": _CLOSED,
        "mapreduce.jobhistory.admin.address": _CLOSED,
        "mapreduce.jobhistory.webapp.address": _CLOSED,
        # All masters may come to be on one worker; whatever is too many waits.
        "yarn.scheduler.capacity.root.default.max-parallel-apps": str(masters),
    }


def of_client(folder: str, tag: str) -> dict[str, str]:
    """Return the rules for programs that use a service.

    Args:
        folder: in HDFS; their working directory is in it, and what YARN needs to run them.
        tag: by which what they run is found.
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
        address: where they listen.
        ports: numbers, by name.
        data: directory for blocks.
        folder: directory for what need not last.
        cores: processors for tasks.
        memory_mb: of the whole worker.
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
        # The container that all of this is in has its bound already.
        "yarn.nodemanager.pmem-check-enabled": "false",
        "yarn.nodemanager.vmem-check-enabled": "false",
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99",
    }
