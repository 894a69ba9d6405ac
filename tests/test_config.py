"""What a value of the configuration may be, and the line that refuses another."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError
from planted import configured

from actlab.engine.validation import Count, Real, Seeds, validate
from actlab.errors import UserError
from actlab.schema import Config
from actlab.training.config import TrainingConfig

CONFIG = configured(Path())


def refusal(kind, value, key="key"):
    with pytest.raises(UserError) as caught:
        validate(kind, value, key)
    return str(caught.value)


def changed(key, value):
    """The default configuration as it is written, with one value changed or added."""
    values = asdict(CONFIG)
    for name in ("initializer", "optimizer"):
        values[name] |= values[name].pop("settings")
        del values[name]["_target_"]
    *sections, name = key.split(".")
    section = values
    for each in sections:
        section = section[each]
    section[name] = value
    return values


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (Count, np.int32(3), 3),
        (Count, 10**30, 10**30),
        (Real, np.float32(0.5), 0.5),
        (Real, 1, 1.0),
        (Seeds, range(3), [0, 1, 2]),
        (Seeds, np.arange(3), [0, 1, 2]),
        (Seeds, (np.int64(2**63 - 1),), [2**63 - 1]),
    ],
)
def test_values_become_those_of_python(kind, given, value):
    validated = validate(kind, given)
    assert validated == value
    assert type(validated) is type(value)
    if isinstance(value, list):
        assert {type(each) for each in validated} == {int}


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("training.batch_size", 0, "training.batch_size is 0: it has to be at least 1"),
        ("training.epochs", 10**7, "training.epochs is 10000000: it has to be at most 1000000"),
        ("training.epohcs", 3, "training.epohcs is unknown: training has epochs, batch_size, pro"),
        ("foo", 3, "foo is unknown: the configuration has data, activations, networks, seeds,"),
        (
            "training",
            {"epohcs": 3},
            "training.epohcs is unknown: training has epochs, batch_size, ",
        ),
        ("training", 3, "training is 3: it has to hold epochs, batch_size, probe_epochs"),
        ("training", {"epochs": 3}, "training.batch_size is missing"),
        ("seeds", [0, [1]], "seeds[1] is [1]: it has to be a valid integer"),
        ("network.hidden", [True], "network.hidden is [True]: it has to be a list of whole numb"),
        ("data.validation_size", 60_000, "data.validation_size is 60000: it has to be from 0 to"),
        ("sweep", "a\n", r"sweep is 'a\n': it has to be at most 100 letters, digits, _ and ."),
        ("sweep", 1000 * "x", f"sweep is '{199 * 'x'}: it has to be at most 100"),
        ("activation.constants", {"x": 1}, "activation.constants.x is unknown: ReLU has the con"),
        (
            "activation",
            {"name": "mine", "function": "a.b", "constants": {"x": [1]}},
            "activation.constants.x is [1]: it has to be a number, a text, true, false or null",
        ),
    ],
)
def test_a_refusal_names_the_key_as_it_is_typed(key, value, line):
    refused = refusal(Config, changed(key, value), "")
    assert refused.startswith(line)
    assert "\n" not in refused


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("training.batch_size", -1, "at least 1"),
        ("optimizer.learning_rate", 0.0, "from 1e-45"),
        ("optimizer.learning_rate", float("nan"), "a finite number"),
        ("seeds", [1, 1], "a list of at least one entry, without repetitions"),
        ("activations", ["relu", "relu"], "a list of at least one entry, without repetitions"),
        ("network.hidden", [0], "a list of whole numbers from 1 to"),
        ("network.hidden", 8, "a list of whole numbers from 1 to"),
        ("models_at_once", 0, "at least 1"),
        ("sweep", "a/b", "at most 100 letters, digits, _ and ."),
        ("activation.function", "f", "one of sigmoid,"),
        ("data.name", "cifar", "one of fashion_mnist, mnist"),
        ("initializer", "z", "one of glorot_normal,"),
        ("gradients.saturated_below", 1.5, "between 0 and 1"),
        ("gradients.preactivation_bins", 2, "at least 3"),
        ("theory.depth", 1, "at least 2"),
        ("report.confidence", 95.0, "between 0 and 1"),
        ("report.equivalence_margin_ratio", float("inf"), "a finite number"),
        ("timing.blocks", 1, "at least 2"),
    ],
)
def test_every_key_has_its_bounds(key, value, expected):
    line = refusal(Config, changed(key, value), "")
    assert line.startswith(f"{key} is {value!r}: it has to be {expected}")


@pytest.mark.parametrize(
    ("epochs", "probes", "kept"),
    [(20, [0, 1, 5], [0, 1, 5, 20]), (2, [0, 1, 5], [0, 1, 2]), (1, [], [0, 1])],
)
def test_kept_epochs_begin_before_training_and_end_with_it(epochs, probes, kept):
    assert TrainingConfig(epochs, 128, probes).kept_epochs() == kept


def test_what_is_constructed_by_hand_is_validated_too():
    with pytest.raises(UserError, match=r"^epochs is 0: it has to be at least 1$"):
        TrainingConfig(0, 128, [])
    with pytest.raises(UserError, match=r"^epochs is True: it has to be a valid integer$"):
        replace(CONFIG.training, epochs=True)
    with pytest.raises(TypeError, match="batch_sizes"):
        TrainingConfig(1, 128, [], batch_sizes=2)  # pyright: ignore[reportCallIssue]


def test_hydra_reads_the_plain_types():
    schema = OmegaConf.structured(Config)
    merged: Any = OmegaConf.merge(
        schema, {"training": {"epochs": "2"}, "report": {"confidence": 1}}
    )
    assert OmegaConf.get_type(merged, "training") is TrainingConfig
    assert type(merged.report.confidence) is float
    assert merged.training.epochs == 2
    with pytest.raises(ConfigKeyError):
        OmegaConf.merge(schema, {"training": {"epohcs": 1}})
