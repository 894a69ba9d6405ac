"""Comparisons of planted studies whose verdicts are known."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import REPORT, compared, plant, spoil
from scipy import special, stats

from actlab.engine import csvs
from actlab.errors import UserError
from actlab.evidence import comparisons, layer_scores, predictions
from actlab.evidence.decisions import read_verdict
from actlab.evidence.statistics import calibration_error
from actlab.results import tables
from actlab.results.study import load_study

LABELS = np.array([0, 1, 2, 1], dtype=np.int32)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    networks = {"mlp": (4,), "deep": (4, 4)}
    return plant(tmp_path_factory.mktemp("study"), networks=networks, seeds=[3, 1, 2, 0], epochs=4)


@pytest.fixture(scope="module")
def both(study):
    """Scores and comparisons of the study."""
    return compared(study)


# --- Logits ------------------------------------------------------------------------------------


def logits_of(seed, images):
    values = np.zeros((images, 3), dtype=np.float32)
    values[[0, 1, 2, 3], [0, 1, 2, seed % 2]] = 2.0  # the last is right for odd seeds
    return values


def write_logits(path, images=4):
    arrays: dict[str, Any] = {f"seed-{seed}": logits_of(seed, images) for seed in range(4)}
    np.savez(path, **arrays)


@pytest.fixture
def results(study, tmp_path):
    """A folder with the logits of every configuration."""
    for network, name in study.identities():
        (tmp_path / f"{name}-{network}/results").mkdir(parents=True)
        write_logits(tmp_path / f"{name}-{network}/results/test.npz")
    return tmp_path


def test_logits_are_scored_image_by_image(study, results):
    whole, by_image = predictions.read_predictions(study, results, LABELS)
    right, losses = by_image["test_accuracy"], by_image["test_loss"]
    assert right["deep", "tanh"].tolist() == [[1, 1, 1, float(seed % 2)] for seed in study.seeds]
    low, high = -special.log_softmax([2.0, 0.0, 0.0])[:2]
    np.testing.assert_allclose(losses["mlp", "tanh"][0], [low, low, low, low])  # seed 3
    np.testing.assert_allclose(losses["mlp", "tanh"][2], [low, low, low, high])  # seed 2
    row = csvs.where(whole.calibration, activation="relu", network="mlp", seed=2)
    logits = logits_of(2, 4)
    chances, right = special.softmax(logits, axis=1).max(axis=1), logits.argmax(axis=1) == LABELS
    assert row["calibration_error"].item() == pytest.approx(calibration_error(chances, right))


def test_logistic_outputs_are_scored_one_by_one(study, results):
    outputs = study.configurations.assign(**{"network.outputs": "logistic"})
    whole, by_image = predictions.read_predictions(
        replace(study, configurations=outputs), results, LABELS
    )
    logits = logits_of(2, 4)
    chances = special.expit(logits)
    of_label = np.arange(3) == LABELS[:, None]
    losses = -np.log(np.where(of_label, chances, 1 - chances)).sum(axis=1)
    np.testing.assert_allclose(by_image["test_loss"]["mlp", "tanh"][2], losses, rtol=1e-6)
    row = csvs.where(whole.calibration, activation="relu", network="mlp", seed=2)
    right = logits.argmax(axis=1) == LABELS
    expected = calibration_error(chances.max(axis=1), right)
    assert row["calibration_error"].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), r"test\.npz is missing or cannot be read: run `dvc repro`"),
        (lambda path: path.write_bytes(b"PK"), r"test\.npz is missing or cannot be read"),
        (lambda path: np.savez(path, np.zeros((4, 3))), r"test\.npz is missing or cannot be read"),
        (
            lambda path: write_logits(path, images=5),
            r"holds logits \(5, 3\) of seed 3 for 4 test images",
        ),
    ],
    ids=["missing", "damaged", "other names", "other images"],
)
def test_logits_that_are_not_there_are_refused(study, results, damage, reason):
    damage(results / "tanh-mlp/results/test.npz")
    with pytest.raises(UserError, match=reason):
        predictions.read_predictions(study, results, LABELS)


# --- Regressions -------------------------------------------------------------------------------


def test_a_regression_is_compared_by_the_ratio_of_its_errors(study, results):
    outputs = study.configurations.assign(**{"network.outputs": "linear"})
    regression = replace(
        study, configurations=outputs, test=study.test.assign(test_accuracy=math.nan)
    )
    assert predictions.read_predictions(regression, results, LABELS) == (regression, {})
    scores = comparisons.score(regression, 0.97)
    measured = set(scores["metric"]) - set(layer_scores.LAYER_METRICS)
    assert measured == {"val_mse", "test_mse", "epoch_seconds"}
    table = comparisons.compare(regression, scores, REPORT)
    first, second = (values_of(scores, name, "test_mse") for name in ("sigmoid", "relu"))
    row = csvs.where(table, first="sigmoid", second="relu", network="mlp", metric="test_mse")
    assert row["mean"].item() == pytest.approx(np.log(first / second).mean())
    assert row["margin"].item() == pytest.approx(math.log1p(REPORT.equivalence_margin_ratio))


# --- Pairs -------------------------------------------------------------------------------------


def compare(study, scores):
    zeros = {known: np.zeros((4, 10)) for known in study.identities()}
    images = {"test_accuracy": zeros, "test_loss": zeros}
    return comparisons.compare(study, scores, REPORT, images)


def values_of(scores, name, metric):
    """One value per seed, or block, in their order."""
    rows = csvs.where(scores, activation=name, network="mlp", metric=metric)
    return rows.sort_values("pair")["value"].to_numpy()


def test_pairing_is_by_seed_and_never_by_row_order(study, both):
    scores, table = both
    about_images = ["new_images_low", "new_images_high", "new_images_verdict"]
    again = compare(study, scores.sample(frac=1, random_state=0)).drop(columns=about_images)
    pd.testing.assert_frame_equal(again, table.drop(columns=about_images))
    first, second = (values_of(scores, name, "test_loss") for name in ("sigmoid", "relu"))
    row = csvs.where(table, first="sigmoid", second="relu", network="mlp", metric="test_loss")
    test = stats.ttest_rel(first, second)
    interval = test.confidence_interval(1 - 0.05 / 3)  # one of three pairs
    assert row[["mean", "p", "low", "high"]].to_numpy()[0].tolist() == pytest.approx(
        [np.mean(first - second), min(1, 3 * test.pvalue), interval.low, interval.high]
    )


def test_a_seed_that_one_side_lacks_is_dropped(study, both):
    scores, _ = both
    lacking = csvs.where(scores, activation="tanh", pair=2, metric="test_accuracy").index
    table = compare(study, scores.drop(index=lacking))
    accuracy = csvs.where(table, metric="test_accuracy", network="mlp")
    assert accuracy["pairs"].tolist() == [3, 4, 3]
    first, second = (values_of(scores, name, "test_accuracy") for name in ("sigmoid", "tanh"))
    assert accuracy["mean"].tolist()[0] == pytest.approx((first - second)[[0, 1, 3]].mean())


def test_every_verdict_is_that_of_its_interval(both):
    rows: Any = both[1].to_dict("records")
    for row in rows:
        larger = comparisons.METRICS[row["metric"]].larger_is_better
        assert row["verdict"] == read_verdict(row["low"], row["high"], row["margin"], larger)
        assert (row["p"] <= 0.05) == (row["low"] > 0 or row["high"] < 0)


def test_what_neither_side_reaches_is_undecided(tmp_path):
    """Both never reach the target: that they take the same time is not known."""
    change = spoil("history", "val_accuracy", lambda rows: 0.5)
    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, range(6), 3, changed=change)
    scores, table = compared(study)
    row: Any = csvs.where(table, metric="epochs_to_target").iloc[0]
    assert (row["pairs_censored"], row["verdict"], row["p_equivalence"]) == (6, "undecided", 1.0)
    assert math.isnan(row["low"])
    assert math.isnan(row["pairs_needed"])
    assert len(csvs.where(scores, censored=True)) == 12


def test_what_one_side_reaches_is_better_but_never_equivalent(tmp_path):
    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, range(6), 3)
    history = study.history.assign(
        val_accuracy=np.where(study.history["activation"] == "relu", 0.98, 0.5)
    )
    _, table = compared(replace(study, history=history))
    row = csvs.where(table, metric="epochs_to_target").iloc[0]
    assert row["verdict"] == "better"
    assert row["low"] == -math.inf
    assert row["p_equivalence"] == 1.0


def test_times_are_compared_by_the_logarithms_of_ratios(both):
    scores, table = both
    row = csvs.where(table, metric="epoch_seconds", network="mlp", first="tanh", second="relu")
    first, second = (values_of(scores, name, "epoch_seconds") for name in ("tanh", "relu"))
    assert math.exp(row["mean"].item()) == pytest.approx(stats.gmean(first / second))
    assert row["margin"].item() == pytest.approx(math.log(1.05))
    assert row["pairs"].item() == 4  # blocks


# --- Scores and verdicts -----------------------------------------------------------------------


def test_epochs_are_counted_to_the_first_that_reaches_the_target(tmp_path):
    curves = [0.95, 0.97, 0.96, 0.99, 0.9, 0.9, 0.96, 0.9699, 0.98, 0.9, 0.9, 0.9]
    change = spoil("history", "val_accuracy", lambda rows: curves)
    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, seeds=[0, 1, 2], epochs=4, changed=change)
    rows = csvs.where(compared(study)[0], metric="epochs_to_target")
    assert rows["value"].tolist() == [2, 5, 1]
    assert rows["censored"].tolist() == [False, True, False]


def test_the_better_of_two_has_the_verdict(tmp_path):
    accuracies = {
        ("sigmoid", "mlp"): [0.90, 0.91, 0.905, 0.90],
        ("tanh", "mlp"): [0.9801, 0.9790, 0.9803, 0.9799],
        ("relu", "mlp"): [0.9804, 0.9789, 0.9803, 0.9798],
    }
    study = plant(tmp_path, networks={"mlp": (4,)}, seeds=range(4), epochs=2, accuracies=accuracies)
    rows = csvs.where(compared(study)[1], metric="test_accuracy")
    assert rows["verdict"].tolist() == ["worse", "worse", "equivalent"]
    assert rows["margin"].tolist() == [0.002] * 3
    assert np.isnan(rows["pairs_needed"].to_numpy()).all()


def test_a_diverged_seed_leaves_every_metric_undecided(tmp_path):
    change = spoil("test", "test_loss", math.nan, activation="relu", seed=0)
    study = plant(tmp_path, ["relu", "tanh"], {"mlp": (4,)}, epochs=2, changed=change)
    for metric in ("test_loss", "test_accuracy", "calibration_error", "epochs_to_target"):
        (row,) = csvs.where(compared(study)[1], metric=metric).to_dict("records")
        assert row["verdict"] == "undecided", metric
        assert math.isnan(row["mean"])
        assert math.isnan(row["pairs_needed"])
    (row,) = csvs.where(compared(study)[1], metric="epoch_seconds").to_dict("records")
    assert math.isfinite(row["mean"])  # a time is a time


def test_a_configuration_that_was_not_timed_is_refused(tmp_path):
    folders = {name: tmp_path / name for name in ("runs", "results", "timings")}
    plant(tmp_path, ["sigmoid", "tanh"], {"mlp": (4,)}, seeds=[0], epochs=2)
    blocks = tables.read_table(tmp_path / "timings/blocks.csv", tables.BLOCKS)
    timed = csvs.where(blocks, activation="sigmoid")
    csvs.write_frame(timed, tmp_path / "timings/blocks.csv")
    with pytest.raises(UserError, match=r"blocks.csv lacks tanh on mlp: run `dvc repro`"):
        load_study(["sigmoid", "tanh"], ["mlp"], [0], 2, **folders)
