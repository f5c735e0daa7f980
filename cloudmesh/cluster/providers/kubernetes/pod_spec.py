"""What the pods of all our jobs have in common, as Kubernetes is told it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudmesh.cluster.providers.base import Mount, Submission
from cloudmesh.cluster.spec.job import JobSpec

JOBS_NAMESPACE, JOBS_ACCOUNT = "cms-jobs", "spark"
# A core of a job asks for this much of a processor, in thousandths: the rest is the host's and the engine's own, so
# that a host of two cores takes two.
CORE = 800
# Labels: of everything that is a job's, of its parts, and of a Spark job's pods.
JOB, PART, ROLE = "cms-job", "cms-part", "cms-role"
DRIVER, EXECUTOR = "driver", "executor"
# Annotations; the last ones say where the tasks of a job that was stopped had been, and why it could never begin.
DIGEST, NAME, VOLUMES = "cloudmesh/digest", "cloudmesh/name", "cloudmesh/places"
STOPPED, PLACED, HOPELESS = "cloudmesh/stopped", "cloudmesh/placed", "cloudmesh/hopeless"
# Where pods find what the cluster gives them.
SECRETS_DIR, RESULTS_DIR = "/opt/cloudmesh/secrets", "/opt/cloudmesh/results"
# Where their results are on the hosts, as JOB/TASK/POD, by which also forgotten pods are told; see walkthrough.sh.
HOST_RESULTS, RESULTS_CLAIM = "/var/lib/cloudmesh/results", "cms-results"
SECRET, PEERS = "secret", "peers"
_GRACE_SECONDS = 15
_LOST_AFTER = 120
_GONE = ("unreachable", "not-ready")


def tasks_secret_name(job_id: str) -> str:
    """Return the name of the secret by which the tasks of a job know each other."""
    return f"{job_id}-tasks"


def variables_secret_name(job_id: str) -> str:
    """Return the name of the secret that holds those of a job's variables that are secrets."""
    return f"{job_id}-env"


def build_metadata(job_id: str, name: str = "", **more: Any) -> dict[str, Any]:
    """Return what an object of a job is called."""
    return {"name": name or job_id, "namespace": JOBS_NAMESPACE, "labels": {JOB: job_id}, **more}


def build_job_metadata(submission: Submission[JobSpec], **more: str) -> dict[str, Any]:
    """Return what the Job is called that stands for a job; `more` is kept with it."""
    its = submission.job
    annotations = {DIGEST: submission.digest, NAME: its.name, VOLUMES: " ".join(its.volumes), **more}
    return build_metadata(submission.id, annotations=annotations)


def build_secrets(submission: Submission[JobSpec], contents: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the secrets of a job.

    Args:
        submission: the job.
        contents: what its tasks find in SECRETS_DIR.
    """
    found = [_secret(submission.id, tasks_secret_name(submission.id), contents)]
    if submission.secrets:
        found.append(_secret(submission.id, variables_secret_name(submission.id), submission.secrets))
    return found


def escape(text: str) -> str:
    """Return `text` so that Kubernetes, which replaces $(NAME) in arguments and variables, gives it back as it is."""
    return text.replace("$", "$$")


def build_variables(fields: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return environment variables whose values may refer to those before them."""
    return [{"name": name, "value": value} for name, value in fields.items()]


def build_literal_variables(fields: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return environment variables with values as they are."""
    return build_variables({name: escape(value) for name, value in fields.items()})


def build_secret_variables(submission: Submission[JobSpec]) -> list[dict[str, Any]]:
    """Return the environment variables that are secrets."""
    name = variables_secret_name(submission.id)
    return [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}} for key in sorted(submission.secrets)
    ]


def build_field_variable(name: str, path: str) -> dict[str, Any]:
    """Return an environment variable that has a field of the pod as its value."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def build_resources(cores: int, memory_mb: int) -> dict[str, Any]:
    """Return what a container asks for, and gets no more of."""
    memory = f"{memory_mb}Mi"
    return {"requests": {"cpu": f"{cores * CORE}m", "memory": memory}, "limits": {"memory": memory}}


def results_path(job_id: str, task: str, pod: str) -> str:
    """Return the folder of an attempt of a task among the results."""
    return f"{job_id}/{task}/{pod}"


def claim_name(place: str) -> str:
    """Return by what name pods ask for a place's directory."""
    return f"cms-storage-{place}"


def build_mounts(submission: Submission[JobSpec], task: str) -> list[dict[str, Any]]:
    """Return what a container finds where; see `volumes`. It has the variable CMS_POD, and those that `task` names."""
    its_own = results_path(submission.id, task, "$(CMS_POD)")
    found: list[dict[str, Any]] = [
        {"name": "secrets", "mountPath": SECRETS_DIR, "readOnly": True},
        {"name": "results", "mountPath": RESULTS_DIR, "subPathExpr": its_own},
    ]
    for name, each in name_mounts(submission).items():
        found.append({"name": name, "mountPath": each.mount, "readOnly": each.read_only})
    return found


def build_volumes(submission: Submission[JobSpec], mode: int) -> list[dict[str, Any]]:
    """Return the volumes of a pod.

    Args:
        submission: the job.
        mode: of the files of secrets.
    """
    secret = {"secretName": tasks_secret_name(submission.id), "defaultMode": mode}
    found: list[dict[str, Any]] = [
        {"name": "secrets", "secret": secret},
        {"name": "results", "persistentVolumeClaim": {"claimName": RESULTS_CLAIM}},
    ]
    for name, each in name_mounts(submission).items():
        found.append({"name": name, "persistentVolumeClaim": {"claimName": claim_name(each.place)}})
    return found


def name_mounts(submission: Submission[JobSpec]) -> dict[str, Mount]:
    """Return the places that a job uses by what its pods call them; one may be mounted twice."""
    return {f"storage-{number}": each for number, each in enumerate(submission.volumes)}


def build_pod_spec(container: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a pod of one container, which ends when its host is lost."""
    return {
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "enableServiceLinks": False,
        "tolerations": build_tolerations(_LOST_AFTER),
        "containers": [container],
        **fields,
    }


def build_tolerations(seconds: int | None) -> list[dict[str, Any]]:
    """Return how long a pod stays on a host that does not answer; None: until it does again."""
    limit = {} if seconds is None else {"tolerationSeconds": seconds}
    return [{"key": f"node.kubernetes.io/{how}", "operator": "Exists", "effect": "NoExecute", **limit} for how in _GONE]


def _secret(job_id: str, name: str, contents: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": build_metadata(job_id, name),
        "immutable": True,
        "stringData": dict(contents),
    }
