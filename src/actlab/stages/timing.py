"""Time an epoch of every activation, in processes one by one: `python -m actlab.stages.timing`."""

from dataclasses import astuple
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from actlab.schema import Config
from actlab.stages.entry import run


class Block(NamedTuple):
    """What a process has timed: rows of `tables.BLOCKS` and of `tables.KERNELS`."""

    epochs: list[tuple]
    kernels: list[tuple]


def timing(config: Config) -> None:
    """Time, in a process per block, each network's epochs, and one layer with each activation."""
    from actlab.engine import csvs
    from actlab.engine.files import atomic_write
    from actlab.engine.parallel import run_apart
    from actlab.results import tables

    timed = []
    blocks = range(1, config.timing.blocks + 1)
    for block in run_apart(partial(time_block, config, number) for number in blocks):
        timed.append(block)
        print(f"block {len(timed)} of {len(blocks)}", flush=True)
    for name, rows, columns in (
        ("blocks.csv", [row for block in timed for row in block.epochs], tables.BLOCKS),
        ("kernels.csv", [row for block in timed for row in block.kernels], tables.KERNELS),
    ):
        with atomic_write(Path(config.paths.timings) / name) as path:
            csvs.write_table(rows, columns, path)


def time_block(config: Config, block: int) -> Block:
    """Time a block in this process."""
    from actlab.data.splits import load_processed
    from actlab.models.files import run_path
    from actlab.models.network import ModelSpec
    from actlab.probes.epochs import time_epochs
    from actlab.probes.kernels import OPERATIONS, time_kernels
    from actlab.results import tables
    from actlab.training.trainer import Protocol

    train = load_processed(Path(config.paths.processed), is_scaled=False).train
    training, options = config.training, config.timing
    protocol = Protocol(training, config.optimizer)
    epochs, activations = [], {}
    for network in config.networks:
        specs = {
            name: ModelSpec.load(run_path(config.paths.runs, name, network) / "models/model.json")
            for name in config.activations
        }
        activations |= {name: spec.activation for name, spec in specs.items()}
        timed = time_epochs(specs, train, protocol, block, options.block_epochs)
        epochs += [(network, *astuple(epoch)) for epoch in timed]
    repetitions = dict.fromkeys(OPERATIONS, options.kernel_repetitions)
    repetitions["elementwise"] = options.elementwise_repetitions
    kernels = time_kernels(
        activations, training.batch_size, options.kernel_units, repetitions, block
    )
    return Block(epochs, list(map(attrgetter(*tables.KERNELS), kernels)))


if __name__ == "__main__":
    run(timing)
