"""What all commands share: composing the configuration, validating it, reporting mistakes."""

import hashlib
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from actlab.engine import interrupts
from actlab.engine.validation import explain_fault, list_keys, validate
from actlab.errors import UserError
from actlab.schema import Config

#: The longest name of a job's folder; file systems take 255 bytes.
LONGEST = 160


def shorten(name: str) -> str:
    """Return a valid folder name: a long one is truncated, and its digest appended.

    >>> shorten("activation=relu"), len(shorten("seeds=" + 100 * "[0,1]"))
    ('activation=relu', 160)
    """
    if len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name.encode()[: LONGEST - 13].decode(errors='ignore')}-{digest}"


# Hydra resolves it in every process that runs a job.
OmegaConf.register_new_resolver("shorten", shorten, replace=True)


def run(stage: Callable[..., Any], sweepable: bool = False) -> None:
    """Run a stage as a command, with Hydra's grammar for its arguments.

    Whatever the user can fix (configuration, files, space, permissions) ends in one line on
    the standard error and exit status 1; HYDRA_FULL_ERROR=1 shows the traceback too. SIGINT and
    SIGTERM end it as `interrupts` describes, with status 130 and 143.

    Parameters
    ----------
    stage
        Takes the validated configuration; in a sweep, the name of the job too.
    sweepable
        Whether Hydra's multirun may run it, each job in a folder of its own. Other stages
        write where DVC expects their outputs.
    """
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises what it would print on several lines
    failures: list[Exception] = []
    try:
        with interrupts.listening(interrupts.ADVICE, watch_parent="DVC_STAGE" in os.environ):
            failures = _run_hydra(stage, sweepable)
        sys.stdout.flush()
        interrupts.finish(1 if failures else 0)
    except interrupts.Interrupted as interrupted:
        interrupts.leave(interrupted.number, interrupts.ADVICE)
    except KeyboardInterrupt:  # before anything listens, or after
        sys.exit(130)
    except BrokenPipeError:  # `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if full_error:
            raise
        _leave([explain(error)])
    if failures:
        if full_error:
            raise failures[0]
        _leave([explain(error) for error in failures])


def _run_hydra(stage: Callable[..., Any], sweepable: bool) -> list[Exception]:
    """Run the stage, or a sweep of it; return the failures that the user can fix."""
    root = Path.cwd()
    if not ((root / "conf/config.yaml").is_file() and (root / "params.yaml").is_file()):
        raise UserError(
            f"{root} is not the root of an actlab repository (no conf/config.yaml and params.yaml):"
            " change to it first"
        )
    if not sweepable:
        for argument in sys.argv:
            if argument in ("-m", "--multirun") or "experiment=" in argument:
                raise UserError(f"only actlab.stages.train can be swept: leave out {argument}")
        if not any(argument.startswith("run=") for argument in sys.argv):
            sys.argv.append("run=stage")
    ConfigStore.instance().store("schema", Config)
    failures: list[Exception] = []

    composed_once = False

    def job(composed: Any) -> Any:
        nonlocal composed_once
        composed_once = True
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            # By its name: no DVC stage runs it, so none has to depend on it.
            sweeping = importlib.import_module("actlab.engine.sweeping")
            return sweeping.run_job(stage, composed, root)
        try:
            stage(check(composed, root))
        except (UserError, OmegaConfBaseException, OSError) as error:
            failures.append(error)
            remove_untouched(root)
        return None

    try:
        hydra.main(version_base="1.3", config_path=str(root / "conf"), config_name="config")(job)()
    except Exception as error:  # Hydra and OmegaConf let through what Python and YAML raise
        if composed_once or isinstance(error, UserError):
            raise
        if broken := _find_broken_file(root):
            raise UserError(broken) from error
        if isinstance(error, HydraException | OmegaConfBaseException | OSError):
            raise
        given = " ".join(" ".join(sys.argv[1:]).split())[:200]
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(
            f"params.yaml, conf/ and {given or 'no arguments'} are not a valid configuration:"
            f" {reason}"
        ) from error
    return failures


def _find_broken_file(root: Path) -> str | None:
    """Describe the file at fault, where Hydra's own message does not name it."""
    for path in [root / "params.yaml", *sorted((root / "conf").rglob("*.yaml"))]:
        name = path.relative_to(root)
        try:
            content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
            json.dumps(content, default=str, skipkeys=True)  # refuses aliases of themselves
        except (yaml.YAMLError, ValueError, TypeError, RecursionError, OSError) as error:
            return f"{name} is not valid YAML: {' '.join(str(error).split())[:200]}"
        if not isinstance(content, dict | None):
            return f"{name} holds {str(content)[:50]!r}: it has to hold keys and their values"
        for key in content or {}:
            if not isinstance(key, str):
                return f"{name} has the key {key!r}: a key has to be a string"
        values_of_all = path.parent == root or name == Path("conf/config.yaml")
        if values_of_all and (misfit := _find_misfit(content or {})):
            return f"{misfit} (in {name})"
    return None


def _find_misfit(values: dict) -> str | None:
    """Describe which value is not a section, or not a list, where one has to be."""
    try:
        TypeAdapter(Config).validate_python(values)
    except ValidationError as error:
        for fault in error.errors():
            if fault["type"] in ("dataclass_type", "list_type"):
                return explain_fault(fault, Config)
    return None


def remove_untouched(root: Path) -> None:
    """Remove the folder that Hydra made for a job that was refused before it wrote anything."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    names = {path.name for path in folder.iterdir()}
    if folder != root and names <= {".hydra", f"{HydraConfig.get().job.name}.log"}:
        shutil.rmtree(folder)
        for parent in folder.parents:  # multirun/single, multirun
            if parent == root or any(parent.iterdir()):
                break
            parent.rmdir()


def check(composed: Any, root: Path) -> Config:
    """Turn the DictConfig that Hydra composed into a validated `Config`.

    Raises
    ------
    UserError, OmegaConfBaseException
        If a key is missing or unknown, or a value has the wrong type or is out of range.
    """
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise UserError(f"{missing[0]} is missing: give it in params.yaml or conf/")
    config = validate(Config, OmegaConf.to_container(composed, resolve=True))
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
    return config


def explain(error: Exception) -> str:
    """Describe in one line what the user can fix.

    Raises
    ------
    Exception
        The error itself, if the user cannot fix it.
    """
    match error:
        case UserError():
            return str(error)
        case MissingConfigException(missing_cfg_file=str(missing), options=list(options)):
            group, _, option = missing.rpartition("/")
            return f"{group} is {option!r}: it has to be one of {', '.join(options)}"
        case HydraException(__cause__=OmegaConfBaseException() as cause):
            return explain(cause)
        case ConfigKeyError() | ConfigAttributeError():
            key = error.full_key or str(error.key)
            *sections, _ = key.split(".")
            parent = ".".join(sections) or "the configuration"
            return f"{key} is unknown: {parent} has {list_keys(Config, *sections)}"
        case OmegaConfBaseException():
            place, line = error.full_key or "params.yaml, conf/ or an override", str(error)
            if place.startswith("hydra."):  # where Hydra repeats the overrides
                place = " ".join(" ".join(sys.argv[1:]).split())[:200] or place
            allowed = ": it has to be a list" if "is not a ListConfig" in line else ""
            return f"{place}: {line.splitlines()[0].rstrip('.')}{allowed}"
        case OverrideParseException(override=str(override)):
            given = " ".join(override.split())[:200]
            return f"{given} is not a valid override: {str(error).splitlines()[0]}"
        case HydraException():
            return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        case yaml.YAMLError():
            return f"a configuration file is not valid YAML: {' '.join(str(error).split())}"
        case OSError():
            place = f"{error.filename}: " if error.filename else ""
            # NumPy's has no errno; HDF5's message has several lines.
            reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
            return f"{place}{reason}: free disk space or fix its permissions, then run this again"
    raise error


def _leave(lines: list[str]) -> NoReturn:
    for line in lines:
        print(f"actlab: {line}", file=sys.stderr)
    sys.exit(1)
