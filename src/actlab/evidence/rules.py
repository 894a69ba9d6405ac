"""The rules by which the claims of the teaching notebook are decided.

Thresholds are the notebook's; where it names none, a constant with its reason. Several comparisons
within a claim are adjusted for their number.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from actlab.engine.csvs import where
from actlab.evidence import layer_summaries
from actlab.evidence.comparisons import METRICS
from actlab.evidence.differences import difference_text, orient
from actlab.evidence.outcomes import (
    Estimate,
    Evidence,
    Outcome,
    UndecidableError,
    UnmeasuredError,
    Verdict,
    decide_side,
    estimate,
    write_estimate,
)
from actlab.evidence.statistics import holm, paired_tests, permutation_p, rank_correlation
from actlab.evidence.wording import counted, in_points, join, percent, written

#: The notebook's three activations, and its hidden layers.
THREE = ("sigmoid", "tanh", "relu")
NOTEBOOK_HIDDEN = (128, 64)

#: The notebook expects 97 to 98 %, of ReLU 98 %, in whole percents: what rounds to them.
EXPECTED_ACCURACY = {
    "sigmoid": (0.965, 0.985),
    "tanh": (0.965, 0.985),
    "relu": (0.975, 0.985),
}

#: Sigmoid's steepest slope is 1/4, from which the notebook concludes a division by 4 per layer.
SIGMOID_SHRINKS_BY = 4.0

#: "Unchanged" per layer, with a tenth allowed: over seven layers that is a half.
UNDIMINISHED_BELOW = 1.1

#: The smallest share of hidden units whose death matters: one in a hundred.
DEATHS_THAT_MATTER = 0.01

#: A remedy for dying units leaves less than this part of the dead units of ReLU.
REMAINING_DEAD_PART = 0.5

#: Rank correlations of fewer activations take two values only.
FEWEST_RANKED = 3


class Moment(NamedTuple):
    """When the first layer's gradient is taken: in words, probe, kept epochs, what is measured."""

    words: str
    probe: str
    is_kept: Callable[[int, int], bool]
    measured: str


#: By the ending of a claim's name.
MOMENTS = {
    "after": Moment(
        "after training",
        "notebook",
        lambda epoch, last: epoch == last,
        "The notebook's own measure: mean absolute entry of the first layer's gradient on the"
        " first training images, of the trained networks",
    ),
    "before": Moment(
        "before training",
        "notebook",
        lambda epoch, last: epoch == 0,
        "The same mean absolute entry, of the networks before training",
    ),
    "through": Moment(
        "through training",
        "notebook",
        lambda epoch, last: epoch > 0,
        "The same mean absolute entry, the geometric mean over the kept epochs after the first step"
        " of training",
    ),
    "through_on_test_images": Moment(
        "through training, on test images",
        "test",
        lambda epoch, last: epoch > 0,
        "The same mean over the kept epochs, of the gradient on test images, which are many more",
    ),
}


# --- The networks that a claim is about ------------------------------------------------------


def find_notebook_network(evidence: Evidence) -> tuple[str, ...]:
    """Find the network with the hidden layers of the teaching notebook."""
    for network in evidence.study.networks:
        if evidence.get_hidden(network) == NOTEBOOK_HIDDEN:
            return (network,)
    shape = join(map(str, NOTEBOOK_HIDDEN))
    raise UnmeasuredError(
        f"No configured network has the notebook's hidden layers of {shape} units: add mlp to"
        " networks in params.yaml."
    )


def find_deepest_network(evidence: Evidence) -> tuple[str, ...]:
    """Find the deepest network, with more hidden layers than the notebook's."""
    deepest = max(evidence.study.networks, key=lambda network: len(evidence.get_hidden(network)))
    if len(evidence.get_hidden(deepest)) > len(NOTEBOOK_HIDDEN):
        return (deepest,)
    raise UnmeasuredError(
        f"No configured network has more than {len(NOTEBOOK_HIDDEN)} hidden layers: add deep to"
        " networks in params.yaml."
    )


def find_both_networks(evidence: Evidence) -> tuple[str, ...]:
    """Find the notebook's network and the deepest."""
    return (*find_notebook_network(evidence), *find_deepest_network(evidence))


# --- Accuracies and times --------------------------------------------------------------------


def reaches_expected_accuracy(evidence: Evidence, network: str, *, function: str) -> Outcome:
    """Decide whether a function's test accuracy lies in the range that the notebook expects."""
    _require_mnist(evidence)
    name, (least, below) = evidence.get_name(function), EXPECTED_ACCURACY[function]
    values = evidence.get_scores("test_accuracy", network, name)
    mean = estimate(values, evidence.config.confidence)
    verdict: Verdict = "undecided"
    if mean.low >= least and mean.high < below:
        verdict = "supported"
    elif mean.high < least or mean.low >= below:
        verdict = "refuted"
    mean = mean.scaled(100.0)
    numbers = (
        f"{name} {write_estimate(mean, _write_number, ' %')}, after"
        f" {counted(evidence.study.epochs, 'epoch')}, {evidence.seeds_text}."
    )
    return Outcome(verdict, numbers, mean, "percent", len(values))


def are_equally_accurate(evidence: Evidence, network: str) -> Outcome:
    """Decide whether sigmoid, tanh and ReLU are equivalent in test accuracy."""
    _require_mnist(evidence)
    pairs = list(combinations(map(evidence.get_name, THREE), 2))
    margin = evidence.config.equivalence_margin
    rows = [orient(evidence.comparisons, "test_accuracy", *pair, network=network) for pair in pairs]
    differences = []
    for pair in pairs:
        one, other = (evidence.get_scores("test_accuracy", network, name) for name in pair)
        differences.append(estimate(one - other, evidence.config.confidence, len(pairs)))
    verdict: Verdict = "undecided"
    if all(row["verdict"] == "equivalent" for row in rows):
        verdict = "supported"
    elif any(one.side_of(margin) > 0 or one.side_of(-margin) < 0 for one in differences):
        verdict = "refuted"
    parts = [
        f"{first} minus {second} {write_estimate(one, in_points, ' points')}, {row['verdict']}"
        for (first, second), one, row in zip(pairs, differences, rows, strict=True)
    ]
    largest = max(differences, key=lambda one: abs(one.mean) if one.mean == one.mean else math.inf)
    numbers = f"{'; '.join(parts)}; {evidence.seeds_text}, margin {100 * margin:g} points."
    return Outcome(verdict, numbers, largest.scaled(100.0), "points", len(evidence.study.seeds))


def compare_with_all(
    evidence: Evidence,
    network: str,
    *,
    function: str,
    metric: str,
    others: Sequence[str],
    verdict: str,
) -> Outcome:
    """Decide whether an activation is better, or worse, than each of the others."""
    name = evidence.get_name(function)
    rows = [
        orient(evidence.comparisons, metric, name, evidence.get_name(other), network=network)
        for other in others
    ]
    decided: Verdict = "undecided"
    if all(row["verdict"] == verdict for row in rows):
        decided = "supported"
    elif any(row["verdict"] not in (verdict, "undecided") for row in rows):
        decided = "refuted"
    parts = [
        f"{name} against {row['other']} {row['verdict']} ({_write_difference(metric, row)})"
        for row in rows
    ]
    order = {verdict: 2, "undecided": 1}
    row = min(rows, key=lambda row: order.get(row["verdict"], 0))
    decisive, unit = Estimate(row["mean"], row["low"], row["high"]), METRICS[metric].unit
    if unit == "ratio":
        mean, low, high = (math.exp(row[key]) for key in ("mean", "low", "high"))
        decisive = Estimate(mean, low, high)
    elif unit == "points":
        decisive = decisive.scaled(100.0)
    return Outcome(decided, f"{'; '.join(parts)}.", decisive, unit, int(row["pairs"]))


def differences_grow_with_depth(evidence: Evidence, shallow: str, deep: str) -> Outcome:
    """Decide whether differences of test accuracy are larger in the deeper network."""
    alpha, margin = 1 - evidence.config.confidence, evidence.config.equivalence_margin
    pairs = list(combinations(map(evidence.get_name, THREE), 2))
    parts, growths, tests, changed, grows = [], [], [], [], []
    for first, second in pairs:
        there, here = (
            evidence.get_scores("test_accuracy", network, first)
            - evidence.get_scores("test_accuracy", network, second)
            for network in (deep, shallow)
        )
        contrast = there - here
        tests.append(paired_tests(contrast, margin))
        # |there| > |here| where, and only where, difference and sum of the two have one sign.
        changed.append(max(tests[-1].p_t, paired_tests(there + here, margin).p_t))
        grows.append(bool(abs(there.mean()) > abs(here.mean())))
        # Turned so that above zero is a difference that grows.
        turned = contrast if (contrast.mean() > 0) == grows[-1] else -contrast
        growths.append(estimate(turned, evidence.config.confidence, len(pairs)))
        parts.append(
            f"{first} minus {second} {in_points(float(here.mean()))} on {shallow},"
            f" {in_points(float(there.mean()))} on {deep},"
            f" interaction {write_estimate(growths[-1], in_points)}"
        )
    shown = holm(np.array(changed)) < alpha
    equal = holm(np.array([test.p_equivalence for test in tests])) < alpha
    growing, shrinking = (shown & np.array(grows)).any(), (shown & ~np.array(grows)).any()
    verdict: Verdict = "undecided"
    if equal.all() or (shrinking and not growing):
        verdict = "refuted"
    elif growing and not shrinking:
        verdict = "supported"
    numbers = f"Points, {evidence.seeds_text}: {'; '.join(parts)}."
    decisive = growths[int(np.argmin(np.nan_to_num([test.p_t for test in tests], nan=1.0)))]
    return Outcome(verdict, numbers, decisive.scaled(100.0), "points", len(evidence.study.seeds))


def _require_mnist(evidence: Evidence) -> None:
    if evidence.dataset != "mnist":
        raise UnmeasuredError(
            f"The claim is about MNIST, and this is {evidence.dataset}: set data.name to mnist in"
            " params.yaml."
        )


def _write_number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _write_difference(metric: str, row: Mapping[str, Any]) -> str:
    unit = METRICS[metric].paired_by
    if row["pairs"] == 1:
        return f"one {unit}: no uncertainty can be given"
    text = difference_text(metric, row)
    censored = int(row["pairs_censored"])
    without = f"; {counted(censored, unit)} without the target reached" if censored else ""
    return f"{text}, {counted(int(row['pairs']), unit)}{without}"


# --- Gradients -------------------------------------------------------------------------------


def has_larger_gradient(
    evidence: Evidence, network: str, *, pairs: Sequence[tuple[str, str]], when: str
) -> Outcome:
    """Decide whether the first layer's gradient is larger with the first of each pair."""
    parts, ratios = [], []
    for pair in pairs:
        first, second = map(evidence.get_name, pair)
        above, below = (_get_first_layer(evidence, network, name, when) for name in (first, second))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = estimate(above / below, evidence.config.confidence, len(pairs), geometric=True)
        ratios.append(ratio)
        parts.append(f"{first} to {second} {write_estimate(ratio, written)}")
    sides = [ratio.side_of(1.0) for ratio in ratios]
    verdict: Verdict = "undecided"
    if min(sides) > 0:
        verdict = "supported"
    elif min(sides) < 0:
        verdict = "refuted"
    numbers = f"Ratios {MOMENTS[when].words}, {evidence.seeds_text}: {'; '.join(parts)}."
    least = min(ratios, key=lambda ratio: ratio.mean if ratio.mean == ratio.mean else -math.inf)
    return Outcome(verdict, numbers, least, "ratio", len(evidence.study.seeds))


def divides_gradient_by(
    evidence: Evidence,
    network: str,
    *,
    function: str,
    bound: float,
    above: Verdict,
    below: Verdict,
) -> Outcome:
    """Decide on which side of a bound the factor per layer lies, before training."""
    name = evidence.get_name(function)
    first, *_, last = hidden = evidence.study.layers_of(network)[:-1]
    norms = evidence.get_gradients(
        "layer",
        activation=name,
        network=network,
        layer=[first, last],
        probe="test",
        statistic="backprop_rms",
        epoch=0,
    )
    factors = (norms[last] / norms[first]).to_numpy() ** (1 / (len(hidden) - 1))
    factor = estimate(factors, evidence.config.confidence, geometric=True)
    numbers = (
        f"With {name} each layer divides the gradient, from {last} to {first}, by"
        f" {write_estimate(factor, partial(written, digits=3))}, {evidence.seeds_text}."
    )
    verdict = decide_side(factor, bound, above, below)
    return Outcome(verdict, numbers, factor, "factor per layer", len(factors))


def has_more_one_sign_kernels(evidence: Evidence, network: str) -> Outcome:
    """Decide whether sigmoid's kernel gradients have one sign more often than tanh's."""
    shares = where(
        layer_summaries.one_sign_shares(evidence.study, evidence.config.confidence),
        network=network,
        statistic="one_sign_batch_fraction",
    )
    seeds = [f"seed_{seed}" for seed in evidence.study.seeds]
    kept = set(evidence.study.gradients["epoch"])
    names, means = [evidence.get_name(function) for function in ("sigmoid", "tanh")], []
    for name in names:
        rows = where(shares, activation=name)
        if set(rows["epoch"]) != kept or not set(seeds) <= set(rows.columns):
            raise UndecidableError(f"With {name} on {network} a gradient is not finite.")
        means.append(rows[seeds].to_numpy(float).mean(axis=0))
    difference = estimate(means[0] - means[1], evidence.config.confidence)
    parts = [
        f"{percent(float(mean.mean()))} with {name}"
        for name, mean in zip(names, means, strict=True)
    ]
    numbers = (
        f"{' and '.join(parts)}, mean of the kept epochs; difference"
        f" {write_estimate(difference, in_points, ' points')}, {evidence.seeds_text}."
    )
    verdict = decide_side(difference, 0.0, "supported", "refuted")
    return Outcome(verdict, numbers, difference.scaled(100.0), "points", len(seeds))


def units_die(evidence: Evidence, network: str) -> Outcome:
    """Decide whether more than `DEATHS_THAT_MATTER` of ReLU's units die in training."""
    name = evidence.get_name("relu")
    before, after = (
        _get_dead_share(evidence, network, name, epoch) for epoch in (0, evidence.study.epochs)
    )
    change = estimate(after - before, evidence.config.confidence)
    numbers = (
        f"Dead units of {name}: {percent(float(before.mean()))} before training,"
        f" {percent(float(after.mean()))} after; change"
        f" {write_estimate(change, in_points, ' points')}, {evidence.seeds_text}."
    )
    verdict = decide_side(change, DEATHS_THAT_MATTER, "supported", "refuted")
    return Outcome(verdict, numbers, change.scaled(100.0), "points", len(after))


def leaves_fewer_dead_units(evidence: Evidence, network: str) -> Outcome:
    """Decide whether leaky ReLU has less than `REMAINING_DEAD_PART` of ReLU's dead units."""
    names = [evidence.get_name(function) for function in ("relu", "leaky_relu")]
    epoch = evidence.study.epochs
    relu, leaky = (_get_dead_share(evidence, network, name, epoch) for name in names)
    shares = join(
        f"{percent(float(share.mean()))} of the units of {name}"
        for name, share in zip(names, (relu, leaky), strict=True)
    )
    dead = f"Dead after training: {shares}, {evidence.seeds_text}"
    if not relu.any():
        return Outcome("undecided", f"{dead}: none to keep alive.", seeds=len(relu))
    difference = estimate(REMAINING_DEAD_PART * relu - leaky, evidence.config.confidence)
    numbers = (
        f"{dead}; {100 * REMAINING_DEAD_PART:g} % of the first minus the second:"
        f" {write_estimate(difference, in_points, ' points')}."
    )
    verdict = decide_side(difference, 0.0, "supported", "refuted")
    return Outcome(verdict, numbers, difference.scaled(100.0), "points", len(relu))


def gradient_ranks_learning(evidence: Evidence, network: str) -> Outcome:
    """Decide whether a larger first gradient goes with fewer epochs to the target."""
    names = evidence.study.activations
    if len(names) < FEWEST_RANKED:
        raise UnmeasuredError(
            f"A rank correlation needs at least {FEWEST_RANKED} activations: add more to"
            " activations in params.yaml."
        )
    gradients = np.stack([_get_first_layer(evidence, network, name, "before") for name in names])
    epochs = np.stack([evidence.get_scores("epochs_to_target", network, name) for name in names])
    rhos = np.array([rank_correlation(*pair) for pair in zip(gradients.T, epochs.T, strict=True)])
    mean = estimate(rhos, evidence.config.confidence)
    low, high = (float(np.clip(bound, -1, 1)) for bound in (mean.low, mean.high))
    mean = mean._replace(low=low, high=high)
    numbers = (
        f"Mean rho {write_estimate(mean, _write_number)} of {evidence.seeds_text},"
        f" each over the same {len(names)} activations"
    )
    verdict: Verdict = "undecided"
    if np.isfinite(rhos).all():
        p_value = permutation_p(gradients, epochs)
        if p_value < 1 - evidence.config.confidence:
            verdict = "supported" if mean.mean < 0 else "refuted"
        pooled = rank_correlation(gradients.ravel(), epochs.ravel())
        numbers += (
            f"; p {written(p_value)} over the orders of activations; over all {gradients.size}"
            f" runs, which are not independent, {_write_number(pooled)}"
        )
    return Outcome(verdict, f"{numbers}.", mean, "rank correlation", len(rhos))


def _get_first_layer(
    evidence: Evidence, network: str, name: str, when: str
) -> Float[np.ndarray, " seeds"]:
    """Get the first layer's gradient of each seed, the geometric mean over the moment's epochs."""
    study, moment = evidence.study, MOMENTS[when]
    by_epoch = evidence.get_gradients(
        "epoch",
        activation=name,
        network=network,
        layer=study.layers_of(network)[0],
        probe=moment.probe,
        statistic="mean_abs",
        epoch=[one for one in set(study.gradients["epoch"]) if moment.is_kept(one, study.epochs)],
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(np.log(by_epoch.to_numpy()).mean(axis=1))


def _get_dead_share(
    evidence: Evidence, network: str, name: str, epoch: int
) -> Float[np.ndarray, " seeds"]:
    """Get the share of dead units of each seed, all hidden layers together."""
    by_layer = evidence.get_gradients(
        "layer",
        activation=name,
        network=network,
        probe="test",
        statistic="dead_fraction",
        epoch=epoch,
    )
    units = np.array(evidence.get_hidden(network))
    hidden = evidence.study.layers_of(network)[:-1]
    return (by_layer[hidden].to_numpy() * units).sum(axis=1) / units.sum()
