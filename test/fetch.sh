# Sourced by server.sh and deps.sh: how pinned packages get into the build folder without touching the system. It knows
# npm, apt and test/versions.lock; it does not know what the packages are for.
# shellcheck shell=bash disable=SC2030,SC2031

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
LOCK=$TOP/test/versions.lock
NET_TIMEOUT=${NET_TIMEOUT:-300}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$@"; exit 1; }

# locked KIND NAME FIELD: a field of the lock file, 3 the version, 4 the checksum.
locked() {
    awk -v k="$1" -v n="$2" -v f="$3" '$1 == k && $2 == n { print $f; hit = 1 } END { exit !hit }' "$LOCK" ||
        die "$LOCK has no line '$1 $2'"
}

# locked_names KIND...: the names of these kinds, in the file's order.
locked_names() {
    awk -v kinds=" $* " '!/^#/ && NF && index(kinds, " " $1 " ") { print $2 }' "$LOCK"
}

lock_id() { sha256sum "$LOCK" | cut -c1-12; }

# with_lock NAME COMMAND...: one at a time among all runs on the same build folder, and with a folder SCRATCH that goes
# however this ends. It is inside the build folder, so that a rename out of it is atomic.
with_lock() {
    local name=$1
    shift
    mkdir -p "$BUILD"
    (
        flock -w 600 9 || die "another run holds $BUILD/.$name.lock"
        SCRATCH=$(mktemp -d "$BUILD/.fetch.XXXXXX")
        trap 'rm -rf "$SCRATCH"' EXIT
        "$@"
    ) 9>"$BUILD/.$name.lock"
}

# scratch NAME: a new folder in SCRATCH.
scratch() { mkdir "$SCRATCH/$1" && echo "$SCRATCH/$1"; }

# publish FROM TO: what is complete appears under its name in one step.
publish() {
    rm -rf "$2"
    mkdir -p "$(dirname "$2")"
    mv -T "$1" "$2"
}

# fetch_npm NAME FOLDER: the pinned package's files into FOLDER/package. No script of it is run.
fetch_npm() {
    local name=$1 folder=$2 version sum file
    version=$(locked npm "$name" 3)
    sum=$(locked npm "$name" 4)
    command -v npm >/dev/null || die "npm is needed to fetch $name $version"
    say "fetching $name $version"
    (cd "$folder" && npm_config_cache=$folder/.npm npm_config_update_notifier=false \
        timeout "$NET_TIMEOUT" npm pack --ignore-scripts --loglevel=error "$name@$version" >/dev/null) ||
        die "npm could not fetch $name@$version"
    file=$(find "$folder" -maxdepth 1 -name '*.tgz')
    echo "$sum  $file" | sha512sum --check --status ||
        die "$name $version: its sha512 is not the one in test/versions.lock: refused"
    tar -xzf "$file" -C "$folder"
    rm -rf "$file" "$folder/.npm"
}

# codename: this release's name, such as bookworm.
codename() { (. /etc/os-release && echo "${VERSION_CODENAME:-}"); }

# mirror_lines: "site release" of this Debian's own main archives, as apt is configured: no file here names a host.
mirror_lines() {
    # shellcheck disable=SC2016
    apt-get indextargets --no-release-info --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v c="$(codename)" '$3 == "main" && ($2 == c || index($2, c "-") == 1) && !seen[$1, $2]++ { print $1, $2 }' |
        sort -k2,2
}

# private_apt NAME [SUITE [KIND]]: sets APT to options that make apt work on a package list and a cache of our own: any
# user may, and the system's state is not touched. SUITE is one more suite of the same mirror.
private_apt() {
    local dir=$BUILD/apt/$1 suite=${2:-} kind=${3:-deb} site release signed=
    command -v apt-get >/dev/null || die "no apt-get here: only Debian packages are pinned"
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    [ ! -r /usr/share/keyrings/debian-archive-keyring.gpg ] || signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] '
    mirror_lines | while read -r site release; do
        case $release in *-backports) continue ;; esac
        echo "deb $signed$site $release main"
        [ -z "$suite" ] || [ "$release" != "${release%-*}" ] || echo "$kind $signed$site $suite main"
    done >"$dir/sources.list"
    [ -s "$dir/sources.list" ] || die "apt is configured without a mirror of this Debian release"
    APT=(-o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$dir/lists"
        -o "Dir::Cache=$dir/cache" -o APT::Sandbox::User=)
    timeout "$NET_TIMEOUT" apt-get -qq "${APT[@]}" update || die "apt-get update failed for $dir/sources.list"
}

# fetch_deb KIND NAME FOLDER: unpacks (never installs) a package into FOLDER. The pinned version is preferred, and its
# checksum compared; a newer one stands under the archive's signature.
fetch_deb() {
    local kind=$1 name=$2 folder=$3 version sum spec tmp
    version=$(locked "$kind" "$name" 3)
    sum=$(locked "$kind" "$name" 4)
    spec=$name=$version
    tmp=$(mktemp -d "$folder/.deb.XXXXXX")
    if [ -z "$(apt-cache "${APT[@]}" show "$spec" 2>/dev/null)" ]; then
        spec=$name sum=
        [ "$kind" != backport ] || spec=$name/$(codename)-backports
        say "$name $version is gone from the archive, taking its present version (test/deps.sh lock renews the pin)"
    fi
    say "fetching $spec"
    (cd "$tmp" && timeout "$NET_TIMEOUT" apt-get -qq "${APT[@]}" download "$spec") || die "apt-get could not download $spec"
    [ -z "$sum" ] || echo "$sum  $(echo "$tmp"/*.deb)" | sha256sum --check --status ||
        die "$name $version: its sha256 is not the one in test/versions.lock: refused"
    dpkg -x "$tmp"/*.deb "$folder"
    rm -rf "$tmp"
}
