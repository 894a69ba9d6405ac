"""The numbers of a study -> sentences that claim no more than the numbers show.

Nothing is assumed about which activations and networks are configured. Whether one activation
is better than another by a metric, equivalent or undecided is the verdict of
`comparisons.compare`; a ratio of gradients is shown where its interval over seeds excludes 1.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from actlab import tables
from actlab.comparisons import METRICS
from actlab.config import MATCHED, ActivationConfig
from actlab.statistics import Interval, mean_interval
from actlab.tables import Study, where, written


def percent(fraction: float) -> str:
    """Write a fraction in percent.

    >>> percent(0.97954), percent(math.nan)
    ('97.95 %', 'n/a')
    """
    return f"{100 * fraction:.2f} %" if math.isfinite(fraction) else "n/a"


def fixed(value: float, places: int) -> str:
    """Write with so many decimals; what is beyond any scale (a loss can be) with three digits.

    >>> fixed(0.07654, 4), fixed(-1.5, 1), fixed(1.2e31, 4), fixed(math.nan, 4)
    ('0.0765', '−1.5', '1.20e+31', 'n/a')
    """
    if not math.isfinite(value):
        return "n/a"
    return (f"{value:.{places}f}" if abs(value) < 1e6 else f"{value:.2e}").replace("-", "−", 1)


def in_points(difference: float) -> str:
    """Write a difference of two fractions in points: two decimals, or the first digit that counts.

    >>> in_points(-0.00124), in_points(0.0304), in_points(0.00001), in_points(0.0)
    ('−0.12', '3.04', '0.001', '0.00')
    """
    if not math.isfinite(difference):
        return "n/a"
    points = 100 * difference
    small = 0 < abs(points) < 0.005
    return (f"{points:.1g}" if small else f"{points:.2f}").replace("-", "−")


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


def comparison_findings(
    study: Study,
    scores: pd.DataFrame,
    comparisons: pd.DataFrame,
    metric: str,
    confidence: float,
    target: float,
) -> list[str]:
    """Say for each network which activation is the best by a metric, and what is shown of it.

    Parameters
    ----------
    study
        What was measured.
    scores, comparisons
        `comparisons.score` and `comparisons.compare` of it.
    metric
        One of `comparisons.METRICS`.
    confidence
        Of the intervals.
    target
        What `epochs_to_target` counts to.
    """
    told = []
    for network in study.networks:
        of = where(scores, network=network, metric=metric)
        values = {
            name: where(of, activation=name)["value"].to_numpy(dtype=float)
            for name in study.activations
        }
        values = {name: each for name, each in values.items() if np.isfinite(each).all()}
        if not values:
            told.append(f"On {network} no {METRICS[metric].title} is a number.")
            continue
        sign = 1 if METRICS[metric].larger_is_better else -1
        best = max(values, key=lambda name: sign * _centre(metric, values[name]))
        value = _value(metric, values[best], confidence)
        single = len(values[best]) == 1
        noun = _noun(metric, target) if single else f"mean {_noun(metric, target)}"
        if len(study.activations) == 1:
            without = "; with one seed no uncertainty can be given" if single else ""
            told.append(f"On {network} {best} has a {noun} of {value}{without}.")
            continue
        extreme = "highest" if METRICS[metric].larger_is_better else "lowest"
        lead = f"On {network} the {extreme} {noun} is {value}, with {best}"
        if single:
            told.append(f"{lead}; no uncertainty can be given, so no order is shown.")
        else:
            rows = [
                towards(comparisons, network, metric, best, name)
                for name in study.activations
                if name != best
            ]
            told.append(f"{lead}; {'; '.join(_verdicts(metric, rows))}.{_on_new_images(rows)}")
        told[-1] += _never_reached(study, of)
    return told


def answer_findings(study: Study, summary: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Answer by test accuracy in a sentence a network, of the first network and of the last.

    Parameters
    ----------
    study
        What was measured.
    summary
        `tables.summarise` of it.
    comparisons
        `comparisons.compare` of it.
    """
    told = []
    for network in dict.fromkeys((study.networks[0], study.networks[-1])):
        rows = [
            row
            for row in where(summary, network=network).to_dict("records")
            if math.isfinite(row["test_accuracy_mean"])
        ]
        if not rows:
            told.append(f"On {network} no test accuracy is a number.")
            continue
        best = max(rows, key=lambda row: row["test_accuracy_mean"])
        low, high = best["test_accuracy_ci_low"], best["test_accuracy_ci_high"]
        is_single = not math.isfinite(low)
        value = percent(best["test_accuracy_mean"])
        value += " (one seed)" if is_single else f" ({100 * low:.2f} to {100 * high:.2f})"
        name = best["activation"]
        if len(study.activations) == 1:
            told.append(f"On {network} {name} reaches a test accuracy of {value}.")
            continue
        lead = f"On {network} {name} has the highest mean test accuracy, {value}"
        if is_single:
            told.append(f"{lead}; one seed shows no order.")
            continue
        pairs = [
            towards(comparisons, network, "test_accuracy", name, other)
            for other in study.activations
            if other != name
        ]
        told.append(f"{lead}: {'; '.join(_briefly(pairs))}.")
    return told


def _briefly(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for verdict, words in _VERDICTS.items():
        of = [row for row in rows if row["verdict"] == verdict]
        shown = verdict in ("better", "worse")
        names = [
            f"{row['other']} ({difference_text('test_accuracy', row)})" if shown else row["other"]
            for row in of
        ]
        if names:
            yield f"{words} {join(names)}"


def _never_reached(study: Study, scores: pd.DataFrame) -> str:
    """Say of how many seeds a value is a lower bound."""
    counts = {
        name: len(where(scores, activation=name, censored=True)) for name in study.activations
    }
    told = [f"{count} of {len(study.seeds)} with {name}" for name, count in counts.items() if count]
    if not told:
        return ""
    return f" Seeds that never get there count one epoch more than were trained: {join(told)}."


def _centre(metric: str, values: Float[np.ndarray, " pairs"]) -> float:
    if METRICS[metric].unit == "ratio":
        return float(np.exp(np.log(values).mean()))
    return float(values.mean())


def _noun(metric: str, target: float) -> str:
    if metric == "epochs_to_target":
        return f"number of epochs to {100 * target:g} % validation accuracy"
    return METRICS[metric].title


def _value(metric: str, values: Float[np.ndarray, " pairs"], confidence: float) -> str:
    centre, unit = _centre(metric, values), METRICS[metric].unit
    if metric == "test_accuracy":
        interval = mean_interval(values, confidence)
        if len(values) == 1:
            return f"{percent(centre)} (one seed)"
        return (
            f"{percent(centre)} ({100 * confidence:g} % interval {100 * interval.low:.2f} to"
            f" {100 * interval.high:.2f}, {counted(len(values), 'seed')})"
        )
    if unit == "points":
        return percent(centre)
    if unit == "ratio":
        return f"{centre:.3f} s (geometric, {counted(len(values), _pair(metric))})"
    return f"{fixed(centre, 4)} nats" if unit == "nats" else fixed(centre, 1)


def _pair(metric: str) -> str:
    """Name what two activations are paired by."""
    return "block" if metric == "epoch_seconds" else "seed"


def towards(
    comparisons: pd.DataFrame, network: str, metric: str, best: str, other: str
) -> dict[str, Any]:
    """Look a pair up, turned round where need be: the difference is best minus other."""
    of = where(comparisons, network=network, metric=metric)
    rows = where(of, first=best, second=other).to_dict("records")
    if rows:
        return dict(rows[0]) | {"other": other}
    (row,) = where(of, first=other, second=best).to_dict("records")
    opposite = {"better": "worse", "worse": "better"}
    turned = dict(row) | {"other": other, "mean": -row["mean"]}
    for low, high in (("low", "high"), ("new_images_low", "new_images_high")):
        turned |= {low: -row[high], high: -row[low]}
    for key in ("verdict", "new_images_verdict"):
        turned[key] = opposite.get(row[key], row[key])
    return turned


_VERDICTS = {
    "better": "it is better than",
    "worse": "it is worse than",
    "equivalent": "equivalent to",
    "undecided": "undecided against",
}


def _verdicts(metric: str, rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for verdict, words in _VERDICTS.items():
        told = []
        for row in rows:
            if row["verdict"] == verdict:
                told.append(
                    f"{row['other']} ({difference_text(metric, row)}{_needed(metric, row)})"
                )
        if told:
            yield f"{words} {join(told)}"


def _needed(metric: str, row: Mapping[str, Any]) -> str:
    if row["verdict"] != "undecided" or not math.isfinite(row["mean"]):
        return ""
    noun = _pair(metric)
    if not math.isfinite(row["pairs_needed"]):
        return f"; 10,000 {noun}s would not settle it"
    return f"; about {counted(int(row['pairs_needed']), noun)} would settle it"


def difference_text(metric: str, row: Mapping[str, Any]) -> str:
    """Write a difference with its interval, in the metric's unit."""
    values = [row[key] for key in ("mean", "low", "high")]
    if not np.isfinite(values).all():
        return "not a number"
    unit = METRICS[metric].unit
    if unit == "ratio":
        mean, low, high = (f"{math.exp(value):.3f}" for value in values)
        return f"× {mean}, {low} to {high}"
    if unit == "points":
        mean, low, high = map(in_points, values)
    else:
        digits = 4 if unit == "nats" else 1
        mean, low, high = (fixed(value, digits) for value in values)
    return f"{mean} {unit}, {low} to {high}"


def _on_new_images(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say what holds for other test images too, where that can be said of the metric."""
    told = []
    for verdict, words in _VERDICTS.items():
        names = [row["other"] for row in rows if row["new_images_verdict"] == verdict]
        if names:
            told.append(f"{words} {join(names)}")
    return f" For new test images, not only these, {'; '.join(told)}." if told else ""


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
    if study.epochs == 1:
        return []
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
        f" {first['units']}), the norm of a kernel's gradient{colon} {'; '.join(parts)}."
    )


def conclusion_findings(
    study: Study, summary: pd.DataFrame, comparisons: pd.DataFrame, confidence: float
) -> list[str]:
    """Say what the study as a whole shows, and what comes together in it.

    Parameters
    ----------
    study
        What was measured.
    summary, comparisons
        `tables.summarise` and `comparisons.compare` of it.
    confidence
        Of every interval.
    """
    if len(study.activations) == 1:
        return ["With one activation there is nothing to compare it with."]
    if len(study.seeds) == 1:
        return ["With one seed no difference between activations is shown."]
    return [
        *_counted_verdicts(study, summary, comparisons),
        *_depth_and_accuracy(study, comparisons, confidence),
    ]


def _counted_verdicts(
    study: Study, summary: pd.DataFrame, comparisons: pd.DataFrame
) -> Iterable[str]:
    for network in study.networks:
        apart, equal = [], []
        for name, metric in METRICS.items():
            verdicts = where(comparisons, network=network, metric=name)["verdict"].tolist()
            differ = verdicts.count("better") + verdicts.count("worse")
            for count, told in ((differ, apart), (verdicts.count("equivalent"), equal)):
                if count:
                    told.append(f"{count} by {metric.title}")
        pairs = counted(len(list(combinations(study.activations, 2))), "pair")
        parts = [f"{join(apart)} told apart" if apart else "none told apart"]
        if equal:
            parts.append(f"{join(equal)} shown to be equivalent")
        means = where(summary, network=network)["test_accuracy_mean"].to_numpy()
        yield (
            f"Of the {pairs} of activations on {network}: {'; '.join(parts)}; all else undecided."
            f" Mean test accuracies lie within {in_points(float(np.ptp(means)))} points."
        )


def _depth_and_accuracy(study: Study, comparisons: pd.DataFrame, confidence: float) -> list[str]:
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
            if towards(comparisons, network, "test_accuracy", name, other)["verdict"] == "worse"
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


def theory_findings(study: Study, confidence: float) -> list[str]:
    """Say where theory and measurement of untrained networks agree, and what `matched` changes.

    Parameters
    ----------
    study
        What was measured.
    confidence
        Of the intervals over seeds.
    """
    ratios = tables.theory_ratios(study, confidence)
    whole = where(ratios, layer="all")
    steps = [row for row in ratios.to_dict("records") if row["layer"] != "all"]
    return [
        _agreement(steps, "ratios of two neighbouring layers"),
        _agreement(whole.to_dict("records"), "geometric means over all layers"),
        *_untold(steps),
        *_changed_by_matching(study, whole),
    ]


def _untold(rows: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Name the activations of which theory has no prediction for some layers."""
    names = dict.fromkeys(row["activation"] for row in rows if not math.isfinite(row["band_low"]))
    if not names:
        return []
    return [
        f"For some layers of {join(names)} theory has no prediction: a moment of the activation"
        " overflows or vanishes, or is not certain; those are not counted."
    ]


def _agreement(rows: Sequence[Mapping[Any, Any]], what: str) -> str:
    # What matched stands for may be there under its own name, and is no second measurement.
    keys = ("activation", "kernel_initializer", "layer", "direction")
    once = {
        tuple(row[key] for key in keys): row for row in rows if math.isfinite(row["band_low"])
    }.values()
    outside = [row for row in once if not row["agrees"]]
    said = (
        f"What is measured lies in the band about the prediction for {len(once) - len(outside)} of"
        f" {len(once)} {what}"
    )
    if not outside:
        return f"{said}."
    of = Counter(f"{row['activation']} with {row['kernel_initializer']}" for row in outside)
    return f"{said}; outside it lie {join(f'{count} of {name}' for name, count in of.items())}."


def _changed_by_matching(study: Study, whole: pd.DataFrame) -> list[str]:
    """Set the gradient's factor a layer with `matched` beside that of the first initialiser."""
    back = where(whole, direction="backward")
    steps = len(set(study.theory_ratios["layer"]) - {"all"})
    told, same = [], []
    for name in study.activations:
        rows = where(back, activation=name).to_dict("records")
        matched = next((row for row in rows if row["initializer"] == MATCHED), None)
        other = next((row for row in rows if row["initializer"] != MATCHED), None)
        if matched is None or other is None:
            continue
        if matched["kernel_initializer"] == other["kernel_initializer"]:
            same.append((name, other["initializer"]))
            continue
        told.append(
            f"With {name}, the variance of the gradient changes on its way back by"
            f" {_factor(other)} a layer with {other['initializer']}, and by {_factor(matched)} with"
            f" {matched['kernel_initializer']}, its matched initialiser: over"
            f" {counted(steps, 'step')} by {written(other['geometric_mean'] ** steps)} and"
            f" {written(matched['geometric_mean'] ** steps)}."
        )
    if same:
        names = join(name for name, _ in same)
        told.append(
            f"For {names} the matched initialiser is {same[0][1]} itself, and changes nothing."
        )
    return told


def _factor(row: Mapping[Any, Any]) -> str:
    return f"× {written(row['geometric_mean'], 3)} (predicted {written(row['predicted'], 3)})"


_OPERATIONS = {
    "forward": "the pass forward",
    "backward": "the pass back",
    "elementwise": "the activation without the layer",
}


def kernel_findings(study: Study, units: int, images: int, confidence: float) -> list[str]:
    """Say how long the passes of a single layer take, and by how much longer than the first's.

    Parameters
    ----------
    study
        What was measured.
    units, images
        Of the layer, and of a batch.
    confidence
        Of all the ratios of an operation taken together.
    """
    times = tables.kernel_times(study, confidence)
    told = []
    for operation, rows in times.groupby("operation", sort=False):
        first, *others = rows.to_dict("records")
        ratios = [
            f"with {row['activation']} × {written(row['geometric_mean'], 3)} of that"
            f" ({written(row['low'], 3)} to {written(row['high'], 3)})"
            for row in others
        ]
        lead = f"{_OPERATIONS[str(operation)]} takes {written(1e6 * first['seconds'], 3)} µs with"
        told.append("; ".join([f"{lead} {first['activation']}", *ratios]))
    return [
        f"Of one layer of {counted(units, 'unit')} and a batch of {counted(images, 'image')},"
        f" {line}."
        for line in told
    ]


def matched_findings(study: Study, confidence: float) -> list[str]:
    """Say what the matched initialiser changes of the gradients of each configured network.

    Nothing is said where the configured initialiser is `matched` itself, and of a network
    without hidden layers.
    """
    changes = tables.matched_changes(study, confidence)
    if set(study.matching["initializer"]) == {MATCHED}:
        return []
    told = []
    for network in study.networks:
        rows = where(changes, network=network).to_dict("records")
        same = [
            name for name in study.activations if name not in {row["activation"] for row in rows}
        ]
        if len(study.layers_of(network)) == 1:
            continue
        if not rows:
            told.append(
                f"In {network} the matched initialiser of {join(same)} is the configured one."
            )
            continue
        norms, factors = (
            join(f"{_change(row, of)} with {row['activation']}" for row in rows)
            for of in ("norm", "factor")
        )
        first = rows[0]
        line = (
            "Before training, the matched initialiser changes the norm of the gradient in"
            f" {first['first_layer']} of {network} by {norms}, and what is left of it from"
            f" {first['last_layer']} back to there by {factors}"
        )
        told.append(f"{line}; with {join(same)} nothing changes." if same else f"{line}.")
    return told


def _change(row: Mapping[Any, Any], of: str) -> str:
    change, low, high = (row[f"{of}_{key}"] for key in ("change", "low", "high"))
    if not math.isfinite(change):
        return "no number (a norm is zero or not finite)"
    if not math.isfinite(low):
        return f"× {written(change, 3)} (one network, no uncertainty)"
    return f"× {written(change, 3)} ({written(low, 3)} to {written(high, 3)})"
