#!/usr/bin/env bash
# The differential test: every query of test/queries/ goes through falkor-cli --json and through the official Node client,
# to the server of FALKORDB_URL, and must bring the same values. Alone: test/server.sh run test/differential.sh [PATTERN]
# (of test names). Its output is what test/run.sh counts. Runs alone: the server is everybody's.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=fetch.sh
. "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

"$TOP/test/deps.sh" node
export FALKOR_OUT=${FALKOR_OUT:-$BUILD} FALKOR_NODE=$BUILD/node
exec node "$TOP/test/differential.mjs" "$@"
