#!/usr/bin/env bash
# Runs fuzzers for a while each, two at once (FUZZ_JOBS): test/fuzz.sh PROGRAM... FUZZ_SECONDS (60) is the time of one. Each
# begins with its corpus in test/corpus and goes on with what earlier runs here have found ($BUILD/fuzz/corpus). What crashes,
# hangs or swells one is kept, and said with how to play it again. The last line is `N passed, N failed`.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
SECONDS_EACH=${FUZZ_SECONDS:-60} JOBS=${FUZZ_JOBS:-2} BUILD=${BUILD:-build} PASSED=0 FAILED=0 RUNNING=0
trap 'exit 130' INT
trap 'exit 143' TERM HUP
trap 'kill -TERM $(jobs -pr) 2>/dev/null' EXIT
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=1:quarantine_size_mb=16}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

# one PROGRAM: a line about it; false: it failed. libFuzzer's own timer ends it; timeout is for one that hangs.
one() {
    local name=${1##*/} log=$1.log status=0 kept runs cov found=$BUILD/fuzz/corpus dict=()
    kept=test/corpus/${name#fuzz_}
    found=$found/${name#fuzz_}
    mkdir -p "$found"
    [ ! -e "$kept.dict" ] || dict=(-dict="$kept.dict")
    [ -d "$kept" ] || kept=
    trap 'kill -TERM $CHILD 2>/dev/null' EXIT
    trap 'exit 143' TERM HUP INT
    timeout -k 10 $((SECONDS_EACH + 120)) "$1" -max_total_time="$SECONDS_EACH" -timeout=20 -rss_limit_mb=1024 \
        -print_final_stats=1 -artifact_prefix="$1-" ${dict[@]+"${dict[@]}"} "$found" ${kept:+"$kept"} >"$log" 2>&1 &
    CHILD=$!
    wait "$CHILD" || status=$?
    trap - EXIT
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    cov=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
    if [ $status = 0 ] && [ "${runs:-0}" -gt 200 ]; then
        printf 'ok     %-20s %s runs, %s, peak %s MB\n' "$name" "$runs" "$cov" \
            "$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")"
        return
    fi
    printf 'FAILED %s: exit status %s\n' "$name" $status
    tail -n 60 "$log" | sed 's/^/    /'
    sed -n "s|^artifact_prefix=.*Test unit written to \(.*\)|the input is kept; again: $1 \1|p" "$log"
    return 1
}

collect() {
    while [ $RUNNING -gt "$1" ]; do
        if wait -n; then PASSED=$((PASSED + 1)); else FAILED=$((FAILED + 1)); fi
        RUNNING=$((RUNNING - 1))
    done
}

for program; do
    collect $((JOBS - 1))
    one "$program" &
    RUNNING=$((RUNNING + 1))
done
collect 0
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ] && [ "$PASSED" != 0 ]
