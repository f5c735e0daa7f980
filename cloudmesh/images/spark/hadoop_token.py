"""Fetches the token by which an executor uses a HadoopService's file system: `hadoop_token.py FILE`.

Spark's executors act for a user without Kerberos, and can only use tokens. The driver sends them none where the master
is Spark's standalone master, or the file system is not the default one. So each executor's container fetches a token
with Kerberos, and Hadoop finds it by HADOOP_TOKEN_FILE_LOCATION.

Environment: CMS_HADOOP_URI, and CMS_HADOOP_CLIENT with the client's settings as JSON.
"""

from __future__ import annotations

import json
import os
import sys

from pyspark.java_gateway import launch_gateway

RENEWER = "cms"


def main() -> None:
    """Fetch the token, and write it to the file."""
    gateway = launch_gateway()
    try:
        hadoop = gateway.jvm.org.apache.hadoop
        configuration = hadoop.conf.Configuration()
        for name, value in json.loads(os.environ["CMS_HADOOP_CLIENT"]).items():
            configuration.set(name, value)
        hadoop.security.UserGroupInformation.setConfiguration(configuration)
        tokens = hadoop.security.Credentials()
        root = hadoop.fs.Path(os.environ["CMS_HADOOP_URI"] + "/")
        root.getFileSystem(configuration).addDelegationTokens(RENEWER, tokens)
        tokens.writeTokenStorageFile(hadoop.fs.Path(f"file://{sys.argv[1]}"), configuration)
    finally:
        gateway.shutdown()


if __name__ == "__main__":
    main()
