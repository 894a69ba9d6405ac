import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from actlab.evidence.statistics import (
    calibration_error,
    geometric_interval,
    mean_interval,
    new_images_interval,
    permutation_p,
    rank_correlation,
    share_interval,
)

# Hours of sleep gained by ten patients under two drugs: Student, "The probable error of a
# mean", Biometrika 6 (1908), page 20.
DEXTRO = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
LAEVO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
SLEEP = np.array(LAEVO) - np.array(DEXTRO)


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


def test_equal_values_have_an_interval_only_where_a_sign_test_shows_them():
    few, many = (mean_interval([0.5] * n, 0.95) for n in (5, 6))
    assert np.isnan(few[2:]).all()
    assert (many.low, many.high) == (0.5, 0.5)
    discrete = mean_interval([4.0] * 5, 0.95, resolution=1.0)
    half = stats.t.ppf(0.975, 4) / math.sqrt(6) / math.sqrt(5)
    assert (discrete.low, discrete.high) == pytest.approx((4 - half, 4 + half))


# --- Shares ------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=12))
def test_the_interval_of_shares_stays_within_0_and_1(counts):
    found = share_interval([count / 1000 for count in counts], 0.95)
    if math.isfinite(found.low):
        assert 0 < found.low <= found.mean <= found.high < 1


def test_the_interval_of_shares_is_that_of_means_where_they_vary_little():
    shares = 0.5 + 0.001 * np.arange(-3, 4)
    found, plain = share_interval(shares, 0.95), mean_interval(shares, 0.95)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-6)
    mirrored = share_interval(1 - shares + 0.3, 0.95), share_interval(shares - 0.3, 0.95)
    assert mirrored[0].low == pytest.approx(1 - mirrored[1].high)


def test_the_interval_of_two_accuracies_does_not_pass_100_percent():
    assert share_interval([0.9391, 0.9408], 0.95).high < 1
    assert mean_interval([0.9335, 0.9463], 0.95).high > 1  # which is why it is needed
    assert share_interval([0.9335, 0.9463], 0.95).high < 1
    assert np.isnan(share_interval([0.0] * 6, 0.95)[2:]).all()


def test_the_interval_of_shares_covers_their_mean():
    rng = np.random.default_rng(2)
    studies = rng.beta(20, 2, size=(4000, 6))
    found = [share_interval(study, 0.95) for study in studies]
    covered = np.mean([one.low < 20 / 22 < one.high for one in found])
    assert 0.92 < covered < 0.98


# --- New images --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_seed", "of_image", "of_both", "least"),
    [(0.3, 4.0, 1.0, 0.93), (1.0, 0.5, 1.0, 0.93), (0.0, 0.0, 1.0, 0.97), (0.02, 0.1, 5.0, 0.97)],
    ids=["images", "seeds", "neither", "mostly both"],
)
def test_the_interval_for_new_images_covers_their_mean_and_no_more(
    of_seed, of_image, of_both, least
):
    """The truth is 0; where images do not differ, they are not credited with less than nothing."""
    rng = np.random.default_rng(4)
    studies = (
        of_seed * rng.normal(size=(2000, 6, 1))
        + of_image * rng.normal(size=(2000, 1, 40))
        + of_both * rng.normal(size=(2000, 6, 40))
    )
    found = np.array([new_images_interval(study, 0.95) for study in studies])
    covered = ((found[:, 0] < 0) & (found[:, 1] > 0)).mean()
    assert covered > least - 0.02
    assert covered < 0.985
    # From the other side: the width is that of the true standard error.
    error = math.sqrt(of_seed**2 / 6 + of_image**2 / 40 + of_both**2 / 240)
    halves = (found[:, 1] - found[:, 0]) / 2
    assert np.median(halves) < 3 * error


def test_seeds_alone_do_not_cover_new_images():
    rng = np.random.default_rng(4)
    studies = 0.3 * rng.normal(size=(400, 6, 1)) + 4 * rng.normal(size=(400, 1, 200))
    low, high = stats.ttest_1samp(studies.mean(axis=2), 0, axis=1).confidence_interval(0.95)
    assert ((low < 0) & (high > 0)).mean() < 0.9


def test_the_interval_for_new_images_does_not_depend_on_the_order_of_images():
    rng = np.random.default_rng(0)
    differences = rng.normal(size=(3, 500)) * np.exp(rng.normal(0, 5, 500))
    low, high = new_images_interval(differences, 0.95)
    other = new_images_interval(differences[:, rng.permutation(500)], 0.95)
    assert other == pytest.approx((low, high), rel=1e-9)
    assert np.isnan(new_images_interval(np.zeros((1, 5)), 0.95)).all()
    assert np.isnan(new_images_interval(np.full((3, 5), np.nan), 0.95)).all()


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
