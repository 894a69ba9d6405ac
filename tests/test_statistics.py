import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from actlab.statistics import (
    Interval,
    geometric_interval,
    mean_interval,
    paired_difference,
    paired_ratio,
    wilson_interval,
)

# Hours of sleep gained by ten patients under two drugs: Student, "The probable error of a
# mean", Biometrika 6 (1908), page 20.
DEXTRO = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
LAEVO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_the_difference_of_students_two_drugs_is_the_published_one():
    # Student 1908, page 21: mean difference 1.58. The interval is the one that R's manual
    # page of t.test gives for the same data, `sleep`, paired: 0.7001142 to 2.4598858.
    difference = paired_difference(dict(enumerate(LAEVO)), dict(enumerate(DEXTRO)), confidence=0.95)
    assert difference.mean == pytest.approx(1.58)
    assert (difference.low, difference.high) == pytest.approx((0.7001142, 2.4598858), abs=5e-8)
    # Student divides by n: 1.17 hours; with n - 1 in the denominator that is 1.23.
    assert difference.sd * math.sqrt(9 / 10) == pytest.approx(1.17, abs=0.005)
    assert difference.excludes(0.0)


def test_each_drug_alone_has_students_mean():
    assert mean_interval(DEXTRO, 0.95).mean == pytest.approx(0.75)
    assert mean_interval(LAEVO, 0.95).mean == pytest.approx(2.33)


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


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=8), st.floats(0.01, 100))
def test_scaling_the_values_scales_the_geometric_interval(values, factor):
    plain = geometric_interval(values, 0.95)
    scaled = geometric_interval([factor * value for value in values], 0.95)
    assert scaled.mean == pytest.approx(factor * plain.mean)
    assert scaled.low == pytest.approx(factor * plain.low)
    assert plain.mean == pytest.approx(stats.gmean(values))


def test_pairs_are_made_by_seed_and_not_by_order():
    first = {seed: float(value) for seed, value in enumerate(LAEVO)}
    second = {seed: float(value) for seed, value in enumerate(DEXTRO)}
    shuffled = dict(sorted(second.items(), reverse=True))
    assert paired_difference(first, shuffled, 0.95) == paired_difference(first, second, 0.95)


def test_a_pairing_of_other_seeds_is_refused():
    with pytest.raises(ValueError, match=r"seeds \[0\] cannot be paired with \[1\]"):
        paired_difference({0: 1.0}, {1: 1.0}, 0.95)


def test_three_comparisons_at_95_percent_are_one_at_98_and_a_third():
    first, second = dict(enumerate(LAEVO)), dict(enumerate(DEXTRO))
    family = paired_difference(first, second, 0.95, comparisons=3)
    assert family == pytest.approx(paired_difference(first, second, 1 - 0.05 / 3))


def test_one_seed_has_a_mean_and_no_uncertainty():
    interval = mean_interval([0.98], 0.95)
    assert interval.mean == 0.98
    assert np.isnan(interval[1:]).all()
    assert not interval.excludes(0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_no_number_leaves_nothing_to_say(bad):
    assert np.isnan(mean_interval([0.1, bad], 0.95)).all()
    assert np.isnan(geometric_interval([0.1, bad], 0.95)).all()


def test_ratios_of_zero_have_no_geometric_mean():
    assert np.isnan(geometric_interval([0.0, 1.0], 0.95)).all()


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval([], 0.95)


def test_an_interval_that_touches_a_value_does_not_exclude_it():
    assert not Interval(1.0, 1.0, 0.0, 2.0).excludes(0.0)
    assert Interval(-1.0, 1.0, -2.0, -0.5).excludes(0.0)
    assert Interval(1.5, 1.1, 1.2, 1.9).excludes(1.0)
    assert not Interval(1.5, 1.1, 1.2, 1.9).excludes(1.9)
    assert not Interval(*[math.nan] * 4).excludes(0.0)
    # What overflows is no evidence.
    assert not Interval(1.0, math.inf, 0.0, math.inf).excludes(1.0)


@given(
    st.lists(
        st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)), min_size=2, max_size=8, unique=True
    )
)
def test_a_ratio_is_the_other_way_round_its_reciprocal(pairs):
    first, second = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    there, back = paired_ratio(first, second, 0.9, 3), paired_ratio(second, first, 0.9, 3)
    assert there.mean * back.mean == pytest.approx(1)
    assert there.mean == pytest.approx(
        stats.gmean(list(first.values())) / stats.gmean(list(second.values()))
    )
    logarithms = [math.log(a / b) for a, b in pairs]
    if np.ptp(logarithms) > 1e-9 and there.high < math.inf:
        theirs = stats.ttest_1samp(logarithms, 0).confidence_interval(1 - 0.1 / 3)
        assert math.log(there.high) == pytest.approx(theirs.high, abs=1e-9)


def test_a_ratio_pairs_by_seed():
    values = {0: 2.0, 1: 200.0, 2: 0.02}
    twice = {2: 0.04, 1: 400.0, 0: 4.0}
    assert paired_ratio(twice, values, 0.95) == pytest.approx((2, 1, 2, 2))
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_ratio(twice, {0: 1.0}, 0.95)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_a_ratio_with_a_value_that_has_no_logarithm_is_no_number(bad):
    for first, second in (
        ({0: 1.0, 1: bad}, {0: 1.0, 1: 1.0}),
        ({0: 1.0, 1: 1.0}, {0: 1.0, 1: bad}),
    ):
        assert np.isnan(paired_ratio(first, second, 0.95)).all()
    assert np.isnan(paired_ratio({0: bad, 1: 1.0}, {0: bad, 1: 1.0}, 0.95)).all()


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
    assert wilson_interval(total - count, total, 0.95) == pytest.approx(
        (1 - high, 1 - low), abs=5e-5
    )


def test_a_share_of_nothing_has_no_interval():
    with pytest.raises(ValueError):  # noqa: PT011
        wilson_interval(0, 0, 0.95)
