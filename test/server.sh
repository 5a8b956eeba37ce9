#!/usr/bin/env bash
# A private, real FalkorDB for tests and demos: gets one into the build folder, starts it on free addresses, and ends it
# with whoever asked for it. It touches no installed server and needs no root and, once fetched, no network.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=fetch.sh
. "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

usage() {
    cat <<'END'
usage: test/server.sh get                   have a server >= 7.2 and falkordb.so ready (fetched into $BUILD/server)
       test/server.sh serve [ARGUMENT...]   start one, print its address on one line, stop it at end of input or a signal
       test/server.sh run COMMAND...        run a command with a server; its exit status is the command's

serve prints   FALKOR_SERVER port=P socket=PATH pid=PID dir=DIR   and hands --password WORD and any other argument to the
server (--port P and --unixsocket PATH as well; the default is a free port and a socket in DIR).
run sets FALKORDB_URL, FALKOR_TEST_PORT, FALKOR_TEST_SOCKET, FALKOR_TEST_PID; when FALKORDB_URL is set already it only
runs the command.

Environment: BUILD (build); FALKOR_SERVER_DIR a data folder that is kept; FALKOR_SERVER and FALKOR_MODULE a server
program and a falkordb.so to use instead of what would be found or fetched.
END
}

SERVER='' MODULE='' LIBS=''         # what to start: set by have_server
PID='' PORT='' SOCKET='' DIR=''     # what runs: set by start
PASSWORD=''

# ---- getting it ----------------------------------------------------------------------------------------------------

# new_enough PROGRAM: it starts here, and is a version that the module accepts.
new_enough() {
    local version
    version=$(LD_LIBRARY_PATH=$LIBS "$1" --version 2>/dev/null | sed -n 's/.*[Ss]erver v=\([0-9]*\)\.\([0-9]*\).*/\1 \2/p') ||
        return 1
    [ -n "$version" ] && [ $((${version% *} * 100 + ${version#* })) -ge 702 ]
}

# proven PROGRAM: really started with the module, it answers. The only test that counts.
proven() {
    SERVER=$1
    new_enough "$SERVER" || return 1
    (trap stop EXIT; start >/dev/null 2>&1) || { say "$SERVER does not run with $MODULE"; return 1; }
}

fetch_module() {
    local tmp
    MODULE=$BUILD/server/falkordb-$(locked npm @falkordblite/linux-x64 3)/falkordb.so
    [ -r "$MODULE" ] && return
    tmp=$(scratch module)
    fetch_npm @falkordblite/linux-x64 "$tmp"
    publish "$tmp/package/bin" "${MODULE%/*}"
}

# missing_libraries FILE...: sonames that neither the system nor LIBS has.
missing_libraries() {
    LD_LIBRARY_PATH=$LIBS ldd "$@" 2>/dev/null | awk '/not found/ { print $1 }' | sort -u
}

library_path() { find "$1" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:; }

# fetch_backport: this release's own server is too old for the module, its backports hold one that is not.
fetch_backport() {
    local folder tmp name program
    folder=$BUILD/server/valkey-$(locked backport valkey-server 3)
    if [ ! -d "$folder" ]; then
        [ "$(codename)" = bookworm ] || return 1
        tmp=$(scratch server)
        private_apt server bookworm-backports
        for name in $(locked_names backport); do fetch_deb backport "$name" "$tmp"; done
        program=$tmp/usr/bin/valkey-server
        for name in $(missing_libraries "$program" "$MODULE"); do
            name=$(awk -v so="$name" '$1 == "lib" && $5 == so { print $2 }' "$LOCK")
            [ -z "$name" ] || fetch_deb lib "$name" "$tmp"
        done
        LIBS=$(library_path "$tmp")
        name=$(missing_libraries "$program" "$MODULE" | paste -sd' ')
        [ -z "$name" ] || die "no line of kind lib in test/versions.lock for $name"
        publish "$tmp" "$folder"
    fi
    LIBS=$(library_path "$folder")
    FETCHED=$folder/usr/bin/valkey-server
}

find_server() {
    local program FETCHED=
    MODULE=${FALKOR_MODULE:-}
    [ -n "$MODULE" ] || fetch_module
    for program in "${FALKOR_SERVER:-}" "$(command -v valkey-server)" "$(command -v redis-server)" "${MODULE%/*}/redis-server"; do
        [ -n "$program" ] && proven "$program" && return
        [ -z "${FALKOR_SERVER:-}" ] || die "FALKOR_SERVER=$FALKOR_SERVER does not serve FalkorDB here"
    done
    fetch_backport || die "no Redis or Valkey >= 7.2 that runs here: install one, or set FALKORDB_URL to a FalkorDB"
    proven "$FETCHED" || die "the fetched server does not run"
}

# remembered: what an earlier run found, if it is still there and the pins are the same.
remembered() {
    local memory=$BUILD/server/found id
    [ -r "$memory" ] && [ -z "${FALKOR_SERVER:-}${FALKOR_MODULE:-}" ] || return 1
    { read -r id; read -r SERVER; read -r MODULE; read -r LIBS; } <"$memory" || return 1
    [ "$id" = "$(lock_id)" ] && [ -x "$SERVER" ] && [ -r "$MODULE" ]
}

find_and_remember() {
    remembered && return
    find_server
    [ -z "${FALKOR_SERVER:-}${FALKOR_MODULE:-}" ] || return 0
    printf '%s\n' "$(lock_id)" "$SERVER" "$MODULE" "$LIBS" >"$BUILD/server/found.$$"
    mv "$BUILD/server/found.$$" "$BUILD/server/found"
}

have_server() {
    remembered && return
    if [ -n "${FALKOR_SERVER:-}" ] && [ -n "${FALKOR_MODULE:-}" ]; then
        SERVER=$FALKOR_SERVER MODULE=$FALKOR_MODULE
        return
    fi
    [ "$(uname -sm)" = "Linux x86_64" ] ||
        die "a server is pinned for Linux x86_64 only, this is $(uname -sm): set FALKORDB_URL to a running FalkorDB"
    mkdir -p "$BUILD/server"
    with_lock server find_and_remember
    remembered || die "no server found"
}

# ---- starting and stopping it --------------------------------------------------------------------------------------

# with_me SIGNAL COMMAND...: the kernel sends SIGNAL to the command when this script dies, however it dies.
with_me() {
    local signal=$1
    shift
    if setpriv --pdeathsig "$signal" true 2>/dev/null; then exec setpriv --pdeathsig "$signal" "$@"; else exec "$@"; fi
}

alive() { [[ -n $1 && " $(jobs -pr | tr '\n' ' ')" == *" $1 "* ]]; }

resp() {
    local word
    printf '*%d\r\n' $#
    for word; do LC_ALL=C; printf '$%d\r\n%s\r\n' "${#word}" "$word"; done
}

# ask: one graph query over TCP, on a connection that the server has closed when this returns.
ask() (
    exec 3<>"/dev/tcp/127.0.0.1/$PORT"
    {
        [ -z "$PASSWORD" ] || resp AUTH "$PASSWORD"
        resp GRAPH.RO_QUERY falkor:probe 'RETURN 1'
        resp QUIT
    } >&3
    timeout 5 cat <&3
)

# ready: the socket is made last, so while it is missing another run's server may be the one that answers on this port.
ready() {
    [ -S "$SOCKET" ] || return 1
    [ "$PORT" != 0 ] || return 0
    case $(ask 2>/dev/null) in
        *"empty key"* | *-NOAUTH* | *-NOPERM* | *-CLUSTERDOWN* | *-MASTERDOWN* | *"max number of clients"*) return 0 ;;
    esac
    return 1
}

launch() {
    rm -f "$SOCKET"
    (
        [ ! -e /dev/fd/9 ] || exec 9>&-
        umask 077
        export LD_LIBRARY_PATH=$LIBS
        [ -n "$LIBS" ] || unset LD_LIBRARY_PATH
        with_me KILL "$SERVER" --port "$PORT" --bind 127.0.0.1 -::1 --unixsocket "$SOCKET" --dir "$DIR" --save '' \
            --daemonize no --loadmodule "$MODULE" THREAD_COUNT "$(nproc)" IMPORT_FOLDER "$DIR" "$@"
    ) </dev/null >"$DIR/server.log" 2>&1 &
    PID=$!
}

# await: 0 it serves, 1 it ended, 2 it does neither.
await() {
    local end=$((SECONDS + 30))
    while [ $SECONDS -lt $end ]; do
        ! ready || return 0
        alive "$PID" || return 1
        sleep 0.02
    done
    return 2
}

# start ARGUMENT...: a port is free only until another run takes it, so the server itself says whether it was.
start() {
    local argument previous='' given='' arguments=() tries status
    DIR=${FALKOR_SERVER_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/falkor.XXXXXX")}
    mkdir -p "$DIR"
    DIR=$(cd "$DIR" && pwd) SOCKET=$DIR/falkor.sock
    for argument; do
        case $previous in
            --port) given=$argument ;;
            --unixsocket) SOCKET=$argument ;;
            --requirepass | --password) PASSWORD=$argument ;;
        esac
        previous=$argument
        [ "$argument" != --password ] || argument=--requirepass
        arguments+=("$argument")
    done
    for tries in {1..20}; do
        PORT=${given:-$((20000 + (RANDOM * 32768 + RANDOM) % 12000))}
        launch "${arguments[@]}"
        status=0
        await || status=$?
        [ $status != 0 ] || return 0
        if [ $status != 1 ] || [ -n "$given" ]; then break; fi
        grep -qi 'address already in use' "$DIR/server.log" || break
    done
    say "the server did not start (try $tries, port $PORT):"
    tail -n 20 "$DIR/server.log" >&2
    return 1
}

# stop: TERM lets it save what it was told to save; one that is stopped or busy is killed. The folder goes with it.
stop() {
    local tries=60
    trap '' INT TERM HUP
    [ -z "${FALKOR_SERVER_DIR:-}" ] || tries=400
    if alive "$PID"; then
        kill -TERM "$PID" || :
        kill -CONT "$PID" || :
        while alive "$PID" && [ $((tries--)) -gt 0 ]; do sleep 0.05; done
        ! alive "$PID" || kill -KILL "$PID" || :
        wait "$PID" 2>/dev/null || :
    fi
    PID=
    [ -n "${FALKOR_SERVER_DIR:-}" ] || [ -z "$DIR" ] || rm -rf "$DIR"
}

# ---- the commands --------------------------------------------------------------------------------------------------

serve() {
    local reader
    have_server
    trap stop EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 141' PIPE
    trap 'exit 143' TERM
    start "$@" || exit 1
    printf 'FALKOR_SERVER port=%s socket=%s pid=%s dir=%s\n' "$PORT" "$SOCKET" "$PID" "$DIR"
    (with_me KILL cat) <&0 >/dev/null 2>&1 &
    reader=$!
    wait -n "$PID" "$reader" || :
    alive "$PID" || { say "the server ended by itself:"; tail -n 5 "$DIR/server.log" >&2; exit 1; }
    say "end of input: the server is stopped"
}

# run COMMAND...: in the background, so that a signal to this script is acted on at once; `env` undoes that background
# commands ignore Ctrl-C, which then reaches the command from the terminal and not from here.
run() {
    local child status interrupted=1
    [ $# -gt 0 ] || { usage >&2; exit 2; }
    [ -z "${FALKORDB_URL:-}" ] || exec "$@"
    have_server
    trap stop EXIT
    trap 'exit 143' INT TERM HUP
    start || exit 1
    export FALKORDB_URL=falkor://127.0.0.1:$PORT
    export FALKOR_TEST_PORT=$PORT FALKOR_TEST_SOCKET=$SOCKET FALKOR_TEST_PID=$PID
    (with_me TERM env --default-signal=INT,QUIT -- "$@") <&0 &
    child=$!
    trap 'interrupted=1' INT
    trap 'interrupted=1; kill -TERM "$child" 2>/dev/null || :' TERM HUP
    while [ -n "$interrupted" ]; do
        interrupted='' status=0
        wait "$child" || status=$?
    done
    exit "$status"
}

[ "${BASH_SOURCE[0]}" = "$0" ] || return 0          # fleet.sh wants the functions
[ -e /dev/fd/0 ] || exec </dev/null
case ${1:-} in
    get) [ $# = 1 ] || { usage >&2; exit 2; }; have_server; say "$SERVER with $MODULE" ;;
    serve | run) "$@" ;;
    -h | --help | help) usage ;;
    *) usage >&2; exit 2 ;;
esac
