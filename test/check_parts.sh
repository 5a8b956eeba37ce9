#!/usr/bin/env bash
# The parts that can be left out (pool.h: FALKOR_WITHOUT_...): compiled without a warning in every combination (PARTS_QUICK=1:
# each alone, and all), each with just the functions that pool.h declares then; and the smallest library passes the tests that
# want none of what it lacks. Runs under test/server.sh run. The last line is `N passed, N failed`.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
BUILD=${BUILD:-build}
OUT=$BUILD/parts
PASSED=0 FAILED=0
PARTS=(STATISTICS JSON COMMANDS PIPELINES CURSORS URLS EVENTS MESSAGES BREAKER TOPOLOGY)
read -ra INCLUDE <<<"-I. $(sed -n 's/^DEPS_CPPFLAGS = //p' "$BUILD/deps.mk" 2>/dev/null)"
read -ra LINK <<<"$(sed -n 's/^DEPS_LDFLAGS = //p' "$BUILD/deps.mk" 2>/dev/null)"
WARNINGS=(-std=c11 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
mkdir -p "$OUT"
test/amalgamate.sh ./*.c >"$BUILD/falkorpool.h" || exit 1

# verdict NAME STATUS LOG
verdict() {
    if [ "$2" = 0 ]; then PASSED=$((PASSED + 1)) && return; fi
    FAILED=$((FAILED + 1))
    echo "FAILED $1"
    tail -n 20 "$3" | sed 's/^/    /'
}

# declared FLAG...: the functions that pool.h declares with these.
declared() {
    gcc -E -P "$@" pool.h | tr '\n' ' ' | tr ';{}' '\n\n\n' | grep -v typedef |
        sed -nE 's/^[^(]*[ *](falkor_[a-z0-9_]+)\(.*/\1/p' | sort -u
}
defined() { nm -g --defined-only "$1" | awk '$2 == "T" && $3 ~ /^falkor_[a-z]/ { print $3 }' | sort -u; }

# combination NUMBER: bit i leaves PARTS[i] out. In a process of its own, its log is empty where all is well.
combination() {
    local i status=0 flags=() object=$OUT/$1.o
    for i in "${!PARTS[@]}"; do
        [ $(($1 >> i & 1)) = 0 ] || flags+=("-DFALKOR_WITHOUT_${PARTS[i]}")
    done
    gcc "${WARNINGS[@]}" "${INCLUDE[@]}" -O0 "${flags[@]}" -DFALKORPOOL_IMPLEMENTATION -x c -c "$BUILD/falkorpool.h" -o "$object" &&
        diff <(declared "${flags[@]}") <(defined "$object") || status=$?
    rm -f "$object"
    return $status
}

# JSON (bit 1) is left out with STATISTICS (bit 0) only.
numbers() {
    local n
    for ((n = 0; n < 1 << ${#PARTS[@]}; n++)); do
        [ $((n & 3)) != 2 ] || continue
        if [ -n "${PARTS_QUICK:-}" ] && [ $((n & (n - 1))) != 0 ] && [ $n != 3 ] && [ $((n + 1 >> ${#PARTS[@]})) = 0 ]; then
            continue
        fi
        echo "$n"
    done
}

for n in $(numbers); do
    while [ "$(jobs -pr | wc -l)" -ge 2 ]; do wait -n; done
    { combination "$n" >"$OUT/$n.log" 2>&1 || echo "exit status $?" >>"$OUT/$n.log"; } &
done
wait
for n in $(numbers); do
    [ ! -s "$OUT/$n.log" ]
    verdict "combination $n" $? "$OUT/$n.log"
done
gcc "${INCLUDE[@]}" -DFALKOR_WITHOUT_JSON -fsyntax-only pool.h >"$OUT/log" 2>&1
[ $? != 0 ] && grep -q 'FALKOR_WITHOUT_STATISTICS' "$OUT/log"
verdict 'JSON wants STATISTICS' $? "$OUT/log"

ALL=("${PARTS[@]/#/-DFALKOR_WITHOUT_}")

# files PART...: the library without these, and the tests' helpers, as files of their own, for the programs that follow.
files() {
    ALL=("${@/#/-DFALKOR_WITHOUT_}")
    rm -f "$OUT"/*.[oa]
    # shellcheck disable=SC2016
    printf '%s\n' ./*.c test/{fake,testing,serving,replies,proxy,lateness}.c | xargs -P 2 -I{} bash -c 'file=$1; shift
        name=${file##*/}; exec "${@:2}" -c "$file" -o "$1/${name%.c}.o"' - {} "$OUT" gcc "${WARNINGS[@]}" "${INCLUDE[@]}" \
        -DFALKOR_DEBUG "${ALL[@]}" -O1 -g >"$OUT/log" 2>&1
    verdict "file by file without $*" $? "$OUT/log"
    ar rcs "$OUT/smallest.a" "$OUT"/*.o
}

# program SOURCE NAME
program() {
    gcc "${WARNINGS[@]}" "${INCLUDE[@]}" -DFALKOR_DEBUG "${ALL[@]}" -pthread -O1 -g "$1" "$OUT/smallest.a" "${LINK[@]}" -lhiredis -lcmocka \
        -lm -o "$OUT/$2" >"$OUT/log" 2>&1
}

# tested WHERE NAME...
tested() {
    local name status passed
    for name in "${@:2}"; do
        program "test/test_$name.c" "test_$name" && timeout --foreground -k 5 120 "$OUT/test_$name" </dev/null >"$OUT/log" 2>&1
        status=$?
        passed=$(grep -c '^\[       OK \] ' "$OUT/log")
        [ "$passed" != 0 ] || status=1
        verdict "test_$name $1" $status "$OUT/log"
        PASSED=$((PASSED + passed - (status == 0)))
    done
}

files "${PARTS[@]}"
cat >"$OUT/lacks.c" <<'END'
#include "pool.h"
#include <stdio.h>
#include <string.h>
static void hear(void *ctx, const falkor_event *event) { (void)ctx, (void)event; }
int main(void) {
    falkor_tracer tracer = {0};
    const falkor_options lacks[] = {{.url = "falkor://localhost"}, {.on_event = hear}, {.tracer = &tracer},
        {.graph = "g", .schema = (const char *const[]){"RETURN 1", NULL}}, {.cluster = "h"},
        {.sentinels = "h", .master_name = "m"}};
    for (size_t i = 0; i < sizeof lacks / sizeof *lacks; i++) {
        falkor_pool *pool;
        falkor_error error;
        if (falkor_pool_create(&lacks[i], &pool, &error) != FALKOR_ERR_ARGUMENT ||
            strcmp(error.message, falkor_status_text(FALKOR_ERR_ARGUMENT)) != 0)
            return printf("%zu: %s\n", i, error.message) > 0;
    }
    return 0;
}
END
program "$OUT/lacks.c" lacks && "$OUT/lacks" >"$OUT/log" 2>&1
verdict 'options of what is left out are refused, briefly' $? "$OUT/log"
program examples/smallest.c smallest && "$OUT/smallest" "${FALKOR_TEST_PORT:-6379}" >"$OUT/log" 2>&1 && grep -qx Ada "$OUT/log"
verdict 'examples/smallest' $? "$OUT/log"
tested 'on the smallest' retry clock waits

# These want to be told.
TOLD=()
for part in "${PARTS[@]}"; do [[ EVENTS,MESSAGES = *"$part"* ]] || TOLD+=("$part"); done
files "${TOLD[@]}"
tested 'on the smallest that tells' levers lifecycle
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
