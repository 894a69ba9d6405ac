"""Finished runs of MLflow, read as plain tables."""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from actlab.engine.launches import Launch, is_selection, load_launch
from actlab.errors import UserError
from actlab.evidence.wording import counted
from actlab.results.layout import HISTORY
from actlab.tracking.store import (
    Store,
    connect,
    format_store_error,
    hide_credentials,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlflow.entities import Run
else:  # importing mlflow takes seconds
    Run = Any


@dataclass(frozen=True)
class FoundRuns:
    """Finished configurations as plain tables.

    Attributes
    ----------
    parents
        One row per finished run of a configuration, the oldest first: run, outcome (trained or
        diverged), code (the tag `actlab.code`; empty of older runs), phase, then its parameters.
        The phase is the run's role in a fair sweep (`launches.ROLES`): one row per role. It is
        empty in what is no fair sweep.
    seeds
        parent, seed, test_loss, test_accuracy: one row per finished run of a seed.
    history
        parent, then the columns of `layout.HISTORY`.
    unfinished
        Names of runs that are selected likewise and are running or failed, unless the same
        configuration finished.
    launch
        The launch of the sweep that they are of; None where none is recorded.
    notes
        What was left out, in sentences.
    """

    parents: pd.DataFrame
    seeds: pd.DataFrame
    history: pd.DataFrame
    unfinished: Sequence[str] = ()
    launch: Launch | None = None
    notes: Sequence[str] = ()


def find_runs(sweep: str | None, conditions: str) -> FoundRuns:
    """Read the finished configurations of a sweep's latest launch, or of the store, from MLflow.

    Parameters
    ----------
    sweep
        The sweep's name; None for configurations of any and of none.
    conditions
        More conditions on the configurations' runs, in MLflow's search language; may be empty.

    Raises
    ------
    UserError
        When the store does not answer, the conditions are not valid, or nothing is found.
    """
    try:
        store = connect()
        launch = load_launch(store, sweep) if sweep else None
        found = _search(store, sweep, conditions)
        finished = [run for run in found if run.info.status == "FINISHED"]
        if not finished:
            raise UserError(_nothing_found(store, sweep, conditions, len(found)))
        chosen, notes = _choose(finished, sweep, launch)
        trained = [_trained_with(run) for run in chosen]
        unfinished = [
            f"{run.info.run_name} ({run.info.status.lower()})"
            for run in found
            if run.info.status != "FINISHED"
            and (launch is None or launch.roles(run.data.tags))
            and _trained_with(run) not in trained
        ]
        seeds, history = _read_seeds(store, [run.info.run_id for run in chosen])
        return FoundRuns(_tabulate(chosen, launch), seeds, history, unfinished, launch, notes)
    except UserError:
        raise
    except Exception as error:  # MLflow lets through what its server or its database raises
        raise UserError(format_store_error(error, "nothing is compared", advice=False)) from error


def _search(store: Store, sweep: str | None, conditions: str) -> list[Run]:
    """Give configurations' runs of any status, the oldest first."""
    from mlflow.exceptions import MlflowException

    asked = ["tags.`actlab.kind` = 'configuration'"]
    asked += [f"tags.`sweep.{sweep}` = 'yes'"] if sweep else []
    asked += [conditions] if conditions else []
    try:
        return store.client.search_runs(
            [store.experiment],
            " and ".join(asked),
            order_by=["attributes.start_time ASC"],
            max_results=50_000,
        )
    except MlflowException as error:
        if not conditions or error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        reason = hide_credentials(str(error.message)).splitlines()[0].rstrip(".")
        raise UserError(
            f"compare.filter is {conditions!r}: {reason}; it has to be conditions of MLflow's"
            " search such as params.`training.epochs` = '20'"
        ) from error


def _choose(
    finished: Sequence[Run], sweep: str | None, launch: Launch | None
) -> tuple[list[Run], list[str]]:
    """Give the runs that are compared, and a sentence on those that are not.

    Of a sweep these are the runs of its latest launch. Where no launch is recorded, all but those
    on which fair sweeps chose their settings: what these reached on the test images is not told.
    """
    if launch:
        chosen = [run for run in finished if launch.roles(run.data.tags)]
        left_out = (
            f"of earlier launches of sweep {sweep}: its latest, launch {launch.number}, does not"
            f" ask for them"
        )
        if not chosen:
            raise UserError(
                f"launch {launch.number} of sweep {sweep} has no finished run: let it end, or run"
                f" it again; {counted(len(finished), 'finished run')} are {left_out}"
            )
    else:
        if sweep and any(f"sweep.{sweep}.selection" in run.data.tags for run in finished):
            raise UserError(
                f"{sweep} is a fair sweep of which no launch is recorded: run it again, which"
                " skips what is finished"
            )
        chosen = [run for run in finished if not _served_selection(run)]
        left_out = "on which a fair sweep chose its settings: nothing is tested on them"
        if not chosen:
            raise UserError(f"there are only runs {left_out}")
    left = len(finished) - len(chosen)
    verb = "is" if left == 1 else "are"
    return chosen, [f"{counted(left, 'run')} {verb} left out, {left_out}."] if left else []


def _served_selection(run: Run) -> bool:
    return run.data.tags.get("actlab.source") != "dvc" and is_selection(run.data.tags)


def _trained_with(run: Run) -> dict[str, str]:
    """Give what a run was trained with; how many parameters that makes is known at its end."""
    return {key: value for key, value in run.data.params.items() if key != "network.parameters"}


def _tabulate(chosen: Iterable[Run], launch: Launch | None) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "run": run.info.run_id,
                "outcome": run.data.tags.get("actlab.outcome", "trained"),
                "code": run.data.tags.get("actlab.code", ""),
                "phase": role,
            }
            | run.data.params
            for run in chosen
            for role in (launch.roles(run.data.tags) if launch else [""])
        ]
    )


def _read_seeds(store: Store, parents: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read what is below finished configurations: the tests and curves of their seeds."""
    below = {"actlab.kind": "seed"}
    if len(parents) <= 50:
        found = [
            run
            for parent in parents
            for run in store.search("FINISHED", below | {"mlflow.parentRunId": parent})
        ]
    else:  # one search for all takes as long as fifty for one
        found = store.search("FINISHED", below)
    chosen, tests, epochs = set(parents), [], []
    for run in found:
        parent, seed = run.data.tags["mlflow.parentRunId"], int(run.data.tags["actlab.seed"])
        if parent not in chosen:
            continue
        reached = (run.data.metrics.get(name, math.nan) for name in ("test_loss", "test_accuracy"))
        tests.append((parent, seed, *reached))
        curves = [_read_curve(store, run, name) for name in HISTORY[2:]]
        epochs += [
            (parent, seed, epoch, *(curve.get(epoch, math.nan) for curve in curves))
            for epoch in sorted(set().union(*curves))
        ]
    return (
        pd.DataFrame(tests, columns=["parent", "seed", "test_loss", "test_accuracy"]),
        pd.DataFrame(epochs, columns=["parent", *HISTORY]),
    )


def _read_curve(store: Store, run: Run, name: str) -> dict[int, float]:
    """Give a metric by epoch; MLflow keeps an infinite value as the greatest number."""
    logged = store.client.get_metric_history(run.info.run_id, name)
    infinite = sys.float_info.max
    return {each.step: math.inf if each.value == infinite else each.value for each in logged}


def _nothing_found(store: Store, sweep: str | None, conditions: str, unfinished: int) -> str:
    """Say why there is nothing to compare, and what there is."""
    place = f"MLflow at {hide_credentials(tracking_uri())}"
    if unfinished:
        selected = f"of sweep {sweep}" if sweep else "that compare.filter selects"
        return (
            f"{place} has {counted(unfinished, 'run')} {selected}, none of them finished: let the"
            " sweep end, or run it again"
        )
    known = _count_sweeps(store)
    if sweep is not None and sweep not in known:
        named = ", ".join(f"{name} ({count})" for name, count in sorted(known.items()))
        has = f"it has {named}" if named else "it has no finished sweep"
        return f"{place} has no run of a sweep named {sweep!r}: {has}"
    if conditions:
        return f"{place} has no configuration for which compare.filter={conditions!r} holds"
    return f"{place} has no finished configuration: run `dvc repro` or a sweep first"


def _count_sweeps(store: Store) -> Mapping[str, int]:
    """Count the finished configurations of each sweep in the store."""
    runs = store.search("FINISHED", {"actlab.kind": "configuration"})
    tags = Counter(tag for run in runs for tag in run.data.tags if tag.startswith("sweep."))
    names = {tag.removeprefix("sweep."): count for tag, count in tags.items()}
    return {name: count for name, count in names.items() if ".launch" not in name}
