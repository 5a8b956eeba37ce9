#!/usr/bin/env bash
# Which tests show what. A line "/* A13, A4 */" directly above a test names the rows that it shows: A1 to A26, C1 to C6,
# D1 to D6, E11 to E13 and F of the requirements, M1 to M13 the mistakes that pools made before, R1 to R14 redis-py's own cases (below);
# other rows may be named too. Prints the table; with --check only what is wrong with it: a row that has no test, a line above nothing, a
# test that its program does not run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

cat_rows() {
    cat <<'END'
A1 never more than max_size connections
A2 min_size, ranges
A3 acquire blocks until its timeout
A4 waiters first in, first out
A5 idle connections last in, first out
A6 dialled outside the lock; a failed dial wakes one
A7 create, open
A8 close, free
A9 timeouts, keepalive
A10 one worker, asleep until the next event
A11 three tiers of health check
A12 lifetime with jitter, idle timeout
A13 reserve
A14 max_waiters
A15 three ways to hold
A16 levers
A17 utilisation warning
A18 leaks
A19 configuration, no secrets
A20 schema
A21 shared pools
A22 fork
A23 a second release is refused
A24 a half read connection is closed
A25 drivers
A26 grows and shrinks
C1 back-off with jitter
C2 what is retried, and what not
C3 no write is sent twice
C4 one deadline a call
C5 circuit breaker
C6 retries are told of; final errors explain
D1 counters
D2 times, as percentiles
D3 as JSON, for Prometheus, as tables
D4 a verdict with reasons
D5 events
D6 tracing
E11 a server killed and started under load
E12 connections under load
E13 what checks cost
F environment and URL
M1 a late reply reached the next user
M2 a connection one reply behind passes a PING
M3 a failed dial wakes nobody
M4 a waiter that times out swallows a signal
M5 barging starves the longest waiter
M6 a return between check and enqueue is lost
M7 a slot freed twice or never
M8 dials queue behind a mutex
M9 a connect stampede; more than max while others close
M10 a forked child shuts the parent's socket
M11 clock jumps
M12 a callback re-enters the pool under its lock
M13 a double release; close does not wake waiters
R1 blocks until timeout
R2 blocks until another thread releases
R3 reuses the released connection
R4 timeout 0 fails at once
R5 a foreign release changes nothing
R6 no credentials in any text
R7 bad URL values are errors
R8 a connect error leaves nothing in the pool
R9 read-only, OOM, LOADING, bad credentials
R10 the health check moves with every command
R11 fork: the child's close leaves the parent alive
R12 fork: the parent's close leaves the child usable
R13 fork: a release of the parent's changes no count
R14 fork: the pool works in both
END
}

# "ROW TEST" for each pair; "WRONG: ..." for what is wrong with a file.
pairs() {
    awk '
    FNR == 1 { rows = "" }
    /^\/\* [A-FMR][0-9]*(, [A-FMR][0-9]*)* \*\/$/ {
        if (rows != "") print "WRONG: " FILENAME ":" FNR ": rows above rows"
        rows = $0; gsub(/^\/\* | \*\/$/, "", rows); next
    }
    match($0, /^static void test_[a-z0-9_]+\(/) {
        name = substr($0, 13, RLENGTH - 13); defined[name] = FILENAME
        count = split(rows, list, ", ")
        for (i = 1; i <= count; i++) print list[i], name
        rows = ""; next
    }
    match($0, /(cmocka_unit_test[a-z_]*\(|^ +[A-Z]+\()test_[a-z0-9_]+/) {
        name = substr($0, RSTART, RLENGTH); sub(/^.*\(/, "", name); run[name] = 1
    }
    rows != "" { print "WRONG: " FILENAME ":" FNR ": rows above no test"; rows = "" }
    END {
        for (name in defined) if (!run[name]) print "WRONG: " defined[name] ": " name " is never run"
        for (name in run) if (!defined[name]) print "WRONG: " name " is run and not there"
    }' test/test_*.c | sort
}

ALL=$(pairs)
WRONG=$(sed -n 's/^WRONG: //p' <<<"$ALL")
while read -r row what; do
    tests=$(sed -n "s/^$row \(.*\)/\1/p" <<<"$ALL")
    [ -n "$tests" ] || WRONG+="${WRONG:+$'\n'}$row ($what): no test shows it"
    [ "${1:-}" = --check ] || printf '%s  %s\n      %s\n' "$row" "$what" "${tests//$'\n'/$'\n'      }"
done < <(cat_rows)
while read -r row name; do
    case $row in
        [ACFMR]*) grep -q "^$row " <(cat_rows) || WRONG+="${WRONG:+$'\n'}$name: there is no row $row" ;;
    esac
done < <(grep -v '^WRONG' <<<"$ALL")
[ -z "$WRONG" ] || { printf '%s\n' "$WRONG" && exit 1; }
