"""The most common words of a text that travels with the job: TEXT [HOW_MANY] [SLICES].

Prints a line `word<TAB>count` for each of them, most common first and equal ones by the alphabet, then
`TOTAL<TAB>words`. All counts go to counts.tsv among the job's results.
"""

# ruff: noqa: T201

import os
import re
from argparse import ArgumentParser
from operator import add
from pathlib import Path

from pyspark import SparkContext

WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


def split_words(line: str) -> list[str]:
    """Return the words of a line in lower case."""
    return WORD.findall(line.lower())


def main() -> None:
    """Count on all executors, sort on the driver."""
    parser = ArgumentParser()
    parser.add_argument("text")
    parser.add_argument("how_many", type=int, nargs="?", default=10)
    parser.add_argument("slices", type=int, nargs="?", default=2)
    arguments = parser.parse_args()
    # What travels with a job is in this folder on every host, so that an executor reads the copy on its host.
    text = Path(os.environ.get("CMS_JOB_DIR", ""), arguments.text).resolve()
    with SparkContext() as spark:
        lines = spark.textFile(text.as_uri(), minPartitions=arguments.slices)
        counts = lines.flatMap(split_words).map(lambda word: (word, 1)).reduceByKey(add).collect()
    counts.sort(key=lambda pair: (-pair[1], pair[0]))
    table = [f"{word}\t{count}" for word, count in counts]
    for line in table[: arguments.how_many]:
        print(line)
    print(f"TOTAL\t{sum(count for _, count in counts)}")
    if results := os.environ.get("CMS_RESULTS"):
        Path(results).mkdir(parents=True, exist_ok=True)
        Path(results, "counts.tsv").write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
