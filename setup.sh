#!/bin/sh
# Make .venv with the locked requirements; `make` calls it when they are not there or have changed.
# Another lock has a folder of its own: `sh setup.sh requirements-ray.lock` makes .venv-ray; or name
# the folder: `PYTHON=python3.12 sh setup.sh requirements.lock .venv-3.12`.
set -eu

LOCK=${1:-requirements.lock}
VENV=.venv${LOCK#requirements}
VENV=${2:-${VENV%.lock}}

fail() {
    echo "actlab: $1" >&2
    exit 1
}

PYTHON=${PYTHON:-python3}
command -v "$PYTHON" >/dev/null || fail "$PYTHON is not there: install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=python3.12"
"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
    fail "$("$PYTHON" --version) does not serve: Python 3.11, 3.12 or 3.13 does; name one: make PYTHON=python3.12"
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$PYTHON has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)"
[ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$(pwd -P)" ] ||
    fail "this folder is no git clone, which DVC needs: git clone the repository, or run git init here"
[ -w . ] || fail "$(pwd) is read-only: clone the repository to a folder that you may write to"

echo "Setting up $VENV with the locked requirements (once; about a minute)"
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
# uv installs ten times as fast as pip, and comes from the same lock, by its hash.
sed -n '/^uv==/,/# via/p' "$LOCK" >"$VENV/uv.txt"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$VENV/uv.txt"
uv() { "$VENV/bin/uv" pip "$@" --quiet --python "$VENV/bin/python"; }
uv sync --compile-bytecode --require-hashes "$LOCK"
uv install --no-deps --no-build-isolation --editable .
touch "$VENV/ready"
