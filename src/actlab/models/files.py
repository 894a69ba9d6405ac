"""Where the runs of configurations are, and in them the weights of each seed."""

from collections.abc import Sequence
from pathlib import Path

from actlab.errors import UserError


def run_path(runs: str | Path, activation: str, network: str) -> Path:
    """Return the folder of a configuration's finished run, whose folder `models` has weights."""
    return Path(runs) / f"{activation}-{network}"


def weights_path(models: Path, seed: int, epoch: int) -> Path:
    """Return the file of a seed's weights after an epoch."""
    return models / f"seed-{seed}" / f"epoch-{epoch:03d}.weights.h5"


def kept_epochs(models: Path, seed: int) -> Sequence[int]:
    """List the epochs whose weights are in the models of a run, ascending; there must be some."""
    files = (models / f"seed-{seed}").glob("epoch-*.weights.h5")
    epochs = sorted(int(path.name.split(".")[0].removeprefix("epoch-")) for path in files)
    if not epochs:
        raise UserError(f"{models}/seed-{seed} holds no weights: run `dvc repro` to train them")
    return epochs
