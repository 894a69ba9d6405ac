"""Finished runs of MLflow, read as plain tables."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from actlab.errors import UserError
from actlab.tracking.tracking.store import Store, connect, format_store_error, tracking_uri
from actlab.tracking.tracking.store import hide_credentials as _shown

if TYPE_CHECKING:
    from mlflow.entities import Run
else:  # importing mlflow takes seconds
    Run = Any


def sweep_tags(sweep: str | None) -> dict[str, str]:
    """Give the tags of the configurations of a sweep.

    >>> sweep_tags("fair.tuned")
    {'sweep.fair': 'yes', 'sweep.fair.tuned': 'yes'}
    """
    parts = sweep.split(".") if sweep else []
    return {f"sweep.{'.'.join(parts[: place + 1])}": "yes" for place in range(len(parts))}


@dataclass(frozen=True)
class FoundRuns:
    """Finished configurations as plain tables, for `runs.gather`.

    Attributes
    ----------
    parents
        One row per finished run of a configuration, the oldest first: run, outcome (trained or
        diverged), code (the tag `actlab.code`; empty of older runs), phase (of a fair sweep,
        several with commas, or NaN: from the tags `sweep.<name>.selection`, `.baseline` and
        `.tuned`), then its parameters.
    seeds
        parent, seed, test_accuracy, test_loss: one row per finished run of a seed.
    history
        parent, seed, epoch, val_accuracy.
    unfinished
        Names of runs that are selected likewise and are running or failed, unless the same
        configuration finished.
    """

    parents: pd.DataFrame
    seeds: pd.DataFrame
    history: pd.DataFrame
    unfinished: list[str]


def find_runs(sweep: str | None, conditions: str) -> FoundRuns:
    """Read the finished configurations of a sweep, or of the store, from MLflow.

    Parameters
    ----------
    sweep
        The sweep's name; None for those of any and of none.
    conditions
        More conditions on the configurations' runs, in MLflow's search language; may be empty.

    Raises
    ------
    UserError
        When the store does not answer, the conditions are none, or nothing is found.
    """
    from mlflow.exceptions import MlflowException

    try:
        store = connect()
        marks = {"actlab.kind": "configuration"} | ({f"sweep.{sweep}": "yes"} if sweep else {})
        try:
            parents = _search_parents(store, marks, conditions)
        except MlflowException as error:
            if not conditions or error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            reason = _shown(str(error.message)).splitlines()[0].rstrip(".")
            raise UserError(
                f"compare.filter is {conditions!r}: {reason}; it has to be conditions of MLflow's"
                " search such as params.`training.epochs` = '20'"
            ) from error
        finished = [run for run in parents if run.info.status == "FINISHED"]
        if not finished:
            known = _count_sweeps(store)
            raise UserError(_nothing_found(sweep, conditions, known, len(parents)))
        whole = [_trained_with(run) for run in finished]
        unfinished = [
            f"{run.info.run_name} ({run.info.status.lower()})"
            for run in parents
            if run.info.status != "FINISHED" and _trained_with(run) not in whole
        ]
        return FoundRuns(*_read_runs(store, finished, sweep), unfinished)
    except UserError:
        raise
    except Exception as error:  # as in `_unless_lost`
        raise UserError(format_store_error(error, "nothing is compared", advice=False)) from error


def _search_parents(store: Store, marks: Mapping[str, str], conditions: str) -> list[Run]:
    """Give configurations' runs of any status, the oldest first."""
    asked = [f"tags.`{key}` = '{value}'" for key, value in marks.items()]
    return store.client.search_runs(
        [store.experiment],
        " and ".join([*asked, *([conditions] if conditions else [])]),
        order_by=["attributes.start_time ASC"],
        max_results=50_000,
    )


def _trained_with(run: Run) -> dict[str, str]:
    """Give what a run was trained with; how many parameters that makes is known at its end."""
    return {key: value for key, value in run.data.params.items() if key != "network.parameters"}


def _count_sweeps(store: Store) -> dict[str, int]:
    """Give the names of the sweeps in the store, with their finished configurations."""
    counts: dict[str, int] = defaultdict(int)
    for run in store.search("FINISHED", {"actlab.kind": "configuration"}):
        for tag in run.data.tags:
            if tag.startswith("sweep."):
                counts[tag.removeprefix("sweep.")] += 1
    return dict(sorted(counts.items()))


def _nothing_found(
    sweep: str | None, conditions: str, known: Mapping[str, int], unfinished: int
) -> str:
    """Say why there is nothing to compare, and what there is."""
    place = f"MLflow at {_shown(tracking_uri())}"
    if unfinished:
        selected = f"of sweep {sweep}" if sweep else "that compare.filter selects"
        return (
            f"{place} has {unfinished} run{'' if unfinished == 1 else 's'} {selected}, none of them"
            " finished: let the sweep end, or run it again"
        )
    if sweep is not None and sweep not in known:
        named = ", ".join(f"{name} ({count})" for name, count in known.items())
        has = f"it has {named}" if named else "it has no finished sweep"
        return f"{place} has no run of a sweep named {sweep!r}: {has}"
    if conditions:
        return f"{place} has no configuration for which compare.filter={conditions!r} holds"
    return f"{place} has no finished configuration: run `dvc repro` or a sweep first"


def _phases(tags: Mapping[str, str], sweep: str | None) -> str | None:
    """Give the phases of a fair sweep that a run belongs to.

    Where no sweep is named, of any; but none of a run that is of another sweep, or the pipeline's.

    >>> _phases({"sweep.fair": "yes", "sweep.fair.tuned": "yes"}, "fair")
    'tuned'
    >>> _phases({"sweep.fair": "yes", "sweep.fair.selection": "yes", "sweep.depth": "yes"}, None)
    """
    found, fair = [], set()
    for tag in sorted(tags):
        whole, _, phase = tag.removeprefix("sweep.").rpartition(".")
        ours = tag.startswith("sweep.") and whole and sweep in (None, whole)
        if ours and phase in ("selection", "baseline", "tuned"):
            fair |= sweep_tags(f"{whole}.{phase}").keys()
            found += [phase] if phase not in found else []
    others = {tag for tag in tags if tag.startswith("sweep.")} - fair
    if sweep is None and (others or tags.get("actlab.source") == "dvc"):
        return None
    return ",".join(found) or None


def _read_runs(
    store: Store, finished: Sequence[Run], sweep: str | None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read what is below finished configurations: tests and validation accuracies of seeds."""
    parents, seeds, rows = [], [], []
    chosen = {run.info.run_id for run in finished}
    for run in finished:
        tags = run.data.tags
        marks = {
            "run": run.info.run_id,
            "outcome": tags.get("actlab.outcome", "trained"),
            "code": tags.get("actlab.code", ""),
            "phase": _phases(tags, sweep),
        }
        parents.append(marks | run.data.params)
    below = {"actlab.kind": "seed"}
    # One search for all takes as long as fifty for one.
    if len(chosen) <= 50:
        found = [
            run
            for parent in sorted(chosen)
            for run in store.search("FINISHED", below | {"mlflow.parentRunId": parent})
        ]
    else:
        found = store.search("FINISHED", below)
    for run in found:
        parent = run.data.tags["mlflow.parentRunId"]
        if parent not in chosen:
            continue
        seed, metrics = int(run.data.tags["actlab.seed"]), run.data.metrics
        test = (metrics.get(name, math.nan) for name in ("test_accuracy", "test_loss"))
        seeds.append((parent, seed, *test))
        by_step = {
            each.step: each.value
            for each in store.client.get_metric_history(run.info.run_id, "val_accuracy")
        }
        rows += [(parent, seed, epoch, value) for epoch, value in sorted(by_step.items())]
    return (
        pd.DataFrame(parents),
        pd.DataFrame(seeds, columns=["parent", "seed", "test_accuracy", "test_loss"]),
        pd.DataFrame(rows, columns=["parent", "seed", "epoch", "val_accuracy"]),
    )
