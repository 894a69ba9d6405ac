import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from actlab.evidence.statistics import (
    Interval,
    calibration_error,
    decide,
    geometric_interval,
    holm,
    mean_interval,
    new_images_intervals,
    paired_tests,
    permutation_p,
    rank_correlation,
    resample_images,
    seeds_needed,
    wilson_interval,
)

# Hours of sleep gained by ten patients under two drugs: Student, "The probable error of a
# mean", Biometrika 6 (1908), page 20.
DEXTRO = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
LAEVO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
SLEEP = np.array(LAEVO) - np.array(DEXTRO)

# Darwin 1876, crossed less self-fertilised height of 15 pairs of Zea mays, in eighths of an inch.
MAIZE = np.array([49.0, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48])


# --- Intervals ---------------------------------------------------------------------------------


def test_the_interval_of_students_two_drugs_is_the_published_one():
    # Student 1908, page 21: mean difference 1.58. The interval is the one that R's manual
    # page of t.test gives for the same data, `sleep`, paired: 0.7001142 to 2.4598858.
    difference = mean_interval(SLEEP, confidence=0.95)
    assert difference.mean == pytest.approx(1.58)
    assert (difference.low, difference.high) == pytest.approx((0.7001142, 2.4598858), abs=5e-8)
    # Student divides by n: 1.17 hours; with n - 1 in the denominator that is 1.23.
    assert difference.sd * math.sqrt(9 / 10) == pytest.approx(1.17, abs=0.005)


@given(
    st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=12),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_the_interval_is_scipys(values, confidence):
    interval = mean_interval(values, confidence)
    assert interval.mean == pytest.approx(np.mean(values))
    if np.ptp(values) == 0:  # where SciPy's is NaN
        assert (interval.low, interval.high) == pytest.approx((interval.mean, interval.mean))
        return
    theirs = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize(
    ("interval", "values", "known"),
    [
        (mean_interval, [0.98], [0.98]),
        (mean_interval, [], []),
        (mean_interval, [0.1, math.nan], []),
        (mean_interval, [0.1, math.inf], []),
        (geometric_interval, [0.1, math.nan], []),
        (geometric_interval, [0.0, 1.0], []),
    ],
)
def test_an_interval_without_uncertainty_or_a_mean_is_nan(interval, values, known):
    found = interval(values, 0.95)
    assert list(found[: len(known)]) == known
    assert np.isnan(found[len(known) :]).all()


@pytest.mark.parametrize(
    ("bounds", "value", "excluded"),
    [
        ((0.0, 2.0), 0.0, False),  # it touches
        ((1.2, 1.9), 1.9, False),
        ((1.2, 1.9), 1.0, True),
        ((-2.0, -0.5), 0.0, True),
        ((math.nan, math.nan), 0.0, False),
        ((0.0, math.inf), 1.0, False),  # what overflows is no evidence
    ],
)
def test_an_interval_excludes_what_lies_outside_it(bounds, value, excluded):
    assert Interval(1.0, 1.0, *bounds).excludes(value) == excluded


# Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17
# (1998), table I: the score method without continuity correction, 95 %.
@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(count, total, low, high):
    assert wilson_interval(count, total, 0.95) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(total - count, total, 0.95)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


# --- Tests and verdicts ------------------------------------------------------------------------


# R's manual page of t.test: p = 0.002833 for `sleep`. Fisher, The Design of Experiments (1935),
# chapter 3: t = 2.148, p = 0.0497 for Darwin's maize.
@pytest.mark.parametrize(
    ("differences", "p", "t"), [(SLEEP, 0.002833, 4.0621), (MAIZE, 0.0497, 2.148)]
)
def test_paired_tests_are_the_published_ones(differences, p, t):
    tests = paired_tests(differences, margin=1e3)
    assert tests.p_t == pytest.approx(p, rel=1e-3)
    assert tests.effect_size * math.sqrt(len(differences)) == pytest.approx(t, abs=5e-4)


@settings(deadline=None)  # the first example imports statsmodels
@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 4)), min_size=2, max_size=10))
def test_equivalence_is_shown_where_a_90_percent_interval_lies_within_the_margin(values):
    # Schuirmann 1987: two one-sided tests at 5 % and the interval at 90 % decide alike.
    sample = np.array(values)
    tests = paired_tests(sample, margin=0.5)
    interval = mean_interval(sample, 0.9)
    if np.ptp(sample) > 0 and min(abs(interval.high - 0.5), abs(interval.low + 0.5)) > 1e-6:
        assert (tests.p_equivalence < 0.05) == (interval.low > -0.5 and interval.high < 0.5)


def test_what_does_not_vary_has_the_p_value_of_the_sign_test():
    tests = paired_tests(np.full(6, 0.25), margin=0.5)
    assert tests.p_t == stats.binomtest(6, 6).pvalue == 2 / 2**6
    assert (tests.p_equivalence, tests.effect_size) == (2**-6, math.inf)
    assert paired_tests(np.full(6, 0.75), margin=0.5).p_equivalence == 1
    assert paired_tests(np.zeros(6), margin=0.5) == (1.0, 2**-6, 0.0)


@pytest.mark.parametrize("sample", [[1.0], [], [1.0, math.nan], [math.inf, 1.0]])
def test_what_cannot_be_tested_is_nan(sample):
    assert np.isnan(paired_tests(np.array(sample), margin=1.0)).all()


def test_holms_p_values_are_those_of_statsmodels():
    rng = np.random.default_rng(0)
    for count in (1, 2, 10):
        p_values = rng.choice([rng.random(count), np.round(rng.random(count), 1)])
        theirs = np.asarray(multipletests(p_values, method="holm")[1])
        assert holm(p_values).tolist() == theirs.tolist()
    assert holm(np.array([])).size == 0
    # Of three tests, one of which cannot be made, the smallest p-value is taken times three.
    assert holm(np.array([0.01, math.nan, 0.5])).tolist() == pytest.approx([0.03, 1.0, 1.0])


@pytest.mark.parametrize(
    ("mean", "p_difference", "p_equivalence", "larger_is_better", "verdict"),
    [
        (0.001, 0.001, 0.001, True, "equivalent"),
        (0.1, 0.001, 0.9, True, "better"),
        (0.1, 0.001, 0.9, False, "worse"),
        (-0.1, 0.001, 0.9, False, "better"),
        (0.1, 0.05, 0.05, True, "undecided"),
        (math.nan, 1.0, 1.0, True, "undecided"),
    ],
)
def test_equivalence_comes_before_a_difference(
    mean, p_difference, p_equivalence, larger_is_better, verdict
):
    assert decide(mean, p_difference, p_equivalence, 0.05, larger_is_better) == verdict


def test_verdicts_err_as_seldom_as_declared_where_nothing_differs():
    # 2,000 studies of three activations and six seeds; seeds differ from each other, activations
    # do not.
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2000, 6, 1)) + rng.normal(size=(2000, 6, 3))
    pairs = values[:, :, [0, 0, 1]] - values[:, :, [1, 2, 2]]
    student: Any = stats.ttest_1samp(pairs, 0, axis=1)
    p_values = student.pvalue
    ours = [paired_tests(pair, margin=1e-6).p_t for pair in pairs[:20, :, 0]]
    assert ours == pytest.approx(p_values[:20, 0])
    wrong = (np.apply_along_axis(holm, 1, p_values) < 0.05).any(axis=1)
    assert 0.02 < wrong.mean() <= 0.05


def equivalence_shown(samples, margin):
    """How often equivalence is shown, by an interval of 90 % (see the test of Schuirmann)."""
    low, high = stats.ttest_1samp(samples, 0, axis=1).confidence_interval(0.9)
    shown = (low > -margin) & (high < margin)
    ours = [paired_tests(sample, margin).p_equivalence < 0.05 for sample in samples[:20]]
    assert ours == shown[:20].tolist()
    return shown.mean()


def test_the_number_of_seeds_shows_equivalence_in_four_of_five_studies():
    seeds = seeds_needed(0.0, 1.0, 0.5, 0.05)
    assert seeds is not None
    rng = np.random.default_rng(5)
    assert 0.77 < equivalence_shown(rng.normal(size=(4000, seeds)), margin=0.5) < 0.83
    assert equivalence_shown(rng.normal(size=(4000, seeds - 8)), margin=0.5) < 0.77


@pytest.mark.parametrize("mean", [0.2, 0.5, 1.0])
def test_the_number_of_seeds_is_that_of_statsmodels(mean):
    exact = TTestPower().solve_power(effect_size=mean, alpha=0.05, power=0.8)
    assert seeds_needed(mean, 1.0, 1e-9, 0.05) == math.ceil(exact)


@pytest.mark.parametrize(
    ("mean", "sd", "margin", "seeds"),
    [
        (0.5, 1.0, 0.5, 34),  # the difference itself is shown
        (1e-6, 1.0, 1e-9, None),
        (math.nan, 1.0, 0.5, None),
        (0.5, math.nan, 0.5, None),
        (0.25, 0.0, 0.1, 6),  # 2 / 2 ** 6 is below 5 %, 2 / 2 ** 5 is not
        (0.0, 0.0, 0.1, 5),  # 1 / 2 ** 5 is below 5 %, 1 / 2 ** 4 is not
        (0.0, 0.0, 0.0, None),
    ],
)
def test_what_cannot_be_settled_has_no_number_of_seeds(mean, sd, margin, seeds):
    assert seeds_needed(mean, sd, margin, 0.05) == seeds


# --- New images --------------------------------------------------------------------------------


def test_the_interval_for_new_images_covers_their_mean():
    # Differences with an effect of the seed, of the image, and of both; the truth is 0.
    rng = np.random.default_rng(4)
    counts = resample_images(200, resamples=400)
    of_seed = 0.3 * rng.normal(size=(400, 6, 1))
    of_image = 4 * rng.normal(size=(400, 1, 200))
    studies = of_seed + of_image + rng.normal(size=(400, 6, 200))
    intervals = [new_images_intervals(study, counts, [0.95])[0] for study in studies]
    assert np.mean([low < 0 < high for low, high in intervals]) > 0.93
    low, high = stats.ttest_1samp(studies.mean(axis=2), 0, axis=1).confidence_interval(0.95)
    assert ((low < 0) & (high > 0)).mean() < 0.9  # over seeds alone: which is why it is needed


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_interval_for_new_images_does_not_depend_on_the_order_of_sums(scale):
    rng = np.random.default_rng(0)
    differences = scale * rng.normal(size=(3, 500)) * np.exp(rng.normal(0, 5, 500))
    counts, order = resample_images(500, 100), rng.permutation(500)
    [one] = new_images_intervals(differences, counts, [0.95])
    [(low, high)] = new_images_intervals(differences[:, order], counts[:, order], [0.95])
    assert high - low == pytest.approx(one[1] - one[0], rel=1e-13)
    of_seeds = (counts / 500) @ differences.T
    drawn = np.random.default_rng(1).multinomial(3, np.full(3, 1 / 3), 100)
    error = (of_seeds * drawn).sum(axis=1).std(ddof=1) / 3 * np.sqrt(3 / 2)
    assert (high - low) / 2 == pytest.approx(error * stats.t.ppf(0.975, 2), rel=1e-9)


# --- Calibration -------------------------------------------------------------------------------


def test_calibration_error_of_bins_that_can_be_counted():
    # Confidences 0.6 (right), 0.7 (wrong), 0.8 (right), 0.9 (right), in two bins of two:
    # |1/2 - 0.65| and |1 - 0.85|.
    chances = np.array([0.8, 0.6, 0.9, 0.7])
    right = np.array([True, True, True, False])
    assert calibration_error(chances, right, bins=2) == pytest.approx(0.15)
    assert calibration_error(chances, right, bins=1) == pytest.approx(0)
    # More bins than images: each image is one.
    assert calibration_error(chances, right) == pytest.approx((0.4 + 0.7 + 0.2 + 0.1) / 4)
    assert math.isnan(calibration_error(np.array([math.nan]), np.array([True])))


# --- Ranks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "significant"), [(4, 0), (5, 2)])
def test_at_most_one_order_in_twenty_is_significant(count, significant):
    # All seeds share the order: it is the activations that are few, not the runs. Of five, the
    # order of the gradients and its reverse have p = 2/120.
    orders = np.array(list(permutations(range(count))), dtype=float)
    gradients = np.tile(orders[0][:, None], 3)
    shown = [permutation_p(gradients, np.tile(order[:, None], 3)) < 0.05 for order in orders]
    assert sum(shown) == significant
    assert sum(shown) / len(orders) <= 0.05


@pytest.mark.parametrize("size", [3, 4, 20])
def test_the_rank_correlation_is_that_of_scipy(size):
    first, second = np.random.default_rng(size).integers(0, 9, (2, size)).astype(float)
    expected: Any = stats.spearmanr(first, second)
    assert rank_correlation(first, second) == pytest.approx(expected.statistic)
