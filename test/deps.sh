#!/usr/bin/env bash
# What building and testing needs beyond a C compiler, make, git and npm: present already, installed by apt as root, or, what
# the library and its tests are built with, unpacked into the build folder for an ordinary user. The tools of `make check` (other
# compilers, valgrind, ...) an ordinary user must have installed.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=fetch.sh
. "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

usage() {
    cat <<'END'
usage: test/deps.sh get        headers and libraries to build with; writes $BUILD/deps.mk with the flags they need
       test/deps.sh tls        the same for TLS=1: OpenSSL; writes $BUILD/deps-tls.mk
       test/deps.sh check      the compilers that `make check` needs besides
       test/deps.sh tools      what `make static`, `make valgrind` and `make coverage` need
       test/deps.sh hiredis1   hiredis 1.x, built into $BUILD/deps-hiredis1
       test/deps.sh cross      compilers for other machines, qemu-user, and sources to compile for them: $BUILD/deps-cross
       test/deps.sh newest     the versions of hiredis' source that the Debian archive holds now
       test/deps.sh data       the demo's CSV files, into $BUILD/data
       test/deps.sh bench      peers of the benchmarks, as far as they can be had; writes $BUILD/deps-bench.mk
       test/deps.sh peers      what bench installs or unpacks
       test/deps.sh plots      gnuplot
       test/deps.sh packaging  what `make check-install` looks at an installed library with
       test/deps.sh node       the official Node client, into $BUILD/node
       test/deps.sh lock       print test/versions.lock with what the Debian archive holds now
END
}

HEADERS=(hiredis/hiredis.h cmocka.h cjson/cJSON.h histedit.h microhttpd.h)
DEV=(libhiredis-dev libcmocka-dev libcjson-dev libedit-dev libmicrohttpd-dev)
# One of the contract's programs, where they lie beside the clone, is compiled against libpq's header.
if [ -d "$TOP/../shared/api" ]; then HEADERS+=(postgresql/libpq-fe.h) DEV+=(libpq-dev); fi

# have_header NAME: the compiler that make uses finds it.
have_header() {
    # shellcheck disable=SC2086
    echo "#include <$1>" | ${CC:-cc} ${CPPFLAGS:-} -E -x c - >/dev/null 2>&1
}

have_headers() {
    local header
    for header in "${HEADERS[@]}"; do have_header "$header" || return 1; done
}

# install PACKAGE...: through the system's apt, as root only. A Debian without package lists gets them first; runs in
# several clones take turns.
install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        die "needed here: $* (Debian's package names): have them installed, or run this as root"
    fi
    say "installing $*"
    (
        flock -w 600 9
        apt_install "$@" >/dev/null 2>&1 || { timeout "$NET_TIMEOUT" apt-get -qq update && apt_install "$@" >/dev/null; }
    ) 9</var/lib/dpkg || die "apt-get could not install $*"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive timeout "$NET_TIMEOUT" apt-get -qq -o DPkg::Lock::Timeout=300 install -y \
        --no-install-recommends "$@"
}

# flags FOLDER WORD: make variables, named after WORD, for packages unpacked there. The old kind of run path also serves
# the libraries that those libraries need.
flags() {
    local folder headers
    headers=$(find "$1" -type d '(' -path '*/usr/include' -o -path '*/usr/include/*-linux-gnu' ')' -printf '-isystem %p ')
    echo "$2_CPPFLAGS = $headers"
    printf '%s_LDFLAGS = -Wl,--disable-new-dtags' "$2"
    find "$1" -name 'lib*.so*' -printf '%h\n' | sort -u | while read -r folder; do
        printf ' -L%s -Wl,-rpath,%s' "$folder" "$folder"
    done
    echo
}

# unpack FOLDER KIND PACKAGE...: the lock file's packages of that kind; the others are what must be there already where
# the lock file is for another release.
unpack() {
    local folder=$1 kind=$2 tmp name
    [ ! -d "$folder" ] || return 0
    [ "$(codename)" = bookworm ] || install "${@:3}"
    tmp=$(scratch files)
    private_apt "${folder##*/}"
    for name in $(locked_names "$kind"); do fetch_deb "$kind" "$name" "$tmp"; done
    publish "$tmp" "$folder"
}

# write_flags FILE TEXT: in one step.
write_flags() {
    mkdir -p "$BUILD"
    echo "$2" >"$1.$$"
    mv "$1.$$" "$1"
}

get() {
    local text='# Found in the system.'
    if ! have_headers && [ "$(id -u)" = 0 ]; then
        install "${DEV[@]}"
    elif ! have_headers; then
        with_lock deps unpack "$BUILD/deps" dev "${DEV[@]}"
        text=$(flags "$BUILD/deps" DEPS)
    fi
    write_flags "$BUILD/deps.mk" "$text"
}

tls() {
    local text='# Found in the system.'
    if ! have_header openssl/ssl.h && [ "$(id -u)" = 0 ]; then
        install libssl-dev
    elif ! have_header openssl/ssl.h; then
        with_lock deps-tls unpack "$BUILD/deps-tls" tls libssl-dev
        text=$(flags "$BUILD/deps-tls" TLS)
    fi
    write_flags "$BUILD/deps-tls.mk" "$text"
}

# bench: the peers that can be built with, as -DBENCH_APR and -DBENCH_ZDB. One that cannot be had is a row that says so,
# never a failure.
bench() {
    local text='' root='' name cpp='' libs=''
    peer apr && peer zdb || "${BASH_SOURCE[0]}" peers || say "not all peers of the benchmarks can be had here"
    if [ -d "$BUILD/deps-bench" ]; then
        root=$BUILD/deps-bench
        text=$(flags "$root" BENCH)$'\n'
    fi
    for name in apr zdb; do
        # shellcheck disable=SC2046
        peer "$name" "$root" $(sed -n 's/^BENCH_LDFLAGS = //p' <<<"$text") || continue
        cpp+=" -DBENCH_${name^^} -isystem $root/usr/include/$(peer_folder "$name")"
        libs+=" $(peer_libs "$name")"
    done
    write_flags "$BUILD/deps-bench.mk" "${text}BENCH_CPPFLAGS +=$cpp"$'\n'"BENCH_LIBS =$libs"
}

peers() {
    if [ "$(id -u)" != 0 ]; then
        with_lock deps-bench unpack "$BUILD/deps-bench" bench libaprutil1-dev libzdb-dev
        return
    fi
    peer apr || (install libaprutil1-dev) || :
    peer zdb || install libzdb-dev
}

plots() {
    command -v gnuplot >/dev/null || install gnuplot-nox
}

packaging() {
    local tool missing=()
    for tool in cmake pkg-config:pkgconf mandoc groff:groff-base; do
        command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
    done
    [ ${#missing[@]} = 0 ] || install "${missing[@]}"
}

peer_folder() { case $1 in apr) echo apr-1.0 ;; zdb) echo zdb ;; esac; }
peer_libs() { case $1 in apr) echo -laprutil-1 -lapr-1 ;; zdb) echo -lzdb ;; esac; }

# peer NAME [FOLDER FLAG...]: a program with it can be built, and runs: all that it needs in turn is there.
peer() {
    local program call status=0
    program=$(mktemp "${TMPDIR:-/tmp}/falkor-peer.XXXXXX")
    case $1 in
        apr) call='#include <apr_reslist.h>'$'\n''void *p = (void *)apr_reslist_acquire;' ;;
        zdb) call='#include <zdb.h>'$'\n''void *p = (void *)ConnectionPool_getConnection;' ;;
    esac
    # shellcheck disable=SC2046
    printf '%s\nint main(void) { return !p; }\n' "$call" |
        ${CC:-cc} -x c - -isystem "${2:-}/usr/include/$(peer_folder "$1")" "${@:3}" $(peer_libs "$1") -o "$program" \
            2>/dev/null && "$program" 2>/dev/null || status=1
    rm -f "$program"
    return $status
}

check() {
    local tool missing=()
    for tool in clang g++; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ ${#missing[@]} = 0 ] || install "${missing[@]}"
    # libFuzzer is in a package of its own, named after clang's version.
    has_fuzzer || install "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
}

tools() {
    local tool missing=()
    for tool in clang clang-tidy cppcheck valgrind gcovr; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ ${#missing[@]} = 0 ] || install "${missing[@]}"
    # Without the C library's own names valgrind does not run at all.
    valgrind -q true 2>/dev/null || install libc6-dbg
}

has_fuzzer() {
    mkdir -p "$BUILD"
    echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return p && !n; }' |
        clang -fsanitize=fuzzer -x c - -o "$BUILD/.fuzzer.$$" 2>/dev/null || return 1
    rm -f "$BUILD/.fuzzer.$$"
}

# fetch_source NAME SUITE FOLDER: a pinned source package's files as upstream made them, into FOLDER; SUITE is where the archive
# has that version.
fetch_source() {
    local name=$1 suite=$2 folder=$3 version file tmp
    version=$(locked source "$1-$2" 3)
    tmp=$(mktemp -d "$SCRATCH/source.XXXXXX")
    private_apt "source-$suite" "$suite" deb-src
    say "fetching the source of $name $version"
    (cd "$tmp" && timeout "$NET_TIMEOUT" apt-get -qq "${APT[@]}" source --download-only "$name=$version" >/dev/null) ||
        die "apt-get could not download the source of $name $version (test/versions.lock)"
    file=$(find "$tmp" -name '*.orig.tar.?z')
    echo "$(locked source "$1-$2" 4)  $file" | sha256sum --check --status ||
        die "$name $version: its sha256 is not the one in test/versions.lock: refused"
    mkdir -p "$folder"
    tar -xf "$file" -C "$folder" --strip-components=1
}

# build_hiredis1: Debian 13's source on this system. LIBRARY_PATH means something else to its Makefile.
build_hiredis1() {
    local folder=$BUILD/deps-hiredis1 tmp
    [ ! -d "$folder" ] || return 0
    have_header openssl/ssl.h || install libssl-dev
    tmp=$(scratch files)
    fetch_source hiredis trixie "$tmp/source"
    mkdir "$tmp/out"
    (unset LIBRARY_PATH CFLAGS LDFLAGS MAKEFLAGS MAKELEVEL
        timeout 300 make -C "$tmp/source" USE_SSL=1 PREFIX="$tmp/out" install) >"$tmp/log" 2>&1 ||
        { tail -n 20 "$tmp/log" >&2; die "hiredis 1.x does not build"; }
    publish "$tmp/out" "$folder"
}

# cross: the compilers and qemu-user, as root; then the sources of what the tests are linked with, to be compiled for each
# machine (test/check_cross.sh): Debian has no packages for all of these.
cross() {
    local missing=() machine triple
    for machine in armhf:arm-linux-gnueabihf riscv64:riscv64-linux-gnu s390x:s390x-linux-gnu; do
        triple=${machine#*:}
        command -v "$triple-gcc" >/dev/null && [ -e "/usr/$triple/include/stdio.h" ] ||
            missing+=("gcc-$triple" "libc6-dev-${machine%:*}-cross")
    done
    command -v qemu-arm >/dev/null || missing+=(qemu-user)
    command -v musl-gcc >/dev/null || missing+=(musl-tools)
    command -v clang >/dev/null || missing+=(clang)
    [ ${#missing[@]} = 0 ] || install "${missing[@]}"
    with_lock cross fetch_cross
}

fetch_cross() {
    local folder=$BUILD/deps-cross tmp
    [ ! -d "$folder" ] || return 0
    tmp=$(scratch files)
    fetch_source hiredis bookworm "$tmp/hiredis0"
    fetch_source hiredis trixie "$tmp/hiredis1"
    fetch_source cmocka bookworm "$tmp/cmocka"
    fetch_source cjson bookworm "$tmp/cjson"
    publish "$tmp" "$folder"
}

fetch_data() {
    local folder=$BUILD/data tmp
    [ ! -d "$folder" ] || return 0
    tmp=$(scratch files)
    fetch_npm vega-datasets "$tmp"
    mkdir "$tmp/data"
    cp "$tmp/package/data/airports.csv" "$tmp/package/data/flights-airport.csv" "$tmp/data"
    publish "$tmp/data" "$folder"
}

# fetch_node: the packages lie flat, as npm would place them: no two of them want different versions of a third.
fetch_node() {
    local pins tmp name
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        die "node (18 or newer) and npm are needed for the differential test: install nodejs and npm"
    fi
    pins=$(awk '$1 == "npm" && $5 == "node" { print $2, $3, $4 }' "$LOCK")
    [ "$(cat "$BUILD/node/pins" 2>/dev/null)" != "$pins" ] || return 0
    tmp=$(scratch files)
    for name in $(cut -d' ' -f1 <<<"$pins"); do
        mkdir "$tmp/one"
        fetch_npm "$name" "$tmp/one"
        publish "$tmp/one/package" "$tmp/node/node_modules/$name"
        rm -r "$tmp/one"
    done
    echo "$pins" >"$tmp/node/pins"
    publish "$tmp/node" "$BUILD/node"
}

# lock: every line as it is, deb lines with the archive's present version and checksum.
lock() {
    local line kind name version sum rest
    private_apt lock bookworm-backports
    while IFS= read -r line; do
        read -r kind name version sum rest <<<"$line"
        case $kind in
            backport) line=$(deb_line "$kind" "$name" "$(codename)-backports" "$rest") ;;
            lib | dev | tls | bench) line=$(deb_line "$kind" "$name" '' "$rest") ;;
        esac
        printf '%s\n' "$line"
    done <"$LOCK"
}

# newest: so that a newer hiredis than the pinned one is noticed.
newest() {
    local suite
    for suite in bookworm trixie sid; do
        private_apt "source-$suite" "$suite" deb-src
        echo "$suite $(apt-cache "${APT[@]}" showsrc hiredis | awk '$1 == "Version:" { print $2; exit }')"
    done
}

deb_line() {
    local kind=$1 name=$2 suite=$3 rest=$4 version
    version=$(apt-cache "${APT[@]}" ${suite:+-t "$suite"} policy "$name" | awk '$1 == "Candidate:" { print $2 }')
    apt-cache "${APT[@]}" show "$name=$version" | awk -v k="$kind" -v n="$name" -v v="$version" -v r="$rest" '
        $1 == "SHA256:" && !seen++ { printf "%-9s  %-23s  %-23s  %s%s\n", k, n, v, $2, r == "" ? "" : "  " r }'
}

case ${1:-} in
    get | tls | bench | peers | plots | packaging | check | tools | cross | newest | lock) "$1" ;;
    hiredis1) with_lock hiredis1 build_hiredis1 ;;
    data) with_lock data fetch_data ;;
    node) with_lock node fetch_node ;;
    -h | --help | help) usage ;;
    *) usage >&2; exit 2 ;;
esac
