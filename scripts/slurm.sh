#!/bin/sh
# A one-node SLURM on this machine from Debian's packages, to test sweeps on a cluster; needs root.
#
#   scripts/slurm.sh start [FOLDER]   installs what is missing, starts the daemons, waits for the node
#   scripts/slurm.sh stop [FOLDER]    cancels its jobs, stops the daemons
#
# It includes accounting (slurmdbd with its own MariaDB), since submitit detects jobs that SLURM has
# ended through sacct. FOLDER (/var/lib/actlab-slurm) holds keys, configuration, state, logs and pid
# files; start empties it, and refuses a non-empty folder without the marker. The daemons listen on
# SLURM_PORT (6817) and the two ports after it, on 127.0.0.1, except slurmdbd, which can only listen
# on every address. /etc is not changed.
set -eu
# shellcheck source=scripts/debian.sh
. "$(dirname "$0")/debian.sh"

PATH=$PATH:/usr/sbin:/sbin
action=${1:-}
folder=${2:-/var/lib/actlab-slurm}
port=${SLURM_PORT:-6817}
marker=.actlab-slurm
export SLURM_CONF="$folder/slurm.conf"
export MYSQL_UNIX_PORT="$folder/mariadb.socket" # where slurmdbd looks for its database

stop() {
    if runs "$folder/slurmctld.pid" slurmctld; then
        scancel --quiet --partition=actlab 2>/dev/null || true
        # shellcheck disable=SC2016
        wait_until 10 sh -c '[ -z "$(squeue --noheader)" ]' || true
    fi
    end "$folder/slurmd.pid" slurmd
    end "$folder/slurmctld.pid" slurmctld
    end "$folder/slurmdbd.pid" slurmdbd
    end "$folder/mariadbd.pid" mariadbd
    end "$folder/munged.pid" munged
}

give_up() {
    stop
    fail "$1"
}

configure() {
    host=$(hostname -s)
    memory=$(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo)
    mark_folder "$folder" $marker
    stop # leftovers of an interrupted start or a killed daemon
    find "$folder/" -mindepth 1 -maxdepth 1 ! -name $marker -exec rm -rf {} +
    mkdir "$folder/state" "$folder/spool"
    chmod 755 "$folder" # munge rejects a socket that others cannot reach
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
    (umask 077 && cat >"$folder/slurmdbd.conf") <<EOF
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((port + 2))
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
PidFile=$folder/slurmdbd.pid
LogFile=$folder/slurmdbd.log
EOF
    cat >"$SLURM_CONF" <<EOF
ClusterName=actlab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 2))
AccountingStoragePass=$folder/munge.socket
# None of these needs cgroups, which a container may lack.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
# Use these values even if a container has fewer cores than its machine.
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=actlab Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
}

start() {
    need /usr/sbin/munged munge
    need /usr/sbin/slurmctld slurm-wlm
    need /usr/sbin/slurmdbd slurmdbd
    need /usr/sbin/mariadbd mariadb-server-core
    need /usr/bin/mariadb mariadb-client
    configure
    munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munged.pid" --seed-file="$folder/munge.seed" \
        --log-file="$folder/munged.log" || give_up "munged did not start: see $folder/munged.log"
    mariadb-install-db --no-defaults --user=root --auth-root-authentication-method=socket \
        --skip-test-db --datadir="$folder/database" >"$folder/mariadb.log" 2>&1 ||
        give_up "the database could not be created: see $folder/mariadb.log"
    mariadbd --no-defaults --user=root --datadir="$folder/database" --skip-networking \
        --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 --socket="$MYSQL_UNIX_PORT" \
        --pid-file="$folder/mariadbd.pid" >>"$folder/mariadb.log" 2>&1 &
    echo $! >"$folder/mariadbd.pid" # mariadbd writes it itself only once it is running
    wait_until 30 mariadb --no-defaults --execute "select 1" ||
        give_up "the database does not answer: see $folder/mariadb.log"
    slurmdbd || give_up "slurmdbd did not start: see $folder/slurmdbd.log"
    wait_until 30 timeout 5 sacctmgr --noheader list cluster ||
        give_up "slurmdbd does not answer: see $folder/slurmdbd.log"
    slurmctld -c || give_up "slurmctld did not start: see $folder/slurmctld.log"
    slurmd -c || give_up "slurmd did not start: see $folder/slurmd.log"
    wait_until 30 sh -c 'sinfo --noheader --format=%T | grep -x idle' ||
        give_up "the node is not idle after 30 s: see $folder/slurmctld.log and slurmd.log"
    echo "SLURM is up, with $(nproc) cores:"
    sinfo
    echo "For sbatch, squeue and sweeps:  export SLURM_CONF=$SLURM_CONF"
}

case $action in
start | stop) ;;
*) fail "say start or stop: scripts/slurm.sh start [FOLDER]" ;;
esac
case $folder in
/*) ;;
*) fail "the folder is $folder: it has to be an absolute path" ;;
esac
[ "$(id -u)" = 0 ] || fail "only root can start and stop SLURM: become root, or use an existing cluster"
check_folder "$folder" $marker
case $action in
start)
    ! runs "$folder/slurmctld.pid" slurmctld || fail "SLURM is up already, in $folder"
    start
    ;;
stop) stop ;;
esac
