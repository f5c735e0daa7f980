"""Sweeps: a job file that is run with every combination of some parameters' values."""

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
        UsageError: no parameter has several values, a value is empty, or there would be more than MAX_JOBS jobs.
    """
    lists = {name: [value.strip() for value in text.split(",")] for name, text in params.items() if "," in text}
    if not lists:
        raise UsageError("--sweep needs a parameter with several values: --param=KEY=1,2,4")
    for name, values in lists.items():
        if "" in values:
            raise UsageError(f"--param={ascii(name)[1:-1]}: there is an empty value between its commas")
    if (count := prod(map(len, lists.values()))) > MAX_JOBS:
        raise UsageError(f"--sweep makes {count} jobs of these parameters; {MAX_JOBS} are the limit")
    return tuple(lists), [{**params, **dict(zip(lists, values, strict=True))} for values in product(*lists.values())]
