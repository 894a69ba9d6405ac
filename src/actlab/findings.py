"""The numbers of a study -> sentences that claim no more than the numbers show.

Nothing is assumed about which activations and networks are configured. A difference is called
one when its interval over seeds excludes zero; otherwise the sentence says that none is shown.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from actlab.config import ActivationConfig
from actlab.statistics import Interval, geometric_interval
from actlab.tables import Study, gradients_by_layer, where, written


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
            (above if difference.excludes_zero() else undecided).append(told)
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
    told = []
    for activation, network in study.configurations():
        history = where(study.history, activation=activation, network=network)
        test = where(study.test, activation=activation, network=network)
        lost = history[~np.isfinite(history[["loss", "val_loss"]]).all(axis=1)]
        seeds = sorted({*lost["seed"], *test["seed"][~np.isfinite(test["test_loss"])]})
        if seeds:
            which = "seed" if len(seeds) == 1 else "seeds"
            told.append(
                f"The training of {activation} on {network} diverged with {which}"
                f" {join(map(str, seeds))}: its loss is not a number. Its accuracies are counted"
                " as measured."
            )
    return told


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


def time_findings(study: Study, summary: pd.DataFrame) -> list[str]:
    """Say for each network which median epoch was the shortest and the longest."""
    told = []
    for network in study.networks:
        rows = where(summary, network=network)
        medians = dict(zip(rows["activation"], rows["epoch_seconds_median"], strict=True))
        fast = min(medians, key=lambda name: medians[name])
        slow = max(medians, key=lambda name: medians[name])
        if len(medians) == 1:
            told.append(f"On {network} the median epoch took {medians[fast]:.3f} s.")
            continue
        told.append(
            f"On {network} the shortest median epoch is {medians[fast]:.3f} s, with {fast}; the"
            f" longest is {medians[slow]:.3f} s, with {slow}: a ratio of"
            f" {medians[slow] / medians[fast]:.2f}."
        )
    if len(study.activations) > 1:
        told.append(
            "The activations were timed one after the other, on a machine whose other load was"
            " not controlled: a difference may come from that as well as from the activation."
        )
    return told


def first_layer_findings(
    study: Study,
    first_layer: pd.DataFrame,
    activations: Sequence[ActivationConfig],
    confidence: float,
    epoch: int,
) -> list[str]:
    """Order the first layer's gradients of each network, before or after training.

    Parameters
    ----------
    study
        What was measured.
    first_layer
        `tables.first_layer_gradients` of it.
    activations
        Which function each name stands for: sigmoid and ReLU are compared where configured.
    confidence
        Of the ratios' intervals.
    epoch
        0, or the last.
    """
    when = "Before training" if epoch == 0 else f"After {counted(epoch, 'epoch')}"
    told = []
    for network in study.networks:
        rows = where(first_layer, network=network, epoch=epoch)
        seeds = [column for column in rows.columns if column.startswith("seed_")]
        values = dict(zip(rows["activation"], rows[seeds].to_numpy(dtype=float), strict=True))
        finite = {name: each for name, each in values.items() if np.isfinite(each).all()}
        for name, each in values.items():
            if name not in finite:
                told.append(f"{when} the gradient of {name} on {network} is not a number.")
            elif (each == 0).any():
                told.append(
                    f"{when} the gradient of {name} in the first layer of {network} is exactly"
                    f" zero with {(each == 0).sum()} of {counted(len(each), 'seed')}."
                )
        if not finite:
            continue
        largest = max(finite, key=lambda name: finite[name].mean())
        smallest = min(finite, key=lambda name: finite[name].mean())
        if len(finite) == 1:
            told.append(
                f"{when} the mean absolute gradient of the first layer of {network} is"
                f" {written(finite[largest].mean())} with {largest}."
            )
            continue
        stacked = np.stack(list(finite.values()))
        highest = int((finite[largest] == stacked.max(axis=0)).sum())
        lowest = int((finite[smallest] == stacked.min(axis=0)).sum())
        of = counted(len(seeds), "seed")
        told.append(
            f"{when} the mean absolute gradient of the first layer of {network} is largest with"
            f" {largest}, {written(finite[largest].mean())} (the largest in {highest} of {of}), and"
            f" smallest with {smallest}, {written(finite[smallest].mean())} (the smallest in"
            f" {lowest} of {of})."
        )
        times = _times(_ratio(finite, smallest, largest, confidence), smallest, largest, confidence)
        if times:
            told[-1] += f" Over seeds, as geometric mean, {times}."
        functions = {each.name: each.function for each in activations}
        sigmoids = [name for name in finite if functions.get(name) == "sigmoid"]
        relus = [name for name in finite if functions.get(name) == "relu"]
        for sigmoid in sigmoids:
            for relu in relus:
                times = _times(_ratio(finite, sigmoid, relu, confidence), sigmoid, relu, confidence)
                if times and {sigmoid, relu} != {smallest, largest}:
                    told.append(f"{when}, on {network}, {times}.")
    return told


def gradient_conclusions(
    study: Study, first_layer: pd.DataFrame, confidence: float, network: str | None = None
) -> list[str]:
    """Name the largest and the smallest first-layer gradient before and after training.

    Parameters
    ----------
    study
        What was measured.
    first_layer
        `tables.first_layer_gradients` of it.
    confidence
        Of the ratios' intervals.
    network
        One of the study's; every one by default.
    """
    told = []
    for name in study.networks if network is None else [network]:
        parts = []
        for epoch, when in ((0, "before training"), (study.epochs, "after training")):
            rows = where(first_layer, network=name, epoch=epoch)
            seeds = [column for column in rows.columns if column.startswith("seed_")]
            values = dict(zip(rows["activation"], rows[seeds].to_numpy(dtype=float), strict=True))
            finite = {each: row for each, row in values.items() if np.isfinite(row).all()}
            if len(finite) > 1:
                largest = max(finite, key=lambda each: finite[each].mean())
                smallest = min(finite, key=lambda each: finite[each].mean())
                ratio = _ratio(finite, smallest, largest, confidence)
                if ratio.low <= 1 <= ratio.high:
                    parts.append(
                        f"{when} no order is shown ({_times(ratio, smallest, largest, confidence)})"
                    )
                    continue
                times = _times(ratio, "", largest, confidence)
                parts.append(
                    f"{when} it is largest with {largest} and smallest with {smallest}"
                    + (f", {times}" if times else "")
                )
        if parts:
            told.append(f"The first layer's gradient on {name}: {'; '.join(parts)}.")
    return told


def _ratio(values: dict[str, np.ndarray], first: str, second: str, confidence: float) -> Interval:
    with np.errstate(divide="ignore", invalid="ignore"):
        return geometric_interval(values[first] / values[second], confidence)


def _times(ratio: Interval, first: str, second: str, confidence: float) -> str:
    """Write the ratio of the first activation's value to the second's, unless it is no number."""
    if not 0 < ratio.mean < math.inf:
        return ""
    told = f"{written(ratio.mean)} times that of {second}"
    if first:
        told = f"that of {first} is {told}"
    if not math.isfinite(ratio.low):
        return told
    bounds = f"{written(ratio.low)} to {written(ratio.high)}"
    return f"{told}, {100 * confidence:g} % interval {bounds}"


def depth_findings(study: Study, confidence: float, epoch: int) -> list[str]:
    """Say by which factor a layer the gradient changes on its way back through the deepest network.

    The factor is (norm in the first hidden layer / norm in the last) ^ (1 / steps between
    them), the geometric mean over seeds.
    """
    deepest = max(study.networks, key=lambda network: len(study.layers_of(network)))
    hidden = study.layers_of(deepest)[:-1]
    if len(hidden) < 2:
        return []
    when = "Before training" if epoch == 0 else f"After {counted(epoch, 'epoch')}"
    factors = []
    for activation, interval in layer_factors(study, confidence, epoch).items():
        if math.isfinite(interval.mean):
            uncertain = (
                f" ({written(interval.low, 3)} to {written(interval.high, 3)})"
                if math.isfinite(interval.low)
                else ""
            )
            factors.append(f"{written(interval.mean, 3)} with {activation}{uncertain}")
        else:
            factors.append(f"no number with {activation} (a norm is zero or not finite)")
    return [
        f"{when}, on the way back through {deepest} from {hidden[-1]} to {hidden[0]}, the"
        f" gradient's norm is multiplied each layer by {join(factors)}; below 1 it vanishes,"
        " above 1 it grows."
    ]


def layer_factors(study: Study, confidence: float, epoch: int) -> dict[str, Interval]:
    """Give the factor a layer of `depth_findings` for each activation, on the deepest network."""
    deepest = max(study.networks, key=lambda network: len(study.layers_of(network)))
    hidden = study.layers_of(deepest)[:-1]
    table = where(gradients_by_layer(study, confidence), network=deepest, epoch=epoch)
    seeds = [column for column in table.columns if column.startswith("seed_")]
    factors = {}
    for activation in study.activations:
        first, last = (
            where(table, activation=activation, layer=layer)[seeds].to_numpy(dtype=float)[0]
            for layer in (hidden[0], hidden[-1])
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = (first / last) ** (1 / (len(hidden) - 1))
        factors[activation] = geometric_interval(ratios, confidence)
    return factors
