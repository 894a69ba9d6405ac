"""A real training of two seeds that takes seconds, while its MLflow store fails."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import configured
from planted_run import plant_run

from actlab.activations.config import ActivationConfig
from actlab.data import splits
from actlab.data.config import DataConfig
from actlab.engine import csvs
from actlab.engine.files import this_machine
from actlab.models.config import NetworkConfig
from actlab.results import layout, tables
from actlab.results.layout import RunFolder
from actlab.schema import Config, PathsConfig
from actlab.tracking import publish
from actlab.tracking.store import Store, connect
from actlab.tracking.sync import sync
from actlab.training.config import TrainingConfig

SEEDS, EPOCHS = [0, 1], 6
NAME = "relu/mlp"
MODELS, RESULTS = Path("runs/relu-mlp/models"), Path("runs/relu-mlp/results")
TIMINGS = Path("runs/relu-mlp/timings.csv")


def small(epochs: int = EPOCHS) -> Config:
    """Its configuration; paths count from the current folder, as DVC's do."""
    return configured(
        Path(),
        seeds=SEEDS,
        training=TrainingConfig(epochs, 32, [0, 1]),
        activation=ActivationConfig("relu", "relu", {}),
        network=NetworkConfig("mlp", [4]),
        paths=PathsConfig(
            *(None, "data/raw", "data/processed", "."),
            *("runs", "results", "timings", "reports", "checkpoints"),
        ),
    )


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in a folder, whose store is a file of SQLite's in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
            patch.delenv(name, raising=False)
        yield


def plant(folder: Path) -> None:
    """Write images to train on: noise, whose label is the brightest tenth of it."""
    rng = np.random.default_rng(0)

    def split(count: int) -> splits.Split:
        images = splits.scale_images(rng.integers(0, 256, (count, 784), np.uint8))
        brightness = images[:, :780].reshape(count, 10, 78).mean(axis=2)
        return splits.Split(images, brightness.argmax(axis=1).astype(np.int32))

    planted = splits.Splits(split(128), None, split(64), tuple("0123456789"), (28, 28))
    made_with = asdict(DataConfig("mnist", 0, 0))
    splits.save_processed(planted, folder / "data/processed", made_with)


def train(epochs: int = EPOCHS) -> str:
    """Train it anew in the current folder; return what it says."""
    from actlab.stages.train import train

    for path in (MODELS, RESULTS):
        shutil.rmtree(path, ignore_errors=True)
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        train(small(epochs))
    return output.getvalue()


def digests() -> dict[str, str]:
    """Return the SHA-256 of what it wrote and can repeat."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in (MODELS, RESULTS)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@dataclass
class Fault:
    """What happens to a store: `begin` before the write `after` (0: before all), `end` after."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    after: int = 0
    loss: str = "this training is not logged"


def survive(fault: Fault, undisturbed: dict[str, str], epochs: int = EPOCHS) -> list[str]:
    """Train while a store fails, repair it, sync twice; return a line for each fault."""
    said, _, took = train_under(fault, epochs)
    wrong = [] if digests() == undisturbed else ["the outputs are not those of an easy training"]
    lines = [line for line in said.splitlines() if "MLflow" in line]
    if len(lines) != 1 or fault.loss not in lines[0] or "Traceback" in said:
        wrong.append(f"said {lines or said!r}")
    wrong += mended(epochs)
    return [f"{fault.name}: {each} ({took:.0f} s)" for each in wrong]


def train_under(fault: Fault, epochs: int = EPOCHS) -> tuple[str, int, float]:
    """Train while a store fails, then mend it; return what was said, the writes, the seconds."""
    writes, write = [], Store.write

    def counted(self: Store, *args: Any, **named: Any) -> None:
        writes.append(args)
        if len(writes) == fault.after:
            fault.begin()
        write(self, *args, **named)

    if not fault.after:
        fault.begin()
    began = time.monotonic()
    Store.write = counted
    try:
        said = train(epochs)
    finally:
        Store.write = write
        took = time.monotonic() - began
        fault.end()
    return said, len(writes), took


def mended(epochs: int = EPOCHS) -> list[str]:
    """Sync twice; return a line for each thing of the store that is not as in the files."""
    store = connect()
    ended = subprocess.Popen(["true"])
    ended.wait()
    for run in store.search("RUNNING", {}):  # as if the process of the training had ended
        process = f"{this_machine()}:{ended.pid}:1"
        store.client.set_tag(run.info.run_id, "actlab.process", process)
    synced = [sync(small(epochs), ["gradients", "report"]).written for _ in range(2)]
    wrong = []
    if f"{NAME}: 2 seeds" not in synced[0] or synced[1]:
        wrong.append(f"sync wrote {synced[0]}, then {synced[1]}")
    return wrong + compared(store)


def compared(store: Store) -> list[str]:
    """Return a line for each thing of the store that is not as in the files, or is there twice."""
    wrong = []
    if running := store.search("RUNNING", {}):
        wrong.append(f"{len(running)} runs claim to be running")
    parents = store.search("FINISHED", {"actlab.kind": "configuration"})
    if len(parents) != 1:
        return [*wrong, f"{len(parents)} finished configurations"]
    below = {"mlflow.parentRunId": parents[0].info.run_id}
    runs = {int(run.data.tags["actlab.seed"]): run for run in store.search("FINISHED", below)}
    if sorted(runs) != SEEDS:
        return [*wrong, f"finished seeds {sorted(runs)}"]
    history = tables.read_table(RESULTS / "history.csv", layout.HISTORY)
    history = history.merge(tables.read_table(TIMINGS, layout.TIMINGS))
    test = tables.read_table(RESULTS / "test.csv", layout.TEST).set_index("seed")
    for seed, run in runs.items():
        rows = csvs.where(history, seed=seed)
        expected = {
            name: list(zip(rows["epoch"], rows[name], strict=True))
            for name in (*layout.HISTORY[2:], "epoch_seconds")
        }
        expected |= {name: [(0, test.loc[seed, name])] for name in layout.TEST[1:]}
        for name, values in expected.items():
            logged = store.client.get_metric_history(run.info.run_id, name)
            if {(each.step, each.value) for each in logged} != set(values):
                wrong.append(f"{name} of seed {seed} is not that of the files")
    return wrong


def use(folder: Path, uri: str) -> None:
    """Work in a folder, with a store."""
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = uri


#: What `write_seed` logs that is known: the epoch and a tenth of the seed.
VALUES = ("accuracy", "val_accuracy")


def write_seed(number: int, at_once: Any, folder: Path) -> None:
    """Publish a seed as a training does, to the store of a folder, in a process of its own."""
    os.environ["DVC_ROOT"] = str(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    publish.log_model = lambda *_: (None, 100)
    config = configured(folder, seeds=[number], training=TrainingConfig(EPOCHS, 32, [0]))
    run = RunFolder(folder / f"{number}")
    at_once.wait()
    with publish.LivePublisher(config, run) as publisher:
        for epoch in range(1, EPOCHS + 2):
            plant_run(config, run, lambda seed, epoch: epoch + seed / 10, epochs={number: epoch})
            publisher.publish()
            time.sleep(0.05)
    sys.exit(1 if publisher.is_lost else 0)
