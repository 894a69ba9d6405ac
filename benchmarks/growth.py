"""How time and memory grow: with seeds, images, depth, width, and runs in the store.

    python benchmarks/growth.py                   # ten minutes; after `dvc repro fetch-data`
    python benchmarks/growth.py --of depth width  # some of it
    python benchmarks/growth.py --write           # and into docs/benchmarks.md, docs/study/bench/

Each size is trained in a process of its own, one round of all sizes after the other: two epochs
on MNIST in batches of 128, a model a core. The store is filled as `compare.py` says, and read by
the commands that a user types. An exponent is the slope between the two largest sizes, both
axes logarithmic: 1 is linear.
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
#: What is told of each, and its unit.
TRAINED = ("training, s", "compiling, s", "memory, MB")
STORED = ("a job around its training, s", "comparing 14 runs, s", "comparing all, s")
RUNS_A_CONFIGURATION, EPOCHS = 7, 2

Told = dict[str, float]


def train(of: str, size: int) -> Told:
    """Train at one size, in this process."""
    sys.path.insert(0, str(ROOT / "src"))
    import numpy as np

    from actlab.activations.config import ActivationConfig
    from actlab.data.datasets import load_raw
    from actlab.data.splits import Split, build_splits
    from actlab.engine.parallel import available_cores
    from actlab.models.config import NetworkConfig
    from actlab.models.network import ModelSpec
    from actlab.training.trainer import Epoch, Protocol, fit_seeds

    splits = build_splits(*load_raw("mnist", ROOT / "data/raw"))
    images = size if of == "images" else len(splits.train.labels)
    places = np.arange(images) % len(splits.train.labels)
    train = Split(splits.train.images[places], splits.train.labels[places])
    hidden = {"depth": [64] * size, "width": [size, size]}.get(of, [128, 64])
    spec = ModelSpec(
        ActivationConfig("relu", "relu", {}), NetworkConfig("growth", hidden), "glorot_uniform"
    )
    seeds = range(size if of == "seeds" else available_cores())
    few = Split(splits.test.images[:1000], splits.test.labels[:1000])
    started = time.perf_counter()
    events = list(fit_seeds(spec, seeds, train, few, few, Protocol(EPOCHS, 128, 0.001, [])))
    seconds = time.perf_counter() - started
    compiling = max(event.compile_seconds for event in events if isinstance(event, Epoch))
    # Linux counts in KiB, macOS in bytes.
    unit = 1e6 if sys.platform == "darwin" else 1e3
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return dict(zip(TRAINED, (seconds - compiling, compiling, memory), strict=True))


def store(size: int) -> Told:
    """Fill the store of the current folder up to so many runs, and read it.

    Each bookkeeping that is timed adds seven runs, which the sizes after it do not count.
    """
    from compare import around, bookkeep, compare, fill, prepare

    prepare(Path.cwd())
    done, target = Path("filled"), size // RUNS_A_CONFIGURATION
    first = int(done.read_text()) if done.is_file() else 0
    few = SIZES["runs"][0] // RUNS_A_CONFIGURATION
    if first < few:
        fill("few", 0, few)
    fill("rest", max(first, few), target)
    done.write_text(str(target))
    of_few = compare("few")
    everything = compare("null") if target > few else of_few
    return dict(zip(STORED, (around(bookkeep()), of_few, everything), strict=True))


def measured(of: str, size: int, folder: str | None = None) -> Told:
    """Measure one size in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", of, str(size)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    finished = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
    )
    return json.loads(finished.stdout.splitlines()[-1])


def measure(wanted: Sequence[str], rounds: int) -> dict[str, dict[int, Told]]:
    """Measure all sizes, the median of the rounds; the store once."""
    told: dict[str, dict[int, list[Told]]] = {}
    for number in range(1, rounds + 1):
        for of in wanted:
            if of == "runs" and number > 1:
                continue
            with TemporaryDirectory() as folder:
                for size in SIZES[of]:
                    one = measured(of, size, folder if of == "runs" else None)
                    told.setdefault(of, {}).setdefault(size, []).append(one)
                    print(f"round {number}, {of} {size:,}: {one}", flush=True)
    return {
        of: {
            size: {key: statistics.median(one[key] for one in ones) for key in ones[0]}
            for size, ones in sizes.items()
        }
        for of, sizes in told.items()
    }


def exponent(sizes: dict[int, Told], key: str) -> float:
    """Give the slope between the two largest sizes, both axes logarithmic."""
    one, other = sorted(sizes)[-2:]
    return math.log(sizes[other][key] / sizes[one][key]) / math.log(other / one)


def table(of: str, sizes: dict[int, Told]) -> str:
    """Write what was measured of one as Markdown."""
    keys = list(next(iter(sizes.values())))
    lines = [f"| {of} | {' | '.join(keys)} |", "| --- |" + " --- |" * len(keys)]
    for size, one in sizes.items():
        cells = [f"{one[key]:,.0f}" if one[key] >= 100 else f"{one[key]:.2f}" for key in keys]
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    slopes = [f"{exponent(sizes, key):.2f}" for key in keys]
    return "\n".join([*lines, f"| exponent | {' | '.join(slopes)} |"])


def plot(told: dict[str, dict[int, Told]]):
    """Draw what was measured against each size, both axes logarithmic."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure((3.4 * len(told), 3.2), layout="constrained")
    axes = figure.subplots(1, len(told), squeeze=False)[0]
    for axis, (of, sizes) in zip(axes, told.items(), strict=True):
        keys = [key for key in next(iter(sizes.values())) if key.endswith(", s")]
        for key, color in zip(keys, ("#4477aa", "#ee6677", "#228833"), strict=False):
            values = [one[key] for one in sizes.values()]
            label = f"{key.removesuffix(', s')} ({exponent(sizes, key):.2f})"
            axis.loglog(list(sizes), values, marker="o", color=color, label=label)
        axis.set_xlabel(of)
        axis.minorticks_off()
        axis.set_xticks(list(sizes), [f"{size:,}" for size in sizes], fontsize=7)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.legend(fontsize=7, title="seconds (exponent)", title_fontsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def read(path: Path) -> dict[str, dict[int, Told]]:
    """Read the numbers that `write` wrote; none where there is no such file."""
    told: dict[str, dict[int, Told]] = {}
    if path.is_file():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                sizes = told.setdefault(row["of"], {})
                sizes.setdefault(int(row["size"]), {})[row["measured"]] = float(row["value"])
    return told


def write(told: dict[str, dict[int, Told]], rounds: int) -> None:
    """Write the numbers, the figure, and the tables into the page; keep what was not measured."""
    folder = ROOT / "docs/study/bench"
    folder.mkdir(parents=True, exist_ok=True)
    before, anew = read(folder / "growth.csv"), list(told)
    told = {of: told.get(of) or before[of] for of in SIZES if of in told or of in before}
    with (folder / "growth.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("of", "size", "measured", "value"))
        writer.writerows(
            (of, size, key, f"{value:.4f}")
            for of, sizes in told.items()
            for size, one in sizes.items()
            for key, value in one.items()
        )
    plot(told).savefig(folder / "growth.png", dpi=120)
    tables = "\n\n".join(table(of, sizes) for of, sizes in told.items())
    once = "once" if rounds == 1 else f"{rounds} times, the median of which counts"
    said = (
        f"{hardware()}. Measured at last: {', '.join(anew)}, {once}"
        f"{' (the store once)' if 'runs' in anew else ''}."
    )
    write_between("growth", f"{said}\n\n{tables}\n")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="How time and memory grow.")
    parser.add_argument("--of", choices=SIZES, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and study")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        of, size = asked.measure[0], int(asked.measure[1])
        print(json.dumps(store(size) if of == "runs" else train(of, size)))
        return
    if not (ROOT / "data/raw").is_dir():
        sys.exit("growth: there is no data/raw: run `dvc repro fetch-data`")
    told = measure(asked.of, asked.rounds)
    for of, sizes in told.items():
        print(f"\n{table(of, sizes)}")
    if asked.write:
        write(told, asked.rounds)


if __name__ == "__main__":
    main()
