"""Write to MLflow what it lacks from the pipeline's outputs: `python -m actlab.stages.sync`."""

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from actlab.errors import UserError
from actlab.schema import Config
from actlab.stages.activations import read_configured
from actlab.stages.collect import collect
from actlab.stages.entry import run


def find_stale_stages(config: Config) -> set[str]:
    """Return the DVC stages whose outputs would change, and those downstream of them.

    Two stages select from folders what others depend on: where such a folder has changed and what
    they select is the same, nothing depends on the change.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            graph, changed = repo.index.graph.reverse(), repo.status()
    except DvcException as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"DVC cannot tell what changed ({reason}): fix that, then run this again"
        ) from error
    same = [name for name in config.activations if _has_same_key(config, name)]
    if same == config.activations:
        _drop_if_only(changed, "activations", "conf/activation", "custom")
    if _has_same_manifest(config):
        _drop_if_only(changed, "collect", "runs")
    stale, found = set(), [stage for stage in graph if stage.addressing in changed]
    while found:
        stage = found.pop()
        if stage.addressing in stale:
            continue
        stale.add(stage.addressing)
        for after in graph.successors(stage):
            kind, _, names = after.addressing.partition("@")
            is_train = stage.addressing == "activations" and kind == "train"
            if not (is_train and names.rpartition("-")[0] in same):
                found.append(after)
    return stale


def _drop_if_only(changed: dict[str, Any], stage: str, *folders: str) -> None:
    """Drop a stage from DVC's status where only these of its dependencies have changed."""
    match changed.get(stage):
        case [{"changed deps": names}] if {*names} <= {*folders}:
            del changed[stage]


def _has_same_key(config: Config, name: str) -> bool:
    """Return whether an activation is the one that `results/activations` describes."""
    try:
        path = Path(config.paths.results, "activations", name, "key.json")
        saved = json.loads(path.read_text("utf-8"))
        activation = read_configured(name, Path("conf/activation"))
        sources = None
        if activation.is_own:  # importing TensorFlow takes seconds
            from actlab.activations.functions import digest_sources

            sources = digest_sources(activation.function)
    except (OSError, ValueError, UserError):
        return False
    return saved == {**asdict(activation), "sources": sources}


def _has_same_manifest(config: Config) -> bool:
    """Return whether `results/manifest` lists the configured runs as they are."""
    before = Path(config.paths.results, "manifest")
    with tempfile.TemporaryDirectory() as folder:
        try:
            collect(replace(config, paths=replace(config.paths, results=folder)))
            return all(
                path.read_bytes() == (before / path.name).read_bytes()
                for path in Path(folder, "manifest").iterdir()
            )
        except (OSError, UserError):
            return False


def sync(config: Config) -> None:
    """Write the runs, gradients and report that MLflow lacks; a second time writes nothing."""
    from actlab.tracking import sync

    done = sync.sync(config, find_stale_stages(config))
    lines = [f"written: {line}" for line in done.written]
    lines += [f"brought up to date: {line}" for line in done.brought_up_to_date]
    lines += [f"left out: {line}" for line in done.left_out]
    print(*(lines or ["MLflow already has every run"]), sep="\n")


if __name__ == "__main__":
    run(sync)
