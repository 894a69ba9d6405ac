"""Mean-field theory: the maps of a signal's variance through one wide random layer.

In wide layers, the pre-activations of one image are Gaussian with mean 0 and a variance q that
follows a map from layer to layer (Poole et al. 2016, equation 3); backpropagation multiplies the
gradient's variance by chi per layer (Schoenholz et al. 2017, equation 8). Both are integrals over
an activation that is smooth between jumps of its value, slope and curvature.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import optimize

from actlab.errors import UserError

Array = Float[np.ndarray, "..."]
Function = Callable[[Array], Array]

#: Limit of integration in standard deviations: the mass beyond is 4e-33.
_REACH = 12.0

# Panels of about equal width on a logarithmic scale, so that an activation that is steep compared
# with the Gaussian (sqrt(q) up to 1e8) is smooth on them too.
_OFFSETS = _REACH * np.concatenate([[0.0, 1.0, 0.5], 0.25 ** np.arange(1.0, 15.0)])
_COARSE, _FINE = (np.polynomial.legendre.leggauss(order) for order in (12, 18))

#: The largest accepted difference of the two orders, relative to the mean absolute integrand.
TOLERANCE = 1e-7

#: Parts of a panel, tried in turn until the two orders agree: an activation may oscillate.
_PARTS = (1, 4, 16)

#: The range of variances in which a fixed point is sought.
_SMALL, _LARGE = 1e-9, 1e9

#: Step of the second derivative, by differences of the first.
_BEND = 1e-5


class UncertainError(UserError):
    """An integral over an activation that the quadrature cannot compute reliably."""


@dataclass(frozen=True)
class Nonlinearity:
    """An activation in theory: phi and phi', elementwise."""

    value: Function
    derivative: Function

    @cached_property
    def kinks(self) -> tuple[float, ...]:
        """Where phi, its slope or its curvature jumps, between -30 and 30."""

        def bend(x: Array) -> Array:
            with np.errstate(invalid="ignore"):
                difference = self.derivative(x + _BEND) - self.derivative(x - _BEND)
            return difference / (2 * _BEND)

        jumps = find_jumps(self.value, self.derivative)
        bends = find_jumps(bend, resolution=4 * _BEND)
        # A jump of phi' is a peak of its difference: found there a second time, less precisely.
        new = (x for x in bends if all(abs(x - jump) > 100 * _BEND for jump in jumps))
        return tuple(sorted({*jumps, *new}))

    def steepest_slope(self, reach: int) -> float:
        """Find the largest |phi'| from -reach to reach, to a relative 1e-12.

        On a grid, and on a finer one around its maximum. Both avoid round numbers: at a kink,
        automatic differentiation may return the slope of neither side.

        >>> Nonlinearity(np.sin, np.cos).steepest_slope(10)
        1.0
        """
        coarse = np.linspace(-reach, reach, 2000 * reach + 1)[:-1] + 1e-7 / 3
        around = coarse[np.abs(self.derivative(coarse)).argmax()]
        fine = np.clip(around + np.linspace(-1e-3, 1e-3, 20001), -reach, reach)
        points = np.concatenate([coarse, fine, [-1e-12, 1e-12]])
        return float(np.abs(self.derivative(points)).max())


def find_jumps(*functions: Function, resolution: float = 1e-12) -> tuple[float, ...]:
    """Find where functions jump, between -30 and 30, to a resolution.

    Grid cells in which a function changes are bisected towards the larger change; a change that
    remains is a jump. Values that are not finite count as 0.

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
        digits = 10 if resolution < 1e-10 else 4
        midpoints = (low[jumps] + high[jumps]) / 2
        found |= {round(float(midpoint), digits) + 0.0 for midpoint in midpoints}
    return tuple(sorted(found))


def gaussian_mean(
    function: Callable[[Array, Array], Array],
    variance: Float[np.ndarray, " gaussian"],
    kinks: Sequence[float] = (),
    mean: float = 0.0,
) -> Float[np.ndarray, "*moment gaussian"]:
    """Compute E[f(x, u)] for Gaussian x = mean + sqrt(variance) u, by piecewise Gauss-Legendre.

    The integral over u is divided at 0, at every kink, and into panels that shrink towards each of
    them, so that the integrand is smooth on every panel. The difference of the rules of 12 and 18
    points per panel bounds the error.

    Parameters
    ----------
    function
        Of x and u, both (gaussian, node); leading axes of its values are kept.
    variance
        From 1e-16 to 1e16.
    kinks
        Values of x at which f is not smooth, besides 0.

    Returns
    -------
    np.ndarray
        Infinite or NaN where f overflows; NaN where mass lies beyond 12 standard deviations, such
        as of exp(x)^2 for a variance above 10.

    Raises
    ------
    UncertainError
        When the two rules differ by more than 1e-7 of E|f|, even with 16 parts per panel.

    >>> gaussian_mean(lambda x, u: np.maximum(x, 0) ** 2, np.array([3.0]))
    array([1.5])
    """
    deviation = np.sqrt(variance)
    centres = (np.array([0.0, *kinks])[:, None] - mean) / deviation
    offsets = np.concatenate([-_OFFSETS[1:], _OFFSETS])
    cuts = np.concatenate([[np.zeros_like(deviation)], centres])[..., None] + offsets
    edges = np.sort(np.clip(np.concatenate(list(cuts), axis=-1), -_REACH, _REACH), axis=-1)
    # Cuts that rounding cannot separate, and those beyond the limit, leave empty panels.
    used = (np.diff(edges, axis=-1) > 0).any(axis=0)
    left, right = edges[:, :-1][:, used], edges[:, 1:][:, used]
    for parts in _PARTS:
        found = _integrate(function, mean, deviation, left, right, parts)
        if found is not None:
            return found
    raise UncertainError(
        "an integral over an activation is not certain to 1e-7: it has to be smooth but for"
        f" jumps of value or slope ({', '.join(map(str, kinks)) or 'none'} found)"
    )


def _integrate(
    function: Callable[[Array, Array], Array],
    mean: float,
    deviation: Float[np.ndarray, " gaussian"],
    left: Float[np.ndarray, "gaussian panel"],
    right: Float[np.ndarray, "gaussian panel"],
    parts: int,
) -> Float[np.ndarray, "*moment gaussian"] | None:
    """Integrate over every panel in `parts`; None if the two rules disagree."""
    shares = np.arange(parts + 1) / parts
    width = (right - left)[..., None]
    starts = (left[..., None] + width * shares[:-1]).reshape(len(deviation), -1)
    stops = (left[..., None] + width * shares[1:]).reshape(len(deviation), -1)
    results = []
    for nodes, weights in (_COARSE, _FINE):
        half = (stops - starts)[..., None] / 2
        u = ((starts + stops)[..., None] / 2 + half * nodes).reshape(len(deviation), -1)
        density = np.exp(-(u**2) / 2) / math.sqrt(2 * math.pi)
        mass = (half * weights).reshape(u.shape) * density
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            values = function(mean + deviation[:, None] * u, u)
            results.append(((mass * values).sum(axis=-1), (mass * np.abs(values)).sum(axis=-1)))
    (coarse, _), (fine, size) = results
    density_at_end = math.exp(-(_REACH**2) / 2) / math.sqrt(2 * math.pi)
    ends = (np.abs(values[..., 0]) + np.abs(values[..., -1])) * density_at_end
    with np.errstate(invalid="ignore"):
        is_contained = ends <= TOLERANCE * size + 1e-300
        uncertain = is_contained & (np.abs(fine - coarse) > TOLERANCE * size + 1e-300)
    if uncertain.any():
        return None
    return np.where(is_contained | ~np.isfinite(fine), fine, np.nan)


def q_map(
    phi: Nonlinearity, q: Float[np.ndarray, " image"], sigma_w2: float, sigma_b2: float = 0.0
) -> Float[np.ndarray, " image"]:
    """Compute the next layer's variance, sigma_w^2 E[phi(sqrt(q) u)^2] + sigma_b^2, u ~ N(0, 1).

    Poole et al. 2016, equation 3. For ReLU it is sigma_w^2 q / 2 (He et al. 2015).
    """
    return sigma_w2 * gaussian_mean(lambda x, u: phi.value(x) ** 2, q, phi.kinks) + sigma_b2


def chi(
    phi: Nonlinearity, q: Float[np.ndarray, " image"], sigma_w2: float
) -> Float[np.ndarray, " image"]:
    """Compute sigma_w^2 E[phi'(sqrt(q) u)^2], the factor of a gradient's variance per layer.

    Schoenholz et al. 2017, equation 8; at the fixed point of `q_map` it is their chi_1. Gradients
    explode above 1 and vanish below.
    """
    return sigma_w2 * gaussian_mean(lambda x, u: phi.derivative(x) ** 2, q, phi.kinks)


def fixed_point(
    phi: Nonlinearity, sigma_w2: float, sigma_b2: float = 0.0, start: float = 1.0
) -> float:
    """Compute the variance q* to which the layers of a deep network converge from `start`.

    It is the first fixed point of `q_map` in the direction in which the map moves `start`.

    Returns
    -------
    float
        q*; `start` if that is a fixed point (every q is, for ReLU with sigma_w^2 = 2); 0 if the
        variance falls below 1e-9, infinity if it exceeds 1e9 or what `gaussian_mean` can compute.
        NaN if that fails at `start`.

    >>> relu = Nonlinearity(lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0))
    >>> [fixed_point(relu, sigma_w2) for sigma_w2 in (1.0, 2.0, 3.0)]
    [0.0, 1.0, inf]
    """

    def growth(log_q: float) -> float:
        q = np.exp([log_q])
        with np.errstate(divide="ignore"):
            return float(np.log(q_map(phi, q, sigma_w2, sigma_b2) / q)[0])

    log_q = math.log(start)
    direction = growth(log_q)
    if math.isnan(direction):
        return math.nan
    if abs(direction) < 1e-9:
        return start
    step = math.copysign(0.1, direction)
    while math.log(_SMALL) < log_q < math.log(_LARGE):
        try:
            following = growth(log_q + step)
        except UncertainError:
            break
        if not math.isfinite(following):
            break
        if following * direction <= 0:
            low, high = sorted([log_q, log_q + step])
            root: Any = optimize.brentq(growth, low, high, xtol=1e-12)
            return math.exp(root)
        log_q += step
    return 0.0 if direction < 0 else math.inf


def chi_at_fixed_point(
    phi: Nonlinearity, sigma_w2: float, sigma_b2: float = 0.0, start: float = 1.0
) -> float:
    """Compute chi_1, `chi` at the `fixed_point`; its limit if that is 0 or infinite.

    NaN if `gaussian_mean` cannot compute it.
    """
    point = fixed_point(phi, sigma_w2, sigma_b2, start)
    if math.isnan(point):
        return math.nan
    if math.isfinite(point):
        return float(chi(phi, np.array([max(point, 1e-16)]), sigma_w2)[0])
    for power in (16, 12, 8, 6, 4, 3, 2):  # an oscillating function has a limit
        try:
            return float(chi(phi, np.array([10.0**power]), sigma_w2)[0])
        except UncertainError:
            continue
    return math.nan
