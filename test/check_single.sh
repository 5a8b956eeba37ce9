#!/usr/bin/env bash
# The single header in every way that a program can include it, with each compiler that is here, and README's programs of it,
# each of which asks the real server: test/server.sh run test/check_single.sh. It wants $BUILD/falkorpool.h. The last line is
# `N passed, M failed`.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# shellcheck source-path=SCRIPTDIR source=tally.sh
. test/tally.sh
BUILD=${BUILD:-build}

# shellcheck disable=SC2206
STRICT=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -pthread ${CPPFLAGS:-} -I"$BUILD")
# shellcheck disable=SC2206
LIBS=(-pthread ${LDFLAGS:-} -lhiredis)
PUBLIC=$(test/audit.sh --names)
IMPLEMENTATION='#define FALKORPOOL_IMPLEMENTATION'
HEADER='#include "falkorpool.h"'

# Programs write into a graph of their own.
for name in app.c falkorpool.c app.cpp; do
    readme_block "$name" | sed 's/"social"/"check_single"/' >"$DIR/$name"
done
grep -v "^$IMPLEMENTATION" "$DIR/app.c" >"$DIR/user.c"
sed '1i #define FALKOR_STATIC' "$DIR/app.c" >"$DIR/private.c"
echo 'int one(void); int two(void); int main(void) { return one() || two(); }' >"$DIR/both.c"

# unit LINE...: a C file of these lines behind each other; its name.
unit() {
    local file
    file=$(mktemp "$DIR/unit.XXXXXX.c")
    printf '%s\n' "$@" >"$file"
    echo "$file"
}

# says TEXT COMMAND...: just that.
says() { [ "$("${@:2}" 2>&1 | tee /dev/stderr)" = "$1" ]; }
# names FILE TEXT: the names that it shows to others are just these.
names() { diff <(nm -g --defined-only "$1" | sed 's/.* //' | sort) <(echo "$2"); }
exports() { diff <(nm -D --defined-only "$1" | sed 's/.* //' | sort) <(echo "$2"); }
# refused TEXT COMMAND...: it fails, and this is the one error that it tells of.
refused() {
    local said
    said=$("${@:2}" 2>&1) && echo "not refused" && return 1
    echo "$said"
    grep -qF "$1" <<<"$said" && [ "$(grep -c 'error: ' <<<"$said")" = 1 ]
}
# built PROGRAM COMMAND...: made by the command, without a word, it queries.
built() { "${@:2}" -o "$1" && says Ada "$1"; }

# inclusion CC: what order and macros make of it. Most system headers come first where one does.
LATE=("#include <stdio.h>" "#include <string.h>" "#include <stdlib.h>" "#include <time.h>" "#include <unistd.h>"
    "#include <pthread.h>" "#include <poll.h>" "#include <netdb.h>" "#include <sys/socket.h>")
inclusion() {
    local cc=$1 late first twice
    late=$(unit "${LATE[@]}" "$IMPLEMENTATION" "$HEADER")
    first=$(unit "$IMPLEMENTATION" "$HEADER" "${LATE[@]}" "$HEADER")
    twice=$(unit "$HEADER" "$IMPLEMENTATION" "$HEADER")
    for dialect in c11 gnu11 c2x; do
        one "$cc: included first, -std=$dialect" "$cc" -std=$dialect "${STRICT[@]}" -fsyntax-only "$first"
    done
    one "$cc: late, -std=gnu11" "$cc" -std=gnu11 "${STRICT[@]}" -fsyntax-only "$late"
    one "$cc: late, -D_GNU_SOURCE" "$cc" -std=c11 -D_GNU_SOURCE "${STRICT[@]}" -fsyntax-only "$late"
    one "$cc: late, -D_DEFAULT_SOURCE" "$cc" -std=c11 -D_DEFAULT_SOURCE "${STRICT[@]}" -fsyntax-only "$late"
    one "$cc: late, -std=c11" refused "include falkorpool.h first of all" \
        "$cc" -std=c11 "${STRICT[@]}" -fsyntax-only "$late"
    one "$cc: the macro behind the header" refused "include falkorpool.h first of all" "$cc" -std=c11 "${STRICT[@]}" \
        -fsyntax-only "$(unit "${LATE[@]}" "#define _GNU_SOURCE" "$IMPLEMENTATION" "$HEADER")"
    one "$cc: declarations first, -std=c11" refused "include falkorpool.h first of all" \
        "$cc" -std=c11 "${STRICT[@]}" -fsyntax-only "$twice"
    one "$cc: declarations first, -std=gnu11" "$cc" -std=gnu11 "${STRICT[@]}" -fsyntax-only "$twice"
    one "$cc: FALKOR_STATIC alone" refused "define FALKORPOOL_IMPLEMENTATION too" \
        "$cc" -std=c11 "${STRICT[@]}" -fsyntax-only "$(unit "#define FALKOR_STATIC" "$HEADER")"
    one "$cc: FALKOR_STATIC late" refused "define FALKOR_STATIC where this file first includes" "$cc" -std=gnu11 \
        "${STRICT[@]}" -fsyntax-only "$(unit "$HEADER" "#define FALKOR_STATIC" "$IMPLEMENTATION" "$HEADER")"
    one "$cc: FALKOR_STATIC and FALKOR_API" refused "define FALKOR_STATIC or FALKOR_API, not both" "$cc" -std=c11 \
        "${STRICT[@]}" -fsyntax-only "$(unit "#define FALKOR_STATIC" "#define FALKOR_API" "$IMPLEMENTATION" "$HEADER")"
    if echo '#include <openssl/ssl.h>' | "$cc" "${STRICT[@]}" -fsyntax-only -x c - 2>/dev/null; then
        one "$cc: FALKOR_TLS" "$cc" -std=c11 -DFALKOR_TLS "${STRICT[@]}" -fsyntax-only "$first"
    fi
}

# programs CC CXX: each runs.
programs() {
    local cc=$1 cxx=$2 dir=$DIR/$1 strict=(-std=c11 "${STRICT[@]}") exported=(-DFALKOR_API='__attribute__((visibility("default")))')
    mkdir "$dir"
    one "$cc: one unit" built "$dir/app" "$cc" "${strict[@]}" "$DIR/app.c" "${LIBS[@]}"
    one "$cc: the implementation" "$cc" "${strict[@]}" -c "$DIR/falkorpool.c" -o "$dir/falkorpool.o"
    one "$cc: its names are the public functions" names "$dir/falkorpool.o" "$PUBLIC"
    one "$cc: two units" built "$dir/two" "$cc" "${strict[@]}" "$DIR/user.c" "$dir/falkorpool.o" "${LIBS[@]}"

    one "$cc: FALKOR_STATIC" "$cc" "${strict[@]}" -Dmain=one -c "$DIR/private.c" -o "$dir/one.o"
    objcopy --redefine-sym one=two "$dir/one.o" "$dir/two.o"
    one "$cc: FALKOR_STATIC, -O2" "$cc" "${strict[@]}" -O2 -c "$DIR/private.c" -o "$dir/optimized.o"
    one "$cc: FALKOR_STATIC shows nothing" names "$dir/one.o" one
    one "$cc: a library in each of two units" "$cc" "$DIR/both.c" "$dir/one.o" "$dir/two.o" "${LIBS[@]}" -o "$dir/both"
    one "$cc: both query" says $'Ada\nAda' "$dir/both"

    one "$cc: a unit without a call, FALKOR_STATIC" "$cc" "${strict[@]}" -o "$dir/unused.o" \
        -c "$(unit "#define FALKOR_STATIC" "$IMPLEMENTATION" "$HEADER")"
    one "$cc: FALKOR_API" "$cc" "${strict[@]}" -fPIC -shared -fvisibility=hidden "${exported[@]}" "$DIR/falkorpool.c" "${LIBS[@]}" \
        -o "$dir/libapi.so"
    one "$cc: FALKOR_API exports the public functions" exports "$dir/libapi.so" "$PUBLIC"

    command -v "$cxx" >/dev/null || { echo "note: no $cxx here"; return; }
    for dialect in c++17 c++20; do
        one "$cxx: -std=$dialect beside $cc" built "$dir/$dialect" "$cxx" -std=$dialect "${STRICT[@]}" "${exported[@]}" \
            "$DIR/app.cpp" "$dir/falkorpool.o" "${LIBS[@]}"
    done
    one "$cxx: the implementation is C" refused "belongs in a C file" "$cxx" "${STRICT[@]}" -fsyntax-only -x c++ "$DIR/falkorpool.c"
}

# side CC CXX: all of it, beside the other.
side() {
    local LOG=$DIR/$1.log
    command -v "$1" >/dev/null || { echo "note: no $1 here"; return; }
    inclusion "$1"
    programs "$1" "$2"
}
side clang clang++ >"$DIR/clang.out" 2>&1 &
side gcc g++
wait
cat "$DIR/clang.out"
tally
