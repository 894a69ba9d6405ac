"""The activation functions, in NumPy: value, derivative, formula, range, initialiser.

One table, `ACTIVATIONS`; an activation is a row of it. The networks compute with Keras's
functions of the same names (`model.keras_activation`); the tests hold the two together.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from actlab.errors import UserError

Array = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class Constant:
    """A constant of an activation, with what it may be."""

    kind: type
    allowed: str
    accepts: Callable[[Any], bool]


@dataclass(frozen=True)
class Activation:
    """One activation function phi.

    Attributes
    ----------
    title
        The name as it is written in a sentence.
    formula, derivative_formula
        phi(x) and phi'(x), in mathtext without the dollars.
    value, derivative
        phi and phi' of an array of any shape, elementwise; keywords are the constants. At a
        kink the derivative is the one that TensorFlow's automatic differentiation takes.
    range
        Gives the infimum and the supremum of phi's values; keywords are the constants.
    recommended_initializer
        Keras's name of the kernel initialiser that the activation's literature recommends, and
        `model.kernel_initializer: matched` takes. Mean-field theory (`theory.chi`) agrees for
        tanh, ReLU, leaky ReLU and SELU: of Glorot, He and LeCun it is the one with chi_1 next to
        1. For GELU and SiLU it is the nearest to 1 too, and still 1/2. For ELU theory prefers
        Glorot or LeCun (chi_1 = 1) to He, of which the signal grows; with sigmoid no initialiser
        of the table comes near 1 (Glorot 0.06, He 0.10).
    source
        Where the activation comes from.
    constants
        The keywords that `value`, `derivative` and Keras's function take.
    """

    title: str
    formula: str
    derivative_formula: str
    value: Callable[..., Array]
    derivative: Callable[..., Array]
    range: Callable[..., tuple[float, float]]
    recommended_initializer: str
    source: str
    constants: Mapping[str, Constant]

    def check_constants(self, constants: Mapping[str, Any]) -> None:
        """Hold given constants to the activation's own.

        Raises
        ------
        UserError
            When one is missing, unknown, of another type or out of range.
        """
        for name in sorted(constants.keys() - self.constants.keys()):
            allowed = ", ".join(self.constants) or "none"
            raise UserError(
                f"activation.constants.{name} is unknown: {self.title} has the constants {allowed}"
            )
        for name, constant in self.constants.items():
            if name not in constants:
                raise UserError(
                    f"activation.constants.{name} is missing: it has to be {constant.allowed}"
                )
            value = constants[name]
            number = constant.kind is float and type(value) is int
            if not (type(value) is constant.kind or number) or not constant.accepts(value):
                raise UserError(
                    f"activation.constants.{name} is {value!r}: it has to be {constant.allowed}"
                )

    def steepest_slope(self, **constants: Any) -> float:
        """Find the supremum of |phi'|, for activations that are steepest between -10 and 10.

        On a fine grid, and on a finer one around its best point; kinks are taken to lie at 0.

        >>> ACTIVATIONS["sigmoid"].steepest_slope(), ACTIVATIONS["relu"].steepest_slope()
        (0.25, 1.0)
        """
        coarse = np.linspace(-10, 10, 20001)
        around = coarse[np.abs(self.derivative(coarse, **constants)).argmax()]
        fine = around + np.linspace(-1e-3, 1e-3, 20001)
        points = np.concatenate([coarse, fine, [-1e-12, 0.0, 1e-12]])
        return float(np.abs(self.derivative(points, **constants)).max())


def _sigmoid_derivative(x: Array) -> Array:
    return special.expit(x) * special.expit(-x)


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _elu_derivative(x: Array, alpha: float) -> Array:
    return np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0)))


# Klambauer et al. 2017, equation 14: the constants of the fixed point (mean 0, variance 1).
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def _selu_derivative(x: Array) -> Array:
    # TensorFlow's SELU takes the right-hand slope at 0, its ELU the left-hand one.
    return _SELU_SCALE * np.where(x >= 0, 1.0, _SELU_ALPHA * np.exp(np.minimum(x, 0)))


def _gelu(x: Array, approximate: bool) -> Array:
    if approximate:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x * special.ndtr(x)


def _gelu_derivative(x: Array, approximate: bool) -> Array:
    if approximate:
        inner = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
        return 0.5 * (1 + inner) + 0.5 * x * (1 - inner**2) * slope
    return special.ndtr(x) + x * np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)


def _silu_derivative(x: Array) -> Array:
    return special.expit(x) * (1 + x * special.expit(-x))


_POSITIVE = Constant(float, "a number above 0", lambda value: 0 < value < math.inf)

#: Every activation that a configuration may name as `activation.function`.
ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(
        title="sigmoid",
        formula=r"\frac{1}{1 + e^{-x}}",
        derivative_formula=r"\phi(x)\,(1 - \phi(x))",
        value=special.expit,
        derivative=_sigmoid_derivative,
        range=lambda: (0.0, 1.0),
        recommended_initializer="glorot_uniform",
        source="Glorot & Bengio 2010",
        constants={},
    ),
    "tanh": Activation(
        title="tanh",
        formula=r"\frac{e^{x} - e^{-x}}{e^{x} + e^{-x}}",
        derivative_formula=r"1 - \phi(x)^2",
        value=np.tanh,
        derivative=lambda x: 1 - np.tanh(x) ** 2,
        range=lambda: (-1.0, 1.0),
        recommended_initializer="glorot_uniform",
        source="Glorot & Bengio 2010",
        constants={},
    ),
    "relu": Activation(
        title="ReLU",
        formula=r"\max(0, x)",
        derivative_formula=r"1\ \mathrm{if}\ x > 0,\ \mathrm{else}\ 0",
        value=lambda x: np.maximum(x, 0),
        derivative=lambda x: np.where(x > 0, 1.0, 0.0),
        range=lambda: (0.0, math.inf),
        recommended_initializer="he_uniform",
        source="Nair & Hinton 2010; initialiser: He et al. 2015",
        constants={},
    ),
    "leaky_relu": Activation(
        title="Leaky ReLU",
        formula=r"x\ \mathrm{if}\ x > 0,\ \mathrm{else}\ s\,x",
        derivative_formula=r"1\ \mathrm{if}\ x > 0,\ \mathrm{else}\ s",
        value=lambda x, negative_slope: np.where(x > 0, x, negative_slope * x),
        derivative=lambda x, negative_slope: np.where(x > 0, 1.0, negative_slope),
        range=lambda negative_slope: (-math.inf if negative_slope > 0 else 0.0, math.inf),
        recommended_initializer="he_uniform",
        source="Maas, Hannun & Ng 2013; initialiser: He et al. 2015",
        constants={
            "negative_slope": Constant(float, "a number from 0 to 1", lambda value: 0 <= value <= 1)
        },
    ),
    "elu": Activation(
        title="ELU",
        formula=r"x\ \mathrm{if}\ x > 0,\ \mathrm{else}\ \alpha\,(e^{x} - 1)",
        derivative_formula=r"1\ \mathrm{if}\ x > 0,\ \mathrm{else}\ \alpha\,e^{x}",
        value=_elu,
        derivative=_elu_derivative,
        range=lambda alpha: (-float(alpha), math.inf),
        recommended_initializer="he_uniform",
        source="Clevert, Unterthiner & Hochreiter 2016",
        constants={"alpha": _POSITIVE},
    ),
    "selu": Activation(
        title="SELU",
        formula=r"\lambda x\ \mathrm{if}\ x > 0,\ \mathrm{else}\ \lambda\alpha\,(e^{x} - 1)",
        derivative_formula=r"\lambda\ \mathrm{if}\ x > 0,\ \mathrm{else}\ \lambda\alpha\,e^{x}",
        value=lambda x: _SELU_SCALE * _elu(x, _SELU_ALPHA),
        derivative=_selu_derivative,
        range=lambda: (-_SELU_SCALE * _SELU_ALPHA, math.inf),
        recommended_initializer="lecun_normal",
        source="Klambauer et al. 2017",
        constants={},
    ),
    "gelu": Activation(
        title="GELU",
        formula=r"x\,\Phi(x)",
        derivative_formula=r"\Phi(x) + x\,\Phi'(x)",
        value=_gelu,
        derivative=_gelu_derivative,
        # The minimum, at x = -0.7518: found by root finding of the derivative, in the tests.
        range=lambda approximate: (-0.1700408 if approximate else -0.1699712, math.inf),
        recommended_initializer="he_uniform",
        source="Hendrycks & Gimpel 2016",
        constants={
            "approximate": Constant(bool, "true or false", lambda value: True),
        },
    ),
    "silu": Activation(
        title="SiLU",
        formula=r"\frac{x}{1 + e^{-x}}",
        derivative_formula=r"\sigma(x)\,(1 + x\,(1 - \sigma(x)))",
        value=lambda x: x * special.expit(x),
        derivative=_silu_derivative,
        range=lambda: (-0.2784645, math.inf),
        recommended_initializer="he_uniform",
        source="Elfwing, Uchibe & Doya 2018; Ramachandran, Zoph & Le 2017 (Swish)",
        constants={},
    ),
}
