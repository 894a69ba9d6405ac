import math

import numpy as np
import pytest
from planted import GLOROT, activation_of

from actlab.activations.definitions import ACTIVATIONS
from actlab.activations.functions import nonlinearity_of
from actlab.data.splits import Split
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.models.network import ModelSpec, build_model
from actlab.probes import untrained
from actlab.probes.untrained import (
    compare_with_theory,
    compile_signals,
    is_silent_below_zero,
    layer_ratios,
    measure_ratios,
)


def spec_of(name, hidden, **kwargs):
    return ModelSpec(activation_of(name), NetworkConfig("net", hidden), GLOROT, **kwargs)


@pytest.fixture(scope="module")
def images(mnist):
    """The first test images, as many as the default configuration takes."""
    return Split(mnist.test.images[:256], mnist.test.labels[:256])


@pytest.mark.parametrize("name", ["tanh", "relu", "prelu", "hard_shrink", "gelu"])
def test_signals_are_those_of_backpropagation_by_hand(name):
    generator = np.random.default_rng(0)
    phi, model = nonlinearity_of(activation_of(name)), build_model(spec_of(name, [7, 6]), 1)
    batch = Split(
        generator.random((5, 784), dtype=np.float32),
        generator.integers(0, 10, 5).astype(np.int32),
    )
    kernels = [layer.kernel.numpy().astype(np.float64) for layer in model.layers]
    first = batch.images @ kernels[0]
    second = phi.value(first) @ kernels[1]
    logits = phi.value(second) @ kernels[2]
    exponentials = np.exp(logits)
    error = exponentials / exponentials.sum(axis=1, keepdims=True) - np.eye(10)[batch.labels]
    upper = error @ kernels[2].T * phi.derivative(second)
    lower = upper @ kernels[1].T * phi.derivative(first)
    signals = compile_signals(model)(batch)
    for measured, (one, other) in zip(signals, ((first, second), (lower, upper)), strict=True):
        expected = [np.square(one).mean(axis=1), np.square(other).mean(axis=1)]
        np.testing.assert_allclose(measured, expected, rtol=1e-4)


def test_an_image_without_a_signal_is_left_out():
    squares = np.array([[1.0, 0.0], [4.0, 0.0], [0.0, 0.0]])
    ratios = layer_ratios(squares)
    assert ratios[0] == 4.0
    assert math.isnan(ratios[1])


def test_every_seed_has_its_own_ratios():
    # Images may have any size and any number of classes.
    images = np.random.default_rng(0).random((6, 9), dtype=np.float32)
    batch = Split(images, np.arange(0, 24, 4, dtype=np.int32))
    recommended = InitializerConfig.read("recommended")
    both = measure_ratios(activation_of("tanh"), recommended, 8, 4, [3, 5], batch, 21)
    alone = measure_ratios(activation_of("tanh"), recommended, 8, 4, [5], batch, 21)
    for direction in ("forward", "backward"):
        assert both[direction].shape == (2, 3)
        assert (np.isfinite(both[direction]) & (both[direction] > 0)).all()
        np.testing.assert_array_equal(both[direction][1], alone[direction][0])
        assert not np.array_equal(*both[direction])


def agreement(rows):
    """Where the geometric mean over seeds lies in the band, by (layer, direction)."""
    measured = {}
    for layer, direction, _, _, low, high, ratio in rows:
        measured.setdefault((layer, direction, low, high), []).append(ratio)
    return {
        (layer, direction): low <= math.exp(np.log(ratios).mean()) <= high
        for (layer, direction, low, high), ratios in measured.items()
    }


@pytest.mark.parametrize(
    ("name", "initializer"),
    [
        ("sigmoid", "glorot_uniform"),
        ("tanh", "he_uniform"),
        ("relu", "glorot_uniform"),
        ("relu", "he_uniform"),
        ("selu", "glorot_uniform"),
        ("gelu", "he_uniform"),
    ],
)
def test_theory_and_measurement_agree(name, initializer, images):
    rows, _ = compare_with_theory(
        activation_of(name), InitializerConfig.read(initializer), 512, 20, [0, 1], images
    )
    agrees = agreement(rows)
    assert len(agrees) == 2 * (19 + 1)
    assert [key for key, holds in agrees.items() if not holds] == []


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_weights_of_another_variance_are_found_out(factor, images, monkeypatch):
    right = untrained.weight_variance

    def wrong(*arguments):
        return factor * right(*arguments)

    monkeypatch.setattr("actlab.probes.untrained.weight_variance", wrong)
    batch = Split(images.images[:16], images.labels[:16])
    rows, _ = compare_with_theory(
        activation_of("relu"), InitializerConfig.read("he_uniform"), 256, 20, [0, 1], batch
    )
    agrees = agreement(rows)
    assert not agrees["all", "forward"]
    assert not agrees["all", "backward"]


def test_only_what_is_zero_for_every_negative_number_is_silent():
    silent = {name for name in ACTIVATIONS if is_silent_below_zero(activation_of(name))}
    assert "relu" in silent
    assert silent.isdisjoint({"sigmoid", "tanh", "leaky_relu", "elu", "selu", "gelu", "silu"})
