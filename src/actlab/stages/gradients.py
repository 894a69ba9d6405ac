"""Probe gradients and unit health of every trained network: `python -m actlab.stages.gradients`."""

from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path

from actlab.engine.parallel import helper_process, share
from actlab.errors import UserError
from actlab.schema import Config
from actlab.stages.entry import run


def gradients(config: Config) -> None:
    """Measure every layer at every kept epoch: gradients on both probes, unit health on test."""
    from actlab.data.splits import first_images, load_processed
    from actlab.engine import csvs
    from actlab.engine.files import atomic_write
    from actlab.models.files import run_path
    from actlab.probes.gradients import probe_configuration
    from actlab.results import tables
    from actlab.tracking import publish_study

    splits = load_processed(Path(config.paths.processed), asdict(config.data), is_scaled=False)
    options, probes = config.gradients, {}
    for name, split, key in (
        ("notebook", splits.train, "notebook_images"),
        ("test", splits.test, "test_images"),
    ):
        count = getattr(options, key)
        if count > len(split.labels):
            raise UserError(f"gradients.{key} is {count}: there are {len(split.labels)} images")
        probes[name] = first_images(split, count)
    tasks = {
        names: partial(
            probe_configuration,
            run_path(config.paths.runs, *names) / "models",
            config.seeds,
            probes,
            "test",
            options.saturated_below,
            options.preactivation_bins,
        )
        for names in product(config.activations, config.networks)
    }
    with helper_process() as helper:
        found = share(tasks, helper)
    print(f"gradients of {len(found)} configurations, {len(config.seeds)} seeds each", flush=True)
    results = Path(config.paths.results)
    for name, place, columns in (
        ("gradients.csv", 0, tables.GRADIENTS),
        ("preactivations.csv", 1, tables.PREACTIVATIONS),
    ):
        rows = [(*names, *row) for names, probed in found.items() for row in probed[place]]
        with atomic_write(results / name) as path:
            csvs.write_table(rows, columns, path)
    measured = tables.read_table(results / "gradients.csv", tables.GRADIENTS)
    publish_study.log_gradients(config, measured)


if __name__ == "__main__":
    run(gradients)
