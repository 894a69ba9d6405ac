"""How long an epoch takes: actlab beside Keras's `model.fit`, in turn, in one run.

    python benchmarks/epoch.py --rounds 7

The notebook's network (784-128-64-10, ReLU, Adam, batches of 128) on the 60,000 images of
data/raw, training alone, after one unrecorded epoch. Each side is a process of its own with
the threads that it chooses for itself; in every round each trains one epoch after the other,
so that a slow minute of the machine falls on both. A checkpoint, which follows each epoch of a
training, is what `checkpoints` writes after the 20th epoch.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BATCH_SIZE, LEARNING_RATE, HIDDEN = 128, 0.001, [128, 64]


def load_training_split():
    """Load the 60,000 training images, scaled."""
    from actlab.datasets import build_splits, load_raw

    return build_splits(*load_raw("mnist", ROOT / "data/raw")).train


def prepare_keras() -> dict[str, Callable[[], float]]:
    """Prepare `model.fit` as the notebook calls it, without the validation."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    train = load_training_split()
    model: Any = keras.Sequential(
        [
            keras.Input((784,)),
            *(keras.layers.Dense(units, activation="relu") for units in HIDDEN),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )

    def epoch() -> float:
        started = time.perf_counter()
        model.fit(train.images, train.labels, epochs=1, batch_size=BATCH_SIZE, verbose=0)
        return time.perf_counter() - started

    return {"model.fit": epoch}


def prepare_actlab() -> dict[str, Callable[[], float]]:
    """Prepare the trainer: one model alone, and a model a core side by side, per model-epoch."""
    import numpy as np

    from actlab.checkpoints import Checkpoints
    from actlab.config import ActivationConfig, NetworkConfig
    from actlab.model import ModelSpec, build_model
    from actlab.runtime import keras
    from actlab.training import (
        Epoch,
        State,
        available_cores,
        compile_epoch,
        shuffled_order,
        to_device,
    )

    train = to_device(load_training_split())
    spec = ModelSpec(
        ActivationConfig("relu", "relu", {}), NetworkConfig("mlp", HIDDEN), "glorot_uniform"
    )
    cores = available_cores()
    models = [
        (build_model(spec, seed), keras.optimizers.Adam(LEARNING_RATE)) for seed in range(cores)
    ]
    programs = [compile_epoch(*each, train, BATCH_SIZE) for each in models]
    pool = ThreadPoolExecutor(cores)

    def train_epochs(seed: int, epochs: int) -> None:
        for epoch in range(epochs):
            programs[seed](shuffled_order(seed, epoch + 1, len(train.labels)))

    def alone() -> float:
        started = time.perf_counter()
        train_epochs(0, 1)
        return time.perf_counter() - started

    def side_by_side(epochs: int = 4) -> float:
        started = time.perf_counter()
        list(pool.map(lambda seed: train_epochs(seed, epochs), range(cores)))
        return (time.perf_counter() - started) / (cores * epochs)

    checkpoints = Checkpoints(ROOT / "checkpoints/benchmark")
    epochs = [
        Epoch(0, epoch, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 1.0, 1.0, cores) for epoch in range(1, 21)
    ]
    variables = [*models[0][0].variables, *models[0][1].variables]

    def checkpoint() -> float:
        started = time.perf_counter()
        state = State(0, 20, [np.array(variable) for variable in variables])
        checkpoints.save(state, epochs, [])
        seconds = time.perf_counter() - started
        checkpoints.remove()
        return seconds

    ways = {"actlab, one model": alone, f"actlab, {cores} at once": side_by_side}
    return ways | {"a checkpoint": checkpoint}


def serve(side: str, connection: Connection) -> None:
    """Warm up, then time one epoch of each way whenever asked."""
    ways = {"keras": prepare_keras, "actlab": prepare_actlab}[side]()
    for epoch in ways.values():
        epoch()
    connection.send(list(ways))
    while connection.recv():
        connection.send({name: epoch() for name, epoch in ways.items()})


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round."""
    context = get_context("spawn")
    connections = []
    seconds: dict[str, list[float]] = {}
    for side in ("keras", "actlab"):
        here, there = context.Pipe()
        context.Process(target=serve, args=(side, there), daemon=True).start()
        seconds |= {name: [] for name in here.recv()}
        connections.append(here)
    for _ in range(rounds):
        for connection in connections:
            connection.send(True)
            for name, value in connection.recv().items():
                seconds[name].append(value)
    for connection in connections:
        connection.send(False)
    return seconds


def main() -> None:
    """Print the seconds of each way, and their ratio to `model.fit` round by round."""
    parser = argparse.ArgumentParser(description="How long an epoch takes.")
    parser.add_argument("--rounds", type=int, default=7, help="how many (default: 7)")
    seconds = measure(parser.parse_args().rounds)
    fit = seconds["model.fit"]
    print(f"{'seconds a model-epoch':24}{'median':>8}{'min':>8}{'max':>8}   ratio to model.fit")
    for name, values in seconds.items():
        ratios = [value / other for value, other in zip(values, fit, strict=True)]
        print(
            f"{name:24}{statistics.median(values):8.3f}{min(values):8.3f}{max(values):8.3f}"
            f"   {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    main()
