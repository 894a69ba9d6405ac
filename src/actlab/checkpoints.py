"""What is kept of a training while it runs, so that it goes on where a kill ended it.

A training has a folder named by its `fingerprint`, so that what goes on is what began: the same
values, data, code and packages. In it, a folder a seed: `state.npz`, from which the rest follows to
the bit; the weights that are kept after some epochs; `fitted.npz`, once the seed has been tested.
No file of them is pickled. A finished training removes its folder.
"""

import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actlab.model import weights_path
from actlab.outputs import written_whole
from actlab.training import Epoch, Fitted, State

#: The relative change of each layer's kernel in the next step: layer, ratio.
Update = tuple[int, str, float]

# What NumPy and zipfile raise for a file that is damaged, or is no archive of arrays.
_DAMAGED = (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile)


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


class Checkpoints:
    """The checkpoints of one training, in a folder that no other process writes to meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def weights(self, seed: int, epoch: int) -> Path:
        """Give the file for the weights that a seed has after an epoch."""
        return weights_path(self.folder, seed, epoch)

    def keep(self, seed: int, epoch: int, model: Any) -> None:
        """Keep a model's weights, for good."""
        with written_whole(self.weights(seed, epoch)) as path:
            model.save_weights(path)

    def save(self, state: State, epochs: Sequence[Epoch], updates: Sequence[Update]) -> None:
        """Save a seed's state with all that is known of its epochs.

        The disk takes it when it likes: after a power failure `load` may find the file damaged,
        and the seed begins anew.
        """
        known = {"epochs": [asdict(each) for each in epochs], "updates": list(updates)}
        arrays: dict[str, Any] = {
            f"variable-{place:05d}": each for place, each in enumerate(state.variables)
        }
        with written_whole(self._seed(state.seed) / "state.npz", sync=False) as path:
            np.savez(path, epoch=np.array(state.epoch), known=_packed(known), **arrays)

    def finish(self, fitted: Fitted) -> None:
        """Save what a seed's test gave, for good."""
        known = {key: value for key, value in asdict(fitted).items() if key != "test_logits"}
        with written_whole(self._seed(fitted.seed) / "fitted.npz") as path:
            np.savez(path, known=_packed(known), test_logits=fitted.test_logits)

    def load(self, seed: int, kept_epochs: Sequence[int]) -> Begun | None:
        """Give what there is of a seed; None where there is nothing, or it is damaged or in part.

        The weights of those `kept_epochs` that are behind it have to be there.
        """
        try:
            with np.load(self._seed(seed) / "state.npz", allow_pickle=False) as file:
                epoch, known = int(file["epoch"]), _unpacked(file["known"])
                names = sorted(name for name in file.files if name.startswith("variable-"))
                state = State(seed, epoch, [file[name] for name in names])
            epochs = [Epoch(**each) for each in known["epochs"]]
            updates = [(after, layer, ratio) for after, layer, ratio in known["updates"]]
        except _DAMAGED:
            return None
        kept = [self.weights(seed, each) for each in kept_epochs if each <= state.epoch]
        if not all(path.is_file() for path in kept):
            return None
        return Begun(state, epochs, updates, self._load_fitted(seed))

    def _load_fitted(self, seed: int) -> Fitted | None:
        try:
            with np.load(self._seed(seed) / "fitted.npz", allow_pickle=False) as file:
                return Fitted(test_logits=file["test_logits"], **_unpacked(file["known"]))
        except _DAMAGED:
            return None

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _seed(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}"


def _packed(known: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(json.dumps(known).encode(), np.uint8)


def _unpacked(packed: np.ndarray) -> dict[str, Any]:
    return json.loads(packed.tobytes())
