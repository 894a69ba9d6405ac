"""Verdicts on differences, each read from one interval that is adjusted for its family.

`fixed` is for a study that declared its number of seeds; `sequential` for one that adds seeds until
its verdicts are decided, and is valid however often it is looked at. A verdict is read from the
interval (`read_verdict`), so that the two cannot disagree.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy import stats

from actlab.evidence.statistics import (
    Interval,
    bonferroni,
    is_constant,
    mean_interval,
    share_interval,
    smallest_step,
    student_quantile,
    widen,
)

Verdict = Literal["better", "worse", "equivalent", "negligible", "undecided"]

#: The sequential rule looks at the first 12 seeds, then at every 6 more.
FIRST_LOOK, STEP = 12, 6

#: Precision of the Gaussian prior on the standardised effect, in observations (c^2 in the source).
_PRECISION = 2.0

#: No estimate of the seeds needed exceeds this.
MOST_SEEDS = 10_000


class Decision(NamedTuple):
    """What the differences of a pair show: see `fixed` and `sequential`.

    Attributes
    ----------
    mean, sd
        Of all differences; NaN where one is not finite.
    low, high
        The interval of the mean difference, adjusted for the family. NaN: none. Infinite: where a
        side is a lower bound.
    p, p_equivalence
        Adjusted p-values: of no difference, and of one at least as large as the margin. At most
        alpha exactly where the interval excludes 0, or lies inside the margins.
    """

    mean: float
    sd: float
    low: float
    high: float
    p: float
    p_equivalence: float


_NOTHING = Decision(math.nan, math.nan, math.nan, math.nan, 1.0, 1.0)


def read_verdict(low: float, high: float, margin: float, larger_is_better: bool = True) -> Verdict:
    """Read the verdict on the first of two configurations from an interval of first minus second.

    An empty interval (low above high) and NaN are undecided.

    >>> read_verdict(-0.1, 0.1, margin=0.2), read_verdict(0.05, 0.1, margin=0.2)
    ('equivalent', 'negligible')
    >>> read_verdict(0.1, 0.3, margin=0.2, larger_is_better=False)
    'worse'
    """
    if not low <= high:
        return "undecided"
    if -margin < low and high < margin:
        return "equivalent" if low <= 0 <= high else "negligible"
    if low > 0 or high < 0:
        return "better" if (low > 0) == larger_is_better else "worse"
    return "undecided"


def fixed(
    differences: Num[np.ndarray, " pairs"],
    margin: float,
    alpha: float,
    pairs: int = 1,
    resolution: float = 0.0,
) -> Decision:
    """Decide on paired differences whose number was declared beforehand.

    The interval is Student's t interval of level 1 - alpha / pairs (Bonferroni), so that a family
    errs with at most alpha, differences and equivalences together. Where it lies inside the margins
    two one-sided tests (Schuirmann 1987) show equivalence.

    Parameters
    ----------
    differences
        First minus second, one per seed.
    margin
        The largest difference that does not matter, in the unit of the differences.
    alpha
        Of the family.
    pairs
        The size of the family.
    resolution
        The step between possible values of a discrete metric: the standard deviation counts as at
        least that of a rounding error of two values, resolution / sqrt(6). Equal differences of a
        continuous metric (0) count as certain once a sign test could show them.

    Examples
    --------
    >>> decision = fixed(np.array([0.5, 1.5, 2.5, 3.5]), margin=5.0, alpha=0.05)
    >>> round(decision.low, 3), round(decision.high, 3), round(decision.p, 4)
    (-0.054, 4.054, 0.0534)
    """
    sample = np.asarray(differences, dtype=np.float64)
    mean, sd, low, high = mean_interval(sample, bonferroni(1 - alpha, pairs), resolution)
    if not math.isfinite(low):
        return Decision(mean, sd, low, high, 1.0, 1.0)
    if low == high:
        return _decide_constant(mean, sample.size, margin, pairs)
    error, freedom = widen(sd, resolution) / math.sqrt(sample.size), sample.size - 1
    p = 2 * pairs * _student_tail(abs(mean) / error, freedom)
    p_equivalence = 2 * pairs * _student_tail((margin - abs(mean)) / error, freedom)
    return Decision(mean, sd, low, high, min(1.0, p), min(1.0, p_equivalence))


def sequential(
    differences: Num[np.ndarray, " pairs"],
    margin: float,
    alpha: float,
    pairs: int = 1,
    resolution: float = 0.0,
) -> Decision:
    """Decide on paired differences whose number grows until a verdict is reached.

    The interval is a confidence sequence, the intersection of those of all looks so far (Wang &
    Ramdas 2023, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown
    variance", arXiv 2310.03722; the t-mixture goes back to Lai 1976). For normal differences it
    misses the true mean, at any look ever, with a probability of at most alpha / pairs. Looks are
    at `FIRST_LOOK` differences and every `STEP` more, whatever the number in between; before the
    first there is no interval. Parameters as in `fixed`; differences are in the order in which the
    seeds were declared.

    Examples
    --------
    >>> decision = sequential(np.tile([0.9, 1.1], 12), margin=0.5, alpha=0.05)
    >>> round(decision.low, 3), round(decision.high, 3)
    (0.931, 1.069)
    """
    sample = np.asarray(differences, dtype=np.float64)
    if not (sample.size and np.isfinite(sample).all()):
        return _NOTHING
    each, low, high = alpha / pairs, -math.inf, math.inf
    p, below, above = 1.0, 1.0, 1.0
    if is_constant(sample) and not resolution:
        count = sample.size - sample.size % STEP
        if count < FIRST_LOOK or 2.0 ** (1 - count) > each:
            return Decision(*mean_interval(sample, 0.5)[:2], math.nan, math.nan, 1.0, 1.0)
        return _decide_constant(float(sample[0]), count, margin, pairs)
    # Equal differences, and others later: what jumps has a step.
    resolution = max(resolution, smallest_step(sample))
    for count in range(FIRST_LOOK, sample.size + 1, STEP):
        seen = sample[:count]
        mean = float(seen.mean())
        sd = widen(float(seen.std(ddof=1)), resolution)
        if not sd:
            continue
        half = half_width(count, sd, each)
        low, high = max(low, mean - half), min(high, mean + half)
        p = min(p, pairs * math.exp(-log_evidence(count, mean, sd, 0.0)))
        if mean < margin:
            above = min(above, pairs * math.exp(-log_evidence(count, mean, sd, margin)))
        if mean > -margin:
            below = min(below, pairs * math.exp(-log_evidence(count, mean, sd, -margin)))
    mean, spread, *_ = mean_interval(sample, 0.5)
    if not math.isfinite(low + high):
        low = high = math.nan
    return Decision(mean, spread, low, high, min(1.0, p), min(1.0, max(below, above)))


def choose_interval(
    is_sequential: bool, is_share: bool
) -> Callable[[Float[np.ndarray, " seeds"], float], Interval]:
    """Choose how a mean over seeds gets its interval: a function of the values and the confidence.

    It is that of `sequential` where the number of seeds was not declared beforehand. An interval of
    shares cannot leave 0 to 1.
    """
    if not is_sequential:
        return share_interval if is_share else mean_interval

    def find_interval(values: Float[np.ndarray, " seeds"], confidence: float) -> Interval:
        found = sequential(values, 0.0, 1 - confidence)
        low, high = found.low, found.high
        if is_share:
            low, high = float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))
            if low == high:  # all 0, or all 1: as of `share_interval`
                low = high = math.nan
        return Interval(found.mean, found.sd, low, high)

    return find_interval


def log_evidence(count: int, mean: float, sd: float, value: float) -> float:
    """Compute the logarithm of the evidence of a sample against its mean being `value`.

    The Bayes factor of a t-test with a Gaussian prior of variance 1 / 2 on the standardised effect
    and the right Haar prior on the standard deviation: see the source of `sequential`.
    """
    share = _PRECISION / (count + _PRECISION)
    ratio = count * (mean - value) ** 2 / ((count - 1) * sd * sd)
    return 0.5 * math.log(share) + count / 2 * (math.log1p(ratio) - math.log1p(share * ratio))


def half_width(count: int, sd: float, alpha: float) -> float:
    """Compute the half-width of the interval of one look; infinite where there is none.

    >>> round(half_width(12, 1.0, 0.05 / 6) * math.sqrt(12), 3)
    5.318
    """
    share = _PRECISION / (count + _PRECISION)
    bound = math.exp(2 / count * (-math.log(alpha) - 0.5 * math.log(share)))
    if share * bound >= 1:
        return math.inf
    return sd * math.sqrt((count - 1) / count * (bound - 1) / (1 - share * bound))


def estimate_seeds(
    mean: float,
    sd: float,
    margin: float,
    alpha: float,
    resolution: float = 0.0,
    is_sequential: bool = False,
) -> int | float:
    """Estimate how many seeds decide a pair, were its mean and standard deviation the true ones.

    That is the first number with which the half-width is less than the distance to the nearer
    verdict: |mean|, or the margin less |mean|. `alpha` is that of the pair. Infinite where more
    than `MOST_SEEDS` are needed, NaN where mean or sd is not finite.

    >>> estimate_seeds(0.0, 1.0, 0.5, 0.05), estimate_seeds(0.0, 1.0, 0.5, 0.05, is_sequential=True)
    (18, 42)
    """
    if not (math.isfinite(mean) and math.isfinite(sd)):
        return math.nan
    wanted = max(abs(mean), margin - abs(mean))
    if sd <= 1e-12 * abs(mean) and not resolution:
        needed = math.floor(math.log2(1 / alpha)) + 2
        if is_sequential:
            needed = max(FIRST_LOOK, math.ceil(needed / STEP) * STEP)
        return needed if wanted > 0 else math.inf
    spread = widen(sd, resolution)

    def is_enough(count: int) -> bool:
        if is_sequential:
            return half_width(count, spread, alpha) < wanted
        return student_quantile(1 - alpha / 2, count - 1) * spread / math.sqrt(count) < wanted

    looks = range(FIRST_LOOK, MOST_SEEDS, STEP) if is_sequential else range(2, MOST_SEEDS)
    low, high = 0, len(looks)
    while low < high:  # the half-width falls with the number of seeds
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(looks[middle]) else (middle + 1, high)
    return looks[low] if low < len(looks) else math.inf


def bound(decision: Decision, first: int, second: int) -> Decision:
    """Take account of seeds whose value is a lower bound: how many of the first, of the second.

    A lower bound of the first leaves the difference open above, one of the second below. So nothing
    is shown to be equivalent, and where both sides have one, nothing at all.
    """
    if not (first or second):
        return decision
    if first and second:
        return Decision(decision.mean, decision.sd, math.nan, math.nan, 1.0, 1.0)
    low = -math.inf if second else decision.low
    high = math.inf if first else decision.high
    is_shown = decision.low > 0 or decision.high < 0
    remains = low > 0 or high < 0
    p = decision.p if remains or not is_shown else 1.0
    return Decision(decision.mean, decision.sd, low, high, p, 1.0)


def is_decidable(decision: Decision, first: int, second: int) -> bool:
    """Tell whether more seeds may decide an undecided pair: `bound`'s arguments and result.

    Not where a seed diverged, where looks contradict each other, where both sides have lower
    bounds, or where the side that is left open is the one that would have to be shown.
    """
    if not math.isfinite(decision.mean) or decision.low > decision.high or (first and second):
        return False
    return not ((first and decision.mean <= 0) or (second and decision.mean >= 0))


def _student_tail(value: float, freedom: int) -> float:
    survival: Any = stats.t.sf(value, freedom)
    return float(survival)


def _decide_constant(value: float, count: int, margin: float, pairs: int) -> Decision:
    """Decide on so many equal differences, by the sign test's p = 2^(1 - n)."""
    p = min(1.0, pairs * 2.0 ** (1 - count))
    within = p if abs(value) < margin else 1.0
    return Decision(value, 0.0, value, value, p if value else 1.0, within)
