"""The sections `network` and `model` of a configuration."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from actlab.engine.validation import Count, Name, one_of, section

#: Stands for the initializer recommended in each activation's literature.
RECOMMENDED = "recommended"

#: Kernel initializers by their Keras names, and `RECOMMENDED`.
KERNEL_INITIALIZERS = (
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    RECOMMENDED,
)

Initializer = Annotated[str, one_of(KERNEL_INITIALIZERS)]

#: Equal hidden layers: their number and units.
_EQUAL_LAYERS = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,5})")

_UNITS = TypeAdapter(list[Annotated[Count, Field(le=999_999)]])


def _list_units(hidden: Any) -> list[int]:
    if isinstance(hidden, str) and (equal := _EQUAL_LAYERS.fullmatch(hidden)):
        return [int(equal[2])] * int(equal[1])
    try:
        return _UNITS.validate_python(hidden)
    except ValidationError:
        raise ValueError(
            "it has to be a list of whole numbers from 1 to 999999, or layers x units such as 8x64"
        ) from None


@section
class NetworkConfig:
    """The units of each hidden layer: a list, or `8x64` for eight layers of 64 units.

    >>> NetworkConfig("uniform", "3x16").hidden
    [16, 16, 16]
    """

    name: Name
    hidden: Annotated[Any, AfterValidator(_list_units)]


@section
class ModelConfig:
    """What all networks of a study have in common."""

    kernel_initializer: Initializer
