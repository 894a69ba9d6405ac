"""A study whose numbers are known beforehand."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from actlab.activations.config import ActivationConfig
from actlab.activations.definitions import ACTIVATIONS
from actlab.activations.functions import get_activation, nonlinearity_of
from actlab.data.config import DataConfig
from actlab.engine import csvs
from actlab.evidence import claims, comparisons, outcomes, summaries
from actlab.evidence.config import ReportConfig
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.models.network import ModelSpec
from actlab.probes.config import GradientsConfig, TheoryConfig, TimingConfig
from actlab.reporting import drawings, report, sections
from actlab.results import layout, metadata, study, tables
from actlab.schema import CompareConfig, Config, PathsConfig
from actlab.training.config import OptimizerConfig, TrainingConfig

REPORT = ReportConfig(0.95, 0.97, 0.002, 0.01, 1.0, 0.05)

CONSTANTS = {
    "leaky_relu": {"negative_slope": 0.01},
    "elu": {"alpha": 1.0},
    "gelu": {"approximate": False},
    "prelu": {"slope": 0.25},
    "celu": {"alpha": 1.0},
    "squareplus": {"b": 4.0},
    "hard_shrink": {"threshold": 0.5},
    "soft_shrink": {"threshold": 0.5},
    "threshold": {"threshold": 1.0, "default_value": 0.0},
}


GLOROT = InitializerConfig.read("glorot_uniform")


def adam(rate: float = 0.001) -> OptimizerConfig:
    """Adam, with a learning rate."""
    return OptimizerConfig.read({"name": "adam", "learning_rate": rate})


def configured(root: Path, **values: Any) -> Config:
    """A configuration at a small scale, its files below `root`; `values` replace its own."""
    folders = ("raw", "processed", "runs", "results", "timings", "reports", "checkpoints")
    paths = {name: str(root / name) for name in folders}
    given = {
        "data": DataConfig("mnist", 0, 0),
        "activations": ["relu"],
        "networks": ["mlp"],
        "seeds": [0],
        "initializer": GLOROT,
        "optimizer": adam(),
        "training": TrainingConfig(1, 128, [0]),
        "gradients": GradientsConfig(32, 2048, 0.05, 60),
        "timing": TimingConfig(2, 1, 16, 5, 100),
        "theory": TheoryConfig(["recommended"], 16, 3, 8, [0, 1]),
        "report": REPORT,
        "activation": ActivationConfig("relu", "relu", {}),
        "network": NetworkConfig("mlp", [128, 64]),
        "sweep": None,
        "force": False,
        "declaration": None,
        "models_at_once": None,
        "compare": CompareConfig("", None),
        "paths": PathsConfig(source=None, output=str(root), **paths),
    }
    return Config(**(given | values))


def activation_of(name: str) -> ActivationConfig:
    """The configuration of an activation; a name outside the table is a ReLU."""
    function = name if name in ACTIVATIONS else "relu"
    activation = ActivationConfig("checked", function, CONSTANTS.get(function, {}))
    activation.name = name
    return activation


def description_of(name: str) -> metadata.Description:
    """Its metadata, with gains of 1/2 and a chi of 1/4."""
    activation = activation_of(name)
    activation.name = "checked"
    row, phi = get_activation(activation), nonlinearity_of(activation)
    described = metadata.describe(activation, row, phi, (0.5, 0.5), "glorot_uniform", 0.25)
    described.name = name
    return described


def activations_of(planted: study.Study) -> list[metadata.Description]:
    """The metadata of a study's activations."""
    return [description_of(name) for name in planted.activations]


def health_of(
    activation: str, place: int, units: Sequence[int], epoch: int, norm: float
) -> dict[str, float]:
    """The health of a layer, by its place from the images.

    One unit of a hidden layer of relu is dead once it is trained. Half the units of relu are
    saturated, a tenth of others, twice that of sigmoid after training. What reads the images,
    sigmoid or relu has gradients of one sign.
    """
    one_sign = 1.0 if place == 0 or activation in ("sigmoid", "relu") else 0.0
    health = {"backprop_rms": norm, "preactivation_mean": 0.0, "preactivation_variance": 1.0}
    if place < len(units) - 1:
        trained = epoch > 0
        saturated = {"relu": 0.5, "sigmoid": 0.2 if trained else 0.1}
        health["activation_mean"] = 0.5 if one_sign else 0.0
        health["activation_variance"] = 0.25
        health["saturated_fraction"] = saturated.get(activation, 0.1)
        health["dead_fraction"] = 1 / units[place] if activation == "relu" and trained else 0.0
    return health | {"one_sign_fraction": one_sign, "one_sign_batch_fraction": one_sign / 4}


def layers_of(hidden: Sequence[int]) -> list[str]:
    """The names of a network's layers."""
    return [*(f"hidden_{number}" for number in range(1, len(hidden) + 1)), "output"]


def plant(
    folder: Path,
    activations: Sequence[str] = ("sigmoid", "tanh", "relu"),
    networks: Mapping[str, Sequence[int]] = MappingProxyType({"mlp": (128, 64), "deep": (64,) * 8}),
    seeds: Sequence[int] = (0, 1, 2, 3, 4, 5),
    epochs: int = 20,
    accuracies: Mapping[tuple[str, str], Sequence[float] | np.ndarray] = MappingProxyType({}),
    changed: Callable[[dict[str, pd.DataFrame]], None] = lambda parts: None,
    theory_changed: Callable[[pd.DataFrame], None] = lambda ratios: None,
    timing_changed: Callable[[dict[str, pd.DataFrame]], None] = lambda parts: None,
) -> study.Study:
    """Write the results of a made-up study into results/ and timings/ of a folder, and read them.

    Learning curves, gradients and times follow simple laws with a little seeded noise. The
    gradient of sigmoid falls by a factor of 6 per layer, that of others by 1.1; after training it
    is a tenth of what it was. The health of layers is that of `health_of`; pre-activations are
    normal, after training twice as wide.

    `networks` gives the hidden units of each, `accuracies` the final test accuracies of a
    configuration by seed. `changed` may change the tables of each configuration, by name, and at
    last {"gradients": ..., "preactivations": ...}, before they are written; `theory_changed` those
    of `plant_theory`, and `timing_changed` {"kernels": `plant_kernels`, "moments": ...}.
    """
    results, timings = folder / "results", folder / "timings"
    kept = sorted({epoch for epoch in (0, 1, 2, 5, 10) if epoch < epochs} | {0, epochs})
    whole, blocks = {"gradients": [], "preactivations": []}, []
    for (network, hidden), (place, activation) in product(networks.items(), enumerate(activations)):
        rng = np.random.default_rng([place, len(hidden)])
        layers, units, inputs = layers_of(hidden), [*hidden, 10], [784, *hidden]
        rows = {name: [] for name in ("history", "test", "timings", "updates")}
        rows["layers"] = [
            (layer, before, after, activation, (before + 1) * after)
            for layer, before, after in zip(layers, inputs, units, strict=True)
        ]
        for number, seed in enumerate(seeds):
            for epoch in range(1, epochs + 1):
                error = 0.02 + 0.1 * math.exp(-epoch / 3) * (1 + 0.1 * rng.random())
                accuracy = 1 - error - 0.001 * rng.random()
                rows["history"].append((seed, epoch, 2.5 * error, 1 - error, 3 * error, accuracy))
                seconds = 0.2 + place / 20 + rng.random() / 50
                rows["timings"].append((seed, epoch, seconds, 5.0, 2, 1000 * epoch))
            drawn = 0.979 + 0.001 * place + 0.001 * rng.standard_normal()
            given = accuracies.get((activation, network))
            accuracy = drawn if given is None else given[number]
            rows["test"].append((seed, 0.1 - drawn / 50, accuracy))
            for epoch, (at, layer) in product(kept, reversed(list(enumerate(layers)))):
                back = len(layers) - 1 - at
                shrink = 6.0 if activation == "sigmoid" else 1.1
                norm = 0.5 * (0.1 if epoch == epochs else 1) / shrink**back
                key = (activation, network, seed, epoch, layer)
                for probe in ("notebook", "test"):
                    value = norm * (1 + 0.1 * rng.random())
                    parts = {"mean_abs": 0.01, "l2_norm": 1.0, "relative_norm": 0.1}
                    whole["gradients"] += [
                        (*key, probe, statistic, part * value) for statistic, part in parts.items()
                    ]
                health = health_of(activation, at, units, epoch, norm)
                whole["gradients"] += [
                    (*key, "test", name, value) for name, value in health.items()
                ]
                rows["updates"].append((seed, epoch, layer, 0.01 / (1 + epoch) / (1 + back)))
        rows["updates"].sort(key=lambda row: (row[0], row[1], layers.index(row[2])))
        edges = np.linspace(-6, 6, 13)
        for (epoch, width), layer in product(((0, 1.0), (epochs, 2.0)), layers[:-1]):
            shares = np.diff(stats.norm.cdf(edges, scale=width))
            whole["preactivations"] += [
                (activation, network, epoch, layer, *place)
                for place in zip(edges[:-1], edges[1:], shares, strict=True)
            ]
        frames = {name: frame(name, values) for name, values in rows.items()}
        changed(frames)
        run = layout.RunFolder.finished(folder / "runs", activation, network)
        plant_model(run, activation_of(activation), NetworkConfig("planted", list(hidden)))
        for name in frames.keys() & layout.COLUMNS.keys():
            csvs.write_frame(frames[name], run.table(name))
        # Timed blocks are the epochs of the first seed, without load.
        first = frames["timings"].drop_duplicates("epoch").rename(columns={"epoch": "block"})
        blocks.append(first.assign(network=network, activation=activation, place=0, load=0.0))
    frames = {name: frame(name, values) for name, values in whole.items()}
    changed(frames)
    for name, table in frames.items():
        csvs.write_frame(table, results / f"{name}.csv")
    csvs.write_frame(pd.concat(blocks).loc[:, list(tables.BLOCKS)], timings / "blocks.csv")
    ratios = plant_theory(activations)
    theory_changed(ratios)
    frames = {
        "kernels": plant_kernels(activations),
        "moments": frame("moments", [(name, 0.0, 1.0) for name in activations]),
    }
    timing_changed(frames)
    csvs.write_frame(frames.pop("kernels"), timings / "kernels.csv")
    frames["ratios"] = ratios
    frames["mean_field"] = frame(
        "mean_field",
        [
            (name, *initializers, sigma_w2, 0.0, 0.5, 0.5, 1.0, 0.0, sigma_w2 / 2, math.inf)
            for name in activations
            for initializers, sigma_w2 in (
                (("glorot_uniform", "glorot_uniform"), 1.0),
                (("recommended", "he_uniform"), 2.0),
            )
        ],
    )
    frames["born_dead"] = frame(
        "born_dead",
        [
            ("relu", network, math.fsum(2.0**-units for units in hidden))
            for network, hidden in networks.items()
            if "relu" in activations
        ],
    )
    for name, table in frames.items():
        csvs.write_frame(table, results / f"theory/{name}.csv")
    return study.load_study(
        list(activations), list(networks), list(seeds), epochs, folder / "runs", results, timings
    )


def plant_model(
    run: layout.RunFolder, activation: ActivationConfig, network: NetworkConfig
) -> None:
    """Write what a run's networks were made of."""
    initializer = InitializerConfig.read("glorot_uniform")
    if not activation.name.isidentifier():  # for figures alone
        activation = dataclasses.replace(activation, name="checked")
    run.models.mkdir(parents=True, exist_ok=True)
    ModelSpec(activation, network, initializer).save(run.models / "model.json")


def frame(name: str, rows: Sequence[tuple]) -> pd.DataFrame:
    """Give rows as the table of a name."""
    return pd.DataFrame(
        rows, columns=list(layout.COLUMNS.get(name) or getattr(tables, name.upper()))
    )


Change = Callable[[dict[str, pd.DataFrame]], None]


def spoil(table: str, column: str, value: Any, **rows: Any) -> Change:
    """Make a change for `plant`: a column's value in the rows of a table with the values `rows`.

    `value` may be a function of those rows. A table without an activation is that of one
    configuration, whose activation counts.
    """

    def change(parts: dict[str, pd.DataFrame]) -> None:
        if table not in parts:
            return
        whole, wanted = parts[table], dict(rows)
        if "activation" not in whole and wanted.pop("activation", None) not in (
            None,
            parts["layers"]["activation"].iloc[0],
        ):
            return
        chosen = csvs.where(whole, **wanted).index
        whole.loc[chosen, column] = value(whole.loc[chosen]) if callable(value) else value

    return change


def all_of(*changes: Change) -> Change:
    """Combine changes."""

    def change(parts: dict[str, pd.DataFrame]) -> None:
        for each in changes:
            each(parts)

    return change


def predicted(planted: study.Study) -> tuple[study.Study, comparisons.ByImage]:
    """A planted study with its calibration; the images that a seed has right are drawn, 200."""
    rng = np.random.default_rng(0)
    noise = 0.01 * rng.random(len(planted.test))
    calibration = planted.test.drop(columns=["test_loss", "test_accuracy"]).assign(
        calibration_error=planted.test["test_loss"].clip(upper=5.0) / 10 + noise
    )
    right, losses = {}, {}
    for network, activation in planted.identities():
        accuracy = csvs.where(planted.test, activation=activation, network=network)
        chance = accuracy["test_accuracy"].to_numpy()[:, None]
        right[network, activation] = (rng.random((len(chance), 200)) < chance).astype(float)
        losses[network, activation] = rng.exponential(0.1, (len(chance), 200))
    whole = dataclasses.replace(planted, calibration=calibration)
    return whole, {"test_accuracy": right, "test_loss": losses}


def compared(planted: study.Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and comparisons of a planted study, with what is `predicted`."""
    whole, by_image = predicted(planted)
    scores = comparisons.score(whole, REPORT.target_accuracy)
    return scores, comparisons.compare(whole, scores, REPORT, by_image)


def claimed(
    planted: study.Study, scores: pd.DataFrame, compared: pd.DataFrame, dataset: str = "mnist"
) -> pd.DataFrame:
    """The table of claims of a planted study."""
    return claims.examine(
        outcomes.Evidence(planted, scores, compared, activations_of(planted), dataset, REPORT)
    )


def plant_theory(activations: Sequence[str], depth: int = 4) -> pd.DataFrame:
    """Ratios of untrained layers: predicted 1/2 with Glorot, 1 with the recommended; measured 1.02.

    The band is 10 % wide on either side.
    """
    rows = []
    initializers = (("glorot_uniform", "glorot_uniform", 0.5), ("recommended", "he_uniform", 1.0))
    layers = [*(f"hidden_{number}" for number in range(2, depth + 1)), "all"]
    for name, (initializer, kernel, predicted), direction, layer, (seed, off) in product(
        activations, initializers, ("forward", "backward"), layers, ((0, 1.015), (1, 1.025))
    ):
        names = (name, initializer, kernel, layer, direction, seed)
        rows.append((*names, predicted, predicted / 1.1, predicted * 1.1, predicted * off))
    return frame("theory_ratios", rows)


def plant_kernels(activations: Sequence[str], blocks: int = 4) -> pd.DataFrame:
    """Times of a layer: each activation takes a tenth more than the one before it.

    The machine is slower in every block by half. Forward takes 100 µs in the first, backward 200,
    elementwise 10.
    """
    rows = []
    operations = (("forward", 1e-4, 50), ("backward", 2e-4, 50), ("elementwise", 1e-5, 2000))
    for (operation, seconds, count), block, (place, name) in product(
        operations, range(1, blocks + 1), enumerate(activations)
    ):
        took = seconds * 1.5 ** (block - 1) * 1.1**place * (1 + 0.001 * (block % 2))
        rows.append((operation, block, place, name, count, took, 0.25 * block))
    return frame("kernels", rows)


def summarised(planted: study.Study, confidence: float = 0.95) -> pd.DataFrame:
    """The summary of a planted study."""
    scores = comparisons.score(planted, REPORT.target_accuracy)
    return summaries.summarise(planted, scores, confidence)


def composed_of(
    planted: study.Study,
    both: tuple[pd.DataFrame, pd.DataFrame],
    class_counts: pd.DataFrame,
    config: Config,
) -> report.Report:
    """The report of a planted study, from its scores and comparisons."""
    described = activations_of(planted)
    drawn = drawings.draw(planted, described, REPORT.confidence)
    if differences := drawings.draw_differences(planted, both[1], REPORT.confidence):
        drawn["accuracy_differences"] = differences
    return sections.compose(
        predicted(planted)[0],
        summaries.summarise(planted, both[0], REPORT.confidence),
        both[1],
        drawn,
        config,
        activations=described,
        class_counts=class_counts,
        claims=claimed(planted, *both),
    )
