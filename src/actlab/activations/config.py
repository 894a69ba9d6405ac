"""The section `activation` of a configuration."""

import math
import re
from dataclasses import field
from typing import Annotated, Any

from pydantic import field_validator

from actlab.activations.definitions import ACTIVATIONS, REFUSED
from actlab.engine.validation import Name, Real, one_of, only, section, validate
from actlab.errors import UserError

#: A custom function: one or more modules, then the function.
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

_OwnConstant = Annotated[
    Any,
    only(
        lambda x: isinstance(x, bool | int | float | str | None),
        "a number, a text, true, false or null",
    ),
]

_Scope = Annotated[str, one_of(("layer", "unit"))]


@section
class ActivationConfig:
    """One activation: its name, function and constants.

    The function is a key of `definitions.ACTIVATIONS`, or the dotted name of a custom one
    (`my_module.my_function`), which `functions.check` verifies later. `trained` names constants of
    a custom one that are trained, from their given value on: `layer`, one value per layer, or
    `unit`, one per unit.
    """

    name: Name
    function: str
    constants: dict[str, Any]
    trained: dict[str, str] = field(default_factory=dict)

    @field_validator("function")
    @classmethod
    def _find_function(cls, function: str) -> str:
        if function in REFUSED:
            raise ValueError(REFUSED[function])
        if function not in ACTIVATIONS and not _DOTTED.fullmatch(function):
            names = ", ".join(ACTIVATIONS)
            raise ValueError(f"it has to be one of {names}, or your own: my_module.my_function")
        return function

    def __post_init__(self) -> None:
        for name, value in self.constants.items():
            if isinstance(value, int | float) and 3.4e38 < abs(value) < math.inf:
                raise UserError(
                    f"activation.constants.{name} is {value:.3g}: it has to be from -3.4e38 to"
                    " 3.4e38, as single precision has it"
                )
        if self.is_own:
            validate(dict[str, _OwnConstant], self.constants, "activation.constants")
            for name, scope in self.trained.items():
                validate(_Scope, scope, f"activation.trained.{name}")
                validate(Real, self.constants.get(name), f"activation.constants.{name}")
        else:
            if self.trained:
                raise UserError(
                    f"activation.trained is {self.trained}: only constants of a custom function,"
                    " my_module.my_function, are trained; prelu is trained as it is"
                )
            ACTIVATIONS[self.function].check_constants(self.constants)

    @property
    def is_own(self) -> bool:
        """Whether the function is a custom one.

        >>> ActivationConfig("mine", "example.snake", {"frequency": 1.0}).is_own
        True
        """
        return _DOTTED.fullmatch(self.function) is not None
