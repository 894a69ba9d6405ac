"""MLflow stores that refuse, die, are slow, full, read-only or locked, while something trains."""

import itertools
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from faulty import Proxy, started_server
from mounts import fill, mount, where_mounts_are_allowed
from small_training import (
    EPOCHS,
    VALUES,
    Fault,
    compared,
    digests,
    mended,
    plant,
    survive,
    train,
    train_under,
    use,
    write_seed,
)

from actlab.tracking import store as stores
from actlab.tracking.store import connect

pytestmark = [
    # As in published.py.
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy:DeprecationWarning:mlflow.store.tracking"
    ),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning:mlflow"),
]

Tally = Callable[[str, int, list[str]], None]


@pytest.fixture(scope="module")
def easy(tmp_path_factory):
    """What the training writes that nothing disturbs; its folder is the current one."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("stores")
    plant(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "")  # set back at the end
        use(folder, "sqlite:///mlflow.db")
        assert "MLflow" not in train()
        assert compared(connect()) == []
        yield digests()
        os.chdir(before)


@pytest.fixture
def store(easy, tmp_path, monkeypatch):
    """A store of SQLite's that is new and empty."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    connect()
    return tmp_path / "mlflow.db"


# --- A server -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The port of MLflow's own server."""
    with started_server(tmp_path_factory.mktemp("server")) as port:
        yield port


@pytest.fixture
def proxy(easy, server, monkeypatch):
    """A function that gives a proxy before the server, where an experiment of its own is used."""
    proxies = []

    def begin() -> Proxy:
        proxies.append(Proxy(server))
        # Each has the server to itself, as far as it can see.
        monkeypatch.setattr(stores, "EXPERIMENT", f"actlab-{proxies[-1].port}")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{proxies[-1].port}")
        return proxies[-1]

    yield begin
    for each in proxies:
        each.die()


def count_requests(proxy: Proxy) -> int:
    """Give how many requests an easy training makes."""
    proxy.requests = 0
    assert "MLflow" not in train()
    requests = proxy.requests
    assert compared(connect()) == []
    return requests


def failing(proxy: Proxy, how: str | float, first: int, last: int = sys.maxsize) -> Fault:
    """The server fails at some requests, by their numbers."""
    name = f"{how} from request {first}" if last > first else f"{how} at request {first}"

    def begin() -> None:
        proxy.die()
        proxy.fault = lambda number: how if first <= number <= last else ""
        proxy.live()

    return Fault(name, begin, proxy.mend, loss="this training is ")


@pytest.mark.whole("every moment; test_store.py kills one")
def test_a_server_that_refuses_or_fails_costs_a_line(proxy, easy, tally):
    for how, names in (
        ("die", "MLflow's server is killed"),
        ("drop", "MLflow's server drops every connection"),
        ("500", "MLflow's server answers 500"),
    ):
        total = count_requests(proxy())
        moments = range(1, total + 1) if how == "die" else sorted({1, 2, 5, total // 2, total})
        failures = [
            line for first in moments for line in survive(failing(proxy(), how, first), easy)
        ]
        tally(f"{names}, from its n-th request on", len(moments), failures)


@pytest.mark.whole("a training; test_store.py has it without")
def test_a_server_that_refuses_from_the_start(proxy, easy, tally):
    refusing = proxy()
    failures = survive(Fault("refused", refusing.die, refusing.live), easy)
    tally("MLflow's server refuses connections", 1, failures)


@pytest.mark.whole("takes a minute")
def test_an_answer_that_is_lost_is_asked_for_again(proxy, tally):
    """MLflow tries a second time: nothing is lost, and nothing of it is there twice."""
    failures = []
    total = count_requests(proxy())
    for how in ("mute", "drop", "500"):
        for first in range(1, total, 3):
            one = proxy()
            one.fault = lambda number, at=first, how=how: how if number == at else ""
            said = train()
            one.mend()
            if "MLflow at" in said:
                failures += [f"{how} {first}: {each}" for each in mended()]
                continue
            # The run whose making was answered to nobody is of this process, which has not ended.
            left = [each for each in compared(connect()) if "claim to be" not in each]
            failures += [f"{how} {first}: {each}" for each in left]
    tally("MLflow's server fails one request", 3 * len(range(1, total, 3)), failures)


@pytest.mark.whole("2 s a call; test_publish.py counts the calls")
def test_a_slow_server_is_asked_as_often_for_many_epochs_as_for_few(proxy, tally):
    counts, failures = {}, []
    for epochs in (EPOCHS, 150):
        slow = proxy()
        slow.fault = lambda number: 2.0
        began = time.monotonic()
        said = train(epochs)
        took = time.monotonic() - began
        counts[epochs] = slow.requests
        print(f"{epochs} epochs: {took:.0f} s, {slow.requests} requests")
        failures += [line for line in said.splitlines() if "MLflow" in line]
        slow.mend()
        failures += compared(connect())
    if counts[150] > counts[EPOCHS] + 20:
        failures.append(f"{counts}")
    tally("MLflow's server takes 2 s a call", 2, failures)


# --- A file of SQLite's -------------------------------------------------------------------

LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.whole("takes a minute")
@pytest.mark.parametrize("after", [0, 2])
def test_a_store_that_another_process_has_locked(store, easy, after, tally):
    others: list[subprocess.Popen[str]] = []

    def lock() -> None:
        command = [sys.executable, "-c", LOCK, str(store)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        others.append(subprocess.Popen(command, text=True, **pipes))
        assert others[-1].stdout
        assert others[-1].stdout.readline() == "locked\n"

    def unlock() -> None:
        others[-1].communicate()

    loss = "logged in part only" if after else "not logged"
    fault = Fault("locked", lock, unlock, after, loss)
    when = "in the middle" if after else "from the start"
    tally(f"SQLite store locked by another process, {when}", 1, survive(fault, easy))


def suffer_full(folder: Path, easy: dict[str, str], after: int, is_new: bool) -> list[str]:
    """Train while the disk of the store fills up before a write; 0 is from the start."""
    when = f"write {after}" if after else "the start, no store yet" if is_new else "the start"
    disk = folder / when
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=16m", "none", disk)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{disk}/mlflow.db"
    if not is_new:
        connect()
    name, unfill = f"full from {when}", (disk / "filler").unlink
    fault = Fault(name, lambda: fill(disk), unfill, after, "this training is ")
    wrong = survive(fault, easy)
    with closing(sqlite3.connect(disk / "mlflow.db")) as database:
        if database.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            wrong.append(f"{name}: the store is damaged")
    return wrong


def suffer_read_only(folder: Path, easy: dict[str, str], what: str) -> list[str]:
    """Train with a store whose file or folder cannot be written."""
    disk = folder / f"read-only {what}"
    disk.mkdir()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{disk}/mlflow.db"
    connect()
    path = disk if what == "folder" else disk / "mlflow.db"

    def protect() -> None:
        disconnect()
        mount("--bind", path, path)
        mount("-o", "remount,bind,ro", path)

    def open_up() -> None:
        disconnect()
        subprocess.run(["umount", path], check=True)

    return survive(Fault(disk.name, protect, open_up), easy)


def disconnect() -> None:
    """Close MLflow's connections, as if the process that is next were another."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for engine in SqlAlchemyStore._engine_map.values():
        engine.dispose()


def suffer_disks(name: str) -> dict[str, list[list[str]]]:
    """Train with stores on such disks; the process has to be allowed to mount."""
    folder = Path(name)
    plant(folder)
    use(folder, "sqlite:///easy/mlflow.db")
    _, writes, _ = train_under(Fault("none", list, list))
    easy = digests()
    moments = [(0, True), *((after, False) for after in range(writes + 1))]
    return {
        "full": [suffer_full(folder, easy, *moment) for moment in moments],
        "read-only": [suffer_read_only(folder, easy, what) for what in ("folder", "file")],
    }


@pytest.mark.whole("takes a minute")
def test_a_store_on_a_disk_that_is_full_or_read_only(tmp_path, tally):
    (tmp_path / "work").mkdir()
    found = where_mounts_are_allowed(
        "test_stores", "suffer_disks", tmp_path, str(tmp_path / "work")
    )
    for what, wrong in found.items():
        tally(f"SQLite store on a disk that is {what}", len(wrong), [*itertools.chain(*wrong)])


# --- Writers, one of them killed ----------------------------------------------------------


def write_beside_a_kill(folder: Path, context: Any, rng: random.Random, count: int) -> list[str]:
    """Have one of several writers killed; give a line for each thing that is wrong then."""
    connect()
    at_once = context.Barrier(count + 1, timeout=60)
    writers = [
        context.Process(target=write_seed, args=(number, at_once, folder))
        for number in range(count)
    ]
    for each in writers:
        each.start()
    at_once.wait()
    time.sleep(rng.uniform(0.1, 1.5))
    killed = rng.randrange(count)
    writers[killed].kill()
    for each in writers:
        each.join()
    wrong = [
        f"writer {number} ended with {each.exitcode}"
        for number, each in enumerate(writers)
        if number != killed and each.exitcode != 0
    ]
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        if database.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            wrong.append("the store is damaged")
    store = connect()
    store.close_ended()
    if store.search("RUNNING", {}):
        wrong.append("a run claims to be running")
    seeds = store.search("FINISHED", {"actlab.kind": "seed"})
    for run in seeds:
        number = int(run.data.tags["actlab.seed"])
        for name in VALUES:
            logged = store.client.get_metric_history(run.info.run_id, name)
            expected = [(epoch, epoch + number / 10) for epoch in range(1, EPOCHS + 1)]
            if sorted((each.step, each.value) for each in logged) != expected:
                wrong.append(f"{name} of writer {number} is not whole")
    missing = {*range(count)} - {int(run.data.tags["actlab.seed"]) for run in seeds} - {killed}
    return wrong + [f"the run of writer {number} is not finished" for number in sorted(missing)]


def test_writers_to_one_store_of_which_one_is_killed(tmp_path, monkeypatch, is_whole, tally):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    rounds, writers = (20, 8) if is_whole else (1, 3)
    failures, rng = [], random.Random(0)
    context = get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "actlab.tracking.publish", "mlflow.store.tracking"])
    for number in range(rounds):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        monkeypatch.setenv("DVC_ROOT", str(folder))
        wrong = write_beside_a_kill(folder, context, rng, writers)
        if wrong:
            failures.append(f"round {number}: {'; '.join(wrong)}")
        shutil.rmtree(folder)
    tally(f"SQLite store under {writers} writers, one of them killed", rounds, failures)
