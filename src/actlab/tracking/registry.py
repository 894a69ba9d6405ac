"""The model registry: `actlab-<data set>` has one version per configuration of the pipeline.

Each version has its configuration's name as alias (`relu-mlp`). The alias `best` is the pipeline's
choice, `best-<sweep>` that of a sweep: the greatest mean validation accuracy over seeds, on images
held out of training. Where the pipeline holds out none, its best is the one with the least mean
training loss. Nothing is chosen by test images.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from actlab.engine.csvs import where
from actlab.errors import UserError
from actlab.evidence.wording import counted
from actlab.tracking.address import tracking_uri
from actlab.tracking.reading import FoundRuns
from actlab.tracking.store import OBJECTIVE, Store

if TYPE_CHECKING:
    from mlflow.entities import Run
else:  # importing mlflow takes seconds
    Run = Any

BEST = "best"

_DESCRIPTION = (
    "Networks that return the probability of each class, or what a regression predicts. A version"
    " is the model of a configuration's first seed, its alias the configuration's name."
    f" `{BEST}` and `{BEST}-<sweep>` are choices; the tags of these names give the reason."
)


def name_of(data: str) -> str:
    """Return the name of a data set's registered model.

    >>> name_of("mnist")
    'actlab-mnist'
    """
    return f"actlab-{data}"


def alias_of(name: str) -> str:
    """Return the alias for a name; MLflow takes letters, digits, `_` and `-`.

    >>> alias_of("relu/deep")
    'relu-deep'
    """
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


def uri_of(name: str, alias: str) -> str:
    """Return the address of a version, as MLflow's functions and `make serve` take it."""
    return f"models:/{name}@{alias}"


def model_of(run: Run) -> str | None:
    """Return the id of the model that a configuration's run has logged."""
    logged = run.outputs.model_outputs if run.outputs else []
    return logged[-1].model_id if logged else None


# --- Registering --------------------------------------------------------------------------


def register(store: Store, data: str, runs: Sequence[Run]) -> list[str]:
    """Register the pipeline's configurations and their best; return the aliases that moved."""
    aliases = {alias_of(str(run.info.run_name)): run for run in runs}
    reasons = {}
    if best := _choose(runs):
        aliases[BEST], reasons[BEST] = best
    return _register(store, name_of(data), aliases, reasons)


def _choose(runs: Sequence[Run]) -> tuple[Run, str] | None:
    """Choose the best of the configurations that did not diverge, with the reason."""
    trained = [run for run in runs if run.data.tags.get("actlab.outcome") == "trained"]
    if not trained:
        return None
    if all(OBJECTIVE in run.data.metrics for run in trained):
        best = max(trained, key=lambda run: run.data.metrics[OBJECTIVE])
        return best, _explain_choice(best, len(trained))
    best = min(trained, key=lambda run: run.data.metrics["loss_mean"])
    return best, (
        f"the least mean training loss, {best.data.metrics['loss_mean']:.5f}, of {len(trained)}"
        " configurations; no images were held out to choose by"
    )


def _explain_choice(best: Run, count: int) -> str:
    images, objective = int(best.data.params["data.validation_size"]), best.data.metrics[OBJECTIVE]
    name, value = "greatest mean validation accuracy", objective
    if best.data.params.get("network.outputs") == "linear":
        name, value = "least mean validation loss", -objective
    return f"the {name}, {value:.4f} on {images:,} held-out images, of {count} configurations"


def _register(
    store: Store, name: str, wanted: Mapping[str, Run], reasons: Mapping[str, str]
) -> list[str]:
    """Move each alias to the version of its run's model; return which moved."""
    client = store.client
    if not (found := client.search_registered_models(f"name = '{name}'")):
        client.create_registered_model(name, {"actlab.kind": "model"}, _DESCRIPTION)
    aliases, tags = (found[0].aliases, found[0].tags) if found else ({}, {})
    versions = client.search_model_versions(f"name = '{name}'")
    known = {version.source: str(version.version) for version in versions}
    moved = []
    for alias, run in wanted.items():
        if (model := model_of(run)) is None:
            continue
        if (source := f"models:/{model}") not in known:
            if not _is_kept(store, model):
                continue
            known[source] = _create_version(store, name, run, model)
        if alias in reasons and tags.get(alias) != reasons[alias]:
            client.set_registered_model_tag(name, alias, reasons[alias])
        if str(aliases.get(alias)) != known[source]:
            client.set_registered_model_alias(name, alias, known[source])
            moved.append(f"{name}@{alias}: {run.info.run_name}")
    return moved


def _is_kept(store: Store, model: str) -> bool:
    """Return whether a logged model exists: a person may have deleted it."""
    from mlflow.exceptions import MlflowException

    try:
        store.client.get_logged_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def _create_version(store: Store, name: str, run: Run, model: str) -> str:
    """Register a logged model; return its version."""
    with _named_in_environment(tracking_uri()):
        created = store.client.create_model_version(
            name,
            f"models:/{model}",
            run.info.run_id,
            description=f"{run.info.run_name}, seed {run.data.params['seeds'].partition(',')[0]}",
            await_creation_for=0,
            model_id=model,
        )
    return str(created.version)


@contextmanager
def _named_in_environment(uri: str) -> Iterator[None]:
    """Name the store in the environment: MLflow looks `models:/` up in no other."""
    variable = "MLFLOW_TRACKING_URI"
    before = os.environ.get(variable)
    os.environ[variable] = uri
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


# --- Sweeps -------------------------------------------------------------------------------

#: What decides which images are held out, and what is learned of them.
_DATA = {
    f"data.{key}"
    for key in ("name", "images", "validation", "validation_size", "split_seed", "targets")
}


def _is_regression(parents: pd.DataFrame) -> bool:
    return "network.outputs" in parents and "linear" in set(parents["network.outputs"])


def best_of_sweep(found: FoundRuns) -> tuple[str, int] | None:
    """Find the run with the best objective, and the number that it was chosen from.

    None where configurations held out no images, or different ones. In a fair sweep, the best is
    chosen from the tuned configurations.
    """
    parents = where(found.parents, phase="tuned")
    parents = found.parents if parents.empty else parents
    decisive = {*_DATA, "data.preprocessing"} if _is_regression(parents) else _DATA
    images = parents.drop_duplicates([column for column in parents if column in decisive])
    trained = where(parents, outcome="trained").dropna(subset="objective")
    if len(images) > 1 or images["data.validation_size"].iloc[0] == "0" or trained.empty:
        return None
    return str(trained.loc[trained["objective"].idxmax(), "run"]), len(trained)


def register_best(store: Store, sweep: str, found: FoundRuns) -> str | None:
    """Register the best configuration of a sweep as `best-<sweep>`; return which it is, and why."""
    if not sweep or (best := best_of_sweep(found)) is None:
        return None
    run = store.client.get_run(best[0])
    if model_of(run) is None:
        return None
    alias, reason = alias_of(f"{BEST}-{sweep}"), _explain_choice(run, best[1])
    name = name_of(run.data.params["data.name"])
    _register(store, name, {alias: run}, {alias: reason})
    return f"{uri_of(name, alias)}: {run.info.run_name}, {reason}"


# --- Serving ------------------------------------------------------------------------------


def _parse(uri: str) -> tuple[str, str | None, str | None]:
    """Return the name (or the id), alias and version in a model's address."""
    parts = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))?", uri)
    if parts is None:
        raise UserError(
            f"MODEL is {uri!r}: it has to be models:/<name>@<alias>, models:/<name>/<version> or"
            " models:/<id>"
        )
    return parts[1], parts[2], parts[3]


def _look_up(store: Store, uri: str) -> tuple[str | None, str | None, float]:
    """Look a model up: the ids of its run and of the logged model, and when it was made."""
    name, alias, number = _parse(uri)
    if not (alias or number):
        model = store.client.get_logged_model(name)
        return model.source_run_id, name, model.creation_timestamp / 1000
    version = (
        store.client.get_model_version_by_alias(name, alias)
        if alias
        else store.client.get_model_version(name, str(number))
    )
    model_id = re.fullmatch("models:/(m-[^/]+)", version.source or "")
    return version.run_id, model_id and model_id[1], version.creation_timestamp / 1000


def find_model(store: Store, asked: str | None, data: str) -> str:
    """Return the address of the registered model that is asked for, or of the pipeline's best.

    `asked` is `models:/<name>@<alias>`, `models:/<name>/<version>` or `models:/<id>`; `data` is
    the data set of the pipeline.

    Raises
    ------
    UserError
        When there is no such model; it names those that there are.
    """
    from mlflow.exceptions import MlflowException

    uri = asked or uri_of(name_of(data), BEST)
    try:
        _look_up(store, uri)
    except MlflowException as error:
        models = store.client.search_registered_models()
        known = [uri_of(model.name, own) for model in models for own in sorted(model.aliases)]
        advice = "run `dvc repro` first, then `make serve`"
        if known:
            advice = f"it has {', '.join(known)}; MODEL={known[0]} make serve"
        raise UserError(f"MLflow has no model {uri}: {advice}") from error
    return uri


def describe_model(store: Store, uri: str) -> str:
    """Describe a registered model: configuration, data, study, date, accuracy, why it is served.

    A model that actlab has not logged is described by its date alone.
    """
    run_id, model_id, made = _look_up(store, uri)
    date = time.strftime("%Y-%m-%d", time.localtime(made))
    run = store.client.get_run(run_id) if run_id else None
    if run is None or "activation.name" not in run.data.params:
        return f"a model of {date} that actlab has not logged"
    params, tags = run.data.params, run.data.tags
    metrics = store.client.get_logged_model(model_id).metrics if model_id else None
    reached = {metric.key: metric.value for metric in metrics or []}
    sweeps = sorted(
        tag.removeprefix("sweep.")
        for tag in tags
        if tag.startswith("sweep.") and ".launch" not in tag
    )
    study = f"sweep {', '.join(sweeps)}" if sweeps else "a training on its own"
    study = "the pipeline" if tags.get("actlab.source") == "dvc" else study
    seeds = params["seeds"].split(",")
    accuracy = "".join(
        f"; {label} accuracy {reached[key]:.2%}"
        f" ({run.data.metrics[f'{key}_mean']:.2%} on average over {counted(len(seeds), 'seed')})"
        for key, label in (("test_accuracy", "test"), ("val_accuracy", "validation"))
        if key in reached and (key != "val_accuracy" or params["data.validation_size"] != "0")
    )
    preprocessing = params.get("data.preprocessing", "none")
    takes = f"; it takes images preprocessed by {preprocessing}" if preprocessing != "none" else ""
    name, alias, _ = _parse(uri)
    reason = store.client.get_registered_model(name).tags.get(alias) if alias else None
    return (
        f"{params['activation.name']} on {params['network.name']}, seed {seeds[0]}, trained on"
        f" {params['data.name']} for {counted(int(params['training.epochs']), 'epoch')} by {study}"
        f" ({date}){accuracy}{f'; chosen for {reason}' if reason else ''}{takes}"
    )
