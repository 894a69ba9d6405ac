# shellcheck shell=sh
# What the scripts beside this file share: read by them, not run.

# Where daemons are; a path that was set by hand may lack it.
PATH=$PATH:/usr/sbin:/sbin
export PATH

fail() {
    echo "actlab: $1" >&2
    exit 1
}

# Whether a folder is ours to fill, empty and stop: not there, empty, or with the marker of its script.
check_folder() {
    [ -z "$(ls -A "$1" 2>/dev/null)" ] || [ -f "$1/$2" ] ||
        fail "$1 holds something else (no $2 is in it): name another folder"
}

# The marker is there before anything else, so that a start that was cut short is known again.
mark_folder() {
    { mkdir -p "$1" && touch "$1/$2"; } 2>/dev/null || fail "$1 cannot be written to: name another folder"
}

# The packages of Debian that bring a command, unless it is there.
need() {
    command=$1
    shift
    [ ! -x "$command" ] || return 0
    command -v apt-get >/dev/null || fail "$command is not there, and no apt-get to install it: $0 is for Debian and Ubuntu"
    [ "$(id -u)" = 0 ] || fail "$command is not there: root can install it (apt-get install $*)"
    echo "Installing $*"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    for attempt in 1 2; do # the second time with new lists of packages
        if apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@" >"$log" 2>&1; then
            rm "$log"
            return 0
        fi
        [ "$attempt" = 2 ] || apt-get -o DPkg::Lock::Timeout=300 update >/dev/null 2>&1 || true
    done
    fail "apt-get could not install $*: $log says why"
}

# Whether the process that a pid file names is there and is the command that wrote it.
runs() {
    [ -s "$1" ] && [ "$(cat "/proc/$(cat "$1")/comm" 2>/dev/null)" = "$2" ] && ! is_gone "$(cat "$1")"
}

# End the process of a pid file and all of its group, if it is still that command.
end() {
    if runs "$1" "$2"; then
        ended=$(cat "$1")
        kill -s TERM -- "-$ended" 2>/dev/null || kill "$ended"
        wait_until 20 is_gone "$ended" || kill -s KILL "$ended"
        kill -s KILL -- "-$ended" 2>/dev/null || true
    fi
    rm -f "$1"
}

# A zombie is gone: not every container's first process asks for those it inherits.
is_gone() {
    case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in
    '' | Z*) ;;
    *) return 1 ;;
    esac
}

# Try a command every 0.2 s, for so many seconds.
wait_until() {
    left=$((5 * $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.2
    done
}
