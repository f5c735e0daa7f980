"""Does what typical jobs do, so that Spark's classes are loaded: in one process for all roles (see class_data.py)."""

import os
from contextlib import suppress

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

MASTERS = ("local[1]", "local-cluster[1,1,1024]")
NOBODY = "k8s://https://127.0.0.1:1"
PEOPLE = f"{os.environ['SPARK_HOME']}/examples/src/main/resources/people.json"

for run, master in enumerate(MASTERS):
    with SparkSession.builder.master(master).getOrCreate() as session:
        session.sparkContext.parallelize(range(8), 2).map(lambda number: (number % 2, number)).groupByKey().collect()
        table = session.read.json(PEOPLE)
        table.createOrReplaceTempView("people")
        session.sql("SELECT name, sum(age) FROM people GROUP BY name ORDER BY name").write.parquet(f"sums{run}")
        session.read.parquet(f"sums{run}").join(table, "name").collect()
        session.read.text(PEOPLE).write.csv(f"text{run}")
# There is no Kubernetes. Until the driver notices that, it has loaded most of the classes that it needs for one.
with suppress(Py4JJavaError):
    SparkSession.builder.master(NOBODY).getOrCreate()
