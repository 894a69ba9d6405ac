import math
import re

import numpy as np
import pytest
from planted import activations_of, plant
from scipy import stats

from actlab import findings, tables

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
    return study, findings.first_layer_findings(study, activations_of(study), 0.95, epoch)


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


def times(values):
    """A change that plants the seconds of every epoch and seed of each activation."""

    def change(parts):
        if "timings" in parts:
            name = parts["layers"]["activation"][0]
            parts["timings"]["epoch_seconds"] = np.resize(values[name], len(parts["timings"]))

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
    factors = tables.layer_factors(study, 0.95)
    assert set(factors["network"]) == {"deep"}
    assert factors["geometric_mean"].tolist() == pytest.approx([0.25, 0.25])
    (said,) = findings.depth_findings(study, 0.95, epoch=0)
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
    factors = tables.layer_factors(study, 0.95)
    found = {(row["first_layer"], row["last_layer"]) for row in factors.to_dict("records")}
    assert found == ({ends} if ends else set())
    assert len(findings.depth_findings(study, 0.95, epoch=0)) == (1 if ends else 0)


def test_a_change_with_depth_is_claimed_only_where_its_interval_excludes_1(tmp_path):
    def change(parts):
        norms({"sigmoid": 0.25, "relu": 2.0})(parts)
        norms({"tanh": 1.0}, wobble=0.1)(parts)

    study = plant(tmp_path, networks=DEEP, epochs=1, changed=change)
    (said,) = findings.depth_findings(study, 0.95, epoch=0)
    shrinks, grows, rest = said.split("; ")
    assert "shrinks with sigmoid, × 0.250 a layer (0.250 to 0.250)" in shrinks
    assert grows.startswith("grows with relu, × 2.00 a layer")
    assert rest.startswith("no change is shown with tanh, × 1.00 a layer")
    assert "After 1 epoch," in findings.depth_findings(study, 0.95, epoch=1)[0]


def test_the_factor_a_layer_is_scipys_over_seeds(tmp_path):
    study = plant(tmp_path, networks=DEEP, epochs=1)
    row = tables.where(tables.layer_factors(study, 0.9), epoch=0, activation="tanh")
    by_layer = tables.gradients_by_layer(study, 0.9)
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
    (said,) = findings.depth_findings(study, 0.95, epoch=0)
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
    (said,) = findings.depth_findings(study, 0.95, epoch=0)
    assert "no number with relu (a norm is zero or not finite)" in said
    assert "nan" not in said


# --- the first layer -----------------------------------------------------------------------


def test_first_layers_are_ordered_by_the_mean_that_is_cited(tmp_path):
    # By arithmetic means, tanh would be the largest (67.5).
    study, (said,) = planted_first_layers(
        tmp_path, {"relu": [8.0, 2.0, 8.0, 2.0, 4.0, 4.0], "tanh": [1, 1, 1, 1, 1, 400]}
    )
    first = tables.where(tables.first_layer_gradients(study, 0.95), epoch=0)
    assert first["geometric_mean"].tolist() == pytest.approx([4.0, 400 ** (1 / 6)])
    assert "relu has 4.0 and tanh 2.7" in said
    assert "geometric means over seeds" in said
    summary = tables.summarise(study, 0.95)
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
    assert f"(1.1 times, {tables.written(bounds[0])} to {tables.written(bounds[1])})" in said
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
    ratios = tables.where(tables.first_layer_ratios(study, 0.95), epoch=0)
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
        tables.first_layer_ratios(study, 0.95), epoch=0, first="relu", second="tanh"
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
        findings.first_layer_findings(study, activations_of(study), 0.95, epoch)[0]
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
    ratios = tables.first_layer_ratios(study, 0.95)
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


# --- times ---------------------------------------------------------------------------------


def test_times_whose_middle_halves_overlap_are_not_ordered(tmp_path):
    planted = {"relu": [0.20, 0.30, 0.40], "tanh": [0.25, 0.35, 0.90]}
    study = plant(
        tmp_path, ["relu", "tanh"], {"mlp": (4,)}, seeds=[0], epochs=3, changed=times(planted)
    )
    said, caveat = findings.time_findings(study)
    assert said == (
        "On mlp the median epochs are not told apart, their middle halves overlap: 0.300 s with"
        " relu and 0.350 s with tanh."
    )
    assert "one after the other" in caveat
    assert "load" in caveat


def test_times_whose_middle_halves_lie_apart_are_ordered(tmp_path):
    planted = {"relu": [0.20, 0.30, 0.40], "tanh": [0.50, 0.60, 9.0], "elu": [0.41, 0.42, 0.43]}
    study = plant(
        tmp_path, list(planted), {"mlp": (4,)}, seeds=[0, 1], epochs=3, changed=times(planted)
    )
    assert findings.time_findings(study)[0] == (
        "On mlp the shortest median epoch is 0.300 s, with relu, and the longest 0.600 s, with"
        " tanh: a ratio of 2.00."
    )


def test_only_the_end_that_stands_apart_is_named(tmp_path):
    close, far = [0.2, 0.3, 0.4], [1.0, 1.1, 1.2]
    planted = {"relu": close, "tanh": far, "elu": [0.3, 0.31, 0.4]}
    study = plant(
        tmp_path / "a", list(planted), {"mlp": (4,)}, seeds=[0], epochs=3, changed=times(planted)
    )
    assert findings.time_findings(study)[0] == (
        "On mlp the longest median epoch is 1.100 s, with tanh; the shortest is not told apart:"
        " 0.300 s with relu and 0.310 s with elu."
    )
    planted = {"relu": far, "tanh": close, "elu": [1.0, 1.15, 1.3]}
    study = plant(
        tmp_path / "b", list(planted), {"mlp": (4,)}, seeds=[0], epochs=3, changed=times(planted)
    )
    assert findings.time_findings(study)[0] == (
        "On mlp the shortest median epoch is 0.300 s, with tanh; the longest is not told apart:"
        " 1.100 s with relu and 1.150 s with elu."
    )


def test_ends_that_overlap_with_what_lies_between_are_not_named(tmp_path):
    # tanh and elu lie apart, but relu overlaps with both and has the shortest median.
    planted = {"tanh": [0.26, 0.27, 0.28], "relu": [0.2, 0.25, 0.4], "elu": [0.29, 0.3, 0.31]}
    study = plant(
        tmp_path, list(planted), {"mlp": (4,)}, seeds=[0], epochs=3, changed=times(planted)
    )
    assert findings.time_findings(study)[0] == (
        "On mlp neither the shortest nor the longest median epoch is told apart from the one next"
        " to it: 0.250 s with relu, 0.270 s with tanh and 0.300 s with elu."
    )
    by_time = findings.conclusion_findings(study, 0.95)[-1]
    assert by_time == "By the time of an epoch the middle halves lie apart for 1 of 3 pairs on mlp."


def test_quartiles_are_over_all_epochs_and_seeds(tmp_path):
    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, seeds=[0, 1, 2], epochs=4)
    row = tables.epoch_seconds(study).to_dict("records")[0]
    assert [row["quartile_low"], row["median"], row["quartile_high"]] == pytest.approx(
        np.quantile(study.timings["epoch_seconds"], [0.25, 0.5, 0.75])
    )
    (said,) = findings.time_findings(study)
    assert said == f"On mlp the median epoch took {row['median']:.3f} s."


# --- divergence ----------------------------------------------------------------------------


def test_diverged_runs_are_named(tmp_path):
    def change(parts):
        if "history" in parts and set(parts["layers"]["activation"]) == {"tanh"}:
            late = (parts["history"]["seed"] == 1) & (parts["history"]["epoch"] > 1)
            parts["history"].loc[late, ["loss", "val_loss"]] = [math.nan, math.inf]
            parts["test"].loc[parts["test"]["seed"] == 2, "test_loss"] = math.inf

    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, epochs=2, changed=change)
    assert tables.diverged_seeds(study) == {("tanh", "mlp"): [1, 2]}
    (said,) = findings.divergence_findings(study)
    assert said.startswith("The training of tanh on mlp diverged with seeds 1 and 2")


# --- the conclusion ------------------------------------------------------------------------


def test_the_conclusion_counts_what_was_shown(tmp_path):
    def change(parts):
        norms({"sigmoid": 0.25, "tanh": 1.5, "relu": 1.5})(parts)
        times({"sigmoid": [1.0], "tanh": [2.0], "relu": [2.0]})(parts)

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
        changed=change,
    )
    said = findings.conclusion_findings(study, 0.95)
    assert said[0] == (
        "By test accuracy 0 of 3 pairs of activations are told apart on mlp, where their means lie"
        " within 0.00 points, and 2 of 3 on deep, where they lie within 4.95."
    )
    assert said[1] == (
        "On deep the gradient shrinks layer by layer before training with sigmoid alone; its test"
        " accuracy is shown to be below that of tanh and relu. That both come together does not"
        " show that one causes the other."
    )
    assert "by the time of an epoch" in said[-1].lower()


def test_the_one_that_shrinks_most_is_named_where_it_is_told_apart(tmp_path):
    values = {"sigmoid": [0.90, 0.91, 0.905], "relu": [0.95, 0.961, 0.9525]}
    for factor, said in (
        (
            0.25,
            "On deep the gradient shrinks layer by layer before training with sigmoid and relu,"
            " most with sigmoid; its test accuracy is shown to be below that of relu. That both"
            " come together does not show that one causes the other.",
        ),
        (0.5, "On deep the gradient shrinks layer by layer before training with sigmoid and relu."),
        (
            2.0,
            "On deep the gradient shrinks layer by layer before training with relu alone, but its",
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
        assert findings.conclusion_findings(study, 0.95)[1].startswith(said)


def test_an_accuracy_that_is_not_lower_is_not_called_so(tmp_path):
    study = plant(
        tmp_path,
        ["sigmoid", "relu"],
        DEEP,
        seeds=[0, 1, 2],
        epochs=1,
        accuracies={("sigmoid", "deep"): [0.9, 0.8, 0.95], ("relu", "deep"): [0.91, 0.81, 0.7]},
        changed=norms({"sigmoid": 0.5, "relu": 1.5}),
    )
    said = " ".join(findings.conclusion_findings(study, 0.95))
    assert "with sigmoid alone, but its test accuracy is not shown to be below that of relu" in said
    assert "causes" not in said


def test_one_seed_concludes_nothing(tmp_path):
    study = plant(tmp_path, networks=DEEP, seeds=[0], epochs=1)
    said = findings.conclusion_findings(study, 0.95)
    assert said[0] == "With one seed no difference between activations is shown."
    assert not re.search("shrinks|told apart on|nan", " ".join(said[:1]))


def test_one_activation_has_nothing_beside_it(tmp_path):
    study = plant(tmp_path, ["relu"], DEEP, epochs=1)
    said = findings.conclusion_findings(study, 0.95)
    assert said[0] == "With one activation there is nothing to compare it with."
    assert "told apart" not in " ".join(said)


# --- every sentence ------------------------------------------------------------------------


def sentences(study):
    """All that is said of a study, but for the report's own words."""
    summary = tables.summarise(study, 0.95)
    differences = tables.accuracy_differences(study, 0.95)
    return [
        *findings.accuracy_findings(study, summary, differences, 0.95),
        *findings.spread_findings(study, summary),
        *findings.loss_findings(study),
        *findings.time_findings(study),
        *(
            line
            for epoch in (0, study.epochs)
            for line in (
                *findings.first_layer_findings(study, activations_of(study), 0.95, epoch),
                *findings.depth_findings(study, 0.95, epoch),
            )
        ),
        *findings.conclusion_findings(study, 0.95),
    ]


def test_every_number_that_is_said_is_in_a_table(tmp_path):
    study = plant(tmp_path, networks={"mlp": (32, 16), "deep": (16,) * 4}, epochs=7)
    first = tables.first_layer_gradients(study, 0.95)
    ratios = tables.first_layer_ratios(study, 0.95)
    factors = tables.layer_factors(study, 0.95)
    summary = tables.summarise(study, 0.95)
    differences = tables.accuracy_differences(study, 0.95)
    times = tables.epoch_seconds(study)
    bounds = ["geometric_mean", "low", "high"]
    allowed = {"1", "7", "95", "0", "2", "3", "6"}  # epochs, %, counts of pairs and seeds
    allowed |= {tables.written(value) for value in first["geometric_mean"]}
    for value in ratios[bounds].to_numpy().ravel():
        allowed |= {tables.written(value), tables.written(1 / value)}
    allowed |= {tables.written(value, 3) for value in factors[bounds].to_numpy().ravel()}
    allowed |= {str(value) for value in factors[["inputs", "units"]].to_numpy().ravel()}
    for column in ("mean", "sd", "ci_low", "ci_high"):
        allowed |= {f"{100 * value:.2f}" for value in summary[f"test_accuracy_{column}"]}
    for value in differences[["mean", "low", "high"]].to_numpy().ravel():
        allowed |= {findings.in_points(value), findings.in_points(-value)}
    for _, rows in summary.groupby("network"):
        allowed.add(findings.in_points(np.ptp(rows["test_accuracy_mean"])))
    for _, rows in times.groupby("network"):
        allowed.add(f"{max(rows['median']) / min(rows['median']):.2f}")
        allowed |= {f"{value:.3f}" for value in rows["median"]}
    allowed |= {str(epoch) for epoch in set(study.history["epoch"])}
    number = re.compile(r"−?\d[\d,]*(?:\.\d+)?(?: × 10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?")
    found = 0
    for line in sentences(study):
        for token in number.findall(re.sub(r"hidden_\d|(?<=\d) × (?=1\d\b(?!⁻))", " ", line)):
            assert token in allowed, (token, line)
            found += 1
    assert found > 100


def test_health_names_each_activation_with_its_own_numbers(tmp_path):
    study = plant(tmp_path, networks={"mlp": (8, 4), "none": ()}, seeds=[0, 1, 2], epochs=2)
    share = " (25.00 % after 2 epochs)"
    assert findings.health_findings(study, 0.95) == [
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
    assert findings.health_findings(study, 0.95) == ["On mlp no pre-activation is a number."]


def test_units_that_come_back_to_life_are_told(tmp_path):
    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            dead = (table["statistic"] == "dead_fraction") & (table["epoch"] == 2)
            table.loc[dead, "value"] = 0.0

    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, seeds=[0, 1], epochs=2, changed=change)
    said = findings.health_findings(study, 0.95)[1]
    assert said == (
        "Units of mlp that are dead, all seeds together: with relu none after 2 epochs; the"
        " highest share at any probe is 25.00 %, in hidden_1 after 1 epoch."
    )
