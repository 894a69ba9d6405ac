"""Tasks shared between two processes."""

import functools
import operator
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from actlab.engine.parallel import helper_process, share, sharing

TASKS = {name: functools.partial(operator.mul, name, 2) for name in "abcd"}
RESULTS = {"a": "aa", "b": "bb", "c": "cc", "d": "dd"}

# As text, since another process cannot import this module.
DIE_ELSEWHERE = """
import os, pathlib, signal
if os.getpid() != parent:
    pathlib.Path(path).touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_results_keep_the_order_of_the_tasks():
    with ThreadPoolExecutor(1) as helper, sharing(TASKS, helper) as results:
        assert results == {}
    assert list(results.items()) == list(RESULTS.items())


def test_a_failure_of_the_helper_is_raised_here():
    with ThreadPoolExecutor(1) as helper, pytest.raises(ZeroDivisionError):
        share({"a": functools.partial(operator.truediv, 1, 0)}, helper)


def test_what_a_killed_helper_leaves_runs_here(tmp_path):
    known = {"parent": os.getpid(), "path": str(tmp_path / "begun elsewhere")}
    fatal = functools.partial(exec, DIE_ELSEWHERE, known)
    with (
        helper_process() as helper,
        sharing({"fatal": fatal, **TASKS}, helper) as results,
    ):
        while not (tmp_path / "begun elsewhere").is_file():
            time.sleep(0.05)
    assert results == {"fatal": None, **RESULTS}


def test_the_helper_ends_when_the_block_fails():
    started = []

    def fail_with(helper):
        started.append(psutil.Process(helper.submit(os.getpid).result()))
        blocked = helper.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result()
        assert signal.SIGINT in blocked  # Ctrl-C is the parent's to answer
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), helper_process() as helper:
        fail_with(helper)
    assert not psutil.wait_procs(started, timeout=20)[1]
