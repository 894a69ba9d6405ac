"""The layers of a study -> sentences: gradients, depth, health, theory, time of a layer.

Nothing is assumed about which activations and networks are configured. A ratio of gradients is
shown where its interval over seeds excludes 1.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from actlab.activations.config import ActivationConfig
from actlab.engine.csvs import where
from actlab.evidence import layer_summaries
from actlab.evidence.differences import orient
from actlab.evidence.statistics import Interval
from actlab.evidence.wording import counted, join, percent, written
from actlab.results.study import Study


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
    means = where(layer_summaries.first_layer_gradients(study, confidence), epoch=epoch)
    ratios = where(layer_summaries.first_layer_ratios(study, confidence), epoch=epoch)
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
            if (functions[first], functions[second]) != ("sigmoid", "relu") or len(has) == 2:
                continue  # of two the order says it
            mean, bounds = _times(pairs[first, second])
            line = f"that of {first} is {mean} times that of {second} ({bounds})."
            if not pairs[first, second].excludes(1.0):
                line = f"no difference of {first} and {second} is shown ({mean} times, {bounds})."
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


def _ordered(has: dict[str, float], pairs: Mapping[tuple[str, str], Interval], network: str) -> str:
    ends, unclear = {}, {}
    # The smallest is the last of equal ones: the largest is the first.
    for end, name in (
        ("largest", max(has, key=lambda each: has[each])),
        ("smallest", min(reversed(has), key=lambda each: has[each])),
    ):
        ends[end] = name
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
    """Look a pair up in `layer_summaries.first_layer_ratios`, turned round where need be."""
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
    `layer_summaries.layer_factors`.
    """
    factors = where(layer_summaries.layer_factors(study, confidence), epoch=epoch)
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
        f" {first['units']}), the norm of a kernel's gradient{colon} {'; '.join(parts)}."
    )


def depth_and_accuracy_findings(
    study: Study, compared: pd.DataFrame, confidence: float
) -> list[str]:
    """Compare vanishing with accuracy where one activation's gradient shrinks more than others'."""
    factors = where(layer_summaries.layer_factors(study, confidence), epoch=0)
    told = []
    for network in study.networks:
        rows = where(factors, network=network).to_dict("records")
        shrinking = sorted(
            (row for row in rows if row["high"] < 1), key=lambda row: row["geometric_mean"]
        )
        if not shrinking:
            continue
        name, others = shrinking[0]["activation"], shrinking[1:]
        with_whom = f"with {name}, and is not shown to with another"
        if others:
            names = join(row["activation"] for row in rows if row in shrinking)
            if any(row["low"] <= shrinking[0]["high"] for row in others):
                told.append(
                    f"On {network} the kernels' gradient shrinks layer by layer before training"
                    f" with {names}."
                )
                continue
            with_whom = f"with {names}, most with {name}"
        rest = [other for other in study.activations if other != name]
        below = [
            other
            for other in rest
            if orient(compared, "test_accuracy", name, other, network=network)["verdict"] == "worse"
        ]
        line = (
            f"On {network} the kernels' gradient shrinks layer by layer before training {with_whom}"
        )
        if below:
            told.append(
                f"{line}; the test accuracy of {name} is shown to be below that of {join(below)}."
                " That both come together does not show that one causes the other."
            )
        else:
            told.append(
                f"{line}, but the test accuracy of {name} is not shown to be below that of"
                f" {join(rest)}."
            )
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
    health = layer_summaries.layer_health(study, confidence)
    dead = layer_summaries.dead_units(study, confidence)
    signs = layer_summaries.one_sign_shares(study, confidence)
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


_OPERATIONS = {
    "forward": "the pass forward",
    "backward": "the pass back",
    "elementwise": "the activation without the layer",
}
