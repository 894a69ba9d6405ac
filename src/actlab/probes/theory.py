"""Mean-field theory of wide random networks: what activation and initializer do to the signal.

A network z^1 = W^1 x + b^1, z^l = W^l phi(z^(l-1)) + b^l whose weights have variance
sigma_w^2 / (units below) and whose biases have variance sigma_b^2. Where layers are wide, the
pre-activations of one image are Gaussian with mean 0 and a variance q that follows a map from
layer to layer (Poole et al. 2016, equation 3), and the mean square of the gradient with respect to
them changes by a factor chi per layer (Schoenholz et al. 2017, equation 8). Variances are over the
draws of the weights.

`propagate` follows both through a network of finite depth and width, from given images, and bounds
how far a measurement may lie from it.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from actlab.activations.mean_field import (
    TOLERANCE,
    Nonlinearity,
    chi,
    gaussian_mean,
    q_map,
)

Array = Float[np.ndarray, "..."]

#: Half-width of the band in standard deviations: a Gaussian leaves it once in 16,000.
BAND_DEVIATIONS = 4.0


def depth_scale(chi_1: float) -> float:
    """Compute xi = -1 / ln(chi_1): over so many layers a gradient's variance shrinks by e.

    Schoenholz et al. 2017, equation 9. Infinite at chi_1 = 1; negative above, where it grows by e
    over |xi| layers; 0 where nothing comes back.

    >>> depth_scale(math.exp(-0.5)), depth_scale(math.e), depth_scale(1.0), depth_scale(0.0)
    (2.0, -1.0, inf, 0.0)
    """
    if chi_1 == 0:
        return 0.0
    # The quadrature cannot tell these from 1.
    return math.inf if abs(chi_1 - 1) < TOLERANCE else -1 / math.log(chi_1)


def activation_moments(phi: Nonlinearity, mean: float, variance: float) -> tuple[float, float]:
    """Compute mean and variance of phi(z) for Gaussian z with the given ones.

    With weights of sum 0 and square sum 1 it is the map g from a layer to the next of Klambauer et
    al. 2017 (equations 4 and 5); SELU's fixed point is (0, 1).
    """
    first, second = gaussian_mean(
        lambda x, u: np.stack([phi.value(x), phi.value(x) ** 2]),
        np.array([variance]),
        phi.kinks,
        mean,
    )[:, 0]
    return float(first), float(second - first**2)


def gains(phi: Nonlinearity) -> tuple[float, float]:
    """Compute E[phi(u)^2] and E[phi'(u)^2] for u standard normal.

    Their reciprocals are the sigma_w^2 that keep a variance of 1 forward and backward (of ReLU both
    are 2: He et al. 2015, equations 10 and 14).
    """
    unit = np.ones(1)
    return float(q_map(phi, unit, 1.0)[0]), float(chi(phi, unit, 1.0)[0])


def born_dead_probability(hidden: Sequence[int]) -> float:
    """Compute the probability that a ReLU network is dead for an input before any training.

    It is 1 - prod(1 - 2^-N) over the units N of the hidden layers: a layer passes nothing on when
    all its pre-activations are negative, each with probability 1/2. Exact for one input, biases of
    zero and weights drawn symmetrically; an upper bound for several inputs at once (Lu, Shin, Su &
    Karniadakis 2020, "Dying ReLU and initialization").

    >>> born_dead_probability([1]), born_dead_probability([2, 2])
    (0.5, 0.4375)
    """
    return -math.expm1(sum(math.log1p(-(2.0**-units)) for units in hidden))


class Prediction(NamedTuple):
    """Natural logarithms of the ratios of neighbouring layers; entry l - 1 is that of l and l + 1.

    Attributes
    ----------
    forward
        Of the pre-activations' variance: layer l + 1 by layer l.
    backward
        Of the variance of the loss's gradient with respect to them: layer l by layer l + 1.
    forward_variance, backward_variance
        Upper bounds of the variance of each in one network of finite width.
    forward_mean_variance, backward_mean_variance
        The same of the means of all entries.
    """

    forward: Float[np.ndarray, " step"]
    backward: Float[np.ndarray, " step"]
    forward_variance: Float[np.ndarray, " step"]
    backward_variance: Float[np.ndarray, " step"]
    forward_mean_variance: float
    backward_mean_variance: float


def propagate(
    phi: Nonlinearity,
    first: Float[np.ndarray, " image"],
    sigma_w2: float,
    depth: int,
    width: int,
    sigma_b2: float = 0.0,
) -> Prediction:
    """Predict the ratios of neighbouring layers in a network of `depth` layers of one width.

    Each image's variance q follows `q_map`, its gradient's follows `chi` at that layer's own q;
    ratios are geometric means over the images. The backward ratios assume that the
    weights on the way back are independent of those on the way there (Schoenholz et al. 2017,
    section 3; exact to the order 1 / width).

    To the first order in 1 / n, a network of n units deviates from that by a sum of independent
    terms. With d the deviation of the logarithm of a layer's q, J the slope d ln V / d ln q of the
    map, B that of chi, and u standard normal:

    - d of the next layer is J d + eta, Var eta = (E[phi^4] / E[phi^2]^2 - 1) / n;
    - a mean over n units of z^2 deviates by epsilon, Var epsilon = 2 / n, which is correlated
      with eta: E[epsilon eta] = 2 J / n;
    - so the forward ratio deviates by (J - 1) d + eta - epsilon + epsilon of the next layer,
      the backward one by B d and a term of variance (3 E[phi'^4] / E[phi'^2]^2 - 1) / n.

    The images of a network share its weights, so their deviations do not average out: the variances
    are those of the worst image, an upper bound.

    Parameters
    ----------
    first
        Each image's q in layer 1.
    sigma_w2, sigma_b2
        Of the layers above it.
    """
    q, deviation = first, np.zeros_like(first)
    forward, backward, forward_variance, backward_variance = [], [], [], []
    shared = np.zeros_like(first)
    for _ in range(depth - 1):
        if not ((q > 1e-16) & (q < 1e16)).all():
            # Beyond the range of `gaussian_mean`: the signal overflowed or vanished.
            for series in (forward, backward, forward_variance, backward_variance):
                series.append(np.full_like(q, np.nan))
            continue
        value2, value4, value2_slope, slope2, slope4, slope2_slope = gaussian_mean(
            _moments(phi), q, phi.kinks
        )
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            following = sigma_w2 * value2 + sigma_b2
            share = sigma_w2 * value2 / following  # of the weights; the biases do not deviate
            rise, bend = share * value2_slope / value2 / 2, slope2_slope / slope2 / 2
            pass_on = share**2 * (value4 / value2**2 - 1) / width
            forward.append(np.log(following / q))
            backward.append(np.log(sigma_w2 * slope2))
            forward_variance.append((rise - 1) ** 2 * deviation + pass_on + 4 * (1 - rise) / width)
            backward_noise = (3 * slope4 / slope2**2 - 1) / width
            backward_variance.append(bend**2 * deviation + backward_noise)
            shared += np.abs(bend) * np.sqrt(deviation)
            deviation = rise**2 * deviation + pass_on
        q = following
    noise = np.sum(backward_variance, axis=0)
    steps = depth - 1
    return Prediction(
        np.mean(forward, axis=1),
        np.mean(backward, axis=1),
        np.max(forward_variance, axis=1),
        np.max(backward_variance, axis=1),
        # Only the ends count: the ratios of the layers between cancel.
        float(np.max(deviation + 4 / width)) / steps**2,
        float(np.max(noise + shared**2)) / steps**2,
    )


def nan_prediction(depth: int) -> Prediction:
    """Make the prediction for an integral that is not certain: NaN everywhere."""
    steps = np.full(depth - 1, np.nan)
    return Prediction(steps, steps, steps, steps, math.nan, math.nan)


def _moments(phi: Nonlinearity) -> Callable[[Array, Array], Array]:
    """Integrands of E[phi^2], E[phi^4], 2 q d E[phi^2] / dq (Stein's lemma); the same of phi'."""

    def moments(x: Array, u: Array) -> Array:
        value2, slope2 = phi.value(x) ** 2, phi.derivative(x) ** 2
        stein = u**2 - 1
        return np.stack([value2, value2**2, value2 * stein, slope2, slope2**2, slope2 * stein])

    return moments


def band(
    log_ratio: float, variance: float, networks: int, allowance: float | None = None
) -> tuple[float, float]:
    """Compute the bounds within which a ratio's geometric mean over networks agrees with theory.

    They lie `BAND_DEVIATIONS` standard deviations of that mean about the prediction, plus an
    allowance, by default the variance: the mean of a logarithm lies half a variance below the
    logarithm of the mean, and the theory's other errors are of that order, 1 / width.

    >>> low, high = band(0.0, 0.01, 4)
    >>> round(math.log(low), 3), round(math.log(high), 3)
    (-0.21, 0.21)
    """
    beyond = variance if allowance is None else allowance
    with np.errstate(over="ignore", invalid="ignore"):
        half = BAND_DEVIATIONS * np.sqrt(variance / networks) + beyond
        return float(np.exp(log_ratio - half)), float(np.exp(log_ratio + half))
