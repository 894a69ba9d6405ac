"""What reproduces a report: commit, inputs, versions, machine, command."""

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from actlab.engine.parallel import available_cores

#: What decides the results of a run; uncommitted changes elsewhere are not reported.
SOURCES = ("src", "conf", "custom", "dvc.yaml", "params.yaml", "requirements.lock")

#: The packages whose versions are reported.
PACKAGES = (
    *("tensorflow-cpu", "tensorflow", "keras", "numpy", "scipy", "pandas"),
    *("matplotlib", "hydra-core", "dvc", "mlflow"),
)


class Fact(NamedTuple):
    """What a reader needs to reproduce the report: its name and value."""

    name: str
    value: str


def facts(root: Path, seeds: Sequence[int]) -> list[Fact]:
    """List what reproduces the report that the repository at `root` gives now."""
    return [
        Fact("Command", "make repro, or dvc repro where everything is installed"),
        Fact("Git commit", _commit(root)),
        Fact("Inputs", _inputs(root)),
        Fact("Seeds", ", ".join(map(str, seeds))),
        Fact("Python", f"{platform.python_version()}, {_versions()}"),
        Fact("Machine", f"{hardware()}, {platform.uname().system}"),
    ]


def digest(lock: str) -> str:
    """Give the SHA-256 of the text of a dvc.lock without its stage `report`.

    DVC writes that stage last, with the report's own digest in it.

    >>> digest("stages: {train: {}, report: {}}") == digest("stages: {train: {}}")
    True
    """
    content = yaml.safe_load(lock) or {}
    stages = {name: stage for name, stage in content.get("stages", {}).items() if name != "report"}
    text = yaml.safe_dump(stages, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def describe_study(root: Path) -> dict[str, Any]:
    """Return the commit, date, processor and values of params.yaml of a study."""
    return {
        "commit": _commit(root),
        "date": f"{date.today():%Y-%m-%d}",
        "processor": processor(),
        "params": yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8")),
    }


def hardware() -> str:
    """Name the processor, and how many of its cores this process may use."""
    cores = available_cores()
    return f"{cores} core{'' if cores == 1 else 's'}, {processor()}"


def processor() -> str:
    """Name the processor by its model, its numbers where the system tells them, and a limit of XLA.

    `XLA_FLAGS=--xla_cpu_max_isa=AVX2` makes XLA use no newer instructions than AVX2.
    """
    name, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        fields = {key.strip(): value for key, _, value in (line.partition(":") for line in lines)}
        name = fields.get("model name", name).strip()
        if "cpu family" in fields:
            name += f" (family {fields['cpu family'].strip()}, model {fields['model'].strip()})"
    if limit := re.findall(r"--xla_cpu_max_isa=(\w+)", os.environ.get("XLA_FLAGS", "")):
        name += f", XLA limited to {limit[-1]}"
    return name


def _commit(root: Path) -> str:
    commit = ask_git(root, "rev-parse", "HEAD")
    if commit is None:
        return "not known: no git repository"
    changed = ask_git(root, "status", "--porcelain", "--", *SOURCES)
    return f"{commit}, with changes that are not committed" if changed else commit


def ask_git(root: Path, *arguments: str) -> str | None:
    """Return what git prints in a folder; None where it fails."""
    command = ["git", "-C", str(root), *arguments]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip()


def _inputs(root: Path) -> str:
    lock = root / "dvc.lock"
    if not lock.is_file():
        return "not known: no dvc.lock"
    return (
        f"SHA-256 of dvc.lock without its stage report: {digest(lock.read_text(encoding='utf-8'))}"
    )


def _versions() -> str:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
