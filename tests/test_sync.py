import json
import subprocess
import sys
from pathlib import Path

import pytest

from actlab.errors import UserError
from actlab.stages import sync

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
    assert sync.find_stale_stages() == ALL
    dvc("repro")
    assert sync.find_stale_stages() == set()
    Path("params.yaml").write_text(json.dumps({"relu": 2, "tanh": 1, "seeds": 1}))
    assert sync.find_stale_stages() == {"train@relu-mlp", "gradients"}
    dvc("repro")
    Path("gradients").write_text("of another hand")
    assert sync.find_stale_stages() == {"gradients"}
    Path("raw").write_text("other")
    assert sync.find_stale_stages() == ALL
    Path("dvc.yaml").write_text("stages: [")
    with pytest.raises(UserError, match=r"^DVC cannot tell what changed \(.*dvc\.yaml.*\): .*$"):
        sync.find_stale_stages()


def test_no_repository_of_dvc_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"^DVC cannot tell what changed \(you are not inside of a DVC .*$"
    ):
        sync.find_stale_stages()
