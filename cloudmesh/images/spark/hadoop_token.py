"""Fetches what an executor shows at a HadoopService's file system: `hadoop_token.py FILE`.

Spark's executors act in the name of a user without Kerberos, and take along nothing but tokens. The driver hands out
none where the master is Spark's own, or the file system not the default one. So each executor's container
fetches one, by Kerberos, and Hadoop finds it by HADOOP_TOKEN_FILE_LOCATION.

Environment: CMS_HADOOP_URI, and CMS_HADOOP_CLIENT with the client's settings as JSON.
"""

from __future__ import annotations

import json
import os
import sys

from pyspark.java_gateway import launch_gateway

RENEWER = "cms"


def main() -> None:
    """Write the token's file."""
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
