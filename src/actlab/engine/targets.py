"""Sections that name an object to make: `_target_`, as in Hydra, and the values that it takes.

A section such as `optimizer` has the name of a file in its group of conf/, and values in place of
those of the file.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from actlab.engine.presets import complete_preset
from actlab.engine.validation import Name, one_of, only, validate
from actlab.errors import UserError

_Scalar = Annotated[
    Any, only(lambda x: x is None or isinstance(x, bool | int | float | str), "a single value")
]


@dataclass(frozen=True)
class Group:
    """What a group of conf/ may hold.

    Attributes
    ----------
    name
        The section, and the folder in conf/.
    targets
        The known targets by key; the empty key is the section's own.
    kinds
        The type of a value by its key; others are single values.
    """

    name: str
    targets: Mapping[str, tuple[str, ...]]
    kinds: Mapping[str, Any]

    def read(self, given: Any) -> tuple[str, dict[str, Any]]:
        """Return the name of a section, and its values: those given, the others from its file.

        `given` is a name, or a mapping with `name`.

        Raises
        ------
        UserError
            One line that names the key, its value and what is allowed.
        """
        given = {"name": given} if isinstance(given, str) else given
        if not isinstance(given, Mapping) or "name" not in given:
            raise UserError(
                f"{self.name}.name is missing: {self.name} is {given!r:.100}; it has to be a name,"
                " or to have one"
            )
        name = validate(Name, given["name"], f"{self.name}.name")
        values = complete_preset(self.name, {**given, "name": name})
        del values["name"]
        return name, self.check(values)

    def check(self, values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
        """Validate the values of a section, or of an object nested in it."""
        key, allowed = f"{self.name}.{place}".rstrip("."), self.targets[place]
        if "_target_" not in values:
            raise UserError(f"{key} has no _target_: it has to be one of {', '.join(allowed)}")
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name == "_target_":
                checked[name] = validate(Annotated[Any, one_of(allowed)], value, f"{key}._target_")
            elif name in self.targets and isinstance(value, Mapping):
                checked[name] = self.check(value, name)
            else:
                checked[name] = validate(self.kinds.get(name, _Scalar), value, f"{key}.{name}")
        return checked


def instantiate(values: Mapping[str, Any], key: str, **others: Any) -> Any:
    """Make the object of a target, with its values; nested ones first.

    Raises
    ------
    UserError
        If it does not take the values, with its own words.
    """
    module, _, name = values["_target_"].rpartition(".")
    made = {
        given: instantiate(value, f"{key}.{given}") if isinstance(value, Mapping) else value
        for given, value in values.items()
        if given != "_target_"
    }
    try:
        return getattr(importlib.import_module(module), name)(**made, **others)
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{key}: {values['_target_']}: {' '.join(str(error).split())[:200]}"
        ) from error


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted keys.

    >>> flatten({"a": 1, "b": {"c": 2}})
    {'a': 1, 'b.c': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, Mapping)
        flat |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat
