"""Values over seeds -> means, intervals, differences, ratios, tests and verdicts."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Integer
from scipy import special, stats

Verdict = Literal["better", "worse", "equivalent", "undecided"]


@functools.cache  # SciPy takes longer than all that is done with one
def _student_quantile(probability: float, freedom: int) -> float:
    return float(stats.t.ppf(probability, freedom))


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
    quantile = _student_quantile((1 + confidence) / 2, sample.size - 1)
    half = quantile * sd / math.sqrt(sample.size)
    return Interval(mean, sd, mean - half, mean + half)


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
    first, second
        One value per seed; the seeds of both have to be the same, their order does not matter.
    confidence
        The coverage, between 0 and 1, of all the intervals of a family taken together.
    comparisons
        How many intervals that family has; each is widened for it (Bonferroni).

    Raises
    ------
    ValueError
        When the seeds differ.

    >>> paired_ratio({0: 8.0, 1: 2.0}, {0: 2.0, 1: 0.5}, confidence=0.95)
    Interval(mean=4.0, sd=1.0, low=4.0, high=4.0)
    """
    if first.keys() != second.keys():
        raise ValueError(f"seeds {sorted(first)} cannot be paired with {sorted(second)}")
    above, below = (np.array([of[seed] for seed in sorted(of)]) for of in (first, second))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios = above / below
    return geometric_interval(ratios, 1 - (1 - confidence) / comparisons)


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
    if not 0 <= count <= total or total == 0:  # SciPy refuses them in some of its versions
        raise ValueError(f"{count} of {total} is no share")
    bounds = stats.binomtest(count, total).proportion_ci(confidence, method="wilson")
    return float(bounds.low), float(bounds.high)


class PairedTests(NamedTuple):
    """What is tested of the differences between two activations, paired by seed.

    Attributes
    ----------
    p_t
        Of the paired t-test: the mean difference is zero (two-sided).
    p_equivalence
        Of two one-sided t-tests (Schuirmann 1987): the mean difference is at least as large as
        the margin, in either direction. Small, it shows equivalence.
    effect_size
        Cohen's d_z: the mean difference in standard deviations of the differences.
    """

    p_t: float
    p_equivalence: float
    effect_size: float


def paired_tests(differences: Float[np.ndarray, " seeds"], margin: float) -> PairedTests:
    """Test paired differences against zero, and against a margin.

    Parameters
    ----------
    differences
        First minus second, one a seed.
    margin
        The largest difference that does not matter, above zero, in the unit of the values.

    Returns
    -------
    PairedTests
        NaN where there are fewer than two seeds or a value is not finite. Where all differences
        are the same the t-tests have no p-value: that of the sign test, 2^(1 - n), stands in for
        the one, and the other is 0 or 1.

    >>> paired_tests(np.array([0.5, 1.5, 2.5, 3.5]), margin=5.0).p_t
    0.0533...
    """
    # statsmodels takes a second to import, which `--help` need not pay.
    from statsmodels.stats.weightstats import ttost_paired

    if differences.size < 2 or not np.isfinite(differences).all():
        return PairedTests(math.nan, math.nan, math.nan)
    mean, sd = float(differences.mean()), float(differences.std(ddof=1))
    if _is_constant(differences):
        return PairedTests(
            2.0 ** (1 - differences.size) if mean else 1.0,
            0.0 if abs(mean) < margin else 1.0,
            math.copysign(math.inf, mean) if mean else 0.0,
        )
    p_equivalence, *_ = ttost_paired(differences, np.zeros_like(differences), -margin, margin)
    student: Any = stats.ttest_1samp(differences, 0)
    return PairedTests(float(student.pvalue), float(p_equivalence), mean / sd)


def _is_constant(values: Float[np.ndarray, " n"]) -> bool:
    """Tell whether values differ by no more than the rounding of their computation."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def median_interval(
    values: Float[np.ndarray, " pairs"], confidence: float
) -> tuple[float, float, float]:
    """Give the median and its interval between two of the values.

    The bounds are the order statistics between which the median lies with at least the given
    confidence, whatever the distribution (Conover 1999, section 3.2). Few values do not allow
    one: up to five with 95 %.

    Returns
    -------
    tuple
        median, low, high: the bounds NaN where there are too few values, all where there are
        none or one is not finite.

    >>> median_interval(np.array([9.0, 1.0, 2.0, 4.0, 3.0, 5.0]), confidence=0.95)
    (3.5, 1.0, 9.0)
    >>> median_interval(np.array([1.0, 2.0]), confidence=0.95)
    (1.5, nan, nan)
    """
    if values.size == 0 or not np.isfinite(values).all():
        return math.nan, math.nan, math.nan
    test: Any = stats.quantile_test(values, p=0.5)
    interval = test.confidence_interval(confidence)
    return float(np.median(values)), float(interval.low), float(interval.high)


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Adjust the p-values of a family for their number (Holm 1979); NaN counts as 1.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    # As statsmodels' multipletests, which collects garbage on every call: a tenth of a second.
    p_values = np.nan_to_num(p_values, nan=1.0)
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(p_values.size, 0, -1))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def decide(
    mean: float, p_difference: float, p_equivalence: float, alpha: float, larger_is_better: bool
) -> Verdict:
    """Give the verdict on the first of two activations.

    Equivalent comes first: a difference that is shown to be smaller than the margin does not
    matter, whether or not it is shown to be a difference.

    Parameters
    ----------
    mean
        Of first minus second.
    p_difference, p_equivalence
        Adjusted for their family, each.
    alpha
        The rate of errors that is declared: of all families in which nothing differs, at most
        this part has a `better` or `worse`.
    larger_is_better
        Whether it is for the metric.

    Examples
    --------
    >>> decide(0.5, p_difference=0.001, p_equivalence=0.9, alpha=0.05, larger_is_better=True)
    'better'
    """
    if p_equivalence < alpha:
        return "equivalent"
    if p_difference < alpha:
        return "better" if (mean > 0) == larger_is_better else "worse"
    return "undecided"


def decide_by_interval(low: float, high: float, margin: float, larger_is_better: bool) -> Verdict:
    """Give the verdict on the first of two activations from an interval of first minus second.

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
    """How many seeds would settle a comparison, were its mean and sd the true ones.

    The smallest number with which the paired t-test shows the difference, or the two one-sided
    tests show equivalence, with the power that is asked for.

    Parameters
    ----------
    mean, sd
        Of the differences.
    margin
        As in `paired_tests`.
    alpha
        Of each test; divide it by the number of tests in the family.
    power
        The probability of settling it.
    most
        Where this many do not settle it either, the answer is None; as it is where mean or sd
        is not a number.
    """
    if not (math.isfinite(mean) and math.isfinite(sd)):
        return None
    if sd <= 1e-12 * abs(mean):  # the sign test decides, whose p-value is 2 ** (1 - seeds)
        return math.floor(1 + math.log2(1 / alpha)) + 1 if mean else None
    # Powers grow with the number of seeds, so the first that suffices is found by halving.
    low, high = 1, most
    if _power(mean, sd, margin, alpha, most) < power:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _power(mean, sd, margin, alpha, middle) >= power else (middle, high)
        )
    return high


def _power(mean: float, sd: float, margin: float, alpha: float, seeds: int) -> float:
    """Give the larger power of the two tests: of a difference, and of equivalence."""
    if seeds < 2:
        return 0.0
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
    """Draw images with replacement: each row counts how often one resample has every image.

    The same arguments give the same draws.

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
    """Intervals of a mean difference over new seeds and new images, not only over new seeds.

    Seeds and images are resampled independently of each other (the pigeonhole bootstrap, Owen
    2007), since every seed sees the same images. The bootstrap's standard error, with
    n / (n - 1) in its square for the few seeds, is taken times Student's t of n - 1 degrees of
    freedom.

    Parameters
    ----------
    differences
        First minus second, of one seed on one image; their mean is the comparison's.
    counts
        `resample_images`; one draw serves many comparisons.
    confidences
        The coverage of each interval, between 0 and 1.

    Returns
    -------
    list
        Low and high of each; NaN where there are fewer than two seeds or a value is not finite.
    """
    seeds = len(differences)
    if seeds < 2 or not np.isfinite(differences).all():
        return [(math.nan, math.nan)] * len(confidences)
    # BLAS sums in an order that depends on the number of cores. In units this small differences
    # are whole numbers whose sums are below 2^53: exact, in whatever order.
    images = differences.shape[1]
    _, power = math.frexp(float(np.abs(differences).max()) * images)
    of_seeds = counts @ np.rint(np.ldexp(differences, 52 - power)).T
    of_seeds = np.ldexp(of_seeds, power - 52) / images
    drawn = np.random.default_rng(1).multinomial(seeds, np.full(seeds, 1 / seeds), len(counts))
    means = (of_seeds * drawn).sum(axis=1) / seeds
    error = float(means.std(ddof=1)) * math.sqrt(seeds / (seeds - 1))
    mean = float(differences.mean(dtype=np.float64))
    halves = [_student_quantile((1 + each) / 2, seeds - 1) * error for each in confidences]
    return [(mean - half, mean + half) for half in halves]


def calibration_error(
    logits: Float[np.ndarray, "images classes"],
    labels: Integer[np.ndarray, " images"],
    bins: int = 15,
) -> float:
    """Give the expected calibration error: how far confidence is from accuracy, a fraction.

    Images are sorted by the probability of their most probable class and cut into bins of
    equal numbers (adaptive bins, Nguyen & O'Connor 2015; Nixon et al. 2019, section 3). The
    error is the mean over images of |accuracy - mean confidence| of their bin.

    Parameters
    ----------
    logits
        Of each image.
    labels
        The right classes.
    bins
        How many; with fewer images, one an image.

    Returns
    -------
    float
        NaN where a logit is not finite.

    >>> certain = np.array([[9.0, 0.0], [9.0, 0.0]])
    >>> calibration_error(certain, np.array([0, 1]), bins=1)
    0.499...
    """
    if not np.isfinite(logits).all():
        return math.nan
    confidence = special.softmax(logits.astype(np.float64), axis=1).max(axis=1)
    right = logits.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    gaps = [
        abs(float(right[part].mean() - confidence[part].mean())) * len(part)
        for part in np.array_split(order, min(bins, len(order)))
    ]
    return sum(gaps) / len(labels)
