"""Compares what wordcount.py printed, on standard input, with a count by plain Python: TEXT. Exit 1 if they differ."""

# ruff: noqa: T201

import re
import sys
from collections import Counter
from pathlib import Path


def main() -> int:
    """Count again, without Spark, and compare every line."""
    text = Path(sys.argv[1]).read_text(encoding="utf-8").lower()
    counted = Counter(re.findall(r"[a-z]+(?:'[a-z]+)*", text))
    expected = {word: str(count) for word, count in counted.items()} | {"TOTAL": str(counted.total())}
    printed = dict(line.split("\t") for line in sys.stdin.read().splitlines() if "\t" in line)
    if printed == expected:
        print(f"the counts of all {len(counted)} words are those of plain Python")
        return 0
    wrong = [word for word in printed.keys() | expected.keys() if printed.get(word) != expected.get(word)]
    print(f"{len(wrong)} words are counted differently, as {sorted(wrong)[:5]}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
