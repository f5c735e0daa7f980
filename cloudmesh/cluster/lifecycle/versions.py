"""Which version of its engine a cluster has, and which may follow it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cloudmesh.cluster.binaries.pinned import find_engine, pinned_versions, version_numbers
from cloudmesh.cluster.core.cluster_spec import ClusterSpec
from cloudmesh.cluster.core.errors import ClusterError, UsageError
from cloudmesh.cluster.core.model import Node, Role
from cloudmesh.cluster.providers.base import NOT_LIVING


def version_of(nodes: Iterable[Node], spec: ClusterSpec, *, between: bool) -> str:
    """Return the version of the engine that a cluster's servers run, which hosts that join get too.

    Args:
        nodes: all that the engine has.
        spec: of the cluster.
        between: whether it may have several versions, as while it is upgraded; then the one of `spec` is returned.

    Raises:
        ClusterError: the servers have several versions, and may not.
    """
    # What others ran is old.
    running = {
        node.version for node in nodes if Role.SERVER in node.roles and node.status not in NOT_LIVING and node.version
    }
    if len(running) > 1 and not between:
        newest = max(running, key=version_numbers)
        raise ClusterError(
            f"the servers of cluster {spec.cluster} are between {spec.provider} {' and '.join(sorted(running))}, so "
            f"that no host can join: finish that by `cms cluster upgrade -n {spec.cluster} --to={newest}`"
        )
    return running.pop() if len(running) == 1 else spec.version


def refuse_another(spec: ClusterSpec, version: str) -> None:
    """Raise UsageError where `version`, if it is not empty, is another one than the cluster has, if that is known."""
    if spec.version and version not in ("", spec.version):
        raise UsageError(
            f"cluster {spec.cluster} has {spec.provider} {spec.version}: leave --engine-version out; "
            f"`cms cluster upgrade -n {spec.cluster} --to={version}` changes it"
        )


def choose_target(spec: ClusterSpec, wanted: str, present: Collection[str]) -> str:
    """Return the version to which a cluster is upgraded.

    Args:
        spec: of the cluster.
        wanted: what the operator asks for; empty: what new clusters get, or what the cluster has of what is newer.
        present: the versions that its hosts run, or were on their way to.

    Raises:
        UsageError: it is not pinned, or cannot follow one of those that are present.
    """
    target = find_engine(spec.provider, wanted).version
    if not wanted:
        target = max([target, *present], key=version_numbers)
    for version in sorted(present, key=version_numbers):
        _check_step(spec.provider, version, target)
    return target


def _check_step(engine: str, current: str, target: str) -> None:
    """Raise UsageError where `target` cannot follow `current`.

    Neither Nomad nor Kubernetes supports the way back: what the newer version has stored, the older one may not read.
    """
    before, after = version_numbers(current), version_numbers(target)
    if after < before:
        raise UsageError(
            f"{engine} does not go back from {current} to {target}: an older version may not read its data"
        )
    if before[:1] != after[:1] or after[1] - before[1] > 1:
        between = [version for version in pinned_versions(engine) if _is_next_minor(before, version_numbers(version))]
        way = f"first `--to={between[-1]}`" if between else "this cms has none between them"
        raise UsageError(f"{engine} goes from one minor version to the next, and not from {current} to {target}: {way}")


def is_minor_step(current: str, target: str) -> bool:
    """Return whether two versions differ in more than their patch level."""
    return version_numbers(current)[:2] != version_numbers(target)[:2]


def _is_next_minor(before: tuple[int, ...], version: tuple[int, ...]) -> bool:
    return version[:2] == (before[0], before[1] + 1)
