"""SIGINT and SIGTERM: how soon a process ends, what it prints, what becomes of its children."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from actlab.engine import interrupts

BEGIN = """
import os, signal, subprocess, sys, threading, time
from actlab.stages import interrupts

# Whoever started the tests may ignore them: a shell in the background, nohup.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def say(line):
    print(line, flush=True)
"""
AT_WORK = """
try:
    with interrupts.listening("run it again", watch_parent=False):
        say("at work")
        time.sleep(60)
except interrupts.Interrupted as interrupted:
    say("cleaned up")
    interrupts.leave(interrupted.number, "run it again")
"""
# Code that catches whatever is raised.
STUCK = """
with interrupts.listening("run it again", watch_parent=False):
    for line in ("at work", "still at work"):
        try:
            say(line)
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""
# The main thread waits in C for a lock that it holds: no handler of Python's runs.
IN_C = """
import ctypes
mutex = ctypes.create_string_buffer(64)
with interrupts.listening("run it again", watch_parent=False):
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
    say("at work")
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""
# What has to happen before the end is done by another thread, even if that waits for ever then.
LEFT_BEHIND = """
import ctypes
mutex = ctypes.create_string_buffer(64)
with interrupts.listening("run it again", watch_parent=False):
    with (
        interrupts.at_the_latest(lambda: say("closed")),
        interrupts.at_the_latest(lambda: time.sleep(60)),
    ):
        with interrupts.at_the_latest(lambda: say("is over")):
            pass
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
        say("at work")
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""
WITH_A_CHILD = (
    """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
say(child.pid)
"""
    + AT_WORK
)
UNDER_A_PARENT = """
say(os.getpid())
try:
    with interrupts.listening("run it again", watch_parent=True):
        say("at work")
        time.sleep(60)
except interrupts.Interrupted as interrupted:
    say("cleaned up")
    interrupts.leave(interrupted.number, "run `dvc repro`")
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
say("as before")
"""


@pytest.fixture
def started(root):
    """Start Python code, or another command of Python's, and kill it afterwards."""
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
    """Read up to a line; return the lines before it."""
    assert process.stdout
    before = []
    while (read := process.stdout.readline()) != f"{line}\n":
        assert read, before
        before.append(read.strip())
    return before


OUTPUTS = {AT_WORK: "cleaned up\n", STUCK: "still at work\n", IN_C: "", LEFT_BEHIND: "closed\n"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("code", OUTPUTS)
def test_a_process_ends_within_two_seconds(code, number, started):
    process = started(code)
    wait_for(process, "at work")
    time.sleep(0.2)  # it is there a moment later
    sent = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=10)
    assert time.monotonic() - sent < 2
    assert process.returncode == 128 + number
    stopped = f"\nactlab: stopped by {number.name}; run it again\n"
    assert output == OUTPUTS[code] + stopped


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
    output, _ = process.communicate(timeout=10)  # until the child lets go of the pipe
    assert time.monotonic() - killed < 2
    assert "cleaned up" in output
    assert "stopped by SIGTERM; run `dvc repro`" in output
    deadline = time.monotonic() + 2
    while psutil.pid_exists(int(child)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(child))


IGNORED = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
signal.signal(signal.SIGTERM, lambda *_: say("theirs"))  # submitit
with interrupts.listening("", watch_parent=True):
    say("at work")
    time.sleep(3)
say("ended by itself")
"""


def test_signals_that_are_ignored_or_taken_keep_their_meaning(started):
    process = started(IGNORED)
    wait_for(process, "at work")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=10)
    assert output == "theirs\nended by itself\n"
    assert process.returncode == 0


# Libraries such as TensorFlow take a while to clean up at exit.
FINISHED = """
import atexit
from actlab.stages import entry

atexit.register(lambda: (say("at its end"), time.sleep(1)))


def work(config):
    say("at work")


entry.run(work)
"""


def test_a_command_that_has_finished_ends_with_its_own_status(started):
    process = started(FINISHED)
    wait_for(process, "at its end")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert output == ""


# A library that raises another error where it is interrupted, as imports do, or none.
CONVERTS = """
from actlab.stages import entry


def work(config):
    try:
        say("at work")
        time.sleep(60)
    except KeyboardInterrupt:
        {instead}


sys.argv = ["work"]
entry.run(work)
"""


@pytest.mark.parametrize(
    "instead",
    [
        'raise ImportError("numpy._core.multiarray failed to import")',
        'raise OSError("interrupted")',
        "sys.exit(3)",
        "pass",
    ],
)
def test_a_command_whose_interrupt_is_lost_in_a_library_ends_by_its_signal(instead, started):
    process = started(CONVERTS.format(instead=instead))
    wait_for(process, "at work")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGTERM
    assert output == f"\nactlab: stopped by SIGTERM; {interrupts.ADVICE}\n"


# A job of a sweep catches errors: another one must not begin.
JOB = """
@interrupts.reraising()
def stage():
    try:
        say("at work")
        time.sleep(60)
    except KeyboardInterrupt:
        raise ImportError("numpy")


try:
    with interrupts.listening("", watch_parent=False):
        try:
            stage()
        except Exception:
            say("the next job")
except interrupts.Interrupted as interrupted:
    interrupts.leave(interrupted.number, "run it again")
"""


def test_a_job_whose_interrupt_is_lost_in_a_library_is_the_last(started):
    process = started(JOB)
    wait_for(process, "at work")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGINT
    assert output == "\nactlab: stopped by SIGINT; run it again\n"


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


def test_signals_mean_afterwards_what_they_meant_before(started):
    output, _ = started(AFTERWARDS).communicate(timeout=30)
    assert output == "as before\n"
