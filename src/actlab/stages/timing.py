"""Time an epoch of every activation in turn: `python -m actlab.stages.timing`."""

from dataclasses import astuple
from operator import attrgetter
from pathlib import Path

from actlab.schema import Config
from actlab.stages.entry import run


def timing(config: Config) -> None:
    """Time, in randomised blocks, each network's epochs, and one layer with each activation."""
    from actlab.data.splits import load_processed
    from actlab.engine import csvs
    from actlab.engine.files import atomic_write
    from actlab.models.files import run_path
    from actlab.models.network import ModelSpec
    from actlab.probes.kernels import OPERATIONS, time_kernels
    from actlab.results import tables
    from actlab.training.timing import time_epochs
    from actlab.training.trainer import Protocol

    train = load_processed(Path(config.paths.processed), is_scaled=False).train
    training, options = config.training, config.timing
    protocol = Protocol(training, config.optimizer)
    blocks, activations = [], {}
    for network in config.networks:
        specs = {
            name: ModelSpec.load(run_path(config.paths.runs, name, network) / "models/model.json")
            for name in config.activations
        }
        activations |= {name: spec.activation for name, spec in specs.items()}
        timed = time_epochs(specs, train, protocol, options.blocks, options.block_epochs)
        blocks += [(network, *astuple(epoch)) for epoch in timed]
        print(f"{network}: {options.blocks} blocks of {len(specs)} activations", flush=True)
    repetitions = dict.fromkeys(OPERATIONS, options.kernel_repetitions)
    repetitions["elementwise"] = options.elementwise_repetitions
    kernels = time_kernels(
        activations, training.batch_size, options.kernel_units, repetitions, options.blocks
    )
    kernels = list(map(attrgetter(*tables.KERNELS), kernels))
    print(f"{', '.join(OPERATIONS)}: {options.blocks} blocks of one layer", flush=True)
    for name, rows, columns in (
        ("blocks.csv", blocks, tables.BLOCKS),
        ("kernels.csv", kernels, tables.KERNELS),
    ):
        with atomic_write(Path(config.paths.timings) / name) as path:
            csvs.write_table(rows, columns, path)


if __name__ == "__main__":
    run(timing)
