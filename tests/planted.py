"""A study whose numbers are known beforehand."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from actlab.activations.definitions.config import ActivationConfig
from actlab.activations.definitions.definitions import ACTIVATIONS
from actlab.activations.definitions.functions import get_activation, nonlinearity_of
from actlab.data.config import DataConfig
from actlab.evidence.config import ReportConfig
from actlab.models.config import ModelConfig, NetworkConfig
from actlab.probes.config import GradientsConfig, TheoryConfig, TimingConfig
from actlab.stages.schema import CompareConfig, Config, PathsConfig
from actlab.training.trainer.config import TrainingConfig
from scipy import stats

from actlab.evidence import claims, comparisons, summaries
from actlab.probes import metadata
from actlab.reporting import drawings, report, sections
from actlab.results import study, tables

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


def configured(root: Path, **values: Any) -> Config:
    """A configuration at a small scale, its files below `root`; `values` replace its own."""
    folders = ("raw", "processed", "models", "results", "timings", "reports")
    folders += ("checkpoints",)
    paths = {name: str(root / name) for name in folders}
    given = {
        "data": DataConfig("mnist", 0, 0),
        "activations": ["relu"],
        "networks": ["mlp"],
        "seeds": [0],
        "model": ModelConfig("glorot_uniform"),
        "training": TrainingConfig(1, 128, 0.001, [0]),
        "gradients": GradientsConfig(32, 2048, 0.05, 60),
        "timing": TimingConfig(2, 1, 16, 5, 100),
        "theory": TheoryConfig(["matched"], 16, 3, 8, [0, 1]),
        "report": REPORT,
        "activation": ActivationConfig("relu", "relu", {}),
        "network": NetworkConfig("mlp", [128, 64]),
        "sweep": None,
        "force": False,
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
    """What is said of it: its row, and beside it that gains are 1/2 and chi 1/4."""
    activation = activation_of(name)
    activation.name = "checked"
    row, phi = get_activation(activation), nonlinearity_of(activation)
    said = metadata.describe(activation, row, phi, (0.5, 0.5), "glorot_uniform", 0.25)
    said.name = name
    return said


def activations_of(planted: study.Study) -> list[metadata.Description]:
    """What is said of a study's activations."""
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
    said = {"backprop_rms": norm, "preactivation_mean": 0.0, "preactivation_variance": 1.0}
    if place < len(units) - 1:
        trained = epoch > 0
        said |= {
            "activation_mean": 0.5 if one_sign else 0.0,
            "activation_variance": 0.25,
            "saturated_fraction": 0.5
            if activation == "relu"
            else 0.2
            if activation == "sigmoid" and trained
            else 0.1,
            "dead_fraction": 1 / units[place] if activation == "relu" and trained else 0.0,
        }
    return said | {"one_sign_fraction": one_sign, "one_sign_batch_fraction": one_sign / 4}


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
    """Write the results of a made-up study into a folder, and read them.

    Learning curves, gradients and times follow simple laws with a little seeded noise. The
    gradient of sigmoid falls by a factor of 6 a layer, that of others by 1.1; after training it
    is a tenth of what it was. The health of layers is that of `health_of`; pre-activations are
    normal, after training twice as wide.

    Parameters
    ----------
    folder
        Gets results/ and timings/.
    networks
        The hidden units of each.
    accuracies
        The final test accuracies of a configuration, seed by seed.
    changed
        Gets the tables of each configuration by name, and at last {"gradients": ...,
        "preactivations": ...}; what it changes is what is written.
    theory_changed
        Gets the table `plant_theory` of the activations, likewise.
    timing_changed
        Gets {"kernels": `plant_kernels`, "matched": `plant_matching`, "moments": ...}, likewise.
    """
    results, timings = folder / "results", folder / "timings"
    kept = sorted({epoch for epoch in (0, 1, 2, 5, 10) if epoch < epochs} | {0, epochs})
    gradients, bins, blocks = [], [], []
    for network, hidden in networks.items():
        for place, activation in enumerate(activations):
            rng = np.random.default_rng([place, len(hidden)])
            layers = [f"hidden_{at}" for at in range(1, len(hidden) + 1)] + ["output"]
            units, inputs = [*hidden, 10], [784, *hidden]
            shrink = 6.0 if activation == "sigmoid" else 1.1
            curves, times, tests, updates = [], [], [], []
            for at, seed in enumerate(seeds):
                for epoch in range(1, epochs + 1):
                    error = 0.02 + 0.1 * math.exp(-epoch / 3) * (1 + 0.1 * rng.random())
                    noise = 0.001 * rng.random()
                    curves.append(
                        (seed, epoch, 2.5 * error, 1 - error, 3 * error, 1 - error - noise)
                    )
                    times.append(
                        (seed, epoch, 0.2 + place / 20 + rng.random() / 50, 5.0, 2, 1000 * epoch)
                    )
                given = accuracies.get((activation, network))
                drawn = 0.979 + 0.001 * place + 0.001 * rng.standard_normal()
                tests.append((seed, 0.1 - drawn / 50, drawn if given is None else given[at]))
                for epoch in kept:
                    for back, layer in enumerate(reversed(layers)):
                        norm = 0.5 * (0.1 if epoch == epochs else 1) / shrink**back
                        for probe in ("notebook", "test"):
                            value = norm * (1 + 0.1 * rng.random())
                            for statistic, part in (
                                ("mean_abs", 0.01),
                                ("l2_norm", 1.0),
                                ("relative_norm", 0.1),
                            ):
                                key = (activation, network, seed, epoch, layer, probe)
                                gradients.append((*key, statistic, part * value))
                        at_layer = len(layers) - 1 - back
                        said = health_of(activation, at_layer, units, epoch, norm)
                        key = (activation, network, seed, epoch, layer, "test")
                        gradients += [(*key, name, value) for name, value in said.items()]
                        updates.append((seed, epoch, layer, 0.01 / (1 + epoch) / (1 + back)))
            updates.sort(key=lambda row: (row[0], row[1], layers.index(row[2])))
            for epoch, width in ((0, 1.0), (epochs, 2.0)):
                edges = np.linspace(-6, 6, 13)
                shares = np.diff(stats.norm.cdf(edges, scale=width))
                for layer in layers[:-1]:
                    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
                        bins.append((activation, network, epoch, layer, low, high, share))
            parts = {
                "history": pd.DataFrame(curves, columns=list(tables.HISTORY)),
                "test": pd.DataFrame(tests, columns=list(tables.TEST)),
                "layers": pd.DataFrame(
                    [
                        (layer, before, after, activation, (before + 1) * after)
                        for layer, before, after in zip(layers, inputs, units, strict=True)
                    ],
                    columns=list(tables.LAYERS),
                ),
                "timings": pd.DataFrame(times, columns=list(tables.TIMINGS)),
                "updates": pd.DataFrame(updates, columns=list(tables.UPDATES)),
            }
            changed(parts)
            where = results / f"{activation}-{network}"
            for name in ("history", "test", "layers", "updates"):
                tables.write_frame(parts[name], where / f"{name}.csv")
            tables.write_frame(parts["timings"], timings / f"{activation}-{network}.csv")
            # Timed blocks are the epochs of the first seed, without load.
            first = parts["timings"].drop_duplicates("epoch").rename(columns={"epoch": "block"})
            blocks.append(first.assign(network=network, activation=activation, place=0, load=0.0))
    whole = {
        "gradients": pd.DataFrame(gradients, columns=list(tables.GRADIENTS)),
        "preactivations": pd.DataFrame(bins, columns=list(tables.PREACTIVATIONS)),
    }
    changed(whole)
    for name, table in whole.items():
        tables.write_frame(table, results / f"{name}.csv")
    ratios = plant_theory(activations)
    theory_changed(ratios)
    tables.write_frame(ratios, results / "theory/ratios.csv")
    mean_field = [
        (*names, sigma_w2, 0.5, 0.5, 1.0, 0.0, sigma_w2 / 2, math.inf)
        for activation in activations
        for *names, sigma_w2 in (
            (activation, "glorot_uniform", "glorot_uniform", 1.0),
            (activation, "matched", "he_uniform", 2.0),
        )
    ]
    tables.write_table(mean_field, tables.MEAN_FIELD, results / "theory/mean_field.csv")
    shapes = {
        name: [*(f"hidden_{at}" for at in range(1, len(of) + 1)), "output"]
        for name, of in networks.items()
    }
    parts = {
        "kernels": plant_kernels(activations),
        "matched": plant_matching(activations, shapes),
        "moments": pd.DataFrame(
            [(name, 0.0, 1.0) for name in activations], columns=list(tables.MOMENTS)
        ),
    }
    timing_changed(parts)
    tables.write_frame(parts["kernels"], timings / "kernels.csv")
    for name in ("matched", "moments"):
        tables.write_frame(parts[name], results / f"theory/{name}.csv")
    born_dead = [
        (name, network, math.fsum(2.0**-units for units in hidden))
        for name in activations
        if name == "relu"
        for network, hidden in networks.items()
    ]
    tables.write_table(born_dead, tables.BORN_DEAD, results / "theory/born_dead.csv")
    tables.write_frame(pd.concat(blocks).loc[:, list(tables.BLOCKS)], timings / "blocks.csv")
    return study.load_study(
        list(activations), list(networks), list(seeds), epochs, results, timings
    )


def predicted(planted: study.Study) -> tuple[study.Study, comparisons.ByImage]:
    """A planted study with its calibration; the images that a seed has right are drawn, 200."""
    rng = np.random.default_rng(0)
    noise = 0.01 * rng.random(len(planted.test))
    calibration = planted.test.drop(columns=["test_loss", "test_accuracy"]).assign(
        calibration_error=planted.test["test_loss"].clip(upper=5.0) / 10 + noise
    )
    right, losses = {}, {}
    for network, activation in planted.identities():
        accuracy = tables.where(planted.test, activation=activation, network=network)
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
    """The ledger of a planted study."""
    return claims.examine(
        claims.Evidence(planted, scores, compared, activations_of(planted), dataset, REPORT)
    )


def plant_theory(activations: Sequence[str], depth: int = 4) -> pd.DataFrame:
    """Ratios of untrained layers: predicted 1/2 with Glorot, 1 with matched; measured 2 % above.

    The band is 10 % wide on either side.
    """
    rows = []
    layers = [f"hidden_{at}" for at in range(2, depth + 1)]
    for activation in activations:
        for initializer, kernel, predicted in (
            ("glorot_uniform", "glorot_uniform", 0.5),
            ("matched", "he_uniform", 1.0),
        ):
            for direction in ("forward", "backward"):
                for layer in [*layers, "all"]:
                    for seed, off in ((0, 1.015), (1, 1.025)):
                        names = (activation, initializer, kernel, layer, direction, seed)
                        band = (predicted, predicted / 1.1, predicted * 1.1)
                        rows.append((*names, *band, predicted * off))
    return pd.DataFrame(rows, columns=list(tables.THEORY_RATIOS))


def plant_kernels(activations: Sequence[str], blocks: int = 4) -> pd.DataFrame:
    """Times of a layer: each activation takes a tenth more than the one before it.

    The machine is slower in every block by half. Forward takes 100 µs in the first, backward 200,
    elementwise 10.
    """
    rows = []
    for operation, seconds in (("forward", 1e-4), ("backward", 2e-4), ("elementwise", 1e-5)):
        for block in range(1, blocks + 1):
            for place, name in enumerate(activations):
                took = seconds * 1.5 ** (block - 1) * 1.1**place * (1 + 0.001 * (block % 2))
                count = 2000 if operation == "elementwise" else 50
                rows.append((operation, block, place, name, count, took, 0.25 * block))
    return pd.DataFrame(rows, columns=list(tables.KERNELS))


def plant_matching(
    activations: Sequence[str], networks: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Norms of gradients of untrained layers: halved a layer on the way back, but not by matched.

    Of relu alone matched is another initialiser than the configured one. Networks are given by
    the names of their layers.
    """
    rows = []
    for name in activations:
        for network, layers in networks.items():
            for initializer in ("glorot_uniform", "matched"):
                kernel = "he_uniform" if (name, initializer) == ("relu", "matched") else None
                for seed in (0, 1):
                    for back, layer in enumerate(reversed(layers)):
                        shrink = 1.0 if kernel else 2.0
                        norm = (0.6 + 0.1 * seed) / (shrink + 0.01 * seed) ** back
                        names = (name, network, initializer, kernel or "glorot_uniform", layer)
                        rows.append((*names, seed, norm))
    return pd.DataFrame(rows, columns=list(tables.MATCHING))


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
        *both,
        drawn,
        config,
        activations=described,
        class_counts=class_counts,
        claims=claimed(planted, *both),
    )
