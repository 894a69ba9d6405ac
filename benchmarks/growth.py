"""Measure how time and memory grow with seeds, images, depth, width and runs in the store.

    python benchmarks/growth.py                    # ten minutes; after `dvc repro fetch-data`
    python benchmarks/growth.py --vary depth width  # some of it
    python benchmarks/growth.py --write           # also docs/benchmarks.md, docs/study/bench/

Each size is trained in its own process, all sizes once per round: two epochs on MNIST in batches of
128, one model per core. The store is filled as in `compare.py`, and read by the commands that a
user types. An exponent is the slope between the two largest sizes on logarithmic axes: 1 is linear.
"""

import argparse
import csv
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from page import ROOT, write_between

from actlab.reporting.provenance import hardware

SIZES = {
    "seeds": (1, 3, 10, 30),
    "images": (6_000, 60_000, 600_000),
    "depth": (2, 4, 8, 16, 32, 64),
    "width": (64, 256, 1024, 2048),
    "runs": (14, 105, 1_001, 5_005),
}
#: The columns, with units.
TRAINED = ("training, s", "compiling, s", "memory, MB")
STORED = ("bookkeeping of a job, s", "comparing 14 runs, s", "comparing all, s")
RUNS_PER_CONFIGURATION, EPOCHS = 7, 2

#: Values by column.
Measured = dict[str, float]


def train(quantity: str, size: int) -> Measured:
    """Train at one size, in this process."""
    sys.path.insert(0, str(ROOT / "src"))
    import numpy as np

    from actlab.activations.config import ActivationConfig
    from actlab.data.datasets import load_raw
    from actlab.data.splits import Split, build_splits
    from actlab.engine.parallel import available_cores
    from actlab.models.config import InitializerConfig, NetworkConfig
    from actlab.models.network import ModelSpec
    from actlab.training.config import OptimizerConfig, TrainingConfig
    from actlab.training.trainer import Epoch, Protocol, fit_seeds

    splits = build_splits(*load_raw("mnist", ROOT / "data/raw/mnist"))
    images = size if quantity == "images" else len(splits.train.labels)
    places = np.arange(images) % len(splits.train.labels)
    train = Split(splits.train.images[places], splits.train.labels[places])
    hidden = {"depth": [64] * size, "width": [size, size]}.get(quantity, [128, 64])
    spec = ModelSpec(
        ActivationConfig("relu", "relu", {}),
        NetworkConfig("growth", hidden),
        InitializerConfig.read("glorot_uniform"),
    )
    seeds = range(size if quantity == "seeds" else available_cores())
    few = Split(splits.test.images[:1000], splits.test.labels[:1000])
    started = time.perf_counter()
    protocol = Protocol(TrainingConfig(EPOCHS, 128, []), OptimizerConfig.read("adam"))
    events = list(fit_seeds(spec, seeds, train, few, few, protocol))
    seconds = time.perf_counter() - started
    compiling = max(event.compile_seconds for event in events if isinstance(event, Epoch))
    # Linux counts in KiB, macOS in bytes.
    unit = 1e6 if sys.platform == "darwin" else 1e3
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return dict(zip(TRAINED, (seconds - compiling, compiling, memory), strict=True))


def store(size: int) -> Measured:
    """Fill the store of the current folder up to `size` runs, and time reading it.

    Each timed bookkeeping adds seven runs, which later sizes do not count.
    """
    from compare import around, bookkeep, compare, fill, prepare

    prepare(Path.cwd())
    done, target = Path("filled"), size // RUNS_PER_CONFIGURATION
    first = int(done.read_text()) if done.is_file() else 0
    few = SIZES["runs"][0] // RUNS_PER_CONFIGURATION
    if first < few:
        fill("few", 0, few)
    fill("rest", max(first, few), target)
    done.write_text(str(target))
    of_few = compare("few")
    everything = compare("null") if target > few else of_few
    return dict(zip(STORED, (around(bookkeep()), of_few, everything), strict=True))


def measured(quantity: str, size: int, folder: str | None = None) -> Measured:
    """Measure one size in its own process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", quantity, str(size)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    finished = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
    )
    return json.loads(finished.stdout.splitlines()[-1])


def measure(quantities: Sequence[str], rounds: int) -> dict[str, dict[int, Measured]]:
    """Measure all sizes, as medians over rounds; the store once."""
    found: dict[str, dict[int, list[Measured]]] = {}
    for number in range(1, rounds + 1):
        for quantity in quantities:
            if quantity == "runs" and number > 1:
                continue
            with TemporaryDirectory() as folder:
                for size in SIZES[quantity]:
                    one = measured(quantity, size, folder if quantity == "runs" else None)
                    found.setdefault(quantity, {}).setdefault(size, []).append(one)
                    print(f"round {number}, {quantity} {size:,}: {one}", flush=True)
    return {
        quantity: {
            size: {key: statistics.median(one[key] for one in ones) for key in ones[0]}
            for size, ones in sizes.items()
        }
        for quantity, sizes in found.items()
    }


def exponent(sizes: dict[int, Measured], key: str) -> float:
    """Give the slope between the two largest sizes, both axes logarithmic."""
    one, other = sorted(sizes)[-2:]
    return math.log(sizes[other][key] / sizes[one][key]) / math.log(other / one)


def table(quantity: str, sizes: dict[int, Measured]) -> str:
    """Render the measurements against one quantity as a Markdown table."""
    keys = list(next(iter(sizes.values())))
    lines = [f"| {quantity} | {' | '.join(keys)} |", "| --- |" + " --- |" * len(keys)]
    for size, one in sizes.items():
        cells = [f"{one[key]:,.0f}" if one[key] >= 100 else f"{one[key]:.2f}" for key in keys]
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    slopes = [f"{exponent(sizes, key):.2f}" for key in keys]
    return "\n".join([*lines, f"| exponent | {' | '.join(slopes)} |"])


def plot(found: dict[str, dict[int, Measured]]):
    """Plot the measurements against each quantity, on logarithmic axes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure((3.4 * len(found), 3.2), layout="constrained")
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    for axis, (quantity, sizes) in zip(axes, found.items(), strict=True):
        keys = [key for key in next(iter(sizes.values())) if key.endswith(", s")]
        for key, color in zip(keys, ("#4477aa", "#ee6677", "#228833"), strict=False):
            values = [one[key] for one in sizes.values()]
            label = f"{key.removesuffix(', s')} ({exponent(sizes, key):.2f})"
            axis.loglog(list(sizes), values, marker="o", color=color, label=label)
        axis.set_xlabel(quantity)
        axis.minorticks_off()
        axis.set_xticks(list(sizes), [f"{size:,}" for size in sizes], fontsize=7)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.legend(fontsize=7, title="seconds (exponent)", title_fontsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def read(path: Path) -> dict[str, dict[int, Measured]]:
    """Read the numbers that `write` has written; empty if there is no such file."""
    found: dict[str, dict[int, Measured]] = {}
    if path.is_file():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                sizes = found.setdefault(row["quantity"], {})
                sizes.setdefault(int(row["size"]), {})[row["measured"]] = float(row["value"])
    return found


def write(found: dict[str, dict[int, Measured]], rounds: int) -> None:
    """Write the numbers, the figure, and the tables of the page; keep what was not measured."""
    folder = ROOT / "docs/study/bench"
    folder.mkdir(parents=True, exist_ok=True)
    merged = read(folder / "growth.csv") | found
    merged = {quantity: merged[quantity] for quantity in SIZES if quantity in merged}
    with (folder / "growth.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("quantity", "size", "measured", "value"))
        writer.writerows(
            (quantity, size, key, f"{value:.4f}")
            for quantity, sizes in merged.items()
            for size, one in sizes.items()
            for key, value in one.items()
        )
    plot(merged).savefig(folder / "growth.png", dpi=120)
    tables = "\n\n".join(table(quantity, sizes) for quantity, sizes in merged.items())
    repeats = "measured once" if rounds == 1 else f"median of {rounds} rounds"
    caption = (
        f"{hardware()}. Latest measurement: {', '.join(found)}, {repeats}"
        f"{' (the store: measured once)' if 'runs' in found else ''}."
    )
    write_between("growth", f"{caption}\n\n{tables}\n")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Measure how time and memory grow.")
    parser.add_argument("--vary", choices=SIZES, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=2, help="number of rounds (default: 2)")
    parser.add_argument(
        "--write", action="store_true", help="write docs/benchmarks.md and docs/study/bench"
    )
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        quantity, size = arguments.measure[0], int(arguments.measure[1])
        print(json.dumps(store(size) if quantity == "runs" else train(quantity, size)))
        return
    if not (ROOT / "data/raw/mnist").is_dir():
        sys.exit("growth: data/raw/mnist is missing: run `dvc repro fetch-data`")
    found = measure(arguments.vary, arguments.rounds)
    for quantity, sizes in found.items():
        print(f"\n{table(quantity, sizes)}")
    if arguments.write:
        write(found, arguments.rounds)


if __name__ == "__main__":
    main()
