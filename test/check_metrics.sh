#!/usr/bin/env bash
# build/health_server as those see it whom it is for: promtool, a Prometheus that scrapes it, and a browser. Prints a line for
# each test, and `N passed, N failed` at the end: test/check_metrics.sh. Prometheus and Chromium are unpacked into the build
# folder, or are the system's. Screenshots lie in $BUILD/health-*.png; HEALTH_SCENE_S=60 plays a longer scene for them.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=fetch.sh
. "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

command -v node >/dev/null || die "node (18 or newer) is needed: install nodejs"

# folders NAME PATTERN: where the libraries of an unpacked package are, or what else matches.
folders() { find "$1" -name "$2" -printf '%h\n' | sort -u | paste -sd:; }

# program FOLDER PATH...: the first that is there, unpacked or the system's.
program() {
    local path
    for path in "${@:2}"; do
        if [ -x "$1$path" ]; then echo "$1$path" && return; fi
        if [ -x "$path" ]; then echo "$path" && return; fi
    done
    die "no $2 in the package"
}

PROMETHEUS_FILES=$("$TOP/test/services.sh" unpack prometheus)
CHROMIUM_FILES=$("$TOP/test/services.sh" unpack chromium)
PROMETHEUS=$(program "$PROMETHEUS_FILES" /usr/bin/prometheus)
PROMTOOL=$(program "$PROMETHEUS_FILES" /usr/bin/promtool)
CHROMIUM=$(program "$CHROMIUM_FILES" /usr/lib/chromium/chromium /usr/bin/chromium)
CHROMIUM_LIBS=$(folders "$CHROMIUM_FILES" 'lib*.so*')
HEALTH_SERVER=${OUT:-$BUILD}/health_server
export BUILD PROMETHEUS PROMTOOL CHROMIUM CHROMIUM_FILES CHROMIUM_LIBS HEALTH_SERVER
exec node "$TOP/test/check_metrics.mjs"
