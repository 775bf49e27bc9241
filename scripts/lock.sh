#!/usr/bin/env bash
# Write requirements/*.txt anew from pyproject.toml, with hashes, for every Python from 3.11 on. UPGRADE=1 takes newer versions.
set -euo pipefail
cd "$(dirname "$0")/.."

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --disable-pip-version-check --no-input install --quiet 'uv>=0.5'

compile() {
  local output="$1"
  shift
  "$work/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --custom-compile-command 'make lock' ${UPGRADE:+--upgrade} --output-file "$output" "$@" >/dev/null
}

compile requirements/dev.txt pyproject.toml --group dev
compile requirements/run.txt pyproject.toml --constraint requirements/dev.txt
compile requirements/build.txt --group build --constraint requirements/dev.txt
compile requirements/bench.txt --group bench --constraint requirements/dev.txt
compile requirements/moto.txt tests/moto_suite/requirements.in --no-binary moto
