"""Every claim of the table on evidence for which its verdict is known."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import REPORT, activation_of
from scipy import special, stats

from actlab.activations.config import ActivationConfig
from actlab.engine import csvs
from actlab.evidence import claims, comparisons, layer_scores, outcomes, wording
from actlab.results import layout, tables
from actlab.results.study import Study

SEEDS, EPOCHS = (0, 1, 2, 3, 4, 5), 2
FOUR = ("sigmoid", "tanh", "relu", "leaky_relu")
NETWORKS = {"mlp": (128, 64), "deep": (64,) * 4}

#: What varies over six seeds: mean 0, and of no rank correlation with `OTHER` to speak of.
WOBBLE = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
OTHER = np.array([0.5, -1.5, 2.5, -2.5, 1.5, -0.5])
COMMON = 0.978 + 0.001 * OTHER

#: A change of the gradients: which rows, and one value per seed.
Change = tuple[Mapping[str, Any], Any]
#: By metric and network: one value per seed, or block, of each activation.
Scores = Mapping[tuple[str, str], Mapping[str, Any]]


def only(*names):
    return tuple(map(activation_of, names))


@cache
def layers(activations, networks):
    rows = []
    for activation, (network, hidden) in product(activations, networks):
        units = [784, *hidden, 10]
        for at, (before, after) in enumerate(pairwise(units), start=1):
            layer = f"hidden_{at}" if at <= len(hidden) else "output"
            rows.append((activation, network, layer, before, after, activation, 0))
    columns = ["activation", "network", *layout.LAYERS]
    columns[columns.index("activation", 1)] = "layer_activation"
    return pd.DataFrame(rows, columns=columns)


@cache
def gradients(activations, networks, seeds):
    statistics = {"l2_norm": 1.0, "mean_abs": 1.0, "backprop_rms": 1.0}
    statistics |= {"one_sign_batch_fraction": 0.1, "dead_fraction": 0.0}
    rows = []
    for activation, (network, hidden) in product(activations, networks):
        names = [f"hidden_{at}" for at in range(1, len(hidden) + 1)] + ["output"]
        for seed, epoch, layer in product(seeds, range(EPOCHS + 1), names):
            key = (activation, network, seed, epoch, layer)
            rows.append((*key, "notebook", "mean_abs", 1.0))
            for statistic, value in statistics.items():
                if (layer, statistic) != ("output", "dead_fraction"):
                    rows.append((*key, "test", statistic, value))
    return pd.DataFrame(rows, columns=list(tables.GRADIENTS))


def evidence(
    scores: Scores | None = None,
    changes: Sequence[Change] = (),
    activations: Sequence[ActivationConfig] = only(*FOUR),
    networks: Mapping[str, tuple[int, ...]] = NETWORKS,
    seeds: Sequence[int] = SEEDS,
    dataset: str = "mnist",
    censored: bool = False,
) -> outcomes.Evidence:
    """Evidence in which every gradient is 1, no unit is dead, and there are these scores."""
    names, seeds = tuple(each.name for each in activations), tuple(seeds)
    shapes = tuple(networks.items())
    measured = gradients(names, shapes, seeds).copy()
    for chosen, values in changes:
        rows = csvs.where(measured, **chosen).index
        by_seed = dict(zip(seeds, np.broadcast_to(values, len(seeds)), strict=True))
        measured.loc[rows, "value"] = measured.loc[rows, "seed"].map(by_seed)
    configurations = pd.DataFrame(product(networks, names), columns=["network", "activation"])
    hidden = {network: "-".join(map(str, units)) for network, units in networks.items()}
    trained = {
        "training.epochs": str(EPOCHS),
        "network.hidden": [hidden[network] for network in configurations["network"]],
    }
    study = Study(
        keys=("network", "activation"),
        configurations=configurations.assign(**trained),
        test=configurations.merge(pd.DataFrame({"seed": seeds}), how="cross"),
        history=pd.DataFrame(),
        layers=layers(names, shapes),
        gradients=measured,
    )
    rows = [
        (network, name, metric, seed, float(value), censored, False)
        for (metric, network), by_name in (scores or {}).items()
        for name, values in by_name.items()
        for seed, value in zip(seeds, values, strict=True)
    ]
    columns = ["network", "activation", *comparisons.SCORES]
    table = pd.DataFrame(rows, columns=columns).astype({"pair": int, "censored": bool})
    measured = layer_scores.measure_layers(study).rename(columns={"seed": "pair"})
    table = pd.concat([table, measured.assign(censored=False, diverged=False)], ignore_index=True)
    compared = comparisons.compare(study, table, REPORT)
    return outcomes.Evidence(study, table, compared, activations, dataset, REPORT)


BY_NAME = {claim.name: claim for claim in claims.CLAIMS}


def outcome(name: str, **planted: Any) -> dict[str, Any]:
    """What the table says of one claim on this evidence."""
    return BY_NAME[name].examine(evidence(**planted))


# --- The cases: each claim with each verdict -----------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Evidence, and the sample whose t interval the verdict depends on.

    The interval is one of `family`, and is multiplied with `unit`. Geometric samples are
    logarithms, of shares the interval is that of their log-odds; of a discrete metric `resolution`
    is the step. `said` stands in the sentence.
    """

    planted: dict[str, Any]
    sample: Any = None
    unit: float = 1.0
    family: int = 1
    geometric: bool = False
    said: str = ""
    is_share: bool = False
    resolution: float = 0.0


CASES: dict[tuple[str, str], Case] = {}


def add(name, *cases, negligible=None):
    """Add the cases of a claim, in the order of `VERDICTS`."""
    CASES.update({(name, verdict): case for verdict, case in zip(VERDICTS, cases, strict=True)})
    if negligible:
        CASES[name, "negligible"] = negligible


#: Without negligible, which not every claim can be.
VERDICTS = ("supported", "refuted", "undecided", "not measured")
OTHER_DATA = Case({"dataset": "fashion_mnist"}, said="set data.name to mnist")
NO_NETWORK = Case({"networks": {"none": ()}}, said="params.yaml")
SHALLOW = Case({"networks": {"mlp": (128, 64)}}, said="add deep to networks in params.yaml")
EITHER = (("notebook", "mlp", NO_NETWORK), ("deeper", "deep", SHALLOW))


def without(name):
    rest = only(*(each for each in FOUR if each != name))
    return Case({"activations": rest}, said=f"add {name} to activations")


def accuracies(network="mlp", deep=None, **values) -> dict[str, Any]:
    """The accuracies of activations, `COMMON` but for those given."""
    scores = {("test_accuracy", network): dict.fromkeys(FOUR, COMMON) | values}
    if deep is not None:
        scores["test_accuracy", "deep"] = dict.fromkeys(FOUR, COMMON) | deep
    return {"scores": scores}


def reached(function, mean):
    values = mean + 0.001 * WOBBLE
    return Case(accuracies(**{function: values}), values, 100, is_share=True)


def alike(size, width, said="", reaches_furthest="tanh"):
    relu = COMMON + size + width * WOBBLE
    tanh = COMMON + 1e-6 + 1e-5 * OTHER
    sample = {"tanh": tanh, "sigmoid": COMMON}[reaches_furthest] - relu
    return Case(accuracies(relu=relu, tanh=tanh), sample, 100, family=6, said=said)


add("accuracy_sigmoid", *(reached("sigmoid", at) for at in (0.972, 0.955, 0.965)), OTHER_DATA)
for name in ("tanh", "relu"):
    add(f"accuracy_{name}", *(reached(name, at) for at in (0.98, 0.995, 0.985)), OTHER_DATA)
add(
    "accuracy_alike",
    alike(0.0005, 0.0001, "sigmoid minus relu negligible (−0.05 points"),
    alike(0.01, 0.001, "tanh minus relu worse (−1.00 points", "sigmoid"),
    alike(0.002, 0.001),
    OTHER_DATA,
)


def times(metric, function, factor, width, nearest):
    """One function's times, or epochs, next to those of the others; `nearest` decides."""
    levels = {"tanh": 1.02, "sigmoid": 1.04, "relu": 0.98, "leaky_relu": 1.0}
    varied = math.log(factor) + width * WOBBLE
    geometric = metric == "epoch_seconds"
    if geometric:
        values, sample = np.exp(varied), varied - math.log(levels[nearest])
    else:
        values = 10 * factor + 10 * width * WOBBLE
        sample = values - 10 * levels[nearest]
    size = 1 if geometric else 10
    scores = {name: np.full(6, size * level) for name, level in levels.items()}
    planted = {"scores": {(metric, "mlp"): scores | {function: values}}}
    resolution = 0.0 if geometric else 1.0
    return Case(planted, sample, family=6, geometric=geometric, resolution=resolution)


for metric in ("epoch_seconds", "epochs_to_target"):
    add(
        f"relu_fastest_{metric}",
        times(metric, "relu", 0.7, 0.01, "sigmoid"),
        times(metric, "relu", 1.3, 0.01, "sigmoid"),
        times(metric, "relu", 0.95, 0.1, "sigmoid"),
        without("relu"),
        negligible=times(metric, "relu", 1.0, 0.002, "sigmoid") if "seconds" in metric else None,
    )
    add(
        f"sigmoid_slowest_{metric}",
        times(metric, "sigmoid", 1.3, 0.01, "tanh"),
        times(metric, "sigmoid", 0.7, 0.01, "tanh"),
        times(metric, "sigmoid", 1.05, 0.1, "tanh"),
        Case({"networks": {"other": (128, 32)}}, said="add mlp to networks"),
        negligible=times(metric, "sigmoid", 1.04, 0.002, "tanh") if "seconds" in metric else None,
    )

#: How gradients of the first layer are measured, by the ending of a claim's name.
MEASURED = {
    "after_on_test_images": {"probe": "test", "statistic": "mean_abs", "epoch": EPOCHS},
    "after": {"probe": "notebook", "statistic": "mean_abs", "epoch": EPOCHS},
    "before": {"probe": "notebook", "statistic": "mean_abs", "epoch": 0},
    "through": {"probe": "notebook", "statistic": "mean_abs", "epoch": [1, 2]},
    "through_on_test_images": {"probe": "test", "statistic": "mean_abs", "epoch": [1, 2]},
}


def first_layers(when, sample, said="", **values):
    rows = MEASURED[when] | {"network": "mlp", "layer": "hidden_1"}
    changes = [(rows | {"activation": name}, norms) for name, norms in values.items()]
    return Case({"changes": changes}, sample, family=2, geometric=True, said=said)


CLOSE = 1.1 * np.exp(0.02 * WOBBLE)
STRONG, WEAK, VAGUE = 3 * np.exp(0.02 * WOBBLE), 0.5 * np.exp(0.02 * OTHER), np.exp(WOBBLE)
for when in MEASURED:
    add(
        f"gradient_order_{when}",
        first_layers(when, -np.log(WEAK), "relu to tanh 3.0 (", relu=STRONG, sigmoid=WEAK),
        first_layers(when, np.log(WEAK), "relu to tanh 0.50 (", relu=WEAK, sigmoid=WEAK),
        first_layers(when, -np.log(VAGUE), sigmoid=VAGUE, relu=STRONG),
        without("tanh"),
        negligible=first_layers(when, np.log(CLOSE), relu=CLOSE, sigmoid=WEAK),
    )
for when in ("after_on_test_images", "after", "before"):
    add(
        f"relu_strongest_{when}",
        first_layers(when, np.log(STRONG / 1.5), "relu to sigmoid 3.0 (", relu=STRONG, tanh=1.5),
        first_layers(when, np.log(STRONG / 6), relu=STRONG, tanh=6.0, sigmoid=0.1),
        first_layers(when, np.log(VAGUE), relu=VAGUE, sigmoid=0.1),
        without("relu"),
        negligible=first_layers(when, np.log(CLOSE), relu=CLOSE, sigmoid=0.1),
    )


def divided(function, factor, said=""):
    """Of four hidden layers the one next to the images gets 1 / factor ^ 3."""
    logarithms = np.log(factor) + 0.01 * WOBBLE
    rows = {"statistic": "backprop_rms", "epoch": 0, "network": "deep", "layer": "hidden_1"}
    change = (rows | {"activation": function}, np.exp(-3 * logarithms))
    return Case({"changes": [change]}, logarithms, geometric=True, said=said)


add(
    "sigmoid_shrinks",
    divided("sigmoid", 5.0, "from the last hidden layer to the first, by 5.00 ("),
    divided("sigmoid", 3.0),
    divided("sigmoid", 4.0),
    SHALLOW,
)
add("relu_passes_on", *(divided("relu", factor) for factor in (1.0, 1.3, 1.1)), SHALLOW)


def tanh_against_sigmoid(network, size, width, said=""):
    tanh = COMMON + size + width * WOBBLE
    return Case(accuracies(network, tanh=tanh), tanh - COMMON, 100, family=6, said=said)


for suffix, network, lacking in EITHER:
    add(
        f"tanh_accuracy_{suffix}",
        tanh_against_sigmoid(network, 0.01, 0.001),
        tanh_against_sigmoid(network, 0.0002, 0.0002, "tanh against sigmoid equivalent ("),
        tanh_against_sigmoid(network, 0.002, 0.002),
        lacking,
        negligible=tanh_against_sigmoid(network, 0.001, 0.0001, "negligible (0.10 points"),
    )


def one_sign(sigmoid, tanh, said=""):
    rows = {"statistic": "one_sign_batch_fraction", "network": "mlp"}
    behind = rows | {"layer": ["hidden_2", "output"]}
    changes = [
        (rows | {"layer": "hidden_1"}, 1.0),  # what reads the images is left out
        (behind | {"activation": "sigmoid"}, sigmoid),
        (behind | {"activation": "tanh"}, tanh),
    ]
    return Case({"changes": changes}, sigmoid - tanh, 100, said=said)


add(
    "sigmoid_one_sign",
    one_sign(0.5 + 0.01 * WOBBLE, 0.1, "50.00 % with sigmoid and 10.00 %"),
    one_sign(0.1 + 0.01 * WOBBLE, 0.5),
    one_sign(0.3 + 0.1 * WOBBLE, 0.3),
    without("sigmoid"),
)


def dead(network, before, after, leaky=None, said=""):
    rows = {"statistic": "dead_fraction", "activation": "relu", "network": network}
    changes = [(rows | {"epoch": 0}, before), (rows | {"epoch": EPOCHS}, after)]
    if leaky is None:
        return Case({"changes": changes}, after - before, 100, said=said)
    changes.append((rows | {"epoch": EPOCHS, "activation": "leaky_relu"}, leaky))
    return Case({"changes": changes}, after / 2 - leaky, 100, said=said)


TENTH = 0.1 + 0.005 * WOBBLE
for suffix, network, _ in EITHER:
    said = "10.00 % of the units of relu and 1.00 % of the units of leaky_relu"
    add(
        f"relu_units_die_{suffix}",
        dead(network, 0.01, 0.05 + 0.002 * WOBBLE, said="1.00 % before training, 5.00 % after"),
        dead(network, 0.01, 0.012 + 0.0002 * WOBBLE),
        dead(network, 0.0, 0.01 + 0.002 * WOBBLE),
        without("relu"),
    )
    add(
        f"leaky_relu_keeps_alive_{suffix}",
        *(dead(network, 0.0, TENTH, 0.01, said), dead(network, 0.0, TENTH, 0.09)),
        dead(network, 0.0, TENTH, 0.05),
        without("leaky_relu"),
    )


def interaction(shallow, deep, width, said=""):
    """Sigmoid is less accurate than all others, by so much on either network."""
    there = {"sigmoid": COMMON - deep + width * WOBBLE}
    growth = (deep - shallow) - width * WOBBLE
    planted = accuracies(deep=there, sigmoid=COMMON - shallow)
    return Case(planted, growth, 100, family=3, said=said)


grown = "sigmoid minus tanh −0.10 on mlp, −3.00 on deep, interaction 2.90 ("
add(
    "grows_with_depth",
    interaction(0.001, 0.03, 0.001, grown),
    interaction(0.03, 0.01, 0.001),
    interaction(0.001, 0.004, 0.002),
    SHALLOW,
)


def ranked(network, rhos, names=(*FOUR, "elu"), said=""):
    """Gradients 1, 2, 3, ...; epochs of each seed such that Spearman's rho is that."""
    up = np.arange(1, len(names) + 1)
    orders = {1.0: up, -1.0: up[::-1], -0.9: [*up[:1:-1], 1, 2]}
    epochs = np.array([orders[rho] for rho in rhos]).T
    rows = {"network": network, "layer": "hidden_1", **MEASURED["before"]}
    planted = {
        "activations": only(*names),
        "scores": {("epochs_to_target", network): dict(zip(names, epochs, strict=True))},
        "changes": [(rows | {"activation": name}, at + 1.0) for at, name in enumerate(names)],
    }
    return Case(planted, np.array(rhos), said=said)


for suffix, network, _ in EITHER:
    add(
        f"gradient_means_learning_{suffix}",
        ranked(network, [-0.9, -1.0] * 3, said="Mean rho −0.95 (−1.00 to −0.89) of 6 seeds"),
        ranked(network, [1.0] * 6, said="p 0.017 over the orders"),
        ranked(network, [-1.0, 1.0] * 3, said="over the same 5 activations"),
        Case({"activations": only("relu", "tanh")}, said="at least 3 activations"),
    )


def learns(epochs, said=""):
    """Gradients 1, 2, 4, ... of five activations, and their epochs, both with a little noise."""
    names, rng = (*FOUR, "elu"), np.random.default_rng(0)
    rows = {"network": "mlp", "layer": "hidden_1", **MEASURED["before"]}
    sizes = [2.0**place * np.exp(0.02 * rng.normal(size=6)) for place in range(5)]
    measured = np.array(epochs)[:, None] + 0.1 * rng.normal(size=(5, 6))
    planted = {
        "activations": only(*names),
        "scores": {("epochs_to_target", "mlp"): dict(zip(names, measured, strict=True))},
        "changes": [
            (rows | {"activation": name}, size) for name, size in zip(names, sizes, strict=True)
        ],
    }
    return Case(planted, measured[2] - measured[1], family=10, resolution=1.0, said=said)


add(
    "larger_gradient_learns_faster",
    replace(learns([50, 40, 30, 20, 10], "10 need fewer epochs and 0 more"), sample=None),
    learns([50, 40, 45, 20, 10], "9 need fewer epochs and 1 more: relu against tanh ("),
    replace(learns([50, 40, 40, 20, 10], "9 need fewer epochs and 0 more"), sample=None),
    Case({"activations": only("relu", "tanh")}, said="at least 3 activations"),
)


def test_every_claim_has_a_case_of_every_verdict():
    assert {key for key in CASES if key[1] != "negligible"} == set(product(BY_NAME, VERDICTS))
    assert {*VERDICTS, "negligible"} == set(outcomes.VERDICTS)
    assert len(BY_NAME) == len(claims.CLAIMS)


def test_each_sensitivity_follows_the_primary_entry_of_its_claim():
    roles = [claim.role for claim in claims.CLAIMS]
    assert roles.count("primary") == 16
    assert roles[0] == "primary"
    named = {claim.name: claim for claim in claims.CLAIMS}
    for before, after in pairwise(claims.CLAIMS):
        if after.role == "sensitivity" and before.role == "primary":
            assert after.section.split(";")[0] == before.section.split(";")[0], after.name
    assert named["relu_fastest_epoch_seconds"].repeated_by == "process"


#: How a sentence may write a number.
FORMATS = [*(f"{{:{form}}}".format for form in (".1f", ".2f", ".3f", ".1g")), wording.written]


@pytest.mark.parametrize(("name", "verdict"), list(CASES), ids=map("-".join, CASES))
def test_the_verdict_and_its_numbers_are_those_of_the_evidence(name, verdict):
    case = CASES[name, verdict]
    row = outcome(name, **case.planted)
    assert row["verdict"] == verdict, row["numbers"]
    said = row["numbers"].replace("−", "-")
    assert case.said.replace("−", "-") in said
    assert said.endswith(".")
    assert not re.search(r"\bnan\b|\binf\b|n/a|  ", said)
    found = [row[key] for key in ("estimate", "low", "high")]
    if verdict == "not measured":
        assert said.endswith("params.yaml.")
        assert math.isnan(row["estimate"])
        return
    if case.sample is None:
        return
    sample = np.asarray(case.sample, dtype=float)
    spread = max(sample.std(ddof=1), case.resolution / math.sqrt(6))
    half = stats.t.ppf(1 - 0.05 / case.family / 2, 5) * spread / math.sqrt(6)
    expected = sample.mean() + half * np.array([0.0, -1.0, 1.0])
    if case.is_share:
        odds, mean = special.logit(sample.mean()), sample.mean()
        expected[1:] = special.expit(odds + half / mean / (1 - mean) * np.array([-1, 1]))
    expected = np.exp(expected) if case.geometric else case.unit * expected
    if row["unit"] == "rank correlation":
        expected = expected.clip(-1, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert row["seeds"] == 6
    written = set(re.findall(r"-?\d[\d.]*\d|\d", said))
    for value in found:
        forms = {form(value) for form in FORMATS} | {wording.written(value, 3)}
        assert {form.replace("−", "-") for form in forms} & written, (value, said)


# --- Evidence that decides nothing ---------------------------------------------------------------


def all_scores(values) -> Any:
    """The same scores of every metric, on each network, with every activation."""
    metrics = ("test_accuracy", "epochs_to_target", "epoch_seconds")
    return {key: dict.fromkeys(FOUR, values) for key in product(metrics, NETWORKS)}


LOST = np.array([1.0, 1.1, 1.2, math.nan, 1.4, 1.5])


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (
            {"scores": all_scores([1.0]), "seeds": [7]},
            "one (seed|process):? no uncertainty|1 seed: none to keep alive|0 need fewer",
        ),
        ({"scores": all_scores(LOST), "changes": [({}, LOST / LOST)]}, "undefined|0 need fewer"),
    ],
    ids=["one seed", "a seed is NaN"],
)
def test_evidence_without_uncertainty_decides_nothing(planted, said):
    rows = claims.examine(evidence(**planted))
    assert len(rows) == len(claims.CLAIMS)
    assert set(rows["verdict"]) == {"undecided"}
    for numbers in rows["numbers"]:
        assert re.search(said, numbers), numbers
        assert "nan" not in numbers


ZERO_GRADIENT = [({"statistic": "mean_abs", "activation": "relu"}, [0.0, 1, 1, 1, 1, 1])]
UNREACHED = {"scores": all_scores(np.full(6, EPOCHS + 1.0)), "censored": True}
SAME_SHARE = [({"statistic": "one_sign_batch_fraction", "activation": "sigmoid"}, 0.5)]


@pytest.mark.parametrize(
    ("name", "planted", "said"),
    [
        (
            "gradient_order_after",
            {"changes": ZERO_GRADIENT},
            "undefined with 1 of 6 seeds: a training diverged, or a gradient is zero",
        ),
        (
            "relu_passes_on",
            {"changes": [({"statistic": "backprop_rms"}, 0.0)]},
            "undefined with 6 of 6 seeds",
        ),
        ("relu_fastest_epochs_to_target", UNREACHED, "6 seeds without the target reached"),
        ("gradient_means_learning_deeper", UNREACHED, "Mean rho 0.00"),
        ("leaky_relu_keeps_alive_deeper", {}, "6 seeds: none to keep alive."),
        # Of four activations there are too few orders for any to show anything.
        (
            "gradient_means_learning_notebook",
            ranked("mlp", [-1.0] * 6, FOUR).planted,
            "p 0.083 over the orders",
        ),
        # Of five alike the sign test's p-value is 1/16.
        (
            "sigmoid_one_sign",
            {"changes": SAME_SHARE, "seeds": range(5)},
            "all 5 seeds give the same value",
        ),
        # One pair grows, another shrinks.
        (
            "grows_with_depth",
            accuracies(
                sigmoid=COMMON - 0.03,
                deep={"sigmoid": COMMON + 0.0001 * WOBBLE, "relu": COMMON - 0.03 + 0.0001 * OTHER},
            ),
            "interaction",
        ),
        # A difference that only changes its sign, beyond doubt, does not grow.
        (
            "grows_with_depth",
            accuracies(sigmoid=COMMON + 0.01, deep={"sigmoid": COMMON - 0.0101 + 0.0005 * WOBBLE}),
            "interaction",
        ),
    ],
)
def test_evidence_at_an_edge_decides_nothing(name, planted, said):
    row = outcome(name, **planted)
    assert row["verdict"] == "undecided"
    assert said in row["numbers"]


def test_differences_within_the_margin_on_both_networks_do_not_grow():
    wobbling = {"sigmoid": COMMON - 0.001 + 0.0001 * WOBBLE, "tanh": COMMON + 0.0001 * OTHER}
    planted = accuracies(sigmoid=COMMON - 0.001, deep=wobbling)
    assert outcome("grows_with_depth", **planted)["verdict"] == "refuted"
    wider = accuracies(sigmoid=COMMON - 0.001, deep={**wobbling, "tanh": COMMON + 0.001 * OTHER})
    assert outcome("grows_with_depth", **wider)["verdict"] == "undecided"


def test_layers_are_measured_where_the_first_activation_is_not_on_every_network():
    """As in a look that adds seeds to some configurations alone."""
    names = tuple(each.name for each in only(*FOUR))
    shapes = tuple(NETWORKS.items())
    whole = evidence().study
    keep = {"layers": layers(names, shapes), "gradients": gradients(names, shapes, SEEDS)}
    kept = {
        name: table[(table["network"] != "deep") | (table["activation"] != "sigmoid")]
        for name, table in keep.items()
    }
    measured = layer_scores.measure_layers(replace(whole, **kept))
    rows = csvs.where(measured, metric="gradient_before", network="deep")
    assert set(rows["activation"]) == {"tanh", "relu", "leaky_relu"}


# --- What a claim is about -----------------------------------------------------------------------


def test_a_claim_finds_the_activation_by_its_function():
    renamed = ActivationConfig("rectified", "relu", {})
    row = outcome("relu_strongest_after", activations=[*only("sigmoid", "tanh"), renamed])
    assert "rectified to tanh 1.0 (" in row["numbers"]
    assert evidence(activations=[renamed, *only("relu")]).get_name("relu") == "relu"


def test_networks_are_found_by_their_layers():
    networks = {"wide": (512, 512, 512), "own": (128, 64), "tower": (32,) * 5}
    scores: Scores = {
        key: dict.fromkeys(FOUR, 3.0 + OTHER) for key in product(comparisons.METRICS, networks)
    }
    rows = claims.examine(evidence(scores, networks=networks)).set_index("name")
    assert rows.loc["accuracy_relu", "network"] == "own"
    assert rows.loc["sigmoid_shrinks", "network"] == "tower"
    assert rows.loc["grows_with_depth", "network"] == "own, tower"


def test_the_table_has_its_columns_and_reads_back(tmp_path):
    rows = claims.examine(evidence(all_scores(LOST)))
    assert tuple(rows.columns) == tables.CLAIMS
    assert rows["name"].tolist() == list(BY_NAME)
    csvs.write_frame(rows, tmp_path / "claims.csv")
    again = tables.read_table(tmp_path / "claims.csv", tables.CLAIMS)
    pd.testing.assert_frame_equal(again, rows, check_dtype=False)
