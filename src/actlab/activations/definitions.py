"""Activation functions of Keras: formula, range, initializer, source, constants.

`ACTIVATIONS` has every function of `keras.activations` that maps one number to one number, and
PReLU. `functions` evaluates and differentiates them, and makes an entry for a custom function.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from actlab.errors import UserError


@dataclass(frozen=True)
class Constant:
    """A constant of an activation: its type and allowed values."""

    kind: type
    allowed: str
    accepts: Callable[[Any], bool]


class Range(NamedTuple):
    """The infimum and supremum of a function's values, and whether they are attained."""

    low: float
    high: float
    takes_low: bool = False
    takes_high: bool = False

    def __str__(self) -> str:
        """Format it as an interval, closed where the bound is attained.

        >>> str(Range(0.0, math.inf, takes_low=True)), str(Range(-1.0, 1.0))
        ('[0, ∞)', '(−1, 1)')
        """
        low, high = (
            ("−" if bound < 0 else "") + ("∞" if math.isinf(bound) else f"{abs(bound):.4g}")
            for bound in (self.low, self.high)
        )
        return f"{'[' if self.takes_low else '('}{low}, {high}{']' if self.takes_high else ')'}"


@dataclass(frozen=True)
class Activation:
    """An activation function phi.

    Attributes
    ----------
    title
        The name in a sentence.
    formula, derivative_formula
        phi(x) and phi'(x), in mathtext without dollar signs; a function of the constants if they
        change the formula.
    range
        The bounds of phi's values, as a function of the constants.
    recommended_initializer
        The kernel initializer that the source recommends; if it names none, the one of Glorot, He
        and LeCun whose chi_1 (`mean_field.chi`) is closest to 1 in layers of equal width. Closest
        may be far: GELU and SiLU reach 1/2, sigmoid 0.1.
    constants
        The keywords of Keras's function.
    neutral
        Constants that may be omitted, with the values at which they have no effect: not shown.
    trained
        Constants that are initial values of parameters, one per unit.
    """

    title: str
    formula: str | Callable[..., str]
    derivative_formula: str | Callable[..., str]
    range: Callable[..., Range]
    recommended_initializer: str
    source: str
    constants: Mapping[str, Constant] = field(default_factory=dict)
    neutral: Mapping[str, Any] = field(default_factory=dict)
    trained: tuple[str, ...] = ()

    def check_constants(self, constants: Mapping[str, Any]) -> None:
        """Raise a `UserError` for a constant that is missing, unknown, or not allowed."""
        for name in sorted(constants.keys() - self.constants.keys()):
            allowed = ", ".join(self.constants) or "none"
            raise UserError(
                f"activation.constants.{name} is unknown: {self.title} has the constants {allowed}"
            )
        for name, constant in self.constants.items():
            value = constants.get(name, self.neutral.get(name))
            if value is None and self.neutral.get(name, ...) is None:
                continue
            if name not in constants and name not in self.neutral:
                raise UserError(
                    f"activation.constants.{name} is missing: it has to be {constant.allowed}"
                )
            if constant.kind is float and type(value) is int:
                value = float(value) if abs(value) < 2**1023 else math.copysign(math.inf, value)
            if type(value) is not constant.kind or not constant.accepts(value):
                raise UserError(
                    f"activation.constants.{name} is {constants[name]!r}: it has to be"
                    f" {constant.allowed}"
                )

    def write_formulas(self, **constants: Any) -> tuple[str, str]:
        """Return phi(x) and phi'(x) in mathtext, for these constants.

        >>> ACTIVATIONS["linear"].write_formulas()
        ('x', '1')
        """
        value, derivative = (
            formula if isinstance(formula, str) else formula(**constants)
            for formula in (self.formula, self.derivative_formula)
        )
        return value, derivative

    def shown_constants(self, constants: Mapping[str, Any]) -> dict[str, Any]:
        """Return the constants that have an effect.

        >>> ACTIVATIONS["relu"].shown_constants({"max_value": 2.0, "threshold": 0.0})
        {'max_value': 2.0}
        """
        return {
            name: value
            for name, value in constants.items()
            if name not in self.neutral or self.neutral[name] != value
        }


_POSITIVE = Constant(float, "a number above 0", lambda value: 0 < value < math.inf)
_SLOPE = Constant(float, "a number from 0 to 1", lambda value: 0 <= value <= 1)
_FINITE = Constant(float, "a number", math.isfinite)

_REAL = Range(-math.inf, math.inf)


def _piecewise(above: str, condition: str, below: str) -> str:
    return rf"{above}\ \mathrm{{if}}\ {condition},\ \mathrm{{else}}\ {below}"


def _relu_formulas(
    negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> tuple[str, str]:
    above, slope = "x", "1"
    if max_value is not None:
        above = r"\min(m, \max(0, x))"
        slope = _piecewise("1", r"|x - \frac{m}{2}| < \frac{m}{2}", "0")
    elif threshold == 0 and negative_slope == 0:
        above = r"\max(0, x)"
    if threshold == 0 and negative_slope == 0:
        return above, slope if max_value is not None else _piecewise("1", "x > 0", "0")
    condition = r"x > \theta" if threshold else "x > 0"
    below = (r"s\,(x - \theta)" if threshold else r"s\,x") if negative_slope else "0"
    inside = f"({slope})" if max_value is not None else slope
    return (
        _piecewise(above, condition, below),
        _piecewise(inside, condition, "s" if negative_slope else "0"),
    )


def _relu_range(
    negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Range:
    high = math.inf if max_value is None else float(max_value)
    if negative_slope > 0:
        return Range(-math.inf, high, takes_high=max_value is not None)
    if threshold < 0 and max_value is None:
        return Range(float(threshold), high)
    return Range(0.0, high, takes_low=True, takes_high=max_value is not None)


def _gelu_formulas(approximate: bool) -> tuple[str, str]:
    if approximate:
        return (
            r"\frac{x}{2}\,(1 + \tanh(u)),\ u = \sqrt{\frac{2}{\pi}}\,(x + 0.044715\,x^3)",
            r"\frac{1 + \tanh(u)}{2} + \frac{x\,(1 - \tanh(u)^2)}{2}\,"
            r"\sqrt{\frac{2}{\pi}}\,(1 + 0.134145\,x^2),"
            r"\ u = \sqrt{\frac{2}{\pi}}\,(x + 0.044715\,x^3)",
        )
    return r"x\,\Phi(x)", r"\Phi(x) + x\,\Phi'(x)"


# Klambauer et al. 2017, equation 14: the constants of the fixed point (mean 0, variance 1).
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946

#: The built-in values of `activation.function`.
ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(
        title="sigmoid",
        formula=r"\frac{1}{1 + e^{-x}}",
        derivative_formula=r"\phi(x)\,(1 - \phi(x))",
        range=lambda: Range(0.0, 1.0),
        recommended_initializer="glorot_uniform",
        source="Glorot & Bengio 2010",
    ),
    "tanh": Activation(
        title="tanh",
        formula=r"\frac{e^{x} - e^{-x}}{e^{x} + e^{-x}}",
        derivative_formula=r"1 - \phi(x)^2",
        range=lambda: Range(-1.0, 1.0),
        recommended_initializer="glorot_uniform",
        source="Glorot & Bengio 2010",
    ),
    "relu": Activation(
        title="ReLU",
        formula=lambda **constants: _relu_formulas(**constants)[0],
        derivative_formula=lambda **constants: _relu_formulas(**constants)[1],
        range=_relu_range,
        recommended_initializer="he_uniform",
        source="Nair & Hinton 2010; initializer: He et al. 2015",
        constants={
            "negative_slope": _SLOPE,
            "max_value": Constant(float, "a number above 0, or null", _POSITIVE.accepts),
            "threshold": _FINITE,
        },
        neutral={"negative_slope": 0.0, "max_value": None, "threshold": 0.0},
    ),
    "leaky_relu": Activation(
        title="Leaky ReLU",
        formula=_piecewise("x", "x > 0", r"s\,x"),
        derivative_formula=_piecewise("1", "x > 0", "s"),
        range=lambda negative_slope: (
            _REAL if negative_slope > 0 else Range(0.0, math.inf, takes_low=True)
        ),
        recommended_initializer="he_uniform",
        source="Maas, Hannun & Ng 2013; initializer: He et al. 2015",
        constants={"negative_slope": _SLOPE},
    ),
    "prelu": Activation(
        title="PReLU",
        formula=_piecewise("x", "x > 0", r"s\,x"),
        derivative_formula=_piecewise("1", "x > 0", "s"),
        range=lambda slope: _REAL if slope > 0 else Range(0.0, math.inf, takes_low=True),
        recommended_initializer="he_uniform",
        source="He et al. 2015; one trained slope per unit",
        constants={"slope": _SLOPE},
        trained=("slope",),
    ),
    "elu": Activation(
        title="ELU",
        formula=_piecewise("x", "x > 0", r"\alpha\,(e^{x} - 1)"),
        derivative_formula=_piecewise("1", "x > 0", r"\alpha\,e^{x}"),
        range=lambda alpha: Range(-float(alpha), math.inf),
        recommended_initializer="he_uniform",
        source="Clevert, Unterthiner & Hochreiter 2016",
        constants={"alpha": _POSITIVE},
    ),
    "selu": Activation(
        title="SELU",
        formula=_piecewise(r"\lambda x", "x > 0", r"\lambda\alpha\,(e^{x} - 1)"),
        derivative_formula=_piecewise(r"\lambda", "x > 0", r"\lambda\alpha\,e^{x}"),
        range=lambda: Range(-SELU_SCALE * SELU_ALPHA, math.inf),
        recommended_initializer="lecun_normal",
        source="Klambauer et al. 2017",
    ),
    "celu": Activation(
        title="CELU",
        formula=_piecewise("x", "x > 0", r"\alpha\,(e^{\frac{x}{\alpha}} - 1)"),
        derivative_formula=_piecewise("1", "x > 0", r"e^{\frac{x}{\alpha}}"),
        range=lambda alpha: Range(-float(alpha), math.inf),
        recommended_initializer="glorot_uniform",
        source="Barron 2017",
        constants={"alpha": _POSITIVE},
    ),
    "gelu": Activation(
        title="GELU",
        formula=lambda approximate: _gelu_formulas(approximate)[0],
        derivative_formula=lambda approximate: _gelu_formulas(approximate)[1],
        # The minimum, at x = -0.7518; a test finds the root of the derivative.
        range=lambda approximate: Range(
            -0.1700408 if approximate else -0.1699712, math.inf, takes_low=True
        ),
        recommended_initializer="he_uniform",
        source="Hendrycks & Gimpel 2016",
        constants={"approximate": Constant(bool, "true or false", lambda value: True)},
    ),
    "silu": Activation(
        title="SiLU",
        formula=r"\frac{x}{1 + e^{-x}}",
        derivative_formula=r"\sigma(x)\,(1 + x\,(1 - \sigma(x)))",
        range=lambda: Range(-0.2784645, math.inf, takes_low=True),
        recommended_initializer="he_uniform",
        source="Elfwing, Uchibe & Doya 2018; Ramachandran, Zoph & Le 2017 (Swish)",
    ),
    "mish": Activation(
        title="Mish",
        formula=r"x\,\tanh(\ln(1 + e^{x}))",
        derivative_formula=(r"\tanh(u) + x\,\sigma(x)\,(1 - \tanh(u)^2),\ u = \ln(1 + e^{x})"),
        range=lambda: Range(-0.3088434, math.inf, takes_low=True),
        recommended_initializer="he_uniform",
        source="Misra 2019",
    ),
    "softplus": Activation(
        title="Softplus",
        formula=r"\ln(1 + e^{x})",
        derivative_formula=r"\sigma(x)",
        range=lambda: Range(0.0, math.inf),
        recommended_initializer="he_uniform",
        source="Dugas et al. 2001",
    ),
    "squareplus": Activation(
        title="Squareplus",
        formula=r"\frac{x + \sqrt{x^2 + b}}{2}",
        derivative_formula=r"\frac{1}{2} + \frac{x}{2\,\sqrt{x^2 + b}}",
        range=lambda b: Range(0.0, math.inf),
        recommended_initializer="he_uniform",
        source="Barron 2021",
        constants={"b": _POSITIVE},
    ),
    "sparse_plus": Activation(
        title="SparsePlus",
        formula=_piecewise("x", r"x \geq 1", _piecewise(r"\frac{(x + 1)^2}{4}", "x > -1", "0")),
        derivative_formula=r"\min(1, \max(0, \frac{x + 1}{2}))",
        range=lambda: Range(0.0, math.inf, takes_low=True),
        recommended_initializer="he_uniform",
        source="JAX (jax.nn.sparse_plus), after Blondel, Martins & Niculae 2019",
    ),
    "softsign": Activation(
        title="Softsign",
        formula=r"\frac{x}{1 + |x|}",
        derivative_formula=r"\frac{1}{(1 + |x|)^2}",
        range=lambda: Range(-1.0, 1.0),
        recommended_initializer="glorot_uniform",
        source="Bergstra et al. 2009; initializer: Glorot & Bengio 2010",
    ),
    "log_sigmoid": Activation(
        title="log sigmoid",
        formula=r"-\ln(1 + e^{-x})",
        derivative_formula=r"1 - \sigma(x)",
        range=lambda: Range(-math.inf, 0.0),
        recommended_initializer="he_uniform",
        source="the logarithm of the sigmoid; minus softplus (Dugas et al. 2001) of -x",
    ),
    "exponential": Activation(
        title="exponential",
        formula=r"e^{x}",
        derivative_formula=r"e^{x}",
        range=lambda: Range(0.0, math.inf),
        recommended_initializer="glorot_uniform",
        source="Keras (keras.activations.exponential)",
    ),
    "linear": Activation(
        title="linear",
        formula="x",
        derivative_formula="1",
        range=lambda: _REAL,
        recommended_initializer="glorot_uniform",
        source="the identity; initializer: Glorot & Bengio 2010",
    ),
    "relu6": Activation(
        title="ReLU6",
        formula=r"\min(6, \max(0, x))",
        derivative_formula=_piecewise("1", "|x - 3| < 3", "0"),
        range=lambda: Range(0.0, 6.0, takes_low=True, takes_high=True),
        recommended_initializer="he_uniform",
        source="Krizhevsky 2010",
    ),
    "hard_sigmoid": Activation(
        title="hard sigmoid",
        formula=r"\min(1, \max(0, \frac{x}{6} + \frac{1}{2}))",
        derivative_formula=_piecewise(r"\frac{1}{6}", "|x| < 3", "0"),
        range=lambda: Range(0.0, 1.0, takes_low=True, takes_high=True),
        recommended_initializer="he_uniform",
        source="Howard et al. 2019",
    ),
    "hard_silu": Activation(
        title="hard SiLU",
        formula=r"x\,\min(1, \max(0, \frac{x}{6} + \frac{1}{2}))",
        derivative_formula=_piecewise(
            r"\frac{2\,x + 3}{6}", "|x| < 3", _piecewise("1", "x > 0", "0")
        ),
        range=lambda: Range(-0.375, math.inf, takes_low=True),
        recommended_initializer="he_uniform",
        source="Howard et al. 2019 (hard swish)",
    ),
    "hard_tanh": Activation(
        title="hard tanh",
        formula=r"\min(1, \max(-1, x))",
        derivative_formula=_piecewise("1", r"|x| \leq 1", "0"),
        range=lambda: Range(-1.0, 1.0, takes_low=True, takes_high=True),
        recommended_initializer="glorot_uniform",
        source="Collobert 2004",
    ),
    "hard_shrink": Activation(
        title="hard shrink",
        formula=_piecewise("x", r"|x| > \theta", "0"),
        derivative_formula=_piecewise("1", r"|x| > \theta", "0"),
        range=lambda threshold: _REAL,
        recommended_initializer="he_uniform",
        source="Donoho & Johnstone 1994 (hard thresholding)",
        constants={"threshold": _POSITIVE},
    ),
    "soft_shrink": Activation(
        title="soft shrink",
        formula=_piecewise(
            r"x - \theta", r"x > \theta", _piecewise(r"x + \theta", r"x < -\theta", "0")
        ),
        derivative_formula=_piecewise("1", r"|x| > \theta", "0"),
        range=lambda threshold: _REAL,
        recommended_initializer="glorot_uniform",
        source="Donoho & Johnstone 1994 (soft thresholding)",
        constants={"threshold": _POSITIVE},
    ),
    "tanh_shrink": Activation(
        title="tanh shrink",
        formula=r"x - \tanh(x)",
        derivative_formula=r"\tanh(x)^2",
        range=lambda: _REAL,
        recommended_initializer="he_uniform",
        source="Torch7 (nn.TanhShrink)",
    ),
    "sparse_sigmoid": Activation(
        title="sparse sigmoid",
        formula=r"\min(1, \max(0, \frac{x + 1}{2}))",
        derivative_formula=_piecewise(r"\frac{1}{2}", "|x| < 1", "0"),
        range=lambda: Range(0.0, 1.0, takes_low=True, takes_high=True),
        recommended_initializer="he_uniform",
        source="Blondel, Martins & Niculae 2019",
    ),
    "threshold": Activation(
        title="threshold",
        formula=_piecewise("x", r"x > \theta", "d"),
        derivative_formula=_piecewise("1", r"x > \theta", "0"),
        range=lambda threshold, default_value: Range(
            float(min(threshold, default_value)), math.inf, takes_low=default_value <= threshold
        ),
        recommended_initializer="glorot_uniform",
        source="Konda, Memisevic & Krueger 2015 (thresholded rectifier)",
        constants={"threshold": _FINITE, "default_value": _FINITE},
    ),
}

#: Functions of `keras.activations` that are refused, and why.
REFUSED: dict[str, str] = {
    "softmax": "it combines all units of a layer",
    "log_softmax": "it combines all units of a layer",
    "sparsemax": "it combines all units of a layer",
    "glu": "it combines two units into one",
    "swish": "it is another name of silu",
    "hard_swish": "it is another name of hard_silu",
}
