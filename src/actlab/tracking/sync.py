"""What the pipeline left on the disk -> MLflow, where it lacks that."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean

import numpy as np

from actlab.errors import UserError
from actlab.results import tables
from actlab.schema import Config
from actlab.tracking import overview, tracking


@dataclass
class Synced:
    """What `sync` did.

    Attributes
    ----------
    written, left_out
        A line for each training, for gradients and report; why one could not be written.
    brought_up_to_date
        What changed of MLflow's pages: descriptions, views, registered models.
    """

    written: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    brought_up_to_date: list[str] = field(default_factory=list)


def sync(config: Config, stale: Collection[str]) -> Synced:
    """Write the trainings, gradients and report that MLflow lacks, and what its pages say of them.

    A second time writes nothing.

    `config` names activations, networks and paths; what a training was made with is read from
    its outputs. The outputs of `stale`, stages by DVC's names, are left out. Runs of this host
    that are running, though their process has ended, are set to FAILED; nothing is deleted.

    Raises
    ------
    UserError
        When the store fails.
    """
    done = Synced()
    try:
        store = tracking.connect()
        done.written += [f"{name}: FAILED, its process has ended" for name in store.close_ended()]
        steps = [
            (f"{one}/{on}", f"train@{one}-{on}", partial(_write_training, store, config, one, on))
            for one, on in product(config.activations, config.networks)
        ]
        steps.append(("gradients", "gradients", partial(_write_gradients, store, config)))
        steps.append(("report", "report", partial(_write_report, store, config)))
        for name, stage, write in steps:
            try:
                if stage in stale:
                    raise UserError(
                        "its outputs are not what params.yaml and the code would give now:"
                        " run `dvc repro`"
                    )
                done.written.extend(write())
            except UserError as error:
                done.left_out.append(f"{name}: {error}")
        done.brought_up_to_date += overview.refresh(store, config, stale)
    except Exception as error:  # MLflow lets through what its server or its database raises
        raise UserError(tracking.format_store_error(error, "not all runs are written")) from error
    return done


def _write_training(store: tracking.Store, config: Config, *names: str) -> Iterator[str]:
    """Log a training by the calls that log a live one."""
    trained, weights = tracking.read_trained(config, *names)
    if store.find_configuration(trained, weights):
        return
    name = "-".join(names)
    models, results = Path(config.paths.models) / name, Path(config.paths.results) / name
    test = tables.read_table(results / "test.csv", tables.TEST).set_index("seed")
    history = tables.read_table(results / "history.csv", tables.HISTORY)
    timings = Path(config.paths.timings) / f"{name}.csv"
    updates = tables.read_table(results / "updates.csv", tables.UPDATES)
    epochs = history.merge(tables.read_table(timings, tables.TIMINGS))
    steps = list(product(sorted(trained.seeds), range(1, trained.training.epochs + 1)))
    found = sorted(zip(epochs["seed"], epochs["epoch"], strict=True))
    if found != steps or not set(test.index) == set(updates["seed"]) == set(weights):
        raise UserError(
            f"{results} and {timings} do not hold every epoch of each seed: run `dvc repro`"
        )
    with tracking.ConfigurationRun(trained, "dvc", store) as run:
        for seed, path in weights.items():
            metrics = test.loc[seed].to_dict()
            for row in epochs.loc[epochs["seed"] == seed].to_dict(orient="records"):
                values = {key: row[key] for key in (*tables.HISTORY[2:], "epoch_seconds")}
                run.log_epoch(seed, row["epoch"], values)
                metrics["compile_seconds"] = row["compile_seconds"]
            of_seed = updates.loc[updates["seed"] == seed, list(tables.UPDATES[1:])]
            run.finish_seed(seed, metrics, path, list(of_seed.itertuples(index=False, name=None)))
        last = epochs.loc[epochs["epoch"] == trained.training.epochs, "val_accuracy"]
        objective = fmean(last) if trained.data.validation_size else None
        lost = epochs.loc[~np.isfinite(epochs["loss"] + epochs["val_loss"]), "seed"]
        diverged = {*lost, *test.index[~np.isfinite(test["test_loss"])]}
        run.finish(models, results, objective, sorted(map(int, diverged)))
    yield f"{'/'.join(names)}: {len(weights)} seeds"


def _write_gradients(store: tracking.Store, config: Config) -> Iterator[str]:
    path = Path(config.paths.results) / "gradients.csv"
    table = tables.read_table(path, tables.GRADIENTS)
    for names in product(config.activations, config.networks):
        trained = tracking.read_trained(config, *names)
        if tracking.write_gradients(store, *trained, table):
            yield f"{'/'.join(names)}: gradients"


def _write_report(store: tracking.Store, config: Config) -> Iterator[str]:
    if tracking.write_report(store, config, Path(config.paths.reports)):
        yield "report"
