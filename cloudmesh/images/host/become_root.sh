#!/bin/sh
# Finds out how the user who runs it becomes root, and changes nothing.
#
# Without arguments, nothing is asked for: tries the sudo programs of this host, then its doas programs, until one is
# fit to make anybody root; if none is, tells of the first. With $1, the path of a sudo, tries that one with the password
# that is on stdin. Prints "::fact KEY VALUE" lines, and what the program printed:
#   uid      the number of the user who runs it; if that is 0, nothing more
#   trying   a program, before it is run; a line each
#   program  the program that this tells of; missing where there is none
#   status   its exit status
#   root     the number of the user that it made us
#   allowed  yes or no, where sudo wants a password but tells whether the user may run a shell with it
# Is run the way that scripts are run later, by /bin/sh -c; an empty line, because sudo's prompt does not end its own.
# shellcheck disable=SC2016
proof='echo; echo "::fact root $(id -u)"'

fact() { printf '::fact %s %s\n' "$1" "$2"; }

# Runs the program $1 with the other arguments as its options.
try() {
    fact trying "$1"
    answer=$("$@" /bin/sh -c "$proof" 2>&1)
    status=$?
}

# Whether what the program answered is about itself, so that another one may do better.
is_unfit() {
    case $answer in
        *setuid* | *'effective uid'* | *'no new privileges'* | *'is not enabled'*) return 0 ;;
    esac
    [ "$status" -ge 126 ]
}

# $1 is the program, $2 its exit status, $3 what it printed.
tell() {
    fact program "$1"
    fact status "$2"
    printf '%s\n' "$3"
    exit 0
}

# sudo lists what it allows without a password where the user may run anything without one.
ask_whether_allowed() {
    if list=$("$1" -k -n -l /bin/sh 2>&1 </dev/null); then
        fact allowed yes
    elif [ -z "$list" ]; then
        fact allowed no
    fi
}

if [ $# -gt 0 ]; then
    try "$1" -k -S -u root -p 'password of %p: '
    tell "$1" "$status" "$answer"
fi

fact uid "$(id -u)"
if [ "$(id -u)" -eq 0 ]; then exit 0; fi
first='' first_status='' first_answer=''
for name in sudo doas; do
    IFS=:
    for folder in $PATH; do
        unset IFS
        program=$folder/$name
        if [ ! -f "$program" ] || [ ! -x "$program" ]; then continue; fi
        if [ "$name" = sudo ]; then set -- -k; else set --; fi
        try "$program" "$@" -n -u root </dev/null
        if ! is_unfit; then
            if [ "$name" = sudo ] && [ "$status" -ne 0 ]; then ask_whether_allowed "$program"; fi
            tell "$program" "$status" "$answer"
        fi
        if [ -z "$first" ]; then first=$program first_status=$status first_answer=$answer; fi
    done
done
if [ -n "$first" ]; then tell "$first" "$first_status" "$first_answer"; fi
