#!/bin/sh
# From nothing to Spark's answers and back to nothing: three local hosts, a Nomad cluster, two jobs. `make demo` runs it.
set -eu
cd "$(dirname "$0")"
provider=${PROVIDER:-nomad}
cluster=demo-$provider
output=$(mktemp)
times=$(mktemp)
began=$(date +%s)
trap 'rm -f "$output" "$times"' EXIT

# run WHAT COMMAND...: shows the command, runs it, and keeps how long it took.
run() {
    what=$1
    shift
    printf '\n$ %s\n' "$*" >&2
    from=$(date +%s)
    "$@"
    printf '%-32s %4d s\n' "$what" $(($(date +%s) - from)) >>"$times"
}

run 'create, with the Spark image' cms cluster create -n "$cluster" -p "$provider" --nodes=3 --images=spark
run 'info' cms cluster info -n "$cluster"
run 'Pi' cms cluster submit -n "$cluster" pi.yaml >"$output"
cat "$output"
grep -q '^Pi is roughly 3\.1415' "$output"
run 'word count' cms cluster submit -n "$cluster" --param=top=1000000 wordcount.yaml >"$output"
head -n 5 "$output"
python3 check_wordcount.py text/opticks.txt <"$output"
run 'jobs' cms cluster jobs -n "$cluster"
run 'kill' cms cluster kill -n "$cluster" --yes

printf '\nHow long each took:\n'
cat "$times"
printf '%-32s %4d s\n' 'all' $(($(date +%s) - began))
