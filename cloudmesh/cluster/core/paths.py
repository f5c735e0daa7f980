"""Where Cloudmesh keeps its files on the hosts of a cluster. The host scripts spell the same paths."""

CONFIG_DIR = "/etc/cloudmesh/cluster"  # the marker, and the configuration, certificates and keys of the engine
DATA_DIR = "/var/lib/cloudmesh"  # what the engine and the registry store
PROGRAM_DIR = "/opt/cloudmesh"  # the engine's binaries; within images, what Cloudmesh adds to them
