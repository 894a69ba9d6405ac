import math
from typing import Any

import numpy as np
import pytest
from planted import plant, plant_model, summarised
from scipy import stats

from actlab.activations.config import ActivationConfig
from actlab.engine import csvs
from actlab.errors import UserError
from actlab.evidence import layer_summaries, statistics, summaries
from actlab.models.config import NetworkConfig
from actlab.results import layout, tables
from actlab.results.study import load_study, read_activations

NETWORKS = {"none": (), "mlp": (128, 64)}


def test_a_table_reads_back_to_the_bits_that_were_written(tmp_path):
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.standard_normal(1000), np.exp(rng.uniform(-200, 200, 1000)), [0.0, math.nan, math.inf]]
    )
    rows = [(seed, value, value) for seed, value in enumerate(values)]
    csvs.write_table(rows, layout.TEST, tmp_path / "test.csv")
    read = tables.read_table(tmp_path / "test.csv", layout.TEST)
    np.testing.assert_array_equal(read["test_loss"].to_numpy(), values)


@pytest.mark.parametrize("name", ["nan", "NA", "null", "1", "a,b", 'say "no"'])
def test_a_name_stays_a_name_whatever_it_looks_like(tmp_path, name):
    csvs.write_table([("train", 0, 1)], tables.CLASS_COUNTS, tmp_path / "counts.csv")
    row = (name, "mlp", 0, 1, "hidden_1", "test", "mean_abs", 0.5)
    csvs.write_table([row], tables.GRADIENTS, tmp_path / "gradients.csv")
    read = tables.read_table(tmp_path / "gradients.csv", tables.GRADIENTS)
    assert read["activation"].tolist() == [name]


def test_a_table_that_is_missing_or_another_is_said_in_one_line(tmp_path):
    path = tmp_path / "test.csv"
    with pytest.raises(UserError, match=r"test.csv is missing: run `dvc repro`"):
        tables.read_table(path, layout.TEST)
    path.write_text("")
    with pytest.raises(UserError, match=r"test.csv is not a valid CSV"):
        tables.read_table(path, layout.TEST)
    path.write_text("seed,accuracy\n0,1\n")
    with pytest.raises(
        UserError, match=r"has the columns seed, accuracy, expected seed, test_loss"
    ):
        tables.read_table(path, layout.TEST)


def folders_in(folder):
    return {name: folder / name for name in ("runs", "results", "timings")}


def test_the_study_comes_in_the_order_of_the_configuration(tmp_path):
    plant(tmp_path, ["relu", "tanh", "sigmoid"], NETWORKS, seeds=[5, 3], epochs=2)
    (tmp_path / "runs/relu-mlp/results/history.csv").write_text("stale")  # not configured
    study = load_study(["tanh", "sigmoid"], list(NETWORKS), [5, 3], 2, **folders_in(tmp_path))
    expected = [("none", "tanh"), ("none", "sigmoid"), ("mlp", "tanh"), ("mlp", "sigmoid")]
    assert study.identities() == expected
    assert study.layers_of("mlp") == ["hidden_1", "hidden_2", "output"]
    assert study.layers_of("none") == ["output"]
    summary = summarised(study)
    assert list(zip(summary["network"], summary["activation"], strict=True)) == expected
    for table in (study.history, study.gradients, study.preactivations):
        assert set(table["activation"]) == {"tanh", "sigmoid"}


@pytest.mark.parametrize(
    ("configured", "message"),
    [
        ({"seeds": [0, 1, 2]}, r"history.csv holds the seeds 0, 1, configured are 0, 1, 2"),
        ({"epochs": 3}, r"does not hold the epochs 1 to 3 of seed 0"),
        ({"activations": ["relu"]}, r"relu-mlp/results/history.csv is missing"),
        ({"networks": ["mlp", "deep"]}, r"tanh-deep/results/history.csv is missing"),
    ],
)
def test_results_of_another_configuration_are_refused(tmp_path, configured, message):
    planted = {"activations": ["tanh"], "networks": ["mlp"], "seeds": [0, 1], "epochs": 2}
    plant(tmp_path, ["tanh"], {"mlp": (4,)}, seeds=[0, 1], epochs=2)
    with pytest.raises(UserError, match=message) as raised:
        load_study(**(planted | configured), **folders_in(tmp_path))
    assert "run `dvc repro`" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("key", "column", "value", "message"),
    [
        ("gradients", "seed", 9, r"\(tanh on mlp, epoch 0\) holds the seeds 9"),
        ("gradients", "epoch", 1, "holds the seeds none, configured"),
        ("gradients", "layer", "hidden_7", "other layers than layers.csv"),
        ("gradients", "statistic", "l2_norm", "lacks the backprop_rms"),
        ("updates", "seed", 9, r"tanh-mlp/results/updates.csv holds other seeds than"),
        ("updates", "epoch", 9, r"tanh-mlp/results/updates.csv holds other epochs than"),
        ("updates", "layer", "hidden_9", r"tanh-mlp/results/updates.csv holds other layers than"),
        ("theory", "activation", "relu", r"theory/ratios.csv lacks tanh: run `dvc repro`"),
    ],
)
def test_tables_that_lack_something_are_refused(tmp_path, key, column, value, message):
    def change(parts):
        if key in parts:
            parts[key][column] = value

    def change_theory(ratios):
        change({"theory": ratios})

    changes = {"changed": change, "theory_changed": change_theory}
    with pytest.raises(UserError, match=message) as raised:
        plant(tmp_path, ["tanh"], {"mlp": (4,)}, seeds=[0], epochs=2, **changes)
    assert "run `dvc repro" in str(raised.value)


def test_the_summary_holds_the_planted_numbers(tmp_path):
    accuracies = [0.975, 0.98, 0.985]

    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            notebook = (table["probe"] == "notebook") & (table["statistic"] == "mean_abs")
            for epoch, values in ((0, [1.0, 2.0, 6.0]), (2, [0.1, 0.2, 0.6])):
                for seed, value in enumerate(values):
                    chosen = notebook & (table["epoch"] == epoch) & (table["seed"] == seed)
                    table.loc[chosen & (table["layer"] == "hidden_1"), "value"] = value
        else:
            parts["test"]["test_loss"] = [0.1, 0.2, 0.6]
            parts["timings"]["epoch_seconds"] = [1.0, 2.0, 3.0, 4.0, 50.0, 60.0]

    study = plant(
        tmp_path,
        ["relu"],
        {"mlp": (8,)},
        seeds=[0, 1, 2],
        epochs=2,
        accuracies={("relu", "mlp"): accuracies},
        changed=change,
    )
    row = summarised(study, 0.9).to_dict("records")[0]
    interval = statistics.share_interval(accuracies, 0.9)
    assert row["seeds"] == 3
    assert row["test_accuracy_mean"] == pytest.approx(0.98)
    assert row["test_accuracy_sd"] == pytest.approx(0.005)
    assert row["test_accuracy_ci_low"] == pytest.approx(interval.low)
    assert row["test_accuracy_ci_high"] == pytest.approx(interval.high)
    assert row["test_loss_mean"] == pytest.approx(0.3)
    assert row["epoch_seconds_median"] == 3.5
    assert row["gradient_first_layer_initial"] == pytest.approx(3)
    assert row["gradient_first_layer_notebook"] == pytest.approx(0.3)


def test_plot_tables_have_a_line_a_configuration(tmp_path):
    study = plant(tmp_path, ["relu", "tanh"], NETWORKS, seeds=[0, 1], epochs=3)
    plots = summaries.plot_tables(study)
    assert sorted(plots) == ["accuracy", "gradient_initial", "loss", "val_accuracy", "val_loss"]
    names = ["relu-none", "tanh-none", "relu-mlp", "tanh-mlp"]
    assert list(plots["val_loss"].columns) == ["configuration", "epoch", "val_loss"]
    assert list(plots["val_loss"]["configuration"].unique()) == names
    planted = csvs.where(study.history, activation="tanh", network="mlp", epoch=3)["val_loss"]
    drawn = csvs.where(plots["val_loss"], configuration="tanh-mlp")["val_loss"]
    assert len(drawn) == 3
    assert drawn.tolist()[-1] == pytest.approx(planted.mean())
    gradient = plots["gradient_initial"]
    assert csvs.where(gradient, configuration="relu-none")["layer"].tolist() == [1]
    norms = csvs.where(gradient, configuration="relu-mlp")
    assert norms["layer"].tolist() == [1, 2, 3]
    assert norms["gradient_norm"].is_monotonic_increasing


def test_a_mean_over_a_diverged_seed_is_no_number(tmp_path):
    def change(parts):
        if "history" in parts:
            parts["history"].loc[3, "loss"] = math.nan

    study = plant(tmp_path, ["relu"], {"mlp": (4,)}, seeds=[0, 1], epochs=2, changed=change)
    means = summaries.plot_tables(study)["loss"]["loss"]
    assert means.isna().tolist() == [False, True]
    curves = csvs.where(summaries.learning_curves(study, "loss", 0.95), split="training")
    assert curves[["mean", "low"]].isna().to_numpy().tolist() == [[False] * 2, [True] * 2]


def test_activations_are_what_was_trained(tmp_path):
    study = plant(tmp_path, ["leaky_relu", "relu"], NETWORKS, seeds=[0], epochs=1)
    runs = tmp_path / "runs"

    def train(name, network, slope):
        constants = {"negative_slope": slope} if name == "leaky_relu" else {}
        activation = ActivationConfig(name, name, constants)
        run = layout.RunFolder.finished(runs, name, network)
        plant_model(run, activation, NetworkConfig(network, list(NETWORKS[network])))

    for network, name in study.identities():
        train(name, network, 0.25)
    leaky, relu = read_activations(study, runs)
    assert leaky.constants == {"negative_slope": 0.25}
    assert relu.function == "relu"
    train("leaky_relu", "mlp", 0.5)
    with pytest.raises(UserError, match="another leaky_relu than the other networks"):
        read_activations(study, runs)
    (runs / "relu-none/models/model.json").unlink()
    with pytest.raises(UserError, match=r"relu-none/models/model.json is missing"):
        read_activations(study, runs)


def test_health_has_a_row_a_layer_and_epoch_over_seeds(tmp_path):
    study = plant(tmp_path, ["sigmoid", "relu"], {"mlp": (8, 4)}, seeds=[0, 1, 2], epochs=2)
    health = layer_summaries.layer_health(study, 0.95)
    rows = csvs.where(health, activation="relu", statistic="dead_fraction")
    assert list(zip(rows["epoch"], rows["layer"], rows["mean"], strict=True)) == [
        (epoch, layer, share if epoch else 0.0)
        for epoch in (0, 1, 2)
        for layer, share in (("hidden_1", 1 / 8), ("hidden_2", 1 / 4))
    ]
    steps = csvs.where(health, activation="relu", statistic="update_ratio", epoch=1)
    assert steps["layer"].tolist() == ["hidden_1", "hidden_2", "output"]
    assert steps["mean"].tolist() == pytest.approx([0.005 / 3, 0.005 / 2, 0.005])
    # Geometric means of what spreads by factors, arithmetic ones of the rest.
    signal = csvs.where(health, activation="relu", statistic="backprop_rms", layer="output")
    seeds = signal[["seed_0", "seed_1", "seed_2"]].to_numpy()
    assert signal["mean"].tolist() == pytest.approx(stats.gmean(seeds, axis=1).tolist())


def test_dead_units_are_counted_over_all_seeds(tmp_path):
    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            dead = (table["statistic"] == "dead_fraction") & (table["layer"] == "hidden_1")
            for seed, count in ((0, 3), (1, 0), (2, 1)):
                table.loc[dead & (table["seed"] == seed), "value"] = count / 7
            table.loc[dead & (table["seed"] == 2) & (table["epoch"] == 0), "value"] = math.nan

    study = plant(
        tmp_path, ["relu"], {"mlp": (7, 4), "none": ()}, seeds=[0, 1, 2], epochs=2, changed=change
    )
    dead = csvs.where(layer_summaries.dead_units(study, 0.95), layer="hidden_1").to_dict("records")
    assert [(row["epoch"], row["dead"], row["units"]) for row in dead] == [
        (0, 3, 14),
        (1, 4, 21),
        (2, 4, 21),
    ]
    assert dead[1]["share"] == 4 / 21
    by_seed = statistics.share_interval([3 / 7, 0.0, 1 / 7], 0.95)  # the seed is the unit
    assert (dead[1]["low"], dead[1]["high"]) == (by_seed.low, by_seed.high)
    assert set(layer_summaries.dead_units(study, 0.95)["network"]) == {"mlp"}


def test_shares_of_one_sign_weigh_layers_by_units_and_leave_the_first_out(tmp_path):
    def change(parts):
        if "gradients" in parts:
            table = parts["gradients"]
            one = table["statistic"] == "one_sign_batch_fraction"
            for layer, value in (("hidden_1", 0.9), ("hidden_2", 0.5), ("output", 0.2)):
                table.loc[one & (table["layer"] == layer), "value"] = value
            dead = one & (table["layer"] == "output") & (table["epoch"] == 2)
            table.loc[dead, "value"] = math.nan

    study = plant(
        tmp_path, ["relu"], {"mlp": (8, 4), "none": ()}, seeds=[0, 1], epochs=2, changed=change
    )
    shares = layer_summaries.one_sign_shares(study, 0.95)
    rows = csvs.where(shares, statistic="one_sign_batch_fraction")
    expected = (4 * 0.5 + 10 * 0.2) / 14
    assert rows["mean"].tolist() == pytest.approx([expected, expected, 0.5])
    assert set(shares["network"]) == {"mlp"}


def test_theory_agrees_where_the_interval_lies_in_the_band(tmp_path):
    def change(ratios):
        ratios.loc[ratios["layer"] == "hidden_2", "ratio"] *= 1.2
        ratios.loc[ratios["layer"] == "hidden_3", "ratio"] *= 1.08

    study = plant(tmp_path, ["relu"], NETWORKS, epochs=1, theory_changed=change)
    table = layer_summaries.theory_ratios(study, 0.95)
    assert len(table) == 2 * 2 * 4
    assert set(csvs.where(table, layer="hidden_2")["agrees"]) == {"no"}
    assert set(csvs.where(table, layer="hidden_3")["agrees"]) == {"undecided"}
    rest = csvs.where(table, layer=["hidden_4", "all"])
    assert set(rest["agrees"]) == {"yes"}
    assert rest["geometric_mean"].to_numpy() / rest["predicted"].to_numpy() == pytest.approx(
        math.sqrt(1.015 * 1.025)
    )
    assert (rest["low"].to_numpy() < rest["geometric_mean"].to_numpy()).all()


def test_the_times_of_a_layer_are_paired_by_block(tmp_path):
    """A machine that gets slower by half in every block leaves the ratios as they are."""
    study = plant(tmp_path, ["tanh", "relu", "gelu"], NETWORKS, epochs=1)
    times = layer_summaries.kernel_times(study, 0.95)
    assert times["operation"].tolist() == [
        name for name in ("forward", "backward", "elementwise") for _ in range(3)
    ]
    assert times["geometric_mean"].tolist() == pytest.approx([1, 1.1, 1.21] * 3)
    assert times["repetitions"].tolist() == [50] * 6 + [2000] * 3
    assert set(times["blocks"]) == {4}
    others: Any = times[times["activation"] != "tanh"]
    assert others["low"].isna().all()  # four equal ratios show nothing
    first = csvs.where(times, operation="backward", activation="tanh")
    of = csvs.where(study.kernels, operation="backward", activation="tanh")["seconds"]
    assert first["seconds"].item() == pytest.approx(stats.gmean(of))
    of_first = csvs.where(times, activation="tanh")
    assert np.isnan(of_first[["low", "high"]].to_numpy()).all()


def test_kernels_that_lack_a_block_are_refused(tmp_path):
    def change(parts):
        parts["kernels"] = parts["kernels"].iloc[:-1]

    with pytest.raises(UserError, match=r"kernels.csv lacks blocks of an activation: run"):
        plant(tmp_path, ["tanh", "relu"], NETWORKS, epochs=1, timing_changed=change)
