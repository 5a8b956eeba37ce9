#!/usr/bin/env bash
# What `make check` does: the suite again as other tools see it, other ways to build and other machines, then the long programs.
# Every step counts its own tests; the last line is their sum. A step that cannot run is a failure, not a skip. FALKOR_CI=1 takes
# less of those that would not fit into 40 minutes.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
BUILD=${BUILD:-build}
PASSED=0 FAILED=0 CHILD='' LANE=''
unset MAKEFLAGS MAKELEVEL MFLAGS TEST ONLY
mkdir -p "$BUILD"

# What runs is a process group of timeout's; what runs beside ends its own.
end() {
    trap '' INT TERM HUP
    [ -z "$LANE" ] || kill -TERM "$LANE" 2>/dev/null
    [ -z "$CHILD" ] || kill -TERM -- "-$CHILD" 2>/dev/null
    wait
    exit "$1"
}
traps() {
    trap 'end 130' INT
    trap 'end 143' TERM HUP
}
traps

# perform NAME MINUTES MAKE-ARGUMENT...: a step, and its report. The last line of that is counted.
perform() {
    local name=$1 minutes=$2 log=$BUILD/check-$1.log passed='' failed='' status=0 start=$SECONDS
    shift 2
    timeout -k 30 "${minutes}m" make -j"$(nproc)" "$@" </dev/null >"$log" 2>&1 &
    CHILD=$!
    wait "$CHILD" || status=$?
    CHILD=''
    read -r passed failed < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1)
    grep -E '^(ok|FAILED|MISSED|BROKEN|note:) ' "$log"
    if [ "${failed:-0}" = 0 ] && { [ "${passed:-0}" = 0 ] || [ $status != 0 ]; }; then
        echo "FAILED $name ended with status $status, ${passed:-no} tests passed"
        failed=1
    fi
    [ "$failed" = 0 ] || tail -n 40 "$log" | sed 's/^/    /'
    printf '%s: %s passed, %s failed, %d s\n' "$name" "${passed:-0}" "$failed" $((SECONDS - start))
}

# count REPORT STEPS: a step without a last line has failed.
count() {
    local passed failed steps=0
    while read -r passed failed; do
        PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) steps=$((steps + 1))
    done < <(sed -n 's/^[a-z0-9]*: \([0-9]*\) passed, \([0-9]*\) failed, [0-9]* s$/\1 \2/p' "$1")
    FAILED=$((FAILED + $2 - steps))
}

step() {
    printf '\n== %s: make %s\n' "$1" "${*:3}"
    perform "$@" >"$BUILD/check.step"
    cat "$BUILD/check.step"
    count "$BUILD/check.step" 1
}

# beside FUNCTION: what it performs goes on in the background, with what others leave of the processors, until joined.
beside() {
    {
        CHILD=''
        traps
        renice -n 10 -p "$BASHPID" >/dev/null
        "$1"
    } >"$BUILD/check.beside" &
    LANE=$!
}
# joined STEPS: how many there were.
joined() {
    wait "$LANE"
    LANE=''
    printf '\n== beside these\n'
    cat "$BUILD/check.beside"
    count "$BUILD/check.beside" "$1"
}

test/deps.sh check || { echo '0 passed, 1 failed'; exit 1; }
export TEST_TIMEOUT=${TEST_TIMEOUT:-300}

# Whole where memory is looked at and on the other thread layer; elsewhere what the difference can touch: threads for the race
# detector, bytes and connections for another hiredis, a sample of everything for another compiler. All schedules with two
# preemptions are tried once.
export FALKOR_TEST_PREEMPTIONS=0
MORE_LONG=' soak stress'
[ -z "${FALKOR_CI:-}" ] || MORE_LONG=''
step asan 12 test VARIANT=asan SINGLE=1 TLS=1
step tsan 12 test VARIANT=tsan TLS=1 TEST='attempts breaker classes clock cluster commands connect cursor events faults fork
    indexes levers lifecycle load malice names pipecuts pipeline pool proof queries safety sentinel shared signals stats
    streaming tls waits'
step clang 8 test VARIANT=clang WERROR=1 TEST='commands json names options parameters pool queries reply resp3'
step hiredis1 8 test VARIANT=hiredis1 TLS=1 WERROR=1 TEST='attempts connect memory pipeline queries resp3 safety streaming
    tls'
step threads 14 test THREADS=c11 TLS=1 WERROR=1 \
    ${FALKOR_CI:+TEST='breaker connect events fork levers lifecycle pool queries schedules shared signals stats tls waits'}
step single 3 check-single
step install 4 check-install
step long 15 checks VARIANT=werror WERROR=1 CHECK="deadlines names siege${MORE_LONG}"
step stress 8 checks VARIANT=tsan CHECK=stress
step failover 14 checks VARIANT=werror WERROR=1 CHECK='failover partition'

# These are not about time.
unhurried() {
    perform static 8 static
    FUZZ_SECONDS=4 perform fuzz 8 fuzz
    perform schedules 20 test THREADS=c11 TLS=1 WERROR=1 TEST=schedules TEST_TIMEOUT=1100 FALKOR_TEST_PREEMPTIONS=2
}
beside unhurried
step proof 8 checks VARIANT=werror WERROR=1 CHECK=proof
step mutants 12 "mutants${FALKOR_CI:+-quick}"
step drivers 6 drivers VARIANT=werror WERROR=1
step metrics 6 metrics
step valgrind 8 valgrind
step coverage 9 coverage
step cross 30 "cross${FALKOR_CI:+-quick}"
step parts 8 "parts${FALKOR_CI:+-quick}"
step size 3 size
joined 3

echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
