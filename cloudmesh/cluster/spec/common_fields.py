"""Where other packages still look for STORAGE_REFERENCE; it is in spec.job."""

from cloudmesh.cluster.spec.job import STORAGE_REFERENCE

__all__ = ["STORAGE_REFERENCE"]
