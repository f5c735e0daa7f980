"""What `cms cluster test` does. Imported with the command, so it imports nothing that takes time."""

from __future__ import annotations

from cloudmesh.cluster.command.arguments import Arguments
from cloudmesh.cluster.core.errors import ClusterError

_COLUMNS = ("check", "host", "result", "cause", "remedy")


def test(call: Arguments) -> None:
    """Test a cluster, and show what was found."""
    from cloudmesh.cluster import operations
    from cloudmesh.cluster.health.check_results import FAILED

    _ = call.format  # a wrong one is refused before anything is done
    found = operations.test(call.context, call.name)
    call.show(found, _COLUMNS)
    if bad := [each for each in found if each.result == FAILED]:
        where = ", ".join(dict.fromkeys(each.host for each in bad if each.host != "-")) or "the cluster"
        raise ClusterError(f"{len(bad)} of {len(found)} checks of cluster {call.name} failed: {where}")
