"""Probe gradients and health of every trained network: `python -m actlab.stages.gradients`."""

from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path

from actlab.engine.parallel import helper_process, share
from actlab.errors import UserError
from actlab.schema import Config
from actlab.stages.entry import run


def gradients(config: Config) -> None:
    """Measure every layer at every kept epoch: its gradient on both probes, its health on test."""
    from actlab.data.splits import first_images, load_processed
    from actlab.engine import csvs
    from actlab.engine.files import atomic_write
    from actlab.models.files import run_path
    from actlab.probes.gradients import probe_configuration
    from actlab.results import tables
    from actlab.tracking import publish_study

    splits = load_processed(Path(config.paths.processed), asdict(config.data), is_scaled=False)
    probes = {}
    for name, split, key in (
        ("notebook", splits.train, "notebook_images"),
        ("test", splits.test, "test_images"),
    ):
        count = getattr(config.gradients, key)
        if count > len(split.labels):
            raise UserError(f"gradients.{key} is {count}: there are {len(split.labels)} images")
        probes[name] = first_images(split, count)
    tasks = {
        names: partial(
            tell_after,
            f"{'-'.join(names)}: gradients of {len(config.seeds)} seeds",
            partial(
                probe_configuration,
                run_path(config.paths.runs, *names) / "models",
                config.seeds,
                probes,
                "test",
                config.gradients.saturated_below,
                config.gradients.preactivation_bins,
            ),
        )
        for names in product(config.activations, config.networks)
    }
    rows, bins = [], []
    with process_beside() as beside:
        for names, found in do_beside(tasks, beside).items():
            for table, of_configuration in zip((rows, bins), found, strict=True):
                table += [(*names, *row) for row in of_configuration]
    results = Path(config.paths.results)
    path = results / "gradients.csv"
    for whole, table, columns in (
        (path, rows, tables.GRADIENTS),
        (results / "preactivations.csv", bins, tables.PREACTIVATIONS),
    ):
        with atomic_write(whole) as temporary:
            csvs.write_table(table, columns, temporary)
    publish_study.log_gradients(config, tables.read_table(path, tables.GRADIENTS))


if __name__ == "__main__":
    run(gradients)
