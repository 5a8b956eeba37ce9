#!/usr/bin/env bash
# The library as tools see it that do not run it: clang-tidy (.clang-tidy), cppcheck, gcc -fanalyzer, clang -Wthread-safety on
# both thread layers. One finding fails a file. Each file counts once for each tool; the last line is `N passed, N failed`.
# usage: test/check_static.sh [tidy|cppcheck|analyzer|locks...]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
BUILD=${BUILD:-build} JOBS=${STATIC_JOBS:-$(nproc)}
LOGS=$BUILD/static
# shellcheck disable=SC2086
read -ra FLAGS <<<"-std=c11 -I. ${DEPS_CPPFLAGS:-} ${TLS_CPPFLAGS:-} -DFALKOR_TLS"

# What other files promise; error.c makes the promise.
promised() { [ "$1" = error.c ] || echo "${2:-}-include ${2:-}test/analyzed.h"; }

# shellcheck disable=SC2046
tidy() { clang-tidy --quiet $(promised "$1" --extra-arg=) "$1" -- "${FLAGS[@]}"; }

# What the preprocessor finds in system headers, cppcheck is told.
cppcheck_() {
    cppcheck --quiet --std=c11 --enable=warning,performance,portability \
        --suppressions-list=test/cppcheck.txt --error-exitcode=1 -I. \
        -DFALKOR_TLS -D__linux__ -D__LP64__ -D__GNUC__ -DCLOCK_MONOTONIC=1 -DOPENSSL_VERSION_NUMBER=0x30000000L "$1"
}

# In params.c, where a buffer grows, gcc 12 sees a leak of `<unknown>`: memcheck and LeakSanitizer look for leaks there. The
# second time for what must not be dropped of the C library's answers, which it says of itself only so.
# shellcheck disable=SC2046
analyzer() {
    local leaks=()
    [ "$1" != params.c ] || leaks=(-Wno-analyzer-malloc-leak)
    gcc "${FLAGS[@]}" $(promised "$1") -O0 -Wall -Wextra -Werror -fanalyzer "${leaks[@]}" -c -o /dev/null "$1" &&
        gcc "${FLAGS[@]}" -O2 -D_FORTIFY_SOURCE=2 -Wall -Wextra -Werror=unused-result -c -o /dev/null "$1"
}

# (clang notes that gcc has the attributes, too, but not in their place.)
locks() {
    local layer
    for layer in -DFALKOR_CHECK_LOCKS -DFALKOR_C11_THREADS; do
        clang "${FLAGS[@]}" -DFALKOR_CHECK_LOCKS $layer -Werror -Wthread-safety -Wno-gcc-compat -fsyntax-only "$1" || return
    done
}

# one TOOL FILE: a line in $LOGS/results, and one printed only where there is a finding.
one() {
    local log=$LOGS/$1-${2%.c}.log call=$1
    [ "$1" != cppcheck ] || call=cppcheck_
    if "$call" "$2" >"$log" 2>&1; then echo "ok $1 $2" >>"$LOGS/results" && return; fi
    printf 'FAILED %s %s\n' "$1" "$2"
    grep -E '(warning|error|portability|performance):' "$log" | sort -u | head -n 10 | sed 's/^/    /'
    echo "FAILED $1 $2" >>"$LOGS/results"
}

if [ "${1:-}" = --one ]; then one "$2" "$3"; exit; fi

if ! test/deps.sh tools || ! test/deps.sh tls; then
    echo '0 passed, 1 failed'
    exit 1
fi
mkdir -p "$LOGS"
: >"$LOGS/results"
TOOLS=("$@")
[ $# != 0 ] || TOOLS=(tidy cppcheck analyzer locks)
FILES=$(printf '%s\n' *.c | wc -l) PASSED=0
for tool in "${TOOLS[@]}"; do
    start=$SECONDS
    printf '%s\n' *.c | xargs -P "$JOBS" -n 1 test/check_static.sh --one "$tool"
    passed=$(grep -c "^ok $tool " "$LOGS/results")
    PASSED=$((PASSED + passed))
    printf '%-6s %-28s %4d passed, %d failed, %d s\n' "$([ "$passed" = "$FILES" ] && echo ok || echo FAILED)" "$tool" \
        "$passed" $((FILES - passed)) $((SECONDS - start))
done
FAILED=$((FILES * ${#TOOLS[@]} - PASSED))
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
