"""How the stages run as commands: with actlab's configuration, and the names in conf/ verified."""

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig

from actlab.data.datasets import load_definition
from actlab.engine import command
from actlab.engine.project import Outcome, Project
from actlab.errors import UserError
from actlab.schema import Config

#: What stages write into a folder of `paths`.
_WRITTEN = {
    "results": {"activations", "gradients.csv", "manifest", "preactivations.csv", "theory"},
    "reports": {
        *("claims.csv", "compare", "comparisons.csv", "data", "figures", "metrics.json", "plots"),
        *("report.html", "report.md", "summary.csv", "tables", "theory.csv"),
    },
}


def check_folders(config: Config, root: Path) -> None:
    """Refuse a folder elsewhere that holds other files: stages replace what is in theirs."""
    for key, written in _WRITTEN.items():
        folder = Path(getattr(config.paths, key)).absolute()
        if folder.is_relative_to(root) or not folder.is_dir():
            continue
        if others := sorted({entry.name for entry in folder.iterdir()} - written):
            raise UserError(
                f"paths.{key} is {folder}, which holds {others[0]}: name a folder that is new or"
                " empty, since what is in it is replaced"
            )


def check(config: Config, root: Path) -> None:
    """Refuse unknown names, and folders of other files."""
    check_names(config, root)
    check_folders(config, root)


def check_training(config: Config, root: Path) -> None:
    """Refuse also keys of a training that contradict each other, or need too much memory."""
    check(config, root)
    config.training.check_monitor(config.data.validation_size, config.network.outputs)
    _check_listed_activations(config, root)
    _check_memory(config)
    is_own = getattr(load_definition(config.data.name), "regression", False)
    is_regression = is_own or config.data.targets == "images"
    if is_regression != (config.network.outputs == "linear"):
        allowed = "linear" if is_regression else "softmax or logistic"
        raise UserError(
            f"network.outputs is {config.network.outputs!r}: with data.name={config.data.name} and"
            f" data.targets={config.data.targets} it has to be {allowed}"
        )


def _check_memory(config: Config) -> None:
    """Refuse hidden layers whose weights, gradients and moments do not fit into memory."""
    hidden = config.network.hidden
    needed = 16 * sum(one * other for one, other in pairwise(hidden))
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > available:
        raise UserError(
            f"network.hidden has layers of {max(hidden):,} units: training takes at least"
            f" {needed / 2**30:,.0f} GB, and this machine has {available / 2**30:,.0f}"
        )


def _check_listed_activations(config: Config, root: Path) -> None:
    """Refuse names in `network.activations` in the pipeline, where DVC would not see their files.

    Of a network's file DVC sees what is written out in it, but no source of a custom function.
    """
    if config.paths.output != "." or not config.network.activations:
        return
    path = root / "conf/network" / f"{config.network.name}.yaml"
    listed = yaml.safe_load(path.read_text(encoding="utf-8")).get("activations", [])
    is_own = any(each.is_own for each in config.network.activations if each)
    if is_own or any(isinstance(entry, str) for entry in listed):
        raise UserError(
            f"conf/network/{path.name} names activations: in the pipeline each has to be written"
            " out, as {name: ..., function: ..., constants: ...}, and be one of Keras's, so that"
            " DVC sees its edits; a sweep takes names"
        )


def check_names(config: Config, root: Path) -> None:
    """Refuse names in lists that conf/, below the repository's root, does not have."""
    for key, names, group in (
        ("activations", config.activations, "activation"),
        ("networks", config.networks, "network"),
        ("theory.initializers", config.theory.initializers, "initializer"),
    ):
        known = sorted(path.stem for path in (root / "conf" / group).glob("*.yaml"))
        for name in names:
            if name not in known:
                untracked = "; a copy for an experiment has what git tracks: git add the new files"
                hint = untracked if ".dvc" in root.parts else ""
                raise UserError(f"{key} has {name!r}: conf/{group}/ has {', '.join(known)}{hint}")
    for group in ("activation", "network"):
        if config.paths.output != ".":
            continue  # a job of a sweep may have a name of its own; DVC's folders may not
        chosen, name = HydraConfig.get().runtime.choices[group], getattr(config, group).name
        if name != chosen:
            raise UserError(
                f"{group}.name is {name!r} in conf/{group}/{chosen}.yaml: it has to be {chosen!r}"
            )


def _train_once(*job: Any) -> Outcome:
    from actlab.stages.jobs import train_once

    return train_once(*job)


def _connect() -> Any:
    from actlab.tracking.store import connect

    return connect()


def _explain_store(error: BaseException, loss: str) -> str:
    from actlab.tracking.address import format_store_error

    return format_store_error(error, loss, advice=False)


def _write_objective(value: float) -> tuple[str, str]:
    """Name and write what a sweep maximises; see `layout.Run.objective`."""
    if value < 0:
        return "validation loss", f"{-value:.4g}"
    return "validation accuracy", f"{value:.2%}"


def _choose_seeds(*study: Any) -> Any:
    from actlab.stages.settling import Settling

    return Settling(*study)


PROJECT = Project(
    schema=Config,
    check=check,
    run_once=_train_once,
    connect=_connect,
    explain_store=_explain_store,
    named_sections=("data", "initializer", "optimizer"),
    choose_seeds=_choose_seeds,
    train="actlab.stages.train",
    compare="actlab.stages.compare",
    objective=_write_objective,
    has_objective=lambda config: config.data.validation_size > 0,
    no_objective=(
        "no validation images are held out, and nothing is selected by the test split:"
        " data.validation_size=10000 holds out 10,000"
    ),
)


def run(stage: Callable[..., Any], sweepable: bool = False) -> None:
    """Run a stage as a command: see `actlab.engine.command.run`."""
    project = replace(PROJECT, check=check_training) if sweepable else PROJECT
    command.run(stage, project, sweepable)
