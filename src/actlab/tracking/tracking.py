"""Every training, its gradients and the report as MLflow runs; nothing else imports mlflow.

A configuration (activation, network) is a parent run `relu/mlp` with a child run a seed,
`relu/mlp/seed-0`; the report is a run of its own. Importing mlflow takes 2 to 3 s: it happens with
the first write, when the worker threads are training already.

Runs are found by their tags:

==========================  ==================================================================
`actlab.kind`               configuration, seed, report or comparison
`actlab.activation`         name of the activation; likewise `actlab.network`, `actlab.seed`
`actlab.source`             dvc (a stage of the pipeline) or sweep (a job of Hydra's multirun)
`actlab.weights_sha256`     of the file of a seed's final weights; of a configuration, of its
                            seeds' digests. No output of the pipeline names a run
`actlab.fingerprint`        of a configuration: of all that decides its results (`fingerprint`)
`actlab.code`               of a configuration: of the code and packages in its fingerprint
`actlab.outcome`            of a finished configuration: trained, or diverged where a seed's loss
                            stopped being a number
`sweep.<name>`              yes for the configurations of a sweep; those of `fair.launch1.tuned`
                            (`launches`) bear `sweep.fair` and `sweep.fair.launch1` too
`actlab.gradients_sha256`   of a configuration's rows of gradients.csv, once they are logged
`actlab.report_sha256`      of summary.csv and report.md
`claim.<name>`              of the report: the verdict on a claim of the notebook
`actlab.process`            machine:pid:start of the process that writes the run; the machine is the
                            host and its namespace of processes, the start in clock ticks since the
                            machine's; both are left out where /proc does not tell them
==========================  ==================================================================

A run is set to FINISHED after everything else of it is written. Tracking never stops a
training: when the store fails, one line says so, every later call does nothing, and
`actlab.tracking.sync` writes what is missing from the pipeline's outputs. What a killed process left
running is set to FAILED by the next that writes to the store from the same machine.
"""

import functools
import getpass
import hashlib
import importlib
import itertools
import json
import logging
import math
import os
import re
import shlex
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, cast
from urllib.parse import unquote

import numpy as np
import pandas as pd
from tqdm import tqdm

from actlab.activations.config import ActivationConfig
from actlab.data.config import DataConfig
from actlab.data.datasets import DATASETS
from actlab.data.splits import as_scaled
from actlab.engine.files import atomic_write, is_alive, this_machine
from actlab.engine.launches import Launch, is_selection, load_launch
from actlab.errors import UserError
from actlab.evidence.statistics import mean_interval
from actlab.evidence.wording import counted
from actlab.models.config import ModelConfig, NetworkConfig
from actlab.results.tables import CLAIMS, HEALTH, HISTORY, read_table
from actlab.schema import Config
from actlab.tracking import notes
from actlab.training.config import TrainingConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
else:  # importing mlflow takes seconds
    MlflowClient = Metric = Run = Any

P = ParamSpec("P")
Source = Literal["dvc", "sweep"]

#: The experiment that holds every run.
EXPERIMENT = "actlab"

#: The folder of reports/ that holds comparisons of runs, which are no part of the report.
COMPARED = "compare"

#: A configuration's metric that a sweep selects by: its mean validation accuracy over seeds.
OBJECTIVE = "objective"

#: Seconds between two writes of epochs; a store that takes longer to write has as long.
PAUSE = 1.0

#: What comes first of what seeds reached.
_FIRST = {"test_accuracy": 0, "test_loss": 1}

_SQLITE = "sqlite:///"
_WEIGHTS = "actlab.weights_sha256"
_NOTE = "mlflow.note.content"

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


def _sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _digest_of_seeds(digests: Mapping[int, str]) -> str:
    return _sha256(*(f"{seed}:{digests[seed]}\n".encode() for seed in sorted(digests)))


# --- Where the store is, and what is said when it fails -----------------------------------


def _root() -> Path:
    """Give the root of the main checkout: DVC's temporary experiments name it in DVC_ROOT."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def tracking_uri() -> str:
    """Give MLFLOW_TRACKING_URI, or mlflow.db; a relative SQLite file counts from the root."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    if not uri.startswith(_SQLITE):
        return uri
    return f"{_SQLITE}{_root() / uri.removeprefix(_SQLITE)}"


def _shown(text: str) -> str:
    """Give a text without the credentials of the URLs in it.

    >>> _shown("no driver for postgresql://me:secret@host/mlflow?password=secret")
    'no driver for postgresql://host/mlflow'
    """
    text = re.sub(r"(?<=://)(?!/)\S*@", "", text)
    return re.sub(r"(://[^\s?]*)\?[^\s'\")]*", r"\1", text)


def _secrets(uri: str) -> list[str]:
    """Give a URI's password, or the token in its place, and the values of its query.

    >>> _secrets("https://me:secret@host/mlflow?token=another")
    ['secret', 'another']
    """
    if uri.startswith(_SQLITE):
        return []
    user, _, password = (re.findall(r"://(\S*)@", uri) or [""])[0].partition(":")
    return [password or user, *re.findall(r"[?&][^=&]*=([^&]*)", uri)]


def format_store_error(error: BaseException, loss: str, advice: bool = True) -> str:
    """Say in one line which store failed, why, what is lost and, with `advice`, how to mend it.

    The reason is the error's first cause, without credentials.
    """
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    reason = " ".join(_shown(words).split())
    # What parses a URL cuts a password at a slash, and tells the piece.
    for secret in _secrets(tracking_uri()):
        for piece in re.split("[/?#@:]", f"{secret}/{unquote(secret)}"):
            reason = reason.replace(piece, "***") if piece else reason
    silent = isinstance(error, ConnectionError | TimeoutError | socket.gaierror)
    failure, when = ("does not answer", "does") if silent else ("cannot be written", "can")
    mend = f"; run `python -m actlab.stages.sync` when it {when}" if advice else ""
    return f"MLflow at {_shown(tracking_uri())} {failure} ({reason[:200]}): {loss}{mend}"


# --- The store ----------------------------------------------------------------------------


class Finished(NamedTuple):
    """A finished configuration: its run, its outcome (trained or diverged), what it reached.

    The objective is None where no validation images were held out.
    """

    run: str
    outcome: str
    objective: float | None


@dataclass
class Store:
    """An open MLflow store, and the experiment in it. Its methods raise what MLflow raises."""

    client: MlflowClient
    experiment: str

    def create_run(self, name: str, tags: Mapping[str, str]) -> str:
        """Give the id of a new run, which is RUNNING."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user without a name
            user = "unknown"
        tags = {
            "mlflow.user": user,
            "mlflow.source.name": "actlab",
            "mlflow.source.type": "LOCAL",
            "actlab.process": _this_process(),
            **tags,
        }
        return self.client.create_run(self.experiment, tags=tags, run_name=name).info.run_id

    def write(
        self,
        run: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write metrics, parameters and tags, 1,000 a call as MLflow takes them, in no order."""
        from mlflow.entities import Param, RunTag

        given = [Param(key, str(value)) for key, value in (params or {}).items()]
        marks = [RunTag(key, value) for key, value in (tags or {}).items()]
        self.client.log_batch(run, metrics, given, marks)

    def search(self, status: str, tags: Mapping[str, str], at_most: int = 50_000) -> list[Run]:
        """Give the undeleted runs of a status that bear some tags, the newest first.

        50,000 is the most that MLflow gives at once.
        """
        conditions = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        return self.client.search_runs(
            [self.experiment],
            " and ".join([f"attributes.status = '{status}'", *conditions]),
            order_by=["attributes.start_time DESC"],
            max_results=at_most,
        )

    def find_configuration(
        self, config: Config, weights: Mapping[int, Path]
    ) -> tuple[Run, dict[int, Run]] | None:
        """Give the newest whole training that ended in these files: its parent, its seeds' runs.

        Whole is a finished parent with a finished run below it for each seed.
        """
        digests = {seed: _sha256(path.read_bytes()) for seed, path in weights.items()}
        ended_in = {"actlab.source": "dvc", _WEIGHTS: _digest_of_seeds(digests)}
        tags = {"actlab.kind": "configuration", **ended_in, **_names(config)}
        for parent in self.search("FINISHED", tags):
            below = {"actlab.kind": "seed", "mlflow.parentRunId": parent.info.run_id}
            runs = {
                int(run.data.tags["actlab.seed"]): run for run in self.search("FINISHED", below)
            }
            if {seed: run.data.tags.get(_WEIGHTS) for seed, run in runs.items()} == digests:
                return parent, runs
        return None

    def find_finished(self, fingerprint: str) -> "Finished | None":
        """Give the newest finished configuration of a fingerprint."""
        tags = {"actlab.kind": "configuration", "actlab.fingerprint": fingerprint}
        for run in self.search("FINISHED", tags, at_most=1):
            outcome = run.data.tags["actlab.outcome"]
            return Finished(run.info.run_id, outcome, run.data.metrics.get(OBJECTIVE))
        return None

    def find_report(self, reports: Path) -> Run | None:
        """Give the run of the report that a folder holds."""
        try:
            tags = _report_tags(reports)
        except FileNotFoundError:
            return None
        return next(iter(self.search("FINISHED", tags, at_most=1)), None)

    def has_model(self, name: str, alias: str | None, version: str | None) -> bool:
        """Tell whether there is a registered model by an alias or a version, else one by its id."""
        from mlflow.exceptions import MlflowException

        try:
            if alias:
                self.client.get_model_version_by_alias(name, alias)
            elif version:
                self.client.get_model_version(name, version)
            else:
                self.client.get_logged_model(name)
        except MlflowException:
            return False
        return True

    def close_unfinished(self, fingerprint: str) -> None:
        """Set the running runs of a fingerprint to FAILED, but those of live processes here."""
        for parent in self.search("RUNNING", {"actlab.fingerprint": fingerprint}):
            if _is_at_work(parent):
                continue
            below = {"mlflow.parentRunId": parent.info.run_id}
            for run in (*self.search("RUNNING", below), parent):
                self.client.set_terminated(run.info.run_id, "FAILED")

    def record_failure(self, config: Config, fingerprint: str, cause: str) -> None:
        """Write the cause to the failed run of this process, which is made if need be."""
        tags = {"actlab.fingerprint": fingerprint, "actlab.process": _this_process()}
        if found := self.search("FAILED", tags, at_most=1):
            run = found[0].info.run_id
        else:
            tags |= {"actlab.kind": "configuration", "actlab.source": "sweep", **_names(config)}
            run = self.create_run(_run_name(config, "sweep"), tags | sweep_tags(config.sweep))
            self.write(run, params=_parameters(config))
            self.client.set_terminated(run, "FAILED")
        self.write(run, tags={_NOTE: f"Failed: {cause}"})

    def close_ended(self) -> list[str]:
        """Set this host's running runs to FAILED whose process has ended; give their names."""
        closed = []
        for run in self.search("RUNNING", {}):
            host = run.data.tags.get("actlab.process", "").partition(":")[0]
            # Older runs name the host alone.
            if host in (this_machine(), socket.gethostname()) and not _is_at_work(run):
                self.client.set_terminated(run.info.run_id, "FAILED")
                closed.append(run.info.run_name)
        return closed


def _this_process() -> str:
    started = _started(os.getpid())
    return ":".join([this_machine(), str(os.getpid()), *([started] if started else [])])


def _is_at_work(run: Run) -> bool:
    """Tell whether a run's process is one of this host that has not ended."""
    host, _, process = run.data.tags.get("actlab.process", "").partition(":")
    number, _, started = process.partition(":")
    if host not in (this_machine(), socket.gethostname()) or not is_alive(int(number)):
        return False
    # The number of a process that has ended may be another's by now; older runs bear no start.
    now = _started(int(number))
    return now is None or (now != "" and started in ("", now))


def _started(process: int) -> str | None:
    """Give when a process of this machine began, in clock ticks since the machine did.

    Empty when it has ended and nobody has asked how; None where the system does not tell.
    """
    try:
        told = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name before them, in parentheses, may hold spaces and parentheses.
    state, *rest = told.rpartition(")")[2].split()
    return "" if state in ("Z", "X") else rest[18]


def connect() -> Store:
    """Open the store that `tracking_uri` names, making it and the experiment if need be.

    Raises whatever MLflow, its database, its server or the disk raise; see `format_store_error`.
    """
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    # The store's failures are told in one line; alembic tells each of 50 migrations.
    for name in ("alembic", "urllib3", "mlflow"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    uri = tracking_uri()
    if not uri.startswith(_SQLITE):
        client = MlflowClient(uri)
        at_server = uri.startswith(("http:", "https:", "databricks"))
        return Store(client, _find_experiment(client, None if at_server else _root()))
    from filelock import FileLock

    file = Path(uri.removeprefix(_SQLITE).partition("?")[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    # Several processes that create the schema at once corrupt it.
    with FileLock(f"{file}.lock", timeout=60):
        if not file.exists() or file.stat().st_size == 0:
            with atomic_write(file) as new:  # a kill would leave half a schema, for good
                _require_writable(new)
                MlflowClient(f"{_SQLITE}{new}").search_experiments()
        _require_writable(file)
        client = MlflowClient(uri)
        return Store(client, _find_experiment(client, file.parent))


def _require_writable(file: Path) -> None:
    with closing(sqlite3.connect(file, timeout=5)) as database:
        database.execute("BEGIN IMMEDIATE")  # fails at once where MLflow tries for minutes


# Those in which this process has closed what others left running.
_closed: set[str] = set()


def _connect_to_write() -> Store:
    """Open the store to write to it; the first time, close what ended processes left running."""
    store, uri = connect(), tracking_uri()
    if uri not in _closed:
        store.close_ended()
        _closed.add(uri)
    return store


def _find_experiment(client: MlflowClient, folder: Path | None) -> str:
    """Give the experiment's id; a new one keeps its artifacts in a folder, or on the server."""
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(EXPERIMENT)) is None:
        location = (folder / "mlruns" / EXPERIMENT).as_uri() if folder else None
        # The second tag opens the UI with charts and runs in place of traces.
        tags = {
            _NOTE: notes.QUESTION,
            "mlflow.experimentKind": "custom_model_development",
        }
        try:
            return client.create_experiment(EXPERIMENT, location, tags)
        except MlflowException:  # another process was faster
            if (found := client.get_experiment_by_name(EXPERIMENT)) is None:
                raise
    return found.experiment_id


# --- What a run bears ---------------------------------------------------------------------


def sweep_tags(sweep: str | None) -> dict[str, str]:
    """Give the tags of the configurations of a sweep.

    >>> sweep_tags("depth.launch1")
    {'sweep.depth': 'yes', 'sweep.depth.launch1': 'yes'}
    """
    parts = sweep.split(".") if sweep else []
    return {f"sweep.{'.'.join(parts[: place + 1])}": "yes" for place in range(len(parts))}


def _name(config: Config) -> str:
    return f"{config.activation.name}/{config.network.name}"


def _run_name(config: Config, source: Source) -> str:
    """Give the name of a configuration's run: a sweep's says what the job was asked for.

    >>> _run_name(config, "sweep")  # doctest: +SKIP
    'relu/mlp data.validation_size=10000,training.learning_rate=0.003'
    """
    asked = Path(config.paths.output).name.split(",") if source == "sweep" else []
    others = [each for each in asked if not each.startswith(("activation=", "network="))]
    told = ",".join(others)
    # A database may hold a name to 250 characters.
    return f"{_name(config)} {told}"[:200] if "=" in told else _name(config)


def _names(config: Config) -> dict[str, str]:
    return {"actlab.activation": config.activation.name, "actlab.network": config.network.name}


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


def _log_dataset(store: Store, run: str, config: Config) -> str:
    """Log the data set by its digest, which is given; the data is not read."""
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException
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
    dataset = Dataset(
        name=config.data.name,
        # MLflow takes 36 characters.
        digest=_sha256(*(file.sha256.encode() for file in data.files), split.encode())[:16],
        source_type="local",
        source=json.dumps({"uri": config.paths.raw}),
        schema=json.dumps(TensorDatasetSchema(images, labels).to_dict()),
        profile=json.dumps(profile),
    )
    context = InputTag("mlflow.data.context", "training")
    for attempt in range(5):
        try:
            store.client.log_inputs(run, [DatasetInput(dataset, [context])])
            break
        except MlflowException as error:
            # MLflow looks for the data set, then makes it: another process may be between.
            if attempt == 4 or "UNIQUE constraint" not in str(error):
                raise
    return dataset.digest


def _metric(name: str, value: float, step: int = 0) -> Metric:
    from mlflow.entities import Metric

    return Metric(name, float(value), int(time.time() * 1000), step)


# --- A configuration's runs ---------------------------------------------------------------


def _unless_lost(method: Callable[P, None]) -> Callable[P, None]:
    """Do nothing once the store has failed a live training; say it in one line when it does."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        self = cast(ConfigurationRun, args[0])
        if self._lost:
            return
        try:
            method(*args, **kwargs)
        # MLflow lets through what its server, its database and the disk raise, each its own:
        # none of it is worth a training.
        except Exception as error:
            if self._given:
                raise
            self._lost = True
            extent = "logged in part only" if self._open else "not logged"
            line = format_store_error(
                error, f"this training is {extent}", advice=self._source == "dvc"
            )
            tqdm.write(line)  # leaves a progress bar whole

    return guarded


class ConfigurationRun:
    """The runs of one (activation, network): a parent, and one child per seed. A context manager.

    `config` names them; `source` says what trains, a stage of the pipeline or a job of a sweep;
    `fingerprint` and `code` are those of `config`, where it is this code that trains.
    The first epoch opens the store and the parent. Epochs are written together, those of every
    seed, `PAUSE` after the last write at the earliest, so that training does not wait for a store
    that is slow; a seed's first write opens its run. Leaving by an exception sets what is
    unfinished to FAILED, by KeyboardInterrupt to KILLED; leaving without `finish` is a failure
    too. No method raises because of MLflow, unless an open `store` was given.

    >>> with ConfigurationRun(config, "dvc") as run:  # doctest: +SKIP
    ...     run.log_epoch(0, 1, {"loss": 0.4, "accuracy": 0.9})
    ...     run.finish_seed(0, {"test_accuracy": 0.97}, weights)
    ...     run.finish(models, results)
    """

    def __init__(
        self,
        config: Config,
        source: Source,
        store: Store | None = None,
        fingerprint: str | None = None,
        code: str | None = None,
    ) -> None:
        self._config = config
        self._source: Source = source
        self._given = store
        given = {"actlab.fingerprint": fingerprint, "actlab.code": code}
        self._marks = {key: value for key, value in given.items() if value}
        self._lost = False
        self._runs: dict[int | None, str] = {}
        self._open: list[str] = []
        self._logged: dict[int, list[Metric]] = defaultdict(list)
        self._waiting: dict[int, list[Metric]] = defaultdict(list)
        self._params: dict[int, dict[str, object]] = {}
        self._write_at = -math.inf
        self._digests: dict[int, str] = {}
        self._data_digest: str | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the store failed, so that runs are missing or in part only."""
        return self._lost

    def __enter__(self) -> "ConfigurationRun":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *rest: object
    ) -> None:
        failed = kind is None or issubclass(kind, Exception)
        if failed and error is not None:
            self._tell(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        self._close("FAILED" if failed else "KILLED")

    @_unless_lost
    def log_epoch(self, seed: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log `tables.HISTORY` and `epoch_seconds` of a seed's epoch, counted from 1."""
        values = [_metric(*each, epoch) for each in metrics.items()]
        self._logged[seed] += values
        self._waiting[seed] += values
        if (began := time.monotonic()) < self._write_at:
            return
        for each in [*self._waiting]:
            self._write(each)
        ended = time.monotonic()
        self._write_at = ended + max(PAUSE, ended - began)

    @_unless_lost
    def finish_seed(
        self,
        seed: int,
        metrics: Mapping[str, float],
        weights: Path,
        updates: Sequence[tuple[int, str, float]] = (),
    ) -> None:
        """End a seed's run with `test_loss`, `test_accuracy`, `compile_seconds`.

        The SHA-256 of the file of its final weights becomes a tag. `updates` are the rows of
        `tables.UPDATES` behind the seed: `health/update_ratio/hidden_1`, the epoch as step.
        """
        values = [_metric(*each) for each in metrics.items()]
        values += [
            _metric(f"health/update_ratio/{layer}", ratio, epoch) for epoch, layer, ratio in updates
        ]
        self._digests[seed] = _sha256(weights.read_bytes())
        self._logged[seed] += values
        self._waiting[seed] += values
        note = notes.of_seed(_name(self._config), seed, metrics)
        self._write(seed, {_WEIGHTS: self._digests[seed], _NOTE: note})
        self._end(self._run(seed), "FINISHED")

    @_unless_lost
    def finish(
        self,
        models: Path,
        results: Path,
        objective: float | None = None,
        diverged: Sequence[int] = (),
    ) -> None:
        """End the parent with what holds over all seeds, artifacts and the first seed's model.

        `models` and `results` are the configuration's own folders, whole; `objective` is what a
        sweep selects by, `diverged` the seeds whose loss stopped being a number.
        """
        parent, client = self._run(), self._store.client
        for name in ("history.csv", "layers.csv", "test.csv"):
            client.log_artifact(parent, str(results / name))
        client.log_artifact(parent, str(models / "model.json"))
        model, parameters = _log_model(self._store, parent, self._config, models)
        self._store.write(self._runs[self._config.seeds[0]], self._of_model(model))
        metrics, config = self._over_seeds(), self._config
        metrics.append(_metric("diverged_seeds", float(len(diverged))))
        if objective is not None:
            metrics.append(_metric(OBJECTIVE, objective))
        note = notes.of_configuration(
            _name(config),
            _parameters(config) | {"network.parameters": parameters},
            {each.key: each.value for each in metrics},  # of a curve, the last
            config.seeds,
            diverged,
            self._command(),
        )
        tags = {_NOTE: note, _WEIGHTS: _digest_of_seeds(self._digests)}
        tags["actlab.outcome"] = "diverged" if diverged else "trained"
        self._store.write(parent, metrics, {"network.parameters": parameters}, tags)
        self._end(parent, "FINISHED")

    def _of_model(self, model: str | None) -> list[Metric]:
        """Give what the first seed reached, for a model's page; to its run it is nothing new."""
        from mlflow.entities import Metric

        last = {each.key: each for each in self._logged[self._config.seeds[0]]}
        data = {"dataset_name": self._config.data.name, "dataset_digest": self._data_digest}
        return [
            Metric(each.key, each.value, each.timestamp, each.step, model_id=model, **data)
            for name in (
                "test_accuracy",
                "test_loss",
                "val_accuracy",
                "val_loss",
                "accuracy",
                "loss",
            )
            if (each := last.get(name)) is not None
        ]

    def _command(self) -> str:
        """Give the command that trains this configuration."""
        config = self._config
        if self._source == "dvc":
            return f"dvc repro train@{config.activation.name}-{config.network.name}"
        name = Path(config.paths.output).name
        asked = re.split(r",(?![^\[]*\])", name)  # not within a list
        # What has no value is Hydra's name for nothing; a name this long was cut.
        whole = all("=" in each for each in asked) and len(name) < 150
        given = " ".join(map(shlex.quote, asked)) if whole else ""
        return f"python -m actlab.stages.train {given}".rstrip()

    def _over_seeds(self) -> list[Metric]:
        """Give the parent's metrics: mean, sd and interval of all that its seeds logged."""
        values: dict[tuple[str, int], list[float]] = defaultdict(list)
        seconds = []
        for each in itertools.chain(*self._logged.values()):
            times = each.key == "epoch_seconds"
            (seconds if times else values[each.key, each.step]).append(each.value)
        metrics = []
        # MLflow's page that compares runs begins with what was written first.
        in_order = sorted(values, key=lambda each: _FIRST.get(each[0], len(_FIRST)))
        for name, step in in_order:
            of_seeds = values[name, step]
            interval = mean_interval(of_seeds, self._config.report.confidence)
            for which, value in zip(("mean", "sd", "ci_low", "ci_high"), interval, strict=True):
                if math.isfinite(value):  # one seed has no sd
                    metrics.append(_metric(f"{name}_{which}", value, step))
        return [*metrics, _metric("epoch_seconds_median", statistics.median(seconds))]

    @functools.cached_property
    def _store(self) -> Store:
        return self._given or _connect_to_write()

    def _write(self, seed: int, tags: Mapping[str, str] | None = None) -> None:
        """Write what waits of a seed, and the parameters of a new run."""
        run = self._run(seed)
        self._store.write(run, self._waiting[seed], self._params.get(seed), tags)
        self._waiting.pop(seed, None)
        self._params.pop(seed, None)

    def _run(self, seed: int | None = None) -> str:
        """Give the id of a seed's run, or of the parent; the first call opens it, and the store."""
        if seed in self._runs:
            return self._runs[seed]
        config, name = self._config, _run_name(self._config, self._source)
        if seed is None:
            tags = {"actlab.kind": "configuration", **self._marks, **sweep_tags(config.sweep)}
        else:
            name = f"{name}/seed-{seed}"
            below = {"mlflow.parentRunId": self._run()}
            tags = {"actlab.kind": "seed", "actlab.seed": str(seed), **below}
        tags |= {"actlab.source": self._source, **_names(config)}
        run = self._runs[seed] = self._store.create_run(name, tags)
        self._open.append(run)
        params = _parameters(config)
        if seed is None:
            params["seeds"] = ",".join(map(str, config.seeds))
            params["report.confidence"] = str(config.report.confidence)
            self._store.write(run, params=params)
        else:  # a call less, which may take seconds
            self._params[seed] = params | {"seed": str(seed)}
        self._data_digest = _log_dataset(self._store, run, config)
        return run

    def _end(self, run: str, status: str) -> None:
        self._store.client.set_terminated(run, status)
        self._open.remove(run)

    @_unless_lost
    def _tell(self, cause: str) -> None:
        """Write why the training failed to the configuration's run, where there is one."""
        if self._open:
            self._store.write(self._open[0], tags={_NOTE: f"Failed: {cause}"})

    @_unless_lost
    def _close(self, status: str) -> None:
        """End what is still open: children first, the parent last; then write what waits."""
        for run in reversed(self._open[:]):
            self._end(run, status)
        for seed in [*self._waiting]:  # an interrupted process has little time: it comes second
            self._write(seed)
        for run in self._open[:]:
            self._end(run, status)


def _log_model(store: Store, run: str, config: Config, models: Path) -> tuple[str, int]:
    """Log the first seed's model, with probabilities as output; give its id and its parameters."""
    from actlab.models.network import ModelSpec, load_model, with_probabilities

    spec = ModelSpec.load(models / "model.json")
    model = with_probabilities(load_model(models, config.seeds[0]), spec)
    images = Path(config.paths.processed) / "test_images.npy"
    example = np.zeros((1, spec.inputs), np.float32)
    if images.is_file():
        example[:] = as_scaled(np.load(images, mmap_mode="r")[:1])
    logged = store.client.create_logged_model(
        store.experiment,
        name=re.sub("[^A-Za-z0-9_-]", "-", _name(config)),  # MLflow refuses a few
        source_run_id=run,
        tags=_names(config) | {_NOTE: notes.of_model(_name(config), config.seeds[0])},
        params={key: str(value) for key, value in _parameters(config).items()},
        model_type="classifier",
    )
    try:
        _write_model(store, run, logged, model, example)
    except BaseException:
        with suppress(Exception):  # what failed first is what is told
            store.client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    return logged.model_id, model.count_params()


def _write_model(store: Store, run: str, logged: Any, model: Any, example: np.ndarray) -> None:
    """Write the files of a model, which make it ready, and link it to its run."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, infer_signature
    from mlflow.tensorflow import save_model

    from actlab.backend import keras, tf

    identity = logged.model_id
    # MLflow's `log_model` does the same through a store that is global to the process.
    with tempfile.TemporaryDirectory() as folder, _requirements_as_given():
        save_model(
            model,
            f"{folder}/model",
            mlflow_model=Model(
                logged.artifact_location, run, model_uuid=identity, model_id=identity
            ),
            signature=infer_signature(example, np.asarray(model(example))),
            input_example=example,
            # MLflow would take 10 s to find these.
            pip_requirements=[
                f"tensorflow=={tf.__version__}",
                f"keras=={keras.__version__}",
                f"numpy=={np.__version__}",
            ],
        )
        store.client.log_model_artifacts(identity, f"{folder}/model")
    store.client.finalize_logged_model(identity, "READY")
    store.client.log_outputs(run, [LoggedModelOutput(identity, 0)])


@contextmanager
def _requirements_as_given() -> Iterator[None]:
    """Have MLflow take requirements without looking for them among all that is installed.

    It warns of versions that are not the running ones, which these are, and goes through the names
    of all files of all packages for it. A version of MLflow that does so elsewhere takes its time.
    """
    environment: Any = importlib.import_module("mlflow.utils.environment")
    name = "warn_dependency_requirement_mismatches"
    warn = getattr(environment, name, None)
    if warn is None:
        yield
        return
    setattr(environment, name, lambda requirements: None)
    try:
        yield
    finally:
        setattr(environment, name, warn)


# --- What a training left in models/<activation>-<network> --------------------------------


def read_trained(config: Config, activation: str, network: str) -> tuple[Config, dict[int, Path]]:
    """Give `config` with all that a training was made with, and its seeds' final weights.

    Both are read from its folder of models.

    Raises
    ------
    UserError
        When a file is missing, or is not what the train stage writes.
    """
    folder = Path(config.paths.models) / f"{activation}-{network}"
    held: dict[str, Any] = {}
    try:
        for name in ("model.json", "training.json"):
            held |= json.loads((folder / name).read_text(encoding="utf-8"))
        config = replace(
            config,
            activation=ActivationConfig(**held["activation"]),
            network=NetworkConfig(**held["network"]),
            model=ModelConfig(held["kernel_initializer"]),
            seeds=held["seeds"],
            data=DataConfig(**held["data"]),
            training=TrainingConfig(**held["training"]),
        )
        # `model.weights_path` says the same, and would bring TensorFlow.
        last = f"epoch-{config.training.epochs:03d}.weights.h5"
        weights = {seed: folder / f"seed-{seed}" / last for seed in config.seeds}
        for path in weights.values():
            path.stat()
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: run `dvc repro`") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the JSON in {folder} is not this version's: run `dvc repro`") from error
    return config, weights


# --- Gradients and report -----------------------------------------------------------------


def log_gradients(config: Config, table: pd.DataFrame) -> None:
    """Log the table `tables.GRADIENTS` to the runs of the trainings that it was measured on.

    A seed's run gets metrics such as `gradient/notebook/mean_abs/hidden_1`, the epoch as their
    step; the parent gets their means over seeds, `gradient/notebook/mean_abs/hidden_1_mean`.
    What is said of a layer's health on held-out images is `health/dead_fraction/hidden_1`.
    Measured again on other images they stand beside the older ones: MLflow shows the newest.

    Raises
    ------
    UserError
        When a training's folder of models is not whole.
    """
    names = itertools.product(config.activations, config.networks)
    trained = [read_trained(config, activation, network) for activation, network in names]
    try:
        store = _connect_to_write()
        written = {_name(one): write_gradients(store, one, files, table) for one, files in trained}
    except Exception as error:  # as in `_unless_lost`
        tqdm.write(format_store_error(error, "the gradients are not logged"))
        return
    if without_run := [name for name, wrote in written.items() if wrote is None]:
        tqdm.write(
            f"MLflow has no finished run of {', '.join(without_run)}: their gradients are not"
            " logged; run `python -m actlab.stages.sync`"
        )


def write_gradients(
    store: Store, config: Config, weights: Mapping[int, Path], table: pd.DataFrame
) -> bool | None:
    """Write a configuration's rows; False when MLflow has them, None when it has no such run."""
    found = store.find_configuration(config, weights)
    if found is None:
        return None
    parent, seeds = found
    on_network = table.loc[table["network"] == config.network.name]
    rows = on_network.loc[on_network["activation"] == config.activation.name]
    mark = {"actlab.gradients_sha256": _sha256(rows.to_csv(index=False).encode())}
    if parent.data.tags.items() >= mark.items():
        return False
    for seed, run in seeds.items():
        if not run.data.tags.items() >= mark.items():  # cut short before
            _write_marked(store, run, _gradients(rows.loc[rows["seed"] == seed]), mark)
    _write_marked(store, parent, _gradients(rows, "_mean"), mark)
    return True


def _write_marked(
    store: Store, run: Run, metrics: Sequence[Metric], mark: Mapping[str, str]
) -> None:
    """Write metrics, then the tag that says that they are all there."""
    store.write(run.info.run_id, metrics)
    store.write(run.info.run_id, tags=mark)


def _gradients(rows: pd.DataFrame, suffix: str = "") -> list[Metric]:
    """Metrics of gradients, their mean where there are several seeds."""
    values: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows.to_dict(orient="records"):
        kind = f"gradient/{row['probe']}"
        if row["statistic"] in HEALTH:
            kind = "health"
        name = f"{kind}/{row['statistic']}/{row['layer']}{suffix}"
        values[name, row["epoch"]].append(row["value"])
    return [
        _metric(name, statistics.fmean(seeds), epoch) for (name, epoch), seeds in values.items()
    ]


@contextmanager
def _ended(store: Store, run: str) -> Iterator[None]:
    """End a run after the block: FINISHED, or FAILED where it raises, KILLED by an interrupt."""
    try:
        yield
    except BaseException as error:
        with suppress(Exception):  # what failed first is what is told
            failed = isinstance(error, Exception)
            store.client.set_terminated(run, "FAILED" if failed else "KILLED")
        raise
    store.client.set_terminated(run, "FINISHED")


def _report_tags(reports: Path) -> dict[str, str]:
    digest = _sha256(*((reports / name).read_bytes() for name in ("summary.csv", "report.md")))
    return {"actlab.kind": "report", "actlab.report_sha256": digest}


def log_report(config: Config, reports: Path) -> None:
    """Log the folder of the report as a run named report, unless MLflow has that report."""
    try:
        write_report(_connect_to_write(), config, reports)
    except Exception as error:  # as in `_unless_lost`
        tqdm.write(format_store_error(error, "the report is not logged"))


def write_report(store: Store, config: Config, reports: Path) -> bool:
    """Write the report's run; False when MLflow has that report already."""
    if store.find_report(reports):
        return False
    tags = _report_tags(reports)
    claims = read_table(reports / "claims.csv", CLAIMS)
    verdicts = {f"claim.{row['name']}": row["verdict"] for row in claims.to_dict("records")}
    run = store.create_run("report", tags | {"actlab.source": "dvc"})
    listed = {name: getattr(config, name) for name in ("activations", "networks", "seeds")}
    params = {name: ",".join(map(str, values)) for name, values in listed.items()}
    params["report.confidence"] = str(config.report.confidence)
    with _ended(store, run):
        store.write(run, params=params, tags=verdicts)
        for path in sorted(reports.iterdir()):
            if path.is_dir() and path.name != COMPARED:
                store.client.log_artifacts(run, str(path), path.name)
            elif path.is_file():
                store.client.log_artifact(run, str(path))
    return True


# --- Comparisons of finished runs ---------------------------------------------------------


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
        parent, then the columns of `tables.HISTORY`.
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
        reason = _shown(str(error.message)).splitlines()[0].rstrip(".")
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
    place = f"MLflow at {_shown(tracking_uri())}"
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


def log_comparison(
    folder: Path, sweep: str, params: Mapping[str, object], verdicts: Mapping[str, str]
) -> None:
    """Log the folder of a comparison as a run, unless MLflow has that comparison.

    Parameters
    ----------
    folder
        Holds report.md, summary.csv and comparisons.csv, by which it is known again.
    sweep
        Its name, which the run bears; empty for runs that were selected in another way.
    params
        What was selected, and how it is spoken of.
    verdicts
        By the names of their tags; MLflow takes up to a hundred at once.
    """
    try:
        write_comparison(_connect_to_write(), folder, sweep, params, verdicts)
    except Exception as error:  # as in `_unless_lost`
        tqdm.write(format_store_error(error, "the comparison is not logged", advice=False))


def write_comparison(
    store: Store,
    folder: Path,
    sweep: str,
    params: Mapping[str, object],
    verdicts: Mapping[str, str],
) -> bool:
    """Write the comparison's run; False when MLflow has that comparison already."""
    files = ("report.md", "summary.csv", "comparisons.csv")
    digest = _sha256(*((folder / name).read_bytes() for name in files))
    tags = {"actlab.kind": "comparison", "actlab.comparison_sha256": digest}
    if store.search("FINISHED", tags):
        return False
    run = store.create_run(f"comparison {sweep or 'runs'}", tags | {"actlab.source": "sweep"})
    with _ended(store, run):
        store.write(run, params=params)
        marks = list(verdicts.items())
        for start in range(0, len(marks), 100):
            store.write(run, tags=dict(marks[start : start + 100]))
        store.client.log_artifacts(run, str(folder))
    return True
