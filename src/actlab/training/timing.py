"""Epochs of several activations, timed in randomised blocks."""

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
    specs: Mapping[str, ModelSpec], train: Split, protocol: Protocol, blocks: int, epochs: int
) -> Iterator[TimedEpoch]:
    """Time epochs of several models, one model at a time, in randomised blocks.

    A block trains each model for some epochs on the same batches, in an order drawn for the block;
    a first block is not recorded. So neither order nor warm-up nor a slow minute favours a model.
    The shortest of a model's epochs in a block counts, which discards stalls.

    Parameters
    ----------
    specs
        The networks, by name.
    train
        Images (n, inputs), float32 or uint8, and labels (n,) int32.
    protocol
        Batch size and optimizer; the rest is not used.
    blocks
        Number of recorded blocks.
    epochs
        Number of epochs of each model in a block.
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
