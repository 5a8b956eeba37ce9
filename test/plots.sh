#!/usr/bin/env bash
# Measures with test/plot_curves.c beside a private server, simulates with test/plot_storm.c, which stands beside it, and draws what
# they found: test/plots.sh PROGRAM FOLDER. The figures
# stay in $BUILD/plots, the plots come into FOLDER. With REDRAW=1 it draws the figures of an earlier run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
DATA=${BUILD:-build}/plots

# machine, compiler: as they are called, without marks of registration.
machine() { sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sort -u | head -n 1 | sed 's/([RCTM]*)//g; s/  */ /g'; }
compiler() { ${CC:-cc} --version | head -n 1; }

measure() {
    rm -rf "$DATA"
    mkdir -p "$DATA"
    BENCH_ROWS=$DATA/server BENCH_QUICK=${BENCH_QUICK:-} timeout --foreground -k 10 300 test/server.sh run "$1" "$DATA"
    timeout --foreground -k 10 300 "${1%/*}/plot_storm" "$DATA"
    printf '%s, %d processors\n%s; %s; %s\n' "$(machine)" "$(nproc)" "$(compiler)" "$(cut -f 2 "$DATA/server")" \
        "$(date -u +%F)" >"$DATA/about"
}

[ $# = 2 ] || { echo 'usage: test/plots.sh PROGRAM FOLDER' >&2; exit 2; }
[ -n "${REDRAW:-}" ] || measure "$1"
mkdir -p "$2"
for plot in plots storm; do gnuplot -e "data = '$DATA'; plots = '$2'" "test/$plot.gnuplot"; done
ls -l "$2"/{throughput,waits,decode,storm}.svg
