#!/usr/bin/env bash
# Runs fuzzers for a while each: test/fuzz.sh PROGRAM... FUZZ_SECONDS (30) is the time of one. What crashes or hangs one is
# kept in $BUILD/fuzz. The last line is `N passed, N failed`.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
SECONDS_EACH=${FUZZ_SECONDS:-30} PASSED=0 FAILED=0 CHILD=''
trap '[ -z "$CHILD" ] || kill -TERM "$CHILD" 2>/dev/null' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

for program; do
    log=$program.log status=0
    timeout -k 10 $((SECONDS_EACH + 120)) "$program" -max_total_time="$SECONDS_EACH" -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="$program-" >"$log" 2>&1 &
    CHILD=$!
    wait "$CHILD" || status=$?
    CHILD=''
    runs=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$log")
    if [ $status = 0 ] && [ "${runs:-0}" -gt 1000 ]; then
        PASSED=$((PASSED + 1))
        printf 'ok     %-28s %s runs\n' "${program##*/}" "$runs"
    else
        FAILED=$((FAILED + 1))
        printf 'FAILED %s: exit status %s\n' "${program##*/}" $status
        tail -n 60 "$log" | sed 's/^/    /'
    fi
done
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ] && [ "$PASSED" != 0 ]
