#!/bin/sh
# One process of Spark. Usage: entrypoint.sh ROLE [ARGUMENTS]
#
#   master    standalone master          CMS_ADDRESS CMS_MASTER_PORT CMS_WEBUI_PORT
#   worker    standalone worker          CMS_ADDRESS CMS_WORKER_PORT CMS_WEBUI_PORT CMS_CORES CMS_MEMORY_MB CMS_MASTER_FILE
#                                        [CMS_WAIT_SECONDS]
#   driver    spark-submit ARGUMENTS     CMS_ADDRESS CMS_MASTER CMS_DRIVER_PORT CMS_BLOCKMANAGER_PORT [CMS_TIMEOUT_SECONDS]
#                                        [CMS_WAIT_SECONDS]
#   executor  on Kubernetes              SPARK_EXECUTOR_* SPARK_DRIVER_URL SPARK_APPLICATION_ID SPARK_RESOURCE_PROFILE_ID
#                                        SPARK_JAVA_OPT_n
#
# CMS_ADDRESS      where the other processes reach this one; what listens there wants the secret. All else is on loopback.
# CMS_SECRET_FILE  holds the job's secret; master, worker and driver need it.
# CMS_MASTER       HOST:PORT of the master, or a master URL (k8s://…), which is not waited for and may do without a secret.
# CMS_MASTER_FILE  holds HOST:PORT of the master; empty or missing while there is none. It may be rewritten.
# CMS_MEMORY_MB    executor memory that the worker offers. Its container needs more: 384 MB for the worker itself, and what
#                  an executor takes outside its heap (Python, network buffers), at least a tenth and 384 MB.
# A worker's exit status is 0 when its master has gone: the job is over. The driver's is spark-submit's, or 124 on timeout.
set -eu

fail() {
    echo "entrypoint: $*" >&2
    exit 64
}

need() {
    for name in "$@"; do
        eval "value=\${$name:-}"
        [ -n "$value" ] || fail "$name is not set"
    done
}

# default NAME: what the image says of it for a driver, and for an executor alike.
default() {
    sed -n "s/^spark\.driver\.$1 //p" "$SPARK_HOME/conf/spark-defaults.conf"
}

# Print the settings of every process: nobody without the secret talks to it, and no web page takes orders.
settings() {
    cat << END
spark.ui.enabled false
spark.ui.killEnabled false
spark.master.rest.enabled false
spark.authenticate true
spark.network.crypto.enabled true
spark.network.crypto.authEngineVersion 2
spark.network.crypto.saslFallback false
END
    cat "$SPARK_HOME/conf/spark-defaults.conf"
    # On Kubernetes, a driver sees to tokens itself, and logs in anew for that.
    if [ -n "${KRB5KEYTAB:-}" ]; then
        printf 'spark.kerberos.principal %s\nspark.kerberos.keytab %s\n' "$KRB5PRINCIPAL" "$KRB5KEYTAB"
    fi
    [ -n "${CMS_SECRET_FILE:-}" ] || return 0
    [ -s "$CMS_SECRET_FILE" ] || fail "CMS_SECRET_FILE: $CMS_SECRET_FILE is not there, or empty"
    printf 'spark.authenticate.secret %s\n' "$(cat "$CMS_SECRET_FILE")"
}

# Print which file says what is logged: the job's own, if there is one among its files.
logging() {
    file=${CMS_JOB_DIR:-/nowhere}/log4j2.properties
    [ -r "$file" ] || file=$SPARK_HOME/conf/log4j2.properties
    echo "$file"
}

# Give the settings on stdin, and those of every process, to Spark in a file that nobody else can read.
configure() {
    SPARK_CONF_DIR=$(mktemp -d)
    (umask 077 && { cat && settings; } > "$SPARK_CONF_DIR/spark-defaults.conf") || exit
    cp "$(logging)" "$SPARK_CONF_DIR/log4j2.properties"
    # What is not bound to CMS_ADDRESS by name listens here; without it, on every address.
    export SPARK_CONF_DIR SPARK_LOCAL_IP=127.0.0.1
    export SPARK_LAUNCHER_OPTS="-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
}

# Let a job whose storage is a HadoopService be known there; its processes find the folder, and hand it on.
hadoop_client() {
    [ -n "${CMS_HADOOP_KDC:-}" ] || return 0
    need CMS_HADOOP_SECRET
    HADOOP_CONF_DIR=$PWD/hadoop KRB5PRINCIPAL=cms/job@CMS KRB5KEYTAB=$PWD/hadoop/keytab
    export HADOOP_CONF_DIR KRB5PRINCIPAL KRB5KEYTAB
    python3 "${0%/*}/kerberos.py" "$HADOOP_CONF_DIR"
    case $role in
        worker | executor)
            python3 "${0%/*}/hadoop_token.py" "$PWD/hadoop/tokens" || fail "the HadoopService gives no token"
            export HADOOP_TOKEN_FILE_LOCATION="$PWD/hadoop/tokens"
            ;;
    esac
}

daemon() {
    need CMS_SECRET_FILE CMS_ADDRESS CMS_WEBUI_PORT
    configure < /dev/null
    export SPARK_DAEMON_MEMORY="${SPARK_DAEMON_MEMORY:-256m}" SPARK_NO_DAEMONIZE=1
    # They start often and work little: without the second compiler, a start takes a third less of a processor's time.
    options="-XX:+UseSerialGC -XX:TieredStopAtLevel=1 $(default defaultJavaOptions)"
    SPARK_DAEMON_CLASSPATH=$(default extraClassPath)
    export SPARK_DAEMON_CLASSPATH SPARK_DAEMON_JAVA_OPTS="$options ${SPARK_DAEMON_JAVA_OPTS:-}"
}

master() {
    need CMS_MASTER_PORT
    daemon
    exec "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.master.Master \
        --host "$CMS_ADDRESS" --port "$CMS_MASTER_PORT" --webui-port "$CMS_WEBUI_PORT"
}

worker() {
    need CMS_WORKER_PORT CMS_CORES CMS_MEMORY_MB CMS_MASTER_FILE
    daemon
    exec python3 "${0%/*}/supervise.py" worker \
        "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.worker.Worker \
        --host "$CMS_ADDRESS" --port "$CMS_WORKER_PORT" --webui-port "$CMS_WEBUI_PORT" \
        --cores "$CMS_CORES" --memory "${CMS_MEMORY_MB}m" --work-dir "${SPARK_WORKER_DIR:-$PWD/spark}"
}

driver() {
    need CMS_ADDRESS CMS_MASTER CMS_DRIVER_PORT CMS_BLOCKMANAGER_PORT
    case $CMS_MASTER in
        *://*) url=$CMS_MASTER ;;
        *) need CMS_SECRET_FILE && url=spark://$CMS_MASTER ;;
    esac
    configure << END
spark.master $url
spark.driver.host $CMS_ADDRESS
spark.driver.bindAddress $CMS_ADDRESS
spark.driver.port $CMS_DRIVER_PORT
spark.driver.blockManager.port $CMS_BLOCKMANAGER_PORT
END
    # See sitecustomize.py: this process, which becomes the supervisor, has the container's output.
    export CMS_OUTPUTS="/proc/$$/fd" PYTHONPATH="${0%/*}/driver${PYTHONPATH:+:$PYTHONPATH}"
    exec python3 "${0%/*}/run_driver.py" "$@"
}

executor() {
    need SPARK_EXECUTOR_MEMORY SPARK_DRIVER_URL SPARK_EXECUTOR_ID SPARK_EXECUTOR_CORES SPARK_APPLICATION_ID
    need SPARK_EXECUTOR_POD_IP SPARK_EXECUTOR_POD_NAME
    logging=$(mktemp -d)
    cp "$(logging)" "$logging/log4j2.properties"
    # Spark reads a secret from a file only where it knows that it runs on Kubernetes, and learns that from the driver.
    set -- -Xms"$SPARK_EXECUTOR_MEMORY" -Xmx"$SPARK_EXECUTOR_MEMORY" -Dspark.master=k8s://driver \
        -cp "${SPARK_CLASSPATH:+$SPARK_CLASSPATH:}$logging:${SPARK_CONF_DIR:-$SPARK_HOME/conf}:${HADOOP_CONF_DIR:+$HADOOP_CONF_DIR:}$SPARK_HOME/jars/*" \
        org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
        --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
        --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" \
        --resourceProfileId "${SPARK_RESOURCE_PROFILE_ID:-0}" --podName "$SPARK_EXECUTOR_POD_NAME"
    option=0
    while eval "[ -n \"\${SPARK_JAVA_OPT_$option+set}\" ]"; do option=$((option + 1)); done
    while [ "$option" -gt 0 ]; do
        option=$((option - 1))
        eval "set -- \"\${SPARK_JAVA_OPT_$option}\" \"\$@\""
    done
    exec "$JAVA_HOME/bin/java" "$@"
}

role=${1:-}
case $role in
    master | worker | driver | executor) shift && hadoop_client && "$role" "$@" ;;
    *) fail "the first argument is master, worker, driver or executor, not '$role'" ;;
esac
