"""Epochs of several activations timed next to each other."""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from actlab.backend import keras
from actlab.data.splits import Split
from actlab.models.network import ModelSpec, build_model
from actlab.training.compiled import (
    compile_epoch,
    shuffled_order,
    to_device,
)
from actlab.training.trainer import Protocol


@dataclass(frozen=True)
class TimedEpoch:
    """How long an epoch took, in a block in which every model has its turn.

    `place` is its place in the order of the block, from 0; `load` the machine's average of the
    last minute, in processes that run or wait (NaN where the system does not tell).
    """

    block: int
    place: int
    name: str
    epoch_seconds: float
    load: float


def time_epochs(
    specs: Mapping[str, ModelSpec], train: Split, protocol: Protocol, blocks: int, epochs: int
) -> Iterator[TimedEpoch]:
    """Time epochs of several models in one process, one model at a time, in blocks.

    A block trains each model for some epochs, on the same batches, in an order drawn for the
    block; one block more, before the first, is not recorded. So neither order nor warm-up nor
    a slow minute of the machine tells the models apart; and of a model's epochs in a block the
    shortest counts, so that no single stall of the machine does.

    Parameters
    ----------
    specs
        What is timed, by name.
    train
        Images (n, inputs), float32 or their levels, and labels (n,) int32.
    protocol
        Batch size and learning rate.
    blocks
        How many are recorded.
    epochs
        Of each model in a block.

    Yields
    ------
    TimedEpoch
        As it happens.
    """
    images = to_device(train)
    programs = {
        name: compile_epoch(
            build_model(spec, 0),
            keras.optimizers.Adam(protocol.learning_rate),
            images,
            protocol.batch_size,
        )
        for name, spec in specs.items()
    }
    for block in range(blocks + 1):
        batches = shuffled_order(0, block + 1, len(train.labels))
        order = np.random.default_rng([block]).permutation(len(specs))
        for place, name in enumerate(np.array(list(specs), dtype=object)[order]):
            epoch_seconds = float("inf")
            for _ in range(epochs):
                started = time.perf_counter()
                programs[name](batches)
                epoch_seconds = min(epoch_seconds, time.perf_counter() - started)
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
            if block:
                yield TimedEpoch(block, place, name, epoch_seconds, load)
