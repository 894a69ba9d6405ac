"""A network before training -> what each layer makes of the signal on its way there and back.

The measurement beside the predictions of `theory`, by the same definitions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from actlab.activations import mean_field
from actlab.activations.config import ActivationConfig
from actlab.activations.functions import nonlinearity_of
from actlab.backend import keras, tf
from actlab.data.splits import Split
from actlab.models.config import NetworkConfig
from actlab.models.initializers import resolve_initializer
from actlab.models.network import ModelSpec, build_model, draw_kernels
from actlab.probes import theory


class Signals(NamedTuple):
    """Of each hidden layer and image, a mean over the layer's units.

    Attributes
    ----------
    pre_activation
        The square of the pre-activations.
    gradient
        The square of the gradient of the image's cross-entropy with respect to them.
    """

    pre_activation: Float[np.ndarray, "layer image"]
    gradient: Float[np.ndarray, "layer image"]


class Ratio(NamedTuple):
    """What is measured of two neighbouring hidden layers of one network.

    Attributes
    ----------
    layer
        The upper of the two, from 2.
    direction
        forward: its mean square pre-activation by that of the layer below. backward: the
        gradient's mean square in the layer below by that in this one.
    seed
        Of the network.
    ratio
        The geometric mean over the images.
    """

    layer: int
    direction: str
    seed: int
    ratio: float


def compile_signals(model: keras.Sequential) -> Callable[[Split], Signals]:
    """Give a function: images (n, inputs) and labels (n,) -> their `Signals`.

    Squares are summed in double precision: after many layers they lie below what single
    precision holds.
    """

    @tf.function(autograph=False)
    def program(images: tf.Tensor, labels: tf.Tensor) -> Any:
        values, pre_activations = images, []
        with tf.GradientTape() as tape:
            for layer in model.layers:
                pre_activations.append(tf.matmul(values, layer.kernel.value) + layer.bias.value)
                values = layer.activation(pre_activations[-1])
            # The sum: what goes back for an image does not depend on how many there are.
            loss = tf.reduce_sum(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=values)
            )
        hidden = pre_activations[:-1]
        gradients: Any = tape.gradient(loss, hidden)
        return [
            tf.stack([tf.reduce_mean(tf.square(tf.cast(each, tf.float64)), axis=1) for each in of])
            for of in (hidden, gradients)
        ]

    def signals(batch: Split) -> Signals:
        measured = program(tf.constant(batch.images), tf.constant(batch.labels))
        return Signals(*(each.numpy() for each in measured))

    return signals


def layer_ratios(squares: Float[np.ndarray, "layer image"]) -> Float[np.ndarray, " step"]:
    """Give each layer's ratio to the one below it, the geometric mean over images.

    An image whose square is zero in either has no ratio and is left out; NaN where all are.

    >>> layer_ratios(np.array([[1.0, 2.0], [2.0, 16.0]]))
    array([4.])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.diff(np.log(squares), axis=0)
    known = np.isfinite(logarithms)
    count = known.sum(axis=1)
    sums = np.where(known, logarithms, 0.0).sum(axis=1)
    return np.exp(np.where(count > 0, sums / np.maximum(count, 1), np.nan))


def probe_initialization(
    activation: ActivationConfig,
    kernel_initializer: str,
    width: int,
    depth: int,
    seeds: Sequence[int],
    batch: Split,
    classes: int = 10,
) -> Iterator[Ratio]:
    """Measure networks of `depth` hidden layers of `width` units, one a seed, before training.

    Parameters
    ----------
    activation
        Of every hidden layer.
    kernel_initializer
        One of `models.config.KERNEL_INITIALIZERS`.
    width, depth
        The network's.
    seeds
        Of the weights.
    batch
        The images that go through, and the labels for what comes back.
    classes
        How many labels there are.
    """
    network, pixels = NetworkConfig("probe", [width] * depth), batch.images.shape[1]
    spec = ModelSpec(activation, network, kernel_initializer, pixels, classes)
    model = build_model(spec, seeds[0])
    signals_of = compile_signals(model)
    for seed in seeds:
        draw_kernels(model, spec, seed)
        signals = signals_of(batch)
        for direction, ratios in (
            ("forward", layer_ratios(signals.pre_activation)),
            ("backward", 1 / layer_ratios(signals.gradient)),
        ):
            for layer, ratio in enumerate(ratios, start=2):
                yield Ratio(layer, direction, seed, float(ratio))


def compare_with_theory(
    activation: ActivationConfig,
    kernel_initializer: str,
    width: int,
    depth: int,
    seeds: Sequence[int],
    batch: Split,
    classes: int = 10,
) -> tuple[list[tuple[Any, ...]], tuple[Any, ...]]:
    """Set what `probe_initialization` measures beside what `theory` predicts for these images.

    Parameters
    ----------
    activation, kernel_initializer, width, depth, seeds, batch, classes
        As those of `probe_initialization`.

    Returns
    -------
    list of tuple
        layer, direction, seed, predicted, band_low, band_high, ratio: rows of
        `tables.THEORY_RATIOS` behind their first three columns. Behind the layers come rows of
        the layer `all`, the geometric means over all of them.
    tuple
        The row of `tables.MEAN_FIELD` behind its first three columns.
    """
    phi = nonlinearity_of(activation)
    initializer = resolve_initializer(kernel_initializer, activation)
    squares = np.square(batch.images.astype(np.float64)).mean(axis=1)
    first = mean_field.weight_variance(initializer, batch.images.shape[1], width) * squares
    # An image without a signal has no ratio.
    first, sigma_w2 = first[first > 0], mean_field.weight_variance(initializer, width, width)
    predicted = theory.untold(depth)
    if len(first):
        with suppress(mean_field.UncertainError):
            predicted = theory.propagate(phi, first, sigma_w2, depth, width)
    ratios = list(
        probe_initialization(activation, kernel_initializer, width, depth, seeds, batch, classes)
    )
    rows: list[tuple[Any, ...]] = []
    for direction, logarithms, variances, mean_variance in (
        ("forward", predicted.forward, predicted.forward_variance, predicted.forward_mean_variance),
        (
            "backward",
            predicted.backward,
            predicted.backward_variance,
            predicted.backward_mean_variance,
        ),
    ):
        measured = {
            seed: [
                each.ratio for each in ratios if (each.direction, each.seed) == (direction, seed)
            ]
            for seed in seeds
        }
        for place, (logarithm, variance) in enumerate(zip(logarithms, variances, strict=True)):
            bounds = theory.band(float(logarithm), float(variance), len(seeds))
            rows += [
                (
                    f"hidden_{place + 2}",
                    direction,
                    seed,
                    _exp(logarithm),
                    *bounds,
                    of[place],
                )
                for seed, of in measured.items()
            ]
        whole = float(logarithms.mean())
        # The variance of one layer, by which the band is widened, does not fall with the depth.
        bounds = theory.band(whole, mean_variance, len(seeds), float(variances.max()))
        rows += [
            (
                "all",
                direction,
                seed,
                _exp(whole),
                *bounds,
                _exp(np.log(of).mean()),
            )
            for seed, of in measured.items()
        ]
    start = float(first.mean()) if len(first) else math.nan
    return rows, (sigma_w2, *_tell_mean_field(phi, sigma_w2, start))


def _exp(logarithm: Any) -> float:
    """Give a ratio: infinite where a float overflows, NaN of NaN."""
    with np.errstate(over="ignore"):
        return float(np.exp(logarithm))


def _tell_mean_field(
    phi: mean_field.Nonlinearity, sigma_w2: float, start: float
) -> tuple[float, float, float, float, float, float]:
    """Give the columns of `tables.MEAN_FIELD` behind sigma_w2; NaN for what theory cannot tell.

    `start` is NaN where no image has a signal.
    """
    steepest = phi.steepest_slope(30)
    try:
        value2, slope2 = theory.gains(phi)
        if math.isnan(start):
            return value2, slope2, steepest, math.nan, math.nan, math.nan
        point = mean_field.fixed_point(phi, sigma_w2, start=start)
        chi_1 = mean_field.chi_at_fixed_point(phi, sigma_w2, start=start)
    except mean_field.UncertainError:
        return math.nan, math.nan, steepest, math.nan, math.nan, math.nan
    return value2, slope2, steepest, point, chi_1, theory.depth_scale(chi_1)


def is_silent_below_zero(activation: ActivationConfig) -> bool:
    """Tell whether an activation gives exactly 0 for every negative number, as ReLU does."""
    phi = nonlinearity_of(activation)
    return not phi.value(-np.geomspace(1e-6, 1e3, 200)).any()
