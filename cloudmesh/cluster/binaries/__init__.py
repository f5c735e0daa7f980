"""The engines' binaries: pinned, verified, kept in a cache outside the repository.

`provide` finds them in this order: the cache, the mirror given, the vendor's release site, a build from the Go module.
What an engine is made of is data, an `EngineSpec` in `pinned.py`.
"""

from cloudmesh.cluster.binaries.cache import BinaryBundle, BinaryFile
from cloudmesh.cluster.binaries.provision import list_files, provide

__all__ = ["BinaryBundle", "BinaryFile", "list_files", "provide"]
