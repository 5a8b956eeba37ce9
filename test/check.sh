#!/usr/bin/env bash
# What `make check` does: the suite again as other tools see it, then the long programs. Every step counts its own tests; the
# last line is their sum. A step that cannot run is a failure, not a skip.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
BUILD=${BUILD:-build}
PASSED=0 FAILED=0
unset MAKEFLAGS MAKELEVEL MFLAGS TEST ONLY

# step NAME MINUTES MAKE-ARGUMENT...
step() {
    local name=$1 minutes=$2 log=$BUILD/check-$1.log passed='' failed=1 start=$SECONDS
    shift 2
    printf '\n== %s: make %s\n' "$name" "$*"
    mkdir -p "$BUILD"
    timeout --foreground "${minutes}m" make -j"$(nproc)" "$@" >"$log" 2>&1
    read -r passed failed < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1) || failed=1
    grep -E '^(ok|FAILED|MISSED|BROKEN|note:) ' "$log"
    if [ "${passed:-0}$failed" = 00 ]; then failed=1; fi
    [ "${passed:-0}" != 0 ] || echo "FAILED $name ran no test"
    if [ -z "$passed" ] || [ "$failed" != 0 ]; then tail -n 40 "$log" | sed 's/^/    /'; fi
    PASSED=$((PASSED + ${passed:-0})) FAILED=$((FAILED + failed))
    printf '%s: %s passed, %s failed, %d s\n' "$name" "${passed:-none}" "$failed" $((SECONDS - start))
}

trap 'exit 130' INT
test/deps.sh check || { echo '0 passed, 1 failed'; exit 1; }
export TEST_TIMEOUT=${TEST_TIMEOUT:-300}
# Whole where memory is looked at and on the other thread layer; elsewhere what the difference can touch: threads for the race
# detector, bytes and connections for another hiredis, a sample of everything for another compiler.
FALKOR_TEST_PREEMPTIONS=0 step asan 12 test VARIANT=asan TLS=1     # all schedules are tried twice elsewhere
step tsan 12 test VARIANT=tsan TLS=1 TEST='attempts breaker classes clock connect cursor events faults fork levers lifecycle
    load names pipecuts pipeline pool proof queries safety shared streaming tls'
step clang 8 test VARIANT=clang WERROR=1 TEST='commands json names options parameters pool queries reply resp3'
step hiredis1 8 test VARIANT=hiredis1 TLS=1 WERROR=1 TEST='attempts connect pipeline queries resp3 safety streaming tls'
TEST_TIMEOUT=540 FALKOR_TEST_PREEMPTIONS=2 step threads 14 test THREADS=c11 TLS=1 WERROR=1
step mutants 8 mutants
step drivers 6 drivers VARIANT=werror WERROR=1
step metrics 6 metrics
step long 20 checks VARIANT=werror WERROR=1
step stress 8 checks VARIANT=tsan CHECK=stress
step fuzz 5 fuzz

printf '\n== code size at -Os\n'
make VARIANT=size CFLAGS=-Os "$BUILD/size/libfalkorpool.a" >/dev/null 2>&1 && size -t "$BUILD/size/libfalkorpool.a" | tail -n 1

echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
