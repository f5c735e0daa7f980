"""What the class data in Spark's image spare: a program with and without them, in turns, in a container.

Prints the medians of the processor's and of the clock's seconds, and ends with 1 where class data spare nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from contextlib import closing

import docker

from cloudmesh.cluster.images import catalog

# Runs in the container; it gets the number of turns and prints {"with": [[processor, clock], …], "without": …}.
TURNS = r"""
import json, os, resource, subprocess, sys, time

PROGRAM = '''
from pyspark.sql import SparkSession
with SparkSession.builder.getOrCreate() as session:
    table = session.read.json("/opt/spark/examples/src/main/resources/people.json")
    print(table.groupBy("name").count().orderBy("name").collect())
'''
CASES = {"without": {"SPARK_CONF_DIR": "/nowhere"}, "with": {}}

def measure_processor():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

def run(settings):
    processor, clock = measure_processor(), time.monotonic()
    command = ["/opt/spark/bin/spark-submit", "--master", "local[1]", "program.py"]
    environment = {**os.environ, **settings}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return measure_processor() - processor, time.monotonic() - clock

with open("program.py", "w") as file:
    file.write(PROGRAM)
measured = {name: [] for name in CASES}
for turn in range(int(sys.argv[1]) + 1):
    for name, settings in CASES.items():
        seconds = run(settings)
        if turn:  # the first turn fills the caches
            measured[name].append(seconds)
print(json.dumps(measured))
"""


def measure_medians(turns: int) -> dict[str, tuple[float, float]]:
    """Return the median seconds of the processor and of the clock, with and without class data."""
    with closing(docker.from_env(timeout=600)) as client:
        command = ["-c", TURNS, str(turns)]
        printed = client.containers.run(catalog.tag("spark"), command, entrypoint="python3", remove=True)
    measured = json.loads(printed)
    return {name: tuple(map(statistics.median, zip(*pairs, strict=True))) for name, pairs in measured.items()}


def main() -> int:
    """Measure, print, and return 1 if class data spare no processor time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    seconds = measure_medians(parser.parse_args().turns)
    for index, what in enumerate(("the processor's", "the clock's")):
        ours, plain = (seconds[name][index] for name in ("with", "without"))
        sys.stdout.write(f"{what} seconds: {ours:.1f} with class data, {plain:.1f} without: {ours / plain:.2f} of it\n")
    return seconds["with"][0] >= seconds["without"][0]


if __name__ == "__main__":
    sys.exit(main())
