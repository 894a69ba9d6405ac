"""What `make` says on a machine that is not ready; a stub stands in for its Python."""

import shutil
import subprocess

import pytest


@pytest.fixture
def machine(root, tmp_path):
    """Run setup.sh in a folder of its own, with a Python that answers as told."""
    shutil.copy(root / "setup.sh", tmp_path)

    def run(version_serves=0, has_venv=0, python=None):
        stub = tmp_path / "python"
        stub.write_text(
            "#!/bin/sh\n"
            'case "$*" in\n'
            "  --version) echo Python 3.10.9 ;;\n"
            f"  *version_info*) exit {version_serves} ;;\n"
            f"  *venv*) exit {has_venv} ;;\n"
            "esac\n"
        )
        stub.chmod(0o755)
        finished = subprocess.run(
            ["sh", "setup.sh"],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "PYTHON": python or str(stub)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 1
        assert finished.stdout == ""
        assert not (tmp_path / ".venv").exists()
        (line,) = finished.stderr.splitlines()
        return line

    return run


def test_a_missing_python_is_named(machine):
    assert machine(python="python9") == (
        "actlab: python9 is not there: install Python 3.11, 3.12 or 3.13,"
        " or name one: make PYTHON=python3.12"
    )


def test_a_wrong_python_is_told_which_are_right(machine):
    assert machine(version_serves=1) == (
        "actlab: Python 3.10.9 does not serve: Python 3.11, 3.12 or 3.13 does;"
        " name one: make PYTHON=python3.12"
    )


def test_a_python_without_venv_is_told_the_package(machine):
    assert machine(has_venv=1).endswith(
        "has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)"
    )


def test_a_folder_that_is_no_clone_is_told_so(machine):
    assert machine() == (
        "actlab: this folder is no git clone, which DVC needs:"
        " git clone the repository, or run git init here"
    )


def test_a_folder_within_another_clone_is_none(machine, tmp_path):
    inner = tmp_path / "inner"
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    inner.mkdir()
    shutil.copy(tmp_path / "setup.sh", inner)
    finished = subprocess.run(
        ["sh", "setup.sh"],
        cwd=inner,
        env={"PATH": "/usr/bin:/bin", "PYTHON": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert "is no git clone" in finished.stderr
