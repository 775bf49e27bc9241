#!/usr/bin/env bash
# Run the buf binary that tools/package-lock.json pins, from the top of the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
for binary in tools/node_modules/@bufbuild/buf-linux-*/bin/buf; do
  [ -x "$binary" ] && exec "$binary" "$@"
done
printf '%s\n' "buf: not installed for this machine; run scripts/setup.sh test" >&2
exit 1
