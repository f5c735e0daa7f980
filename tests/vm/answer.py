"""Counts on the executor, and prints a sum that is known."""

# ruff: noqa: T201

from pyspark import SparkContext

with SparkContext() as spark:
    print("the sum is", spark.range(1000, numSlices=2).map(lambda n: n * n).sum())
