import math
import re

import numpy as np
import pytest
from planted import activations_of, compared, plant, summarised
from scipy import stats

from actlab.evidence import comparisons, layer_summaries, wording
from actlab.evidence.comparisons import METRICS
from actlab.evidence.differences import difference_text
from actlab.reporting import findings, layer_findings, theory_findings
from actlab.results import tables

DEEP = {"deep": (8,) * 5}


def first_layers(values, epoch=0):
    """A change that plants the first layer's gradients: seed by seed for each activation."""

    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            for name, each in values.items():
                rows = (table["activation"] == name) & (table["epoch"] == epoch)
                rows &= (table["layer"] == "hidden_1") & (table["probe"] == "notebook")
                for seed, value in enumerate(each):
                    table.loc[rows & (table["seed"] == seed), "value"] = value

    return change


def planted_first_layers(folder, values, epoch=0, networks=None):
    """A study with those gradients, and its sentences on the first layer."""
    study = plant(
        folder,
        list(values),
        networks or {"mlp": (4,)},
        seeds=range(len(next(iter(values.values())))),
        epochs=1,
        changed=first_layers(values, epoch),
    )
    return study, layer_findings.first_layer_findings(study, activations_of(study), 0.95, epoch)


def norms(factors, wobble=0.0):
    """A change that plants norms: each layer's is the one behind it times the factor.

    The factor of the seeds 0, 2, 4 is larger by the wobble, that of 1, 3, 5 smaller.
    """

    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            for network, of_network in table.groupby("network"):
                layers = list(dict.fromkeys(of_network["layer"]))
                place = table["layer"].map({layer: at for at, layer in enumerate(layers)})
                for name, factor in factors.items():
                    rows = (table["activation"] == name) & (table["network"] == network)
                    each = factor * np.where(table["seed"] % 2 == 0, 1 + wobble, 1 / (1 + wobble))
                    table.loc[rows, "value"] = (0.5 * each**place)[rows]

    return change


# --- depth ---------------------------------------------------------------------------------


def test_only_layers_of_one_shape_are_compared(tmp_path):
    def change(parts):
        norms({"sigmoid": 0.25})(parts)
        if "gradients" in parts:
            # Whatever the layers of other shapes do.
            table = parts["gradients"]
            table.loc[table["layer"].isin(["hidden_1", "output"]), "value"] *= 1e9

    study = plant(tmp_path, ["sigmoid"], epochs=1, changed=change)
    factors = layer_summaries.layer_factors(study, 0.95)
    assert set(factors["network"]) == {"deep"}
    assert factors["geometric_mean"].tolist() == pytest.approx([0.25, 0.25])
    (said,) = layer_findings.depth_findings(study, 0.95, epoch=0)
    assert said.startswith("Before training, on the way back from hidden_8 to hidden_2 of deep")
    assert "64 × 64" in said
    assert "× 0.250 a layer" in said


@pytest.mark.parametrize(
    ("hidden", "ends"),
    [
        ((16, 16, 8, 8, 8), ("hidden_4", "hidden_5")),
        ((8, 8, 8, 16, 16), ("hidden_2", "hidden_3")),
        ((784, 784), ("hidden_1", "hidden_2")),
        ((128, 64), None),
        ((8, 8), None),
        ((8,), None),
        ((), None),
        # Of one shape, but not one behind the other: what lies between would count.
        ((8, 8, 16, 8, 8), None),
        # The output has the shape of the last hidden layer, and is not one.
        ((8, 10, 10), None),
    ],
)
def test_the_equal_layers_are_found_by_their_kernels(tmp_path, hidden, ends):
    study = plant(tmp_path, ["relu"], {"net": hidden}, seeds=[0, 1], epochs=1)
    factors = layer_summaries.layer_factors(study, 0.95)
    found = {(row["first_layer"], row["last_layer"]) for row in factors.to_dict("records")}
    assert found == ({ends} if ends else set())
    assert len(layer_findings.depth_findings(study, 0.95, epoch=0)) == (1 if ends else 0)


def test_a_change_with_depth_is_claimed_only_where_its_interval_excludes_1(tmp_path):
    def change(parts):
        norms({"sigmoid": 0.25, "relu": 2.0})(parts)
        norms({"tanh": 1.0}, wobble=0.1)(parts)

    study = plant(tmp_path, networks=DEEP, epochs=1, changed=change)
    (said,) = layer_findings.depth_findings(study, 0.95, epoch=0)
    shrinks, grows, rest = said.split("; ")
    assert "shrinks with sigmoid, × 0.250 a layer (0.250 to 0.250)" in shrinks
    assert grows.startswith("grows with relu, × 2.00 a layer")
    assert rest.startswith("no change is shown with tanh, × 1.00 a layer")
    assert "After 1 epoch," in layer_findings.depth_findings(study, 0.95, epoch=1)[0]


def test_the_factor_a_layer_is_scipys_over_seeds(tmp_path):
    study = plant(tmp_path, networks=DEEP, epochs=1)
    row = tables.where(layer_summaries.layer_factors(study, 0.9), epoch=0, activation="tanh")
    by_layer = layer_summaries.gradients_by_layer(study, 0.9)
    first, last = (
        tables.where(by_layer, activation="tanh", epoch=0, layer=layer).filter(like="seed_")
        for layer in ("hidden_2", "hidden_5")
    )
    logarithms = np.log(first.to_numpy()[0] / last.to_numpy()[0]) / 3
    # Three activations make a family.
    interval = stats.ttest_1samp(logarithms, 0).confidence_interval(1 - 0.1 / 3)
    assert row["geometric_mean"].item() == pytest.approx(np.exp(logarithms.mean()))
    assert row["low"].item() == pytest.approx(np.exp(interval.low))
    assert row["high"].item() == pytest.approx(np.exp(interval.high))


def test_one_seed_shows_no_change_with_depth(tmp_path):
    study = plant(tmp_path, ["relu"], DEEP, seeds=[4], epochs=1, changed=norms({"relu": 0.125}))
    (said,) = layer_findings.depth_findings(study, 0.95, epoch=0)
    assert "changes with relu, × 0.125 a layer" in said
    assert "no uncertainty can be given" in said
    assert not re.search("shrinks|grows|nan|n/a", said)


def test_a_norm_of_zero_gives_no_factor(tmp_path):
    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            dead = (table["activation"] == "relu") & (table["seed"] == 2)
            table.loc[dead & (table["layer"] == "hidden_2"), "value"] = 0.0

    study = plant(tmp_path, networks=DEEP, epochs=1, changed=change)
    (said,) = layer_findings.depth_findings(study, 0.95, epoch=0)
    assert "no number with relu (a norm is zero or not finite)" in said
    assert "nan" not in said


# --- the first layer -----------------------------------------------------------------------


def test_first_layers_are_ordered_by_the_mean_that_is_cited(tmp_path):
    # By arithmetic means, tanh would be the largest (67.5).
    study, (said,) = planted_first_layers(
        tmp_path, {"relu": [8.0, 2.0, 8.0, 2.0, 4.0, 4.0], "tanh": [1, 1, 1, 1, 1, 400]}
    )
    first = tables.where(layer_summaries.first_layer_gradients(study, 0.95), epoch=0)
    assert first["geometric_mean"].tolist() == pytest.approx([4.0, 400 ** (1 / 6)])
    assert "relu has 4.0 and tanh 2.7" in said
    assert "geometric means over seeds" in said
    summary = summarised(study)
    assert summary["gradient_first_layer_initial"].tolist() == pytest.approx([28 / 6, 67.5])


def test_an_order_of_two_that_every_seed_shows_is_claimed(tmp_path):
    _, (said,) = planted_first_layers(
        tmp_path, {"relu": [4.0, 16.0, 8.0], "tanh": [1.0, 4.0, 2.0]}, epoch=1
    )
    assert said == (
        "After 1 epoch the first layer's gradient on mlp is largest with relu, 8.0, and smallest"
        " with tanh, 2.0 (geometric means over seeds): that of tanh is 0.25 times that of relu"
        " (0.25 to 0.25)."
    )


def test_no_order_is_claimed_where_seeds_disagree(tmp_path):
    swing = np.array([3.0, 1 / 3] * 3)
    _, (said,) = planted_first_layers(tmp_path, {"relu": 1.1 * swing, "tanh": 1 / swing})
    assert said.startswith(
        "Before training no order of the first layer's gradients on mlp is shown"
    )
    assert "relu has 1.1 and tanh 1.0" in said
    bounds = np.exp(stats.ttest_1samp(np.log(1.1 * swing**2), 0).confidence_interval(0.95))
    assert f"(1.1 times, {wording.written(bounds[0])} to {wording.written(bounds[1])})" in said
    assert not re.search("largest|smallest", said)


def test_an_end_is_named_only_where_it_is_told_from_every_other(tmp_path):
    swing = np.array([1.5, 1 / 1.5] * 3)
    same = np.ones(6)
    values = {"relu": 100 * same, "tanh": 2 * swing, "elu": 1 / swing}
    _, said = planted_first_layers(tmp_path / "top", values)
    assert said[0].startswith(
        "Before training the first layer's gradient on mlp is largest with relu, 100 (geometric"
        " mean over seeds); no smallest is shown: elu has 1.0, with no difference shown to tanh ("
    )
    values = {"relu": 100 * swing, "tanh": 90 / swing, "elu": same}
    _, said = planted_first_layers(tmp_path / "bottom", values)
    assert said[0].startswith(
        "Before training the first layer's gradient on mlp is smallest with elu, 1.0 (geometric"
        " mean over seeds); no largest is shown: relu has 100, with no difference shown to tanh ("
    )


def test_the_extremes_alone_are_no_order(tmp_path):
    # relu and elu are told apart, but each overlaps with tanh between them.
    swing = np.array([3.0, 1 / 3] * 3)
    values = {"relu": 1.5 * np.ones(6), "tanh": swing, "elu": np.ones(6) / 1.5}
    study, (said,) = planted_first_layers(tmp_path, values)
    ratios = tables.where(layer_summaries.first_layer_ratios(study, 0.95), epoch=0)
    shown = (ratios["low"] > 1) | (ratios["high"] < 1)
    assert ratios["first"][shown].tolist() == ["relu"]
    assert ratios["second"][shown].tolist() == ["elu"]
    assert said.startswith("Before training no largest and no smallest of the first layer's")
    assert said.count("no difference shown to tanh") == 2


def test_ratios_are_paired_and_widened_for_their_number(tmp_path):
    # Alone the interval excludes 1, as one of three it does not.
    ratio = np.exp(np.array([0.2, 0.3, 0.5, 0.6]))
    alone = stats.ttest_1samp(np.log(ratio), 0)
    assert alone.confidence_interval(0.95).low > 0 > alone.confidence_interval(1 - 0.05 / 3).low
    scale = np.array([1.0, 100.0, 0.01, 1e4])  # which pairing by seed takes away
    values = {"relu": ratio * scale, "tanh": scale, "elu": scale / 1000}
    study, said = planted_first_layers(tmp_path, values)
    row = tables.where(
        layer_summaries.first_layer_ratios(study, 0.95), epoch=0, first="relu", second="tanh"
    ).to_dict("records")[0]
    assert row["geometric_mean"] == pytest.approx(np.exp(0.4))
    assert row["low"] == pytest.approx(np.exp(alone.confidence_interval(1 - 0.05 / 3).low))
    assert "no largest is shown: relu has" in said[0]
    assert "is smallest with elu" in said[0]


def test_sigmoid_and_relu_are_compared_wherever_they_lie(tmp_path):
    same = np.ones(3)
    values = {"tanh": 8 * same, "sigmoid": 2 * same, "relu": 4 * same, "elu": same}
    _, said = planted_first_layers(tmp_path, values)
    assert said[1] == "Before training, on mlp, that of sigmoid is 0.50 times that of relu" + (
        " (0.50 to 0.50)."
    )
    # Not twice, where they are the ends.
    _, said = planted_first_layers(tmp_path / "ends", {"sigmoid": same, "relu": 4 * same})
    assert len(said) == 1


def test_gradients_are_ordered_as_measured_and_not_by_name(tmp_path):
    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            table.loc[(table["activation"] == "sigmoid") & (table["epoch"] == 1), "value"] *= 1e12

    study = plant(tmp_path, networks=DEEP, epochs=1, changed=change)
    before, after = (
        layer_findings.first_layer_findings(study, activations_of(study), 0.95, epoch)[0]
        for epoch in (0, 1)
    )
    assert "smallest with sigmoid, " in before
    assert "largest with sigmoid, " in after


def test_zeros_and_what_is_no_number_are_left_out_of_the_order(tmp_path):
    same = np.ones(3)
    values = {"relu": [0.0, 0.0, 4.0], "tanh": [1, math.nan, 1], "elu": 8 * same, "selu": same}
    study, said = planted_first_layers(tmp_path, values)
    assert said[0] == (
        "Before training the gradient of relu in the first layer of mlp is exactly zero with 2 of"
        " 3 seeds: it has no geometric mean and no place in the order."
    )
    assert said[1] == "Before training the gradient of tanh in the first layer of mlp is no number."
    assert "largest with elu, 8.0, and smallest with selu, 1.0" in said[2]
    assert len(said) == 3
    ratios = layer_summaries.first_layer_ratios(study, 0.95)
    assert np.isnan(tables.where(ratios, first="relu", epoch=0)["low"]).all()


@pytest.mark.parametrize("values", [[0.0, 0.0], [math.nan, math.nan]])
def test_nothing_but_zeros_is_said(tmp_path, values):
    _, said = planted_first_layers(tmp_path, {"relu": values, "tanh": values})
    assert len(said) == 2
    assert not re.search("largest|smallest|nan", " ".join(said))


def test_one_seed_orders_no_gradients(tmp_path):
    _, said = planted_first_layers(tmp_path, {"relu": [4.0], "tanh": [1.0], "elu": [2.0]})
    assert said == [
        "Before training the first layer's gradient on mlp is 4.0 with relu, 1.0 with tanh and"
        " 2.0 with elu; with one seed no order is shown."
    ]


def test_one_activation_has_a_gradient_and_no_order(tmp_path):
    _, said = planted_first_layers(tmp_path, {"relu": [4.0, 1.0]})
    assert said == [
        "Before training the first layer's gradient on mlp is 2.0 with relu (geometric mean over"
        " seeds)."
    ]


# --- divergence ----------------------------------------------------------------------------


def test_diverged_runs_are_named(tmp_path):
    def change(parts):
        if "history" in parts and set(parts["layers"]["activation"]) == {"tanh"}:
            late = (parts["history"]["seed"] == 1) & (parts["history"]["epoch"] > 1)
            parts["history"].loc[late, ["loss", "val_loss"]] = [math.nan, math.inf]
            parts["test"].loc[parts["test"]["seed"] == 2, "test_loss"] = math.inf

    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, epochs=2, changed=change)
    assert comparisons.diverged_seeds(study) == {("mlp", "tanh"): [1, 2]}
    (said,) = findings.divergence_findings(study)
    assert said.endswith("counted as measured: mlp, tanh with seeds 1 and 2.")


# --- comparisons ---------------------------------------------------------------------------


def planted_comparison(folder, accuracies, seeds=range(3), metric="test_accuracy", changed=None):
    """What is said by a metric of a study with those accuracies on one network."""
    study = plant(
        folder,
        list(accuracies),
        {"mlp": (4,)},
        seeds=seeds,
        epochs=2,
        accuracies={(name, "mlp"): each for name, each in accuracies.items()},
        changed=changed or (lambda parts: None),
    )
    (said,) = findings.comparison_findings(study, *compared(study), metric, 0.95, 0.97)
    return said


CLOSE = {
    "sigmoid": [0.9700, 0.9712, 0.9706],
    "tanh": [0.9801, 0.9790, 0.9803],
    "relu": [0.9804, 0.9789, 0.9803],
}


def test_the_best_is_told_with_its_verdicts(tmp_path):
    said = planted_comparison(tmp_path, CLOSE)
    best, sigmoid, tanh = (np.array(CLOSE[name]) for name in ("relu", "sigmoid", "tanh"))
    assert said.startswith("On mlp the highest mean test accuracy is 97.99 % (95 % interval ")
    for other, words, name in (
        (sigmoid, "it is better than", "sigmoid"),
        (tanh, "equivalent to", "tanh"),
    ):
        interval = stats.ttest_rel(best, other).confidence_interval(0.95)
        mean, low, high = (
            wording.in_points(float(value)) for value in ((best - other).mean(), *interval)
        )
        assert f"{words} {name} ({mean} points, {low} to {high}" in said


def test_an_undecided_pair_says_how_many_seeds_would_settle_it(tmp_path):
    # Differences of 0.1, 0.5 and 0.3 points: neither zero nor the margin is excluded.
    values = {"tanh": [0.970, 0.980, 0.975], "relu": [0.971, 0.985, 0.978]}
    study = plant(
        tmp_path,
        list(values),
        {"mlp": (4,)},
        seeds=range(3),
        epochs=2,
        accuracies={(name, "mlp"): each for name, each in values.items()},
    )
    scores, comparisons = compared(study)
    (said,) = findings.comparison_findings(study, scores, comparisons, "test_accuracy", 0.95, 0.97)
    row = tables.where(comparisons, metric="test_accuracy").to_dict("records")[0]
    assert row["verdict"] == "undecided"
    assert "undecided against tanh (0.30 points, " in said
    assert f"; about {row['pairs_needed']:.0f} seeds would settle it)" in said
    assert "better" not in said.split(" For new test images")[0]


def test_a_pair_is_turned_round_to_speak_of_the_best(tmp_path):
    # In the table sigmoid comes first and is worse; in the sentence relu comes first.
    study = plant(
        tmp_path,
        ["sigmoid", "relu"],
        {"mlp": (4,)},
        seeds=range(3),
        epochs=2,
        accuracies={("sigmoid", "mlp"): CLOSE["sigmoid"], ("relu", "mlp"): CLOSE["relu"]},
    )
    scores, comparisons = compared(study)
    row = tables.where(comparisons, metric="test_accuracy").to_dict("records")[0]
    assert (row["first"], row["verdict"]) == ("sigmoid", "worse")
    (said,) = findings.comparison_findings(study, scores, comparisons, "test_accuracy", 0.95, 0.97)
    bounds = f"{wording.in_points(-row['high'])} to {wording.in_points(-row['low'])}"
    assert f"it is better than sigmoid ({wording.in_points(-row['mean'])} points, {bounds})" in said


def test_lower_is_better_of_losses(tmp_path):
    def change(parts):
        if "test" in parts:
            step = {"sigmoid": 0.003, "tanh": 0.001}[parts["layers"]["activation"][0]]
            parts["test"]["test_loss"] = 100 * step + step * parts["test"]["seed"]

    values = {name: CLOSE[name] for name in ("sigmoid", "tanh")}
    said = planted_comparison(tmp_path, values, metric="test_loss", changed=change)
    assert said.startswith(
        "On mlp the lowest mean test NLL is 0.1010 nats, with tanh; it is better than sigmoid"
        " (−0.2020 nats, −0.2070 to −0.1970)."
    )


def test_times_are_ratios_and_of_blocks(tmp_path):
    def change(parts):
        if "timings" in parts:
            factor = {"sigmoid": 2.0, "tanh": 1.0}[parts["layers"]["activation"][0]]
            parts["timings"]["epoch_seconds"] = factor * (0.2 + 0.001 * parts["timings"]["epoch"])

    values = {name: CLOSE[name] for name in ("sigmoid", "tanh")}
    said = planted_comparison(tmp_path, values, metric="epoch_seconds", changed=change)
    assert said.startswith("On mlp the lowest mean time per epoch is 0.201 s (geometric, 2 blocks)")
    assert "with tanh; undecided against sigmoid (× 0.500, 0.500 to 0.500" in said


def test_a_target_that_is_never_reached_is_no_equivalence(tmp_path):
    # The planted curves never come to 97 % in two epochs.
    said = planted_comparison(tmp_path, CLOSE, metric="epochs_to_target")
    assert said == "On mlp no seed reaches 97 % validation accuracy."


# --- the conclusion ------------------------------------------------------------------------


def concluded(study):
    both = summarised(study), compared(study)[1]
    return [
        *findings.conclusion_findings(study, *both),
        *layer_findings.depth_and_accuracy_findings(study, both[1], 0.95),
    ]


def test_the_conclusion_counts_what_was_shown(tmp_path):
    low, high = np.array([0.90, 0.91, 0.905]), np.array([0.95, 0.961, 0.9525])
    study = plant(
        tmp_path,
        networks={"mlp": (4,), "deep": (4,) * 3},
        seeds=[0, 1, 2],
        epochs=1,
        accuracies={
            ("sigmoid", "mlp"): high,
            ("tanh", "mlp"): high,
            ("relu", "mlp"): high,
            ("sigmoid", "deep"): low,
            ("tanh", "deep"): high,
            ("relu", "deep"): high,
        },
        changed=norms({"sigmoid": 0.25, "tanh": 1.5, "relu": 1.5}),
    )
    mlp, deep, depth = concluded(study)
    assert mlp.startswith("Of the 3 pairs of activations on mlp: ")
    assert "3 by test accuracy" in mlp.split("; ")[1]
    assert mlp.endswith("Mean test accuracies lie within 0.00 points.")
    assert "2 by test accuracy" in deep.split("; ")[0]
    assert deep.endswith("Mean test accuracies lie within 4.95 points.")
    assert depth == (
        "On deep the kernels' gradient shrinks layer by layer before training with sigmoid, and is"
        " not shown to with another; the test accuracy of sigmoid is shown to be below that of tanh"
        " and relu."
        " That both come together does not show that one causes the other."
    )


def test_the_one_that_shrinks_most_is_named_where_it_is_told_apart(tmp_path):
    values = {"sigmoid": [0.90, 0.91, 0.905], "relu": [0.95, 0.961, 0.9525]}
    for factor, said in (
        (
            0.25,
            "On deep the kernels' gradient shrinks layer by layer before training with sigmoid and"
            " relu, most with sigmoid; the test accuracy of sigmoid is shown to be below that of"
            " relu.",
        ),
        (
            0.5,
            "On deep the kernels' gradient shrinks layer by layer before training with sigmoid and"
            " relu.",
        ),
        (
            2.0,
            "On deep the kernels' gradient shrinks layer by layer before training with relu, and is"
            " not shown to with another, but the test accuracy of relu is not shown to be below"
            " that of sigmoid.",
        ),
    ):
        study = plant(
            tmp_path / str(factor),
            ["sigmoid", "relu"],
            DEEP,
            seeds=[0, 1, 2],
            epochs=1,
            accuracies={(name, "deep"): each for name, each in values.items()},
            changed=norms({"sigmoid": factor, "relu": 0.5}, wobble=0.01),
        )
        assert concluded(study)[1].startswith(said)


def test_one_seed_concludes_nothing(tmp_path):
    study = plant(tmp_path, networks=DEEP, seeds=[0], epochs=1)
    (said,) = findings.conclusion_findings(study, summarised(study), compared(study)[1])
    assert said == "With one seed no difference between activations is shown."


def test_one_activation_has_nothing_beside_it(tmp_path):
    study = plant(tmp_path, ["relu"], DEEP, epochs=1)
    (said,) = findings.conclusion_findings(study, summarised(study), compared(study)[1])
    assert said == "With one activation there is nothing to compare it with."


# --- every sentence ------------------------------------------------------------------------


def sentences(study):
    """All that is said of a study, but for the report's own words."""
    scores, comparisons = compared(study)
    summary = summarised(study)
    return [
        *(
            line
            for metric in METRICS
            for line in findings.comparison_findings(study, scores, comparisons, metric, 0.95, 0.97)
        ),
        *findings.spread_findings(study, summary),
        *findings.loss_findings(study),
        *(
            line
            for epoch in (0, study.epochs)
            for line in (
                *layer_findings.first_layer_findings(study, activations_of(study), 0.95, epoch),
                *layer_findings.depth_findings(study, 0.95, epoch),
            )
        ),
        *findings.conclusion_findings(study, summary, comparisons),
    ]


def test_every_number_that_is_said_is_in_a_table(tmp_path):
    study = plant(tmp_path, networks={"mlp": (32, 16), "deep": (16,) * 4}, epochs=7)
    scores, comparisons = compared(study)
    first = layer_summaries.first_layer_gradients(study, 0.95)
    ratios = layer_summaries.first_layer_ratios(study, 0.95)
    factors = layer_summaries.layer_factors(study, 0.95)
    summary = summarised(study)
    bounds = ["geometric_mean", "low", "high"]
    allowed = {"0", "1", "2", "3", "6", "7", "95", "97", "10,000"}  # epochs, %, counts
    allowed |= {wording.written(value) for value in first["geometric_mean"]}
    for value in ratios[bounds].to_numpy().ravel():
        allowed |= {wording.written(value), wording.written(1 / value)}
    allowed |= {wording.written(value, 3) for value in factors[bounds].to_numpy().ravel()}
    allowed |= {str(value) for value in factors[["inputs", "units"]].to_numpy().ravel()}
    for column in ("mean", "sd", "ci_low", "ci_high"):
        allowed |= {f"{100 * value:.2f}" for value in summary[f"test_accuracy_{column}"]}
    for _, rows in summary.groupby("network"):
        allowed.add(wording.in_points(float(np.ptp(rows["test_accuracy_mean"]))))
    for _, rows in scores.groupby(["metric", "network", "activation"]):
        metric = rows["metric"].iloc[0]
        mean = rows["value"].mean()
        formats = {"epochs_to_target": f"{mean:.1f}", "test_loss": f"{mean:.4f}"}
        allowed.add(formats.get(metric, f"{100 * mean:.2f}"))
        allowed |= {f"{stats.gmean(rows['value']):.3f}", str(rows["censored"].sum())}
    for row in comparisons.to_dict("records"):
        for sign in (1, -1):
            turned = row | {
                "mean": sign * row["mean"],
                "low": min(sign * row["low"], sign * row["high"]),
                "high": max(sign * row["low"], sign * row["high"]),
            }
            allowed |= set(NUMBER.findall(difference_text(row["metric"], turned)))
        if row["pairs_needed"] > 0:
            allowed.add(f"{row['pairs_needed']:,.0f}")
    found = 0
    for line in sentences(study):
        for token in NUMBER.findall(re.sub(r"hidden_\d|(?<=\d) × (?=1\d\b(?!⁻))", " ", line)):
            assert token in allowed, (token, line)
            found += 1
    assert found > 150


def test_health_names_each_activation_with_its_own_numbers(tmp_path):
    study = plant(tmp_path, networks={"mlp": (8, 4), "none": ()}, seeds=[0, 1, 2], epochs=2)
    share = " (25.00 % after 2 epochs)"
    assert layer_findings.health_findings(study, 0.95) == [
        "After 2 epochs the hidden layer of mlp with the highest mean share of saturated units is"
        " hidden_1 with sigmoid (20.00 %, before training 10.00 %), hidden_1 with tanh (10.00 %,"
        " before training 10.00 %) and hidden_1 with relu (50.00 %, before training 50.00 %).",
        # Wilson's interval of 3 of 12: (p + z2/2n -+ z sqrt(p(1 - p)/n + z2/4n2)) / (1 + z2/n).
        "Units of mlp that are dead, all seeds together: with relu after 2 epochs most in"
        " hidden_2, 3 of 12 (25.00 %, 95 % interval 8.89 to 53.23); the highest share at any probe"
        " is 25.00 %, in hidden_2 after 1 epoch; none at any probe with sigmoid and tanh.",
        "After 2 epochs, in the layers of mlp that read hidden units, the gradient of a single"
        " image has one sign for this share of units and images: 100.00 % with sigmoid, 0.00 %"
        " with tanh and 100.00 % with relu.",
        "Before training, in the layers of mlp that read hidden units, the gradient of the mean"
        " loss over all probed images has one sign for this share of units: 25.00 % with"
        f" sigmoid{share}, 0.00 % with tanh (0.00 % after 2 epochs) and 25.00 % with relu{share}.",
        "One step changes a kernel of mlp by this part of its norm: 0.0033 to 0.010 before training"
        " and 0.0011 to 0.0033 after 2 epochs, from the smallest to the largest geometric mean of"
        " all layers and activations.",
    ]


def test_health_of_networks_that_are_no_number_is_not_told(tmp_path):
    def change(parts):
        if "gradients" in parts:
            parts["gradients"]["value"] = math.nan
        elif "updates" in parts:
            parts["updates"]["update_ratio"] = math.nan

    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, seeds=[0, 1], epochs=1, changed=change)
    assert layer_findings.health_findings(study, 0.95) == ["On mlp no pre-activation is a number."]


def test_units_that_come_back_to_life_are_told(tmp_path):
    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            dead = (table["statistic"] == "dead_fraction") & (table["epoch"] == 2)
            table.loc[dead, "value"] = 0.0

    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, seeds=[0, 1], epochs=2, changed=change)
    said = layer_findings.health_findings(study, 0.95)[1]
    assert said == (
        "Units of mlp that are dead, all seeds together: with relu none after 2 epochs; the"
        " highest share at any probe is 25.00 %, in hidden_1 after 1 epoch."
    )


NUMBER = re.compile(r"−?\d[\d,]*(?:\.\d+)?(?: × 10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?")


def test_theory_is_said_to_fail_where_it_does(tmp_path):
    def change(ratios):
        off = (ratios["activation"] == "relu") & (ratios["initializer"] == "matched")
        off &= (ratios["layer"] == "hidden_3") & (ratios["direction"] == "backward")
        ratios.loc[off, "ratio"] = 1.2

    study = plant(tmp_path, ["tanh", "relu"], DEEP, epochs=1, theory_changed=change)
    layers, whole, *changed = theory_findings.theory_findings(study, 0.95)
    # Two activations, two initialisers, two directions, three pairs of layers.
    assert "for 23 of 24 ratios of two neighbouring layers" in layers
    assert layers.endswith("; outside it lie 1 of relu with he_uniform.")
    assert whole.endswith("for 8 of 8 geometric means over all layers.")
    assert len(changed) == 2
    assert changed[1].startswith(
        "With relu, the variance of the gradient changes on its way back by × 0.510 (predicted"
        " 0.500) a layer with glorot_uniform, and by × 1.02 (predicted 1.00) with he_uniform"
    )
    assert changed[1].endswith("over 3 steps by 0.13 and 1.1.")


def test_a_matched_initialiser_that_is_the_same_changes_nothing(tmp_path):
    def change(ratios):
        ratios["kernel_initializer"] = "glorot_uniform"

    study = plant(tmp_path, ["tanh"], DEEP, epochs=1, theory_changed=change)
    said = theory_findings.theory_findings(study, 0.95)
    assert said[2:] == [
        "For tanh the matched initialiser is glorot_uniform itself, and changes nothing."
    ]
    # One measurement under two names is one measurement.
    assert "for 6 of 6 ratios" in said[0]


def numbers_of(values, digits=3):
    return {wording.written(value, digits) for value in np.ravel(values)}


def test_the_times_of_a_layer_are_those_of_the_table(tmp_path):
    study = plant(tmp_path, ["tanh", "relu", "gelu"], {"mlp": (4,)}, epochs=1)
    told = theory_findings.kernel_findings(study, 64, 32, 0.95)
    assert len(told) == 3
    times = layer_summaries.kernel_times(study, 0.95)
    for line, (_, rows) in zip(told, times.groupby("operation", sort=False), strict=True):
        allowed = numbers_of(1e6 * rows["seconds"]) | {"64", "32"}
        allowed |= numbers_of(rows[["geometric_mean", "low", "high"]].dropna())
        found = NUMBER.findall(line)
        assert set(found) <= allowed
        assert len(found) == 2 + 1 + 2 * 3
    assert told[2].startswith(
        "Of one layer of 64 units and a batch of 32 images, the activation without the layer takes"
        " 18.4 µs with tanh; with relu × 1.10 of that"
    )


def test_one_activation_has_the_times_of_its_layer_alone(tmp_path):
    study = plant(tmp_path, ["tanh"], {"mlp": (4,)}, epochs=1)
    assert theory_findings.kernel_findings(study, 64, 32, 0.95)[0] == (
        "Of one layer of 64 units and a batch of 32 images, the pass forward takes 184 µs with"
        " tanh."
    )


def test_what_matched_changes_is_told_of_every_network(tmp_path):
    networks = {"none": (), "mlp": (4,), "deep": (4,) * 4}
    study = plant(tmp_path, ["tanh", "relu"], networks, epochs=1)
    told = theory_findings.matched_findings(study, 0.95)
    changes = layer_summaries.matched_changes(study, 0.95)
    assert len(told) == len(changes) == 2
    for line, row in zip(told, changes.to_dict("records"), strict=True):
        norm, factor = (
            [wording.written(row[f"{of}_{key}"], 3) for key in ("change", "low", "high")]
            for of in ("norm", "factor")
        )
        assert line == (
            "Before training, the matched initialiser changes the norm of the gradient in hidden_1"
            f" of {row['network']} by × {norm[0]} ({norm[1]} to {norm[2]}) with relu, and what is"
            f" left of it from output back to there by × {factor[0]} ({factor[1]} to {factor[2]})"
            " with relu; with tanh nothing changes."
        )
    same = plant(tmp_path / "same", ["tanh", "gelu"], {"mlp": (4,)}, epochs=1)
    assert theory_findings.matched_findings(same, 0.95) == [
        "In mlp the matched initialiser of tanh and gelu is the configured one."
    ]


def test_a_study_that_is_matched_has_nothing_beside_it(tmp_path):
    def change(parts):
        parts["matched"] = tables.where(parts["matched"], initializer="matched")

    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, epochs=1, timing_changed=change)
    assert theory_findings.matched_findings(study, 0.95) == []
    assert layer_summaries.matched_changes(study, 0.95).empty


def test_one_untrained_network_has_no_uncertainty(tmp_path):
    def change(parts):
        parts["matched"] = tables.where(parts["matched"], seed=0)

    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, epochs=1, timing_changed=change)
    (line,) = theory_findings.matched_findings(study, 0.95)
    assert line.endswith("by × 2.00 (one network, no uncertainty) with relu.")


def test_seeds_that_never_reach_the_target_are_counted(tmp_path):
    def change(parts):
        if "history" in parts and set(parts["layers"]["activation"]) == {"tanh"}:
            rows = (parts["history"]["seed"] == 1) & (parts["history"]["epoch"] == 2)
            parts["history"].loc[rows, "val_accuracy"] = 0.98

    said = planted_comparison(tmp_path, CLOSE, metric="epochs_to_target", changed=change)
    assert said.startswith(
        "On mlp the lowest mean number of epochs to 97 % validation accuracy is 2.7, with tanh; "
    )
    assert "better than" not in said
    assert said.endswith(
        " Seeds that never get there count one epoch more than were trained: 3 of 3 with sigmoid,"
        " 2 of 3 with tanh and 3 of 3 with relu."
    )


def test_what_theory_cannot_tell_is_said_and_not_counted(tmp_path):
    def change(ratios):
        relu = ratios["activation"] == "relu"
        ratios.loc[relu, ["predicted", "band_low", "band_high"]] = math.nan

    study = plant(tmp_path, ["tanh", "relu"], DEEP, epochs=1, theory_changed=change)
    layers, whole, untold, *_ = theory_findings.theory_findings(study, 0.95)
    assert "for 12 of 12 ratios" in layers
    assert "for 4 of 4 geometric means" in whole
    assert untold.startswith("For some layers of relu theory has no prediction: ")


# --- The answer in brief ------------------------------------------------------------------


def answer_of(folder, accuracies, networks, **given):
    names = list(dict.fromkeys(name for name, _ in accuracies))
    study = plant(folder, names, networks, epochs=1, accuracies=accuracies, **given)
    return findings.answer_findings(study, summarised(study), compared(study)[1])


def test_the_answer_in_brief_is_a_sentence_for_the_first_network_and_the_last(tmp_path):
    good, bad = [0.970, 0.971, 0.972], [0.930, 0.932, 0.931]
    accuracies = {}
    for network in ("mlp", "wide", "deep"):
        worse = network != "mlp"
        accuracies |= {
            ("sigmoid", network): bad if worse else [0.969, 0.972, 0.971],
            ("relu", network): good,
        }
    mlp, deep = answer_of(
        tmp_path, accuracies, dict.fromkeys(("mlp", "wide", "deep"), (4,)), seeds=range(3)
    )
    low, high = stats.ttest_1samp(good, 0).confidence_interval(0.95)
    value = f"97.10 % ({100 * low:.2f} to {100 * high:.2f})"
    assert (
        mlp
        == f"On mlp relu has the highest mean test accuracy, {value}: undecided against sigmoid."
    )
    low, high = stats.ttest_1samp(np.subtract(good, bad), 0).confidence_interval(0.95)
    assert deep == (
        f"On deep relu has the highest mean test accuracy, {value}: it is better than sigmoid"
        f" (4.00 points, {100 * low:.2f} to {100 * high:.2f})."
    )


def test_the_answer_in_brief_claims_no_order_of_one_seed_and_none_of_one_activation(tmp_path):
    (said,) = answer_of(
        tmp_path / "one seed",
        {("sigmoid", "mlp"): [0.96], ("relu", "mlp"): [0.97]},
        {"mlp": (4,)},
        seeds=[0],
    )
    assert said == (
        "On mlp relu has the highest mean test accuracy, 97.00 % (one seed); one seed shows no"
        " order."
    )
    (said,) = answer_of(
        tmp_path / "one activation", {("relu", "mlp"): [0.97]}, {"mlp": (4,)}, seeds=[0]
    )
    assert said == "On mlp relu reaches a test accuracy of 97.00 % (one seed)."
