"""How the stages run as commands: with actlab's configuration, and the names in conf/ verified."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from actlab.engine import command
from actlab.engine.composing import Schema
from actlab.errors import UserError
from actlab.schema import Config


def check_names(config: Config, root: Path) -> None:
    """Refuse activations and networks that conf/, below the repository's root, does not have."""
    for key, group in (("activations", "activation"), ("networks", "network")):
        known = sorted(path.stem for path in (root / "conf" / group).glob("*.yaml"))
        for name in getattr(config, key):
            if name not in known:
                raise UserError(f"{key} has {name!r}: conf/{group}/ has {', '.join(known)}")
        if config.paths.output != ".":
            continue  # a job of a sweep may have a name of its own; DVC's folders may not
        chosen, name = HydraConfig.get().runtime.choices[group], getattr(config, group).name
        if name != chosen:
            raise UserError(
                f"{group}.name is {name!r} in conf/{group}/{chosen}.yaml: it has to be {chosen!r}"
            )


SCHEMA = Schema(Config, check_names)


def run(stage: Callable[..., Any], sweepable: bool = False) -> None:
    """Run a stage as a command: see `actlab.engine.command.run`."""
    command.run(stage, SCHEMA, sweepable)
