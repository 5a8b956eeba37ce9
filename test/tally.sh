#!/usr/bin/env bash
# For scripts that are tests: `one NAME COMMAND...` runs a case, says how it went, and what it printed where it failed; `tally`
# counts those of all subshells, prints `N passed, M failed` and returns whether all is well. DIR is a folder that goes with the
# script; what else is to be undone goes into a function `undo`.
DIR=$(mktemp -d "${TMPDIR:-/tmp}/falkor-tally.XXXXXX")
LOG=$DIR/log
undo() { :; }
trap 'undo; rm -rf "$DIR"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

one() {
    local name=$1
    shift
    if "$@" >"$LOG" 2>&1 </dev/null; then
        printf 'ok     %s\n' "$name" | tee -a "$DIR/tally"
    else
        printf 'FAILED %s: %s\n' "$name" "$*" | tee -a "$DIR/tally"
        tail -n 30 "$LOG" | sed 's/^/    /'
    fi
}

tally() {
    local passed failed
    passed=$(grep -c '^ok ' "$DIR/tally") failed=$(grep -c '^FAILED ' "$DIR/tally")
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" != 0 ]
}

# readme_block NAME: the block of README whose first line is a comment with just that name, without that line.
readme_block() {
    awk -v name="$1" '/^```/ { on = 0 } on { print } $0 == "/* " name " */" || $0 == "// " name { on = 1 }' README.md
}
