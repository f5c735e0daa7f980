"""The engine's own binaries: pinned, verified, kept in a cache outside the repository.

`provide` finds them in this order: the cache, the mirror given, the vendor's release site, a build from the Go module.
What is there for an engine is data, a `Spec` in `specs.py`.
"""

from cloudmesh.cluster.engines.store import Bundle, EngineFile
from cloudmesh.cluster.engines.supply import listing, provide

__all__ = ["Bundle", "EngineFile", "listing", "provide"]
