"""The run folder: the files that the training of a configuration writes.

===========  ===================================================================================
models/      model.json and training.json, the configuration; each seed's weights at kept epochs
results/     layers.csv, history.csv, test.csv, updates.csv; test.npz, the logits, at the end
timings.csv  when each epoch ended and how long it took
run.json     the fingerprint
===========  ===================================================================================

Equal trainings give equal models and results, to the byte. During training, a run folder is
`checkpoints/<fingerprint>/`; a complete one is copied to `runs/<activation>-<network>/`, in the
repository or in the folder of a sweep's job.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from actlab.activations.config import ActivationConfig
from actlab.data.config import DataConfig
from actlab.engine import csvs
from actlab.engine.files import atomic_write
from actlab.errors import UserError
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.models.files import run_path, weights_path
from actlab.training.config import OptimizerConfig, TrainingConfig

if TYPE_CHECKING:
    from actlab.schema import Config
else:  # a training depends on this module, but not on the whole configuration
    Config = Any

#: One row per epoch of one seed; `results/history.csv`.
#: Epochs count from 1; losses are mean cross-entropies in nats, accuracies fractions.
HISTORY = ("seed", "epoch", "loss", "accuracy", "val_loss", "val_accuracy")

#: One row per seed; `results/test.csv`.
TEST = ("seed", "test_loss", "test_accuracy")

#: One row per layer with weights; `results/layers.csv`.
LAYERS = ("layer", "inputs", "units", "activation", "parameters")

#: One row per epoch of one seed; `timings.csv`.
#: `epoch_seconds` is training only, `compile_seconds` compilation before the first epoch,
#: `models_at_once` the number of models in parallel; `ended` is in milliseconds since 1970.
TIMINGS = ("seed", "epoch", "epoch_seconds", "compile_seconds", "models_at_once", "ended")

#: One row per layer at a kept epoch of one seed; `results/updates.csv`.
#: The norm of the next step's change of the layer's kernel, divided by the kernel's norm.
UPDATES = ("seed", "epoch", "layer", "update_ratio")

#: One row per bound of the noise on the test images and seed; `results/noise.csv`, if tested.
NOISE = ("seed", "noise", "test_loss", "test_accuracy")

#: The CSVs of a run.
COLUMNS = {
    "layers": LAYERS,
    "history": HISTORY,
    "test": TEST,
    "updates": UPDATES,
    "noise": NOISE,
    "timings": TIMINGS,
}
_TEXT = {"layer", "activation"}


@dataclass(frozen=True)
class Run:
    """The content of a run folder.

    Attributes
    ----------
    config
        The configuration of the run; keys that change no result are the reader's.
    fingerprint, code
        `identity.fingerprint` and `identity.code_of` of `config` when it was trained.
    epochs
        `HISTORY` with `TIMINGS`: one row per finished epoch of a seed.
    test, updates, noise
        `TEST` of the finished seeds, `UPDATES`, and `NOISE`.
    """

    config: Config
    fingerprint: str
    code: str
    epochs: pd.DataFrame
    test: pd.DataFrame
    updates: pd.DataFrame
    noise: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(NOISE)))

    @property
    def is_complete(self) -> bool:
        """Whether every epoch and the test of each seed are there."""
        seeds = set(self.config.seeds)
        tested, measured = set(self.test["seed"]), set(self.updates["seed"])
        ends = set()
        for _, rows in self.epochs.groupby("seed"):
            reached = sorted(rows["epoch"])
            if reached != list(range(1, len(reached) + 1)):
                return False
            ends.add(len(reached))
        is_whole = self.config.training.may_end_early or ends == {self._last}
        return is_whole and set(self.epochs["seed"]) == tested == measured == seeds

    @property
    def objective(self) -> float | None:
        """The mean validation accuracy over seeds of what is tested; None without validation.

        In a regression, the mean validation loss with a negative sign.
        """
        if not self.config.data.validation_size:
            return None
        tested = find_tested(self.epochs, self.config.training)
        if np.isfinite(tested["val_accuracy"].to_numpy()).any():
            return fmean(tested["val_accuracy"])
        return -fmean(tested["val_loss"])

    @property
    def divergences(self) -> dict[int, int]:
        """The first epoch of each diverged seed: see `find_divergences`."""
        return find_divergences(self.epochs, self.test)

    @property
    def _last(self) -> int:
        return self.config.training.epochs


def find_tested(history: pd.DataFrame, training: TrainingConfig) -> pd.DataFrame:
    """Find the rows of a history, one per seed, after whose epoch the weights are tested."""
    ordered = history.sort_values(["seed", "epoch"], kind="stable")
    if training.tested == "best":
        is_accuracy = training.monitor == "val_accuracy"
        values = ordered[training.monitor] * (-1 if is_accuracy else 1)
        ordered = ordered.assign(order=values.fillna(np.inf)).sort_values("order", kind="stable")
        return ordered.drop(columns="order").drop_duplicates("seed").sort_values("seed")
    return ordered.drop_duplicates("seed", keep="last")


def find_divergences(history: pd.DataFrame, test: pd.DataFrame) -> dict[int, int]:
    """Find the seeds with a loss that is not finite, and the first epoch in which it is not.

    Of a test loss alone, that is the last epoch.
    """
    is_lost = ~np.isfinite(history["loss"] + history["val_loss"])
    first = history.loc[is_lost].groupby("seed")["epoch"].min()
    tested = test.loc[~np.isfinite(test["test_loss"]), "seed"]
    last = history["epoch"].max() if len(history) else 0
    return {int(seed): int(first.get(seed, last)) for seed in sorted({*first.index, *tested})}


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, finished or not."""

    path: Path

    @classmethod
    def finished(cls, runs: str | Path, activation: str, network: str) -> "RunFolder":
        """Return the folder of a configuration's finished run, below the folder of all runs."""
        return cls(run_path(runs, activation, network))

    @property
    def models(self) -> Path:
        """The folder of the weights and their configuration."""
        return self.path / "models"

    @property
    def results(self) -> Path:
        """The folder of the results, which repeat to the byte."""
        return self.path / "results"

    @property
    def logits(self) -> Path:
        """The file of the logits of the test images."""
        return self.results / "test.npz"

    @property
    def record(self) -> Path:
        """The JSON of what may differ between equal runs."""
        return self.path / "run.json"

    def table(self, name: str) -> Path:
        """Return the file of one of `COLUMNS`."""
        return (self.path if name == "timings" else self.results) / f"{name}.csv"

    # --- Writing --------------------------------------------------------------------------

    def write_table(self, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write or replace one of `COLUMNS`."""
        with atomic_write(self.table(name), sync=False) as path:
            csvs.write_table(rows, COLUMNS[name], path)

    def write_config(
        self, config: Config, model: Mapping[str, Any], fingerprint: str, code: str
    ) -> None:
        """Write the configuration; `model` has the fields of `network.ModelSpec`."""
        made_with: dict[str, Any] = {"seeds": config.seeds}
        for name in ("data", "optimizer", "training"):
            made_with[name] = asdict(getattr(config, name))
        for file, content in (
            (self.models / "model.json", model),
            (self.models / "training.json", made_with),
            (self.record, {"fingerprint": fingerprint, "code": code}),
        ):
            with atomic_write(file, sync=False) as path:
                path.write_text(json.dumps(content, indent=2) + "\n")

    def write_logits(self, logits: Mapping[int, np.ndarray]) -> None:
        """Write the logits of the test images, by seed."""
        with atomic_write(self.logits, sync=False) as path:
            arrays: dict[str, Any] = {f"seed-{seed}": array for seed, array in logits.items()}
            np.savez(path, **arrays)

    def copy_to(self, other: "RunFolder") -> None:
        """Copy the run, replacing each folder and file atomically; partial files are left out."""
        for name in ("models", "results", "timings.csv", "run.json"):
            original = self.path / name
            with atomic_write(other.path / name) as path:
                # `shutil.copytree` would hide that the disk is full behind an error of its own.
                for file in (original, *original.rglob("*")):
                    if file.is_file() and file.parent.suffix != ".partial":
                        copy = path / file.relative_to(original)
                        copy.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(file, copy)

    # --- Reading --------------------------------------------------------------------------

    def read_table(self, name: str) -> pd.DataFrame:
        """Read one of `COLUMNS`."""
        return csvs.read_table(self.table(name), COLUMNS[name], _TEXT)

    def read(self, config: Config) -> Run:
        """Read the run, complete or not; see `read_config`."""
        trained = self.read_config(config)
        record = _read_json(self.record)
        if not record.keys() >= {"fingerprint", "code"}:
            raise _not_of_this_version(self.record.parent)
        epochs = self.read_table("history").merge(self.read_table("timings"))
        test, updates = self.read_table("test"), self.read_table("updates")
        run = Run(trained, record["fingerprint"], record["code"], epochs, test, updates)
        if trained.training.test_noise and self.table("noise").is_file():
            return replace(run, noise=self.read_table("noise"))
        return run

    def read_config(self, config: Config) -> Config:
        """Return `config` with the values that the run was trained with."""
        return replace(config, **self.read_sections())

    def read_sections(self) -> dict[str, Any]:
        """Return the sections of the configuration that the run was trained with, and its seeds."""
        values = _read_json(self.models / "training.json")
        kinds = {"data": DataConfig, "optimizer": OptimizerConfig, "training": TrainingConfig}
        return self.read_model() | self._read_sections(values, kinds) | {"seeds": values["seeds"]}

    def read_model(self) -> dict[str, Any]:
        """Return the sections activation, network and initializer that the run was trained with."""
        kinds = {
            "activation": ActivationConfig,
            "network": NetworkConfig,
            "initializer": InitializerConfig,
        }
        return self._read_sections(_read_json(self.models / "model.json"), kinds)

    def _read_sections(self, values: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {name: kind(**values[name]) for name, kind in kinds.items()}
        except (KeyError, TypeError) as error:
            raise _not_of_this_version(self.models) from error

    def find_weights(self, config: Config) -> dict[int, Path]:
        """Return the files of the seeds' final weights; all must exist."""
        last = config.training.epochs
        weights = {seed: weights_path(self.models, seed, last) for seed in config.seeds}
        for path in weights.values():
            if not path.is_file():
                raise UserError(f"{path} is missing: run `dvc repro`")
        return weights


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: run `dvc repro`") from error
    except ValueError as error:
        raise _not_of_this_version(path.parent) from error


def _not_of_this_version(folder: Path) -> UserError:
    return UserError(f"the JSON in {folder} is not this version's: run `dvc repro`")
