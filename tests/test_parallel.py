"""Tasks shared between two processes, and the cores that a container grants."""

import functools
import operator
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from actlab.engine import parallel
from actlab.engine.parallel import available_cores, helper_process, share, sharing

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


@pytest.fixture
def container(tmp_path, monkeypatch):
    """Plant the control groups of a process that may run on 8 cores."""
    monkeypatch.setattr(parallel, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(parallel, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))

    def plant(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return plant


V1 = "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/\n"


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),  # docker run --cpus 2
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 8),  # more than there are
        ("0::/\n", {"cpu.max": ""}, 8),
        ("0::/a.slice/b.scope\n", {"a.slice/cpu.max": "300000 100000"}, 3),  # systemd-run
        (
            "0::/a/b\n",
            {"a/b/cpu.max": "400000 100000", "a/cpu.max": "300000 100000"},
            3,
        ),
        ("0::/../other\n", {}, 8),
        (V1, {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        (
            V1,
            {"cpu/docker/1/cpu.cfs_quota_us": "100000", "cpu/docker/1/cpu.cfs_period_us": "50000"},
            2,
        ),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        (
            V1.replace("cpu,cpuacct", "cpuacct,cpu"),
            {"cpu/docker/1/cpu.cfs_quota_us": "100000", "cpu/docker/1/cpu.cfs_period_us": "50000"},
            2,
        ),
        ("", {}, 8),
    ],
)
def test_cores_are_those_that_the_container_grants(own, files, cores, container):
    container(own, files)
    assert available_cores() == cores


def test_cores_are_counted_where_there_are_no_control_groups(container, monkeypatch):
    assert available_cores() == 8
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1
