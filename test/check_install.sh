#!/usr/bin/env bash
# What a stranger does with the library: installs, links, vendors, unpacks and removes it. README's program is built each way,
# and asks the real server: test/server.sh run test/check_install.sh. It wants what `make install` installs, built in $OUT. The
# tarball is of the last commit. The last line is `N passed, M failed`.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# shellcheck source-path=SCRIPTDIR source=tally.sh
. test/tally.sh
BUILD=${BUILD:-build} CC=${CC:-cc}
unset MAKEFLAGS MAKELEVEL MFLAGS LD_LIBRARY_PATH PREFIX LIBDIR MANDIR DESTDIR
umask 022
chmod 755 "$DIR"

# shellcheck disable=SC2206
FLAGS=(-Wall -Wextra -Werror ${CPPFLAGS:-})
# shellcheck disable=SC2206
LIBS=(${LDFLAGS:-} -lhiredis -pthread ${TLS:+-lssl -lcrypto})
AT=$DIR/opt LIB=$DIR/opt/lib
VERSION=$(awk '/^.define FALKOR_VERSION_[MP]/ { printf "%s%s", dot, $3; dot = "." }' pool.h)
SONAME=libfalkorpool.so.${VERSION%.*}          # until 1.0
export PKG_CONFIG_PATH=$LIB/pkgconfig

# The same program for each header that there is.
readme_block app.c | sed 's/"social"/"check_install"/' >"$DIR/single.c"
sed 1d "$DIR/single.c" | sed 's|"falkorpool.h"|"pool.h"|' >"$DIR/flat.c"
sed 's|"pool.h"|<falkorpool/pool.h>|' "$DIR/flat.c" >"$DIR/app.c"
awk 'on && /^\.Ed/ { exit } on { print } /^\.Bd -literal$/ { on = 1 }' man/falkorpool.3 |
    sed 's/\\e/\\/g; s/"social"/"check_install"/' >"$DIR/page.c"

make_at() { make --no-print-directory VARIANT="${VARIANT:-}" TLS="${TLS:-}" PREFIX="$AT" "$@"; }
listed() { (cd "$1" && find . ! -type d | sort); }
same() { diff <(listed "$1") <([ $# = 1 ] || printf '%s\n' "${@:2}" | sort); }
# linted PAGE: nothing is wrong with it; whether other pages are here is not its matter.
linted() { mandoc -W style -T lint "$1" 2>&1 | grep -vE 'referenced manual not found|outdated mandoc.db'; test $? = 1; }
# says TEXT COMMAND...: just that.
says() { [ "$("${@:2}" 2>&1 | tee /dev/stderr)" = "$1" ]; }
built() { "${@:2}" -o "$1" && says Ada env LD_LIBRARY_PATH="$LIB" "$1"; }
flags() { pkg-config "$@" falkorpool | sed 's/ *$//'; }
exports() { diff <(nm -D --defined-only "$1" | sed 's/.* //' | sort) <(test/audit.sh --names); }
dynamic() { readelf -d "$1" | grep -F "$2"; }
loads() { LD_LIBRARY_PATH=$LIB ldd "$1" | grep -F "$SONAME => $LIB/$SONAME"; }
lacks() { ! readelf -d "$1" | grep -F "$2"; }
# mentions PAGE WORD...: each, where the page's own marks are taken away.
mentions() {
    local text word missing=0
    text=$(mandoc -T ascii "$1" | sed 's/.\x08//g')
    for word in "${@:2}"; do
        grep -qwF -e "$word" <<<"$text" || { echo "$1 does not have $word"; missing=1; }
    done
    return $missing
}
options() {
    local help
    for help in "" bench stats; do
        # shellcheck disable=SC2086
        "$AT/bin/falkor-cli" $help --help
    done | grep -oE '^ {2,6}(-[a-zA-Z], )?--[a-z-]+' | grep -oE -e '--[a-z-]+' | sort -u
}

# ---- installed -----------------------------------------------------------------------------------------------------

STAGE=$DIR/stage
mkdir "$STAGE"
FILES=(./bin/falkor-cli ./include/falkorpool.h ./include/falkorpool/pool.h ./lib/libfalkorpool.a ./lib/libfalkorpool.so
    "./lib/$SONAME" "./lib/libfalkorpool.so.$VERSION" ./lib/pkgconfig/falkorpool.pc ./share/man/man1/falkor-cli.1
    ./share/man/man3/falkorpool.3)
one "install, DESTDIR" make_at install DESTDIR="$STAGE"
one "what is installed" same "$STAGE$AT" "${FILES[@]}"
one "uninstall, DESTDIR" make_at uninstall DESTDIR="$STAGE"
one "nothing is left, not even a folder" says "$STAGE" find "$STAGE"
one "install, LIBDIR and MANDIR" make_at install DESTDIR="$STAGE" LIBDIR="$AT/lib/a-b" MANDIR=/man
one "a library's folder of its own" test -f "$STAGE$AT/lib/a-b/$SONAME"
one "which falkorpool.pc knows" grep -qxF "libdir=\${prefix}/lib/a-b" "$STAGE$AT/lib/a-b/pkgconfig/falkorpool.pc"
touch "$STAGE$AT/include/other.h"
one "uninstall, LIBDIR and MANDIR" make_at uninstall DESTDIR="$STAGE" LIBDIR="$AT/lib/a-b" MANDIR=/man
one "another's file is left" same "$STAGE" ".$AT/include/other.h"

one "install" make_at install
one "falkorpool.pc is valid" pkg-config --validate falkorpool
one "falkorpool.pc: the version" says "$VERSION" flags --modversion
one "falkorpool.pc: libraries" says "-L$LIB -lfalkorpool" flags --libs
# shellcheck disable=SC2046
one "pkg-config, shared" built "$DIR/shared" "$CC" "${FLAGS[@]}" $(flags --cflags) "$DIR/app.c" $(flags --libs)
one "it loads the installed library" loads "$DIR/shared"
one "it needs $SONAME" dynamic "$DIR/shared" "[$SONAME]"
one "it does not need hiredis itself" lacks "$DIR/shared" hiredis
one "the library's own name" dynamic "$LIB/libfalkorpool.so" "Library soname: [$SONAME]"
one "the library finds hiredis" dynamic "$LIB/libfalkorpool.so" libhiredis
one "exported: the public functions" exports "$LIB/libfalkorpool.so"
# shellcheck disable=SC2046
one "pkg-config, \"pool.h\"" built "$DIR/flat" "$CC" "${FLAGS[@]}" $(flags --cflags) "$DIR/flat.c" $(flags --libs)
if [ -n "${TLS:-}" ]; then
    echo 'note: no static program with TLS: the system may not have what OpenSSL needs for that'
else
    # shellcheck disable=SC2046
    one "pkg-config, static" built "$DIR/static" "$CC" -static "${FLAGS[@]}" $(flags --cflags) "$DIR/app.c" \
        $(flags --static --libs)
    one "it needs no library" lacks "$DIR/static" NEEDED
fi
one "libfalkorpool.a by hand" built "$DIR/archive" "$CC" "${FLAGS[@]}" -I"$AT/include" "$DIR/app.c" \
    "$LIB/libfalkorpool.a" "${LIBS[@]}"
one "the installed single header" built "$DIR/single" "$CC" "${FLAGS[@]}" ${TLS:+-DFALKOR_TLS} -I"$AT/include" \
    "$DIR/single.c" "${LIBS[@]}"
# shellcheck disable=SC2046
one "falkorpool(3)'s example" built "$DIR/page" "$CC" "${FLAGS[@]}" $(flags --cflags) "$DIR/page.c" $(flags --libs)
one "the installed falkor-cli" says '{"columns":["1"],"rows":[[1]]' bash -c \
    "cd / && '$AT/bin/falkor-cli' --json -g check_install --ro 'RETURN 1' | sed 's/,\"summary.*//'"
one "falkor-cli --version" says "falkor-cli $VERSION" "$AT/bin/falkor-cli" --version

# ---- manual pages --------------------------------------------------------------------------------------------------

for page in man1/falkor-cli.1 man3/falkorpool.3; do
    one "$page: mandoc" linted "$AT/share/man/$page"
    one "$page: groff" says '' groff -mdoc -ww -z "$AT/share/man/$page"
done
# shellcheck disable=SC2046
one "falkor-cli(1) has all options" mentions man/falkor-cli.1 $(options)
one "there are options" test "$(options | wc -l)" -gt 20
# shellcheck disable=SC2046
one "falkorpool(3) has all variables" mentions man/falkorpool.3 $(sed -n 's/^#\([A-Z_]*\)=.*/\1/p' examples/env.example)
# shellcheck disable=SC2046
one "falkorpool(3) has all statuses" mentions man/falkorpool.3 $(grep -o 'X(FALKOR_[A-Z_]*' pool.h | sed 's/X(//')

one "uninstall" make_at uninstall
one "no file is left" same "$AT"
one "nor the library's folder" test ! -e "$AT/include/falkorpool"

# ---- vendored ------------------------------------------------------------------------------------------------------

mkdir -p "$DIR/vendored" "$DIR/cmake/falkorpool"
cp ./*.c ./*.h "$DIR/vendored"
one "vendored" built "$DIR/by-hand" "$CC" "${FLAGS[@]}" ${TLS:+-DFALKOR_TLS} -I"$DIR/vendored" "$DIR/flat.c" \
    "$DIR"/vendored/*.c "${LIBS[@]}"
cp CMakeLists.txt ./*.c ./*.h "$DIR/cmake/falkorpool"
cp "$DIR/flat.c" "$DIR/cmake/app.c"
printf '%s\n' 'cmake_minimum_required(VERSION 3.18)' 'project(app C)' 'add_subdirectory(falkorpool)' 'add_executable(app app.c)' \
    'target_link_libraries(app falkorpool)' 'target_compile_definitions(falkorpool PUBLIC ${LEFT_OUT})' >"$DIR/cmake/CMakeLists.txt"
unpacked=$(sed -n 's|.*-isystem \([^ ]*\)/include.*|\1|p' <<<"${CPPFLAGS:-}")
for part in '' FALKOR_WITHOUT_COMMANDS; do
    one "CMake $part" cmake -S "$DIR/cmake" -B "$DIR/cmake/b$part" -DLEFT_OUT=$part \
        ${TLS:+-DFALKOR_TLS=ON} ${unpacked:+-DCMAKE_PREFIX_PATH="$unpacked"}
    one "it builds" cmake --build "$DIR/cmake/b$part"
    one "and queries" says Ada "$DIR/cmake/b$part/app"
done

# ---- the tarball ---------------------------------------------------------------------------------------------------

TARBALL=$BUILD/falkorpool-$VERSION.tar.gz NAME=falkorpool-$VERSION
# as_stranger COMMAND...: where this is root, nobody; without git and in a folder of his own.
as_stranger() {
    local nobody=()
    [ "$(id -u)" != 0 ] || nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    (cd "$DIR/stranger" && env -u BUILD -u OUT HOME="$DIR/stranger" GIT_CEILING_DIRECTORIES="$DIR" "${nobody[@]}" "$@")
}
one "dist" make --no-print-directory dist
cp "$TARBALL" "$DIR/first.tar.gz"
one "dist from another clone, another umask" bash -c "umask 077 && git clone -q . '$DIR/clone' &&
    TZ=Asia/Tokyo make -C '$DIR/clone' BUILD='$DIR/clone/b' dist"
one "the same bytes" cmp "$DIR/first.tar.gz" "$DIR/clone/b/$NAME.tar.gz"
mkdir "$DIR/stranger"
tar -xzf "$DIR/first.tar.gz" -C "$DIR/stranger"
[ "$(id -u)" != 0 ] || chown -R 65534:65534 "$DIR/stranger"
one "the tarball's single header is what make makes of it" as_stranger bash -c \
    "make -s -C $NAME single && cmp $NAME/falkorpool.h $NAME/build/falkorpool.h"
one "a stranger installs from it" as_stranger make -C "$NAME" CFLAGS=-O0 PREFIX="$DIR/stranger/local" install
# shellcheck disable=SC2046
one "and builds with it" as_stranger env PKG_CONFIG_PATH="$DIR/stranger/local/lib/pkgconfig" bash -c \
    "$CC \$(pkg-config --cflags falkorpool) $DIR/app.c \$(pkg-config --libs falkorpool) -o app"
one "and queries" says Ada as_stranger env LD_LIBRARY_PATH="$DIR/stranger/local/lib" ./app
one "his falkor-cli" says '"Ada"' as_stranger bash -c \
    "local/bin/falkor-cli --json -g check_install --ro 'MATCH (p:Person) RETURN p.name' | grep -o '\"Ada\"'"
tally
