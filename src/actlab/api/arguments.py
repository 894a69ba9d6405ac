"""What the functions take: activations and networks as a user gives them."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from actlab.activations.config import ActivationConfig
from actlab.errors import UserError
from actlab.models.config import ModelConfig, NetworkConfig

if TYPE_CHECKING:
    from actlab.models.network import ModelSpec
else:  # importing TensorFlow takes seconds
    ModelSpec = Any

#: An activation: the name of its function, or the result of `activation`.
Named = str | ActivationConfig


def activation(function: str, /, name: str | None = None, **constants: Any) -> ActivationConfig:
    """Return an activation with its constants, for `build` and `fit`.

    Parameters
    ----------
    function
        An elementwise Keras activation, or prelu; or a function from a module of your own,
        `my_module.my_function`, written with `keras.ops`.
    name
        Its name in tables and figures; by default that of the function. Two activations that
        differ in their constants need two names.
    constants
        The function's constants. None has a default, since libraries differ: Keras's leaky ReLU
        has a slope of 0.2 as a function and 0.3 as a layer.

    Raises
    ------
    UserError
        If there is no such function, or a constant is missing, unknown or out of range.

    Examples
    --------
    >>> activation("leaky_relu", negative_slope=0.01).constants
    {'negative_slope': 0.01}
    >>> activation("leaky_relu")
    Traceback (most recent call last):
    actlab.errors.UserError: leaky_relu: negative_slope is missing: it has to be a number from 0 \
to 1; write actlab.activation("leaky_relu", negative_slope=...)
    """
    if function.startswith("__main__."):
        # A new definition under the same name would not be noticed.
        raise UserError(f"{function} exists in this session only: put it into a module")
    try:
        return ActivationConfig(name or function.rpartition(".")[2], function, constants)
    except UserError as error:
        line = str(error).removeprefix("activation.constants.")
        if lacking := re.match(r"(\w+) is missing", line):
            hint = f'write actlab.activation("{function}", {lacking[1]}=...)'
            line = f"{function}: {line}; {hint}"
        raise UserError(line) from None


def resolve_activations(given: Named | Sequence[Named]) -> dict[str, ActivationConfig]:
    """Return activations by name, from names or results of `activation`."""
    listed = [given] if isinstance(given, str | ActivationConfig) else given
    if not isinstance(listed, Sequence) or not all(
        isinstance(entry, str | ActivationConfig) for entry in listed
    ):
        raise UserError(
            f"activations are {given!r}: give names, such as relu, or results of actlab.activation"
        )
    if not listed:
        raise UserError("activations are none: give the name of one, such as relu")
    chosen = [resolve_activation(entry) for entry in listed]
    named = {entry.name: entry for entry in chosen}
    if len(named) < len(chosen):
        raise UserError(
            f"activations are {', '.join(entry.name for entry in chosen)}: each needs a name of its"
            ' own, such as actlab.activation("leaky_relu", name="steep", negative_slope=0.3)'
        )
    return named


def resolve_activation(given: Named) -> ActivationConfig:
    """Return an activation, given it or its name."""
    return activation(given) if isinstance(given, str) else given


def resolve_network(hidden: Sequence[int] | str) -> NetworkConfig:
    """Name a network by its hidden layers."""
    units = NetworkConfig("network", hidden).hidden
    if not units:
        return NetworkConfig("no_hidden_layer", [])
    alike = len(set(units)) == 1
    name = f"{len(units)}x{units[0]}" if alike else "_".join(map(str, units))
    return NetworkConfig(name[:100], units)


def specify_model(
    activation: ActivationConfig,
    network: NetworkConfig,
    kernel_initializer: str,
    inputs: int,
    classes: int,
) -> ModelSpec:
    """Return what `build_model` needs, once the initializer is valid."""
    ModelConfig(kernel_initializer)
    from actlab.models.network import ModelSpec

    return ModelSpec(activation, network, kernel_initializer, inputs, classes)
