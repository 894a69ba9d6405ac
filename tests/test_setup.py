"""What `make` says on a machine that is not ready; a stub stands in for its Python."""

import shutil
import subprocess

import pytest


@pytest.fixture
def machine(root, tmp_path):
    """Run setup.sh in a folder of its own, with a Python that answers as told."""
    folder = tmp_path / "machine"
    folder.mkdir()
    shutil.copy(root / "setup.sh", folder)

    def run(version_serves=0, has_venv=0, python=None):
        stub = folder / "python"
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
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "PYTHON": python or str(stub)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 1
        assert finished.stdout == ""
        assert not (folder / ".venv").exists()
        (line,) = finished.stderr.splitlines()
        return line

    return run


NO_CLONE = (
    "this folder is not a git clone, which DVC needs: git clone the repository, or run git init"
)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"python": "python9"},
            "python9 was not found: install Python 3.11, 3.12 or 3.13,"
            " or name one: make PYTHON=python3.12",
        ),
        (
            {"version_serves": 1},
            "Python 3.10.9 is not supported: use Python 3.11, 3.12 or 3.13,"
            " such as make PYTHON=python3.12",
        ),
        (
            {"has_venv": 1},
            "{folder}/python has no venv module: install it"
            " (on Debian and Ubuntu: apt-get install python3-venv)",
        ),
        ({}, f"{NO_CLONE} here"),
    ],
)
def test_a_machine_that_is_not_ready_is_told_what_it_lacks(machine, given, line, tmp_path):
    assert machine(**given) == f"actlab: {line.format(folder=tmp_path / 'machine')}"


def test_a_folder_within_another_clone_is_none(machine, tmp_path):
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    assert machine().startswith(f"actlab: {NO_CLONE}")


# --- make test-all --------------------------------------------------------------------------


@pytest.fixture
def pythons(root, tmp_path):
    """Run test_all.sh over 3.11 to 3.13, with stubs for Pythons, set-up and pytest."""
    shutil.copy(root / "scripts/test_all.sh", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    # What an environment holds: a pytest that says which it is, and fails on 3.12.
    (tmp_path / "setup.sh").write_text(
        'mkdir -p "$2/bin"\n'
        'printf \'#!/bin/sh\\necho "tests: $VIRTUAL_ENV $*"; [ "${VIRTUAL_ENV%%3.12}" = '
        '"$VIRTUAL_ENV" ]\\n\' >"$2/bin/pytest"\n'
        'chmod +x "$2/bin/pytest"\n'
        'touch "$2/ready"\n'
        'echo "set up: $1 $2 $PYTHON"\n'
    )

    def stub(path, version):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{f'echo {version}' if version else 'exit 127'}\n")
        path.chmod(0o755)

    def run():
        finished = subprocess.run(
            ["sh", "test_all.sh", "3.11", "3.12", "3.13"],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "TESTS": "a b"},
            capture_output=True,
            text=True,
            check=False,
        )
        return finished.returncode, finished.stdout.splitlines(), finished.stderr

    stub(tmp_path / ".venv/bin/python", "3.11")
    shutil.copy(tmp_path / ".venv/bin/python", tmp_path / ".venv/bin/pytest")
    (tmp_path / ".venv/ready").touch()
    stub(tmp_path / "bin/python3.11", "3.11")
    stub(tmp_path / "bin/python3.12", "")  # as a shim of pyenv's for a version that is not chosen
    return stub, run


def test_each_python_has_its_environment_and_one_that_fails_stops_no_other(pythons, tmp_path):
    stub, run = pythons
    stub(tmp_path / "bin/python3.13", "3.13")
    stub(tmp_path / ".pyenv/versions/3.12.7/bin/python", "3.12")
    status, out, err = run()
    assert (status, err) == (1, "")
    flags = "-n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder a b"
    assert out == [
        "Python 3.11, in .venv",
        "3.11",
        f"set up: requirements.lock .venv-3.12 {tmp_path}/.pyenv/versions/3.12.7/bin/python",
        "Python 3.12, in .venv-3.12",
        f"tests: {tmp_path}/.venv-3.12 {flags}",
        f"set up: requirements.lock .venv-3.13 {tmp_path}/bin/python3.13",
        "Python 3.13, in .venv-3.13",
        f"tests: {tmp_path}/.venv-3.13 {flags}",
        "Python 3.11: passed. Python 3.12: failed. Python 3.13: passed.",
    ]
    assert [line for line in run()[1] if line.startswith("set up")] == []  # they are ready
