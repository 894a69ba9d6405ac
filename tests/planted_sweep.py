"""Runs of a sweep whose numbers are known beforehand, as tables of MLflow's."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from actlab.engine.launches import Launch
from actlab.results.layout import HISTORY, NOISE
from actlab.results.study import Study
from actlab.tracking import runs
from actlab.tracking.reading import FoundRuns

FIXED = {
    "network.name": "uniform",
    "network.hidden": "16-16",
    "network.depth": "2",
    "network.width": "16",
    "initializer.name": "glorot_uniform",
    "data.name": "mnist",
    "data.validation_size": "10000",
    "data.split_seed": "0",
    "training.epochs": "4",
    "training.batch_size": "128",
    "optimizer.learning_rate": "0.001",
    "training.probe_epochs": "[0, 1]",
    "report.confidence": "0.95",
    "network.parameters": "1000",
}

#: Accuracies of activations at the end of training, from which every seed differs a little.
LEVELS = {"sigmoid": 0.90, "tanh": 0.95, "relu": 0.96, "gelu": 0.961}


class Runs:
    """Tables that grow by a run at a time; the newest is the last.

    `keys` are those that were swept, `tuned_for` the one that a fair sweep tunes for; without keys
    no launch is recorded.
    """

    def __init__(self, keys: Sequence[str] = (), tuned_for: str | None = None) -> None:
        self.launch = Launch("swept", 1, keys, tuned_for, "") if keys else None
        self.parents: list[dict[str, Any]] = []
        self.seeds: list[tuple] = []
        self.history: list[tuple] = []
        self.noise: list[tuple] = []

    def add(
        self,
        activation: str,
        accuracies: Sequence[float],
        seeds: Sequence[int] | None = None,
        outcome: str = "trained",
        phase: str = "",
        code: str = "",
        **keys: str,
    ) -> None:
        """Add a configuration; validation accuracy climbs to the test's in equal steps.

        `keys` are dotted keys with two underscores for the dot.
        """
        run, seeds = f"run-{len(self.parents)}", range(len(accuracies)) if seeds is None else seeds
        own = {name.replace("__", "."): value for name, value in keys.items()}
        if depth := own.get("network.depth"):
            own["network.hidden"] = "-".join(["16"] * int(depth))
        marks: dict[str, Any] = {"run": run, "outcome": outcome, "phase": phase, "code": code}
        marks |= {"objective": float(np.mean(accuracies))}
        names = {"activation.name": activation, "activation.function": activation}
        if activation == "leaky_relu":
            names["activation.negative_slope"] = "0.01"
        given = {"seeds": ",".join(map(str, seeds))}
        self.parents.append(marks | names | FIXED | given | own)
        epochs = int(own.get("training.epochs", FIXED["training.epochs"]))
        for seed, accuracy in zip(seeds, accuracies, strict=True):
            loss = float("nan") if outcome == "diverged" else 1 - accuracy
            self.seeds.append((run, seed, loss, accuracy))
            for epoch in range(1, epochs + 1):
                reached = accuracy - 0.01 * (epochs - epoch)
                self.history.append((run, seed, epoch, loss, reached, loss, reached))

    def found(self) -> FoundRuns:
        """Give what `tracking.find_runs` does."""
        return FoundRuns(
            pd.DataFrame(self.parents),
            pd.DataFrame(self.seeds, columns=["parent", "seed", "test_loss", "test_accuracy"]),
            pd.DataFrame(self.history, columns=["parent", *HISTORY]),
            launch=self.launch,
            noise=pd.DataFrame(self.noise, columns=["parent", *NOISE]),
        )

    def gather(self, name: str | None = "swept", by: list[str] | None = None) -> Study:
        """Make a study of them."""
        return runs.gather(self.found(), name, by)


def plant_grid(
    activations: Sequence[str],
    grid: Mapping[str, Sequence[str]],
    seeds: int = 5,
    level: Callable[[str, Mapping[str, str]], float] = lambda activation, _: LEVELS[activation],
) -> Runs:
    """Every activation at every setting; seeds differ by a thousandth or so."""
    rng, runs = np.random.default_rng(0), Runs()
    for activation, *values in product(activations, *grid.values()):
        setting = dict(zip(grid, values, strict=True))
        accuracies = level(activation, setting) + rng.normal(0, 0.001, seeds)
        runs.add(activation, accuracies.tolist(), None, "trained", "", "", **setting)
    return runs


def plant_fair(activations: Sequence[str] = ("sigmoid", "relu")) -> Runs:
    """A fair sweep: learning rates 0.001 to 0.01, the middle one the best of sigmoid alone.

    relu's best is 0.001, which is the baseline of all.
    """
    runs = Runs(["activation", "optimizer.learning_rate"], "activation")
    rng = np.random.default_rng(1)
    grid = {"0.001": 0.0, "0.003": 0.0, "0.01": -0.1}
    for activation in activations:
        best = "0.003" if activation == "sigmoid" else "0.001"
        for rate, change in grid.items():
            level = LEVELS[activation] + change + (0.02 if rate == best else 0.0)
            runs.add(
                activation,
                [level, level],
                [0, 1],
                phase="selection",
                optimizer__learning_rate=rate,
            )
        for phase, rate in (("baseline", "0.001"), ("tuned", best)):
            level = LEVELS[activation] + (0.02 if rate == best else 0.0)
            accuracies = (level + rng.normal(0, 0.001, 4)).tolist()
            runs.add(
                activation,
                accuracies,
                [10, 11, 12, 13],
                phase=phase,
                optimizer__learning_rate=rate,
            )
    return runs


def plant_fair_depths() -> Runs:
    """A fair sweep of depths: tanh or relu and three rates are tuned, and relu is the baseline's.

    Each depth's best setting, which `chosen` has, is 0.02 better than the others.
    """
    keys = ["activation", "optimizer.learning_rate", "network.hidden"]
    runs, rng = Runs(keys, "network.hidden"), np.random.default_rng(2)
    chosen = {"2": ("relu", "0.003"), "4": ("tanh", "0.003"), "8": ("tanh", "0.01")}
    for depth, best in chosen.items():
        for setting in product(("tanh", "relu"), ("0.001", "0.003", "0.01")):
            level = 0.9 + (0.02 if setting == best else 0.0)
            keys = {"network__depth": depth, "optimizer__learning_rate": setting[1]}
            runs.add(setting[0], [level, level], [0, 1], "trained", "selection", "", **keys)
        for phase, setting in (("baseline", ("relu", "0.001")), ("tuned", best)):
            level = 0.9 + (0.02 if phase == "tuned" else 0.0) - 0.005 * int(depth)
            accuracies = (level + rng.normal(0, 0.001, 4)).tolist()
            keys = {"network__depth": depth, "optimizer__learning_rate": setting[1]}
            runs.add(setting[0], accuracies, [10, 11, 12, 13], "trained", phase, "", **keys)
    return runs
