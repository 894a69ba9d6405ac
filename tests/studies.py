"""The pipeline at a small scale, in a folder of its own, as a user runs it."""

import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

RUN_STAGES = """
import runpy, sys
for line in sys.argv[1:]:
    sys.argv = [*line.split(), "run=stage"]
    runpy.run_module(f"actlab.stages.{sys.argv[0]}", run_name="__main__")
"""


class Study:
    """A clone of the repository at a small scale, and the commands that a user types in it."""

    def __init__(self, folder: Path, raw: Path) -> None:
        self.folder = folder
        self.ran: set[str] = set()
        self.environment = os.environ | {
            "ACTLAB_DATA": str(raw),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MLFLOW_TRACKING_URI": "",
        }

    def run(self, *command: str, status: int = 0, **environment: str) -> str:
        finished = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert finished.returncode == status, finished.stdout
        return finished.stdout

    def run_stages(self, *lines: str, before: tuple[str, ...] = ()) -> str:
        """Run stages in one process, each given as its name and its overrides."""
        command = (*before, sys.executable, "-c", RUN_STAGES, *lines)
        return self.run(*command, PYTHONPATH="src")

    def repro(self, *arguments: str) -> set[str]:
        """Run the pipeline; give the stages that ran."""
        output = self.run("dvc", "repro", *arguments)
        return set(re.findall(r"Running stage '([^']+)'", output))

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def digests(self, *folders: str) -> dict[str, str]:
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for folder in folders
            for path in sorted((self.folder / folder).rglob("*"))
            if path.is_file() and path.suffix != ".lock"
        }

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(newline="") as file:
            return list(csv.DictReader(file))


#: What using the project changes in the working tree. Tests take it from the last commit.
USED = ("dvc.lock", "params.yaml", "reports/metrics.json")


def read_committed(root: Path, name: str) -> str:
    """Read a file as the last commit has it."""
    command = ["git", "show", f"HEAD:{name}"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout


def copy_repository(root: Path, folder: Path) -> None:
    """Copy the repository's files to a folder, but for dvc.lock: a study of its own is made there.

    They are those of the working tree, edited ones and new ones too; what using the project
    changes is as the last commit has it.
    """
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in listed.splitlines():
        if (root / name).is_file() and name not in USED:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    for name in ("params.yaml", "reports/metrics.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(read_committed(root, name))


def small_study(root: Path, folder: Path, raw: Path, **params: Any) -> Study:
    """Copy the repository to a folder, with values of a small scale.

    2,000 training images, the other 58,000 held out; `params` replaces values of params.yaml.
    """
    copy_repository(root, folder)
    study = Study(folder, raw)
    study.run("git", "init", "--quiet")
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["data"]["validation_size"] = 58_000
    values |= {"activations": ["sigmoid", "leaky_relu"], "networks": ["mlp"], "seeds": [0, 1]}
    values["training"] |= {"epochs": 2, "probe_epochs": [1]}
    values["gradients"]["test_images"] = 64
    values["timing"] |= {"blocks": 3, "kernel_units": 32, "kernel_repetitions": 20}
    values["theory"] |= {"width": 32, "depth": 4, "images": 16, "seeds": [0, 1]}
    (folder / "params.yaml").write_text(yaml.safe_dump(values | params))
    return study
