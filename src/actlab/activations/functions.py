"""An activation's function: found by its name, evaluated, differentiated, checked.

A configuration names a function of Keras, or a custom one as `my_module.my_function`, whose module
is in `custom/` or anywhere on Python's path. A custom function takes a tensor and, as keywords, the
constants of the configuration; it is written with `keras.ops`, is elementwise, and keeps shape and
type.
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

#: Where custom modules are, relative to the root of the repository.
FOLDER = Path("custom")

#: The accepted deviation of automatic differentiation from central differences, relative to
#: 1 + |phi'|.
TOLERANCE = 1e-5


def _refuse(function: str, reason: str) -> UserError:
    return UserError(f"activation.function is {function!r}: {reason}")


def _summarize(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def find_function(function: str) -> Callable[..., Any]:
    """Return Keras's activation of a name, or import the function of a dotted name.

    >>> find_function("math.tau")
    Traceback (most recent call last):
    actlab.errors.UserError: activation.function is 'math.tau': tau of math is not a function
    """
    name, _, attribute = function.rpartition(".")
    if not name:
        return getattr(keras.activations, function, None) or _IN_DOUBLE[function]
    folder = str(FOLDER.resolve())
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that a user's random.py hides no module
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise _refuse(
                function, f"there is no module {error.name} in {FOLDER}/ or among Python's"
            ) from error
        raise _refuse(function, f"importing {name} raises {_summarize(error)}") from error
    if not hasattr(module, attribute):
        defined = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == name and key[0] != "_"
        ]
        place, names = getattr(module, "__file__", "built-in"), ", ".join(defined[:20])
        reason = f"{name} ({place}) has no {attribute}: it has {names or 'no function'}"
        raise _refuse(function, reason)
    if not callable(getattr(module, attribute)):
        raise _refuse(function, f"{attribute} of {name} is not a function")
    return getattr(module, attribute)


def _require_constants(
    function: str, phi: Callable[..., Any], constants: Mapping[str, Any]
) -> None:
    """Verify constants against a function's keywords, if Python knows its signature."""
    try:
        signature = inspect.signature(phi)
    except ValueError:  # built into Python: calling it shows
        return
    try:
        signature.bind(None, **constants)
    except TypeError as error:
        raise UserError(f"activation.constants: {error}: {function} takes {signature}") from error


def digest_sources(function: str) -> str:
    """Compute the SHA-256 of a custom function's sources.

    All modules in `FOLDER` count, since they may import each other; of a module elsewhere, its own
    file only.
    """
    find_function(function)
    file = getattr(sys.modules[function.rpartition(".")[0]], "__file__", None)
    if file is None:  # built into Python
        return hashlib.sha256(sys.version.encode()).hexdigest()
    path, folder = Path(file).resolve(), FOLDER.resolve()
    is_inside = path.is_relative_to(folder)
    digest = hashlib.sha256()
    for source in sorted(folder.rglob("*.py")) if is_inside else [path]:
        digest.update(f"{source.relative_to(folder if is_inside else path.parent)}\n".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


def get_activation(activation: ActivationConfig) -> Activation:
    """Return the description of an activation, of the table or derived from a custom function."""
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


#: Formulas for theory and figures where Keras's functions, which training uses, are inexact in
#: double precision: constants are rounded to single precision (relu, leaky_relu, gelu), digits are
#: lost (the slopes of sigmoid, elu and selu far from zero, tanh_shrink near it; squareplus), or the
#: slope at 0 is the sum of both sides (celu). PReLU is a layer.
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
    """Return phi and, by automatic differentiation, phi' of NumPy arrays in double precision.

    `learned` are trained constants, one per unit (the last axis of phi's argument), that replace
    the configured ones.
    """
    function, constants = activation.function, activation.constants
    if learned:
        return _compile(function, _find_exact(function), {**constants, **learned})
    return _nonlinearity(function, json.dumps(constants, sort_keys=True))


@cache
def _nonlinearity(function: str, constants: str) -> mean_field.Nonlinearity:
    return _compile(function, _find_exact(function), json.loads(constants))


def _find_exact(function: str) -> Callable[..., Any]:
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
        except Exception as error:
            raise _refuse(function, f"it raises {_summarize(error)}") from error

    return mean_field.Nonlinearity(partial(apply, value), partial(apply, derivative))


def recommend_initializer(phi: mean_field.Nonlinearity) -> str:
    """Return the one of Glorot, He and LeCun with log(chi_1) closest to 0 in layers of equal width.

    If several are equally good (Glorot and LeCun always are), or theory fails, the first.

    >>> recommend_initializer(nonlinearity_of(ActivationConfig("relu", "relu", {})))
    'he_uniform'
    """

    def distance(initializer: str) -> float:
        try:
            chi_1 = mean_field.chi_at_fixed_point(phi, _VARIANCES[initializer])
        except mean_field.UncertainError:
            return math.inf
        return round(abs(math.log(chi_1)), 6) if 0 < chi_1 < math.inf else math.inf

    return min(_VARIANCES, key=distance)


#: sigma_w^2 of initializers in layers of equal width.
_VARIANCES = {"glorot_uniform": 1.0, "he_uniform": 2.0, "lecun_uniform": 1.0}


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


def find_range(phi: mean_field.Nonlinearity) -> Range:
    """Estimate the bounds of a function's values from -1e6 to 1e6 and their growth per decade.

    A bound that still moves by more than half of what it moved in the decade before is infinite
    (even a logarithm is); one that converges is extrapolated. A bound is attained if the function
    is constant there, or has an extremum there, within 15 of zero. Features narrower than 1/1000
    near zero, or than |x|/1000 farther out, are missed.

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
        for end in 10.0 ** np.arange(2, 7):
            x = np.geomspace(end / 10, end, 2001)
            highest.append(max(highest[-1], *(float(np.nanmax(value(s * x))) for s in (1, -1))))
    if math.isinf(highest[-1]):
        return math.inf, False
    before, last = highest[-2] - highest[-3], highest[-1] - highest[-2]
    if last > 1e-6 * max(1.0, abs(highest[-1])) and last > before / 2:
        return math.inf, False
    # A geometric series: the growth shrinks by the same ratio in every decade.
    ratio = last / before if before > 0 else 0.0
    bound = highest[-1] + last * ratio / (1 - ratio)
    top = int(np.nanargmax(values))
    if abs(near[top]) <= 15 and 0 < top < len(near) - 1:
        found: Any = optimize.minimize_scalar(
            lambda x: -float(value(np.array([x]))[0]),
            bounds=(near[top - 1], near[top + 1]),
            method="bounded",
            options={"xatol": 1e-10},
        )
        around = value(near[top] + np.array([-0.5, 0.5]))
        peak = max(inner, -float(found.fun))
        if peak >= bound - 1e-9 * max(1.0, abs(bound)) and (around < peak - 1e-9).all():
            return peak, True
    within = np.abs(near) <= 15
    flat = within & (values == bound)
    return bound, bool(flat.any()) and bool((derivative(near[flat]) == 0).any())


def check_derivative(
    value: mean_field.Function, derivative: mean_field.Function
) -> tuple[float, float]:
    """Verify a derivative against central differences between -10 and 10, away from kinks.

    Returns
    -------
    float
        The largest deviation, relative to 1 + |phi'|.
    float
        The share of kinks among 4,001 points, whose one-sided slopes differ by more than a
        thousandth of 1 + |phi'|.
    """
    x, step = np.linspace(-10, 10, 4001) + 1e-4 / 3, 1e-5
    below, here, above = value(x - step), value(x), value(x + step)
    scale = 1 + np.abs(derivative(x))
    kinks = np.abs(above - 2 * here + below) / step > 1e-3 * scale
    deviation = np.abs((above - below) / (2 * step) - derivative(x)) / scale
    return float(deviation[~kinks].max(initial=0.0)), float(kinks.mean())


def check(activation: ActivationConfig) -> float:
    """Verify an activation's function before anything is computed with it.

    For a built-in function, that the described derivative is that of Keras's function. A custom
    one must exist, keep shape and type, be finite, elementwise, deterministic and differentiable,
    consist of operations that Keras can trace and save and XLA can compile, and be stable
    (`check_stability`).

    Returns
    -------
    float
        The largest deviation of automatic differentiation from central differences.
    """
    function, constants = activation.function, activation.constants
    phi = find_function(function)
    if activation.is_own:
        _require_constants(function, phi, constants)
        for dtype in (np.float32, np.float64):
            _check_values(function, phi, constants, dtype)
        check_stability(activation)
        _check_traced(function, phi, constants)
    with np.errstate(over="ignore", invalid="ignore"):
        trained, described = _compile(function, phi, constants), nonlinearity_of(activation)
        deviation, kinks = check_derivative(trained.value, described.derivative)
    if kinks > 0.05:
        raise _refuse(function, f"it has no slope at {kinks:.0%} of the points from -10 to 10")
    if not deviation <= TOLERANCE:
        raise _refuse(
            function,
            "automatic differentiation and central differences give different derivatives: by"
            f" {deviation:.2g}, from -10 to 10",
        )
    return deviation


def _check_values(
    function: str, phi: Callable[..., Any], constants: Mapping[str, Any], dtype: Any
) -> None:
    x = np.linspace(-10, 10, 1024, dtype=dtype)

    def apply(inputs: np.ndarray) -> np.ndarray:
        try:
            result: Any = tf.convert_to_tensor(phi(tf.constant(inputs), **constants))
        except (Exception, SystemExit) as error:
            raise _refuse(function, f"it raises {_summarize(error)}") from error
        if result.shape != inputs.shape or result.dtype != tf.as_dtype(inputs.dtype):
            raise _refuse(
                function,
                f"it turns {inputs.dtype} {inputs.shape} into {result.dtype.name}"
                f" {tuple(result.shape)}: it has to keep shape and type",
            )
        return result.numpy()

    values = apply(x)
    if not np.isfinite(values).all():
        first = x[~np.isfinite(values)][0]
        raise _refuse(function, f"it is not finite at {first:.4g}: it has to be from -10 to 10")
    close = partial(np.allclose, rtol=1e-5, atol=1e-6)
    if not close(apply(x), values):
        raise _refuse(function, "it gives different values when called again")
    single = np.concatenate([apply(x[[place]]) for place in range(0, 1024, 93)])
    reverse, square = apply(x[::-1])[::-1], apply(x.reshape(32, 32)).ravel()
    if not (close(reverse, values) and close(square, values) and close(single, values[::93])):
        raise _refuse(function, "it has to be elementwise, and combines several numbers")


def check_stability(activation: ActivationConfig) -> None:
    """Verify that single precision gives value and slope wherever it can hold them.

    A training computes in single precision, where exp(89) is infinite, and one NaN in a gradient
    makes every weight NaN. Double precision, whose exponential reaches 709, is the reference: from
    0 outwards to -1e6 and 1e6, value and slope have to be finite until the function's own value or
    slope is beyond single precision, as that of exp(x) or x**9 is. What is NaN in both is refused.

    Raises
    ------
    UserError
        With the first x, what came out, and what to write instead; or if XLA cannot compile it.
    """
    outwards = np.concatenate([[0.0], np.geomspace(1e-3, 1e6, 9001)])
    x = np.stack([outwards, -outwards]).astype(np.float32)
    single, double = (
        _evaluate_compiled(activation, x.astype(dtype)) for dtype in (np.float32, np.float64)
    )
    is_beyond = (np.abs(double) > np.finfo(np.float32).max).any(axis=0)
    # Behind the first x where it is beyond, both may be NaN, as of exp(x) - exp(x / 2).
    is_judged = ~np.logical_or.accumulate(is_beyond, axis=-1)
    faults = np.argwhere(~np.isfinite(single) & is_judged)
    if not len(faults):
        return
    part, side, place = min(faults, key=lambda fault: fault[-1])
    expected = double[part, side, place]
    raise _refuse(
        activation.function,
        f"its {('value', 'slope')[part]} in single precision is"
        f" {'NaN' if np.isnan(single[part, side, place]) else 'infinite'} at {x[side, place]:.4g}"
        f"{f', not {expected:.4g}' if math.isfinite(expected) else ''}, and a training would become"
        " NaN: keep each branch of `where` finite, also where it is not taken, as"
        " exp(minimum(x, 0)) is, or use what does not overflow, such as keras.ops.softplus,"
        " sigmoid, tanh or expm1",
    )


def _evaluate_compiled(activation: ActivationConfig, x: Array) -> Float[np.ndarray, "2 ..."]:
    """Compute value and slope as XLA compiles them."""
    function, phi = activation.function, find_function(activation.function)

    @tf.function(jit_compile=True, autograph=False)
    def program(x: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = phi(x, **activation.constants)
        return value, tape.gradient(value, x)

    try:
        value, slope = program(tf.constant(x))
    except Exception as error:
        raise _refuse(function, f"TensorFlow cannot compile it: {_summarize(error)}") from error
    if slope is None:
        raise _refuse(function, "it has no derivative by automatic differentiation")
    return np.stack([value.numpy(), slope.numpy()])


def _check_traced(function: str, phi: Callable[..., Any], constants: Mapping[str, Any]) -> None:
    """Verify that Keras can trace and save a function."""
    try:
        inputs = keras.Input((3,))
        model: Any = keras.Model(inputs, phi(inputs, **constants))
        keras.Model.from_config(model.get_config())
    except Exception as error:
        reason = f"Keras cannot trace it, write it with keras.ops: {_summarize(error)}"
        raise _refuse(function, reason) from error
    for operation in map(type, model.operations):
        if not operation.__module__.startswith("keras.") or operation is keras.layers.Lambda:
            raise _refuse(
                function,
                f"{operation.__name__} is not an operation of Keras: write it with keras.ops",
            )
    if model.weights:
        raise _refuse(function, "it has weights: only prelu may have them")
