"""A training's run folder -> MLflow: live, at the end, and later by `sync`.

Everything that is written follows from the folder, times included, so that publishing again adds
nothing. Nothing is written into the folder.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from actlab.engine import csvs
from actlab.engine.composing import list_overrides
from actlab.results.layout import HISTORY, Run, RunFolder, weights_path
from actlab.results.study import parameters
from actlab.schema import Config
from actlab.tracking import notes, publisher
from actlab.tracking.logged_model import log_model
from actlab.tracking.publisher import METRICS, Publisher, Record, summarise, to_metrics
from actlab.tracking.store import NOTE, OBJECTIVE, Store, sha256, sweep_tags, this_process

#: What the page of a model shows of its seed.
_OF_MODEL = ["test_accuracy", "test_loss", "val_accuracy", "val_loss", "accuracy", "loss"]


def source_of(config: Config) -> str:
    """Return what trains a configuration: dvc, a stage of the pipeline, or sweep, a job of one."""
    return "dvc" if config.paths.output == "." else "sweep"


def run_name(config: Config) -> str:
    """Return the name of a configuration's run; a sweep's has the job's overrides.

    >>> run_name(config)  # doctest: +SKIP
    'relu/mlp data.validation_size=10000,optimizer.learning_rate=0.003'
    """
    name = f"{config.activation.name}/{config.network.name}"
    is_job = source_of(config) == "sweep"
    asked = list_overrides(Path(config.paths.output).name) if is_job else []
    others = ",".join(
        part for part in asked if not re.match("(activation|network|experiment)=", part)
    )
    # A database may hold a name to 250 characters.
    return f"{name} {others}"[:200] if "=" in others else name


def identify(config: Config, fingerprint: str) -> dict[str, str]:
    """Return the tags by which a training's runs are found."""
    return {"actlab.source": source_of(config), "actlab.fingerprint": fingerprint}


def find_training(store: Store, folder: RunFolder, config: Config) -> Any:
    """Find the runs of a finished training: the parent's, and the seeds'; None if there are none.

    Raises
    ------
    UserError
        When the folder is not complete.
    """
    run = folder.read(config)
    weights = folder.find_weights(run.config)
    digests = {seed: sha256(path.read_bytes()) for seed, path in weights.items()}
    return store.find_complete(identify(run.config, run.fingerprint), digests)


# --- What a run folder holds --------------------------------------------------------------


def _tabulate(run: Run) -> pd.DataFrame:
    """Tabulate all metrics so far: of epochs; of finished seeds also tests and update ratios."""
    epochs = run.epochs.sort_values("epoch", kind="stable").rename(columns={"ended": "time"})
    curves = epochs.melt(["seed", "epoch", "time"], [*HISTORY[2:], "epoch_seconds"], "metric")
    tables = [curves.sort_values("epoch", kind="stable")]  # later epochs are appended
    if not run.test.empty:
        ends = epochs.drop_duplicates("seed", keep="last")[["seed", "time", "compile_seconds"]]
        finished = run.test.merge(ends)
        results = ["test_accuracy", "test_loss", "compile_seconds"]
        updates = run.updates.merge(finished[["seed", "time"]])
        tables += [
            finished.melt(["seed", "time"], results, "metric").assign(epoch=0),
            updates.assign(
                metric="health/update_ratio/" + updates["layer"], value=updates["update_ratio"]
            ),
        ]
        if not run.noise.empty:
            noise = run.noise.merge(finished[["seed", "time"]])
            noise = noise.melt(["seed", "time", "noise"], ["test_accuracy", "test_loss"], "metric")
            bounds = noise["noise"].map("{:g}".format)
            tables.append(noise.assign(metric="noise/" + bounds + "/" + noise["metric"], epoch=0))
    whole = pd.concat(tables).rename(columns={"epoch": "step"})
    if run.config.network.outputs == "linear":  # a regression has no accuracy
        whole = whole[~whole["metric"].str.endswith("accuracy")]
    return whole.loc[:, ["seed", *METRICS]]


def _record(config: Config, folder: RunFolder) -> Record:
    """Read a run folder as far as it has been written."""
    run = folder.read(config)
    trained, last = run.config, run.config.training.epochs
    starts = run.epochs.assign(time=run.epochs["ended"] - 1000 * run.epochs["epoch_seconds"])
    return Record(
        name=run_name(trained),
        seeds=trained.seeds,
        params=parameters(vars(trained)),
        tags=identify(trained, run.fingerprint),
        parent_tags=sweep_tags(trained.sweep, trained.declaration) | {"actlab.code": run.code},
        metrics=_tabulate(run),
        began={
            seed: int(min(csvs.where(starts, seed=seed)["time"])) for seed in set(starts["seed"])
        },
        digests={
            seed: sha256(weights_path(folder.models, seed, last).read_bytes())
            for seed in run.test["seed"]
        },
        confidence=trained.report.confidence,
    )


def create_publisher(config: Config, folder: RunFolder, store: Store | None = None) -> Publisher:
    """Create the publisher of a run folder; `config` names paths and what is trained."""
    return Publisher(lambda: _record(config, folder), partial(_complete, config, folder), store)


def _complete(
    config: Config,
    folder: RunFolder,
    store: Store,
    record: Record,
    runs: Mapping[int | None, str],
) -> tuple[dict[str, float], dict[str, object], dict[str, str]]:
    """Log artifacts and the first seed's model; return the parent's metrics, parameters, tags."""
    run = folder.read(config)
    parent, first = runs[None], run.config.seeds[0]
    names = ("history", "layers", "test", *(["noise"] if len(run.noise) else []))
    for path in (*map(folder.table, names), folder.models / "model.json"):
        store.client.log_artifact(parent, str(path))
    model, parameters = log_model(store, parent, record, run.config, folder.models)
    # For the page of the model; to the run it is nothing new.
    last = csvs.where(record.metrics, seed=first).drop_duplicates("metric", keep="last")
    store.write(runs[first], to_metrics(csvs.where(last, metric=_OF_MODEL), model_id=model))
    params: dict[str, object] = {"network.parameters": parameters}
    reached = summarise(record.metrics, record.confidence)
    note = notes.describe_configuration(
        record.name,
        {**record.params, **params},
        dict(zip(reached["metric"], reached["value"], strict=True)),  # of a curve, the last
        run.config.seeds,
        run.divergences,
    )
    totals = {"diverged_seeds": float(len(run.divergences))}
    if run.objective is not None:
        totals[OBJECTIVE] = run.objective
    outcome = {"actlab.outcome": "diverged"} if run.divergences else {}
    return totals, params, {NOTE: note, **outcome}


# --- Publishing ---------------------------------------------------------------------------


class LivePublisher(publisher.LivePublisher):
    """Publishes a run folder while it is written; see `publisher.LivePublisher`."""

    def __init__(self, config: Config, folder: RunFolder) -> None:
        super().__init__(create_publisher(config, folder), advice=source_of(config) == "dvc")


def publish(config: Config, folder: RunFolder, store: Store) -> bool:
    """Bring a store to what a run folder holds; return whether it lacked something."""
    return create_publisher(config, folder, store).publish_once()


def record_failure(store: Store, config: Config, fingerprint: str, cause: str) -> None:
    """Write the cause to the failed run of this process, which is created if necessary."""
    tags = {"actlab.kind": "configuration", **identify(config, fingerprint)}
    tags["actlab.process"] = this_process()
    if found := store.search("FAILED", tags, at_most=1):
        run = found[0].info.run_id
    else:
        run = store.create_run(
            run_name(config), tags | sweep_tags(config.sweep, config.declaration)
        )
        seeds = ",".join(map(str, config.seeds))  # as `Publisher` writes them
        store.write(run, params={**parameters(vars(config)), "seeds": seeds})
        store.client.set_terminated(run, "FAILED")
    store.write(run, tags={NOTE: f"Failed: {cause}"})
