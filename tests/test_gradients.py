from typing import Any

import numpy as np
import pytest
from planted import GLOROT

from actlab.activations.config import ActivationConfig
from actlab.activations.functions import nonlinearity_of
from actlab.backend import keras, tf
from actlab.data.splits import Split
from actlab.models.config import NetworkConfig
from actlab.models.network import ModelSpec, build_model, weights_path
from actlab.probes.gradients import (
    STATISTICS,
    compile_pass,
    probe_configuration,
    summarise_gradient,
    summarise_health,
)
from actlab.results import tables

SMALL = NetworkConfig("small", [5, 4])


def spec_of(function, network=SMALL, **kwargs):
    return ModelSpec(ActivationConfig(function, function, {}), network, GLOROT, **kwargs)


def batch_of(images, pixels=784, seed=0):
    generator = np.random.default_rng(seed)
    return Split(
        generator.random((images, pixels), dtype=np.float32),
        generator.integers(0, 10, images).astype(np.int32),
    )


def gradients_of(model, batch):
    return {layer: measured.gradient for layer, measured in compile_pass(model)(batch).items()}


def numpy_gradients(model, function, batch):
    """Backpropagation by hand, in double precision."""
    weights = [
        [array.astype(np.float64) for array in layer.get_weights()] for layer in model.layers
    ]
    phi = nonlinearity_of(ActivationConfig(function, function, {}))
    inputs, pre_activations = [batch.images.astype(np.float64)], []
    for kernel, bias in weights:
        pre_activations.append(inputs[-1] @ kernel + bias)
        inputs.append(phi.value(pre_activations[-1]))
    logits = pre_activations[-1]
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    signal = (softmax - np.eye(10)[batch.labels]) / len(batch.labels)
    gradients = []
    for place in reversed(range(len(weights))):
        gradients.append(inputs[place].T @ signal)
        if place:
            slope = phi.derivative(pre_activations[place - 1])
            signal = (signal @ weights[place][0].T) * slope
    return gradients[::-1]


@pytest.mark.parametrize("function", ["sigmoid", "relu", "silu"])
def test_gradients_are_those_of_backpropagation_by_hand(function):
    model, batch = build_model(spec_of(function), 1), batch_of(32)
    measured = gradients_of(model, batch)
    assert list(measured) == ["hidden_1", "hidden_2", "output"]
    by_hand = numpy_gradients(model, function, batch)
    for value, expected in zip(measured.values(), by_hand, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-7)


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
        gradients_of(model, batch)["hidden_1"], model.layers[0].kernel.numpy()
    )
    assert ours["mean_abs"] == pytest.approx(theirs, rel=1e-5)


def keep_models(folder, spec, seeds, epochs):
    spec.save(folder / "model.json")
    for seed in seeds:
        for epoch in epochs:
            keep(folder, build_model(spec, 10 * seed + epoch), seed, epoch)


def keep(folder, model, seed=0, epoch=0):
    path = weights_path(folder, seed, epoch)
    path.parent.mkdir(exist_ok=True)
    model.save_weights(path)


def test_probe_covers_every_seed_epoch_layer_and_probe(tmp_path):
    spec = spec_of("relu", NetworkConfig("none", []))
    keep_models(tmp_path, spec, (0, 5), (0, 2))
    probes = {"notebook": batch_of(4), "test": batch_of(9, seed=1)}
    rows, bins = probe_configuration(tmp_path, [5, 0], probes, "test", 0.05, 5)
    assert bins == []  # there is no hidden layer
    assert list(dict.fromkeys(row[:2] for row in rows)) == [(5, 0), (5, 2), (0, 0), (0, 2)]
    health = [row for row in rows if row[4] not in STATISTICS]
    assert {row[2:4] for row in health} == {("output", "test")}
    assert len(rows) - len(health) == 2 * 2 * 1 * 2 * 3
    assert len(rows) == len({row[:5] for row in rows})
    model = build_model(spec, 52)
    (expected,) = numpy_gradients(model, "relu", probes["test"])
    values = {row[:5]: row[5] for row in rows}
    assert values[5, 2, "output", "test", "mean_abs"] == pytest.approx(
        np.abs(expected).mean(), rel=1e-5
    )


def test_every_probe_of_a_network_solved_by_hand():
    # Two images (1, 2) and (3, 1). Kernel [[1, -1], [1, 0]], biases 0 and 1: pre-activations
    # (3, 0) and (4, -2), so that the second unit of relu is off on both. Two classes, output
    # kernel [[ln 2 / 3, 0], [0, 0]]: logits (ln 2, 0) and (4 ln 2 / 3, 0).
    spec = ModelSpec(ActivationConfig("relu", "relu", {}), NetworkConfig("two", [2]), GLOROT, 2, 2)
    model = build_model(spec, 0)
    slope = np.log(2) / 3
    model.set_weights(
        [
            np.array([[1.0, -1.0], [1.0, 0.0]]),
            np.array([0.0, 1.0]),
            np.array([[slope, 0.0], [0.0, 0.0]]),
            np.zeros(2),
        ]
    )
    images = np.array([[1.0, 2.0], [3.0, 1.0]], np.float32)
    passed = compile_pass(model)(Split(images, np.array([0, 1], np.int32)))
    hidden = summarise_health(passed["hidden_1"], spec.activation, 0.05)
    # softmax - label: image 1 (2/3 - 1, 1/3), image 2 (p, p'-1) with p = 2^(4/3) / (1 + 2^(4/3)).
    p = 2 ** (4 / 3) / (1 + 2 ** (4 / 3))
    deltas = np.array([[-slope / 3, 0.0], [p * slope, 0.0]])
    np.testing.assert_allclose(passed["hidden_1"].deltas, deltas, rtol=1e-5, atol=1e-7)
    assert hidden == pytest.approx(
        {
            "backprop_rms": np.sqrt((deltas**2).mean()),
            "preactivation_mean": 1.25,
            "preactivation_variance": (1.75**2 + 1.25**2 + 2.75**2 + 3.25**2) / 4,
            "activation_mean": 1.75,
            "activation_variance": (1.25**2 + 2.25**2 + 2 * 1.75**2) / 4,
            "saturated_fraction": 0.5,
            "dead_fraction": 0.5,
            # Of unit 1 alone, whose inputs are positive on both images; over both images its
            # gradient is (-1/3 + 3p, -2/3 + p) slope / 2, both above 0.
            "one_sign_fraction": 1.0,
            "one_sign_batch_fraction": 1.0,
        },
        rel=1e-5,
    )
    assert p > 2 / 3
    output = summarise_health(passed["output"], None, 0.05)
    assert output == pytest.approx(
        {
            "backprop_rms": np.sqrt((1 / 9 + p**2) / 2),
            "preactivation_mean": 7 * slope / 4,
            "preactivation_variance": np.var([3 * slope, 0, 4 * slope, 0]),
            "one_sign_fraction": 1.0,
            "one_sign_batch_fraction": 1.0,
        },
        rel=1e-5,
    )


def health_of(model, function, batch):
    passed = compile_pass(model)(batch)
    activation = ActivationConfig(function, function, {})
    return {
        name: summarise_health(each, None if name == "output" else activation, 0.05)
        for name, each in passed.items()
    }


def test_sigmoid_with_huge_weights_is_saturated_and_not_dead():
    model = build_model(spec_of("sigmoid", NetworkConfig("one", [6])), 0)
    batch = batch_of(64)
    before = health_of(model, "sigmoid", batch)["hidden_1"]
    # phi' = s (1 - s) is below 0.05 / 4 beyond ln((1 + t) / (1 - t)), t = sqrt(1 - 0.05).
    edge = np.log((1 + np.sqrt(0.95)) / (1 - np.sqrt(0.95)))
    model.layers[0].kernel.assign(10 * model.layers[0].kernel.numpy())
    after = health_of(model, "sigmoid", batch)["hidden_1"]
    preactivations = batch.images @ model.layers[0].kernel.numpy()
    assert before["saturated_fraction"] < 0.01
    assert after["saturated_fraction"] == (np.abs(preactivations) > edge).mean() > 0.3
    assert after["dead_fraction"] == 0


@pytest.mark.parametrize(("function", "share"), [("sigmoid", 1.0), ("tanh", 0.0)])
def test_shares_of_one_sign_are_those_of_inputs_and_of_gradients(function, share):
    model, batch = build_model(spec_of(function, NetworkConfig("two", [32, 8])), 0), batch_of(64)
    health = health_of(model, function, batch)
    assert health["hidden_1"]["one_sign_fraction"] == 1.0  # pixels are never negative
    assert health["hidden_2"]["one_sign_fraction"] == share
    assert health["output"]["one_sign_fraction"] == share
    for layer, gradient in gradients_of(model, batch).items():
        one = (gradient >= 0).all(axis=0) | (gradient <= 0).all(axis=0)
        assert health[layer]["one_sign_batch_fraction"] == one.mean()


def test_numbers_that_are_not_finite_leave_shares_unsaid():
    model = build_model(spec_of("silu", NetworkConfig("one", [4])), 0)
    model.layers[0].kernel.assign(np.full((784, 4), np.nan, np.float32))
    passed = compile_pass(model)(batch_of(8))
    activation = ActivationConfig("silu", "silu", {})
    said = summarise_health(passed["hidden_1"], activation, 0.05)
    assert np.isnan(list(said.values())).all()


def test_the_output_layer_has_no_health_of_an_activation(tmp_path):
    keep_models(tmp_path, spec_of("tanh"), [0], [0])
    batches = {"seen": batch_of(8), "other": batch_of(8)}
    rows, _ = probe_configuration(tmp_path, [0], {"seen": batch_of(8)}, "seen", 0.05, 5)
    said = {layer: {row[4] for row in rows if row[2] == layer} for layer in ("hidden_2", "output")}
    assert said["hidden_2"] == {*STATISTICS, *tables.HEALTH}
    assert said["hidden_2"] - said["output"] == {
        "activation_mean",
        "activation_variance",
        "saturated_fraction",
        "dead_fraction",
    }
    of_both, _ = probe_configuration(tmp_path, [0], batches, "other", 0.05, 5)
    assert [row for row in of_both if row[3] == "seen"] == [
        row for row in rows if row[4] in STATISTICS
    ]


def test_epochs_that_a_seed_did_not_reach_are_not_probed(tmp_path):
    keep_models(tmp_path, spec_of("tanh"), [0], [0, 1, 3])
    keep_models(tmp_path, spec_of("tanh"), [1], [0, 3])  # 3 is the end of either
    rows, binned = probe_configuration(tmp_path, [0, 1], {"test": batch_of(8)}, "test", 0.05, 5)
    assert {row[1] for row in rows} == {row[0] for row in binned} == {0, 3}


def test_densities_are_those_of_all_preactivations(tmp_path):
    spec, batch = spec_of("tanh"), batch_of(50)
    keep_models(tmp_path, spec, [0, 1], [0, 1, 3])
    _, rows = probe_configuration(tmp_path, [0, 1], {"test": batch}, "test", 0.05, 12)
    assert [row[:2] for row in rows[::12]] == [
        (epoch, f"hidden_{at}") for epoch in (0, 1, 3) for at in (1, 2)
    ]
    for at in range(0, len(rows), 12):
        epoch, layer = rows[at][:2]
        models = [build_model(spec, 10 * seed + epoch) for seed in (0, 1)]
        values = np.concatenate(
            [compile_pass(model)(batch)[layer].preactivations.ravel() for model in models]
        )
        low, high, density = (
            np.array([row[place] for row in rows[at : at + 12]]) for place in (2, 3, 4)
        )
        np.testing.assert_array_equal(high[:-1], low[1:])
        assert low[0] <= values.min() < values.max() <= high[-1]
        np.testing.assert_allclose(np.diff(high[:-1]), high[1] - low[1], rtol=1e-9)
        assert (density * (high - low)).sum() == pytest.approx(1)
        expected, _ = np.histogram(values, [*low, high[-1]])
        np.testing.assert_allclose(density * (high - low) * len(values), expected, atol=2.01)


def test_preactivations_that_are_all_alike_have_bins_and_none_that_are_no_number(tmp_path):
    spec = spec_of("relu", NetworkConfig("two", [3, 2]))
    spec.save(tmp_path / "model.json")
    model = build_model(spec, 0)
    model.set_weights([np.zeros_like(each) for each in model.get_weights()])
    model.layers[1].bias.assign([np.nan, 0.0])
    keep(tmp_path, model)
    _, rows = probe_configuration(tmp_path, [0], {"test": batch_of(4)}, "test", 0.05, 5)
    assert [row[:2] for row in rows] == [(0, "hidden_1")] * 5
    widths = np.array([row[3] - row[2] for row in rows])
    assert (widths > 0).all()
    assert sum(row[4] * width for row, width in zip(rows, widths, strict=True)) == pytest.approx(1)


def test_health_of_prelu_is_that_of_each_units_own_slope(tmp_path):
    spec = ModelSpec(
        ActivationConfig("prelu", "prelu", {"slope": 0.25}),
        NetworkConfig("one", [4]),
        GLOROT,
        inputs=1,
    )
    spec.save(tmp_path / "model.json")
    model = build_model(spec, 0)
    slopes = np.array([0.0, 0.04, 0.5, 30.0], np.float32)
    output = model.layers[1].get_weights()
    model.layers[0].set_weights([np.ones((1, 4)), np.zeros(4), slopes])
    model.layers[1].set_weights(output)
    keep(tmp_path, model)
    # Pre-activations are the image itself: three below zero, one above.
    batch = Split(
        np.array([[-1.0], [-2.0], [-3.0], [1.0]], np.float32), np.array([1, 2, 3, 4], np.int32)
    )
    rows, _ = probe_configuration(tmp_path, [0], {"test": batch}, "test", 0.05, 5)
    said = {row[4]: row[5] for row in rows if row[2] == "hidden_1"}
    # Below 5 %: of slope 0 and 0.04 the three images below zero, of slope 30 the one above (1/30).
    assert said["saturated_fraction"] == (3 + 3 + 0 + 1) / 16
    assert said["dead_fraction"] == 0
    activations = np.where(batch.images > 0, batch.images, slopes * batch.images)
    assert said["activation_mean"] == pytest.approx(activations.mean())
    # Softmax, and backwards through each unit's slope.
    kernel, bias = (each.astype(np.float64) for each in output)
    exponentials = np.exp(activations @ kernel + bias)
    error = exponentials / exponentials.sum(axis=1, keepdims=True) - np.eye(10)[batch.labels]
    deltas = error @ kernel.T * np.where(batch.images > 0, 1, slopes)
    assert said["backprop_rms"] == pytest.approx(np.sqrt((deltas**2).mean()), rel=1e-5)
