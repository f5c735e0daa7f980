"""Files that run elsewhere: host scripts, Dockerfiles, and the programs in images."""
