"""MLflow's store: where it is, what is said when it fails, processes that share it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import Proxy, started_server
from planted_run import plant_run
from published import (
    CONFIG,
    FOLDER,
    NAME,
    WARNINGS,
    client,
    ended_process,
    log_gradients,
    publish_live,
    root,  # noqa: F401
    statuses,
    stored_runs,
    trained,  # noqa: F401
)

from actlab.engine.files import this_machine
from actlab.errors import UserError
from actlab.tracking import address, publish_study, store
from actlab.tracking.publish import LivePublisher
from actlab.tracking.sync import Synced, sync

pytestmark = WARNINGS


@pytest.mark.parametrize("what", ["refused", "no database"])
def test_a_store_that_cannot_be_used_costs_one_line(
    root: Path,  # noqa: F811
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if what == "refused":
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
        said = f"MLflow at http://127.0.0.1:{port} does not answer (Connection refused)"
    else:
        Path("garbage.db").write_bytes(b"garbage" * 1000)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///garbage.db")
        said = f"MLflow at sqlite:///{root}/garbage.db cannot be used (file is not a database)"
    began = time.monotonic()
    assert publish_live().is_lost
    log_gradients()
    publish_study.log_report(CONFIG, Path("reports"))
    assert time.monotonic() - began < 5
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith(said) for line in lines] == [True] * 3
    assert [line.partition("): ")[2].partition(";")[0] for line in lines] == [
        "this training is not logged",
        "the gradients are not logged",
        "the report is not logged",
    ]
    with pytest.raises(UserError) as refused:
        sync(CONFIG, [])
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("uri", "reason", "shown"),
    [
        (
            "http://me:s3cret@host/a?token=s3cret",
            "http://me:s3cret@host/a?token=s3cret/api refuses",
            "MLflow at http://host/a cannot be used (http://host/a refuses)",
        ),
        (
            "postgresql://me:s3/cr%40et@host/runs",
            "no driver for postgresql://me:s3/cr%40et@host/runs, 'me:s3' is no host, nor s3/cr@et",
            "MLflow at postgresql://host/runs cannot be used (no driver for"
            " postgresql://host/runs, 'me:***' is no host, nor ***/***@***)",
        ),
        (
            "https://s3cret@host",
            "Max retries exceeded\nwith https://s3cret@host/api",
            "MLflow at https://host cannot be used (Max retries exceeded with https://host/api)",
        ),
        (
            "https://to/k3n@host?key=an0ther",
            "no host k3n in an0ther",
            "MLflow at https://host cannot be used (no host *** in ***)",
        ),
        (
            "sqlite:////home/me@work/mlflow.db",
            "unable to open",
            "MLflow at sqlite:////home/me@work/mlflow.db cannot be used (unable to open)",
        ),
    ],
    ids=["query", "slash", "token", "token with a slash", "no credentials"],
)
def test_no_credentials_are_shown(
    monkeypatch: pytest.MonkeyPatch, uri: str, reason: str, shown: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    error = RuntimeError("of MLflow")
    error.__cause__ = ValueError(reason)
    assert address.format_store_error(error, "lost", advice=False) == f"{shown}: lost"


def test_a_temporary_experiment_logs_to_the_main_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert address.tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert address.tracking_uri() == f"sqlite:///{tmp_path}/other.db"


def test_runs_are_closed_whose_process_has_ended(root: Path) -> None:  # noqa: F811
    here, ended = this_machine(), ended_process()
    unreaped = subprocess.Popen(["true"])
    while store._started(unreaped.pid):
        time.sleep(0.01)
    tagged = {
        "ended": (f"{here}:{ended}:1", "RUNNING", "FAILED"),
        "unreaped": (f"{here}:{unreaped.pid}:1", "RUNNING", "FAILED"),
        "number reused": (f"{here}:{os.getppid()}:1", "RUNNING", "FAILED"),
        "this process": (store.this_process(), "RUNNING", "RUNNING"),
        "other machine": (f"{here}-2:{ended}:1", "RUNNING", "RUNNING"),
        "finished": (f"{here}:{ended}:1", "FINISHED", "FINISHED"),
        "not ours": ("", "RUNNING", "RUNNING"),
    }
    opened = store.connect()
    for name, (process, status, _) in tagged.items():
        run = opened.create_run(name, {"actlab.process": process})
        if status != "RUNNING":
            opened.client.set_terminated(run, status)
    done = sync(CONFIG, ["train@leaky_relu-mlp", "gradients", "report"])
    assert sorted(done.written) == [
        f"{name}: FAILED, its process has ended" for name in ("ended", "number reused", "unreaped")
    ]
    assert statuses() == {name: after for name, (_, _, after) in tagged.items()}
    unreaped.wait()


# --- A server -----------------------------------------------------------------------------


@pytest.fixture
def server(root: Path) -> Iterator[Proxy]:  # noqa: F811
    """A proxy before MLflow's own server."""
    with started_server(root) as port:
        proxy = Proxy(port)
        yield proxy
        proxy.die()


def test_a_server_killed_in_the_middle_is_said_and_sync_writes_what_is_lost(
    server: Proxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"http://127.0.0.1:{server.port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with LivePublisher(CONFIG, FOLDER) as publisher:
        plant_run(CONFIG, FOLDER, epochs={0: 4})
        publisher.publish()
        server.die()
        began = time.monotonic()
        plant_run(CONFIG, FOLDER)
        publisher.publish()
        lost = time.monotonic() - began
    assert lost < 5
    assert capsys.readouterr().out == (
        f"MLflow at {uri} does not answer (Connection refused): this training"
        " is logged in part only; run `python -m actlab.stages.sync` when it does\n"
    )
    server.live()
    assert statuses() == {NAME: "RUNNING", f"{NAME}/seed-0": "FINISHED"}
    assert sync(CONFIG, []).written == [f"{NAME}: 2 seeds", f"{NAME}: gradients", "report"]
    after = sorted((run.info.run_name, run.info.status) for run in stored_runs())
    names = (NAME, f"{NAME}/seed-0", f"{NAME}/seed-1", "report")
    cut_short = [(NAME, "RUNNING"), (f"{NAME}/seed-0", "FINISHED")]  # this process has not ended
    assert after == sorted([(name, "FINISHED") for name in names] + cut_short)
    assert sync(CONFIG, []) == Synced()


# --- Processes that share a store ---------------------------------------------------------

TOUCH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from planted_run import plant_run
from published import CONFIG, FOLDER
from actlab.results.layout import RunFolder
from actlab.tracking.publish import LivePublisher
folder = RunFolder(Path(sys.argv[2]) / FOLDER.path)
with LivePublisher(CONFIG, folder) as publisher:
    for epoch in range(1, 4):
        plant_run(CONFIG, folder, epochs={0: epoch + (epoch == 3)})
        publisher.publish()
"""


def test_processes_that_first_touch_a_store_at_once_share_it(root: Path) -> None:  # noqa: F811
    tests = Path(__file__).parent
    Path("fresh").mkdir()
    environment = os.environ | {
        "PYTHONPATH": str(tests.parent / "src"),
        "DVC_ROOT": str(root / "fresh"),
    }
    command = [sys.executable, "-c", TOUCH, str(tests)]
    processes = [
        subprocess.Popen(
            [*command, f"of-{number}"], env=environment, stdout=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    assert [process.communicate()[0] for process in processes] == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4
    os.chdir("fresh")
    runs = [run for run in stored_runs() if "actlab.seed" in run.data.tags]
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    for run in runs:
        assert len(client().get_metric_history(run.info.run_id, "loss")) == 3


def test_a_store_whose_making_was_killed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
        "DVC_ROOT": str(tmp_path),
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    code = "from actlab.tracking import store; store.connect()"
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    half_made = lambda: [  # noqa: E731
        path for path in tmp_path.rglob(".mlflow.db.*/mlflow.db") if path.stat().st_size > 0
    ]
    while not half_made() and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert store.connect().search("FINISHED", {}) == []
