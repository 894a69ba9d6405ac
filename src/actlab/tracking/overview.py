"""MLflow's pages on the pipeline's runs: descriptions with links, saved views, registered models.

All of it follows from runs that are finished, so that it can be written at any time, and again:
what is as it should be is left alone.
"""

import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from actlab.errors import UserError
from actlab.results.layout import RunFolder
from actlab.schema import Config
from actlab.tracking import notes, registry, views
from actlab.tracking.publish_study import find_report
from actlab.tracking.store import Store, connect, format_store_error, warn_on_failure

if TYPE_CHECKING:
    from mlflow.entities import Run
else:  # importing mlflow takes seconds
    Run = Any

_NOTE = "mlflow.note.content"

#: Up to so many runs a view selects by their ids.
_MOST_IDS = 200


class _Held(NamedTuple):
    """A configuration that the store has whole: its run, and those of its seeds."""

    parent: Run
    seeds: Sequence[Run]

    @property
    def shown(self) -> notes.Shown:
        info, data = self.parent.info, self.parent.data
        return notes.Shown(str(info.run_name), info.run_id, data.metrics, data.params)


def log_overview(config: Config) -> None:
    """Bring MLflow's pages up to date after the report; a store that fails costs one line.

    An experiment of DVC's leaves them as they are: they speak of the study.
    """
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tqdm.write(
            f"{experiment} is an experiment: its runs are in MLflow, whose descriptions, views and"
            " registered models stay; `python -m actlab.stages.sync` writes those of what is here"
        )
        return
    with warn_on_failure("its descriptions, views and registered models are old"):
        refresh(connect(), config, ())


def refresh(store: Store, config: Config, stale: Collection[str]) -> list[str]:
    """Write what is not up to date of descriptions, views and registry; say what was.

    `stale` are stages by DVC's names. While a training is, the pages stay as they are: they would
    speak of a part. While the report is, they link the older one.
    """
    held = None if any(stage.startswith("train") for stage in stale) else _find(store, config)
    if not held:
        return []
    report = None
    if "report" not in stale:
        report = find_report(store, Path(config.paths.reports))
    changed = _describe_runs(store, held, report)
    saved = _save_views(store, held)
    models = registry.register(store, _data_of(held), [each.parent for each in held])
    changed += _describe_experiment(store, held, report, saved.names)
    said = ["descriptions"] if changed else []
    said += ["views"] if saved.changed else []
    return [f"MLflow's {' and '.join(said)}", *models] if said else models


def _find(store: Store, config: Config) -> list[_Held]:
    """Give the configurations of the pipeline that the store has, network by network."""
    held = []
    for network, activation in product(config.networks, config.activations):
        folder = RunFolder.finished(config.paths.runs, activation, network)
        try:
            trained = folder.read_config(config)
            found = store.find_configuration(trained, folder.find_weights(trained))
        except UserError:  # not trained here
            continue
        if found is not None:
            parent, seeds = found
            held.append(_Held(parent, [seeds[seed] for seed in sorted(seeds)]))
    return held


def _data_of(held: Sequence[_Held]) -> str:
    return held[0].parent.data.params["data.name"]


def _describe_runs(store: Store, held: Sequence[_Held], report: Run | None) -> int:
    """Describe the report's run, and link it from those of configurations; count the changes."""
    if report is None:
        return 0
    shown, experiment = [each.shown for each in held], store.experiment
    identity = report.info.run_id
    wanted = [(report, notes.of_report(experiment, identity, shown, report.data.tags))]
    for each in held:
        note = each.parent.data.tags.get(_NOTE, "")
        wanted.append((each.parent, notes.with_report(note, experiment, identity)))
    changed = [(run, note) for run, note in wanted if run.data.tags.get(_NOTE) != note]
    for run, note in changed:
        store.write(run.info.run_id, tags={_NOTE: note})
    return len(changed)


def save_sweep(sweep: str, keys: Sequence[str]) -> str | None:
    """Save the view of a sweep; give its address below the server's, or why there is none."""
    try:
        store = connect()
        found = store.search("FINISHED", {"actlab.kind": "configuration", f"sweep.{sweep}": "yes"})
        if not found:
            return None
        metrics = sorted({name for run in found for name in run.data.metrics})
        changed = max(run.info.end_time or 0 for run in found)
        key = _key(f"sweep-{sweep}")
        _save(store, {key: views.of_sweep(sweep, keys, metrics, changed)})
    except Exception as error:  # as in `store.warn_on_failure`
        return format_store_error(error, "its view is not saved", advice=False)
    return notes.view_link(store.experiment, key)


def _key(name: str) -> str:
    return re.sub("[^A-Za-z0-9_-]", "-", name)


def _save(store: Store, wanted: Mapping[str, str]) -> bool:
    """Save the views that are not there as they should be; tell whether there was one."""
    tags = store.client.get_experiment(store.experiment).tags
    old = [key for key, view in wanted.items() if tags.get(views.tag(key)) != view]
    for key in old:
        store.client.set_experiment_tag(store.experiment, views.tag(key), wanted[key])
    return bool(old)


class _Saved(NamedTuple):
    """The saved views: what they show, by their keys, and whether one was written."""

    names: Mapping[str, str]
    changed: bool


def _save_views(store: Store, held: Sequence[_Held]) -> _Saved:
    # Of the runs that it shows: a view that is made again is the same.
    changed_at = max(each.parent.info.end_time or 0 for each in held)
    metrics = sorted({name for each in held for name in each.parent.data.metrics})
    parents = [each.parent.info.run_id for each in held]
    configurations = _selecting(parents, "configuration")
    wanted = {"configurations": views.of_configurations(configurations, metrics, changed_at)}
    for network in dict.fromkeys(each.shown.network for each in held):
        seeds = [run for each in held if each.shown.network == network for run in each.seeds]
        names = sorted({name for run in seeds for name in run.data.metrics})
        key = _key(f"curves-{network}")
        selected = _selecting([run.info.run_id for run in seeds], "seed", network)
        activations = [run.data.params["activation.name"] for run in seeds]
        lowest = min(run.data.metrics["val_accuracy"] for run in seeds)
        floor = max(0.0, math.floor(100 - 400 * (1 - lowest)) / 100)
        wanted[key] = views.of_curves(network, selected, activations, names, floor, changed_at)
    return _Saved({key: views.read(view)[0] for key, view in wanted.items()}, _save(store, wanted))


def _selecting(runs: Sequence[str], kind: str, network: str | None = None) -> str:
    """Give the condition that selects runs: by their ids, which tell them from older trainings.

    A tag has no room for the ids of many.
    """
    if len(runs) <= _MOST_IDS:
        return f"attributes.run_id IN ({', '.join(map(repr, runs))})"
    tags = {"kind": kind, "source": "dvc"} | ({"network": network} if network else {})
    return " and ".join(f"tags.`actlab.{key}` = '{value}'" for key, value in tags.items())


def _describe_experiment(
    store: Store, held: Sequence[_Held], report: Run | None, saved: Mapping[str, str]
) -> int:
    """Describe the experiment, unless a person has; count the changes."""
    now = store.client.get_experiment(store.experiment).tags.get(_NOTE, notes.QUESTION)
    note = notes.of_experiment(
        store.experiment,
        [each.shown for each in held],
        saved,
        [registry.name_of(_data_of(held))],
        report.info.run_id if report else None,
        report.data.tags if report else {},
    )
    if note == now or not now.startswith(notes.QUESTION):
        return 0
    if report is None and notes.REPORT in now:  # an older one
        return 0
    store.client.set_experiment_tag(store.experiment, _NOTE, note)
    return 1
