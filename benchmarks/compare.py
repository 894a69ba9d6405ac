"""Time a comparison, and a job's bookkeeping, with 1,000 runs in the store.

    python benchmarks/compare.py --folder ../a-new-folder

Fills a new SQLite store, through the calls that a training makes, with 1,000 finished runs: 143
configurations (activations, depths, learning rates) with six seeds each, 20 epochs per seed, and
random numbers; no network is trained. Then it times `python -m actlab.stages.compare`, and the
calls that one job makes to that store. A folder that already holds the store is not filled again.
No models are stored: a comparison reads none, and a job's numbers exclude the time to store one.
The exit status is 1 if a comparison takes 30 s or more.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu")
DEPTHS = (1, 2, 4, 8, 16, 32)
LEARNING_RATES = [round(0.0003 * 1.3**power, 6) for power in range(20)]
CONFIGURATIONS, SEEDS, EPOCHS = 143, range(6), 20
MOST_SECONDS = 30


def fill(name: str, first: int, last: int) -> None:
    """Write the runs of the sweep `name` to mlflow.db in the current folder.

    They are the configurations from `first` up to `last`, in a fixed order.
    """
    sys.path.insert(0, str(ROOT / "tests"))
    from planted import activation_of, adam, configured  # pyright: ignore[reportMissingImports]
    from planted_run import folder_of, plant_run  # pyright: ignore[reportMissingImports]

    from actlab.models.config import NetworkConfig
    from actlab.tracking import publish
    from actlab.tracking.store import connect
    from actlab.training.config import TrainingConfig

    publish.log_model = lambda *_: (None, 101_770)  # takes a second each; not compared
    rng = np.random.default_rng(first)
    store = connect()
    base = configured(Path(), seeds=list(SEEDS))
    jobs = list(islice(product(LEARNING_RATES, ACTIVATIONS, DEPTHS), first, last))
    for rate, activation, depth in tqdm(jobs, unit="configuration"):
        config = replace(
            base,
            activation=activation_of(activation),
            network=NetworkConfig("uniform", f"{depth}x64"),
            training=TrainingConfig(EPOCHS, 128, [0]),
            optimizer=adam(rate),
            sweep=name,
        )
        best = rng.uniform(0.95, 0.98)

        def accuracy(seed: int, epoch: int, best: float = best) -> float:
            return best - 0.1 / (epoch or EPOCHS) + rng.normal(0, 0.002)

        plant_run(config, folder_of(config), accuracy)
        publish.publish(config, folder_of(config), store)


def bookkeep() -> dict[str, float]:
    """Time the store calls of a job of six seeds and 20 epochs, without its model; seconds."""
    sys.path.insert(0, str(ROOT / "tests"))
    from planted import adam, configured  # pyright: ignore[reportMissingImports]
    from planted_run import folder_of, plant_run  # pyright: ignore[reportMissingImports]

    from actlab.results.identity import fingerprint
    from actlab.tracking import publish
    from actlab.tracking.store import connect
    from actlab.training.config import TrainingConfig

    publish.log_model = lambda *_: (None, 101_770)
    connect()  # which imports mlflow
    training = TrainingConfig(EPOCHS, 128, [0])
    config = configured(Path(), seeds=list(SEEDS), training=training, optimizer=adam(0.5))
    folder, took = folder_of(config), {}

    def timed(what: str, call: Callable[[], object]) -> None:
        started = time.perf_counter()
        call()
        took[what] = took.get(what, 0.0) + time.perf_counter() - started

    timed("fingerprint", lambda: fingerprint(config))
    digest = f"{fingerprint(config)}-{time.time()}"
    timed("opening the store", connect)
    store = connect()
    timed("looking for a finished run", lambda: store.find_finished(digest))
    timed("closing unfinished runs", lambda: store.close_ended())
    publisher = publish.create_publisher(config, folder, store)
    for epoch in range(1, EPOCHS + 1):
        plant_run(config, folder, epochs=dict.fromkeys(SEEDS, epoch), fingerprint=digest)
        what = "opening seven runs" if epoch == 1 else "epochs (during the training)"
        timed(what, publisher.publish)
    plant_run(config, folder, fingerprint=digest)
    timed("ending seven runs", publisher.publish)
    timed("skipping a finished job", lambda: store.find_finished(digest))
    return took


def around(took: dict[str, float]) -> float:
    """Sum the seconds of a job's bookkeeping before and after its training."""
    return sum(seconds for what, seconds in took.items() if "during" not in what)


def prepare(folder: Path) -> None:
    """Change to a folder with everything that a comparison needs except the store."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "conf", folder / "conf", dirs_exist_ok=True)
    shutil.copy(ROOT / "params.yaml", folder)
    os.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)


def compare(name: str) -> float:
    """Compare the configurations of a sweep as a user does; return the seconds."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "actlab.stages.compare", f"sweep={name}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Fill the store, compare, print the times; fail if a comparison takes too long."""
    parser = argparse.ArgumentParser(description="Time a comparison of 1,000 runs.")
    parser.add_argument("--folder", type=Path, help="folder of the store, new or filled before")
    parser.add_argument("--rounds", type=int, default=3, help="number of timed comparisons")
    given = parser.parse_args()
    prepare((given.folder or Path(tempfile.mkdtemp())).resolve())
    if not Path("mlflow.db").exists():
        started = time.perf_counter()
        fill("bench", 0, CONFIGURATIONS)
        print(f"filled in {time.perf_counter() - started:.0f} s")
    slowest = 0.0
    for _ in range(given.rounds):
        slowest = max(slowest, took := compare("bench"))
        print(f"compared in {took:.1f} s", flush=True)
    took = bookkeep()
    for what, seconds in took.items():
        print(f"{seconds:.3f} s  {what}")
    print(f"{around(took):.2f} s before and after the training in total")
    if slowest >= MOST_SECONDS:
        sys.exit(f"a comparison took {slowest:.1f} s, more than the allowed {MOST_SECONDS} s")


if __name__ == "__main__":
    main()
