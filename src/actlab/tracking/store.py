"""MLflow's store: where it is, what is found in it, who writes to it, what is said when it fails.

A configuration (activation, network) is a parent run `relu/mlp` with a child run per seed,
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

A run is set to FINISHED after everything else of it is written. What a killed process left running
is set to FAILED by the next that writes to the store from the same machine.
"""

import getpass
import hashlib
import logging
import os
import re
import socket
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from tqdm import tqdm

from actlab.engine.files import atomic_write, is_alive, this_machine
from actlab.errors import UserError
from actlab.schema import Config
from actlab.tracking import notes

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
else:  # importing mlflow takes seconds
    MlflowClient = Metric = Run = Any

#: The experiment that holds every run.
EXPERIMENT = "actlab"

#: A configuration's metric that a sweep selects by: its mean validation accuracy over seeds.
OBJECTIVE = "objective"

#: The tag of a run's description on MLflow's page.
NOTE = "mlflow.note.content"

#: The tag of the SHA-256 of a seed's final weights, or over all seeds of a configuration.
WEIGHTS = "actlab.weights_sha256"

_SQLITE = "sqlite:///"

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
    """Give the SHA-256 of some bytes, one after the other."""
    return hashlib.sha256(b"".join(parts)).hexdigest()


def digest_of_seeds(digests: Mapping[int, str]) -> str:
    """Give the SHA-256 over seeds of those of their weights."""
    return sha256(*(f"{seed}:{digests[seed]}\n".encode() for seed in sorted(digests)))


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


def hide_credentials(text: str) -> str:
    """Give a text without the credentials of the URLs in it.

    >>> hide_credentials("no driver for postgresql://me:secret@host/mlflow?password=secret")
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
    """Say in one line which store failed, why, what is lost and, with `advice`, what to do.

    The reason is the error's first cause, without credentials.
    """
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    reason = " ".join(hide_credentials(words).split())
    # What parses a URL cuts a password at a slash, and tells the piece.
    for secret in _secrets(tracking_uri()):
        for piece in re.split("[/?#@:]", f"{secret}/{unquote(secret)}"):
            reason = reason.replace(piece, "***") if piece else reason
    silent = isinstance(error, ConnectionError | TimeoutError | socket.gaierror)
    failure, when = ("does not answer", "does") if silent else ("cannot be written", "can")
    line = f"MLflow at {hide_credentials(tracking_uri())} {failure} ({reason[:200]}): {loss}"
    return f"{line}; run `python -m actlab.stages.sync` when it {when}" if advice else line


@contextmanager
def warn_on_failure(loss: str, advice: bool = True) -> Iterator[None]:
    """Leave the block where it raises, and print the line of `format_store_error`.

    MLflow lets through what its server, its database and the disk raise, each its own: none of it
    is worth what was computed. A `UserError` is not the store's.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        tqdm.write(format_store_error(error, loss, advice))  # leaves a progress bar whole


# --- The store ----------------------------------------------------------------------------


def sweep_tags(sweep: str | None) -> dict[str, str]:
    """Give the tags of the configurations of a sweep.

    >>> sweep_tags("depth.launch1")
    {'sweep.depth': 'yes', 'sweep.depth.launch1': 'yes'}
    """
    parts = sweep.split(".") if sweep else []
    return {f"sweep.{'.'.join(parts[: place + 1])}": "yes" for place in range(len(parts))}


class Finished(NamedTuple):
    """A finished configuration: its run, its outcome (trained or diverged), what it reached.

    The objective is None where no validation images were held out.
    """

    run: str
    outcome: str
    objective: float | None


def source_of(config: Config) -> str:
    """Tell what trains a configuration: dvc, a stage of the pipeline, or sweep, a job of one."""
    return "dvc" if config.paths.output == "." else "sweep"


def name_tags(config: Config) -> dict[str, str]:
    """Give the tags by which the runs of a configuration are found, other than its kind."""
    return {
        "actlab.source": source_of(config),
        "actlab.activation": config.activation.name,
        "actlab.network": config.network.name,
    }


@dataclass
class Store:
    """An open MLflow store, and the experiment in it. Its methods raise what MLflow raises."""

    client: MlflowClient
    experiment: str

    def create_run(self, name: str, tags: Mapping[str, str], start_time: int | None = None) -> str:
        """Give the id of a new run, which is RUNNING since a time in milliseconds, or now."""
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
        run = self.client.create_run(self.experiment, start_time, tags, name)
        return run.info.run_id

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
        self, config: Config, weights: Mapping[int, Path], fingerprint: str | None = None
    ) -> tuple[Run, dict[int, Run]] | None:
        """Give the newest whole training that ended in these files: its parent, its seeds' runs.

        Whole is a finished parent with a finished run below it for each seed. With a fingerprint,
        it is the training of that alone: others may end in the same weights.
        """
        digests = {seed: sha256(path.read_bytes()) for seed, path in weights.items()}
        tags = name_tags(config) | {WEIGHTS: digest_of_seeds(digests)}
        tags |= {"actlab.kind": "configuration"}
        tags |= {"actlab.fingerprint": fingerprint} if fingerprint else {}
        for parent in self.search("FINISHED", tags):
            below = {"actlab.kind": "seed", "mlflow.parentRunId": parent.info.run_id}
            runs = {
                int(run.data.tags["actlab.seed"]): run for run in self.search("FINISHED", below)
            }
            if {seed: run.data.tags.get(WEIGHTS) for seed, run in runs.items()} == digests:
                return parent, runs
        return None

    def find_finished(self, fingerprint: str) -> Finished | None:
        """Give the newest finished configuration of a fingerprint."""
        tags = {"actlab.kind": "configuration", "actlab.fingerprint": fingerprint}
        for run in self.search("FINISHED", tags, at_most=1):
            outcome = run.data.tags["actlab.outcome"]
            return Finished(run.info.run_id, outcome, run.data.metrics.get(OBJECTIVE))
        return None

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


def this_process() -> str:
    """Give the tag `actlab.process` of this process."""
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


def connect_to_write() -> Store:
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
            NOTE: notes.QUESTION,
            "mlflow.experimentKind": "custom_model_development",
        }
        try:
            return client.create_experiment(EXPERIMENT, location, tags)
        except MlflowException:  # another process was faster
            if (found := client.get_experiment_by_name(EXPERIMENT)) is None:
                raise
    return found.experiment_id
