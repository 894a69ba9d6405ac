"""Checkpoints of a training, from which a killed one resumes with the same results to the bit.

The folder of a training is named by its fingerprint: the same values, data, code and packages. It
is a run folder as far as it is written, with a folder per seed for the seed's state and its test
result. Nothing is pickled. A finished training removes its folder.
"""

import hashlib
import io
import json
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from actlab.engine.files import atomic_write
from actlab.results import layout
from actlab.results.layout import RunFolder, weights_path
from actlab.training.trainer import Epoch, Fitted, State

#: The relative change of a layer's kernel in the next step: epoch, layer, ratio.
Update = tuple[int, str, float]

#: A seed's files; each is a SHA-256 and NumPy's archive of arrays.
STATE, FITTED = "state.bin", "fitted.bin"


class _InMemory(io.BytesIO):
    """What Keras accepts as a file of weights; HDF5 itself crashes when the disk is full."""

    def __str__(self) -> str:
        return "in memory.weights.h5"


class Checkpoints:
    """The checkpoints of one training, in a folder that no other process writes to.

    `keep` and `save` run on the threads that train, the other methods on the consumer's thread.

    Parameters
    ----------
    folder
        Of the training. A seed starts again if its state is missing, damaged or from another
        processor (which may round differently), or if kept weights are missing.
    seeds, kept_epochs
        Of the training; the last kept epoch is the last epoch.

    Attributes
    ----------
    run
        The run folder, updated by `write`.
    states
        The last states of the seeds that have started.
    epochs, updates
        By seed, the results of every epoch, and the rows of `layout.UPDATES` without the seed.
    fitted
        The test results of the seeds that are finished.
    """

    def __init__(self, folder: Path, seeds: Sequence[int], kept_epochs: Sequence[int]) -> None:
        self.folder, self.run = folder, RunFolder(folder)
        self.states: dict[int, State] = {}
        self.epochs: dict[int, list[Epoch]] = {seed: [] for seed in sorted(seeds)}
        self.updates: dict[int, list[Update]] = {seed: [] for seed in sorted(seeds)}
        self.fitted: dict[int, Fitted] = {}
        for seed in seeds:
            self._load(seed, kept_epochs)

    def keep(
        self, seed: int, epoch: int, model: Any, next_step: Callable[[], Mapping[str, float]]
    ) -> None:
        """Write a model's weights, and measure its next step."""
        with atomic_write(weights_path(self.run.models, seed, epoch)) as path:
            weights = _InMemory()
            model.save_weights(weights)
            path.write_bytes(weights.getbuffer())
        self.updates[seed].extend((epoch, *ratio) for ratio in next_step().items())

    def save(self, state: State, epoch: Epoch) -> None:
        """Save a seed's state and the results of its epochs.

        It is not synced to disk: after a power failure the seed may start again.
        """
        self.epochs[state.seed].append(epoch)
        values = {
            "epoch": state.epoch,
            "is_last": state.is_last,
            "processor": _processor(),
            "epochs": [asdict(result) for result in self.epochs[state.seed]],
            "updates": self.updates[state.seed],
        }
        arrays = {str(place): array for place, array in enumerate(state.variables)}
        with atomic_write(self._path(state.seed, STATE), sync=False) as path:
            _write(path, values, arrays)

    def finish(self, fitted: Fitted) -> None:
        """Save a seed's test result."""
        self.fitted[fitted.seed] = fitted
        values = asdict(fitted)
        logits = values.pop("test_logits")
        with atomic_write(self._path(fitted.seed, FITTED)) as path:
            _write(path, values, {"test_logits": logits})

    def write(self) -> None:
        """Write the tables of the run folder, and the logits if every seed is finished."""
        # Other threads append meanwhile: each list is copied first.
        epochs = [epoch for results in self.epochs.values() for epoch in [*results]]
        updates = [(seed, *row) for seed, rows in self.updates.items() for row in [*rows]]
        fitted = [self.fitted[seed] for seed in sorted(self.fitted)]
        self.run.write_table("history", map(attrgetter(*layout.HISTORY), epochs))
        self.run.write_table("timings", map(attrgetter(*layout.TIMINGS), epochs))
        self.run.write_table("test", map(attrgetter(*layout.TEST), fitted))
        self.run.write_table("updates", updates)
        if noise := [(result.seed, *row) for result in fitted for row in result.noise]:
            self.run.write_table("noise", noise)
        if len(fitted) == len(self.epochs):
            self.run.write_logits({result.seed: result.test_logits for result in fitted})

    def describe_progress(self) -> str:
        """Describe how far the seeds are that have started."""
        return ", ".join(
            f"seed {seed} {'finished' if seed in self.fitted else f'from epoch {state.epoch}'}"
            for seed, state in self.states.items()
        )

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _load(self, seed: int, kept_epochs: Sequence[int]) -> None:
        if (saved := _read(self._path(seed, STATE))) is None:
            return
        values, arrays = saved
        *between, final = sorted(kept_epochs)
        last = values["epoch"]
        is_last = values["is_last"] or last >= final
        kept = [
            weights_path(self.run.models, seed, epoch)
            # A seed's last weights have the name of the final epoch.
            for epoch in [
                *(epoch for epoch in between if epoch < last or (epoch == last and not is_last)),
                *[final] * is_last,
            ]
        ]
        if values["processor"] != _processor() or not all(path.is_file() for path in kept):
            return
        variables = [arrays[str(place)] for place in range(len(arrays))]
        self.states[seed] = State(seed, last, variables, is_last)
        self.epochs[seed] = [Epoch(**result) for result in values["epochs"]]
        self.updates[seed] = [(epoch, layer, ratio) for epoch, layer, ratio in values["updates"]]
        if is_last and (tested := _read(self._path(seed, FITTED))):
            noise = [tuple(row) for row in tested[0].pop("noise")]
            arrays = {"test_logits": tested[1]["test_logits"], "noise": noise}
            self.fitted[seed] = Fitted(**tested[0], **arrays)

    def _path(self, seed: int, name: str) -> Path:
        return self.folder / f"seed-{seed}" / name


def _write(path: Path, values: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write JSON and arrays after their digest; zip's own checks do not cover its names."""
    packed = io.BytesIO()
    np.savez(packed, values=np.frombuffer(json.dumps(values).encode(), np.uint8), **arrays)
    content = packed.getvalue()
    path.write_bytes(hashlib.sha256(content).digest() + content)


def _read(path: Path) -> tuple[Any, dict[str, np.ndarray]] | None:
    """Read JSON and arrays; None if the file is missing or damaged."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    digest, content = whole[:32], whole[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        return json.loads(arrays.pop("values").tobytes()), arrays
    except (ValueError, KeyError):  # not written by actlab
        return None


@cache
def _processor() -> str:
    """Identify the processor by its features, as far as the system lists them."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return hashlib.sha256(line.encode()).hexdigest()
    return platform.processor()
