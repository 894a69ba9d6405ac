"""Probe gradients and health of every trained network: `python -m actlab.stages.gradients`."""

from dataclasses import asdict
from itertools import product
from pathlib import Path

from actlab.config import Config
from actlab.errors import UserError
from actlab.stages.command import run


def gradients(config: Config) -> None:
    """Measure every layer at every kept epoch: its gradient on both probes, its health on test."""
    from actlab import tables, tracking
    from actlab.datasets import Split, load_processed
    from actlab.gradients import bin_preactivations, probe_configuration
    from actlab.outputs import written_whole

    splits = load_processed(Path(config.paths.processed), asdict(config.data))
    probes = {}
    for name, split, key in (
        ("notebook", splits.train, "notebook_images"),
        ("test", splits.test, "test_images"),
    ):
        count = getattr(config.gradients, key)
        if count > len(split.labels):
            raise UserError(f"gradients.{key} is {count}: there are {len(split.labels)} images")
        probes[name] = Split(split.images[:count], split.labels[:count])
    rows, bins = [], []
    for activation, network in product(config.activations, config.networks):
        folder = Path(config.paths.models) / f"{activation}-{network}"
        for row in probe_configuration(
            folder, config.seeds, probes, "test", config.gradients.saturated_below
        ):
            rows.append((activation, network, *row))
        for row in bin_preactivations(
            folder, config.seeds, probes["test"].images, config.gradients.preactivation_bins
        ):
            bins.append((activation, network, *row))
        print(f"{activation}-{network}: gradients of {len(config.seeds)} seeds", flush=True)
    results = Path(config.paths.results)
    path = results / "gradients.csv"
    for whole, table, columns in (
        (path, rows, tables.GRADIENTS),
        (results / "preactivations.csv", bins, tables.PREACTIVATIONS),
    ):
        with written_whole(whole) as temporary:
            tables.write_table(table, columns, temporary)
    tracking.log_gradients(config, tables.read_table(path, tables.GRADIENTS))


if __name__ == "__main__":
    run(gradients)
