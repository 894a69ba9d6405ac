import hashlib
import importlib
import json
import os
import re
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
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import configured

from actlab.activations.config import ActivationConfig
from actlab.data.config import DataConfig
from actlab.data.splits import scale_images
from actlab.errors import UserError
from actlab.models.config import ModelConfig, NetworkConfig
from actlab.results import tables
from actlab.schema import PathsConfig
from actlab.tracking import overview, tracking
from actlab.tracking.sync import Synced, sync
from actlab.training.config import TrainingConfig

pytestmark = [
    # MLflow's own models of its tables use what SQLAlchemy 2.1 calls deprecated.
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy:DeprecationWarning:mlflow.store.tracking"
    ),
    # MLflow's own agents have type hints that it finds too wide, when it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning:mlflow"),
]

SEEDS, EPOCHS = [0, 1], 3

CONFIG = configured(
    Path(),
    activations=["leaky_relu"],
    seeds=SEEDS,
    training=TrainingConfig(EPOCHS, 128, 0.001, [0, 1]),
    activation=ActivationConfig("leaky_relu", "leaky_relu", {"negative_slope": 0.25}),
    network=NetworkConfig("mlp", [4]),
    paths=PathsConfig(
        *(None, "data/raw", "data/processed", "."),
        *("models", "results", "timings", "reports", "checkpoints"),
    ),
)
NAME = "leaky_relu/mlp"
METRICS = ("loss", "accuracy", "val_loss", "val_accuracy", "epoch_seconds")
EVERYTHING = [f"{NAME}: 2 seeds", f"{NAME}: gradients", "report"]
GRADIENTS = Path("results/gradients.csv")
MODELS, RESULTS = Path("models/leaky_relu-mlp"), Path("results/leaky_relu-mlp")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the outputs of a training, of gradients and report, and with an empty store."""
    from actlab.models.network import ModelSpec, build_model, describe_layers, weights_path

    root = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    spec = ModelSpec(CONFIG.activation, CONFIG.network, "glorot_uniform")
    model = build_model(spec, 0)
    for seed, epoch in product(SEEDS, CONFIG.training.kept_epochs()):
        path = weights_path(root / MODELS, seed, epoch)
        path.parent.mkdir(parents=True, exist_ok=True)
        build_model(spec, seed).save_weights(path)
    spec.save(root / MODELS / "model.json")
    fields = {"data": asdict(CONFIG.data), "training": asdict(CONFIG.training)}
    (root / MODELS / "training.json").write_text(json.dumps({"seeds": SEEDS, **fields}))
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
                (seed, epoch, layer, rng.random())
                for seed in SEEDS
                for epoch in CONFIG.training.kept_epochs()
                for layer in ("hidden_1", "output")
            ],
            tables.UPDATES,
            RESULTS / "updates.csv",
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
    for folder in ("data/processed", "reports/figures", "reports/compare"):
        (root / folder).mkdir(parents=True)
    images = rng.integers(0, 256, (3, 784), np.uint8)
    np.save(root / "data/processed/test_images.npy", images)
    # What `compare` has left there is no part of the report.
    for name in ("report.md", "summary.csv", "figures/curves.svg", "compare/depth.md"):
        (root / "reports" / name).write_text(name)
    entry = dict.fromkeys(tables.CLAIMS, "") | {"name": "relu_units_die", "verdict": "refuted"}
    tables.write_frame(pd.DataFrame([entry]), root / "reports/claims.csv")
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{root}/mlflow.db").search_experiments()  # makes the schema
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `trained` as the current folder."""
    shutil.copytree(trained, tmp_path / "root")
    monkeypatch.chdir(tmp_path / "root")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path / "root"


def log_live(run: tracking.ConfigurationRun, seeds: list[int] = SEEDS, whole: bool = True) -> None:
    """Make the calls of the train stage, with what `trained` holds."""
    history = tables.read_table(RESULTS / "history.csv", tables.HISTORY)
    timings = tables.read_table(Path("timings/leaky_relu-mlp.csv"), tables.TIMINGS)
    test = tables.read_table(RESULTS / "test.csv", tables.TEST).set_index("seed")
    updates = tables.read_table(RESULTS / "updates.csv", tables.UPDATES)
    rows = history.merge(timings).to_dict(orient="records")
    for row in rows:
        if row["seed"] in seeds:
            run.log_epoch(row["seed"], row["epoch"], {name: row[name] for name in METRICS})
    for seed in seeds:
        metrics = test.loc[seed].to_dict() | {"compile_seconds": 1.5 + seed}
        weights = MODELS / f"seed-{seed}" / f"epoch-{EPOCHS:03d}.weights.h5"
        of_seed = updates[updates["seed"] == seed].drop(columns="seed")
        run.finish_seed(seed, metrics, weights, list(of_seed.itertuples(index=False, name=None)))
    if whole:
        run.finish(MODELS, RESULTS)


def log_all() -> None:
    """Log a training, its gradients and its report, as the stages do."""
    with tracking.ConfigurationRun(CONFIG, "dvc") as run:
        log_live(run)
    table = tables.read_table(Path("results/gradients.csv"), tables.GRADIENTS)
    tracking.log_gradients(CONFIG, table)
    tracking.log_report(CONFIG, Path("reports"))
    overview.log_overview(CONFIG)


def client() -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking.tracking_uri())


def stored_runs() -> list[Any]:
    """Every run that is not deleted, the newest first."""
    experiment = client().get_experiment_by_name("actlab")
    return list(client().search_runs([experiment.experiment_id])) if experiment else []


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
        if "mlflow.note.content" in tags:  # whose links name runs
            note = re.sub(r"/runs/\w{32}", "/runs/", tags["mlflow.note.content"])
            tags["mlflow.note.content"] = note
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
    for name in METRICS[:4]:
        assert child["metrics"][name] == list(zip(ours["epoch"], ours[name], strict=True))
        means = history[name].to_numpy().reshape(len(SEEDS), EPOCHS).mean(axis=0)
        logged = [value for _, value in parent["metrics"][f"{name}_mean"]]
        np.testing.assert_allclose(logged, means)
    assert [step for step, _ in child["metrics"]["epoch_seconds"]] == [1, 2, 3]
    seconds = tables.read_table(Path("timings/leaky_relu-mlp.csv"), tables.TIMINGS)["epoch_seconds"]
    assert parent["metrics"]["epoch_seconds_median"] == [(0, seconds.median())]
    assert child["tags"]["mlflow.parentRunId"] == NAME
    assert child["params"]["activation.negative_slope"] == "0.25"
    assert child["params"]["seed"] == "1"
    assert parent["params"]["seeds"] == "0,1"
    assert parent["params"]["network.parameters"] == str(784 * 4 + 4 + 4 * 10 + 10)
    assert parent["artifacts"] == ["history.csv", "layers.csv", "model.json", "test.csv"]
    assert live["report"]["artifacts"] == [
        "claims.csv",
        "figures/curves.svg",
        "report.md",
        "summary.csv",
    ]
    assert live["report"]["tags"]["claim.relu_units_die"] == "refuted"
    assert len(child["datasets"]) == 1
    assert child["datasets"] == parent["datasets"]
    assert "name='mnist'" in child["datasets"][0]
    for run, kind in ((parent, "configuration"), (child, "seed"), (live["report"], "report")):
        assert run["tags"]["actlab.kind"] == kind
        assert run["tags"]["actlab.source"] == "dvc"
    weights = (MODELS / f"seed-1/epoch-{EPOCHS:03d}.weights.h5").read_bytes()
    assert child["tags"]["actlab.weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert child["tags"]["actlab.seed"] == "1"
    test = tables.read_table(RESULTS / "test.csv", tables.TEST)
    accuracies = test["test_accuracy"]
    ((_, low),) = parent["metrics"]["test_accuracy_ci_low"]
    ((_, high),) = parent["metrics"]["test_accuracy_ci_high"]
    # Student's t of one degree of freedom: 12.7062 (any table of its quantiles).
    half = 12.7062 * accuracies.std() / np.sqrt(2)
    np.testing.assert_allclose([low, high], accuracies.mean() + np.array([-half, half]), rtol=1e-5)
    ((_, sd),) = parent["metrics"]["test_accuracy_sd"]
    assert sd == pytest.approx(accuracies.std())
    assert parent["models"][0][2]["test_accuracy"] == accuracies[0]

    assert sync(CONFIG, []) == Synced()
    assert content() == live
    assert capsys.readouterr() == ("", "")


def test_an_epoch_that_takes_long_is_in_the_store_when_the_next_one_is_trained(
    root: Path,
) -> None:
    with tracking.ConfigurationRun(CONFIG, "dvc") as run:
        for seed, epoch in ((0, 1), (1, 1), (0, 2), (1, 2)):
            time.sleep(max(0.0, run._write_at - time.monotonic()))
            run.log_epoch(seed, epoch, {"loss": 1 / epoch, "epoch_seconds": 20.0})
            held = content()[f"{NAME}/seed-{seed}"]
            assert held["status"] == "RUNNING"
            assert held["metrics"]["loss"] == [(1, 1.0), (2, 0.5)][:epoch]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many metrics every call of `log_batch` from now on has."""
    from mlflow import MlflowClient

    works, counts = MlflowClient.log_batch, []

    def counted(self: Any, run: str, metrics: Any = (), *rest: Any) -> None:
        counts.append(len(metrics))
        works(self, run, metrics, *rest)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    return counts


def test_epochs_that_follow_fast_are_written_together(root: Path, calls: list[int]) -> None:
    with tracking.ConfigurationRun(CONFIG, "dvc") as run:
        for epoch in range(1, 41):
            for seed in SEEDS:
                run.log_epoch(seed, epoch, {"loss": seed + epoch / 100})
        assert calls == [0, 1]  # the parent, the first epoch of all
        run._write_at = -1.0
        run.log_epoch(0, 41, {"loss": 0.41})
        assert calls == [0, 1, 40, 40]  # each of both seeds
        run.log_epoch(0, 42, {"loss": 0.42})
        assert len(calls) == 4
        run.finish_seed(0, {"test_loss": 0.5}, next(MODELS.glob("seed-0/*")))
        assert calls[4:] == [2]
    held = content()
    expected = [(epoch, epoch / 100) for epoch in range(1, 43)]
    assert held[f"{NAME}/seed-0"]["metrics"]["loss"] == expected
    assert [step for step, _ in held[f"{NAME}/seed-1"]["metrics"]["loss"]] == [*range(1, 41)]


def test_a_store_that_is_slow_is_left_alone_as_long_as_a_write_takes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tracking.ConfigurationRun(CONFIG, "dvc")
    now = [100.0]
    monkeypatch.setattr(tracking.time, "monotonic", lambda: now[0])

    def write(seed: int) -> None:
        now[0] += 30.0
        run._waiting.clear()

    monkeypatch.setattr(run, "_write", write)
    run.log_epoch(0, 1, {"loss": 1.0})
    for waited, left in ((29.0, 1), (30.5, 0)):
        now[0] = 130.0 + waited
        run.log_epoch(0, 2, {"loss": 1.0})
        assert len(run._waiting[0]) == left


def test_sync_writes_to_an_empty_store_what_live_logging_writes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_all()
    live = content()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///empty/mlflow.db")
    done = sync(CONFIG, [])
    assert done.left_out == []
    assert done.written == EVERYTHING
    assert content() == live
    assert sync(CONFIG, []) == Synced()
    assert content() == live


def test_sync_writes_the_whole_training_again_when_a_seed_is_gone(root: Path) -> None:
    log_all()
    live = content()
    (child,) = (run for run in stored_runs() if run.info.run_name == f"{NAME}/seed-1")
    client().delete_run(child.info.run_id)
    assert sync(CONFIG, []).written == EVERYTHING[:2]
    newest = [run for run in stored_runs() if run.data.tags["actlab.kind"] != "report"][:3]
    assert {run.info.run_name for run in newest} == live.keys() - {"report"}
    assert {run.info.status for run in newest} == {"FINISHED"}
    assert sync(CONFIG, []) == Synced()
    assert len(stored_runs()) == 2 + 3 + 1


def test_sync_logs_what_was_trained_whatever_params_yaml_says(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_all()
    live = content()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///empty/mlflow.db")
    other = replace(
        CONFIG,
        seeds=[7],
        data=DataConfig("fashion_mnist", 10, 1),
        model=ModelConfig("he_normal"),
        training=TrainingConfig(9, 32, 0.5, [9]),
        activation=ActivationConfig("relu", "relu", {}),
        network=NetworkConfig("deep", [64, 64]),
    )
    assert sync(other, []).written == EVERYTHING
    held = content()
    assert held.pop("report")["params"]["seeds"] == "7"  # the report's own is not about training
    del live["report"]
    assert held == live


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("training.json", None, "models/leaky_relu-mlp/training.json is missing: run"),
        ("training.json", '{"seeds": [0]', "the JSON in models/leaky_relu-mlp is not this"),
        ("training.json", '{"seeds": [0]}', "the JSON in models/leaky_relu-mlp is not this"),
        ("seed-1/epoch-003.weights.h5", None, "models/leaky_relu-mlp/seed-1/epoch-003.weights.h5"),
    ],
    ids=["no file", "no JSON", "no data", "no weights"],
)
def test_sync_says_what_is_not_whole(root: Path, file: str, text: str | None, said: str) -> None:
    (MODELS / file).unlink()
    if text:
        (MODELS / file).write_text(text)
    done = sync(CONFIG, [])
    assert done.written == ["report"]
    assert done.left_out[0].startswith(f"{NAME}: {said}")
    assert [line.partition(": ")[0] for line in done.left_out] == [NAME, "gradients"]


def test_sync_leaves_out_what_is_stale(root: Path) -> None:
    stale = ["train@leaky_relu-mlp", "gradients", "report"]
    reason = "its outputs are not what params.yaml and the code would give now: run `dvc repro`"
    done = sync(CONFIG, stale)
    assert done == Synced([], [f"{name}: {reason}" for name in (NAME, "gradients", "report")])
    assert stored_runs() == []
    done = sync(CONFIG, stale[1:])
    assert done.written == EVERYTHING[:1]
    assert done.left_out == [f"{name}: {reason}" for name in ("gradients", "report")]


def test_a_name_that_mlflow_gives_no_model_is_logged(root: Path) -> None:
    config = replace(CONFIG, activation=replace(CONFIG.activation, name="a.b"))
    with tracking.ConfigurationRun(config, "dvc") as run:
        log_live(run)
    assert statuses()["a.b/mlp"] == "FINISHED"
    (model,) = client().search_logged_models(experiment_ids=["1"])
    assert model.name == "a-b-mlp"


def test_gradients_go_to_the_newest_run_of_their_weights(root: Path) -> None:
    for source in ("dvc", "dvc", "sweep"):
        with tracking.ConfigurationRun(CONFIG, source) as run:
            log_live(run)
        time.sleep(0.01)  # runs are ordered by milliseconds
    other = replace(CONFIG, activation=replace(CONFIG.activation, name="other"))
    with tracking.ConfigurationRun(other, "dvc") as run:
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


def test_the_health_of_a_layer_goes_by_names_of_its_own(root: Path) -> None:
    with tracking.ConfigurationRun(CONFIG, "dvc") as run:
        log_live(run)
    table = tables.read_table(Path("results/gradients.csv"), tables.GRADIENTS)
    health = table.assign(probe="test", statistic="dead_fraction", value=table["seed"] / 4)
    tracking.log_gradients(CONFIG, pd.concat([table, health]))
    metrics = {run.info.run_name: run.data.metrics for run in stored_runs()}
    assert metrics[f"{NAME}/seed-1"]["health/dead_fraction/hidden_1"] == 0.25
    assert metrics[NAME]["health/dead_fraction/hidden_1_mean"] == 0.125
    assert "gradient/notebook/mean_abs/hidden_1" in metrics[f"{NAME}/seed-1"]


def test_how_far_a_step_goes_is_logged_with_the_health_of_a_layer(root: Path) -> None:
    with tracking.ConfigurationRun(CONFIG, "dvc") as run:
        log_live(run)
    live = content()
    updates = tables.read_table(RESULTS / "updates.csv", tables.UPDATES)
    name = "health/update_ratio/hidden_1"
    ours = tables.where(updates, seed=1, layer="hidden_1")
    assert ours["epoch"].tolist() == [0, 1, 3]
    expected = list(zip(ours["epoch"], ours["update_ratio"], strict=True))
    assert live[f"{NAME}/seed-1"]["metrics"][name] == expected
    means = [
        tables.where(updates, layer="hidden_1", epoch=epoch)["update_ratio"].mean()
        for epoch in (0, 1, 3)
    ]
    logged = live[NAME]["metrics"][f"{name}_mean"]
    assert [step for step, _ in logged] == [0, 1, 3]
    np.testing.assert_allclose([value for _, value in logged], means)


def test_updates_that_lack_a_seed_are_left_out(root: Path) -> None:
    path = RESULTS / "updates.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-6]))
    done = sync(CONFIG, [])
    assert done.left_out[0].startswith(f"{NAME}: results/leaky_relu-mlp and timings/")
    assert NAME not in statuses()


@pytest.mark.parametrize("are_levels", [True, False])
def test_the_model_gives_keras_probabilities(
    root: Path, monkeypatch: pytest.MonkeyPatch, are_levels: bool
) -> None:
    import mlflow.pyfunc

    from actlab.models.network import ModelSpec, load_model, with_probabilities

    images = scale_images(np.load("data/processed/test_images.npy"))
    if not are_levels:
        np.save("data/processed/test_images.npy", images)
    with tracking.ConfigurationRun(CONFIG, "dvc") as run:
        log_live(run)
    (parent,) = (run for run in stored_runs() if run.info.run_name == NAME)
    (output,) = parent.outputs.model_outputs
    assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.tracking_uri())
    loaded = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    example = loaded.input_example
    assert [spec.shape for spec in loaded.metadata.signature.inputs] == [(-1, 784)]
    assert [spec.shape for spec in loaded.metadata.signature.outputs] == [(-1, 10)]
    np.testing.assert_array_equal(example, images[:1])
    given = loaded.predict(images)
    spec = ModelSpec.load(MODELS / "model.json")
    expected = with_probabilities(load_model(MODELS, 0), spec)(images)
    np.testing.assert_allclose(given, expected, rtol=1e-6)
    np.testing.assert_allclose(given.sum(axis=1), 1, rtol=1e-6)


def test_a_models_requirements_are_the_running_versions_and_looked_for_nowhere(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc
    from mlflow.utils import requirements_utils

    from actlab.backend import keras, tf

    looked_for: list[str] = []
    monkeypatch.setattr(requirements_utils, "_check_requirement_satisfied", looked_for.append)
    with tracking.ConfigurationRun(CONFIG, "dvc") as run:
        log_live(run)
    assert looked_for == []
    environment: Any = importlib.import_module("mlflow.utils.environment")
    environment.warn_dependency_requirement_mismatches(["numpy"])
    assert looked_for == ["numpy"]  # afterwards, as ever
    (parent,) = (run for run in stored_runs() if run.info.run_name == NAME)
    (output,) = parent.outputs.model_outputs
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.tracking_uri())
    path = mlflow.pyfunc.get_model_dependencies(f"models:/{output.model_id}")
    assert Path(path).read_text().split() == [
        f"mlflow=={mlflow.__version__}",
        f"tensorflow=={tf.__version__}",
        f"keras=={keras.__version__}",
        f"numpy=={np.__version__}",
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("of the training"), "FAILED"), (KeyboardInterrupt(), "KILLED")],
)
def test_a_training_that_ends_early_leaves_no_run_running(
    root: Path, error: BaseException, status: str
) -> None:
    def train() -> None:
        with tracking.ConfigurationRun(CONFIG, "dvc") as run:
            log_live(run, seeds=[0], whole=False)
            run.log_epoch(1, 1, {"loss": 0.5})
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
    with pytest.raises(UserError), tracking.ConfigurationRun(CONFIG, "dvc"):
        raise UserError("no images")
    assert stored_runs() == []


def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_sync_closes_the_runs_of_processes_that_have_ended(root: Path) -> None:
    host, other = socket.gethostname(), f"{socket.gethostname()}-2"
    unreaped = subprocess.Popen(["true"])
    while tracking._started(unreaped.pid):
        time.sleep(0.01)
    tagged = {
        "configuration": (f"{host}:{ended()}", "RUNNING", "FAILED"),
        "seed": (f"{host}:{ended()}", "RUNNING", "FAILED"),
        "report": (f"{host}:{ended()}", "RUNNING", "FAILED"),
        "unreaped": (f"{host}:{unreaped.pid}", "RUNNING", "FAILED"),
        "number reused": (f"{host}:{os.getppid()}:1", "RUNNING", "FAILED"),
        "this process": (tracking._this_process(), "RUNNING", "RUNNING"),
        "this process, no start told": (f"{host}:{os.getpid()}", "RUNNING", "RUNNING"),
        "other process": (f"{host}:{os.getppid()}", "RUNNING", "RUNNING"),
        "other host": (f"{other}:{ended()}", "RUNNING", "RUNNING"),
        "reused there": (f"{other}:{os.getppid()}:1", "RUNNING", "RUNNING"),
        "finished": (f"{host}:{ended()}", "FINISHED", "FINISHED"),
        "killed": (f"{host}:{ended()}", "KILLED", "KILLED"),
        "not ours": (None, "RUNNING", "RUNNING"),
    }
    store = tracking.connect()
    for name, (process, status, _) in tagged.items():
        run = store.create_run(name, {"actlab.process": process} if process else {})
        if process is None:
            store.client.delete_tag(run, "actlab.process")
        if status != "RUNNING":
            store.client.set_terminated(run, status)
    done = sync(CONFIG, ["train@leaky_relu-mlp", "gradients", "report"])
    assert sorted(done.written) == [
        f"{name}: FAILED, its process has ended"
        for name in ("configuration", "number reused", "report", "seed", "unreaped")
    ]
    assert statuses() == {name: after for name, (_, _, after) in tagged.items()}
    unreaped.wait()


def write_live(what: str) -> None:
    """What a stage writes."""
    if what == "training":
        with tracking.ConfigurationRun(CONFIG, "dvc") as run:
            log_live(run)
    elif what == "gradients":
        tracking.log_gradients(CONFIG, tables.read_table(GRADIENTS, tables.GRADIENTS))
    elif what == "report":
        tracking.log_report(CONFIG, Path("reports"))
    else:
        Path("reports/comparisons.csv").write_text("")
        tracking.log_comparison(Path("reports"), "", {}, {})


@pytest.mark.parametrize("what", ["training", "gradients", "report", "comparison"])
def test_whoever_writes_next_closes_the_runs_of_a_killed_process(root: Path, what: str) -> None:
    store = tracking.connect()
    store.create_run("killed", {"actlab.process": f"{socket.gethostname()}:{ended()}:1"})
    write_live(what)
    assert statuses()["killed"] == "FAILED"
    # Once a process: to look for them takes a call.
    store.create_run("later", {"actlab.process": f"{socket.gethostname()}:{ended()}:1"})
    write_live(what)
    assert statuses()["later"] == "RUNNING"


@pytest.mark.parametrize(
    ("method", "fails"),
    [
        ("log_batch", 6),  # an epoch in the middle
        ("log_artifact", 2),
        ("log_model_artifacts", 1),
        ("log_outputs", 1),
        ("set_terminated", 3),  # of the parent
    ],
)
def test_no_space_in_the_middle_is_said_once_and_sync_mends_it(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
    fails: int,
) -> None:
    from mlflow import MlflowClient

    works = getattr(MlflowClient, method)
    calls = []

    def full(self: Any, *args: Any, **named: Any) -> Any:
        calls.append(args)
        if len(calls) >= fails:
            raise OSError(28, "No space left on device")
        return works(self, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, method, full)
        with tracking.ConfigurationRun(CONFIG, "dvc") as run:
            log_live(run)
    assert len(calls) == fails
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(
        "cannot be written (No space left on device): this training is logged in part only;"
        " run `python -m actlab.stages.sync` when it can"
    )
    assert statuses()[NAME] == "RUNNING"
    half_written = {run.info.run_id for run in stored_runs()}
    for run in half_written:
        client().set_tag(run, "actlab.process", f"{socket.gethostname()}:{ended()}")
    done = sync(CONFIG, [])
    assert done.written[-3:] == EVERYTHING
    assert f"{NAME}: FAILED, its process has ended" in done.written
    whole = [run for run in stored_runs() if run.info.run_id not in half_written]
    assert sorted(run.info.run_name for run in whole) == [
        NAME,
        f"{NAME}/seed-0",
        f"{NAME}/seed-1",
        "report",
    ]
    assert {run.info.status for run in whole} == {"FINISHED"}
    assert "RUNNING" not in {run.info.status for run in stored_runs()}
    models = client().search_logged_models(experiment_ids=["1"])
    assert {str(model.status) for model in models} <= {"READY", "FAILED"}
    assert sync(CONFIG, []) == Synced()


def test_results_that_lack_a_seed_are_left_out(root: Path) -> None:
    path = RESULTS / "test.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    done = sync(CONFIG, [])
    assert done.left_out[0] == (
        f"{NAME}: results/leaky_relu-mlp and timings/leaky_relu-mlp.csv do not hold every epoch of"
        " each seed: run `dvc repro`"
    )
    assert NAME not in statuses()


def test_a_report_that_cannot_be_written_is_failed_and_written_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifacts", full)
        tracking.log_report(CONFIG, Path("reports"))
    (line,) = capsys.readouterr().out.splitlines()
    assert "(No space left on device): the report is not logged; run `python" in line
    assert statuses() == {"report": "FAILED"}
    for _ in range(2):
        tracking.log_report(CONFIG, Path("reports"))
        assert sorted(run.info.status for run in stored_runs()) == ["FAILED", "FINISHED"]
    Path("reports/report.md").write_text("another")
    tracking.log_report(CONFIG, Path("reports"))
    assert [run.info.status for run in stored_runs()] == ["FINISHED", "FINISHED", "FAILED"]


def test_a_report_that_is_interrupted_is_killed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MlflowClient, "log_artifacts", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tracking.log_report(CONFIG, Path("reports"))
    assert statuses() == {"report": "KILLED"}


@pytest.mark.parametrize("what", ["refused", "no database"])
def test_a_store_that_cannot_be_used_costs_one_line(
    root: Path, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "refused":
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
        said = f"MLflow at http://127.0.0.1:{port} does not answer (Connection refused)"
    else:
        Path("garbage.db").write_bytes(b"garbage" * 1000)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///garbage.db")
        said = f"MLflow at sqlite:///{root}/garbage.db cannot be written (file is not a database)"
    table = tables.read_table(Path("results/gradients.csv"), tables.GRADIENTS)
    began = time.monotonic()
    with tracking.ConfigurationRun(CONFIG, "dvc") as run:
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
        sync(CONFIG, [])
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("uri", "reason", "shown"),
    [
        (
            "http://me:s3cret@host/a?token=s3cret",
            "http://me:s3cret@host/a?token=s3cret/api refuses",
            "MLflow at http://host/a cannot be written (http://host/a refuses)",
        ),
        (
            "postgresql://me:s3/cr%40et@host/runs",
            "no driver for postgresql://me:s3/cr%40et@host/runs, 'me:s3' is no host, nor s3/cr@et",
            "MLflow at postgresql://host/runs cannot be written (no driver for"
            " postgresql://host/runs, 'me:***' is no host, nor ***/***@***)",
        ),
        (
            "https://s3cret@host",
            "Max retries exceeded\nwith https://s3cret@host/api",
            "MLflow at https://host cannot be written (Max retries exceeded with https://host/api)",
        ),
        (
            "https://to/k3n@host?key=an0ther",
            "no host k3n in an0ther",
            "MLflow at https://host cannot be written (no host *** in ***)",
        ),
        (
            "sqlite:////home/me@work/mlflow.db",
            "unable to open",
            "MLflow at sqlite:////home/me@work/mlflow.db cannot be written (unable to open)",
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
    assert tracking.format_store_error(error, "lost", advice=False) == f"{shown}: lost"


def test_a_password_that_is_cut_in_pieces_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3c/ret@127.0.0.1:9")
    with pytest.raises(UserError) as refused:
        sync(CONFIG, [])
    assert "127.0.0.1:9" in str(refused.value)
    assert "s3c" not in str(refused.value)


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
    with tracking.ConfigurationRun(CONFIG, "dvc") as run:
        log_live(run, seeds=[0], whole=False)
        server.close()
        began = time.monotonic()
        log_live(run, seeds=[1])
        lost = time.monotonic() - began
    assert lost < 5
    assert capsys.readouterr().out == (
        f"MLflow at {uri} does not answer (Connection refused): this training"
        " is logged in part only; run `python -m actlab.stages.sync` when it does\n"
    )
    server.open()
    assert statuses() == {NAME: "RUNNING", f"{NAME}/seed-0": "FINISHED"}
    assert sync(CONFIG, []).written == EVERYTHING
    after = sorted((run.info.run_name, run.info.status) for run in stored_runs())
    names = (NAME, f"{NAME}/seed-0", f"{NAME}/seed-1", "report")
    cut_short = [(NAME, "RUNNING"), (f"{NAME}/seed-0", "FINISHED")]  # this process has not ended
    assert after == sorted([(name, "FINISHED") for name in names] + cut_short)
    assert sync(CONFIG, []) == Synced()


TOUCH = """
import sys
from pathlib import Path
from actlab import tracking
sys.path.insert(0, sys.argv[1])
from test_tracking import CONFIG
with tracking.ConfigurationRun(CONFIG, "sweep") as run:
    for epoch in range(1, 4):
        run.log_epoch(0, epoch, {"loss": 1 / epoch})
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


def test_a_store_whose_making_was_killed_is_made_again(root: Path) -> None:
    Path("fresh").mkdir()
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
        "DVC_ROOT": str(root / "fresh"),
    }
    code = "from actlab import tracking; tracking.connect()"
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    half_made = lambda: [  # noqa: E731
        path for path in Path("fresh").rglob(".mlflow.db.*/mlflow.db") if path.stat().st_size > 0
    ]
    while not half_made() and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not Path("fresh/mlflow.db").exists()
    os.chdir("fresh")
    assert tracking.connect().search("FINISHED", {}) == []


@pytest.mark.parametrize(
    ("output", "source", "name"),
    [
        (".", "dvc", NAME),
        ("multirun/single", "sweep", NAME),
        ("multirun/activation=relu,network=mlp", "sweep", NAME),
        ("multirun/activation=relu,seeds=[0,1],sgd=1", "sweep", f"{NAME} seeds=[0,1],sgd=1"),
    ],
)
def test_a_run_of_a_sweep_says_what_was_asked_for(output: str, source: Any, name: str) -> None:
    config = replace(CONFIG, paths=replace(CONFIG.paths, output=output))
    assert tracking._run_name(config, source) == name


def test_a_temporary_experiment_logs_to_the_main_checkout(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.chdir(Path("data"))
    assert tracking.tracking_uri() == f"sqlite:///{root}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert tracking.tracking_uri() == f"sqlite:///{root}/other.db"


def test_importing_it_imports_neither_mlflow_nor_tensorflow() -> None:
    code = "import sys, actlab.tracking.sync; print({'mlflow', 'tensorflow', 'hydra'} & {*sys.modules})"
    source = str(Path(__file__).parents[1] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
