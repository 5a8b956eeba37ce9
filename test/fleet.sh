#!/usr/bin/env bash
# A private set of real servers for tests: a primary, replicas and sentinels, or a cluster. Each has a loopback address of its
# own, from which it also dials, so that packets between any two of them can be dropped (test/netns.h). What serves is what
# server.sh finds; it touches no installed server, needs no root, and ends them all with whoever asked for them.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=server.sh
. "$(dirname "${BASH_SOURCE[0]}")/server.sh"

usage() {
    cat <<'END'
usage: test/fleet.sh sentinel [ARGUMENT...]   a primary, 2 replicas, 3 sentinels that call it "falkor" (quorum 2)
       test/fleet.sh cluster [ARGUMENT...]    3 primaries with a replica each

Each ARGUMENT goes to the nodes. When all of them follow and know each other it prints
    FALKOR_FLEET kind=sentinel nodes=HOST:P,... pids=PID,... sentinels=HOST:P,... sentinel_pids=PID,... dir=DIR
(kind=cluster without sentinels; its first three nodes are primaries, the next three their replicas) and reads commands:
    start I            starts node I again, with the same address, folder and arguments: FALKOR_STARTED index=I pid=PID
    start_sentinel I   likewise: FALKOR_STARTED_SENTINEL index=I pid=PID
End of input, or a signal, ends every server. One that a test kills is missed by nobody.

Environment: BUILD, FALKOR_SERVER and FALKOR_MODULE as for test/server.sh.
FALKOR_FLEET_TLS=FOLDER: each also speaks TLS, at its port less 6000, with FOLDER's fleet.crt, fleet.key and ca.crt. Replicas and
sentinels then speak nothing else to nodes and to each other, and sentinels name those ports.
END
}

PATIENCE=60                         # seconds for all of a start
MASTER=falkor
KIND='' EXTRA=()
NODES=0                             # members below are nodes, the others sentinels
MEMBERS=0
HOSTS=() PORTS=() PIDS=()           # of each member
TLS=${FALKOR_FLEET_TLS:-}

# ---- one member ----------------------------------------------------------------------------------------------------

is_node() { [ "$1" -lt "$NODES" ]; }

home() { printf '%s/%s' "$DIR" "$1"; }

# bus MEMBER: its port for the cluster's own talk. Like all others it is below those that the kernel gives to who dials.
bus() { echo $((PORTS[$1] + 6000)); }
# named MEMBER: its port as sentinels name it, and replicas dial it.
named() { echo $((PORTS[$1] - (${#TLS} ? 6000 : 0))); }

# lives PID: bash reaps its children at once.
lives() { [ -d "/proc/$1" ]; }

ended() { ! lives "$1"; }

# tell MEMBER WORD...: one command; the lines of its reply, up to that of a PING behind it (a sentinel knows no QUIT).
tell() (
    member=$1
    shift
    exec 3<>"/dev/tcp/${HOSTS[member]}/${PORTS[member]}"
    { resp "$@"; resp PING; } >&3
    while IFS= read -rt 5 line <&3; do
        line=${line%$'\r'}
        [ "$line" != +PONG ] || exit 0
        printf '%s\n' "$line"
    done
    exit 1
) 2>/dev/null

# order MEMBER WORD...: a command that must be answered with OK.
order() {
    local reply
    reply=$(tell "$@") || :
    case $reply in +OK*) ;; *) die "member $1 (${HOSTS[$1]}:${PORTS[$1]}) answers '${*:2}' with: ${reply:-nothing}" ;; esac
}

# says MEMBER TEXT WORD...: the command's reply holds the text.
says() {
    local member=$1 text=$2
    shift 2
    [[ $(tell "$member" "$@") == *"$text"* ]]
}

# await_that WHAT COMMAND...: until the command succeeds.
await_that() {
    local what=$1
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$END" ] || die "not within $PATIENCE s: $what"
        sleep 0.02
    done
}

# What is rewritten by the server itself, when a sentinel makes it follow another, is still so when it starts again.
write_node() {
    cat <<END
loadmodule $MODULE THREAD_COUNT 2 IMPORT_FOLDER $(home "$1")
save ""
appendonly no
auto-aof-rewrite-percentage 0
repl-diskless-sync-delay 0
repl-ping-replica-period 1
repl-timeout 5
END
    [ "$KIND" = sentinel ] || cat <<END
cluster-enabled yes
cluster-port $(bus "$1")
cluster-announce-ip ${HOSTS[$1]}
cluster-node-timeout 1500
cluster-allow-replica-migration no
END
    [ "$KIND" = cluster ] || cat <<END
replica-announce-ip ${HOSTS[$1]}
END
}

write_sentinel() {
    cat <<END
sentinel announce-ip ${HOSTS[$1]}
sentinel monitor $MASTER ${HOSTS[0]} $(named 0) 2
sentinel down-after-milliseconds $MASTER 1000
sentinel failover-timeout $MASTER 3000
sentinel parallel-syncs $MASTER 2
END
}

write_tls() {
    cat <<END
tls-port $(named "$1")
tls-cert-file $TLS/fleet.crt
tls-key-file $TLS/fleet.key
tls-ca-cert-file $TLS/ca.crt
tls-auth-clients no
tls-replication yes
END
}

write_config() {
    mkdir -p "$(home "$1")"
    {
        printf '%s\n' "port ${PORTS[$1]}" "bind ${HOSTS[$1]}" "bind-source-addr ${HOSTS[$1]}" "dir $(home "$1")" 'daemonize no'
        [ -z "$TLS" ] || write_tls "$1"
        if is_node "$1"; then write_node "$1"; else write_sentinel "$1"; fi
    } >"$(home "$1")/server.conf"
}

launch_member() {
    local arguments=("$(home "$1")/server.conf")
    if is_node "$1"; then arguments+=("${EXTRA[@]}"); else arguments+=(--sentinel); fi
    # shellcheck disable=SC2031
    (
        umask 077
        export LD_LIBRARY_PATH=$LIBS
        [ -n "$LIBS" ] || unset LD_LIBRARY_PATH
        with_me KILL "$SERVER" "${arguments[@]}"
    ) </dev/null >>"$(home "$1")/log" 2>&1 &
    PIDS[$1]=$!
    disown "$!"                     # bash is to say nothing of one that a test kills
}

# listens MEMBER: that process, and no other run's server on the same port.
listens() { says "$1" "process_id:${PIDS[$1]}"$'\n' INFO server; }

listens_or_ended() { listens "$1" || ended "${PIDS[$1]}"; }

await_listening() {
    await_that "member $1 listens on ${HOSTS[$1]}:${PORTS[$1]}" listens_or_ended "$1"
    listens "$1"
}

launch_somewhere() {
    PORTS[$1]=$((20000 + RANDOM % 6000))
    write_config "$1"
    launch_member "$1"
}

# settle MEMBER: a port is free only until another run takes it, so the server itself says whether it was.
settle() {
    local tries
    for tries in {1..20}; do
        ! await_listening "$1" || return 0
        grep -qi 'address already in use' "$(home "$1")/log" || break
        rm "$(home "$1")/log"
        launch_somewhere "$1"
    done
    say "member $1 did not start (try $tries, ${HOSTS[$1]}:${PORTS[$1]}):"
    tail -n 20 "$(home "$1")/log" >&2
    exit 1
}

# add FIRST COUNT: launches as many members, on addresses from 127.0.0.FIRST on.
add() {
    local member from=$MEMBERS
    MEMBERS=$((MEMBERS + $2))
    for ((member = from; member < MEMBERS; member++)); do
        HOSTS[member]=127.0.0.$(($1 + member - from))
        launch_somewhere "$member"
    done
    for ((member = from; member < MEMBERS; member++)); do settle "$member"; done
}

follows() { says "$1" master_link_status:up INFO replication; }

# ---- a primary, replicas and sentinels -----------------------------------------------------------------------------

# hurry SENTINEL: it looks at each node every second and talks of it twice a second, not every ten and two: else it takes 20 s
# until a primary that has come back is made to follow. Where the machine stood still for two seconds, it believes what it saw for
# three more, not for thirty. It is not told by its file.
hurry() { order "$1" SENTINEL DEBUG INFO-PERIOD 1000 PUBLISH-PERIOD 500 TILT-PERIOD 3000; }

sentinel_knows() {
    local reply
    reply=$(tell "$1" INFO sentinel) || return 1
    [[ $reply == *"status=ok,address=${HOSTS[0]}:$(named 0),slaves=2,sentinels=3"* ]]
}

make_sentinel() {
    local member
    NODES=3
    add 11 3
    for member in 1 2; do
        order "$member" REPLICAOF "${HOSTS[0]}" "$(named 0)"
        order "$member" CONFIG REWRITE
    done
    for member in 1 2; do await_that "node $member follows node 0" follows "$member"; done
    add 21 3
    for member in 3 4 5; do hurry "$member"; done
    for member in 3 4 5; do await_that "sentinel $((member - 3)) knows the others" sentinel_knows "$member"; done
}

# ---- a cluster -----------------------------------------------------------------------------------------------------

# agrees MEMBER: it knows all the others, of which none is being met, and each slot's owner.
agrees() {
    local reply
    says "$1" cluster_state:ok CLUSTER INFO || return 1
    reply=$(tell "$1" CLUSTER NODES) || return 1
    [[ $reply != *handshake* && $reply != *fail* && $reply != *noaddr* ]] || return 1
    [ "$(grep -c "$2" <<<"$reply")" = "$3" ]
}

# names_replicas MEMBER: to its clients, which it does only once it has heard that they have got something.
names_replicas() {
    local reply replica
    reply=$(tell "$1" CLUSTER SLOTS) || return 1
    for replica in 3 4 5; do [[ $reply == *":${PORTS[replica]}"$'\n'* ]] || return 1; done
}

make_cluster() {
    local member slots=(0 5461 10923 16384) id
    NODES=6
    add 11 6
    for member in {0..5}; do order "$member" CLUSTER SET-CONFIG-EPOCH $((member + 1)); done
    for member in 0 1 2; do order "$member" CLUSTER ADDSLOTSRANGE "${slots[member]}" $((slots[member + 1] - 1)); done
    for member in {1..5}; do order 0 CLUSTER MEET "${HOSTS[member]}" "${PORTS[member]}" "$(bus "$member")"; done
    for member in {0..5}; do await_that "node $member has met the others" agrees "$member" 'master' 6; done
    for member in 3 4 5; do
        id=$(tell $((member - 3)) CLUSTER MYID | sed -n 2p)
        order "$member" CLUSTER REPLICATE "$id"
    done
    for member in 3 4 5; do await_that "node $member follows node $((member - 3))" follows "$member"; done
    for member in {0..5}; do await_that "node $member agrees" agrees "$member" 'slave' 3; done
    for member in {0..5}; do await_that "node $member names the replicas" names_replicas "$member"; done
}

# ---- all of them ---------------------------------------------------------------------------------------------------

# stop_all: nothing that they hold outlives them, so they are killed.
stop_all() {
    local pid
    trap '' INT TERM HUP
    for pid in "${PIDS[@]}"; do
        ! lives "$pid" || kill -KILL "$pid" 2>/dev/null || :
    done
    for pid in "${PIDS[@]}"; do
        while lives "$pid"; do sleep 0.01; done
    done
    [ -z "$DIR" ] || rm -rf "$DIR"
}

# list FROM TO: HOST:PORT of these members, and their process ids below.
list() {
    local member text=''
    for ((member = $1; member < $2; member++)); do text+=,${HOSTS[member]}:${PORTS[member]}; done
    echo "${text#,}"
}

list_pids() (IFS=, && echo "${PIDS[*]:$1:$2}")

announce() {
    local sentinels=''
    [ "$NODES" = "$MEMBERS" ] ||
        sentinels=" sentinels=$(list "$NODES" "$MEMBERS") sentinel_pids=$(list_pids "$NODES" $((MEMBERS - NODES)))"
    printf 'FALKOR_FLEET kind=%s nodes=%s pids=%s%s dir=%s\n' "$KIND" "$(list 0 "$NODES")" "$(list_pids 0 "$NODES")" \
        "$sentinels" "$DIR"
}

# start_again MEMBER: the one before it may have been killed just now.
start_again() {
    local old=${PIDS[$1]}
    END=$((SECONDS + PATIENCE))
    await_that "process $old has ended" ended "$old"
    launch_member "$1"
    await_listening "$1" || {
        say "member $1 did not start again:"
        tail -n 20 "$(home "$1")/log" >&2
        exit 1
    }
}

# obey COMMAND INDEX
obey() {
    local index=${2:--1}
    case $1:$index in
        start:[0-9]) is_node "$index" && start_again "$index" && echo "FALKOR_STARTED index=$index pid=${PIDS[index]}" ;;
        start_sentinel:[0-9])
            index=$((index + NODES))
            [ "$index" -lt "$MEMBERS" ] && start_again "$index" && hurry "$index" &&
                echo "FALKOR_STARTED_SENTINEL index=$2 pid=${PIDS[index]}"
            ;;
        *) false ;;
    esac || die "no such command: $*"
}

fleet() {
    local words
    KIND=$1
    shift
    EXTRA=("$@")
    have_server
    trap stop_all EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 141' PIPE
    trap 'exit 143' TERM
    END=$((SECONDS + PATIENCE))
    DIR=$(mktemp -d "${TMPDIR:-/tmp}/falkor-fleet.XXXXXX")
    "make_$KIND"
    announce
    while read -ra words; do obey "${words[@]}"; done
    say "end of input: the servers are stopped"
}

[ -e /dev/fd/0 ] || exec </dev/null
case ${1:-} in
    sentinel | cluster) fleet "$@" ;;
    -h | --help | help) usage ;;
    *) usage >&2; exit 2 ;;
esac
