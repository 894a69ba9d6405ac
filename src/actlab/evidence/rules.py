"""The rules by which the claims of the teaching notebook are decided.

What the notebook states is taken from it; what it leaves open is a constant with its reason.
Several comparisons within a claim are adjusted for their number.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

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
from actlab.evidence.ranks import permutation_p, rank_correlation
from actlab.evidence.statistics import holm, paired_tests
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

#: Sigmoid's steepest slope is 1/4, from which the notebook concludes a division by 4 a layer.
SIGMOID_SHRINKS_BY = 4.0

#: "Unchanged" a layer, with a tenth allowed: over seven layers that is a half.
UNDIMINISHED_BELOW = 1.1

#: The smallest share of hidden units whose death matters: one in a hundred.
DEATHS_THAT_MATTER = 0.01

#: What mends dying units leaves less than this part of the dead units of ReLU.
REMAINING_DEAD_PART = 0.5

#: Rank correlations of fewer activations take two values only.
FEWEST_RANKED = 3


# --- The networks that a claim is about ------------------------------------------------------


def find_notebook_network(evidence: Evidence) -> tuple[str, ...]:
    """Find the network with the hidden layers of the teaching notebook."""
    for network in evidence.study.networks:
        if evidence.hidden(network) == NOTEBOOK_HIDDEN:
            return (network,)
    shape = join(map(str, NOTEBOOK_HIDDEN))
    raise UnmeasuredError(
        f"No configured network has the notebook's hidden layers of {shape} units: add mlp to"
        " networks in params.yaml."
    )


def find_deepest_network(evidence: Evidence) -> tuple[str, ...]:
    """Find the deepest network, which has more hidden layers than the notebook's."""
    deepest = max(evidence.study.networks, key=lambda network: len(evidence.hidden(network)))
    if len(evidence.hidden(deepest)) > len(NOTEBOOK_HIDDEN):
        return (deepest,)
    raise UnmeasuredError(
        f"No configured network has more than {len(NOTEBOOK_HIDDEN)} hidden layers: add deep to"
        " networks in params.yaml."
    )


def find_both_networks(evidence: Evidence) -> tuple[str, ...]:
    """Find both."""
    return (*find_notebook_network(evidence), *find_deepest_network(evidence))


# --- The rules -------------------------------------------------------------------------------


def _least(estimates: Sequence[Estimate]) -> Estimate:
    """Give the smallest, one that is no number before all."""
    return min(estimates, key=lambda of: of.mean if math.isfinite(of.mean) else -math.inf)


def write_number(value: float) -> str:
    """Write a number with two decimals."""
    return f"{value:.2f}".replace("-", "−")


def _mnist_only(evidence: Evidence) -> None:
    if evidence.dataset != "mnist":
        raise UnmeasuredError(
            f"The claim is about MNIST, and this is {evidence.dataset}: set data.name to mnist in"
            " params.yaml."
        )


def reaches_expected_accuracy(evidence: Evidence, network: str, *, function: str) -> Outcome:
    """Decide whether a function's test accuracy lies in the range that the notebook expects."""
    _mnist_only(evidence)
    name, (least, below) = evidence.named(function), EXPECTED_ACCURACY[function]
    values = evidence.by_seed("test_accuracy", network, name)
    of = estimate(values, evidence.config.confidence)
    verdict: Verdict = "undecided"
    if of.low >= least and of.high < below:
        verdict = "supported"
    elif of.high < least or of.low >= below:
        verdict = "refuted"
    numbers = (
        f"{name} {write_estimate(of.scaled(100.0), write_number, ' %')}, after"
        f" {counted(evidence.study.epochs, 'epoch')}, {counted(len(values), 'seed')}."
    )
    return Outcome(verdict, numbers, of.scaled(100.0), "percent", len(values))


def are_equally_accurate(evidence: Evidence, network: str) -> Outcome:
    """Decide whether sigmoid, tanh and ReLU are equivalent in test accuracy."""
    _mnist_only(evidence)
    names, margin = [evidence.named(each) for each in THREE], evidence.config.equivalence_margin
    pairs = list(combinations(names, 2))
    rows = [orient(evidence.comparisons, "test_accuracy", *pair, network=network) for pair in pairs]
    apart = []
    for first, second in pairs:
        one, other = (evidence.by_seed("test_accuracy", network, each) for each in (first, second))
        apart.append(estimate(one - other, evidence.config.confidence, len(pairs)))
    verdict: Verdict = "undecided"
    if all(row["verdict"] == "equivalent" for row in rows):
        verdict = "supported"
    elif any(of.side_of(margin) > 0 or of.side_of(-margin) < 0 for of in apart):
        verdict = "refuted"
    told = [
        f"{first} minus {second} {write_estimate(of, in_points, ' points')}, {row['verdict']}"
        for (first, second), of, row in zip(pairs, apart, rows, strict=True)
    ]
    farthest = min(apart, key=lambda of: -abs(of.mean) if math.isfinite(of.mean) else -math.inf)
    numbers = (
        f"{'; '.join(told)}; {counted(len(evidence.study.seeds), 'seed')}, margin"
        f" {100 * margin:g} points."
    )
    return Outcome(verdict, numbers, farthest.scaled(100.0), "points", len(evidence.study.seeds))


def is_ahead_of_all(
    evidence: Evidence,
    network: str,
    *,
    function: str,
    metric: str,
    others: Sequence[str],
    verdict: str,
) -> Outcome:
    """Whether an activation is better, or worse, than each of the others (`comparisons`)."""
    name = evidence.named(function)
    rows = [
        orient(evidence.comparisons, metric, name, evidence.named(other), network=network)
        for other in others
    ]
    decided: Verdict = "undecided"
    if all(row["verdict"] == verdict for row in rows):
        decided = "supported"
    elif any(row["verdict"] not in (verdict, "undecided") for row in rows):
        decided = "refuted"
    told = []
    for row in rows:
        line = f"{name} against {row['other']} {row['verdict']}"
        told.append(f"{line} ({_difference(metric, row)})")
    order = {verdict: 2, "undecided": 1}
    decisive_estimate = min(rows, key=lambda row: order.get(row["verdict"], 0))
    unit, of = (
        METRICS[metric].unit,
        Estimate(*(decisive_estimate[key] for key in ("mean", "low", "high"))),
    )
    if unit == "ratio":
        of = Estimate(math.exp(of.mean), math.exp(of.low), math.exp(of.high))
    elif unit == "points":
        of = of.scaled(100.0)
    return Outcome(decided, f"{'; '.join(told)}.", of, unit, int(decisive_estimate["pairs"]))


def _difference(metric: str, row: Mapping[str, Any]) -> str:
    of = "block" if METRICS[metric].unit == "ratio" else "seed"
    if row["pairs"] == 1:
        return f"one {of}: no uncertainty can be given"
    said = difference_text(metric, row)
    if not math.isfinite(row["mean"]):
        said = "no number: a training diverged"
    censored = int(row["pairs_censored"])
    without = f"; {counted(censored, of)} without the target reached" if censored else ""
    return f"{said}, {counted(int(row['pairs']), of)}{without}"


#: When the first layer's gradient is taken: (probe, statistic, which of the kept epochs).
_Kept = Callable[[int, int], bool]
GRADIENT_EPOCHS: dict[str, tuple[str, str, _Kept]] = {
    "after training": ("notebook", "mean_abs", lambda epoch, last: epoch == last),
    "before training": ("notebook", "mean_abs", lambda epoch, last: epoch == 0),
    "through training": ("notebook", "mean_abs", lambda epoch, last: epoch > 0),
    "through training, on test images": ("test", "mean_abs", lambda epoch, last: epoch > 0),
}


def _first_layer(
    evidence: Evidence, network: str, name: str, when: str
) -> Float[np.ndarray, " seeds"]:
    """Give the first layer's gradient of each seed, the geometric mean of the epochs it is of."""
    study, (probe, statistic, kept) = evidence.study, GRADIENT_EPOCHS[when]
    rows = where(
        study.gradients,
        activation=name,
        network=network,
        layer=study.layers_of(network)[0],
        probe=probe,
        statistic=statistic,
        epoch=[each for each in set(study.gradients["epoch"]) if kept(each, study.epochs)],
    )
    wide = rows.pivot(index="seed", columns="epoch", values="value")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(np.log(wide.reindex(list(study.seeds)).to_numpy(float)).mean(axis=1))


def has_larger_gradient(
    evidence: Evidence, network: str, *, pairs: Sequence[tuple[str, str]], when: str
) -> Outcome:
    """Whether the first layer's gradient is larger with the first of each pair of functions."""
    told, ratios = [], []
    for pair in pairs:
        first, second = (evidence.named(function) for function in pair)
        above, below = (_first_layer(evidence, network, name, when) for name in (first, second))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = estimate(above / below, evidence.config.confidence, len(pairs), geometric=True)
        ratios.append(ratio)
        told.append(f"{first} to {second} {write_estimate(ratio, written)}")
    sides = [ratio.side_of(1.0) for ratio in ratios]
    verdict: Verdict = "undecided"
    if min(sides) > 0:
        verdict = "supported"
    elif min(sides) < 0:
        verdict = "refuted"
    numbers = f"Ratios {when}, {counted(len(evidence.study.seeds), 'seed')}: {'; '.join(told)}."
    least = _least(ratios)
    return Outcome(verdict, numbers, least, "ratio", len(evidence.study.seeds))


def _divided_by_layer(evidence: Evidence, network: str, name: str) -> tuple[Estimate, str]:
    """Give by how much a layer divides what comes back before training, and between which."""
    study = evidence.study
    *_, last = hidden = study.layers_of(network)[:-1]
    rows = where(
        study.gradients,
        activation=name,
        network=network,
        layer=[hidden[0], last],
        probe="test",
        statistic="backprop_rms",
        epoch=0,
    )
    wide = rows.pivot(index="seed", columns="layer", values="value")
    wide = wide.reindex(index=list(study.seeds), columns=[hidden[0], last]).to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factors = (wide[:, 1] / wide[:, 0]) ** (1 / (len(hidden) - 1))
    of = estimate(factors, evidence.config.confidence, geometric=True)
    return of, f"from {last} to {hidden[0]}"


def divides_gradient_by(
    evidence: Evidence,
    network: str,
    *,
    function: str,
    bound: float,
    above: Verdict,
    below: Verdict,
) -> Outcome:
    """Decide on which side of a bound the factor per layer lies."""
    name = evidence.named(function)
    of, between = _divided_by_layer(evidence, network, name)
    verdict = decide_side(of, bound, above, below)
    numbers = (
        f"With {name} what comes back is divided a layer, {between}, by"
        f" {write_estimate(of, partial(written, digits=3))},"
        f" {counted(len(evidence.study.seeds), 'seed')}."
    )
    return Outcome(verdict, numbers, of, "factor a layer", len(evidence.study.seeds))


def has_more_one_sign_kernels(evidence: Evidence, network: str) -> Outcome:
    """Decide whether sigmoid's kernel gradients have one sign more often than tanh's."""
    shares = where(
        layer_summaries.one_sign_shares(evidence.study, evidence.config.confidence),
        network=network,
        statistic="one_sign_batch_fraction",
    )
    seeds = [f"seed_{seed}" for seed in evidence.study.seeds]
    kept = set(evidence.study.gradients["epoch"])
    names, means = [evidence.named(function) for function in ("sigmoid", "tanh")], []
    for name in names:
        rows = where(shares, activation=name)
        if set(rows["epoch"]) != kept or not set(seeds) <= set(rows.columns):
            raise UndecidableError(f"With {name} on {network} a gradient is no number.")
        means.append(rows[seeds].to_numpy(float).mean(axis=0))
    of = estimate(means[0] - means[1], evidence.config.confidence)
    each = " and ".join(
        f"{percent(float(mean.mean()))} with {name}"
        for name, mean in zip(names, means, strict=True)
    )
    numbers = (
        f"{each}, mean of the kept epochs; difference {write_estimate(of, in_points, ' points')},"
        f" {counted(len(seeds), 'seed')}."
    )
    verdict = decide_side(of, 0.0, "supported", "refuted")
    return Outcome(verdict, numbers, of.scaled(100.0), "points", len(seeds))


def _dead_share(
    evidence: Evidence, network: str, name: str, epoch: int
) -> Float[np.ndarray, " seeds"]:
    """Give the share of dead units of each seed, all hidden layers together."""
    study = evidence.study
    rows = where(
        study.gradients,
        activation=name,
        network=network,
        probe="test",
        statistic="dead_fraction",
        epoch=epoch,
    ).merge(study.layers[["activation", "network", "layer", "units"]])
    rows = rows.assign(value=rows["value"] * rows["units"])
    wide = rows.pivot(index="seed", columns=["network", "layer"], values="value")
    units = rows.drop_duplicates(["network", "layer"])["units"].sum()
    return wide.reindex(list(study.seeds)).to_numpy(float).sum(axis=1) / units


def units_die(evidence: Evidence, network: str) -> Outcome:
    """Decide whether more than `DEATHS_THAT_MATTER` of ReLU's units die in training."""
    name = evidence.named("relu")
    before, after = (
        _dead_share(evidence, network, name, epoch) for epoch in (0, evidence.study.epochs)
    )
    of = estimate(after - before, evidence.config.confidence)
    numbers = (
        f"Dead units of {name}: {percent(float(before.mean()))} before training,"
        f" {percent(float(after.mean()))} after; change {write_estimate(of, in_points, ' points')},"
        f" {counted(len(after), 'seed')}."
    )
    verdict = decide_side(of, DEATHS_THAT_MATTER, "supported", "refuted")
    return Outcome(verdict, numbers, of.scaled(100.0), "points", len(after))


def leaves_fewer_dead_units(evidence: Evidence, network: str) -> Outcome:
    """Decide whether leaky ReLU has less than `REMAINING_DEAD_PART` of ReLU's dead units."""
    names = [evidence.named(function) for function in ("relu", "leaky_relu")]
    relu, leaky = (_dead_share(evidence, network, name, evidence.study.epochs) for name in names)
    each = join(
        f"{percent(float(share.mean()))} of the units of {name}"
        for name, share in zip(names, (relu, leaky), strict=True)
    )
    dead = f"Dead after training: {each}, {counted(len(relu), 'seed')}"
    if not relu.any():
        return Outcome("undecided", f"{dead}: there is nothing to mend.", seeds=len(relu))
    of = estimate(REMAINING_DEAD_PART * relu - leaky, evidence.config.confidence)
    numbers = (
        f"{dead}; {100 * REMAINING_DEAD_PART:g} % of the first minus the second:"
        f" {write_estimate(of, in_points, ' points')}."
    )
    verdict = decide_side(of, 0.0, "supported", "refuted")
    return Outcome(verdict, numbers, of.scaled(100.0), "points", len(relu))


def differences_grow_with_depth(evidence: Evidence, shallow: str, deep: str) -> Outcome:
    """Decide whether differences of test accuracy are larger in the deeper network."""
    names, alpha = [evidence.named(function) for function in THREE], 1 - evidence.config.confidence
    told, growths, tests, changed, grows = [], [], [], [], []
    pairs = list(combinations(names, 2))
    for first, second in pairs:
        there, here = (
            evidence.by_seed("test_accuracy", network, first)
            - evidence.by_seed("test_accuracy", network, second)
            for network in (deep, shallow)
        )
        contrast = there - here
        margin = evidence.config.equivalence_margin
        tests.append(paired_tests(contrast, margin))
        # |there| > |here| where, and only where, difference and sum of the two have one sign.
        changed.append(max(tests[-1].p_t, paired_tests(there + here, margin).p_t))
        # Turned so that above zero is a difference that grows.
        grows.append(bool(abs(there.mean()) > abs(here.mean())))
        turned = contrast if (contrast.mean() > 0) == grows[-1] else -contrast
        of = estimate(turned, evidence.config.confidence, len(pairs))
        growths.append(of)
        told.append(
            f"{first} minus {second} {in_points(float(here.mean()))} on {shallow},"
            f" {in_points(float(there.mean()))} on {deep},"
            f" interaction {write_estimate(of, in_points)}"
        )
    shown = holm(np.array(changed)) < alpha
    equal = holm(np.array([test.p_equivalence for test in tests])) < alpha
    growing, shrinking = (
        any(there and grown is way for there, grown in zip(shown, grows, strict=True))
        for way in (True, False)
    )
    verdict: Verdict = "undecided"
    if equal.all() or (shrinking and not growing):
        verdict = "refuted"
    elif growing and not shrinking:
        verdict = "supported"
    numbers = f"Points, {counted(len(evidence.study.seeds), 'seed')}: {'; '.join(told)}."
    p_values = [test.p_t if math.isfinite(test.p_t) else 1.0 for test in tests]
    of = growths[int(np.argmin(p_values))]
    return Outcome(verdict, numbers, of.scaled(100.0), "points", len(evidence.study.seeds))


def gradient_ranks_learning(evidence: Evidence, network: str) -> Outcome:
    """Decide whether a larger first gradient goes with fewer epochs to the target."""
    study, count = evidence.study, len(evidence.study.activations)
    if count < FEWEST_RANKED:
        raise UnmeasuredError(
            f"A rank correlation needs at least {FEWEST_RANKED} activations: add more to"
            " activations in params.yaml."
        )
    gradients, epochs = (
        np.stack(columns)
        for columns in (
            [
                _first_layer(evidence, network, each, "before training")
                for each in study.activations
            ],
            [evidence.by_seed("epochs_to_target", network, each) for each in study.activations],
        )
    )
    rhos = np.array([rank_correlation(*of) for of in zip(gradients.T, epochs.T, strict=True)])
    of = estimate(rhos, evidence.config.confidence)
    low, high = (float(np.clip(each, -1, 1)) for each in (of.low, of.high))
    of = Estimate(of.mean, low, high, of.why)
    numbers = (
        f"Mean rho {write_estimate(of, write_number)} of {counted(len(rhos), 'seed')},"
        f" each over the same {count} activations"
    )
    verdict: Verdict = "undecided"
    if np.isfinite(rhos).all():
        p_value = permutation_p(gradients, epochs)
        numbers += f"; p {written(p_value)} over the orders of activations"
        if p_value < 1 - evidence.config.confidence:
            verdict = "supported" if of.mean < 0 else "refuted"
        pooled = rank_correlation(gradients.ravel(), epochs.ravel())
        numbers += (
            f"; over all {gradients.size} runs, which are not independent, {write_number(pooled)}"
        )
    return Outcome(verdict, f"{numbers}.", of, "rank correlation", len(rhos))
