"""The table of claims: every claim of the teaching notebook, with the verdict of this study.

An entry of `CLAIMS` says what is claimed and where, what is measured, and which rule (`rules`)
decides it. Each claim has one primary rule, which counts; the entries after it of the role
sensitivity measure the same claim in other ways, and do not count. Verdicts and intervals are at
`report.confidence`; the claims are not adjusted for each other's number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd

from actlab.evidence import rules
from actlab.evidence.comparisons import METRICS
from actlab.evidence.layer_scores import MOMENTS
from actlab.evidence.outcomes import Evidence, Outcome, UnmeasuredError
from actlab.evidence.rules import (
    DEATHS_THAT_MATTER,
    EXPECTED_ACCURACY,
    GRADIENT_RATIO_THAT_MATTERS,
    REMAINING_DEAD_PART,
    SIGMOID_SHRINKS_BY,
    THREE,
    UNDIMINISHED_BELOW,
)
from actlab.evidence.wording import join
from actlab.results import tables


@dataclass(frozen=True)
class Claim:
    """An entry of the table of claims.

    Attributes
    ----------
    name
        In the CSV and the tests.
    claim
        In our words.
    section
        Where the notebook makes it.
    measured, rule
        What is measured, and how it is decided.
    networks
        Finds the networks that it is about.
    decide
        The rule: takes the evidence and the names of those networks.
    functions
        The activation functions that it is about; empty: all of the study.
    role
        primary, or sensitivity.
    repeated_by
        What its numbers are repeated by: seed or process.
    """

    name: str
    claim: str
    section: str
    measured: str
    rule: str
    networks: Callable[[Evidence], tuple[str, ...]]
    decide: Callable[..., Outcome]
    functions: tuple[str, ...] = ()
    role: str = field(default="primary", kw_only=True)
    repeated_by: str = field(default="seed", kw_only=True)

    def examine(self, evidence: Evidence) -> dict[str, Any]:
        """Decide it; a row of the columns `tables.CLAIMS`."""
        networks: tuple[str, ...] = ()
        try:
            if evidence.study.is_regression:
                raise UnmeasuredError("The claim is about classifiers, and this is a regression.")
            networks = self.networks(evidence)
            outcome = self.decide(evidence, *networks)
        except UnmeasuredError as reason:
            outcome = Outcome("not measured", str(reason))
        decisive = outcome.decisive_estimate
        entry = vars(self) | vars(outcome) | {"network": ", ".join(networks)}
        entry |= {"estimate": decisive.mean, "low": decisive.low, "high": decisive.high}
        return {column: entry[column] for column in tables.CLAIMS}


def examine(evidence: Evidence) -> pd.DataFrame:
    """Decide every claim; the columns `tables.CLAIMS`, in the order of `CLAIMS`."""
    rows = [claim.examine(evidence) for claim in CLAIMS]
    return pd.DataFrame(rows, columns=list(tables.CLAIMS))


_TABLE = "Expected Output, table"

_PRIMARY, _SENSITIVITY = "primary", "sensitivity"

#: Claims about either network: ending of the name, of the claim, the network and the role.
_EITHER = (
    ("notebook", "", rules.find_notebook_network, _PRIMARY),
    ("deeper", ", in a deeper network", rules.find_deepest_network, _SENSITIVITY),
)


def _against(function: str, others: Sequence[str], verdict: str, metric: str) -> dict[str, Any]:
    """Give the rule that a function is better, or worse, than others, in words and in code."""
    opposite = {"better": "worse", "worse": "better"}[verdict]
    return {
        "rule": "Supported where the verdict of the comparison (reports/comparisons.csv) is"
        f" {verdict} against {join(others)}; refuted where it is {opposite} or equivalent against"
        " any; negligible where it is decided against all, and against some the difference is"
        f" smaller than report.{METRICS[metric].margin}; else undecided.",
        "functions": (function, *others),
        "repeated_by": METRICS[metric].paired_by,
        "decide": partial(
            rules.compare_with_all, function=function, metric=metric, others=others, verdict=verdict
        ),
    }


def _divides_by(function: str, bound: float, side: str, note: str = "") -> dict[str, Any]:
    """Give the rule that a layer divides the gradient by more, or less, than a bound."""
    other = {"above": "below", "below": "above"}[side]
    return {
        "rule": f"Supported where the interval lies wholly {side} {bound:g}{note}; refuted where it"
        f" lies wholly {other}; else undecided.",
        "decide": partial(
            rules.divides_gradient_by,
            function=function,
            bound=bound,
            **{side: "supported", other: "refuted"},
        ),
        "functions": (function,),
    }


def _larger_gradient(*pairs: tuple[str, str], when: str) -> dict[str, Any]:
    """Give the rule that the first layer's gradient is larger with the first of each pair."""
    return {
        "measured": f"{MOMENTS[when].measured}; ratios within seeds.",
        "rule": f"Supported where the {len(pairs)} intervals (Bonferroni) lie wholly above 1 and"
        f" reach {GRADIENT_RATIO_THAT_MATTERS:g}, the smallest ratio that matters; refuted where"
        " one lies wholly below 1, or contains 1 and shows no ratio that matters; negligible where"
        " all are decided, some below that ratio; else undecided.",
        "networks": rules.find_notebook_network,
        "decide": partial(rules.has_larger_gradient, pairs=pairs, when=when),
        "functions": tuple(dict.fromkeys(name for pair in pairs for name in pair)),
        "role": _PRIMARY if when == next(iter(MOMENTS)) else _SENSITIVITY,
    }


def _others(function: str) -> list[str]:
    return [other for other in THREE if other != function]


def _range_rule(function: str) -> str:
    least, below = (100 * bound for bound in EXPECTED_ACCURACY[function])
    return (
        f"Supported where the interval lies wholly in {least:g} % to below {below:g} %, which in"
        " whole percents is what the notebook names; refuted where it lies wholly outside; else"
        " undecided."
    )


#: Every claim of the notebook that numbers can decide, in its order.
CLAIMS: tuple[Claim, ...] = (
    *(
        Claim(
            f"accuracy_{function}",
            f"{title} reaches {expected} % test accuracy",
            _TABLE,
            "Mean test accuracy over seeds, with its interval.",
            _range_rule(function),
            rules.find_notebook_network,
            partial(rules.reaches_expected_accuracy, function=function),
            (function,),
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
        "Supported where the comparison of each pair (reports/comparisons.csv) is equivalent or"
        " negligible; refuted where an interval lies wholly beyond report.equivalence_margin; else"
        " undecided.",
        rules.find_notebook_network,
        rules.are_equally_accurate,
        THREE,
    ),
    *(
        Claim(
            f"{function}_{name}_{metric}",
            f"{title} {claim}",
            section,
            measured,
            networks=rules.find_notebook_network,
            role=_PRIMARY if metric == "epoch_seconds" else _SENSITIVITY,
            **_against(function, _others(function), verdict, metric),
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
                "Ratios of seconds per epoch within processes: each trains every activation, in an"
                " order of its own, and the shortest of an activation's epochs counts.",
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
            f"gradient_order_{when}",
            "The first layer's gradient is weak with sigmoid, medium with tanh, strong with ReLU,"
            f" {moment.words}",
            f"{_TABLE}; Section 8" if when.startswith("after") else _TABLE,
            **_larger_gradient(("relu", "tanh"), ("tanh", "sigmoid"), when=when),
        )
        for when, moment in MOMENTS.items()
    ),
    *(
        Claim(
            f"relu_strongest_{when}",
            f"ReLU has the largest gradient in the first layer, {MOMENTS[when].words}",
            "Conclusion, takeaway 2",
            **_larger_gradient(("relu", "sigmoid"), ("relu", "tanh"), when=when),
        )
        for when in ("after_on_test_images", "after", "before")
    ),
    Claim(
        "sigmoid_shrinks",
        f"Sigmoid divides the gradient by at least {SIGMOID_SHRINKS_BY:g} per layer",
        "Section 8; Interview, question 1",
        "Root mean square of the loss's derivatives with respect to a layer's pre-activations, on"
        " test images before training: by how much a layer divides it on the way back, from the"
        " last hidden layer to the first.",
        networks=rules.find_deepest_network,
        **_divides_by("sigmoid", SIGMOID_SHRINKS_BY, "above"),
    ),
    Claim(
        "relu_passes_on",
        "ReLU passes the gradient back undiminished",
        "Section 4, table; Interview, question 1; Conclusion, takeaway 2",
        "As for sigmoid: by how much a layer divides the gradient before training.",
        networks=rules.find_deepest_network,
        **_divides_by("relu", UNDIMINISHED_BELOW, "below", ", a tenth per layer"),
    ),
    *(
        Claim(
            f"tanh_accuracy_{name}",
            f"Tanh, being centred at zero, is more accurate than sigmoid{claim}",
            "Interview, question 4",
            "Differences of test accuracy within seeds.",
            networks=networks,
            role=role,
            **_against("tanh", ["sigmoid"], "better", "test_accuracy"),
        )
        for name, claim, networks, role in _EITHER
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
        rules.find_notebook_network,
        rules.has_more_one_sign_kernels,
        ("sigmoid", "tanh"),
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
            rules.units_die,
            ("relu",),
            role=role,
        )
        for name, claim, networks, role in _EITHER
    ),
    *(
        Claim(
            f"leaky_relu_keeps_alive_{name}",
            f"Leaky ReLU keeps units alive that ReLU loses{claim}",
            "Interview, question 3; Conclusion, recommendations",
            "Shares of dead hidden units after training:"
            f" {100 * REMAINING_DEAD_PART:g} % of that of ReLU minus that of leaky ReLU, within"
            " seeds.",
            "Supported where the interval lies wholly above 0: fewer than"
            f" {100 * REMAINING_DEAD_PART:g} % are left; refuted where wholly below; else, or where"
            " ReLU has no dead unit, undecided.",
            networks,
            rules.leaves_fewer_dead_units,
            ("relu", "leaky_relu"),
            role=role,
        )
        for name, claim, networks, role in _EITHER
    ),
    Claim(
        "grows_with_depth",
        "In a deeper network the activations differ more",
        "Conclusion, takeaway 4",
        "Interaction: the difference of test accuracy of a pair on the deeper network minus that"
        " on the notebook's, within seeds, for the pairs of the three; above 0 it grows.",
        "A pair is shown to differ more, or less, where the intervals (Bonferroni) of its"
        " interaction and of the sum of its two differences both exclude 0. Supported where a pair"
        " is shown to differ more on the deeper network and none less; refuted where one is shown"
        " to differ less and none more, or where all three interactions are shown to be within"
        " report.equivalence_margin; else undecided.",
        rules.find_both_networks,
        rules.differences_grow_with_depth,
        THREE,
    ),
    Claim(
        "larger_gradient_learns_faster",
        "The larger the gradient, the better the learning",
        "Section 8",
        "For every pair of activations, the ratio of the first layer's gradients before training"
        " (mean absolute entry, first training images; Bonferroni) and the difference of the epochs"
        " to report.target_accuracy (reports/comparisons.csv).",
        "Of the pairs whose gradients are shown to differ by a ratio that may exceed"
        f" {GRADIENT_RATIO_THAT_MATTERS:g}: supported where with the larger gradient all are shown"
        " to need fewer epochs; refuted where one is shown to need more; else undecided.",
        rules.find_notebook_network,
        rules.larger_gradient_learns_faster,
    ),
    *(
        Claim(
            f"gradient_means_learning_{name}",
            f"The larger the gradient, the better the learning{claim}, by ranks",
            "Section 8",
            "Spearman's rho over activations, within each seed, of the first layer's gradient"
            " before training (mean absolute entry, first training images) with the epochs to"
            " report.target_accuracy; mean over seeds. A seed that never gets there counts as one"
            " epoch more than were trained; where all are tied rho is 0. Its interval over seeds"
            " is about these activations alone. Rho over all runs is reported without a test: runs"
            " of one activation share it.",
            "The activation is the unit: supported where a permutation test over the orders of the"
            " activations (two-sided, one order for all seeds) shows a negative rho (larger"
            " gradient, fewer epochs); refuted where it shows a positive one; else undecided, as"
            " it has to be with fewer than five activations. Of seeds that are added until verdicts"
            " are decided, the first 12 count.",
            networks,
            rules.gradient_ranks_learning,
            role=_SENSITIVITY,
        )
        for name, claim, networks, _ in _EITHER
    ),
)
