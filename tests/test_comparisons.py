"""Comparisons of planted studies whose verdicts are known."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import REPORT, compared, plant
from scipy import special, stats

from actlab.errors import UserError
from actlab.evidence import comparisons
from actlab.evidence.statistics import calibration_error, holm
from actlab.results import tables
from actlab.results.study import load_study

LABELS = np.array([0, 1, 2, 1], dtype=np.int32)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return plant(
        tmp_path_factory.mktemp("study"),
        networks={"mlp": (4,), "deep": (4, 4)},
        seeds=[3, 1, 2, 0],
        epochs=4,
    )


def write_logits(study, results, logits):
    for network, name in study.identities():
        arrays: dict[str, Any] = {
            f"seed-{seed}": logits(name, network, seed) for seed in study.seeds
        }
        np.savez(results / f"{name}-{network}/test.npz", **arrays)


def test_logits_are_scored_image_by_image(study, tmp_path):
    def logits(name, network, seed):
        values = np.zeros((4, 3), dtype=np.float32)
        values[[0, 1, 2, 3], [0, 1, 2, seed % 2]] = 2.0  # the last is right for odd seeds
        return values

    results = tmp_path
    for network, name in study.identities():
        (results / f"{name}-{network}").mkdir()
    write_logits(study, results, logits)
    whole, by_image = comparisons.read_predictions(study, results, LABELS)
    right, losses = by_image["test_accuracy"], by_image["test_loss"]
    assert right["deep", "tanh"].tolist() == [[1, 1, 1, float(seed % 2)] for seed in study.seeds]
    low, high = -special.log_softmax([2.0, 0.0, 0.0])[:2]
    np.testing.assert_allclose(losses["mlp", "tanh"][0], [low, low, low, low])  # seed 3
    np.testing.assert_allclose(losses["mlp", "tanh"][2], [low, low, low, high])  # seed 2
    row = tables.where(whole.calibration, activation="relu", network="mlp", seed=2)
    assert row["calibration_error"].item() == calibration_error(logits("", "", 2), LABELS)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), r"test\.npz is missing: run `dvc repro` to make it"),
        (lambda path: path.write_bytes(b"PK"), r"test\.npz cannot be read: run `dvc repro`"),
        (
            lambda path: np.savez(path, np.zeros((4, 3))),
            r"test\.npz cannot be read: run `dvc repro`",
        ),
    ],
)
def test_logits_that_are_not_there_are_said(study, tmp_path, damage, reason):
    for network, name in study.identities():
        (tmp_path / f"{name}-{network}").mkdir()
    write_logits(study, tmp_path, lambda *_: np.zeros((4, 3), dtype=np.float32))
    damage(tmp_path / "tanh-mlp/test.npz")
    with pytest.raises(UserError, match=reason):
        comparisons.read_predictions(study, tmp_path, LABELS)


def test_logits_of_other_images_are_refused(study, tmp_path):
    for network, name in study.identities():
        (tmp_path / f"{name}-{network}").mkdir()
    write_logits(study, tmp_path, lambda *_: np.zeros((5, 3), dtype=np.float32))
    with pytest.raises(UserError, match=r"holds logits \(5, 3\) of seed 3 for 4 test images"):
        comparisons.read_predictions(study, tmp_path, LABELS)


def test_epochs_are_counted_to_the_first_that_reaches_the_target(tmp_path):
    curves = {0: [0.95, 0.97, 0.96, 0.99], 1: [0.9, 0.9, 0.96, 0.9699], 2: [0.98, 0.9, 0.9, 0.9]}

    def change(parts):
        if "history" in parts:
            parts["history"]["val_accuracy"] = np.concatenate(list(curves.values()))

    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, seeds=[0, 1, 2], epochs=4, changed=change)
    scores, _ = compared(study)
    rows = tables.where(scores, metric="epochs_to_target")
    assert rows["value"].tolist() == [2, 5, 1]
    assert rows["censored"].tolist() == [False, True, False]


def test_every_pair_of_every_metric_on_every_network_is_compared(study):
    _, table = compared(study)
    assert tuple(table.columns) == ("network", *tables.COMPARED)
    keys = table[["network", "metric", "first", "second"]]
    assert len(keys.drop_duplicates()) == len(table) == 2 * (len(comparisons.METRICS) - 1) * 3
    # No validation images are held out.
    assert set(table["metric"]) == comparisons.METRICS.keys() - {"val_accuracy"}


def test_pairing_is_by_seed_and_never_by_row_order(study):
    scores, table = compared(study)
    shuffled = scores.sample(frac=1, random_state=0)
    zeros = {known: np.zeros((4, 10)) for known in study.identities()}
    images = {"test_accuracy": zeros, "test_loss": zeros}
    again = comparisons.compare(study, shuffled, REPORT, images)
    about_images = ["new_images_low", "new_images_high", "new_images_verdict"]
    pd.testing.assert_frame_equal(
        again.drop(columns=about_images), table.drop(columns=about_images)
    )
    values = {
        name: tables.where(scores, activation=name, network="mlp", metric="test_loss")
        .sort_values("pair")["value"]
        .to_numpy()
        for name in ("sigmoid", "relu")
    }
    row = tables.where(table, first="sigmoid", second="relu", network="mlp", metric="test_loss")
    test = stats.ttest_rel(values["sigmoid"], values["relu"])
    interval = test.confidence_interval(0.95)
    assert row["mean"].item() == pytest.approx(np.mean(values["sigmoid"] - values["relu"]))
    assert row["p_t"].item() == pytest.approx(test.pvalue)
    assert row["low"].item() == pytest.approx(interval.low)
    assert row["high"].item() == pytest.approx(interval.high)


def test_a_seed_that_one_side_lacks_is_dropped_and_counted(study):
    scores, _ = compared(study)
    keys = scores[["activation", "pair", "metric"]].to_numpy().tolist()
    lacks = np.array([key == ["tanh", 2, "test_accuracy"] for key in keys])
    zeros = {known: np.zeros((4, 10)) for known in study.identities()}
    images = {"test_accuracy": zeros, "test_loss": zeros}
    table = comparisons.compare(study, scores.loc[~lacks], REPORT, images)
    accuracy = tables.where(table, metric="test_accuracy", network="mlp")
    assert accuracy["pairs"].tolist() == [3, 4, 3]
    assert accuracy["pairs_dropped"].tolist() == [1, 0, 1]
    first, second = (
        tables.where(scores, activation=name, network="mlp", metric="test_accuracy")
        for name in ("sigmoid", "tanh")
    )
    kept = [seed != 2 for seed in first["pair"]]
    difference = (first["value"].to_numpy() - second["value"].to_numpy())[kept]
    assert accuracy["mean"].tolist()[0] == pytest.approx(difference.mean())


def test_the_pairs_of_one_metric_on_one_network_are_a_family(study):
    _, table = compared(study)
    for _, family in table.groupby(["metric", "network"]):
        np.testing.assert_allclose(family["p_holm"], holm(family["p_t"].to_numpy()))
        np.testing.assert_allclose(
            family["p_equivalence_holm"], holm(family["p_equivalence"].to_numpy())
        )


def test_the_better_of_two_has_the_verdict(tmp_path):
    accuracies = {
        ("sigmoid", "mlp"): [0.90, 0.91, 0.905, 0.90],
        ("tanh", "mlp"): [0.9801, 0.9790, 0.9803, 0.9799],
        ("relu", "mlp"): [0.9804, 0.9789, 0.9803, 0.9798],
    }
    study = plant(tmp_path, networks={"mlp": (4,)}, seeds=range(4), epochs=2, accuracies=accuracies)
    _, table = compared(study)
    rows = tables.where(table, metric="test_accuracy")
    assert rows["verdict"].tolist() == ["worse", "worse", "equivalent"]
    assert rows["margin"].tolist() == [0.002] * 3
    assert np.isnan(rows["pairs_needed"].to_numpy()).all()


def test_times_are_compared_by_the_logarithms_of_ratios(study):
    scores, table = compared(study)
    row = tables.where(table, metric="epoch_seconds", network="mlp", first="tanh", second="relu")
    seconds = [
        tables.where(scores, metric="epoch_seconds", network="mlp", activation=name)["value"]
        for name in ("tanh", "relu")
    ]
    ratio = stats.gmean(seconds[0].to_numpy() / seconds[1].to_numpy())
    assert math.exp(row["mean"].item()) == pytest.approx(ratio)
    assert row["margin"].item() == pytest.approx(math.log(1.05))
    assert row["pairs"].item() == 4  # blocks


def reaching(epochs):
    """Plant curves that reach the target at those epochs, seed by seed; 9 is never."""

    def change(parts):
        if "history" in parts:
            history = parts["history"]
            reached = history["epoch"] >= history["seed"].map(dict(enumerate(epochs)))
            history["val_accuracy"] = np.where(reached, 0.98, 0.9)

    return change


def test_a_configuration_that_was_not_timed_is_said(tmp_path):
    folders = {name: tmp_path / name for name in ("results", "timings")}
    plant(tmp_path, ["sigmoid", "tanh"], {"mlp": (4,)}, seeds=[0], epochs=2)
    blocks = tables.read_table(tmp_path / "timings/blocks.csv", tables.BLOCKS)
    rest = tables.where(blocks, activation="sigmoid")
    tables.write_frame(rest, tmp_path / "timings/blocks.csv")
    with pytest.raises(UserError, match=r"blocks.csv lacks tanh on mlp: run `dvc repro`"):
        load_study(["sigmoid", "tanh"], ["mlp"], [0], 2, **folders)


def test_a_diverged_seed_leaves_its_metric_undecided(tmp_path):
    def change(parts):
        if "test" in parts and parts["layers"]["activation"][0] == "relu":
            parts["test"].loc[0, "test_loss"] = math.nan

    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, epochs=2, changed=change)
    _, table = compared(study)
    (row,) = tables.where(table, metric="test_loss").to_dict("records")
    assert row["verdict"] == "undecided"
    assert math.isnan(row["mean"])
    assert math.isnan(row["pairs_needed"])


def test_the_table_reads_back_as_it_was_written(study, tmp_path):
    for name, each in zip(("scores", "comparisons"), compared(study), strict=True):
        tables.write_frame(each, tmp_path / f"{name}.csv")
        read = tables.read_table(tmp_path / f"{name}.csv", tuple(each.columns))
        read = read.fillna({"new_images_verdict": ""})
        pd.testing.assert_frame_equal(
            read, each.reset_index(drop=True), check_dtype=False, check_exact=True
        )
