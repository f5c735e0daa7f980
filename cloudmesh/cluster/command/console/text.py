"""Text that is safe to show."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return `text` without control characters, so that nothing a host says can steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
