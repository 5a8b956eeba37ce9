#!/usr/bin/env bash
# Runs benchmark programs one after another against one private server, RUNS times (1), and makes of their rows a table, on
# standard output, and $BUILD/bench.json: test/bench.sh PROGRAM... BENCH_QUICK=1 makes each shorter. With several runs a
# figure is the median of theirs, and so is what is held against the goal. A goal that is missed is a row that says so, not
# a failure; a program that fails is one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
BUILD=${BUILD:-build} RUNS=${RUNS:-1} OUT=${OUT:-$BUILD}

if [ -z "${BENCH_ROWS:-}" ]; then       # the outer one: everything below runs beside the server
    mkdir -p "$BUILD"
    rows=$(mktemp "${TMPDIR:-/tmp}/falkor-bench.XXXXXX")
    trap 'rm -f "$rows"' EXIT
    BENCH_ROWS=$rows test/server.sh run "${BASH_SOURCE[0]}" "$@"
    exit
fi

start=$SECONDS
for ((run = 1; run <= RUNS; run++)); do
    for program; do
        printf '\n== %s, run %d of %d, %d s gone\n' "$(basename "$program")" "$run" "$RUNS" $((SECONDS - start)) >&2
        timeout --foreground -k 10 "${BENCH_TIMEOUT:-300}" "$program"
    done
done

machine=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sort -u | head -n 1)
compiler=$(${CC:-cc} --version | head -n 1)
awk -F '\t' -v json="$BUILD/bench.json" -v runs="$RUNS" -v seconds=$((SECONDS - start)) -v quick="${BENCH_QUICK:-0}" \
    -v machine="${machine:-unknown}" -v processors="$(nproc)" -v kernel="$(uname -srm)" -v compiler="$compiler" \
    -v day="$(date -u +%F)" -v commit="$(git describe --always --dirty 2>/dev/null || echo unknown)" -f test/bench.awk "$BENCH_ROWS"
