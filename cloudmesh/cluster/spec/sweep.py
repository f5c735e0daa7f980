"""A job file run with every combination of some parameters' values."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod

from cloudmesh.cluster.core.errors import UsageError

MAX_JOBS = 100


def combinations(params: Mapping[str, str]) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """Return the names of the parameters that have several values, and the parameters of each job.

    Args:
        params: as given, several values of one with commas between them.

    Raises:
        UsageError: none has several values, one has an empty one, or there would be too many jobs.
    """
    lists = {name: [value.strip() for value in text.split(",")] for name, text in params.items() if "," in text}
    if not lists:
        raise UsageError("--sweep needs a parameter with several values: --param=KEY=1,2,4")
    for name, found in lists.items():
        if "" in found:
            raise UsageError(f"--param={ascii(name)[1:-1]}: there is an empty value between its commas")
    if (count := prod(map(len, lists.values()))) > MAX_JOBS:
        raise UsageError(f"--sweep makes {count} jobs of these parameters; {MAX_JOBS} are the limit")
    return tuple(lists), [{**params, **dict(zip(lists, each, strict=True))} for each in product(*lists.values())]
