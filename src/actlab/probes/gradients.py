"""A model and a batch -> what comes back through every layer, and in which state it is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from actlab.activations.config import ActivationConfig
from actlab.activations.functions import nonlinearity_of
from actlab.backend import keras, tf
from actlab.data.splits import Split
from actlab.models.network import (
    ModelSpec,
    build_model,
    euclidean_norm,
    kept_epochs,
    read_weights,
    weights_path,
)

#: What is said of a kernel's gradient: the mean absolute entry, the Euclidean norm, and the
#: norm divided by the kernel's own.
STATISTICS = ("mean_abs", "l2_norm", "relative_norm")


class LayerPass(NamedTuple):
    """What one pass forth and back leaves in a dense layer.

    Attributes
    ----------
    inputs, preactivations, activations
        Of every image; the output layer's activations are its logits, the pre-activations.
    deltas
        The signal that comes back: the derivative of an image's own cross-entropy (not of the
        batch's mean) by the layer's pre-activations.
    gradient
        The derivative of the batch's mean cross-entropy by the kernel.
    """

    inputs: Float32[np.ndarray, "images inputs"]
    preactivations: Float32[np.ndarray, "images units"]
    activations: Float32[np.ndarray, "images units"]
    deltas: Float32[np.ndarray, "images units"]
    gradient: Float32[np.ndarray, "inputs units"]


def compile_pass(model: keras.Sequential) -> Callable[[Split], dict[str, LayerPass]]:
    """Give a function: images (n, inputs) and labels (n,) -> a pass through every layer.

    The loss is the mean cross-entropy of the batch, as in training.
    """
    cross_entropy: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function(autograph=False)
    def program(images: tf.Tensor, labels: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            preactivations, activations = _forward(model, images)
            loss = cross_entropy(labels, activations[-1])
        kernels = [layer.kernel.value for layer in model.layers]
        derivatives: Any = tape.gradient(loss, (kernels, preactivations))
        gradients, deltas = derivatives
        return preactivations, activations, deltas, gradients

    def run_pass(batch: Split) -> dict[str, LayerPass]:
        columns = program(tf.constant(batch.images), tf.constant(batch.labels))
        inputs, count = batch.images, np.float32(len(batch.labels))
        passes = {}
        for layer, *values in zip(model.layers, *columns, strict=True):
            preactivations, activations, deltas, gradient = (each.numpy() for each in values)
            passes[layer.name] = LayerPass(
                inputs, preactivations, activations, deltas * count, gradient
            )
            inputs = activations
        return passes

    return run_pass


def _forward(model: keras.Sequential, images: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Give the pre-activations and the activations of every layer."""
    preactivations, activations = [], []
    inputs = images
    for layer in model.layers:
        preactivations.append(
            keras.ops.add(keras.ops.matmul(inputs, layer.kernel.value), layer.bias.value)
        )
        inputs = layer.activation(preactivations[-1])
        activations.append(inputs)
    return preactivations, activations


def summarise_gradient(gradient: np.ndarray, kernel: np.ndarray) -> dict[str, float]:
    """Reduce a kernel's gradient to `STATISTICS`, summed in double precision.

    >>> summarise_gradient(np.array([[3.0, -4.0]]), np.array([[0.0, 2.0]]))
    {'mean_abs': 3.5, 'l2_norm': 5.0, 'relative_norm': 2.5}
    """
    entries = gradient.astype(np.float64)
    norm, kernel_norm = euclidean_norm(entries), euclidean_norm(kernel)
    return {
        "mean_abs": float(np.abs(entries).mean()),
        "l2_norm": norm,
        "relative_norm": norm / kernel_norm if kernel_norm else float("nan"),
    }


def summarise_health(
    measured: LayerPass,
    activation: ActivationConfig | None,
    saturated_below: float,
    trained: Mapping[str, Float[np.ndarray, " units"]] = MappingProxyType({}),
) -> dict[str, float]:
    """Say in which state a layer is, over all images and units, in double precision.

    Parameters
    ----------
    measured
        A pass through the layer.
    activation
        The layer's; None for the output layer, which has none: what is said of activations and
        their derivatives is left out there.
    saturated_below
        A unit is saturated on an image where the size of phi' is below this part of its maximum.
    trained
        Constants of the activation that the layer's units have learned, in place of the
        configured ones: phi' and its maximum are then each unit's own.

    Returns
    -------
    dict
        backprop_rms, the root mean square of the deltas. preactivation_mean and _variance,
        activation_mean and _variance. saturated_fraction of the pairs of an image and a unit;
        dead_fraction, the units with phi' = 0 on every image, phi' taken in double precision.
        one_sign_fraction and one_sign_batch_fraction, see below. NaN is what numbers that are
        not finite leave unsaid, and the share of nothing.

    On an image the gradient of a unit's incoming weights is its delta times the inputs: it has
    one sign where the inputs that are not 0 have one (LeCun, Bottou, Orr & Mueller 1998, section
    4.3: a step can then only increase or decrease all of the weights together).
    one_sign_fraction is the share of such pairs of an image and a unit, without those whose
    gradient is 0 altogether; one_sign_batch_fraction is the share of units whose gradient of
    the mean loss over all images has one sign, likewise.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        preactivations = measured.preactivations.astype(np.float64)
        said = {
            "backprop_rms": float(np.sqrt(np.mean(measured.deltas.astype(np.float64) ** 2))),
            "preactivation_mean": float(preactivations.mean()),
            "preactivation_variance": float(preactivations.var()),
        }
        if activation is not None:
            activations = measured.activations.astype(np.float64)
            said["activation_mean"] = float(activations.mean())
            said["activation_variance"] = float(activations.var())
            said |= _summarise_slopes(preactivations, activation, saturated_below, trained)
    return said | {
        "one_sign_fraction": _one_sign_fraction(measured.inputs, measured.deltas),
        "one_sign_batch_fraction": _one_sign_fraction(
            measured.gradient.T, np.ones((measured.gradient.shape[1], 1), np.float32)
        ),
    }


def _summarise_slopes(
    preactivations: Float[np.ndarray, "images units"],
    activation: ActivationConfig,
    saturated_below: float,
    trained: Mapping[str, Float[np.ndarray, " units"]],
) -> dict[str, float]:
    if not np.isfinite(preactivations).all():
        return {"saturated_fraction": float("nan"), "dead_fraction": float("nan")}
    phi = nonlinearity_of(activation, **trained)
    slopes = np.abs(phi.derivative(preactivations))
    if trained:  # PReLU: one slope on either side of 0
        sides = np.array([[-1.0], [1.0]]) * np.ones(slopes.shape[1])
        steepest = np.abs(phi.derivative(sides)).max(axis=0)
    else:
        steepest = phi.steepest_slope(10)
    return {
        "saturated_fraction": float((slopes < saturated_below * steepest).mean()),
        "dead_fraction": float((slopes == 0).all(axis=0).mean()),
    }


def trained_constants(layer: Any) -> dict[str, Float[np.ndarray, " units"]]:
    """Give the constants of a layer's activation that its units have learned: a PReLU's slopes."""
    if isinstance(layer.activation, keras.layers.PReLU):
        return {"slope": layer.activation.alpha.numpy().astype(np.float64)}
    return {}


def _one_sign_fraction(
    inputs: Float32[np.ndarray, "images inputs"], deltas: Float32[np.ndarray, "images units"]
) -> float:
    """Give the share of pairs with one sign among the pairs with a delta and an input not 0.

    >>> inputs = np.array([[1, 0, 2], [1, -1, 0], [-3, 0, -1]], np.float32)
    >>> _one_sign_fraction(inputs, np.array([[1, 1], [1, 0], [1, 0]], np.float32))
    0.75
    """
    if not (np.isfinite(inputs).all() and np.isfinite(deltas).all()):
        return float("nan")
    positive, negative = (inputs > 0).any(axis=1), (inputs < 0).any(axis=1)
    signals = (deltas != 0).sum(axis=1)
    counted = int(signals[positive | negative].sum())
    return int(signals[positive ^ negative].sum()) / counted if counted else float("nan")


def probe_configuration(
    folder: Path,
    seeds: Sequence[int],
    probes: Mapping[str, Split],
    held_out: str,
    saturated_below: float,
    bins: int,
) -> tuple[list[tuple[int, int, str, str, str, float]], list[tuple[int, str, float, float, float]]]:
    """Measure the models of `models/<activation>-<network>`: gradients, health, pre-activations.

    Parameters
    ----------
    folder
        Holds model.json and each seed's weights at the kept epochs, those of the first seed.
    seeds
        Which models.
    probes
        The batches by name.
    held_out
        The one of them that `summarise_health` is told of and whose pre-activations are binned;
        gradients are of all.
    saturated_below
        As in `summarise_health`.
    bins
        As in `bin_preactivations`.

    Returns
    -------
    rows
        seed, epoch, layer, probe, statistic, value: rows of `tables.GRADIENTS` behind
        activation and network.
    binned
        epoch, layer, bin_low, bin_high, density: rows of `tables.PREACTIVATIONS`, likewise. All
        seeds are pooled.

    Raises
    ------
    UserError
        When model.json or weights are missing or cannot be read.
    """
    spec = ModelSpec.load(folder / "model.json")
    model = build_model(spec, seed=0)
    run_pass = compile_pass(model)
    preactivations = compile_preactivations(model, probes[held_out].images)
    rows, binned = [], []
    for epoch in kept_epochs(folder, seeds[0]):
        weights = []
        for seed in seeds:
            read_weights(model, weights_path(folder, seed, epoch))
            weights.append(model.get_weights())
            rows += [
                (seed, epoch, *row)
                for row in probe_model(
                    model, run_pass, spec.activation, probes, held_out, saturated_below
                )
            ]
        binned += [
            (epoch, *row) for row in bin_preactivations(model, preactivations, weights, bins)
        ]
    rows.sort(key=lambda row: seeds.index(row[0]))
    return rows, binned


def probe_model(
    model: keras.Sequential,
    run_pass: Callable[[Split], dict[str, LayerPass]],
    activation: ActivationConfig,
    probes: Mapping[str, Split],
    held_out: str,
    saturated_below: float,
) -> Iterator[tuple[str, str, str, float]]:
    """Measure the gradients and the health of a model as it stands.

    Parameters
    ----------
    model
        Its weights are those that are measured.
    run_pass
        `compile_pass` of it, once for all weights that it is given.
    activation
        Of its hidden layers.
    probes, held_out, saturated_below
        As in `probe_configuration`; none need be held out.

    Yields
    ------
    tuple
        layer, probe, statistic, value.
    """
    layers = {layer.name: layer for layer in model.layers}
    output = model.layers[-1].name
    for probe, batch in probes.items():
        for name, measured in run_pass(batch).items():
            said = summarise_gradient(measured.gradient, layers[name].kernel.numpy())
            if probe == held_out:
                said |= summarise_health(
                    measured,
                    None if name == output else activation,
                    saturated_below,
                    trained_constants(layers[name]),
                )
            for statistic, value in said.items():
                yield name, probe, statistic, value


#: Of a layer's pre-activations, the share on either side that its outermost bins take in.
_TAIL = 0.001


def compile_preactivations(
    model: keras.Sequential, images: Float32[np.ndarray, "images pixels"]
) -> Callable[[], Iterator[tuple[str, np.ndarray]]]:
    """Give a function: each hidden layer's name and its pre-activations, layer after layer.

    They are of all images and units in one array, of the weights that the model has when the
    function is called.
    """
    hidden = [layer.name for layer in model.layers[:-1]]
    program = tf.function(lambda given: _forward(model, given)[0][:-1], autograph=False)
    given = tf.constant(images)

    def preactivations() -> Iterator[tuple[str, np.ndarray]]:
        if hidden:
            for layer, values in zip(hidden, program(given), strict=True):
                yield layer, values.numpy().ravel()

    return preactivations


def bin_preactivations(
    model: keras.Sequential,
    preactivations: Callable[[], Iterator[tuple[str, np.ndarray]]],
    weights: Sequence[list[np.ndarray]],
    bins: int,
) -> Iterator[tuple[str, float, float, float]]:
    """Tell how the pre-activations of each hidden layer are distributed.

    All weights, images and units are pooled. Of the bins of a layer all but the outermost are of
    one width; those are at least as wide, and reach on to the smallest and to the largest value,
    over the outermost thousandth of every seed.

    Parameters
    ----------
    model
        Is given the weights.
    preactivations
        `compile_preactivations` of it.
    weights
        As `model.get_weights` gives them: those of each seed.
    bins
        How many; at least 3.

    Yields
    ------
    tuple
        layer, bin_low, bin_high, density. A layer with a value that is not finite has none.
    """
    # Twice through the models, to find the bins and to fill them: the pre-activations of one are
    # in memory, and the weights of all.
    ends: dict[str, list[np.ndarray]] = {}
    for each in weights:
        model.set_weights(each)
        for layer, values in preactivations():
            with np.errstate(invalid="ignore"):
                found = np.quantile(values, [0, _TAIL, 1 - _TAIL, 1])
            ends.setdefault(layer, []).append(found)
    finite = [layer for layer in ends if np.isfinite(ends[layer]).all()]
    edges = {layer: _edges(np.array(ends[layer]), bins) for layer in finite}
    counts = {layer: np.zeros(bins) for layer in finite}
    for each in weights:
        model.set_weights(each)
        for layer, values in preactivations():
            if layer in edges:
                counts[layer] += np.histogram(values, edges[layer])[0]
    for layer in finite:
        density = counts[layer] / counts[layer].sum() / np.diff(edges[layer])
        for (low, high), value in zip(pairwise(edges[layer]), density, strict=True):
            yield layer, float(low), float(high), float(value)


def _edges(ends: Float[np.ndarray, "models 4"], bins: int) -> Float[np.ndarray, " edges"]:
    """Give strictly increasing edges from each model's least, inner two and greatest values."""
    inner = np.linspace(ends[:, 1].min(), ends[:, 2].max(), bins - 1)
    least, greatest = ends[:, 0].min(), ends[:, 3].max()
    # What is nearly one value still needs bins with a width; a float32 keeps 1.2e-7 of it.
    room = max(1e-6 * max(abs(least), abs(greatest)), 1e-12)
    if not inner[-1] - inner[0] > room:
        inner = np.linspace(inner[0] - room * bins, inner[-1] + room * bins, bins - 1)
    # The outermost are no narrower than the others: a few values there would look like a peak.
    width = (inner[-1] - inner[0]) / (bins - 2)
    least, greatest = min(least, inner[0] - width), max(greatest, inner[-1] + width)
    return np.concatenate([[least], inner, [greatest]])
