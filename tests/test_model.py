from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted import CONSTANTS
from reference import VALUES
from scipy import special

from actlab.activations.config import ActivationConfig
from actlab.activations.definitions import ACTIVATIONS
from actlab.backend import keras
from actlab.errors import UserError
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.models.network import (
    ModelSpec,
    build_model,
    describe_layers,
    draw_weights,
    load_model,
    weights_path,
)
from actlab.models.served import with_probabilities


def spec_of(function="relu", hidden=(128, 64), initializer="glorot_uniform", **constants):
    return ModelSpec(
        ActivationConfig(function, function, constants),
        NetworkConfig("net", list(hidden)),
        InitializerConfig.read(initializer),
    )


def test_layer_table_of_the_notebooks_network():
    spec = spec_of()
    assert describe_layers(build_model(spec, 0), spec) == [
        ("hidden_1", 784, 128, "relu", 100480),
        ("hidden_2", 128, 64, "relu", 8256),
        ("output", 64, 10, "linear", 650),
    ]


@pytest.mark.parametrize("function", list(ACTIVATIONS))
def test_model_computes_what_numpy_computes(function, tmp_path):
    constants = CONSTANTS.get(function, {})
    spec = spec_of(function, hidden=(5, 4), **constants)
    model = build_model(spec, seed=3)
    images = np.random.default_rng(0).random((7, 784), dtype=np.float32)
    value = images.astype(np.float64)
    *hidden, (kernel, bias) = [layer.get_weights() for layer in model.layers]
    for below, offset, *slopes in hidden:
        assert len(slopes) == (function == "prelu")
        value = VALUES[function]((value @ below + offset).ravel(), **constants).reshape(7, -1)
    logits = value @ kernel + bias
    np.testing.assert_allclose(model(images), logits, rtol=1e-5, atol=1e-6)
    # The logged model, saved, and loaded without actlab.
    with_probabilities(model, spec).save(tmp_path / "copy.keras")
    loaded: Any = keras.saving.load_model(tmp_path / "copy.keras", safe_mode=True)
    np.testing.assert_allclose(loaded(images), special.softmax(logits, axis=1), rtol=1e-4)


def test_a_seed_gives_every_activation_the_same_initial_weights():
    relu, tanh = (build_model(spec_of(name), 7).get_weights() for name in ("relu", "tanh"))
    assert all(np.array_equal(left, right) for left, right in zip(relu, tanh, strict=True))


@pytest.mark.parametrize("initializer", ["glorot_uniform", "lecun_normal", "recommended"])
@pytest.mark.parametrize(("function", "constants"), [("relu", {}), ("prelu", {"slope": 0.25})])
def test_kernels_drawn_again_are_those_of_a_model_of_that_seed(function, constants, initializer):
    spec = spec_of(function, initializer=initializer, **constants)
    model = build_model(spec, 0)
    draw_weights(model, spec, 5)
    for drawn, built in zip(model.get_weights(), build_model(spec, 5).get_weights(), strict=True):
        np.testing.assert_array_equal(drawn, built, strict=True)


def test_seeds_beyond_32_bits_are_told_apart():
    small, large = (build_model(spec_of(), seed).get_weights()[0] for seed in (1, 2**32 + 1))
    assert not np.array_equal(small, large)


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        ("glorot_uniform", 2 / (784 + 128)),
        ("glorot_normal", 2 / (784 + 128)),
        ("he_uniform", 2 / 784),
        ("he_normal", 2 / 784),
        ("lecun_uniform", 1 / 784),
        ("lecun_normal", 1 / 784),
    ],
)
def test_kernels_have_the_variance_of_their_initializer(initializer, variance):
    kernel, bias = build_model(spec_of(initializer=initializer), 0).layers[0].get_weights()
    assert kernel.var() == pytest.approx(variance, rel=0.02)
    assert not bias.any()


@pytest.mark.parametrize("function", ["tanh", "relu", "selu"])
def test_recommended_draws_what_the_activation_recommends(function, tmp_path):
    drawn = spec_of(function, (4, 4), "recommended", **CONSTANTS.get(function, {}))
    named = replace(
        drawn, initializer=InitializerConfig.read(ACTIVATIONS[function].recommended_initializer)
    )
    for one, other in zip(
        build_model(drawn, 1).get_weights(), build_model(named, 1).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    drawn.save(tmp_path / "model.json")
    assert ModelSpec.load(tmp_path / "model.json").initializer.name == "recommended"


def test_saved_model_is_rebuilt(tmp_path):
    spec = spec_of("leaky_relu", hidden=(4,), negative_slope=0.2)
    model = build_model(spec, 0)
    spec.save(tmp_path / "model.json")
    for epoch, scale in ((0, 1.0), (3, 2.0)):
        path = weights_path(tmp_path, 0, epoch)
        path.parent.mkdir(exist_ok=True)
        model.set_weights([scale * value for value in model.get_weights()])
        model.save_weights(path)
    images = np.random.default_rng(0).random((3, 784), dtype=np.float32)
    np.testing.assert_array_equal(load_model(tmp_path, 0)(images), model(images))
    first = load_model(tmp_path, 0, epoch=0)
    np.testing.assert_array_equal(first.get_weights()[0] * 2, model.get_weights()[0])
    assert ModelSpec.load(tmp_path / "model.json") == spec
    with pytest.raises(UserError, match=r"seed-9 holds no weights: run `dvc repro`"):
        load_model(tmp_path, 9)
    with pytest.raises(UserError, match=r"model\.json is missing: run `dvc repro`"):
        load_model(tmp_path / "nowhere", 0)


def test_slopes_of_prelu_are_weights_one_a_unit(tmp_path):
    spec = spec_of("prelu", hidden=(4, 3), slope=0.25)
    model = build_model(spec, 0)
    assert [row[-1] for row in describe_layers(model, spec)] == [785 * 4 + 4, 5 * 3 + 3, 40]
    np.testing.assert_array_equal(model.layers[0].activation.alpha, np.full(4, np.float32(0.25)))
    slopes = np.array([-0.5, 0.0, 0.5, 2.0], np.float32)
    model.layers[0].activation.alpha.assign(slopes)
    path = weights_path(tmp_path, 0, 1)
    path.parent.mkdir()
    model.save_weights(path)
    spec.save(tmp_path / "model.json")
    loaded = load_model(tmp_path, 0)
    np.testing.assert_array_equal(loaded.layers[0].activation.alpha, slopes)
    images = np.random.default_rng(0).random((6, 784), dtype=np.float32)
    kernel, bias, _ = model.layers[0].get_weights()
    below = images @ kernel + bias
    np.testing.assert_allclose(
        loaded.layers[0](images), np.where(below > 0, below, slopes * below), rtol=1e-5, atol=1e-6
    )
