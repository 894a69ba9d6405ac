"""What a training was made with, in words: its values without the defaults."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from actlab.data.config import DataConfig
from actlab.engine.csvs import where
from actlab.engine.presets import list_presets, load_preset
from actlab.engine.targets import flatten
from actlab.models.config import RECOMMENDED, NetworkConfig
from actlab.results.study import Study
from actlab.schema import Config
from actlab.training.config import TrainingConfig

#: The sections whose keys may have a default.
_SECTIONS = {"data": DataConfig, "network": NetworkConfig, "training": TrainingConfig}


def _write_value(value: Any) -> str:
    return "none" if value is None else str(value)


def leave_out_defaults(values: Mapping[str, str]) -> dict[str, str]:
    """Leave out the values of a configuration that are the defaults of their keys.

    Of an optimizer and an initializer, defaults are the values of its file in conf/.
    """
    defaults = {
        f"{section}.{item.name}": _write_value(item.default if item.default is not MISSING else [])
        for section, kind in _SECTIONS.items()
        for item in fields(kind)
        if item.default is not MISSING or item.default_factory is list
    }
    defaults["activation.trained"] = "{}"
    for group in ("optimizer", "initializer"):
        name = values.get(f"{group}.name", "")
        if name in list_presets(group):
            preset = flatten(load_preset(group, name))
            defaults |= {f"{group}.{key}": _write_value(value) for key, value in preset.items()}
    return {
        key: value
        for key, value in values.items()
        if value != defaults.get(key, "none") and not key.startswith("activation.f")
    }


#: What a network is known by; the rest is more than dense layers.
_SHAPE = {"network.hidden", "network.depth", "network.width"}


def list_extras(study: Study, network: str) -> list[str]:
    """List what a network has besides dense layers: `dropout 0.2`, `batch norm before`."""
    row = where(study.configurations, network=network).iloc[0].to_dict()
    own = {str(key): str(row[key]) for key in row if str(key).startswith("network.")}
    extras = leave_out_defaults(own).items()
    return [
        f"{key.partition('.')[2].replace('_', ' ')} {value}"
        for key, value in extras
        if key not in _SHAPE
    ]


def is_dense(study: Study) -> bool:
    """Tell whether the networks have dense layers alone."""
    return not any(list_extras(study, network) for network in study.networks)


def describe_initializer(config: Config) -> str:
    """Name the initializer, its values that its file does not have, and the biases."""
    name, values = config.initializer.name, config.initializer.settings
    if name == RECOMMENDED:
        return "the recommended initializer of each activation"
    changed = _describe_changes("initializer", name, values)
    biases = "drawn" if values.get("bias") or values.get("sigma_b") else "zero"
    return f"one initializer, {name}{changed}; biases {biases}"


def describe_optimizer(config: Config) -> str:
    """Name the optimizer, its learning rate, and its values that its file does not have."""
    name, values = config.optimizer.name, dict(config.optimizer.settings)
    rate = values.pop("learning_rate")
    if isinstance(rate, Mapping):
        others = flatten(rate)
        schedule = others.pop("_target_").rpartition(".")[2]
        rate = f"{schedule} ({_write(others.items())})"
    else:
        rate = f"{rate:g}"
    changes = _describe_changes("optimizer", name, values)
    return f"{name_optimizer(config)}{changes}, learning rate {rate}"


def name_optimizer(config: Config) -> str:
    """Name the optimizer as Keras does."""
    return config.optimizer.settings["_target_"].rpartition(".")[2]


def _describe_changes(group: str, name: str, values: Mapping[str, Any]) -> str:
    """Write the values that a preset does not have, in parentheses."""
    preset = flatten(load_preset(group, name))
    changed = [item for item in flatten(values).items() if preset.get(item[0]) != item[1]]
    return f" ({_write(changed)})" if changed else ""


def _write(values: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values)
