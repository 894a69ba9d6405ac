"""What a fingerprint holds, and what it leaves out."""

from dataclasses import replace
from pathlib import Path

import pytest
from actlab.activations.definitions.config import ActivationConfig
from actlab.data.config import DataConfig
from actlab.models.config import ModelConfig, NetworkConfig
from actlab.stages.schema import CompareConfig
from actlab.training.trainer.config import TrainingConfig
from closure import import_closure
from planted import configured

from actlab.results import identity

CONFIG = configured(Path())


def test_the_code_is_all_that_computes_a_training(root):
    package = root / "src/actlab"
    computes = import_closure(package / "checkpoints.py", root / "src")
    computes |= {package / "stages/train.py"}
    assert {package / name for name in identity.CODE} == computes


@pytest.mark.parametrize(
    "changes",
    [
        {"data": DataConfig("mnist", 10_000, 0)},
        {"data": DataConfig("fashion_mnist", 0, 0)},
        {"seeds": [1]},
        {"model": ModelConfig("matched")},
        {"training": TrainingConfig(1, 128, 0.002, [0])},
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


def test_equal_layers_are_the_list_that_they_stand_for():
    listed = replace(CONFIG, network=NetworkConfig("mlp", [16, 16]))
    short = replace(CONFIG, network=NetworkConfig("mlp", "2x16"))
    assert identity.fingerprint(listed) == identity.fingerprint(short)


@pytest.mark.parametrize("name", identity.CODE)
def test_every_module_of_the_code_counts(name, root, tmp_path, monkeypatch):
    for each in identity.CODE:
        (tmp_path / each).parent.mkdir(exist_ok=True)
        (tmp_path / each).write_bytes((root / "src/actlab" / each).read_bytes())
    monkeypatch.setattr(identity, "__file__", str(tmp_path / "fingerprint.py"))
    identity._code.cache_clear()
    before = identity.fingerprint(CONFIG)
    (tmp_path / name).write_text((tmp_path / name).read_text() + "\n")
    identity._code.cache_clear()
    changed = identity.fingerprint(CONFIG)
    identity._code.cache_clear()
    assert changed != before


def test_a_users_own_function_counts_by_its_sources(root, tmp_path, monkeypatch):
    from actlab.activations import functions

    (tmp_path / "mine_for_fingerprint.py").write_text("def phi(x):\n    return x\n")
    monkeypatch.setattr(functions, "FOLDER", tmp_path)
    mine = ActivationConfig("mine", "mine_for_fingerprint.phi", {})
    before = identity.fingerprint(replace(CONFIG, activation=mine))
    (tmp_path / "mine_for_fingerprint.py").write_text("def phi(x):\n    return 2 * x\n")
    assert identity.fingerprint(replace(CONFIG, activation=mine)) != before


def test_the_package_that_computes_is_in_it(monkeypatch):
    before = identity.fingerprint(CONFIG)
    monkeypatch.setattr(identity, "_packages", lambda: {"tensorflow-cpu": "0"})
    assert {"keras", "numpy"} < set(identity.PACKAGES)
    assert identity.fingerprint(CONFIG) != before
