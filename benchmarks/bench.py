"""Time an epoch of actlab, of other libraries and of the matrix products alone.

    make bench          # an hour: writes docs/benchmarks.md, docs/study/bench/
    make bench-quick    # minutes: actlab and NumPy's products, against benchmarks/baseline.json

`peers.py` defines what runs. Each side runs in its own process, pinned to all cores or to one. In
each round every side trains an epoch in every mode, one after the other in random order, so that a
slow minute of the machine affects all of them; ratios are taken within rounds. The losses of the
warm-up are compared, and nothing is timed if a side has trained something else.
"""

import argparse
import csv
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import peers
from page import ROOT, cores, write_between
from peers import Training

from actlab.evidence.wording import join
from actlab.reporting.provenance import hardware

MLP = (128, 64)
#: What `Training` takes; networks that are not plain are timed in batches of 128.
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": MLP},
    "deep": {"hidden": (64,) * 8},
    "mlp, SGD": {"hidden": MLP, "optimizer": "SGD"},
    "mlp, AdamW": {"hidden": MLP, "optimizer": "AdamW"},
    "mlp, dropout": {"hidden": MLP, "dropout": 0.2},
    "mlp, batch norm": {"hidden": MLP, "batch_norm": True},
    "conv": {"hidden": (500,), "convolutions": (20, 50)},
}
PLAIN = ("mlp", "deep")
QUICK = tuple(network for network in NETWORKS if network != "deep")
BATCH_SIZES = (32, 128, 1024)
#: Training images of `conv`: with 60,000, an epoch of the slowest peer takes ten minutes.
CONV_IMAGES = 1280
#: One model on one core; one model on all cores; one model on each core.
ONE_CORE, ALL_CORES, MODEL_PER_CORE = "one core", "one model", "one model per core"
ACTLAB = "actlab"
TIMES = ROOT / "docs/study/bench/epochs.csv"
#: Epochs before timing starts; Keras's first ones are slower.
WARM_UP = 3
#: Relative tolerance of the mean loss: in the first epoch, in the later epochs of the warm-up.
SAME_ORDER, OTHER_ORDER = (0.01, 0.05), (0.1, 0.15)
#: In another order, of the ten steps of an epoch of `conv`.
FEW_STEPS = (0.2, 0.4)


class UnequalError(Exception):
    """A side whose losses differ from actlab's."""


# --- A process of a side ------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """The work of a process: epochs of `models` models of a side at once, or matrix products."""

    data: Path
    side: str
    network: str
    batch_size: int
    models: int = 1
    threads: int = 1
    seed: int = 0
    with_products: bool = False

    @property
    def errors(self) -> Path:
        """The file for the standard error of its process."""
        name = f"{self.side}-{self.models}-{self.threads}-{self.seed}".replace(" ", "-")
        return self.data / f"{name}.err"


def training_of(
    network: str, batch_size: int, images: np.ndarray, labels: np.ndarray, seed: int = 0
) -> Training:
    """Make the training of a network."""
    count = CONV_IMAGES if network == "conv" else len(labels)
    return Training(
        batch_size=batch_size,
        images=images[:count],
        labels=labels[:count],
        seed=seed,
        **NETWORKS[network],
    )


def trains(side: str, network: str) -> bool:
    """Whether a side trains a network; if not, only its products may be timed."""
    return network in PLAIN or side not in peers.PLAIN_ONLY


def serve(job: Job, connection: Connection) -> None:
    """Warm up; then serve requests to train further epochs or to multiply."""
    errors = os.open(job.errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 2)  # libraries print greetings there; shown only if the process fails
    images = np.load(job.data / "images.npy")
    labels = np.load(job.data / "labels.npy")
    trainings = [
        training_of(job.network, job.batch_size, images, labels, seed)
        for seed in range(job.seed, job.seed + job.models)
    ]
    prepare = peers.actlab if job.side == ACTLAB else peers.PEERS[job.side]
    trainers = [prepare(each, job.threads) for each in trainings if trains(job.side, job.network)]
    multiply = peers.SGEMM[job.side](trainings[0], job.threads) if job.with_products else None
    losses = [[train(epoch) for epoch in range(1, WARM_UP + 1)] for train in trainers]
    if multiply:
        multiply()
    pool, trained = ThreadPoolExecutor(job.models), WARM_UP
    connection.send((losses[0] if losses else [], peers.flop(trainings[0])))
    while request := connection.recv():
        what, models, epochs = request
        started = time.perf_counter()
        if what == "multiply":
            assert multiply
            for _ in range(epochs):
                multiply()
        else:
            numbers = range(trained + 1, trained + epochs + 1)
            list(pool.map(lambda train: [train(epoch) for epoch in numbers], trainers[:models]))  # noqa: B023
            trained += epochs
        connection.send(time.perf_counter() - started)


class Side:
    """A process that waits for requests, pinned to some cores."""

    def __init__(self, job: Job, cores: Sequence[int]) -> None:
        self.job = job
        context = get_context("spawn")
        self._connection, remote = context.Pipe()
        with _started_with(cores, job.threads):
            self._process = context.Process(target=serve, args=(job, remote), daemon=True)
            self._process.start()
        remote.close()

    def first(self) -> tuple[list[float], int]:
        """Receive the mean losses of the warm-up, and the FLOP of an epoch's products."""
        try:
            return self._connection.recv()
        except EOFError:
            print(self.job.errors.read_text()[-2000:], file=sys.stderr)
            sys.exit(f"bench: {self.job.side} ended: see above")

    def ask(self, what: str, models: int = 1, epochs: int = 1) -> None:
        """Request epochs of some models, or as many rounds of products."""
        self._connection.send((what, models, epochs))

    def seconds(self) -> float:
        """Wait for the requested work; return its seconds."""
        return self._connection.recv()

    def end(self) -> None:
        """End the process."""
        self._connection.send(None)
        self._process.join()


@contextmanager
def _started_with(cores: Sequence[int], threads: int) -> Iterator[None]:
    """Set the cores and threads of processes that are started within the context."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = os.environ.copy()
    os.environ |= dict.fromkeys(names, str(threads))
    can_pin = hasattr(os, "sched_setaffinity")
    original = os.sched_getaffinity(0) if can_pin else set()
    try:
        if can_pin:
            os.sched_setaffinity(0, cores)
        yield
    finally:
        if can_pin:
            os.sched_setaffinity(0, original)
        os.environ.clear()
        os.environ |= before


# --- Rounds -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timed:
    """Seconds of a model-epoch of a side in a round, or of its products alone."""

    network: str
    batch_size: int
    round: int
    side: str
    way: str
    seconds: float
    hardware: str


def products_of(side: str) -> str:
    """Name the matrix products computed with a side's library."""
    return f"products, {side.split(',')[0]}"


def save_images(folder: Path) -> None:
    """Save the training images and labels for the processes."""
    from actlab.data.datasets import load_raw
    from actlab.data.splits import build_splits

    split = build_splits(*load_raw("mnist", ROOT / "data/raw/mnist")).train
    np.save(folder / "images.npy", split.images)
    np.save(folder / "labels.npy", split.labels)


def measure(
    data: Path, network: str, batch_size: int, rounds: int, names: Sequence[str]
) -> tuple[list[Timed], dict[str, list[float]], int]:
    """Time actlab, the named peers, and their matrix products.

    Returns the times, the losses of the warm-up by side, and the FLOP of the products.
    """
    available = cores()
    pinned: dict[str, list[Side]] = {}
    whole: dict[str, Side] = {}
    losses: dict[str, list[float]] = {}
    operations = 0
    start = time.monotonic()
    job = Job(data, ACTLAB, network, batch_size, models=len(available))
    whole[ACTLAB] = Side(job, available)
    alone = Side(Job(data, ACTLAB, network, batch_size), available[:1])
    losses[ACTLAB], operations = whole[ACTLAB].first()
    losses[f"{ACTLAB}, one core"] = alone.first()[0]
    for name in names:
        if not (trains(name, network) or name in peers.SGEMM):
            continue
        sides = [
            Side(Job(data, name, network, batch_size, 1, 1, seed, name in peers.SGEMM), [core])
            for seed, core in enumerate(available)
        ]
        pinned[name] = sides
        if not trains(name, network):
            for side in sides:
                side.first()
            continue
        whole[name] = Side(Job(data, name, network, batch_size, 1, len(available)), available)
        first = [side.first()[0] for side in (whole[name], *sides)]
        losses[name], losses[f"{name}, one core"] = first[:2]
    for name, warm_up in losses.items():
        check_losses(name, warm_up, losses[ACTLAB], network)

    def one(side: Side, what: str, models: int = 1, epochs: int = 1) -> float:
        side.ask(what, models, epochs)
        return side.seconds() / (models * epochs)

    def each_core(sides: Sequence[Side], what: str, epochs: int) -> float:
        started = time.perf_counter()
        for side in sides:
            side.ask(what, 1, epochs)
        for side in sides:
            side.seconds()
        return (time.perf_counter() - started) / (len(sides) * epochs)

    epochs, ours = 1 if batch_size < 100 else 2, whole[ACTLAB]
    work: list[tuple[str, str, Callable[[], float]]] = [
        (ACTLAB, ONE_CORE, partial(one, alone, "train")),
        (ACTLAB, MODEL_PER_CORE, partial(one, ours, "train", len(available), epochs)),
    ]
    for name, sides in pinned.items():
        if sides[0].job.with_products:
            products = products_of(name)
            work.append((products, ONE_CORE, partial(one, sides[0], "multiply")))
            work.append((products, MODEL_PER_CORE, partial(each_core, sides, "multiply", epochs)))
        if name not in whole:
            continue
        work.append((name, ONE_CORE, partial(one, sides[0], "train")))
        work.append((name, ALL_CORES, partial(one, whole[name], "train")))
        work.append((name, MODEL_PER_CORE, partial(each_core, sides, "train", epochs)))
    found: list[Timed] = []
    print(f"{network}, batches of {batch_size}: started in {time.monotonic() - start:.0f} s")
    for number in range(1, rounds + 1):
        for place in np.random.default_rng([number]).permutation(len(work)):
            side, way, call = work[place]
            seconds = round(call(), 5)
            found.append(Timed(network, batch_size, number, side, way, seconds, hardware()))
        print(f"  round {number} of {rounds}, {time.monotonic() - start:.0f} s", flush=True)
    for side in (alone, *whole.values(), *(side for sides in pinned.values() for side in sides)):
        side.end()
    return found, losses, operations


def check_losses(
    name: str, losses: Sequence[float], ours: Sequence[float], network: str = "mlp"
) -> None:
    """Raise `UnequalError` if the losses of a warm-up differ from actlab's."""
    is_same = name.removesuffix(", one core") not in peers.OWN_ORDER
    first, later = SAME_ORDER if is_same and network != "mlp, dropout" else OTHER_ORDER
    if not is_same and network == "conv":
        first, later = FEW_STEPS
    for epoch, (loss, our) in enumerate(zip(losses, ours, strict=True), 1):
        if not abs(loss / our - 1) < (first if epoch == 1 else later):
            raise UnequalError(f"{name}: loss {loss:.5f} in epoch {epoch}, actlab's {our:.5f}")


def seconds_of(times: Sequence[Timed], side: str, way: str) -> list[float]:
    """Give the seconds of a side in each round."""
    return [entry.seconds for entry in times if (entry.side, entry.way) == (side, way)]


def sides_of(times: Sequence[Timed]) -> tuple[list[str], list[str]]:
    """List the sides that were timed, and the products that were, in a fixed order."""
    timed = {entry.side for entry in times}
    sides, limits = (ACTLAB, *peers.PEERS), map(products_of, peers.SGEMM)
    return [name for name in sides if name in timed], [name for name in limits if name in timed]


def fastest(times: Sequence[Timed], sides: Sequence[str], ways: Sequence[str]) -> tuple[str, str]:
    """Give the side and mode with the smallest median."""
    return min(
        ((side, way) for side in sides for way in ways if seconds_of(times, side, way)),
        key=lambda pair: statistics.median(seconds_of(times, *pair)),
    )


def ratios(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Give the median, minimum and maximum over rounds of the ratio of two times."""
    quotients = [a / b for a, b in zip(one, other, strict=True)]
    return statistics.median(quotients), min(quotients), max(quotients)


# --- Output -------------------------------------------------------------------------------


def _spread(ratio: tuple[float, float, float]) -> str:
    return "{:.2f} ({:.2f} to {:.2f})".format(*ratio)


def table(times: Sequence[Timed], operations: int) -> str:
    """Render the times of a network and a batch size as a Markdown table."""
    sides, limits = sides_of(times)
    one_limit = seconds_of(times, *fastest(times, limits, [ONE_CORE]))
    all_limit = seconds_of(times, *fastest(times, limits, [MODEL_PER_CORE]))
    ours = seconds_of(times, ACTLAB, MODEL_PER_CORE)
    lines = [
        "| | one core, s | in units of the products | all cores, s per model | how"
        " | in units of the products | actlab is faster by |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in (*sides, *limits):
        one = seconds_of(times, name, ONE_CORE)
        best = fastest(times, [name], [ALL_CORES, MODEL_PER_CORE])
        every = seconds_of(times, *best)
        cells = [
            name,
            f"{statistics.median(one):.3f}",
            _spread(ratios(one, one_limit)),
            f"{statistics.median(every):.3f}",
            best[1],
            _spread(ratios(every, all_limit)),
            "" if name == ACTLAB else _spread(ratios(every, ours)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    speed = (
        operations / statistics.median(one_limit) / 1e9,
        operations / statistics.median(all_limit) / 1e9,
    )
    lines += [
        "",
        f"{operations / 1e9:.1f} GFLOP of products per epoch: {speed[0]:.0f} GFLOP/s on one core,"
        f" {speed[1]:.0f} on all; {max(entry.round for entry in times)} rounds on"
        f" {times[0].hardware}.",
    ]
    return "\n".join(lines)


def cells(times: Sequence[Timed]) -> dict[tuple[str, int], list[Timed]]:
    """Group the times by network and batch size."""
    found: dict[tuple[str, int], list[Timed]] = {}
    for entry in times:
        found.setdefault((entry.network, entry.batch_size), []).append(entry)
    return found


def read(path: Path) -> list[Timed]:
    """Read the times that `write` has written."""
    with path.open(newline="") as file:
        return [
            Timed(
                row["network"],
                int(row["batch_size"]),
                int(row["round"]),
                row["side"],
                row["way"],
                float(row["seconds"]),
                row["hardware"],
            )
            for row in csv.DictReader(file)
        ]


def write(times: Sequence[Timed]) -> None:
    """Write the times, the figure, and the tables of the page; other networks' times stay."""
    TIMES.parent.mkdir(parents=True, exist_ok=True)
    found = (cells(read(TIMES)) if TIMES.is_file() else {}) | cells(times)
    order = [(network, size) for network in NETWORKS for size in BATCH_SIZES]
    found = {cell: found[cell] for cell in order if cell in found}
    times = [entry for of_cell in found.values() for entry in of_cell]
    with TIMES.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Timed.__dataclass_fields__)
        writer.writerows(vars(entry).values() for entry in times)
    plot(times).savefig(TIMES.with_suffix(".png"), dpi=120)
    lines = ["Median (minimum to maximum).", ""]
    images, labels = np.empty((60_000, 784), np.float32), np.empty(60_000, np.int32)
    for (network, size), of_cell in found.items():
        operations = peers.flop(training_of(network, size, images, labels))
        title = f"### {network}, batches of {size}"
        lines += [title, "", table(of_cell, operations), ""]
    write_between("epochs", "\n".join(lines))


def plot(times: Sequence[Timed]):
    """Plot the time of a model-epoch on all cores, in units of the products, by side."""
    from matplotlib.figure import Figure

    found = cells(times)
    columns = len({size for _, size in found})
    rows = -(-len(found) // columns)
    figure = Figure((4 * columns, 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis in axes[len(found) :]:
        axis.remove()
    for axis, ((network, size), of_cell) in zip(axes, found.items(), strict=False):
        sides, limits = sides_of(of_cell)
        limit = seconds_of(of_cell, *fastest(of_cell, limits, [MODEL_PER_CORE]))
        sides.reverse()
        for place, name in enumerate(sides):
            best = fastest(of_cell, [name], [ALL_CORES, MODEL_PER_CORE])
            middle, least, most = ratios(seconds_of(of_cell, *best), limit)
            color = "#4477aa" if name == ACTLAB else "#bbbbbb"
            axis.barh(place, middle, color=color)
            axis.plot([least, most], [place, place], color="black", linewidth=1)
            axis.text(most, place, f" {middle:.2f}", va="center", fontsize=8)
        axis.axvline(1, color="black", linewidth=0.8, linestyle=":")
        axis.set_xlim(0, 1.12 * axis.get_xlim()[1])
        axis.set_yticks(range(len(sides)), sides, fontsize=8)
        axis.set_title(f"{network}, batches of {size}", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(
        "time of a model-epoch on all cores, in units of its matrix products alone (dotted)",
        fontsize=9,
    )
    return figure


def compare_with_baseline(times: Sequence[Timed], path: Path, is_new: bool) -> None:
    """Print the ratios to NumPy's products compared with the committed ones."""
    now: dict[str, dict[str, float]] = {}
    for (network, _), of_cell in cells(times).items():
        now[network] = {
            way: ratios(
                seconds_of(of_cell, ACTLAB, way), seconds_of(of_cell, products_of("NumPy"), way)
            )[0]
            for way in (ONE_CORE, MODEL_PER_CORE)
        }
    baseline = json.loads(path.read_text())
    if is_new:
        baseline.setdefault(hardware(), {}).update(
            {
                network: {way: round(ratio, 3) for way, ratio in by_way.items()}
                for network, by_way in now.items()
            }
        )
        path.write_text(json.dumps(baseline, indent=2) + "\n")
        print(f"written to {path.relative_to(ROOT)}")
        return
    if hardware() not in baseline:
        print(f"no baseline of {hardware()}: --new-baseline writes one; there is {join(baseline)}")
    for network, by_way in now.items():
        for way, ratio in by_way.items():
            before = baseline.get(hardware(), {}).get(network, {}).get(way)
            verdict = "no baseline"
            if before:
                change = ratio / before - 1
                verdict = f"baseline {before:.2f} ({change:+.0%}): "
                verdict += "MORE THAN 20 % WORSE" if change > 0.2 else "as before"
            print(f"{network}, {way}: {ratio:.2f} times the products, {verdict}")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Time an epoch, compared with other libraries.")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default: 5)")
    parser.add_argument("--network", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--batch-size", type=int, nargs="+", default=list(BATCH_SIZES))
    parser.add_argument("--peer", choices=peers.PEERS, nargs="*", default=list(peers.PEERS))
    parser.add_argument(
        "--quick", action="store_true", help="actlab and NumPy's products, batches of 128"
    )
    parser.add_argument("--new-baseline", action="store_true", help="write a new baseline.json")
    parser.add_argument(
        "--write", action="store_true", help="write docs/benchmarks.md and docs/study/bench"
    )
    arguments = parser.parse_args()
    if not set(arguments.peer) & set(peers.SGEMM):
        parser.error(f"--peer needs one of {', '.join(peers.SGEMM)}, for the matrix products")
    if arguments.write and len(arguments.peer) < len(peers.PEERS):
        parser.error("--write needs all peers")
    if not (ROOT / "data/raw/mnist").is_dir():
        sys.exit("bench: data/raw/mnist is missing: run `dvc repro fetch-data`")
    with TemporaryDirectory() as folder:
        save_images(Path(folder))
        if arguments.quick or arguments.new_baseline:
            times = []
            for network in QUICK:
                rounds = 15 if network == "mlp" else 5
                times += measure(Path(folder), network, 128, rounds, ["NumPy"])[0]
            compare_with_baseline(times, ROOT / "benchmarks/baseline.json", arguments.new_baseline)
        else:
            run(arguments, Path(folder))


def run(arguments: argparse.Namespace, data: Path) -> None:
    """Measure each network and batch size; print, and write if requested."""
    times: list[Timed] = []
    for network in arguments.network:
        for size in arguments.batch_size if network in PLAIN else [128]:
            found, losses, of_products = measure(
                data, network, size, arguments.rounds, arguments.peer
            )
            print(table(found, of_products))
            for name, warm_up in losses.items():
                print(f"{name}: loss {', '.join(f'{loss:.5f}' for loss in warm_up)}", flush=True)
            times += found
            if arguments.write:
                write(times)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    main()
