"""What the class data in Spark's image spare: one program with and without them, in turns, in one container.

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

def spent():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

def run(settings):
    processor, clock = spent(), time.monotonic()
    command = ["/opt/spark/bin/spark-submit", "--master", "local[1]", "program.py"]
    environment = {**os.environ, **settings}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return spent() - processor, time.monotonic() - clock

with open("program.py", "w") as file:
    file.write(PROGRAM)
taken = {name: [] for name in CASES}
for turn in range(int(sys.argv[1]) + 1):
    for name, settings in CASES.items():
        one = run(settings)
        if turn:  # the first turn fills the caches
            taken[name].append(one)
print(json.dumps(taken))
"""


def medians(turns: int) -> dict[str, tuple[float, float]]:
    """Return the median seconds of the processor and of the clock, with and without class data."""
    with closing(docker.from_env(timeout=600)) as client:
        command = ["-c", TURNS, str(turns)]
        printed = client.containers.run(catalog.tag("spark"), command, entrypoint="python3", remove=True)
    taken = json.loads(printed)
    return {name: tuple(map(statistics.median, zip(*pairs, strict=True))) for name, pairs in taken.items()}


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    found = medians(parser.parse_args().turns)
    for index, what in enumerate(("the processor's", "the clock's")):
        ours, plain = (found[name][index] for name in ("with", "without"))
        sys.stdout.write(f"{what} seconds: {ours:.1f} with class data, {plain:.1f} without: {ours / plain:.2f} of it\n")
    return found["with"][0] >= found["without"][0]


if __name__ == "__main__":
    sys.exit(main())
