"""The numbers of a study -> sentences that claim no more than the numbers show.

Nothing is assumed about which activations and networks are configured. A difference is called
one when its interval over seeds excludes zero, a ratio when its interval excludes 1; otherwise
the sentence says that none is shown. Times are told apart when the middle halves of the epochs
do not overlap.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from actlab import tables
from actlab.config import ActivationConfig
from actlab.statistics import Interval
from actlab.tables import Study, where, written


def percent(fraction: float) -> str:
    """Write a fraction in percent.

    >>> percent(0.97954), percent(math.nan)
    ('97.95 %', 'n/a')
    """
    return f"{100 * fraction:.2f} %" if math.isfinite(fraction) else "n/a"


def in_points(difference: float) -> str:
    """Write a difference of two fractions in percentage points.

    >>> in_points(-0.00124)
    '−0.12'
    """
    return f"{100 * difference:.2f}".replace("-", "−")


def join(parts: Iterable[str]) -> str:
    """Join as in a sentence.

    >>> join(["sigmoid", "tanh", "relu"])
    'sigmoid, tanh and relu'
    """
    *before, last = parts
    return f"{', '.join(before)} and {last}" if before else last


def counted(count: int, noun: str) -> str:
    """Write how many, with the noun's plural.

    >>> counted(1, "seed"), counted(60000, "image")
    ('1 seed', '60,000 images')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def accuracy_findings(
    study: Study, summary: pd.DataFrame, differences: pd.DataFrame, confidence: float
) -> list[str]:
    """Say for each network which test accuracy is the highest, and which it is shown to exceed.

    Parameters
    ----------
    study
        What was measured.
    summary, differences
        `tables.summarise` and `tables.accuracy_differences` of it.
    confidence
        Of both tables' intervals.
    """
    return [
        _accuracy_finding(study, summary, differences, network, confidence)
        for network in study.networks
    ]


def _accuracy_finding(
    study: Study,
    summary: pd.DataFrame,
    differences: pd.DataFrame,
    network: str,
    confidence: float,
) -> str:
    rows = {row["activation"]: row for row in where(summary, network=network).to_dict("records")}
    means = {name: row["test_accuracy_mean"] for name, row in rows.items()}
    finite = {name: mean for name, mean in means.items() if math.isfinite(mean)}
    if not finite:
        return f"On {network} no test accuracy is a number."
    best = max(finite, key=lambda name: finite[name])
    value = percent(finite[best])
    if len(study.seeds) == 1:
        if len(means) == 1:
            return (
                f"On {network} {best} has a test accuracy of {value}; with one seed no"
                " uncertainty can be given."
            )
        return (
            f"On {network} the highest test accuracy of the one seed is {value}, with {best};"
            " no uncertainty can be given, so no order is shown."
        )
    low, high = (100 * rows[best][f"test_accuracy_ci_{side}"] for side in ("low", "high"))
    uncertain = f"{100 * confidence:g} % interval {low:.2f} to {high:.2f}"
    seeds = counted(len(study.seeds), "seed")
    if len(means) == 1:
        return f"On {network} {best} has a mean test accuracy of {value} ({uncertain}, {seeds})."
    above, undecided = [], []
    for name in study.activations:
        if name != best:
            difference = _difference(differences, network, best, name)
            told = (
                f"{name} ({in_points(difference.mean)} points, {in_points(difference.low)} to"
                f" {in_points(difference.high)})"
                if math.isfinite(difference.low)
                else f"{name} (not a number)"
            )
            (above if difference.excludes(0.0) else undecided).append(told)
    sentence = (
        f"On {network} the highest mean test accuracy is {value} ({uncertain}, {seeds}),"
        f" with {best}"
    )
    if above:
        sentence += f"; it is shown to be above {join(above)}"
    if undecided:
        sentence += f"; no difference is shown to {join(undecided)}"
    return sentence + "."


def _difference(differences: pd.DataFrame, network: str, best: str, other: str) -> Interval:
    for first, second, sign in ((best, other, 1), (other, best, -1)):
        rows = where(differences, network=network, first=first, second=second)
        for mean, sd, low, high in rows[["mean", "sd", "low", "high"]].to_numpy(dtype=float):
            bounds = sorted([sign * low, sign * high])
            return Interval(sign * float(mean), float(sd), float(bounds[0]), float(bounds[1]))
    raise KeyError((network, best, other))


def spread_findings(study: Study, summary: pd.DataFrame) -> list[str]:
    """Set the spread between seeds beside the spread between activations, for each network."""
    if len(study.seeds) == 1:
        return ["With one seed nothing can be said of the spread between seeds."]
    told = []
    for network in study.networks:
        rows = where(summary, network=network)
        sds, means = rows["test_accuracy_sd"].dropna(), rows["test_accuracy_mean"].dropna()
        if sds.empty:
            continue
        low, high = in_points(min(sds)), in_points(max(sds))
        spread = f"{low}" if low == high else f"{low} to {high}"
        sentence = (
            f"On {network} the standard deviation of test accuracy between seeds is"
            f" {spread} percentage points"
        )
        if len(means) > 1:
            sentence += (
                f"; the means of the activations lie within"
                f" {in_points(max(means) - min(means))} points"
            )
        told.append(sentence + ".")
    return told


def divergence_findings(study: Study) -> list[str]:
    """Name the runs whose loss stopped being a number."""
    return [
        f"The training of {activation} on {network} diverged with"
        f" {'seed' if len(seeds) == 1 else 'seeds'} {join(map(str, seeds))}: its loss is not a"
        " number. Its accuracies are counted as measured."
        for (activation, network), seeds in tables.diverged_seeds(study).items()
    ]


def loss_findings(study: Study) -> list[str]:
    """Say for each network after which epoch the mean validation loss was lowest."""
    told = []
    for network in study.networks:
        lowest = []
        for activation in study.activations:
            rows = where(study.history, activation=activation, network=network)
            table = rows.pivot(index="epoch", columns="seed", values="val_loss")  # noqa: PD010
            means = table.to_numpy().mean(axis=1)
            if np.isfinite(means).all():
                lowest.append(f"{table.index[int(means.argmin())]} ({activation})")
        if lowest:
            told.append(
                f"On {network} the mean validation loss is lowest after epoch {join(lowest)},"
                f" of {study.epochs}."
            )
    return told


def time_findings(study: Study) -> list[str]:
    """Say for each network which median epoch is the shortest and which the longest.

    An end is named only where the middle half of its epochs lies apart from every other's.
    """
    times = tables.epoch_seconds(study)
    told = [_time_finding(where(times, network=network), network) for network in study.networks]
    if len(study.activations) > 1:
        told.append(
            "The activations were timed one after the other, on a machine whose other load was"
            " not controlled: a difference may come from that as well as from the activation."
        )
    return told


def _time_finding(times: pd.DataFrame, network: str) -> str:
    rows = sorted(times.to_dict("records"), key=lambda row: row["median"])
    shortest, longest = rows[0], rows[-1]
    if len(rows) == 1:
        return f"On {network} the median epoch took {shortest['median']:.3f} s."
    # Each end with what is not told from it.
    first = [row for row in rows if not _apart(row, shortest)]
    last = [row for row in rows if not _apart(row, longest)]
    if len(first) == len(last) == 1:
        return (
            f"On {network} the shortest median epoch is {shortest['median']:.3f} s, with"
            f" {shortest['activation']}, and the longest {longest['median']:.3f} s, with"
            f" {longest['activation']}: a ratio of {longest['median'] / shortest['median']:.2f}."
        )
    if 1 in (len(first), len(last)):
        named, other = ("shortest", "longest") if len(first) == 1 else ("longest", "shortest")
        end, unclear = (shortest, last) if len(first) == 1 else (longest, first)
        return (
            f"On {network} the {named} median epoch is {end['median']:.3f} s, with"
            f" {end['activation']}; the {other} is not told apart: {_seconds(unclear)}."
        )
    if not any(_apart(*pair) for pair in combinations(rows, 2)):
        return (
            f"On {network} the median epochs are not told apart, their middle halves overlap:"
            f" {_seconds(rows)}."
        )
    return (
        f"On {network} neither the shortest nor the longest median epoch is told apart from the"
        f" one next to it: {_seconds(rows)}."
    )


def _apart(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    low, high = "quartile_low", "quartile_high"
    return one[high] < other[low] or other[high] < one[low]


def _seconds(rows: Iterable[Mapping[Any, Any]]) -> str:
    return join(f"{row['median']:.3f} s with {row['activation']}" for row in rows)


def first_layer_findings(
    study: Study, activations: Sequence[ActivationConfig], confidence: float, epoch: int
) -> list[str]:
    """Order the first layer's gradients of each network, before or after training.

    An end of the order is named only where its ratio to every other activation is shown.

    Parameters
    ----------
    study
        What was measured.
    activations
        Which function each name stands for: sigmoid and ReLU are compared where configured.
    confidence
        Of all the ratios of a network taken together.
    epoch
        0, or the last.
    """
    means = where(tables.first_layer_gradients(study, confidence), epoch=epoch)
    ratios = where(tables.first_layer_ratios(study, confidence), epoch=epoch)
    functions = {each.name: each.function for each in activations}
    told = []
    for network in study.networks:
        has, without = _first_layers(study, where(means, network=network), network)
        told += [f"{_when(epoch)} {line}" for line in without]
        if not has:
            continue
        if len(has) == 1 or len(study.seeds) == 1:
            told.append(f"{_when(epoch)} {_unordered(study, has, network)}")
            continue
        of_network = where(ratios, network=network)
        pairs = {
            (first, second): _ratio(of_network, first, second)
            for first in has
            for second in has
            if first != second
        }
        told.append(f"{_when(epoch)} {_ordered(has, pairs, network)}")
        for first, second in pairs:
            if (functions[first], functions[second]) == ("sigmoid", "relu"):
                times = _times(pairs[first, second])
                line = f"that of {first} is {times[0]} times that of {second} ({times[1]})."
                if not told[-1].endswith(line):
                    told.append(f"{_when(epoch)}, on {network}, {line}")
    return told


def _first_layers(
    study: Study, means: pd.DataFrame, network: str
) -> tuple[dict[str, float], list[str]]:
    """Give the geometric means that there are, and say why there is none of the others."""
    has, without = {}, []
    for row in means.to_dict("records"):
        values = np.array([row[f"seed_{seed}"] for seed in study.seeds])
        gradient = f"the gradient of {row['activation']} in the first layer of {network} is"
        if math.isfinite(row["geometric_mean"]):
            has[row["activation"]] = row["geometric_mean"]
        elif np.isfinite(values).all():
            without.append(
                f"{gradient} exactly zero with {(values == 0).sum()} of"
                f" {counted(len(values), 'seed')}: it has no geometric mean and no place in the"
                " order."
            )
        else:
            without.append(f"{gradient} no number.")
    return has, without


def _unordered(study: Study, has: Mapping[str, float], network: str) -> str:
    each = join(f"{written(mean)} with {name}" for name, mean in has.items())
    caveat = " (geometric mean over seeds)"
    if len(study.seeds) == 1:
        caveat = "; with one seed no order is shown" if len(has) > 1 else ""
    return f"the first layer's gradient on {network} is {each}{caveat}."


def _ordered(
    has: Mapping[str, float], pairs: Mapping[tuple[str, str], Interval], network: str
) -> str:
    ends, unclear = {}, {}
    for end, first in (("largest", max), ("smallest", min)):
        name = ends[end] = first(has, key=lambda each: has[each])
        doubtful = [
            other for other in has if other != name and not pairs[name, other].excludes(1.0)
        ]
        if doubtful:
            to = join(
                f"{other} ({' times, '.join(_times(pairs[name, other]))})" for other in doubtful
            )
            unclear[end] = f"{name} has {written(has[name])}, with no difference shown to {to}"
    largest, smallest = ends["largest"], ends["smallest"]
    if len(has) == 2 and unclear:
        times = " times, ".join(_times(pairs[largest, smallest]))
        return (
            f"no order of the first layer's gradients on {network} is shown: {largest} has"
            f" {written(has[largest])} and {smallest} {written(has[smallest])}, geometric means"
            f" over seeds ({times})."
        )
    if len(unclear) == 2:
        return (
            f"no largest and no smallest of the first layer's gradients on {network} is shown, in"
            f" geometric means over seeds: {unclear['largest']}, and {unclear['smallest']}."
        )
    lead = f"the first layer's gradient on {network} is"
    for end, other in (("largest", "smallest"), ("smallest", "largest")):
        if other in unclear:
            return (
                f"{lead} {end} with {ends[end]}, {written(has[ends[end]])} (geometric mean over"
                f" seeds); no {other} is shown: {unclear[other]}."
            )
    times, bounds = _times(pairs[smallest, largest])
    return (
        f"{lead} largest with {largest}, {written(has[largest])}, and smallest with {smallest},"
        f" {written(has[smallest])} (geometric means over seeds): that of {smallest} is {times}"
        f" times that of {largest} ({bounds})."
    )


def _ratio(ratios: pd.DataFrame, first: str, second: str) -> Interval:
    """Look a pair up in `tables.first_layer_ratios`, turned round where need be."""
    columns = ["geometric_mean", "geometric_sd", "low", "high"]
    rows = where(ratios, first=first, second=second)
    if len(rows):
        return Interval(*map(float, rows[columns].to_numpy()[0]))
    mean, sd, low, high = where(ratios, first=second, second=first)[columns].to_numpy(dtype=float)[
        0
    ]
    with np.errstate(divide="ignore"):
        return Interval(*map(float, (1 / mean, sd, 1 / high, 1 / low)))


def _times(ratio: Interval) -> tuple[str, str]:
    return written(ratio.mean), f"{written(ratio.low)} to {written(ratio.high)}"


def _when(epoch: int) -> str:
    return "Before training" if epoch == 0 else f"After {counted(epoch, 'epoch')}"


def depth_findings(study: Study, confidence: float, epoch: int) -> list[str]:
    """Say by which factor a layer the gradient changes on its way back through each network.

    Networks without hidden layers of one shape behind each other are left out; see
    `tables.layer_factors`.
    """
    factors = where(tables.layer_factors(study, confidence), epoch=epoch)
    return [
        _depth_finding(where(factors, network=network).to_dict("records"))
        for network in study.networks
        if network in set(factors["network"])
    ]


def _depth_finding(rows: list[dict[Any, Any]]) -> str:
    told: dict[str, list[str]] = {}
    for row in rows:
        factor = f"× {written(row['geometric_mean'], 3)} a layer"
        bounds = f"{written(row['low'], 3)} to {written(row['high'], 3)}"
        if not math.isfinite(row["geometric_mean"]):
            told.setdefault("no number with", []).append(row["activation"])
        elif row["seeds"] == 1:
            told.setdefault("changes with", []).append(f"{row['activation']}, {factor}")
        else:
            verb = "no change is shown with"
            if row["high"] < 1 or row["low"] > 1:
                verb = "shrinks with" if row["high"] < 1 else "grows with"
            told.setdefault(verb, []).append(f"{row['activation']}, {factor} ({bounds})")
    order = ("shrinks with", "grows with", "changes with", "no change is shown with")
    parts = [f"{verb} {join(told[verb])}" for verb in order if verb in told]
    if "no number with" in told:
        names = join(told["no number with"])
        parts.append(f"no number with {names} (a norm is zero or not finite)")
    if "changes with" in told:
        parts.append("with one seed no uncertainty can be given")
    first = rows[0]
    colon = ":" if parts[0].startswith("no ") else ""
    return (
        f"{_when(first['epoch'])}, on the way back from {first['last_layer']} to"
        f" {first['first_layer']} of {first['network']} (kernels of {first['inputs']} ×"
        f" {first['units']}), the gradient's norm{colon} {'; '.join(parts)}."
    )


def conclusion_findings(study: Study, confidence: float) -> list[str]:
    """Say what the study as a whole shows, and what comes together in it.

    Parameters
    ----------
    study
        What was measured.
    confidence
        Of every interval.
    """
    if len(study.activations) == 1:
        return ["With one activation there is nothing to compare it with."]
    by_time = _by_time(study)
    if len(study.seeds) == 1:
        return ["With one seed no difference between activations is shown.", by_time]
    differences = tables.accuracy_differences(study, confidence)
    return [
        _by_accuracy(study, tables.summarise(study, confidence), differences),
        *_depth_and_accuracy(study, differences, confidence),
        by_time,
    ]


def _by_accuracy(study: Study, summary: pd.DataFrame, differences: pd.DataFrame) -> str:
    told = []
    for network in study.networks:
        rows = where(differences, network=network).to_dict("records")
        apart = sum(row["low"] > 0 or row["high"] < 0 for row in rows)
        means = where(summary, network=network)["test_accuracy_mean"].to_numpy()
        within = f"lie within {in_points(float(np.ptp(means)))}"
        if told:
            told.append(f"{apart} of {len(rows)} on {network}, where they {within}")
        else:
            pairs = counted(len(rows), "pair")
            told.append(
                f"{apart} of {pairs} of activations are told apart on {network}, where their"
                f" means {within} points"
            )
    return f"By test accuracy {', and '.join(told)}."


def _by_time(study: Study) -> str:
    times, told = tables.epoch_seconds(study), []
    for network in study.networks:
        pairs = list(combinations(where(times, network=network).to_dict("records"), 2))
        apart = sum(_apart(one, other) for one, other in pairs)
        told.append(f"{apart} of {counted(len(pairs), 'pair')} on {network}")
    return f"By the time of an epoch the middle halves lie apart for {join(told)}."


def _depth_and_accuracy(study: Study, differences: pd.DataFrame, confidence: float) -> list[str]:
    """Set vanishing beside accuracy where one activation's gradient shrinks more than others'."""
    factors = where(tables.layer_factors(study, confidence), epoch=0)
    told = []
    for network in study.networks:
        rows = where(factors, network=network).to_dict("records")
        shrinking = sorted(
            (row for row in rows if row["high"] < 1), key=lambda row: row["geometric_mean"]
        )
        if not shrinking:
            continue
        name, others = shrinking[0]["activation"], shrinking[1:]
        with_whom = f"with {name} alone"
        if others:
            names = join(row["activation"] for row in rows if row in shrinking)
            if any(row["low"] <= shrinking[0]["high"] for row in others):
                told.append(
                    f"On {network} the gradient shrinks layer by layer before training with"
                    f" {names}."
                )
                continue
            with_whom = f"with {names}, most with {name}"
        below = [
            other
            for other in study.activations
            if other != name and _difference(differences, network, name, other).high < 0
        ]
        line = f"On {network} the gradient shrinks layer by layer before training {with_whom}"
        if below:
            told.append(
                f"{line}; its test accuracy is shown to be below that of {join(below)}. That both"
                " come together does not show that one causes the other."
            )
        else:
            others = join(other for other in study.activations if other != name)
            told.append(f"{line}, but its test accuracy is not shown to be below that of {others}.")
    return told


def health_findings(study: Study, confidence: float) -> list[str]:
    """Say of each network what is saturated, dead and of one sign, and how large a step is.

    Nothing is ordered: each activation is named with its own numbers. Networks without hidden
    layers are left out.

    Parameters
    ----------
    study
        What was measured.
    confidence
        Of the interval of dead units.
    """
    health = tables.layer_health(study, confidence)
    dead = tables.dead_units(study, confidence)
    signs = tables.one_sign_shares(study, confidence)
    told = []
    for network in study.networks:
        if len(study.layers_of(network)) == 1:
            continue
        of_network = where(health, network=network)
        told += _saturation_finding(study, of_network, network)
        told.append(_dead_finding(study, where(dead, network=network), network, confidence))
        told += _one_sign_findings(study, where(signs, network=network), network)
        told += _update_finding(study, of_network, network)
    return told


def _saturation_finding(study: Study, health: pd.DataFrame, network: str) -> list[str]:
    rows, told = where(health, statistic="saturated_fraction"), []
    for activation in study.activations:
        of = where(rows, activation=activation)
        means = {
            epoch: dict(zip(at["layer"], at["mean"], strict=True))
            for epoch, at in of.groupby("epoch")
        }
        finite = {name: mean for name, mean in means[study.epochs].items() if math.isfinite(mean)}
        if finite:
            most = max(finite, key=lambda name: finite[name])
            told.append(
                f"{most} with {activation} ({percent(finite[most])}, before training"
                f" {percent(means[0][most])})"
            )
    if not told:
        return []
    return [
        f"{_when(study.epochs)} the hidden layer of {network} with the highest mean share of"
        f" saturated units is {join(told)}."
    ]


def _dead_finding(study: Study, dead: pd.DataFrame, network: str, confidence: float) -> str:
    found, none = [], []
    for activation in study.activations:
        rows = where(dead, activation=activation)
        if rows.empty:
            continue
        if not sum(rows["dead"]):
            none.append(activation)
            continue
        last = where(rows, epoch=study.epochs).to_dict("records")
        most = max(rows.to_dict("records"), key=lambda row: row["share"])
        line = f"with {activation} "
        if any(row["dead"] for row in last):
            row = max(last, key=lambda row: row["share"])
            line += (
                f"{_when(study.epochs).lower()} most in {row['layer']}, {row['dead']} of"
                f" {row['units']:,} ({percent(row['share'])}, {100 * confidence:g} % interval"
                f" {100 * row['low']:.2f} to {100 * row['high']:.2f})"
            )
        else:
            line += f"none {_when(study.epochs).lower()}"
        found.append(
            f"{line}; the highest share at any probe is {percent(most['share'])}, in"
            f" {most['layer']} {_when(most['epoch']).lower()}"
        )
    parts = found + ([f"none at any probe with {join(none)}"] if none else [])
    if not parts:
        return f"On {network} no pre-activation is a number."
    return f"Units of {network} that are dead, all seeds together: {'; '.join(parts)}."


def _one_sign_findings(study: Study, signs: pd.DataFrame, network: str) -> list[str]:
    where_they_are = f"in the layers of {network} that read hidden units"
    told = []
    single = where(signs, statistic="one_sign_fraction", epoch=study.epochs).to_dict("records")
    if single:
        shares = join(f"{percent(row['mean'])} with {row['activation']}" for row in single)
        told.append(
            f"{_when(study.epochs)}, {where_they_are}, the gradient of a single image has one"
            f" sign for this share of units and images: {shares}."
        )
    batch = where(signs, statistic="one_sign_batch_fraction")
    shares = []
    for activation in study.activations:
        of = where(batch, activation=activation)
        means = dict(zip(of["epoch"], of["mean"], strict=True))
        if means:
            before, after = (percent(means.get(epoch, math.nan)) for epoch in (0, study.epochs))
            shares.append(f"{before} with {activation} ({after} {_when(study.epochs).lower()})")
    if shares:
        told.append(
            f"Before training, {where_they_are}, the gradient of the mean loss over all probed"
            f" images has one sign for this share of units: {join(shares)}."
        )
    return told


def _update_finding(study: Study, health: pd.DataFrame, network: str) -> list[str]:
    rows = where(health, statistic="update_ratio")
    told = []
    for epoch in (0, study.epochs):
        means = where(rows, epoch=epoch)["mean"].dropna()
        if means.empty:
            return []
        told.append(f"{written(min(means))} to {written(max(means))} {_when(epoch).lower()}")
    return [
        f"One step changes a kernel of {network} by this part of its norm: {join(told)}, from the"
        " smallest to the largest geometric mean of all layers and activations."
    ]
