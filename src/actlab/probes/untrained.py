"""Signal and gradient in untrained networks, measured and compared with `theory`."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from actlab.activations import mean_field
from actlab.activations.config import ActivationConfig
from actlab.activations.functions import nonlinearity_of
from actlab.backend import keras, tf
from actlab.data.splits import Split
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.models.initializers import bias_variance, resolve_initializer, weight_variance
from actlab.models.network import ModelSpec, build_model, draw_weights
from actlab.probes import theory
from actlab.probes.gradients import run_forward


class Signals(NamedTuple):
    """Means over the units of each hidden layer, for each image.

    Attributes
    ----------
    pre_activation
        The square of the pre-activations.
    gradient
        The square of the gradient of the image's loss with respect to them: the cross-entropy, or
        where targets are numbers the squared error.
    """

    pre_activation: Float[np.ndarray, "layer image"]
    gradient: Float[np.ndarray, "layer image"]


def compile_signals(model: keras.Model) -> Callable[[Split], Signals]:
    """Compile a function from a batch to its `Signals`.

    Squares are summed in double precision: after many layers they underflow in single precision.
    """

    @tf.function(autograph=False)
    def program(images: tf.Tensor, labels: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            _, pre_activations, activations = run_forward(model, images)
            if labels.dtype.is_floating:
                losses = tf.math.squared_difference(labels, activations[-1])
            else:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels=labels, logits=activations[-1]
                )
            # The sum, so that an image's gradient does not depend on the number of images.
            loss = tf.reduce_sum(losses)
        hidden = pre_activations[:-1]
        gradients: Any = tape.gradient(loss, hidden)
        return [
            tf.stack(
                [tf.reduce_mean(tf.square(tf.cast(one, tf.float64)), axis=1) for one in layers]
            )
            for layers in (hidden, gradients)
        ]

    def measure(batch: Split) -> Signals:
        measured = program(tf.constant(batch.images), tf.constant(batch.labels))
        return Signals(*(squares.numpy() for squares in measured))

    return measure


def layer_ratios(squares: Float[np.ndarray, "layer image"]) -> Float[np.ndarray, " step"]:
    """Compute each layer's ratio to the one below it, the geometric mean over images.

    An image whose square is zero in either is left out; NaN where all are.

    >>> layer_ratios(np.array([[1.0, 2.0], [2.0, 16.0]]))
    array([4.])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.diff(np.log(squares), axis=0)
    known = np.isfinite(logarithms)
    count = known.sum(axis=1)
    sums = np.where(known, logarithms, 0.0).sum(axis=1)
    return np.exp(np.where(count > 0, sums / np.maximum(count, 1), np.nan))


def measure_ratios(
    activation: ActivationConfig,
    initializer: InitializerConfig,
    width: int,
    depth: int,
    seeds: Sequence[int],
    batch: Split,
    classes: int = 10,
) -> dict[str, Float[np.ndarray, "seeds steps"]]:
    """Measure the ratios of neighbouring hidden layers in untrained networks.

    Parameters
    ----------
    activation
        Of every hidden layer.
    initializer
        Of every layer.
    width, depth
        Units, and number, of the hidden layers.
    seeds
        Of the weights, one network each.
    batch
        Images and labels.
    classes
        How many labels there are.

    Returns
    -------
    dict
        forward: a layer's mean square pre-activation by that of the layer below. backward: the
        gradient's mean square in the layer below by that in the layer. Geometric means over images.
    """
    network, pixels = NetworkConfig("probe", [width] * depth), batch.images.shape[1]
    spec = ModelSpec(activation, network, initializer, pixels, classes)
    model = build_model(spec, seeds[0])
    measure = compile_signals(model)
    ratios = {"forward": [], "backward": []}
    for seed in seeds:
        draw_weights(model, spec, seed)
        signals = measure(batch)
        ratios["forward"].append(layer_ratios(signals.pre_activation))
        ratios["backward"].append(1 / layer_ratios(signals.gradient))
    return {direction: np.array(by_seed) for direction, by_seed in ratios.items()}


def compare_with_theory(
    activation: ActivationConfig,
    initializer: InitializerConfig,
    width: int,
    depth: int,
    seeds: Sequence[int],
    batch: Split,
    classes: int = 10,
) -> tuple[list[tuple[Any, ...]], tuple[Any, ...]]:
    """Compare `measure_ratios`, whose parameters it takes, with `theory` for the same images.

    Returns
    -------
    list of tuple
        layer, direction, seed, predicted, band_low, band_high, ratio: the columns of
        `tables.THEORY_RATIOS` after the first three. The layer `all` is the geometric mean.
    tuple
        The columns of `tables.MEAN_FIELD` after the first three.
    """
    phi = nonlinearity_of(activation)
    resolved, pixels = resolve_initializer(initializer, activation), batch.images.shape[1]
    squares = np.square(batch.images.astype(np.float64)).mean(axis=1)
    first = weight_variance(resolved, pixels, width) * squares
    first += bias_variance(resolved, pixels, width)
    sigma_w2, sigma_b2 = (find(resolved, width, width) for find in (weight_variance, bias_variance))
    first = first[first > 0]  # an image without a signal has no ratio
    predicted = theory.nan_prediction(depth)
    if len(first):
        with suppress(mean_field.UncertainError):
            predicted = theory.propagate(phi, first, sigma_w2, depth, width, sigma_b2)
    measured = measure_ratios(activation, initializer, width, depth, seeds, batch, classes)
    rows: list[tuple[Any, ...]] = []
    for direction, ratios in measured.items():
        logarithms, variances, mean_variance = (
            getattr(predicted, f"{direction}{suffix}")
            for suffix in ("", "_variance", "_mean_variance")
        )
        layers: list[tuple[str, float, float, float | None, Any]] = [
            (f"hidden_{place}", float(logarithm), float(variance), None, by_seed)
            for place, (logarithm, variance, by_seed) in enumerate(
                zip(logarithms, variances, ratios.T, strict=True), start=2
            )
        ]
        # The variance of one layer, by which the band is widened, does not fall with the depth.
        allowance, means = float(variances.max()), np.exp(np.log(ratios).mean(axis=1))
        layers.append(("all", float(logarithms.mean()), mean_variance, allowance, means))
        for layer, logarithm, variance, allowance, by_seed in layers:
            bounds = theory.band(logarithm, variance, len(seeds), allowance)
            names = [(layer, direction, seed, _exp(logarithm), *bounds) for seed in seeds]
            rows += [(*row, float(ratio)) for row, ratio in zip(names, by_seed, strict=True)]
    start = float(first.mean()) if len(first) else math.nan
    return rows, (sigma_w2, sigma_b2, *_predict_mean_field(phi, sigma_w2, sigma_b2, start))


def _exp(logarithm: float) -> float:
    """Compute a ratio: infinite where a float overflows."""
    with np.errstate(over="ignore"):
        return float(np.exp(logarithm))


def _predict_mean_field(
    phi: mean_field.Nonlinearity, sigma_w2: float, sigma_b2: float, start: float
) -> tuple[float, ...]:
    """Compute the columns of `tables.MEAN_FIELD` after sigma_b2; NaN where theory has no answer.

    `start` is NaN where no image has a signal.
    """
    steepest = phi.steepest_slope(30)
    try:
        value2, slope2 = theory.gains(phi)
        if math.isnan(start):
            return value2, slope2, steepest, math.nan, math.nan, math.nan
        point = mean_field.fixed_point(phi, sigma_w2, sigma_b2, start)
        chi_1 = mean_field.chi_at_fixed_point(phi, sigma_w2, sigma_b2, start)
    except mean_field.UncertainError:
        return math.nan, math.nan, steepest, math.nan, math.nan, math.nan
    return value2, slope2, steepest, point, chi_1, theory.depth_scale(chi_1)


def is_silent_below_zero(activation: ActivationConfig) -> bool:
    """Tell whether an activation gives exactly 0 for every negative number, as ReLU does."""
    phi = nonlinearity_of(activation)
    return not phi.value(-np.geomspace(1e-6, 1e3, 200)).any()
