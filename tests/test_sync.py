import json
import subprocess
import sys
from pathlib import Path

import pytest
from planted import configured

from actlab import plan
from actlab.errors import UserError
from actlab.stages import sync

TRAINS = {"train@relu-mlp", "train@tanh-mlp"}
ANALYSES = {"gradients", "timing", "theory", "report"}

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


def test_dvc_says_which_stages_are_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dvc("init", "--no-scm")
    Path("raw").write_text("raw")
    Path("dvc.yaml").write_text(DVC_YAML)
    Path("params.yaml").write_text(json.dumps({"relu": 1, "tanh": 1, "seeds": 1}))
    assert sync.changed_stages() == {"preprocess", "gradients", *TRAINS}
    dvc("repro")
    assert sync.changed_stages() == set()
    Path("params.yaml").write_text(json.dumps({"relu": 2, "tanh": 1, "seeds": 1}))
    assert sync.changed_stages() == {"train@relu-mlp"}
    Path("gradients").write_text("of another hand")
    assert sync.changed_stages() == {"train@relu-mlp", "gradients"}
    Path("dvc.yaml").write_text("stages: [")
    with pytest.raises(UserError, match=r"^`dvc status` fails \(.*dvc\.yaml.*\): .*$"):
        sync.changed_stages()


def test_no_repository_of_dvc_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^`dvc status` fails \(you are not inside of a DVC .*$"):
        sync.changed_stages()


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        (set(), set()),
        ({"report"}, {"report"}),
        ({"gradients"}, {"gradients", "report"}),
        ({"timing"}, {"timing", "report"}),
        ({"activations"}, {"activations", *TRAINS, *ANALYSES}),
        ({"train@tanh-mlp"}, {"train@tanh-mlp", "gradients", "timing", "report"}),
        ({"preprocess"}, {"preprocess", *TRAINS, *ANALYSES}),
        ({"fetch-data"}, {"fetch-data", *TRAINS, *ANALYSES, "preprocess"}),
    ],
)
def test_what_comes_after_a_changed_stage_is_stale(changed: set[str], stale: set[str]) -> None:
    assert plan.with_downstream(changed, TRAINS) == stale


def test_the_stages_that_train_are_those_of_dvc(tmp_path: Path) -> None:
    config = configured(tmp_path, activations=["relu", "tanh"], networks=["mlp"])
    assert set(sync.trainings(config)) == TRAINS
