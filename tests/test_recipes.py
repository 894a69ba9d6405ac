"""The recipes of docs/recipes.md, followed on a copy of the repository."""

import csv
import json
import math
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing

import h5py
import pages
import pytest
import yaml
from studies import copy_repository

RECIPES = [
    *("An activation", "A network", "Dropout", "An optimizer", "A data set"),
    *("A probe", "A claim"),
]

#: Commands of the page, in one process: TensorFlow takes seconds to import. Tests come first,
#: since their check of shapes has to be there before actlab is.
DRIVER = """
import os, runpy, shlex, sys
import pytest

for line in sys.stdin.read().splitlines():
    print(f"$ {line}", flush=True)
    environment, words = {}, shlex.split(line)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    os.environ.update(environment)
    if words[0] == "pytest":
        status = pytest.main([*words[1:], "-p", "no:cacheprovider"])
        assert status == 0, status
    elif words[1] == "-m":
        sys.argv = words[2:]
        runpy.run_module(words[2], run_name="__main__")
    else:
        runpy.run_path(words[1], run_name="__main__")
    for name in environment:
        del os.environ[name]
"""


@pytest.fixture(scope="module")
def page(root):
    return pages.blocks((root / "docs/recipes.md").read_text())


def commands_under(page, heading):
    """The commands of a recipe."""
    told = "".join(
        block.text for block in page if (block.heading, block.language) == (heading, "sh")
    )
    return told.splitlines()


def test_the_page_has_the_recipes(root, page):
    text = (root / "docs/recipes.md").read_text()
    assert re.findall("^## (.+)$", text, re.MULTILINE) == RECIPES
    for heading in RECIPES:
        assert commands_under(page, heading)


def test_the_words_before_a_block_say_what_its_first_line_says(page):
    edits = [block for block in page if block.title]
    assert len(edits) > 10
    for block in edits:
        # Of two edits of one file behind each other, the first tells of both.
        assert f"`{block.title}`" in block.before or not block.before.strip()
        if block.how == "into":
            assert f"at the end of `{block.where}`" in " ".join(block.before.split())


class Followed:
    """The copy in which all recipes were followed, and what its commands said."""

    def __init__(self, folder, commands):
        self.folder = folder
        self.params = yaml.safe_load((folder / "params.yaml").read_text())
        self.scale_down()
        self.environment = os.environ | {
            "PYTHONPATH": f"{folder / 'src'}",
            "MLFLOW_TRACKING_URI": "",
            "PYTHONWARNINGS": "",
        }
        self.environment.pop("DVC_ROOT", None)
        finished = subprocess.run(
            [sys.executable, "-c", DRIVER],
            cwd=folder,
            env=self.environment,
            input="".join(f"{each}\n" for each in commands),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout
        parts = re.split(r"^\$ (.+)\n", finished.stdout, flags=re.MULTILINE)
        self.said = dict(zip(parts[1::2], parts[2::2], strict=True))

    def scale_down(self):
        """Leave the new activation on the new network, an epoch of one seed."""
        params = self.params | {"activations": ["gaussian"], "networks": ["funnel"], "seeds": [0]}
        params["data"] = params["data"] | {"name": "stripes"}
        params["training"] = params["training"] | {"epochs": 1, "probe_epochs": []}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))

    def said_by(self, words):
        """What the one command said that has these words."""
        (said,) = [each for command, each in self.said.items() if words in command]
        return said

    def rows(self, name):
        with (self.folder / name).open(newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def followed(root, page, tmp_path_factory):
    folder = tmp_path_factory.mktemp("carried") / "actlab"
    copy_repository(root, folder)
    for block in page:
        if block.title:
            pages.apply(block, folder)
    order = ["A probe", "A claim", "A data set", "An activation", "A network"]
    order += ["Dropout", "An optimizer"]
    commands = [each for heading in order for each in commands_under(page, heading)]
    # DVC trains before it probes.
    commands.remove("dvc repro gradients")
    of_stage = "python -m actlab.stages.{} run=stage"
    commands.append(f"{of_stage.format('train')} activation=gaussian network=funnel")
    commands.append(of_stage.format("gradients"))
    return Followed(folder, commands)


def test_an_activation_is_checked_and_listed(followed):
    assert followed.params["activations"] == ["sigmoid", "tanh", "relu", "leaky_relu", "gaussian"]
    said = followed.said_by("stages.activations")
    (row,) = re.findall(r"^gaussian +(\S+ \S+) +(\S+)", said, re.MULTILINE)
    # exp(-x^2) is steepest at 1 / sqrt(2).
    assert row == ("(0, 1]", f"{math.sqrt(2 / math.e):.4g}")
    said = followed.said[
        "python -m actlab.stages.train run=stage activation=gaussian network=funnel"
    ]
    assert "gaussian-funnel: mean test accuracy" in said
    assert (followed.folder / "runs/gaussian-funnel/models/model.json").is_file()


def test_a_network_trains(followed):
    assert followed.params["networks"] == ["mlp", "deep", "funnel"]
    (said,) = [
        each for command, each in followed.said.items() if "network=funnel training" in command
    ]
    # 8 x 8 pixels, layers of 64, 32 and 16 units, four classes.
    parameters = 65 * 64 + 65 * 32 + 33 * 16 + 17 * 4
    assert f"{parameters:,}" in said
    (history,) = (followed.folder / "multirun/single").glob(
        "*/runs/relu-funnel/results/history.csv"
    )
    assert len(followed.rows(history)) == 1


def test_a_data_set_is_converted_and_learnt(followed):
    said = followed.said_by("stages.fetch_data")
    assert "Stripes: converted from data/own/stripes" in said
    counted = followed.said_by("stages.preprocess")
    for images in (1024, 512):
        assert f"of each class {images}, {images}, {images}, {images}" in counted
    # Four classes: chance is a quarter.
    (row,) = followed.rows("runs/gaussian-funnel/results/test.csv")
    assert float(row["test_accuracy"]) > 0.5
    path = followed.folder / "data/own/stripes/t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    refused = subprocess.run(
        [sys.executable, "-m", "actlab.stages.fetch_data"],
        cwd=followed.folder,
        env=followed.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("actlab: conf/data/stripes.yaml, path ")
    assert "the idx file holds 2047 values, its shape (2048,) has 2048" in refused.stderr


def test_a_constant_of_an_activation_is_trained(followed):
    (path,) = (followed.folder / "multirun/single").glob(
        "*/runs/gaussian_trained-*/models/seed-0/epoch-001.weights.h5"
    )
    with h5py.File(path) as file:
        sizes = []
        file.visititems(lambda _, found: sizes.append(getattr(found, "shape", None)))
    hidden = yaml.safe_load((followed.folder / "conf/network/mlp.yaml").read_text())["hidden"]
    # Of each hidden layer a bias and a width per unit.
    assert [sizes.count((units,)) for units in hidden] == [2, 2]


def test_dropout_and_an_optimizer_are_compared(followed):
    said = followed.said_by("compare sweep=dropout")
    assert re.search(r"^By test accuracy, dropout 0.0 vs. 0.5", said, re.MULTILINE)
    paths = (followed.folder / "multirun/single").glob("*/runs/relu-mlp/models/training.json")
    optimizers = [json.loads(path.read_text())["optimizer"] for path in paths]
    (settings,) = [each["settings"] for each in optimizers if each["name"] == "heavy_ball"]
    assert (settings["momentum"], settings["learning_rate"]["decay_rate"]) == (0.9, 0.5)


def test_a_probe_is_measured_of_every_hidden_layer(followed):
    rows = [
        row
        for row in followed.rows("results/gradients.csv")
        if row["statistic"] == "activation_rms"
    ]
    assert [(row["epoch"], row["layer"]) for row in rows] == [
        (epoch, f"hidden_{at}") for epoch in "01" for at in (1, 2, 3)
    ]
    assert all(0 < float(row["value"]) < 1 for row in rows)  # of what lies between 0 and 1
    with closing(sqlite3.connect(followed.folder / "mlflow.db")) as store:
        logged = store.execute("SELECT key FROM metrics WHERE key LIKE 'health/activation_rms/%'")
        assert len(logged.fetchall()) == 2 * len(rows)  # of the seed and of its parent
    said = followed.said_by("test_gradients")
    assert re.search(r"^[3-9] passed, ", said, re.MULTILINE)


def test_a_claim_is_decided(followed):
    said = followed.said_by("test_claims")
    # Four verdicts, and the ledger.
    assert re.search(r"^5 passed", said, re.MULTILINE)


def test_a_page_that_no_longer_fits_is_noticed(tmp_path):
    (tmp_path / "a.py").write_text("NAMES = (\n    1,\n)\nx = 1\ny = 1\n")

    def follow(place, text="    2,\n"):
        fence = f'```python title="a.py"\n    {text}    ```'
        (block,) = pages.blocks(f"## A\n\nIn `a.py`:\n\n    {place}\n    {fence}\n")
        pages.apply(block, tmp_path)
        return (tmp_path / "a.py").read_text()

    assert follow("<!-- into NAMES -->").startswith("NAMES = (\n    1,\n    2,\n)\n")
    for place in ("<!-- after = 1 -->", "<!-- replaces z -->", ""):
        with pytest.raises(AssertionError):
            follow(place)
    with pytest.raises(AssertionError, match="has no TABLE"):
        follow("<!-- into TABLE -->")
