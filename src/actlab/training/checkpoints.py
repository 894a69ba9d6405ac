"""What is kept of a training while it runs, so that it goes on where a kill ended it.

A training has a folder named by its `fingerprint`, so that what goes on is what began: the same
values, data, code and packages. In it, a folder a seed: its state, from which the rest follows to
the bit; the weights that are kept after some epochs; what its test gave, at the end. None of these
is pickled. A finished training removes its folder.
"""

import hashlib
import io
import json
import platform
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from actlab.engine.files import atomic_write
from actlab.models.network import weights_path
from actlab.training.trainer import Epoch, Fitted, State

#: The relative change of each layer's kernel in the next step: layer, ratio.
Update = tuple[int, str, float]

#: A seed's files; each begins with the SHA-256 of the rest, NumPy's archive of arrays.
STATE, FITTED = "state.bin", "fitted.bin"


@dataclass(frozen=True)
class Begun:
    """A seed that had begun.

    Attributes
    ----------
    state
        After its last epoch.
    epochs
        What those behind it gave.
    updates
        The rows of `tables.UPDATES` behind it, without the seed.
    fitted
        What its test gave; None before it.
    """

    state: State
    epochs: list[Epoch]
    updates: list[Update]
    fitted: Fitted | None


class _InMemory(io.BytesIO):
    """What Keras takes for a file of weights. Where HDF5 itself finds the disk full, it crashes."""

    def __str__(self) -> str:
        return "in memory.weights.h5"


class Checkpoints:
    """The checkpoints of one training, in a folder that no other process writes to meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def weights(self, seed: int, epoch: int) -> Path:
        """Give the file for the weights that a seed has after an epoch."""
        return weights_path(self.folder, seed, epoch)

    def keep(self, seed: int, epoch: int, model: Any) -> None:
        """Keep a model's weights, for good."""
        with atomic_write(self.weights(seed, epoch)) as path:
            held = _InMemory()
            model.save_weights(held)
            path.write_bytes(held.getbuffer())

    def save(self, state: State, epochs: Sequence[Epoch], updates: Sequence[Update]) -> None:
        """Save a seed's state with all that is known of its epochs.

        The disk takes it when it likes: after a power failure `load` may find the file damaged,
        and the seed begins anew.
        """
        known = {
            "epoch": state.epoch,
            "processor": _processor(),
            "epochs": [asdict(each) for each in epochs],
            "updates": list(updates),
        }
        arrays = {str(place): each for place, each in enumerate(state.variables)}
        with atomic_write(self._seed(state.seed) / STATE, sync=False) as path:
            _write(path, known, arrays)

    def finish(self, fitted: Fitted) -> None:
        """Save what a seed's test gave, for good."""
        known = {key: value for key, value in asdict(fitted).items() if key != "test_logits"}
        with atomic_write(self._seed(fitted.seed) / FITTED) as path:
            _write(path, known, {"test_logits": fitted.test_logits})

    def load(self, seed: int, kept_epochs: Sequence[int]) -> Begun | None:
        """Give what there is of a seed; None where there is nothing, or it is damaged or in part.

        The weights of those `kept_epochs` that are behind it have to be there; the last of them is
        the last epoch. On another processor a seed begins anew, since that may round differently.
        """
        if (found := _read(self._seed(seed) / STATE)) is None:
            return None
        known, arrays = found
        if known["processor"] != _processor():
            return None
        variables = [arrays[str(place)] for place in range(len(arrays))]
        state = State(seed, known["epoch"], variables)
        epochs = [Epoch(**each) for each in known["epochs"]]
        updates = [(after, layer, ratio) for after, layer, ratio in known["updates"]]
        kept = [self.weights(seed, each) for each in kept_epochs if each <= state.epoch]
        if not all(path.is_file() for path in kept):
            return None
        fitted = None
        is_last = state.epoch == max(kept_epochs)
        if is_last and (tested := _read(self._seed(seed) / FITTED)):
            fitted = Fitted(test_logits=tested[1]["test_logits"], **tested[0])
        return Begun(state, epochs, updates, fitted)

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _seed(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}"


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
