"""MLflow's store: where it is, what is written and found in it, how failures are reported.

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
`actlab.process`            machine:pid:start of the process that writes the run
==========================  ==================================================================

A run is set to FINISHED after everything else has been written. Runs that a killed process left
RUNNING are set to FAILED by the next process on that machine that writes to the store.
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

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
else:  # importing mlflow takes seconds
    MlflowClient = Metric = Run = Any

#: The experiment that holds every run.
EXPERIMENT = "actlab"

#: Begins the experiment's description; one that begins otherwise was written by a person.
QUESTION = "What the choice of activation function does to a network."

#: A configuration's metric that a sweep selects by: its mean validation accuracy over seeds.
OBJECTIVE = "objective"

#: The tag that MLflow shows as a run's description.
NOTE = "mlflow.note.content"

#: The tag with the digest of a seed's final weights, or over all seeds of a configuration.
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
    """Compute the SHA-256 of some bytes, one after the other."""
    return hashlib.sha256(b"".join(parts)).hexdigest()


def digest_of_seeds(digests: Mapping[int, str]) -> str:
    """Compute the SHA-256 over the digests of all seeds."""
    return sha256(*(f"{seed}:{digests[seed]}\n".encode() for seed in sorted(digests)))


# --- Where the store is, and how its failures are reported --------------------------------


def _root() -> Path:
    """Return the root of the main checkout: DVC's temporary experiments name it in DVC_ROOT."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or mlflow.db; a relative SQLite file counts from the root."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    if not uri.startswith(_SQLITE):
        return uri
    return f"{_SQLITE}{_root() / uri.removeprefix(_SQLITE)}"


def hide_credentials(text: str) -> str:
    """Remove the credentials from the URLs in a text.

    >>> hide_credentials("no driver for postgresql://me:secret@host/mlflow?password=secret")
    'no driver for postgresql://host/mlflow'
    """
    text = re.sub(r"(?<=://)(?!/)\S*@", "", text)
    return re.sub(r"(://[^\s?]*)\?[^\s'\")]*", r"\1", text)


def _find_secrets(uri: str) -> list[str]:
    """Find the pieces of a URI's password, or token, and of the values in its query.

    What parses a URL cuts a password at a slash, and may quote a piece of it.
    """
    if uri.startswith(_SQLITE):
        return []
    user, _, password = (re.findall(r"://(\S*)@", uri) or [""])[0].partition(":")
    secrets = [password or user, *re.findall(r"[?&][^=&]*=([^&]*)", uri)]
    pieces = [re.split("[/?#@:]", f"{secret}/{unquote(secret)}") for secret in secrets]
    return [piece for found in pieces for piece in found if piece]


def format_store_error(error: BaseException, loss: str, advice: bool = True) -> str:
    """Write one line: which store failed, why, what is lost and, with `advice`, what to do.

    The reason is the error's first cause, without credentials.
    """
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    reason = " ".join(hide_credentials(words).split())
    for piece in _find_secrets(tracking_uri()):
        reason = reason.replace(piece, "***")
    silent = isinstance(error, ConnectionError | TimeoutError | socket.gaierror)
    failure, when = ("does not answer", "does") if silent else ("cannot be written", "can")
    line = f"MLflow at {hide_credentials(tracking_uri())} {failure} ({reason[:200]}): {loss}"
    return f"{line}; run `python -m actlab.stages.sync` when it {when}" if advice else line


@contextmanager
def warn_on_failure(loss: str, advice: bool = True) -> Iterator[None]:
    """Report an error of the store in the block in one line, and go on after the block.

    MLflow lets through whatever its server, its database and the disk raise. A `UserError` is not
    the store's, and is raised.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        tqdm.write(format_store_error(error, loss, advice))  # leaves a progress bar intact


# --- The store ----------------------------------------------------------------------------


def sweep_tags(sweep: str | None) -> dict[str, str]:
    """Return the tags of the configurations of a sweep.

    >>> sweep_tags("depth.launch1")
    {'sweep.depth': 'yes', 'sweep.depth.launch1': 'yes'}
    """
    parts = sweep.split(".") if sweep else []
    return {f"sweep.{'.'.join(parts[: place + 1])}": "yes" for place in range(len(parts))}


class Finished(NamedTuple):
    """A finished configuration: its run, outcome (trained or diverged) and objective, if any."""

    run: str
    outcome: str
    objective: float | None


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
            return Finished(run.info.run_id, outcome, run.data.metrics.get(OBJECTIVE))
        return None

    def close_ended(self, fingerprint: str | None = None) -> list[str]:
        """Set the running runs whose process has ended to FAILED; return their names.

        Processes of other machines cannot be seen: their runs are closed only with a fingerprint,
        whose lock this process holds.
        """
        closed = []
        tags = {"actlab.fingerprint": fingerprint} if fingerprint else {}
        for run in self.search("RUNNING", tags):
            process = run.data.tags.get("actlab.process", "")
            is_here = process.startswith(f"{this_machine()}:")
            if not (is_here or fingerprint) or (is_here and _is_running(process)):
                continue
            # It may have finished its run after the search, before it ended.
            if self.client.get_run(run.info.run_id).info.status == "RUNNING":
                self.client.set_terminated(run.info.run_id, "FAILED")
                closed.append(run.info.run_name)
        return closed


def this_process() -> str:
    """Return the tag `actlab.process` of this process."""
    return f"{this_machine()}:{os.getpid()}:{_started(os.getpid())}"


def _is_running(process: str) -> bool:
    """Tell whether a process of this machine is running, and its number is not another's by now."""
    _, number, started = process.split(":")
    return is_alive(int(number)) and _started(int(number)) == started


def _started(process: int) -> str:
    """Return when a process began, in clock ticks; empty where it has ended or /proc is missing."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name before them, in parentheses, may hold spaces and parentheses.
    state, *rest = status.rpartition(")")[2].split()
    return "" if state in ("Z", "X") else rest[18]


def connect() -> Store:
    """Open the store at `tracking_uri`; create it and the experiment if they are missing.

    Raises whatever MLflow, its database, its server or the disk raise; see `format_store_error`.
    """
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    # A failure is reported in one line; alembic would print each of 50 migrations.
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


# The stores in which this process has closed what others left running.
_closed: set[str] = set()


def connect_to_write() -> Store:
    """Open the store to write to it; the first time, close the runs of ended processes."""
    store, uri = connect(), tracking_uri()
    if uri not in _closed:
        store.close_ended()
        _closed.add(uri)
    return store


def _find_experiment(client: MlflowClient, folder: Path | None) -> str:
    """Return the experiment's id; a new one keeps its artifacts in a folder, or on the server."""
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(EXPERIMENT)) is None:
        location = (folder / "mlruns" / EXPERIMENT).as_uri() if folder else None
        # The second tag opens the UI with charts and runs in place of traces.
        tags = {NOTE: QUESTION, "mlflow.experimentKind": "custom_model_development"}
        try:
            return client.create_experiment(EXPERIMENT, location, tags)
        except MlflowException:  # another process was faster
            if (found := client.get_experiment_by_name(EXPERIMENT)) is None:
                raise
    return found.experiment_id
