"""Runs Spark's example of a streaming word count on the lines of a file, and ends when all of them are counted.

The example reads a socket and never ends. Here it connects to a thread of the driver, which also stops its query.
"""

import runpy
import socket
import sys
import threading
import time
from pathlib import Path

from pyspark.sql import SparkSession

EXAMPLE = "/opt/spark/examples/src/main/python/sql/streaming/structured_network_wordcount.py"


def feed(server: socket.socket, text: bytes) -> None:
    """Send the text to the first client, and stop the query once it has read all of it."""
    connection, _ = server.accept()
    with connection:
        connection.sendall(text)
        while not (query := find_finished_query(text.count(b"\n"))):
            time.sleep(0.2)
    query.stop()


def find_finished_query(lines: int) -> object:
    """Return the query that has counted so many lines; None: there is none yet."""
    spark = SparkSession.getActiveSession() or SparkSession._instantiatedSession
    for query in spark.streams.active if spark else []:
        if sum(progress["numInputRows"] for progress in query.recentProgress) >= lines:
            return query
    return None


def main() -> None:
    """Feed the example the file that the first argument names."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = Path(sys.argv[1]).read_bytes()
        threading.Thread(target=feed, args=(server, text), daemon=True).start()
        sys.argv = [EXAMPLE, "127.0.0.1", str(server.getsockname()[1])]
        runpy.run_path(EXAMPLE, run_name="__main__")


if __name__ == "__main__":
    main()
