"""What `cms cluster storage` and `get` do: places for data, and what jobs have left.

Imported with the command, so it imports nothing that takes time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmesh.cluster.command.arguments import Arguments
from cloudmesh.cluster.core.errors import UsageError

if TYPE_CHECKING:
    from cloudmesh.cluster.core.model import Volume


PLACE_COLUMNS = ("name", "kind", "source", "endpoint", "region")
_KEYS = {"access_key": "AWS_ACCESS_KEY_ID", "secret_key": "AWS_SECRET_ACCESS_KEY"}


def storage(call: Arguments) -> None:
    """Show the places for data, add one, or remove one."""
    from cloudmesh.cluster import operations

    if call.flag("add"):
        operations.add_volume(call.context, call.name, place(call))
    elif call.flag("remove"):
        name = call.place
        call.confirm(f"Remove storage {name} from cluster {call.name}? Its data stays where it is.")
        operations.remove_volume(call.context, call.name, name)
    else:
        rows = [_row(each) for each in operations.volumes(call.context, call.name)]
        call.show(rows, PLACE_COLUMNS, nothing=f"cluster {call.name} has no storage")


def get(call: Arguments) -> None:
    """Bring what a job has left in its results directories."""
    from cloudmesh.cluster import operations

    target = Path(call.text("DEST") or f"{call.job_id}-results").expanduser()
    brought = operations.get(call.context, call.name, call.job_id, target)
    call.progress.stop()
    if brought.files:
        call.progress.note(f"{brought.files} files, {brought.size / 1e6:.1f} MB, are in {target}")
    else:
        call.progress.note(f"job {call.job_id} has left no files in $CMS_RESULTS, or they have expired")


def place(call: Arguments) -> Volume:
    """Return the place that the arguments describe.

    Raises:
        UsageError: they do not.
    """
    from cloudmesh.cluster.storage import volume_spec

    name = call.place
    if not call.text("--s3") and any(call.flag(option) for option in ("--endpoint", "--region", "--path-style")):
        raise UsageError("--endpoint, --region and --path-style belong to --s3")
    if path := call.text("--directory"):
        return volume_spec.directory(name, path)
    if export := call.text("--nfs"):
        return volume_spec.nfs(name, export)
    if service := call.text("--hadoop"):
        return volume_spec.hadoop(name, service)
    return volume_spec.s3(
        name,
        call.text("--s3"),
        {key: _secret(call, variable) for key, variable in _KEYS.items()},
        endpoint=call.text("--endpoint"),
        region=call.text("--region"),
        path_style=call.flag("--path-style"),
    )


def _secret(call: Arguments, variable: str) -> str:
    """Return a key from the environment, else by asking; it is never shown."""
    from cloudmesh.cluster.command.console import prompts

    found = os.environ.get(variable, "")
    if not found and prompts.can_ask():
        found = prompts.ask_password(call.progress, f"{variable} for storage {call.place}")
    if not found or not found.isprintable():
        raise UsageError(f"--s3 needs {variable} in the environment, or a terminal to ask for it on")
    return found


def _row(each: Volume) -> dict[str, str]:
    """Return a place as it may be shown: no key is in its settings."""
    its = each.settings
    shown = {"endpoint": its.get("endpoint", ""), "region": its.get("region", "")}
    return {"name": each.name, "kind": each.kind, "source": each.source, **shown}
