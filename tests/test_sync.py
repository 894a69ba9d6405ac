"""What is stale for DVC, and what `sync` writes of the rest to a real MLflow store."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from published import (
    CONFIG,
    MODELS,
    NAME,
    RESULTS,
    WARNINGS,
    client,
    content,
    log_all,
    root,  # noqa: F401
    run_named,
    statuses,
    stored_runs,
    trained,  # noqa: F401
)

from actlab.activations.config import ActivationConfig
from actlab.data.config import DataConfig
from actlab.errors import UserError
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.stages import sync as stage
from actlab.tracking.sync import Synced, sync
from actlab.training.config import OptimizerConfig, TrainingConfig

pytestmark = WARNINGS

EVERYTHING = [f"{NAME}: 2 seeds", f"{NAME}: gradients", "report"]

ALL = {"preprocess", "train@relu-mlp", "train@tanh-mlp", "gradients"}

# The shape of the pipeline, in files of one word.
DVC_YAML = """
stages:
  preprocess:
    cmd: cp raw data
    deps: [raw]
    outs: [data]
  train:
    matrix:
      activation: [relu, tanh]
      network: [mlp]
    cmd: mkdir -p models; cp data models/${item.activation}
    deps: [data]
    params: ["${item.activation}"]
    outs: ["models/${item.activation}"]
  gradients:
    cmd: cat models/* > gradients
    deps: [models]
    params: [seeds]
    outs: [gradients]
"""


def dvc(*arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments, "--quiet"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC's
def test_stages_that_changed_are_stale_and_those_downstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dvc("init", "--no-scm")
    Path("raw").write_text("raw")
    Path("dvc.yaml").write_text(DVC_YAML)
    Path("params.yaml").write_text(json.dumps({"relu": 1, "tanh": 1, "seeds": 1}))
    assert stage.find_stale_stages(CONFIG) == ALL
    dvc("repro")
    assert stage.find_stale_stages(CONFIG) == set()
    Path("params.yaml").write_text(json.dumps({"relu": 2, "tanh": 1, "seeds": 1}))
    assert stage.find_stale_stages(CONFIG) == {"train@relu-mlp", "gradients"}
    dvc("repro")
    Path("gradients").write_text("of another hand")
    assert stage.find_stale_stages(CONFIG) == {"gradients"}
    Path("raw").write_text("other")
    assert stage.find_stale_stages(CONFIG) == ALL
    Path("dvc.yaml").write_text("stages: [")
    with pytest.raises(UserError, match=r"^DVC cannot tell what changed \(.*dvc\.yaml.*\): .*$"):
        stage.find_stale_stages(CONFIG)


# The folders from which two stages of the pipeline select.
SELECTING = """
stages:
  activations:
    cmd: mkdir -p results; cp -r keys results/activations
    deps: [conf/activation, custom]
    outs: [results/activations]
  train:
    matrix:
      activation: [relu, tanh]
      network: [mlp]
    cmd: >-
      mkdir -p runs/${item.activation}-mlp/models runs/${item.activation}-mlp/results;
      cd runs/${item.activation}-mlp; touch models/weights results/history.csv timings.csv
    deps: ["results/activations/${item.activation}/key.json"]
    outs: ["runs/${item.activation}-mlp"]
  collect:
    cmd: PYTHONPATH=${source} python collect.py
    deps: [runs]
    outs: [results/manifest]
  gradients:
    cmd: touch gradients
    deps: [results/manifest]
    outs: [gradients]
"""

COLLECT = """
from types import SimpleNamespace
from actlab.stages.collect import collect
paths = SimpleNamespace(runs="runs", results="results")
collect(SimpleNamespace(activations=["relu", "tanh"], networks=["mlp"], paths=paths))
"""


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC's
def test_what_selects_the_same_from_a_changed_folder_makes_nothing_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = replace(CONFIG, activations=["relu", "tanh"], networks=["mlp"])
    Path("custom").mkdir()
    for name in config.activations:
        for folder in ("conf/activation", f"keys/{name}"):
            Path(folder).mkdir(parents=True, exist_ok=True)
        given = {"name": name, "function": name, "constants": {}}
        Path(f"conf/activation/{name}.yaml").write_text(json.dumps(given))
        Path(f"keys/{name}/key.json").write_text(
            json.dumps(given | {"trained": {}, "sources": None})
        )
    source = Path(stage.__file__).parents[2]
    Path("params.yaml").write_text(json.dumps({"source": str(source)}))
    Path("dvc.yaml").write_text(SELECTING)
    Path("collect.py").write_text(COLLECT)
    dvc("init", "--no-scm")
    dvc("repro")
    assert stage.find_stale_stages(config) == set()

    Path("custom/mine.py").write_text("def mine(x): return x")
    Path("conf/activation/mine.yaml").write_text("{name: mine, function: custom.mine:mine}")
    left = Path("runs/mine-mlp/models")  # of a configuration that has left params.yaml
    left.mkdir(parents=True)
    (left / "weights").write_text("left")
    assert stage.find_stale_stages(config) == set()

    Path("conf/activation/tanh.yaml").write_text("{name: tanh, function: sin, constants: {}}")
    stale = {"activations", "train@tanh-mlp", "collect", "gradients"}
    assert stage.find_stale_stages(config) == stale
    Path("conf/activation/tanh.yaml").write_text("{name: tanh, function: [}")
    assert stage.find_stale_stages(config) == stale


# --- What is written ----------------------------------------------------------------------


@pytest.fixture
def live(root: Path) -> dict:  # noqa: F811
    """What the stages have written."""
    log_all()
    return content()


def test_what_was_logged_live_is_all_there(live: dict, capsys: pytest.CaptureFixture[str]) -> None:
    assert sync(CONFIG, []) == Synced()
    assert content() == live
    assert capsys.readouterr() == ("", "")


def test_an_empty_store_gets_what_live_logging_writes_whatever_params_yaml_says(
    live: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///empty/mlflow.db")
    other = replace(
        CONFIG,
        seeds=[7],
        data=DataConfig("fashion_mnist", 10, 1),
        initializer=InitializerConfig.read("he_normal"),
        training=TrainingConfig(9, 32, [9]),
        optimizer=OptimizerConfig.read("sgd"),
        activation=ActivationConfig("relu", "relu", {}),
        network=NetworkConfig("deep", [64, 64]),
    )
    done = sync(other, [])
    assert (done.left_out, done.written) == ([], EVERYTHING)
    held = content()
    assert held["report"]["params"].pop("seeds") == "7"  # the report's own: not about training
    assert live["report"]["params"].pop("seeds") == "0,1"
    assert held == live
    assert sync(other, []) == Synced()


def test_the_whole_training_is_written_again_when_a_seed_is_gone(live: dict) -> None:
    client().delete_run(run_named(f"{NAME}/seed-1").info.run_id)
    assert sync(CONFIG, []).written == EVERYTHING[:2]
    assert sync(CONFIG, []) == Synced()
    assert len(stored_runs()) == 2 + 3 + 1
    assert set(statuses().values()) == {"FINISHED"}


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("training.json", None, "runs/leaky_relu-mlp/models/training.json is missing: run"),
        ("training.json", '{"seeds": [0]}', "the JSON in runs/leaky_relu-mlp/models is not this"),
        (
            "seed-1/epoch-003.weights.h5",
            None,
            "runs/leaky_relu-mlp/models/seed-1/epoch-003.weights.h5",
        ),
    ],
    ids=["no file", "no data", "no weights"],
)
def test_what_is_not_whole_is_left_out(
    root: Path,  # noqa: F811
    file: str,
    text: str | None,
    said: str,
) -> None:
    (MODELS / file).unlink()
    if text:
        (MODELS / file).write_text(text)
    done = sync(CONFIG, [])
    assert done.written == ["report"]
    assert done.left_out[0].startswith(f"{NAME}: {said}")
    assert [line.partition(": ")[0] for line in done.left_out] == [NAME, "gradients"]


def test_results_that_lack_a_row_are_left_out(root: Path) -> None:  # noqa: F811
    path = RESULTS / "history.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    done = sync(CONFIG, [])
    assert done.left_out[0] == (
        f"{NAME}: runs/leaky_relu-mlp does not have every epoch of each seed: run `dvc repro`"
    )
    assert NAME not in statuses()


def test_what_is_stale_is_left_out(root: Path) -> None:  # noqa: F811
    stale = ["train@leaky_relu-mlp", "gradients", "report"]
    reason = "its outputs are not what params.yaml and the code would give now: run `dvc repro`"
    done = sync(CONFIG, stale)
    assert done == Synced([], [f"{name}: {reason}" for name in (NAME, "gradients", "report")])
    assert stored_runs() == []
    done = sync(CONFIG, stale[1:])
    assert done.written == EVERYTHING[:1]
    assert done.left_out == [f"{name}: {reason}" for name in ("gradients", "report")]
