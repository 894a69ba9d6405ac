"""Time an epoch of every activation side by side: `python -m actlab.stages.timing`."""

from pathlib import Path

from actlab.config import Config
from actlab.stages.command import run


def timing(config: Config) -> None:
    """Time each network's activations in blocks, in one process, one model at a time."""
    from actlab import tables
    from actlab.datasets import load_processed
    from actlab.model import ModelSpec
    from actlab.outputs import written_whole
    from actlab.training import Protocol, time_epochs

    train = load_processed(Path(config.paths.processed)).train
    training = config.training
    protocol = Protocol(training.epochs, training.batch_size, training.learning_rate, [])
    rows = []
    for network in config.networks:
        specs = {
            name: ModelSpec.load(Path(config.paths.models) / f"{name}-{network}" / "model.json")
            for name in config.activations
        }
        for timed in time_epochs(specs, train, protocol, config.timing.blocks):
            rows.append(
                (network, timed.block, timed.place, timed.name, timed.epoch_seconds, timed.load)
            )
        print(f"{network}: {config.timing.blocks} blocks of {len(specs)} epochs", flush=True)
    with written_whole(Path(config.paths.timings) / "blocks.csv") as path:
        tables.write_table(rows, tables.BLOCKS, path)


if __name__ == "__main__":
    run(timing)
