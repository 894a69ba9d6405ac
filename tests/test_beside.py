"""Tasks that two processes share: what is done where, and what becomes of failures."""

import functools
import operator
import os
import threading
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from actlab.engine.parallel import begun_beside, do_beside

TASKS = {name: functools.partial(operator.mul, name, 2) for name in "abcd"}
RESULTS = {"a": "aa", "b": "bb", "c": "cc", "d": "dd"}


class Beside(Executor):
    """An executor that does the first things it is given; at the next one its process dies."""

    def __init__(self, does):
        self.does = does

    def submit(self, call, /, *arguments, **keywords):
        if self.does < 0:
            raise BrokenExecutor
        future = Future()
        self.does -= 1
        try:
            if self.does < 0:
                raise BrokenExecutor
            future.set_result(call(*arguments, **keywords))
        except Exception as error:
            future.set_exception(error)
        return future


class AtWork(Executor):
    """An executor that comes to no end of what it is given."""

    def __init__(self):
        self.given = []

    def submit(self, call, /, *arguments, **keywords):
        self.given.append((Future(), functools.partial(call, *arguments, **keywords)))
        return self.given[-1][0]


@pytest.mark.parametrize("does", range(5))
def test_what_the_other_process_leaves_is_done_here(does):
    with begun_beside(TASKS, Beside(does)) as results:
        assert results == {}
    assert list(results.items()) == list(RESULTS.items())


def test_one_takes_the_first_tasks_and_the_other_the_last():
    beside, here = AtWork(), []

    def do(name):
        here.append(name)
        if name == "c":  # meanwhile the other ends its first, and takes one more
            beside.given[0][0].set_result("a there")
            beside.given[1][0].set_result("b there")
        return f"{name} here"

    found = do_beside({name: functools.partial(do, name) for name in "abcd"}, beside)
    assert here == ["d", "c"]
    assert found == {"a": "a there", "b": "b there", "c": "c here", "d": "d here"}


def test_what_fails_beside_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        do_beside({"a": functools.partial(operator.truediv, 1, 0)}, Beside(1))


def test_nothing_is_begun_after_a_failure():
    beside = AtWork()
    with pytest.raises(ValueError, match="no study"), begun_beside(TASKS, beside):
        raise ValueError("no study")
    beside.given[0][0].set_result("aa")  # asks for the next
    assert len(beside.given) == 1


class Breaking(Executor):
    """An executor that breaks as those of Python 3.12 do: while it holds what `submit` takes."""

    def __init__(self):
        self.lock, self.future, self.begun = threading.Lock(), Future(), 0

    def submit(self, call, /, *arguments, **keywords):
        self.begun += 1
        assert self.lock.acquire(blocking=False), "a deadlock"
        self.lock.release()
        return self.future

    def end(self):
        with self.lock:
            self.future.set_exception(BrokenExecutor())


def test_nothing_is_asked_of_an_executor_that_breaks():
    beside = Breaking()
    with begun_beside(TASKS, beside) as results:
        beside.end()  # what a callback raises, its future only logs
    assert (results, beside.begun) == (RESULTS, 1)


# In words, since another process cannot import this module.
DIE_ELSEWHERE = """
import os, pathlib, signal
if os.getpid() != parent:
    pathlib.Path(path).touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_two_processes_of_which_one_is_killed(tmp_path):
    with ProcessPoolExecutor(1, get_context("spawn")) as beside:
        assert do_beside(TASKS, beside) == RESULTS
        told = {"parent": os.getpid(), "path": str(tmp_path / "begun elsewhere")}
        fatal = functools.partial(exec, DIE_ELSEWHERE, told)
        found = do_beside({"fatal": fatal, **TASKS}, beside)
        assert found == {"fatal": None, **RESULTS}
    assert (tmp_path / "begun elsewhere").is_file()
