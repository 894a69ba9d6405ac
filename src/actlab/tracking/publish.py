"""A run folder -> MLflow: live, at the end, by a sweep's job and by `sync`, all by `Publisher`.

Whatever is written follows from the folder, times included: to publish it again adds nothing.
"""

import json
import math
import re
import shlex
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from actlab.data.datasets import DATASETS
from actlab.engine import csvs
from actlab.evidence.statistics import mean_interval
from actlab.results import layout
from actlab.results.layout import Run, RunFolder, weights_path
from actlab.schema import Config
from actlab.tracking import notes
from actlab.tracking.logged_model import log_model
from actlab.tracking.store import (
    NOTE,
    OBJECTIVE,
    WEIGHTS,
    Store,
    connect_to_write,
    digest_of_seeds,
    format_store_error,
    name_tags,
    sha256,
    source_of,
    sweep_tags,
    this_process,
)

if TYPE_CHECKING:
    from mlflow.entities import Metric
else:  # importing mlflow takes seconds
    Metric = Any

#: Seconds between two writes of a training; a store that takes longer to write has as long.
PAUSE = 1.0

#: A seed's metrics of an epoch, of its end, and what its model's page shows of them.
_OF_EPOCH = (*layout.HISTORY[2:], "epoch_seconds")
_OF_MODEL = ("test_accuracy", "test_loss", "val_accuracy", "val_loss", "accuracy", "loss")

#: The parent's first metrics: MLflow's page that compares runs begins with what was written first.
_FIRST = {"test_accuracy": 0, "test_loss": 1}


# --- What a run bears ---------------------------------------------------------------------


def run_name(config: Config) -> str:
    """Give the name of a configuration's run: a sweep's says what the job was asked for.

    >>> run_name(config)  # doctest: +SKIP
    'relu/mlp data.validation_size=10000,training.learning_rate=0.003'
    """
    name = _name(config)
    asked = Path(config.paths.output).name.split(",") if source_of(config) == "sweep" else []
    others = ",".join(each for each in asked if not each.startswith(("activation=", "network=")))
    # A database may hold a name to 250 characters.
    return f"{name} {others}"[:200] if "=" in others else name


def _name(config: Config) -> str:
    return f"{config.activation.name}/{config.network.name}"


def training_command(config: Config) -> str:
    """Give the command that trains a configuration."""
    if source_of(config) == "dvc":
        return f"dvc repro train@{config.activation.name}-{config.network.name}"
    name = Path(config.paths.output).name
    asked = re.split(r",(?![^\[]*\])", name)  # not within a list
    # What has no value is Hydra's name for nothing; a name this long was cut.
    whole = all("=" in each for each in asked) and len(name) < 150
    given = " ".join(map(shlex.quote, asked)) if whole else ""
    return f"python -m actlab.stages.train {given}".rstrip()


def _parameters(config: Config) -> dict[str, object]:
    """Give what a training was made with, by dotted keys."""
    activation = config.activation
    return {
        "activation.name": activation.name,
        "activation.function": activation.function,
        **{f"activation.{name}": value for name, value in activation.constants.items()},
        "network.name": config.network.name,
        "network.hidden": "-".join(map(str, config.network.hidden)),
        "network.depth": len(config.network.hidden),
        "network.width": max(config.network.hidden, default=0),
        "model.kernel_initializer": config.model.kernel_initializer,
        **{f"data.{name}": value for name, value in asdict(config.data).items()},
        **{f"training.{name}": value for name, value in asdict(config.training).items()},
    }


def _describe_dataset(config: Config) -> Any:
    """Describe the data set by its digest, which is given; the data is not read."""
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.entities import Dataset
    from mlflow.types import Schema, TensorSpec

    data, held_out = DATASETS[config.data.name], config.data.validation_size
    split = f"{held_out}:{config.data.split_seed}" if held_out else ""
    images = Schema([TensorSpec(np.dtype("float32"), (-1, data.pixels))])
    labels = Schema([TensorSpec(np.dtype("int32"), (-1,))])
    profile = {
        "training_images": data.training_images - held_out,
        "validation_images": held_out,
        "test_images": data.test_labels.shape[0],
        "sha256": {file.name: file.sha256 for file in data.files},
    }
    return Dataset(
        name=config.data.name,
        # MLflow takes 36 characters.
        digest=sha256(*(file.sha256.encode() for file in data.files), split.encode())[:16],
        source_type="local",
        source=json.dumps({"uri": config.paths.raw}),
        schema=json.dumps(TensorDatasetSchema(images, labels).to_dict()),
        profile=json.dumps(profile),
    )


def _log_dataset(store: Store, run: str, dataset: Any) -> None:
    from mlflow.entities import DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    context = InputTag("mlflow.data.context", "training")
    for attempt in range(5):
        try:
            store.client.log_inputs(run, [DatasetInput(dataset, [context])])
            return
        except MlflowException as error:
            # MLflow looks for the data set, then makes it: another process may be between.
            if attempt == 4 or "UNIQUE constraint" not in str(error):
                raise


# --- Metrics ------------------------------------------------------------------------------


def _seed_metrics(run: Run, seed: int) -> list[Metric]:
    """Give all metrics of a seed so far: those of a later time begin with those of an earlier one.

    Those of its epochs; once it is finished `test_loss`, `test_accuracy`, `compile_seconds`, and
    with the health of layers `health/update_ratio/hidden_1`, the epoch as step.
    """
    from mlflow.entities import Metric

    epochs = csvs.where(run.epochs, seed=seed).sort_values("epoch").to_dict("records")
    metrics = [
        Metric(name, float(epoch[name]), int(epoch["ended"]), int(epoch["epoch"]))
        for epoch in epochs
        for name in _OF_EPOCH
    ]
    for test in csvs.where(run.test, seed=seed).to_dict("records"):
        ended = int(epochs[-1]["ended"])
        test["compile_seconds"] = epochs[-1]["compile_seconds"]
        names = (*layout.TEST[1:], "compile_seconds")
        metrics += [Metric(name, float(test[name]), ended, 0) for name in names]
        metrics += [
            Metric(f"health/update_ratio/{row['layer']}", row["update_ratio"], ended, row["epoch"])
            for row in csvs.where(run.updates, seed=seed).to_dict("records")
        ]
    return metrics


def _metrics_over_seeds(run: Run) -> list[Metric]:
    """Give the parent's metrics: mean, sd and interval of all that its seeds have, and more."""
    from mlflow.entities import Metric

    of_seeds: dict[tuple[str, int], list[Metric]] = defaultdict(list)
    for seed in run.config.seeds:
        for metric in _seed_metrics(run, seed):
            if metric.key != "epoch_seconds":
                of_seeds[metric.key, metric.step].append(metric)
    metrics = []
    for name, step in sorted(of_seeds, key=lambda key: _FIRST.get(key[0], len(_FIRST))):
        found = of_seeds[name, step]
        interval = mean_interval([each.value for each in found], run.config.report.confidence)
        ended = max(each.timestamp for each in found)
        for which, value in zip(("mean", "sd", "ci_low", "ci_high"), interval, strict=True):
            if math.isfinite(value):  # one seed has no sd
                metrics.append(Metric(f"{name}_{which}", value, ended, step))
    whole = {
        "epoch_seconds_median": statistics.median(run.epochs["epoch_seconds"]),
        "diverged_seeds": float(len(run.diverged_seeds)),
    }
    if run.objective is not None:
        whole[OBJECTIVE] = run.objective
    ended = int(max(run.epochs["ended"]))
    return metrics + [Metric(name, value, ended, 0) for name, value in whole.items()]


def _model_metrics(run: Run, model: str | None, dataset: Any) -> list[Metric]:
    """Give what the first seed reached, for its model's page; to its run it is nothing new."""
    from mlflow.entities import Metric

    last = {each.key: each for each in _seed_metrics(run, run.config.seeds[0])}
    data = {"dataset_name": dataset.name, "dataset_digest": dataset.digest}
    return [
        Metric(each.key, each.value, each.timestamp, each.step, model_id=model, **data)
        for each in (last[name] for name in _OF_MODEL)
    ]


# --- A configuration's runs ---------------------------------------------------------------


class Publisher:
    """Brings MLflow to what a run folder holds: a parent run, and one child per seed.

    It never writes into the folder. What it has written it knows, so that to publish a folder
    again writes what is new. All methods raise what MLflow raises.

    Parameters
    ----------
    config
        Names what is trained, paths, and how the report speaks.
    folder
        Of the run.
    store
        Opened at the first write if it is not given.
    """

    def __init__(self, config: Config, folder: RunFolder, store: Store | None = None) -> None:
        self._config, self._folder, self._given = config, folder, store
        self._runs: dict[int | None, str] = {}  # by seed; None is the parent
        self._open: list[str] = []
        self._counts: dict[int, int] = defaultdict(int)  # metrics of each seed that are written
        self._digests: dict[int, str] = {}
        self._is_finished = False

    @property
    def has_open_runs(self) -> bool:
        """Whether MLflow has runs of it that claim to be running."""
        return bool(self._open)

    def publish(self) -> bool:
        """Write what MLflow lacks of the folder; tell whether it lacked something.

        A run that is complete is looked for in MLflow, by fingerprint and weights, before it is
        written.
        """
        run = self._folder.read(self._config)
        if self._is_finished or run.epochs.empty:
            return False
        if run.is_complete and not self._runs:
            weights = self._folder.find_weights(run.config)
            if self._store.find_configuration(run.config, weights, run.fingerprint):
                self._is_finished = True
                return False
        self._publish_seeds(run)
        if run.is_complete:
            self._publish_parent(run)
        return True

    def close(self, error: BaseException | None) -> None:
        """End what is unfinished: FAILED, described by what failed; KILLED by an interrupt.

        An interrupted process has little time: what waits to be written comes second.
        """
        if not self._open:
            return
        is_failed = error is None or isinstance(error, Exception)
        if is_failed and error is not None:
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            self._store.write(self._runs[None], tags={NOTE: f"Failed: {cause}"})
        self._end_open("FAILED" if is_failed else "KILLED")
        self._publish_seeds(self._folder.read(self._config))
        self._end_open("FAILED" if is_failed else "KILLED")

    @cached_property
    def _store(self) -> Store:
        return self._given or connect_to_write()

    @cached_property
    def _dataset(self) -> Any:
        return _describe_dataset(self._folder.read_config(self._config))

    def _publish_seeds(self, run: Run) -> None:
        """Write the new metrics of every seed; end those that are finished."""
        for seed in run.config.seeds:
            metrics, params, tags = _seed_metrics(run, seed), {}, {}
            new = metrics[self._counts[seed] :]
            if not new:
                continue
            if seed not in self._runs:
                self._create_run(run, seed)
                params = _parameters(run.config) | {"seed": str(seed)}
            if is_finished := seed in set(run.test["seed"]):
                weights = weights_path(self._folder.models, seed, run.config.training.epochs)
                self._digests[seed] = sha256(weights.read_bytes())
                reached = {each.key: each.value for each in new}
                note = notes.of_seed(_name(run.config), seed, reached)
                tags = {WEIGHTS: self._digests[seed], NOTE: note}
            self._store.write(self._runs[seed], new, params, tags)
            self._counts[seed] = len(metrics)
            if is_finished:
                self._end(self._runs[seed], "FINISHED", new[-1].timestamp)

    def _publish_parent(self, run: Run) -> None:
        """End the parent with what holds over all seeds, artifacts and the first seed's model."""
        parent, config, folder = self._runs[None], run.config, self._folder
        artifacts = [folder.table(name) for name in ("history", "layers", "test")]
        for path in (*artifacts, folder.models / "model.json"):
            self._store.client.log_artifact(parent, str(path))
        name, params = _name(config), _parameters(config)
        model, parameters = log_model(self._store, parent, name, config, params, folder.models)
        reached = _model_metrics(run, model, self._dataset)
        self._store.write(self._runs[config.seeds[0]], reached)
        metrics = _metrics_over_seeds(run)
        note = notes.of_configuration(
            name,
            params | {"network.parameters": parameters},
            {each.key: each.value for each in metrics},  # of a curve, the last
            config.seeds,
            run.diverged_seeds,
            training_command(config),
        )
        tags = {NOTE: note, WEIGHTS: digest_of_seeds(self._digests)}
        tags["actlab.outcome"] = "diverged" if run.diverged_seeds else "trained"
        self._store.write(parent, metrics, {"network.parameters": parameters}, tags)
        self._end(parent, "FINISHED", metrics[-1].timestamp)
        self._is_finished = True

    def _create_run(self, run: Run, seed: int | None = None) -> None:
        """Create the run of a seed, or the parent: the first seed does."""
        if seed is not None and None not in self._runs:
            self._create_run(run)
        config, name = run.config, run_name(run.config)
        if seed is None:
            tags = {"actlab.kind": "configuration"} | sweep_tags(config.sweep)
            tags |= {"actlab.fingerprint": run.fingerprint, "actlab.code": run.code}
        else:
            name = f"{name}/seed-{seed}"
            tags = {"actlab.kind": "seed", "actlab.seed": str(seed)}
            tags["mlflow.parentRunId"] = self._runs[None]
        epochs = run.epochs if seed is None else csvs.where(run.epochs, seed=seed)
        started = int(min(epochs["ended"] - 1000 * epochs["epoch_seconds"]))
        created = self._store.create_run(name, tags | name_tags(config), started)
        self._runs[seed] = created
        self._open.append(created)
        if seed is None:  # those of a seed come with its metrics: a call less, which may take long
            params = {"seeds": ",".join(map(str, config.seeds))}
            params["report.confidence"] = str(config.report.confidence)
            self._store.write(created, params=_parameters(config) | params)
        _log_dataset(self._store, created, self._dataset)

    def _end_open(self, status: str) -> None:
        """End what is open, the parent last."""
        for run in reversed(self._open[:]):
            self._end(run, status)

    def _end(self, run: str, status: str, end_time: int | None = None) -> None:
        self._store.client.set_terminated(run, status, end_time)
        if run in self._open:
            self._open.remove(run)


def publish(config: Config, folder: RunFolder, store: Store) -> bool:
    """Bring a store to what a run folder holds, in one go; tell whether it lacked something."""
    publisher = Publisher(config, folder, store)
    try:
        return publisher.publish()
    except BaseException as error:
        with suppress(Exception):  # what failed first is what is told
            publisher.close(error)
        raise


def record_failure(store: Store, config: Config, fingerprint: str, cause: str) -> None:
    """Write the cause to the failed run of this process, which is made if need be."""
    tags = {"actlab.fingerprint": fingerprint, "actlab.process": this_process()}
    if found := store.search("FAILED", tags, at_most=1):
        run = found[0].info.run_id
    else:
        tags |= {"actlab.kind": "configuration"} | name_tags(config) | sweep_tags(config.sweep)
        run = store.create_run(run_name(config), tags)
        store.write(run, params=_parameters(config))
        store.client.set_terminated(run, "FAILED")
    store.write(run, tags={NOTE: f"Failed: {cause}"})


class LivePublisher:
    """Publishes a run folder while it is written; a store that fails costs one line, and no more.

    A context manager. Leaving it before the run is published as a whole sets what is unfinished to
    FAILED, or to KILLED where an interrupt leaves it.
    """

    def __init__(self, config: Config, folder: RunFolder) -> None:
        self._publisher = Publisher(config, folder)
        self._has_advice = source_of(config) == "dvc"
        self._due_at = -math.inf
        self.is_lost = False  # whether the store failed: runs are missing, or in part only

    def __enter__(self) -> "LivePublisher":
        return self

    def __exit__(self, kind: object, error: BaseException | None, *rest: object) -> None:
        self._attempt(lambda: self._publisher.close(error))

    @property
    def is_due(self) -> bool:
        """Whether the last write is `PAUSE` ago, and as long as it took: a slow store is spared."""
        return not self.is_lost and time.monotonic() >= self._due_at

    def publish(self) -> None:
        """Publish what is new in the folder."""
        began = time.monotonic()
        self._attempt(self._publisher.publish)
        ended = time.monotonic()
        self._due_at = ended + max(PAUSE, ended - began)

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.is_lost:
            return
        try:
            action()
        except Exception as error:  # as in `store.warn_on_failure`
            self.is_lost = True
            extent = "logged in part only" if self._publisher.has_open_runs else "not logged"
            line = format_store_error(error, f"this training is {extent}", self._has_advice)
            tqdm.write(line)
