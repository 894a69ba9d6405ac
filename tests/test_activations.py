import math

import numpy as np
import pytest
from scipy import integrate, special, stats

from actlab.activations import ACTIVATIONS
from actlab.config import ActivationConfig
from actlab.errors import UserError
from actlab.model import keras_activation
from actlab.runtime import tf

#: Every activation with the constants of conf/activation/, and with others.
CASES = [
    ("sigmoid", {}),
    ("tanh", {}),
    ("relu", {}),
    ("leaky_relu", {"negative_slope": 0.01}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("elu", {"alpha": 1.0}),
    ("elu", {"alpha": 0.5}),
    ("selu", {}),
    ("gelu", {"approximate": False}),
    ("gelu", {"approximate": True}),
    ("silu", {}),
]
NEAR = np.linspace(-6, 6, 2001)
FAR = np.array([-1e4, -200.0, -88.0, -30.0, 30.0, 88.0, 200.0, 1e4])


def test_every_activation_has_a_case():
    assert {name for name, _ in CASES} == set(ACTIVATIONS)


@pytest.mark.parametrize(("name", "constants"), CASES)
def test_value_is_that_of_keras(name, constants):
    points = np.concatenate([NEAR, FAR]).astype(np.float32)
    ours = ACTIVATIONS[name].value(points.astype(np.float64), **constants)
    theirs = keras_activation(name, constants)(tf.constant(points)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("name", "constants"), CASES)
def test_derivative_is_that_of_automatic_differentiation(name, constants):
    points = tf.constant(np.concatenate([NEAR, FAR, [0.0]]).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = keras_activation(name, constants)(points)
    theirs = tf.convert_to_tensor(tape.gradient(value, points)).numpy()
    ours = ACTIVATIONS[name].derivative(points.numpy().astype(np.float64), **constants)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "constants"), CASES)
def test_derivative_is_the_central_difference(name, constants):
    points = NEAR[np.abs(NEAR) > 1e-3]
    value, step = ACTIVATIONS[name].value, 1e-5
    slope = (value(points + step, **constants) - value(points - step, **constants)) / (2 * step)
    np.testing.assert_allclose(
        ACTIVATIONS[name].derivative(points, **constants), slope, rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize(("name", "constants"), CASES)
def test_range_is_what_the_values_reach(name, constants):
    low, high = ACTIVATIONS[name].range(**constants)
    value = ACTIVATIONS[name].value
    values = value(np.concatenate([np.linspace(-50, 50, 1_000_001), [-1e6, 1e6]]), **constants)
    assert low - 1e-7 <= values.min()
    assert values.max() <= high
    assert values.min() < -1e3 if low == -math.inf else values.min() == pytest.approx(low, abs=1e-6)
    assert values.max() > 1e5 if high == math.inf else values.max() == pytest.approx(high)


def test_selu_keeps_mean_zero_and_variance_one():
    # Klambauer et al. 2017, theorem 1: (0, 1) is the fixed point.
    def moment(power):
        def integrand(x):
            density = math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
            return ACTIVATIONS["selu"].value(np.array([x]))[0] ** power * density

        return integrate.quad(integrand, -12, 0)[0] + integrate.quad(integrand, 0, 12)[0]

    assert moment(1) == pytest.approx(0, abs=1e-7)
    assert moment(2) == pytest.approx(1, abs=1e-7)


# SELU: its scale times its alpha. GELU is steepest at sqrt(2), where its second derivative,
# (2 - x^2) times the normal density, is 0.
SELU = 1.0507009873554805 * 1.6732632423543772
GELU = special.ndtr(math.sqrt(2)) + math.sqrt(2) * stats.norm.pdf(math.sqrt(2))


@pytest.mark.parametrize(
    ("name", "constants", "slope"),
    [
        ("sigmoid", {}, 0.25),
        ("tanh", {}, 1.0),
        ("relu", {}, 1.0),
        ("leaky_relu", {"negative_slope": 0.3}, 1.0),
        ("elu", {"alpha": 0.5}, 1.0),
        ("elu", {"alpha": 2.0}, 2.0),
        ("selu", {}, SELU),
        ("gelu", {"approximate": False}, GELU),
        ("silu", {}, 1.0998394),
    ],
)
def test_steepest_slopes_are_the_textbook_ones(name, constants, slope):
    assert ACTIVATIONS[name].steepest_slope(**constants) == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize(("name", "constants"), CASES)
def test_no_slope_is_steeper_than_the_steepest(name, constants):
    slopes = np.abs(ACTIVATIONS[name].derivative(np.concatenate([NEAR, FAR]), **constants))
    steepest = ACTIVATIONS[name].steepest_slope(**constants)
    # NEAR comes within 0.006 of where each is steepest.
    assert 0.99 * steepest < slopes.max() <= steepest


@pytest.mark.parametrize(
    ("function", "constants", "named"),
    [
        ("leaky_relu", {}, "activation.constants.negative_slope is missing"),
        ("leaky_relu", {"negative_slope": 2.0}, "it has to be a number from 0 to 1"),
        ("leaky_relu", {"negative_slope": "a"}, "activation.constants.negative_slope is 'a'"),
        ("leaky_relu", {"negative_slope": True}, "activation.constants.negative_slope is True"),
        ("relu", {"slope": 0.1}, "activation.constants.slope is unknown"),
        ("elu", {"alpha": -1.0}, "it has to be a number above 0"),
        ("elu", {"alpha": math.nan}, "it has to be a number above 0"),
        ("gelu", {"approximate": 1}, "it has to be true or false"),
        ("rulu", {}, "activation.function is 'rulu': it has to be one of sigmoid, tanh, relu"),
    ],
)
def test_wrong_constants_are_refused_by_name(function, constants, named):
    with pytest.raises(UserError, match=named.replace(".", r"\.")):
        ActivationConfig(function, function, constants)
