"""The command `schema`: what a job file may say, as JSON Schema for editors and other programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudmesh.cluster.command.arguments import Arguments


def schema(arguments: Arguments) -> None:
    """Print the JSON Schema of job files of all kinds."""
    from cloudmesh.cluster.spec.schema import job_file_schema

    arguments.print(json.dumps(job_file_schema(), indent=2))
