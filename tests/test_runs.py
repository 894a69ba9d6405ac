import math
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import REPORT, plant
from planted_sweep import LEVELS, Runs, plant_fair, plant_fair_depths, plant_grid
from scipy import stats

from actlab.engine.csvs import where
from actlab.errors import UserError
from actlab.evidence import comparisons, summaries
from actlab.results.layout import HISTORY, TEST
from actlab.tracking import runs as gathering

DEPTHS = {"network__depth": ["1", "2", "4"]}
RATES = {"optimizer__learning_rate": ["0.001", "0.0003", "0.003", "0.01", "0.03"]}


def compared_of(sweep, target=0.97):
    return comparisons.compare(sweep, comparisons.score(sweep, target), REPORT)


# --- From runs to configurations ----------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "keys", "tied"),
    [
        (
            plant_grid(["relu", "tanh"], DEPTHS),
            ["network.depth", "activation"],
            ["activation.function", "network.hidden"],
        ),
        (plant_grid(["relu"], RATES), ["optimizer.learning_rate"], []),
        (
            plant_grid(["relu", "tanh"], {**DEPTHS, **RATES}),
            ["network.depth", "optimizer.learning_rate", "activation"],
            ["activation.function", "network.hidden"],
        ),
    ],
    ids=["depth", "learning rate", "both"],
)
def test_the_keys_are_those_that_tell_configurations_apart(runs, keys, tied):
    sweep = runs.gather()
    assert list(sweep.keys) == keys
    assert sorted(sweep.tied) == tied
    if "optimizer.learning_rate" in keys:  # numbers are sorted by size, words by their first runs
        rates = ["0.0003", "0.001", "0.003", "0.01", "0.03"]
        assert sweep.values("optimizer.learning_rate") == rates
    assert not {*keys, *tied} & sweep.fixed.keys()
    assert sweep.fixed["training.batch_size"] == "128"
    assert "network.parameters" not in sweep.fixed


@pytest.mark.parametrize(
    ("shapes", "keys"),
    [
        (["4-4", "4-4-4"], ["network.depth"]),
        (["4-4", "8-8"], ["network.width"]),
        (["4-4", "8-8", "4-4-4"], ["network.depth", "network.width"]),
        (["4-8", "8-4"], ["network.hidden"]),
    ],
)
def test_layers_are_told_apart_by_depth_and_width_where_these_do(shapes, keys):
    runs = Runs(["network.hidden", "activation"])
    for activation, shape in product(("tanh", "relu"), shapes):
        runs.add(activation, [0.9, 0.91])
        units = shape.split("-")
        runs.parents[-1] |= {"network.depth": str(len(units)), "network.width": max(units)}
        runs.parents[-1]["network.hidden"] = shape
    assert list(runs.gather().keys) == [*keys, "activation"]


def test_the_keys_of_a_launch_are_those_that_were_swept():
    """An option of a group may bring along values of its own: they are no keys, but tied."""
    runs = Runs(["activation", "activation.constants.negative_slope", "seeds"])
    for activation, rate in (("relu", "0.001"), ("tanh", "0.003")):
        runs.add(activation, [0.9, 0.91], optimizer__learning_rate=rate)
    study = runs.gather()
    assert study.keys == ("activation",)
    assert set(study.tied) == {"optimizer.learning_rate", "activation.function"}
    runs.launch = None
    assert runs.gather().keys == ("optimizer.learning_rate", "activation")
    for slope in ("0.1", "0.2"):
        runs.add("leaky_relu", [0.9, 0.91], activation__negative_slope=slope)
    runs.launch = Runs(["activation", "activation.constants.negative_slope"]).launch
    assert runs.gather().keys == ("activation.negative_slope", "activation")


def test_runs_that_differ_are_not_pooled():
    runs = plant_grid(["relu", "tanh"], {**DEPTHS, **RATES})
    with pytest.raises(UserError, match=r"^compare\.by=\[activation\] would pool") as raised:
        runs.gather(by=["activation"])
    assert "network.depth, optimizer.learning_rate: add these to compare.by" in str(raised.value)
    assert "\n" not in str(raised.value)
    whole = runs.gather(by=["optimizer.learning_rate", "network.depth", "activation"])
    assert len(whole.configurations) == 30


def test_a_key_that_no_run_has_is_refused():
    with pytest.raises(UserError, match=r"compare\.by has 'depth': the runs have .*network\.depth"):
        plant_grid(["relu", "tanh"], DEPTHS).gather(by=["depth"])


def test_one_configuration_is_no_comparison():
    runs = Runs()
    runs.add("relu", [0.9, 0.91])
    runs.add("relu", [0.92, 0.93])
    with pytest.raises(UserError, match="sweep swept has one finished configuration, relu on unif"):
        runs.gather()


@pytest.mark.parametrize(
    ("older", "newer", "accuracies"),
    [
        (("a", [0, 1, 2]), ("a", [0]), {0: 0.9, 1: 0.5, 2: 0.5}),
        (("a", [0, 1, 2]), ("b", [0]), {0: 0.9}),
        (("a", [0, 1]), ("b", [2]), {2: 0.9}),
    ],
    ids=["same", "other", "no seed shared"],
)
def test_of_a_seed_the_newest_run_counts_and_runs_of_other_code_are_not_pooled(
    older, newer, accuracies
):
    runs = Runs()
    for level, (code, seeds) in ((0.5, older), (0.9, newer)):
        runs.add("relu", [level] * len(seeds), seeds, code=code)
    runs.add("tanh", [0.7, 0.7, 0.7])
    sweep = runs.gather()
    of = where(sweep.test, activation="relu")
    assert dict(zip(of["seed"], of["test_accuracy"], strict=True)) == accuracies
    history = where(sweep.history, activation="relu")
    assert (set(history["seed"]), len(history)) == (set(accuracies), 4 * len(accuracies))


def test_constants_of_other_activations_tell_nothing_apart():
    runs = Runs()
    runs.add("leaky_relu", [0.9, 0.91])
    runs.add("relu", [0.9, 0.91])
    assert list(runs.gather().keys) == ["activation"]


# --- Values and verdicts ------------------------------------------------------------------


def test_what_goes_along_with_an_activation_by_chance_is_not_taken_for_its_effect():
    """One was trained on fewer images, and the constants are its own: no pair is at equal keys."""
    runs = Runs()
    for activation, held_out in (("relu", "10000"), ("tanh", "0"), ("gelu", "0")):
        runs.add(activation, [0.9, 0.91], data__validation_size=held_out)
    gathered = runs.gather("swept")
    assert set(gathered.keys) == {"data.validation_size", "activation"}
    compared = compared_of(gathered)
    assert {*map(tuple, compared[["first", "second"]].to_numpy())} == {("tanh", "gelu")}


def assert_families(compared, sizes):
    """Each interval is Student's, at the level of its family: its size by key."""
    for row in compared.to_dict("records"):
        level = 1 - 0.05 / sizes[row["key"]] / 2
        half = stats.t.ppf(level, row["pairs"] - 1) * row["sd"] / math.sqrt(row["pairs"])
        assert (row["high"] - row["low"]) / 2 == pytest.approx(half)


def test_other_keys_are_a_family_each_beside_activations():
    """Neighbours of numbers, all pairs of words, at equal other keys; adjusted apart."""
    grid = {**DEPTHS, "initializer__name": ["glorot_uniform", "he_normal", "recommended"]}
    sweep = plant_grid(["tanh", "relu"], grid).gather()
    compared = where(compared_of(sweep), metric="test_accuracy")
    counts = {"activation": 9, "network.depth": 2 * 6, "initializer.name": 3 * 6}
    assert compared["key"].value_counts().to_dict() == counts
    along = where(compared, key="network.depth")
    assert set(zip(along["first"], along["second"], strict=True)) == {("1", "2"), ("2", "4")}
    assert set(along["network.depth"]) == {""}
    assert set(along["activation"]) == {"tanh", "relu"}
    assert_families(compared, counts)


@pytest.mark.parametrize(
    ("grid", "keys"),
    [
        ({"optimizer__learning_rate": [f"0.00{digit}" for digit in range(1, 9)]}, 2),
        ({"optimizer__learning_rate": [f"0.00{digit}" for digit in range(1, 10)]}, 1),
        ({"data__name": ["mnist", "fashion_mnist"]}, 1),
    ],
    ids=["eight values", "nine values", "other images"],
)
def test_not_every_key_is_compared_beside_activations(grid, keys):
    sweep = plant_grid(["tanh", "relu"], grid, seeds=2).gather()
    assert len(comparisons.find_families(sweep)) == keys


def test_neighbours_are_compared_where_a_key_has_many_values():
    pairs = {
        count: where(
            compared_of(
                plant_grid(
                    ["relu"],
                    {"optimizer__learning_rate": RATES["optimizer__learning_rate"][:count]},
                ).gather()
            ),
            metric="test_accuracy",
        )[["first", "second"]]
        .to_numpy()
        .tolist()
        for count in (3, 5)
    }
    assert pairs[3] == [["0.0003", "0.001"], ["0.0003", "0.003"], ["0.001", "0.003"]]
    assert pairs[5] == [
        ["0.0003", "0.001"],
        ["0.001", "0.003"],
        ["0.003", "0.01"],
        ["0.01", "0.03"],
    ]


def test_configurations_that_differ_in_several_keys_are_compared_all_with_all():
    runs = Runs()
    for activation, rate in (("relu", "0.001"), ("tanh", "0.003"), ("gelu", "0.01")):
        runs.add(activation, [0.9, 0.91, 0.93], optimizer__learning_rate=rate)
    sweep = runs.gather(by=["optimizer.learning_rate", "activation"])
    compared = where(compared_of(sweep), metric="test_accuracy")
    assert len(compared) == 3
    assert set(compared["key"]) == {""}
    assert compared["first"].iloc[0] == "learning rate 0.001, relu"
    # Left to itself, it takes the rates for no effect of the activations.
    assert runs.gather().keys == sweep.keys
    chosen = runs.gather(by=["activation"])
    assert list(chosen.keys) == ["activation"]
    assert "optimizer.learning_rate" in chosen.tied


def test_two_custom_functions_of_one_name_are_told_apart():
    runs = Runs(["activation.function"])
    for module, accuracies in (("sea", [0.9, 0.91, 0.92]), ("land", [0.8, 0.81, 0.83])):
        runs.add(
            "snake", accuracies, None, "trained", "", "", activation__function=f"{module}.snake"
        )
    assert runs.gather().keys == ("activation.function",)
    runs.launch = None
    assert runs.gather().keys == ("activation.function",)
    (row,) = where(compared_of(runs.gather()), metric="test_accuracy").to_dict("records")
    assert (row["first"], row["second"]) == ("sea.snake", "land.snake")


def test_a_diverged_configuration_is_there_and_shows_nothing():
    runs = Runs()
    runs.add("relu", [0.9, 0.91, 0.93])
    runs.add("exponential", [0.1, 0.1, 0.1], outcome="diverged")
    sweep = runs.gather()
    summary = summaries.summarise(sweep, comparisons.score(sweep, 0.97), 0.95)
    assert summary["diverged_seeds"].tolist() == [0, 3]
    exponential = summary.to_dict("records")[1]
    assert math.isnan(exponential["test_loss_mean"])
    assert exponential["test_accuracy_mean"] == pytest.approx(0.1)
    for row in compared_of(sweep).to_dict("records"):
        assert row["verdict"] == "undecided", row["metric"]
        assert math.isnan(row["mean"])


def test_trainings_of_different_lengths_are_not_compared_by_epochs():
    sweep = plant_grid(["relu"], {"training__epochs": ["4", "8"]}).gather()
    assert set(compared_of(sweep, target=0.95)["metric"]) == {
        "val_accuracy",
        "test_accuracy",
        "test_loss",
    }


@pytest.mark.parametrize("held_out", ["0", "10000"])
def test_validation_accuracy_counts_where_images_were_held_out(held_out):
    sweep = plant_grid(["relu", "tanh"], {"data__validation_size": [held_out]}).gather()
    assert ("val_accuracy" in set(compared_of(sweep)["metric"])) == (held_out == "10000")


# --- Fair mode ----------------------------------------------------------------------------


def test_tuned_and_baseline_are_each_a_family_and_compared_with_each_other():
    sweep = plant_fair().gather()
    assert set(sweep.test["seed"]) == {10, 11, 12, 13}  # no seed of the selection
    compared = where(compared_of(sweep), metric="test_accuracy")
    pairs = compared[["phase", "activation", "first", "second", "verdict"]].to_numpy().tolist()
    assert pairs == [
        ["baseline", "", "sigmoid", "relu", "worse"],
        ["tuned", "", "sigmoid", "relu", "worse"],
        ["", "sigmoid", "tuned", "baseline", "better"],
    ]  # the best setting of relu is the baseline: they are one run
    assert compared["mean"].iloc[2] == pytest.approx(0.02, abs=0.002)


def test_what_is_reported_is_the_epoch_that_was_tested():
    runs = plant_grid(["tanh", "relu"], {"training__tested": ["best"]}, seeds=2)
    for parent in runs.parents:
        parent["training.monitor"] = "val_loss"
    # Of four epochs the second has the lowest validation loss.
    losses = {1: 0.4, 2: 0.1, 3: 0.2, 4: 0.3}
    runs.history = [(*row[:5], losses[row[2]], row[6]) for row in runs.history]
    scores = comparisons.score(runs.gather(), 2.0)
    reached = where(scores, metric="val_accuracy", activation="relu", pair=0)["value"].item()
    second = next(row[6] for row in runs.history if row[0] == "run-1" and row[1:3] == (0, 2))
    assert reached == second


def test_seeds_that_end_early_have_a_horizon_of_their_own():
    runs = plant_grid(["tanh", "relu"], {"training__epochs": ["4"]}, seeds=2)
    runs.history = [row for row in runs.history if row[0] == "run-1" or row[2] <= 2]
    sweep = runs.gather()
    scores = where(comparisons.score(sweep, 2.0), metric="epochs_to_target")
    assert where(scores, activation="tanh")["value"].tolist() == [3, 3]  # trained 2 epochs
    assert where(scores, activation="relu")["value"].tolist() == [5, 5]
    runs.history = [row for row in runs.history if row[1] == 0 or row[2] <= 1]
    curves = summaries.learning_curves(runs.gather(), "loss", 0.95)
    means = where(curves, activation="relu", split="training")
    assert means[["seed_0", "seed_1"]].notna().to_numpy().all()


def test_sensitivity_is_the_spread_over_the_grid():
    table = summaries.tabulate_tuning(plant_fair().gather()).set_index("activation")
    sigmoid, relu = table.loc["sigmoid"], table.loc["relu"]
    assert sigmoid["best"] == pytest.approx(LEVELS["sigmoid"] + 0.02)
    assert sigmoid["best_minus_median"] == pytest.approx(0.02)
    assert sigmoid["near_best"] == pytest.approx(1 / 3)
    assert (sigmoid["chosen"], relu["chosen"]) == ("learning rate 0.003", "learning rate 0.001")
    assert relu["worst"] == pytest.approx(LEVELS["relu"] - 0.1)


@pytest.mark.parametrize("phase", ["tuned", "baseline"])
def test_of_a_fair_launch_that_other_code_ran_again_the_newest_setting_counts(phase):
    runs = plant_fair()
    expected = compared_of(runs.gather())
    keys = {"phase": phase, "code": "older", "optimizer__learning_rate": "0.1"}
    runs.add("relu", [0.5] * 4, [10, 11, 12, 13], **keys)
    runs.parents.insert(6, runs.parents.pop())
    study = runs.gather()
    assert study.keys == ("phase", "activation")
    pd.testing.assert_frame_equal(compared_of(study), expected)


def test_the_keys_of_a_fair_sweep_are_given():
    with pytest.raises(UserError, match=r"is compared by phase and activation: leave"):
        plant_fair().gather(by=["network"])


def test_a_fair_sweep_may_be_of_any_key():
    sweep = plant_fair_depths().gather()
    assert list(sweep.keys) == ["phase", "network.depth"]
    compared = where(compared_of(sweep), metric="test_accuracy")
    columns = ["key", "phase", "network.depth", "first", "second"]
    assert compared[columns].to_numpy().tolist() == [
        *(
            ["network.depth", phase, "", first, second]
            for phase in ("baseline", "tuned")
            for first, second in (("2", "4"), ("2", "8"), ("4", "8"))
        ),
        *(["phase", "", depth, "tuned", "baseline"] for depth in ("2", "4", "8")),
    ]
    expected = [0.01, 0.03, 0.02] * 2 + [0.02] * 3
    assert compared["mean"].tolist() == pytest.approx(expected, abs=0.003)
    for place in (slice(0, 3), slice(3, 6), slice(6, 9)):
        assert_families(compared.iloc[place], dict.fromkeys(("network.depth", "phase"), 3))
    chosen = summaries.tabulate_tuning(sweep).set_index("network.depth")["chosen"].to_dict()
    assert chosen == {
        "2": "activation relu, learning rate 0.003",
        "4": "activation tanh, learning rate 0.003",
        "8": "activation tanh, learning rate 0.01",
    }


def test_selection_alone_is_no_comparison():
    runs = plant_fair()
    runs.parents = [row for row in runs.parents if row["phase"] == "selection"]
    with pytest.raises(UserError, match=r"sweep swept has selection runs .* alone: run that"):
        runs.gather()


# --- What the first edition gave ------------------------------------------------------------


@pytest.mark.parametrize("name", ["depth_rate", "fair"])
def test_comparisons_of_sweeps_are_those_of_the_first_edition(root, name):
    rates = {"optimizer__learning_rate": ["0.001", "0.003", "0.01"]}
    if name == "fair":
        sweep = plant_fair(("sigmoid", "tanh", "relu")).gather()
    else:
        grid = {"network__depth": ["2", "4", "8"], **rates}
        sweep = plant_grid(["sigmoid", "relu"], grid).gather()
    frozen = pd.read_csv(root / f"tests/frozen/{name}.csv", dtype=str, keep_default_na=False)
    # Intended differences: verdicts are read from other intervals, and a setting that is both the
    # best and the baseline is one run, which is not compared with itself.
    is_one_run = (frozen["key"] == "phase") & frozen["activation"].isin(["tanh", "relu"])
    frozen: Any = frozen[~is_one_run] if name == "fair" else frozen
    compared = where(compared_of(sweep), metric=["test_accuracy", "test_loss"])
    words = ["key", "metric", "first", "second", *sweep.keys]
    assert compared[words].to_numpy().tolist() == frozen[words].to_numpy().tolist()
    for column in ("pairs", "mean", "effect_size"):
        expected = [float(value) if value else math.nan for value in frozen[column]]
        np.testing.assert_allclose(compared[column].to_numpy(dtype=float), expected, rtol=1e-9)


def test_a_study_is_the_same_from_folders_and_from_runs(tmp_path):
    networks = {"mlp": (4,), "deep": (4, 4)}
    study = plant(tmp_path, ["sigmoid", "relu"], networks, seeds=[0, 1, 2], epochs=4)
    runs = Runs()
    for network, activation in study.identities():
        rows = where(study.test, network=network, activation=activation)
        depth = str(len(networks[network]))
        keys = {"network__name": network, "network__depth": depth, "data__validation_size": "0"}
        runs.add(activation, rows["test_accuracy"].tolist(), None, "trained", "", "", **keys)
    names = dict(zip(study.identities(), (row["run"] for row in runs.parents), strict=True))

    def as_runs(table, columns):
        parents = [names[study.identify(row)] for row in table.to_dict("records")]
        return table.assign(parent=parents).loc[:, ["parent", *columns]]

    found = replace(
        runs.found(), seeds=as_runs(study.test, TEST), history=as_runs(study.history, HISTORY)
    )
    gathered = gathering.gather(found, None)
    assert (gathered.keys, gathered.has_held_out) == (study.keys, study.has_held_out)
    for name in ("test", "history"):
        pd.testing.assert_frame_equal(getattr(gathered, name), getattr(study, name))
    columns = ["val_accuracy", "test_accuracy", "test_loss", "epochs_to_target"]
    scores = [where(comparisons.score(each, 0.97), metric=columns) for each in (gathered, study)]
    pd.testing.assert_frame_equal(*scores, check_dtype=False)
