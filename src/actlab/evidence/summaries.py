"""The tables of a study -> what is shown of them: means over seeds, intervals, ratios.

A row is a configuration, a layer, an epoch; its numbers are over seeds. Whether one configuration
is better than another is decided in `comparisons`.
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations, groupby
from typing import Any, cast

import numpy as np
import pandas as pd

from actlab.evidence.comparisons import METRICS, diverged_seeds
from actlab.evidence.statistics import (
    Interval,
    geometric_interval,
    mean_interval,
    paired_ratio,
    wilson_interval,
)
from actlab.models.config import MATCHED
from actlab.results.study import PHASE, Study, label
from actlab.results.tables import HEALTH, HISTORY, THEORY_RATIOS, where

#: Differences from the best validation accuracy of a grid within which a setting does as well.
NEAR_BEST = 0.005


def over_seeds(
    table: pd.DataFrame,
    keys: Sequence[str],
    value: str,
    confidence: float,
    interval: Callable[[np.ndarray, float], Interval] = mean_interval,
) -> pd.DataFrame:
    """Reduce a table to one row per group: mean, sd, low, high over seeds, then every seed's value.

    Parameters
    ----------
    table
        One row per seed of a group.
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
    # A pivot_table would average what must not be there twice, and drop what is NaN.
    wide = table.pivot(index=list(keys), columns="seed", values=value)  # noqa: PD010
    wide = wide.reindex(pd.MultiIndex.from_frame(groups) if len(keys) > 1 else groups[keys[0]])
    # A seed that a group lacks takes no part in its mean; one that diverged makes it NaN.
    measured = [
        rows.to_numpy(dtype=np.float64)
        for _, rows in table.groupby(list(keys), sort=False, dropna=False)[value]
    ]
    intervals = [interval(values, confidence) for values in measured]
    reduced = pd.DataFrame(intervals, columns=["mean", "sd", "low", "high"])
    seeds = wide.reset_index(drop=True).add_prefix("seed_").rename_axis(columns=None)
    return pd.concat([groups.reset_index(drop=True), reduced, seeds], axis=1)


def summarise(study: Study, scores: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Reduce every configuration to a row: its keys, then seeds and what they gave.

    Parameters
    ----------
    study
        What was measured.
    scores
        `comparisons.score` of it.
    confidence
        Of the intervals.

    Returns
    -------
    pd.DataFrame
        The study's keys and tied, seeds, diverged_seeds, unreached_seeds (those that never get to
        the target), then mean, sd, ci_low and ci_high over seeds of each of the metrics; of the
        pipeline also epoch_seconds_median, and the first layer's gradient after training
        (gradient_first_layer_notebook) and before it (gradient_first_layer_initial), arithmetic
        means over seeds.
    """
    diverged = diverged_seeds(study)
    groups: Any = scores.groupby([*study.keys, "metric"])
    values = dict(iter(groups))
    metrics = [
        name
        for name, metric in METRICS.items()
        if metric.paired_by == "seed" and (name != "calibration_error" or len(study.calibration))
    ]
    rows = []
    for configuration in study.configurations.to_dict("records"):
        known = study.identify(configuration)
        row: dict[str, Any] = {key: configuration[key] for key in [*study.keys, *study.tied]}
        rows.append(row)
        row["seeds"] = len(values.get((*known, "test_accuracy"), ()))
        row["diverged_seeds"] = len(diverged.get(known, []))
        to_target = values.get((*known, "epochs_to_target"), scores.iloc[:0])
        row["unreached_seeds"] = sum(to_target["censored"])
        for name in metrics:
            of_metric = values.get((*known, name), scores.iloc[:0])["value"].to_numpy(dtype=float)
            interval = Interval(*[math.nan] * 4)
            if of_metric.size:
                interval = mean_interval(of_metric, confidence)
            for column, value in zip(("mean", "sd", "ci_low", "ci_high"), interval, strict=True):
                row[f"{name}_{column}"] = value
    table = pd.DataFrame(rows)
    if len(study.timings):
        times = epoch_seconds(study).rename(columns={"median": "epoch_seconds_median"})
        table = table.merge(times[[*study.keys, "epoch_seconds_median"]], validate="1:1")
    if len(study.gradients):
        means = over_seeds(_first_layers(study), [*study.keys, "epoch"], "value", confidence)
        names = {study.epochs: "gradient_first_layer_notebook", 0: "gradient_first_layer_initial"}
        for epoch, name in names.items():
            of_epoch = where(means, epoch=epoch).rename(columns={"mean": name})
            table = table.merge(of_epoch[[*study.keys, name]], validate="1:1")
    return table


def tabulate_tuning(study: Study) -> pd.DataFrame:
    """Show how much tuning matters to each value that is tuned, from a fair sweep's grid.

    Returns
    -------
    pd.DataFrame
        The study's keys but the phase; settings (of the grid), best, median and worst mean
        validation accuracy, best_minus_median, near_best (the part of the settings within
        `NEAR_BEST` of the best), diverged (settings), and `chosen` in words. A setting whose
        validation accuracy is NaN counts as 0. Empty where nothing was tuned.
    """
    if study.grid.empty:
        return pd.DataFrame()
    keys = study.tuned_for
    rows = []
    for at in cast(pd.DataFrame, study.configurations[keys]).drop_duplicates().to_dict("records"):
        tried = where(study.grid, **{str(key): value for key, value in at.items()})
        if tried.empty:
            continue
        accuracy = tried["val_accuracy"].fillna(0.0).to_numpy(dtype=float)
        tuned = where(study.configurations, **{PHASE: "tuned"}, **at).head(1).to_dict("records")
        rows.append(
            {
                **at,
                "settings": len(tried),
                "best": float(accuracy.max()),
                "median": float(np.median(accuracy)),
                "worst": float(accuracy.min()),
                "best_minus_median": float(accuracy.max() - np.median(accuracy)),
                "near_best": float((accuracy >= accuracy.max() - NEAR_BEST).mean()),
                "diverged": tried["outcome"].tolist().count("diverged"),
                "chosen": ", ".join(
                    f"{label(key)} {row[key]}" for row in tuned for key in study.settings
                ),
            }
        )
    return pd.DataFrame(rows)


def epoch_seconds(study: Study) -> pd.DataFrame:
    """Tabulate the times of each configuration, over all epochs and seeds.

    Returns
    -------
    pd.DataFrame
        Columns network, activation, quartile_low, median, quartile_high (of an epoch) and
        compile_seconds (the median over seeds), all in seconds; models_at_once.
    """
    rows = []
    for network, activation in study.identities():
        of = where(study.timings, activation=activation, network=network)
        quartiles = np.quantile(of["epoch_seconds"], [0.25, 0.5, 0.75])
        compiled = float(np.median(of.drop_duplicates("seed")["compile_seconds"]))
        at_once = " or ".join(map(str, sorted(set(of["models_at_once"]))))
        rows.append((network, activation, *map(float, quartiles), compiled, at_once))
    columns = ["network", "activation", "quartile_low", "median", "quartile_high"]
    return pd.DataFrame(rows, columns=[*columns, "compile_seconds", "models_at_once"])


def learning_curves(study: Study, metric: str, confidence: float) -> pd.DataFrame:
    """Tabulate a metric by epoch: the study's keys, split, epoch, then `over_seeds`.

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
        over_seeds(study.history, [*study.keys, "epoch"], column, confidence).assign(split=split)
        for column, split in ((metric, "training"), (f"val_{metric}", "validation"))
        if column in study.history
    ]
    table = pd.concat(parts, ignore_index=True)
    table.insert(len(study.keys), "split", table.pop("split"))
    return table


#: A geometric mean over seeds with its interval, for what spreads by factors.
_GEOMETRIC = ("geometric_mean", "geometric_sd", "low", "high")


def _first_layers(study: Study) -> pd.DataFrame:
    """Give the notebook's measure before and after training, one row per seed of a configuration.

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
    """Tabulate means over seeds for `dvc plots`: one row per point, a column that names its line.

    `loss`, `accuracy`, `val_loss` and `val_accuracy` by epoch; `gradient_initial`, the norm of
    the gradient before training, by the layer's place, counted from the images.
    """
    plots = {}
    for metric in HISTORY[2:]:
        means = _means(study.history, "epoch", metric)
        plots[metric] = pd.DataFrame(
            [
                (f"{activation}-{network}", epoch, means[activation, network, epoch])
                for network, activation in study.identities()
                for epoch in range(1, study.epochs + 1)
            ],
            columns=["configuration", "epoch", metric],
        )
    initial = where(study.gradients, probe="test", statistic="l2_norm", epoch=0)
    means = _means(initial, "layer", "value")
    gradient = pd.DataFrame(
        [
            (f"{activation}-{network}", place, means[activation, network, layer])
            for network, activation in study.identities()
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

    One number per configuration, by the name of its run in MLflow: a wide table is unreadable. What
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
    """Compare the measured ratios of neighbouring layers beside the predicted ones.

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


def matched_kernels(study: Study, activation: str, network: str) -> dict[str, str]:
    """Give what the configured initialiser and `matched` stand for, by Keras's names.

    Where the configured one is `matched` itself there is one entry.
    """
    of = where(study.matching, activation=activation, network=network)
    return dict(zip(of["initializer"], of["kernel_initializer"], strict=True))


def tabulate_accuracy(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate test accuracy over seeds: the study's keys, diverged_seeds, then `over_seeds`."""
    table = over_seeds(study.test, study.keys, "test_accuracy", confidence)
    diverged = diverged_seeds(study)
    counts = [len(diverged.get(study.identify(row), [])) for row in table.to_dict("records")]
    table.insert(len(study.keys), "diverged_seeds", counts)
    return table
