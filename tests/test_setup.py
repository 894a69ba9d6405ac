"""What `make` says on a machine that is not ready, and makes anew; Python is a stub."""

import os
import shutil
import subprocess

import pytest


@pytest.fixture
def machine(root, tmp_path):
    """Run setup.sh in a folder of its own, with a Python that answers as told."""
    folder = tmp_path / "machine"
    folder.mkdir()
    shutil.copy(root / "setup.sh", folder)

    def run(version_serves=0, has_venv=0, python=None, path="/usr/bin:/bin"):
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
            ["/bin/sh", "setup.sh"],
            cwd=folder,
            env={"PATH": path, "PYTHON": python or str(stub)},
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


def test_a_machine_without_git_is_told(machine):
    assert machine(path="/none") == (
        "actlab: git was not found: install it (on Debian and Ubuntu: apt-get install git)"
    )


@pytest.mark.parametrize(
    "reason",
    [
        "fatal: detected dubious ownership in repository at '/x'\nTo add an exception for this"
        " directory, call:\n\n\tgit config --global --add safe.directory /x\n",
        "fatal: bad config line 1 in file .git/config\n",
        "fatal: this operation must be run in a work tree\n",
    ],
)
def test_what_git_says_of_a_clone_is_shown(reason, machine, tmp_path):
    git = tmp_path / "bin/git"
    git.parent.mkdir()
    git.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{reason}END\nexit 128\n")
    git.chmod(0o755)
    said = " ".join(reason.split())
    assert machine(path=f"{git.parent}:/usr/bin:/bin").strip() == (
        f"actlab: git cannot use this folder: {said}"
    )


# --- A clone that was copied or moved -------------------------------------------------------

#: Stands in for Python: makes an environment that says where it was made, as Python's venv does.
PYTHON = """#!/bin/sh
case "$*" in
    "-m venv"*)
        for folder; do :; done
        echo "made: $*"
        rm -rf "$folder"
        mkdir -p "$folder/bin" "$folder/lib/python3/site-packages"
        echo "command = $0 -m venv $(pwd -P)/$folder" >"$folder/pyvenv.cfg"
        cp "$0" "$folder/bin/python"
        printf '#!/bin/sh\n' >"$folder/bin/uv"
        chmod +x "$folder/bin/uv" ;;
esac
"""


@pytest.fixture
def clone(root, tmp_path):
    """A clone whose environment takes no time, and `make setup` in it: what it makes anew."""
    folder = tmp_path / "actlab"
    (folder / ".dvc/plots").mkdir(parents=True)
    for name in ("Makefile", "setup.sh"):
        shutil.copy(root / name, folder)
    for name in ("requirements.lock", "pyproject.toml"):
        (folder / name).touch()
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)

    def make(folder, *arguments, **environment):
        command = ["make", "-o", ".dvc/plots/page.html", f"PYTHON={python}", *arguments, "setup"]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)} | environment
        finished = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        made = [line for line in finished.stdout.splitlines() if line.startswith("made: ")]
        return finished.returncode, made, finished.stderr

    return folder, make


MADE = (0, ["made: -m venv --clear .venv"], "")
NOTHING = (0, [], "")


@pytest.mark.parametrize("name", ["mine", "l'été à la mer", 'with "quotes", $HOME, (and) more'])
@pytest.mark.parametrize("is_copy", [True, False])
def test_a_copied_or_moved_clone_makes_its_environment_anew(name, is_copy, clone):
    folder, make = clone
    assert make(folder) == MADE
    assert make(folder) == NOTHING
    other = folder.with_name(name)
    if is_copy:
        shutil.copytree(folder, other, symlinks=True)
    else:
        folder.rename(other)
    assert make(other) == MADE
    assert make(other) == NOTHING
    assert make(other.parent, "-C", str(other)) == NOTHING
    if is_copy:
        assert make(folder) == NOTHING  # the original stays as it was


@pytest.mark.parametrize("content", ["notes.txt", "pyvenv.cfg"])
def test_a_folder_that_set_up_did_not_make_stays(content, clone):
    folder, make = clone
    (folder / ".venv").mkdir()
    (folder / ".venv" / content).write_text("home = /usr/bin\n")
    status, made, said = make(folder)
    assert (status, made) == (2, [])
    assert "actlab: .venv is in the way, and set-up did not make it: move it elsewhere\n" in said
    assert [path.name for path in (folder / ".venv").iterdir()] == [content]


def test_what_else_changes_keeps_the_environment(clone):
    folder, make = clone
    assert make(folder) == MADE
    (folder / "requirements.lock").write_text("changed")
    os.utime(folder / ".venv/ready", (0, 0))
    assert make(folder) == NOTHING  # synchronised with the lock, not made anew
    link = folder.with_name("link")
    link.symlink_to(folder)
    assert make(link) == NOTHING


def test_an_environment_that_is_a_link_to_anothers_stays(clone):
    folder, make = clone
    assert make(folder) == MADE
    (folder / ".venv").rename(folder.with_name("large disk"))
    (folder / ".venv").symlink_to("../large disk")
    assert make(folder) == NOTHING
    other = folder.with_name("mine")
    shutil.copytree(folder, other, symlinks=True)
    status, made, said = make(other)
    assert (status, made) == (2, [])
    assert "actlab: .venv links to the environment of another folder: remove the link\n" in said
    assert make(folder) == NOTHING


def act(command):
    """The stub of Python with a pip that runs a shell command."""
    return PYTHON.replace("esac", f'    "-m pip"*) {command} ;;\nesac')


@pytest.mark.parametrize(
    ("home", "kept"), [("/proc/none", "1"), ("/dev/null", "1"), ("", "1"), (None, "yes")]
)
def test_packages_are_not_kept_in_a_home_that_is_read_only(home, kept, clone):
    folder, make = clone
    folder.with_name("python").write_text(act('echo "made: ${UV_NO_CACHE:-yes}"'))
    status, made, said = make(folder, **({} if home is None else {"HOME": home}))
    assert (status, said) == (0, "")
    assert made[1] == f"made: {kept}"


def test_packages_that_cannot_be_installed_are_one_line_of_ours(clone):
    folder, make = clone
    folder.with_name("python").write_text(act('echo "no network" >&2; exit 1'))
    status, _, said = make(folder)
    assert status == 2
    assert said.startswith("no network\nactlab: pip could not install uv: see the lines above,")
    assert not (folder / ".venv/ready").exists()


def test_text_has_the_same_line_ends_in_every_clone(root):
    listed = ["git", "ls-files", "--eol"]
    files = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout
    assert all("eol=lf" in line for line in files.splitlines())


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
