"""Intervals, tests and verdicts from one value per seed."""

import functools
import math
from collections.abc import Sequence
from itertools import permutations
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy import stats

Verdict = Literal["better", "worse", "equivalent", "undecided"]


@functools.cache  # SciPy needs longer for it than for the rest of an interval
def _student_quantile(probability: float, freedom: int) -> float:
    return float(stats.t.ppf(probability, freedom))


class Interval(NamedTuple):
    """A mean over seeds, its standard deviation (n - 1) and the bounds of its confidence interval.

    Of a single value all but the mean are NaN; all are NaN where a value is not finite.
    """

    mean: float
    sd: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Tell whether the interval is known and the value lies outside it.

        >>> Interval(2.0, 1.0, 1.5, 2.5).excludes(1.0), Interval(2.0, 1.0, 0.5, 3.5).excludes(1.0)
        (True, False)
        """
        return self.low > value or self.high < value


def mean_interval(
    values: Float[np.ndarray, " seeds"] | Sequence[float], confidence: float
) -> Interval:
    """Compute the mean and Student's t interval of independent values, one per seed.

    The bounds are mean -+ t * sd / sqrt(n), t the quantile of n - 1 degrees of freedom
    (Student 1908). All is NaN without values.

    >>> mean_interval([1.0, 2.0, 3.0], confidence=0.95)
    Interval(mean=2.0, sd=1.0, low=-0.484..., high=4.484...)
    >>> mean_interval([1.0], confidence=0.95)
    Interval(mean=1.0, sd=nan, low=nan, high=nan)
    """
    sample = np.asarray(values, dtype=np.float64)
    if not (sample.size and np.isfinite(sample).all()):
        return Interval(math.nan, math.nan, math.nan, math.nan)
    mean = float(sample.mean())
    if sample.size == 1:
        return Interval(mean, math.nan, math.nan, math.nan)
    sd = float(sample.std(ddof=1))
    quantile = _student_quantile((1 + confidence) / 2, sample.size - 1)
    half = quantile * sd / math.sqrt(sample.size)
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


def bonferroni(confidence: float, comparisons: int) -> float:
    """Compute the confidence of each of several intervals that hold together with the given one.

    >>> round(bonferroni(0.95, 5), 9)
    0.99
    """
    return 1 - (1 - confidence) / comparisons


def wilson_interval(count: int, total: int, confidence: float) -> tuple[float, float]:
    """Compute the score interval of count / total (Wilson 1927), without continuity correction.

    It assumes independent trials with one probability; it is too narrow for units, which share the
    training of their network.

    >>> low, high = wilson_interval(0, 20, confidence=0.95)
    >>> round(low, 4), round(high, 4)
    (0.0, 0.1611)
    """
    bounds = stats.binomtest(count, total).proportion_ci(confidence, method="wilson")
    return float(bounds.low), float(bounds.high)


class PairedTests(NamedTuple):
    """Tests of the differences between two configurations, paired by seed.

    Attributes
    ----------
    p_t
        Paired t-test, two-sided: the mean difference is zero.
    p_equivalence
        Two one-sided t-tests (Schuirmann 1987): the mean difference is at least as large as the
        margin, in either direction. A small value shows equivalence.
    effect_size
        Cohen's d_z: the mean difference in standard deviations of the differences.
    """

    p_t: float
    p_equivalence: float
    effect_size: float


def paired_tests(differences: Float[np.ndarray, " seeds"], margin: float) -> PairedTests:
    """Test paired differences against zero, and against a margin above zero in their unit.

    All is NaN with fewer than two seeds, or where a value is not finite. Equal differences have no
    t-test: p_t is then that of the sign test, 2^(1 - n), and p_equivalence that of two one-sided
    sign tests, 2^-n, or 1.

    >>> paired_tests(np.array([0.5, 1.5, 2.5, 3.5]), margin=5.0).p_t
    0.0533...
    """
    # statsmodels takes a second to import, which `--help` need not pay.
    from statsmodels.stats.weightstats import ttost_paired

    if differences.size < 2 or not np.isfinite(differences).all():
        return PairedTests(math.nan, math.nan, math.nan)
    mean, sd = float(differences.mean()), float(differences.std(ddof=1))
    if np.ptp(differences) <= 1e-12 * np.abs(differences).max():
        return PairedTests(
            2.0 ** (1 - differences.size) if mean else 1.0,
            2.0**-differences.size if abs(mean) < margin else 1.0,
            math.copysign(math.inf, mean) if mean else 0.0,
        )
    p_equivalence, *_ = ttost_paired(differences, np.zeros_like(differences), -margin, margin)
    student: Any = stats.ttest_1samp(differences, 0)
    return PairedTests(float(student.pvalue), float(p_equivalence), mean / sd)


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Adjust the p-values of a family (Holm 1979); NaN counts as 1.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    # statsmodels' multipletests gives the same, but takes a tenth of a second to collect garbage.
    p_values = np.nan_to_num(p_values, nan=1.0)
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(p_values.size, 0, -1))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def decide(
    mean: float, p_difference: float, p_equivalence: float, alpha: float, larger_is_better: bool
) -> Verdict:
    """Decide on the first of two configurations from adjusted p-values.

    Equivalence comes first: a difference smaller than the margin does not matter, even if it is
    shown. `mean` is of first minus second.

    >>> decide(0.5, p_difference=0.001, p_equivalence=0.9, alpha=0.05, larger_is_better=True)
    'better'
    """
    if p_equivalence < alpha:
        return "equivalent"
    if p_difference < alpha:
        return "better" if (mean > 0) == larger_is_better else "worse"
    return "undecided"


def decide_by_interval(low: float, high: float, margin: float, larger_is_better: bool) -> Verdict:
    """Decide on the first of two configurations from an interval of first minus second.

    >>> decide_by_interval(-0.1, 0.1, margin=0.2, larger_is_better=True)
    'equivalent'
    >>> decide_by_interval(0.1, 0.3, margin=0.2, larger_is_better=False)
    'worse'
    """
    if -margin < low and high < margin:
        return "equivalent"
    if low > 0 or high < 0:
        return "better" if (low > 0) == larger_is_better else "worse"
    return "undecided"


def seeds_needed(
    mean: float, sd: float, margin: float, alpha: float, power: float = 0.8, most: int = 10_000
) -> int | None:
    """Compute how many seeds would settle a comparison, were its mean and sd the true ones.

    That is the smallest number with which the paired t-test shows the difference, or the two
    one-sided tests show equivalence within `margin`, with the given power. `alpha` is that of each
    test. None where more than `most` are needed, or mean or sd is not finite.
    """
    if not (math.isfinite(mean) and math.isfinite(sd)):
        return None
    if sd <= 1e-12 * abs(mean):  # the sign test decides, as in `paired_tests`
        halvings = math.log2(1 / alpha) + (0 if abs(mean) < margin else 1)
        return math.floor(halvings) + 1 if mean or margin else None
    low, high = 1, most
    if _power(mean, sd, margin, alpha, most) < power:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _power(mean, sd, margin, alpha, middle) >= power:
            high = middle
        else:
            low = middle
    return high


def _power(mean: float, sd: float, margin: float, alpha: float, seeds: int) -> float:
    """Compute the larger power of the two tests: of a difference, and of equivalence."""
    error, freedom = sd / math.sqrt(seeds), seeds - 1
    two_sided = _student_quantile(1 - alpha / 2, freedom)
    shown = stats.nct.sf(two_sided, freedom, abs(mean) / error)
    # Of two one-sided tests, Phillips 1990, equation 3 without its last, conservative term.
    one_sided = _student_quantile(1 - alpha, freedom)
    equivalent = stats.nct.cdf(-one_sided, freedom, (mean - margin) / error) - stats.nct.cdf(
        one_sided, freedom, (mean + margin) / error
    )
    powers = [float(shown), float(equivalent)]
    return max([power for power in powers if math.isfinite(power)], default=0.0)


def resample_images(images: int, resamples: int = 2000) -> Float64[np.ndarray, "resamples images"]:
    """Draw images with replacement: row i counts how often each image is in resample i.

    >>> resample_images(4, resamples=3).sum(axis=1)
    array([4., 4., 4.])
    """
    rng = np.random.default_rng(0)
    counts = np.empty((resamples, images))
    for row in counts:
        row[:] = np.bincount(rng.integers(0, images, images), minlength=images)
    return counts


def new_images_intervals(
    differences: Float[np.ndarray, "seeds images"],
    counts: Float64[np.ndarray, "resamples images"],
    confidences: Sequence[float],
) -> list[tuple[float, float]]:
    """Compute intervals of a mean difference over new seeds and new images, not only new seeds.

    Seeds and images are resampled independently (the pigeonhole bootstrap, Owen 2007), since every
    seed sees the same images. The half-width is Student's t of n - 1 degrees of freedom times the
    bootstrap's standard error, times sqrt(n / (n - 1)) for the few seeds n.

    Parameters
    ----------
    differences
        First minus second, of one seed on one image.
    counts
        `resample_images`; one draw serves many comparisons.
    confidences
        The coverage of each interval.

    Returns
    -------
    list
        Low and high of each; NaN with fewer than two seeds, or where a value is not finite.
    """
    seeds = len(differences)
    if seeds < 2 or not np.isfinite(differences).all():
        return [(math.nan, math.nan)] * len(confidences)
    # BLAS sums in an order that depends on the number of cores. In these units differences are
    # whole numbers with sums below 2^53, which are exact in any order.
    images = differences.shape[1]
    _, power = math.frexp(float(np.abs(differences).max()) * images)
    seed_means = counts @ np.rint(np.ldexp(differences, 52 - power)).T
    seed_means = np.ldexp(seed_means, power - 52) / images
    drawn = np.random.default_rng(1).multinomial(seeds, np.full(seeds, 1 / seeds), len(counts))
    means = (seed_means * drawn).sum(axis=1) / seeds
    error = float(means.std(ddof=1)) * math.sqrt(seeds / (seeds - 1))
    mean = float(differences.mean(dtype=np.float64))
    halves = [_student_quantile((1 + level) / 2, seeds - 1) * error for level in confidences]
    return [(mean - half, mean + half) for half in halves]


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
