#!/usr/bin/env bash
# How much code the library is at -Os, whole and without each part that can be left out: test/size.sh. CC chooses the compiler,
# and so the machine (CC=arm-linux-gnueabihf-gcc, after test/check_cross.sh armhf for hiredis' headers).
#
# What is counted: bytes of machine code, which are all sections .text* of one object that the single header makes with
# -Os -ffunction-sections; constants, messages among them, and unwind tables are told apart. "linked" is the code of
# examples/smallest.c, linked with --gc-sections, which keeps what it can reach: the program's own few bytes and the C library's
# start included, shared libraries not. Where the compiler is the one that README's figures are of, they must be within 2 % of
# these: the last line is `N passed, N failed`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
BUILD=${BUILD:-build} CC=${CC:-cc}
OUT=$BUILD/size-of
mkdir -p "$OUT"
test/amalgamate.sh ./*.c >"$BUILD/falkorpool.h"
PARTS=(STATISTICS JSON COMMANDS PIPELINES CURSORS URLS EVENTS MESSAGES BREAKER TOPOLOGY)
ALL=("${PARTS[@]/#/-DFALKOR_WITHOUT_}")
FLAGS=(-std=c11 -w -Os -ffunction-sections -fdata-sections -I.)
case ${CC##*/} in
    arm-*) FLAGS+=(-isystem "$BUILD/cross/armhf/lib/include") LIBS=("$BUILD"/cross/armhf/lib/hiredis/*.o) ;;
    riscv64-*) FLAGS+=(-isystem "$BUILD/cross/riscv64/lib/include") LIBS=("$BUILD"/cross/riscv64/lib/hiredis/*.o) ;;
    *) LIBS=(-lhiredis) ;;
esac

# sum FILE PATTERN: bytes of the sections that match.
sum() { size -A "$1" | awk -v p="$2" '$1 ~ p { sum += $2 } END { print sum + 0 }'; }

# compile FLAG...: the library as one object.
compile() { $CC "${FLAGS[@]}" "$@" -DFALKORPOOL_IMPLEMENTATION -x c -c "$BUILD/falkorpool.h" -o "$OUT/one.o"; }

# difference BYTES: to the whole, once that is known.
difference() {
    [ -n "$WHOLE" ] || return 0
    if [ "$1" -le "$WHOLE" ]; then echo "$((WHOLE - $1)) less"; else echo "$(($1 - WHOLE)) more"; fi
}

# row NAME FLAG...
row() {
    compile "${@:2}"
    CODE=$(sum "$OUT/one.o" '^[.]text')
    printf '%-44s %7d %7d  %s\n' "$1" "$CODE" "$(sum "$OUT/one.o" '^[.]rodata')" "$(difference "$CODE")"
}

# linked NAME FLAG...: behind a row with the same flags. The object of the library alone is what hiredis is taken off from.
linked() {
    if [[ ${LIBS[0]} != -* && ! -e ${LIBS[0]} ]]; then
        echo '  (what a program links: after `make cross`)'
        return
    fi
    $CC "${FLAGS[@]}" "${@:2}" -c examples/smallest.c -o "$OUT/smallest.o"
    $CC -pthread -Wl,--gc-sections -Wl,-Map="$OUT/map" "$OUT/smallest.o" "$OUT/one.o" "${LIBS[@]}" -lm -o "$OUT/smallest"
    printf '%-44s %7d\n' "$1" "$(awk '
        $1 ~ /^[.]text/ && NF == 1 { getline }
        /size-of\/one[.]o/ && text { sum += strtonum_hex($(NF - 1)) }
        /^[.]text/ { text = 1 } /^[.]fini/ { text = 0 }
        function strtonum_hex(h,    i, n) {
            h = tolower(substr(h, 3)); n = 0
            for (i = 1; i <= length(h); i++) n = n * 16 + index("0123456789abcdef", substr(h, i, 1)) - 1
            return n
        }
        END { print sum + 0 }' "$OUT/map")"
}

WHOLE=''
printf '%-44s %7s %7s\n' "$($CC -dumpmachine), $($CC --version | head -n 1 | cut -c1-24)" code constants
row 'everything'
WHOLE=$CODE
linked '  what a program of pool, query, result links'
for part in "${PARTS[@]}"; do
    if [ "$part" = JSON ]; then
        row 'without STATISTICS, JSON' -DFALKOR_WITHOUT_STATISTICS -DFALKOR_WITHOUT_JSON
    else
        row "without $part" "-DFALKOR_WITHOUT_$part"
    fi
done
row 'without all of them' "${ALL[@]}"
LEAST=$CODE
linked '  what a program of pool, query, result links' "${ALL[@]}"

[[ $($CC -dumpmachine)-$($CC -dumpversion) = x86_64-linux-gnu-12* ]] || exit 0
read -ra TLS_FLAGS <<<"$(sed -n 's/^TLS_CPPFLAGS = //p' "$BUILD/deps-tls.mk" 2>/dev/null)"
row 'with TLS (and OpenSSL)' -DFALKOR_TLS "${TLS_FLAGS[@]}"
PASSED=0 FAILED=0
# as_said BYTES NAME README-PATTERN
as_said() {
    local said
    said=$(sed -nE "s/^\\| $3 \\| (of )?([0-9 ]+[0-9])( are left| more)? .*/\\2/p" README.md | tr -d ' ')
    if [ -n "$said" ] && [ $((($1 - said) * 50)) -lt "$said" ] && [ $(((said - $1) * 50)) -lt "$said" ]; then
        PASSED=$((PASSED + 1)) && return
    fi
    FAILED=$((FAILED + 1))
    echo "FAILED $2: README says ${said:-nothing}, it is $1"
}
as_said "$WHOLE" everything nothing
as_said "$LEAST" 'the smallest' 'all of them'
as_said $((CODE - WHOLE)) TLS '`FALKOR_TLS`, which is added'
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
