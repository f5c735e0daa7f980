# The container engine, asked over its own socket: Debian 13 splits the command line client from the engine.
# shellcheck shell=sh

# docker_api PATH [OPTIONS OF CURL]
docker_api() {
    path=$1
    shift
    curl --silent --fail --max-time 60 --unix-socket /var/run/docker.sock "http://docker$path" "$@"
}
