"""Where each second of `dvc repro` goes: a sampled profile of all of its processes.

    python benchmarks/pipeline.py           # with the defaults, in a clone: as long as `make repro`
    python benchmarks/pipeline.py --write   # and into docs/benchmarks.md
    python benchmarks/pipeline.py --nothing # what `dvc repro` takes where there is nothing to do

The pipeline runs from nothing in a clone of the last commit, in a temporary folder. Five times a
second py-spy tells what each thread of each of its processes is in, whether in Python or in what
Python called. A moment counts once, for the first of `WORK` that one of the threads does: for
training, where a model is trained while another is watched.
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
    """A function that a thread is in, and the file of it."""

    name: str
    file: str

    @property
    def function(self) -> str:
        """Its name without that of the function or class that holds it."""
        return self.name.rpartition(".")[2]


#: By stage, and by what is done.
Seconds = dict[str, dict[str, float]]

#: What a thread does, by a frame of its stack: part of the file's name, the name's beginning.
WORK: dict[str, Sequence[tuple[str, str]]] = {
    TRAINING: [("actlab/training/trainer.py", "run_epoch")],
    COMPILING: [
        ("actlab/training/trainer.py", "compile_"),
        ("actlab/probes/kernels.py", "compile_"),
        ("tracing_compilation.py", ""),
    ],
    IMPORTS: [("<frozen importlib", "")],
    "evaluating": [("actlab/training/trainer.py", "evaluate"), ("actlab/training/trainer.py", "measure_step")],
    "one layer's times": [("actlab/probes/kernels.py", "")],
    "gradients and theory": [
        (f"actlab/{name}.py", "") for name in ("gradients", "initialisation", "theory", "own")
    ],
    "MLflow": [
        ("/mlflow/", ""),
        *((f"actlab/{name}.py", "") for name in ("store", "publish", "publish_study", "tracking")),
    ],
    "figures": [("/matplotlib/", ""), ("actlab/reporting/figures.py", "")],
    "statistics": [(f"actlab/{name}.py", "") for name in ("comparisons", "claims", "findings")],
    "files": [
        (f"actlab/{name}.py", "")
        for name in ("outputs", "datasets", "checkpoints", "layout", "tables")
    ],
    "DVC": [("/dvc/", ""), ("/dvc_", ""), ("bin/dvc", "")],
}
#: Where a thread waits for another.
WAITS = (
    "threading.py",
    "queue.py",
    "selectors.py",
    "subprocess.py",
    "concurrent/futures/thread.py",
)


def work_of(stack: Sequence[Frame]) -> str | None:
    """Name what a thread does, by its stack, the innermost frame first; None where it waits."""
    inner = stack[0]
    if inner.file.endswith(WAITS) or inner.function == "fit_seeds":
        return None
    for work, marks in WORK.items():
        for file, name in marks:
            if any(file in each.file and each.function.startswith(name) for each in stack):
                return work
    return OTHER


def stacks_of(process: psutil.Process) -> list[list[Frame]]:
    """Give the stacks of a process's threads; none where it has ended or only begins."""
    command = ["py-spy", "dump", "--json", "--pid", str(process.pid)]
    told = subprocess.run(command, capture_output=True, check=False)
    if told.returncode:
        return []
    threads: list[dict[str, Any]] = json.loads(told.stdout)
    stacks = [[Frame(each["name"], each["filename"]) for each in one["frames"]] for one in threads]
    return [stack for stack in stacks if stack]


def stage_of(process: psutil.Process) -> str | None:
    """Name the stage that a process runs; None for DVC's own."""
    words = process.cmdline()
    modules = [word for word in words if word.startswith("actlab.stages.")]
    return modules[0].rpartition(".")[2] if modules else None


def sample(root: psutil.Process, found: Seconds, seconds: float) -> None:
    """Add some seconds to what is done in this moment."""
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
    """Write the seconds of each stage as Markdown, the largest first."""
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
    """Run the pipeline in a clone; give the seconds of each stage by what was done."""
    clone = folder / "actlab"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    (clone / "dvc.lock").unlink(missing_ok=True)
    environment = os.environ | {
        "ACTLAB_DATA": str(ROOT / "data/raw"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": "",
    }
    with (folder / "said").open("w") as said:
        running = psutil.Popen(
            ["dvc", "repro"], cwd=clone, env=environment, stdout=said, stderr=said
        )
        found: Seconds = {}
        last = time.perf_counter()
        while running.poll() is None:
            time.sleep(max(0.0, SECONDS - (time.perf_counter() - last)))
            now = time.perf_counter()
            sample(running, found, now - last)
            last = now
    if running.returncode:
        sys.exit(f"pipeline: dvc repro failed\n{(folder / 'said').read_text()[-2000:]}")
    return found


def time_nothing(folder: Path, rounds: int = 7) -> tuple[list[float], list[float]]:
    """Time `dvc repro` with nothing to do: here, and of as many stages that only copy a file."""
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    chain = {
        f"stage-{at}": {"cmd": f"cp {at} {at + 1}", "deps": [str(at)], "outs": [str(at + 1)]}
        for at in range(len(stages))
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
            told = subprocess.run(
                ["dvc", "repro"], cwd=where, check=True, capture_output=True, text=True
            )
            took.append(time.perf_counter() - started)
            if "Running stage" in told.stdout:
                sys.exit(f"pipeline: there was something to do in {where}: run it again")
    return ours, theirs


def main() -> None:
    """Profile, print and write."""
    parser = argparse.ArgumentParser(description="Where each second of `dvc repro` goes.")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument(
        "--nothing", action="store_true", help="time `dvc repro` where there is nothing to do"
    )
    asked = parser.parse_args()
    if asked.nothing:
        with TemporaryDirectory() as folder:
            ours, theirs = map(statistics.median, time_nothing(Path(folder)))
        print(f"dvc repro with nothing to do: {ours:.2f} s")
        print(f"as many stages that only copy a file: {theirs:.2f} s")
        return
    with TemporaryDirectory() as folder:
        text = table(profile(Path(folder)))
    print(text)
    if asked.write:
        write_between("pipeline", f"{hardware()}.\n\n{text}\n")


if __name__ == "__main__":
    main()
