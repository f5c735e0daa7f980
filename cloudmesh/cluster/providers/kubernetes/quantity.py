"""Kubernetes' way to write amounts. Pure."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)")
_FACTORS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0} | {
    f"{letter}{binary}": float((1024 if binary else 1000) ** power)
    for power, letters in enumerate(("kK", "M", "G", "T", "P", "E"), 1)
    for letter in letters
    for binary in ("", "i")
}


def amount(text: str | int | float) -> float:
    """Return what "1500m", "2", "384Mi" or 3 stand for; ValueError where that is none."""
    found = _NUMBER.fullmatch(str(text))
    if not found or found[2] not in _FACTORS:
        raise ValueError(f"not an amount: {text!a}")
    return float(found[1]) * _FACTORS[found[2]]
