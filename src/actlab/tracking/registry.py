"""The model registry: each configuration's model is a version, an alias says which is which.

A registered model is `actlab-<data set>`. Each version has its configuration's name as alias
(`relu-mlp`). Two more aliases are choices, neither of them by test images:

=======================  =====================================================================
`best`                   of the sweep that was compared last, or else of the pipeline, the
                         greatest mean validation accuracy over seeds, on images that were held
                         out of training; not set where none were
`lowest-training-loss`   of the pipeline's configurations, the least mean training loss over seeds
                         after the last epoch: it fits the training images best, which is no
                         promise for new ones
=======================  =====================================================================
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from actlab.errors import UserError
from actlab.tracking.reading import FoundRuns
from actlab.tracking.store import OBJECTIVE, Store, connect, format_store_error, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run
else:  # importing mlflow takes seconds
    Run = Any

BEST, LOWEST_LOSS = "best", "lowest-training-loss"

#: The tag of a version that says what chose it, by its alias.
_CHOSEN = "actlab.{}"
_OF_PIPELINE = "of the pipeline"
_VERSIONS = "mlflow.modelVersions"

#: What two configurations have to share for their validation accuracies to be of the same images.
_IMAGES = ("name", "validation_size", "split_seed")

_DESCRIPTION = (
    "Dense networks that give each of ten classes a probability: images (n, 784) from 0 to 1 in,"
    " (n, 10) out. A version is the model of a configuration's first seed; its alias is the"
    " configuration's name.\n\n"
    f"- `{BEST}`: of the sweep that was compared last, or else of the pipeline, the configuration"
    " with the greatest mean validation accuracy, by images that were held out of training."
    " Where no training held out any (`data.validation_size` is 0, as in the"
    " notebook's protocol) it is not set: nothing is selected on the test images. To have it"
    " chosen: a sweep with `data.validation_size=10000 sweep=mine`, then"
    " `python -m actlab.stages.compare sweep=mine`.\n"
    f"- `{LOWEST_LOSS}`: the configuration with the least mean training loss after the last epoch."
    " It fits the training images best; that is no promise for new ones.\n\n"
    f"`make serve` serves `{BEST}`, or where it is not set `{LOWEST_LOSS}`;"
    " `MODEL=models:/<name>@<alias> make serve` any other."
)


def name_of(data: str) -> str:
    """Give the registered model's name of a data set.

    >>> name_of("mnist")
    'actlab-mnist'
    """
    return f"actlab-{data}"


def alias_of(configuration: str) -> str:
    """Give the alias of a configuration; MLflow takes letters, digits, `_` and `-`.

    >>> alias_of("relu/deep")
    'relu-deep'
    """
    return re.sub(r"[^A-Za-z0-9_-]", "-", configuration)


def uri_of(name: str, alias: str) -> str:
    """Give the address of a version, as MLflow's functions and `make serve` take it."""
    return f"models:/{name}@{alias}"


class Choice(NamedTuple):
    """A run of a configuration that an alias names, and the sentence that says why."""

    run: Run
    reason: str


def model_of(run: Run) -> str | None:
    """Give the id of the model that a configuration's run has logged."""
    logged = run.outputs.model_outputs if run.outputs else []
    return logged[-1].model_id if logged else None


def choose(runs: Sequence[Run]) -> dict[str, Choice]:
    """Choose among finished configurations, by aliases; none that diverged is chosen."""
    trained = [run for run in runs if run.data.tags.get("actlab.outcome") == "trained"]
    if not trained:
        return {}
    lowest = min(trained, key=lambda run: run.data.metrics["loss_mean"])
    loss = lowest.data.metrics["loss_mean"]
    reason = f"the least mean training loss, {loss:.5f}, of {len(trained)} configurations"
    chosen = {LOWEST_LOSS: Choice(lowest, reason)}
    if all(OBJECTIVE in run.data.metrics for run in trained):
        best = max(trained, key=lambda run: run.data.metrics[OBJECTIVE])
        chosen[BEST] = Choice(best, _held_out(best, len(trained), _OF_PIPELINE))
    return chosen


def _held_out(best: Run, count: int, which: str) -> str:
    accuracy = best.data.metrics[OBJECTIVE]
    images = int(best.data.params["data.validation_size"])
    return (
        f"the greatest mean validation accuracy, {accuracy:.4f} on {images:,} held-out images, of"
        f" {count} configurations {which}"
    )


def register(store: Store, data: str, runs: Sequence[Run]) -> list[str]:
    """Register what is not yet: a version a run, its alias, the choices; say what changed."""
    aliases = {alias_of(str(run.info.run_name)): run for run in runs}
    choices = choose(runs)
    if _is_of_sweep(store, name_of(data)):
        choices.pop(BEST, None)
    wanted = aliases | {alias: choice.run for alias, choice in choices.items()}
    reasons = {alias: choice.reason for alias, choice in choices.items()}
    return _register(store, name_of(data), wanted, reasons)


def _is_of_sweep(store: Store, name: str) -> bool:
    """Tell whether a sweep has chosen the best: it has more to choose from than the pipeline."""
    for model in store.client.search_registered_models(f"name = '{name}'"):
        if BEST in model.aliases:
            version = store.client.get_model_version_by_alias(name, BEST)
            return not version.tags.get(_CHOSEN.format(BEST), "").endswith(_OF_PIPELINE)
    return False


def _register(
    store: Store, name: str, wanted: Mapping[str, Run], reasons: Mapping[str, str]
) -> list[str]:
    """Give each alias the version of its run's model; say which aliases moved."""
    client = store.client
    found = client.search_registered_models(f"name = '{name}'")
    held = found[0].aliases if found else {}
    if not found:
        client.create_registered_model(name, {"actlab.kind": "model"}, _DESCRIPTION)
    elif found[0].description != _DESCRIPTION:
        client.update_registered_model(name, _DESCRIPTION)
    known = {each.source: str(each.version) for each in _versions(store, name)}
    moved = []
    for alias, run in wanted.items():
        if (model := model_of(run)) is None:
            continue
        if (source := f"models:/{model}") not in known:
            known[source] = _create_version(store, name, run, model)
        version, before = known[source], held.get(alias)
        if alias in reasons:
            _tell_choice(store, name, version, _CHOSEN.format(alias), reasons[alias])
        if str(before) != version:
            client.set_registered_model_alias(name, alias, version)
            moved.append(f"{name}@{alias}: {run.info.run_name}")
    return moved


def _tell_choice(store: Store, name: str, version: str, tag: str, reason: str) -> None:
    """Say at a version why it was chosen, and at no other any more."""
    for each in _versions(store, name):
        if str(each.version) != version:
            if tag in each.tags:
                store.client.delete_model_version_tag(name, str(each.version), tag)
        elif each.tags.get(tag) != reason:
            store.client.set_model_version_tag(name, version, tag, reason)


def _versions(store: Store, name: str) -> Sequence[Any]:
    return store.client.search_model_versions(f"name = '{name}'")


def _create_version(store: Store, name: str, run: Run, model: str) -> str:
    """Register a logged model; give its version, and tell the model's own page."""
    client = store.client
    tags = {key: run.data.tags[key] for key in ("actlab.activation", "actlab.network")}
    first = run.data.params["seeds"].partition(",")[0]
    with _addressed(tracking_uri()):
        created = client.create_model_version(
            name,
            f"models:/{model}",
            run.info.run_id,
            tags | {"actlab.seed": first},
            description=f"{run.info.run_name}, seed {first}. Its run says what all seeds reached.",
            await_creation_for=0,
            model_id=model,
        )
    entry = {"name": name, "version": int(created.version)}
    others = json.loads(client.get_logged_model(model).tags.get(_VERSIONS, "[]"))
    if not any(each.get("name") == name for each in others):  # a server has done so itself
        client.set_logged_model_tags(model, {_VERSIONS: json.dumps([*others, entry])})
    return str(created.version)


@contextmanager
def _addressed(uri: str) -> Iterator[None]:
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


def best_of_sweep(found: FoundRuns) -> tuple[str, int] | None:
    """Give the run with the best mean validation accuracy, and among how many it is.

    None where a configuration held out no images, or other ones: nothing is selected then. Of a
    fair sweep, only what was tuned stands for choice.
    """
    parents = found.parents.to_dict("records")
    tuned = [each for each in parents if each["phase"] == "tuned"]
    parents = tuned or parents
    images = {tuple(each[f"data.{key}"] for key in _IMAGES) for each in parents}
    if len(images) != 1 or parents[0]["data.validation_size"] == "0":
        return None
    trained = {each["run"] for each in parents if each["outcome"] == "trained"}
    last: dict[str, dict[int, float]] = defaultdict(dict)
    for row in found.history.sort_values("epoch").to_dict("records"):
        if row["parent"] in trained:
            last[row["parent"]][row["seed"]] = row["val_accuracy"]
    means = {run: fmean(of_seeds.values()) for run, of_seeds in last.items()}
    return (max(means, key=lambda run: means[run]), len(means)) if means else None


def register_best(sweep: str, found: FoundRuns) -> str | None:
    """Register the best configuration of a sweep as `best` and `best-<sweep>`; say which it is."""
    if (best := best_of_sweep(found)) is None:
        return None
    try:
        store = connect()
        run = store.client.get_run(best[0])
        if model_of(run) is None:
            return None
        aliases = [BEST, *([alias_of(f"{BEST}-{sweep}")] if sweep else [])]
        which = f"of sweep {sweep}" if sweep else "that were compared"
        reason = _held_out(run, best[1], which)
        name = name_of(run.data.params["data.name"])
        _register(store, name, dict.fromkeys(aliases, run), dict.fromkeys(aliases, reason))
    except Exception as error:  # as in `tracking`: MLflow lets through what its store raises
        return format_store_error(error, "the best configuration is not registered", advice=False)
    return f"{uri_of(name, aliases[-1])}: {run.info.run_name}, {reason}"


# --- What is served -----------------------------------------------------------------------


def find_model(store: Store, asked: str | None, data: str) -> str:
    """Give the address of the registered model that is asked for, or of the default.

    `asked` is `models:/<name>@<alias>`, `models:/<name>/<version>` or `models:/<id>`.

    Raises
    ------
    UserError
        When there is no such model; it names those that there are.
    """
    if asked is None:
        name = name_of(data)
        aliases = _aliases(store).get(name, [])
        for alias in (BEST, LOWEST_LOSS):
            if alias in aliases:
                return uri_of(name, alias)
        raise UserError(
            f"MLflow has no model {name} with an alias {BEST} or {LOWEST_LOSS}:"
            f" run `dvc repro`, then `python -m actlab.stages.sync`{_others(store)}"
        )
    parts = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))?", asked)
    if parts is None:
        raise UserError(
            f"MODEL is {asked!r}: it has to be models:/<name>@<alias>, models:/<name>/<version> or"
            " models:/<id>"
        )
    if not store.has_model(*parts.groups()):
        raise UserError(f"MLflow has no model {asked}{_others(store)}")
    return asked


def _aliases(store: Store) -> dict[str, list[str]]:
    models = store.client.search_registered_models()
    return {model.name: sorted(model.aliases) for model in models}


def _others(store: Store) -> str:
    """Name the models that there are, as the end of a sentence."""
    there = [uri_of(name, alias) for name, aliases in _aliases(store).items() for alias in aliases]
    return f"; it has {', '.join(there)}" if there else ""
