from typing import Any

import numpy as np
import pytest

from actlab.activations import ACTIVATIONS
from actlab.config import ActivationConfig, NetworkConfig
from actlab.datasets import Split
from actlab.gradients import compile_gradients, probe_configuration, summarise_gradient
from actlab.model import ModelSpec, build_model, weights_path
from actlab.runtime import keras, tf

SMALL = NetworkConfig("small", [5, 4])


def spec_of(function, network=SMALL, **kwargs):
    return ModelSpec(ActivationConfig(function, function, {}), network, "glorot_uniform", **kwargs)


def batch_of(images, pixels=784, seed=0):
    generator = np.random.default_rng(seed)
    return Split(
        generator.random((images, pixels), dtype=np.float32),
        generator.integers(0, 10, images).astype(np.int32),
    )


def numpy_gradients(model, function, batch):
    """Backpropagation by hand, in double precision."""
    weights = [
        [array.astype(np.float64) for array in layer.get_weights()] for layer in model.layers
    ]
    activation = ACTIVATIONS[function]
    inputs, pre_activations = [batch.images.astype(np.float64)], []
    for kernel, bias in weights:
        pre_activations.append(inputs[-1] @ kernel + bias)
        inputs.append(activation.value(pre_activations[-1]))
    logits = pre_activations[-1]
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    signal = (softmax - np.eye(10)[batch.labels]) / len(batch.labels)
    gradients = []
    for place in reversed(range(len(weights))):
        gradients.append(inputs[place].T @ signal)
        if place:
            slope = activation.derivative(pre_activations[place - 1])
            signal = (signal @ weights[place][0].T) * slope
    return gradients[::-1]


@pytest.mark.parametrize("function", ["sigmoid", "tanh", "relu", "selu", "silu"])
def test_gradients_are_those_of_backpropagation_by_hand(function):
    model, batch = build_model(spec_of(function), 1), batch_of(32)
    measured = compile_gradients(model)(batch)
    assert list(measured) == ["hidden_1", "hidden_2", "output"]
    for value, expected in zip(
        measured.values(), numpy_gradients(model, function, batch), strict=True
    ):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-7)


def test_one_unit_network_solved_by_hand():
    # image 1, kernel 2 -> relu(2) = 2, output kernel all 0: softmax 1/10 each, label 3.
    spec = spec_of("relu", NetworkConfig("one", [1]), inputs=1)
    model = build_model(spec, 0)
    model.set_weights([np.array([[2.0]]), np.zeros(1), np.zeros((1, 10)), np.zeros(10)])
    batch = Split(np.ones((1, 1), np.float32), np.array([3], np.int32))
    measured = compile_gradients(model)(batch)
    expected = np.full((1, 10), 0.2)
    expected[0, 3] = -1.8
    np.testing.assert_allclose(measured["output"], expected, rtol=1e-6)
    np.testing.assert_array_equal(measured["hidden_1"], [[0.0]])


def test_first_layer_gradient_is_the_notebooks_measure():
    # The notebook: softmax in the model, the mean of the losses, mean |gradient| of a kernel.
    model, batch = build_model(spec_of("tanh"), 2), batch_of(32)
    with tf.GradientTape() as tape:
        probabilities = keras.ops.softmax(model(batch.images, training=True))
        losses: Any = keras.losses.sparse_categorical_crossentropy(batch.labels, probabilities)
        loss = tf.reduce_mean(losses)
    gradient: Any = tape.gradient(loss, model.layers[0].trainable_weights)[0]
    theirs = np.mean(np.abs(gradient.numpy()))
    ours = summarise_gradient(
        compile_gradients(model)(batch)["hidden_1"], model.layers[0].kernel.numpy()
    )
    assert ours["mean_abs"] == pytest.approx(theirs, rel=1e-5)


def test_probe_covers_every_seed_epoch_layer_and_probe(tmp_path):
    spec = spec_of("relu", NetworkConfig("none", []))
    spec.save(tmp_path / "model.json")
    for seed in (0, 5):
        for epoch in (0, 2):
            path = weights_path(tmp_path, seed, epoch)
            path.parent.mkdir(exist_ok=True)
            build_model(spec, 10 * seed + epoch).save_weights(path)
    probes = {"notebook": batch_of(4), "test": batch_of(9, seed=1)}
    rows = list(probe_configuration(tmp_path, [0, 5], probes))
    assert len(rows) == len({row[:5] for row in rows}) == 2 * 2 * 1 * 2 * 3
    model = build_model(spec, 52)
    (expected,) = numpy_gradients(model, "relu", probes["test"])
    values = {row[:5]: row[5] for row in rows}
    assert values[5, 2, "output", "test", "mean_abs"] == pytest.approx(
        np.abs(expected).mean(), rel=1e-5
    )


def test_norm_relative_to_a_zero_kernel_is_not_a_number():
    assert np.isnan(summarise_gradient(np.ones((2, 2)), np.zeros((2, 2)))["relative_norm"])
