"""What `cms cluster storage` and `get` do: volumes, and the results that jobs have left.

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

VOLUME_COLUMNS = ("name", "kind", "source", "endpoint", "region")
_KEYS = {"access_key": "AWS_ACCESS_KEY_ID", "secret_key": "AWS_SECRET_ACCESS_KEY"}


def storage(arguments: Arguments) -> None:
    """Show the volumes, add one, or remove one."""
    cluster = arguments.cluster
    if arguments.flag("add"):
        cluster.add_volume(volume(arguments))
    elif arguments.flag("remove"):
        name = arguments.volume
        arguments.confirm(f"Remove storage {name} from cluster {arguments.name}? Its data stays where it is.")
        cluster.remove_volume(name)
    else:
        rows = [_row(volume) for volume in cluster.volumes()]
        arguments.show(rows, VOLUME_COLUMNS, nothing=f"cluster {arguments.name} has no storage")


def get(arguments: Arguments) -> None:
    """Copy what a job has left in its results directories."""
    target = Path(arguments.text("DEST") or f"{arguments.job_id}-results").expanduser()
    copied = arguments.cluster.job(arguments.job_id).results(target)
    arguments.progress.stop()
    if copied.files:
        arguments.progress.note(f"{copied.files} files, {copied.size / 1e6:.1f} MB, are in {target}")
    else:
        arguments.progress.note(f"job {arguments.job_id} has left no files in $CMS_RESULTS, or they have expired")


def volume(arguments: Arguments) -> Volume:
    """Return the volume that the arguments describe.

    Raises:
        UsageError: they describe none.
    """
    from cloudmesh.cluster.storage import volume_spec

    name = arguments.volume
    s3_options = ("--endpoint", "--region", "--path-style")
    if not arguments.text("--s3") and any(arguments.flag(option) for option in s3_options):
        raise UsageError("--endpoint, --region and --path-style belong to --s3")
    if path := arguments.text("--directory"):
        return volume_spec.directory(name, path)
    if export := arguments.text("--nfs"):
        return volume_spec.nfs(name, export)
    if service := arguments.text("--hadoop"):
        return volume_spec.hadoop(name, service)
    return volume_spec.s3(
        name,
        arguments.text("--s3"),
        {key: _secret(arguments, variable) for key, variable in _KEYS.items()},
        endpoint=arguments.text("--endpoint"),
        region=arguments.text("--region"),
        path_style=arguments.flag("--path-style"),
    )


def _secret(arguments: Arguments, variable: str) -> str:
    """Return a key from the environment, else by asking; it is never shown."""
    from cloudmesh.cluster.command.console import prompts

    value = os.environ.get(variable, "")
    if not value and prompts.can_ask():
        value = prompts.ask_password(arguments.progress, f"{variable} for storage {arguments.volume}")
    if not value or not value.isprintable():
        raise UsageError(f"--s3 needs {variable} in the environment, or a terminal to ask for it on")
    return value


def _row(volume: Volume) -> dict[str, str]:
    """Return a volume as it may be shown: no key is in its settings."""
    settings = volume.settings
    return {
        "name": volume.name,
        "kind": volume.kind,
        "source": volume.source,
        "endpoint": settings.get("endpoint", ""),
        "region": settings.get("region", ""),
    }
