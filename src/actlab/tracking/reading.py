"""Finished runs of MLflow, read as plain tables."""

import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from actlab.engine import csvs
from actlab.engine.launches import Launch, is_selection, load_launch
from actlab.errors import UserError
from actlab.evidence.wording import counted
from actlab.results.layout import COLUMNS, NOISE
from actlab.tracking.address import SYNC, format_store_error, hide_credentials, tracking_uri
from actlab.tracking.store import DECLARATION, OBJECTIVE, Store, connect_to_read

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
        One row per finished configuration, the oldest first: run, outcome (trained or diverged),
        objective (`layout.Run.objective`; NaN where none), code (the tag `actlab.code`), phase,
        then its parameters. The phase is the role in a fair
        sweep (`launches.ROLES`), one row per role; otherwise empty.
    seeds, history, noise
        parent, then the columns of `layout.TEST`, `layout.HISTORY` and `layout.NOISE`.
    unfinished
        Names of runs that were selected as well, and are running or failed, unless the same
        configuration finished.
    launch
        The launch of the sweep; None where none is recorded.
    notes
        Sentences on what was left out.
    """

    parents: pd.DataFrame
    seeds: pd.DataFrame
    history: pd.DataFrame
    unfinished: Sequence[str] = ()
    launch: Launch | None = None
    noise: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["parent", *NOISE]))
    notes: Sequence[str] = ()


def find_runs(sweep: str | None, conditions: str) -> FoundRuns:
    """Read the finished configurations of a sweep's latest launch, or of the store, from MLflow.

    Parameters
    ----------
    sweep
        The sweep's name; None for all configurations.
    conditions
        More conditions, in MLflow's search language; may be empty.

    Raises
    ------
    UserError
        When the store does not answer, the conditions are not valid, or nothing is found.
    """
    try:
        store = connect_to_read()
        launch = load_launch(store, sweep) if sweep else None
        found = _search(store, sweep, conditions)
        finished = [run for run in found if run.info.status == "FINISHED"]
        if not finished:
            raise UserError(_nothing_found(store, sweep, conditions, len(found)))
        chosen, notes = _choose(finished, sweep, launch)
        if any(DECLARATION in run.data.tags for run in chosen):
            raise UserError(
                f"{f'sweep {sweep}' if sweep else 'what compare.filter selects'} has runs whose"
                " seeds were added until verdicts were decided (hydra/sweeper=settle): the command"
                " of that sweep compares them, by rules that allow for it"
            )
        unfinished = _list_unfinished(found, chosen, launch)
        seeds, history = (_read_tables(store, chosen, name) for name in ("test", "history"))
        noisy = [run for run in chosen if run.data.params.get("training.test_noise", "[]") != "[]"]
        return FoundRuns(
            _tabulate(chosen, launch),
            seeds,
            history,
            unfinished,
            launch,
            _read_tables(store, noisy, "noise"),
            notes,
        )
    except UserError:
        raise
    except Exception as error:  # MLflow lets through what its server or its database raises
        raise UserError(format_store_error(error, "nothing is compared", advice=False)) from error


def _search(store: Store, sweep: str | None, conditions: str) -> list[Run]:
    """Find configurations' runs of any status, the oldest first."""
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
    """Choose the runs to compare, and write a sentence on those that are left out.

    Of a sweep, these are the runs of its latest launch. Where no launch is recorded, they are all
    but those on which fair sweeps chose their settings.
    """
    if launch:
        chosen = [run for run in finished if launch.roles(run.data.tags)]
        left_out = (
            f"of earlier launches of sweep {sweep}: its latest, launch {launch.number}, does not"
            " include them"
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
        chosen = [
            run
            for run in finished
            if run.data.tags.get("actlab.source") == "dvc" or not is_selection(run.data.tags)
        ]
        left_out = "on which a fair sweep chose its settings: they are not tested"
        if not chosen:
            raise UserError(f"there are only runs {left_out}")
    left = len(finished) - len(chosen)
    verb = "is" if left == 1 else "are"
    return chosen, [f"{counted(left, 'run')} {verb} left out, {left_out}."] if left else []


def _list_unfinished(
    found: Iterable[Run], chosen: Sequence[Run], launch: Launch | None
) -> list[str]:
    """List the configurations that have not finished, each with the status of its last attempt.

    Without a launch, which says what was to be trained, a failed attempt counts until a later one,
    of whatever configuration, has finished.
    """
    finished = [_made_with(run) for run in chosen]
    last = max(run.info.end_time or 0 for run in chosen)
    attempts: dict[tuple[str, ...], str] = {}
    for run in found:  # the oldest first
        is_asked = (
            bool(launch.roles(run.data.tags))
            if launch
            else run.info.status == "RUNNING" or run.info.start_time > last
        )
        made_with = _made_with(run)
        if run.info.status != "FINISHED" and is_asked and made_with not in finished:
            attempts[made_with] = f"{run.info.run_name} ({run.info.status.lower()})"
    return [*attempts.values()]


#: Parameters that are known at the end of a run, or change none.
_NOT_DECISIVE = ("network.parameters", "report.confidence")


def _made_with(run: Run) -> tuple[str, ...]:
    """Return the parameters that determine a run's results, as `key=value`."""
    params = run.data.params.items()
    return tuple(sorted(f"{key}={value}" for key, value in params if key not in _NOT_DECISIVE))


def _tabulate(chosen: Iterable[Run], launch: Launch | None) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "run": run.info.run_id,
                "outcome": run.data.tags.get("actlab.outcome", "trained"),
                "objective": run.data.metrics.get(OBJECTIVE, math.nan),
                "code": run.data.tags.get("actlab.code", ""),
                "phase": role,
            }
            | run.data.params
            for run in chosen
            for role in (launch.roles(run.data.tags) if launch else [""])
        ]
    )


def _require_artifact(store: Store, run: Run, name: str, error: Exception) -> None:
    """Raise UserError where a person has deleted an artifact."""
    if name not in [entry.path for entry in store.client.list_artifacts(run.info.run_id)]:
        raise UserError(
            f"{name} of the run {run.info.run_name} ({run.info.run_id}) is missing from"
            f" {run.info.artifact_uri}: delete that run in MLflow, and run its sweep or `{SYNC}` to"
            " log it again"
        ) from error


def _read_tables(store: Store, parents: Iterable[Run], name: str) -> pd.DataFrame:
    """Read a table of run folders from the artifacts of configurations' runs."""
    from mlflow.exceptions import MlflowException

    tables = [pd.DataFrame(columns=["parent", *COLUMNS[name]])]
    for run in parents:
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = store.client.download_artifacts(run.info.run_id, f"{name}.csv", folder)
            except (MlflowException, OSError) as error:
                _require_artifact(store, run, f"{name}.csv", error)
                raise
            table = csvs.read_table(Path(path), COLUMNS[name], ())
        table.insert(0, "parent", run.info.run_id)
        tables.append(table)
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _nothing_found(store: Store, sweep: str | None, conditions: str, unfinished: int) -> str:
    """Explain why there is nothing to compare, and what there is."""
    place = f"MLflow at {hide_credentials(tracking_uri())}"
    if unfinished:
        selected = f"of sweep {sweep}" if sweep else "that compare.filter selects"
        return (
            f"{place} has {counted(unfinished, 'run')} {selected}, none of them finished: let the"
            " sweep end, or run it again"
        )
    if sweep:
        runs = store.search("FINISHED", {"actlab.kind": "configuration"})
        tags = (tag.partition(".") for run in runs for tag in run.data.tags)
        known = Counter(rest for kind, _, rest in tags if kind == "sweep" and ".launch" not in rest)
        if sweep not in known:
            named = ", ".join(f"{name} ({count})" for name, count in sorted(known.items()))
            has = f"it has {named}" if named else "it has no finished sweep"
            return f"{place} has no run of a sweep named {sweep!r}: {has}"
    if conditions:
        return f"{place} has no configuration for which compare.filter={conditions!r} holds"
    return f"{place} has no finished configuration: run `dvc repro` or a sweep first"
