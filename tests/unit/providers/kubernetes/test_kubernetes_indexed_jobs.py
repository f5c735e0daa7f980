"""The Kubernetes objects of a job that is not a Spark job."""

import pytest

from cloudmesh.cluster.core.model import Volume
from cloudmesh.cluster.providers.base import Mount, Submission
from cloudmesh.cluster.providers.kubernetes import indexed_jobs, pod_spec, submit, volumes
from cloudmesh.cluster.spec.container import ContainerJob
from cloudmesh.cluster.spec.job import Resources
from cloudmesh.cluster.spec.task_groups import TaskGroup, TaskLayout


def submission(image: str = "nginx", **fields: object) -> Submission:
    job = ContainerJob("web", image=image, needs=Resources(1, 64), **fields)
    return Submission("web-1", job, f"r:5443/{image}", "d" * 64, (Mount("data", "/data", True),), {"PW": "hidden"})


def build_by_name(job_submission: Submission) -> dict[str, dict]:
    manifests = indexed_jobs.build_objects(job_submission, "token")
    return {f"{manifest['kind']}/{manifest['metadata']['name']}": manifest for manifest in manifests}


def pod(job: dict) -> dict:
    return job["spec"]["template"]["spec"]


def env(job: dict) -> dict[str, dict]:
    return {variable["name"]: variable for variable in pod(job)["containers"][0]["env"]}


@pytest.fixture
def build(monkeypatch):
    def build_groups(*groups: TaskGroup, is_service: bool = False) -> dict[str, dict]:
        monkeypatch.setattr(ContainerJob, "layout", lambda job, hosts=(): TaskLayout(groups, is_service))
        return build_by_name(submission())

    return build_groups


def test_a_job_waits_until_all_that_it_owns_is_there():
    first, *others = indexed_jobs.build_objects(submission(), "token")
    assert (first["metadata"]["name"], first["spec"]["suspend"]) == ("web-1", True)
    assert [manifest["kind"] for manifest in others] == ["Secret", "Secret", "Service"]


def test_its_host_is_told_how_much_is_kept_of_what_a_task_prints():
    secret = build_by_name(submission())["Secret/web-1-tasks"]
    assert secret["stringData"]["log-limit"] == str(1 << 30)


def test_what_is_shown_has_no_secret():
    assert "hidden" not in str(submit.without_secrets(submission()))
    assert "hidden" not in str(build_by_name(submission())["Job/web-1"])
    assert env(build_by_name(submission())["Job/web-1"])["PW"]["valueFrom"]["secretKeyRef"] == {
        "name": "web-1-env",
        "key": "PW",
    }


def test_a_task_that_fails_too_often_fails_the_job():
    spec = build_by_name(submission(count=3, retries=2))["Job/web-1"]["spec"]
    assert (spec["completions"], spec["parallelism"]) == (3, 3)
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (2, 0)


def test_words_reach_the_program_as_they_were_given():
    job = build_by_name(submission(command=("$(A)",), arguments=("$$x",), env={"B": "$(C)"}))["Job/web-1"]
    container = pod(job)["containers"][0]
    assert (container["command"], container["args"], env(job)["B"]["value"]) == (["$$(A)"], ["$$$$x"], "$$(C)")


def test_an_images_own_entry_point_is_left_alone():
    assert not {"command", "args"} & pod(build_by_name(submission())["Job/web-1"])["containers"][0].keys()


@pytest.mark.parametrize(("image", "is_ours"), [("nginx", False), ("spark", True)])
def test_images_of_ours_never_run_as_root_and_others_have_few_rights(image, is_ours):
    pod_of_task = pod(build_by_name(submission(image))["Job/web-1"])
    assert pod_of_task["securityContext"].get("runAsNonRoot", False) is is_ours
    context = pod_of_task["containers"][0]["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert not {"NET_RAW", "MKNOD", "SYS_CHROOT"} & set(context["capabilities"].get("add", []))
    assert pod_of_task["automountServiceAccountToken"] is False


def test_tasks_find_each_other_by_name(build):
    objects = build(
        TaskGroup("head", 1, 1, 64, ports={"web": 0, "rpc": 9000}), TaskGroup("worker", 2, 1, 64, ports={"data": 0})
    )
    assert objects["Secret/web-1-tasks"]["stringData"]["peers"].splitlines() == [
        "head 0 web web-1-0.web-1.cms-jobs.svc.cluster.local:7100",
        "head 0 rpc web-1-0.web-1.cms-jobs.svc.cluster.local:9000",
        "worker 0 data web-1-worker-0.web-1.cms-jobs.svc.cluster.local:7100",
        "worker 1 data web-1-worker-1.web-1.cms-jobs.svc.cluster.local:7100",
    ]
    assert env(objects["Job/web-1"])["CMS_PORT_RPC"]["value"] == "9000"


def test_parts_of_the_same_name_have_names_and_numbers_of_their_own(build):
    objects = build(TaskGroup("head", 1, 1, 64), *(TaskGroup("worker", 1, 1, 64, host=host) for host in ("h1", "h2")))
    second = objects["Job/web-1-worker-1"]
    assert (env(second)["CMS_TASK_INDEX"]["value"], env(second)["CMS_TASK_COUNT"]["value"]) == ("1", "2")
    (term,) = pod(second)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchFields"][0]["values"] == ["h2"]


def test_what_stays_is_started_again_however_it_ended_and_leaves_no_host_that_is_away(build):
    pod_of_task = pod(build(TaskGroup("head", 1, 1, 64, host="h1"), is_service=True)["Job/web-1"])
    assert (pod_of_task["restartPolicy"], pod_of_task["containers"][0]["restartPolicy"]) == ("OnFailure", "Always")
    assert all("tolerationSeconds" not in toleration for toleration in pod_of_task["tolerations"])


def test_a_job_may_run_as_long_as_it_says():
    assert pod(build_by_name(submission(timeout_seconds=5))["Job/web-1"])["activeDeadlineSeconds"] == 5


def test_results_are_in_a_folder_of_the_pod_and_volumes_are_mounted_as_the_job_says():
    (container,) = pod(build_by_name(submission())["Job/web-1"])["containers"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts["results"]["subPathExpr"] == "web-1/$(CMS_TASK)/$(CMS_POD)"
    assert mounts["storage-0"] == {"name": "storage-0", "mountPath": "/data", "readOnly": True}


def test_a_volume_is_stored_as_it_was_given_and_bound_to_its_directory():
    stored = Volume("data", "directory", {"path": "/srv/data"}, {"key": "s"})
    volume, claim = volumes.build_volume_objects(stored)
    assert (volume["spec"]["hostPath"]["path"], claim["spec"]["volumeName"]) == ("/srv/data", "cms-storage-data")
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert volumes.build_volume_secret(stored)["metadata"]["namespace"] != pod_spec.JOBS_NAMESPACE
    assert Volume("n", "nfs", {"server": "s", "path": "/x"}).directory == "/var/lib/cloudmesh/storage/n"
    assert volumes.build_volume_objects(Volume("b", "s3", {"url": "s3a://b"})) == []


def test_equal_tasks_are_spread_over_the_hosts_where_there_is_room():
    (wish,) = pod(build_by_name(submission(count=3))["Job/web-1"])["topologySpreadConstraints"]
    assert wish["labelSelector"]["matchLabels"] == {"cms-job": "web-1", "cms-part": "task"}
    assert "topologySpreadConstraints" not in pod(build_by_name(submission())["Job/web-1"])


@pytest.mark.parametrize("image", ["spark", "nginx"])
def test_process_1_of_a_pod_is_none_of_the_jobs(image):
    (root, *_) = indexed_jobs.build_objects(submission(image), "")
    assert pod(root)["shareProcessNamespace"] is True
