"""SIGINT and SIGTERM: how soon a process ends, what it says, what becomes of those it started."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from actlab.engine import interrupts

BEGIN = """
import os, signal, subprocess, sys, threading, time
from actlab.stages import interrupts

# Whoever started the tests may ignore them: a shell in the background, nohup.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def told(line):
    print(line, flush=True)
"""
AT_WORK = """
try:
    with interrupts.listening("the same command goes on", watch_parent=False):
        told("at work")
        time.sleep(60)
except interrupts.Interrupted as interrupted:
    told("cleaned up")
    interrupts.leave(interrupted.number, "the same command goes on")
"""
# Code that catches whatever is raised.
STUCK = """
with interrupts.listening("the same command goes on", watch_parent=False):
    for line in ("at work", "still at work"):
        try:
            told(line)
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""
# The main thread waits in C for a lock that it holds: no handler of Python's runs.
IN_C = """
import ctypes
mutex = ctypes.create_string_buffer(64)
with interrupts.listening("the same command goes on", watch_parent=False):
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
    told("at work")
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""
WITH_A_CHILD = (
    """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
told(child.pid)
"""
    + AT_WORK
)
UNDER_A_PARENT = """
told(os.getpid())
try:
    with interrupts.listening("the same command goes on", watch_parent=True):
        told("at work")
        time.sleep(60)
except interrupts.Interrupted as interrupted:
    told("cleaned up")
    interrupts.leave(interrupted.number, "`dvc repro` goes on")
"""
PARENT = f"""
child = subprocess.Popen([sys.executable, "-c", {BEGIN + UNDER_A_PARENT!r}])
child.wait()
"""
AFTERWARDS = """
with interrupts.listening("", watch_parent=False):
    with interrupts.listening("", watch_parent=False):
        assert interrupts.is_listening()
assert not interrupts.is_listening()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert signal.set_wakeup_fd(-1) == -1
thread = threading.Thread(
    target=lambda: interrupts.listening("", watch_parent=False).__enter__()
)
thread.start()
thread.join()
assert not interrupts.is_listening()
told("as before")
"""


@pytest.fixture
def started(root):
    """Start Python code, or another command of Python's; ends it at last."""
    processes = []

    def start(code, *command, path=(), **how):
        process = subprocess.Popen(
            [sys.executable, *(command or ("-c", BEGIN + code))],
            **how,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*path, root / "src")))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(process, line):
    """Read up to a line; gives what came before it."""
    assert process.stdout
    before = []
    while (read := process.stdout.readline()) != f"{line}\n":
        assert read, before
        before.append(read.strip())
    return before


SAID = {AT_WORK: "cleaned up\n", STUCK: "still at work\n", IN_C: ""}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("code", SAID)
def test_a_process_ends_within_two_seconds(code, number, started):
    process = started(code)
    wait_for(process, "at work")
    time.sleep(0.2)  # it is there a moment later
    sent = time.monotonic()
    process.send_signal(number)
    said, _ = process.communicate(timeout=10)
    assert time.monotonic() - sent < 2
    assert process.returncode == 128 + number
    stopped = f"\nactlab: stopped by {number.name}; the same command goes on\n"
    assert said == SAID[code] + stopped


def test_what_a_process_started_ends_with_it(started):
    process = started(WITH_A_CHILD)
    (child,) = wait_for(process, "at work")
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert time.monotonic() - sent < 2
    assert not psutil.pid_exists(int(child))


def test_a_killed_parent_ends_its_child(started):
    process = started(PARENT)
    (child,) = wait_for(process, "at work")
    killed = time.monotonic()
    process.kill()
    said, _ = process.communicate(timeout=10)  # until the child lets go of the pipe
    assert time.monotonic() - killed < 2
    assert "cleaned up" in said
    assert "stopped by SIGTERM; `dvc repro` goes on" in said
    deadline = time.monotonic() + 2
    while psutil.pid_exists(int(child)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(child))


# Its parent has ended before the module is imported.
LATE = """
while os.getppid() == int(sys.argv[1]):
    time.sleep(0.01)
"""
PARENT_THAT_ENDS = f"""
code = {BEGIN.replace("from actlab", LATE + "from actlab") + UNDER_A_PARENT!r}
subprocess.Popen([sys.executable, "-c", code, str(os.getpid())])
"""


def test_a_process_whose_parent_had_ended_before_it_looked_ends(started):
    """In a session of its own: what process 1 itself started may have it for a parent."""
    process = started(PARENT_THAT_ENDS, start_new_session=True)
    said, _ = process.communicate(timeout=10)
    assert "stopped by SIGTERM; `dvc repro` goes on" in said


IGNORED = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
signal.signal(signal.SIGTERM, lambda *_: told("theirs"))  # submitit
with interrupts.listening("", watch_parent=True):
    told("at work")
    time.sleep(3)
told("ended by itself")
"""


def test_signals_that_are_ignored_or_taken_keep_their_meaning(started):
    process = started(IGNORED)
    wait_for(process, "at work")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=10)
    assert said == "theirs\nended by itself\n"
    assert process.returncode == 0


# What a library does at the end of the process, TensorFlow for one, takes a while.
FINISHED = """
import atexit
from actlab.stages import entry

atexit.register(lambda: (told("at its end"), time.sleep(1)))
entry.run(lambda config: told("at work"))
"""


def test_a_command_that_has_finished_ends_with_its_own_status(started):
    process = started(FINISHED)
    wait_for(process, "at its end")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
    said, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert said == ""


# A module is taken apart where `taken apart` is said.
ENDING = """
import atexit, importlib.machinery, sys
from actlab.stages import entry

class Held:
    def __del__(self, write=__import__("os").write):
        write(1, b"taken apart")

held = Held()
atexit.register(lambda: told("at its end"))
if is_command:
    __spec__ = importlib.machinery.ModuleSpec("actlab.stages.any", None)

def stage(config):
    told("at work")
    if fails:
        raise OSError("no room")

entry.run(stage)
print("buffered")
"""


def test_a_command_that_is_importing_ends_without_a_traceback(started, tmp_path):
    (tmp_path / "scipy.py").write_text('import time; print("at work", flush=True); time.sleep(60)')
    process = started(
        "",
        *("-m", "actlab.stages.report"),
        path=[tmp_path],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(process, "at work")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 130
    assert output == f"\nactlab: stopped by SIGINT; {interrupts.ADVICE}\n"


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("is_command", [True, False])
def test_a_command_that_has_finished_is_not_taken_apart(is_command, fails, started):
    process = started(f"is_command, fails = {is_command}, {fails}\n{ENDING}")
    said, _ = process.communicate(timeout=30)
    refused = "actlab: no room: free disk space or fix its permissions, then run this again"
    told = ["at work", refused if fails else "buffered", "at its end"]
    assert said.splitlines() == (told if is_command else [*told, "taken apart"])
    assert process.returncode == (1 if fails else 0)


def test_signals_mean_afterwards_what_they_meant_before(started):
    said, _ = started(AFTERWARDS).communicate(timeout=30)
    assert said == "as before\n"


# What is in a module is deleted where the module is taken apart.
MARKING = """
import __main__

class Mark:
    def __init__(self):
        self.file = open(path, "w")

    def __del__(self):
        self.file.write("taken apart")
        self.file.flush()

__main__.mark = Mark()
"""


@pytest.mark.parametrize("fails", [False, True])
def test_the_process_beside_ends_with_its_work_and_is_not_taken_apart(fails, tmp_path):
    begun = []
    with suppress(ZeroDivisionError), interrupts.process_beside() as beside:
        beside.submit(exec, MARKING, {"path": tmp_path / "mark"}).result()
        begun.append(psutil.Process(beside.submit(os.getpid).result()))
        if fails:
            raise ZeroDivisionError
    assert not psutil.wait_procs(begun, timeout=20)[1]
    assert (tmp_path / "mark").read_text() == ""
