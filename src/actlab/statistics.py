"""Values over seeds -> means, intervals, differences and ratios."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats


class Interval(NamedTuple):
    """A mean over seeds with its uncertainty, all in the unit of the values.

    Attributes
    ----------
    mean
        The arithmetic mean.
    sd
        The standard deviation between seeds (n - 1 in the denominator).
    low, high
        The bounds of the mean's confidence interval.

    What cannot be given is NaN: sd and bounds of a single value, everything where a value is
    not finite.
    """

    mean: float
    sd: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether the interval can be given and the value lies outside it.

        >>> Interval(2.0, 1.0, 1.5, 2.5).excludes(1.0), Interval(2.0, 1.0, 0.5, 3.5).excludes(1.0)
        (True, False)
        """
        return self.low > value or self.high < value


def mean_interval(
    values: Float[np.ndarray, " seeds"] | Sequence[float], confidence: float
) -> Interval:
    """Mean and Student's t interval of values that are independent, one a seed.

    The bounds are mean -+ t * sd / sqrt(n), t the quantile of n - 1 degrees of freedom
    (Student 1908).

    Parameters
    ----------
    values
        At least one.
    confidence
        The interval's coverage, between 0 and 1.

    Raises
    ------
    ValueError
        When there are no values.

    >>> mean_interval([1.0, 2.0, 3.0], confidence=0.95)
    Interval(mean=2.0, sd=1.0, low=-0.484..., high=4.484...)
    >>> mean_interval([1.0], confidence=0.95)
    Interval(mean=1.0, sd=nan, low=nan, high=nan)
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        raise ValueError("mean_interval needs at least one value")
    if not np.isfinite(sample).all():
        return Interval(math.nan, math.nan, math.nan, math.nan)
    mean = float(sample.mean())
    if sample.size == 1:
        return Interval(mean, math.nan, math.nan, math.nan)
    sd = float(sample.std(ddof=1))
    quantile = float(stats.t.ppf((1 + confidence) / 2, sample.size - 1))
    half = quantile * sd / math.sqrt(sample.size)
    return Interval(mean, sd, mean - half, mean + half)


def paired_difference(
    first: Mapping[int, float],
    second: Mapping[int, float],
    confidence: float,
    comparisons: int = 1,
) -> Interval:
    """Mean of first - second over the seeds, each seed's two values paired.

    Parameters
    ----------
    first, second
        A value a seed; the seeds of both have to be the same, their order does not matter.
    confidence
        The coverage, between 0 and 1, of all the intervals of a family taken together.
    comparisons
        How many intervals that family has; each is widened for it (Bonferroni).

    Raises
    ------
    ValueError
        When the seeds differ.

    >>> paired_difference({0: 5.0, 1: 7.0}, {1: 4.0, 0: 2.0}, confidence=0.95)
    Interval(mean=3.0, sd=0.0, low=3.0, high=3.0)
    """
    differences = [one - other for one, other in _pairs(first, second)]
    return mean_interval(differences, _each(confidence, comparisons))


def geometric_interval(
    values: Float[np.ndarray, " seeds"] | Sequence[float], confidence: float
) -> Interval:
    """Geometric mean of ratios with its interval, from the t interval of their logarithms.

    `sd` is the geometric one, a factor of at least 1. NaN where a value is not above zero.

    >>> geometric_interval([1.0, 100.0], confidence=0.95).mean
    10.000...
    """
    sample = np.asarray(values, dtype=np.float64)
    if not (sample > 0).all():
        return Interval(math.nan, math.nan, math.nan, math.nan)
    logarithms = mean_interval(np.log(sample), confidence)
    with np.errstate(over="ignore"):
        return Interval(*(float(np.exp(value)) for value in logarithms))


def paired_ratio(
    first: Mapping[int, float],
    second: Mapping[int, float],
    confidence: float,
    comparisons: int = 1,
) -> Interval:
    """Geometric mean of first / second over the seeds, each seed's two values paired.

    It is the ratio of the two geometric means, and the ratio the other way round has the
    reciprocal interval. NaN where a value is not finite or not above zero.

    Parameters
    ----------
    first, second, confidence, comparisons
        As those of `paired_difference`.

    Raises
    ------
    ValueError
        When the seeds differ.

    >>> paired_ratio({0: 8.0, 1: 2.0}, {0: 2.0, 1: 0.5}, confidence=0.95)
    Interval(mean=4.0, sd=1.0, low=4.0, high=4.0)
    """
    pairs = np.array(_pairs(first, second), dtype=np.float64).reshape(-1, 2)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios = pairs[:, 0] / pairs[:, 1]
    return geometric_interval(ratios, _each(confidence, comparisons))


def _pairs(first: Mapping[int, float], second: Mapping[int, float]) -> list[tuple[float, float]]:
    if first.keys() != second.keys():
        raise ValueError(f"seeds {sorted(first)} cannot be paired with {sorted(second)}")
    return [(first[seed], second[seed]) for seed in sorted(first)]


def _each(confidence: float, comparisons: int) -> float:
    """Give the coverage of each interval of a family that holds together (Bonferroni)."""
    return 1 - (1 - confidence) / comparisons


def wilson_interval(count: int, total: int, confidence: float) -> tuple[float, float]:
    """Score interval of the share count / total (Wilson 1927), without continuity correction.

    It takes the `total` trials to be independent and alike. Units of one network share its
    training, and layers pooled over seeds need not be alike: then it is too narrow.

    Parameters
    ----------
    count, total
        How many of how many.
    confidence
        The interval's coverage, between 0 and 1.

    Raises
    ------
    ValueError
        When the total is 0, or less than the count.

    >>> low, high = wilson_interval(0, 20, confidence=0.95)
    >>> round(low, 4), round(high, 4)
    (0.0, 0.1611)
    """
    bounds = stats.binomtest(count, total).proportion_ci(confidence, method="wilson")
    return float(bounds.low), float(bounds.high)
