"""The ledger: every claim of the teaching notebook, with the verdict of this study.

An entry of `CLAIMS` says what is claimed, where, what is measured, and by which rule it is
decided. Rules and thresholds stand here in code, apart from any data: what the notebook names is
taken from it, what it leaves open is a constant with its reason. A rule looks at verdicts of
`comparisons.compare` and at intervals over seeds, both at `report.confidence`; several
comparisons within a claim are adjusted for their number, the claims for each other's number are
not.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, permutations
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from actlab.activations.config import ActivationConfig
from actlab.evidence import summaries
from actlab.evidence.comparisons import METRICS
from actlab.evidence.config import ReportConfig
from actlab.evidence.differences import difference_text, orient
from actlab.evidence.statistics import geometric_interval, holm, mean_interval, paired_tests
from actlab.evidence.wording import counted, in_points, join, percent, written
from actlab.results import tables
from actlab.results.study import Study
from actlab.results.tables import where

Verdict = Literal["supported", "refuted", "undecided", "not measured"]

#: In the order in which they are counted.
VERDICTS: tuple[Verdict, ...] = ("supported", "refuted", "undecided", "not measured")

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
UNMENDED_PART = 0.5

#: Rank correlations of fewer activations take two values only.
FEWEST_RANKED = 3

#: Orders of so many activations are gone through one by one: 40,320.
MOST_EXACT = 8


class UnmeasuredError(Exception):
    """What a claim speaks of is no part of the study; says what to add to params.yaml."""


class UndecidableError(Exception):
    """The numbers that a rule needs are none; says why."""


@dataclass(frozen=True)
class Evidence:
    """All that a rule may look at.

    Attributes
    ----------
    study
        What was measured.
    scores, comparisons
        `comparisons.score` and `comparisons.compare` of it.
    activations
        The study's activations, in its order: a claim speaks of functions, not of names.
    dataset
        A name of `datasets.DATASETS`.
    config
        Confidence and margins.
    """

    study: Study
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    activations: Sequence[ActivationConfig]
    dataset: str
    config: ReportConfig

    def named(self, function: str) -> str:
        """Give the name of the activation with that function, of several that of this name."""
        names = [each.name for each in self.activations if each.function == function]
        if not names:
            raise UnmeasuredError(
                f"No configured activation is {function}: add {function} to activations in"
                " params.yaml."
            )
        return function if function in names else names[0]

    def hidden(self, network: str) -> tuple[int, ...]:
        """Give the units of a network's hidden layers."""
        rows = where(self.study.layers, activation=self.study.activations[0], network=network)
        return tuple(rows["units"].tolist()[:-1])

    def by_seed(self, metric: str, network: str, name: str) -> Float[np.ndarray, " seeds"]:
        """Give an activation's scores, one a seed of the study; NaN where there is none."""
        rows = where(self.scores, metric=metric, network=network, activation=name)
        values = dict(zip(rows["pair"], rows["value"], strict=True))
        return np.array([values.get(seed, math.nan) for seed in self.study.seeds], dtype=float)


class Estimate(NamedTuple):
    """A mean over seeds with its interval; where there is none, `why`."""

    mean: float
    low: float
    high: float
    why: str = ""

    def side_of(self, bound: float) -> int:
        """Give 1 where the interval lies wholly above the bound, -1 wholly below, else 0.

        >>> Estimate(2.0, 1.5, 2.5).side_of(1.0), Estimate(2.0, 1.5, 2.5).side_of(2.0)
        (1, 0)
        """
        return int(self.low > bound) - int(self.high < bound)

    def scaled(self, factor: float) -> "Estimate":
        """Give it in another unit."""
        return Estimate(factor * self.mean, factor * self.low, factor * self.high, self.why)


#: Where there is no number.
NONE = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Outcome:
    """What a rule makes of the evidence.

    Attributes
    ----------
    verdict
        On the claim.
    numbers
        A sentence with the numbers behind it, or with the reason why there are none.
    hangs_on
        The number on which the verdict hangs, of several the one least in the claim's favour;
        in `unit`.
    seeds
        How many that number is of; of times, how many blocks.
    """

    verdict: Verdict
    numbers: str
    hangs_on: Estimate = NONE
    unit: str = ""
    seeds: int = 0


@dataclass(frozen=True)
class Claim:
    """An entry of the ledger.

    Attributes
    ----------
    name
        What the CSV and the tests know it by.
    claim
        In our words.
    section
        Where the notebook makes it.
    measured, rule
        What is looked at, and how it is decided.
    networks
        On which networks.
    decide
        The rule: takes the evidence and the names of those networks.
    """

    name: str
    claim: str
    section: str
    measured: str
    rule: str
    networks: Callable[[Evidence], tuple[str, ...]]
    decide: Callable[..., Outcome]

    def examine(self, evidence: Evidence) -> dict[str, Any]:
        """Decide it; a row of the columns `tables.CLAIMS`."""
        networks: tuple[str, ...] = ()
        try:
            networks = self.networks(evidence)
            outcome = self.decide(evidence, *networks)
        except UnmeasuredError as reason:
            outcome = Outcome("not measured", str(reason))
        except UndecidableError as reason:
            outcome = Outcome("undecided", str(reason))
        of = outcome.hangs_on
        entry = vars(self) | vars(outcome) | {"network": ", ".join(networks)}
        entry |= {"estimate": of.mean, "low": of.low, "high": of.high}
        return {column: entry[column] for column in tables.CLAIMS}


def examine(evidence: Evidence) -> pd.DataFrame:
    """Decide every claim; the columns `tables.CLAIMS`, in the order of `CLAIMS`."""
    rows = [claim.examine(evidence) for claim in CLAIMS]
    return pd.DataFrame(rows, columns=list(tables.CLAIMS))


# --- the networks that a claim speaks of -----------------------------------------------------


def _notebooks(evidence: Evidence) -> tuple[str, ...]:
    for network in evidence.study.networks:
        if evidence.hidden(network) == NOTEBOOK_HIDDEN:
            return (network,)
    shape = join(map(str, NOTEBOOK_HIDDEN))
    raise UnmeasuredError(
        f"No configured network has the notebook's hidden layers of {shape} units: add mlp to"
        " networks in params.yaml."
    )


def _deeper(evidence: Evidence) -> tuple[str, ...]:
    deepest = max(evidence.study.networks, key=lambda network: len(evidence.hidden(network)))
    if len(evidence.hidden(deepest)) > len(NOTEBOOK_HIDDEN):
        return (deepest,)
    raise UnmeasuredError(
        f"No configured network has more than {len(NOTEBOOK_HIDDEN)} hidden layers: add deep to"
        " networks in params.yaml."
    )


def _both(evidence: Evidence) -> tuple[str, ...]:
    return (*_notebooks(evidence), *_deeper(evidence))


# --- intervals that a rule may rest on -------------------------------------------------------


def estimate(
    values: Float[np.ndarray, " seeds"],
    confidence: float,
    comparisons: int = 1,
    geometric: bool = False,
) -> Estimate:
    """Give the mean over seeds with the t interval, or why there is none.

    Values that are all the same make a t interval without width, however few they are. Then it
    is kept only where the sign test, whose p-value is 2 ^ (1 - seeds), agrees with it.

    Parameters
    ----------
    values
        One a seed.
    confidence
        Of all the intervals of a claim taken together.
    comparisons
        How many intervals the claim has (Bonferroni).
    geometric
        Of ratios: the geometric mean, and the interval of the logarithms.

    Examples
    --------
    >>> estimate(np.array([0.1, 0.1, 0.1]), 0.95).why
    'all 3 seeds give the same value, which with so few shows nothing'
    """
    alpha = (1 - confidence) / comparisons
    interval = (geometric_interval if geometric else mean_interval)(values, 1 - alpha)
    lost = ~np.isfinite(values) | ((values <= 0) if geometric else False)
    if lost.any():
        of = f"{np.count_nonzero(lost)} of {counted(len(values), 'seed')}"
        reason = "diverged, or a gradient is zero" if geometric else "diverged"
        return NONE._replace(why=f"no number with {of}: a training {reason}")
    if len(values) == 1:
        return Estimate(interval.mean, math.nan, math.nan, _ONE_SEED)
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        if 2.0 ** (1 - len(values)) > alpha:
            why = f"all {len(values)} seeds give the same value, which with so few shows nothing"
            return Estimate(interval.mean, math.nan, math.nan, why)
        alike = float(values[0])
        return Estimate(alike, alike, alike)
    # What is left of the rounding of equal values is no difference.
    mean = interval.mean if geometric or abs(interval.mean) > 1e-12 else 0.0
    return Estimate(mean, interval.low, interval.high)


_ONE_SEED = "with one seed no uncertainty can be given"


def _told(of: Estimate, write: Callable[[float], str], unit: str = "") -> str:
    """Write the mean with its interval, as far as there are numbers."""
    if not math.isfinite(of.mean):
        return of.why
    said = of.why if of.why else f"{write(of.low)} to {write(of.high)}"
    return f"{write(of.mean)}{unit} ({said})"


def _decided(of: Estimate, bound: float, above: Verdict, below: Verdict) -> Verdict:
    sides: dict[int, Verdict] = {1: above, -1: below, 0: "undecided"}
    return sides[of.side_of(bound)]


def _least(estimates: Sequence[Estimate]) -> Estimate:
    """Give the smallest, one that is no number before all."""
    return min(estimates, key=lambda of: of.mean if math.isfinite(of.mean) else -math.inf)


# --- the rules -------------------------------------------------------------------------------


def _mnist_only(evidence: Evidence) -> None:
    if evidence.dataset != "mnist":
        raise UnmeasuredError(
            f"The claim is about MNIST, and this is {evidence.dataset}: set data.name to mnist in"
            " params.yaml."
        )


def _expected_accuracy(evidence: Evidence, network: str, *, function: str) -> Outcome:
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
        f"{name} {_told(of.scaled(100.0), _bare, ' %')}, after"
        f" {counted(evidence.study.epochs, 'epoch')}, {counted(len(values), 'seed')}."
    )
    return Outcome(verdict, numbers, of.scaled(100.0), "percent", len(values))


def _similar_accuracy(evidence: Evidence, network: str) -> Outcome:
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
        f"{first} minus {second} {_told(of, in_points, ' points')}, {row['verdict']}"
        for (first, second), of, row in zip(pairs, apart, rows, strict=True)
    ]
    farthest = min(apart, key=lambda of: -abs(of.mean) if math.isfinite(of.mean) else -math.inf)
    numbers = (
        f"{'; '.join(told)}; {counted(len(evidence.study.seeds), 'seed')}, margin"
        f" {100 * margin:g} points."
    )
    return Outcome(verdict, numbers, farthest.scaled(100.0), "points", len(evidence.study.seeds))


def _ahead(
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
    hangs_on = min(rows, key=lambda row: order.get(row["verdict"], 0))
    unit, of = METRICS[metric].unit, Estimate(*(hangs_on[key] for key in ("mean", "low", "high")))
    if unit == "ratio":
        of = Estimate(math.exp(of.mean), math.exp(of.low), math.exp(of.high))
    elif unit == "points":
        of = of.scaled(100.0)
    return Outcome(decided, f"{'; '.join(told)}.", of, unit, int(hangs_on["pairs"]))


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
_MEASURES: dict[str, tuple[str, str, _Kept]] = {
    "after training": ("notebook", "mean_abs", lambda epoch, last: epoch == last),
    "before training": ("notebook", "mean_abs", lambda epoch, last: epoch == 0),
    "through training": ("notebook", "mean_abs", lambda epoch, last: epoch > 0),
    "through training, on test images": ("test", "mean_abs", lambda epoch, last: epoch > 0),
}


def _first_layer(
    evidence: Evidence, network: str, name: str, when: str
) -> Float[np.ndarray, " seeds"]:
    """Give the first layer's gradient of each seed, the geometric mean of the epochs it is of."""
    study, (probe, statistic, kept) = evidence.study, _MEASURES[when]
    rows = where(
        study.gradients,
        activation=name,
        network=network,
        layer=study.layers_of(network)[0],
        probe=probe,
        statistic=statistic,
        epoch=[each for each in set(study.gradients["epoch"]) if kept(each, study.epochs)],
    )
    wide = rows.pivot(index="seed", columns="epoch", values="value")  # noqa: PD010
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(np.log(wide.reindex(list(study.seeds)).to_numpy(float)).mean(axis=1))


def _stronger(
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
        told.append(f"{first} to {second} {_told(ratio, written)}")
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
    wide = rows.pivot(index="seed", columns="layer", values="value")  # noqa: PD010
    wide = wide.reindex(index=list(study.seeds), columns=[hidden[0], last]).to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factors = (wide[:, 1] / wide[:, 0]) ** (1 / (len(hidden) - 1))
    of = estimate(factors, evidence.config.confidence, geometric=True)
    return of, f"from {last} to {hidden[0]}"


def _divided(
    evidence: Evidence,
    network: str,
    *,
    function: str,
    bound: float,
    above: Verdict,
    below: Verdict,
) -> Outcome:
    name = evidence.named(function)
    of, between = _divided_by_layer(evidence, network, name)
    verdict = _decided(of, bound, above, below)
    numbers = (
        f"With {name} what comes back is divided a layer, {between}, by"
        f" {_told(of, partial(written, digits=3))}, {counted(len(evidence.study.seeds), 'seed')}."
    )
    return Outcome(verdict, numbers, of, "factor a layer", len(evidence.study.seeds))


def _one_sign(evidence: Evidence, network: str) -> Outcome:
    shares = where(
        summaries.one_sign_shares(evidence.study, evidence.config.confidence),
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
        f"{each}, mean of the kept epochs; difference {_told(of, in_points, ' points')},"
        f" {counted(len(seeds), 'seed')}."
    )
    verdict = _decided(of, 0.0, "supported", "refuted")
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
    wide = rows.pivot(index="seed", columns=["network", "layer"], values="value")  # noqa: PD010
    units = rows.drop_duplicates(["network", "layer"])["units"].sum()
    return wide.reindex(list(study.seeds)).to_numpy(float).sum(axis=1) / units


def _units_die(evidence: Evidence, network: str) -> Outcome:
    name = evidence.named("relu")
    before, after = (
        _dead_share(evidence, network, name, epoch) for epoch in (0, evidence.study.epochs)
    )
    of = estimate(after - before, evidence.config.confidence)
    numbers = (
        f"Dead units of {name}: {percent(float(before.mean()))} before training,"
        f" {percent(float(after.mean()))} after; change {_told(of, in_points, ' points')},"
        f" {counted(len(after), 'seed')}."
    )
    verdict = _decided(of, DEATHS_THAT_MATTER, "supported", "refuted")
    return Outcome(verdict, numbers, of.scaled(100.0), "points", len(after))


def _mended(evidence: Evidence, network: str) -> Outcome:
    names = [evidence.named(function) for function in ("relu", "leaky_relu")]
    relu, leaky = (_dead_share(evidence, network, name, evidence.study.epochs) for name in names)
    each = join(
        f"{percent(float(share.mean()))} of the units of {name}"
        for name, share in zip(names, (relu, leaky), strict=True)
    )
    dead = f"Dead after training: {each}, {counted(len(relu), 'seed')}"
    if not relu.any():
        return Outcome("undecided", f"{dead}: there is nothing to mend.", seeds=len(relu))
    of = estimate(UNMENDED_PART * relu - leaky, evidence.config.confidence)
    numbers = (
        f"{dead}; {100 * UNMENDED_PART:g} % of the first minus the second:"
        f" {_told(of, in_points, ' points')}."
    )
    verdict = _decided(of, 0.0, "supported", "refuted")
    return Outcome(verdict, numbers, of.scaled(100.0), "points", len(relu))


def _grows_with_depth(evidence: Evidence, shallow: str, deep: str) -> Outcome:
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
            f" {in_points(float(there.mean()))} on {deep}, interaction {_told(of, in_points)}"
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


def rank_correlation(
    first: Float[np.ndarray, " runs"], second: Float[np.ndarray, " runs"]
) -> float:
    """Give Spearman's rho; 0 where either has all values tied, for then nothing is ordered.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([9.0, 9.0, 4.0]))
    -0.866...
    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([9.0, 9.0, 9.0]))
    0.0
    """
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return math.nan
    ranks = [stats.rankdata(values) - (len(values) + 1) / 2 for values in (first, second)]
    size = math.sqrt(float((ranks[0] ** 2).sum()) * float((ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / size if size else 0.0


def permutation_p(
    gradients: Float[np.ndarray, "activations seeds"],
    epochs: Float[np.ndarray, "activations seeds"],
) -> float:
    """Give the two-sided p-value of the mean rho over seeds, with the activation as the unit.

    The gradients are given to the activations in every other order, the same for all seeds (of
    more than eight activations in 9,999 drawn orders): p is the share of orders, the observed
    one among them, whose mean rho is as far from 0.

    >>> ranks = np.arange(5.0)[:, None]
    >>> permutation_p(ranks, ranks) == 2 / 120
    True
    """
    count = len(gradients)
    if count <= MOST_EXACT:
        orders = np.array(list(permutations(range(count))))
    else:
        rng = np.random.default_rng(0)
        drawn = [rng.permutation(count) for _ in range(9999)]
        orders = np.array([np.arange(count), *drawn])
    centred = [stats.rankdata(each, axis=0) - (count + 1) / 2 for each in (gradients, epochs)]
    sizes = [np.sqrt((each**2).sum(axis=0)) for each in centred]
    first, second = (
        each / np.where(size > 0, size, 1.0) for each, size in zip(centred, sizes, strict=True)
    )
    # Entry (i, j): what the gradient of i adds to the mean rho where j has it.
    added = (first[:, None, :] * second[None, :, :]).mean(axis=2)
    means = np.abs(added[orders, np.arange(count)].sum(axis=1))
    return float((means >= means[0] - 1e-12).mean())


def _gradient_ranks_learning(evidence: Evidence, network: str) -> Outcome:
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
        f"Mean rho {_told(of, _bare)} of {counted(len(rhos), 'seed')}, each over the same"
        f" {count} activations"
    )
    verdict: Verdict = "undecided"
    if np.isfinite(rhos).all():
        p_value = permutation_p(gradients, epochs)
        numbers += f"; p {written(p_value)} over the orders of activations"
        if p_value < 1 - evidence.config.confidence:
            verdict = "supported" if of.mean < 0 else "refuted"
        pooled = rank_correlation(gradients.ravel(), epochs.ravel())
        numbers += f"; over all {gradients.size} runs, which are not independent, {_bare(pooled)}"
    return Outcome(verdict, f"{numbers}.", of, "rank correlation", len(rhos))


def _bare(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


# --- the entries -----------------------------------------------------------------------------

_TABLE = "Expected Output, table"

#: What is looked at on either network: ending of the name, of the claim, and the network.
_EACH = (
    ("notebook", "", _notebooks),
    ("deeper", ", in a deeper network", _deeper),
)


def _against(others: Sequence[str], verdict: str, metric: str) -> str:
    opposite = {"better": "worse", "worse": "better"}[verdict]
    return (
        f"Supported where the verdict of the comparison (reports/comparisons.csv) is {verdict}"
        f" against {join(others)}; refuted where it is {opposite}, or equivalent (within"
        f" report.{METRICS[metric].margin}), against any; else undecided."
    )


def _range_rule(function: str) -> str:
    least, below = (100 * bound for bound in EXPECTED_ACCURACY[function])
    return (
        f"Supported where the interval lies wholly in {least:g} % to below {below:g} %, which in"
        " whole percents is what the notebook names; refuted where it lies wholly outside; else"
        " undecided."
    )


def _pairs_rule(count: int) -> str:
    each = "the interval lies" if count == 1 else f"the {count} intervals (Bonferroni) lie"
    return (
        f"Supported where {each} wholly above 1; refuted where one lies wholly below 1; else"
        " undecided."
    )


_GRADIENT_OF = {
    "after training": (
        "The notebook's own measure: mean absolute entry of the first layer's gradient on the"
        " first training images, of the trained networks"
    ),
    "before training": "The same mean absolute entry, of the networks before training",
    "through training": (
        "The same mean absolute entry, the geometric mean over the kept epochs after the first step"
        " of training"
    ),
    "through training, on test images": (
        "The same mean over the kept epochs, of the gradient on test images, which are many more"
    ),
}


_SHORT = {"through training, on test images": "through_on_test_images"}


def _gradient_measured(when: str) -> str:
    return f"{_GRADIENT_OF[when]}; ratios within seeds."


#: Every claim of the notebook that numbers can decide, in its order.
CLAIMS: tuple[Claim, ...] = (
    *(
        Claim(
            f"accuracy_{function}",
            f"{title} reaches {expected} % test accuracy",
            _TABLE,
            "Mean test accuracy over seeds, with its interval.",
            _range_rule(function),
            _notebooks,
            partial(_expected_accuracy, function=function),
        )
        for function, title, expected in (
            ("sigmoid", "Sigmoid", "97 to 98"),
            ("tanh", "Tanh", "97 to 98"),
            ("relu", "ReLU", "98"),
        )
    ),
    Claim(
        "accuracy_alike",
        "Sigmoid, tanh and ReLU are about equally accurate on MNIST",
        "Conclusion, takeaway 3",
        "Differences of test accuracy within seeds, each pair of the three.",
        "Supported where all three pairs have the verdict equivalent; refuted where an interval"
        " (Bonferroni) lies wholly beyond report.equivalence_margin; else undecided.",
        _notebooks,
        _similar_accuracy,
    ),
    *(
        Claim(
            f"{function}_{name}_{metric}",
            f"{title} {claim}",
            section,
            measured,
            _against([other for other in THREE if other != function], verdict, metric),
            _notebooks,
            partial(
                _ahead,
                function=function,
                metric=metric,
                others=[other for other in THREE if other != function],
                verdict=verdict,
            ),
        )
        for function, title, name, section, verdict in (
            ("relu", "ReLU", "fastest", f"{_TABLE}; Conclusion, takeaway 1", "better"),
            ("sigmoid", "Sigmoid", "slowest", _TABLE, "worse"),
        )
        for metric, claim, measured in (
            (
                "epoch_seconds",
                f"is the {name} to train: an epoch takes the"
                f" {'least' if name == 'fastest' else 'most'} time",
                "Ratios of seconds an epoch, timed side by side in one process, in blocks in which"
                " an activation's shortest epoch counts.",
            ),
            (
                "epochs_to_target",
                f"is the {name} to train: it takes the"
                f" {'fewest' if name == 'fastest' else 'most'} epochs",
                "Epochs to report.target_accuracy of validation accuracy; a seed that never gets"
                " there counts as one epoch more than were trained.",
            ),
        )
    ),
    *(
        Claim(
            f"gradient_order_{_SHORT.get(when, when.split()[0])}",
            f"The first layer's gradient is weak with sigmoid, medium with tanh, strong with ReLU,"
            f" {when}",
            _TABLE if when != "after training" else f"{_TABLE}; Section 8",
            _gradient_measured(when),
            _pairs_rule(2),
            _notebooks,
            partial(_stronger, pairs=(("relu", "tanh"), ("tanh", "sigmoid")), when=when),
        )
        for when in _MEASURES
    ),
    *(
        Claim(
            f"relu_strongest_{when.split()[0]}",
            f"ReLU has the largest gradient in the first layer, {when}",
            "Conclusion, takeaway 2",
            _gradient_measured(when),
            _pairs_rule(2),
            _notebooks,
            partial(_stronger, pairs=(("relu", "sigmoid"), ("relu", "tanh")), when=when),
        )
        for when in ("after training", "before training")
    ),
    Claim(
        "sigmoid_shrinks",
        f"Sigmoid divides the gradient by at least {SIGMOID_SHRINKS_BY:g} a layer",
        "Section 8; Interview, question 1",
        "Root mean square of the loss's derivatives by a layer's pre-activations, on test images"
        " before training: by how much a layer divides it on the way back, from the last hidden"
        " layer to the first.",
        f"Supported where the interval lies wholly above {SIGMOID_SHRINKS_BY:g}; refuted where it"
        " lies wholly below; else undecided.",
        _deeper,
        partial(
            _divided,
            function="sigmoid",
            bound=SIGMOID_SHRINKS_BY,
            above="supported",
            below="refuted",
        ),
    ),
    Claim(
        "relu_passes_on",
        "ReLU passes the gradient back undiminished",
        "Section 4, table; Interview, question 1; Conclusion, takeaway 2",
        "As for sigmoid: by how much a layer divides what comes back before training.",
        f"Supported where the interval lies wholly below {UNDIMINISHED_BELOW:g}, a tenth a layer;"
        " refuted where it lies wholly above; else undecided.",
        _deeper,
        partial(
            _divided,
            function="relu",
            bound=UNDIMINISHED_BELOW,
            above="refuted",
            below="supported",
        ),
    ),
    *(
        Claim(
            f"tanh_accuracy_{name}",
            f"Tanh, being centred at zero, is more accurate than sigmoid{claim}",
            "Interview, question 4",
            "Differences of test accuracy within seeds.",
            _against(["sigmoid"], "better", "test_accuracy"),
            networks,
            partial(
                _ahead,
                function="tanh",
                metric="test_accuracy",
                others=["sigmoid"],
                verdict="better",
            ),
        )
        for name, claim, networks in _EACH
    ),
    Claim(
        "sigmoid_one_sign",
        "Sigmoid, never negative, gives more units a gradient of one sign than tanh",
        "Interview, question 4",
        "Share of units whose gradient of the mean loss over test images has one sign, in the"
        " layers that read hidden units, mean over the kept epochs; sigmoid minus tanh within"
        " seeds.",
        "Supported where the interval lies wholly above 0; refuted where wholly below; else"
        " undecided.",
        _notebooks,
        _one_sign,
    ),
    *(
        Claim(
            f"relu_units_die_{name}",
            f"Units of ReLU die in training{claim}",
            "Section 4, table; Interview, question 3",
            "Change of the share of dead hidden units (derivative zero on every test image) from"
            " before to after training, mean over seeds.",
            f"Supported where the interval lies wholly above {100 * DEATHS_THAT_MATTER:g} % of the"
            " units, the smallest share that matters; refuted where wholly below; else undecided.",
            networks,
            _units_die,
        )
        for name, claim, networks in _EACH
    ),
    *(
        Claim(
            f"leaky_relu_mends_{name}",
            f"Leaky ReLU keeps units alive that ReLU loses{claim}",
            "Interview, question 3; Conclusion, recommendations",
            "Shares of dead hidden units after training:"
            f" {100 * UNMENDED_PART:g} % of that of ReLU minus that of leaky ReLU, within seeds.",
            "Supported where the interval lies wholly above 0: fewer than"
            f" {100 * UNMENDED_PART:g} % are left; refuted where wholly below; else, or where ReLU"
            " has no dead unit, undecided.",
            networks,
            _mended,
        )
        for name, claim, networks in _EACH
    ),
    Claim(
        "grows_with_depth",
        "In a deeper network the activations differ more",
        "Conclusion, takeaway 4",
        "Interaction: the difference of test accuracy of a pair on the deeper network minus that"
        " on the notebook's, within seeds, for the pairs of the three; above 0 it grows.",
        "A pair is shown to differ more, or less, where t-tests (two-sided) show the difference of"
        " its two differences and their sum both to be other than 0; the larger p, adjusted by"
        " Holm's method. Supported where a pair is shown to differ"
        " more on the deeper network and none less; refuted where one is shown to differ less and"
        " none more, or where all three interactions are shown to be within"
        " report.equivalence_margin; else undecided.",
        _both,
        _grows_with_depth,
    ),
    *(
        Claim(
            f"gradient_means_learning_{name}",
            f"The larger the gradient, the better the learning{claim}",
            "Section 8",
            "Spearman's rho over activations, within each seed, of the first layer's gradient"
            " before training (mean absolute entry, first training images) with the epochs to"
            " report.target_accuracy; mean over seeds. A seed that never gets there counts as one"
            " epoch more than were trained; where all are tied rho is 0. Its interval over seeds"
            " speaks of these activations alone. Rho over all runs is told without a test: runs of"
            " one activation share it.",
            "The activation is the unit: supported where a permutation test over the orders of the"
            " activations (two-sided, one order for all seeds) shows a negative rho (larger"
            " gradient, fewer epochs); refuted where it shows a positive one; else undecided, as"
            " it has to be with fewer than five activations.",
            networks,
            _gradient_ranks_learning,
        )
        for name, claim, networks in _EACH
    ),
)
