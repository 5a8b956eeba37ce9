#!/usr/bin/env bash
# E10: how large the library is when it is built for size. Rows are of the form that test/bench.c gives them. A function
# has a section of its own here, so that a program gets only those that it calls; their sum is the library's code.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
BUILD=${BUILD:-build}

library=$BUILD/size/libfalkorpool.a program=$BUILD/size/examples/quickstart
# Nothing of a make that this runs under, whose flags and variables are another build's.
env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u OUT make -s VARIANT=size CFLAGS='-Os -ffunction-sections' \
    LDFLAGS=-Wl,--gc-sections "$library" "$program" >&2

# text FILE: bytes of all sections of code; all FILE: of what is not written to, unwind tables and constants included.
text() { size -A "$1" | awk '$1 ~ /^\.text/ { sum += $2 } END { print sum }'; }
all() { size -B "$1" | awk 'NR > 1 { sum += $1 } END { print sum }'; }

# row ID WORK BYTES [MOST]
row() {
    local goal=- met=-
    if [ -n "${4:-}" ]; then
        goal="<= $4" met=no
        [ "$3" -gt "$4" ] || met=yes
    fi
    printf '%-14s %-44s %10d bytes     %s %s\n' "$1" "$2" "$3" "${goal#-}" "${met#-}"
    [ -n "${BENCH_ROWS:-}" ] || return 0
    printf '%s\t%s\tbytes\t%s\t-\t-\t-\t-\t-\t%s\t%s\t-\n' "$1" "$2" "$3" "$goal" "$met" >>"$BENCH_ROWS"
}

row E10-text 'code of the library at -Os' "$(text "$library")" 65536
row E10-size 'the same, constants and unwind tables too' "$(all "$library")"
row E10-program 'code of examples/quickstart.c, linked' "$(text "$program")"
