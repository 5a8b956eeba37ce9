#!/usr/bin/env bash
# The servers that the drivers of examples/drivers are tried against: Debian's own packages, with what they need and this
# system lacks, unpacked into the build folder (never installed, no service, no root), each started privately in a
# temporary folder and ended with whoever asked for it. Which version is the archive's affair: apt checks its signature.
# What test/check_metrics.sh looks at health_server with is unpacked here too.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=fetch.sh
. "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

usage() {
    cat <<'END'
usage: test/services.sh headers             the drivers' libraries; writes $BUILD/services.mk with the flags they need
       test/services.sh run NAME COMMAND... start one, run COMMAND... HOST PORT, and end it; its exit status is the command's
       test/services.sh check FOLDER        try FOLDER/postgres and the others against each; the last line counts them
       test/services.sh unpack NAME         have prometheus or chromium; prints the folder: empty where the system has it

NAME: postgres, pgbouncer (before a PostgreSQL), mariadb, redis, http (nginx), bolt (FalkorDB). A HOST that begins with a
slash is a Unix socket, of the first two the folder that it is in.
END
}

NAMES=(postgres pgbouncer mariadb redis http bolt)
DIED=75                             # run's exit status where FalkorDB's Bolt server ended in the middle, which it does now and then
DIR='' PIDS=() CHILD='' HOST='' PORT=''
export LC_ALL=C

# ---- getting them --------------------------------------------------------------------------------------------------

packages() {
    case $1 in
        headers) echo libpq-dev libmariadb-dev libcurl4-openssl-dev ;;
        postgres) echo postgresql ;;
        pgbouncer) echo pgbouncer ;;
        mariadb) echo mariadb-server-core ;;
        http) echo nginx ;;
        prometheus) echo prometheus ;;
        chromium) echo chromium fontconfig-config fonts-dejavu-core ;;
    esac
}

# lacking PACKAGE...: what apt would install here for them. Not the C library: ours would not go with the system's loader.
lacking() {
    timeout "$NET_TIMEOUT" apt-get -s -qq "${APT[@]}" --no-install-recommends --no-upgrade install "$@" |
        awk '$1 == "Inst" && $2 !~ /^(libc6|libc-bin)$/ { print $2 }'
}

# mend_links FOLDER: a link of a -dev package to a library that this system has already, elsewhere.
mend_links() {
    local link target
    find "$1" -name 'lib*.so' -xtype l | while read -r link; do
        for target in "${link#"$1"}" "/usr/lib/$(basename "$(dirname "$link")")/x"; do
            target=$(dirname "$target")/$(readlink "$link")
            [ ! -e "$target" ] || ln -sfn "$target" "$link"
        done
    done
}

# unpack NAME: into $BUILD/services/NAME.
unpack() {
    local name=$1 folder=$BUILD/services/$1 tmp list
    [ ! -d "$folder" ] || return 0
    tmp=$(scratch "$name")
    private_apt services
    # shellcheck disable=SC2046
    list=$(lacking $(packages "$name")) || die "apt finds no $(packages "$name") for this system"
    # shellcheck disable=SC2086
    if [ -n "$list" ]; then
        say fetching $list
        (cd "$tmp" && timeout "$NET_TIMEOUT" apt-get -qq "${APT[@]}" download $list) || die "apt-get could not download" $list
    fi
    find "$tmp" -maxdepth 1 -name '*.deb' -exec dpkg -x {} "$tmp" ';' -delete
    mend_links "$tmp"
    publish "$tmp" "$folder"
}

have() {
    [ -d "$BUILD/services/$1" ] || with_lock services unpack "$1"
}

# headers: the old kind of run path also serves the libraries that those libraries need.
headers() {
    local folder
    have headers
    {
        printf 'DRIVER_CPPFLAGS ='
        for folder in /usr "$BUILD/services/headers/usr"; do
            [ ! -d "$folder/include" ] ||
                find "$folder/include" -maxdepth 1 \( -name postgresql -o -name mariadb \) -printf ' -isystem %p'
        done
        find "$BUILD/services/headers" -path '*/include/*/curl' -printf ' -isystem %h'
        printf '\nDRIVER_LDFLAGS = -Wl,--disable-new-dtags'
        find "$BUILD/services/headers" -name 'lib*.so*' -printf '%h\n' | sort -u | while read -r folder; do
            printf ' -L%s -Wl,-rpath,%s' "$folder" "$folder"
        done
        echo
    } >"$BUILD/services.mk.$$"
    mv "$BUILD/services.mk.$$" "$BUILD/services.mk"
}

# find_program SERVICE PATTERN: the unpacked one, else the system's own; the newest.
find_program() {
    local top found
    for top in "$BUILD/services/$1" ''; do
        found=$(compgen -G "$top/$2" | sort -V | tail -n 1)
        [ -z "$found" ] || break
    done
    [ -n "$found" ] || die "no $2 in the package"
    echo "$found"
}

# ---- starting and ending them --------------------------------------------------------------------------------------

# launch SIGNAL COMMAND...: its words into $DIR/log. The kernel sends it SIGNAL when this script dies, however it dies.
launch() {
    local signal=$1
    shift
    "${AS[@]}" env LD_LIBRARY_PATH="$LIBS" setpriv --pdeathsig "$signal" "$@" </dev/null >>"$DIR/log" 2>&1 &
    PIDS+=($!)
}

# as SERVICE: sets LIBS and AS, which runs a program that refuses root as somebody else, when we are root. The temporary
# folder becomes his, and where he cannot get at the build folder, the program is copied there.
as() {
    AS=()
    LIBS=$(find "$BUILD/services/$1" -name 'lib*.so.*' -printf '%h\n' | sort -u | paste -sd:)
    [ "$(id -u)" = 0 ] && [ "${2:-}" = nobody ] || return 0
    AS=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups --)
    chown nobody "$DIR"
    "${AS[@]}" test -w "$DIR" || die "nobody can write in $DIR: set TMPDIR"
}

# await WORD: 0 once the log has it, 1 when the last one launched ended.
await() {
    local end=$((SECONDS + 60)) pid=${PIDS[-1]}
    while [ $SECONDS -lt $end ]; do
        ! grep -q -- "$1" "$DIR/log" || return 0
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

broken() { say "$1:"; tail -n 15 "$DIR/log" >&2; exit 1; }

free_port() { echo $((20000 + (RANDOM * 32768 + RANDOM) % 12000)); }

start_postgres() {
    local bin
    have postgres
    as postgres nobody
    bin=$(dirname "$(find_program postgres 'usr/lib/postgresql/*/bin/postgres')")
    if ! "${AS[@]}" test -x "$bin/postgres"; then
        cp -a "$BUILD/services/postgres" "$DIR/files"
        chown -R nobody "$DIR/files"
        LIBS=${LIBS//"$BUILD/services/postgres"/"$DIR/files"} bin=$DIR/files${bin#"$BUILD/services/postgres"}
    fi
    (cd "$DIR" && "${AS[@]}" env LD_LIBRARY_PATH="$LIBS" "$bin/initdb" -D "$DIR/pg" -U postgres -A trust -E UTF8 \
        --locale=C --no-sync --no-instructions) >>"$DIR/log" 2>&1 || broken "initdb failed"
    cd "$DIR"
    launch QUIT "$bin/postgres" -D "$DIR/pg" -c listen_addresses= -c unix_socket_directories="$DIR" -c fsync=off -c jit=off
    await 'ready to accept connections' || broken "PostgreSQL did not start"
    HOST=$DIR PORT=5432
}

start_pgbouncer() {
    local program
    start_postgres
    have pgbouncer
    as pgbouncer nobody
    program=$(find_program pgbouncer usr/sbin/pgbouncer)
    if ! "${AS[@]}" test -x "$program"; then
        cp -a "$BUILD/services/pgbouncer" "$DIR/bouncer"
        chown -R nobody "$DIR/bouncer"
        LIBS=${LIBS//"$BUILD/services/pgbouncer"/"$DIR/bouncer"} program=$DIR/bouncer/usr/sbin/pgbouncer
    fi
    echo '"postgres" ""' >"$DIR/users"
    printf '%s\n' '[databases]' "* = host=$HOST port=$PORT" '[pgbouncer]' 'pool_mode = transaction' 'listen_port = 6432' \
        'auth_type = trust' "auth_file = $DIR/users" "unix_socket_dir = $DIR" 'default_pool_size = 2' >"$DIR/bouncer.ini"
    launch KILL "$program" "$DIR/bouncer.ini"
    await 'process up' || broken "PgBouncer did not start"
    PORT=6432
}

start_mariadb() {
    local program base common
    have mariadb
    as mariadb
    program=$(find_program mariadb usr/sbin/mariadbd)
    base=$(dirname "$(dirname "$program")")
    common=(--no-defaults --datadir="$DIR/db" --lc-messages-dir="$base/share/mysql" --plugin-dir="$DIR" --tmpdir="$DIR"
        --skip-log-bin --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=16M --innodb-log-file-size=8M)
    [ "$(id -u)" != 0 ] || common+=(--user=root)
    mkdir "$DIR/db"
    {
        printf '%s\n' 'create database mysql;' 'use mysql;'
        cat "$base/share/mysql/mysql_system_tables.sql" "$base/share/mysql/mysql_system_tables_data.sql"
    } >"$DIR/init.sql"
    env LD_LIBRARY_PATH="$LIBS" "$program" "${common[@]}" --bootstrap --log-warnings=0 <"$DIR/init.sql" >>"$DIR/log" 2>&1 ||
        broken "MariaDB's tables could not be made"
    launch KILL "$program" "${common[@]}" --skip-networking --socket="$DIR/sock" --pid-file="$DIR/pid"
    await 'ready for connections' || broken "MariaDB did not start"
    HOST=$DIR/sock PORT=0
}

# web PATH: what the server on PORT says.
web() {
    (exec 3<>"/dev/tcp/127.0.0.1/$PORT" && printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3 && timeout 5 cat <&3) 2>/dev/null
}

# The port is free only until another run takes it, so who answers must know this run's folder.
start_http() {
    local program tries
    have http
    as http
    program=$(find_program http usr/sbin/nginx)
    HOST=127.0.0.1
    for tries in {1..5}; do
        PORT=$(free_port)
        cat >"$DIR/nginx.conf" <<END
daemon off; master_process off; pid $DIR/pid; error_log $DIR/error.log;
events { worker_connections 64; }
http {
    access_log off; default_type text/plain; keepalive_requests 100000;
    client_body_temp_path $DIR/b; proxy_temp_path $DIR/p; fastcgi_temp_path $DIR/f; uwsgi_temp_path $DIR/u;
    scgi_temp_path $DIR/s;
    server {
        listen 127.0.0.1:$PORT;
        location = /healthz { return 200 "healthz check passed"; }
        location = /collections { return 200 '{"result":{"collections":[]},"status":"ok"}'; }
        location = /echo { return 200 "\$arg_token"; }
        location = /short { keepalive_timeout 10ms; return 200 "soon"; }
        location = /who { return 200 "$DIR"; }
    }
}
END
        launch KILL "$program" -p "$DIR" -e "$DIR/error.log" -c "$DIR/nginx.conf"
        while kill -0 "${PIDS[-1]}" 2>/dev/null; do
            ! web /who | grep -qF "$DIR" || return 0
            sleep 0.05
        done
    done
    cat "$DIR/error.log" >>"$DIR/log"
    broken "nginx did not start (try $tries)"
}

# falkor ARGUMENT...: test/server.sh's server; it ends at its end of input, which the pipe's end that we hold keeps away.
falkor() {
    mkfifo "$DIR/hold" 2>/dev/null || :
    : >"$DIR/log"
    "$TOP/test/server.sh" serve "$@" <"$DIR/hold" >>"$DIR/log" 2>&1 &
    PIDS+=($!)
    [ -e /dev/fd/8 ] || exec 8>"$DIR/hold"
    await '^FALKOR_SERVER ' || return 1
    HOST=127.0.0.1 PORT=$(sed -n 's/^FALKOR_SERVER port=\([0-9]*\).*/\1/p' "$DIR/log")
}

start_redis() { falkor || broken "no Redis"; }

# A module that cannot have its port says so, if at all, in a log that is gone: the handshake is the proof.
start_bolt() {
    local port tries
    for tries in {1..5}; do
        port=$(free_port)
        ! bolt_answers "$port" || continue
        if falkor BOLT_PORT "$port" && bolt_answers "$port"; then
            PORT=$port
            return
        fi
        kill "${PIDS[-1]}" 2>/dev/null || :
    done
    broken "FalkorDB does not serve Bolt (try $tries)"
}

bolt_answers() {
    [ "$( (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf '\x60\x60\xb0\x17\0\0\x04\x05\0\0\0\0\0\0\0\0\0\0\0\0' >&3 &&
        timeout 2 head -c 4 <&3 | od -An -tx1) 2>/dev/null)" = ' 00 00 04 05' ]
}

stop() {
    local pid tries=100
    trap '' INT TERM HUP
    exec 8>&- 2>/dev/null || :
    [ -z "$CHILD" ] || kill -TERM "$CHILD" 2>/dev/null || :
    # PostgreSQL waits for its clients at TERM, MariaDB is deaf to INT; each server ends at the first that it takes.
    for pid in ${PIDS[@]+"${PIDS[@]}"}; do kill -INT "$pid" 2>/dev/null || :; kill -TERM "$pid" 2>/dev/null || :; done
    for pid in ${PIDS[@]+"${PIDS[@]}"}; do
        while kill -0 "$pid" 2>/dev/null && [ $((tries--)) -gt 0 ]; do sleep 0.05; done
        kill -KILL "$pid" 2>/dev/null || :
        wait "$pid" 2>/dev/null || :
    done
    [ -z "$DIR" ] || rm -rf "$DIR"
}

run() {
    local name=$1 status=0
    shift
    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    DIR=$(mktemp -d "${TMPDIR:-/tmp}/falkor.XXXXXX")
    : >"$DIR/log"
    "start_$name"
    cd "$TOP"
    setpriv --pdeathsig TERM timeout -k 5 "${TEST_TIMEOUT:-60}" env --default-signal=INT,QUIT "$@" "$HOST" "$PORT" 8>&- &
    CHILD=$!
    wait "$CHILD" || status=$?
    CHILD=''
    [ "$status" != 124 ] || say "$name: stopped after ${TEST_TIMEOUT:-60} s"
    [ "$status" = 0 ] || [ "$name" != bolt ] || bolt_answers "$PORT" || status=$DIED
    exit $status
}

# ---- all of them ---------------------------------------------------------------------------------------------------

check() {
    local name passed=0 failed=0 log start status tries
    mkdir -p "$BUILD/log"
    trap '[ -z "$CHILD" ] || { kill -TERM "$CHILD"; wait "$CHILD"; } 2>/dev/null || :; exit 130' INT TERM HUP
    for name in "${NAMES[@]}"; do
        log=$BUILD/log/driver_$name.log start=$SECONDS
        for tries in 1 2 3; do
            status=0
            "$TOP/test/services.sh" run "$name" "$1/${name/pgbouncer/postgres}" >"$log" 2>&1 &
            CHILD=$!
            wait "$CHILD" || status=$?
            CHILD=''
            [ "$status" = "$DIED" ] || break
            echo "note: driver_$name: the server crashed, try $tries does not count"
        done
        if [ $status = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
        printf '%-6s driver_%-20s %d s\n' "$([ $status = 0 ] && echo ok || echo FAILED)" "$name" $((SECONDS - start))
        if [ $status = 0 ]; then sed -n 's/^.*answers to/    &/p' "$log"; else tail -n 30 "$log" | sed 's/^/    /'; fi
    done
    echo "$passed passed, $failed failed"
    [ $failed = 0 ]
}

[ -e /dev/fd/0 ] || exec </dev/null
case ${1:-} in
    headers) headers ;;
    run)
        if [ $# -lt 3 ] || [[ " ${NAMES[*]} " != *" $2 "* ]]; then usage >&2; exit 2; fi
        "$@"
        ;;
    check) [ $# = 2 ] || { usage >&2; exit 2; }; "$@" ;;
    unpack)
        case ${2:-} in prometheus | chromium) ;; *) usage >&2; exit 2 ;; esac
        have "$2"
        echo "$BUILD/services/$2"
        ;;
    -h | --help | help) usage ;;
    *) usage >&2; exit 2 ;;
esac
