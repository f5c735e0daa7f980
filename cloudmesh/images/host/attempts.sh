# Tells which tasks of a job have results here: for each of their attempts "SECONDS TASK/ATTEMPT", with the time when
# something was last put into its folder. Changes nothing.
# Input: path (a directory with a folder of each task, and in that one of each attempt).
# shellcheck shell=sh
set -eu
path=$(cat path)
if [ -d "$path" ]; then find "$path" -mindepth 2 -maxdepth 2 -type d -printf '::fact attempt %T@ %P\n'; fi
