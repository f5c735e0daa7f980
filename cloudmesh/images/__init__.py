"""What runs elsewhere: host scripts, Dockerfiles and entry points, as real files."""
