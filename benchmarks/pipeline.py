"""Profile `dvc repro`: sample all of its processes to find where the time goes.

    python benchmarks/pipeline.py           # with the defaults, in a clone: as long as `make repro`
    python benchmarks/pipeline.py --write   # also writes docs/benchmarks.md
    python benchmarks/pipeline.py --nothing # times `dvc repro` with nothing to do

The pipeline runs from scratch in a clone of the last commit, in a temporary folder. Five times a
second, py-spy reads the stack of each thread of each process. A sample counts once, for the first
activity in `WORK` that any thread is in: training, if one model trains while another is evaluated.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd
import psutil
import yaml
from page import ROOT, write_between

from actlab.reporting.provenance import hardware

SECONDS = 0.2
TRAINING, COMPILING, IMPORTS = "training", "compiling", "imports"
OTHER = "other"


class Frame(NamedTuple):
    """A function on a thread's stack, and its file."""

    name: str
    file: str

    @property
    def function(self) -> str:
        """Its name without that of the enclosing function or class."""
        return self.name.rpartition(".")[2]


#: By stage and activity.
Seconds = dict[str, dict[str, float]]

#: Activities, by a frame of the stack: part of the file's name, beginning of the function's name.
WORK: dict[str, Sequence[tuple[str, str]]] = {
    TRAINING: [("actlab/training/compiled.py", "run_epoch")],
    COMPILING: [
        ("actlab/training/compiled.py", "compile_"),
        ("actlab/probes/kernels.py", "compile_"),
        ("tracing_compilation.py", ""),
    ],
    IMPORTS: [("<frozen importlib", "")],
    "evaluating": [
        ("actlab/training/compiled.py", "evaluate"),
        ("actlab/training/compiled.py", "measure_step"),
    ],
    "layer timing": [("actlab/probes/kernels.py", "")],
    "gradients and theory": [("actlab/probes/", ""), ("actlab/activations/", "")],
    "MLflow": [("/mlflow/", ""), ("actlab/tracking/", "")],
    "figures": [("/matplotlib/", ""), ("figures.py", "")],
    "statistics": [("actlab/evidence/", ""), ("findings.py", "")],
    "files": [
        (f"actlab/{name}.py", "")
        for name in ("engine/files", "data/splits", "results/checkpoints", "results/tables")
    ],
    "DVC": [("/dvc/", ""), ("/dvc_", ""), ("bin/dvc", "")],
}
#: Files in which a thread waits for another.
WAITS = (
    "threading.py",
    "queue.py",
    "selectors.py",
    "subprocess.py",
    "concurrent/futures/thread.py",
)


def work_of(stack: Sequence[Frame]) -> str | None:
    """Name a thread's activity from its stack, innermost frame first; None if it waits."""
    inner = stack[0]
    if inner.file.endswith(WAITS) or inner.function == "fit_seeds":
        return None
    for work, marks in WORK.items():
        for file, name in marks:
            if any(file in frame.file and frame.function.startswith(name) for frame in stack):
                return work
    return OTHER


def stacks_of(process: psutil.Process) -> list[list[Frame]]:
    """Give the stacks of a process's threads; empty if it has ended or is only starting."""
    command = ["py-spy", "dump", "--json", "--pid", str(process.pid)]
    dump = subprocess.run(command, capture_output=True, check=False)
    if dump.returncode:
        return []
    threads: list[dict[str, Any]] = json.loads(dump.stdout)
    stacks = [
        [Frame(frame["name"], frame["filename"]) for frame in thread["frames"]]
        for thread in threads
    ]
    return [stack for stack in stacks if stack]


def stage_of(process: psutil.Process) -> str | None:
    """Name the stage that a process runs; None for DVC itself."""
    words = process.cmdline()
    modules = [word for word in words if word.startswith("actlab.stages.")]
    return modules[0].rpartition(".")[2] if modules else None


def sample(root: psutil.Process, found: Seconds, seconds: float) -> None:
    """Add some seconds to the current stage and activity."""
    stage, working = "DVC", []
    with suppress(psutil.NoSuchProcess):
        for process in (root, *root.children(recursive=True)):
            stage = stage_of(process) or stage
            working += [work for stack in stacks_of(process) if (work := work_of(stack))]
    order = [*WORK, OTHER]
    work = min(working, key=order.index) if working else OTHER
    of_stage = found.setdefault(stage, {})
    of_stage[work] = of_stage.get(work, 0) + seconds


def table(found: Seconds) -> str:
    """Render the seconds of each stage as a Markdown table, the largest first."""
    seconds = pd.DataFrame(found).T.fillna(0)
    seconds = seconds.loc[seconds.sum(axis=1).sort_values(ascending=False).index]
    seconds.loc["all"] = seconds.sum()
    seconds = seconds[seconds.loc["all"].sort_values(ascending=False).index]
    total = seconds.loc["all"].sum()
    seconds["all"] = seconds.sum(axis=1)
    lines = [f"| s | {' | '.join(seconds.columns)} |", "| --- |" + " --- |" * seconds.shape[1]]
    for name, row in seconds.iterrows():
        cells = [f"{value:.1f}" if value else "" for value in row]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    work = seconds.loc["all"].drop([TRAINING, COMPILING, IMPORTS, "all"], errors="ignore").sum()
    lines += [
        "",
        f"{work:.0f} of {total:.0f} s, {work / total:.0%}, are neither training nor imports nor"
        " compiling.",
    ]
    return "\n".join(lines)


def profile(folder: Path) -> Seconds:
    """Run the pipeline in a clone; give the seconds by stage and activity."""
    clone = folder / "actlab"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    (clone / "dvc.lock").unlink(missing_ok=True)
    environment = os.environ | {
        "ACTLAB_DATA": str(ROOT / "data/raw"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": "",
    }
    with (folder / "log.txt").open("w") as log:
        running = psutil.Popen(["dvc", "repro"], cwd=clone, env=environment, stdout=log, stderr=log)
        found: Seconds = {}
        last = time.perf_counter()
        while running.poll() is None:
            time.sleep(max(0.0, SECONDS - (time.perf_counter() - last)))
            now = time.perf_counter()
            sample(running, found, now - last)
            last = now
    if running.returncode:
        sys.exit(f"pipeline: dvc repro failed\n{(folder / 'log.txt').read_text()[-2000:]}")
    return found


def time_nothing(folder: Path, rounds: int = 7) -> tuple[list[float], list[float]]:
    """Time `dvc repro` with nothing to do: here, and for as many stages that only copy a file."""
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    chain = {
        f"stage-{number}": {
            "cmd": f"cp {number} {number + 1}",
            "deps": [str(number)],
            "outs": [str(number + 1)],
        }
        for number in range(len(stages))
    }
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["dvc", "init", "--quiet"], cwd=folder, check=True)
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    (folder / "0").write_text("copied\n")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": chain}))
    subprocess.run(["dvc", "repro", "--quiet"], cwd=folder, check=True)
    ours, theirs = [], []
    for _ in range(rounds):
        for where, took in ((ROOT, ours), (folder, theirs)):
            started = time.perf_counter()
            finished = subprocess.run(
                ["dvc", "repro"], cwd=where, check=True, capture_output=True, text=True
            )
            took.append(time.perf_counter() - started)
            if "Running stage" in finished.stdout:
                sys.exit(f"pipeline: dvc repro was not up to date in {where}: try again")
    return ours, theirs


def main() -> None:
    """Profile, print and write."""
    parser = argparse.ArgumentParser(description="Profile `dvc repro`.")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument(
        "--nothing", action="store_true", help="time `dvc repro` with nothing to do"
    )
    arguments = parser.parse_args()
    if arguments.nothing:
        with TemporaryDirectory() as folder:
            ours, theirs = map(statistics.median, time_nothing(Path(folder)))
        print(f"dvc repro with nothing to do: {ours:.2f} s")
        print(f"as many stages that only copy a file: {theirs:.2f} s")
        return
    with TemporaryDirectory() as folder:
        text = table(profile(Path(folder)))
    print(text)
    if arguments.write:
        write_between("pipeline", f"{hardware()}.\n\n{text}\n")


if __name__ == "__main__":
    main()
