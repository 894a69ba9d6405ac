#!/bin/sh
# A shared MLflow server: runs in PostgreSQL, artifacts in a folder, both accessed only through the
# server.
#
#   scripts/mlflow_server.sh start [FOLDER]   creates what is missing, starts PostgreSQL and MLflow
#   scripts/mlflow_server.sh stop [FOLDER]    stops both
#
# FOLDER (/var/lib/actlab-mlflow) holds database, artifacts, logs and password, and survives
# restarts; a non-empty folder without the marker is refused. The server listens on MLFLOW_HOST
# (127.0.0.1) and MLFLOW_PORT (5000), without authentication; PostgreSQL on a socket in FOLDER only.
# Installing PostgreSQL needs root, who then runs it as the user postgres; any other user can start
# an installed one in their own folder.
set -eu
# shellcheck source=scripts/debian.sh
. "$(dirname "$0")/debian.sh"

action=${1:-}
folder=${2:-/var/lib/actlab-mlflow}
host=${MLFLOW_HOST:-127.0.0.1}
port=${MLFLOW_PORT:-5000}
sockets="$folder/postgres"
marker=.actlab-mlflow

# PostgreSQL refuses to run as root.
as_owner() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && runuser -u postgres -- "$@")
    else
        "$@"
    fi
}

control() {
    as_owner "$binaries/pg_ctl" "$@" --pgdata="$folder/postgres/data"
}

# If only MLflow's main process is killed, its workers survive and keep the port.
end_workers() {
    [ -s "$folder/mlflow.pid" ] || return 0
    for worker in $(sed -n "s/^\([0-9]*\) (python) [A-Z] [0-9]* $(cat "$folder/mlflow.pid") .*/\1/p" \
        /proc/[0-9]*/stat 2>/dev/null || true); do
        if grep -qzsFx "PGPASSFILE=$folder/pgpass" "/proc/$worker/environ"; then
            kill -s KILL "$worker" 2>/dev/null || true
        fi
    done
}

stop() {
    runs "$folder/mlflow.pid" python || end_workers
    end "$folder/mlflow.pid" python
    if control status >/dev/null 2>&1; then
        control stop --silent --mode=fast
    fi
}

give_up() {
    stop
    fail "$1"
}

# No PostgreSQL runs in data.new, so leftovers of an interrupted start can be removed; data is
# always complete and never removed.
make_database() {
    mkdir -p "$folder/artifacts" "$folder/postgres"
    chmod 700 "$folder/postgres"
    owner=$(id -un)
    if [ "$(id -u)" = 0 ]; then
        owner=postgres
        chmod a+x "$folder"
        chown postgres: "$folder/postgres"
    fi
    rm -rf "$folder/postgres/data.new"
    as_owner "$binaries/initdb" --pgdata="$folder/postgres/data.new" --encoding=UTF8 \
        --username="$owner" --auth=peer >"$folder/initdb.log" 2>&1 ||
        fail "initdb failed: see $folder/initdb.log"
    cat >"$folder/postgres/data.new/pg_hba.conf" <<EOF
local mlflow mlflow scram-sha-256
local all    $owner peer
EOF
    cat >>"$folder/postgres/data.new/postgresql.conf" <<EOF
listen_addresses = ''
unix_socket_directories = '$sockets'
unix_socket_permissions = 0700
EOF
    mv "$folder/postgres/data.new" "$folder/postgres/data"
}

# libpq reads the password from this file: it is in no command line, environment or URI.
make_password() {
    password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    (umask 077 && echo "*:*:mlflow:mlflow:$password" >"$folder/pgpass.new")
    mv "$folder/pgpass.new" "$folder/pgpass"
}

# Each step is idempotent: PostgreSQL may be running already, and an earlier start may have been
# interrupted anywhere.
start_database() {
    control status >/dev/null 2>&1 ||
        control start --silent --wait --timeout=60 --log="$folder/postgres/postgres.log" >/dev/null ||
        fail "PostgreSQL did not start: see $folder/postgres/postgres.log"
    wait_until 60 as_owner "$binaries/pg_isready" --host="$sockets" ||
        fail "PostgreSQL does not answer: see $folder/postgres/postgres.log"
    as_owner "$binaries/psql" --quiet --host="$sockets" --dbname=postgres --set=ON_ERROR_STOP=1 <<EOF ||
set log_min_error_statement = panic; -- keeps the password out of the log
select 'create role mlflow' where not exists (select from pg_roles where rolname = 'mlflow') \gexec
alter role mlflow login password '$(sed 's/.*://' "$folder/pgpass")';
select 'create database mlflow owner mlflow'
where not exists (select from pg_database where datname = 'mlflow') \gexec
EOF
        give_up "the database could not be created: see $folder/postgres/postgres.log"
}

answers() {
    python -c "import urllib.request as r; r.urlopen('http://$host:$port/health')" 2>/dev/null
}

answers_or_ended() {
    answers || ! kill -0 "$(cat "$folder/mlflow.pid")"
}

start_server() {
    export PGPASSFILE="$folder/pgpass" MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
    setsid python -m mlflow server --host "$host" --port "$port" --workers 2 \
        --backend-store-uri "postgresql+psycopg2://mlflow@/mlflow?host=$sockets" \
        --serve-artifacts --artifacts-destination "$folder/artifacts" \
        </dev/null >>"$folder/mlflow.log" 2>&1 &
    echo $! >"$folder/mlflow.pid"
    wait_until 120 answers_or_ended
    answers || give_up "the MLflow server does not answer: see $folder/mlflow.log"
    echo "The MLflow server is up:  export MLFLOW_TRACKING_URI=http://$host:$port"
}

case $action in
start | stop) ;;
*) fail "say start or stop: scripts/mlflow_server.sh start [FOLDER]" ;;
esac
case $folder in
/*) ;;
*) fail "the folder is $folder: it has to be an absolute path" ;;
esac
check_folder "$folder" $marker
if [ "$action" = start ]; then
    python -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("mlflow") and u.find_spec("psycopg2")))' 2>/dev/null ||
        fail "python here has no mlflow and psycopg2: . .venv/bin/activate first"
    ! runs "$folder/mlflow.pid" python || fail "the server is up already, in $folder"
    set -- /usr/lib/postgresql/*/bin/initdb
    need "$1" postgresql
fi
for binaries in /usr/lib/postgresql/*/bin; do :; done # the newest
case $action in
start)
    mark_folder "$folder" $marker
    end_workers
    [ -d "$folder/postgres/data" ] || make_database
    [ -f "$folder/pgpass" ] || make_password
    start_database
    start_server
    ;;
stop) stop ;;
esac
