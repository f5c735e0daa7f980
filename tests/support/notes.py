"""A report that keeps the notes which it gets."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudmesh.cluster.core.report import Silence


@dataclass
class Notes(Silence):
    """Keeps the notes, and nothing else."""

    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)
