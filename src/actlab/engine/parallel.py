"""Tasks shared between this process and a helper process, and the cores that there are."""

import math
import os
import signal
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from actlab.engine.interrupts import end_with_parent
from actlab.errors import UserError

Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")

#: The control groups of this process, and where the system shows all of them.
_OWN_GROUPS, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


@contextmanager
def helper_process() -> Iterator[Executor]:
    """Start a process that works in parallel with this one, and ends with it."""
    helper = ProcessPoolExecutor(1, get_context("spawn"), initializer=end_with_parent)
    try:
        # Ctrl-C reaches both processes: this one answers it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        helper.submit(os.getpid)  # starts the process now
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        yield helper
    except BaseException:
        helper.shutdown(cancel_futures=True)
        raise
    helper.shutdown(wait=False)


def run_apart(tasks: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Run each task in a new process, one after the other, and give their results.

    Tasks and results must be picklable.

    Raises
    ------
    UserError
        When a process is killed.
    """
    for task in tasks:
        with ProcessPoolExecutor(1, get_context("spawn"), initializer=_stand_apart) as process:
            try:
                yield process.submit(task).result()
            except BrokenExecutor as error:
                raise UserError(
                    "a process of this stage was killed, as one is that needs too much memory: run"
                    " it again"
                ) from error


def _stand_apart() -> None:
    """End with the parent, which answers Ctrl-C for this process too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


@contextmanager
def sharing(
    tasks: Mapping[Name, Callable[[], Result]], helper: Executor
) -> Iterator[dict[Name, Result]]:
    """Run tasks in the helper while the block runs, and the rest of them here after it.

    Tasks and results must be picklable. The helper starts with the first task, this process with
    the last; a task whose helper was killed runs here.

    Yields
    ------
    dict
        Empty; after the block, every result by its name, in the order of the tasks.
    """
    futures = {name: helper.submit(task) for name, task in tasks.items()}
    results: dict[Name, Result] = {}
    try:
        yield results
        here = {name: tasks[name]() for name in reversed(futures) if futures[name].cancel()}
        for name, task in tasks.items():
            try:
                results[name] = here[name] if name in here else futures[name].result()
            except BrokenExecutor:
                results[name] = task()
    except BaseException:
        for future in futures.values():
            future.cancel()
        raise


def share(tasks: Mapping[Name, Callable[[], Result]], helper: Executor) -> dict[Name, Result]:
    """Run tasks in this process and in the helper; return their results, in order."""
    with sharing(tasks, helper) as results:
        pass
    return results


def available_cores() -> int:
    """Return the number of cores that this process may use, by affinity and container quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, math.ceil(min(cores or 1, _read_quota())))


def _read_quota() -> float:
    """Return how many cores' time this process may take: the least quota of its control groups."""
    quotas = [math.inf]
    with suppress(OSError):
        for line in _OWN_GROUPS.read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            mount = _GROUPS / "cpu" if controllers else _GROUPS  # version 1, version 2
            # In a container its own group may be the mount itself, whatever its name outside.
            folder = mount / group.strip("/")
            while folder.is_relative_to(mount):
                quotas.append(_quota_of(folder))
                folder = folder.parent
    return min(quotas)


def _quota_of(folder: Path) -> float:
    """Return the quota of one control group, in cores; infinity if it has none."""
    names = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))  # version 2, version 1
    for files in names:
        with suppress(OSError, ValueError):  # ValueError: "max"
            text = " ".join((folder / name).read_text(encoding="ascii") for name in files)
            quota, period = map(int, text.split())
            if quota > 0:  # -1: none
                return quota / period
    return math.inf
