"""The arithmetic of `activations`: phi and phi' of arrays of any shape, elementwise, in NumPy.

Written so that neither overflows far from zero where the function itself does not. A function
and its derivative stand beside each other; keywords are the constants.
"""

import math

import numpy as np
from jaxtyping import Float
from scipy import special

Array = Float[np.ndarray, "..."]

sigmoid = special.expit


def sigmoid_derivative(x: Array) -> Array:
    return special.expit(x) * special.expit(-x)


def tanh_derivative(x: Array) -> Array:
    return 1 - np.tanh(x) ** 2


def relu(
    x: Array, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    above = np.where(x > threshold, x, 0.0)
    if max_value is not None:
        above = np.clip(above, 0.0, max_value)
    return above - negative_slope * np.maximum(threshold - x, 0)


def relu_derivative(
    x: Array, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    """Give the slope; at its kinks TensorFlow's choice differs with the constants.

    Keras takes another of TensorFlow's functions for each combination of constants: at
    `max_value` the slope is 1, but 0 where that is 6 and the threshold 0; at the threshold it is
    0, but the negative slope where that is the only constant.
    """
    within = x > threshold
    if max_value is not None:
        highest = x < max_value if (max_value, threshold) == (6, 0) else x <= max_value
        within = within & (x >= 0) & highest
    plain = max_value is None and threshold == 0
    below = x <= threshold if plain else x < threshold
    return np.where(within, 1.0, np.where(below, negative_slope, 0.0))


def relu6(x: Array) -> Array:
    return np.clip(x, 0.0, 6.0)


def relu6_derivative(x: Array) -> Array:
    return np.where((x > 0) & (x < 6), 1.0, 0.0)


def leaky_relu(x: Array, negative_slope: float) -> Array:
    return np.where(x > 0, x, negative_slope * x)


def leaky_relu_derivative(x: Array, negative_slope: float) -> Array:
    return np.where(x > 0, 1.0, negative_slope)


def prelu(x: Array, slope: float | Array) -> Array:
    return np.where(x > 0, x, slope * x)


def prelu_derivative(x: Array, slope: float | Array) -> Array:
    # Keras makes it of relu(x) and relu(-x): at 0 neither has a slope.
    return np.where(x > 0, 1.0, np.where(x < 0, slope, 0.0))


def elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def elu_derivative(x: Array, alpha: float) -> Array:
    return np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0)))


# Klambauer et al. 2017, equation 14: the constants of the fixed point (mean 0, variance 1).
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def selu(x: Array) -> Array:
    return SELU_SCALE * elu(x, SELU_ALPHA)


def selu_derivative(x: Array) -> Array:
    # TensorFlow's SELU takes the right-hand slope at 0, its ELU the left-hand one.
    return SELU_SCALE * np.where(x >= 0, 1.0, SELU_ALPHA * np.exp(np.minimum(x, 0)))


def celu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


def celu_derivative(x: Array, alpha: float) -> Array:
    # Smooth; TensorFlow's differentiation gives 2 at 0 itself, adding both sides of a tie.
    return np.where(x > 0, 1.0, np.exp(np.minimum(x, 0) / alpha))


def gelu(x: Array, approximate: bool) -> Array:
    if approximate:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x * special.ndtr(x)


def gelu_derivative(x: Array, approximate: bool) -> Array:
    if approximate:
        inner = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
        return 0.5 * (1 + inner) + 0.5 * x * (1 - inner**2) * slope
    return special.ndtr(x) + x * np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)


def silu(x: Array) -> Array:
    return x * special.expit(x)


def silu_derivative(x: Array) -> Array:
    return special.expit(x) * (1 + x * special.expit(-x))


def softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def mish(x: Array) -> Array:
    return x * np.tanh(softplus(x))


def mish_derivative(x: Array) -> Array:
    inner = np.tanh(softplus(x))
    return inner + x * special.expit(x) * (1 - inner**2)


def squareplus(x: Array, b: float) -> Array:
    # The second form loses no digits to the difference of two large numbers.
    root = np.hypot(x, math.sqrt(b))
    return np.where(x > 0, (x + root) / 2, b / 2 / (root + np.abs(x)))


def squareplus_derivative(x: Array, b: float) -> Array:
    root = np.hypot(x, math.sqrt(b))
    return np.where(x > 0, (1 + x / root) / 2, b / 2 / root / (root + np.abs(x)))


def softsign(x: Array) -> Array:
    return x / (1 + np.abs(x))


def softsign_derivative(x: Array) -> Array:
    return 1 / (1 + np.abs(x)) ** 2


def log_sigmoid(x: Array) -> Array:
    return -np.logaddexp(0, -x)


def log_sigmoid_derivative(x: Array) -> Array:
    return special.expit(-x)


def hard_sigmoid(x: Array) -> Array:
    return np.clip(x / 6 + 0.5, 0.0, 1.0)


def hard_sigmoid_derivative(x: Array) -> Array:
    return np.where(np.abs(x) < 3, 1 / 6, 0.0)


def hard_silu(x: Array) -> Array:
    return x * hard_sigmoid(x)


def hard_silu_derivative(x: Array) -> Array:
    return np.where(np.abs(x) < 3, (2 * x + 3) / 6, np.where(x > 0, 1.0, 0.0))


def hard_tanh(x: Array) -> Array:
    return np.clip(x, -1.0, 1.0)


def hard_tanh_derivative(x: Array) -> Array:
    return np.where(np.abs(x) <= 1, 1.0, 0.0)


def hard_shrink(x: Array, threshold: float) -> Array:
    return np.where(np.abs(x) > threshold, x, 0.0)


def soft_shrink(x: Array, threshold: float) -> Array:
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


def shrink_derivative(x: Array, threshold: float) -> Array:
    return np.where(np.abs(x) > threshold, 1.0, 0.0)


def tanh_shrink(x: Array) -> Array:
    return x - np.tanh(x)


def tanh_shrink_derivative(x: Array) -> Array:
    return np.tanh(x) ** 2


def threshold_linear(x: Array, threshold: float, default_value: float) -> Array:
    return np.where(x > threshold, x, default_value)


def threshold_linear_derivative(x: Array, threshold: float, default_value: float) -> Array:
    return np.where(x > threshold, 1.0, 0.0)


def sparse_sigmoid(x: Array) -> Array:
    return np.clip((x + 1) / 2, 0.0, 1.0)


def sparse_sigmoid_derivative(x: Array) -> Array:
    return np.where(np.abs(x) < 1, 0.5, 0.0)


def sparse_plus(x: Array) -> Array:
    return np.where(x < 1, np.maximum(x + 1, 0) ** 2 / 4, x)


def exponential(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.exp(x)
