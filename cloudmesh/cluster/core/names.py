"""The checks of names, which are made before anything is built from a name."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from cloudmesh.cluster.core.errors import UsageError

MAX_LENGTH = 40
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_OBJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]*[A-Za-z0-9])?")
_MAX_OBJECT_LENGTH = 253
_SUFFIX_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_SUFFIX_LENGTH = 5


def check(name: str, what: str) -> str:
    """Return `name` if it is an RFC 1123 label of at most 40 characters.

    Args:
        name: the name to check.
        what: what it names, for the message: "cluster name", "job id".

    Raises:
        UsageError: the name is not an RFC 1123 label of at most 40 characters.
    """
    if not is_label(name):
        raise UsageError(
            f"{what} {quote_short(name)} is not valid: use 1 to {MAX_LENGTH} lower-case letters, digits and '-', "
            "starting and ending with a letter or digit"
        )
    return name


def is_label(name: str) -> bool:
    """Return whether `name` is an RFC 1123 label of at most 40 characters."""
    return len(name) <= MAX_LENGTH and bool(_LABEL.fullmatch(name))


def check_object_name(name: str, what: str) -> str:
    """Return `name` if it can be one segment of a URL's path, as the names of Kubernetes' objects can.

    Args:
        name: the name to check.
        what: what it names, for the message.

    Raises:
        UsageError: the name is empty, longer than 253 characters, or has characters with a meaning in URLs.
    """
    if len(name) > _MAX_OBJECT_LENGTH or not _OBJECT.fullmatch(name):
        raise UsageError(
            f"{what} {quote_short(name)} is not valid: use letters, digits and any of . _ : - between them, "
            f"{_MAX_OBJECT_LENGTH} at most"
        )
    return name


def new_job_id(name: str) -> str:
    """Return an id for a job called `name`: the name, shortened if it is too long, and a random suffix."""
    suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(_SUFFIX_LENGTH))
    stem = name[: MAX_LENGTH - _SUFFIX_LENGTH - 1].rstrip("-")
    return check(f"{stem}-{suffix}", "job id")


def label_from(text: str) -> str:
    """Return the nearest valid name to `text`, for names derived from file names ("Word_Count.py" → "word-count")."""
    stem = text.rsplit("/", 1)[-1].rsplit(".", 1)[0].lower()
    label = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:MAX_LENGTH].rstrip("-")
    return label or "job"


def list_short(names: Sequence[str], most: int) -> str:
    """Return names with commas between them; of more than `most`, the first ones and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def quote_short(text: str) -> str:
    """Return `text` in quotes for a message: in ASCII, and at most 60 characters of it."""
    return ascii(text if len(text) <= 60 else text[:60] + "…")
