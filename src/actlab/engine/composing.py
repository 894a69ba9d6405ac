"""Validate the configuration that Hydra composed; describe errors in one line."""

import hashlib
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from actlab.engine.project import Project
from actlab.engine.validation import list_keys, validate
from actlab.errors import UserError

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


def get_last_part(name: str) -> str:
    """Return the last part of a dotted name.

    >>> get_last_part("my_module.my_function")
    'my_function'
    """
    return name.rpartition(".")[2]


OmegaConf.register_new_resolver("shorten", shorten, replace=True)
OmegaConf.register_new_resolver("last_part", get_last_part, replace=True)


def compose(composed: Any, project: Project, root: Path) -> Any:
    """Turn the DictConfig that Hydra composed into a validated configuration."""
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise UserError(f"{missing[0]} is missing: give it in params.yaml or conf/")
    config = validate(project.schema, OmegaConf.to_container(composed, resolve=True))
    project.check(config, root)
    return config


def explain(error: Exception, project: Project) -> str:
    """Describe in one line what the user can fix; raise any other error again."""
    match error:
        case UserError():
            return str(error)
        case MissingConfigException(missing_cfg_file=str(missing), options=list(options)):
            group, _, option = missing.rpartition("/")
            return f"{group} is {option!r}: it has to be one of {', '.join(options)}"
        case HydraException(__cause__=OmegaConfBaseException() as cause):
            return explain(cause, project)
        case ConfigKeyError() | ConfigAttributeError():
            key = error.full_key or str(error.key)
            *sections, _ = key.split(".")
            parent = ".".join(sections) or "the configuration"
            return f"{key} is unknown: {parent} has {list_keys(project.schema, *sections)}"
        case OmegaConfBaseException():
            place, line = error.full_key or "params.yaml, conf/ or an override", str(error)
            if place.startswith("hydra."):  # where Hydra repeats the overrides
                place = " ".join(" ".join(sys.argv[1:]).split())[:200] or place
            allowed = ": it has to be a list" if "is not a ListConfig" in line else ""
            return f"{place}: {line.splitlines()[0].rstrip('.')}{allowed}"
        case OverrideParseException(override=str(override)):
            override = " ".join(override.split())[:200]
            return f"{override} is not a valid override: {str(error).splitlines()[0]}"
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


def remove_untouched(root: Path) -> None:
    """Remove the folder that Hydra made for a job that was refused before it wrote anything."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    names = {path.name for path in folder.iterdir()}
    if folder != root and names <= {".hydra", f"{HydraConfig.get().job.name}.log"}:
        shutil.rmtree(folder)
        with suppress(OSError, ValueError):  # multirun/single and multirun, if empty, in the root
            for parent in folder.relative_to(root).parents[:-1]:
                (root / parent).rmdir()
