"""The section `activation` of a configuration."""

import re
from typing import Annotated, Any

from pydantic import field_validator

from actlab.activations.definitions import ACTIVATIONS, REFUSED
from actlab.engine.validation import Name, only, section, validate

#: A custom function: one or more modules, then the function.
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

_OwnConstant = Annotated[
    Any,
    only(
        lambda x: isinstance(x, bool | int | float | str | None),
        "a number, a text, true, false or null",
    ),
]


@section
class ActivationConfig:
    """One activation: its name, function and constants.

    The function is a key of `definitions.ACTIVATIONS`, or the dotted name of a custom one
    (`my_module.my_function`), which `functions.check` verifies later.
    """

    name: Name
    function: str
    constants: dict[str, Any]

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
        if self.is_own:
            validate(dict[str, _OwnConstant], self.constants, "activation.constants")
        else:
            ACTIVATIONS[self.function].check_constants(self.constants)

    @property
    def is_own(self) -> bool:
        """Whether the function is a custom one.

        >>> ActivationConfig("mine", "example.snake", {"frequency": 1.0}).is_own
        True
        """
        return _DOTTED.fullmatch(self.function) is not None
