"""The engines' binaries: pinned by checksum, verified, and stored in a cache outside the repository.

`provide` looks for them in the cache, in the mirror that the operator gave, at the vendor's release site, and at last
builds them from their Go modules. `pinned.py` has the data about each engine, an `EngineSpec`.
"""

from cloudmesh.cluster.binaries.cache import BinaryBundle, BinaryFile
from cloudmesh.cluster.binaries.provision import list_files, provide

__all__ = ["BinaryBundle", "BinaryFile", "list_files", "provide"]
