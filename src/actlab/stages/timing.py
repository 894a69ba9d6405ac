"""Time an epoch of every activation side by side: `python -m actlab.stages.timing`."""

from operator import attrgetter
from pathlib import Path

from actlab.schema import Config
from actlab.stages.entry import run


def timing(config: Config) -> None:
    """Time each network's activations in blocks, in one process, one model at a time.

    Then a layer with each activation alone, likewise.
    """
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
    training = config.training
    protocol = Protocol(training.epochs, training.batch_size, training.learning_rate, [])
    rows, activations = [], {}
    for network in config.networks:
        specs = {
            name: ModelSpec.load(run_path(config.paths.runs, name, network) / "models/model.json")
            for name in config.activations
        }
        activations |= {name: spec.activation for name, spec in specs.items()}
        for timed in time_epochs(
            specs, train, protocol, config.timing.blocks, config.timing.block_epochs
        ):
            rows.append(
                (network, timed.block, timed.place, timed.name, timed.epoch_seconds, timed.load)
            )
        print(f"{network}: {config.timing.blocks} blocks of {len(specs)} activations", flush=True)
    repetitions = dict.fromkeys(OPERATIONS, config.timing.kernel_repetitions)
    repetitions["elementwise"] = config.timing.elementwise_repetitions
    kernels = time_kernels(
        activations,
        training.batch_size,
        config.timing.kernel_units,
        repetitions,
        config.timing.blocks,
    )
    of_layer = list(map(attrgetter(*tables.KERNELS), kernels))
    print(f"{', '.join(OPERATIONS)}: {config.timing.blocks} blocks of a layer alone", flush=True)
    timings = Path(config.paths.timings)
    for name, table, columns in (
        ("blocks.csv", rows, tables.BLOCKS),
        ("kernels.csv", of_layer, tables.KERNELS),
    ):
        with atomic_write(timings / name) as path:
            csvs.write_table(table, columns, path)


if __name__ == "__main__":
    run(timing)
