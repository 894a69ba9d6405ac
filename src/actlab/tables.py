"""The columns of every CSV that the pipeline writes, and how they are read."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, groupby
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from actlab.config import MATCHED, ActivationConfig
from actlab.errors import UserError
from actlab.statistics import (
    Interval,
    geometric_interval,
    mean_interval,
    paired_ratio,
    wilson_interval,
)

#: One row an epoch of one seed; `results/<activation>-<network>/history.csv`.
#: Epochs count from 1; losses are mean cross-entropies in nats, accuracies fractions.
HISTORY = ("seed", "epoch", "loss", "accuracy", "val_loss", "val_accuracy")

#: One row a seed; `results/<activation>-<network>/test.csv`.
TEST = ("seed", "test_loss", "test_accuracy")

#: One row a layer with weights; `results/<activation>-<network>/layers.csv`.
LAYERS = ("layer", "inputs", "units", "activation", "parameters")

#: One row an epoch of one seed; `timings/<activation>-<network>.csv`.
#: `epoch_seconds` is training alone; `compile_seconds` is what tracing and compiling took
#: before the first; `models_at_once` trained side by side.
TIMINGS = ("seed", "epoch", "epoch_seconds", "compile_seconds", "models_at_once")

#: One row a point; `results/activations/<activation>/curve.csv`.
CURVE = ("x", "value", "derivative")

#: One row a measured value; `results/gradients.csv`. `epoch` 0 is before training;
#: `layer` is hidden_1, hidden_2, ..., output; `probe` is notebook (the first 32 training
#: images) or test (2,048 test images); `statistic` is mean_abs (of the entries of the
#: kernel's gradient), l2_norm (its Euclidean norm) or relative_norm (by the kernel's own).
GRADIENTS = (
    "activation",
    "network",
    "seed",
    "epoch",
    "layer",
    "probe",
    "statistic",
    "value",
)

#: The statistics of `GRADIENTS` that tell a layer's health (`gradients.summarise_health`), of
#: the probe test alone. The output layer has none of its activation.
HEALTH = (
    "backprop_rms",
    "preactivation_mean",
    "preactivation_variance",
    "activation_mean",
    "activation_variance",
    "saturated_fraction",
    "dead_fraction",
    "one_sign_fraction",
    "one_sign_batch_fraction",
)

#: One row a bin; `results/preactivations.csv`. The density is that of the pre-activations
#: of a hidden layer, over all seeds, units and images of the probe test.
PREACTIVATIONS = ("activation", "network", "epoch", "layer", "bin_low", "bin_high", "density")

#: One row a layer at a kept epoch of one seed; `results/<activation>-<network>/updates.csv`.
#: The norm of the next step's change of the layer's kernel, by the kernel's own.
UPDATES = ("seed", "epoch", "layer", "update_ratio")

#: One row a configuration; `reports/summary.csv`. Fractions, nats and seconds; gradients are
#: arithmetic means over seeds, after training and before it.
SUMMARY = (
    "activation",
    "network",
    "seeds",
    "test_accuracy_mean",
    "test_accuracy_sd",
    "test_accuracy_ci_low",
    "test_accuracy_ci_high",
    "test_loss_mean",
    "epoch_seconds_median",
    "gradient_first_layer_notebook",
    "gradient_first_layer_initial",
)

#: One row a value that is compared; `reports/tables/scores.csv`. `pair` is what is paired with
#: the same of another activation: the seed, for epoch_seconds the block; `censored` is whether
#: the value is a lower bound. Fractions, nats, epochs, seconds.
SCORES = ("network", "activation", "metric", "pair", "value", "censored")

#: One row an epoch that is timed; `timings/blocks.csv`. In a block each activation on a network
#: has its turn, of which the shortest epoch counts, in an order of its own: `place` counts from 0;
#: `load` is the machine's average of the last minute, processes that run or wait.
BLOCKS = ("network", "block", "place", "activation", "epoch_seconds", "load")

#: One row a measurement of a dense layer alone; `timings/kernels.csv`. `operation` is forward,
#: backward or elementwise (`kernels.OPERATIONS`); `seconds` are of one of the repetitions; block,
#: place and load as in `BLOCKS`.
KERNELS = ("operation", "block", "place", "activation", "repetitions", "seconds", "load")

#: One row a pair of activations by a metric on a network; `reports/comparisons.csv`. Mean to
#: median_high are of first minus second: fractions, nats, epochs, or for epoch_seconds
#: the natural logarithm of a ratio; `verdict` is on the first. See
#: `comparisons.compare`.
COMPARISONS = (
    "network",
    "metric",
    "first",
    "second",
    "pairs",
    "pairs_dropped",
    "pairs_censored",
    "mean",
    "sd",
    "low",
    "high",
    "median",
    "median_low",
    "median_high",
    "effect_size",
    "p_t",
    "p_holm",
    "margin",
    "p_equivalence",
    "p_equivalence_holm",
    "verdict",
    "pairs_needed",
    "new_images_low",
    "new_images_high",
    "new_images_verdict",
)

#: One row a class of a split; `reports/data/class_counts.csv`.
CLASS_COUNTS = ("split", "label", "images")


#: One row a ratio of neighbouring hidden layers in an untrained network of one seed;
#: `results/theory/ratios.csv`. `direction` forward: the mean square pre-activation of `layer` by
#: that of the layer below; backward: the mean square gradient with respect to those of the layer
#: below by that of `layer`. `layer` all is the geometric mean over the layers. `predicted` by
#: mean-field theory; where the geometric mean over seeds lies in the band, both agree.
#: `kernel_initializer` is what `initializer` stands for.
THEORY_RATIOS = (
    "activation",
    "initializer",
    "kernel_initializer",
    "layer",
    "direction",
    "seed",
    "predicted",
    "band_low",
    "band_high",
    "ratio",
)

#: One row an activation with an initialiser; `results/theory/mean_field.csv`: sigma_w^2, E[phi^2],
#: E[phi'^2] (both of a standard normal), max |phi'|, q* (0: the signal vanishes, inf: it
#: diverges), chi_1 and xi = -1 / ln(chi_1) in layers (negative: the gradient grows).
MEAN_FIELD = (
    "activation",
    "initializer",
    "kernel_initializer",
    "sigma_w2",
    "value_gain",
    "slope_gain",
    "steepest_slope",
    "q_star",
    "chi_1",
    "depth_scale",
)

#: One row a claim of the notebook; `reports/claims.csv`. `estimate`, low and high are in `unit`:
#: the number on which the verdict hangs; `seeds` is how many it is of (of times, how many
#: blocks); `numbers` is all of them as a sentence. See `claims.Claim` and `claims.Outcome`.
CLAIMS = (
    "name",
    "claim",
    "section",
    "measured",
    "rule",
    "network",
    "verdict",
    "estimate",
    "low",
    "high",
    "unit",
    "seeds",
    "numbers",
)

#: One row a layer of a configured network before training, of one seed, with the configured
#: initialiser and with the matched one; `results/theory/matched.csv`: the Euclidean norm of the
#: kernel's gradient. `kernel_initializer` is what `initializer` stands for.
MATCHING = (
    "activation",
    "network",
    "initializer",
    "kernel_initializer",
    "layer",
    "seed",
    "gradient_norm",
)

#: One row an activation; `results/theory/moments.csv`: mean and variance of phi of a standard
#: normal (`theory.activation_moments`).
MOMENTS = ("activation", "mean", "variance")

#: One row a configured network whose activation passes nothing on of a negative signal;
#: `results/theory/born_dead.csv` (`theory.born_dead_probability`).
BORN_DEAD = ("activation", "network", "probability")

#: Columns whose cells are text, even where a name reads "nan" or "NA".
_TEXT = {
    *("activation", "network", "layer", "probe", "statistic", "split"),
    *("metric", "first", "second", "verdict", "new_images_verdict"),
    *("initializer", "kernel_initializer", "direction", "operation"),
    *("name", "claim", "section", "measured", "rule", "unit", "numbers"),
}

#: Columns that have a sum, where they are shown.
_SUMMED = {"parameters"}


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV to the same bits that were written, and hold it to its columns.

    Parameters
    ----------
    path
        The CSV.
    columns
        One of this module's tuples.

    Raises
    ------
    UserError
        When the file is missing, is no CSV, or its columns are others.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro` to make it")
    numbers = [column for column in columns if column not in _TEXT]
    try:
        table = pd.read_csv(
            path,
            dtype={column: str for column in columns if column in _TEXT},
            keep_default_na=False,
            na_values={column: ["", "nan", "NaN"] for column in numbers},
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"{path} is no CSV ({reason}): run `dvc repro` to make it again") from error
    if tuple(table.columns) != columns:
        raise UserError(
            f"{path} has the columns {', '.join(table.columns)}, expected"
            f" {', '.join(columns)}: run `dvc repro` to make it again"
        )
    return table


def write_table(rows: Iterable[tuple], columns: tuple[str, ...], path: Path) -> None:
    """Write rows as a CSV whose numbers read back to the same bits."""
    write_frame(pd.DataFrame(list(rows), columns=list(columns)), path)


def write_frame(table: pd.DataFrame, path: Path) -> None:
    """Write a table as a CSV whose numbers read back to the same bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, lineterminator="\n")


def as_text(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> str:
    """Rows as lines of a terminal: words to the left, numbers to the right, a total of parameters.

    >>> print(as_text([("hidden_1", 100480), ("output", 650)], ("layer", "parameters")))
    layer     parameters
    hidden_1     100,480
    output           650
    total        101,130
    """
    body = [list(row) for row in rows]
    right = [any(isinstance(row[at], int | float) for row in body) for at in range(len(columns))]
    if body and _SUMMED & set(columns):
        sums = [
            sum(row[at] for row in body) if name in _SUMMED else ""
            for at, name in enumerate(columns)
        ]
        body.append(["total", *sums[1:]])
    cells = [
        [f"{cell:,}" if isinstance(cell, int | float) else str(cell) for cell in row]
        for row in [list(columns), *body]
    ]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )


def written(value: float, digits: int = 2) -> str:
    """Write a number of any size with that many significant digits.

    >>> written(0.0123), written(1.26e-6), written(1234.0), written(0.0), written(math.nan)
    ('0.012', '1.3 × 10⁻⁶', '1,234', '0', 'n/a')
    >>> written(0.9999, 3)
    '1.00'
    """
    if not math.isfinite(value):
        return "n/a"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        superscripts = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
        return f"{mantissa} × 10{str(int(power)).translate(superscripts)}".replace("-", "−")
    # The power of ten of the rounded number: 0.9999 with two digits is 1.0.
    places = max(0, digits - 1 - int(f"{value:.{digits - 1}e}".split("e")[1]))
    return f"{value:,.{places}f}".replace("-", "−")


@dataclass(frozen=True)
class Study:
    """The results of every (activation, network), over the same seeds.

    Each table leads with the columns activation and network and goes on with those of the
    tuple of its name; its rows come in the order of the configuration.

    Attributes
    ----------
    activations, networks
        Names, as configured.
    seeds
        Of every configuration.
    epochs
        How many each was trained for.
    """

    activations: tuple[str, ...]
    networks: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: int
    history: pd.DataFrame
    test: pd.DataFrame
    layers: pd.DataFrame
    timings: pd.DataFrame
    gradients: pd.DataFrame
    theory_ratios: pd.DataFrame = field(default_factory=pd.DataFrame)
    mean_field: pd.DataFrame = field(default_factory=pd.DataFrame)
    updates: pd.DataFrame = field(default_factory=pd.DataFrame)
    preactivations: pd.DataFrame = field(default_factory=pd.DataFrame)
    kernels: pd.DataFrame = field(default_factory=pd.DataFrame)
    matching: pd.DataFrame = field(default_factory=pd.DataFrame)
    moments: pd.DataFrame = field(default_factory=pd.DataFrame)
    born_dead: pd.DataFrame = field(default_factory=pd.DataFrame)

    def configurations(self) -> list[tuple[str, str]]:
        """(activation, network), network by network."""
        return [
            (activation, network) for network in self.networks for activation in self.activations
        ]

    def layers_of(self, network: str) -> list[str]:
        """Names of a network's layers, from the images to the classes."""
        rows = where(self.layers, activation=self.activations[0], network=network)
        return rows["layer"].tolist()


def read_study(
    activations: Sequence[str],
    networks: Sequence[str],
    seeds: Sequence[int],
    epochs: int,
    results: Path,
    timings: Path,
) -> Study:
    """Read what training and the gradient probes wrote for every configuration.

    Parameters
    ----------
    activations, networks, seeds, epochs
        What is configured; files of other activations or networks are not looked at.
    results, timings
        The folders of that name.

    Raises
    ------
    UserError
        When a file is missing, or holds other seeds, epochs or layers than configured.
    """
    gathered: dict[str, list[pd.DataFrame]] = {}
    for network in networks:
        for activation in activations:
            name = f"{activation}-{network}"
            for key, columns, path in (
                ("history", HISTORY, results / name / "history.csv"),
                ("test", TEST, results / name / "test.csv"),
                ("layers", LAYERS, results / name / "layers.csv"),
                ("timings", TIMINGS, timings / f"{name}.csv"),
            ):
                table = _read_training(path, columns, seeds, epochs)
                if key == "layers":
                    # The configuration's name takes the column; what each layer computes
                    # with keeps one of its own.
                    table = table.rename(columns={"activation": "layer_activation"})
                gathered.setdefault(key, []).append(_labelled(table, activation, network))
    whole = {key: pd.concat(parts, ignore_index=True) for key, parts in gathered.items()}
    study = Study(
        tuple(activations),
        tuple(networks),
        tuple(seeds),
        epochs,
        whole["history"],
        whole["test"],
        whole["layers"],
        whole["timings"],
        pd.DataFrame(),
    )
    study = replace(
        study,
        gradients=_read_gradients(study, results / "gradients.csv"),
        theory_ratios=_read_theory(study, results / "theory/ratios.csv", THEORY_RATIOS),
        mean_field=_read_theory(study, results / "theory/mean_field.csv", MEAN_FIELD),
        kernels=_read_kernels(study, timings / "kernels.csv"),
        matching=_read_theory(study, results / "theory/matched.csv", MATCHING),
        moments=_read_theory(study, results / "theory/moments.csv", MOMENTS),
        born_dead=_read_born_dead(study, results / "theory/born_dead.csv"),
    )
    return _with_health(study, results)


def _read_training(
    path: Path, columns: tuple[str, ...], seeds: Sequence[int], epochs: int
) -> pd.DataFrame:
    """Read a table of a training; hold it to the seeds and epochs that are configured."""
    table = read_table(path, columns)
    if "seed" in columns:
        _check_seeds(table, seeds, path)
    if "epoch" in columns:
        for seed, of_seed in table.groupby("seed"):
            if list(of_seed["epoch"]) != list(range(1, epochs + 1)):
                raise UserError(
                    f"{path} does not hold the epochs 1 to {epochs} of seed {seed}:"
                    " run `dvc repro` to train it again"
                )
    return table


def matched_kernels(study: Study, activation: str, network: str) -> dict[str, str]:
    """Give what the configured initialiser and `matched` stand for, by Keras's names.

    Where the configured one is `matched` itself there is one entry.
    """
    of = where(study.matching, activation=activation, network=network)
    return dict(zip(of["initializer"], of["kernel_initializer"], strict=True))


def read_activations(study: Study, models: Path) -> list[ActivationConfig]:
    """Read what each activation of a study was trained as, from its networks' model.json.

    Parameters
    ----------
    study
        Names the activations and networks.
    models
        The folder of that name.

    Raises
    ------
    UserError
        When a file is missing, or an activation differs between networks.
    """
    read: dict[str, ActivationConfig] = {}
    for activation, network in study.configurations():
        path = models / f"{activation}-{network}" / "model.json"
        if not path.is_file():
            raise UserError(f"{path} is missing: run `dvc repro` to train that network")
        trained = ActivationConfig(**json.loads(path.read_text(encoding="utf-8"))["activation"])
        if read.setdefault(activation, trained) != trained:
            raise UserError(
                f"{path} has another {activation} than the other networks:"
                " run `dvc repro` to train them all alike"
            )
    return [read[activation] for activation in study.activations]


def where(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Give the rows that hold a value, or one of a list of values, in each named column.

    >>> table = pd.DataFrame({"epoch": [0, 1, 2], "loss": [3.0, 2.0, 1.0]})
    >>> where(table, epoch=[0, 2])["loss"].tolist()
    [3.0, 1.0]
    """
    chosen = np.ones(len(table), dtype=bool)
    for column, value in values.items():
        allowed = value if isinstance(value, list) else [value]
        chosen &= table[column].isin(allowed).to_numpy()
    return cast(pd.DataFrame, table[chosen])


def _labelled(table: pd.DataFrame, activation: str, network: str) -> pd.DataFrame:
    labelled = table.copy()
    labelled.insert(0, "activation", activation)
    labelled.insert(1, "network", network)
    return labelled


def _check_seeds(table: pd.DataFrame, seeds: Sequence[int], place: object) -> None:
    found = sorted(set(table["seed"]))
    if found != sorted(seeds):
        raise UserError(
            f"{place} holds the seeds {', '.join(map(str, found)) or 'of nothing'}, configured are"
            f" {', '.join(map(str, sorted(seeds)))}: run `dvc repro` to make it again"
        )


def _read_gradients(study: Study, path: Path) -> pd.DataFrame:
    table = read_table(path, GRADIENTS)
    groups = dict(list(table.groupby(["activation", "network"], sort=False)))
    parts = []
    for activation, network in study.configurations():
        part = groups.get((activation, network))
        if part is None:
            raise UserError(
                f"{path} lacks {activation} on {network}: run `dvc repro` to make it again"
            )
        for epoch in (0, study.epochs):
            _check_seeds(
                where(part, epoch=epoch),
                study.seeds,
                f"{path} ({activation} on {network}, epoch {epoch})",
            )
        places = {layer: place for place, layer in enumerate(study.layers_of(network))}
        if set(part["layer"]) != set(places):
            raise UserError(
                f"{path} has other layers of {network} than results/{activation}-{network}:"
                " run `dvc repro` to make it again"
            )
        order = ["seed", "epoch", "layer"]
        parts.append(
            part.sort_values(
                order,
                key=lambda column: column.map(places) if column.name == "layer" else column,
                kind="stable",
            )
        )
    return pd.concat(parts, ignore_index=True)


def _read_theory(study: Study, path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    table = read_table(path, columns)
    lacking = [name for name in study.activations if name not in set(table["activation"])]
    if lacking:
        raise UserError(f"{path} lacks {lacking[0]}: run `dvc repro` to make it again")
    parts = [where(table, activation=name) for name in study.activations]
    return pd.concat(parts, ignore_index=True)


def over_seeds(
    table: pd.DataFrame,
    keys: Sequence[str],
    value: str,
    confidence: float,
    interval: Callable[[np.ndarray, float], Interval] = mean_interval,
) -> pd.DataFrame:
    """Reduce a table to a row a group: mean, sd, low, high over seeds, then every seed's value.

    Parameters
    ----------
    table
        One row a seed of a group.
    keys
        The columns that make a group; groups keep the order of their first rows.
    value
        The column to reduce.
    confidence
        Of the interval.
    interval
        What makes mean, sd, low and high of a group's values.

    Returns
    -------
    pd.DataFrame
        Columns `keys`, mean, sd, low, high, seed_<s>...

    >>> table = pd.DataFrame({"network": "mlp", "seed": [3, 4], "accuracy": [0.25, 0.75]})
    >>> over_seeds(table, ["network"], "accuracy", 0.5).columns.tolist()
    ['network', 'mean', 'sd', 'low', 'high', 'seed_3', 'seed_4']
    """
    groups = cast(pd.DataFrame, table[list(keys)]).drop_duplicates()
    # A pivot_table would average what must not be there twice, and drop what is no number.
    wide = table.pivot(index=list(keys), columns="seed", values=value)  # noqa: PD010
    wide = wide.reindex(pd.MultiIndex.from_frame(groups) if len(keys) > 1 else groups[keys[0]])
    intervals = [interval(row, confidence) for row in wide.to_numpy(dtype=np.float64)]
    reduced = pd.DataFrame(intervals, columns=["mean", "sd", "low", "high"])
    seeds = wide.reset_index(drop=True).add_prefix("seed_").rename_axis(columns=None)
    return pd.concat([groups.reset_index(drop=True), reduced, seeds], axis=1)


def summarise(study: Study, confidence: float) -> pd.DataFrame:
    """Summarise a study in the columns `SUMMARY`, one row a configuration."""
    first = over_seeds(
        _first_layers(study), ["activation", "network", "epoch"], "value", confidence
    )
    times = epoch_seconds(study)
    rows = []
    for activation, network in study.configurations():
        test = where(study.test, activation=activation, network=network)
        gradients = where(first, activation=activation, network=network)
        accuracy = mean_interval(test["test_accuracy"].to_numpy(), confidence)
        loss = mean_interval(test["test_loss"].to_numpy(), confidence)
        by_epoch = dict(zip(gradients["epoch"], gradients["mean"], strict=True))
        rows.append(
            (
                activation,
                network,
                len(study.seeds),
                accuracy.mean,
                accuracy.sd,
                accuracy.low,
                accuracy.high,
                loss.mean,
                where(times, activation=activation, network=network)["median"].item(),
                by_epoch[study.epochs],
                by_epoch[0],
            )
        )
    return pd.DataFrame(rows, columns=list(SUMMARY))


def epoch_seconds(study: Study) -> pd.DataFrame:
    """Tabulate the times of each configuration, over all epochs and seeds.

    Returns
    -------
    pd.DataFrame
        Columns network, activation, quartile_low, median, quartile_high (of an epoch) and
        compile_seconds (the median over seeds), all in seconds; models_at_once.
    """
    rows = []
    for activation, network in study.configurations():
        of = where(study.timings, activation=activation, network=network)
        quartiles = np.quantile(of["epoch_seconds"], [0.25, 0.5, 0.75])
        compiled = float(np.median(of.drop_duplicates("seed")["compile_seconds"]))
        at_once = " or ".join(map(str, sorted(set(of["models_at_once"]))))
        rows.append((network, activation, *map(float, quartiles), compiled, at_once))
    columns = ["network", "activation", "quartile_low", "median", "quartile_high"]
    return pd.DataFrame(rows, columns=[*columns, "compile_seconds", "models_at_once"])


def diverged_seeds(study: Study) -> dict[tuple[str, str], list[int]]:
    """Give the seeds of each (activation, network) whose loss stopped being a finite number."""
    diverged = {}
    for activation, network in study.configurations():
        history = where(study.history, activation=activation, network=network)
        test = where(study.test, activation=activation, network=network)
        lost = history[~np.isfinite(history[["loss", "val_loss"]]).all(axis=1)]
        seeds = {*lost["seed"], *test["seed"][~np.isfinite(test["test_loss"])]}
        if seeds:
            diverged[activation, network] = sorted(int(seed) for seed in seeds)
    return diverged


def learning_curves(study: Study, metric: str, confidence: float) -> pd.DataFrame:
    """Tabulate a metric by epoch: activation, network, split, epoch, then `over_seeds`.

    Parameters
    ----------
    study
        Whose history to take.
    metric
        accuracy or loss.
    confidence
        Of the bands.
    """
    parts = [
        over_seeds(study.history, ["activation", "network", "epoch"], column, confidence)
        for column in (metric, f"val_{metric}")
    ]
    for part, split in zip(parts, ("training", "validation"), strict=True):
        part.insert(2, "split", split)
    return pd.concat(parts, ignore_index=True)


#: A geometric mean over seeds with its interval, for what spreads by factors.
_GEOMETRIC = ("geometric_mean", "geometric_sd", "low", "high")


def _first_layers(study: Study) -> pd.DataFrame:
    """Give the notebook's measure before and after training, a row a seed of a configuration.

    It is the mean absolute entry of the first kernel's gradient on the first training images.
    A network without hidden layers has its output as first layer.
    """
    by_network = [
        where(
            study.gradients,
            network=network,
            layer=study.layers_of(network)[0],
            probe="notebook",
            statistic="mean_abs",
            epoch=[0, study.epochs],
        )
        for network in study.networks
    ]
    return pd.concat(by_network, ignore_index=True)


def first_layer_gradients(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate the first layer's mean absolute gradient before and after training.

    Returns
    -------
    pd.DataFrame
        Columns activation, network, epoch (0 and the last), geometric_mean, geometric_sd (a
        factor), low, high, seed_<s>... Where a seed's gradient is zero there is no geometric
        mean: NaN.
    """
    keys = ["activation", "network", "epoch"]
    table = over_seeds(_first_layers(study), keys, "value", confidence, geometric_interval)
    return table.rename(columns={"mean": "geometric_mean", "sd": "geometric_sd"})


def first_layer_ratios(study: Study, confidence: float) -> pd.DataFrame:
    """Compare `first_layer_gradients` of each pair of activations on a network, paired by seed.

    The intervals of a network at an epoch hold all together with the given confidence.

    Returns
    -------
    pd.DataFrame
        Columns network, epoch, first, second, seeds, then those of first / second:
        geometric_mean, geometric_sd, low, high.
    """
    of = {
        key: dict(zip(rows["seed"], rows["value"], strict=True))
        for key, rows in _first_layers(study).groupby(["network", "epoch", "activation"])
    }
    pairs = list(combinations(study.activations, 2))
    rows = [
        (
            *(network, epoch, first, second, len(study.seeds)),
            *paired_ratio(
                of[network, epoch, first],
                of[network, epoch, second],
                confidence,
                comparisons=len(pairs),
            ),
        )
        for network in study.networks
        for epoch in (0, study.epochs)
        for first, second in pairs
    ]
    columns = ["network", "epoch", "first", "second", "seeds", *_GEOMETRIC]
    return pd.DataFrame(rows, columns=columns)


def layer_factors(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate by which factor a layer the gradient changes on its way back through a network.

    Only hidden layers one behind the other whose kernels have one shape are compared, the most
    that a network has: norms of kernels of other shapes differ whatever comes back. The factor
    is (norm in the first of them / norm in the last) ^ (1 / steps between them), on test images.
    A network without two such layers has no row. The intervals of a network at an epoch hold all
    together with the given confidence.

    Returns
    -------
    pd.DataFrame
        Columns network, epoch (0 and the last), activation, first_layer, last_layer, inputs,
        units, seeds, geometric_mean, geometric_sd, low, high.
    """
    norms = where(study.gradients, probe="test", statistic="l2_norm")
    rows = []
    for network in study.networks:
        equal = _equal_layers(study, network)
        if len(equal) < 2:
            continue
        first, last = equal[0], equal[-1]
        for epoch in (0, study.epochs):
            for activation in study.activations:
                of = where(norms, network=network, epoch=epoch, activation=activation)
                front, back = (
                    {
                        seed: value ** (1 / (len(equal) - 1))
                        for seed, value in zip(at["seed"], at["value"], strict=True)
                    }
                    for at in (where(of, layer=first["layer"]), where(of, layer=last["layer"]))
                )
                factor = paired_ratio(front, back, confidence, comparisons=len(study.activations))
                rows.append(
                    (
                        *(network, epoch, activation, first["layer"], last["layer"]),
                        *(first["inputs"], first["units"], len(study.seeds), *factor),
                    )
                )
    columns = ["network", "epoch", "activation", "first_layer", "last_layer", "inputs", "units"]
    return pd.DataFrame(rows, columns=[*columns, "seeds", *_GEOMETRIC])


def _equal_layers(study: Study, network: str) -> list[dict[str, Any]]:
    """Give the longest run of hidden layers with kernels of one shape, the first such run."""
    rows = where(study.layers, activation=study.activations[0], network=network)
    hidden = rows.to_dict("records")[:-1]
    runs = [list(run) for _, run in groupby(hidden, lambda row: (row["inputs"], row["units"]))]
    return max(runs, key=len, default=[])


def gradients_by_layer(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate the gradient's norm on test images: activation, network, epoch, layer, ...

    Then come the columns of `over_seeds`; means are arithmetic.
    """
    rows = where(study.gradients, probe="test", statistic="l2_norm")
    return over_seeds(rows, ["activation", "network", "epoch", "layer"], "value", confidence)


def plot_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Tabulate means over seeds for `dvc plots`: a row a point, a column that names its line.

    `loss`, `accuracy`, `val_loss` and `val_accuracy` by epoch; `gradient_initial`, the norm of
    the gradient before training, by the layer's place, counted from the images.
    """
    plots = {}
    for metric in HISTORY[2:]:
        means = _means(study.history, "epoch", metric)
        plots[metric] = pd.DataFrame(
            [
                (f"{activation}-{network}", epoch, means[activation, network, epoch])
                for activation, network in study.configurations()
                for epoch in range(1, study.epochs + 1)
            ],
            columns=["configuration", "epoch", metric],
        )
    initial = where(study.gradients, probe="test", statistic="l2_norm", epoch=0)
    means = _means(initial, "layer", "value")
    gradient = pd.DataFrame(
        [
            (f"{activation}-{network}", place, means[activation, network, layer])
            for activation, network in study.configurations()
            for place, layer in enumerate(study.layers_of(network), start=1)
        ],
        columns=["configuration", "layer", "gradient_norm"],
    )
    return plots | {"gradient_initial": gradient}


def _means(table: pd.DataFrame, key: str, value: str) -> dict[Any, float]:
    """Give the mean over seeds; NaN where a seed has one."""
    groups = table.groupby(["activation", "network", key])[value]
    return {names: float(of_group.to_numpy().mean()) for names, of_group in groups}


def metrics(summary: pd.DataFrame) -> dict[str, float | None]:
    """Give what `dvc exp show` and `dvc metrics` compare: the mean test accuracies, in percent.

    A number a configuration, by the name of its run in MLflow: a wide table is unreadable. What
    else is known stands in `reports/summary.csv`. None stands for what is no number.
    """
    accuracies = {
        f"{row['activation']}/{row['network']} %": 100 * row["test_accuracy_mean"]
        for row in summary.to_dict("records")
    }
    return {
        name: round(value, 6) if math.isfinite(value) else None
        for name, value in accuracies.items()
    }


def _with_health(study: Study, results: Path) -> Study:
    """Add updates and pre-activations; hold all that tells health to the configuration."""
    updates = []
    for activation, network in study.configurations():
        rows = where(study.gradients, activation=activation, network=network)
        missing = [name for name in HEALTH[:3] if name not in set(rows["statistic"])]
        if missing:
            raise UserError(
                f"{results / 'gradients.csv'} lacks the {missing[0]} of {activation} on {network}:"
                " run `dvc repro` to make it again"
            )
        path = results / f"{activation}-{network}" / "updates.csv"
        table = read_table(path, UPDATES)
        for columns in ("seed", "epoch", "layer"):
            if set(table[columns]) != set(rows[columns]):
                raise UserError(
                    f"{path} holds other {columns}s than results/gradients.csv:"
                    " run `dvc repro` to train it again"
                )
        updates.append(_labelled(table, activation, network))
    preactivations = read_table(results / "preactivations.csv", PREACTIVATIONS)
    return replace(
        study,
        updates=pd.concat(updates, ignore_index=True),
        preactivations=where(
            preactivations, activation=list(study.activations), network=list(study.networks)
        ),
    )


#: What spreads over seeds by factors: its means are geometric.
_BY_FACTORS = ("backprop_rms", "update_ratio")


def layer_health(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate `HEALTH` and the update ratio of every layer at every kept epoch, over seeds.

    Returns
    -------
    pd.DataFrame
        Columns activation, network, statistic, epoch, layer, then those of `over_seeds`. Means
        of backprop_rms and update_ratio are geometric (sd is a factor, and where a seed has a
        zero there is none: NaN), all others arithmetic. The variance is of a seed's images and
        units, not between seeds.
    """
    keys = ["activation", "network", "statistic", "epoch", "layer"]
    probed = where(study.gradients, probe="test", statistic=list(HEALTH))
    steps = study.updates.rename(columns={"update_ratio": "value"})
    steps.insert(2, "statistic", "update_ratio")
    rows = pd.concat([probed, steps], ignore_index=True)
    parts = [
        over_seeds(
            where(rows, statistic=statistic),
            keys,
            "value",
            confidence,
            geometric_interval if statistic in _BY_FACTORS else mean_interval,
        )
        for statistic in (*HEALTH, "update_ratio")
        if statistic in set(rows["statistic"])
    ]
    return pd.concat(parts, ignore_index=True)


def dead_units(study: Study, confidence: float) -> pd.DataFrame:
    """Count the dead units of every hidden layer at every kept epoch, all seeds pooled.

    Returns
    -------
    pd.DataFrame
        Columns activation, network, epoch, layer, dead, units, share, low, high: of how many
        units, and `wilson_interval` of the share. Seeds that are no number are not counted.
    """
    rows = _with_units(study, ["dead_fraction"])
    rows["dead"] = (rows["value"] * rows["units"]).round().astype(int)
    keys = ["activation", "network", "epoch", "layer"]
    counts: Any = rows.groupby(keys, sort=False)[["dead", "units"]].sum()
    counts = counts.reset_index()
    bounds = [
        (dead / units, *wilson_interval(dead, units, confidence))
        for dead, units in counts[["dead", "units"]].to_numpy().tolist()
    ]
    shares = pd.DataFrame(bounds, columns=["share", "low", "high"])
    return pd.concat([counts, shares], axis=1)


def one_sign_shares(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate the units with gradients of one sign, over all layers that read hidden units.

    Returns
    -------
    pd.DataFrame
        Columns activation, network, statistic (one_sign_fraction, one_sign_batch_fraction),
        epoch, then those of `over_seeds`. A seed's value is the mean of its layers, weighed by
        their units; layers without a number are left out. A network without hidden layers has
        no row.
    """
    rows = _with_units(study, ["one_sign_fraction", "one_sign_batch_fraction"])
    first = {network: study.layers_of(network)[0] for network in study.networks}
    rows = rows[rows["layer"] != rows["network"].map(first)]
    rows = rows.assign(value=rows["value"] * rows["units"])
    keys = ["activation", "network", "statistic", "epoch"]
    sums: Any = rows.groupby([*keys, "seed"], sort=False)[["value", "units"]].sum()
    sums["value"] /= sums["units"]
    return over_seeds(sums.reset_index(), keys, "value", confidence)


def _with_units(study: Study, statistics: list[str]) -> Any:
    """Give the values on test images that are numbers, with the units of their layers."""
    rows = where(study.gradients, probe="test", statistic=statistics)
    rows = rows.merge(study.layers[["activation", "network", "layer", "units"]])
    return rows[np.isfinite(rows["value"])].copy()


def theory_ratios(study: Study, confidence: float) -> pd.DataFrame:
    """Set the measured ratios of neighbouring layers beside the predicted ones.

    Returns
    -------
    pd.DataFrame
        The columns of `THEORY_RATIOS` up to direction, then seeds, predicted, band_low,
        band_high, geometric_mean, geometric_sd, low, high (the interval of that mean over seeds,
        each with the given confidence) and agrees: whether the mean lies in the band.
    """
    keys = list(THEORY_RATIOS[: THEORY_RATIOS.index("seed")])
    predicted = ["predicted", "band_low", "band_high"]
    rows = []
    for names, of in study.theory_ratios.groupby(keys, sort=False):
        interval = geometric_interval(of["ratio"].to_numpy(), confidence)
        ratio, low, high = (float(of[column].iloc[0]) for column in predicted)
        agrees = low <= interval.mean <= high
        rows.append((*cast(tuple, names), len(of), ratio, low, high, *interval, agrees))
    return pd.DataFrame(rows, columns=[*keys, "seeds", *predicted, *_GEOMETRIC, "agrees"])


def _read_kernels(study: Study, path: Path) -> pd.DataFrame:
    table = where(read_table(path, KERNELS), activation=list(study.activations))
    for operation, of in table.groupby("operation", sort=False):
        timed = of.groupby("activation")["block"].apply(sorted).to_dict()
        for name in study.activations:
            if timed.get(name) != timed.get(study.activations[0]):
                raise UserError(
                    f"{path} lacks blocks of {name}, {operation}: run `dvc repro` to make it again"
                )
    return table


def _read_born_dead(study: Study, path: Path) -> pd.DataFrame:
    """Read a table that not every activation has a row in."""
    rows = read_table(path, BORN_DEAD)
    return where(rows, activation=list(study.activations), network=list(study.networks))


def kernel_times(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate how long a layer's passes take alone, and by how much longer than the first's.

    The intervals of an operation hold all together with the given confidence.

    Returns
    -------
    pd.DataFrame
        Columns operation, activation, blocks, repetitions, seconds (the geometric mean), then
        those of the ratio to the first activation, paired by block: geometric_mean,
        geometric_sd, low, high; of the first itself they are 1 and NaN.
    """
    rows = []
    for operation, of in study.kernels.groupby("operation", sort=False):
        seconds = {
            name: dict(zip(rows["block"], rows["seconds"], strict=True))
            for name in study.activations
            for rows in [where(of, activation=name)]
        }
        first = study.activations[0]
        for name, blocks in seconds.items():
            mean = geometric_interval(list(blocks.values()), confidence).mean
            ratio = Interval(1.0, math.nan, math.nan, math.nan)
            if name != first:
                others = len(study.activations) - 1
                ratio = paired_ratio(blocks, seconds[first], confidence, comparisons=others)
            repetitions = int(of["repetitions"].iloc[0])
            rows.append((operation, name, len(blocks), repetitions, mean, *ratio))
    columns = ["operation", "activation", "blocks", "repetitions", "seconds", *_GEOMETRIC]
    return pd.DataFrame(rows, columns=columns)


def matched_changes(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate what the matched initialiser changes of the gradients of untrained networks.

    Two things are compared: the norm of the first kernel's gradient, and the factor, that norm
    divided by that of the output's kernel. The factor depends on the shapes of the two kernels,
    the ratio of two factors of one network does not. A kernel's gradient is what comes back times
    what went up: where both signals shrink alike on their ways, as of ReLU, the factor stays.
    Only activations are in it whose matched initialiser is another than the configured one, and
    networks with hidden layers. The intervals of a network hold all together with the given
    confidence.

    Returns
    -------
    pd.DataFrame
        Columns network, activation, configured, matched (both by Keras's names), first_layer,
        last_layer, seeds; configured_norm and matched_norm (geometric means over seeds), then
        the second by the first, paired by seed: norm_change, norm_low, norm_high;
        configured_factor to factor_high likewise.
    """
    rows = []
    for network in study.networks:
        first, *others = study.layers_of(network)
        changed = {}
        for name in study.activations if others else ():
            kernels = matched_kernels(study, name, network)
            if len(set(kernels.values())) > 1:
                changed[name] = kernels
        for name, kernels in changed.items():
            norms: list[dict[int, float]] = []
            factors: list[dict[int, float]] = []
            for initializer in sorted(kernels, key=lambda each: each == MATCHED):
                names = {"activation": name, "network": network, "initializer": initializer}
                of = where(study.matching, **names)
                front, back = (
                    of[of["layer"] == layer].set_index("seed")["gradient_norm"]
                    for layer in (first, others[-1])
                )
                norms.append(front.to_dict())
                factors.append((front / back).to_dict())
            compared: list[float] = []
            for before, after in (norms, factors):
                ratio = paired_ratio(after, before, confidence, comparisons=2 * len(changed))
                compared += [
                    geometric_interval(list(each.values()), confidence).mean
                    for each in (before, after)
                ]
                compared += [ratio.mean, ratio.low, ratio.high]
            configured = next(each for each in kernels if each != MATCHED)
            rows.append(
                (
                    *(network, name, kernels[configured], kernels[MATCHED], first, others[-1]),
                    *(len(norms[0]), *compared),
                )
            )
    columns = ["network", "activation", "configured", "matched", "first_layer", "last_layer"]
    columns += ["seeds", "configured_norm", "matched_norm", "norm_change", "norm_low", "norm_high"]
    columns += ["configured_factor", "matched_factor", "factor_change", "factor_low", "factor_high"]
    return pd.DataFrame(rows, columns=columns)
