"""One process a training."""

import subprocess
import sys

import pytest
from filelock import FileLock, Timeout

from actlab.engine.locks import training_lock

ONE_AFTER_ANOTHER = """
import sys, time
from actlab.engine.locks import training_lock
for _ in range(20):
    with training_lock(sys.argv[1], "print", "training"):
        with open(sys.argv[2], "a") as file:
            print("in", file=file, flush=True)
            time.sleep(0.005)
            print("out", file=file, flush=True)
"""


def test_a_process_has_its_own_lock_again(tmp_path):
    with training_lock(str(tmp_path), "print", "training") as outer:
        with training_lock(str(tmp_path), "print", "training") as inner:
            assert inner == outer == tmp_path / "print"
        with pytest.raises(Timeout):  # the outer one still holds it
            FileLock(tmp_path / ".locks/print").acquire(timeout=0)
    FileLock(tmp_path / ".locks/print").acquire(timeout=0)


def test_processes_train_the_same_one_after_another(tmp_path, root):
    log = tmp_path / "log"
    command = [sys.executable, "-c", ONE_AFTER_ANOTHER, str(tmp_path / "locks"), str(log)]
    processes = [
        subprocess.Popen(command, env={"PYTHONPATH": str(root / "src")}, stdout=subprocess.DEVNULL)
        for _ in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4
    assert log.read_text().split() == ["in", "out"] * 80  # never two at once
