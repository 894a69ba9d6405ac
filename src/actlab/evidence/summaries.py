"""Means and intervals over seeds of what a study measured, as tables with one row per group."""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence.comparisons import METRICS, diverged_seeds, primary_metric
from actlab.evidence.decisions import choose_interval
from actlab.evidence.statistics import Interval, mean_interval, share_interval
from actlab.results.layout import HISTORY
from actlab.results.study import PHASE, Study, label

#: A setting this close to the best validation accuracy of a grid is near the best.
NEAR_BEST = 0.005


def over_seeds(
    table: pd.DataFrame,
    keys: Sequence[str],
    value: str,
    confidence: float,
    interval: Callable[[np.ndarray, float], Interval] = mean_interval,
) -> pd.DataFrame:
    """Reduce a table to one row per group: `keys`, mean, sd, low, high over seeds, seed_<s>...

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
        Computes mean, sd, low and high of a group's values.

    Examples
    --------
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
    """Reduce every configuration to a row of means over seeds.

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
        The study's keys and tied, seeds, diverged_seeds, unreached_seeds (those that never reach
        the target), then <metric>_mean, _sd, _ci_low and _ci_high; of the pipeline also
        epoch_seconds_median, and the first layer's gradient after training
        (gradient_first_layer_notebook) and before it (gradient_first_layer_initial).
    """
    diverged = diverged_seeds(study)
    groups: Any = scores.groupby([*study.keys, "metric"])
    values = dict(iter(groups))
    metrics = [
        name
        for name, metric in METRICS.items()
        if metric.paired_by == "seed" and name in set(scores["metric"])
    ]
    rows = []
    for configuration in study.configurations.to_dict("records"):
        known = study.identify(configuration)
        row: dict[str, Any] = {key: configuration[key] for key in [*study.keys, *study.tied]}
        rows.append(row)
        row["seeds"] = len(values.get((*known, primary_metric(study)), ()))
        row["diverged_seeds"] = len(diverged.get(known, []))
        to_target = values.get((*known, "epochs_to_target"), scores.iloc[:0])
        row["unreached_seeds"] = sum(to_target["censored"])
        for name in metrics:
            by_seed = values.get((*known, name), scores.iloc[:0]).sort_values("pair")
            find_interval = choose_interval(study.is_sequential, METRICS[name].unit == "points")
            interval = find_interval(by_seed["value"].to_numpy(dtype=float), confidence)
            if by_seed["censored"].any():  # a mean of lower bounds
                interval = Interval(interval.mean, interval.sd, math.nan, math.nan)
            for column, value in zip(("mean", "sd", "ci_low", "ci_high"), interval, strict=True):
                row[f"{name}_{column}"] = value
    table = pd.DataFrame(rows)
    if len(study.timings):
        times = epoch_seconds(study).rename(columns={"median": "epoch_seconds_median"})
        table = table.merge(times[[*study.keys, "epoch_seconds_median"]], validate="1:1")
    if len(study.gradients):
        means = over_seeds(select_first_layers(study), [*study.keys, "epoch"], "value", confidence)
        names = {study.epochs: "gradient_first_layer_notebook", 0: "gradient_first_layer_initial"}
        for epoch, name in names.items():
            column = where(means, epoch=epoch).rename(columns={"mean": name})
            table = table.merge(column[[*study.keys, name]], validate="1:1")
    return table


def tabulate_tuning(study: Study) -> pd.DataFrame:
    """Tabulate how much tuning matters to each value that is tuned, from a fair sweep's grid.

    Returns
    -------
    pd.DataFrame
        The study's keys but the phase; settings (their number), best, median and worst mean
        validation accuracy (NaN counts as 0), best_minus_median, near_best (the part of the
        settings within `NEAR_BEST` of the best), diverged (settings), and `chosen` in words. Empty
        where nothing was tuned.
    """
    if study.grid.empty or study.is_regression:
        return pd.DataFrame()
    keys = study.tuned_for
    rows = []
    for row in cast(pd.DataFrame, study.configurations[keys]).drop_duplicates().to_dict("records"):
        values = {str(key): value for key, value in row.items()}
        tried = where(study.grid, **values)
        if tried.empty:
            continue
        accuracy = tried["val_accuracy"].fillna(0.0).to_numpy(dtype=float)
        tuned = where(study.configurations, **{PHASE: "tuned"}, **values).head(1).to_dict("records")
        rows.append(
            {
                **values,
                "settings": len(tried),
                "best": float(accuracy.max()),
                "median": float(np.median(accuracy)),
                "worst": float(accuracy.min()),
                "best_minus_median": float(accuracy.max() - np.median(accuracy)),
                "near_best": float((accuracy >= accuracy.max() - NEAR_BEST).mean()),
                "diverged": tried["outcome"].tolist().count("diverged"),
                "chosen": ", ".join(
                    f"{label(key)} {best[key]}" for best in tuned for key in study.settings
                ),
            }
        )
    return pd.DataFrame(rows)


def epoch_seconds(study: Study) -> pd.DataFrame:
    """Tabulate the times of each configuration over all epochs and seeds, in seconds.

    Columns: network, activation, quartile_low, median, quartile_high (of an epoch), compile_seconds
    (the median over seeds), models_at_once.
    """
    rows = []
    for network, activation in study.identities():
        timed = where(study.timings, activation=activation, network=network)
        quartiles = np.quantile(timed["epoch_seconds"], [0.25, 0.5, 0.75])
        compiled = float(np.median(timed.drop_duplicates("seed")["compile_seconds"]))
        at_once = " or ".join(map(str, sorted(set(timed["models_at_once"]))))
        rows.append((network, activation, *map(float, quartiles), compiled, at_once))
    columns = ["network", "activation", "quartile_low", "median", "quartile_high"]
    return pd.DataFrame(rows, columns=[*columns, "compile_seconds", "models_at_once"])


def extend_ended(table: pd.DataFrame, keys: Sequence[str], step: str) -> pd.DataFrame:
    """Repeat the last row of each seed that ended before others of its group, to their last step.

    So that means over seeds are over all of them at every step.

    >>> table = pd.DataFrame({"key": "a", "seed": [0, 0, 1], "epoch": [1, 2, 1], "loss": [3, 2, 4]})
    >>> extend_ended(table, ["key"], "epoch")["loss"].tolist()
    [3, 2, 4, 4]
    """
    ends: Any = table.groupby([*keys, "seed"], sort=False)[step].transform("max")
    last: Any = table.groupby(list(keys), sort=False)[step].transform("max")
    ended = cast(pd.DataFrame, table[(table[step] == ends) & (ends < last)])
    if ended.empty:
        return table
    steps = table.loc[:, [*keys, step]].drop_duplicates()
    added: Any = ended.merge(steps, on=list(keys), suffixes=("", "_later"))
    added = added[added[f"{step}_later"] > added[step]]
    added = added.drop(columns=step).rename(columns={f"{step}_later": step})
    return pd.concat([table, added.loc[:, table.columns]], ignore_index=True)


def end_apart(study: Study) -> bool:
    """Tell whether some seeds of a configuration ended before others."""
    ends: Any = study.history.groupby([*study.keys, "seed"])["epoch"].max()
    groups = ends.groupby(list(study.keys))
    return bool((groups.min() < groups.max()).any())


def learning_curves(study: Study, metric: str, confidence: float) -> pd.DataFrame:
    """Tabulate accuracy or loss by epoch: the study's keys, split, epoch, then `over_seeds`."""
    history = extend_ended(study.history, study.keys, "epoch")
    parts = [
        over_seeds(
            history,
            [*study.keys, "epoch"],
            column,
            confidence,
            share_interval if metric == "accuracy" else mean_interval,
        ).assign(split=split)
        for column, split in ((metric, "training"), (f"val_{metric}", "validation"))
        if column in history
    ]
    table = pd.concat(parts, ignore_index=True)
    table.insert(len(study.keys), "split", table.pop("split"))
    return table


def select_first_layers(study: Study) -> pd.DataFrame:
    """Select the teaching notebook's measure before and after training.

    It is the mean absolute entry of the first kernel's gradient on the first training images; the
    first layer of a network without hidden layers is its output.
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


def plot_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Tabulate means over seeds for `dvc plots`, with one row per point of a line `configuration`.

    `loss`, `accuracy`, `val_loss` and `val_accuracy` by epoch; `gradient_initial`, the norm of
    the gradient before training, by the layer's place, counted from the images.
    """
    history = extend_ended(study.history, study.keys, "epoch")
    plots = {
        metric: _mean_lines(history, "epoch", metric).rename(columns={"mean": metric})
        for metric in HISTORY[2:]
    }
    initial = where(study.gradients, probe="test", statistic="l2_norm", epoch=0)
    places = {
        (network, layer): place
        for network in study.networks
        for place, layer in enumerate(study.layers_of(network), start=1)
    }
    layers = [places[names] for names in zip(initial["network"], initial["layer"], strict=True)]
    gradient = _mean_lines(initial.assign(layer=layers), "layer", "value")
    return plots | {"gradient_initial": gradient.rename(columns={"mean": "gradient_norm"})}


def _mean_lines(table: pd.DataFrame, key: str, value: str) -> pd.DataFrame:
    """Tabulate configuration, key and the mean over seeds; NaN where a seed has NaN."""
    names = table["activation"] + "-" + table["network"]
    groups: Any = table.assign(configuration=names).groupby(["configuration", key], sort=False)
    return groups[value].agg(lambda seeds: seeds.to_numpy().mean()).rename("mean").reset_index()


def metrics(summary: pd.DataFrame) -> dict[str, float | None]:
    """Give the mean test accuracies in percent for `dvc metrics`, by the names of MLflow's runs.

    In a regression, the mean squared errors. NaN, which JSON lacks, becomes None.
    """
    metric, unit = ("test_mse", "MSE") if "test_mse_mean" in summary else ("test_accuracy", "%")
    values = {
        f"{row['activation']}/{row['network']} {unit}": METRICS[metric].factor
        * row[f"{metric}_mean"]
        for row in summary.to_dict("records")
    }
    return {
        name: round(value, 6) if math.isfinite(value) else None for name, value in values.items()
    }


def tabulate_tests(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate `primary_metric` over seeds: the study's keys, diverged_seeds, then `over_seeds`."""
    return _tabulate_tested(study, study.test, study.keys, confidence)


def tabulate_noise(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate the same by the bound of the noise on the test images, as text, after the keys.

    0 is the test without noise.
    """
    tested = study.test.merge(study.noise[list(study.keys)].drop_duplicates())
    table = pd.concat([tested.assign(noise=0.0), study.noise], ignore_index=True)
    table = table.sort_values("noise", kind="stable").assign(
        noise=table["noise"].map("{:g}".format)
    )
    return _tabulate_tested(study, table, [*study.keys, "noise"], confidence)


def _tabulate_tested(
    study: Study, tested: pd.DataFrame, keys: Sequence[str], confidence: float
) -> pd.DataFrame:
    column = "test_loss" if study.is_regression else "test_accuracy"
    find_interval = choose_interval(study.is_sequential, not study.is_regression)
    table = over_seeds(tested, keys, column, confidence, find_interval)
    diverged = diverged_seeds(study)
    counts = [len(diverged.get(study.identify(row), [])) for row in table.to_dict("records")]
    table.insert(len(keys), "diverged_seeds", counts)
    return table
