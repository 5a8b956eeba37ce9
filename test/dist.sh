#!/usr/bin/env bash
# The source tarball of the last commit, $BUILD/falkorpool-VERSION.tar.gz, with the single header in it: test/dist.sh. The same
# commit gives the same bytes: names in order, the commit's time, nobody's user and modes. It prints the tarball's name.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
BUILD=${BUILD:-build}
export LC_ALL=C

[ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$(pwd -P)" ] || { echo 'make dist: this is not a clone, for a tarball is made of a commit' >&2; exit 1; }
[ -z "$(git status --porcelain)" ] || echo 'make dist: note: what is not committed is not in it' >&2

tmp=$(mktemp -d "${TMPDIR:-/tmp}/falkor-dist.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
version=$(git show HEAD:pool.h | awk '/^.define FALKOR_VERSION_[MP]/ { printf "%s%s", dot, $3; dot = "." }')
name=falkorpool-$version
git -c core.autocrlf=false archive --prefix="$name/" HEAD | tar -x -C "$tmp"
"$tmp/$name/test/amalgamate.sh" >"$tmp/$name/falkorpool.h"
mkdir -p "$BUILD"
tar -C "$tmp" --format=ustar --sort=name --mtime="@$(git show -s --no-show-signature --format=%ct)" --owner=0 --group=0 --numeric-owner \
    --mode=u=rwX,go=rX -c "$name" | gzip -9n >"$tmp/tarball"
mv "$tmp/tarball" "$BUILD/$name.tar.gz"
echo "$BUILD/$name.tar.gz"
