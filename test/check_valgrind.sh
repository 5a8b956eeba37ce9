#!/usr/bin/env bash
# The library under valgrind: memcheck on the default build, helgrind and DRD on threaded tests of a build without what these
# two cannot see (VARIANT=valgrind). The rest of their false alarms, with reasons, is in test/valgrind.supp. One program under
# one tool is one test; the last line is `N passed, N failed`. usage: test/check_valgrind.sh [memcheck|helgrind|drd...]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
BUILD=${BUILD:-build} JOBS=${VALGRIND_JOBS:-$(nproc)}
LOGS=$BUILD/valgrind/log
unset MAKEFLAGS MAKELEVEL MFLAGS VARIANT TEST ONLY
export FALKOR_SERVER_SH=$PWD/test/server.sh FALKOR_STRESS_SECONDS=${FALKOR_STRESS_SECONDS:-5}

# A tool's programs, the longest first; a pattern behind a colon chooses tests by name.
MEMCHECK='test_shared test_pipeline test_events test_safety test_resp3 test_plan'
HELGRIND='test_pool check_stress test_shared'
DRD='test_pipeline check_stress test_shared'
OPTIONS=(--error-exitcode=99 --suppressions=test/valgrind.supp --gen-suppressions=all)

# one TOOL:PROGRAM[:PATTERN]
one() {
    local tool program pattern log folder=$BUILD/valgrind status=0 start=$SECONDS
    IFS=: read -r tool program pattern <<<"$1"
    log=$LOGS/$tool-$program.log
    local options=("${OPTIONS[@]}")
    # Where a call was followed into its function, an access of that one's first instruction bears the caller's name.
    case $tool in
        memcheck) folder=$BUILD options+=(--leak-check=full "--errors-for-leak-kinds=definite,indirect") ;;
        helgrind) options+=(--history-level=approx --vex-guest-chase=no) ;;
        drd) options+=(--vex-guest-chase=no) ;;
    esac
    FALKOR_OUT=$PWD/$folder timeout --foreground -k 10 "${VALGRIND_TIMEOUT:-300}" valgrind --tool="$tool" "${options[@]}" \
        "$folder/test/$program" ${pattern:+"$pattern"} </dev/null >"$log" 2>&1 || status=$?
    [ "$(grep -c '^\[       OK \]' "$log")" != 0 ] || status=${status/#0/1}
    printf '%-6s %-28s %4d tests, %d s\n' "$([ "$status" = 0 ] && echo ok || echo FAILED)" "$tool $program" \
        "$(grep -c '^\[       OK \]' "$log")" $((SECONDS - start))
    if [ "$status" = 0 ]; then echo "$1" >>"$LOGS/passed" && return; fi
    grep -v -E '^\[ RUN |^\[       OK ' "$log" | head -n 60 | sed 's/^/    /'
}

if [ "${1:-}" = --one ]; then one "$2"; exit; fi
if [ "${1:-}" = --all ]; then
    printf '%s\n' "${@:2}" | xargs -P "$JOBS" -n 1 test/check_valgrind.sh --one
    exit
fi

test/deps.sh tools || { echo '0 passed, 1 failed'; exit 1; }
TOOLS=("$@") WORK=()
[ $# != 0 ] || TOOLS=(memcheck helgrind drd)
for tool in "${TOOLS[@]}"; do
    programs=${tool^^}
    for program in ${!programs}; do WORK+=("$tool:$program"); done
done
rm -rf "$LOGS"
mkdir -p "$LOGS"
: >"$LOGS/passed"
# shellcheck disable=SC2046,SC2059,SC2086
if ! { make -j"$JOBS" ${MEMCHECK//test_/$BUILD/test/test_} &&
    make -j"$JOBS" VARIANT=valgrind $(printf "$BUILD/valgrind/test/%s " $HELGRIND $DRD); } >"$LOGS/make.log" 2>&1; then
    tail -n 20 "$LOGS/make.log"
    echo '0 passed, 1 failed'
    exit 1
fi
test/server.sh run test/check_valgrind.sh --all "${WORK[@]}"
PASSED=$(wc -l <"$LOGS/passed")
FAILED=$((${#WORK[@]} - PASSED))
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
