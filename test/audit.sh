#!/usr/bin/env bash
# Every public function has a test that calls it against a real server and one that gives it bad input:
# test/audit.sh [--list | --names].
# For each function that pool.h declares it wants
#   - test_contract_NAME in test/test_contract.c, in that file's list of tests, which calls falkor_NAME: the place of bad input;
#   - a call in another test that talks to a server;
#   - a call in test/test_memory.c, in which memory ends;
# and it wants the library to define just the functions that pool.h declares. It says what is missing, or nothing; --list
# prints who calls what, --names just the functions of pool.h.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
LIB=${OUT:-${BUILD:-build}}/libfalkorpool.a
CONTRACT=test/test_contract.c
MISSING=0

complain() { echo "$*" && MISSING=1; }

# code FILE: its text without comments, and without what stands in quotes.
code() {
    LC_ALL=C awk '{
        out = ""
        for (i = 1; i <= length($0); i++) {
            one = substr($0, i, 1); two = substr($0, i, 2)
            if (comment) { if (two == "*/") { comment = 0; i++ } }
            else if (quote != "") { if (one == "\\") i++; else if (one == quote) quote = "" }
            else if (two == "/*") { comment = 1; i++ }
            else if (one == "\"" || one == "\047") quote = one
            else out = out one
        }
        print out
    }' "$1"
}

# declared: the functions of pool.h, one a line.
declared() {
    code pool.h | grep -Ev '^[[:space:]]|^(#|typedef|inline|static|template|extern)' |
        sed -nE 's/^[^(]*[ *](falkor_[a-z0-9_]+)\(.*/\1/p' | sort -u
}

# body NAME: the text of that test in the contract.
body() { awk -v name="static void $1(" 'index($0, name) == 1 { on = 1 } on { print } on && /^}/ { exit }' <<<"$TEXT"; }

if [ "${1:-}" = --names ]; then declared; exit; fi

TEXT=$(code "$CONTRACT")
SERVED=()
for file in test/serving.c $(grep -lE '(serving|fleet)_(start|pool)\(' test/test_*.c); do
    [ "$file" = "$CONTRACT" ] || SERVED+=("$file")
done

FUNCTIONS=$(declared)
[ "$(wc -w <<<"$FUNCTIONS")" -gt 40 ] || complain "pool.h: its functions were not found"
DEFINED=$(nm -g --defined-only "$LIB" | awk '$2 ~ /[TW]/ && $3 ~ /^falkor_[a-z]/ { print $3 }' | sort -u)
while read -r name; do
    complain "$name: only on one side of pool.h and $LIB"
done < <(comm -3 <(echo "$FUNCTIONS") <(echo "$DEFINED") | tr -d '\t')

SCARCE=$(code test/test_memory.c)
while read -r name; do
    complain "$name: asks for memory in a way that test/scarce.c does not know"
done < <(nm -u "$LIB" | awk '{ print $2 }' | grep -vx strdup |
    grep -xE '(__)?strn?dup|reallocarray|aligned_alloc|(posix_)?memalign|v?asprintf|open_memstream|getline')

declare -A CALLS
for file in "${SERVED[@]}"; do CALLS[$file]=$(code "$file"); done
for name in $FUNCTIONS; do
    test=test_contract_${name#falkor_} callers=''
    body "$test" | grep -qE "\b$name\(" || complain "$name: no $test in $CONTRACT that calls it"
    grep -qF "cmocka_unit_test($test)" <<<"$TEXT" || complain "$name: $test is not in the list of $CONTRACT"
    for file in "${SERVED[@]}"; do
        ! grep -qw "$name" <<<"${CALLS[$file]}" || callers+=" ${file#test/}"
    done
    grep -qw "$name" <<<"$SCARCE" || complain "$name: memory does not end in it in test/test_memory.c"
    [ -n "$callers" ] || complain "$name: no test calls it against a server but $CONTRACT"
    [ "${1:-}" != --list ] || printf '%-28s %s\n' "$name" "${callers# }"
done
exit $MISSING
