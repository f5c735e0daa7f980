"""What the Kubernetes objects of all our jobs have in common: names, labels, secrets, variables, volumes, pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudmesh.cluster.providers.base import Mount, Submission
from cloudmesh.cluster.spec.job import JobSpec

JOBS_NAMESPACE, JOBS_ACCOUNT = "cms-jobs", "spark"
# For each core of a job, so many thousandths of a processor are requested. The rest is left to the host and the
# engine, so that a host with two processors takes tasks of two cores.
CORE = 800
# Labels: of all objects of a job, of its task groups, and of the pods of a Spark job.
JOB, PART, ROLE = "cms-job", "cms-part", "cms-role"
DRIVER, EXECUTOR = "driver", "executor"
# Annotations of the root Job.
DIGEST, NAME, VOLUMES = "cloudmesh/digest", "cloudmesh/name", "cloudmesh/places"
# More of them: that the job was stopped, where its tasks ran until then, and why it could never start.
STOPPED, PLACED, HOPELESS = "cloudmesh/stopped", "cloudmesh/placed", "cloudmesh/hopeless"
# Directories in the containers.
SECRETS_DIR, RESULTS_DIR = "/opt/cloudmesh/secrets", "/opt/cloudmesh/results"
# The directory of the results on the hosts, which has JOB/TASK/POD for each attempt of a task, so that results are also
# found when Kubernetes has deleted the pod; walkthrough.sh creates it. And the claim by which pods mount it.
HOST_RESULTS, RESULTS_CLAIM = "/var/lib/cloudmesh/results", "cms-results"
SECRET, PEERS = "secret", "peers"
# A file beside them, which keep-output.sh finds on the host: how many bytes of what a task prints are kept.
LOG_LIMIT = "log-limit"
_GRACE_SECONDS = 15
_LOST_AFTER_SECONDS = 120


def tasks_secret_name(job_id: str) -> str:
    """Return the name of the Secret that the tasks of a job share."""
    return f"{job_id}-tasks"


def variables_secret_name(job_id: str) -> str:
    """Return the name of the Secret that holds the secret environment variables of a job, of a Spark job all."""
    return f"{job_id}-env"


def build_metadata(job_id: str, name: str = "", **fields: Any) -> dict[str, Any]:
    """Return the metadata of an object of a job.

    Args:
        job_id: the job.
        name: the name of the object; empty: the id of the job.
        fields: more fields of the metadata.
    """
    return {"name": name or job_id, "namespace": JOBS_NAMESPACE, "labels": {JOB: job_id}, **fields}


def build_job_metadata(submission: Submission[JobSpec], **annotations: str) -> dict[str, Any]:
    """Return the metadata of the root Job of a job, with its annotations and the given ones."""
    job = submission.job
    common = {DIGEST: submission.digest, NAME: job.name, VOLUMES: " ".join(job.volumes)}
    return build_metadata(submission.id, annotations={**common, **annotations})


def build_secrets(
    submission: Submission[JobSpec], contents: Mapping[str, str], env: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return the Secrets of a job.

    Args:
        submission: the job.
        contents: the files that its tasks find in SECRETS_DIR.
        env: variables that are no secrets, and that some of its tasks get from the Secret with those that are.
    """
    files = {**contents, LOG_LIMIT: str(submission.job.log_limit_mb << 20)}
    secrets = [_build_secret(submission.id, tasks_secret_name(submission.id), files)]
    if variables := {**(env or {}), **submission.secrets}:
        secrets.append(_build_secret(submission.id, variables_secret_name(submission.id), variables))
    return secrets


def escape(text: str) -> str:
    """Return `text` such that Kubernetes, which expands $(NAME) in arguments and variables, restores it unchanged."""
    return text.replace("$", "$$")


def build_variables(values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return environment variables whose values may refer to variables before them, as $(NAME)."""
    return [{"name": name, "value": value} for name, value in values.items()]


def build_literal_variables(values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return environment variables with exactly these values."""
    return build_variables({name: escape(value) for name, value in values.items()})


def build_secret_variables(submission: Submission[JobSpec]) -> list[dict[str, Any]]:
    """Return the environment variables of a job whose values are in its Secret."""
    secret = variables_secret_name(submission.id)
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}
        for name in sorted(submission.secrets)
    ]


def build_field_variable(name: str, path: str) -> dict[str, Any]:
    """Return an environment variable whose value is a field of the pod, such as "metadata.name"."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def build_resources(cores: int, memory_mb: int) -> dict[str, Any]:
    """Return the resources of a container: it may use more processor time than it requests, but not more memory."""
    memory = f"{memory_mb}Mi"
    return {"requests": {"cpu": f"{cores * CORE}m", "memory": memory}, "limits": {"memory": memory}}


def results_path(job_id: str, task: str, pod: str) -> str:
    """Return the folder of one attempt of a task, relative to HOST_RESULTS."""
    return f"{job_id}/{task}/{pod}"


def claim_name(volume: str) -> str:
    """Return the name of both PersistentVolume and claim of a volume that has a directory."""
    return f"cms-storage-{volume}"


def build_mounts(submission: Submission[JobSpec], task: str) -> list[dict[str, Any]]:
    """Return the mounts of a container, which refer to the volumes that `build_volumes` returns.

    Args:
        submission: the job.
        task: the name of the task. It may contain $(NAME) of variables of the container. The variable CMS_POD, which
            is used as well, must hold the name of the pod.
    """
    mounts: list[dict[str, Any]] = [
        {"name": "secrets", "mountPath": SECRETS_DIR, "readOnly": True},
        {
            "name": "results",
            "mountPath": RESULTS_DIR,
            "subPathExpr": results_path(submission.id, task, "$(CMS_POD)"),
        },
    ]
    for name, mount in name_mounts(submission).items():
        mounts.append({"name": name, "mountPath": mount.mount, "readOnly": mount.read_only})
    return mounts


def build_volumes(submission: Submission[JobSpec], mode: int) -> list[dict[str, Any]]:
    """Return the volumes of a pod: its secrets, its results, and the cluster's volumes that the job uses.

    Args:
        submission: the job.
        mode: the file mode of the secrets.
    """
    secret = {"secretName": tasks_secret_name(submission.id), "defaultMode": mode}
    volumes: list[dict[str, Any]] = [
        {"name": "secrets", "secret": secret},
        {"name": "results", "persistentVolumeClaim": {"claimName": RESULTS_CLAIM}},
    ]
    for name, mount in name_mounts(submission).items():
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim_name(mount.volume)}})
    return volumes


def name_mounts(submission: Submission[JobSpec]) -> dict[str, Mount]:
    """Return the job's mounts by the names of their volumes in a pod: numbered, as a job may mount a volume twice."""
    return {f"storage-{number}": mount for number, mount in enumerate(submission.volumes)}


def build_pod_spec(container: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the spec of a pod with one container; the pod ends some time after its host is lost.

    Args:
        container: the container.
        fields: more fields of the spec, which replace those of the same name.
    """
    return {
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "enableServiceLinks": False,
        # Process 1 is the pod's own, which lets signals have their effect on the program, and reaps what it orphans.
        "shareProcessNamespace": True,
        "tolerations": build_tolerations(_LOST_AFTER_SECONDS),
        "containers": [container],
        **fields,
    }


def build_tolerations(seconds: int | None) -> list[dict[str, Any]]:
    """Return for how long a pod stays on a host that does not answer; None: until the host answers again."""
    limit = {} if seconds is None else {"tolerationSeconds": seconds}
    return [
        {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute", **limit}
        for taint in ("unreachable", "not-ready")
    ]


def _build_secret(job_id: str, name: str, contents: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": build_metadata(job_id, name),
        "immutable": True,
        "stringData": dict(contents),
    }
