#!/usr/bin/env bash
# Shows that the tests find bugs: each patch of test/mutants/ is a small mistake in the library, put into a copy of the sources,
# and the test that its head names must fail there. A patch begins with three lines:
#     shows: A4, mistake 5        rows of REQUIREMENTS.md, mistakes of FACTS.md section 5
#     breaks: what is wrong now, in one sentence
#     test: PROGRAM PATTERN       test/PROGRAM.c, the tests whose names match
# Without the patch those tests must pass. A patch that does not apply or compile is a failure: it is to be written anew. The
# last line is `N passed, N failed`. usage: test/mutants.sh [NAME...], names of patches without .patch; all without one, or, with
# MUTANTS_QUICK=1, every third.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
export BUILD MUTANTS=$BUILD/mutants FALKOR_SERVER_SH=$PWD/test/server.sh FALKOR_PROOF_SECONDS=15
LIMIT=${MUTANT_TIMEOUT:-120} JOBS=$(nproc)
unset MAKEFLAGS MAKELEVEL MFLAGS VARIANT THREADS TEST ONLY

# The library's own assertions are in, and nobody waits long for what does not come.
FLAGS=(CFLAGS=-O1 'CPPFLAGS=-DFALKOR_DEBUG -DTEST_PATIENCE_MS=8000' OUT=out BUILD="$BUILD")

field() { sed -n "s/^$1: //p;/^---/q" "$2" | head -n 1; }
now() { date +%s.%N; }
since() { awk "BEGIN { printf \"%.1f\", $(now) - $1 }"; }

# compile FOLDER PROGRAM...: test programs, as many as there are sources for.
compile() {
    local folder=$1
    shift
    make -s -k -j"$JOBS" -C "$folder" "${FLAGS[@]}" "${@/#/out/test/}" >"$folder/make.log" 2>&1
}

# perform FOLDER PROGRAM PATTERN: its exit status; 99 when no test has that name. What it says is in test.log.
perform() {
    local log=$1/test.log status=0
    (cd "$1" && timeout -k 5 "$LIMIT" "out/test/$2" "$3" </dev/null) >"$log" 2>&1 || status=$?
    [ -x "$1/out/test/$2" ] && { grep -q '^\[ RUN ' "$log" || [ $status != 0 ]; } || status=99
    return $status
}

# why STATUS LOG: what a failed test complained of first, in one line.
why() {
    local word
    case $1 in 124 | 137) echo "no end within $LIMIT s"; return ;; 99) echo "no such test"; return ;; esac
    word=$(awk '
        sub(/^thread [0-9]+: /, "") || / hangs: / { print; exit }
        sub(/.*Assertion `/, "") { sub(/. failed\.$/, ""); print "law: " $0; exit }
        /^\[  ERROR   \] --- \[   LINE/ { print before; exit }
        sub(/^\[  ERROR   \] --- /, "") { what = $0; getline; sub(/:$/, "", $5); print what " (" $5 ")"; exit }
        sub(/^ERROR: /, "") || 1 { before = $0 }' "$2")
    echo "${word:-ended with status $1}"
}

# try PATCH: one mutant, and a line about it. A race may be lost by chance: a mutant that passes is tried once more.
try() {
    local patch=$1 name=${1##*/} folder shows breaks program pattern status=0 start
    name=${name%.patch} folder=$MUTANTS/$name start=$(now)
    shows=$(field shows "$patch") breaks=$(field breaks "$patch")
    read -r program pattern < <(field test "$patch")
    say() { printf '%-6s  %-16s %s\n        %s %s: %s (%s s)\n' "$1" "$shows" "$breaks" "$program" "$pattern" "$2" "$(since "$start")"; }
    rm -rf "$folder"
    cp -a "$MUTANTS/base" "$folder"
    if ! (cd "$folder" && GIT_CEILING_DIRECTORIES=$MUTANTS git apply "$patch") >"$folder/apply.log" 2>&1; then
        say BROKEN "the patch does not apply: $(head -n 1 "$folder/apply.log")"
        return 1
    fi
    if ! compile "$folder" "$program"; then
        say BROKEN "does not compile: $(grep -m 1 error "$folder/make.log")"
        return 1
    fi
    perform "$folder" "$program" "$pattern" && perform "$folder" "$program" "$pattern" || status=$?
    case $status in
        0) say MISSED "the tests pass" ;;
        99) say MISSED "$(why 99)" ;;
        *) say caught "$(why $status "$folder/test.log")" && rm -rf "${folder:?}/out" ;;
    esac
    [ $status != 0 ] && [ $status != 99 ]
}

# sound PROGRAM PATTERN: the tests pass where nothing is broken; on a busy machine perhaps at the second try.
sound() {
    local folder=$MUTANTS/sound-$1-${2//[^a-z_0-9]/+} status=0
    mkdir -p "$folder"
    ln -sfn "$MUTANTS/base/out" "$folder/out"
    perform "$folder" "$1" "$2" || perform "$folder" "$1" "$2" || status=$?
    [ $status != 0 ] || return 0
    printf 'FAILED  %s %s without a mutation: %s\n' "$1" "$2" "$(why $status "$folder/test.log")"
    return 1
}

case ${1:-} in
    --try) try "$2" && echo "$2" >>"$MUTANTS/caught"; exit ;;
    --sound) read -r program pattern <<<"$2" && sound "$program" "$pattern" && echo "$2" >>"$MUTANTS/sound"; exit ;;
esac

# each OPTION: this script for each line of its input, as many at once as there are processors.
each() { tr '\n' '\0' | xargs -0 -P "$JOBS" -I '{}' "$PWD/test/mutants.sh" "$1" '{}'; }

# unshown PATCH...: rows and mistakes that no patch names.
unshown() {
    local want all
    all=", $(sed -n 's/^shows: //p' "$@" | paste -sd, | sed 's/, */, /g'),"
    for want in A{1..26} "mistake "{1..13}; do
        case $all in *", $want,"*) ;; *) echo "$want" ;; esac
    done
}

trap 'exit 130' INT
PATCHES=("${@/%/.patch}")
PATCHES=("${PATCHES[@]/#/$PWD/test/mutants/}")
[ $# != 0 ] || PATCHES=("$PWD"/test/mutants/*.patch)
EVERY=("${PATCHES[@]}")
[ -z "${MUTANTS_QUICK:-}" ] || for i in "${!PATCHES[@]}"; do [ $((i % 3)) = 0 ] || unset "PATCHES[i]"; done
rm -rf "$MUTANTS"
mkdir -p "$MUTANTS/base/test"
cp -p ./*.c ./*.h Makefile "$MUTANTS/base"
cp -p test/*.c test/*.h test/*.sh test/versions.lock "$MUTANTS/base/test"
mapfile -t TESTS < <(for p in "${PATCHES[@]}"; do field test "$p"; done | sort -u)
mapfile -t PROGRAMS < <(printf '%s\n' "${TESTS[@]}" | cut -d' ' -f1 | sort -u)
test/server.sh get 2>"$MUTANTS/server.log" && compile "$MUTANTS/base" "${PROGRAMS[@]}"
if [ ! -e "$MUTANTS/base/out/libfalkorpool.a" ]; then
    tail -n 20 "$MUTANTS"/*.log "$MUTANTS"/base/*.log
    echo '0 passed, 1 failed'
    exit 1
fi

: >"$MUTANTS/sound"
: >"$MUTANTS/caught"
printf '%s\n' "${TESTS[@]}" | each --sound
SOUND=$(wc -l <"$MUTANTS/sound")
printf '%s\n' "${PATCHES[@]}" | each --try
CAUGHT=$(wc -l <"$MUTANTS/caught")
MISSED=$((${#PATCHES[@]} - CAUGHT))
LACK=()
[ $# != 0 ] || mapfile -t LACK < <(unshown "${EVERY[@]}")
[ ${#LACK[@]} = 0 ] || printf 'FAILED  no patch shows %s\n' "${LACK[@]}"
FAILED=$((${#TESTS[@]} - SOUND + MISSED + ${#LACK[@]}))
echo "$CAUGHT caught, $MISSED missed"
echo "$((CAUGHT + SOUND)) passed, $FAILED failed"
[ "$FAILED" = 0 ]
