"""Lets Spark compute a sum on as many executors as there are hosts; `cms cluster test` runs it.

    compute.py EXECUTORS [URI]

With the URI of a volume, the numbers are first written there and read again. One JSON object is printed: the sum, and
the number of executors that took part.
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
    """Yield the executor and the sum of a slice, so slowly that the other executors get slices, too."""
    time.sleep(SLICE_SECONDS)
    yield socket.gethostname(), sum(numbers)


def executors(spark):
    """Return how many executors there are."""
    return spark._jsc.sc().getExecutorMemoryStatus().size() - 1


def wait_for(spark, count):
    """Wait until there are `count` executors, or the time is over."""
    end = time.monotonic() + WAIT_SECONDS
    while executors(spark) < count and time.monotonic() < end:
        time.sleep(0.5)


def stored(spark, numbers, uri):
    """Write the numbers to a volume, and return them as they are read from there."""
    folder = f"{uri.rstrip('/')}/cms-test-{spark.applicationId}"
    path = spark._jvm.org.apache.hadoop.fs.Path(folder)
    files = path.getFileSystem(spark._jsc.hadoopConfiguration())
    try:
        numbers.saveAsTextFile(folder)
        return spark.textFile(folder, numbers.getNumPartitions()).map(int)
    finally:
        files.deleteOnExit(path)


def main():
    """Compute the sum, and print it."""
    count, uri = int(sys.argv[1]), (sys.argv[2:] or [""])[0]
    with SparkContext() as spark:
        wait_for(spark, count)
        numbers = spark.range(NUMBERS, numSlices=8 * count)
        if uri:
            numbers = stored(spark, numbers, uri)
        parts = numbers.mapPartitions(work).collect()
    result = {"sum": sum(part for _, part in parts), "executors": len({executor for executor, _ in parts})}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
