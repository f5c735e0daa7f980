"""What every provider promises of jobs in its engine's own language, and of the only credential that it gives away."""

import json
import stat
import textwrap
from functools import cache
from pathlib import Path

import pytest
from support.waiting import wait_until

from cloudmesh.cluster.images import catalog
from contract.conftest import Cluster, run_on_all
from contract.test_jobs import read_job, write

pytestmark = pytest.mark.cluster

NOMAD = """
job "{name}" {{
  type = "{kind}"
  group "all" {{
    restart {{
      attempts = 0
      mode     = "fail"
    }}
    reschedule {{
      attempts  = 0
      unlimited = false
    }}
    task "main" {{
      driver = "docker"
      config {{
        image      = "{image}"
        entrypoint = ["/bin/sh", "-c", {command}]
      }}
      resources {{
        cpu    = 100
        memory = 64
      }}
    }}
  }}
}}
"""
JOB = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: "{name}"}}
data: {{mode: "0644"}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: "{name}"}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{{name: main, image: "{image}", command: [/bin/sh, -c, {command}]}}]
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: "{name}"}}
spec:
  selector: {{matchLabels: {{app: "{name}"}}}}
  template:
    metadata: {{labels: {{app: "{name}"}}}}
    spec:
      containers: [{{name: main, image: "{image}", command: [/bin/sh, -c, {command}]}}]
"""
ECHO = "echo out; echo err >&2"
# Nomad stops reading when a task ends, and may have read nothing of one that ends at once, or not its last words.
UNREAD = """
for log in $(grep -l 'a line' /var/lib/cloudmesh/nomad/alloc/*/alloc/logs/main.stdout.0); do
    truncate -s 9 "$log" && truncate -s 0 "$(dirname "$log")/main.stderr.0"
done
"""
OTHER = {"nomad": "kubernetes", "kubernetes": "nomad"}


@cache
def find_registry(cluster: Cluster) -> str:
    """Return where the cluster's hosts find images."""
    return cluster.cms("info", "--output=json").json()["registry"]


def write_native(
    cluster: Cluster, folder: Path, name: str, command: str, *, service: bool = False, engine: str = ""
) -> str:
    """Write a job in an engine's language that runs a shell command in the image of Spark; return its path."""
    engine = engine or cluster.provider
    image = f"{find_registry(cluster)}/{catalog.tag('spark')}"
    text = NOMAD if engine == "nomad" else DEPLOYMENT if service else JOB
    kind = "service" if service else "batch"
    filled = textwrap.dedent(text).format(name=name, kind=kind, image=image, command=json.dumps(command))
    return write(folder, f"{name}.{'nomad' if engine == 'nomad' else 'yaml'}", filled)


def test_a_native_job_is_followed_to_its_outcome_and_told_like_any_other(cluster, tmp_path):
    outcome = cluster.cms("submit", write_native(cluster, tmp_path, "native", ECHO)).ok()
    assert outcome.stdout == "out\n"
    assert "err\n" in outcome.stderr
    job = read_job(cluster, "native")
    assert (job["state"], job["exit_code"], len(job["tasks"])) == ("succeeded", 0, 1)
    assert "native" in [job["id"] for job in cluster.cms("jobs", "--output=json").json()]
    assert cluster.cms("logs", "native").ok().stdout == "out\n"


def test_what_nomad_has_not_read_of_a_task_that_ended_is_told_all_the_same(cluster, tmp_path):
    if cluster.provider != "nomad":
        pytest.skip("Kubernetes shows what its container engine has stored")
    submitted = cluster.cms(
        "submit", write_native(cluster, tmp_path, "unread", "echo a line; echo another; echo an error >&2")
    ).ok()
    run_on_all(cluster, UNREAD)
    logs = cluster.cms("logs", "unread").ok()
    assert submitted.stdout == logs.stdout == "a line\nanother\n"
    assert logs.stderr == "an error\n"


def test_a_native_job_that_fails_fails_the_command(cluster, tmp_path):
    outcome = cluster.cms("submit", write_native(cluster, tmp_path, "native-bad", "sleep 1; exit 5"))
    assert outcome.status == 1
    assert outcome.stderr.splitlines()[-1] == "ERROR: job native-bad failed: exit code 5"


def test_a_detached_native_job_is_told_by_its_id_and_stopped_and_its_output_stays(cluster, tmp_path):
    outcome = cluster.cms(
        "submit", "--detach", write_native(cluster, tmp_path, "native-long", "echo begun; sleep 600")
    ).ok()
    assert outcome.stdout.splitlines()[-1] == "native-long"
    assert wait_until(lambda: cluster.cms("logs", "native-long").ok().stdout == "begun\n", 120), "never: it runs"
    cluster.cms("stop", "native-long").ok()
    assert wait_until(lambda: read_job(cluster, "native-long")["state"] == "stopped", 60), "never: it is stopped"
    assert cluster.cms("logs", "native-long").ok().stdout == "begun\n"


def test_a_service_is_accepted_and_not_waited_for(cluster, tmp_path):
    service = write_native(cluster, tmp_path, "native-web", "sleep 600", service=True)
    outcome = cluster.cms("submit", service).ok()
    assert "not followed" in outcome.stderr
    assert outcome.stdout == ""
    if cluster.provider == "nomad":
        cluster.cms("stop", "native-web").ok()
    else:
        cluster.cms("submit", write(tmp_path, "none.yaml", Path(service).read_text() + "  replicas: 0\n")).ok()


def test_a_dry_run_asks_the_engine_and_runs_nothing(cluster, tmp_path):
    outcome = cluster.cms("submit", "--dryrun", write_native(cluster, tmp_path, "native-dry", ECHO))
    assert "native-dry" in json.dumps(outcome.json())
    assert cluster.cms("jobs", "native-dry").status == 3


def test_the_other_engines_job_is_refused_in_one_line(cluster, tmp_path):
    outcome = cluster.cms(
        "submit", write_native(cluster, tmp_path, "native-other", ECHO, engine=OTHER[cluster.provider])
    )
    assert outcome.status == 2
    assert f"is a job for {OTHER[cluster.provider]}" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_a_malformed_native_job_is_told_with_its_line(cluster, tmp_path):
    name, text = {"nomad": ("x.hcl", 'job "x" {\n'), "kubernetes": ("x.yaml", "apiVersion: v1\nkind: [\n")}[
        cluster.provider
    ]
    outcome = cluster.cms("submit", write(tmp_path, name, text))
    assert outcome.status == 2
    assert ":1,9" in outcome.stderr or "x.yaml:3" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_what_the_engine_refuses_is_told_in_its_own_words(cluster, tmp_path):
    good = Path(write_native(cluster, tmp_path, "native-odd", ECHO))
    odd = good.read_text().replace('type = "batch"', 'type = "odd"').replace("backoffLimit", "backofLimit")
    outcome = cluster.cms("submit", write(tmp_path, f"odd{good.suffix}", odd))
    assert outcome.status == 1
    last = outcome.stderr.splitlines()[-1]
    assert 'Invalid job type: "odd"' in last or "backofLimit" in last
    assert cluster.cms("jobs", "native-odd").status == 3


@pytest.mark.parametrize("name", ["a/../../acl/tokens", "x?y", "../../secrets/x"])
def test_a_native_job_cannot_name_another_place_of_the_api(cluster, tmp_path, name):
    good = Path(write_native(cluster, tmp_path, "native-evil", ECHO))
    outcome = cluster.cms(
        "submit", write(tmp_path, f"evil{good.suffix}", good.read_text().replace("native-evil", name))
    )
    assert outcome.status == 2
    assert "is not valid" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_a_native_job_does_not_replace_one_made_of_a_job_file(cluster, tmp_path):
    cluster.cms("submit", "--id=native-taken", write(tmp_path, "taken.py", "print(1)")).ok()
    outcome = cluster.cms("submit", write_native(cluster, tmp_path, "native-taken", ECHO))
    assert outcome.status == 1
    assert cluster.cms("logs", "native-taken").ok().stdout == "1\n"


def test_kubectls_access_is_exported_once_and_for_the_owner_alone(cluster, tmp_path):
    target = tmp_path / "kubeconfig"
    outcome = cluster.cms("info", f"--kubeconfig={target}")
    if cluster.provider != "kubernetes":
        assert outcome.status == 2
        assert outcome.stderr.count("\n") == 1
        assert not target.exists()
        return
    assert "for a week" in outcome.ok().stderr
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    kubernetes = pytest.importorskip("kubernetes")
    with kubernetes.config.new_client_from_config(str(target)) as client:
        assert len(kubernetes.client.CoreV1Api(client).list_node().items) == len(
            cluster.cms("info", "--output=json").json()["nodes"]
        )
    before = target.read_bytes()
    assert cluster.cms("info", f"--kubeconfig={target}").status == 2
    assert target.read_bytes() == before


NOWHERE = {
    "nomad": (
        NOMAD.replace("  type =", '  datacenters = ["dc1"]\n  type ='),
        r"datacenters, dc1: .*leave `datacenters`",
    ),
    "kubernetes": (
        JOB.replace("      restartPolicy", "      nodeSelector: {{disk: ssd}}\n      restartPolicy"),
        "disk=ssd",
    ),
}


def test_a_job_that_no_host_could_ever_take_is_refused_at_once(cluster, tmp_path):
    text, cause = NOWHERE[cluster.provider]
    name = f"nowhere-{cluster.provider}"
    file = write(
        tmp_path,
        "job.nomad" if cluster.provider == "nomad" else "job.yaml",
        text.format(name=name, kind="batch", image="none", command=json.dumps("true")),
    )
    outcome = cluster.cms("submit", file)
    outcome.expect_failure(1, cause)
    assert outcome.seconds < 20
    assert cluster.cms("jobs", name).status == 3
