"""Layers and theory over seeds: gradients, unit health, mean-field ratios, times of a layer."""

import math
from collections.abc import Callable
from itertools import combinations, groupby
from typing import Any, cast

import numpy as np
import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence.statistics import (
    Interval,
    bonferroni,
    geometric_interval,
    mean_interval,
    share_interval,
)
from actlab.evidence.summaries import over_seeds, select_first_layers
from actlab.results.study import Study
from actlab.results.tables import HEALTH, THEORY_RATIOS

#: A geometric mean over seeds with its interval, for values that spread by factors.
_GEOMETRIC = ("geometric_mean", "geometric_sd", "low", "high")

#: Statistics that spread over seeds by factors: their means are geometric.
_BY_FACTORS = ("backprop_rms", "update_ratio")

#: Statistics that are shares, whose intervals cannot leave 0 to 1.
_SHARES = ("saturated_fraction", "dead_fraction", "one_sign_fraction", "one_sign_batch_fraction")

_LAYER = ["activation", "network", "epoch", "layer"]


def first_layer_gradients(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate the first layer's mean absolute gradient before and after training.

    Columns: activation, network, epoch (0 and the last), geometric_mean, geometric_sd (a factor),
    low, high, seed_<s>... Where a seed's gradient is zero the geometric mean is NaN.
    """
    keys = ["activation", "network", "epoch"]
    table = over_seeds(select_first_layers(study), keys, "value", confidence, geometric_interval)
    return table.rename(columns={"mean": "geometric_mean", "sd": "geometric_sd"})


def first_layer_ratios(study: Study, confidence: float) -> pd.DataFrame:
    """Compare `first_layer_gradients` of each pair of activations on a network, paired by seed.

    The intervals of a network at an epoch hold together with the given confidence. Columns:
    network, epoch, first, second, seeds, then of first / second: geometric_mean, geometric_sd, low,
    high.
    """
    pairs = list(combinations(study.activations, 2))
    each = bonferroni(confidence, max(1, len(pairs)))
    norms = _wide(select_first_layers(study), ["network", "epoch", "activation"])
    rows = []
    for network in study.networks:
        for epoch in (0, study.epochs):
            for first, second in pairs:
                ratio = _ratio(norms[network, epoch, first], norms[network, epoch, second], each)
                rows.append((network, epoch, first, second, len(study.seeds), *ratio))
    columns = ["network", "epoch", "first", "second", "seeds", *_GEOMETRIC]
    return pd.DataFrame(rows, columns=columns)


def _wide(table: Any, columns: list[str] | str, index: str = "seed", value: str = "value") -> Any:
    """Bring a table to one row per seed and one column per group."""
    return table.pivot(index=index, columns=columns, values=value)  # noqa: PD010


def _ratio(first: Any, second: Any, confidence: float) -> tuple[float, ...]:
    """Compute the geometric mean of first / second with its interval, paired by their index."""
    return geometric_interval((first / second).to_numpy(float), confidence)


def layer_factors(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate the factor per layer by which the gradient changes on its way back.

    It is (norm in the first layer / norm in the last) ^ (1 / steps between them) on test images,
    over the longest run of consecutive hidden layers with kernels of one shape: norms of other
    shapes are not comparable. A network without two such layers has no row. The intervals of a
    network at an epoch hold together with the given confidence. Columns: network, epoch (0 and the
    last), activation, first_layer, last_layer, inputs, units, seeds, geometric_mean, geometric_sd,
    low, high.
    """
    norms = where(study.gradients, probe="test", statistic="l2_norm")
    norms = _wide(norms, _LAYER)
    each = bonferroni(confidence, len(study.activations))
    rows = []
    for network in study.networks:
        equal = _equal_layers(study, network)
        if len(equal) < 2:
            continue
        first, last = equal[0], equal[-1]
        names = (first["layer"], last["layer"], first["inputs"], first["units"])
        for epoch in (0, study.epochs):
            for activation in study.activations:
                front, back = (
                    norms[activation, network, epoch, end["layer"]] ** (1 / (len(equal) - 1))
                    for end in (first, last)
                )
                factor = _ratio(front, back, each)
                rows.append((network, epoch, activation, *names, len(study.seeds), *factor))
    columns = ["network", "epoch", "activation", "first_layer", "last_layer", "inputs", "units"]
    return pd.DataFrame(rows, columns=[*columns, "seeds", *_GEOMETRIC])


def _equal_layers(study: Study, network: str) -> list[dict[str, Any]]:
    """Find the longest run of hidden layers with kernels of one shape, the first such run."""
    rows = where(study.layers, activation=study.activations[0], network=network)
    hidden = rows.to_dict("records")[:-1]
    runs = [list(run) for _, run in groupby(hidden, lambda row: (row["inputs"], row["units"]))]
    return max(runs, key=len, default=[])


def gradients_by_layer(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate the gradient's norm on test images: activation, network, epoch, layer, ...

    Then come the columns of `over_seeds`; means are arithmetic.
    """
    rows = where(study.gradients, probe="test", statistic="l2_norm")
    return over_seeds(rows, _LAYER, "value", confidence)


def layer_health(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate `HEALTH` and the update ratio of every layer at every kept epoch, over seeds.

    Columns: activation, network, statistic, epoch, layer, then those of `over_seeds`. Means of
    backprop_rms and update_ratio are geometric, all others arithmetic. Variances are over a seed's
    images and units.
    """
    keys = ["activation", "network", "statistic", "epoch", "layer"]
    probed = where(study.gradients, probe="test", statistic=list(HEALTH))
    steps = study.updates.rename(columns={"update_ratio": "value"}).assign(statistic="update_ratio")
    rows = pd.concat([probed, steps], ignore_index=True)
    parts = [
        over_seeds(
            where(rows, statistic=statistic),
            keys,
            "value",
            confidence,
            _choose_interval(statistic),
        )
        for statistic in (*HEALTH, "update_ratio")
        if statistic in set(rows["statistic"])
    ]
    return pd.concat(parts, ignore_index=True)


def _choose_interval(statistic: str) -> Callable[[np.ndarray, float], Interval]:
    if statistic in _BY_FACTORS:
        return geometric_interval
    return share_interval if statistic in _SHARES else mean_interval


def dead_units(study: Study, confidence: float) -> pd.DataFrame:
    """Count the dead units of every hidden layer at every kept epoch, over all seeds.

    Columns: activation, network, epoch, layer, dead, units, then of the mean share over seeds:
    share, low, high (`share_interval`: units of one seed share its training, and are no repetitions
    of it). Diverged seeds are not counted.
    """
    rows = _with_units(study, ["dead_fraction"])
    rows["dead"] = (rows["value"] * rows["units"]).round().astype(int)
    counts: Any = rows.groupby(_LAYER, sort=False)[["dead", "units"]].sum().reset_index()
    shares = over_seeds(rows, _LAYER, "value", confidence, share_interval)
    return counts.join(shares.rename(columns={"mean": "share"})[["share", "low", "high"]])


def one_sign_shares(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate the share of units with gradients of one sign, over layers that read hidden units.

    Columns: activation, network, statistic (one_sign_fraction, one_sign_batch_fraction), epoch,
    then those of `over_seeds`. A seed's value is the mean of its layers, weighted by their units;
    layers with NaN are left out, and so are networks without hidden layers.
    """
    rows = _with_units(study, ["one_sign_fraction", "one_sign_batch_fraction"])
    first = {network: study.layers_of(network)[0] for network in study.networks}
    rows = rows[rows["layer"] != rows["network"].map(first)]
    rows = rows.assign(value=rows["value"] * rows["units"])
    keys = ["activation", "network", "statistic", "epoch"]
    sums: Any = rows.groupby([*keys, "seed"], sort=False)[["value", "units"]].sum()
    sums["value"] /= sums["units"]
    return over_seeds(sums.reset_index(), keys, "value", confidence, share_interval)


def _with_units(study: Study, statistics: list[str]) -> Any:
    """Select the finite values on test images, with the units of their layers."""
    rows = where(study.gradients, probe="test", statistic=statistics)
    rows = rows.merge(study.layers[["activation", "network", "layer", "units"]])
    return rows[np.isfinite(rows["value"])].copy()


def theory_ratios(study: Study, confidence: float) -> pd.DataFrame:
    """Compare the measured ratios of neighbouring layers with the predicted ones.

    Columns: those of `THEORY_RATIOS` up to direction, then seeds, predicted, band_low, band_high,
    geometric_mean, geometric_sd, low, high (over seeds) and agrees: yes where the interval lies in
    the band, no where it lies outside, else undecided; empty where theory predicts nothing.
    """
    keys = list(THEORY_RATIOS[: THEORY_RATIOS.index("seed")])
    predicted = ["predicted", "band_low", "band_high"]
    rows = []
    for names, group in study.theory_ratios.groupby(keys, sort=False):
        interval = geometric_interval(group["ratio"].to_numpy(), confidence)
        ratio, low, high = (float(group[column].iloc[0]) for column in predicted)
        agrees = _read_agreement(interval, low, high)
        rows.append((*cast(tuple, names), len(group), ratio, low, high, *interval, agrees))
    return pd.DataFrame(rows, columns=[*keys, "seeds", *predicted, *_GEOMETRIC, "agrees"])


def _read_agreement(interval: Interval, low: float, high: float) -> str:
    """Read from an interval whether a value lies in a band: a test of equivalence."""
    if not math.isfinite(low + high):
        return ""
    if low <= interval.low and interval.high <= high:
        return "yes"
    return "no" if interval.high < low or interval.low > high else "undecided"


def kernel_times(study: Study, confidence: float) -> pd.DataFrame:
    """Tabulate the time of a layer's passes, and its ratio to that of the first activation.

    The intervals of an operation hold together with the given confidence. Columns: operation,
    activation, blocks, repetitions, seconds (the geometric mean), then of the ratio, paired by
    block: geometric_mean, geometric_sd, low, high; for the first activation 1 and NaN.
    """
    each = bonferroni(confidence, max(1, len(study.activations) - 1))
    rows = []
    for operation, timed in study.kernels.groupby("operation", sort=False):
        seconds = _wide(timed, "activation", "block", "seconds")
        first, *others = (seconds[name] for name in study.activations)
        ratios = [(1.0, *[math.nan] * 3), *(_ratio(other, first, each) for other in others)]
        for name, ratio in zip(study.activations, ratios, strict=True):
            mean = geometric_interval(seconds[name].to_numpy(float), confidence).mean
            repetitions = int(timed["repetitions"].iloc[0])
            rows.append((operation, name, len(seconds), repetitions, mean, *ratio))
    columns = ["operation", "activation", "blocks", "repetitions", "seconds", *_GEOMETRIC]
    return pd.DataFrame(rows, columns=columns)
