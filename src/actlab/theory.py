"""Mean-field theory of wide random networks: what activation and initialiser do to the signal.

A network z^1 = W^1 x + b^1, z^l = W^l phi(z^(l-1)) + b^l whose weights have variance
sigma_w^2 / (units below) and whose biases have variance sigma_b^2. Where layers are wide, the
pre-activations of one image are Gaussian with mean 0 and a variance q that follows a map from
layer to layer (Poole et al. 2016, equation 3), and what backpropagation sends back shrinks or
grows by a factor chi a layer (Schoenholz et al. 2017, equation 8). A variance is taken over the
draws of the weights; the mean being 0, it is the second moment.

`propagate` follows both through a network of finite depth and width, from the images that it is
given, and says how far a measurement may lie from it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import optimize

from actlab.activations import ACTIVATIONS, Activation
from actlab.config import ActivationConfig
from actlab.errors import UserError

Array = Float[np.ndarray, "..."]
Function = Callable[[Array], Array]

#: How far from the centre, in standard deviations, a Gaussian is integrated: beyond is 4e-33.
_REACH = 12.0

# Panels of about one width on a logarithmic scale: an activation that is steep beside the
# Gaussian (sqrt(q) up to 1e8) is as smooth on them as one that is not.
_OFFSETS = _REACH * np.concatenate([[0.0, 1.0, 0.5], 0.25 ** np.arange(1.0, 15.0)])
_COARSE, _FINE = (np.polynomial.legendre.leggauss(order) for order in (12, 18))

#: What two orders of quadrature may differ by, as a share of the mean absolute integrand.
_TOLERANCE = 1e-7

#: Between these variances a fixed point is looked for.
_SMALL, _LARGE = 1e-9, 1e9

#: Standard deviations of the band about a prediction: a Gaussian leaves it once in 16,000.
BAND_DEVIATIONS = 4.0


@dataclass(frozen=True)
class Nonlinearity:
    """An activation as the theory sees it.

    Attributes
    ----------
    value, derivative
        phi and phi', elementwise.
    kinks
        Where phi, its slope or its curvature jumps.
    """

    value: Function
    derivative: Function
    kinks: tuple[float, ...]

    @classmethod
    def of(cls, activation: ActivationConfig) -> "Nonlinearity":
        """Take a row of `activations.ACTIVATIONS`, its constants filled in."""
        return cls.of_row(ACTIVATIONS[activation.function], activation.constants)

    @classmethod
    def of_row(cls, row: Activation, constants: Mapping[str, Any]) -> "Nonlinearity":
        """Take an activation with given constants."""

        def value(x: Array) -> Array:
            with np.errstate(over="ignore", invalid="ignore"):
                return row.value(x, **constants)

        def derivative(x: Array) -> Array:
            with np.errstate(over="ignore", invalid="ignore"):
                return row.derivative(x, **constants)

        def bend(x: Array) -> Array:
            with np.errstate(over="ignore", invalid="ignore"):
                return (derivative(x + _BEND) - derivative(x - _BEND)) / (2 * _BEND)

        jumps = find_jumps(value, derivative)
        bends = find_jumps(bend, resolution=4 * _BEND)
        # A jump of phi' is a peak of its difference: found there a second time, less precisely.
        new = (x for x in bends if all(abs(x - jump) > 100 * _BEND for jump in jumps))
        return cls(value, derivative, tuple(sorted({*jumps, *new})))


#: Step of the second derivative, by differences of the first.
_BEND = 1e-5


def find_jumps(*functions: Function, resolution: float = 1e-12) -> tuple[float, ...]:
    """Find where functions jump, between -30 and 30, to a resolution.

    A cell of a grid in which a function changes is halved towards the larger change; where the
    change stays, it is a jump. Values that are not finite count as 0.

    >>> find_jumps(lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0))
    (0.0,)
    >>> find_jumps(np.tanh)
    ()
    """
    grid = np.arange(-30.03125, 30.1, 0.0625)
    found = set()
    for function in functions:

        def finite(x: Array, function: Function = function) -> Array:
            return np.nan_to_num(function(x), nan=0.0, posinf=0.0, neginf=0.0)

        values = finite(grid)
        change = np.abs(np.diff(values))
        cells = np.flatnonzero(change > 1e-3 * max(1e-3, float(np.abs(values).max())))
        low, high = grid[cells], grid[cells + 1]
        below, above = values[cells], values[cells + 1]
        while True:
            open_cells = high - low > resolution * np.maximum(1.0, np.abs(low))
            if not open_cells.any():
                break
            middle = (low + high) / 2
            between = finite(middle)
            left = open_cells & (np.abs(between - below) >= np.abs(above - between))
            right = open_cells & ~left
            high, above = np.where(left, middle, high), np.where(left, between, above)
            low, below = np.where(right, middle, low), np.where(right, between, below)
        jumps = np.abs(above - below) > change[cells] / 4
        places = (low[jumps] + high[jumps]) / 2
        digits = 10 if resolution < 1e-10 else 4
        found |= {round(float(place), digits) + 0.0 for place in places}
    return tuple(sorted(found))


def gaussian_mean(
    function: Callable[[Array, Array], Array],
    variance: Float[np.ndarray, " gaussian"],
    kinks: Sequence[float] = (),
    mean: float = 0.0,
) -> Float[np.ndarray, "*moment gaussian"]:
    """Give E[f(x, u)] for Gaussian x = mean + sqrt(variance) u, by piecewise Gauss-Legendre.

    The integral over u is cut at 0, at every kink, and in panels that halve towards each of
    them, so that the integrand is smooth on every panel. The error is bounded by how far the
    rules of 12 and 18 points a panel differ: for a smooth integrand that is the error of the
    first, and the second's is far below it.

    Parameters
    ----------
    function
        Of x and u, both (gaussian, node); leading axes of its values are kept, so that several
        moments cost one evaluation.
    variance
        Above 0, from 1e-16 to 1e16.
    kinks
        Values of x at which f is not smooth; 0 always counts as one.

    Returns
    -------
    np.ndarray
        Infinite or NaN where f is: such as where it overflows. NaN too where 12 standard
        deviations do not hold the integral, as of exp(x)^2 for a variance above 10.

    Raises
    ------
    UserError
        When the two rules differ by more than 1e-7 of E|f|.

    >>> gaussian_mean(lambda x, u: np.maximum(x, 0) ** 2, np.array([3.0]))
    array([1.5])
    """
    deviation = np.sqrt(variance)
    centres = (np.array([0.0, *kinks])[:, None] - mean) / deviation
    offsets = np.concatenate([-_OFFSETS[1:], _OFFSETS])
    cuts = np.concatenate([[np.zeros_like(deviation)], centres])[..., None] + offsets
    edges = np.sort(np.clip(np.concatenate(list(cuts), axis=-1), -_REACH, _REACH), axis=-1)
    # Cuts closer than rounding can tell apart, and those beyond the reach, leave empty panels.
    used = (np.diff(edges, axis=-1) > 0).any(axis=0)
    left, right = edges[:, :-1][:, used], edges[:, 1:][:, used]
    results = []
    for nodes, weights in (_COARSE, _FINE):
        half = (right - left)[..., None] / 2
        u = ((left + right)[..., None] / 2 + half * nodes).reshape(len(deviation), -1)
        density = np.exp(-(u**2) / 2) / math.sqrt(2 * math.pi)
        mass = (half * weights).reshape(u.shape) * density
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            values = function(mean + deviation[:, None] * u, u)
            results.append(((mass * values).sum(axis=-1), (mass * np.abs(values)).sum(axis=-1)))
    (coarse, _), (fine, size) = results
    at_reach = math.exp(-(_REACH**2) / 2) / math.sqrt(2 * math.pi)
    ends = (np.abs(values[..., 0]) + np.abs(values[..., -1])) * at_reach
    with np.errstate(invalid="ignore"):
        held = ends <= _TOLERANCE * size + 1e-300
        uncertain = held & (np.abs(fine - coarse) > _TOLERANCE * size + 1e-300)
    fine = np.where(held | ~np.isfinite(fine), fine, np.nan)
    if uncertain.any():
        raise UserError(
            "an integral over an activation is not certain to 1e-7: it has to be smooth but for"
            f" jumps of value or slope ({', '.join(map(str, kinks)) or 'none'} found)"
        )
    return fine


def q_map(
    phi: Nonlinearity, q: Float[np.ndarray, " image"], sigma_w2: float, sigma_b2: float = 0.0
) -> Float[np.ndarray, " image"]:
    """Give the next layer's variance, sigma_w^2 E[phi(sqrt(q) u)^2] + sigma_b^2, u standard normal.

    Poole et al. 2016, equation 3. Of ReLU it is sigma_w^2 q / 2 (He et al. 2015).
    """
    return sigma_w2 * gaussian_mean(lambda x, u: phi.value(x) ** 2, q, phi.kinks) + sigma_b2


def chi(
    phi: Nonlinearity, q: Float[np.ndarray, " image"], sigma_w2: float
) -> Float[np.ndarray, " image"]:
    """Give sigma_w^2 E[phi'(sqrt(q) u)^2]: the factor by which a gradient's variance goes back.

    Schoenholz et al. 2017, equation 8; at the fixed point of `q_map` it is their chi_1. Above 1
    gradients explode, below they vanish.
    """
    return sigma_w2 * gaussian_mean(lambda x, u: phi.derivative(x) ** 2, q, phi.kinks)


def fixed_point(
    phi: Nonlinearity, sigma_w2: float, sigma_b2: float = 0.0, start: float = 1.0
) -> float:
    """Give the variance q* that the layers of a deep network tend to from `start`.

    It is the first fixed point of `q_map` in the direction in which the map moves `start`.

    Returns
    -------
    float
        q*; `start` itself where that is a fixed point, as every q is of ReLU with sigma_w^2 = 2;
        0 where the variance falls below 1e-9 and infinity where it rises above 1e9, or beyond
        what `gaussian_mean` can tell, without one. NaN where that cannot tell at `start`.

    >>> relu = Nonlinearity.of(ActivationConfig("relu", "relu", {}))
    >>> [fixed_point(relu, sigma_w2) for sigma_w2 in (1.0, 2.0, 3.0)]
    [0.0, 1.0, inf]
    """

    def growth(log_q: float) -> float:
        q = np.exp([log_q])
        with np.errstate(divide="ignore"):
            return float(np.log(q_map(phi, q, sigma_w2, sigma_b2) / q)[0])

    at = math.log(start)
    direction = growth(at)
    if math.isnan(direction):
        return math.nan
    if abs(direction) < 1e-9:
        return start
    step = math.copysign(0.1, direction)
    while math.log(_SMALL) < at < math.log(_LARGE):
        following = growth(at + step)
        if not math.isfinite(following):
            break
        if following * direction <= 0:
            low, high = sorted([at, at + step])
            root: Any = optimize.brentq(growth, low, high, xtol=1e-12)
            return math.exp(root)
        at += step
    return 0.0 if direction < 0 else math.inf


def chi_at_fixed_point(
    phi: Nonlinearity, sigma_w2: float, sigma_b2: float = 0.0, start: float = 1.0
) -> float:
    """Give chi_1, `chi` at the `fixed_point`; its limit where that is 0 or infinite.

    NaN where there is none that `gaussian_mean` can tell.
    """
    point = fixed_point(phi, sigma_w2, sigma_b2, start)
    if math.isnan(point):
        return math.nan
    q = min(max(point, 1e-16), 1e16)
    return float(chi(phi, np.array([q]), sigma_w2)[0])


def depth_scale(chi_1: float) -> float:
    """Give xi = -1 / ln(chi_1): over so many layers a gradient's variance shrinks by e.

    Schoenholz et al. 2017, equation 9. Infinite at chi_1 = 1, where a signal goes through any
    depth; negative above, where over |xi| layers it grows by e; 0 where nothing comes back.

    >>> depth_scale(math.exp(-0.5)), depth_scale(math.e), depth_scale(1.0), depth_scale(0.0)
    (2.0, -1.0, inf, 0.0)
    """
    if chi_1 == 0:
        return 0.0
    # What the quadrature cannot tell from 1 is 1.
    return math.inf if abs(chi_1 - 1) < _TOLERANCE else -1 / math.log(chi_1)


def activation_moments(phi: Nonlinearity, mean: float, variance: float) -> tuple[float, float]:
    """Give mean and variance of phi(z) for Gaussian z with given ones.

    With weights of sum 0 and square sum 1 it is the map g of Klambauer et al. 2017 (equations 4
    and 5) from a layer to the next; SELU's fixed point is (0, 1).
    """
    first, second = gaussian_mean(
        lambda x, u: np.stack([phi.value(x), phi.value(x) ** 2]),
        np.array([variance]),
        phi.kinks,
        mean,
    )[:, 0]
    return float(first), float(second - first**2)


def gains(phi: Nonlinearity) -> tuple[float, float]:
    """Give E[phi(u)^2] and E[phi'(u)^2] for u standard normal.

    Their reciprocals are the sigma_w^2 that keep a signal of variance 1 on its way there, and
    on its way back (of ReLU both are 2: He et al. 2015, equations 10 and 14).
    """
    unit = np.ones(1)
    return float(q_map(phi, unit, 1.0)[0]), float(chi(phi, unit, 1.0)[0])


def steepest_slope(phi: Nonlinearity) -> float:
    """Give max |phi'|, over -30 to 30, to 1e-8."""
    grid = np.linspace(-30, 30, 60001)
    slopes = np.abs(phi.derivative(grid))
    at = int(slopes.argmax())
    found: Any = optimize.minimize_scalar(
        lambda x: -float(np.abs(phi.derivative(np.array([x])))[0]),
        bounds=(grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return max(float(slopes[at]), -float(found.fun))


def born_dead_probability(hidden: Sequence[int]) -> float:
    """Give the probability that a ReLU network is dead for an input before any training.

    It is 1 - prod(1 - 2^-N) over the units N of the hidden layers: a layer that gets a signal
    passes none on when all its pre-activations are negative, each with probability 1/2. Exact
    for one input, biases of zero and weights drawn symmetrically; the probability of being dead
    for all of several inputs is at most that (Lu et al. 2020, theorem 3.2).

    >>> born_dead_probability([1]), born_dead_probability([2, 2])
    (0.5, 0.4375)
    """
    return -math.expm1(sum(math.log1p(-(2.0**-units)) for units in hidden))


def weight_variance(initializer: str, inputs: int, units: int) -> float:
    """Give sigma_w^2, the variance of a kernel's entries times its inputs.

    Glorot & Bengio 2010 (equation 12), He et al. 2015 (equation 10), LeCun et al. 1998 (equation
    16); Keras's uniform and normal initialisers of a name have one variance.

    >>> weight_variance("glorot_uniform", 512, 512), weight_variance("he_normal", 784, 512)
    (1.0, 2.0)
    """
    family = initializer.partition("_")[0]
    return {"glorot": 2.0 * inputs / (inputs + units), "he": 2.0, "lecun": 1.0}[family]


class Prediction(NamedTuple):
    """Natural logarithms of the ratios of neighbouring layers; entry l - 1 is that of l and l + 1.

    Attributes
    ----------
    forward
        Of the pre-activations' variance: layer l + 1 by layer l.
    backward
        Of the variance of the loss's gradient with respect to them: layer l by layer l + 1.
    forward_variance, backward_variance
        Of what is measured of each in one network of finite width, at most.
    forward_mean_variance, backward_mean_variance
        Of the means of all entries, at most.
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
) -> Prediction:
    """Predict the ratios of neighbouring layers in a network of `depth` layers of one width.

    Each image's variance is followed by `q_map` and its gradient's by `chi`, at that layer's own
    q; ratios are geometric means over the images. Biases are zero. The gradient's rest on the
    assumption that the weights on the way back are independent of those on the way there
    (Schoenholz et al. 2017, section 3; exact to the order 1 / width).

    How far a network of n units is from that is, to the first order in 1 / n, a sum of
    independent deviations. With d the deviation of the logarithm of a layer's q, J the slope
    d ln V / d ln q of the map, B that of chi, and u standard normal:

    - d of the next layer is J d + eta, Var eta = (E[phi^4] / E[phi^2]^2 - 1) / n;
    - a mean over n units of z^2 deviates by epsilon, Var epsilon = 2 / n, which is correlated
      with eta: E[epsilon eta] = 2 J / n;
    - so the forward ratio deviates by (J - 1) d + eta - epsilon + epsilon of the next layer,
      the backward one by B d and what has the variance (3 E[phi'^4] / E[phi'^2]^2 - 1) / n.

    The images of a network share its weights, so that their deviations do not average out:
    the variances are those of the worst image, an upper bound.

    Parameters
    ----------
    first
        Each image's q in layer 1.
    sigma_w2
        Of the layers above it.
    """
    q, deviation = first, np.zeros_like(first)
    forward, backward, forward_variance, backward_variance = [], [], [], []
    shared = np.zeros_like(first)
    for _ in range(depth - 1):
        if not ((q > 1e-16) & (q < 1e16)).all():
            # Beyond what `gaussian_mean` takes: the signal overflowed, or nothing is left of it.
            for series in (forward, backward, forward_variance, backward_variance):
                series.append(np.full_like(q, np.nan))
            continue
        value2, value4, value2_slope, slope2, slope4, slope2_slope = gaussian_mean(
            _moments(phi), q, phi.kinks
        )
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            rise, bend = value2_slope / value2 / 2, slope2_slope / slope2 / 2
            pass_on = (value4 / value2**2 - 1) / width
            following = sigma_w2 * value2
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
        # Ends alone count: the ratios of the layers between cancel.
        float(np.max(deviation + 4 / width)) / steps**2,
        float(np.max(noise + shared**2)) / steps**2,
    )


def _moments(phi: Nonlinearity) -> Callable[[Array, Array], Array]:
    """E[phi^2], E[phi^4], and by Stein's lemma 2 q d E[phi^2] / dq; the same of phi'."""

    def moments(x: Array, u: Array) -> Array:
        value2, slope2 = phi.value(x) ** 2, phi.derivative(x) ** 2
        stein = u**2 - 1
        return np.stack([value2, value2**2, value2 * stein, slope2, slope2**2, slope2 * stein])

    return moments


def band(
    log_ratio: float, variance: float, networks: int, allowance: float | None = None
) -> tuple[float, float]:
    """Give the bounds between which a ratio's geometric mean over networks agrees with theory.

    They lie `BAND_DEVIATIONS` standard deviations of that mean about the prediction, and an
    allowance further, by default the variance itself: the mean of a logarithm lies half a
    variance below the logarithm of the mean, and what else the theory leaves out is of that
    order, 1 / width.

    >>> low, high = band(0.0, 0.01, 4)
    >>> round(math.log(low), 3), round(math.log(high), 3)
    (-0.21, 0.21)
    """
    beyond = variance if allowance is None else allowance
    with np.errstate(over="ignore", invalid="ignore"):
        half = BAND_DEVIATIONS * np.sqrt(variance / networks) + beyond
        return float(np.exp(log_ratio - half)), float(np.exp(log_ratio + half))
