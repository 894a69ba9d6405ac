import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actlab import tables, tracking
from actlab.config import (
    ActivationConfig,
    Config,
    DataConfig,
    GradientsConfig,
    ModelConfig,
    NetworkConfig,
    PathsConfig,
    ReportConfig,
    TrainingConfig,
)
from actlab.errors import UserError

pytestmark = [
    # MLflow and what it brings warn of their own future.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    # Connections that MLflow keeps in its pool.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SEEDS, EPOCHS = [0, 1], 3

CONFIG = Config(
    data=DataConfig("mnist", 0, 0),
    activations=["leaky_relu"],
    networks=["mlp"],
    seeds=SEEDS,
    model=ModelConfig("glorot_uniform"),
    training=TrainingConfig(EPOCHS, 128, 0.001, [0, 1]),
    gradients=GradientsConfig(32, 2048),
    report=ReportConfig(0.95),
    activation=ActivationConfig("leaky_relu", "leaky_relu", {"negative_slope": 0.25}),
    network=NetworkConfig("mlp", [4]),
    paths=PathsConfig(
        None, "data/raw", "data/processed", ".", "models", "results", "timings", "reports"
    ),
)
NAME = "leaky_relu/mlp"
MODELS, RESULTS = Path("models/leaky_relu-mlp"), Path("results/leaky_relu-mlp")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the outputs of a training, of gradients and report, and with an empty store."""
    from actlab.model import ModelSpec, build_model, describe_layers, weights_path

    root = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    spec = ModelSpec(CONFIG.activation, CONFIG.network, "glorot_uniform")
    model = build_model(spec, 0)
    for seed, epoch in product(SEEDS, CONFIG.training.kept_epochs()):
        path = weights_path(root / MODELS, seed, epoch)
        path.parent.mkdir(parents=True, exist_ok=True)
        build_model(spec, seed).save_weights(path)
    last = weights_path(root / MODELS, 1, EPOCHS)
    assert tracking._final_weights(root / MODELS, 1, CONFIG) == last
    spec.save(root / MODELS / "model.json")
    steps = [(seed, epoch) for seed in SEEDS for epoch in range(1, EPOCHS + 1)]
    for rows, columns, path in (
        ([(*step, *rng.random(4)) for step in steps], tables.HISTORY, RESULTS / "history.csv"),
        ([(seed, *rng.random(2)) for seed in SEEDS], tables.TEST, RESULTS / "test.csv"),
        (describe_layers(model, spec), tables.LAYERS, RESULTS / "layers.csv"),
        (
            [(*step, rng.random(), 1.5 + step[0], 2) for step in steps],
            tables.TIMINGS,
            Path("timings/leaky_relu-mlp.csv"),
        ),
        (
            [
                ("leaky_relu", "mlp", seed, epoch, layer, "notebook", "mean_abs", rng.random())
                for seed in SEEDS
                for epoch in CONFIG.training.kept_epochs()
                for layer in ("hidden_1", "output")
            ],
            tables.GRADIENTS,
            Path("results/gradients.csv"),
        ),
    ):
        tables.write_table(rows, columns, root / path)
    for folder in ("data/processed", "reports/figures"):
        (root / folder).mkdir(parents=True)
    images = rng.random((3, 784), dtype=np.float32)
    np.save(root / "data/processed/test_images.npy", images)
    for name in ("report.md", "summary.csv", "figures/curves.svg"):
        (root / "reports" / name).write_text(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("DVC_ROOT", str(root))
        tracking._connect()
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `trained` as the current folder; to MLflow, a store that was moved."""
    shutil.copytree(trained, tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path / "moved"


def log_live(run: tracking.ConfigurationRun, seeds: list[int] = SEEDS, whole: bool = True) -> None:
    """Make the calls of the train stage, with what `trained` holds."""
    history = tables.read_table(RESULTS / "history.csv", tables.HISTORY)
    timings = tables.read_table(Path("timings/leaky_relu-mlp.csv"), tables.TIMINGS)
    test = tables.read_table(RESULTS / "test.csv", tables.TEST).set_index("seed")
    rows = history.merge(timings).to_dict(orient="records")
    for row in rows:
        if row["seed"] in seeds:
            names = (*tracking.CURVES, "epoch_seconds")
            run.log_epoch(row["seed"], row["epoch"], {name: row[name] for name in names})
            run.flush()
    for seed in seeds:
        metrics = test.loc[seed].to_dict() | {"compile_seconds": 1.5 + seed}
        weights = MODELS / f"seed-{seed}" / f"epoch-{EPOCHS:03d}.weights.h5"
        run.finish_seed(seed, metrics, weights)
    if whole:
        run.finish(MODELS, RESULTS)


def log_all() -> None:
    """Log a training, its gradients and its report, as the stages do."""
    with tracking.open_configuration(CONFIG, "dvc") as run:
        log_live(run)
    table = tables.read_table(Path("results/gradients.csv"), tables.GRADIENTS)
    tracking.log_gradients(CONFIG, table)
    tracking.log_report(CONFIG, Path("reports"))


def client() -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking.tracking_uri())


def stored_runs() -> list[Any]:
    """Every run that is not deleted, the newest first."""
    experiment = client().get_experiment_by_name("actlab")
    return list(client().search_runs([experiment.experiment_id]))


def statuses() -> dict[str, str]:
    return {run.info.run_name: run.info.status for run in stored_runs()}


def artifacts(run: str, folder: str | None = None) -> list[str]:
    found = []
    for entry in client().list_artifacts(run, folder):
        found += artifacts(run, entry.path) if entry.is_dir else [entry.path]
    return sorted(found)


def content() -> dict[str, Any]:
    """All that the store holds but ids and times, by the names of the runs."""
    names = {run.info.run_id: run.info.run_name for run in stored_runs()}
    assert len(set(names.values())) == len(names)
    held: dict[str, Any] = {}
    for run in stored_runs():
        tags = dict(run.data.tags)
        del tags["actlab.process"]
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = names[tags["mlflow.parentRunId"]]
        models = [client().get_logged_model(out.model_id) for out in run.outputs.model_outputs]
        held[run.info.run_name] = {
            "status": run.info.status,
            "params": run.data.params,
            "tags": tags,
            "metrics": {
                name: sorted(
                    (metric.step, metric.value)
                    for metric in client().get_metric_history(run.info.run_id, name)
                )
                for name in run.data.metrics
            },
            "artifacts": artifacts(run.info.run_id),
            "datasets": [str(given.dataset) for given in run.inputs.dataset_inputs],
            "models": [
                (model.name, model.params, {each.key: each.value for each in model.metrics})
                for model in models
            ],
        }
    return held


def test_a_live_training_is_all_there_and_sync_changes_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_all()
    live = content()
    history = tables.read_table(RESULTS / "history.csv", tables.HISTORY)

    parent, child = live[NAME], live[f"{NAME}/seed-1"]
    assert {run["status"] for run in live.values()} == {"FINISHED"}
    assert set(live) == {NAME, f"{NAME}/seed-0", f"{NAME}/seed-1", "report"}
    ours = history[history["seed"] == 1]
    for name in tracking.CURVES:
        assert child["metrics"][name] == list(zip(ours["epoch"], ours[name], strict=True))
        means = history[name].to_numpy().reshape(len(SEEDS), EPOCHS).mean(axis=0)
        logged = [value for _, value in parent["metrics"][f"{name}_mean"]]
        np.testing.assert_allclose(logged, means)
    assert child["tags"]["mlflow.parentRunId"] == NAME
    assert child["params"]["activation.negative_slope"] == "0.25"
    assert child["params"]["seed"] == "1"
    assert parent["params"]["seeds"] == "0,1"
    assert parent["params"]["network.parameters"] == str(784 * 4 + 4 + 4 * 10 + 10)
    assert parent["artifacts"] == ["history.csv", "layers.csv", "model.json", "test.csv"]
    assert live["report"]["artifacts"] == ["figures/curves.svg", "report.md", "summary.csv"]
    assert len(child["datasets"]) == 1
    assert child["datasets"] == parent["datasets"]
    test = tables.read_table(RESULTS / "test.csv", tables.TEST)
    accuracies = test["test_accuracy"]
    ((_, low),) = parent["metrics"]["test_accuracy_ci_low"]
    ((_, high),) = parent["metrics"]["test_accuracy_ci_high"]
    # Student's t of one degree of freedom: 12.7062 (any table of its quantiles).
    half = 12.7062 * accuracies.std() / np.sqrt(2)
    np.testing.assert_allclose([low, high], accuracies.mean() + np.array([-half, half]), rtol=1e-5)
    assert parent["models"][0][2]["test_accuracy"] == accuracies[0]

    assert tracking.sync(CONFIG) == tracking.Synced([], [])
    assert content() == live
    assert "MLflow" not in capsys.readouterr().out


def test_artifacts_lie_beside_a_store_that_was_moved(root: Path) -> None:
    log_all()
    for run in stored_runs():
        assert run.info.artifact_uri.startswith((root / "mlruns/actlab").as_uri())
    elsewhere = root.with_name("moved # again")
    root.rename(elsewhere)
    os.chdir(elsewhere)
    assert tracking.sync(CONFIG) == tracking.Synced([], [])
    (parent,) = (run for run in stored_runs() if run.info.run_name == NAME)
    assert "model.json" in artifacts(parent.info.run_id)
    assert (elsewhere / "mlruns/actlab" / parent.info.run_id / "artifacts/model.json").is_file()


def test_sync_writes_to_an_empty_store_what_live_logging_writes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_all()
    live = content()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///empty/mlflow.db")
    done = tracking.sync(CONFIG)
    assert done.left_out == []
    assert done.written == [f"{NAME}: 2 seeds", f"{NAME}: gradients", "report"]
    assert content() == live
    assert tracking.sync(CONFIG) == tracking.Synced([], [])
    assert content() == live


def test_sync_restores_a_seed_that_was_deleted(root: Path) -> None:
    log_all()
    live = content()
    (child,) = (run for run in stored_runs() if run.info.run_name == f"{NAME}/seed-1")
    client().delete_run(child.info.run_id)
    assert tracking.sync(CONFIG).written == [f"{NAME}: seeds 1", f"{NAME}: gradients"]
    assert content() == live


def test_sync_leaves_out_what_was_made_with_other_values(root: Path) -> None:
    shorter = replace(CONFIG, training=replace(CONFIG.training, epochs=2))
    assert "history.csv has other seeds or epochs" in tracking.sync(shorter).left_out[0]
    lock = {"stages": {"train@leaky_relu-mlp": {"params": {"params.yaml": {}}}}}
    params = lock["stages"]["train@leaky_relu-mlp"]["params"]["params.yaml"]
    params |= {"seeds": [0, 1], "training": {"learning_rate": 0.01}}
    Path("dvc.lock").write_text(json.dumps(lock))  # JSON is YAML
    assert tracking.sync(CONFIG).left_out == [
        f"{NAME}: made with training.learning_rate 0.01, params.yaml says 0.001: run `dvc repro`"
    ]
    params["training"]["learning_rate"] = 0.001
    Path("dvc.lock").write_text(json.dumps(lock))
    assert tracking.sync(CONFIG).left_out == []


def test_sync_says_which_outputs_are_missing(root: Path) -> None:
    for path in ("models", "reports", "results/gradients.csv"):
        Path(path).rename(f"hidden-{Path(path).name}")
    done = tracking.sync(CONFIG)
    assert done.written == []
    assert [line.partition(" ")[0] for line in done.left_out] == [
        f"{NAME}:",
        "gradients:",
        "report:",
    ]


def test_gradients_go_to_the_newest_run_of_their_weights(root: Path) -> None:
    for source in ("dvc", "dvc", "sweep"):
        with tracking.open_configuration(CONFIG, source) as run:
            log_live(run)
        time.sleep(0.01)  # runs are ordered by milliseconds
    other = replace(CONFIG, activation=replace(CONFIG.activation, name="other"))
    with tracking.open_configuration(other, "dvc") as run:
        log_live(run)
    table = tables.read_table(Path("results/gradients.csv"), tables.GRADIENTS)
    tracking.log_gradients(CONFIG, table)

    name = "gradient/notebook/mean_abs/hidden_1"
    runs = [run for run in stored_runs() if run.info.run_name == f"{NAME}/seed-1"]
    assert [name in run.data.metrics for run in runs] == [False, True, False]
    ours = table[(table["seed"] == 1) & (table["layer"] == "hidden_1")]
    logged = client().get_metric_history(runs[1].info.run_id, name)
    assert [(metric.step, metric.value) for metric in logged] == list(
        zip(ours["epoch"], ours["value"], strict=True)
    )
    parents = [run for run in stored_runs() if f"{name}_mean" in run.data.metrics]
    assert [run.info.run_id for run in parents] == [runs[1].data.tags["mlflow.parentRunId"]]


def test_the_model_gives_keras_probabilities(root: Path) -> None:
    import mlflow.pyfunc

    from actlab.model import ModelSpec, load_model, with_probabilities

    with tracking.open_configuration(CONFIG, "dvc") as run:
        log_live(run)
    (parent,) = (run for run in stored_runs() if run.info.run_name == NAME)
    (output,) = parent.outputs.model_outputs
    with tracking._current(tracking.tracking_uri()):
        loaded = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
        example = loaded.input_example
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert [spec.shape for spec in loaded.metadata.signature.inputs] == [(-1, 784)]
    assert [spec.shape for spec in loaded.metadata.signature.outputs] == [(-1, 10)]
    images = np.load("data/processed/test_images.npy")
    np.testing.assert_array_equal(example, images[:1])
    given = loaded.predict(images)
    spec = ModelSpec.load(MODELS / "model.json")
    expected = with_probabilities(load_model(MODELS, 0), spec)(images)
    np.testing.assert_allclose(given, expected, rtol=1e-6)
    np.testing.assert_allclose(given.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("of the training"), "FAILED"), (KeyboardInterrupt(), "KILLED")],
)
def test_a_training_that_ends_early_leaves_no_run_running(
    root: Path, error: BaseException, status: str
) -> None:
    def train() -> None:
        with tracking.open_configuration(CONFIG, "dvc") as run:
            log_live(run, seeds=[0], whole=False)
            run.log_epoch(1, 1, {"loss": 0.5})
            run.flush()
            run.log_epoch(1, 2, {"loss": 0.25})
            raise error

    with pytest.raises(type(error)):
        train()
    assert statuses() == {
        NAME: status,
        f"{NAME}/seed-0": "FINISHED",
        f"{NAME}/seed-1": status,
    }
    assert content()[f"{NAME}/seed-1"]["metrics"] == {"loss": [(1, 0.5), (2, 0.25)]}


def test_a_training_that_fails_before_its_first_epoch_leaves_no_run(root: Path) -> None:
    with pytest.raises(UserError), tracking.open_configuration(CONFIG, "dvc"):
        raise UserError("no images")
    assert stored_runs() == []


def test_a_run_whose_process_is_gone_is_closed_by_the_next(root: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with tracking.open_configuration(CONFIG, "dvc") as first:
        log_live(first, seeds=[0], whole=False)
        for run in stored_runs():
            process = f"{socket.gethostname()}:{gone.pid}"
            client().set_tag(run.info.run_id, "actlab.process", process)
        first._lost = True  # it is no more
    assert statuses()[NAME] == "RUNNING"
    with tracking.open_configuration(CONFIG, "sweep") as second:
        log_live(second)
    by_status = [(run.data.tags["actlab.source"], run.info.status) for run in stored_runs()]
    assert sorted(by_status) == [
        ("dvc", "FAILED"),
        ("dvc", "FINISHED"),
        *[("sweep", "FINISHED")] * 3,
    ]


def test_no_space_in_the_middle_is_said_once_and_sync_mends_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    log_batch = MlflowClient.log_batch
    calls = []

    def full(self: Any, run_id: str, *rest: Any, **named: Any) -> None:
        calls.append(run_id)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        log_batch(self, run_id, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", full)
        with tracking.open_configuration(CONFIG, "dvc") as run:
            log_live(run)
    lines = capsys.readouterr().out.splitlines()
    assert len(calls) == 6
    assert len(lines) == 1
    assert lines[0].endswith(
        "cannot be written (no space left on device): this training is logged in part only;"
        " run `python -m actlab.stages.sync` when it can"
    )
    assert "RUNNING" in statuses().values()
    done = tracking.sync(CONFIG)
    assert "runs cut short before are deleted" in done.written[0]
    mended = content()
    assert set(mended) == {NAME, f"{NAME}/seed-0", f"{NAME}/seed-1", "report"}
    assert {run["status"] for run in mended.values()} == {"FINISHED"}
    assert tracking.sync(CONFIG) == tracking.Synced([], [])


@pytest.mark.parametrize("what", ["refused", "no database"])
def test_a_store_that_cannot_be_used_costs_one_line(
    root: Path, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "refused":
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
        said = f"MLflow at http://127.0.0.1:{port} does not answer (connection refused)"
    else:
        Path("garbage.db").write_bytes(b"garbage" * 1000)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///garbage.db")
        said = f"MLflow at sqlite:///{root}/garbage.db cannot be written (file is not a database)"
    table = tables.read_table(Path("results/gradients.csv"), tables.GRADIENTS)
    began = time.monotonic()
    with tracking.open_configuration(CONFIG, "dvc") as run:
        log_live(run)
    tracking.log_gradients(CONFIG, table)
    tracking.log_report(CONFIG, Path("reports"))
    assert time.monotonic() - began < 5
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith(said) for line in lines] == [True] * 3
    assert [line.partition("): ")[2].partition(";")[0] for line in lines] == [
        "this training is not logged",
        "the gradients are not logged",
        "the report is not logged",
    ]
    with pytest.raises(UserError) as refused:
        tracking.sync(CONFIG)
    assert str(refused.value).startswith(said)


class Forwarder:
    """A port before a server's: closed, it looks as if the server had been killed."""

    def __init__(self, server: int) -> None:
        self.server = server
        self.sockets: list[socket.socket] = []
        self.port = 0
        self.open()

    def open(self) -> None:
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        self.sockets = [listening]
        threading.Thread(target=self.accept, args=[listening], daemon=True).start()

    def accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.create_connection(("127.0.0.1", self.server))
                self.sockets += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self.pump, args=ends, daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for each in self.sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture
def server(root: Path) -> Iterator[Forwarder]:
    """MLflow's own server, behind a `Forwarder`."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = "mlflow server --backend-store-uri sqlite:///server.db --workers 1 --port"
    process = subprocess.Popen(
        [sys.executable, "-m", *command.split(), str(port)],
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                    break
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                assert process.poll() is None
                time.sleep(0.1)
        forwarder = Forwarder(port)
        yield forwarder
        forwarder.close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_killed_in_the_middle_is_said_and_sync_mends_it(
    server: Forwarder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"http://127.0.0.1:{server.port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with tracking.open_configuration(CONFIG, "dvc") as run:
        log_live(run, seeds=[0], whole=False)
        server.close()
        began = time.monotonic()
        log_live(run, seeds=[1])
        lost = time.monotonic() - began
    assert lost < 5
    assert capsys.readouterr().out == (
        f"MLflow at {uri} does not answer (connection refused): this training"
        " is logged in part only; run `python -m actlab.stages.sync` when it does\n"
    )
    server.open()
    assert statuses() == {NAME: "RUNNING", f"{NAME}/seed-0": "FINISHED"}
    assert tracking.sync(CONFIG).written == [
        f"{NAME}: 2 seeds; 2 runs cut short before are deleted",
        f"{NAME}: gradients",
        "report",
    ]
    mended = content()
    assert {run["status"] for run in mended.values()} == {"FINISHED"}
    assert mended[NAME]["artifacts"] == ["history.csv", "layers.csv", "model.json", "test.csv"]
    assert tracking.sync(CONFIG) == tracking.Synced([], [])


TOUCH = """
import sys
from pathlib import Path
from actlab import tracking
sys.path.insert(0, sys.argv[1])
from test_tracking import CONFIG
with tracking.open_configuration(CONFIG, "sweep") as run:
    for epoch in range(1, 4):
        run.log_epoch(0, epoch, {"loss": 1 / epoch})
    run.flush()
    run.finish_seed(0, {"test_accuracy": 0.9}, Path(sys.argv[2]))
"""


def test_processes_that_first_touch_a_store_at_once_share_it(root: Path) -> None:
    weights = MODELS / "seed-0" / f"epoch-{EPOCHS:03d}.weights.h5"
    tests = Path(__file__).parent
    Path("fresh").mkdir()
    environment = os.environ | {
        "PYTHONPATH": str(tests.parent / "src"),
        "DVC_ROOT": str(root / "fresh"),
    }
    command = [sys.executable, "-c", TOUCH, str(tests), str(weights)]
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate()[0] for process in processes] == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4
    os.chdir("fresh")
    runs = [run for run in stored_runs() if "actlab.seed" in run.data.tags]
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    for run in runs:
        assert len(client().get_metric_history(run.info.run_id, "loss")) == 3


def test_a_temporary_experiment_logs_to_the_main_checkout(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.chdir(Path("data"))
    assert tracking.tracking_uri() == f"sqlite:///{root}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert tracking.tracking_uri() == f"sqlite:///{root}/other.db"


def test_importing_tracking_imports_neither_mlflow_nor_tensorflow() -> None:
    code = "import sys, actlab.tracking; print({'mlflow', 'tensorflow', 'hydra'} & {*sys.modules})"
    source = str(Path(__file__).parents[1] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
