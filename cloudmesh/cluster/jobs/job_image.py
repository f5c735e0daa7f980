"""The image that the tasks of a job run: its name, and its way into the cluster's registry."""

from __future__ import annotations

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import ClusterError, ImageError
from cloudmesh.cluster.docker_daemon import debian_base, docker_client
from cloudmesh.cluster.images import catalog, delivery
from cloudmesh.cluster.images.build import build_builtin_image
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.spec.job import JobSpec
from cloudmesh.cluster.spec.job_bundle import JobBundle
from cloudmesh.cluster.spec.spark import SparkJob

_MAX_TAG, _DIGITS = 100, 12


def expected_name(address: str, job: JobSpec, job_id: str, bundle: JobBundle) -> str:
    """Return the name by which hosts will pull the job's image, as far as it is known before anything is delivered.

    Args:
        address: "ADDRESS:PORT" at which the hosts reach the cluster's registry.
        job: the job.
        job_id: the job's id.
        bundle: the job's files.
    """
    if _has_own_image(job):
        return f"{address}/{delivery.job_image_name(job_id, bundle)}"
    return f"{address}/{catalog.tag(job.image)}" if job.image in catalog.IMAGES else _with_tag(job.image)


def deliver(registry: Registry, address: str, job: JobSpec, job_id: str, bundle: JobBundle, context: Context) -> str:
    """Make sure that the hosts can pull the job's image, and return the name by which they pull it.

    What is in the cluster's registry is pulled by its digest: all hosts run what was delivered, whoever moves the tag.

    An image of `catalog.IMAGES` is built where the registry does not have it. Any other image is pushed if the Docker
    daemon of this machine has it; if not, the hosts pull it from where its name says.

    Args:
        registry: the cluster's registry.
        address: "ADDRESS:PORT" at which the hosts reach it.
        job: the job.
        job_id: the job's id.
        bundle: the job's files.
        context: the operator's side.

    Raises:
        ClusterError: the job has local files, but neither the registry nor this machine's Docker daemon has its image.
        ImageError: the image could not be built or pushed.
    """
    builtin = job.image in catalog.IMAGES
    name = _deliver_builtin(registry, job.image, context) if builtin else _deliver_other(registry, job.image, context)
    if not _has_own_image(job):
        return f"{address}/{name}@{registry.digest(*catalog.split_tag(name))}" if name else _with_tag(job.image)
    if not name:
        raise ClusterError(
            f"image {job.image}: local files can travel only with an image that the cluster's registry or this "
            f"machine's Docker engine has: `docker pull {job.image}` here, or have the files in the image"
        )
    return f"{address}/{delivery.deliver_job_image(registry, name, job_id, bundle)}"


def _has_own_image(job: JobSpec) -> bool:
    """Return whether an image is made for the job: it has files, or is Spark's, which run in their bundle's folder."""
    return isinstance(job, SparkJob) or bool(job.files)


def _deliver_builtin(registry: Registry, name: str, context: Context) -> str:
    """Build and push an image of `catalog.IMAGES`, unless the registry has it; return its tag."""
    tag = catalog.tag(name)
    if not registry.has_manifest(*catalog.split_tag(tag)):
        build_builtin_image(name, context)
        delivery.deliver_image(registry, tag, context.report)
    return tag


def _deliver_other(registry: Registry, image: str, context: Context) -> str:
    """Push an image if this machine's Docker daemon has it.

    Returns:
        "REPOSITORY:TAG" of the image in the registry; empty where neither the daemon nor the registry has it.
    """
    repository, reference = _repository_and_reference(image)
    if image_id := _find_image_id(image, context):
        # The image behind a tag may change, but hosts keep what they have pulled by a name: the id is part of the name.
        tag = f"{'pinned' if ':' in reference else reference[:_MAX_TAG]}-{image_id}"
        return delivery.deliver_image(registry, _with_tag(image), context.report, f"{repository}:{tag}")
    if ":" not in reference and registry.has_manifest(repository, reference):
        return f"{repository}:{reference}"
    return ""


def _find_image_id(image: str, context: Context) -> str:
    """Return the first digits of the image's id in this machine's Docker daemon; empty where it is not there.

    Where the daemon does not say, the hosts look for the image themselves, and the user is told.
    """
    if not docker_client.within_reach():
        return ""
    try:
        client = docker_client.connect()
        try:
            with docker_client.translate_errors():
                if debian_base.image_exists(client, _with_tag(image)):
                    return str(client.images.get(_with_tag(image)).id).rpartition(":")[2][:_DIGITS]
        finally:
            client.close()
    except docker_client.NoDaemonError:
        pass
    except ImageError as error:
        context.report.note(f"whether {image} is on this machine is not known, hosts look for it themselves: {error}")
    return ""


def _repository_and_reference(image: str) -> tuple[str, str]:
    """Return the repository that the image gets in the cluster's registry, and its tag or digest ("sha256:…").

    A repository's name has no ":", so that of a registry's port becomes "-".
    """
    if "@" in image:
        image, _, reference = image.partition("@")
        repository = catalog.split_tag(_with_tag(image))[0]
    else:
        repository, reference = catalog.split_tag(_with_tag(image))
    return repository.replace(":", "-"), reference


def _with_tag(image: str) -> str:
    """Return the image's name with its tag or digest; "latest" is added where it has neither.

    What follows a ":" before the last "/" is the port of a registry, not a tag.
    """
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"
