import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from actlab.evidence.statistics import (
    Interval,
    calibration_error,
    decide,
    decide_by_interval,
    geometric_interval,
    holm,
    mean_interval,
    median_interval,
    new_images_intervals,
    paired_ratio,
    paired_tests,
    resample_images,
    seeds_needed,
    wilson_interval,
)

# Hours of sleep gained by ten patients under two drugs: Student, "The probable error of a
# mean", Biometrika 6 (1908), page 20.
DEXTRO = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
LAEVO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
SLEEP = np.array(LAEVO) - np.array(DEXTRO)


def test_the_difference_of_students_two_drugs_is_the_published_one():
    # Student 1908, page 21: mean difference 1.58. The interval is the one that R's manual
    # page of t.test gives for the same data, `sleep`, paired: 0.7001142 to 2.4598858.
    difference = mean_interval(SLEEP, confidence=0.95)
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
    first, second = {0: 8.0, 1: 2.0, 2: 1.0}, {0: 2.0, 1: 0.5, 2: 0.3}
    shuffled = dict(sorted(second.items(), reverse=True))
    assert paired_ratio(first, shuffled, 0.95) == paired_ratio(first, second, 0.95)


def test_a_pairing_of_other_seeds_is_refused():
    with pytest.raises(ValueError, match=r"seeds \[0\] cannot be paired with \[1\]"):
        paired_ratio({0: 1.0}, {1: 1.0}, 0.95)


def test_three_comparisons_at_95_percent_are_one_at_98_and_a_third():
    first, second = {0: 8.0, 1: 2.0, 2: 1.0}, {0: 2.0, 1: 0.5, 2: 0.3}
    family = paired_ratio(first, second, 0.95, comparisons=3)
    assert family == pytest.approx(paired_ratio(first, second, 1 - 0.05 / 3))


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


# --- tests and verdicts ----------------------------------------------------------------------


def test_the_paired_tests_of_students_two_drugs_are_the_published_ones():
    # R's manual pages: t.test(extra ~ group, data = sleep, paired = TRUE) gives p = 0.002833.
    tests = paired_tests(SLEEP, margin=5.0)
    assert tests.p_t == pytest.approx(0.002833, abs=5e-7)
    assert tests.effect_size == pytest.approx(SLEEP.mean() / SLEEP.std(ddof=1))
    # Student 1908, page 21: the odds that the second drug is the better are 666 to 1.
    assert (1 - tests.p_t / 2) / (tests.p_t / 2) == pytest.approx(666, rel=0.1)


def test_the_paired_test_of_darwins_maize_is_the_published_one():
    # Darwin 1876, crossed less self-fertilised height of 15 pairs of Zea mays, in eighths of an
    # inch; Fisher 1935 (The Design of Experiments, chapter 3): t = 2.148, p = 0.0497.
    differences = np.array([49.0, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48])
    tests = paired_tests(differences, margin=1e3)
    assert tests.p_t == pytest.approx(0.0497, abs=5e-5)
    t = stats.t.isf(tests.p_t / 2, 14)
    assert t == pytest.approx(2.148, abs=5e-4)


@settings(deadline=None)  # the first example imports statsmodels
@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 4)), min_size=2, max_size=10))
def test_equivalence_is_shown_where_a_90_percent_interval_lies_within_the_margin(values):
    # Schuirmann 1987: two one-sided tests at 5 % and the interval at 90 % decide alike.
    sample = np.array(values)
    tests = paired_tests(sample, margin=0.5)
    interval = mean_interval(sample, 0.9)
    if min(abs(interval.high - 0.5), abs(interval.low + 0.5)) > 1e-6:
        assert (tests.p_equivalence < 0.05) == (interval.low > -0.5 and interval.high < 0.5)


def test_what_does_not_vary_has_the_p_value_of_the_sign_test():
    tests = paired_tests(np.full(6, 0.25), margin=0.5)
    assert tests.p_t == stats.binomtest(6, 6).pvalue == 2 / 2**6
    assert (tests.p_equivalence, tests.effect_size) == (0.0, math.inf)
    assert paired_tests(np.full(6, 0.75), margin=0.5).p_equivalence == 1
    assert paired_tests(np.zeros(6), margin=0.5) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("sample", [[1.0], [], [1.0, math.nan], [math.inf, 1.0]])
def test_what_cannot_be_tested_is_no_number(sample):
    assert np.isnan(paired_tests(np.array(sample), margin=1.0)).all()


def test_holms_p_values_are_those_of_statsmodels():
    rng = np.random.default_rng(0)
    for count in range(1, 11):
        p_values = rng.choice([rng.random(count), np.round(rng.random(count), 1)])
        theirs = np.asarray(multipletests(p_values, method="holm")[1])
        assert holm(p_values).tolist() == theirs.tolist()
    assert holm(np.array([])).size == 0


def test_holm_counts_a_test_that_cannot_be_made():
    # Of three tests the smallest of two p-values is taken times three, not times two.
    assert holm(np.array([0.01, math.nan, 0.5])).tolist() == pytest.approx([0.03, 1.0, 1.0])


def test_equivalence_comes_before_a_difference():
    assert decide(0.001, 0.001, 0.001, 0.05, larger_is_better=True) == "equivalent"
    assert decide(0.1, 0.001, 0.9, 0.05, larger_is_better=False) == "worse"
    assert decide(-0.1, 0.001, 0.9, 0.05, larger_is_better=False) == "better"
    assert decide(0.1, 0.05, 0.05, 0.05, larger_is_better=True) == "undecided"
    assert decide(math.nan, 1.0, 1.0, 0.05, larger_is_better=True) == "undecided"


def test_an_interval_decides_alike():
    assert decide_by_interval(-0.1, 0.3, 0.2, larger_is_better=True) == "undecided"
    assert decide_by_interval(0.1, 0.3, 0.2, larger_is_better=True) == "better"
    assert decide_by_interval(-0.3, -0.1, 0.2, larger_is_better=True) == "worse"
    assert decide_by_interval(0.05, 0.15, 0.2, larger_is_better=True) == "equivalent"
    assert decide_by_interval(math.nan, math.nan, 0.2, larger_is_better=True) == "undecided"


def test_verdicts_err_as_seldom_as_declared_where_nothing_differs():
    # 2,000 studies of three activations and six seeds; seeds differ from each other, activations
    # do not. The margin is small, so that equivalence takes nothing off.
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(2000):
        values = rng.normal(size=(6, 1)) + rng.normal(size=(6, 3))
        pairs = [values[:, a] - values[:, b] for a, b in ((0, 1), (0, 2), (1, 2))]
        tests = [paired_tests(pair, margin=1e-6) for pair in pairs]
        p_values = holm(np.array([test.p_t for test in tests]))
        verdicts = {
            decide(float(pair.mean()), float(p), 1.0, 0.05, larger_is_better=True)
            for pair, p in zip(pairs, p_values, strict=True)
        }
        wrong += bool(verdicts & {"better", "worse"})
    assert 0.02 < wrong / 2000 <= 0.05


def test_equivalence_errs_as_seldom_as_declared_at_the_margin():
    rng = np.random.default_rng(2)
    shown = [
        paired_tests(rng.normal(0.5, 0.3, size=6), margin=0.5).p_equivalence < 0.05
        for _ in range(2000)
    ]
    assert 0.03 < np.mean(shown) < 0.065


@pytest.mark.parametrize("seeds", [6, 30])
def test_the_intervals_cover_what_they_say(seeds):
    rng = np.random.default_rng(3)
    intervals = [mean_interval(rng.normal(1.0, 2.0, size=seeds), 0.95) for _ in range(600)]
    assert 0.93 < np.mean([interval.low < 1 < interval.high for interval in intervals]) < 0.97


def test_the_interval_for_new_images_covers_their_mean():
    # Differences with an effect of the seed, of the image, and of both; the truth is 0.
    rng = np.random.default_rng(4)
    counts = resample_images(200, resamples=400)
    covered = only_seeds = 0
    for _ in range(400):
        differences = (
            0.3 * rng.normal(size=(6, 1))
            + 4 * rng.normal(size=(1, 200))
            + rng.normal(size=(6, 200))
        )
        [(low, high)] = new_images_intervals(differences, counts, [0.95])
        covered += low < 0 < high
        interval = mean_interval(differences.mean(axis=1), 0.95)
        only_seeds += interval.low < 0 < interval.high
    assert 0.93 < covered / 400 <= 1
    assert only_seeds / 400 < 0.9  # which is why it is needed


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_interval_for_new_images_does_not_depend_on_the_order_of_sums(scale):
    rng = np.random.default_rng(0)
    differences = scale * rng.normal(size=(3, 500)) * np.exp(rng.normal(0, 5, 500))
    counts, order = resample_images(500, 100), rng.permutation(500)
    [one] = new_images_intervals(differences, counts, [0.95])
    [low, high] = new_images_intervals(differences[:, order], counts[:, order], [0.95])[0]
    assert high - low == pytest.approx(one[1] - one[0], rel=1e-13)
    of_seeds = (counts / 500) @ differences.T
    drawn = np.random.default_rng(1).multinomial(3, np.full(3, 1 / 3), 100)
    error = (of_seeds * drawn).sum(axis=1).std(ddof=1) / 3 * np.sqrt(3 / 2)
    assert (high - low) / 2 == pytest.approx(error * stats.t.ppf(0.975, 2), rel=1e-9)


def test_the_interval_for_new_images_is_about_the_seeds_where_images_agree():
    differences = np.repeat(np.array([[0.1], [0.2], [0.4], [0.3]]), 50, axis=1)
    intervals = new_images_intervals(differences, resample_images(50, 4000), [0.95, 0.99])
    for confidence, interval in zip((0.95, 0.99), intervals, strict=True):
        of_seeds = mean_interval(differences.mean(axis=1), confidence)
        assert interval == pytest.approx((of_seeds.low, of_seeds.high), rel=0.05)
    assert np.isnan(new_images_intervals(differences[:1], resample_images(50), [0.95])).all()


def test_the_number_of_seeds_is_that_of_statsmodels():
    from statsmodels.stats.power import TTestPower

    for mean, sd in ((0.5, 1.0), (1.0, 1.0), (0.2, 1.0)):
        exact = TTestPower().solve_power(effect_size=mean / sd, alpha=0.05, power=0.8)
        assert seeds_needed(mean, sd, 1e-9, 0.05) == math.ceil(exact)


def test_the_number_of_seeds_shows_equivalence_in_four_of_five_studies():
    seeds = seeds_needed(0.0, 1.0, 0.5, 0.05)
    assert seeds is not None
    rng = np.random.default_rng(5)
    for count, low, high in ((seeds, 0.77, 0.84), (seeds - 8, 0.0, 0.77)):
        shown = [
            paired_tests(rng.normal(size=count), margin=0.5).p_equivalence < 0.05
            for _ in range(1000)
        ]
        assert low < np.mean(shown) < high


def test_what_cannot_be_settled_has_no_number_of_seeds():
    assert seeds_needed(0.5, 1.0, 0.5, 0.05) == 34  # the difference itself is shown
    assert seeds_needed(1e-6, 1.0, 1e-9, 0.05) is None
    assert seeds_needed(math.nan, 1.0, 0.5, 0.05) is None
    assert seeds_needed(0.5, math.nan, 0.5, 0.05) is None
    assert seeds_needed(0.25, 0.0, 0.1, 0.05) == 6  # 2 / 2 ** 6 is below 5 %, 2 / 2 ** 5 is not
    assert seeds_needed(0.0, 0.0, 0.1, 0.05) is None


def test_calibration_error_of_bins_that_can_be_counted():
    # Confidences 0.6 (right), 0.7 (wrong), 0.8 (right), 0.9 (right), in two bins of two:
    # |1/2 - 0.65| and |1 - 0.85|.
    chances = np.array([0.8, 0.6, 0.9, 0.7])
    logits = np.log(np.stack([chances, 1 - chances], axis=1))
    labels = np.array([0, 0, 0, 1])
    assert calibration_error(logits, labels, bins=2) == pytest.approx(0.15)
    assert calibration_error(logits, labels, bins=1) == pytest.approx(abs(0.75 - 0.75))
    # More bins than images: each image is one.
    each = (0.4 + 0.7 + 0.2 + 0.1) / 4
    assert calibration_error(logits, labels) == pytest.approx(each)
    assert math.isnan(calibration_error(np.array([[math.nan, 0.0]]), np.array([0])))


def test_a_calibrated_model_has_an_error_near_zero():
    rng = np.random.default_rng(6)
    logits = rng.normal(size=(20_000, 10))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert calibration_error(logits, labels) < 0.02
    assert calibration_error(3 * logits, labels) > 0.2


@pytest.mark.parametrize(
    ("count", "ranks"),
    # Ranks of the 95 % interval of a median, as any table of the binomial gives them.
    [(6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (12, (3, 10)), (20, (6, 15)), (25, (8, 18))],
)
def test_the_median_lies_between_the_order_statistics_of_the_binomial(count, ranks):
    values = np.random.default_rng(count).permutation(np.arange(1.0, count + 1))
    median, *bounds = median_interval(values, 0.95)
    assert median == (count + 1) / 2
    assert tuple(bounds) == ranks
    # The rank is the largest with at most 2.5 % of the binomial below it.
    below, further = (
        sum(math.comb(count, at) for at in range(rank)) / 2**count
        for rank in (ranks[0], ranks[0] + 1)
    )
    assert below <= 0.025 < further
    assert ranks[0] + ranks[1] == count + 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_values_have_a_median_without_an_interval(count):
    median, low, high = median_interval(np.arange(float(count)), 0.95)
    assert median == (count - 1) / 2
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("values", [[], [1.0, math.nan, 2.0], [math.inf] * 9])
def test_what_is_no_number_has_no_median(values):
    assert np.isnan(median_interval(np.array(values), 0.95)).all()


def test_the_interval_of_a_median_covers_it():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        _, low, high = median_interval(rng.exponential(size=12), 0.95)
        covered += low < math.log(2) < high
    # Ranks 3 and 10 of 12 hold it with 1 - 2 (1 + 12 + 66) / 4096 = 96.14 %.
    assert abs(covered / 2000 - 0.9614) < 0.013
