"""What engines know of a job that is not Spark's: its parts. See `layout` for what their tasks find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """Some equal tasks.

    Attributes:
        name: "head", "worker", "task"; at most 12 characters.
        count: how many.
        cores: whole processors of each.
        memory_mb: MiB of each, all its processes together.
        command: instead of the image's entry point; empty: the image's own.
        arguments: after it, as they are.
        env: as it is, beside the job's own.
        ports: by name ("namenode"; letters and digits); 0: any that is free.
        retries: how often a task that failed is started again; the job fails with a task that fails more often.
        host: engine's name of the host that its tasks are bound to; empty: any.
    """

    name: str
    count: int
    cores: int
    memory_mb: int
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    host: str = ""


@dataclass(frozen=True)
class Layout:
    """A job as its parts.

    Attributes:
        parts: the job is over when all tasks of the first one are; its output is theirs.
        stays: whether it is a service, whose tasks are started again whenever they end, on the hosts they are bound to.
    """

    parts: tuple[Part, ...]
    stays: bool = False
