# Tells which tasks of a job have results here: for each of their attempts "SECONDS TASK/ATTEMPT", with the time when
# something was last put into its folder; "none" where there is none. Changes nothing.
# Input: path (a directory with a folder of each task, and in that one of each attempt).
# shellcheck shell=sh
set -eu
path=$(cat path)
attempts=
if [ -d "$path" ]; then attempts=$(find "$path" -mindepth 2 -maxdepth 2 -type d -printf '::fact attempt %T@ %P\n'); fi
printf '%s\n' "${attempts:-::fact attempt none}"
