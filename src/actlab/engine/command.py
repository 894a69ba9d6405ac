"""Stages as commands, with Hydra's grammar and one-line errors."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from actlab.engine import interrupts, surroundings, sweeping
from actlab.engine.composing import compose, expand, explain, get_key, remove_new_files
from actlab.engine.project import Project
from actlab.engine.validation import explain_fault
from actlab.errors import UserError

#: Hydra's version whose behaviour is kept.
VERSION = "1.3"


def run(stage: Callable[..., Any], project: Project, sweepable: bool = False) -> None:
    """Run a stage, which takes the validated configuration (in a sweep, also the job's name).

    What the user can fix ends in one line on standard error and exit status 1, with a traceback if
    HYDRA_FULL_ERROR=1; signals end it with status 128 + number. Only a `sweepable` stage may run in
    Hydra's multirun: the others write DVC's outputs.
    """
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises what it would print on several lines
    try:
        with interrupts.listening(interrupts.ADVICE, watch_parent="DVC_STAGE" in os.environ):
            failure = _run_hydra(stage, project, sweepable)
        sys.stdout.flush()
    except interrupts.Interrupted as interrupted:
        interrupts.leave(interrupted.number, interrupts.ADVICE)
    except KeyboardInterrupt:  # before anything listens, or after
        sys.exit(130)
    except BrokenPipeError:  # `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    except Exception as error:
        failure = error
    if failure and full_error:
        raise failure
    if failure:
        print(f"actlab: {explain(failure, project)}", file=sys.stderr)
    if vars(sys.modules["__main__"]).get(stage.__name__) is stage:  # in a process of its own
        interrupts.finish(1 if failure else 0)
    if failure:
        sys.exit(1)


def _run_hydra(stage: Callable[..., Any], project: Project, sweepable: bool) -> Exception | None:
    """Run the stage, or a sweep of it; return what the user can fix."""
    root = Path.cwd()
    surroundings.prepare(root)
    if not ((root / "conf/config.yaml").is_file() and (root / "params.yaml").is_file()):
        raise UserError(
            f"{root} is not the root of the repository (no conf/config.yaml and params.yaml):"
            " change to it first"
        )
    if not (sweepable or "run" in map(get_key, sys.argv)):
        sys.argv.append("run=stage")
    sys.argv[1:] = [expand(argument, project, root) for argument in sys.argv[1:]]
    if sweepable and "hydra/sweeper" in map(get_key, sys.argv):
        sys.argv.insert(1, "--multirun")  # whoever chooses a sweeper sweeps
    _register(project)
    failure: Exception | None = None
    composed_once = False

    def job(composed: Any) -> Any:
        nonlocal composed_once, failure
        composed_once = True
        os.chdir(root)  # where paths begin, also with hydra.job.chdir=true
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return sweeping.run_job(stage, composed, project, root)
        try:
            with interrupts.reraising():
                stage(compose(composed, project, root))
        except (UserError, OmegaConfBaseException, OSError) as error:
            failure = error  # Hydra would print several lines
            remove_new_files()
        return None

    vars(job).update(project=project, sweepable=sweepable)  # read by the sweeper
    try:
        main = hydra.main(version_base=VERSION, config_path=f"{root}/conf", config_name="config")
        main(job)()
    except Exception as error:  # Hydra lets through what Python and YAML raise
        if composed_once or isinstance(error, UserError):
            raise
        if broken := _find_broken_file(root, project):
            raise UserError(broken) from error
        if "--multirun" in str(error):
            _compose_unswept(root)
        if isinstance(error, HydraException | OmegaConfBaseException | OSError):
            raise
        arguments = " ".join(" ".join(sys.argv[1:]).split())[:200]
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(
            f"params.yaml, conf/ and {arguments or 'no arguments'} are not a valid configuration:"
            f" {reason}"
        ) from error
    return failure


def _register(project: Project) -> None:
    """Register the schema, and the grid in place of Hydra's own sweeper, which has no outcomes."""
    Plugins.instance()  # registers Hydra's
    grid = {"_target_": "hydra_plugins.actlab_sweepers.GridSweeper"}
    grid |= dict.fromkeys(("max_batch_size", "params"))
    ConfigStore.instance().store("basic", grid, group="hydra/sweeper")
    ConfigStore.instance().store("schema", project.schema)


def _compose_unswept(root: Path) -> None:
    """Compose what is not swept, which raises its errors.

    If a preset's mode is MULTIRUN, but it cannot be composed, Hydra asks for --multirun instead.
    """
    given = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(given)
    unswept = [str(each.input_line) for each in parsed if not each.is_sweep_override()]
    with hydra.initialize_config_dir(str(root / "conf"), version_base=VERSION):
        hydra.compose("config", unswept, return_hydra_config=True)


def _find_broken_file(root: Path, project: Project) -> str | None:
    """Describe which configuration file is wrong, since Hydra's message does not name it."""
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
        if values_of_all and (misfit := _find_misfit(content or {}, project)):
            return f"{misfit} (in {name})"
    return None


def _find_misfit(values: dict, project: Project) -> str | None:
    """Describe which value should be a section or a list, and is not."""
    try:
        TypeAdapter(project.schema).validate_python(values)
    except ValidationError as error:
        for fault in error.errors():
            if fault["type"] in ("dataclass_type", "list_type"):
                return explain_fault(fault, project.schema)
    return None
