#!/usr/bin/env bash
# Other machines: the library is compiled for them with gcc and clang (musl: gcc), each file and the single header, without a
# warning; and tests run there, under qemu-user: test/check_cross.sh [MACHINE...]. CROSS_QUICK=1 takes the tests that CI has time for. With
# CROSS_SERVER=1 those run too that ask a server, which is this machine's own. The last line is `N passed, N failed`.
#   armhf    32-bit ARM, little-endian; 64-bit atomics of its own      hiredis 0.14.1
#   riscv64  64-bit, little-endian                                     hiredis 1.2.0
#   s390x    64-bit, big-endian                                        hiredis 1.2.0
#   musl     this machine with another C library                       hiredis 1.2.0
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
BUILD=${BUILD:-build}
SOURCES=$BUILD/deps-cross
PASSED=0 FAILED=0
WARNINGS=(-std=c11 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
unset MAKEFLAGS MAKELEVEL MFLAGS CC CFLAGS CPPFLAGS LDFLAGS

# Without a server. The others of a machine cannot run there: test_clock wants futexes with the C library's timespec,
# test_pool one of glibc's locks. test_schedules takes minutes anywhere, and its threads are its own. test_reply takes three.
QUICK=(retry json options events 'reply:*types*')
WHOLE=(reply retry json options levers pool lifecycle events clock)
HELP=(test/{fake,testing,serving,replies,lab,lateness,proxy}.c)
SERVED=(queries resp3 parameters names connect)

TIMES=(-D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64)

machine() {
    HIREDIS=hiredis1 QEMU=() CLANG=() TIME64=() NOT=()
    case $1 in
        armhf) TRIPLE=arm-linux-gnueabihf HIREDIS=hiredis0 QEMU=(qemu-arm) TIME64=("${TIMES[@]}") NOT=(clock) ;;
        riscv64) TRIPLE=riscv64-linux-gnu QEMU=(qemu-riscv64) ;;
        s390x) TRIPLE=s390x-linux-gnu QEMU=(qemu-s390x) ;;
        musl) GCC=musl-gcc AR=ar NOT=(pool clock) ;;
        *) echo "$1: not known here" >&2 && exit 2 ;;
    esac
    [ "$1" != musl ] || return 0
    GCC=$TRIPLE-gcc AR=$TRIPLE-ar
    QEMU+=(-L "/usr/$TRIPLE")
    CLANG=(clang "--target=$TRIPLE")
}

# verdict NAME STATUS LOG
verdict() {
    if [ "$2" = 0 ] && [ ! -s "$3" ]; then PASSED=$((PASSED + 1)) && return; fi
    FAILED=$((FAILED + 1))
    echo "FAILED $1"
    tail -n 20 "$3" | sed 's/^/    /'
}

# objects FOLDER COMMAND... -- FILE...: FILE.c becomes FOLDER/FILE.o, two at once.
objects() {
    local folder=$1 command=()
    shift
    while [ "$1" != -- ]; do command+=("$1") && shift; done
    shift
    mkdir -p "$folder"
    # shellcheck disable=SC2016
    printf '%s\n' "$@" | xargs -P 2 -I{} bash -c 'file=$1; shift; name=${file##*/}
        exec "${@:2}" -c "$file" -o "$1/${name%.c}.o"' - {} "$folder" "${command[@]}"
}

# libraries: what the tests are linked with, once for each machine.
libraries() {
    local tmp=$OUT/lib.$$ file
    [ ! -d "$OUT/lib" ] || return 0
    mkdir -p "$tmp/include/hiredis" "$tmp/include/cjson"
    objects "$tmp/hiredis" "$GCC" -std=gnu99 -O1 -w -- "$SOURCES/$HIREDIS"/{hiredis,net,read,sds,alloc,async}.c || return
    objects "$tmp/rest" "$GCC" -std=gnu99 -O1 -w -I"$SOURCES/cmocka/include" -DHAVE_INTTYPES_H -DHAVE_MALLOC_H -DHAVE_SIGNAL_H \
        -DHAVE_STRINGS_H -DHAVE_STRSIGNAL -DHAVE_STRUCT_TIMESPEC -DHAVE_CLOCK_REALTIME -DHAVE_GCC_THREAD_LOCAL_STORAGE \
        -DHAVE_SIGLONGJMP -- "$SOURCES/cmocka/src/cmocka.c" "$SOURCES/cjson/cJSON.c" || return
    for file in hiredis read alloc sds; do cp "$SOURCES/$HIREDIS/$file.h" "$tmp/include/hiredis/" || return; done
    cp "$SOURCES"/cmocka/include/*.h "$tmp/include/"
    cp "$SOURCES/cjson/cJSON.h" "$tmp/include/cjson/"
    mv "$tmp" "$OUT/lib"
}

# compiled: with each compiler at -O2, and for size.
compiled() {
    local log=$OUT/compile.log include=(-I. -isystem "$OUT/lib/include")
    objects "$OUT/obj" "$GCC" "${WARNINGS[@]}" "${include[@]}" -O2 -g -- ./*.c >"$log" 2>&1
    verdict "$1: gcc" $? "$log"
    "$GCC" "${WARNINGS[@]}" "${include[@]}" -Os -DFALKORPOOL_IMPLEMENTATION -x c "$BUILD/falkorpool.h" -c -o "$OUT/one.o" >"$log" 2>&1
    verdict "$1: single header, -Os" $? "$log"
    if [ ${#TIME64[@]} != 0 ]; then
        objects "$OUT/time64" "$GCC" "${WARNINGS[@]}" "${include[@]}" "${TIME64[@]}" -O0 -- ./*.c >"$log" 2>&1
        verdict "$1: gcc, time_t of 64 bits" $? "$log"
    fi
    [ ${#CLANG[@]} != 0 ] || return 0
    objects "$OUT/clang" "${CLANG[@]}" "${WARNINGS[@]}" "${include[@]}" -O2 -- ./*.c >"$log" 2>&1
    verdict "$1: clang" $? "$log"
}

# archive FILE OBJECT...: a program takes of it what it has not itself, for some tests include the library's sources.
archive() {
    rm -f "$1"
    "$AR" rcs "$@"
}

# tested MACHINE NAME...: each a program of its own.
tested() {
    local machine=$1 name only log=$OUT/test.log status passed failed start flags=(-std=c11 -w -pthread -I. "${TIME64[@]}" -isystem "$OUT/lib/include" -O2 -g)
    shift
    objects "$OUT/help" "$GCC" "${flags[@]}" -- "${HELP[@]}" >"$log" 2>&1 && archive "$OUT/libhelp.a" "$OUT"/help/*.o &&
        archive "$OUT/libfalkorpool.a" "$OUT"/obj/*.o || verdict "$machine: the tests' helpers" 1 "$log"
    for name; do
        read -r name only <<<"${name/:/ }"
        if [[ " ${NOT[*]} " == *" $name "* ]]; then echo "note: not on $machine: test_$name" && continue; fi
        start=$SECONDS status=0
        "$GCC" "${flags[@]}" "test/test_$name.c" "$OUT/libhelp.a" "$OUT/libfalkorpool.a" "$OUT"/lib/hiredis/*.o "$OUT"/lib/rest/*.o \
            -lm -o "$OUT/test_$name" >"$log" 2>&1 ||
            { verdict "$machine: test_$name does not compile" 1 "$log" && continue; }
        timeout --foreground -k 5 "${TEST_TIMEOUT:-300}" "${QEMU[@]}" "$OUT/test_$name" ${only:-${ONLY:+"$ONLY"}} </dev/null >"$OUT/$name.log" 2>&1 || status=$?
        passed=$(grep -c '^\[       OK \] ' "$OUT/$name.log")
        failed=$(sed -n 's/^\[  FAILED  \] \([A-Za-z_][^ ]*\).*/\1/p' "$OUT/$name.log" | sort -u | wc -l)
        if [ $status != 0 ] || [ "$passed" = 0 ]; then failed=$((failed > 0 ? failed : 1)); fi
        PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
        printf '%-6s %-28s %4d passed, %d failed, %d s\n' "$([ "$failed" = 0 ] && echo ok || echo FAILED)" "$machine test_$name" \
            "$passed" "$failed" $((SECONDS - start))
        [ "$failed" = 0 ] || grep -v -E '^\[ RUN      \] |^\[       OK \] ' "$OUT/$name.log" | tail -n 30 | sed 's/^/    /'
    done
}

test/deps.sh cross || { echo '0 passed, 1 failed'; exit 1; }
test/amalgamate.sh ./*.c >"$BUILD/falkorpool.h" || exit 1
if [ $# = 0 ]; then set -- armhf riscv64 s390x musl; fi
for machine; do
    machine "$machine"
    OUT=$BUILD/cross/$machine
    mkdir -p "$OUT"
    libraries || { echo "FAILED $machine: the libraries"; FAILED=$((FAILED + 1)); continue; }
    compiled "$machine"
    if [ -n "${TEST:-}" ]; then
        read -ra tests <<<"$TEST"
    elif [ -n "${CROSS_QUICK:-}" ]; then tests=("${QUICK[@]}"); else tests=("${WHOLE[@]}"); fi
    [ -z "${CROSS_SERVER:-}" ] || tests+=("${SERVED[@]}")
    tested "$machine" "${tests[@]}"
done
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ] && [ "$PASSED" != 0 ]
