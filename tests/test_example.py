"""examples/own_question, copied into a folder of its own: a study without activations."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def copied(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("my") / "study"
    shutil.copytree(root / "examples/own_question", folder)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("[0, 1, 2, 3, 4, 5]", "[0, 1, 2]"))
    return folder


def run(folder, root, *command):
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    path = f"{root / 'src'}{os.pathsep}{folder}"
    environment = {**kept, "PYTHONPATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_study_of_something_else_is_run_resumed_and_compared(copied, root):
    run(copied, root, "git", "init", "--quiet")
    run(copied, root, "dvc", "init", "--quiet")
    said = run(copied, root, "dvc", "repro")
    assert "6 jobs: 6 done." in said
    table = pd.read_csv(copied / "comparisons.csv")
    by_classifier = table[table["key"] == "classifier"]
    assert len(by_classifier) == 2 * 3
    assert set(table["pairs"]) == {3}
    (row,) = table.query("images == 100 and first == 'bayes' and second == 'neighbors'").index
    assert table.loc[row, "verdict"] == "worse"
    # Killed and started again: what MLflow has is skipped, and nothing is counted twice.
    again = run(copied, root, sys.executable, "-m", "digits.measure", "-m", "sweep=digits")
    assert "6 jobs: 6 skipped." in again
    run(copied, root, sys.executable, "-m", "digits.compare", "sweep=digits")
    pd.testing.assert_frame_equal(pd.read_csv(copied / "comparisons.csv"), table)


def test_the_example_is_short_and_knows_no_activation(root):
    code = [path.read_text() for path in (root / "examples/own_question/digits").glob("*.py")]
    lines = [line for text in code for line in text.splitlines() if line.strip()]
    assert len(lines) <= 120
    assert "activation" not in "".join(code)
