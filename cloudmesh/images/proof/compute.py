"""What `cms cluster test` lets Spark compute: a sum that is known, on as many executors as there are hosts.

Its argument is how many executors are to take part. With the URI of a place behind it, the numbers are written there
first and read again. It prints one JSON object.
"""

import json
import socket
import sys
import time

from pyspark import SparkContext

WAIT_SECONDS = 60.0
SLICE_SECONDS = 0.2
NUMBERS = 1000


def work(numbers):
    """Yield the executor and the sum of a slice; so slowly that others get slices, too."""
    time.sleep(SLICE_SECONDS)
    yield socket.gethostname(), sum(numbers)


def executors(spark):
    """Return how many executors there are."""
    return spark._jsc.sc().getExecutorMemoryStatus().size() - 1


def wait_for(spark, wanted):
    """Wait until so many executors are there, or the time is over."""
    end = time.monotonic() + WAIT_SECONDS
    while executors(spark) < wanted and time.monotonic() < end:
        time.sleep(0.5)


def stored(spark, numbers, uri):
    """Return the numbers, written to a place and read from it."""
    folder = f"{uri.rstrip('/')}/cms-test-{spark.applicationId}"
    path = spark._jvm.org.apache.hadoop.fs.Path(folder)
    files = path.getFileSystem(spark._jsc.hadoopConfiguration())
    try:
        numbers.saveAsTextFile(folder)
        return spark.textFile(folder, numbers.getNumPartitions()).map(int)
    finally:
        files.deleteOnExit(path)


def main():
    """Compute, and say by whom."""
    wanted, uri = int(sys.argv[1]), (sys.argv[2:] or [""])[0]
    with SparkContext() as spark:
        wait_for(spark, wanted)
        numbers = spark.range(NUMBERS, numSlices=8 * wanted)
        if uri:
            numbers = stored(spark, numbers, uri)
        parts = numbers.mapPartitions(work).collect()
    told = {"sum": sum(part for _, part in parts), "executors": len({each for each, _ in parts})}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
