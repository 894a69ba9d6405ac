"""The activations once more: written from their definitions, apart from `actlab.activations`."""

import math

import numpy as np


def each(function):
    """Apply a function of one number to every entry."""
    return lambda x, **constants: np.array([function(float(one), **constants) for one in x])


def _exp(x):
    return math.exp(x) if x < 709 else math.inf


def _sigmoid(x):
    # Both branches are 1 / (1 + exp(-x)).
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _softplus(x):
    # ln(1 + e^x) = x + ln(1 + e^-x).
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def _relu(x, negative_slope=0.0, max_value=None, threshold=0.0):
    # Keras 2's documentation: f(x) = max_value for x >= max_value, x for threshold <= x <
    # max_value, negative_slope * (x - threshold) otherwise. (With a threshold below 0 and a
    # max_value Keras cuts off at 0 too.)
    if x <= threshold:
        return negative_slope * (x - threshold)
    return x if max_value is None else min(max(x, 0.0), max_value)


def _gelu(x, approximate):
    if approximate:  # Hendrycks & Gimpel 2016, section 2
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x * 0.5 * math.erfc(-x / math.sqrt(2))


def _sparse_plus(x):
    if x <= -1:
        return 0.0
    return (x + 1) ** 2 / 4 if x < 1 else x


def _piecewise_linear(points):
    xs, ys = zip(*points, strict=True)
    return lambda x: float(np.interp(x, xs, ys))


#: Klambauer et al. 2017, section 3: alpha_01 and lambda_01 to 8 digits, here by their formula.
_INSIDE = math.erfc(1 / math.sqrt(2)) * math.exp(0.5) - 1
_ALPHA = -math.sqrt(2 / math.pi) / _INSIDE
_LAMBDA = (1 - math.erfc(1 / math.sqrt(2)) * math.sqrt(math.e)) * math.sqrt(
    2
    * math.pi
    / (
        2 * math.erfc(math.sqrt(2)) * math.e**2
        + math.pi * math.erfc(1 / math.sqrt(2)) ** 2 * math.e
        - 2 * (2 + math.pi) * math.erfc(1 / math.sqrt(2)) * math.sqrt(math.e)
        + math.pi
        + 2
    )
)

VALUES = {
    "sigmoid": each(_sigmoid),
    "tanh": each(lambda x: 2 * _sigmoid(2 * x) - 1),
    "relu": each(_relu),
    "leaky_relu": each(lambda x, negative_slope: x if x > 0 else negative_slope * x),
    "prelu": each(lambda x, slope: max(0.0, x) + slope * min(0.0, x)),
    "elu": each(lambda x, alpha: x if x > 0 else alpha * math.expm1(x)),
    "selu": each(lambda x: _LAMBDA * (x if x > 0 else _ALPHA * math.expm1(x))),
    "celu": each(lambda x, alpha: max(0.0, x) + min(0.0, alpha * (_exp(x / alpha) - 1))),
    "gelu": each(_gelu),
    "silu": each(lambda x: x * _sigmoid(x)),
    "mish": each(lambda x: x * math.tanh(_softplus(x))),
    "softplus": each(_softplus),
    # (x + sqrt(x^2 + b)) / 2, of which the numerator times its conjugate is b.
    "squareplus": each(
        lambda x, b: (x + math.sqrt(x * x + b)) / 2 if x > 0 else b / (math.sqrt(x * x + b) - x) / 2
    ),
    "sparse_plus": each(_sparse_plus),
    "softsign": each(lambda x: x / (1 + abs(x))),
    "log_sigmoid": each(lambda x: -_softplus(-x)),
    "exponential": each(_exp),
    "linear": each(lambda x: x),
    "relu6": each(_piecewise_linear([(0, 0), (6, 6)])),
    "hard_sigmoid": each(_piecewise_linear([(-3, 0), (3, 1)])),
    "hard_silu": each(lambda x: 0.0 if x <= -3 else x if x >= 3 else x * (x + 3) / 6),
    "hard_tanh": each(_piecewise_linear([(-1, -1), (1, 1)])),
    "hard_shrink": each(lambda x, threshold: x if x > threshold or x < -threshold else 0.0),
    "soft_shrink": each(
        lambda x, threshold: (
            x - threshold if x > threshold else x + threshold if x < -threshold else 0.0
        )
    ),
    "tanh_shrink": each(lambda x: x - math.tanh(x)),
    "sparse_sigmoid": each(_piecewise_linear([(-1, 0), (1, 1)])),
    "threshold": each(lambda x, threshold, default_value: x if x > threshold else default_value),
}
