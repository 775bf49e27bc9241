#!/usr/bin/env bash
# Set up what `make run`, `make test` or `make bench` needs: Debian packages, .venv from the lock files, npm tools.
# Usage: scripts/setup.sh run|test|long|bench; long is test, and compilers of other languages.
# Environment: PYTHON, the interpreter to make .venv with (3.11 or newer).
# Does nothing when nothing changed since the last time. Asks nothing; sudo may, on a terminal.
set -euo pipefail
cd "$(dirname "$0")/.."

kind="${1:-}"
venv=.venv

say() { printf '%s\n' "setup: $*" >&2; }
die() {
  say "$*"
  exit 1
}

case "$kind" in
  run) locks=(requirements/build.txt requirements/run.txt) ;;
  test | long) locks=(requirements/dev.txt) ;;
  bench) locks=(requirements/build.txt requirements/run.txt requirements/bench.txt) ;;
  *) die "usage: scripts/setup.sh run|test|long|bench" ;;
esac

# --- Debian packages -----------------------------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif [ -t 0 ]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

apt_updated=no
apt_install() {
  command -v apt-get >/dev/null || die "missing: $* (Debian names); there is no apt-get here, so install them yourself and run this again"
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    die "missing: $*; run as root: apt-get install $*"
  fi
  say "installing $*"
  if [ "$apt_updated" = no ]; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 || die "apt-get update failed; missing: $*"
    apt_updated=yes
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 </dev/null ||
    die "apt-get could not install: $*"
}

# --- Python --------------------------------------------------------------------------------------------------------------------

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    new_enough "$PYTHON" || die "PYTHON=$PYTHON is no Python 3.11 or newer"
    printf '%s\n' "$PYTHON"
    return
  fi
  for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
}

require_python() {
  python="$(find_python)"
  if [ -z "$python" ]; then
    apt_install python3 python3-venv
    python="$(find_python)"
  fi
  if [ -z "$python" ]; then
    apt_install python3.11 python3.11-venv
    python="$(find_python)"
  fi
  [ -n "$python" ] || die "no Python 3.11 or newer; install one, or name it: make $kind PYTHON=/path/to/python3.12"
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    apt_install "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
  fi
}

checksum() { cat "$@" | sha256sum | cut -d ' ' -f 1; }

# A .venv that was copied here, or whose interpreter is gone, is made anew.
venv_is_usable() {
  [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '
import os, sys
sys.exit(not os.path.samefile(sys.prefix, sys.argv[1]) or sys.version_info < (3, 11))' "$venv" 2>/dev/null
}

install_python_packages() {
  local wanted stamp
  wanted="$(checksum "${locks[@]}" pyproject.toml)"
  stamp="$venv/.setup-${kind/long/test}"
  if venv_is_usable && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  require_python
  if ! venv_is_usable; then
    say "making $venv with $("$python" --version 2>&1)"
    "$python" -m venv --clear "$venv" || die "$python could not make $venv"
  fi
  local pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input install --quiet)
  local lock requirements=()
  for lock in "${locks[@]}"; do
    requirements+=(--requirement "$lock")
  done
  say "installing ${locks[*]}"
  "${pip[@]}" --require-hashes "${requirements[@]}" || die "pip could not install ${locks[*]}; is a package index within reach?"
  "${pip[@]}" --no-deps --no-build-isolation --editable . || die "the package itself could not be installed"
  printf '%s\n' "$wanted" >"$stamp"
}

# --- npm: buf, and the oracle of the policy tests -------------------------------------------------------------------------------

install_npm_packages() {
  local wanted stamp=tools/node_modules/.setup
  wanted="$(checksum tools/package.json tools/package-lock.json)"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  command -v npm >/dev/null || apt_install nodejs npm
  say "installing tools/package-lock.json"
  npm ci --prefix tools --silent </dev/null >&2 || die "npm could not install tools/package-lock.json; is a registry within reach?"
  scripts/buf.sh --version >/dev/null || die "npm brought no buf that runs here ($(uname -m)); is the registry within reach?"
  printf '%s\n' "$wanted" >"$stamp"
}

# -------------------------------------------------------------------------------------------------------------------------------

# A program on PATH, or in one of the folders.
has() {
  local program="$1" folder
  shift
  command -v "$program" >/dev/null && return
  for folder in "$@"; do
    [ ! -x "$folder/$program" ] || return 0
  done
  return 1
}

missing=()
command -v softhsm2-util >/dev/null || missing+=(softhsm2)
if [ "$kind" = test ] || [ "$kind" = long ]; then
  compgen -G '/usr/lib*/*/pkcs11-spy.so' >/dev/null || compgen -G '/usr/lib*/pkcs11-spy.so' >/dev/null || missing+=(opensc)
  compgen -G '/usr/lib*/*/libsoftokn3.so' >/dev/null || compgen -G '/usr/lib*/*/nss/libsoftokn3.so' >/dev/null || missing+=(libnss3)
  command -v certutil >/dev/null || missing+=(libnss3-tools)
  command -v openssl >/dev/null || missing+=(openssl)
  printf '#include <dlfcn.h>\n' | gcc -fsyntax-only -x c - 2>/dev/null || missing+=(gcc libc6-dev)
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
fi
if [ "$kind" = long ]; then
  has go /usr/local/go/bin || missing+=(golang-go)
  has cargo "${CARGO_HOME:-$HOME/.cargo}/bin" && has cc || missing+=(cargo gcc libc6-dev)
  has javac && has keytool || missing+=(default-jdk-headless)
  has mvn || missing+=(maven)
fi
if [ "$kind" = bench ]; then
  command -v gcc >/dev/null || missing+=(gcc)
  [ -e /usr/include/dlfcn.h ] || missing+=(libc6-dev)
  [ -e /usr/include/p11-kit-1/p11-kit/pkcs11.h ] || missing+=(libp11-kit-dev)
  [ -e /usr/include/nghttp2/nghttp2.h ] || missing+=(libnghttp2-dev)
  [ -e /usr/include/openssl/ssl.h ] || missing+=(libssl-dev)
fi
[ "${#missing[@]}" -eq 0 ] || apt_install "${missing[@]}"

mkdir -p .cache
exec 9>.cache/setup.lock
flock 9
install_python_packages
if [ "$kind" = test ] || [ "$kind" = long ]; then
  install_npm_packages
fi
