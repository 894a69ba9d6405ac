"""Where each second of `dvc repro` goes: a sampled profile of all of its processes.

    python benchmarks/pipeline.py           # with the defaults, in a clone: as long as `make repro`
    python benchmarks/pipeline.py --write   # and into docs/benchmarks.md

The pipeline runs from nothing in a clone of the last commit, in a temporary folder, under
py-spy, which looks 50 times a second at what every thread runs that is not waiting. A moment of
the clock counts once, for the first of `WORK` that one of its threads does: for training, where a
model is trained while another is watched. What no thread works on is waiting.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from page import hardware, write_between

ROOT = Path(__file__).parents[1]
TRAINING, COMPILING, IMPORTS = "training", "compiling", "imports"
WAITING, OTHER = "waiting", "other"


class Frame(NamedTuple):
    """A function that a thread was in, and the file of it."""

    name: str
    file: str


#: What a thread does, by a frame of its stack: part of the file's name, and the function.
WORK: dict[str, Sequence[tuple[str, str]]] = {
    TRAINING: [("actlab/training.py", "run_epoch")],
    COMPILING: [
        ("actlab/training.py", "compile_"),
        ("actlab/kernels.py", "compile_"),
        ("polymorphic_function", "_initialize"),
        ("polymorphic_function", "_maybe_define"),
        ("tracing_compilation.py", "trace_function"),
    ],
    IMPORTS: [("<frozen importlib", "")],
    "watching": [("actlab/training.py", "evaluate"), ("actlab/training.py", "measure_step")],
    "probes": [(f"actlab/{name}.py", "") for name in ("gradients", "kernels", "theory", "own")],
    "MLflow": [("/mlflow/", ""), ("actlab/tracking.py", "")],
    "figures": [("/matplotlib/", ""), ("actlab/figures.py", "")],
    "statistics": [(f"actlab/{name}.py", "") for name in ("comparisons", "claims", "findings")],
    "files": [("actlab/outputs.py", ""), ("/h5py/", ""), ("actlab/datasets.py", "")],
    "DVC": [("/dvc/", ""), ("/dvc_", ""), ("bin/dvc", "")],
    OTHER: [("", "")],
}


def work_of(stack: Sequence[Frame]) -> str:
    """Name what a thread does."""
    for work, marks in WORK.items():
        for file, name in marks:
            if any(file in frame.file and frame.name.startswith(name) for frame in stack):
                return work
    return OTHER


def stage_of(stack: Sequence[Frame]) -> str | None:
    """Name the stage whose module is at the bottom of a stack; None for DVC and for threads."""
    for frame in stack:
        if frame.name == "<module>" and "actlab/stages/" in frame.file:
            return Path(frame.file).stem
    return None


def samples(
    events: Sequence[dict[str, Any]],
) -> Iterator[tuple[float, float, dict[int, list[str]]]]:
    """Give each stretch of time, in seconds, and what the threads of each process do in it."""
    stacks: dict[tuple[int, int], list[Frame]] = {}
    moments = sorted({event["ts"] for event in events})
    at: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        at.setdefault(event["ts"], []).append(event)
    for moment, following in pairwise(moments):
        for event in at[moment]:
            stack = stacks.setdefault((event["pid"], event["tid"]), [])
            if event["ph"] == "B":
                stack.append(Frame(event["name"], event["args"]["filename"]))
            elif stack:
                stack.pop()
        working: dict[int, list[str]] = {}
        for (process, _), stack in stacks.items():
            if len(stack) > 1:  # the first is the process
                working.setdefault(process, []).append(work_of(stack[1:]))
        yield moment / 1e6, following / 1e6, working


def attribute(events: Sequence[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Give the seconds of each stage by what was done; those of no stage are DVC's."""
    stages: dict[int, str] = {}
    stacks: dict[tuple[int, int], list[Frame]] = {}
    for event in events:
        stack = stacks.setdefault((event["pid"], event["tid"]), [])
        if event["ph"] == "B":
            stack.append(Frame(event["name"], event["args"]["filename"]))
            if stage := stage_of(stack[-1:]):
                stages[event["pid"]] = stage
        elif stack:
            stack.pop()
    order, found, last = list(WORK), {}, "DVC"
    begins = {pid: min(e["ts"] for e in events if e["pid"] == pid) / 1e6 for pid in stages}
    ends = {pid: max(e["ts"] for e in events if e["pid"] == pid) / 1e6 for pid in stages}
    for start, end, working in samples(events):
        running = [pid for pid in stages if begins[pid] <= start < ends[pid]]
        last = stages[running[-1]] if running else "DVC"
        done = [work for each in working.values() for work in each]
        work = min(done, key=order.index) if done else WAITING
        found.setdefault(last, Counter())[work] += end - start
    return found


def table(found: dict[str, Counter[str]]) -> str:
    """Write the seconds of each stage as Markdown, the largest column first."""
    total: Counter[str] = sum(found.values(), Counter())
    columns = [work for work, _ in total.most_common()]
    rows = {"all": total} | dict(sorted(found.items(), key=lambda each: -each[1].total()))
    lines = [f"| s | {' | '.join(columns)} | all |", "| --- |" + " --- |" * (len(columns) + 1)]
    for name, seconds in rows.items():
        cells = [f"{seconds[work]:.1f}" if seconds[work] >= 0.05 else "" for work in columns]
        lines.append(f"| {name} | {' | '.join(cells)} | {seconds.total():.1f} |")
    around = total.total() - sum(total[work] for work in (TRAINING, COMPILING, IMPORTS))
    lines += [
        "",
        f"{around:.0f} of {total.total():.0f} s, {around / total.total():.0%}, are neither training"
        " nor imports nor compiling.",
    ]
    return "\n".join(lines)


def profile(folder: Path) -> tuple[list[dict[str, Any]], float]:
    """Run the pipeline in a clone; give py-spy's events and the seconds in all."""
    clone, trace = folder / "actlab", folder / "trace.json"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    (clone / "dvc.lock").unlink(missing_ok=True)
    environment = os.environ | {
        "ACTLAB_DATA": str(ROOT / "data/raw"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": "",
    }
    command = ["py-spy", "record", "--subprocesses", "--rate", "50", "--format", "chrometrace"]
    started = time.monotonic()
    subprocess.run(
        [*command, "--output", str(trace), "--", "dvc", "repro"],
        cwd=clone,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return json.loads(trace.read_text()), time.monotonic() - started


def main() -> None:
    """Profile, print and write."""
    parser = argparse.ArgumentParser(description="Where each second of `dvc repro` goes.")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--trace", type=Path, help="read what py-spy has written before")
    asked = parser.parse_args()
    if asked.trace:
        events, seconds = json.loads(asked.trace.read_text()), float("nan")
    else:
        with TemporaryDirectory() as folder:
            events, seconds = profile(Path(folder))
    text = table(attribute(events))
    print(f"{seconds:.0f} s in all\n\n{text}")
    if asked.write:
        write_between("pipeline", f"{hardware()}.\n\n{text}\n")


if __name__ == "__main__":
    main()
