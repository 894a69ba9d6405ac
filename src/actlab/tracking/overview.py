"""MLflow's pages on the pipeline's runs: descriptions with links, a saved view, registered models.

All of it follows from finished runs, so that it can be written again at any time; what is up to
date stays as it is.
"""

import os
import re
from collections.abc import Collection, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from actlab.errors import UserError
from actlab.results.layout import RunFolder
from actlab.schema import Config
from actlab.tracking import notes, registry
from actlab.tracking.address import warn_on_failure
from actlab.tracking.publish import find_training
from actlab.tracking.publish_study import find_report
from actlab.tracking.store import NOTE, QUESTION, Store, connect_to_write
from actlab.tracking.views import save_view

if TYPE_CHECKING:
    from mlflow.entities import Run
else:  # importing mlflow takes seconds
    Run = Any

#: The saved view of the pipeline's configurations, and what tells them apart.
VIEW = "configurations"
_KEYS = (
    *("network.name", "activation.name", "initializer.name"),
    *("optimizer.name", "optimizer.learning_rate"),
)


def log_overview(config: Config) -> None:
    """Bring MLflow's pages up to date after the report; a store that fails costs one line.

    An experiment of DVC's leaves them as they are: they describe the study.
    """
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tqdm.write(
            f"{experiment} is an experiment: its runs are in MLflow; descriptions, views and"
            " registered models remain those of the study"
        )
        return
    with warn_on_failure("its descriptions, views and registered models are not up to date"):
        refresh(connect_to_write(), config, ())


def refresh(store: Store, config: Config, stale: Collection[str]) -> list[str]:
    """Update descriptions, view and registry; return what changed.

    `stale` are stages by DVC's names. While a training is stale, nothing is updated, as a part of
    the study would be described as the whole. While the report is, the older one stays linked.
    """
    parents = [] if any(stage.startswith("train") for stage in stale) else _find(store, config)
    if not parents:
        return []
    report = None
    if "report" not in stale:
        report = find_report(store, Path(config.paths.reports))
    data = parents[0].data.params["data.name"]
    runs = ", ".join(repr(run.info.run_id) for run in parents)
    selected = f"attributes.run_id IN ({runs})"  # not those of older trainings
    is_saved = save_view(store, VIEW, "Configurations", selected, _KEYS, parents)
    models = registry.register(store, data, parents)
    is_described = _describe(store, parents, report, registry.name_of(data))
    done = {"descriptions": is_described, "saved view": is_saved}
    return [f"MLflow's {name}" for name, is_done in done.items() if is_done] + models


def _find(store: Store, config: Config) -> list[Run]:
    """Find the runs of the pipeline's configurations, network by network."""
    parents = []
    for network, activation in product(config.networks, config.activations):
        folder = RunFolder.finished(config.paths.runs, activation, network)
        try:
            found = find_training(store, folder, config)
        except UserError:  # not trained here
            continue
        if found is not None:
            parents.append(found[0])
    return parents


def _describe(store: Store, parents: Sequence[Run], report: Run | None, model: str) -> bool:
    """Link the report from the runs, and describe the experiment; return whether anything changed.

    A description that a person wrote, or that links an older report, stays.
    """
    experiment, changed = store.experiment, False
    for run in parents:
        old = run.data.tags.get(NOTE, "")
        if report and (new := notes.link_report(old, experiment, report.info.run_id)) != old:
            store.write(run.info.run_id, tags={NOTE: new})
            changed = True
    old = store.client.get_experiment(experiment).tags.get(NOTE, QUESTION)
    new = notes.describe_experiment(experiment, parents, VIEW, model, report)
    is_kept = not old.startswith(QUESTION) or (report is None and notes.REPORT in old)
    if new != old and not is_kept:
        store.client.set_experiment_tag(experiment, NOTE, new)
        changed = True
    return changed


def save_sweep(store: Store, sweep: str, keys: Sequence[str]) -> str | None:
    """Save the view of a sweep; return its address below the server's, None without a run."""
    runs = store.search("FINISHED", {"actlab.kind": "configuration", f"sweep.{sweep}": "yes"})
    if not runs:
        return None
    key = re.sub("[^A-Za-z0-9_-]", "-", f"sweep-{sweep}")
    selected = f"tags.`sweep.{sweep}` = 'yes' AND tags.actlab.kind = 'configuration'"
    parameters = [name for name in keys if "." in name]
    save_view(store, key, f"Sweep {sweep}", selected, parameters, runs, group=parameters)
    return notes.view_link(store.experiment, key)
