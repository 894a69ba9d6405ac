#!/bin/sh
# The tests on each Python that actlab supports; `make test-all` calls it.
#
#   scripts/test_all.sh 3.11 3.12 3.13
#
# Each has an environment of its own with the locked requirements: .venv where that is of this
# Python, else .venv-3.12 and its like. pythonX.Y is taken from the PATH, else from pyenv. None of
# them runs where one is missing; one that fails does not keep the others from running.
# TESTS says which tests: all of them, or such as TESTS='tests/test_statistics.py'.
set -eu

fail() {
    echo "actlab: $1" >&2
    exit 1
}

version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# A shim of pyenv's is on the PATH for a version that is not chosen, too, and then fails.
find_python() {
    for candidate in "$(command -v "python$1")" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if [ -x "$candidate" ] && [ "$(version "$candidate")" = "$1" ]; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

environment() {
    if [ "$(version .venv/bin/python)" = "$1" ]; then echo .venv; else echo ".venv-$1"; fi
}

missing=
for each in "$@"; do
    find_python "$each" >/dev/null || missing="$missing $each"
done
[ -z "$missing" ] ||
    fail "Python$missing is not there: install it as python${missing##* } on the PATH, or with pyenv install${missing}"

said= failed=0
for each in "$@"; do
    folder=$(environment "$each")
    if [ ! -f "$folder/ready" ] || [ -n "$(find requirements.lock pyproject.toml -newer "$folder/ready")" ]; then
        PYTHON=$(find_python "$each") sh setup.sh requirements.lock "$folder"
    fi
    echo "Python $each, in $folder"
    # shellcheck disable=SC2086 # TESTS may be several
    if PATH="$PWD/$folder/bin:$PATH" VIRTUAL_ENV="$PWD/$folder" \
        pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder ${TESTS:-}; then
        said="$said Python $each: passed."
    else
        said="$said Python $each: failed."
        failed=1
    fi
done
echo "${said# }"
exit $failed
