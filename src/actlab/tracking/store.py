"""MLflow's store: what is written and found in it, and how it is opened.

A configuration is a parent run (`relu/mlp`) with one child run per seed (`relu/mlp/seed-0`); the
report and each comparison are runs of their own. Importing mlflow takes 2 to 3 s, so it happens at
the first write, when the worker threads are training already.

Runs are found by their tags:

==========================  ==================================================================
`actlab.kind`               configuration, seed, report or comparison
`actlab.source`             dvc (a stage of the pipeline) or sweep (a job of Hydra's multirun)
`actlab.fingerprint`        identifies all that decides the results
`actlab.code`               identifies the code and packages, which the fingerprint includes
`actlab.seed`               seed of a child run
`actlab.weights_sha256`     digest of a seed's final weights; of a parent, of its seeds' digests
`actlab.outcome`            of a finished configuration: trained, or diverged
`sweep.<name>`              yes for the configurations of a sweep; those of `fair.launch1.tuned`
                            (`launches`) also have `sweep.fair` and `sweep.fair.launch1`
`actlab.gradients_sha256`   digest of the rows of gradients.csv that were logged
`actlab.report_sha256`      digest of summary.csv and report.md
`claim.<name>`              the report's verdict on a claim of the notebook
`sensitivity.<name>`        the same, measured in another way
`actlab.process`            machine:pid:start of the process that writes the run
==========================  ==================================================================

A run is set to FINISHED after everything else has been written. Runs that a killed process left
RUNNING are set to FAILED by the next process that writes to the store: on that machine at once, on
another, or after a reboot, a day after it last logged an epoch.
"""

import errno
import getpass
import hashlib
import logging
import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlparse
from urllib.request import url2pathname

from actlab.engine.files import atomic_write, has_ended, this_machine
from actlab.errors import UserError
from actlab.tracking.address import (
    SQLITE,
    SYNC,
    StoreError,
    hide_credentials,
    root,
    sqlite_file,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Metric, Run
else:  # importing mlflow takes seconds
    Experiment = MlflowClient = Metric = Run = Any

#: The experiment that holds every run, unless MLFLOW_EXPERIMENT_NAME or _ID names another.
EXPERIMENT = "actlab"

#: The experiment's tag with the name it was made with: it is found by it once it is renamed.
_MADE_AS = "actlab.experiment"

#: Begins the experiment's description; one that begins otherwise was written by a person.
QUESTION = "What the choice of activation function does to a network."

#: A configuration's metric that a sweep selects by: its mean validation accuracy over seeds.
OBJECTIVE = "objective"

#: The tag that MLflow shows as a run's description.
NOTE = "mlflow.note.content"

#: The tag with the digest and the commit of the rules by which the sweeper `settle` adds seeds.
DECLARATION = "actlab.declaration"

#: How it ends where the rules were not committed, so that nothing shows their age.
UNCOMMITTED = "uncommitted"

#: The tag with the digest of a seed's final weights, or over all seeds of a configuration.
WEIGHTS = "actlab.weights_sha256"

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


def sha256(*parts: bytes) -> str:
    """Compute the SHA-256 of some bytes, one after the other."""
    return hashlib.sha256(b"".join(parts)).hexdigest()


def digest_of_seeds(digests: Mapping[int, str]) -> str:
    """Compute the SHA-256 over the digests of all seeds."""
    return sha256(*(f"{seed}:{digests[seed]}\n".encode() for seed in sorted(digests)))


# --- The store ----------------------------------------------------------------------------


def sweep_tags(sweep: str | None, declaration: str | None = None) -> dict[str, str]:
    """Return the tags of the configurations of a sweep, and of the rules declared before it.

    >>> sweep_tags("depth.launch1")
    {'sweep.depth': 'yes', 'sweep.depth.launch1': 'yes'}
    """
    parts = sweep.split(".") if sweep else []
    tags = {f"sweep.{'.'.join(parts[: place + 1])}": "yes" for place in range(len(parts))}
    return tags | ({DECLARATION: declaration} if declaration else {})


class Finished(NamedTuple):
    """A finished configuration: its run, outcome (trained or diverged), objective and declaration.

    Without an objective it is None, without a declaration empty.
    """

    run: str
    outcome: str
    objective: float | None
    declaration: str = ""


@dataclass
class Store:
    """An open MLflow store, and the experiment in it. Its methods raise what MLflow raises."""

    client: MlflowClient
    experiment: str

    def create_run(self, name: str, tags: Mapping[str, str], start_time: int | None = None) -> str:
        """Create a run, RUNNING since a time in milliseconds or now; return its id."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user without a name
            user = "unknown"
        tags = {
            "mlflow.user": user,
            "mlflow.source.name": "actlab",
            "mlflow.source.type": "LOCAL",
            "actlab.process": this_process(),
            **tags,
        }
        return self.client.create_run(self.experiment, start_time, tags, name).info.run_id

    def write(
        self,
        run: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write metrics, parameters and tags in as few calls as MLflow allows."""
        from mlflow.entities import Param, RunTag

        given = [Param(key, str(value)) for key, value in (params or {}).items()]
        marks = [RunTag(key, value) for key, value in (tags or {}).items()]
        self.client.log_batch(run, metrics, given, marks)

    def search(self, status: str, tags: Mapping[str, str], at_most: int = 50_000) -> list[Run]:
        """Find the undeleted runs of a status that have some tags, the newest first.

        50,000 is the most that MLflow returns at once.
        """
        conditions = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        return self.client.search_runs(
            [self.experiment],
            " and ".join([f"attributes.status = '{status}'", *conditions]),
            order_by=["attributes.start_time DESC"],
            max_results=at_most,
        )

    def find_complete(
        self, tags: Mapping[str, str], digests: Mapping[int, str]
    ) -> tuple[Run, dict[int, Run]] | None:
        """Find the newest finished configuration with a finished run per seed, by its weights.

        Returns its run and those of its seeds.
        """
        wanted = {"actlab.kind": "configuration", WEIGHTS: digest_of_seeds(digests), **tags}
        for parent in self.search("FINISHED", wanted):
            below = {"actlab.kind": "seed", "mlflow.parentRunId": parent.info.run_id}
            seeds = {
                int(run.data.tags["actlab.seed"]): run for run in self.search("FINISHED", below)
            }
            if {seed: run.data.tags.get(WEIGHTS) for seed, run in seeds.items()} == digests:
                return parent, seeds
        return None

    def find_finished(self, fingerprint: str) -> Finished | None:
        """Find the newest finished configuration of a fingerprint."""
        tags = {"actlab.kind": "configuration", "actlab.fingerprint": fingerprint}
        for run in self.search("FINISHED", tags, at_most=1):
            outcome = run.data.tags.get("actlab.outcome", "")
            objective, declared = run.data.metrics.get(OBJECTIVE), run.data.tags.get(DECLARATION)
            return Finished(run.info.run_id, outcome, objective, declared or "")
        return None

    def close_ended(self) -> list[str]:
        """Set the running runs whose process has ended to FAILED; return their names.

        For processes that cannot be seen from here see `files.has_ended`.
        """
        closed = []
        by_process = defaultdict(list)
        for run in self.search("RUNNING", {}):
            by_process[run.data.tags.get("actlab.process", "")].append(run)
        for writer, runs in by_process.items():
            machine, _, process = writer.partition(":")
            if not process or _is_running(machine, process, lambda runs=runs: self._seen(runs)):
                continue
            for run in runs:
                # It may have finished its run after the search, before it ended.
                if self.client.get_run(run.info.run_id).info.status == "RUNNING":
                    self.client.set_terminated(run.info.run_id, "FAILED")
                    closed.append(run.info.run_name)
        return closed

    def _seen(self, runs: Sequence[Run]) -> float:
        """Return when runs began or last logged an epoch, in seconds since 1970."""
        epochs = [self.client.get_metric_history(run.info.run_id, "loss") for run in runs]
        times = [run.info.start_time for run in runs]
        return max([*times, *(metric.timestamp for metric in chain(*epochs))]) / 1000


def this_process() -> str:
    """Return the tag `actlab.process` of this process."""
    return f"{this_machine()}:{os.getpid()}:{_started(os.getpid())}"


def _is_running(machine: str, process: str, seen: Callable[[], float]) -> bool:
    """Tell whether a process is running, and its number is not another's by now."""
    number, _, started = process.partition(":")
    if has_ended(machine, int(number), seen):
        return False
    return machine != this_machine() or _started(int(number)) == started


def _started(process: int) -> str:
    """Return when a process began, in clock ticks; empty where it has ended or /proc is missing."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name before them, in parentheses, may hold spaces and parentheses.
    state, *rest = status.rpartition(")")[2].split()
    return "" if state in ("Z", "X") else rest[18]


# --- Opening it ---------------------------------------------------------------------------


def connect() -> Store:
    """Open the store to write to it; create it and the experiment if they are missing.

    Raises whatever MLflow, its database, its server or the disk raise; see `format_store_error`.
    """
    if (file := sqlite_file()) is None:
        client = _create_client(tracking_uri())
        at_server = tracking_uri().startswith(("http:", "https:", "databricks"))
        return Store(client, _require_experiment(client, None if at_server else root()))
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    # Several processes that create the schema at once corrupt it.
    with FileLock(f"{file}.lock", timeout=60):
        if not file.exists() or file.stat().st_size == 0:
            with atomic_write(file) as new:  # a kill would leave half a schema, for good
                _begin_writing(new).close()
                _create_client(f"{SQLITE}{new}").search_experiments()
        require_writable()
        client = _create_client(tracking_uri())
        return Store(client, _require_experiment(client, file.parent))


def connect_to_read() -> Store:
    """Open a store that exists and may be read-only; it raises what `connect` raises.

    Raises
    ------
    UserError
        When the store or the experiment does not exist.
    """
    file = sqlite_file()
    if file and not file.is_file():
        raise UserError(
            f"{file} is not there: run `dvc repro` or a sweep first, or `{SYNC}` where the"
            " pipeline's outputs are"
        )
    client = _create_client(tracking_uri())
    if (found := _find_experiment(client)) is None:
        raise UserError(
            f"MLflow at {hide_credentials(tracking_uri())} has no experiment {_asked_name()!r}:"
            " run `dvc repro` or a sweep first, or set MLFLOW_EXPERIMENT_NAME"
        )
    _require_active(found.experiment_id, found.name, found.lifecycle_stage)
    if file:
        with suppress(sqlite3.Error):  # read-only: the artifacts are looked for where they were
            _follow_store(found, file.parent)
    return Store(client, found.experiment_id)


# The stores in which this process has closed what others left running.
_closed: set[str] = set()


def connect_to_write() -> Store:
    """Open the store to write to it; the first time, close the runs of ended processes."""
    store, uri = connect(), tracking_uri()
    if uri not in _closed:
        store.close_ended()
        _closed.add(uri)
    return store


def require_writable() -> None:
    """Raise what keeps the store from being written, before work begins.

    A SQLite store is looked at without importing MLflow, which takes 2 to 3 s.
    """
    if (file := sqlite_file()) is None:
        connect_to_write()
    elif file.exists() and file.stat().st_size:
        with closing(_begin_writing(file)) as database:
            _check_experiment(database, file)
    else:
        folder = next(parent for parent in file.absolute().parents if parent.exists())
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _check_experiment(database: sqlite3.Connection, file: Path) -> None:
    """Raise StoreError where the experiment cannot be written; one that is missing is made."""
    if not database.execute("PRAGMA table_info(experiments)").fetchall():
        raise StoreError(f"{file} is a database of another program than MLflow", "name another")
    number = _asked_number()
    query = "SELECT experiment_id, name, lifecycle_stage FROM experiments WHERE "
    if number:
        found = database.execute(f"{query} experiment_id = ?", [number]).fetchone()
    else:  # as `_find_experiment`
        renamed = "SELECT experiment_id FROM experiment_tags WHERE key = ? AND value = ?"
        query += f"name = ? OR experiment_id IN ({renamed}) ORDER BY name <> ?, lifecycle_stage"
        name = _asked_name()
        found = database.execute(query, [name, _MADE_AS, name, name]).fetchone()
    if found:
        _require_active(*found)
    elif number:
        raise StoreError(
            f"MLFLOW_EXPERIMENT_ID is {number!r}, which {file} does not have",
            "leave it out, or name an experiment in MLFLOW_EXPERIMENT_NAME",
        )


def restore_experiment() -> str | None:
    """Restore the experiment and its runs if a person has deleted it; return its name then."""
    file = sqlite_file()
    if file and not (file.exists() and file.stat().st_size):
        return None
    client = _create_client(tracking_uri())
    found = _find_experiment(client)
    if found is None or found.lifecycle_stage == "active":
        return None
    client.restore_experiment(found.experiment_id)
    return found.name


def _create_client(uri: str) -> MlflowClient:
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    # A failure is reported in one line; alembic would print each of 50 migrations.
    for name in ("alembic", "urllib3", "mlflow"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(uri)


def _begin_writing(file: Path) -> sqlite3.Connection:
    """Open a SQLite file and lock it; this fails at once where MLflow tries for minutes."""
    database = sqlite3.connect(file, timeout=5, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {version}")  # a read-only file refuses this alone
    except BaseException:
        database.close()
        raise
    return database


# --- The experiment -----------------------------------------------------------------------


def _asked_name() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", "").strip() or EXPERIMENT


def _asked_number() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_ID", "").strip()


def _find_experiment(client: MlflowClient) -> Experiment | None:
    """Find the experiment, deleted or not: the one asked for, or actlab's, even if renamed."""
    if number := _asked_number():
        return client.get_experiment(number)
    name = _asked_name()
    if found := client.get_experiment_by_name(name):
        return found
    from mlflow.entities import ViewType

    renamed = client.search_experiments(ViewType.ALL, filter_string=f"tags.`{_MADE_AS}` = '{name}'")
    return min(renamed, key=lambda found: found.lifecycle_stage, default=None)  # active first


def _require_active(number: object, name: str, stage: str) -> None:
    if stage != "active":
        raise StoreError(
            f"the experiment {name!r} (id {number}) of MLflow at {hide_credentials(tracking_uri())}"
            " has been deleted",
            f"`{SYNC}` restores it with its runs, MLFLOW_EXPERIMENT_NAME=<name> uses another one",
        )


def _require_experiment(client: MlflowClient, folder: Path | None) -> str:
    """Return the experiment's id; a new one keeps its artifacts in a folder, or on the server."""
    from mlflow.exceptions import MlflowException

    if (found := _find_experiment(client)) is None:
        name = _asked_name()
        location = _artifacts(folder, name) if folder else None
        # The second tag opens the UI with charts and runs in place of traces.
        tags = {NOTE: QUESTION, "mlflow.experimentKind": "custom_model_development", _MADE_AS: name}
        try:
            return client.create_experiment(name, location, tags)
        except MlflowException:  # another process was faster
            if (found := _find_experiment(client)) is None:
                raise
    _require_active(found.experiment_id, found.name, found.lifecycle_stage)
    if _MADE_AS not in found.tags:  # by an older version of actlab, or by a person
        client.set_experiment_tag(found.experiment_id, _MADE_AS, found.name)
    if folder:
        _follow_store(found, folder)
    return found.experiment_id


# --- Artifacts ----------------------------------------------------------------------------

#: The columns of a SQLite store that hold places of artifacts.
_PLACES = {
    "experiments": ["artifact_location"],
    "runs": ["artifact_uri"],
    "logged_models": ["artifact_location"],
    "model_versions": ["source", "storage_location"],
}


def _artifacts(folder: Path, name: str) -> str:
    """Return where an experiment keeps its artifacts: below the folder of the store."""
    return (folder / "mlruns" / name).as_uri()


def _follow_store(experiment: Experiment, folder: Path) -> None:
    """Let the places of artifacts follow a SQLite store that was copied or moved with them.

    MLflow records them as absolute paths. One that a person chose is left alone, and so is one
    whose artifacts did not come along.
    """
    if (file := sqlite_file()) is None:
        return
    old = experiment.artifact_location
    name = experiment.tags.get(_MADE_AS, experiment.name)
    new = _artifacts(folder, name)
    own = _artifacts(Path("/"), name).removeprefix("file://")
    if old == new or not (old.startswith("file:///") and old.endswith(own)):
        return
    before, after = (Path(url2pathname(urlparse(place).path)) for place in (old, new))
    if before.is_dir() and not after.is_dir():
        return
    with closing(_begin_writing(file)) as database:
        for table, columns in _PLACES.items():
            for column in columns:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                    f" WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )
        database.execute("COMMIT")
