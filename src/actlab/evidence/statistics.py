"""Intervals and measures of one value per seed, or of one per seed and test image."""

import functools
import math
from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import special, stats


@functools.cache  # SciPy needs longer for it than for the rest of an interval
def student_quantile(probability: float, freedom: int | float) -> float:
    """Compute the quantile of Student's t distribution."""
    return float(stats.t.ppf(probability, freedom))


def is_constant(values: Float[np.ndarray, " seeds"]) -> bool:
    """Return whether all values are equal, but for a residue of rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def smallest_step(values: Float[np.ndarray, "..."]) -> float:
    """Compute the smallest difference between two values; 0 where all are equal.

    Of shares of n images, it is 1 / n as soon as two of the values are neighbours, else more.

    >>> smallest_step(np.array([0.25, 0.75, 0.5, 0.25]))
    0.25
    """
    steps = np.diff(np.unique(values[np.isfinite(values)]))
    steps = steps[steps > 1e-9]  # not a residue of rounding
    return float(steps.min()) if steps.size else 0.0


def widen(sd: float, resolution: float) -> float:
    """Compute a standard deviation that is at least that of a rounding error of two values.

    `resolution` is the step between possible values of a discrete metric; 0 if it is continuous.
    """
    return max(sd, resolution / math.sqrt(6))


class Interval(NamedTuple):
    """A mean over seeds, its standard deviation (n - 1) and the bounds of its confidence interval.

    Of a single value all but the mean are NaN; all are NaN where a value is not finite.
    """

    mean: float
    sd: float
    low: float
    high: float


def mean_interval(
    values: Float[np.ndarray, " seeds"] | Sequence[float],
    confidence: float,
    resolution: float = 0.0,
) -> Interval:
    """Compute the mean and Student's t interval of independent values, one per seed.

    The bounds are mean -+ t * sd / sqrt(n), t the quantile of n - 1 degrees of freedom
    (Student 1908). All is NaN without values. Equal values of a continuous metric have no interval
    until a sign test, with p = 2^(1 - n), could show them; then it has no width. For `resolution`
    see `widen`.

    >>> mean_interval([1.0, 2.0, 3.0], confidence=0.95)
    Interval(mean=2.0, sd=1.0, low=-0.484..., high=4.484...)
    >>> mean_interval([1.0], confidence=0.95)
    Interval(mean=1.0, sd=nan, low=nan, high=nan)
    >>> mean_interval([1.0, 1.0, 1.0], confidence=0.95)
    Interval(mean=1.0, sd=0.0, low=nan, high=nan)
    """
    sample = np.asarray(values, dtype=np.float64)
    if not (sample.size and np.isfinite(sample).all()):
        return Interval(math.nan, math.nan, math.nan, math.nan)
    mean = float(sample.mean())
    if sample.size == 1:
        return Interval(mean, math.nan, math.nan, math.nan)
    if is_constant(sample) and not resolution:
        value = float(sample[0])
        bound = value if 2.0 ** (1 - sample.size) <= 1 - confidence else math.nan
        return Interval(value, 0.0, bound, bound)
    sd = float(sample.std(ddof=1))
    quantile = student_quantile((1 + confidence) / 2, sample.size - 1)
    half = quantile * widen(sd, resolution) / math.sqrt(sample.size)
    return Interval(mean, sd, mean - half, mean + half)


def geometric_interval(
    values: Float[np.ndarray, " seeds"] | Sequence[float], confidence: float
) -> Interval:
    """Compute the geometric mean of ratios and its interval, the t interval of their logarithms.

    `sd` is geometric, a factor of at least 1. All is NaN where a value is not above zero.

    >>> geometric_interval([1.0, 100.0], confidence=0.95).mean
    10.000...
    """
    sample = np.asarray(values, dtype=np.float64)
    if not (sample > 0).all():
        return Interval(math.nan, math.nan, math.nan, math.nan)
    logarithms = mean_interval(np.log(sample), confidence)
    with np.errstate(over="ignore"):
        return Interval(*(float(np.exp(value)) for value in logarithms))


def share_interval(
    values: Float[np.ndarray, " seeds"] | Sequence[float], confidence: float
) -> Interval:
    """Compute the mean of shares and its interval, which cannot leave 0 to 1.

    The t interval of the mean is taken on the scale of log-odds by the delta method: logit(mean) -+
    t * sd / sqrt(n) / (mean * (1 - mean)). Where all shares are 0, or all are 1, it has no width
    that these values could tell, and no bounds.

    >>> share_interval([0.9, 0.98], confidence=0.95).high < 1
    True
    """
    plain = mean_interval(values, confidence)
    if not (math.isfinite(plain.low) and 0 < plain.mean < 1):
        return Interval(plain.mean, plain.sd, math.nan, math.nan)
    half = (plain.high - plain.mean) / (plain.mean * (1 - plain.mean))
    centre = math.log(plain.mean / (1 - plain.mean))
    low, high = (float(special.expit(centre + step)) for step in (-half, half))
    return Interval(plain.mean, plain.sd, low, high)


def bonferroni(confidence: float, comparisons: int) -> float:
    """Compute the confidence of each of several intervals that hold together with the given one.

    >>> round(bonferroni(0.95, 5), 9)
    0.99
    """
    return 1 - (1 - confidence) / comparisons


def new_images_interval(
    differences: Float[np.ndarray, "seeds images"], confidence: float
) -> tuple[float, float]:
    """Compute the interval of a mean difference over new seeds and new images, not only new seeds.

    Seeds and images are the random factors of a two-way analysis of variance without replication.
    The variance of the mean is (MS_seeds + MS_images - MS_rest) / (seeds * images), MS_images
    counting as at least MS_rest; its degrees of freedom are Satterthwaite's (1946). The interval is
    no narrower than that over new seeds alone.

    Parameters
    ----------
    differences
        First minus second, of one seed on one image.

    Returns
    -------
    tuple
        Low and high; NaN with fewer than two seeds or images, where a value is not finite, or
        where so few seeds have equal means that these have no interval (`mean_interval`).

    Examples
    --------
    >>> low, high = new_images_interval(np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]), 0.95)
    >>> low < 0.5 < high
    True
    """
    seeds, images = differences.shape
    if min(seeds, images) < 2 or not np.isfinite(differences).all():
        return math.nan, math.nan
    values = differences.astype(np.float64)
    mean, by_seed, by_image = values.mean(), values.mean(axis=1), values.mean(axis=0)
    rest = values - by_seed[:, None] - by_image + mean
    squares = (
        images * float(((by_seed - mean) ** 2).sum()) / (seeds - 1),
        seeds * float(((by_image - mean) ** 2).sum()) / (images - 1),
        float((rest**2).sum()) / ((seeds - 1) * (images - 1)),
    )
    of_seeds, of_images, of_rest = squares
    total = of_seeds + max(of_images - of_rest, 0.0)
    if not total or (not of_seeds and 2.0 ** (1 - seeds) > 1 - confidence):
        return math.nan, math.nan
    weights = [of_seeds**2 / (seeds - 1)]
    if of_images > of_rest:
        weights += [of_images**2 / (images - 1), of_rest**2 / ((seeds - 1) * (images - 1))]

    half = max(
        student_quantile((1 + confidence) / 2, freedom) * math.sqrt(square / (seeds * images))
        for freedom, square in ((total**2 / sum(weights), total), (seeds - 1, of_seeds))
    )
    return float(mean) - half, float(mean) + half


def calibration_error(
    confidence: Float[np.ndarray, " images"],
    right: Bool[np.ndarray, " images"],
    bins: int = 15,
) -> float:
    """Compute the expected calibration error: the mean gap between confidence and accuracy.

    Images are sorted by the probability of their most probable class and cut into bins of equal
    numbers (adaptive bins, Nguyen & O'Connor 2015; Nixon et al. 2019, section 3). The error is the
    mean over images of |accuracy - mean confidence| of their bin, a fraction. NaN where a
    confidence is.

    Parameters
    ----------
    confidence
        The probability of each image's most probable class.
    right
        Whether that is the image's class.

    Examples
    --------
    >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False]), bins=1)
    0.4
    """
    if not np.isfinite(confidence).all():
        return math.nan
    order = np.argsort(confidence, kind="stable")
    gaps = [
        abs(float(right[part].mean() - confidence[part].mean())) * len(part)
        for part in np.array_split(order, min(bins, len(order)))
    ]
    return sum(gaps) / len(right)


def rank_correlation(
    first: Float[np.ndarray, " runs"], second: Float[np.ndarray, " runs"]
) -> float:
    """Compute Spearman's rho; 0 where all values of either are tied.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([9.0, 9.0, 4.0]))
    -0.866...
    """
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return math.nan
    ranks = [stats.rankdata(values) - (len(values) + 1) / 2 for values in (first, second)]
    size = math.sqrt(float((ranks[0] ** 2).sum()) * float((ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / size if size else 0.0


def permutation_p(
    gradients: Float[np.ndarray, "activations seeds"],
    epochs: Float[np.ndarray, "activations seeds"],
) -> float:
    """Compute the two-sided p-value of the mean rho over seeds, with the activation as the unit.

    The gradients are reassigned to the activations in every order, the same for all seeds (for more
    than eight activations in 9,999 random orders): p is the share of orders, the observed one
    included, whose mean rho is at least as far from 0.

    >>> ranks = np.arange(5.0)[:, None]
    >>> permutation_p(ranks, ranks) == 2 / 120
    True
    """
    count = len(gradients)
    if count <= 8:
        orders = np.array(list(permutations(range(count))))
    else:
        rng = np.random.default_rng(0)
        orders = np.array([np.arange(count), *(rng.permutation(count) for _ in range(9999))])
    centred = [stats.rankdata(table, axis=0) - (count + 1) / 2 for table in (gradients, epochs)]
    sizes = [np.sqrt((ranks**2).sum(axis=0)) for ranks in centred]
    first, second = (
        ranks / np.where(size > 0, size, 1.0) for ranks, size in zip(centred, sizes, strict=True)
    )
    # Entry (i, j): what the gradient of i adds to the mean rho where j has it.
    added = (first[:, None, :] * second[None, :, :]).mean(axis=2)
    means = np.abs(added[orders, np.arange(count)].sum(axis=1))
    return float((means >= means[0] - 1e-12).mean())
