"""An activation's function: found by its name, evaluated, differentiated, checked.

A configuration names one of Keras's, or a user's own as `my_module.my_function`; the module lies
in the folder `custom/` of the repository's root, or wherever Python finds modules. The function
takes a tensor and, as keywords, the constants of the configuration; it is written with
`keras.ops`, works on each number by itself and gives a tensor of the same shape and type.
`get_activation` and `nonlinearity_of` give what the rest of actlab asks of an activation.
"""

import hashlib
import importlib
import inspect
import json
import math
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import optimize

from actlab.activations import mean_field
from actlab.activations.config import ActivationConfig
from actlab.activations.definitions import (
    ACTIVATIONS,
    SELU_ALPHA,
    SELU_SCALE,
    Activation,
    Range,
)
from actlab.backend import keras, tf
from actlab.errors import UserError

Array = Float[np.ndarray, "..."]

#: Where a user's modules lie, from the root of the repository.
FOLDER = Path("custom")

#: Autodiff and central differences of a smooth function agree to this, relative to 1 + |phi'|.
TOLERANCE = 1e-5


def _refuse(function: str, reason: str) -> UserError:
    return UserError(f"activation.function is {function!r}: {reason}")


def _said(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def find_function(function: str) -> Callable[..., Any]:
    """Give Keras's activation of a name; import one of a dotted name, from `FOLDER` or elsewhere.

    Raises
    ------
    UserError
        When there is no such module, it fails, or it has no such function.

    >>> find_function("math.tau")
    Traceback (most recent call last):
    actlab.errors.UserError: activation.function is 'math.tau': tau of math is no function
    """
    name, _, attribute = function.rpartition(".")
    if not name:
        return getattr(keras.activations, function, None) or _IN_DOUBLE[function]
    folder = FOLDER.resolve()
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # behind all others: a user's random.py hides no module
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise _refuse(
                function, f"there is no module {error.name} in {FOLDER}/ or among Python's"
            ) from error
        raise _refuse(function, f"importing {name} raises {_said(error)}") from error
    top = name.partition(".")[0]
    if (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file():
        file = getattr(sys.modules[top], "__file__", None)
        if file is None or not Path(file).resolve().is_relative_to(folder):
            raise _refuse(
                function,
                f"another module named {top} comes before the one in {FOLDER}/: rename yours",
            )
    if not hasattr(module, attribute):
        raise _refuse(function, f"{name} has no {attribute}: it has {_functions_of(module)}")
    if not callable(getattr(module, attribute)):
        raise _refuse(function, f"{attribute} of {name} is no function")
    return getattr(module, attribute)


def _functions_of(module: Any) -> str:
    """List the functions that a module defines; those that it imports are no activations of its."""
    defined = [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    ]
    return f"{', '.join(defined[:20])}{', ...' * (len(defined) > 20)}" or "no function"


def _require_constants(
    function: str, phi: Callable[..., Any], constants: Mapping[str, Any]
) -> None:
    """Hold constants to a function's keywords, where Python can tell them."""
    try:
        _, *parameters = inspect.signature(phi).parameters.values()
    except ValueError:  # built into Python, or without any parameter: calling it tells
        return
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return
    named = {
        each.name: each.default is each.empty
        for each in parameters
        if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)
    }
    for name in constants:
        if name not in named:
            allowed = ", ".join(named) or "none"
            raise UserError(
                f"activation.constants.{name} is unknown: {function} has the constants {allowed}"
            )
    for name, is_needed in named.items():
        if is_needed and name not in constants:
            raise UserError(f"activation.constants.{name} is missing: {function} needs it")


def digest_sources(function: str) -> str:
    """Give the SHA-256 of what a function is made of: the files of its folder, or its module.

    Modules in `FOLDER` may import each other, so that every source there counts. Of a module
    elsewhere its own file counts alone: what that imports is not followed.
    """
    find_function(function)
    module = sys.modules[function.rpartition(".")[0]]
    file, folder = getattr(module, "__file__", None), FOLDER.resolve()
    if file is None:  # built into Python
        return hashlib.sha256(sys.version.encode()).hexdigest()
    path = Path(file).resolve()
    inside = path.is_relative_to(folder)
    digest = hashlib.sha256()
    for each in sorted(folder.rglob("*.py")) if inside else [path]:
        digest.update(f"{each.relative_to(folder if inside else path.parent)}\n".encode())
        digest.update(each.read_bytes())
    return digest.hexdigest()


def get_activation(activation: ActivationConfig) -> Activation:
    """Give an activation's row: that of the table, or one made of a user's own function."""
    if not activation.is_own:
        return ACTIVATIONS[activation.function]
    return _own_row(activation.function, json.dumps(activation.constants, sort_keys=True))


def _leaky_relu(x: Any, negative_slope: float) -> Any:
    return tf.where(x > 0, x, negative_slope * x)


def _relu(
    x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Any:
    if max_value is None and threshold == 0:
        return _leaky_relu(x, negative_slope)
    return keras.activations.relu(x, negative_slope, max_value, threshold)


def _elu(x: Any, alpha: float) -> Any:
    return tf.where(x > 0, x, alpha * tf.math.expm1(tf.minimum(x, 0.0)))


def _gelu(x: Any, approximate: bool) -> Any:
    if approximate:
        return 0.5 * x * (1 + tf.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * tf.math.erfc(-x / math.sqrt(2))


def _squareplus(x: Any, b: float) -> Any:
    root = tf.sqrt(x**2 + b)
    return tf.where(x > 0, (x + root) / 2, b / 2 / (root - tf.minimum(x, 0.0)))


def _tanh_shrink(x: Any) -> Any:
    series = x**3 / 3 - 2 * x**5 / 15 + 17 * x**7 / 315 - 62 * x**9 / 2835
    return tf.where(abs(x) < 0.03, series, x - tf.tanh(x))


#: What is described in place of Keras's functions, which training takes, where in double
#: precision theirs are less exact: constants are rounded to single precision (relu, leaky_relu,
#: gelu), digits are lost (the slopes of sigmoid, elu and selu far from zero, tanh_shrink near it;
#: squareplus), or the slope at 0 is that of both sides together (celu). PReLU is a layer.
_IN_DOUBLE: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda x: tf.exp(-tf.nn.softplus(-x)),
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "prelu": lambda x, slope: tf.nn.relu(x) - slope * tf.nn.relu(-x),
    "elu": _elu,
    "selu": lambda x: tf.where(x < 0, SELU_SCALE * _elu(x, SELU_ALPHA), SELU_SCALE * x),
    "celu": lambda x, alpha: _elu(x / alpha, 1.0) * alpha,
    "gelu": _gelu,
    "squareplus": _squareplus,
    "tanh_shrink": _tanh_shrink,
}


def nonlinearity_of(activation: ActivationConfig, **learned: Array) -> mean_field.Nonlinearity:
    """Give phi and, by automatic differentiation, phi' in double precision, of NumPy arrays.

    `learned` are constants that training changes, one per unit, in place of the configured ones;
    the last axis of what phi is given is then that of the units.
    """
    function, constants = activation.function, activation.constants
    if learned:
        return _compile(function, _described(function), {**constants, **learned})
    return _nonlinearity(function, json.dumps(constants, sort_keys=True))


@cache
def _nonlinearity(function: str, constants: str) -> mean_field.Nonlinearity:
    return _compile(function, _described(function), json.loads(constants))


def _described(function: str) -> Callable[..., Any]:
    return _IN_DOUBLE.get(function) or find_function(function)


def _compile(
    function: str, phi: Callable[..., Any], constants: Mapping[str, Any]
) -> mean_field.Nonlinearity:
    signature = [tf.TensorSpec(None, tf.float64)]  # pyright: ignore[reportArgumentType]

    @tf.function(input_signature=signature, autograph=False)
    def value(x: tf.Tensor) -> Any:
        return tf.convert_to_tensor(phi(x, **constants))

    @tf.function(input_signature=signature, autograph=False)
    def derivative(x: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            values = phi(x, **constants)
        return tape.gradient(values, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def apply(program: Any, x: Array) -> Array:
        try:
            return program(tf.constant(x, tf.float64)).numpy()
        except Exception as error:  # whatever a user's function raises
            raise _refuse(function, f"it raises {_said(error)}") from error

    return mean_field.Nonlinearity(partial(apply, value), partial(apply, derivative))


def recommend_initializer(phi: mean_field.Nonlinearity) -> str:
    """Give the one of Glorot, He and LeCun with chi_1 next to 1 in layers of one width.

    Next by the logarithm, from images of variance 1. Where they are as good (Glorot and LeCun
    are the same there), and where theory cannot tell of any, the first.

    >>> recommend_initializer(nonlinearity_of(ActivationConfig("relu", "relu", {})))
    'he_uniform'
    """

    def distance(initializer: str) -> float:
        try:
            chi_1 = mean_field.chi_at_fixed_point(
                phi, mean_field.weight_variance(initializer, 1, 1)
            )
        except mean_field.UncertainError:
            return math.inf
        return round(abs(math.log(chi_1)), 6) if 0 < chi_1 < math.inf else math.inf

    return min(("glorot_uniform", "he_uniform", "lecun_uniform"), key=distance)


@cache
def _own_row(function: str, constants: str) -> Activation:
    phi = nonlinearity_of(ActivationConfig("own", function, json.loads(constants)))
    written = function.replace("_", r"\_")
    document = inspect.getdoc(find_function(function)) or ""
    return Activation(
        title=function,
        formula=rf"\mathrm{{{written}}}(x)",
        derivative_formula=r"\mathrm{automatic\ differentiation}",
        range=lambda **_: find_range(phi),
        recommended_initializer=recommend_initializer(phi),
        source=document.partition("\n")[0] or f"the module {function.rpartition('.')[0]}",
    )


#: Decades of |x| over which `find_range` watches the bounds grow.
_DECADES = tuple(10.0**power for power in range(2, 7))


def find_range(phi: mean_field.Nonlinearity) -> Range:
    """Find the bounds of a function's values, from -1e6 to 1e6 and by how they grow on the way.

    It is assumed that the function has no feature narrower than 1/1000 within 30 of zero, none
    narrower than a thousandth of |x| farther out unless it repeats, and that what it approaches
    it approaches at least like |x|^-0.3: a bound that still moves by more than half of what it
    moved over the last factor of 10 is taken to be infinite (a logarithm grows by as much). A
    bound is called taken where the function is constant there, or has an extremum there, within
    15 of zero.

    >>> str(find_range(nonlinearity_of(ActivationConfig("tanh", "tanh", {}))))
    '(−1, 1)'
    """
    high, takes_high = _supremum(phi.value, phi.derivative)
    low, takes_low = _supremum(lambda x: -phi.value(x), phi.derivative)
    return Range(-low + 0.0, high + 0.0, takes_low, takes_high)


def _supremum(value: mean_field.Function, derivative: mean_field.Function) -> tuple[float, bool]:
    near = np.linspace(-30, 30, 60001)
    with np.errstate(over="ignore", invalid="ignore"):
        values = value(near)
        inner = float(np.nanmax(values))
        highest = [inner]
        for end in _DECADES:
            x = np.geomspace(end / 10, end, 2001)
            highest.append(max(highest[-1], *(float(np.nanmax(value(s * x))) for s in (1, -1))))
    if math.isinf(highest[-1]):
        return math.inf, False
    before, last = highest[-2] - highest[-3], highest[-1] - highest[-2]
    if last > 1e-6 * max(1.0, abs(highest[-1])) and last > before / 2:
        return math.inf, False
    # What shrinks by one factor a decade goes on to shrink by it.
    ratio = last / before if before > 0 else 0.0
    bound = highest[-1] + last * ratio / (1 - ratio)
    at = int(np.nanargmax(values))
    if abs(near[at]) <= 15 and 0 < at < len(near) - 1:
        found: Any = optimize.minimize_scalar(
            lambda x: -float(value(np.array([x]))[0]),
            bounds=(near[at - 1], near[at + 1]),
            method="bounded",
            options={"xatol": 1e-10},
        )
        around = value(near[at] + np.array([-0.5, 0.5]))
        peak = max(inner, -float(found.fun))
        if peak >= bound - 1e-9 * max(1.0, abs(bound)) and (around < peak - 1e-9).all():
            return peak, True
    within = np.abs(near) <= 15
    flat = within & (values == bound)
    takes = bool(flat.any()) and bool((derivative(near[flat]) == 0).any())
    return bound, takes


def check_derivative(
    value: mean_field.Function, derivative: mean_field.Function
) -> tuple[float, float]:
    """Hold a derivative to central differences between -10 and 10, away from kinks.

    Returns
    -------
    float
        The largest deviation, relative to 1 + |phi'|.
    float
        The share of 4,001 points that count as kinks: the slopes on either side of them
        differ by more than a thousandth of 1 + |phi'|.
    """
    x, step = np.linspace(-10, 10, 4001) + 1e-4 / 3, 1e-5
    below, here, above = value(x - step), value(x), value(x + step)
    scale = 1 + np.abs(derivative(x))
    kinks = np.abs(above - 2 * here + below) / step > 1e-3 * scale
    deviation = np.abs((above - below) / (2 * step) - derivative(x)) / scale
    return float(deviation[~kinks].max(initial=0.0)), float(kinks.mean())


def check(activation: ActivationConfig) -> float:
    """Hold an activation's function to what it has to be, before anything is computed with it.

    Of the table's, that the derivative that is described is that of Keras's function, which
    training takes; the rest is for a user's own.

    Returns
    -------
    float
        The largest deviation of automatic differentiation from central differences
        (`check_derivative`).

    Raises
    ------
    UserError
        When the function is not there, raises, gives another shape or type or numbers that are
        not finite, is no function of one number, has another derivative than automatic
        differentiation gives it, or is not made of what Keras can trace, save and compile.
    """
    function, constants = activation.function, activation.constants
    phi = find_function(function)
    if activation.is_own:
        _require_constants(function, phi, constants)
        for dtype in (np.float32, np.float64):
            _check_values(function, phi, constants, dtype)
        _check_traced(function, phi, constants)
    with np.errstate(over="ignore", invalid="ignore"):
        trained, described = _compile(function, phi, constants), nonlinearity_of(activation)
        deviation, kinks = check_derivative(trained.value, described.derivative)
    if kinks > 0.05:
        raise _refuse(function, f"at {kinks:.0%} of the points from -10 to 10 it has no slope")
    if not deviation <= TOLERANCE:
        raise _refuse(
            function,
            "automatic differentiation gives another derivative than central differences do: by"
            f" {deviation:.2g}, from -10 to 10",
        )
    return deviation


def _check_values(
    function: str, phi: Callable[..., Any], constants: Mapping[str, Any], dtype: Any
) -> None:
    x = np.linspace(-10, 10, 1024, dtype=dtype)

    def apply(given: np.ndarray) -> np.ndarray:
        try:
            result: Any = tf.convert_to_tensor(phi(tf.constant(given), **constants))
        except (Exception, SystemExit) as error:  # whatever a user's function raises
            raise _refuse(function, f"it raises {_said(error)}") from error
        if result.shape != given.shape or result.dtype != tf.as_dtype(given.dtype):
            raise _refuse(
                function,
                f"of {given.dtype} numbers {given.shape} it gives {result.dtype.name}"
                f" {tuple(result.shape)}: it has to keep shape and type",
            )
        return result.numpy()

    values = apply(x)
    if not np.isfinite(values).all():
        first = x[~np.isfinite(values)][0]
        raise _refuse(function, f"at {first:.4g} it is not finite: it has to be from -10 to 10")
    close = partial(np.allclose, rtol=1e-5, atol=1e-6)
    if not close(apply(x), values):
        raise _refuse(function, "it gives other values the second time")
    alone = np.concatenate([apply(x[[at]]) for at in range(0, 1024, 93)])
    backward, square = apply(x[::-1])[::-1], apply(x.reshape(32, 32)).ravel()
    apart = all(close(other, values) for other in (backward, square))
    if not (apart and close(alone, values[::93])):
        raise _refuse(
            function, "it takes numbers together: it has to work on each number by itself"
        )


def _check_traced(function: str, phi: Callable[..., Any], constants: Mapping[str, Any]) -> None:
    """Hold a function to Keras's own operations, which can be saved, and to what XLA compiles."""

    @tf.function(jit_compile=True, autograph=False)
    def slope_program(x: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = phi(x, **constants)
        return tape.gradient(value, x)

    try:
        slope = slope_program(tf.linspace(-1.0, 1.0, 8))
    except Exception as error:
        raise _refuse(function, f"TensorFlow cannot compile it: {_said(error)}") from error
    if slope is None:
        raise _refuse(function, "it has no derivative by automatic differentiation")
    try:
        inputs = keras.Input((3,))
        model: Any = keras.Model(inputs, phi(inputs, **constants))
        keras.Model.from_config(model.get_config())
    except Exception as error:
        raise _refuse(
            function, f"Keras cannot trace it, write it with keras.ops: {_said(error)}"
        ) from error
    foreign = [type(each) for each in model.operations]
    foreign = [each for each in foreign if not each.__module__.startswith("keras.")]
    if foreign or any(isinstance(each, keras.layers.Lambda) for each in model.operations):
        name = foreign[0].__name__ if foreign else "Lambda"
        raise _refuse(function, f"{name} is no operation of Keras's: write it with keras.ops")
    if model.weights:
        raise _refuse(function, "it has weights of its own: only prelu has")
