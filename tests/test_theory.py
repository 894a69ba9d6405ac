import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import activation_of
from scipy import integrate, special, stats

from actlab.activations import mean_field
from actlab.activations.definitions import ACTIVATIONS
from actlab.activations.functions import nonlinearity_of
from actlab.errors import UserError
from actlab.probes import theory

PHI = {name: nonlinearity_of(activation_of(name)) for name in ACTIVATIONS}
LINEAR = mean_field.Nonlinearity(lambda x: 1.0 * x, np.ones_like)
ERF = mean_field.Nonlinearity(
    special.erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-np.minimum(x**2, 700.0))
)


def one(values):
    (value,) = values
    return float(value)


def moments_of(phi, q):
    """E[phi^2] and E[phi'^2] at one variance."""
    at = np.array([q])
    return one(mean_field.q_map(phi, at, 1.0)), one(mean_field.chi(phi, at, 1.0))


@settings(deadline=None)
@given(st.floats(-12, 12))
def test_moments_of_relu_linear_and_erf_are_the_closed_forms(log_q):
    q = 10.0**log_q
    assert moments_of(PHI["relu"], q) == pytest.approx((q / 2, 0.5), rel=1e-9)
    assert moments_of(PHI["leaky_relu"], q) == pytest.approx(
        (q * (1 + 1e-4) / 2, (1 + 1e-4) / 2), rel=1e-9
    )
    assert moments_of(LINEAR, q) == pytest.approx((q, 1), rel=1e-9)
    # Williams 1997: E[erf^2] = 2/pi asin(2q / (1 + 2q)), E[erf'^2] = 4/pi / sqrt(1 + 4q).
    assert moments_of(ERF, q) == pytest.approx(
        (2 / math.pi * math.asin(2 * q / (1 + 2 * q)), 4 / math.pi / math.sqrt(1 + 4 * q)),
        rel=1e-6,
        abs=1e-6,
    )


@pytest.mark.parametrize("name", list(ACTIVATIONS))
@pytest.mark.parametrize("q", [1e-6, 0.7, 1e6])
def test_moments_are_those_of_adaptive_quadrature(name, q):
    phi = PHI[name]
    points = [-14.0, 0.0, 14.0, *(sign * 10.0**power for sign in (-1, 1) for power in range(-4, 1))]
    points += [kink / math.sqrt(q) for kink in phi.kinks if abs(kink) < 14 * math.sqrt(q)]
    ends = np.unique(points)
    if name == "exponential" and q > 10:  # its mass lies beyond 12 standard deviations
        assert not np.isfinite(moments_of(phi, q)).any()
        return

    def mean(function):
        def integrand(u):
            return function(math.sqrt(q) * u) ** 2 * stats.norm.pdf(u)

        return integrate.tanhsinh(integrand, ends[:-1], ends[1:], rtol=1e-10).integral.sum()

    expected = mean(phi.value), mean(phi.derivative)
    assert moments_of(phi, q) == pytest.approx(expected, rel=1e-6)


def test_kinks_and_jumps_away_from_zero_are_found_and_integrated():
    def clip(x):
        return np.clip(x, -1.0, 2.5)

    def inside(x):
        return np.where((x > -1.0) & (x < 2.5), 1.0, 0.0)

    phi = mean_field.Nonlinearity(clip, inside)
    assert phi.kinks == pytest.approx((-1.0, 2.5))
    for q in (0.01, 1.0, 1e4):
        share = special.ndtr(2.5 / math.sqrt(q)) - special.ndtr(-1 / math.sqrt(q))
        assert moments_of(phi, q)[1] == pytest.approx(share, rel=1e-7)


def test_an_integral_that_is_not_certain_is_refused():
    def step(x):
        return np.where(x > 0.7, 1.0, 0.0)

    with pytest.raises(UserError, match="not certain to 1e-7"):
        mean_field.gaussian_mean(lambda x, u: step(x) ** 2, np.ones(1))
    assert moments_of(mean_field.Nonlinearity(step, np.zeros_like), 1.0)[0] == pytest.approx(
        special.ndtr(-0.7), rel=1e-9
    )


def test_tanh_is_critical_at_weights_of_one_and_biases_of_zero():
    # Poole et al. 2016, figure 1: for sigma_b = 0 order turns into chaos at sigma_w = 1.
    assert mean_field.fixed_point(PHI["tanh"], 1.0) == 0.0
    assert mean_field.chi_at_fixed_point(PHI["tanh"], 1.0) == pytest.approx(1.0, abs=1e-9)
    assert mean_field.chi_at_fixed_point(PHI["tanh"], 0.9) == pytest.approx(0.9, abs=1e-9)
    assert mean_field.chi_at_fixed_point(PHI["tanh"], 1.1) > 1
    q = mean_field.fixed_point(PHI["tanh"], 1.5**2, 0.3**2)
    assert one(mean_field.q_map(PHI["tanh"], np.array([q]), 1.5**2, 0.3**2)) == pytest.approx(q)
    at = np.array([5.0])
    for _ in range(500):
        at = mean_field.q_map(PHI["tanh"], at, 1.5**2, 0.3**2)
    assert one(at) == pytest.approx(q, rel=1e-9)


def test_relu_is_critical_at_two():
    # He et al. 2015, equation 10; every variance is a fixed point there.
    for start in (0.01, 1.0, 30.0):
        assert mean_field.fixed_point(PHI["relu"], 2.0, start=start) == start
    assert mean_field.chi_at_fixed_point(PHI["relu"], 2.0) == pytest.approx(1.0, abs=1e-9)
    assert mean_field.fixed_point(PHI["relu"], 1.9) == 0.0
    assert mean_field.fixed_point(PHI["relu"], 2.1) == math.inf
    assert mean_field.fixed_point(PHI["relu"], 1.0, 0.3) == pytest.approx(0.6)
    assert theory.gains(PHI["relu"]) == pytest.approx((0.5, 0.5), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "sigma_b2", "sigma_w2", "q_star"),
    [
        # Roberts, Yaida & Hanin 2022, section 5.3.4: the half-stable critical points.
        ("silu", 0.55514317, 1.98800468, 14.32017362),
        ("gelu", 0.17292239, 1.98305826, (3 + math.sqrt(17)) / 2),
    ],
)
def test_silu_and_gelu_are_critical_where_the_literature_says(name, sigma_b2, sigma_w2, q_star):
    at = q_star + np.array([-1e-3, 0.0, 1e-3])
    below, q, above = mean_field.q_map(PHI[name], at, sigma_w2, sigma_b2)
    assert q == pytest.approx(q_star, rel=1e-7)
    # The map touches the diagonal and does not cross it: both its slope and chi are 1.
    assert (above - below) / 2e-3 == pytest.approx(1.0, abs=1e-6)
    assert mean_field.chi(PHI[name], at, sigma_w2)[1] == pytest.approx(1.0, abs=1e-6)


def test_selu_has_its_fixed_point_at_mean_zero_and_variance_one():
    # Klambauer et al. 2017, equation 14 and theorem 1: attracting.
    assert theory.activation_moments(PHI["selu"], 0.0, 1.0) == pytest.approx((0, 1), abs=1e-9)
    moments = (0.1, 1.4)
    for _ in range(100):
        # Weights of sum 0: the mean does not reach the next layer's pre-activations.
        moments = theory.activation_moments(PHI["selu"], 0.0, moments[1])
    assert moments == pytest.approx((0, 1), abs=1e-6)
    assert mean_field.fixed_point(PHI["selu"], 1.0, start=3.0) == pytest.approx(1.0)
    mean, variance = theory.activation_moments(PHI["relu"], 0.5, 2.0)
    density, share = math.exp(-0.0625) / math.sqrt(2 * math.pi), special.ndtr(0.5 / math.sqrt(2))
    assert mean == pytest.approx(0.5 * share + math.sqrt(2) * density)
    assert variance == pytest.approx(
        (0.25 + 2) * share + 0.5 * math.sqrt(2) * density - mean**2, rel=1e-9
    )


@pytest.mark.parametrize("hidden", [[1, 1], [2, 2, 2], [3, 2, 4, 1], [5] * 20])
def test_born_dead_probability_is_that_of_drawn_networks(hidden):
    generator, draws = np.random.default_rng(1), 20_000
    values = np.ones((draws, 1, 3))
    for units in hidden:
        kernels = generator.standard_normal((draws, values.shape[2], units))
        values = np.maximum(values @ kernels, 0)
    dead = (values == 0).all(axis=(1, 2)).mean()
    assert theory.born_dead_probability([512] * 20) == pytest.approx(20 * 2.0**-512)
    probability = theory.born_dead_probability(hidden)
    assert abs(dead - probability) <= 4 * math.sqrt(probability * (1 - probability) / draws)


def test_recommended_initializers_are_next_to_critical_where_the_table_says_so():
    """What `activations.Activation.recommended_initializer` says of theory."""
    chis = {
        name: {
            family: mean_field.chi_at_fixed_point(PHI[name], sigma_w2)
            for family, sigma_w2 in (("one", 1.0), ("he", 2.0))
        }
        for name in ACTIVATIONS
    }
    for name, row in ACTIVATIONS.items():
        recommended = "he" if row.recommended_initializer.startswith("he") else "one"
        distance = {
            family: abs(math.log(value)) if value > 0 else math.inf
            for family, value in chis[name].items()
        }
        nearest = min(distance, key=lambda family: distance[family])
        if name not in ("sigmoid", "elu", "celu", "exponential"):
            assert nearest == recommended, name
    assert chis["exponential"] == {"one": math.inf, "he": math.inf}
    assert chis["elu"]["one"] == pytest.approx(1.0, abs=1e-6)
    assert mean_field.fixed_point(PHI["elu"], 2.0) == math.inf
    assert chis["gelu"]["he"] == pytest.approx(0.5, abs=1e-6)
    assert chis["silu"]["he"] == pytest.approx(0.5, abs=1e-6)
    assert (chis["sigmoid"]["one"], chis["sigmoid"]["he"]) == pytest.approx(
        (0.056, 0.101), abs=1e-3
    )


def test_prediction_follows_the_maps_from_every_images_own_variance():
    first = np.array([0.05, 0.2, 1.0])
    predicted = theory.propagate(PHI["tanh"], first, 1.7, depth=4, width=100)
    second = mean_field.q_map(PHI["tanh"], first, 1.7)
    assert predicted.forward[0] == pytest.approx(np.log(second / first).mean())
    assert predicted.backward[0] == pytest.approx(
        np.log(mean_field.chi(PHI["tanh"], first, 1.7)).mean()
    )
    assert predicted.forward[1] == pytest.approx(
        np.log(mean_field.q_map(PHI["tanh"], second, 1.7) / second).mean()
    )
    # Twice the width, half the variance.
    wider = theory.propagate(PHI["tanh"], first, 1.7, depth=4, width=200)
    np.testing.assert_allclose(predicted.forward_variance, 2 * wider.forward_variance)
    np.testing.assert_allclose(predicted.backward_variance, 2 * wider.backward_variance)


@pytest.mark.parametrize("sigma_b2", [0.0, 0.3])
@pytest.mark.parametrize("name", ["relu", "tanh", "selu", "gelu"])
def test_variances_are_those_of_drawn_networks(name, sigma_b2):
    """1,500 networks of 40 units: the spread of the logarithms of their ratios, image by image."""
    networks, width, depth, q, sigma_w2 = 1500, 40, 6, 0.8, 1.6
    generator, phi = np.random.default_rng(2), PHI[name]
    z = math.sqrt(q) * generator.standard_normal((networks, 1, width))
    kernels, layers = [], [z]
    for _ in range(depth - 1):
        scale = math.sqrt(sigma_w2 / width)
        kernels.append(scale * generator.standard_normal((networks, width, width)))
        biases = math.sqrt(sigma_b2) * generator.standard_normal((networks, 1, width))
        layers.append(phi.value(layers[-1]) @ kernels[-1] + biases)
    signal = generator.standard_normal((networks, 1, width))
    signals = [signal * phi.derivative(layers[-1])]
    for kernel, below in zip(reversed(kernels), reversed(layers[:-1]), strict=True):
        signals.insert(0, (signals[0] @ kernel.transpose(0, 2, 1)) * phi.derivative(below))
    predicted = theory.propagate(phi, np.array([q]), sigma_w2, depth, width, sigma_b2)
    for squares, sign, logs, variances, whole in (
        (layers, 1, predicted.forward, predicted.forward_variance, predicted.forward_mean_variance),
        (
            signals,
            -1,
            predicted.backward,
            predicted.backward_variance,
            predicted.backward_mean_variance,
        ),
    ):
        logarithms = np.log([np.square(each).mean(axis=(1, 2)) for each in squares])
        ratios = sign * np.diff(logarithms, axis=0)
        # To the first order in 1 / 40.
        np.testing.assert_allclose(ratios.var(axis=1), variances, rtol=0.3)
        assert ratios.mean(axis=0).var() < 1.3 * whole
        np.testing.assert_allclose(ratios.mean(axis=1), logs, atol=float(variances.max()))


def test_moments_of_the_exponential_are_the_closed_form_until_they_overflow():
    # E[exp(2 sqrt(q) u)] = exp(2 q).
    for q in (1e-6, 0.7, 4.0):
        assert moments_of(PHI["exponential"], q) == pytest.approx([math.exp(2 * q)] * 2, rel=1e-9)
    assert mean_field.fixed_point(PHI["exponential"], 1.0) == math.inf
    predicted = theory.propagate(PHI["exponential"], np.array([0.1]), 1.0, depth=8, width=64)
    assert predicted.forward[0] == pytest.approx(math.log(math.exp(0.2) / 0.1))
    assert np.isnan(predicted.forward[-1])
    low, high = theory.band(math.inf, 0.1, 2)
    assert low == high == math.inf
    assert all(map(math.isnan, theory.band(math.nan, math.nan, 2)))
