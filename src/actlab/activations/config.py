"""The section `activation` of a configuration."""

import re
from typing import Annotated, Any

from pydantic import field_validator

from actlab.activations.definitions import ACTIVATIONS, REFUSED
from actlab.engine.validation import Name, only, section, validate

#: A function of a user's own: one or more modules, then the function.
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
    """One activation: the name it goes by, its function, the function's constants.

    The function is a row of `definitions.ACTIVATIONS`, or a user's own by its dotted name
    (`my_module.my_function`): that one is checked by `functions.check`, and not here.
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
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"it has to be one of {known}, or your own: my_module.my_function")
        return function

    def __post_init__(self) -> None:
        if self.is_own:
            validate(dict[str, _OwnConstant], self.constants, "activation.constants")
        else:
            ACTIVATIONS[self.function].check_constants(self.constants)

    @property
    def is_own(self) -> bool:
        """Whether the function is a user's own, and not a row of the table.

        >>> ActivationConfig("mine", "example.snake", {"frequency": 1.0}).is_own
        True
        """
        return _DOTTED.fullmatch(self.function) is not None
