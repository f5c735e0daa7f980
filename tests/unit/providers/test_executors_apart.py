"""A Spark job that is given hosts has no two executors on one of them, whatever the engine."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest
import yaml

from cloudmesh.cluster.providers.base import Submission
from cloudmesh.cluster.providers.kubernetes import spark_job as kubernetes_spark_job
from cloudmesh.cluster.providers.nomad import spark_job as nomad_spark_job
from cloudmesh.cluster.spec.spark import SparkJob


def submission(*hosts: str) -> Submission[SparkJob]:
    return Submission("job-1", SparkJob("job", main=Path("main.py")), "registry/image:1", "digest", hosts=hosts)


@pytest.mark.parametrize(("hosts", "apart"), [((), False), (("a", "b"), True)])
def test_nomad_is_told_that_workers_want_hosts_of_their_own(hosts, apart):
    _, workers = nomad_spark_job.spark_job(submission(*hosts))["TaskGroups"]
    assert ({"Operand": "distinct_hosts", "RTarget": "true"} in workers.get("Constraints", [])) is apart


@pytest.mark.parametrize(("hosts", "apart"), [((), False), (("a", "b"), True)])
def test_spark_on_kubernetes_is_told_what_keeps_executors_apart(hosts, apart):
    (driver,) = kubernetes_spark_job.build_spark_job(submission(*hosts))["spec"]["template"]["spec"]["containers"]
    template = "spark.kubernetes.executor.podTemplateFile=/opt/cloudmesh/apart.yaml"
    assert (template in driver["args"]) is apart


def test_what_keeps_executors_apart_is_in_the_image_and_is_about_one_jobs_executors():
    folder = importlib.resources.files("cloudmesh.images") / "spark"
    pod = yaml.safe_load((folder / "apart.yaml").read_text())
    (rule,) = pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["labelSelector"]["matchLabels"] == {"cms-role": kubernetes_spark_job.EXECUTOR}
    assert rule["matchLabelKeys"] == ["cms-job"]
    assert "apart.yaml" in (folder / "Dockerfile").read_text()


@pytest.mark.parametrize("hosts", [(), ("a", "b")])
def test_a_pod_of_a_spark_job_has_a_process_1_that_reaps(hosts):
    spec = kubernetes_spark_job.build_spark_job(submission(*hosts))["spec"]["template"]["spec"]
    assert spec["shareProcessNamespace"]
    (template,) = [word for word in spec["containers"][0]["args"] if "podTemplateFile=" in word]
    file = importlib.resources.files("cloudmesh.images") / "spark" / template.rpartition("/")[2]
    assert yaml.safe_load(file.read_text())["spec"]["shareProcessNamespace"]
    assert file.name in file.parent.joinpath("Dockerfile").read_text()
