"""Every training, its gradients and the report as MLflow runs; nothing else imports mlflow.

A configuration (activation, network) is a parent run `relu/mlp` with a child run a seed,
`relu/mlp/seed-0`; the report is a run of its own. Importing mlflow takes 2 to 3 s: it
happens with the first write, when the worker threads are training already.

Runs are found by their tags:

==========================  ==================================================================
`actlab.kind`               configuration, seed or report
`actlab.activation`         name of the activation; likewise `actlab.network`, `actlab.seed`
`actlab.source`             dvc (a stage of the pipeline) or sweep (a job of Hydra's multirun)
`actlab.weights_sha256`     of the file of a seed's final weights; of a configuration, of its
                            seeds' digests. No output of the pipeline names a run
`actlab.gradients_sha256`   of a configuration's rows of gradients.csv, once they are logged
`actlab.report_sha256`      of summary.csv and report.md
`actlab.process`            host:pid of the process that writes the run
`actlab.torn`               true: that process ended, or lost the store, in the middle
==========================  ==================================================================

Tracking never stops a training: when the store fails, one line says so, every later call does
nothing, and `sync` writes what is missing from the pipeline's outputs.
"""

import functools
import getpass
import hashlib
import io
import json
import logging
import math
import os
import re
import socket
import sqlite3
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec

import pandas as pd
from tqdm import tqdm

from actlab import tables
from actlab.config import ActivationConfig, Config, ModelConfig, NetworkConfig
from actlab.datasets import DATASETS
from actlab.errors import UserError
from actlab.statistics import mean_interval

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
else:  # importing mlflow takes seconds
    MlflowClient = Metric = Run = Any

Source = Literal["dvc", "sweep"]
P = ParamSpec("P")

#: A metric: name, value, milliseconds since 1970, step.
Entry = tuple[str, float, int, int]

#: The experiment that holds every run.
EXPERIMENT = "actlab"

#: What is logged of an epoch, besides `epoch_seconds`.
CURVES = ("loss", "accuracy", "val_loss", "val_accuracy")

_SYNC = "python -m actlab.stages.sync"

# MLflow's own defaults retry for minutes, report usage to a server, draw bars and print links.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
}


def _now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


def _sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _digest_of_seeds(digests: Mapping[int, str]) -> str:
    """Digest of a configuration's weights, from its seeds' digests in any order."""
    return _sha256(*(f"{seed}:{digests[seed]}\n".encode() for seed in sorted(digests)))


# --- Where the store is, and what it says when it fails -----------------------------------


def _root() -> Path:
    """Give the root of the main checkout: DVC's temporary experiments name it in DVC_ROOT."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def _sqlite_file(uri: str) -> Path | None:
    """Give the file of a SQLite store; relative ones count from the root."""
    if not uri.startswith("sqlite:///") or uri.endswith(":memory:"):
        return None
    return _root() / uri.removeprefix("sqlite:///").split("?")[0]


def tracking_uri() -> str:
    """Give MLFLOW_TRACKING_URI, or the SQLite store at the root of the repository."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    file = _sqlite_file(uri)
    return f"sqlite:///{file}" if file else uri


def _shown(uri: str) -> str:
    """Give a URI without the credentials that it may hold.

    >>> _shown("postgresql://me:secret@host/mlflow")
    'postgresql://host/mlflow'
    """
    return re.sub(r"(?<=://)[^/@]*@", "", uri)


def _reason(error: BaseException) -> tuple[str, bool]:
    """Give the first cause of an error in a few words, and whether nothing answered."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    silent = isinstance(error, ConnectionError | TimeoutError | socket.gaierror)
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return words.splitlines()[0][:200].lower().rstrip("."), silent


def _said(error: Exception, loss: str, advice: bool = True) -> str:
    """One line: which store failed, why, what is lost by it, and how to mend it."""
    reason, silent = _reason(error)
    failure, when = ("does not answer", "does") if silent else ("cannot be written", "can")
    mend = f"; run `{_SYNC}` when it {when}" if advice else ""
    return f"MLflow at {_shown(tracking_uri())} {failure} ({reason}): {loss}{mend}"


def _say(line: str) -> None:
    tqdm.write(line)  # leaves a progress bar whole


# --- The store ----------------------------------------------------------------------------


@dataclass
class _Store:
    """An open MLflow store, and the experiment in it."""

    client: MlflowClient
    experiment: str

    def create_run(self, name: str, tags: Mapping[str, str], started: int | None = None) -> str:
        tags = {
            "mlflow.user": _user(),
            "mlflow.source.name": "actlab",
            "mlflow.source.type": "LOCAL",
            "actlab.process": f"{socket.gethostname()}:{os.getpid()}",
            **tags,
        }
        run = self.client.create_run(self.experiment, started, tags, run_name=name)
        return run.info.run_id

    def write(
        self,
        run: str,
        metrics: Iterable[Metric] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write in one batch, or in batches of 800 metrics (MLflow takes 1,000 entries)."""
        from mlflow.entities import Param, RunTag

        rest = list(metrics)
        given = [Param(key, str(value)) for key, value in (params or {}).items()]
        marks = [RunTag(key, value) for key, value in (tags or {}).items()]
        while rest[800:]:
            self.client.log_batch(run, rest[:800])
            rest = rest[800:]
        self.client.log_batch(run, rest, given, marks)

    def runs(self, **tags: str) -> list[Run]:
        """Give undeleted runs, the newest first; keywords are tags without `actlab.`."""
        return self.search(
            *(f"tags.`actlab.{key}` = '{value}'" for key, value in tags.items()),
        )

    def search(self, *conditions: str) -> list[Run]:
        found, token = [], None
        while True:
            page = self.client.search_runs(
                [self.experiment],
                " and ".join(conditions),
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            found.extend(page)
            token = page.token
            if not token:
                return found

    def find_configuration(self, digests: Mapping[int, str], config: Config) -> Run | None:
        """Give the newest finished parent of the pipeline that ended in these weights."""
        for run in self.runs(
            kind="configuration", source="dvc", weights_sha256=_digest_of_seeds(digests)
        ):
            if run.info.status == "FINISHED" and run.data.tags.items() >= _names(config).items():
                return run
        return None

    def find_seeds(self, parent: Run, digests: Mapping[int, str]) -> dict[int, Run]:
        """Give a parent's finished children with these weights, by seed."""
        children = self.search(f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
        found = {}
        for run in children:
            seed = int(run.data.tags["actlab.seed"])
            right = run.data.tags.get("actlab.weights_sha256") == digests.get(seed)
            if right and run.info.status == "FINISHED":
                found.setdefault(seed, run)
        return found

    def close_torn(self, own: bool = False) -> None:
        """Set runs to FAILED that claim to be running, though their process has ended.

        With `own`, this process's too: for one that trains nothing.
        """
        host = socket.gethostname()
        for run in self.search(
            "attributes.status = 'RUNNING'", f"tags.`actlab.process` LIKE '{host}:%'"
        ):
            process = int(run.data.tags["actlab.process"].rpartition(":")[2])
            if (own and process == os.getpid()) or not _is_alive(process):
                self.client.set_tag(run.info.run_id, "actlab.torn", "true")
                self.client.set_terminated(run.info.run_id, "FAILED")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def _is_alive(process: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _connect() -> _Store:
    """Open the store that `tracking_uri` names, making it and the experiment if need be."""
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    # The store's failures are told in one line; alembic tells each of 50 migrations.
    for name in ("alembic", "urllib3", "mlflow"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    uri = tracking_uri()
    file = _sqlite_file(uri)
    if file is None:
        location = None
        if not uri.startswith(("http:", "https:", "databricks")):
            from mlflow.store.db import utils

            utils.MAX_RETRY_COUNT = 2  # of 10: with them a database refused takes 100 s
            location = (_root() / "mlruns" / EXPERIMENT).as_uri()
        client = MlflowClient(uri)
        return _Store(client, _find_experiment(client, location))
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    # Several processes that create the schema at once corrupt it.
    with FileLock(f"{file}.lock", timeout=60):
        with closing(sqlite3.connect(file, timeout=5)) as database:
            database.execute("BEGIN IMMEDIATE")  # fails at once where MLflow tries for minutes
            database.rollback()
        client = MlflowClient(uri)
        location = (file.parent / "mlruns" / EXPERIMENT).as_uri()
        experiment = _find_experiment(client, location)
        _follow_move(file, location)
    return _Store(client, experiment)


def _find_experiment(client: MlflowClient, location: str | None) -> str:
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(EXPERIMENT)) is None:
        # The second tag opens the UI with charts and runs in place of traces.
        tags = {
            "mlflow.note.content": "What the choice of activation function does to a network.",
            "mlflow.experimentKind": "custom_model_development",
        }
        try:
            return client.create_experiment(EXPERIMENT, location, tags)
        except MlflowException:  # another process was faster
            if (found := client.get_experiment_by_name(EXPERIMENT)) is None:
                raise
    return found.experiment_id


def _follow_move(file: Path, location: str) -> None:
    """Point the artifacts of a SQLite store that was moved or copied to the folder beside it.

    MLflow keeps absolute paths, of the experiment, of each run and of each model, and offers
    no way to change them.
    """
    with closing(sqlite3.connect(file, timeout=5)) as database, database:
        (before,) = database.execute(
            "SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)
        ).fetchone()
        if before == location or not before.endswith(f"/mlruns/{EXPERIMENT}"):
            return  # nothing moved, or somebody chose another place
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
        ):
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                f" WHERE substr({column}, 1, ?) = ?",
                (location, len(before) + 1, len(before), before),
            )


@contextmanager
def _current(uri: str) -> Iterator[None]:
    """Make a store MLflow's global one; MLflow writes it to the environment as well."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # pyright: ignore[reportArgumentType]
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


# --- What a configuration looks like in MLflow --------------------------------------------


def _name(config: Config) -> str:
    return f"{config.activation.name}/{config.network.name}"


def _names(config: Config) -> dict[str, str]:
    return {
        "actlab.activation": config.activation.name,
        "actlab.network": config.network.name,
    }


def _parameters(config: Config) -> dict[str, object]:
    """Give what a training was made with, by dotted keys."""
    activation = config.activation
    return {
        "activation.name": activation.name,
        "activation.function": activation.function,
        **{f"activation.{name}": value for name, value in activation.constants.items()},
        "network.name": config.network.name,
        "network.hidden": "-".join(map(str, config.network.hidden)),
        "model.kernel_initializer": config.model.kernel_initializer,
        "data.name": config.data.name,
        "data.validation_size": config.data.validation_size,
        "data.split_seed": config.data.split_seed,
        "training.epochs": config.training.epochs,
        "training.batch_size": config.training.batch_size,
        "training.learning_rate": config.training.learning_rate,
        "training.probe_epochs": list(config.training.probe_epochs),
    }


def _configuration_parameters(config: Config) -> dict[str, object]:
    """Give what distinguishes a configuration: the parameters, and which seeds."""
    return _parameters(config) | {"seeds": ",".join(map(str, config.seeds))}


def _log_dataset(store: _Store, run: str, config: Config) -> None:
    """Log the data set by its digest; it is not read."""
    import numpy as np
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.types import Schema, TensorSpec

    files = DATASETS[config.data.name].files
    held_out = config.data.validation_size
    split = f"{held_out}:{config.data.split_seed}" if held_out else ""
    schema = TensorDatasetSchema(
        Schema([TensorSpec(np.dtype("float32"), (-1, 784))]),
        Schema([TensorSpec(np.dtype("int32"), (-1,))]),
    )
    sizes = {
        "training_images": DATASETS[config.data.name].training_images - held_out,
        "validation_images": held_out,
        "test_images": DATASETS[config.data.name].test_labels.shape[0],
        "sha256": {file.name: file.sha256 for file in files},
    }
    dataset = Dataset(
        name=config.data.name,
        # MLflow takes 36 characters.
        digest=_sha256(*(file.sha256.encode() for file in files), split.encode())[:16],
        source_type="local",
        source=json.dumps({"uri": config.paths.raw}),
        schema=json.dumps(schema.to_dict()),
        profile=json.dumps(sizes),
    )
    store.client.log_inputs(
        run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
    )


def _aggregates(name: str, values: Iterable[float], confidence: float) -> dict[str, float]:
    """Mean, sd and interval over seeds under the names that the parent's metrics bear.

    What cannot be given, such as the sd of one seed, is left out.

    >>> _aggregates("test_loss", [1.0], 0.95)
    {'test_loss_mean': 1.0}
    """
    interval = mean_interval(list(values), confidence)
    given = zip(("mean", "sd", "ci_low", "ci_high"), interval, strict=True)
    return {f"{name}_{which}": value for which, value in given if math.isfinite(value)}


# --- A configuration's runs ---------------------------------------------------------------


def _unless_lost(
    method: Callable[Concatenate["ConfigurationRun", P], None],
) -> Callable[Concatenate["ConfigurationRun", P], None]:
    """Do nothing once the store has failed; say it in one line when it does."""

    @functools.wraps(method)
    def guarded(self: "ConfigurationRun", *args: P.args, **kwargs: P.kwargs) -> None:
        if self._lost:
            return
        try:
            method(self, *args, **kwargs)
        # MLflow lets through what its server, its database and the disk raise, each its own:
        # none of it is worth a training.
        except Exception as error:
            self._lost = True
            if self._strict:
                raise
            extent = "logged in part only" if self._parent else "not logged"
            advice = self._source == "dvc"
            _say(_said(error, f"this training is {extent}", advice))

    return guarded


class ConfigurationRun:
    """The runs of one (activation, network): a parent, and a child a seed. A context manager.

    The parent is opened by the first write, a child by its seed's first epoch. Leaving by an
    exception sets what is unfinished to FAILED, by KeyboardInterrupt to KILLED, and lets the
    exception pass; leaving without `finish` is a failure too. No method raises because of
    MLflow, unless `strict`.

    Parameters
    ----------
    config
        Its `activation`, `network` and `seeds` name the runs.
    source
        What trains: a stage of the pipeline or a job of a sweep.
    store, parent
        An open store, and the run id of a finished parent that only lacks children.
    strict
        Whether failures of the store are raised.
    """

    def __init__(
        self,
        config: Config,
        source: Source,
        *,
        store: _Store | None = None,
        parent: str | None = None,
        strict: bool = False,
    ) -> None:
        self._config = config
        self._source: Source = source
        self._store = store
        self._parent = parent
        self._strict = strict
        self._lost = False
        self._started = _now()
        self._written = 0.0
        self._children: dict[int, str] = {}
        self._open_runs: set[str] = set()
        self._pending: dict[int, list[Entry]] = defaultdict(list)
        self._curves: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
        self._finals: dict[str, dict[int, float]] = defaultdict(dict)
        self._tests: dict[int, list[Entry]] = {}
        self._digests: dict[int, str] = {}

    def __enter__(self) -> "ConfigurationRun":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failed = kind is None or issubclass(kind, Exception)
        self._close("FAILED" if failed else "KILLED")

    def log_epoch(self, seed: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take in what an epoch of a seed gave; `flush` writes it.

        Parameters
        ----------
        seed
            One of the configuration's.
        epoch
            From 1.
        metrics
            `CURVES` and `epoch_seconds`.
        """
        if self._lost:
            return
        now = _now()
        for name, value in metrics.items():
            self._pending[seed].append((name, value, now, epoch))
            self._curves[name, epoch][seed] = value

    @_unless_lost
    def flush(self) -> None:
        """Write what was taken in, at most once a second: call it as often as you like."""
        if self._pending and time.monotonic() - self._written >= 1:
            for seed in list(self._pending):
                self._write_pending(seed)
            self._written = time.monotonic()

    @_unless_lost
    def finish_seed(self, seed: int, metrics: Mapping[str, float], weights: Path) -> None:
        """End a seed's run.

        Parameters
        ----------
        seed
            One of the configuration's.
        metrics
            `test_loss`, `test_accuracy`, `compile_seconds`.
        weights
            The file of its final weights; its SHA-256 becomes a tag.
        """
        self._write_pending(seed)
        run = self._child(seed)
        self._digests[seed] = _sha256(weights.read_bytes())
        now = _now()
        entries = [(name, value, now, 0) for name, value in metrics.items()]
        for name, value in metrics.items():
            self._finals[name][seed] = value
        self._tests[seed] = [entry for entry in entries if entry[0].startswith("test_")]
        digest = {"actlab.weights_sha256": self._digests[seed]}
        self._connected.write(run, _as_metrics(entries), tags=digest)
        self._end(run, "FINISHED")

    @_unless_lost
    def finish(self, models: Path, results: Path) -> None:
        """End the parent with what holds over all seeds, artifacts and the first seed's model.

        Parameters
        ----------
        models
            `models/<activation>-<network>`, whole: model.json and each seed's weights.
        results
            `results/<activation>-<network>`, whole: history.csv, layers.csv, test.csv.
        """
        parent, store = self._opened(), self._connected
        for path in (
            *(results / f"{name}.csv" for name in ("history", "layers", "test")),
            models / "model.json",
        ):
            store.client.log_artifact(parent, str(path))
        # Before the metrics: MLflow would ask for the history of each, one by one.
        model = _log_model(store, parent, self._config, models)
        layers = tables.read_table(results / "layers.csv", tables.LAYERS)
        parameters = int(layers["parameters"].to_numpy().sum())
        store.write(
            parent,
            _as_metrics((*self._overall(), *self._bands())),
            params={"network.parameters": parameters},
            tags={
                "actlab.weights_sha256": _digest_of_seeds(self._digests),
                "mlflow.note.content": self._describe(parameters),
            },
        )
        # The model's page shows what it reached itself; to its seed's run this is nothing new.
        first = self._config.seeds[0]
        store.write(self._child(first), _as_metrics(self._tests[first], model=model))
        self._end(parent, "FINISHED")

    # What is written

    def _overall(self) -> list[Entry]:
        """Entries of the metrics that have one value a configuration."""
        confidence, now = self._config.report.confidence, _now()
        overall = {}
        for name, values in self._finals.items():
            overall |= _aggregates(name, values.values(), confidence)
        seconds = [
            value
            for (name, _), values in self._curves.items()
            if name == "epoch_seconds"
            for value in values.values()
        ]
        if seconds:
            overall["epoch_seconds_median"] = statistics.median(seconds)
        return [(name, value, now, 0) for name, value in overall.items()]

    def _bands(self) -> Iterator[Entry]:
        """Entries of the metrics that have a value an epoch."""
        now = _now()
        for (name, epoch), values in self._curves.items():
            if name in CURVES:
                aggregates = _aggregates(name, values.values(), self._config.report.confidence)
                for key, value in aggregates.items():
                    yield key, value, now, epoch

    def _describe(self, parameters: int) -> str:
        config = self._config
        text = (
            f"{config.activation.name} on {config.network.name}, hidden layers"
            f" {'-'.join(map(str, config.network.hidden)) or 'none'}, {parameters:,} parameters;"
            f" {len(config.seeds)} seeds, {config.training.epochs} epochs of {config.data.name}."
        )
        if accuracies := list(self._finals["test_accuracy"].values()):
            interval = mean_interval(accuracies, config.report.confidence)
            text += f" Test accuracy {interval.mean:.2%}"
            if math.isfinite(interval.sd):
                text += (
                    f", {config.report.confidence:.0%} interval over seeds"
                    f" {interval.low:.2%} to {interval.high:.2%}"
                )
            text += "."
        return text

    # How it is written

    @property
    def _connected(self) -> _Store:
        if self._store is None:
            self._store = _connect()
            self._store.close_torn()
        return self._store

    def _opened(self) -> str:
        """Give the parent's run id, opening the run at first."""
        if self._parent is None:
            params = _configuration_parameters(self._config)
            self._parent = self._create_run("configuration", _name(self._config), params)
        return self._parent

    def _child(self, seed: int) -> str:
        """Give a seed's run id, opening the run at first."""
        if seed not in self._children:
            parent = self._opened()
            self._children[seed] = self._create_run(
                "seed",
                f"{_name(self._config)}/seed-{seed}",
                _parameters(self._config) | {"seed": seed},
                {"actlab.seed": str(seed), "mlflow.parentRunId": parent},
            )
        return self._children[seed]

    def _create_run(
        self,
        kind: str,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
    ) -> str:
        store = self._connected
        started = self._started if kind == "configuration" else None
        given = {"actlab.kind": kind, "actlab.source": self._source, **_names(self._config)}
        run = store.create_run(name, given | dict(tags or {}), started)
        self._open_runs.add(run)
        store.write(run, params=params)
        _log_dataset(store, run, self._config)
        return run

    def _write_pending(self, seed: int) -> None:
        if entries := self._pending.pop(seed, None):
            self._connected.write(self._child(seed), _as_metrics(entries))

    def _end(self, run: str, status: str) -> None:
        self._connected.client.set_terminated(run, status)
        self._open_runs.discard(run)

    @_unless_lost
    def _close(self, status: str) -> None:
        """End what is still open: children first, the parent last."""
        if not self._open_runs:
            return
        for seed in list(self._pending):
            self._write_pending(seed)
        for run in sorted(self._open_runs, key=lambda run: run == self._parent):
            self._end(run, status)


def _as_metrics(entries: Iterable[Entry], model: str | None = None) -> list[Metric]:
    """Give MLflow's entities; with a model's id, they are that model's too."""
    from mlflow.entities import Metric

    return [
        Metric(name, float(value), at, step, model_id=model) for name, value, at, step in entries
    ]


def _log_model(store: _Store, run: str, config: Config, models: Path) -> str:
    """Log the first seed's model, with probabilities as its output; give its id."""
    import numpy as np

    from actlab.model import ModelSpec, load_model, with_probabilities
    from actlab.runtime import keras, tf

    spec = ModelSpec.load(models / "model.json")
    model = with_probabilities(load_model(models, config.seeds[0]), spec)

    from mlflow.models import ModelSignature
    from mlflow.tensorflow import log_model
    from mlflow.types import Schema, TensorSpec

    image_file = Path(config.paths.processed) / "test_images.npy"
    example = (
        np.array(np.load(image_file, mmap_mode="r")[:1])
        if image_file.is_file()
        else np.zeros((1, spec.inputs), np.float32)
    )
    logged = store.client.create_logged_model(
        store.experiment,
        name=f"{config.activation.name}-{config.network.name}",
        source_run_id=run,
        tags=_names(config),
        params={key: str(value) for key, value in _parameters(config).items()},
        model_type="classifier",
    )
    # MLflow tries the example, and Keras draws a bar for it.
    with _current(tracking_uri()), redirect_stdout(io.StringIO()):
        log_model(
            model,
            model_id=logged.model_id,
            run_id=run,
            signature=ModelSignature(
                Schema([TensorSpec(np.dtype("float32"), (-1, spec.inputs))]),
                Schema([TensorSpec(np.dtype("float32"), (-1, spec.classes))]),
            ),
            input_example=example,
            # MLflow would take 10 s to find these.
            pip_requirements=[
                f"tensorflow=={tf.__version__}",
                f"keras=={keras.__version__}",
                f"numpy=={np.__version__}",
            ],
        )
    return logged.model_id


def open_configuration(config: Config, source: Source) -> ConfigurationRun:
    """Give the runs of `config.activation` on `config.network`; the first write opens them.

    >>> with open_configuration(config, "dvc") as run:  # doctest: +SKIP
    ...     run.log_epoch(0, 1, {"loss": 0.4, "accuracy": 0.9})
    ...     run.flush()
    ...     run.finish_seed(0, {"test_accuracy": 0.97}, weights)
    ...     run.finish(models, results)
    """
    return ConfigurationRun(config, source)


# --- Gradients and report -----------------------------------------------------------------


def _final_weights(folder: Path, seed: int, config: Config) -> Path:
    # `model.weights_path` says the same, and would bring TensorFlow.
    return folder / f"seed-{seed}" / f"epoch-{config.training.epochs:03d}.weights.h5"


def _digests(config: Config, folder: Path) -> dict[int, str]:
    """SHA-256 of each seed's final weights.

    Raises
    ------
    UserError
        When a file is missing.
    """
    digests = {}
    for seed in config.seeds:
        path = _final_weights(folder, seed, config)
        if not path.is_file():
            raise UserError(f"{path} is missing: run `dvc repro`, or `dvc checkout`")
        digests[seed] = _sha256(path.read_bytes())
    return digests


def _named(config: Config, activation: str, network: str) -> Config:
    """Give the configuration another activation and network, known by their names alone."""
    return replace(
        config,
        activation=replace(config.activation, name=activation),
        network=replace(config.network, name=network),
    )


def log_gradients(config: Config, table: pd.DataFrame) -> None:
    """Log gradients to the runs of the trainings that they were measured on.

    A seed's run gets metrics such as `gradient/notebook/mean_abs/hidden_1`, the epoch as their
    step; the parent gets their means over seeds, `gradient/notebook/mean_abs/hidden_1_mean`.

    Parameters
    ----------
    config
        Names activations, networks, seeds and where the weights lie.
    table
        Of `tables.GRADIENTS`.
    """
    try:
        trained = product(config.activations, config.networks)
        _, without_run = _write_gradients(_connect(), config, table, trained)
    except Exception as error:  # as in `_unless_lost`
        _say(_said(error, "the gradients are not logged"))
        return
    if without_run:
        _say(
            f"MLflow has no finished run of {', '.join(without_run)}: their gradients are not"
            f" logged; run `{_SYNC}`"
        )


def _write_gradients(
    store: _Store, config: Config, table: pd.DataFrame, trained: Iterable[tuple[str, str]]
) -> tuple[list[str], list[str]]:
    """Name the configurations whose gradients were written, and those without a run."""
    written, without_run = [], []
    for activation, network in trained:
        one = _named(config, activation, network)
        digests = _digests(config, Path(config.paths.models) / f"{activation}-{network}")
        parent = store.find_configuration(digests, one)
        if parent is None:
            without_run.append(_name(one))
            continue
        rows = table.loc[(table["activation"] == activation) & (table["network"] == network)]
        mark = {"actlab.gradients_sha256": _sha256(rows.to_csv(index=False).encode())}
        lacking = {
            seed: run
            for seed, run in store.find_seeds(parent, digests).items()
            if not run.data.tags.items() >= mark.items()
        }
        for seed, run in lacking.items():
            metrics = _gradient_metrics(rows.loc[rows["seed"] == seed])
            store.write(run.info.run_id, metrics, tags=mark)
        if not parent.data.tags.items() >= mark.items():
            store.write(parent.info.run_id, _gradient_metrics(rows, "_mean"), tags=mark)
        elif not lacking:
            continue
        written.append(_name(one))
    return written, without_run


def _gradient_metrics(rows: pd.DataFrame, suffix: str = "") -> list[Metric]:
    """Metrics of gradients, their mean where there are several seeds."""
    values = defaultdict(list)
    columns = (rows[name] for name in ("probe", "statistic", "layer", "epoch", "value"))
    for probe, statistic, layer, epoch, value in zip(*columns, strict=True):
        values[f"gradient/{probe}/{statistic}/{layer}{suffix}", epoch].append(value)
    now = _now()
    return _as_metrics(
        (name, statistics.fmean(seeds), now, int(epoch)) for (name, epoch), seeds in values.items()
    )


def log_report(config: Config, reports: Path) -> None:
    """Log the folder of the report as a run named report, unless it is there already.

    Parameters
    ----------
    config
        Names what the report is about.
    reports
        Holds report.md, summary.csv and all else of the report.
    """
    try:
        _write_report(_connect(), config, reports)
    except Exception as error:  # as in `_unless_lost`
        _say(_said(error, "the report is not logged"))


def _write_report(store: _Store, config: Config, reports: Path) -> bool:
    digest = _sha256(*((reports / name).read_bytes() for name in ("summary.csv", "report.md")))
    if any(
        run.info.status == "FINISHED" for run in store.runs(kind="report", report_sha256=digest)
    ):
        return False
    run = store.create_run("report", {"actlab.kind": "report", "actlab.source": "dvc"})
    params = {
        "activations": ",".join(config.activations),
        "networks": ",".join(config.networks),
        "seeds": ",".join(map(str, config.seeds)),
        "report.confidence": config.report.confidence,
    }
    store.write(run, params=params)
    store.client.log_artifacts(run, str(reports))
    store.write(run, tags={"actlab.report_sha256": digest})
    store.client.set_terminated(run, "FINISHED")
    return True


# --- What MLflow lacks --------------------------------------------------------------------


@dataclass
class Synced:
    """What `sync` did: a line for each thing written, and for each that could not be."""

    written: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def sync(config: Config) -> Synced:
    """Write what MLflow lacks from the pipeline's outputs; a second time writes nothing.

    A training is there when a finished parent run bears the digest of its weights and each
    seed has a finished run below it. What lost its process or its store in the middle of the
    same training is deleted (MLflow can restore it) once it is written whole.

    Parameters
    ----------
    config
        Names activations, networks and seeds; its own `activation` and `network` do not count.

    Raises
    ------
    UserError
        When the store fails.
    """
    done = Synced()
    try:
        store = _connect()
        store.close_torn(own=True)
        trained = []
        for activation, network in product(config.activations, config.networks):
            name = f"{activation}/{network}"
            try:
                outputs = _Outputs.read(config, activation, network)
            except UserError as error:
                done.left_out.append(f"{name}: {error}")
                continue
            trained.append((activation, network))
            if line := _sync_configuration(store, outputs):
                done.written.append(f"{name}: {line}")
        _sync_rest(store, config, trained, done)
    except UserError:
        raise
    except Exception as error:
        raise UserError(_said(error, "not all runs are written", advice=True)) from error
    return done


def _sync_rest(store: _Store, config: Config, trained: list[tuple[str, str]], done: Synced) -> None:
    """Gradients of what is trained, and the report."""
    path = Path(config.paths.results) / "gradients.csv"
    if not path.is_file():
        done.left_out.append(f"gradients: {path} is missing: run `dvc repro`")
    else:
        table = tables.read_table(path, tables.GRADIENTS)
        written, _ = _write_gradients(store, config, table, trained)
        done.written.extend(f"{name}: gradients" for name in written)
    reports = Path(config.paths.reports)
    if not all((reports / name).is_file() for name in ("summary.csv", "report.md")):
        done.left_out.append(f"report: {reports} holds no report: run `dvc repro`")
    elif _write_report(store, config, reports):
        done.written.append("report")


@dataclass
class _Outputs:
    """What a training left on the disk."""

    config: Config
    models: Path
    results: Path
    digests: dict[int, str]
    history: pd.DataFrame
    test: pd.DataFrame
    timings: pd.DataFrame

    @classmethod
    def read(cls, config: Config, activation: str, network: str) -> "_Outputs":
        """Read the outputs of a training.

        Raises
        ------
        UserError
            When they are not whole, or were made with other values than params.yaml's.
        """
        _require_current(config, f"{activation}-{network}")
        models = Path(config.paths.models) / f"{activation}-{network}"
        results = Path(config.paths.results) / f"{activation}-{network}"
        timings = Path(config.paths.timings) / f"{activation}-{network}.csv"
        history = tables.read_table(results / "history.csv", tables.HISTORY)
        seen = {(int(seed), int(epoch)) for seed, epoch in history[["seed", "epoch"]].to_numpy()}
        if seen != set(product(config.seeds, range(1, config.training.epochs + 1))):
            raise UserError(
                f"{results}/history.csv has other seeds or epochs than params.yaml: run `dvc repro`"
            )
        spec_file = models / "model.json"
        if not spec_file.is_file():
            raise UserError(f"{spec_file} is missing: run `dvc repro`, or `dvc checkout`")
        spec = json.loads(spec_file.read_text())
        return cls(
            replace(
                config,
                activation=ActivationConfig(**spec["activation"]),
                network=NetworkConfig(**spec["network"]),
                model=ModelConfig(spec["kernel_initializer"]),
            ),
            models,
            results,
            _digests(config, models),
            history,
            tables.read_table(results / "test.csv", tables.TEST),
            tables.read_table(timings, tables.TIMINGS),
        )


def _require_current(config: Config, item: str) -> None:
    """Hold params.yaml to what dvc.lock says the training was made with.

    Raises
    ------
    UserError
        When a value differs.
    """
    import yaml

    lock = Path("dvc.lock")
    stages = yaml.safe_load(lock.read_text())["stages"] if lock.is_file() else {}
    for stage in ("preprocess", f"train@{item}"):
        made_with = stages.get(stage, {}).get("params", {}).get("params.yaml", {})
        for key, before in _flat(made_with):
            try:
                now = functools.reduce(getattr, key.split("."), config)
            except AttributeError:  # a key of another version of actlab
                continue
            if now != before:
                raise UserError(
                    f"made with {key} {before}, params.yaml says {now}: run `dvc repro`"
                )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings.

    >>> list(_flat({"training": {"epochs": 20}, "seeds": [0, 1]}))
    [('training.epochs', 20), ('seeds', [0, 1])]
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _sync_configuration(store: _Store, outputs: _Outputs) -> str | None:
    """Write what is missing of a training, and say what; None when nothing is."""
    config = outputs.config
    parent = store.find_configuration(outputs.digests, config)
    if parent is None:
        _replay(store, outputs, config.seeds)
        torn = _delete_torn(store, config)
        freed = f"; {torn} runs cut short before are deleted" if torn else ""
        return f"{len(config.seeds)} seeds{freed}"
    missing = [
        seed for seed in config.seeds if seed not in store.find_seeds(parent, outputs.digests)
    ]
    if not missing:
        return None
    _replay(store, outputs, missing, parent.info.run_id)
    return f"seeds {', '.join(map(str, missing))}"


def _replay(
    store: _Store, outputs: _Outputs, seeds: Iterable[int], parent: str | None = None
) -> None:
    """Log a training from its outputs, by the calls that log a live one."""
    epochs = outputs.history.merge(outputs.timings, on=["seed", "epoch"], validate="1:1")
    with ConfigurationRun(outputs.config, "dvc", store=store, parent=parent, strict=True) as run:
        for seed in seeds:
            rows = epochs.loc[epochs["seed"] == seed]
            for row in rows.to_dict(orient="records"):
                names = (*CURVES, "epoch_seconds")
                run.log_epoch(seed, int(row["epoch"]), {name: row[name] for name in names})
            metrics = outputs.test.set_index("seed").loc[seed].to_dict()
            metrics["compile_seconds"] = float(rows["compile_seconds"].to_numpy()[0])
            weights = _final_weights(outputs.models, seed, outputs.config)
            run.finish_seed(seed, metrics, weights)
        if parent is None:
            run.finish(outputs.models, outputs.results)


def _delete_torn(store: _Store, config: Config) -> int:
    """Delete torn runs of a training that has been written whole, with the seeds below them."""
    wanted = {key: str(value) for key, value in _configuration_parameters(config).items()}
    deleted = 0
    for run in store.runs(torn="true", kind="configuration", source="dvc"):
        same = run.data.tags.items() >= _names(config).items()
        made_with = {key: run.data.params[key] for key in run.data.params.keys() & wanted.keys()}
        if not same or not made_with.items() <= wanted.items():
            continue
        for child in store.search(f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"):
            store.client.delete_run(child.info.run_id)
            deleted += 1
        store.client.delete_run(run.info.run_id)
        deleted += 1
    return deleted
