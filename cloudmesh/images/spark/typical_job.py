"""Does a little of what most jobs do, in one process that is driver and executor, master and worker (class_data.py)."""

import os
from contextlib import suppress

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

MASTERS = ("local[1]", "local-cluster[1,1,1024]")
NOBODY = "k8s://https://127.0.0.1:1"
PEOPLE = f"{os.environ['SPARK_HOME']}/examples/src/main/resources/people.json"

for number, master in enumerate(MASTERS):
    with SparkSession.builder.master(master).getOrCreate() as session:
        session.sparkContext.parallelize(range(8), 2).map(lambda each: (each % 2, each)).groupByKey().collect()
        table = session.read.json(PEOPLE)
        table.createOrReplaceTempView("people")
        session.sql("SELECT name, sum(age) FROM people GROUP BY name ORDER BY name").write.parquet(f"sums{number}")
        session.read.parquet(f"sums{number}").join(table, "name").collect()
        session.read.text(PEOPLE).write.csv(f"text{number}")
# No Kubernetes is there. What a driver has loaded until it finds that out is most of what it needs to use one.
with suppress(Py4JJavaError):
    SparkSession.builder.master(NOBODY).getOrCreate()
