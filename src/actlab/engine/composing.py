"""Compose, validate and name configurations; describe errors in one line."""

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from actlab.engine.project import Project
from actlab.engine.validation import list_keys, validate
from actlab.errors import UserError

# --- Overrides ----------------------------------------------------------------------------


def get_key(override: str) -> str:
    """Return the key of an override, with its + or ~ if it has one."""
    return override.partition("=")[0]


def expand(override: str, project: Project, root: Path) -> str:
    """Write an override of the command line, or of a sweeper's params, as Hydra takes it.

    A key of a group's option, such as `network.hidden`, gets Hydra's `++`: Hydra checks what is
    fixed in a sweep against the default option, and each job is validated with its own. The name of
    a section in `project.named_sections`, as in `data=mnist`, becomes `data.name=mnist`.
    """
    key, equals, value = override.partition("=")
    section, dot, rest = key.partition(".")
    if not equals or (section in project.named_sections and rest == "name"):
        return override
    if dot and section != "hydra":
        return f"++{override}" if section and (root / "conf" / section).is_dir() else override
    if key not in project.named_sections or value.startswith("{"):
        return override
    if value.startswith("glob("):  # Hydra looks for the options of a group named `data.name`
        glob: Any = OverridesParser.create().parse_override(override).value()
        known = sorted(path.stem for path in (root / "conf" / key).glob("*.yaml"))
        if not (chosen := glob.filter(known)):
            raise UserError(f"{override} gives no value: conf/{key}/ has {', '.join(known)}")
        value = f"choice({','.join(chosen)})"
    return f"{key}.name={value}"


def contract(overrides: Iterable[str], project: Project, root: Path) -> list[str]:
    """Write overrides as they are typed: without the `++` that `expand` adds."""
    plain = {override: override.removeprefix("++") for override in overrides}
    return [
        typed if expand(typed, project, root) == override else override
        for override, typed in plain.items()
    ]


# --- The folder of a job ------------------------------------------------------------------

#: The longest description in the name of a job's folder; file systems take 255 bytes.
LONGEST = 150


def escape(text: str) -> str:
    """Replace by _ what a file system, a shell or MLflow might not take.

    >>> escape("activation.function='my module/größe'")
    'activation.function=_my_module_gr_e_'
    """
    return re.sub(r"[^A-Za-z0-9.,_=+\[\]-]+", "_", text)


def is_decisive(key: str, neutral: Sequence[str]) -> bool:
    """Return whether a key can change a result: its section is not one of the `neutral`.

    >>> is_decisive("training.epochs", ["paths"]), is_decisive("+paths.raw", ["paths"])
    (True, False)
    """
    return key.lstrip("+~").partition(".")[0] not in ("hydra", *neutral)


def list_neutral(hydra: Any) -> list[str]:
    """List the sections that change no result, in Hydra's section of a configuration."""
    return list(hydra.job.config.override_dirname.exclude_keys)


def select_decisive(config: Any, neutral: Sequence[str]) -> Any:
    """Return the values of a composed configuration that can change a result."""
    keys = [str(key) for key in config if is_decisive(str(key), neutral)]
    return OmegaConf.to_container(OmegaConf.masked_copy(config, keys))


def name_folder(overrides: Sequence[str], values: object) -> str:
    """Name a job's folder: its overrides, and a digest of its values, which tells jobs apart.

    >>> name_folder(["seeds=[0,1]", "+activation=relu"], {"epochs": 3})
    'activation=relu,seeds=[0,1]-543da7ab'
    """
    described = escape(",".join(sorted(override.lstrip("+") for override in overrides)))
    digest = hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()[:8]
    return f"{described[:LONGEST] or 'defaults'}-{digest}"


def list_overrides(folder: str) -> list[str]:
    """List the overrides in the name of a job's folder.

    >>> list_overrides("activation=relu,training.epochs=3-0123abcd")
    ['activation=relu', 'training.epochs=3']
    """
    return escape(re.sub("-[0-9a-f]{8}$", "", folder)).split(",")


def _name_this_folder(_root_: Any) -> str:
    hydra: Any = HydraConfig.get()
    neutral = list_neutral(hydra)
    overrides = [text for text in hydra.overrides.task if is_decisive(get_key(text), neutral)]
    return name_folder(overrides, select_decisive(_root_, neutral))


def _find_output() -> str:
    """Return the folder of the job; where none runs (--cfg, --help), that of a single run."""
    hydra: Any = HydraConfig.get()
    return OmegaConf.select(hydra, "runtime.output_dir") or hydra.run.dir


def get_last_part(name: str) -> str:
    """Return the last part of a dotted name.

    >>> get_last_part("my_module.my_function")
    'my_function'
    """
    return name.rpartition(".")[2]


OmegaConf.register_new_resolver("last_part", get_last_part, replace=True)
OmegaConf.register_new_resolver("job_folder", _name_this_folder, replace=True)
OmegaConf.register_new_resolver("output_folder", _find_output, replace=True)


class HydraFiles(Callback):
    """The files and folders that Hydra makes for a single run."""

    folder: ClassVar[Path] = Path()
    before: ClassVar[set[Path]] = set()  # what the folder held
    new: ClassVar[list[Path]] = []  # what was not there, parents first

    def on_run_start(self, config: Any, **kwargs: Any) -> None:
        """Remember what is there before Hydra makes anything."""
        HydraConfig.instance().set_config(config)
        HydraFiles.new = []
        with suppress(OmegaConfBaseException):  # Hydra will report it
            HydraFiles.folder = folder = Path(config.hydra.run.dir).absolute()
            files = [folder / f"{config.hydra.job.name}.log"]
            if config.hydra.output_subdir is not None:
                own = folder / config.hydra.output_subdir
                files += [own / f"{name}.yaml" for name in ("config", "hydra", "overrides")]
            made = {*files, *(parent for file in files for parent in file.parents)}
            HydraFiles.before = set(folder.iterdir()) if folder.is_dir() else set()
            HydraFiles.new = sorted(
                (path for path in made if not os.path.lexists(path)), key=lambda x: len(x.parts)
            )


def remove_new_files() -> None:
    """Remove what Hydra made for a run that has written nothing."""
    folder, new = HydraFiles.folder, HydraFiles.new
    if folder.is_dir() and set(folder.iterdir()) <= HydraFiles.before.union(new):
        for path in reversed(new):
            with suppress(OSError):  # not made, or not empty
                path.rmdir() if path.is_dir() else path.unlink()


# --- Validation ---------------------------------------------------------------------------


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
        case MissingConfigException():
            return str(error).splitlines()[0]
        case HydraException(__cause__=OmegaConfBaseException() as cause):
            return explain(cause, project)
        case HydraException(__context__=OmegaConfBaseException() as cause) if named := re.match(
            "In '(.+)': ", str(error)
        ):
            file = "params.yaml" if named[1] == "params" else f"conf/{named[1]}.yaml"
            return f"{explain(cause, project)} (in {file})"
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
            reason = f"is not a valid override: {str(error).splitlines()[0]}"
            return f"{' '.join(override.split())[:200]} {reason}{_advise_quotes(override)}"
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


def _advise_quotes(override: str) -> str:
    """Advise to quote a value with = or `, such as a condition of MLflow's search."""
    key, _, value = override.partition("=")
    if not re.search("[=`]", value):
        return ""
    quoted = shlex.quote(f"{key}={QuotedString(value, Quote.double).with_quotes()}")
    return f": quote the value, {quoted}"
