# shellcheck shell=sh
# Functions shared by the scripts in this folder, which source it.

# Daemons are in sbin, which a user's PATH may lack.
PATH=$PATH:/usr/sbin:/sbin
export PATH

fail() {
    echo "actlab: $1" >&2
    exit 1
}

# Refuse a folder that is neither missing, empty nor marked as ours.
check_folder() {
    [ -z "$(ls -A "$1" 2>/dev/null)" ] || [ -f "$1/$2" ] ||
        fail "$1 contains other files (and no $2): name another folder"
}

# The marker is written first, so that an interrupted start is recognised.
mark_folder() {
    { mkdir -p "$1" && touch "$1/$2"; } 2>/dev/null || fail "$1 cannot be written to: name another folder"
}

# Install the Debian packages of a command if it is missing.
need() {
    command=$1
    shift
    [ ! -x "$command" ] || return 0
    command -v apt-get >/dev/null || fail "$command was not found, nor apt-get to install it: $0 is for Debian and Ubuntu"
    [ "$(id -u)" = 0 ] || fail "$command was not found: root can install it (apt-get install $*)"
    echo "Installing $*"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    for attempt in 1 2; do # the second time with updated package lists
        if apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@" >"$log" 2>&1; then
            rm "$log"
            return 0
        fi
        [ "$attempt" = 2 ] || apt-get -o DPkg::Lock::Timeout=300 update >/dev/null 2>&1 || true
    done
    fail "apt-get could not install $*: see $log"
}

# Whether the process in a pid file is running and is the given command.
runs() {
    [ -s "$1" ] && [ "$(cat "/proc/$(cat "$1")/comm" 2>/dev/null)" = "$2" ] && ! is_gone "$(cat "$1")"
}

# End the process in a pid file and its group, if it is still that command.
end() {
    if runs "$1" "$2"; then
        ended=$(cat "$1")
        kill -s TERM -- "-$ended" 2>/dev/null || kill "$ended"
        wait_until 20 is_gone "$ended" || kill -s KILL "$ended"
        kill -s KILL -- "-$ended" 2>/dev/null || true
    fi
    rm -f "$1"
}

# A zombie counts as gone: not every container's first process reaps those it inherits.
is_gone() {
    case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in
    '' | Z*) ;;
    *) return 1 ;;
    esac
}

# Retry a command every 0.2 s until it succeeds, for a number of seconds.
wait_until() {
    left=$((5 * $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.2
    done
}
