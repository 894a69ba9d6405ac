"""How long a comparison, and a job's bookkeeping, take with 1,000 runs in the store.

    python benchmarks/compare.py --folder ../a-new-folder

Fills a fresh SQLite store, through the calls that a training makes, with 1,000 finished runs: 143
configurations (activations, depths, learning rates) with six seeds each, 20 epochs a seed, the
numbers drawn at random; no network is trained. Then it runs `python -m actlab.stages.compare` as a
user does, and prints the seconds; and those of what a job asks of that store. A folder that holds
the store already is not filled again. No model is stored: a comparison reads none, and what
storing one takes of a job is not in these numbers. The exit status is 1 where a comparison takes
30 s or more.
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
    """Write runs into mlflow.db of the current folder, all in a sweep of that name.

    Of the configurations from `first` up to `last`, in an order that is always the same.
    """
    sys.path.insert(0, str(ROOT / "tests"))
    from planted import activation_of, configured  # pyright: ignore[reportMissingImports]
    from planted_run import folder_of, plant_run  # pyright: ignore[reportMissingImports]

    from actlab.models.config import NetworkConfig
    from actlab.tracking import publish
    from actlab.tracking.store import connect
    from actlab.training.config import TrainingConfig

    publish.log_model = lambda *_: (None, 101_770)  # a second each, and nothing to compare
    rng = np.random.default_rng(first)
    store = connect()
    base = configured(Path(), seeds=list(SEEDS))
    jobs = list(islice(product(LEARNING_RATES, ACTIVATIONS, DEPTHS), first, last))
    for rate, activation, depth in tqdm(jobs, unit="configuration"):
        config = replace(
            base,
            activation=activation_of(activation),
            network=NetworkConfig("uniform", f"{depth}x64"),
            training=TrainingConfig(EPOCHS, 128, rate, [0]),
            sweep=name,
        )
        best = rng.uniform(0.95, 0.98)

        def accuracy(seed: int, epoch: int, best: float = best) -> float:
            return best - 0.1 / (epoch or EPOCHS) + rng.normal(0, 0.002)

        plant_run(config, folder_of(config), accuracy)
        publish.publish(config, folder_of(config), store)


def bookkeep() -> dict[str, float]:
    """Time what a job of six seeds and 20 epochs asks of the store, without its model; seconds."""
    sys.path.insert(0, str(ROOT / "tests"))
    from planted import configured  # pyright: ignore[reportMissingImports]
    from planted_run import folder_of, plant_run  # pyright: ignore[reportMissingImports]

    from actlab.results.identity import fingerprint
    from actlab.tracking import publish
    from actlab.tracking.store import connect
    from actlab.training.config import TrainingConfig

    publish.log_model = lambda *_: (None, 101_770)
    connect()  # which imports mlflow
    config = configured(Path(), seeds=list(SEEDS), training=TrainingConfig(EPOCHS, 128, 0.5, [0]))
    folder, took = folder_of(config), {}

    def timed(what: str, call: Callable[[], object]) -> None:
        started = time.perf_counter()
        call()
        took[what] = took.get(what, 0.0) + time.perf_counter() - started

    timed("fingerprint", lambda: fingerprint(config))
    digest = f"{fingerprint(config)}-{time.time()}"
    timed("opening the store", connect)
    store = connect()
    timed("looking for a finished one", lambda: store.find_finished(digest))
    timed("closing unfinished ones", lambda: store.close_ended(digest))
    publisher = publish.create_publisher(config, folder, store)
    for epoch in range(1, EPOCHS + 1):
        plant_run(config, folder, epochs=dict.fromkeys(SEEDS, epoch), fingerprint=digest)
        what = "opening seven runs" if epoch == 1 else "epochs (beside the training)"
        timed(what, publisher.publish)
    plant_run(config, folder, fingerprint=digest)
    timed("ending seven runs", publisher.publish)
    timed("finding it finished: a job that is skipped", lambda: store.find_finished(digest))
    return took


def around(took: dict[str, float]) -> float:
    """Sum the seconds of a job's bookkeeping that are before and after its training."""
    return sum(seconds for what, seconds in took.items() if "beside" not in what)


def prepare(folder: Path) -> None:
    """Go into a folder that has what a comparison needs, but for the store."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "conf", folder / "conf", dirs_exist_ok=True)
    shutil.copy(ROOT / "params.yaml", folder)
    os.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)


def compare(name: str) -> float:
    """Compare the configurations of a sweep as a user does; give the seconds."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "actlab.stages.compare", f"sweep={name}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Fill the store, compare, print how long it took; fail where that is too long."""
    parser = argparse.ArgumentParser(description="How long a comparison of 1,000 runs takes.")
    parser.add_argument("--folder", type=Path, help="where the store is made, or is already")
    parser.add_argument("--rounds", type=int, default=3, help="comparisons that are timed")
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
    print(f"{around(took):.2f} s before and after the training, in all")
    if slowest >= MOST_SECONDS:
        sys.exit(f"a comparison took {slowest:.1f} s: it has to take less than {MOST_SECONDS}")


if __name__ == "__main__":
    main()
