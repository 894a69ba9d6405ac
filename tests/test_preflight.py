"""What `make repro` says before DVC starts: damaged files of DVC's, who holds the clone."""

import json
import shutil
import subprocess
import sys
import time

import psutil
import pytest
import yaml
from dvc.lock import Lock
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from studies import read_committed
from voluptuous import Invalid

from actlab.errors import UserError
from actlab.stages.preflight import require_free, require_readable

CONFLICT = "<<<<<<< HEAD\nseeds: [0]\n=======\nseeds: [1]\n>>>>>>> theirs\n"


@pytest.fixture
def clone(root, tmp_path):
    """The files that DVC reads first."""
    shutil.copy(root / "dvc.yaml", tmp_path)
    for name in ("dvc.lock", "params.yaml"):
        (tmp_path / name).write_text(read_committed(root, name))
    return tmp_path


def test_whole_files_pass_and_so_do_those_that_are_not_there(clone):
    require_readable(clone)
    (clone / "dvc.lock").unlink()
    require_readable(clone)


@pytest.mark.parametrize("name", ["dvc.lock", "dvc.yaml", "params.yaml"])
@pytest.mark.parametrize("damage", [lambda text: CONFLICT + text, lambda text: text + CONFLICT])
def test_conflict_markers_are_named_with_their_remedy(name, damage, clone):
    (clone / name).write_text(damage((clone / name).read_text()))
    line = rf"^{name} has conflict markers of git: .*git checkout HEAD -- {name}"
    with pytest.raises(UserError, match=line):
        require_readable(clone)


def is_valid(text):
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(text, yaml.CSafeLoader))
    except (yaml.YAMLError, Invalid):
        return False
    return True


def test_a_lock_that_a_kill_cut_short_is_refused_or_whole_so_far(clone):
    lock, text = clone / "dvc.lock", (clone / "dvc.lock").read_text()
    places = [*range(80), *range(80, len(text), len(text) // 50)]
    refused = 0
    for place in places:
        lock.write_text(text[:place])
        if is_valid(text[:place]):  # DVC reruns what is missing
            require_readable(clone)
            continue
        refused += 1
        line = r"^dvc\.lock is damaged or cut short \([^\n]*\): git checkout HEAD -- dvc.lock "
        with pytest.raises(UserError, match=line):
            require_readable(clone)
    assert refused > 50


@pytest.mark.parametrize("content", ["stages: [", "a: b: c", "\0"])
@pytest.mark.parametrize("name", ["dvc.lock", "dvc.yaml", "params.yaml"])
def test_what_is_no_yaml_is_refused(name, content, clone):
    (clone / name).write_text(content)
    with pytest.raises(UserError, match=rf"^{name} is damaged or cut short \("):
        require_readable(clone)


# --- Who holds the clone ------------------------------------------------------------------


@pytest.fixture
def start(tmp_path):
    """Start a process that is called like a command of DVC, or otherwise; it ends with the test."""
    begun = []

    def start(name):
        script = tmp_path / name
        script.write_text("import sys; sys.stdin.read()")
        command = [sys.executable, str(script), "repro"]
        begun.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        while not psutil.Process(begun[-1].pid).cmdline():
            time.sleep(0.01)  # the system has not replaced the new process yet
        return begun[-1].pid

    yield start
    for process in begun:
        process.communicate()


def test_nobody_holds_a_clone_without_locks(tmp_path):
    require_free(tmp_path)


@pytest.mark.parametrize("mode", ["read", "write"])
def test_the_process_that_holds_the_clone_is_named(mode, start, tmp_path):
    number = start("dvc")
    info = {"pid": number, "cmd": "dvc repro"}
    held = {"read": {"data/raw": [info]}} if mode == "read" else {"write": {"data/raw": info}}
    (tmp_path / "rwlock").write_text(json.dumps(held))
    line = (
        rf"^another command of DVC holds this clone: process {number} \(.*dvc repro\), since"
        rf" \d{{4}}-.*: wait until it has ended, or end it: kill {number}$"
    )
    with pytest.raises(UserError, match=line):
        require_free(tmp_path)


def test_the_holder_of_dvcs_other_lock_is_named(start, tmp_path):
    number = start("dvc")
    with Lock(tmp_path / "lock"):
        (tmp_path / "lock").write_text(f" {number}\n")
        with pytest.raises(UserError, match=f"holds this clone: process {number} "):
            require_free(tmp_path)
    require_free(tmp_path)


def test_locks_of_processes_that_have_ended_are_passed_over(tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    info = {"pid": process.pid, "cmd": "dvc repro"}
    (tmp_path / "rwlock").write_text(json.dumps({"write": {"data/raw": info}}))
    (tmp_path / "lock").write_text(f" {process.pid}\n")
    require_free(tmp_path)


def test_a_lock_whose_number_is_now_anothers_is_said_to_be_left(start, tmp_path):
    info = {"pid": start("editor"), "cmd": "dvc repro"}
    (tmp_path / "rwlock").write_text(json.dumps({"write": {"data/raw": info}}))
    with pytest.raises(UserError, match=r"rwlock was left by process \d+, which is not DVC any"):
        require_free(tmp_path)


@pytest.mark.parametrize("content", ["", '{"write": {"data/raw": {"pid": 1'])
def test_a_lock_that_was_cut_short_is_said_to_be_removed(content, tmp_path):
    (tmp_path / "rwlock").write_text(content)
    with pytest.raises(UserError, match="rwlock was cut short: remove it"):
        require_free(tmp_path)
