#!/usr/bin/env bash
# Compare the contract in the working tree with the newest release's (tag v*) or, before the first release, with the parent
# commit's. Before the first release a commit may break it on purpose with a line "Breaking-Contract: REASON" in its message.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
  printf '%s\n' "contract: not compared: $*"
  exit 0
}

git() { command git -c safe.directory="$PWD" "$@"; }

command -v git >/dev/null || skip "there is no git"
git rev-parse --git-dir >/dev/null 2>&1 || skip "this is no git checkout"
git rev-parse --verify --quiet HEAD >/dev/null || skip "there is no commit yet"

if ! base="$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null)"; then
  base="$(git rev-parse --verify --quiet 'HEAD^')" || skip "the first commit, or a shallow clone"
  reason="$(git log -1 --format='%(trailers:key=Breaking-Contract,valueonly)')"
  [ -z "$reason" ] || skip "broken on purpose: $reason"
fi
git cat-file -e "$base:proto/hsmkms/v1/kms.proto" 2>/dev/null || skip "$base has no contract"

before="$(mktemp -d)"
trap 'rm -rf "$before"' EXIT
git archive "$base" proto | tar -x -C "$before"
cp buf.yaml "$before/"
scripts/buf.sh breaking --against "$before"
