"""What programs of other jobs need to use the file system of a HadoopService.

The name of the file system is the job id of the service (hdfs://ID/path), at whatever address it runs. Programs log in
with Kerberos: the image's entry point makes a keytab from the service's secret, and krb5.conf from the KDC's address. A
HadoopJob also gets the addresses of YARN's processes; its image turns them into Hadoop's settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

PRINCIPAL = "cms/job@CMS"
SECRET = "CMS_HADOOP_SECRET"  # noqa: S105 - the name of the variable
KDC = "CMS_HADOOP_KDC"
URI, SETTINGS = "CMS_HADOOP_URI", "CMS_HADOOP_CLIENT"
HEAD = "CMS_HADOOP_HEAD"
PORTS = ("kdc", "namenode", "resourcemanager", "scheduler", "history")


@dataclass(frozen=True)
class Client:
    """What a job needs to be a client of a service.

    Attributes:
        uri: of the file system's root.
        env: for all its tasks.
        secrets: environment variables that the engine keeps as secrets.
        spark_conf: Spark properties, none of them secret.
    """

    uri: str
    env: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    spark_conf: Mapping[str, str] = field(default_factory=dict)


def settings(service: str, namenode: str) -> dict[str, str]:
    """Return the Hadoop properties of a client.

    Args:
        service: the service's job id.
        namenode: "HOST:PORT".
    """
    return {
        "dfs.nameservices": service,
        f"dfs.ha.namenodes.{service}": "0",
        f"dfs.namenode.rpc-address.{service}.0": namenode,
        f"dfs.client.failover.proxy.provider.{service}": (
            "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider"
        ),
        "dfs.namenode.kerberos.principal": PRINCIPAL,
        # Hadoop's input and output formats get a token and must know who may renew it.
        "yarn.resourcemanager.principal": PRINCIPAL,
        "hadoop.security.authentication": "kerberos",
        "hadoop.rpc.protection": "privacy",
        "dfs.data.transfer.protection": "privacy",
        "dfs.encrypt.data.transfer.cipher.suites": "AES/CTR/NoPadding",
        "hadoop.security.crypto.codec.classes.aes.ctr.nopadding": "org.apache.hadoop.crypto.JceAesCtrCryptoCodec",
    }


def client(service: str, namenode: str, kdc: str, secret: str) -> Client:
    """Return the settings and secrets of a job that uses the service's file system.

    Args:
        service: the service's job id.
        namenode: "HOST:PORT".
        kdc: "HOST:PORT".
        secret: the one that the service's tasks have.
    """
    properties, uri = settings(service, namenode), f"hdfs://{service}"
    env = {KDC: kdc, URI: uri, SETTINGS: json.dumps(properties, sort_keys=True)}
    return Client(uri, env, {SECRET: secret}, {f"spark.hadoop.{name}": value for name, value in properties.items()})


def computing(service: str, address: Callable[[str], str], secret: str) -> Client:
    """Return the settings and secrets of a HadoopJob whose programs run in the service.

    Args:
        service: the service's job id.
        address: "HOST:PORT" of one of its head's ports.
        secret: the one that the service's tasks have.
    """
    uri = f"hdfs://{service}"
    addresses = {port: address(port) for port in PORTS}
    return Client(uri, {URI: uri, HEAD: json.dumps(addresses, sort_keys=True)}, {SECRET: secret})
