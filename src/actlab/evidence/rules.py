"""The rules by which the claims of the teaching notebook are decided.

Thresholds are the notebook's; where it names none, a constant with its reason. Several comparisons
within a claim are adjusted for their number (in `larger_gradient_learns_faster` those of gradients
and those of epochs apart), and every verdict is read from the intervals.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from actlab.evidence.comparisons import METRICS
from actlab.evidence.decisions import FIRST_LOOK, read_verdict
from actlab.evidence.differences import difference_text, orient
from actlab.evidence.layer_scores import DEAD_AFTER, DEAD_BEFORE, DIVIDED_BY, MOMENTS, ONE_SIGN
from actlab.evidence.outcomes import (
    NONE,
    Estimate,
    Evidence,
    Outcome,
    UnmeasuredError,
    Verdict,
    decide_side,
    write_estimate,
)
from actlab.evidence.statistics import permutation_p, rank_correlation
from actlab.evidence.wording import counted, fixed, in_points, join, percent, written

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

#: Gradients are called weak, medium and strong: levels, so neighbours differ by at least a quarter.
GRADIENT_RATIO_THAT_MATTERS = 1.25

#: Rank correlations of fewer activations take two values only.
FEWEST_RANKED = 3


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


# --- Several pairs -----------------------------------------------------------------------------


def combine(verdicts: Iterable[tuple[str, float]]) -> Verdict:
    """Decide a claim that the first of each pair is better, from the pairs' verdicts and means.

    >>> combine([("better", 0.3), ("negligible", 0.1)]), combine([("better", 1.0), ("worse", -1.0)])
    ('negligible', 'refuted')
    """
    found = list(verdicts)
    if any(
        verdict in ("worse", "equivalent") or (verdict == "negligible" and mean < 0)
        for verdict, mean in found
    ):
        return "refuted"
    names = {verdict for verdict, _ in found}
    if "undecided" in names:
        return "undecided"
    return "negligible" if "negligible" in names else "supported"


# --- Accuracies and times --------------------------------------------------------------------


def reaches_expected_accuracy(evidence: Evidence, network: str, *, function: str) -> Outcome:
    """Decide whether a function's test accuracy lies in the range that the notebook expects."""
    _require_mnist(evidence)
    name, (least, below) = evidence.get_name(function), EXPECTED_ACCURACY[function]
    values = evidence.get_scores("test_accuracy", network, name).to_numpy()
    mean = evidence.estimate(values, kind="share")
    verdict: Verdict = "undecided"
    if mean.low >= least and mean.high < below:
        verdict = "supported"
    elif mean.high < least or mean.low >= below:
        verdict = "refuted"
    mean = mean.scaled(100.0)
    numbers = (
        f"{name} {write_estimate(mean, (100 * least, 100 * below), ' %')}, after"
        f" {counted(evidence.study.epochs, 'epoch')}, {counted(len(values), 'seed')}."
    )
    return Outcome(verdict, numbers, mean, "percent", len(values))


def are_equally_accurate(evidence: Evidence, network: str) -> Outcome:
    """Decide whether test accuracies of sigmoid, tanh and ReLU differ by less than the margin."""
    _require_mnist(evidence)
    margin = evidence.config.equivalence_margin
    rows = [
        _get_pair(evidence, "test_accuracy", *pair, network)
        for pair in combinations(map(evidence.get_name, THREE), 2)
    ]
    verdict: Verdict = "undecided"
    if all(row["verdict"] in ("equivalent", "negligible") for row in rows):
        verdict = "supported"
    elif any(row["low"] >= margin or row["high"] <= -margin for row in rows):
        verdict = "refuted"
    parts = [
        f"{row['best']} minus {row['other']} {row['verdict']}"
        f" ({_write_difference('test_accuracy', row)})"
        for row in rows
    ]
    # The pair that decides: the one furthest beyond the margin, or least shown to be within.
    undecided = [row for row in rows if row["verdict"] == "undecided"]
    row = max(undecided or rows, key=_reach)
    if verdict == "refuted":
        row = max(rows, key=lambda row: np.fmax(row["low"], -row["high"]))
    numbers = f"{'; '.join(parts)}; margin {100 * margin:g} points."
    return Outcome(verdict, numbers, *_read_decisive("test_accuracy", row))


def _reach(row: Mapping[str, Any]) -> float:
    """Give the furthest that the interval of a comparison reaches from 0; infinite without one."""
    reach = max(-row["low"], row["high"])
    return reach if reach == reach else math.inf


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
        _get_pair(evidence, metric, name, evidence.get_name(other), network) for other in others
    ]
    # Turned so that what is claimed is "better", and above 0.
    turned: dict[str, str] = {"better": "worse", "worse": "better"} if verdict == "worse" else {}
    sign = 1 if METRICS[metric].larger_is_better == (verdict == "better") else -1
    found = [(str(turned.get(row["verdict"], row["verdict"])), sign * row["mean"]) for row in rows]
    parts = [
        f"{name} against {row['other']} {row['verdict']} ({_write_difference(metric, row)})"
        for row in rows
    ]
    decided = combine(found)
    alone = [row for row, one in zip(rows, found, strict=True) if combine([one]) == decided]
    return Outcome(decided, f"{'; '.join(parts)}.", *_read_decisive(metric, alone[0]))


def _get_pair(
    evidence: Evidence, metric: str, first: str, second: str, network: str
) -> dict[str, Any]:
    """Get the comparison of two activations, first minus second."""
    try:
        return orient(evidence.comparisons, metric, first, second, network=network)
    except KeyError:
        raise UnmeasuredError(
            f"The study does not compare {first} and {second} on {network} by {metric}."
        ) from None


def _read_decisive(metric: str, row: Mapping[str, Any]) -> tuple[Estimate, str, int]:
    """Return the estimate of a comparison, its unit and the number of its pairs."""
    estimate, unit = Estimate(row["mean"], row["low"], row["high"]), METRICS[metric].unit
    if unit == "ratio":
        mean, low, high = (math.exp(row[key]) for key in ("mean", "low", "high"))
        estimate = Estimate(mean, low, high)
    elif unit == "points":
        estimate = estimate.scaled(100.0)
    return estimate, unit, int(row["pairs"])


def differences_grow_with_depth(evidence: Evidence, shallow: str, deep: str) -> Outcome:
    """Decide whether differences of test accuracy are larger in the deeper network."""
    pairs = list(combinations(map(evidence.get_name, THREE), 2))
    margin, parts, growths, counts = evidence.config.equivalence_margin, [], [], []
    growing, shrinking, marks = False, False, (0.0, 100 * margin, -100 * margin)
    for first, second in pairs:
        there_first, there_second, here_first, here_second = evidence.share(
            *(
                ("test_accuracy", network, name)
                for network in (deep, shallow)
                for name in (first, second)
            )
        )
        there, here = there_first - there_second, here_first - here_second
        # |there| > |here| where, and only where, difference and sum of the two have one sign.
        contrast, total = (
            evidence.estimate(values, len(pairs)) for values in (there - here, there + here)
        )
        is_shown = contrast.side_of(0.0) * total.side_of(0.0)
        growing, shrinking = growing or is_shown > 0, shrinking or is_shown < 0
        # Turned so that above zero is a difference that grows.
        grows = bool(abs(there.mean()) > abs(here.mean()))
        turned = contrast if (contrast.mean > 0) == grows else contrast.scaled(-1.0)
        growths.append(turned)
        counts.append(len(there))
        parts.append(
            f"{first} minus {second} {in_points(float(here.mean()))} on {shallow},"
            f" {in_points(float(there.mean()))} on {deep},"
            f" interaction {write_estimate(turned.scaled(100.0), marks)}"
        )
    verdict: Verdict = "undecided"
    if shrinking and not growing:
        verdict = "refuted"
    elif growing and not shrinking:
        verdict = "supported"
    elif all(-margin < growth.low and growth.high < margin for growth in growths):
        verdict = "refuted"
    numbers = f"Points, {counted(min(counts), 'seed')}: {'; '.join(parts)}."
    decisive = max(growths, key=lambda one: max(one.low, -one.high) if one.low == one.low else -9.0)
    return Outcome(verdict, numbers, decisive.scaled(100.0), "points", min(counts))


def _require_mnist(evidence: Evidence) -> None:
    if evidence.dataset != "mnist":
        raise UnmeasuredError(
            f"The claim is about MNIST, and this is {evidence.dataset}: set data.name to mnist in"
            " params.yaml."
        )


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
    parts, ratios, counts = [], [], []
    marks = (1.0, GRADIENT_RATIO_THAT_MATTERS, 1 / GRADIENT_RATIO_THAT_MATTERS)
    for pair in pairs:
        first, second = map(evidence.get_name, pair)
        ratio, count = _compare_gradients(evidence, network, first, second, when, len(pairs))
        ratios.append(ratio)
        counts.append(count)
        parts.append(f"{first} to {second} {write_estimate(ratio, marks, digits=2)}")
    numbers = f"Ratios {MOMENTS[when].words}, {counted(min(counts), 'seed')}: {'; '.join(parts)}."
    found = [(_read_ratio(ratio), ratio.mean - 1) for ratio in ratios]
    # The least of those that by themselves give the verdict of all.
    verdict = combine(found)
    alone = [ratio for ratio, one in zip(ratios, found, strict=True) if combine([one]) == verdict]
    decisive = min(alone, key=lambda ratio: ratio.mean if ratio.mean == ratio.mean else -math.inf)
    return Outcome(verdict, numbers, decisive, "ratio", min(counts))


def _compare_gradients(
    evidence: Evidence, network: str, first: str, second: str, when: str, pairs: int
) -> tuple[Estimate, int]:
    """Estimate the ratio of two activations' gradients in the first layer, one of so many pairs."""
    metric = f"gradient_{when}"
    above, below = evidence.share((metric, network, first), (metric, network, second))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return evidence.estimate(above / below, pairs, kind="ratio"), len(above)


def _read_ratio(ratio: Estimate) -> str:
    """Read the verdict on the first of two gradients: better is larger."""
    if not ratio.low > 0:
        return "undecided"
    margin = math.log(GRADIENT_RATIO_THAT_MATTERS)
    return read_verdict(math.log(ratio.low), math.log(ratio.high), margin)


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
    factors = evidence.get_scores(DIVIDED_BY, network, name).to_numpy()
    factor = evidence.estimate(factors, kind="ratio")
    numbers = (
        f"With {name} each layer divides the gradient, from the last hidden layer to the first, by"
        f" {write_estimate(factor, [bound], digits=3)}, {counted(len(factors), 'seed')}."
    )
    verdict = decide_side(factor, bound, above, below)
    return Outcome(verdict, numbers, factor, "factor per layer", len(factors))


def has_more_one_sign_kernels(evidence: Evidence, network: str) -> Outcome:
    """Decide whether sigmoid's kernel gradients have one sign more often than tanh's."""
    names = [evidence.get_name(function) for function in ("sigmoid", "tanh")]
    sigmoid, tanh = evidence.share(*((ONE_SIGN, network, name) for name in names))
    difference = evidence.estimate(sigmoid - tanh).scaled(100.0)
    parts = [
        f"{percent(float(shares.mean()))} with {name}"
        for name, shares in zip(names, (sigmoid, tanh), strict=True)
    ]
    numbers = (
        f"{' and '.join(parts)}, mean of the kept epochs; difference"
        f" {write_estimate(difference, [0.0], ' points')}, {counted(len(tanh), 'seed')}."
    )
    verdict = decide_side(difference, 0.0, "supported", "refuted")
    return Outcome(verdict, numbers, difference, "points", len(tanh))


def units_die(evidence: Evidence, network: str) -> Outcome:
    """Decide whether more than `DEATHS_THAT_MATTER` of ReLU's units die in training."""
    name = evidence.get_name("relu")
    before, after = evidence.share((DEAD_BEFORE, network, name), (DEAD_AFTER, network, name))
    change, bound = evidence.estimate(after - before).scaled(100.0), 100 * DEATHS_THAT_MATTER
    numbers = (
        f"Dead units of {name}: {percent(float(before.mean()))} before training,"
        f" {percent(float(after.mean()))} after; change"
        f" {write_estimate(change, (0.0, bound), ' points')}, {counted(len(after), 'seed')}."
    )
    verdict = decide_side(change, bound, "supported", "refuted")
    return Outcome(verdict, numbers, change, "points", len(after))


def leaves_fewer_dead_units(evidence: Evidence, network: str) -> Outcome:
    """Decide whether leaky ReLU has less than `REMAINING_DEAD_PART` of ReLU's dead units."""
    names = [evidence.get_name(function) for function in ("relu", "leaky_relu")]
    relu, leaky = evidence.share(*((DEAD_AFTER, network, name) for name in names))
    shares = join(
        f"{percent(float(share.mean()))} of the units of {name}"
        for name, share in zip(names, (relu, leaky), strict=True)
    )
    dead = f"Dead after training: {shares}, {counted(len(relu), 'seed')}"
    if not relu.any():
        return Outcome("undecided", f"{dead}: none to keep alive.", NONE, "points", len(relu))
    difference = evidence.estimate(REMAINING_DEAD_PART * relu - leaky).scaled(100.0)
    numbers = (
        f"{dead}; {100 * REMAINING_DEAD_PART:g} % of the first minus the second:"
        f" {write_estimate(difference, [0.0], ' points')}."
    )
    verdict = decide_side(difference, 0.0, "supported", "refuted")
    return Outcome(verdict, numbers, difference, "points", len(relu))


def larger_gradient_learns_faster(evidence: Evidence, network: str) -> Outcome:
    """Decide whether, of each pair, the activation with the larger gradient needs fewer epochs."""
    names = _require_ranked(evidence)
    pairs = list(combinations(names, 2))
    counts: dict[str, list[str]] = {"better": [], "worse": []}
    rows, seeds = [], 0
    for first, second in pairs:
        ratio, count = _compare_gradients(evidence, network, first, second, "before", len(pairs))
        size = _read_ratio(ratio)
        if size not in ("better", "worse"):
            continue
        larger, smaller = (first, second) if size == "better" else (second, first)
        row = _get_pair(evidence, "epochs_to_target", larger, smaller, network)
        if row["verdict"] in counts:
            text = f"{larger} against {smaller} ({_write_difference('epochs_to_target', row)})"
            counts[row["verdict"]].append(text)
        rows.append(row)
        seeds = max(seeds, count)
    verdict: Verdict = "undecided"
    if counts["worse"]:
        verdict = "refuted"
    elif rows and len(counts["better"]) == len(rows):
        verdict = "supported"
    numbers = (
        f"Of {counted(len(pairs), 'pair')} {len(rows)} have gradients that differ; of these, with"
        f" the larger gradient {len(counts['better'])} need fewer epochs and"
        f" {len(counts['worse'])} more"
    )
    examples = f": {'; '.join(counts['worse'][:2])}" if counts["worse"] else ""
    # The clearest counterexample; without one, the pair that is nearest to it.
    if chosen := [row for row in rows if row["verdict"] == "worse"] or rows:
        decisive = _read_decisive("epochs_to_target", max(chosen, key=lambda row: row["mean"]))
        return Outcome(verdict, f"{numbers}{examples}.", *decisive[:2], seeds)
    return Outcome(verdict, f"{numbers}.", NONE, "epochs", seeds)


def gradient_ranks_learning(evidence: Evidence, network: str) -> Outcome:
    """Decide whether a larger first gradient goes with fewer epochs to the target, over ranks."""
    names = _require_ranked(evidence)
    found = evidence.share(
        *(
            (metric, network, name)
            for metric in ("gradient_before", "epochs_to_target")
            for name in names
        )
    )
    if evidence.study.is_sequential:  # a test whose number of seeds was declared
        found = [values[:FIRST_LOOK] for values in found]
    gradients, epochs = np.stack(found[: len(names)]), np.stack(found[len(names) :])
    rhos = np.array([rank_correlation(*pair) for pair in zip(gradients.T, epochs.T, strict=True)])
    mean = evidence.estimate(rhos)
    low, high = (float(np.clip(bound, -1, 1)) for bound in (mean.low, mean.high))
    mean = mean._replace(low=low, high=high)
    numbers = (
        f"Mean rho {write_estimate(mean, [0.0])} of {counted(len(rhos), 'seed')},"
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
            f" runs, which are not independent, {fixed(pooled, 2)}"
        )
    return Outcome(verdict, f"{numbers}.", mean, "rank correlation", len(rhos))


def _require_ranked(evidence: Evidence) -> list[str]:
    names = evidence.study.activations
    if len(names) < FEWEST_RANKED:
        raise UnmeasuredError(
            f"A rank correlation needs at least {FEWEST_RANKED} activations: add more to"
            " activations in params.yaml."
        )
    return names
