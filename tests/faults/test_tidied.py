"""What people do to MLflow's store: delete, rename, edit, copy, move it, or name another one."""

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow.entities import Metric
from planted_run import plant_run
from published import (
    CONFIG,
    FOLDER,
    NAME,
    WARNINGS,
    client,
    logged_once,  # noqa: F401
    publish_live,
    root,  # noqa: F401
    run_named,
    statuses,
    stored_runs,
    trained,  # noqa: F401
)

from actlab.engine import files
from actlab.engine.launches import record_launch
from actlab.errors import UserError
from actlab.stages.jobs import train_once
from actlab.tracking import address, notes, publish, reading, serving, store, ui
from actlab.tracking.address import StoreError, format_store_error
from actlab.tracking.sync import sync

pytestmark = WARNINGS

RESTORE = (
    "`python -m actlab.stages.sync` restores it with its runs, MLFLOW_EXPERIMENT_NAME=<name> uses"
    " another one"
)


@pytest.fixture
def logged(logged_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A copy of it, in a path with what people have in paths, as the current folder."""
    folder = tmp_path / "mein Ordner, 100% été #1"
    shutil.copytree(logged_once, folder)
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return folder


def experiment() -> Any:
    return client().get_experiment(store.connect_to_read().experiment)


# --- Deleted in the UI --------------------------------------------------------------------


def test_a_deleted_experiment_is_reported_before_work_and_restored_by_sync(
    logged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client().delete_experiment("1")
    line = f"the experiment 'actlab' (id 1) of MLflow at {address.tracking_uri()} has been deleted:"
    with publish.LivePublisher(CONFIG, FOLDER) as publisher:
        at_start = capsys.readouterr().out
        assert at_start == f"{line} this training is not logged; {RESTORE}\n"
        publisher.publish()
    assert publisher.is_lost
    assert capsys.readouterr().out == ""

    def refuse(*given: Any) -> None:
        pytest.fail("it trains")

    with pytest.raises(UserError, match=re.escape(f"{line} nothing is trained; {RESTORE}")):
        train_once(refuse, CONFIG, "job 1")
    for read, loss in (
        (lambda: reading.find_runs(None, ""), "nothing is compared"),
        (lambda: serving.find(None, "mnist"), "no model is served"),
        (lambda: ui.show(5000), "no runs are shown"),
    ):
        with pytest.raises(UserError, match=re.escape(f"{line} {loss}; {RESTORE}")):
            read()

    written = sync(CONFIG, []).written
    assert written == ["experiment actlab: restored with its runs, it had been deleted"]
    assert set(statuses()) == {NAME, f"{NAME}/seed-0", f"{NAME}/seed-1", "report"}
    assert sync(CONFIG, []).written == []

    client().delete_experiment("1")  # or it is left as it is
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "fresh")
    assert not publish_live().is_lost
    assert capsys.readouterr().out == ""
    assert experiment().name == "fresh"


def test_a_deleted_run_is_logged_again_and_not_taken_for_finished(logged: Path) -> None:
    parent = run_named(NAME)
    fingerprint = parent.data.tags["actlab.fingerprint"]
    assert store.connect().find_finished(fingerprint)
    client().delete_run(parent.info.run_id)  # its seeds stay
    assert store.connect().find_finished(fingerprint) is None
    assert sync(CONFIG, []).written == [f"{NAME}: 2 seeds", f"{NAME}: gradients"]
    assert sync(CONFIG, []).written == []
    again = run_named(NAME).info.run_id
    children = {run.data.tags.get("mlflow.parentRunId") for run in stored_runs()}
    assert children == {None, parent.info.run_id, again}


@pytest.mark.parametrize("what", ["model", "version", "aliases", "logged model"])
def test_what_is_deleted_from_the_registry_is_registered_again(logged: Path, what: str) -> None:
    registered = "actlab-mnist"
    best = client().get_model_version_by_alias(registered, "best")
    if what == "model":
        client().delete_registered_model(registered)
    elif what == "version":
        client().delete_model_version(registered, best.version)
    elif what == "aliases":
        for alias in ("best", "leaky_relu-mlp"):
            client().delete_registered_model_alias(registered, alias)
    else:
        client().delete_registered_model(registered)
        client().delete_logged_model(best.source.removeprefix("models:/"))
    done = sync(CONFIG, [])
    assert (done.written, done.left_out) == ([], [])
    aliases = client().get_registered_model(registered).aliases if what != "logged model" else {}
    assert set(aliases) == ({"best", "leaky_relu-mlp"} if aliases else set())


def test_a_renamed_experiment_stays_the_one_that_is_used(logged: Path) -> None:
    parent = run_named(NAME).info.run_id
    client().rename_experiment("1", "activation functions, autumn")
    assert sync(CONFIG, []).written == []
    assert experiment().name == "activation functions, autumn"
    assert reading.find_runs(None, "").parents["run"].tolist() == [parent]
    assert len(client().search_experiments()) == 2  # with MLflow's own, Default


def test_a_renamed_experiment_that_is_deleted_is_reported_and_restored(logged: Path) -> None:
    client().rename_experiment("1", "autumn")
    client().delete_experiment("1")
    for use in (store.require_writable, store.connect):
        with pytest.raises(StoreError, match=r"the experiment 'autumn' \(id 1\) of MLflow"):
            use()
    assert store.restore_experiment() == "autumn"
    assert len(client().search_experiments()) == 2


def test_what_a_person_wrote_is_kept(logged: Path) -> None:
    parent = run_named(NAME).info.run_id
    client().set_tag(parent, "mine", "yes")
    client().set_experiment_tag("1", "mlflow.note.content", "Mine.")
    client().set_registered_model_tag("actlab-mnist", "mine", "yes")
    client().update_registered_model("actlab-mnist", "Mine.")
    sync(CONFIG, [])
    assert client().get_run(parent).data.tags["mine"] == "yes"
    assert experiment().tags["mlflow.note.content"] == "Mine."
    model = client().get_registered_model("actlab-mnist")
    assert (model.tags["mine"], model.description) == ("yes", "Mine.")


def test_artifacts_deleted_by_hand_are_named(logged: Path) -> None:
    parent = run_named(NAME).info.run_id
    shutil.rmtree(logged / "mlruns/actlab" / parent)
    said = rf"^test.csv of the run {NAME} \({parent}\) is missing from file://.*: delete that run"
    with pytest.raises(UserError, match=said):
        reading.find_runs(None, "")


# --- Another store than meant -------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:///../other.db", "other.db"),
        ("sqlite:///~/m.db", "home/m.db"),
        (" sqlite:///mine.db ", "work/mine.db"),
        ("sqlite:///name with spaces.db", "work/name with spaces.db"),
        ("sqlite:///deeper/./../mine.db", "work/mine.db"),
        ("", "work/mlflow.db"),
        (" ", "work/mlflow.db"),
    ],
)
def test_one_function_decides_which_file_every_command_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, file: str
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert address.tracking_uri() == f"sqlite:///{tmp_path}/{file}"
    assert address.sqlite_file() == tmp_path / file


@pytest.mark.parametrize(
    "uri",
    [
        *("file:///runs", "./mlruns", "/abs/mlflow.db", "mlflow.db", "foo://x", "sqlite://x.db"),
        *("sqlite:mlflow.db", "sqlite:///:memory:", "sqlite:///", "localhost:5000"),
    ],
)
def test_an_address_where_mlflow_keeps_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with publish.LivePublisher(CONFIG, FOLDER):
        pass
    assert capsys.readouterr().out == (
        f"MLFLOW_TRACKING_URI is {uri!r}, where MLflow cannot keep runs: this training is not"
        " logged; set it to sqlite:///<file>, to a server's http://<host>:<port> or to a"
        " database's address\n"
    )
    with pytest.raises(UserError, match="cannot keep runs: nothing is compared; set it to"):
        reading.find_runs(None, "")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("folder", r"^MLflow's store \S+ is a folder: lost; name a file: sqlite:///"),
        ("another program's", r"is a database of another program than MLflow: lost; name another"),
        ("garbage", r"\(file is not a database\): lost; run"),
    ],
)
def test_a_path_that_holds_something_else_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, said: str
) -> None:
    path = tmp_path / "mine"
    if what == "folder":
        path.mkdir()
    elif what == "garbage":
        path.write_bytes(b"garbage" * 1000)
    else:
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE accounts (number)")
    before = b"" if path.is_dir() else path.read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    for refused in (store.require_writable, store.connect):
        with pytest.raises((StoreError, sqlite3.Error)) as error:
            refused()
        assert re.search(said, format_store_error(error.value, "lost"))
    assert before == (b"" if path.is_dir() else path.read_bytes())


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("451aebb31d03", r"was made by an older version than 3[^:]*: lost; back it up, then run"),
        ("f00f00f00f00", r"was made by a newer version than 3[^:]*: lost; use that version, or"),
    ],
)
def test_the_schema_of_another_version_is_explained(logged: Path, revision: str, said: str) -> None:
    with closing(sqlite3.connect("mlflow.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        database.commit()
    shutil.copy("mlflow.db", "old.db")  # MLflow keeps what it knows of a store
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "sqlite:///old.db")
        with pytest.raises(Exception, match="out-of-date") as error:
            store.connect()
        line = format_store_error(error.value, "lost")
    assert re.search(said, line)
    assert ("mlflow db upgrade 'sqlite:///" in line) == ("older" in line)


def test_the_experiment_asked_for_by_name_or_number_is_used(
    logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    with pytest.raises(UserError, match=r"has no experiment 'mine': run `dvc repro` or a sweep"):
        reading.find_runs(None, "")
    assert sync(CONFIG, []).written == [f"{NAME}: 2 seeds", f"{NAME}: gradients", "report"]
    assert experiment().name == "mine"
    number = experiment().experiment_id
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    assert sync(CONFIG, []).written == []
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", number)
    assert experiment().name == "mine"
    for absent in ("77", "mine"):
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", absent)
        with pytest.raises(StoreError, match=f"^MLFLOW_EXPERIMENT_ID is '{absent}', which .* does"):
            store.require_writable()


# --- Copied and moved ---------------------------------------------------------------------


def test_the_artifacts_of_a_copied_or_moved_store_follow_it(
    logged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def list_of(folder: Path) -> list[Path]:
        return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())

    store.connect()  # `logged` is a copy itself
    assert experiment().artifact_location == (logged / "mlruns/actlab").as_uri()
    copy = tmp_path / "copy"
    shutil.copytree(logged, copy)
    before = list_of(logged)
    monkeypatch.chdir(copy)
    assert len(reading.find_runs(None, "").history) == 6
    plant_run(CONFIG, FOLDER, began=100, fingerprint="new")
    with monkeypatch.context() as patch:
        patch.setattr(store.Store, "find_complete", lambda *_: None)
        assert not publish_live().is_lost
    assert list_of(logged) == before
    assert len(list_of(copy / "mlruns")) > len(list_of(logged / "mlruns"))
    (model,) = client().get_registered_model("actlab-mnist").latest_versions
    assert Path(client().get_model_version_download_uri("actlab-mnist", model.version))

    shutil.move(copy, tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    places = {str(run.info.artifact_uri) for run in store.connect_to_read().search("FINISHED", {})}
    places |= {str(model.artifact_location) for model in client().search_logged_models(["1"])}
    moved = (tmp_path / "moved/mlruns/actlab").as_uri()
    assert all(place.startswith(moved) for place in places)
    assert not copy.exists()


@pytest.mark.parametrize("chosen", ["s3://bucket/runs", "file:///chosen/runs"])
def test_a_place_of_artifacts_that_a_person_chose_stays(logged: Path, chosen: str) -> None:
    with closing(sqlite3.connect("mlflow.db")) as database:
        database.execute("UPDATE experiments SET artifact_location = ?", (chosen,))
        database.commit()
    store.connect()
    assert experiment().artifact_location == chosen


def test_artifacts_that_did_not_come_along_stay_where_they_are(
    logged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.connect()
    (tmp_path / "alone").mkdir()
    shutil.copy("mlflow.db", tmp_path / "alone")
    monkeypatch.chdir(tmp_path / "alone")
    assert len(reading.find_runs(None, "").history) == 6
    assert experiment().artifact_location == (logged / "mlruns/actlab").as_uri()


# --- Two machines -------------------------------------------------------------------------


def test_machines_made_from_one_image_leave_each_others_runs_and_files(
    logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boots = ["2c6bd5cd-ffff", "77aa1e02-ffff"]
    machines = []
    real = Path.read_text

    def read(path: Path, *given: Any, **named: Any) -> str:
        return boots[0] if path.name == "boot_id" else real(path, *given, **named)

    monkeypatch.setattr(Path, "read_text", read)
    for boot in boots:
        boots[0] = boot
        machines.append(files.this_machine.__wrapped__())
    assert len(set(machines)) == 2

    day = 24 * 3600 * 1000
    opened = store.connect()
    now = int(1000 * time.time())
    for number, name in enumerate(("live", "a day old", "a day old, and still training")):
        tag = {"actlab.process": f"{machines[0]}:{2**22}:{number}"}
        run = opened.create_run(name, tag, now - (day + 1000 if "old" in name else 0))
        if "training" in name:  # its parent logs nothing before the end
            opened.create_run("its seed", tag, now - day - 500)
            opened.write(run, [Metric("loss", 1.0, now, 1)])
    assert opened.close_ended() == ["a day old"]
    running = ("live", "a day old, and still training", "its seed")
    assert {statuses()[name] for name in running} == {"RUNNING"}


# --- What a comparison notes --------------------------------------------------------------


def test_a_failed_attempt_is_noted_until_it_is_made_good(
    logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "log_model", lambda *_: (None, 100))
    opened = store.connect()
    record_launch(opened, "mine", ["activation"], None, "grid")

    def job(name: str) -> Any:
        activation = replace(CONFIG.activation, name=name)
        paths = replace(CONFIG.paths, output=f"multirun/{name}")
        return replace(CONFIG, activation=activation, sweep="mine.launch1", paths=paths)

    def finish(name: str, fingerprint: str) -> None:
        plant_run(job(name), FOLDER, fingerprint=fingerprint)
        publish_live(job(name))

    finish("one", "1")
    for attempt in range(2):  # refused, and refused again: one line
        publish.record_failure(opened, job("two"), f"2{attempt}", "no gradient")
    assert reading.find_runs("mine", "").unfinished == ["two/mlp (failed)"]
    finish("two", "22")  # its function was corrected: another fingerprint
    assert reading.find_runs("mine", "").unfinished == []
    publish.record_failure(opened, job("three"), "3", "no gradient")
    assert reading.find_runs("mine", "").unfinished == ["three/mlp (failed)"]
    record_launch(opened, "mine", ["activation"], None, "a grid without it")
    store.connect().write(run_named("one/mlp").info.run_id, tags={"sweep.mine.launch2": "yes"})
    assert reading.find_runs("mine", "").unfinished == []


# --- The UI -------------------------------------------------------------------------------


def test_the_address_of_the_ui_is_that_of_the_experiment(
    logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ui.compose_path(store.connect_to_read()) == notes.view_link("1", "configurations")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    store.connect()
    opened = store.connect_to_read()
    assert opened.experiment != "1"
    assert ui.compose_path(opened) == (
        f"#/experiments/{opened.experiment}/runs?workflowType=machine_learning"
    )


def test_the_ui_says_why_it_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///none.db")
    with pytest.raises(UserError, match=r"none.db is not there: run `dvc repro` or a sweep"):
        ui.show(5000)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^port {port} cannot .*: PORT={port + 1} make ui"):
            serving.require_free(port, "ui")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_ui_prints_its_address_once_it_answers_and_leaves_no_process(
    logged: Path, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "actlab.tracking.ui", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": str(Path(ui.__file__).parents[2])},
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        line, shown = process.stdout.readline(), f"http://127.0.0.1:{port}/"
        assert line == f"The runs: {shown}{notes.view_link('1', 'configurations')}\n"
        with urllib.request.urlopen(shown, timeout=30) as answer:
            assert answer.status == 200
        begun = psutil.Process(process.pid).children(recursive=True)
        opened = [each for child in begun for each in child.net_connections()]
        assert {each.laddr.ip for each in opened if each.status == "LISTEN"} == {"127.0.0.1"}
        process.send_signal(number)
        process.wait()
        assert process.stdout.read() == "Ctrl-C ends it\n"
    _, alive = psutil.wait_procs(begun, timeout=5)
    assert not alive
