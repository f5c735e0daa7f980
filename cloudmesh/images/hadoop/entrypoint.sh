#!/bin/sh
# One task of a Hadoop cluster, or of a job on one. Usage: entrypoint.sh ROLE
#
#   head      KDC and NameNode; with ports for them ResourceManager and JobHistory; a job's program, where it is one's own
#             CMS_PORT_KDC CMS_PORT_NAMENODE [CMS_PORT_RESOURCEMANAGER CMS_PORT_SCHEDULER CMS_PORT_TRACKER CMS_PORT_HISTORY]
#   worker    DataNode; with ports for it NodeManager, whose tasks find the masters' ports
#             CMS_PORT_DATANODE CMS_PORT_BLOCKS [CMS_PORT_NODEMANAGER CMS_PORT_SHUFFLE CMS_PORT_MASTER1…]
#   client    the program of a job on a service
#             CMS_HADOOP_URI (hdfs://SERVICE) CMS_HADOOP_HEAD (JSON: HOST:PORT of each of its ports) CMS_HADOOP_SECRET
#
# CMS_ADDRESS      where the other tasks reach this one; what listens there wants a ticket or token. All else is on loopback.
# CMS_SECRET_FILE  holds the secret by which tasks and clients are let in.
# CMS_PEERS_FILE   lines "PART INDEX PORT HOST:PORT"; it may be rewritten.
# CMS_MEMORY_MB    for all processes together; CMS_CORES.
# CMS_DATA         directory for what must last (a service); CMS_TASK names what is in it for this task.
# CMS_HADOOP       what to do, as JSON (hadoop.py says how). [CMS_TIMEOUT_SECONDS] [CMS_WAIT_SECONDS]
#
# A worker's exit status is 0 when its head has gone: the job is over. The others' is their program's, or 124 on timeout.
set -eu

fail() {
    echo "entrypoint: $*" >&2
    exit 64
}

needed="CMS_ADDRESS CMS_SECRET_FILE CMS_PEERS_FILE CMS_MEMORY_MB CMS_HADOOP"
case ${1:-} in
    head | worker) ;;
    client) needed="$needed CMS_HADOOP_URI CMS_HADOOP_HEAD CMS_HADOOP_SECRET" ;;
    *) fail "the first argument is head, worker or client, not '${1:-}'" ;;
esac
for name in $needed; do
    eval "value=\${$name:-}"
    [ -n "$value" ] || fail "$name is not set"
done
[ -s "$CMS_SECRET_FILE" ] || fail "CMS_SECRET_FILE: $CMS_SECRET_FILE is not there, or empty"
exec python3 "${0%/*}/hadoop.py" "$1"
