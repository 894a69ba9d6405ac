"""What the functions take: activations and networks as a user gives them, right or wrong."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from actlab.activations.config import ActivationConfig
from actlab.activations.definitions import REFUSED
from actlab.api.data import Data
from actlab.engine.presets import list_presets, load_preset
from actlab.engine.validation import Count, validate
from actlab.errors import UserError
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.training.config import OptimizerConfig

if TYPE_CHECKING:
    from actlab.models.network import ModelSpec
else:  # importing TensorFlow takes seconds
    ModelSpec = Any

#: An activation: the name of its function, or the result of `activation`.
Named = str | ActivationConfig


def activation(
    function: str,
    /,
    name: str | None = None,
    trained: Mapping[str, str] = MappingProxyType({}),
    **constants: Any,
) -> ActivationConfig:
    """Return an activation with its constants, for `build` and `fit`.

    Parameters
    ----------
    function
        The name of a file in `conf/activation/`, which has its function and constants: any
        elementwise Keras activation, or prelu. Or a function from a module of your own,
        `my_module.my_function`, written with `keras.ops`.
    name
        Its name in tables and figures; by default that of the function, with the constants that
        differ from those of `conf/activation/`.
    trained
        Constants of a function of your own that are trained, from the given value on: `layer` for
        one value per layer, `unit` for one per unit, as in `{"slope": "unit"}`.
    constants
        Constants in place of those of `conf/activation/`. Libraries differ in them: Keras's leaky
        ReLU has a slope of 0.2 as a function and 0.3 as a layer, here it is 0.01.

    Raises
    ------
    UserError
        If there is no such function, or a constant is missing, unknown or out of range.

    Examples
    --------
    >>> activation("leaky_relu").constants
    {'negative_slope': 0.01}
    >>> activation("elu", alpha=0.5).name
    'elu_alpha_0.5'
    >>> activation("rellu")
    Traceback (most recent call last):
    actlab.errors.UserError: activation is 'rellu': the closest names are relu, relu6, \
prelu; a function of your own is given as my_module.my_function
    """
    validate(str, function, "activation")
    if function.startswith("__main__."):
        # A new definition under the same name would not be noticed.
        raise UserError(f"{function} exists in this session only: put it into a module")
    preset = _load_activation(function)
    known = preset.constants
    changed = {key: value for key, value in constants.items() if known.get(key, value) != value}
    name = name or _name_by_constants(preset.name, changed)
    try:
        return ActivationConfig(name, preset.function, {**known, **constants}, dict(trained))
    except UserError as error:
        line = str(error).replace("activation.constants.", f"{function}: ", 1)
        raise UserError(line) from None


def _load_activation(name: str) -> ActivationConfig:
    """Return a custom function without constants, or read the file of an activation in conf/."""
    if "." in name:
        return ActivationConfig(name.rpartition(".")[2], name, {})
    known = [preset for preset in list_presets("activation") if preset != "custom"]
    if name in known:
        return validate(ActivationConfig, load_preset("activation", name), "activation")
    own = "a function of your own is given as my_module.my_function"
    if name in REFUSED:
        raise UserError(f"activation is {name!r}: {REFUSED[name]}; {own}")
    near = get_close_matches(name.lower(), known)
    names = f"the closest names are {', '.join(near)}" if near else f"there are {', '.join(known)}"
    raise UserError(f"activation is {name!r}: {names}; {own}")


def _name_by_constants(name: str, constants: Mapping[str, Any]) -> str:
    """Name an activation by its constants.

    >>> _name_by_constants("relu", {"max_value": 6.0, "threshold": -1})
    'relu_max_value_6.0_threshold__1'
    """
    words = [name, *(f"{key}_{value}" for key, value in constants.items())]
    return re.sub(r"[^\w.]", "_", "_".join(words), flags=re.ASCII)[:100].rstrip(".")


def optimizer(name: str, /, **values: Any) -> OptimizerConfig:
    """Return an optimizer of `conf/optimizer/`, with values in place of its file's, for `fit`.

    A learning-rate schedule of Keras is a mapping: `{"_target_":
    "keras.optimizers.schedules.CosineDecay", "initial_learning_rate": 0.1, "decay_steps": 1000}`.

    Raises
    ------
    UserError
        If there is no such file, or a value is unknown or not allowed.

    Examples
    --------
    >>> optimizer("sgd", momentum=0.9).settings["momentum"]
    0.9
    """
    return OptimizerConfig.read({**values, "name": name})


def initializer(name: str, /, **values: Any) -> InitializerConfig:
    """Return an initializer of `conf/initializer/`, with values in place of its file's.

    Raises
    ------
    UserError
        If there is no such file, or a value is unknown or not allowed.

    Examples
    --------
    >>> initializer("normal", stddev=0.1).settings["stddev"]
    0.1
    """
    return InitializerConfig.read({**values, "name": name})


def resolve_optimizer(given: Any, learning_rate: Any) -> OptimizerConfig:
    """Return an optimizer, given it or its name; a learning rate replaces its own."""
    allowed = "a name, such as sgd, or the result of actlab.optimizer"
    require(given, str | OptimizerConfig, "optimizer", allowed)
    chosen = OptimizerConfig.read(given)
    if learning_rate is None:
        return chosen
    return OptimizerConfig(chosen.name, {**chosen.settings, "learning_rate": learning_rate})


def require(value: Any, kind: Any, name: str, allowed: str) -> None:
    """Refuse an argument that is not of a type, in one line."""
    if not isinstance(value, kind):
        shown = f"{value!r:.60}" if isinstance(value, str) else f"of type {type(value).__name__}"
        raise UserError(f"{name} is {shown}: it has to be {allowed}")


def resolve_activations(given: Any) -> dict[str, ActivationConfig]:
    """Return activations by name, from names or results of `activation`."""
    listed = [given] if isinstance(given, str | ActivationConfig) else given
    require(listed, Sequence, "activations", "a list of names or of results of actlab.activation")
    if not listed:
        raise UserError("activations are none: give the name of one, such as relu")
    chosen = [resolve_activation(entry) for entry in listed]
    named = {entry.name: entry for entry in chosen}
    if len(named) < len(chosen):
        raise UserError(
            f"activations are {', '.join(entry.name for entry in chosen)}: each needs a name of its"
            ' own, such as actlab.activation("my_module.my_function", name="steep", slope=0.3)'
        )
    return named


def resolve_activation(given: Any) -> ActivationConfig:
    """Return an activation, given it or its name."""
    allowed = "a name, such as relu, or the result of actlab.activation"
    require(given, str | ActivationConfig, "activation", allowed)
    return activation(given) if isinstance(given, str) else given


def resolve_network(hidden: Any, others: Mapping[str, Any] = MappingProxyType({})) -> NetworkConfig:
    """Name a network by its hidden layers; `others` are further keys of `NetworkConfig`."""
    given = validate(NetworkConfig, {"name": "network", "hidden": hidden, **others})
    units = given.hidden
    if not units:
        return replace(given, name="no_hidden_layer")
    alike = len(set(units)) == 1
    name = f"{len(units)}x{units[0]}" if alike else "_".join(map(str, units))
    return replace(given, name=name[:100])


def specify(
    activation: ActivationConfig, network: NetworkConfig, initializer: Any, data: Data
) -> ModelSpec:
    """Return the network of an activation for a data set; refuse outputs that do not fit it."""
    is_regression = data.train.labels.ndim > 1
    if is_regression != (network.outputs == "linear"):
        what = "numbers" if is_regression else "labels"
        allowed = "linear" if is_regression else "softmax or logistic"
        raise UserError(
            f"outputs is {network.outputs!r}: for targets that are {what} it has to be {allowed}"
        )
    return specify_model(activation, network, initializer, data.shape, len(data.classes))


def specify_model(
    activation: ActivationConfig,
    network: NetworkConfig,
    initializer: Any,
    inputs: Any,
    classes: Any,
) -> ModelSpec:
    """Return what `build_model` needs; `inputs` may be the shape of an image."""
    chosen = InitializerConfig.read(initializer)
    shape = (inputs,) if isinstance(inputs, int | np.integer) else tuple(inputs)
    counts = [validate(Count, count, "inputs") for count in shape]
    classes = validate(Count, classes, "classes")
    from actlab.models.network import ModelSpec

    return ModelSpec(activation, network, chosen, math.prod(counts), classes, tuple(counts))
