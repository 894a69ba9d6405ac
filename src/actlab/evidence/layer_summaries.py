"""Layers and theory over seeds: gradients, unit health, mean-field ratios, times of a layer."""

import math
from itertools import combinations, groupby
from typing import Any, cast

import numpy as np
import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence.statistics import (
    Interval,
    geometric_interval,
    mean_interval,
    paired_ratio,
    wilson_interval,
)
from actlab.evidence.summaries import over_seeds, select_first_layers
from actlab.results.study import Study
from actlab.results.tables import HEALTH, THEORY_RATIOS

#: A geometric mean over seeds with its interval, for what spreads by factors.
_GEOMETRIC = ("geometric_mean", "geometric_sd", "low", "high")

#: What spreads over seeds by factors: its means are geometric.
_BY_FACTORS = ("backprop_rms", "update_ratio")


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
    table = over_seeds(select_first_layers(study), keys, "value", confidence, geometric_interval)
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
        for key, rows in select_first_layers(study).groupby(["network", "epoch", "activation"])
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
