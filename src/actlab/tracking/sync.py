"""The pipeline's outputs -> MLflow, where it lacks them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from actlab.errors import UserError
from actlab.results.layout import RunFolder
from actlab.results.tables import GRADIENTS, read_table
from actlab.schema import Config
from actlab.tracking import overview
from actlab.tracking.address import format_store_error
from actlab.tracking.publish import publish
from actlab.tracking.publish_study import write_gradients, write_report
from actlab.tracking.store import Store, connect, restore_experiment


@dataclass
class Synced:
    """What `sync` did: lines on what was written, what could not be, and which pages changed."""

    written: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    brought_up_to_date: list[str] = field(default_factory=list)


def sync(config: Config, stale: Collection[str]) -> Synced:
    """Write the trainings, gradients and report that MLflow lacks, and update its pages.

    A second time writes nothing. `config` names activations, networks and paths; what a training
    was made with is read from its outputs. The outputs of `stale`, stages by DVC's names, are left
    out. A deleted experiment is restored, runs of ended processes are set to FAILED; nothing is
    deleted.

    Raises
    ------
    UserError
        When the store fails.
    """
    done = Synced()
    try:
        if name := restore_experiment():
            done.written.append(f"experiment {name}: restored with its runs, it had been deleted")
        store = connect()
        done.written += [f"{name}: FAILED, its process has ended" for name in store.close_ended()]
        pairs = list(product(config.activations, config.networks))
        steps: list[tuple[str, str, Callable[..., list[str]], tuple[str, ...]]] = [
            *(("/".join(pair), f"train@{'-'.join(pair)}", _write_run, pair) for pair in pairs),
            ("gradients", "gradients", _write_gradients, ()),
            ("report", "report", _write_report, ()),
        ]
        for name, stage, write, names in steps:
            try:
                if stage in stale:
                    raise UserError(
                        "its outputs are not what params.yaml and the code would give now:"
                        " run `dvc repro`"
                    )
                done.written += write(store, config, *names)
            except UserError as error:
                done.left_out.append(f"{name}: {error}")
        done.brought_up_to_date += overview.refresh(store, config, stale)
    except Exception as error:  # MLflow lets through what its server or its database raises
        raise UserError(format_store_error(error, "not all runs are written")) from error
    return done


def _write_run(store: Store, config: Config, activation: str, network: str) -> list[str]:
    folder = RunFolder.finished(config.paths.runs, activation, network)
    run = folder.read(config)
    folder.find_weights(run.config)
    if not run.is_complete:
        raise UserError(f"{folder.path} does not have every epoch of each seed: run `dvc repro`")
    is_new = publish(config, folder, store)
    return [f"{activation}/{network}: {len(run.config.seeds)} seeds"] if is_new else []


def _write_gradients(store: Store, config: Config) -> list[str]:
    table = read_table(Path(config.paths.results) / "gradients.csv", GRADIENTS)
    return [
        f"{activation}/{network}: gradients"
        for activation, network in product(config.activations, config.networks)
        if write_gradients(store, config, activation, network, table)
    ]


def _write_report(store: Store, config: Config) -> list[str]:
    return ["report"] if write_report(store, config, Path(config.paths.reports)) else []
