"""What the pipeline left on the disk -> MLflow, where it lacks that."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

from actlab.errors import UserError
from actlab.results.layout import RunFolder
from actlab.results.tables import GRADIENTS, read_table
from actlab.schema import Config
from actlab.tracking import overview
from actlab.tracking.publish import publish
from actlab.tracking.publish_study import write_gradients, write_report
from actlab.tracking.store import Store, connect, format_store_error


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
        store = connect()
        done.written += [f"{name}: FAILED, its process has ended" for name in store.close_ended()]
        steps = [
            (f"{one}/{on}", f"train@{one}-{on}", partial(_publish_run, store, config, one, on))
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
        raise UserError(format_store_error(error, "not all runs are written")) from error
    return done


def _publish_run(store: Store, config: Config, activation: str, network: str) -> Iterator[str]:
    folder = RunFolder.finished(config.paths.runs, activation, network)
    run = folder.read(config)
    if not run.is_complete:
        raise UserError(f"{folder.path} does not hold every epoch of each seed: run `dvc repro`")
    if publish(config, folder, store):
        yield f"{activation}/{network}: {len(run.config.seeds)} seeds"


def _write_gradients(store: Store, config: Config) -> Iterator[str]:
    table = read_table(Path(config.paths.results) / "gradients.csv", GRADIENTS)
    for activation, network in product(config.activations, config.networks):
        if write_gradients(store, config, activation, network, table):
            yield f"{activation}/{network}: gradients"


def _write_report(store: Store, config: Config) -> Iterator[str]:
    if write_report(store, config, Path(config.paths.reports)):
        yield "report"
