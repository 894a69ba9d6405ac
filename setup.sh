#!/bin/sh
# Create .venv with the locked requirements; `make` calls this if they are missing or have changed.
# `sh setup.sh requirements-ray.lock` creates .venv-ray; a second argument names the folder:
# `PYTHON=python3.12 sh setup.sh requirements.lock .venv-3.12`.
set -eu

LOCK=${1:-requirements.lock}
VENV=.venv${LOCK#requirements}
VENV=${2:-${VENV%.lock}}

fail() {
    echo "actlab: $1" >&2
    exit 1
}

PYTHON=${PYTHON:-python3}
command -v "$PYTHON" >/dev/null || fail "$PYTHON was not found: install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=python3.12"
"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
    fail "$("$PYTHON" --version) is not supported: use Python 3.11, 3.12 or 3.13, such as make PYTHON=python3.12"
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$PYTHON has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)"
command -v git >/dev/null || fail "git was not found: install it (on Debian and Ubuntu: apt-get install git)"
if ! top=$(LC_ALL=C git rev-parse --show-toplevel 2>&1); then
    case $top in
    *"not a git repository"*) top= ;;
    *) fail "git cannot use this folder: $(printf '%s' "$top" | tr -s '\n\t ' ' ')" ;;
    esac
fi
[ "$top" = "$(pwd -P)" ] ||
    fail "this folder is not a git clone, which DVC needs: git clone the repository, or run git init here"
[ -w . ] || fail "$(pwd) is read-only: clone the repository to a writable folder"

echo "Setting up $VENV with the locked requirements (once; about a minute)"
# An environment works only in the folder where it was made (pyvenv.cfg names it): its commands and
# its installed actlab point there, also from a copied or moved clone.
if ! { [ -x "$VENV/bin/python" ] && grep -qsF " $(pwd -P)/$VENV" "$VENV/pyvenv.cfg"; }; then
    [ ! -L "$VENV" ] || fail "$VENV links to the environment of another folder: remove the link"
    # uv.txt is written below, and pyvenv.cfg by a set-up that was cut short.
    [ ! -e "$VENV" ] || [ -z "$(ls -A "$VENV")" ] || [ -e "$VENV/uv.txt" ] ||
        grep -qsF " $(pwd -P)/$VENV" "$VENV/pyvenv.cfg" ||
        fail "$VENV is in the way, and set-up did not make it: move it elsewhere"
    "$PYTHON" -m venv --clear "$VENV"
fi
# pip and uv keep what they download below HOME, which may be read-only.
cache=${XDG_CACHE_HOME:-${HOME:-/dev/null}/.cache}
{ mkdir -p "$cache" && [ -w "$cache" ]; } 2>/dev/null || export PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1
# uv installs ten times as fast as pip; it comes from the same lock, verified by hash.
sed -n '/^uv==/,/# via/p' "$LOCK" >"$VENV/uv.txt"
advice="see the lines above, then the network and the disk, and run make setup again"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$VENV/uv.txt" ||
    fail "pip could not install uv: $advice"
uv() {
    "$VENV/bin/uv" pip "$@" --quiet --python "$VENV/bin/python" || fail "uv could not install $LOCK: $advice"
}
uv sync --compile-bytecode --require-hashes "$LOCK"
uv install --no-deps --no-build-isolation --editable .
# Relative to its folder, so that a copied clone's Python imports the copy's source; and in ASCII,
# which Python reads in any locale.
for packages in "$VENV"/lib/python*/site-packages; do
    echo ../../../../src >"$packages/_actlab.pth"
done
touch "$VENV/ready"
