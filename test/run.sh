#!/usr/bin/env bash
# Runs test programs, two at once (TEST_JOBS), and counts: test/run.sh [--contract] PROGRAM... Each is a cmocka program, or
# prints like one; its first argument is a pattern of test names ($ONLY). One that crashes, hangs, leaks or says nothing is a
# failure too. Lines that begin with note: or count: are shown. A PROGRAM in a folder examples/ is one test: it must end well
# and print something. A program whose source says `Runs alone:` does. The last line is `N passed, N failed`, and the exit
# status says whether all is well.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

OUT=${OUT:-build} BUILD=${BUILD:-build} CC=${CC:-cc}
LIMIT=${TEST_TIMEOUT:-200} JOBS=${TEST_JOBS:-2}
PASSED=0 FAILED=0 CHILD='' STARTED=0 RUNNING=0
LOGS=$OUT/log REPORTS=$OUT/log/reports
rm -rf "$REPORTS"
mkdir -p "$REPORTS"

export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1}
# With SINGLE=1 the archive is one object: a test that has files of the library as its own has their variables twice.
ASAN_OPTIONS+=${SINGLE:+:detect_odr_violation=0}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1}
export FALKOR_SERVER_SH=$PWD/test/server.sh FALKOR_OUT=$OUT
FALKOR_OUT=$(cd "$OUT" && pwd)

# traps: also in a subshell, which does not inherit them.
traps() {
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    trap 'kill -TERM $CHILD $(jobs -pr) 2>/dev/null' EXIT
}
traps

# gcc's ThreadSanitizer cannot cope with every layout of the address space.
WRAP=()
if [ "${VARIANT:-}" = tsan ] && setarch "$(uname -m)" -R true 2>/dev/null; then WRAP=(setarch "$(uname -m)" -R); fi

count() { grep -c -- "$1" "$2" || :; }

# count_names WORD LOG: tests so marked; cmocka names them again in its summary.
count_names() { sed -n "s/^\[  $1 \] \([A-Za-z_][^ ]*\).*/\1/p" "$2" | sort -u | wc -l; }

# limited LOG COMMAND...: its status. In the background, so that a signal to this script ends it; env takes back that the
# shell makes background commands ignore Ctrl-C.
limited() {
    local log=$1 status=0
    shift
    timeout -k 10 "$LIMIT" env --default-signal=INT,QUIT "$@" </dev/null >"$log" 2>&1 &
    CHILD=$!
    wait "$CHILD" || status=$?
    CHILD=''
    return $status
}

program() {
    local name=${1##*/} log status=0 passed failed begun skipped start=$SECONDS
    case $1 in                          # one of another variant than the others
        "$OUT"/test/* | test/*) ;;
        */test/*) log=${1%/test/*} name=$name-${log##*/} ;;
    esac
    log=$LOGS/$name.log
    limited "$log" ${WRAP[@]+"${WRAP[@]}"} "$1" ${ONLY:+"$ONLY"} || status=$?
    passed=$(count '^\[       OK \] ' "$log")
    skipped=$(count_names SKIPPED "$log")
    failed=$(count_names 'FAILED ' "$log")
    begun=$(count '^\[ RUN      \] ' "$log")
    if [ $status != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
    if [ "$failed" = 0 ] && [ $((passed + skipped)) != "$begun" ]; then failed=1; fi
    if [ "$begun" = 0 ] && [ -z "${ONLY:-}" ]; then failed=$((failed > 0 ? failed : 1)); fi
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
    [ "$skipped" = 0 ] || skipped=", $skipped skipped"
    printf '%-6s %-28s %4d passed%s, %d failed, %d s\n' "$([ "$failed" = 0 ] && echo ok || echo FAILED)" "$name" "$passed" \
        "${skipped#0}" "$failed" $((SECONDS - start))
    grep -E '^(note|count): ' "$log" || :
    [ "$failed" != 0 ] || return 0
    case $status in 124 | 137) echo "$name: stopped after $LIMIT s" >>"$log" ;; *) echo "$name: exit status $status" >>"$log" ;; esac
    grep -v -E '^\[ RUN      \] |^\[       OK \] ' "$log" | tail -n 60 | sed 's/^/    /'
}

# example PROGRAM: it counts as one test.
example() {
    local name=example-${1##*/} log status=0 start=$SECONDS verdict=ok
    log=$LOGS/$name.log
    limited "$log" "$1" || status=$?
    if [ $status = 0 ] && [ -s "$log" ]; then
        PASSED=$((PASSED + 1))
    else
        verdict=FAILED FAILED=$((FAILED + 1))
        echo "$name: exit status $status" >>"$log"
    fi
    printf '%-6s %-28s %d s\n' $verdict "$name" $((SECONDS - start))
    [ $verdict != FAILED ] || tail -n 30 "$log" | sed 's/^/    /'
}

# one CASE COMMAND...: a command that must succeed without a word, as a test.
one() {
    local what=$1 log=$LOGS/contract.log status=0
    shift
    limited "$log" "$@" || status=$?
    if [ $status = 0 ] && [ ! -s "$log" ]; then PASSED=$((PASSED + 1)) && return; fi
    FAILED=$((FAILED + 1))
    printf 'FAILED %s: %s\n' "$what" "$*"
    tail -n 30 "$log" | sed 's/^/    /'
}

# contract: the first programs of README and pool.h, and others written against pool.h, compile with every compiler that is
# here, in every dialect, without a warning; so does the single header, with and without its second half. And no public function
# is without its tests, nor is any row.
contract() {
    awk '/^```c$/ { on = !done; next } /^```$/ { done = done || on; on = 0 } on' README.md >"$OUT/first-readme.c"
    sed -n 's/^ \*     //p' pool.h | awk '/include "pool.h"/ { on = 1 } on { print } on && /^}/ { exit }' >"$OUT/first-header.c"
    local compiler dialect file flags=(-Wall -Wextra -Wpedantic -Werror -I. -c -o /dev/null)
    for compiler in gcc clang; do
        command -v $compiler >/dev/null || { echo "note: no $compiler here"; continue; }
        for dialect in c11 gnu11; do
            for file in "$OUT"/first-*.c ../shared/api/*.c; do
                [ ! -e "$file" ] || one "$file" $compiler -std=$dialect "${flags[@]}" "$file"
            done
            # shellcheck disable=SC2086
            one "single header, whole" $compiler -std=$dialect ${API_CPPFLAGS:-} "${flags[@]}" -DFALKORPOOL_IMPLEMENTATION \
                -include "$BUILD/falkorpool.h" -x c /dev/null
        done
    done
    for compiler in g++ clang++; do
        command -v $compiler >/dev/null || { echo "note: no $compiler here"; continue; }
        for dialect in c++17 c++20; do
            for file in ../shared/api/*.cpp; do
                [ ! -e "$file" ] || one "$file" $compiler -std=$dialect "${flags[@]}" "$file"
            done
            one "single header" $compiler -std=$dialect "${flags[@]}" -include "$BUILD/falkorpool.h" -x c++ /dev/null
        done
    done
    one "tests of every public function" test/audit.sh
    one "rows" test/rows.sh --check
    printf '%-6s %-28s %4d passed, %d failed\n' "$([ "$FAILED" = 0 ] && echo ok || echo FAILED)" contract "$PASSED" "$FAILED"
}

# begin KIND PROGRAM: in the background. What it says and what it counted are put down for collect.
begin() {
    local report=$REPORTS/$((STARTED += 1))
    (
        traps
        PASSED=0 FAILED=0
        "$@" >"$report.text" 2>&1
        echo "$PASSED $FAILED" >"$report.part"
        mv "$report.part" "$report.sum"
    ) &
    RUNNING=$((RUNNING + 1))
}

# collect COUNT: until so many still run, at most.
collect() {
    local sum passed failed
    while [ $RUNNING -gt "$1" ]; do
        wait -n || FAILED=$((FAILED + 1))
        RUNNING=$((RUNNING - 1))
        for sum in "$REPORTS"/*.sum; do
            [ -e "$sum" ] || continue
            cat "${sum%.sum}.text"
            read -r passed failed <"$sum"
            rm -f "$sum"
            PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
        done
    done
}

# alone PROGRAM: its source says that it measures, or uses what others use too.
alone() {
    local source=test/${1##*/}
    grep -q 'Runs alone:' "${source%.c}"{,.c} 2>/dev/null
}

for argument; do
    case $argument in
        --contract) collect 0 && contract ;;
        */examples/*) collect 0 && example "$argument" ;;
        *)
            if alone "$argument"; then collect 0; else collect $((JOBS - 1)); fi
            begin program "$argument"
            ! alone "$argument" || collect 0
            ;;
    esac
done
collect 0
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ] && [ "$PASSED" != 0 ]
