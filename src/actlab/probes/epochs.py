"""Epochs of several activations, timed in one process, which is one block of many."""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from actlab.data.splits import Split
from actlab.models.network import ModelSpec, build_model
from actlab.training.compiled import (
    compile_epoch,
    make_optimizer,
    shuffled_order,
    to_device,
)
from actlab.training.trainer import Protocol


@dataclass(frozen=True)
class TimedEpoch:
    """The time of an epoch: `place` in the order of its block, from 0, and the load average."""

    block: int
    place: int
    name: str
    epoch_seconds: float
    load: float


def time_epochs(
    specs: Mapping[str, ModelSpec], train: Split, protocol: Protocol, block: int, epochs: int
) -> Iterator[TimedEpoch]:
    """Time some epochs of several models, one model after the other, in an order of the block.

    A compiled program's place in memory, and what else a process is given, make its times differ
    between processes and stay the same within one. So a block is repeated in processes of its own.
    The shortest of a model's epochs counts, which discards warm-up and stalls.

    Parameters
    ----------
    specs
        The networks, by name.
    train
        Images (n, inputs), float32 or uint8, and labels (n,) int32.
    protocol
        Batch size and optimizer; the rest is not used.
    block
        Its number, from 1: it draws the order of the models, and the batches, which are the same
        for each of them.
    epochs
        Number of epochs of each model.
    """
    images = to_device(train)
    programs = {
        name: compile_epoch(
            build_model(spec, 0),
            make_optimizer(protocol.optimizer),
            images,
            protocol.training.batch_size,
            spec.network.outputs,
        )
        for name, spec in specs.items()
    }
    batches = shuffled_order(0, block, len(train.labels))
    order = np.random.default_rng([block]).permutation(len(specs))
    for place, name in enumerate(np.array(list(specs), dtype=object)[order]):
        epoch_seconds = float("inf")
        for _ in range(epochs):
            started = time.perf_counter()
            programs[name](batches)
            epoch_seconds = min(epoch_seconds, time.perf_counter() - started)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        yield TimedEpoch(block, place, name, epoch_seconds, load)
