"""`cms cluster`: Nomad and Kubernetes clusters, and Spark jobs on them, from a list of SSH hosts."""

__version__ = "0.1.0"
