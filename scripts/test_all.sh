#!/bin/sh
# Run the tests on each Python that actlab supports; `make test-all` calls this.
#
#   scripts/test_all.sh 3.11 3.12 3.13
#
# Each version has its own environment with the locked requirements: .venv if that has this Python,
# otherwise .venv-3.12 etc. pythonX.Y is taken from the PATH, otherwise from pyenv. If one is
# missing, nothing runs; if one fails, the others still run.
# TESTS selects tests (default: all), such as TESTS='tests/test_statistics.py'.
set -eu

fail() {
    echo "actlab: $1" >&2
    exit 1
}

version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# pyenv has shims on the PATH for versions that are not selected, too; those fail.
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
for release in "$@"; do
    find_python "$release" >/dev/null || missing="$missing $release"
done
[ -z "$missing" ] ||
    fail "Python$missing was not found: install it as python${missing##* } on the PATH, or with pyenv install${missing}"

summary= failed=0
for release in "$@"; do
    folder=$(environment "$release")
    if [ ! -f "$folder/ready" ] || [ -n "$(find requirements.lock pyproject.toml -newer "$folder/ready")" ]; then
        PYTHON=$(find_python "$release") sh setup.sh requirements.lock "$folder"
    fi
    echo "Python $release, in $folder"
    # shellcheck disable=SC2086 # TESTS may be several
    if PATH="$PWD/$folder/bin:$PATH" VIRTUAL_ENV="$PWD/$folder" \
        pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder ${TESTS:-}; then
        summary="$summary Python $release: passed."
    else
        summary="$summary Python $release: failed."
        failed=1
    fi
done
echo "${summary# }"
exit $failed
