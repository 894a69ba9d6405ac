"""Verdicts: their properties, the constants of the sources, and simulated error rates."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from actlab.evidence import decisions
from actlab.evidence.decisions import FIRST_LOOK, STEP, fixed, read_verdict, sequential

MARGIN, ALPHA, PAIRS = 0.2, 0.05, 6
RULES = {"fixed": fixed, "sequential": sequential}


@pytest.fixture(params=RULES)
def decide(request):
    return RULES[request.param]


# --- Reading a verdict ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.1, 0.1, "equivalent"),
        (0.0, 0.1, "equivalent"),
        (0.05, 0.15, "negligible"),
        (-0.15, -0.05, "negligible"),
        (0.1, 0.3, "better"),
        (-0.3, -0.1, "worse"),
        (-0.3, 0.1, "undecided"),
        (-0.2, 0.1, "undecided"),  # the margin itself matters
        (0.1, 0.2, "better"),
        (0.1, math.inf, "better"),
        (-0.1, math.inf, "undecided"),
        (0.1, 0.05, "undecided"),  # empty: the assumptions of the rule fail
        (math.nan, math.nan, "undecided"),
    ],
)
def test_a_verdict_is_read_from_the_interval(low, high, verdict):
    opposite = {"better": "worse", "worse": "better"}
    assert read_verdict(low, high, MARGIN) == verdict
    assert read_verdict(-high, -low, MARGIN) == opposite.get(verdict, verdict)
    assert read_verdict(low, high, MARGIN, larger_is_better=False) == opposite.get(verdict, verdict)


# --- Properties of both rules --------------------------------------------------------------------

samples = st.lists(st.floats(-1, 1), min_size=2, max_size=60).map(np.array)


@settings(max_examples=200, deadline=None)
@given(samples, st.sampled_from([0.0, 0.1]), st.sampled_from(list(RULES)))
def test_interval_and_p_values_agree(sample, resolution, rule):
    found = RULES[rule](sample, MARGIN, ALPHA, PAIRS, resolution)
    if math.isnan(found.low):
        assert found.p == found.p_equivalence == 1.0
        return
    if found.low > found.high:
        return
    edge = min(abs(found.low), abs(found.high), *(abs(abs(x) - MARGIN) for x in found[2:4]))
    if edge > 1e-9:
        assert (found.p <= ALPHA) == (found.low > 0 or found.high < 0)
        assert (found.p_equivalence <= ALPHA) == (found.low > -MARGIN and found.high < MARGIN)


@settings(max_examples=100, deadline=None)
@given(samples, st.sampled_from(list(RULES)))
def test_swapping_the_sides_mirrors(sample, rule):
    one, other = (RULES[rule](sign * sample, MARGIN, ALPHA, PAIRS) for sign in (1.0, -1.0))
    assert one[4:] == pytest.approx(other[4:])
    np.testing.assert_allclose((one.low, one.high), (-other.high, -other.low), rtol=1e-12)


def test_integers_count_as_numbers(decide):
    whole = np.array([3, 4, 5] * 8)
    assert decide(whole, 1.0, ALPHA) == decide(whole.astype(float), 1.0, ALPHA)


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_what_is_not_finite_decides_nothing(decide, lost):
    found = decide(np.array([0.0, 0.01] * 20 + [lost]), MARGIN, ALPHA)
    assert math.isnan(found.low)
    assert math.isnan(found.mean)
    assert (found.p, found.p_equivalence) == (1.0, 1.0)
    assert read_verdict(found.low, found.high, MARGIN) == "undecided"


@pytest.mark.parametrize("value", [0.0, 0.1, -0.3])
def test_equal_differences_are_certain_only_when_a_sign_test_shows_them(decide, value):
    # Of six pairs each may err with 0.05 / 6: 2^(1 - n) is below that from n = 8 on.
    few, many = (decide(np.full(n, value), MARGIN, ALPHA, PAIRS) for n in (7, 12))
    assert math.isnan(few.low)
    assert read_verdict(few.low, few.high, MARGIN) == "undecided"
    assert (many.low, many.high) == (value, value)
    verdicts = {0.0: "equivalent", 0.1: "negligible", -0.3: "worse"}
    assert read_verdict(many.low, many.high, MARGIN) == verdicts[value]


def test_equal_differences_of_a_discrete_metric_have_the_spread_of_rounding(decide):
    equal = decide(np.full(12, 1.0), 2.0, ALPHA, 1, 1.0)
    spread = np.tile([1 - 1 / math.sqrt(6), 1 + 1 / math.sqrt(6)], 6) * math.sqrt(11 / 12)
    varied = decide(spread + (1 - spread.mean()), 2.0, ALPHA)
    assert equal.high - equal.low == pytest.approx(varied.high - varied.low, rel=0.05)
    assert equal.low < 1.0 < equal.high


def test_one_difference_has_no_interval(decide):
    found = decide(np.array([0.5]), MARGIN, ALPHA)
    assert found.mean == 0.5
    assert math.isnan(found.low)


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [(0, 0, True), (3, 0, True), (0, 3, False), (3, 3, False)],
)
def test_lower_bounds_leave_a_side_open(decide, first, second, shown):
    """The first is larger by 5, where it is a lower bound even more; where the second is, less."""
    plain = decide(np.tile([4.9, 5.1], 12), 1.0, ALPHA)
    found = decisions.bound(plain, first, second)
    assert (read_verdict(found.low, found.high, 1.0) == "better") == shown
    assert (found.p <= ALPHA) == shown
    close = decisions.bound(decide(np.tile([-0.01, 0.01], 12), 1.0, ALPHA), first, second)
    verdict = read_verdict(close.low, close.high, 1.0)
    assert verdict == ("undecided" if first or second else "equivalent")
    assert close.p_equivalence == 1.0 or not (first or second)


# --- The fixed rule ------------------------------------------------------------------------------


def test_the_fixed_interval_is_students_at_the_level_of_the_family():
    sample = np.random.default_rng(0).normal(0.1, 0.3, 6)
    found = fixed(sample, MARGIN, ALPHA, PAIRS)
    student: Any = stats.ttest_1samp(sample, 0)
    interval = student.confidence_interval(1 - ALPHA / PAIRS)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(min(1, PAIRS * student.pvalue))
    sides = []
    for bound, side in ((MARGIN, "less"), (-MARGIN, "greater")):
        one_sided: Any = stats.ttest_1samp(sample, bound, alternative=side)
        sides.append(one_sided.pvalue)
    assert found.p_equivalence == pytest.approx(min(1, 2 * PAIRS * max(sides)))


def simulate(rule, means, looks, runs, rng, sd=0.3):
    """Per run, whether any pair of a family ever has a false verdict."""
    errors = 0
    for _ in range(runs):
        errors += any(
            verdict_of(rule, mean + sd * rng.standard_normal(looks), len(means)) in wrong_of(mean)
            for mean in means
        )
    return errors / runs


def verdict_of(rule, sample, pairs):
    found = rule(sample, MARGIN, ALPHA, pairs)
    return read_verdict(found.low, found.high, MARGIN)


def wrong_of(mean):
    """The verdicts that are false of a true difference."""
    false = {"worse"} if mean > 0 else {"better", "worse", "negligible"}
    return false | ({"equivalent", "negligible"} if abs(mean) >= MARGIN else set())


def test_a_family_of_fixed_studies_errs_with_at_most_alpha():
    """Differences and equivalences together: at 0 and at the margin, where both can be false."""
    rng = np.random.default_rng(1)
    runs = 4000
    rate = simulate(fixed, [0.0, 0.0, 0.2, 0.2], 20, runs, rng)
    assert rate <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    assert rate > 0.01


# --- The sequential rule: constants --------------------------------------------------------------


def test_the_half_widths_are_the_published_ones():
    found = [
        decisions.half_width(n, 1.0, 0.05 / 6) * math.sqrt(n) for n in (12, 24, 48, 96, 192, 384)
    ]
    assert found == pytest.approx([5.318, 4.166, 3.892, 3.828, 3.843, 3.895], abs=5e-4)
    assert decisions.half_width(3, 1.0, 1e-9) == math.inf


def test_the_evidence_is_the_integral_over_its_priors():
    sample = np.array([0.3, -0.1, 0.8, 0.5, 0.9, 0.2])

    def likelihood(effect: float, log_sd: float) -> float:
        sd = math.exp(log_sd)
        return math.exp(stats.norm.logpdf(sample, effect * sd, sd).sum())

    above = integrate.dblquad(
        lambda log_sd, effect: likelihood(effect, log_sd) * stats.norm.pdf(effect, 0, 0.5**0.5),
        *(-5, 5, -5, 4),
    )[0]
    below = integrate.quad(lambda log_sd: likelihood(0.0, log_sd), -5, 4)[0]
    found = math.exp(decisions.log_evidence(6, sample.mean(), sample.std(ddof=1), 0.0))
    assert found == pytest.approx(above / below, rel=1e-5)
    assert found == pytest.approx(3.16194, abs=5e-6)


@pytest.mark.parametrize("sd", [0.3, 30.0])
def test_the_mean_of_the_evidence_is_one(sd):
    samples = sd * np.random.default_rng(0).standard_normal((200_000, 12))
    means, sds = samples.mean(axis=1), samples.std(axis=1, ddof=1)
    found = [
        math.exp(decisions.log_evidence(12, mean, spread, 0.0))
        for mean, spread in zip(means[:50_000], sds[:50_000], strict=True)
    ]
    assert np.mean(found) == pytest.approx(
        1.0, abs=4 * float(np.std(found)) / math.sqrt(len(found))
    )


def test_before_the_first_look_there_is_no_interval():
    assert math.isnan(sequential(np.zeros(11) + np.arange(11), MARGIN, ALPHA).low)
    assert math.isfinite(sequential(np.zeros(12) + np.arange(12), MARGIN, ALPHA).low)


def test_more_seeds_never_widen():
    sample = 0.3 * np.random.default_rng(3).standard_normal(200)
    widths = []
    for count in range(FIRST_LOOK, 200):
        found = sequential(sample[:count], MARGIN, ALPHA)
        widths.append((found.low, found.high))
    lows, highs = np.array(widths).T
    assert (np.diff(lows) >= 0).all()
    assert (np.diff(highs) <= 0).all()
    changes = np.flatnonzero(np.diff(lows) + np.diff(highs)) + FIRST_LOOK + 1
    assert {(count - FIRST_LOOK) % STEP for count in changes} == {0}


# --- The sequential rule: simulated error rates --------------------------------------------------


def paths(mean, runs, rng, looks=384, sd=0.3):
    """The intervals of many studies at every look: (runs, looks), low and high."""
    counts = np.arange(FIRST_LOOK, looks + 1, STEP)
    samples = mean + sd * rng.standard_normal((runs, looks))
    sums, squares = samples.cumsum(axis=1), (samples**2).cumsum(axis=1)
    means = sums[:, counts - 1] / counts
    sds = np.sqrt((squares[:, counts - 1] - counts * means**2) / (counts - 1))
    return counts, means, sds


def intervals_of(counts, means, sds, alpha=ALPHA):
    halves = sds * np.array([decisions.half_width(int(n), 1.0, alpha) for n in counts])
    return np.maximum.accumulate(means - halves, axis=1), np.minimum.accumulate(
        means + halves, axis=1
    )


def first_verdicts(low, high):
    """Of each study, the look of its first verdict (the last if none), and that verdict."""
    inside = (low > -MARGIN) & (high < MARGIN)
    apart = (low > 0) | (high < 0)
    decided = inside | apart
    at = np.where(decided.any(axis=1), decided.argmax(axis=1), decided.shape[1] - 1)
    rows = np.arange(len(at))
    return at, inside[rows, at], apart[rows, at]


def test_the_interval_ever_misses_the_true_mean_with_at_most_alpha():
    runs, rng = 10_000, np.random.default_rng(5)
    low, high = intervals_of(*paths(0.1, runs, rng))
    missed = ((low > 0.1) | (high < 0.1)).any(axis=1).mean()
    assert missed <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    assert missed > 0.01  # an interval that is too wide by half would never miss


@pytest.mark.parametrize(
    ("mean", "seeds", "false_rate"), [(0.0, 37, 0.013), (0.1, 51, None), (0.2, 28, 0.006)]
)
def test_errors_and_seeds_until_a_verdict_are_as_simulated(mean, seeds, false_rate):
    runs, rng = 10_000, np.random.default_rng(6)
    counts, means, sds = paths(mean, runs, rng)
    at, inside, apart = first_verdicts(*intervals_of(counts, means, sds))
    assert counts[at].mean() == pytest.approx(seeds, abs=2)
    if mean == 0:
        assert apart.mean() == pytest.approx(false_rate, abs=0.005)
    if mean == MARGIN:
        assert inside.mean() == pytest.approx(false_rate, abs=0.004)


def test_a_family_that_stops_when_decided_errs_with_at_most_alpha():
    runs, rng, errors = 4000, np.random.default_rng(7), np.zeros(4000, dtype=bool)
    for mean in (0.0, 0.0, 0.2, 0.2):
        low, high = intervals_of(*paths(mean, runs, rng), alpha=ALPHA / 4)
        _, inside, apart = first_verdicts(low, high)
        errors |= apart if mean == 0 else inside
    assert errors.mean() <= 0.02  # expected 0.009, allowed 0.05


def test_tests_for_a_fixed_number_repeated_at_every_look_fail_the_same_test():
    """The negative control: Student's interval at every look."""
    runs, rng, errors = 2000, np.random.default_rng(8), np.zeros(2000, dtype=bool)
    for mean in (0.0, 0.0, 0.2, 0.2):
        counts, means, sds = paths(mean, runs, rng)
        halves = stats.t.ppf(1 - ALPHA / 8, counts - 1) * sds / np.sqrt(counts)
        _, inside, apart = first_verdicts(means - halves, means + halves)
        errors |= apart if mean == 0 else inside
    assert errors.mean() > ALPHA + 0.03


# --- Seeds needed --------------------------------------------------------------------------------


@pytest.mark.parametrize("is_sequential", [False, True])
@pytest.mark.parametrize("mean", [0.0, 0.05, 0.15, 0.3])
def test_the_seeds_needed_are_the_first_with_which_the_interval_decides(mean, is_sequential):
    needed = decisions.estimate_seeds(mean, 0.3, MARGIN, ALPHA, 0.0, is_sequential)
    assert isinstance(needed, int)
    before = needed - (STEP if is_sequential else 1)

    def is_decided(count: int) -> bool:
        half = stats.t.ppf(1 - ALPHA / 2, count - 1) * 0.3 / math.sqrt(count)
        if is_sequential:
            half = decisions.half_width(count, 0.3, ALPHA)
        return read_verdict(mean - half, mean + half, MARGIN) != "undecided"

    assert is_decided(needed)
    assert not is_decided(before)


def test_no_number_of_seeds_decides_what_is_not_known():
    assert math.isnan(decisions.estimate_seeds(math.nan, 1.0, MARGIN, ALPHA))
    assert decisions.estimate_seeds(0.0, 1.0, 0.0, ALPHA) == math.inf
    assert decisions.estimate_seeds(1e-5, 1.0, 1e-9, ALPHA) == math.inf
    assert decisions.estimate_seeds(0.1, 0.0, MARGIN, 0.05 / 6) == 8
    assert decisions.estimate_seeds(0.1, 0.0, MARGIN, 0.05 / 6, is_sequential=True) == FIRST_LOOK


def test_equal_differences_at_first_do_not_decide_for_good():
    jump = np.r_[np.zeros(12), np.ones(6)]
    decision = sequential(jump, 0.2, ALPHA)
    assert decision.low < 1 / 3 < decision.high
    assert read_verdict(decision.low, decision.high, 0.2) == "undecided"
    assert decision.p_equivalence > ALPHA
    tiny = sequential(np.arange(1, 25) * 1e-170, 0.002, ALPHA)  # the sd is 0 in float64
    assert read_verdict(tiny.low, tiny.high, 0.002) == "undecided"


def test_an_interval_of_shares_that_are_all_0_or_1_is_not_known():
    for interval in (decisions.choose_interval(each, True) for each in (True, False)):
        assert math.isnan(interval(np.ones(12), 0.95).low)


def test_a_pair_that_no_seed_can_decide_is_known():
    def decided(mean, low=-1.0, high=1.0):
        return decisions.Decision(mean, 1.0, low, high, 1.0, 1.0)

    assert decisions.is_decidable(decided(0.5), 0, 0)
    assert not decisions.is_decidable(decided(math.nan), 0, 0)
    assert not decisions.is_decidable(decided(0.5, 1.0, -1.0), 0, 0)
    assert not decisions.is_decidable(decided(0.5), 1, 1)
    assert decisions.is_decidable(decided(0.5), 1, 0)  # open above, and above is wanted
    assert not decisions.is_decidable(decided(-0.5), 1, 0)
    assert decisions.is_decidable(decided(-0.5), 0, 1)
