"""Tasks of which another process of this machine does its part."""

import os
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")


@contextmanager
def begun_beside(
    tasks: Mapping[Name, Callable[[], Result]], beside: Executor
) -> Iterator[dict[Name, Result]]:
    """Let another process do tasks while the block runs, and then do here what is left of them.

    When the block raises, nothing is begun any more.

    Parameters
    ----------
    tasks
        What gives each result. They have to be what pickle can take, and so have the results.
    beside
        Does the first ones first, one at a time; what is raised there is raised here. Where its
        process is killed, this one does what it leaves.

    Yields
    ------
    dict
        Empty; behind the block every result by its name, in the order of the tasks.
    """
    waiting, begun = deque(tasks), dict[Name, Future[Result]]()
    taking = Lock()

    def begin_next(ended: Future[Result] | None = None) -> None:
        # Not all at once: what an executor has in its queue it does not give back.
        if ended and (ended.cancelled() or isinstance(ended.exception(), BrokenExecutor)):
            return  # an executor that breaks may hold the lock that `submit` takes
        with taking:
            if not waiting:
                return
            try:
                future = beside.submit(tasks[waiting[0]])
            except BrokenExecutor:
                return
            begun[waiting.popleft()] = future
        future.add_done_callback(begin_next)

    def take_last() -> Name | None:
        with taking:
            return waiting.pop() if waiting else None

    results: dict[Name, Result] = {}
    begin_next()
    try:
        yield results
        here: dict[Name, Result] = {}
        while (name := take_last()) is not None:
            here[name] = tasks[name]()
        for name, task in tasks.items():
            try:
                results[name] = here[name] if name in here else begun[name].result()
            except BrokenExecutor:
                results[name] = task()
    except BaseException:
        with taking:
            waiting.clear()
        wait([each for each in begun.values() if each.running()])
        raise


def do_beside(tasks: Mapping[Name, Callable[[], Result]], beside: Executor) -> dict[Name, Result]:
    """Do tasks in this process and in another; give their results, in order."""
    with begun_beside(tasks, beside) as results:
        pass
    return results


def tell_after(line: str, task: Callable[[], Result]) -> Result:
    """Do a task, in whichever process, and then say a line on its standard output."""
    result = task()
    print(line, flush=True)
    return result


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
