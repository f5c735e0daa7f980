#!/bin/sh
# One task of a Hadoop cluster. Usage: entrypoint.sh ROLE
#
#   head      KDC and NameNode; for a job also ResourceManager and JobHistory, and the program that they are for
#             CMS_PORT_KDC CMS_PORT_NAMENODE [CMS_PORT_RESOURCEMANAGER CMS_PORT_SCHEDULER CMS_PORT_TRACKER CMS_PORT_HISTORY]
#   worker    DataNode; for a job also NodeManager, whose tasks find the masters' ports
#             CMS_PORT_DATANODE CMS_PORT_BLOCKS [CMS_PORT_NODEMANAGER CMS_PORT_SHUFFLE CMS_PORT_MASTER1…6]
#
# CMS_ADDRESS      where the other tasks reach this one; what listens there wants a ticket or token. All else is on loopback.
# CMS_SECRET_FILE  holds the secret by which tasks and clients are let in.
# CMS_PEERS_FILE   lines "PART INDEX PORT HOST:PORT"; it may be rewritten.
# CMS_MEMORY_MB    for all processes together; CMS_CORES.
# CMS_DATA         directory for what must last (a service); CMS_TASK names what is in it for this task.
# CMS_HADOOP       what to do, as JSON (hadoop.py says how). [CMS_TIMEOUT_SECONDS] [CMS_WAIT_SECONDS]
#
# A worker's exit status is 0 when its head has gone: the job is over. The head's is its program's, or 124 on timeout.
set -eu

fail() {
    echo "entrypoint: $*" >&2
    exit 64
}

for name in CMS_ADDRESS CMS_SECRET_FILE CMS_PEERS_FILE CMS_MEMORY_MB CMS_HADOOP; do
    eval "value=\${$name:-}"
    [ -n "$value" ] || fail "$name is not set"
done
[ -s "$CMS_SECRET_FILE" ] || fail "CMS_SECRET_FILE: $CMS_SECRET_FILE is not there, or empty"

case ${1:-} in
    head | worker) exec python3 "${0%/*}/hadoop.py" "$1" ;;
    *) fail "the first argument is head or worker, not '${1:-}'" ;;
esac
