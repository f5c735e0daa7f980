"""Which image the tasks of a job run, and how the cluster's hosts come by it."""

from __future__ import annotations

from contextlib import suppress

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, ImageError
from cloudmesh.cluster.docker_daemon import docker_client
from cloudmesh.cluster.images import catalog, delivery
from cloudmesh.cluster.images.build import build_for
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.job_bundle import JobBundle
from cloudmesh.cluster.spec.spark import SparkJob

_MAX_TAG, _DIGITS = 100, 12


def expected_name(registry: str, job: JobSpec, job_id: str, packed: JobBundle) -> str:
    """Return the name by which hosts will pull the job's image, as far as it is known before anything is delivered.

    Args:
        registry: the cluster's, as the hosts call it.
        job: the job.
        job_id: its id.
        packed: its files.
    """
    if _has_files(job):
        return f"{registry}/{delivery.job_image_name(job_id, packed)}"
    return f"{registry}/{catalog.tag(job.image)}" if job.image in catalog.IMAGES else _with_tag(job.image)


def deliver(to: Registry, registry: str, job: JobSpec, job_id: str, packed: JobBundle, context: Context) -> str:
    """See to it that the hosts can pull the job's image, and return its name for them.

    An image of ours is built if need be. Any other one that this machine's Docker engine has is sent as it is here;
    one that it has not, the hosts shall pull by themselves.

    Raises:
        ClusterError: the job has local files, and no image that they could be laid over is within reach.
    """
    ours = job.image in catalog.IMAGES
    found = _deliver_builtin(to, job.image, context) if ours else _deliver_other(to, job.image, context)
    if not _has_files(job):
        return f"{registry}/{found}" if found else _with_tag(job.image)
    if not found:
        raise ClusterError(
            f"image {job.image}: local files can travel only with an image that the cluster's registry or this "
            f"machine's Docker engine has: `docker pull {job.image}` here, or have the files in the image"
        )
    return f"{registry}/{delivery.deliver_job_image(to, found, job_id, packed)}"


def _has_files(job: JobSpec) -> bool:
    """Whether the job has an image of its own. Spark's always have: its folder is where they run."""
    return isinstance(job, SparkJob) or bool(job.files)


def _deliver_builtin(to: Registry, name: str, context: Context) -> str:
    tag = catalog.tag(name)
    if not to.has_manifest(*tag.split(":")):
        build_for(name, context)
        delivery.deliver_image(to, tag, context.report)
    return tag


def _deliver_other(to: Registry, image: str, context: Context) -> str:
    """Return what the registry calls the image, sent there if this machine has it; empty where neither has it."""
    repository, reference = _repository_and_reference(image)
    if identity := _identity(image):
        # What a tag stands for changes; hosts keep what they have pulled by the same name.
        tag = f"{'pinned' if ':' in reference else reference[:_MAX_TAG]}-{identity}"
        return delivery.deliver_image(to, _with_tag(image), context.report, f"{repository}:{tag}")
    if ":" not in reference and to.has_manifest(repository, reference):
        return f"{repository}:{reference}"
    return ""


def _identity(image: str) -> str:
    """Return what tells the image that this machine's Docker engine has from others; empty where it has none."""
    if not docker_client.within_reach():
        return ""
    with suppress(ImageError):
        client = docker_client.connect()
        try:
            with docker_client.translate_errors():
                return str(client.images.get(_with_tag(image)).id).rpartition(":")[2][:_DIGITS]
        finally:
            client.close()
    return ""


def _repository_and_reference(image: str) -> tuple[str, str]:
    """Return the image's repository as the cluster's registry may call it, and its tag or digest."""
    if "@" in image:
        image, _, reference = image.partition("@")
        repository = image if ":" not in image.rpartition("/")[2] else image.rpartition(":")[0]
    else:
        repository, _, reference = _with_tag(image).rpartition(":")
    return repository.replace(":", "-"), reference


def _with_tag(image: str) -> str:
    """Return the image's name with its tag or digest; a port of a registry is none."""
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"
