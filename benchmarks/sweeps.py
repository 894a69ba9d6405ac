"""Test the robustness and speed of sweeps with real trainings, in temporary folders.

    python benchmarks/sweeps.py stores --rounds 20     # processes that create a store at once
    python benchmarks/sweeps.py kills --kills 5        # a sweep of 48 jobs, killed and resumed
    python benchmarks/sweeps.py pairs --rounds 3       # two jobs at once, or one after the other

Needs `dvc repro fetch-data`. Each command prints its result and exits with status 1 if it fails.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROCESSES, EPOCHS = 8, 20
METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")


@contextmanager
def study() -> Iterator[Path]:
    """Provide a folder with the configuration and data of this repository, without a store."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "conf", folder / "conf")
        shutil.copy(ROOT / "params.yaml", folder)
        (folder / "data/raw").mkdir(parents=True)
        (folder / "data/raw/mnist").symlink_to(ROOT / "data/raw/mnist")
        yield folder


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start a sweep in a folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with (folder / "log.txt").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "actlab.stages.train", "-m", *arguments],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


# --- Stores -------------------------------------------------------------------------------


def touch(number: int, at_once: Barrier, folders: list[Path]) -> None:
    """Log a run with every metric to each folder's store, at the same time as the others."""
    sys.path.insert(0, str(ROOT / "tests"))
    configured = import_module("planted").configured
    planted_run = import_module("planted_run")
    from actlab.results.layout import RunFolder
    from actlab.tracking import publish
    from actlab.training.config import TrainingConfig

    publish.log_model = lambda *_: (None, 101_770)
    lost = False
    for folder in folders:
        os.environ["DVC_ROOT"] = str(folder)
        protocol = TrainingConfig(EPOCHS, 128, [0])
        config = configured(folder, seeds=[number], training=protocol)
        run = RunFolder(folder / f"{number}")
        at_once.wait()
        with publish.LivePublisher(config, run) as publisher:
            for epoch in range(1, EPOCHS + 2):
                planted_run.plant_run(config, run, epochs={number: epoch})
                publisher.publish()
        lost = lost or publisher.is_lost
    sys.exit(1 if lost else 0)


def measure_stores(rounds: int) -> bool:
    """Start processes at once without an existing store; verify every metric."""
    context = get_context("spawn")
    at_once = context.Barrier(PROCESSES, timeout=120)
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / str(number) for number in range(rounds)]
        for folder in folders:
            folder.mkdir()
        processes = [
            context.Process(target=touch, args=(number, at_once, folders))
            for number in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        complete = 0
        for folder in folders:
            with closing(sqlite3.connect(folder / "mlflow.db")) as database:
                (metrics,) = database.execute(
                    "SELECT COUNT(*) FROM metrics WHERE key IN (?, ?, ?, ?)", METRICS
                ).fetchone()
                (runs,) = database.execute(
                    "SELECT COUNT(*) FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid"
                    " WHERE t.key = 'actlab.seed' AND r.status = 'FINISHED'"
                ).fetchone()
            complete += (runs, metrics) == (PROCESSES, PROCESSES * EPOCHS * len(METRICS))
    succeeded = sum(process.exitcode == 0 for process in processes)
    print(
        f"{rounds} new stores, {PROCESSES} processes at once on each: {succeeded} of {PROCESSES}"
        f" processes without an error; {complete} of {rounds} stores contain every run and metric"
    )
    return succeeded == PROCESSES and complete == rounds


# --- Kills --------------------------------------------------------------------------------

GRID = [
    "activation=sigmoid,tanh,relu,gelu",
    "network=uniform",
    "network.hidden=1x4,1x8,2x8",
    "optimizer.learning_rate=0.0003,0.001,0.003,0.01",
    "seeds=[0]",
    "training.epochs=1",
    "data.validation_size=10000",
    "hydra/launcher=joblib",
]
JOBS = 4 * 3 * 4


def digests(folder: Path) -> dict[str, str]:
    """Compute the SHA-256 of every job's history, test results, logits and weights."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in (
            "runs/*/results/history.csv",
            "runs/*/results/test.*",
            "runs/*/models/*/*.h5",
        )
        for path in (folder / "multirun").glob(f"*/{pattern}")
    }


def finished(folder: Path) -> Counter[str]:
    """Count the finished configurations in the store by fingerprint."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        rows = database.execute(
            "SELECT t.value FROM tags t JOIN runs r ON r.run_uuid = t.run_uuid"
            " WHERE t.key = 'actlab.fingerprint' AND r.status = 'FINISHED'"
        )
        return Counter(value for (value,) in rows)


def measure_kills(kills: int, seed: int) -> bool:
    """Kill a sweep at random moments and resume it; compare with an uninterrupted one."""
    with study() as alone, study() as killed:
        began = time.monotonic()
        if start(alone, *GRID).wait():
            print((alone / "log.txt").read_text())
            return False
        took = time.monotonic() - began
        moments = random.Random(seed)
        progress = []
        for _ in range(kills):
            process = start(killed, *GRID)
            time.sleep(moments.uniform(5, 10 + 1.2 * took / (kills + 1)))
            process.send_signal(signal.SIGKILL)  # its children run on for a while
            process.wait()
            store = killed / "mlflow.db"
            progress.append(sum(finished(killed).values()) if store.is_file() else 0)
        status = start(killed, *GRID).wait()
        counts, once = finished(killed), finished(alone)
        equal = digests(alone) == digests(killed)
        print(
            f"{JOBS} jobs ({took:.0f} s uninterrupted), killed {kills} times, after {progress} of"
            f" them had finished; final status {status}: {len(counts)} configurations finished,"
            f" {sum(counts.values()) - len(counts)} of them more than once; the same"
            f" configurations: {set(counts) == set(once)}; histories, test results, logits and"
            f" weights equal: {equal} ({len(digests(alone))} files)"
        )
        return status == 0 and counts == once and len(once) == JOBS and equal


# --- Two jobs at once ---------------------------------------------------------------------

PAIR = ["activation=sigmoid,tanh,relu,gelu", "network=mlp,deep", "seeds=[0,1,2]"]
PAIR += ["training.epochs=3", "data.validation_size=10000"]


def measure_pairs(rounds: int) -> bool:
    """Time a sweep of eight jobs one after the other, and two at a time on half the cores each."""
    ratios = []
    for number in range(rounds):
        seconds = {}
        sides = {"alone": [], "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]}
        for side in sorted(sides, reverse=number % 2 == 1):
            with study() as folder:
                began = time.monotonic()
                if start(folder, *PAIR, *sides[side]).wait():
                    print((folder / "log.txt").read_text())
                    return False
                seconds[side] = time.monotonic() - began
        ratios.append(seconds["alone"] / seconds["joblib"])
        print(
            f"round {number + 1}: one after the other {seconds['alone']:.1f} s, two at once"
            f" {seconds['joblib']:.1f} s: {ratios[-1]:.2f} times as fast",
            flush=True,
        )
    print(
        f"two jobs at once: {statistics.median(ratios):.2f} times as fast (median of {rounds},"
        f" {min(ratios):.2f} to {max(ratios):.2f})"
    )
    return statistics.median(ratios) >= 1.2


def main() -> None:
    """Run the chosen measurement."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("stores").add_argument("--rounds", type=int, default=20)
    kills = commands.add_parser("kills")
    kills.add_argument("--kills", type=int, default=5)
    kills.add_argument("--seed", type=int, default=0, help="of the random moments")
    commands.add_parser("pairs").add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.what == "stores":
        passed = measure_stores(given.rounds)
    elif given.what == "kills":
        passed = measure_kills(given.kills, given.seed)
    else:
        passed = measure_pairs(given.rounds)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
