import inspect
import math
from typing import Any

import mathtext
import numpy as np
import pytest
from matplotlib.mathtext import MathTextParser
from reference import VALUES
from scipy import special, stats

from actlab.activations.config import ActivationConfig
from actlab.activations.definitions import ACTIVATIONS, REFUSED
from actlab.activations.functions import nonlinearity_of
from actlab.backend import keras, tf
from actlab.errors import UserError
from actlab.models.network import keras_activation

#: Every activation with the constants of conf/activation/, and with others; and where it or its
#: slope jumps.
CASES: list[tuple[str, dict[str, Any], tuple[float, ...]]] = [
    ("sigmoid", {}, ()),
    ("tanh", {}, ()),
    ("relu", {}, (0,)),
    ("relu", {"negative_slope": 0.0, "max_value": None, "threshold": 0.0}, (0,)),
    ("relu", {"negative_slope": 0.1}, (0,)),
    ("relu", {"max_value": 6.0}, (0, 6)),
    ("relu", {"threshold": 1.0}, (1,)),
    ("relu", {"negative_slope": 0.3, "threshold": 0.5}, (0.5,)),
    ("relu", {"negative_slope": 0.3, "threshold": -0.5}, (-0.5,)),
    ("relu", {"negative_slope": 0.2, "max_value": 3.0, "threshold": 1.0}, (1, 3)),
    ("relu", {"max_value": 3.0, "threshold": -1.0}, (0, 3)),
    ("leaky_relu", {"negative_slope": 0.01}, (0,)),
    ("leaky_relu", {"negative_slope": 0.0}, (0,)),
    ("prelu", {"slope": 0.25}, (0,)),
    ("prelu", {"slope": 0.0}, (0,)),
    ("elu", {"alpha": 1.0}, (0,)),
    ("elu", {"alpha": 0.5}, (0,)),
    ("selu", {}, (0,)),
    ("celu", {"alpha": 1.0}, ()),
    ("celu", {"alpha": 0.5}, ()),
    ("gelu", {"approximate": False}, ()),
    ("gelu", {"approximate": True}, ()),
    ("silu", {}, ()),
    ("mish", {}, ()),
    ("softplus", {}, ()),
    ("squareplus", {"b": 4.0}, ()),
    ("squareplus", {"b": 0.5}, ()),
    ("sparse_plus", {}, (-1, 1)),
    ("softsign", {}, ()),
    ("log_sigmoid", {}, ()),
    ("exponential", {}, ()),
    ("linear", {}, ()),
    ("relu6", {}, (0, 6)),
    ("hard_sigmoid", {}, (-3, 3)),
    ("hard_silu", {}, (-3, 3)),
    ("hard_tanh", {}, (-1, 1)),
    ("hard_shrink", {"threshold": 0.5}, (-0.5, 0.5)),
    ("soft_shrink", {"threshold": 0.5}, (-0.5, 0.5)),
    ("tanh_shrink", {}, ()),
    ("sparse_sigmoid", {}, (-1, 1)),
    ("threshold", {"threshold": 1.0, "default_value": 0.0}, (1,)),
    ("threshold", {"threshold": 0.5, "default_value": -3.0}, (0.5,)),
]
EVERY = pytest.mark.parametrize(("name", "constants", "kinks"), CASES)
NEAR = np.linspace(-6, 6, 2001)
FAR = np.array([-1e4, -1e3, -200.0, -88.0, -30.0, 30.0, 88.0, 200.0, 1e3, 1e4])


def phi_of(name, constants):
    return nonlinearity_of(ActivationConfig(name, name, constants))


def points_of(name, kinks):
    """Near zero, far out where float32 holds the value, and at and beside the kinks."""
    far = FAR[FAR < 88] if name == "exponential" else FAR
    beside = [kink + step for kink in (0, *kinks) for step in (-1e-6, 0.0, 1e-6)]
    return np.concatenate([NEAR, far, beside])


def smooth(points, kinks, distance=1e-3):
    """Points away from the kinks."""
    return points[np.all([np.abs(points - kink) > distance for kink in (*kinks, 99)], axis=0)]


def test_every_activation_has_a_case_and_a_reference():
    assert {name for name, *_ in CASES} == set(ACTIVATIONS) == set(VALUES)


def test_every_function_of_keras_is_in_the_table_or_refused():
    ours = set(ACTIVATIONS) | set(REFUSED) | {"get", "serialize", "deserialize"}
    theirs = {name for name, each in inspect.getmembers(keras.activations, callable)}
    assert theirs == ours - {"prelu"}  # a layer
    for name in REFUSED:
        assert name not in ACTIVATIONS
        with pytest.raises(UserError, match=rf"^function is '{name}': {REFUSED[name]}$"):
            ActivationConfig(name, name, {})
    for other, name in (("swish", "silu"), ("hard_swish", "hard_silu")):
        assert getattr(keras.activations, other) is getattr(keras.activations, name)


@EVERY
def test_value_is_that_of_an_independent_reference(name, constants, kinks):
    points, phi = points_of(name, kinks), phi_of(name, constants)
    expected = VALUES[name](points, **constants)
    np.testing.assert_allclose(phi.value(points), expected, rtol=1e-12, atol=1e-14)
    assert np.isfinite(expected).all()
    assert np.isfinite(phi.derivative(points)).all()


def by_keras(name, constants, points, dtype):
    """Keras's value and TensorFlow's derivative."""
    x = tf.constant(points.astype(dtype))
    with tf.GradientTape() as tape:
        tape.watch(x)
        value: Any = keras_activation(ActivationConfig(name, name, dict(constants)))(x)
    slope: Any = tape.gradient(value, x)
    return value.numpy(), slope.numpy()


@EVERY
def test_value_and_derivative_are_those_of_keras(name, constants, kinks):
    points = points_of(name, kinks).astype(np.float32)
    value, slope = by_keras(name, constants, points, np.float32)
    if name == "celu":
        # Keras adds the slopes of both sides of a tie: 2 where the slope of CELU is 1.
        assert slope[points == 0].tolist() == [2.0, 2.0]
        slope[points == 0] = 1.0
    exact, phi = points.astype(np.float64), phi_of(name, constants)
    # Far below zero Keras's squareplus is the difference of two large numbers.
    within = 1e-3 if name == "squareplus" else 2e-6
    np.testing.assert_allclose(phi.value(exact), value, rtol=2e-6, atol=within)
    np.testing.assert_allclose(phi.derivative(exact), slope, rtol=2e-5, atol=1e-5)


@EVERY
def test_derivative_is_the_central_difference_of_the_reference(name, constants, kinks):
    points = smooth(NEAR, (0, *kinks))
    value, step = VALUES[name], 1e-5
    slope = (value(points + step, **constants) - value(points - step, **constants)) / (2 * step)
    ours = phi_of(name, constants).derivative(points)
    np.testing.assert_allclose(ours, slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "constants", "x", "slope"),
    [
        # Where 1 - phi, or phi + alpha, keeps no digit in double precision.
        ("sigmoid", {}, 40.0, math.exp(-40)),
        ("elu", {"alpha": 0.5}, -40.0, 0.5 * math.exp(-40)),
        ("selu", {}, -40.0, 1.0507009873554805 * 1.6732632423543772 * math.exp(-40)),
        ("celu", {"alpha": 0.5}, -20.0, math.exp(-40)),
        ("squareplus", {"b": 4.0}, -1e6, 1e-12),
        ("tanh_shrink", {}, 1e-8, 1e-16),
        ("gelu", {"approximate": False}, -8.0, stats.norm.cdf(-8) - 8 * stats.norm.pdf(8)),
        # As written, not rounded to single precision.
        ("leaky_relu", {"negative_slope": 0.01}, -1.0, 0.01),
        ("relu", {"negative_slope": 0.1}, -1.0, 0.1),
    ],
)
def test_slopes_keep_their_digits(name, constants, x, slope):
    found = phi_of(name, constants).derivative(np.array([x]))[0]
    assert found == pytest.approx(slope, rel=1e-9, abs=0)


@EVERY
def test_written_formulas_are_what_is_computed(name, constants, kinks):
    row, described = ACTIVATIONS[name], phi_of(name, constants)
    x = smooth(np.concatenate([NEAR, [-30.0, 30.0]]), kinks, 1e-9)

    def phi(x):
        return described.value(x)

    value, slope = row.write_formulas(**constants)
    found = mathtext.evaluate(value, x, phi, constants)
    np.testing.assert_allclose(found, phi(x), rtol=1e-9, atol=1e-12)
    found = mathtext.evaluate(slope, x, phi, constants)
    np.testing.assert_allclose(found, described.derivative(x), rtol=1e-9, atol=1e-12)
    for formula in (value, slope):
        MathTextParser("path").parse(f"${formula}$")  # Matplotlib can write it


@EVERY
def test_range_is_what_the_values_reach(name, constants, kinks):
    low, high, takes_low, takes_high = ACTIVATIONS[name].range(**constants)
    beside = [kink + step for kink in kinks for step in (-1e-9, 0.0, 1e-9)]
    grid = np.concatenate([np.linspace(-50, 50, 1_000_001), [-1e6, 1e6], beside])
    values = phi_of(name, constants).value(grid)
    assert low - 1e-7 <= values.min()
    assert values.max() <= high
    assert values.min() < -1e3 if low == -math.inf else values.min() == pytest.approx(low, abs=1e-5)
    assert values.max() > 1e5 if high == math.inf else values.max() == pytest.approx(high, abs=1e-5)
    # Within 15 of zero double precision tells a bound that is approached from one that is taken.
    near = values[np.abs(grid) <= 15]
    assert near.min() == pytest.approx(low, abs=2e-7) if takes_low else (near > low).all()
    assert near.max() == high if takes_high else (near < high).all()


# SELU: its scale times its alpha. GELU is steepest at sqrt(2), where its second derivative,
# (2 - x^2) times the normal density, is 0.
SELU = 1.0507009873554805 * 1.6732632423543772
GELU = special.ndtr(math.sqrt(2)) + math.sqrt(2) * stats.norm.pdf(math.sqrt(2))


@pytest.mark.parametrize(
    ("name", "constants", "slope"),
    [
        ("celu", {"alpha": 0.5}, 1.0),
        ("exponential", {}, math.exp(10)),
        ("hard_sigmoid", {}, 1 / 6),
        ("hard_silu", {}, 1.5),
        ("relu", {"negative_slope": 0.3, "max_value": 6.0}, 1.0),
        ("sparse_sigmoid", {}, 0.5),
        ("squareplus", {"b": 4.0}, 0.5 + 5 / math.sqrt(104)),
        ("sigmoid", {}, 0.25),
        ("tanh", {}, 1.0),
        ("elu", {"alpha": 0.5}, 1.0),
        ("elu", {"alpha": 2.0}, 2.0),
        ("selu", {}, SELU),
        ("gelu", {"approximate": False}, GELU),
        ("silu", {}, 1.0998394),
    ],
)
def test_steepest_slopes_are_the_textbook_ones(name, constants, slope):
    assert phi_of(name, constants).steepest_slope(10) == pytest.approx(slope, rel=1e-7)


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
        ("relu", {"max_value": -1.0}, "it has to be a number above 0, or null"),
        ("relu", {"threshold": None}, "activation.constants.threshold is None: it has to be a nu"),
        ("threshold", {"threshold": math.inf, "default_value": 0.0}, "threshold is inf"),
        ("threshold", {"threshold": 1.0}, "activation.constants.default_value is missing"),
        ("squareplus", {"b": 0}, "activation.constants.b is 0: it has to be a number above 0"),
        ("prelu", {}, "activation.constants.slope is missing: it has to be a number from 0 to 1"),
        ("rulu", {}, "function is 'rulu': it has to be one of sigmoid, tanh, relu"),
    ],
)
def test_wrong_constants_are_refused_by_name(function, constants, named):
    with pytest.raises(UserError, match=named.replace(".", r"\.")):
        ActivationConfig(function, function, constants)
