"""The files of conf/: each is a named choice of one group, such as `conf/activation/relu.yaml`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from actlab.errors import UserError


def find_conf() -> Path:
    """Return the folder conf/: the repository's, or the copy in an installed package."""
    packaged = Path(__file__).parents[1] / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "conf"


def list_presets(group: str) -> list[str]:
    """List the names of a group.

    >>> list_presets("network")
    ['deep', 'mlp', 'uniform']
    """
    return sorted(path.stem for path in (find_conf() / group).glob("*.yaml"))


def load_preset(group: str, name: str) -> dict[str, Any]:
    """Return the values of a named choice of a group.

    Raises
    ------
    UserError
        If the group has no such file, or it is not valid YAML.

    >>> load_preset("network", "mlp")
    {'name': 'mlp', 'hidden': [128, 64]}
    """
    if name not in (known := list_presets(group)):
        raise UserError(f"{group} is {name!r}: it has to be one of {', '.join(known)}")
    path = find_conf() / group / f"{name}.yaml"
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"conf/{group}/{path.name} is not valid YAML: {reason}") from error


def complete_preset(group: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a named choice, with those that are given in their place.

    `given` has the `name`; a learning rate of None leaves the file's.

    Raises
    ------
    UserError
        If there is no such file, or it has no such key.

    >>> complete_preset("optimizer", {"name": "lion", "learning_rate": 0.01})["learning_rate"]
    0.01
    """
    values = {"name": given["name"], **load_preset(group, given["name"])}
    _replace(values, given, group, f"conf/{group}/{given['name']}.yaml")
    return values


def _replace(values: dict[str, Any], given: Mapping[str, Any], key: str, file: str) -> None:
    for name, value in given.items():
        if name not in values:
            known = ", ".join(known for known in values if known not in ("name", "_target_"))
            raise UserError(f"{key}.{name} is unknown: {file} has {known or 'no values'}")
        old = values[name]
        if isinstance(value, Mapping) and isinstance(old, dict) and "_target_" not in value:
            old = values[name] = dict(old)
            _replace(old, value, f"{key}.{name}", file)
        elif value is not None or name != "learning_rate":
            values[name] = value
