#!/usr/bin/env bash
# How much of the library (*.c of the top folder) the tests run: a build of its own with gcc's counters, most of the suite, a
# table by gcovr. Fails below 95 % of lines or 85 % of branches, and where test/uncovered.txt is not true: that file says of
# each function of which 3 lines or 8 branches are not run, why not. The last line is `N passed, N failed`. COVERAGE_TESTS names
# other programs.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
BUILD=${BUILD:-build}
OUT=$BUILD/coverage LINES_LEAST=95 BRANCHES_LEAST=85 LIST=test/uncovered.txt
PASSED=0 FAILED=0
unset MAKEFLAGS MAKELEVEL MFLAGS VARIANT TEST ONLY

# Without those that do for longer what others do: classes, faults, proof, schedules, waits.
TESTS=${COVERAGE_TESTS:-allocator attempts breaker cli clock cluster commands connect contract cursor events fork health
    indexes injection json levers lifecycle load malice memory names options parameters pipecuts pipeline plan pool
    queries reply resp3 retry safety sentinel shared stats streaming tls topology}

# said WHAT STATUS: a test of this script's own.
said() {
    if [ "$2" = 0 ]; then PASSED=$((PASSED + 1)); else FAILED=$((FAILED + 1)); fi
    printf '%-6s %s\n' "$([ "$2" = 0 ] && echo ok || echo FAILED)" "$1"
}

test/deps.sh tools || { echo '0 passed, 1 failed'; exit 1; }
mkdir -p "$OUT"
find "$OUT" -name '*.gcda' -delete
for file in "$OUT"/obj/test/test_*.gcno; do     # of programs that are not run now
    name=${file##*/test_}
    [[ " ${TESTS//$'\n'/ } " == *" ${name%.gcno} "* ]] || rm -f "${file%.gcno}".*
done
start=$SECONDS
make -j"$(nproc)" VARIANT=coverage TLS=1 TEST="$TESTS" test >"$OUT/test.log" 2>&1
status=$?
grep -E '^(FAILED|note:) ' "$OUT/test.log"
[ $status = 0 ] || tail -n 40 "$OUT/test.log" | sed 's/^/    /'
said "the suite with counters: $(tail -n 1 "$OUT/test.log"), $((SECONDS - start)) s" $status

start=$SECONDS
# The counts of a child that tells them before it ends do not add up: what gcov says of calls and returns is not looked at.
gcovr --gcov-ignore-parse-errors --root . --object-directory "$OUT/obj" --exclude-directories '.*/obj/examples' --filter '[a-z]+\.[ch]$' \
    --json "$OUT/coverage.json" --json-summary "$OUT/summary.json" --html-details "$OUT/coverage.html" "$OUT/obj" \
    >"$OUT/gcovr.log" 2>&1
said "gcovr, $((SECONDS - start)) s; lines and branches: $OUT/coverage.html" $?
test/coverage.py "$OUT/coverage.json" $LIST $LINES_LEAST $BRANCHES_LEAST | tee "$OUT/report.txt"
PASSED=$((PASSED + $(grep -c '^ok ' "$OUT/report.txt"))) FAILED=$((FAILED + $(grep -c '^FAILED ' "$OUT/report.txt")))
[ -s "$OUT/report.txt" ] || said "no report" 1
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
