"""The verbs of `cms cluster` about data, for scripts: places that outlive jobs, and what jobs have left."""

from __future__ import annotations

from pathlib import Path

from cloudmesh.cluster import names, operations
from cloudmesh.cluster.context import Context
from cloudmesh.cluster.model import Place
from cloudmesh.cluster.results import Fetched


def places(context: Context, name: str) -> tuple[Place, ...]:
    """Return the places for data of a cluster; see `Places.list`."""
    with operations.found_by(context, name) as (engine, membership):
        return engine.places(membership).list()


def add_place(context: Context, name: str, place: Place) -> None:
    """Bring a place to a cluster; see `Places.add`."""
    names.check(place.name, "storage name")
    with operations.found_by(context, name) as (engine, membership):
        engine.places(membership).add(place)


def remove_place(context: Context, name: str, place: str) -> None:
    """Take a place away from a cluster; see `Places.remove`."""
    names.check(place, "storage name")
    with operations.found_by(context, name) as (engine, membership):
        engine.places(membership).remove(place)


def get(context: Context, name: str, job_id: str, target: Path) -> Fetched:
    """Bring what a job's tasks have left into a folder; see `Provider.results`."""
    names.check(job_id, "job id")
    with operations.found_by(context, name) as (engine, membership):
        return engine.results(membership, job_id, target)
