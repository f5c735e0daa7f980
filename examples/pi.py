"""Pi, by counting which points of a square lie in the circle: [SLICES], the parts into which the work is cut."""

# ruff: noqa: T201

import sys
from operator import add

from pyspark import SparkContext

POINTS_PER_SLICE = 100_000
GOLDEN_RATIO = 0.6180339887498949


def count_inside(index: int, total: int) -> int:
    """Return 1 if the point with this index lies in the circle. Evenly spread points, so that every run agrees."""
    x = (index + 0.5) / total
    y = index * GOLDEN_RATIO % 1
    return 1 if x * x + y * y <= 1 else 0


def main() -> None:
    """Count on all executors, add up on the driver."""
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    total = POINTS_PER_SLICE * slices
    with SparkContext() as spark:
        count = spark.range(total, numSlices=slices).map(lambda index: count_inside(index, total)).reduce(add)
    print(f"Pi is roughly {4 * count / total:.6f}")


if __name__ == "__main__":
    main()
