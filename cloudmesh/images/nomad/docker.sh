# The Docker daemon, reached by its socket: in Debian 13 the command line client is a package apart, which hosts may lack.
# shellcheck shell=sh

# docker_api PATH [OPTIONS OF CURL]
docker_api() {
    path=$1
    shift
    curl --silent --fail --max-time 60 --unix-socket /var/run/docker.sock "http://docker$path" "$@"
}
