"""What is kept of a training while it runs, so that it goes on where a kill ended it.

A training has a folder named by its `fingerprint`, so that what goes on is what began: the same
values, data, code and packages. In it, its run folder as far as it is, and a folder per seed: its
state, from which the rest follows to the bit; what its test gave, at the end. None of these is
pickled. A finished training removes its folder.
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

#: The relative change of each layer's kernel in the next step: epoch, layer, ratio.
Update = tuple[int, str, float]

#: A seed's files; each begins with the SHA-256 of the rest, NumPy's archive of arrays.
STATE, FITTED = "state.bin", "fitted.bin"


class _InMemory(io.BytesIO):
    """What Keras takes for a file of weights. Where HDF5 itself finds the disk full, it crashes."""

    def __str__(self) -> str:
        return "in memory.weights.h5"


class Checkpoints:
    """The checkpoints of one training, in a folder that no other process writes to meanwhile.

    `keep` and `save` are for the threads that train (`training.fit_seeds`), the other methods for
    the one that asked for the models.

    Parameters
    ----------
    folder
        Of the training; what is whole in it is read. A seed begins anew where its state is
        missing or damaged, or of another processor, since that may round differently, and where
        its weights are missing.
    seeds, kept_epochs
        Of the training; the weights of kept epochs have to be there up to the state's, and the
        last of them is the last epoch.

    Attributes
    ----------
    run
        The run folder, as far as `write` has brought it.
    states
        Of the seeds that had begun, after their last epoch.
    epochs, updates
        By seed, what every epoch gave, and the rows of `layout.UPDATES` without the seed.
    fitted
        What the test of a seed gave, of those that are finished.
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
        """Keep a model's weights, for good, and what the next step does to them."""
        with atomic_write(weights_path(self.run.models, seed, epoch)) as path:
            held = _InMemory()
            model.save_weights(held)
            path.write_bytes(held.getbuffer())
        self.updates[seed].extend((epoch, *ratio) for ratio in next_step().items())

    def save(self, state: State, epoch: Epoch) -> None:
        """Save a seed's state with all that is known of its epochs.

        The disk takes it when it likes: after a power failure the file may be damaged, and the
        seed begins anew.
        """
        self.epochs[state.seed].append(epoch)
        known = {
            "epoch": state.epoch,
            "processor": _processor(),
            "epochs": [asdict(each) for each in self.epochs[state.seed]],
            "updates": self.updates[state.seed],
        }
        arrays = {str(place): each for place, each in enumerate(state.variables)}
        with atomic_write(self._path(state.seed, STATE), sync=False) as path:
            _write(path, known, arrays)

    def finish(self, fitted: Fitted) -> None:
        """Save what a seed's test gave, for good."""
        self.fitted[fitted.seed] = fitted
        known = {key: value for key, value in asdict(fitted).items() if key != "test_logits"}
        with atomic_write(self._path(fitted.seed, FITTED)) as path:
            _write(path, known, {"test_logits": fitted.test_logits})

    def write(self) -> None:
        """Write the tables of the run folder as they are now; of all seeds, their logits too."""
        epochs = [epoch for seed in self.epochs for epoch in [*self.epochs[seed]]]
        fitted = [self.fitted[seed] for seed in sorted(self.fitted)]
        updates = [(seed, *row) for seed in self.updates for row in [*self.updates[seed]]]
        self.run.write_table("history", map(attrgetter(*layout.HISTORY), epochs))
        self.run.write_table("timings", map(attrgetter(*layout.TIMINGS), epochs))
        self.run.write_table("test", map(attrgetter(*layout.TEST), fitted))
        self.run.write_table("updates", updates)
        if len(fitted) == len(self.epochs):
            self.run.write_logits({each.seed: each.test_logits for each in fitted})

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _load(self, seed: int, kept_epochs: Sequence[int]) -> None:
        if (found := _read(self._path(seed, STATE))) is None:
            return
        known, arrays = found
        after = known["epoch"]
        kept = [weights_path(self.run.models, seed, each) for each in kept_epochs if each <= after]
        if known["processor"] != _processor() or not all(path.is_file() for path in kept):
            return
        variables = [arrays[str(place)] for place in range(len(arrays))]
        self.states[seed] = State(seed, after, variables)
        self.epochs[seed] = [Epoch(**each) for each in known["epochs"]]
        self.updates[seed] = [(epoch, layer, ratio) for epoch, layer, ratio in known["updates"]]
        if after == max(kept_epochs) and (tested := _read(self._path(seed, FITTED))):
            self.fitted[seed] = Fitted(test_logits=tested[1]["test_logits"], **tested[0])

    def _path(self, seed: int, name: str) -> Path:
        return self.folder / f"seed-{seed}" / name


def _write(path: Path, known: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write JSON and arrays behind their digest: zip's own checks do not hold its names."""
    packed = io.BytesIO()
    np.savez(packed, known=np.frombuffer(json.dumps(known).encode(), np.uint8), **arrays)
    content = packed.getvalue()
    path.write_bytes(hashlib.sha256(content).digest() + content)


def _read(path: Path) -> tuple[Any, dict[str, np.ndarray]] | None:
    """Give JSON and arrays; None where there is no such file, or none as it was written."""
    try:
        digest, content = (whole := path.read_bytes())[:32], whole[32:]
    except OSError:
        return None
    if hashlib.sha256(content).digest() != digest:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        return json.loads(arrays.pop("known").tobytes()), arrays
    except (ValueError, KeyError):  # a digest is easily made, by what is not actlab
        return None


@cache
def _processor() -> str:
    """Tell the processor by what it can do, as far as the system says."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return hashlib.sha256(line.encode()).hexdigest()
    return platform.processor()
