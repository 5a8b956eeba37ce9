#!/usr/bin/env bash
# What `make check` does: the suite again as other tools see it, other ways to build and other machines, then the long programs.
# Every step counts its own tests; the last line is their sum. A step that cannot run is a failure, not a skip. FALKOR_CI=1 takes
# less of those that would not fit into 40 minutes.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
BUILD=${BUILD:-build}
PASSED=0 FAILED=0 LANE=''
unset MAKEFLAGS MAKELEVEL MFLAGS TEST ONLY
mkdir -p "$BUILD"
trap '[ -z "$LANE" ] || kill -TERM -- "-$LANE"; exit 130' INT TERM

# perform NAME MINUTES MAKE-ARGUMENT...: a step, and what it says. Its last line is counted.
perform() {
    local name=$1 minutes=$2 log=$BUILD/check-$1.log passed='' failed=1 start=$SECONDS
    shift 2
    printf '\n== %s: make %s\n' "$name" "$*"
    timeout --foreground "${minutes}m" make -j"$(nproc)" "$@" >"$log" 2>&1
    read -r passed failed < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1) || failed=1
    grep -E '^(ok|FAILED|MISSED|BROKEN|note:) ' "$log"
    if [ "${passed:-0}$failed" = 00 ]; then failed=1; fi
    [ "${passed:-0}" != 0 ] || echo "FAILED $name ran no test"
    if [ -z "$passed" ] || [ "$failed" != 0 ]; then tail -n 40 "$log" | sed 's/^/    /'; fi
    printf '%s: %s passed, %s failed, %d s\n' "$name" "${passed:-0}" "$failed" $((SECONDS - start))
}

count() {
    local passed failed
    while read -r passed failed; do
        PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
    done < <(sed -n 's/^[a-z0-9]*: \([0-9]*\) passed, \([0-9]*\) failed, [0-9]* s$/\1 \2/p' "$1")
}

step() {
    perform "$@" | tee "$BUILD/check.step"
    count "$BUILD/check.step"
}

# beside FUNCTION: what it performs goes on in the background, in a process group of its own, with what others leave of the
# processors, until joined.
beside() {
    set -m
    nice_ "$1" >"$BUILD/check.beside" &
    set +m
    LANE=$!
}
nice_() {
    renice -n 10 -p "$BASHPID" >/dev/null
    "$1"
}
joined() {
    wait "$LANE" || { echo 'FAILED what ran beside was ended' && FAILED=$((FAILED + 1)); }
    LANE=''
    cat "$BUILD/check.beside"
    count "$BUILD/check.beside"
}

test/deps.sh check || { echo '0 passed, 1 failed'; exit 1; }
export TEST_TIMEOUT=${TEST_TIMEOUT:-300}

# Whole where memory is looked at and on the other thread layer; elsewhere what the difference can touch: threads for the race
# detector, bytes and connections for another hiredis, a sample of everything for another compiler. All schedules with two
# preemptions are tried once.
export FALKOR_TEST_PREEMPTIONS=0
step asan 12 test VARIANT=asan SINGLE=1 TLS=1
step tsan 12 test VARIANT=tsan TLS=1 TEST='attempts breaker classes clock connect cursor events faults fork levers lifecycle
    load names pipecuts pipeline pool proof queries safety shared signals stats streaming tls'
step clang 8 test VARIANT=clang WERROR=1 TEST='commands json names options parameters pool queries reply resp3'
step hiredis1 8 test VARIANT=hiredis1 TLS=1 WERROR=1 TEST='attempts connect memory pipeline queries resp3 safety streaming
    tls'
step threads 14 test THREADS=c11 TLS=1 WERROR=1 \
    ${FALKOR_CI:+TEST='breaker connect events fork levers lifecycle pool queries schedules shared signals stats tls waits'}
step single 3 check-single
step install 4 check-install
step long 15 checks VARIANT=werror WERROR=1 CHECK='deadlines names siege soak stress'
step stress 8 checks VARIANT=tsan CHECK=stress

# These are not about time.
unhurried() {
    perform static 8 static
    perform schedules 20 test THREADS=c11 TLS=1 WERROR=1 TEST=schedules TEST_TIMEOUT=1100 FALKOR_TEST_PREEMPTIONS=2
}
beside unhurried
step proof 8 checks VARIANT=werror WERROR=1 CHECK=proof
step mutants 12 mutants
step drivers 6 drivers VARIANT=werror WERROR=1
step metrics 6 metrics
joined
step valgrind 8 valgrind
step coverage 9 coverage
step cross 30 "cross${FALKOR_CI:+-quick}"
step parts 8 "parts${FALKOR_CI:+-quick}"
FUZZ_SECONDS=4 step fuzz 5 fuzz

printf '\n== code size at -Os\n'
test/size.sh

echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
