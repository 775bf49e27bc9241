#!/usr/bin/env bash
# Lint, types, import rules and the contract. Runs all of them, then fails if one did.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
PATH="$PWD/.venv/bin:$PATH"

failed=()
check() {
  printf '%s\n' "== $*"
  "$@" || failed+=("$*")
}

check ruff check .
check ruff format --check .
check mypy
check lint-imports
check scripts/buf.sh lint
check scripts/check_breaking.sh

if [ "${#failed[@]}" -gt 0 ]; then
  printf '%s\n' "lint: failed: ${failed[*]}" >&2
  exit 1
fi
