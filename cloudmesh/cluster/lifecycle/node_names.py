"""Which name each host gets as a node of the engine: one that fits, is unique in the cluster, and stays.

A host is called there what it calls itself. Where that does not fit, or two hosts have the same name for themselves,
the name is made of what the user wrote for the host.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from cloudmesh.cluster.core.cluster_spec import HostPlan

# What a label of RFC 1123 may have; Kubernetes has the whole name as the value of a label, and certificates have little
# more room for it.
MAX_LENGTH = 63
_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_FIT = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# What any host may call itself.
_MEANS_NOTHING = ("localhost", "localhost.localdomain")


def is_fit(name: str) -> bool:
    """Return whether any engine takes `name` for a node: it is an RFC 1123 subdomain of at most 63 characters."""
    return len(name) <= MAX_LENGTH and bool(_FIT.fullmatch(name))


def derive(text: str) -> str:
    """Return a fit name that resembles `text`: "Büro_1:22" becomes "buro-1-22"."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    labels = (re.sub(r"[^a-z0-9]+", "-", label).strip("-") for label in ascii_only.split("."))
    return ".".join(filter(None, labels))[:MAX_LENGTH].strip("-.") or "host"


def name_nodes(plans: Sequence[HostPlan], existing: Mapping[str, str], others: Collection[str] = ()) -> list[HostPlan]:
    """Return the plans with the names of their nodes.

    Args:
        plans: of hosts that are to become nodes, or that are.
        existing: the names of the cluster's nodes by address, also of other hosts than these; they stay as they are.
        others: further names that none of them may get.
    """
    taken = {*existing.values(), *others}
    chosen = {plan.host: existing[plan.facts.address] for plan in plans if plan.facts.address in existing}
    fresh = [plan for plan in plans if plan.host not in chosen]
    frequency = Counter(plan.facts.hostname for plan in fresh)
    for plan in fresh:
        name = plan.facts.hostname
        if is_fit(name) and name not in _MEANS_NOTHING and name not in taken and frequency[name] == 1:
            chosen[plan.host] = name
            taken.add(name)
    for plan in fresh:
        if plan.host not in chosen:
            chosen[plan.host] = _make_unique(derive(str(plan.host)), taken)
            taken.add(chosen[plan.host])
    return [replace(plan, node=chosen[plan.host]) for plan in plans]


def _make_unique(name: str, taken: set[str]) -> str:
    """Return `name`, with a number behind it where it is taken."""
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        suffix = f"-{number}"
        candidate = f"{name[: MAX_LENGTH - len(suffix)].rstrip('-.')}{suffix}"
    return candidate
