"""What every command has in common: compose the configuration, check it, say what is wrong."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from actlab.config import Config
from actlab.errors import UserError


def run(stage: Callable[[Config], None], sweepable: bool = False) -> None:
    """Run a stage as a command, with Hydra's grammar for its arguments.

    Whatever the user can mend (configuration, files, space, permissions) ends in one line on
    the standard error and exit status 1; HYDRA_FULL_ERROR=1 shows the traceback too.

    Parameters
    ----------
    stage
        Gets the checked configuration.
    sweepable
        Whether Hydra's multirun may run it, each job in a folder of its own. Other stages
        write where DVC expects their outputs.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        _run_hydra(stage, sweepable)
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises what it would print on several lines
    try:
        _run_hydra(stage, sweepable)
    except UserError as error:
        _leave(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _leave(_in_one_line(error))
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _leave(f"{error.filename or 'the disk'}: {error.strerror}; make room or mend its access")
    except KeyboardInterrupt:
        sys.exit(130)


def _run_hydra(stage: Callable[[Config], None], sweepable: bool) -> None:
    root = Path.cwd()
    if not ((root / "conf/config.yaml").is_file() and (root / "params.yaml").is_file()):
        raise UserError(
            f"{root} is not the root of an actlab repository (no conf/config.yaml and params.yaml):"
            " change to it first"
        )
    if not sweepable:
        if {"-m", "--multirun"} & set(sys.argv):
            raise UserError("only actlab.stages.train can be swept: leave out -m")
        if not any(argument.startswith("run=") for argument in sys.argv):
            sys.argv.append("run=stage")
    ConfigStore.instance().store("schema", Config)

    def job(composed: DictConfig) -> Any:
        return stage(check(composed))

    hydra.main(version_base="1.3", config_path=str(root / "conf"), config_name="config")(job)()


def check(composed: DictConfig) -> Config:
    """Turn what Hydra composed into a checked `Config`.

    Raises
    ------
    UserError
        When a key is missing or unknown, or a value has the wrong type or is out of range.
    """
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise UserError(f"{missing[0]} is missing: give it in params.yaml or conf/")
    # Hydra's `+key=value` adds keys that the schema does not know; a second merge refuses them.
    values = OmegaConf.to_container(composed, resolve=True)
    checked = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values))
    assert isinstance(checked, Config)
    return checked


def _in_one_line(error: Exception) -> str:
    """The part of Hydra's or OmegaConf's message that names the key and what is allowed."""
    key = getattr(error, "full_key", None) or getattr(error.__cause__, "full_key", None)
    first = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = "; ".join(line for line in first if not line.startswith(("full_key", "object_type")))
    return f"{key}: {text}" if key and key not in text else text


def _leave(line: str) -> NoReturn:
    print(f"actlab: {line}", file=sys.stderr)
    sys.exit(1)
