"""Which image the tasks of a job run, and how the cluster's hosts come by it."""

from __future__ import annotations

from contextlib import suppress

from cloudmesh.cluster import containers, delivery
from cloudmesh.cluster.context import Context
from cloudmesh.cluster.errors import ClusterError, ImageError
from cloudmesh.cluster.images import catalog
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.installation import build_image
from cloudmesh.cluster.jobs.bundle import Bundle
from cloudmesh.cluster.jobs.model import Job, SparkJob

_MAX_TAG, _DIGITS = 100, 12


def expected(registry: str, job: Job, job_id: str, packed: Bundle) -> str:
    """Return the name by which hosts will pull the job's image, as far as it is known before anything is delivered.

    Args:
        registry: the cluster's, as the hosts call it.
        job: the job.
        job_id: its id.
        packed: its files.
    """
    if _has_files(job):
        return f"{registry}/{delivery.job_image(job_id, packed)}"
    return f"{registry}/{catalog.tag(job.image)}" if job.image in catalog.IMAGES else _tagged(job.image)


def deliver(to: Registry, registry: str, job: Job, job_id: str, packed: Bundle, context: Context) -> str:
    """See to it that the hosts can pull the job's image, and return its name for them.

    An image of ours is built if need be. Any other one that this machine's Docker engine has is sent as it is here;
    one that it has not, the hosts shall pull by themselves.

    Raises:
        ClusterError: the job has local files, and no image that they could be laid over is within reach.
    """
    ours = job.image in catalog.IMAGES
    found = _ours(to, job.image, context) if ours else _others(to, job.image, context)
    if not _has_files(job):
        return f"{registry}/{found}" if found else _tagged(job.image)
    if not found:
        raise ClusterError(
            f"image {job.image}: local files can travel only with an image that the cluster's registry or this "
            f"machine's Docker engine has: `docker pull {job.image}` here, or have the files in the image"
        )
    return f"{registry}/{delivery.deliver_job(to, found, job_id, packed)}"


def _has_files(job: Job) -> bool:
    """Whether the job has an image of its own. Spark's always have: its folder is where they run."""
    return isinstance(job, SparkJob) or bool(job.files)


def _ours(to: Registry, name: str, context: Context) -> str:
    tag = catalog.tag(name)
    if not to.has_manifest(*tag.split(":")):
        build_image(name, context)
        delivery.deliver_image(to, tag, context.report)
    return tag


def _others(to: Registry, image: str, context: Context) -> str:
    """Return what the registry calls the image, sent there if this machine has it; empty where neither has it."""
    repository, reference = _parts(image)
    if identity := _identity(image):
        # What a tag stands for changes; hosts keep what they have pulled by the same name.
        tag = f"{'pinned' if ':' in reference else reference[:_MAX_TAG]}-{identity}"
        return delivery.deliver_image(to, _tagged(image), context.report, f"{repository}:{tag}")
    if ":" not in reference and to.has_manifest(repository, reference):
        return f"{repository}:{reference}"
    return ""


def _identity(image: str) -> str:
    """Return what tells the image that this machine's Docker engine has from others; empty where it has none."""
    if not containers.within_reach():
        return ""
    with suppress(ImageError):
        client = containers.client()
        try:
            with containers.mapped():
                return str(client.images.get(_tagged(image)).id).rpartition(":")[2][:_DIGITS]
        finally:
            client.close()
    return ""


def _parts(image: str) -> tuple[str, str]:
    """Return the image's repository as the cluster's registry may call it, and its tag or digest."""
    if "@" in image:
        image, _, reference = image.partition("@")
        repository = image if ":" not in image.rpartition("/")[2] else image.rpartition(":")[0]
    else:
        repository, _, reference = _tagged(image).rpartition(":")
    return repository.replace(":", "-"), reference


def _tagged(image: str) -> str:
    """Return the image's name with its tag or digest; a port of a registry is none."""
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"
