"""Values of a configuration, validated by pydantic, with errors of one line.

A section of a configuration is a dataclass made by `section`. Values are in params.yaml and conf/;
only what few files of a group have, such as dropout, has a default here. Hydra reads the same
classes as its schema, with the plain types within `Annotated`.
"""

import inspect
import re
from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

import numpy as np
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from actlab.errors import UserError

#: The greatest seed: tables and MLflow hold integers of 64 bits.
GREATEST_SEED = 2**63 - 1


#: pydantic's error types for a key that a dataclass does not have; the second: not a string.
_UNKNOWN = ("unexpected_keyword_argument", "invalid_key")


def validate(kind: Any, value: Any, key: str = "") -> Any:
    """Validate a value against a type, or raise a `UserError`; `key` names it for the user.

    >>> validate(Count, 0, "epochs")
    Traceback (most recent call last):
    actlab.errors.UserError: epochs is 0: it has to be at least 1
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        # An unknown key first: it may be a missing one, misspelled.
        fault = max(error.errors(), key=lambda fault: fault["type"] in _UNKNOWN)
        raise UserError(explain_fault(fault, kind, key)) from None


def explain_fault(fault: ErrorDetails, kind: Any, key: str = "") -> str:
    """Describe in one line what pydantic found: the key, its value, what is allowed."""
    parent = key
    for part in fault["loc"]:
        parent = key
        key = f"{key}[{part}]" if key and isinstance(part, int) else f"{key}.{part}".lstrip(".")
    match fault["type"]:
        case "missing":
            return f"{key} is missing"
        case unknown if unknown in _UNKNOWN:
            known = list_keys(kind, *fault["loc"][:-1])
            return f"{key} is unknown: {parent or 'the configuration'} has {known}"
        case "dataclass_type":
            allowed = f"it has to hold {list_keys(kind, *fault['loc'])}"
        case "value_error":
            allowed = str(fault.get("ctx", {})["error"])
        case _:
            allowed = fault["msg"].replace("Input should", "it has to")
            allowed = allowed.replace("greater than or equal to", "at least")
            allowed = allowed.replace("less than or equal to", "at most")
    shown = repr(fault["input"]).replace("\n", " ")  # a table's has several lines
    return f"{key} is {shown:.200}: {allowed}"


def list_keys(kind: Any, *sections: int | str) -> str:
    """List the keys that a section of a dataclass may have."""
    for name in sections:
        kind = next((field.type for field in fields(kind) if field.name == name), None)
        if not is_dataclass(kind):
            return "other keys, see --help and --hydra-help"
    return ", ".join(field.name for field in fields(kind))


Class = TypeVar("Class", bound=type)


@dataclass_transform()
def section(cls: Class) -> Class:
    """Make a class a dataclass that validates its fields when it is constructed.

    An invalid value raises a `UserError`, which names the field without its section.
    """
    validated: Any = dataclass(cls, config=ConfigDict(extra="forbid"))
    construct, signature = validated.__init__, inspect.signature(validated)

    @wraps(construct)
    def construct_or_refuse(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            construct(self, **signature.bind(*args, **kwargs).arguments)
        except ValidationError as error:
            raise UserError(explain_fault(error.errors()[0], cls)) from None

    validated.__init__ = construct_or_refuse
    return validated


# --- What a value may be ------------------------------------------------------------------


def only(holds: Callable[[Any], object], allowed: str) -> AfterValidator:
    """Allow the values for which a condition holds."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(f"it has to be {allowed}")
        return value

    return AfterValidator(check)


def one_of(allowed: Collection[Any]) -> AfterValidator:
    """Allow only the given values."""
    return only(allowed.__contains__, f"one of {', '.join(map(str, allowed))}")


DISTINCT = only(
    lambda values: 0 < len(values) == len(set(values)),
    "a list of at least one entry, without repetitions",
)

_FROM_NUMPY = BeforeValidator(lambda x: x.item() if isinstance(x, np.generic) else x)

#: An integer of Python's or NumPy's: true, 2.0 and "2" are refused.
Whole = Annotated[int, Strict(), _FROM_NUMPY]
Count = Annotated[Whole, Field(ge=1)]
Seed = Annotated[Whole, Field(ge=0, le=GREATEST_SEED)]
Seeds = Annotated[list[Seed], DISTINCT]

Real = Annotated[float, Strict(), AllowInfNan(False), _FROM_NUMPY]
Positive = Annotated[Real, Field(gt=0)]
Truth = Annotated[bool, Strict()]
Fraction = Annotated[Real, only(lambda x: 0 < x < 1, "between 0 and 1")]
#: Names become folders, <activation>-<network>, and file systems take 255 bytes.
Name = Annotated[
    str,
    only(
        re.compile(r"[A-Za-z0-9_.]{0,99}[A-Za-z0-9_]").fullmatch,
        "at most 100 letters, digits, _ and .",
    ),
]
