#!/bin/sh
# An MLflow server that many jobs and people share: runs in PostgreSQL, artifacts in a folder, both
# reached through the server alone.
#
#   scripts/mlflow_server.sh start [FOLDER]   makes what is missing, starts PostgreSQL and MLflow
#   scripts/mlflow_server.sh stop [FOLDER]    ends both
#
# FOLDER (/var/lib/actlab-mlflow) holds everything: database, artifacts, logs, the password. Started
# again, the server has what it had. MLFLOW_HOST (127.0.0.1) and MLFLOW_PORT (5000) say where it
# listens; it asks nobody who they are. PostgreSQL listens on a socket in FOLDER, on no port.
# Root is needed to install PostgreSQL, and runs it as the user postgres; any other user can start
# it where it is installed, in a folder of their own.
set -eu
# shellcheck source=scripts/debian.sh
. "$(dirname "$0")/debian.sh"

action=${1:-}
folder=${2:-/var/lib/actlab-mlflow}
host=${MLFLOW_HOST:-127.0.0.1}
port=${MLFLOW_PORT:-5000}
sockets="$folder/postgres"

# PostgreSQL refuses to run as root.
as_owner() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && runuser -u postgres -- "$@")
    else
        "$@"
    fi
}

stop() {
    end "$folder/mlflow.pid" python
    if [ -s "$folder/postgres/data/postmaster.pid" ]; then
        as_owner "$binaries/pg_ctl" stop --silent --mode=fast --pgdata="$folder/postgres/data"
    fi
}

give_up() {
    stop
    fail "$1"
}

make_database() {
    rm -rf "$folder/postgres" # of a start that was cut short
    mkdir -p "$folder/artifacts"
    mkdir -m 700 "$folder/postgres"
    owner=$(id -un)
    if [ "$(id -u)" = 0 ]; then
        owner=postgres
        chmod a+x "$folder"
        chown postgres: "$folder/postgres"
    fi
    as_owner "$binaries/initdb" --pgdata="$folder/postgres/data" --encoding=UTF8 --username="$owner" \
        --auth=peer >"$folder/initdb.log" 2>&1 || fail "initdb failed: see $folder/initdb.log"
    cat >"$folder/postgres/data/pg_hba.conf" <<EOF
local mlflow mlflow scram-sha-256
local all    $owner peer
EOF
    cat >>"$folder/postgres/data/postgresql.conf" <<EOF
listen_addresses = ''
unix_socket_directories = '$sockets'
unix_socket_permissions = 0700
EOF
    password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    # libpq reads it from here: it is in no command line, environment or URI.
    (umask 077 && echo "*:*:mlflow:mlflow:$password" >"$folder/pgpass.new")
}

start_database() {
    as_owner "$binaries/pg_ctl" start --silent --wait --timeout=60 --pgdata="$folder/postgres/data" \
        --log="$folder/postgres/postgres.log" >/dev/null ||
        fail "PostgreSQL did not start: see $folder/postgres/postgres.log"
    [ -f "$folder/pgpass.new" ] || return 0
    as_owner "$binaries/psql" --quiet --host="$sockets" --dbname=postgres --set=ON_ERROR_STOP=1 <<EOF ||
create role mlflow login password '$password';
create database mlflow owner mlflow;
EOF
        give_up "the database could not be made: see $folder/postgres/postgres.log"
    mv "$folder/pgpass.new" "$folder/pgpass" # from here on it is whole
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
if [ "$action" = start ]; then
    python -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("mlflow") and u.find_spec("psycopg2")))' 2>/dev/null ||
        fail "python here has no mlflow and psycopg2: . .venv/bin/activate first"
    ! runs "$folder/mlflow.pid" python || fail "the server is up already, in $folder"
    [ -z "$(ls -A "$folder" 2>/dev/null)" ] || [ -d "$folder/postgres" ] ||
        fail "$folder holds something else: name another"
    set -- /usr/lib/postgresql/*/bin/initdb
    need "$1" postgresql
fi
for binaries in /usr/lib/postgresql/*/bin; do :; done # the newest
case $action in
start)
    [ -f "$folder/pgpass" ] || make_database
    start_database
    start_server
    ;;
stop) stop ;;
esac
