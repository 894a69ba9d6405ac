"""Gradients and health of every layer of a model, measured on a batch of images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from actlab.activations.config import ActivationConfig
from actlab.activations.functions import nonlinearity_of
from actlab.activations.mean_field import Nonlinearity
from actlab.backend import keras, tf
from actlab.data.splits import Split
from actlab.models.losses import make_loss
from actlab.models.network import (
    ModelSpec,
    build_model,
    euclidean_norm,
    find_blocks,
    kept_epochs,
    read_weights,
    weights_path,
)

#: Of a kernel's gradient: the mean absolute entry, the Euclidean norm, and the norm divided by the
#: kernel's norm.
STATISTICS = ("mean_abs", "l2_norm", "relative_norm")


class LayerPass(NamedTuple):
    """A dense layer's values in one forward and backward pass.

    Attributes
    ----------
    inputs, preactivations, activations
        Of every image; the output layer's activations are its logits.
    deltas
        The derivative of an image's own cross-entropy (not the batch's mean) with respect to the
        layer's pre-activations.
    gradient
        The derivative of the batch's mean cross-entropy with respect to the kernel.
    """

    inputs: Float32[np.ndarray, "images inputs"]
    preactivations: Float32[np.ndarray, "images units"]
    activations: Float32[np.ndarray, "images units"]
    deltas: Float32[np.ndarray, "images units"]
    gradient: Float32[np.ndarray, "inputs units"]


def compile_pass(
    model: keras.Model, outputs: str = "softmax"
) -> Callable[[Split], dict[str, LayerPass]]:
    """Compile a pass through every layer: a function from a batch to `LayerPass` by layer.

    The loss is that of training, as an evaluation measures it: without penalties, nothing dropped.
    """
    find_loss, blocks = make_loss(outputs), find_blocks(model)

    @tf.function(autograph=False)
    def program(images: tf.Tensor, labels: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            inputs, preactivations, activations = run_forward(model, images)
            loss = find_loss(labels, activations[-1])
        kernels = [block.weights.kernel.value for block in blocks]
        derivatives: Any = tape.gradient(loss, (kernels, preactivations))
        gradients, deltas = derivatives
        return inputs, preactivations, activations, deltas, gradients

    def run_pass(batch: Split) -> dict[str, LayerPass]:
        columns = program(tf.constant(batch.images), tf.constant(batch.labels))
        count = np.float32(len(batch.labels))
        passes = {}
        for block, *values in zip(blocks, *columns, strict=True):
            inputs, preactivations, activations, deltas, gradient = (x.numpy() for x in values)
            passes[block.name] = LayerPass(
                _flatten(inputs),
                _flatten(preactivations),
                _flatten(activations),
                _flatten(deltas) * count,
                _flatten(gradient),
            )
        return passes

    return run_pass


def _flatten(values: np.ndarray) -> np.ndarray:
    """Return an array of two axes, the last one kept: of convolutions, places count as images."""
    return values.reshape(-1, values.shape[-1])


def run_forward(
    model: keras.Model, images: tf.Tensor
) -> tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
    """Compute the inputs, the pre-activations and the activations of every layer."""
    passed, values = [], images
    for block in find_blocks(model):
        *kept, values = block.run(values)
        passed.append(kept)
    inputs, preactivations, activations = map(list, zip(*passed, strict=True))
    return inputs, preactivations, activations


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
    """Summarise a layer's pass over all images and units, in double precision.

    Parameters
    ----------
    measured
        A pass through the layer.
    activation
        The layer's; None for the output layer, whose activations are not summarised.
    saturated_below
        A unit is saturated on an image where |phi'| is below this part of its maximum.
    trained
        Constants of the activation that the units have learned, instead of the configured ones:
        phi' and its maximum are then each unit's own.

    Returns
    -------
    dict
        backprop_rms, the root mean square of the deltas; preactivation_mean and _variance;
        activation_mean and _variance; saturated_fraction of the pairs of an image and a unit;
        dead_fraction, the share of units with phi' = 0 on every image; one_sign_fraction and
        one_sign_batch_fraction. NaN where values are not finite, and for the share of nothing.

    On one image the gradient of a unit's incoming weights is its delta times the inputs: it has one
    sign where the inputs other than 0 have one (LeCun, Bottou, Orr & Mueller 1998, section 4.3: a
    step can then only increase or decrease all of the weights together). one_sign_fraction is the
    share of such pairs of an image and a unit, one_sign_batch_fraction the share of units whose
    gradient of the mean loss over all images has one sign, both without gradients that are 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        preactivations = measured.preactivations.astype(np.float64)
        health = {
            "backprop_rms": float(np.sqrt(np.mean(measured.deltas.astype(np.float64) ** 2))),
            "preactivation_mean": float(preactivations.mean()),
            "preactivation_variance": float(preactivations.var()),
        }
        if activation is not None:
            activations = measured.activations.astype(np.float64)
            health["activation_mean"] = float(activations.mean())
            health["activation_variance"] = float(activations.var())
            health |= _summarise_slopes(preactivations, activation, saturated_below, trained)
    is_dense = len(measured.inputs) == len(measured.deltas)  # a convolution sees parts of images
    return health | {
        "one_sign_fraction": (
            _one_sign_fraction(measured.inputs, measured.deltas) if is_dense else float("nan")
        ),
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
    steepest: Any = phi.steepest_slope(10) if not trained else _steepest_of_units(phi, slopes)
    return {
        "saturated_fraction": float((slopes < saturated_below * steepest).mean()),
        "dead_fraction": float((slopes == 0).all(axis=0).mean()),
    }


def _steepest_of_units(phi: Nonlinearity, slopes: np.ndarray) -> Float[np.ndarray, " units"]:
    """Find the largest |phi'| of each unit between -10 and 10."""
    grid = np.linspace(-10, 10, 400)[:, None] * np.ones(slopes.shape[1])  # without 0
    return np.abs(phi.derivative(grid)).max(axis=0)


def _one_sign_fraction(
    inputs: Float32[np.ndarray, "images inputs"], deltas: Float32[np.ndarray, "images units"]
) -> float:
    """Compute the share of pairs with one sign among the pairs with a delta and an input not 0.

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
        Holds model.json and each seed's weights at the kept epochs.
    seeds
        Which models.
    probes
        The batches by name; gradients are measured on all.
    held_out
        The probe for health and pre-activations.
    saturated_below
        As in `summarise_health`.
    bins
        How many bins the pre-activations of a layer have.

    Returns
    -------
    rows
        seed, epoch, layer, probe, statistic, value, as in `tables.GRADIENTS`.
    binned
        epoch, layer, bin_low, bin_high, density, as in `tables.PREACTIVATIONS`; seeds are pooled.

    Raises
    ------
    UserError
        When model.json or weights are missing or cannot be read.
    """
    spec = ModelSpec.load(folder / "model.json")
    model = build_model(spec, seed=0)
    run_pass = compile_pass(model, spec.network.outputs)
    rows, binned = [], []
    # Seeds may end early: of some epochs not all have weights.
    common = set.intersection(*(set(kept_epochs(folder, seed)) for seed in seeds))
    for epoch in sorted(common):
        preactivations: dict[str, list[np.ndarray]] = {}
        for seed in seeds:
            read_weights(model, weights_path(folder, seed, epoch))
            for probe, batch in probes.items():
                passes, below = run_pass(batch), None
                if probe == held_out:
                    below = saturated_below
                    for layer in list(passes)[:-1]:
                        preactivations.setdefault(layer, []).append(passes[layer].preactivations)
                rows += [
                    (seed, epoch, layer, probe, statistic, value)
                    for layer, statistic, value in summarise_passes(model, passes, spec, below)
                ]
        binned += [
            (epoch, layer, *row)
            for layer, by_seed in preactivations.items()
            for row in bin_values(by_seed, bins)
        ]
    rows.sort(key=lambda row: seeds.index(row[0]))
    return rows, binned


def summarise_passes(
    model: keras.Model,
    passes: Mapping[str, LayerPass],
    spec: ModelSpec,
    saturated_below: float | None,
) -> Iterator[tuple[str, str, float]]:
    """Summarise the gradients of every layer, and its health where `saturated_below` is given.

    Yields layer, statistic and value; `passes` are those of the model with its current weights.
    """
    blocks = find_blocks(model)
    for place, block in enumerate(blocks):
        measured = passes[block.name]
        kernel = block.weights.kernel.numpy()
        statistics = summarise_gradient(measured.gradient, _flatten(kernel))
        if saturated_below is not None:
            activation = spec.activation_at(place) if block is not blocks[-1] else None
            learned = {name: value.astype(np.float64) for name, value in block.learned.items()}
            statistics |= summarise_health(measured, activation, saturated_below, learned)
        for statistic, value in statistics.items():
            yield block.name, statistic, value


#: The outermost bins of pre-activations hold this share of every seed's on either side.
_TAIL = 0.001


def bin_values(by_seed: Sequence[np.ndarray], bins: int) -> Iterator[tuple[float, float, float]]:
    """Compute a histogram over the values of all seeds: bin_low, bin_high, density.

    All bins but the outermost have one width; those are at least as wide, and reach to the smallest
    and the largest value beyond the outermost thousandth of every seed. Values that are not all
    finite have no bins. `bins` is at least 3.
    """
    with np.errstate(invalid="ignore"):
        ends = np.array([np.quantile(values, [0, _TAIL, 1 - _TAIL, 1]) for values in by_seed])
    if not np.isfinite(ends).all():
        return
    edges = _edges(ends, bins)
    counts = np.sum([np.histogram(values, edges)[0] for values in by_seed], axis=0)
    density = counts / counts.sum() / np.diff(edges)
    for (low, high), value in zip(pairwise(edges), density, strict=True):
        yield float(low), float(high), float(value)


def _edges(ends: Float[np.ndarray, "models 4"], bins: int) -> Float[np.ndarray, " edges"]:
    """Compute strictly increasing edges from each model's least, inner two and greatest values."""
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
