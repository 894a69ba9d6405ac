"""A study: configurations that differ in a few keys, and what was measured of each, as tidy tables.

The pipeline's study is a sweep whose keys are `network` and `activation`: `load_study` reads it
from the folders of the stages; `runs.gather` makes a study of finished runs in MLflow. Scores,
summaries, comparisons, figures and sentences take either.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from actlab.activations.config import ActivationConfig
from actlab.engine.csvs import where
from actlab.engine.targets import flatten
from actlab.errors import UserError
from actlab.results import layout, tables
from actlab.results.tables import HEALTH, read_table

#: The keys of activation and network; in MLflow `activation.name` and `network.name`.
ACTIVATION, NETWORK = "activation", "network"

#: The key of a fair sweep whose values are tuned and baseline.
PHASE = "phase"

_AGAIN = "run `dvc repro` to make it again"

#: A configuration's values of the study's keys, in their order.
Identity = tuple[str, ...]


class Loss(NamedTuple):
    """The loss of a network, as in a sentence, and its unit; empty for that of squared targets."""

    title: str
    unit: str


#: By the outputs of a network: see `losses.make_loss`.
LOSSES = {
    "softmax": Loss("cross-entropy", "nats"),
    "logistic": Loss("sum of the classes' cross-entropies", "nats"),
    "linear": Loss("mean squared error", ""),
}


@dataclass(frozen=True)
class Study:
    """Configurations that differ in a few keys, with what was measured of each seed.

    Every table of measurements has the columns `keys`, and rows in the order of `configurations`. A
    table that was not measured is empty.

    Attributes
    ----------
    keys
        The keys that identify a configuration, the activation last.
    configurations
        One row per configuration: `keys`, training.epochs and every other key that it was trained
        with, as text; of a sweep, outcome.
    test
        keys, seed, test_loss (in the unit of `loss`), test_accuracy (a fraction; undefined in a
        regression): NaN where a seed has none.
    history
        keys, then the columns of `layout.HISTORY`, epochs from 1.
    has_held_out
        Whether the validation images are held-out training images, not the test images.
    name
        Of a sweep.
    fixed
        The keys in which all configurations are equal, with the values.
    tied
        Keys that differ too, but follow from `keys`.
    grid
        In a fair sweep, its selection runs: one row per setting, with val_accuracy, the mean over
        seeds after the last epoch.
    settings
        In a fair sweep, the keys of which the best setting was chosen.
    notes
        Sentences on the selection of runs.
    declaration
        Of a study that adds seeds until its verdicts are decided: the rules that were declared
        before the first training (`evidence.settling.Declaration`). Empty where the number of
        seeds was.
    layers, timings, blocks, gradients, updates, preactivations, kernels
        Of the pipeline: `keys`, then the columns of the tuple of that name.
    noise
        keys, then the columns of `layout.NOISE`, of the configurations that were tested with noise.
    calibration
        keys, seed, calibration_error (`predictions.read_predictions`).
    theory_ratios, mean_field, moments, born_dead
        Of the pipeline: the theory of its activations, and its measurement on untrained networks.
    """

    keys: tuple[str, ...]
    configurations: pd.DataFrame
    test: pd.DataFrame
    history: pd.DataFrame
    has_held_out: bool = False
    noise: pd.DataFrame = field(default_factory=pd.DataFrame)
    name: str = ""
    fixed: Mapping[str, str] = field(default_factory=dict)
    tied: tuple[str, ...] = ()
    grid: pd.DataFrame = field(default_factory=pd.DataFrame)
    settings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    declaration: Mapping[str, Any] = field(default_factory=dict)
    layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    timings: pd.DataFrame = field(default_factory=pd.DataFrame)
    blocks: pd.DataFrame = field(default_factory=pd.DataFrame)
    gradients: pd.DataFrame = field(default_factory=pd.DataFrame)
    updates: pd.DataFrame = field(default_factory=pd.DataFrame)
    preactivations: pd.DataFrame = field(default_factory=pd.DataFrame)
    kernels: pd.DataFrame = field(default_factory=pd.DataFrame)
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    theory_ratios: pd.DataFrame = field(default_factory=pd.DataFrame)
    mean_field: pd.DataFrame = field(default_factory=pd.DataFrame)
    moments: pd.DataFrame = field(default_factory=pd.DataFrame)
    born_dead: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def activations(self) -> list[str]:
        """The activations, in order."""
        return self.values(ACTIVATION) if ACTIVATION in self.keys else []

    @property
    def networks(self) -> list[str]:
        """The networks, in order."""
        return self.values(NETWORK) if NETWORK in self.keys else []

    @property
    def seeds(self) -> list[int]:
        """All seeds, in the order of the tests."""
        return list(dict.fromkeys(int(seed) for seed in self.test["seed"]))

    @property
    def epochs(self) -> int:
        """The number of epochs; the most where configurations differ."""
        return max(self.configurations["training.epochs"].astype(int))

    @property
    def others(self) -> list[str]:
        """The keys other than the activation."""
        return [key for key in self.keys if key != ACTIVATION]

    @property
    def is_fair(self) -> bool:
        """Whether tuned configurations are compared with a baseline."""
        return PHASE in self.keys

    @property
    def is_sequential(self) -> bool:
        """Whether seeds are added until the verdicts are decided."""
        return bool(self.declaration)

    @property
    def losses(self) -> list[Loss]:
        """The losses of the configurations, by the outputs of their networks."""
        if "network.outputs" not in self.configurations:
            return [LOSSES["softmax"]]
        outputs = self.configurations["network.outputs"]
        return list(dict.fromkeys(LOSSES.get(name, LOSSES["softmax"]) for name in outputs))

    @property
    def loss(self) -> Loss:
        """The loss, if it is the same for all."""
        return self.losses[0] if len(self.losses) == 1 else Loss("loss", "")

    @property
    def is_regression(self) -> bool:
        """Whether the targets are numbers, so that there is no accuracy."""
        return self.losses == [LOSSES["linear"]]

    @property
    def has_layers(self) -> bool:
        """Whether layers were measured, as in the pipeline's study."""
        return len(self.layers) > 0

    @property
    def tuned_for(self) -> list[str]:
        """In a fair sweep, the keys for whose values settings were tuned."""
        return [key for key in self.keys if key != PHASE]

    def values(self, key: str) -> list[str]:
        """Get the values of a key, in order."""
        return list(dict.fromkeys(self.configurations[key]))

    def identities(self) -> list[Identity]:
        """Identify every configuration by its values of the keys."""
        rows = self.configurations[list(self.keys)].itertuples(index=False)
        return [tuple(map(str, row)) for row in rows]

    def identify(self, row: Mapping[Any, Any]) -> Identity:
        """Identify the configuration of a table's row."""
        return tuple(str(row[key]) for key in self.keys)

    def setting(self, row: Mapping[Any, Any], keys: Iterable[str]) -> str:
        """Write the values of some keys: `depth 8, relu`."""
        return setting(row, keys, self.keys)

    def layers_of(self, network: str) -> list[str]:
        """Get the names of a network's layers, from the images to the classes."""
        return list(dict.fromkeys(where(self.layers, network=network)["layer"]))


# --- Keys -----------------------------------------------------------------------------------

#: The sections that a training is made with.
_SECTIONS = ("activation", "network", "initializer", "optimizer", "data", "training")


def parameters(sections: Mapping[str, Any]) -> dict[str, object]:
    """Return what a training is made with by dotted keys, from the sections of a configuration."""
    values = {name: asdict(sections[name]) for name in _SECTIONS if name in sections}
    values["activation"] |= values["activation"].pop("constants")
    for name in ("initializer", "optimizer"):
        if name in values:
            values[name] |= flatten(values[name].pop("settings"))
    hidden, listed = sections["network"].hidden, sections["network"].activations
    values["network"] |= {
        "activations": "-".join(one.name if one else "same" for one in listed) or "[]",
        "hidden": "-".join(map(str, hidden)),
        "depth": len(hidden),
        "width": max(hidden, default=0),
    }
    found = {f"{name}.{key}": value for name in values for key, value in values[name].items()}
    if schedule := found.get("optimizer.learning_rate._target_"):
        found["optimizer.learning_rate"] = schedule.rpartition(".")[2]
    return {key: "none" if value is None else value for key, value in found.items()}


def describe_row(network: str, activation: str, sections: Mapping[str, Any]) -> dict[str, str]:
    """Return a row of `Study.configurations` that is identified by network and activation."""
    values = parameters(sections)
    row = {key: str(value) for key, value in values.items() if not key.endswith(".name")}
    return {NETWORK: network, ACTIVATION: activation, **row}


# --- Keys in words --------------------------------------------------------------------------


def label(key: str, among: Iterable[str] = ()) -> str:
    """Name a key as in a sentence; in full where another key would have the same name.

    >>> label("optimizer.learning_rate"), label("initializer.name")
    ('learning rate', 'initializer')
    >>> label("data.name", ["network", "data.name"])
    'data'
    """

    def short(name: str) -> str:
        group, _, last = name.rpartition(".")
        return group if last == "name" else last.replace("_", " ")

    return key if any(short(key) == short(other) for other in among if other != key) else short(key)


def setting(row: Mapping[Any, Any], keys: Iterable[str], among: Sequence[str]) -> str:
    """Write the values of some keys of a row; activation, network and phase without their names.

    >>> setting({"network.depth": "8", "activation": "relu"}, ["network.depth", "activation"], [])
    'depth 8, relu'
    """
    return ", ".join(
        str(row[key]) if key in (PHASE, ACTIVATION, NETWORK) else f"{label(key, among)} {row[key]}"
        for key in keys
    )


def line_key(keys: Sequence[str]) -> str:
    """Get the key whose values are compared within a setting: the activation, or the last one.

    >>> line_key(["network.depth", "activation"]), line_key(["network.depth"])
    ('activation', 'network.depth')
    """
    return ACTIVATION if ACTIVATION in keys else keys[-1]


def varies(table: pd.DataFrame, key: str) -> bool:
    """Tell whether a column holds more than one value."""
    return len(set(table[key])) > 1


def numbers(values: Iterable[str]) -> list[float] | None:
    """Parse the values of a key as numbers; None where one is not finite.

    >>> numbers(["0.001", "3e-4"]), numbers(["64-64", "64"])
    ([0.001, 0.0003], None)
    """
    try:
        parsed = [float(value) for value in values]
    except ValueError:
        return None
    return parsed if all(map(math.isfinite, parsed)) else None


# --- From the folders of the pipeline -------------------------------------------------------


def load_study(
    activations: Sequence[str],
    networks: Sequence[str],
    seeds: Sequence[int],
    epochs: int,
    runs: Path,
    results: Path,
    timings: Path,
    has_held_out: bool = False,
) -> Study:
    """Read the results of the pipeline's stages for every configured activation and network.

    Raises
    ------
    UserError
        When a file is missing, or holds other seeds, epochs or layers than configured.
    """
    gathered: dict[str, Any] = {}
    configurations = []
    for network, activation in product(networks, activations):
        folder = layout.RunFolder.finished(runs, activation, network)
        if folder.table("noise").is_file():
            table = _read_training(folder, "noise", seeds, epochs)
            gathered.setdefault("noise", []).append(_labelled(table, network, activation))
        for key in ("history", "test", "layers", "timings"):
            table = _read_training(folder, key, seeds, epochs)
            if key == "layers":
                # The configuration's name takes the column; what each layer computes with keeps
                # one of its own.
                table = table.rename(columns={"activation": "layer_activation"})
            gathered.setdefault(key, []).append(_labelled(table, network, activation))
        is_whole = (folder.models / "training.json").is_file()
        sections = folder.read_sections() if is_whole else folder.read_model()
        configurations.append(describe_row(network, activation, sections))
    study = Study(
        keys=(NETWORK, ACTIVATION),
        configurations=pd.DataFrame(configurations).assign(**{"training.epochs": str(epochs)}),
        has_held_out=has_held_out,
        **{key: pd.concat(parts, ignore_index=True) for key, parts in gathered.items()},
    )
    study = replace(
        study,
        blocks=_read_blocks(study, timings / "blocks.csv"),
        gradients=_read_gradients(study, results / "gradients.csv"),
        theory_ratios=_read_theory(study, results / "theory/ratios.csv", tables.THEORY_RATIOS),
        mean_field=_read_theory(study, results / "theory/mean_field.csv", tables.MEAN_FIELD),
        kernels=_read_kernels(study, timings / "kernels.csv"),
        moments=_read_theory(study, results / "theory/moments.csv", tables.MOMENTS),
        born_dead=_of_study(study, read_table(results / "theory/born_dead.csv", tables.BORN_DEAD)),
        preactivations=_of_study(
            study, read_table(results / "preactivations.csv", tables.PREACTIVATIONS)
        ),
    )
    return replace(study, updates=_read_updates(study, runs))


def read_activations(study: Study, runs: Path) -> list[ActivationConfig]:
    """Read which function and constants a study's activations were trained with, from model.json.

    Raises
    ------
    UserError
        When a file is missing, or an activation differs between networks.
    """
    read: dict[str, ActivationConfig] = {}
    for network, activation in study.identities():
        folder = layout.RunFolder.finished(runs, activation, network)
        trained = folder.read_model()["activation"]
        if read.setdefault(activation, trained) != trained:
            path = folder.models / "model.json"
            raise UserError(f"{path} has another {activation} than the other networks: {_AGAIN}")
    return [read[activation] for activation in study.activations]


def _read_training(
    folder: layout.RunFolder, name: str, seeds: Sequence[int], epochs: int
) -> pd.DataFrame:
    """Read a table of a training; check its seeds and epochs against the configured ones."""
    table, path = folder.read_table(name), folder.table(name)
    if "seed" in table:
        _check_seeds(table, seeds, path)
    if "epoch" in table:
        for seed, rows in table.groupby("seed"):
            reached = list(rows["epoch"])
            is_whole = reached == list(range(1, epochs + 1))
            if not (is_whole or (_may_end_early(folder) and reached == [*range(1, len(rows) + 1)])):
                raise UserError(
                    f"{path} does not hold the epochs 1 to {epochs} of seed {seed}: {_AGAIN}"
                )
    return table


def _may_end_early(folder: layout.RunFolder) -> bool:
    path = folder.models / "training.json"
    return path.is_file() and folder.read_sections()["training"].may_end_early


def _labelled(table: pd.DataFrame, network: str, activation: str) -> pd.DataFrame:
    labelled = table.copy()
    labelled.insert(0, NETWORK, network)
    labelled.insert(1, ACTIVATION, activation)
    return labelled


def _check_seeds(table: pd.DataFrame, seeds: Sequence[int], place: object) -> None:
    found = sorted(set(table["seed"]))
    if found != sorted(seeds):
        raise UserError(
            f"{place} holds the seeds {', '.join(map(str, found)) or 'none'}, configured are"
            f" {', '.join(map(str, sorted(seeds)))}: {_AGAIN}"
        )


def _of_study(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of the study's activations and networks; a table may lack some."""
    return where(table, activation=study.activations, network=study.networks)


def _read_gradients(study: Study, path: Path) -> pd.DataFrame:
    """Read the gradients in the order of configurations, seeds, epochs and layers."""
    table = read_table(path, tables.GRADIENTS)
    parts = []
    for network, activation in study.identities():
        part = where(table, network=network, activation=activation)
        place = f"{path} ({activation} on {network}"
        for epoch in (0, study.epochs):
            _check_seeds(where(part, epoch=epoch), study.seeds, f"{place}, epoch {epoch})")
        layers = study.layers_of(network)
        if set(part["layer"]) != set(layers):
            raise UserError(f"{place}) has other layers than layers.csv: {_AGAIN}")
        if missing := [name for name in HEALTH[:3] if name not in set(part["statistic"])]:
            raise UserError(f"{place}) lacks the {missing[0]}: {_AGAIN}")
        places = part["layer"].map(layers.index)
        ordered = part.assign(place=places).sort_values(["seed", "epoch", "place"], kind="stable")
        parts.append(ordered.drop(columns="place"))
    return pd.concat(parts, ignore_index=True)


def _read_updates(study: Study, runs: Path) -> pd.DataFrame:
    parts = []
    for network, activation in study.identities():
        folder = layout.RunFolder.finished(runs, activation, network)
        table, path = folder.read_table("updates"), folder.table("updates")
        rows = where(study.gradients, activation=activation, network=network)
        epochs = set(rows["epoch"])
        if set(table["epoch"]) > epochs and _may_end_early(folder):  # some seeds lack one
            table = where(table, epoch=list(epochs))
        for column in ("seed", "epoch", "layer"):
            if set(table[column]) != set(rows[column]):
                raise UserError(f"{path} holds other {column}s than gradients.csv: {_AGAIN}")
        parts.append(_labelled(table, network, activation))
    return pd.concat(parts, ignore_index=True)


def _read_theory(study: Study, path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    table = read_table(path, columns)
    parts = [where(table, activation=name) for name in study.activations]
    for name, part in zip(study.activations, parts, strict=True):
        if part.empty:
            raise UserError(f"{path} lacks {name}: {_AGAIN}")
    return pd.concat(parts, ignore_index=True)


def _read_blocks(study: Study, path: Path) -> pd.DataFrame:
    table = _of_study(study, read_table(path, tables.BLOCKS))
    timed = set(zip(table[NETWORK], table[ACTIVATION], strict=True))
    for network, activation in study.identities():
        if (network, activation) not in timed:
            raise UserError(f"{path} lacks {activation} on {network}: {_AGAIN}")
    return table


def _read_kernels(study: Study, path: Path) -> pd.DataFrame:
    table = where(read_table(path, tables.KERNELS), activation=study.activations)
    counts = set(table.groupby(["operation", ACTIVATION]).size())
    if len(counts) != 1 or set(table[ACTIVATION]) != set(study.activations):
        raise UserError(f"{path} lacks blocks of an activation: {_AGAIN}")
    return table
