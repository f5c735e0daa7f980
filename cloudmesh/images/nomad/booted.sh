#!/bin/sh
# Has Nomad tell since when its host has been up: booted.sh FILE
#
# FILE becomes a part of the agent's configuration. Process 1 is that of the machine, or of the container which stands for
# one; its start is told in ticks since the kernel's.
set -eu
umask 077

ticks=$(sed 's/.*) //' /proc/1/stat | cut -d ' ' -f 20)
kernel=$(sed -n 's/^btime //p' /proc/stat)
printf '{"client": {"meta": {"cms_booted": "%s"}}}\n' $((kernel + ticks / $(getconf CLK_TCK))) >"$1"
