"""A root with the outputs of a training, and what MLflow's store holds once they are published."""

import re
import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import configured
from planted_run import folder_of, plant_run
from small_training import working_in

from actlab.activations.config import ActivationConfig
from actlab.engine import csvs
from actlab.engine.files import this_machine
from actlab.models.config import NetworkConfig
from actlab.results import tables
from actlab.schema import PathsConfig
from actlab.tracking import address, publish_study
from actlab.tracking.publish import LivePublisher
from actlab.training.config import TrainingConfig

WARNINGS = [
    # MLflow's own models of its tables use what SQLAlchemy 2.1 calls deprecated.
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy:DeprecationWarning:mlflow.store.tracking"
    ),
    # MLflow's own agents have type hints that it finds too wide, when it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning:mlflow"),
]

SEEDS, EPOCHS = [0, 1], 3
PATHS = PathsConfig(
    *(None, "data/raw", "data/processed", "."),
    *("runs", "results", "timings", "reports", "checkpoints"),
)
CONFIG = configured(
    Path(),
    activations=["leaky_relu"],
    seeds=SEEDS,
    training=TrainingConfig(EPOCHS, 128, [0, 1]),
    activation=ActivationConfig("leaky_relu", "leaky_relu", {"negative_slope": 0.25}),
    network=NetworkConfig("mlp", [4]),
    paths=PATHS,
)
NAME = "leaky_relu/mlp"
FOLDER = folder_of(CONFIG)
MODELS, RESULTS = FOLDER.models, FOLDER.results


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A root with the outputs of a training, of gradients and report, and with an empty store."""
    from actlab.models.network import ModelSpec, build_model
    from actlab.results.layout import RunFolder, weights_path

    root = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    spec = ModelSpec(CONFIG.activation, CONFIG.network, CONFIG.initializer)
    for seed, epoch in product(SEEDS, CONFIG.training.kept_epochs()):
        path = weights_path(root / MODELS, seed, epoch)
        path.parent.mkdir(parents=True, exist_ok=True)
        build_model(spec, seed).save_weights(path)
    plant_run(CONFIG, RunFolder(root / FOLDER.path))
    gradients = [
        ("leaky_relu", "mlp", seed, epoch, layer, "notebook", "mean_abs", rng.random())
        for seed, epoch in product(SEEDS, CONFIG.training.kept_epochs())
        for layer in ("hidden_1", "output")
    ]
    csvs.write_table(gradients, tables.GRADIENTS, root / "results/gradients.csv")
    for folder in ("data/processed", "reports/figures", "reports/compare"):
        (root / folder).mkdir(parents=True)
    (root / "data/processed/data.json").write_text('{"name": "mnist"}')
    np.save(root / "data/processed/test_images.npy", rng.integers(0, 256, (3, 784), np.uint8))
    # What `compare` has left there is no part of the report.
    for name in ("report.md", "summary.csv", "figures/curves.svg", "compare/depth.md"):
        (root / "reports" / name).write_text(name)
    entry = dict.fromkeys(tables.CLAIMS, "") | {"name": "relu_units_die", "role": "primary"}
    entry["verdict"] = "refuted"
    csvs.write_frame(pd.DataFrame([entry]), root / "reports/claims.csv")
    shutil.copy(empty_store, root / "mlflow.db")
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `trained` as the current folder."""
    shutil.copytree(trained, tmp_path / "root")
    monkeypatch.chdir(tmp_path / "root")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path / "root"


def publish_live(config: Any = CONFIG) -> Any:
    """Publish the training at its end, as its stage does."""
    with LivePublisher(config, FOLDER) as publisher:
        publisher.publish()
    return publisher


def log_gradients() -> None:
    """Log the gradients as their stage does."""
    table = tables.read_table(Path("results/gradients.csv"), tables.GRADIENTS)
    publish_study.log_gradients(CONFIG, table)


@pytest.fixture(scope="module")
def logged_once(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `trained` holds, with all of it logged."""
    folder = tmp_path_factory.mktemp("logged") / "root"
    shutil.copytree(trained, folder)
    with working_in(folder):
        log_all()
    return folder


def log_all() -> None:
    """Log the training, its gradients and its report, as the stages do."""
    from actlab.tracking import overview

    publish_live()
    log_gradients()
    publish_study.log_report(CONFIG, Path("reports"))
    overview.log_overview(CONFIG)


def client() -> Any:
    from mlflow import MlflowClient

    return MlflowClient(address.tracking_uri())


def stored_runs() -> list[Any]:
    """Every run that is not deleted, the newest first."""
    experiment = client().get_experiment_by_name("actlab")
    return list(client().search_runs([experiment.experiment_id])) if experiment else []


def run_named(name: str) -> Any:
    (found,) = (run for run in stored_runs() if run.info.run_name == name)
    return found


def statuses() -> dict[str, str]:
    return {run.info.run_name: run.info.status for run in stored_runs()}


def artifacts(run: str, folder: str | None = None) -> list[str]:
    found = []
    for entry in client().list_artifacts(run, folder):
        found += artifacts(run, entry.path) if entry.is_dir else [entry.path]
    return sorted(found)


def content() -> dict[str, Any]:
    """All that the store holds but ids, by the names of the runs."""
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
                    (metric.step, metric.value, metric.timestamp)
                    for metric in client().get_metric_history(run.info.run_id, name)
                )
                for name in run.data.metrics
            },
            "artifacts": artifacts(run.info.run_id),
            "models": [
                (model.name, model.params, {each.key: each.value for each in model.metrics})
                for model in models
            ],
        }
        if run.data.tags["actlab.kind"] != "report":
            held[run.info.run_name]["times"] = (run.info.start_time, run.info.end_time)
    return held


def points(name: str, metric: str) -> list[tuple[int, float]]:
    """The steps and values of a run's metric."""
    history = client().get_metric_history(run_named(name).info.run_id, metric)
    return sorted((each.step, each.value) for each in history)


def ended_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def of_ended_process() -> dict[str, str]:
    """The tag of a run that such a process had begun."""
    return {"actlab.process": f"{this_machine()}:{ended_process()}:1"}
