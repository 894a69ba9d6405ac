"""What a fingerprint holds, and what it leaves out."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from closure import APART, PROVIDES, import_closure
from planted import adam, configured

from actlab.activations.config import ActivationConfig
from actlab.data.config import DataConfig
from actlab.engine.fingerprint import digest_sources, list_sources
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.results import identity
from actlab.schema import CompareConfig
from actlab.training.config import OptimizerConfig, TrainingConfig

CONFIG = configured(Path())


def test_the_code_is_all_that_computes_a_training(root):
    package = root / "src/actlab"
    named = set(list_sources(package, identity.CODE))
    computes = import_closure(package / "stages/train.py", root / "src", [*APART, PROVIDES])
    assert computes <= named | {package / "errors.py"}
    assert all((package / name).exists() for name in identity.CODE)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": DataConfig("mnist", 10_000, 0)},
        {"data": DataConfig("fashion_mnist", 0, 0)},
        {"seeds": [1]},
        {"initializer": InitializerConfig.read("recommended")},
        {"initializer": InitializerConfig.read({"name": "normal", "stddev": 0.1})},
        {"optimizer": adam(0.002)},
        {"optimizer": OptimizerConfig.read("sgd")},
        {"training": TrainingConfig(2, 128, [0])},
        {"activation": ActivationConfig("relu", "relu", {"negative_slope": 0.5})},
        {"network": NetworkConfig("mlp", [128, 65])},
    ],
)
def test_what_decides_a_result_is_in_it(changes):
    assert identity.fingerprint(replace(CONFIG, **changes)) != identity.fingerprint(CONFIG)


@pytest.mark.parametrize(
    "changes",
    [
        {"sweep": "depth"},
        {"force": True},
        {"models_at_once": 1},
        {"compare": CompareConfig("x", ["a"])},
        {"activations": ["tanh"]},
        {"paths": configured(Path("elsewhere")).paths},
    ],
)
def test_what_decides_no_result_is_not_in_it(changes):
    assert identity.fingerprint(replace(CONFIG, **changes)) == identity.fingerprint(CONFIG)


def test_every_file_of_the_code_counts_and_no_other(root, tmp_path):
    shutil.copytree(root / "src/actlab", tmp_path, dirs_exist_ok=True)
    before = digest_sources(tmp_path, identity.CODE)
    for path in list_sources(tmp_path, identity.CODE):
        content = path.read_text()
        path.write_text(content + "\n")
        assert digest_sources(tmp_path, identity.CODE) != before, path
        path.write_text(content)
    (tmp_path / "reporting/figures.py").write_text("")
    (tmp_path / "models/__pycache__").mkdir(exist_ok=True)
    (tmp_path / "models/__pycache__/network.pyc").write_text("")
    assert digest_sources(tmp_path, identity.CODE) == before
    (tmp_path / "models/more.py").write_text("")
    assert digest_sources(tmp_path, identity.CODE) != before


def test_a_users_own_function_counts_by_its_sources(root, tmp_path, monkeypatch):
    from actlab.activations import functions

    (tmp_path / "mine_for_fingerprint.py").write_text("def phi(x):\n    return x\n")
    monkeypatch.setattr(functions, "FOLDER", tmp_path)
    mine = ActivationConfig("mine", "mine_for_fingerprint.phi", {})
    before = identity.fingerprint(replace(CONFIG, activation=mine))
    (tmp_path / "mine_for_fingerprint.py").write_text("def phi(x):\n    return 2 * x\n")
    assert identity.fingerprint(replace(CONFIG, activation=mine)) != before


def test_a_function_of_one_layer_counts_as_well():
    relu, snake = (
        ActivationConfig("relu", "relu", {}),
        ActivationConfig("snake", "example.snake", {"frequency": 1.0}),
    )
    assert identity.code_of(relu, snake) == identity.code_of(snake)
    assert identity.code_of(relu) != identity.code_of(relu, snake)


def test_the_package_that_computes_is_in_it(monkeypatch):
    before = identity.fingerprint(CONFIG)
    monkeypatch.setattr(identity, "find_versions", lambda names: {"tensorflow-cpu": "0"})
    assert {"keras", "numpy"} < set(identity.PACKAGES)
    assert identity.fingerprint(CONFIG) != before
