import math

import numpy as np
import pytest
from planted import all_of, compared, plant, spoil, summarised
from scipy import stats

from actlab.engine import csvs
from actlab.evidence import layer_summaries, wording
from actlab.reporting import findings, layer_findings

DEEP = {"deep": (8,) * 5}
MLP = {"mlp": (4,)}


# --- Depth -------------------------------------------------------------------------------------


def norms(factors, wobble=0.0):
    """A change that plants norms: each layer's is the one behind it times the factor.

    The factor of the seeds 0, 2, 4 is larger by the wobble, that of 1, 3, 5 smaller.
    """

    def fall(rows):
        place = rows["layer"].str.removeprefix("hidden_").replace("output", "6").astype(int)
        wobbled = np.where(rows["seed"] % 2 == 0, 1 + wobble, 1 / (1 + wobble))
        return 0.5 * (rows["activation"].map(factors) * wobbled) ** place

    return spoil("gradients", "value", fall, activation=list(factors))


@pytest.mark.parametrize(
    ("hidden", "ends"),
    [
        ((16, 16, 8, 8, 8), ("hidden_4", "hidden_5")),
        ((784, 784), ("hidden_1", "hidden_2")),
        ((128, 64), None),
        ((), None),
        # Of one shape, but not one behind the other: what lies between would count.
        ((8, 8, 16, 8, 8), None),
        # The output has the shape of the last hidden layer, and is not one.
        ((8, 10, 10), None),
    ],
)
def test_layers_of_one_shape_behind_each_other_are_compared(tmp_path, hidden, ends):
    study = plant(tmp_path, ["relu"], {"net": hidden}, seeds=[0, 1], epochs=1)
    factors = layer_summaries.layer_factors(study, 0.95)
    found = {(row["first_layer"], row["last_layer"]) for row in factors.to_dict("records")}
    assert found == ({ends} if ends else set())
    assert len(layer_findings.depth_findings(study, 0.95)) == (1 if ends else 0)


def test_the_factor_per_layer_is_scipys_over_seeds(tmp_path):
    study = plant(tmp_path, networks=DEEP, epochs=1)
    row = csvs.where(layer_summaries.layer_factors(study, 0.9), epoch=0, activation="tanh")
    by_layer = layer_summaries.gradients_by_layer(study, 0.9)
    first, last = (
        csvs.where(by_layer, activation="tanh", epoch=0, layer=layer).filter(like="seed_")
        for layer in ("hidden_2", "hidden_5")
    )
    logarithms = np.log(first.to_numpy()[0] / last.to_numpy()[0]) / 3
    # Three activations make a family.
    interval = stats.ttest_1samp(logarithms, 0).confidence_interval(1 - 0.1 / 3)
    found = row[["geometric_mean", "low", "high"]].to_numpy()[0]
    assert found == pytest.approx(np.exp([logarithms.mean(), interval.low, interval.high]))


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        (
            {"activations": ["sigmoid", "relu"], "changed": norms({"sigmoid": 4.0, "relu": 0.5})},
            "0.250 with sigmoid and 2.00 with relu.",
        ),
        (
            {"activations": ["relu"], "seeds": [4], "changed": norms({"relu": 8.0})},
            "0.125 with relu.",
        ),
        (
            {
                "activations": ["sigmoid"],
                "changed": spoil("gradients", "value", 0.0, seed=2, layer="hidden_2"),
            },
            "n/a with sigmoid.",
        ),
    ],
    ids=["intervals", "one seed", "a zero"],
)
def test_the_factor_per_layer_is_written_with_its_interval(tmp_path, planted, found):
    study = plant(tmp_path, networks=DEEP, epochs=1, **planted)
    (line,) = layer_findings.depth_findings(study, 0.95)
    assert line == (
        "Before training, from hidden_5 back to hidden_2 of deep, each layer multiplies the norm of"
        f" the kernel's gradient by {found}"
    )


# --- The first layer ---------------------------------------------------------------------------


def planted_first_layers(folder, values):
    """A study with these gradients of the first layer, seed by seed, and its first sentence."""
    changes = [
        spoil("gradients", "value", value, activation=name, seed=seed, layer="hidden_1")
        for name, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    ]
    seeds = range(len(next(iter(values.values()))))
    study = plant(folder, list(values), MLP, seeds=seeds, epochs=1, changed=all_of(*changes))
    return study, layer_findings.first_layer_findings(study, 0.95)[:1]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (
            {"relu": [4.0, 16.0, 8.0], "tanh": [1.0, 4.0, 2.0]},
            "8.0 with relu to 2.0 with tanh (no interval).",
        ),
        (
            {"tanh": [1.0, 4.0, 2.0], "relu": [4.0, 16.0, 8.0]},
            "8.0 with relu to 2.0 with tanh (no interval).",
        ),
        # By arithmetic means tanh would be the largest, 67.5; the seeds disagree.
        (
            {"relu": [8.0, 2.0, 8.0, 2.0, 4.0, 4.0], "tanh": [1.0, 1, 1, 1, 1, 400]},
            "4.0 with relu to 2.7 with tanh (ratio 0.10 to 21, no difference shown).",
        ),
        (
            {
                "relu": [0.0, 0.0, 4.0],
                "tanh": [1, math.nan, 1],
                "elu": [8.0] * 3,
                "selu": [1.0] * 3,
            },
            "8.0 with elu to 1.0 with selu (no interval).",
        ),
        (
            {"relu": [4.0], "tanh": [1.0], "elu": [2.0]},
            "4.0 with relu to 1.0 with tanh (no interval).",
        ),
    ],
    ids=["an order", "the other way", "none", "zero and NaN", "one seed"],
)
def test_the_ends_of_the_first_layers_gradients_are_written_with_their_ratio(
    tmp_path, values, found
):
    lead = "Before training the first layer's gradient on mlp ranges from"
    assert planted_first_layers(tmp_path, values)[1] == [f"{lead} {found}"]


def test_ratios_are_paired_and_widened_for_their_number(tmp_path):
    # Alone the interval excludes 1, as one of three it does not.
    ratio = np.exp(np.array([0.2, 0.3, 0.5, 0.6]))
    alone = stats.ttest_1samp(np.log(ratio), 0)
    widened = alone.confidence_interval(1 - 0.05 / 3)
    assert alone.confidence_interval(0.95).low > 0 > widened.low
    scale = np.array([1.0, 100.0, 0.01, 1e4])  # which pairing by seed takes away
    values = {"relu": ratio * scale, "tanh": scale, "elu": scale / 1000}
    study, _ = planted_first_layers(tmp_path, values)
    ratios = layer_summaries.first_layer_ratios(study, 0.95)
    row = csvs.where(ratios, epoch=0, first="relu", second="tanh")
    assert row["geometric_mean"].item() == pytest.approx(np.exp(0.4))
    assert row["low"].item() == pytest.approx(np.exp(widened.low))


# --- Comparisons -------------------------------------------------------------------------------


def points(first, second, pairs=1):
    """The paired difference with its interval for so many pairs, in points, as in a sentence."""
    sample = 100 * np.subtract(first, second)
    low, high = stats.ttest_1samp(sample, 0).confidence_interval(1 - 0.05 / pairs)
    texts = [wording.in_points(value / 100) for value in (sample.mean(), low, high)]
    return f"{texts[0]} points, {texts[1]} to {texts[2]}"


LOW, HIGH, NEAR = [0.930, 0.932, 0.931], [0.970, 0.971, 0.972], [0.969, 0.972, 0.971]
#: As HIGH but for a few thousandths of a point.
ALIKE = {
    "sigmoid": HIGH,
    "tanh": [0.96999, 0.97097, 0.97198],
    "relu": [0.97001, 0.97100, 0.97202],
}
AROUND = "96.84 to 97.34"  # the interval of its log-odds
BEST = "relu has the highest mean test accuracy, 97.10 %"


@pytest.mark.parametrize(
    ("accuracies", "found"),
    [
        ({"sigmoid": NEAR, "relu": HIGH}, f"{BEST} ({AROUND}): undecided against sigmoid."),
        # In the table sigmoid comes first and is worse.
        (
            {"sigmoid": LOW, "relu": HIGH},
            f"{BEST} ({AROUND}): better than sigmoid ({points(HIGH, LOW)}).",
        ),
        (
            {"sigmoid": LOW, "tanh": ALIKE["tanh"], "relu": HIGH},
            f"{BEST} ({AROUND}): better than sigmoid ({points(HIGH, LOW, 3)}); equivalent to tanh.",
        ),
        ({"sigmoid": [0.96], "relu": [0.971]}, f"{BEST} (one seed, no interval)."),
        ({"relu": [0.971]}, "relu reaches a test accuracy of 97.10 % (one seed, no interval)."),
    ],
    ids=["undecided", "better", "equivalent", "one seed", "one activation"],
)
def test_the_highest_accuracy_is_written_with_its_verdicts(tmp_path, accuracies, found):
    study = plant(
        tmp_path,
        list(accuracies),
        MLP,
        seeds=range(len(accuracies["relu"])),
        epochs=2,
        accuracies={(name, "mlp"): values for name, values in accuracies.items()},
    )
    lines = findings.test_findings(study, summarised(study), compared(study)[1])
    assert lines == [f"On mlp {found}"]


def test_decided_pairs_are_counted_by_metric(tmp_path):
    networks = {"mlp": (4,), "deep": (4,) * 3}
    names = ("sigmoid", "tanh", "relu")
    accuracies = {(name, network): ALIKE[name] for name in names for network in networks}
    accuracies["sigmoid", "deep"] = LOW
    study = plant(tmp_path, names, networks, [0, 1, 2], epochs=1, accuracies=accuracies)
    mlp, deep = findings.count_findings(study, compared(study)[1])
    assert mlp.startswith("On mlp: ")
    assert "3 by test accuracy" in mlp.split("; ")[1]
    assert "2 by test accuracy" in deep.split("; ")[0]
    assert deep.endswith(" shown to be equivalent (of 3 pairs).")


# --- Health and theory -------------------------------------------------------------------------


def test_the_layer_with_the_most_dead_units_is_named(tmp_path):
    study = plant(tmp_path, networks={"mlp": (8, 4), "none": ()}, seeds=[0, 1, 2], epochs=2)
    assert layer_findings.dead_findings(study, 0.95) == [
        "After 2 epochs the most dead units of a layer of mlp: 3 of 12 in hidden_2 with relu"
        " (25.00 %)."
    ]


def test_ratios_that_theory_does_not_predict_are_named(tmp_path):
    def change(ratios):
        chosen = {"activation": "relu", "initializer": "recommended", "layer": "hidden_3"}
        off = csvs.where(ratios, direction="backward", **chosen).index
        ratios.loc[off, "ratio"] = [1.2, 1.21]
        ratios.loc[ratios["activation"] == "gelu", ["predicted", "band_low", "band_high"]] = (
            math.nan
        )
        ratios.loc[ratios["activation"] == "tanh", "kernel_initializer"] = "glorot_uniform"

    study = plant(tmp_path, ["tanh", "relu", "gelu"], DEEP, epochs=1, theory_changed=change)
    # Two directions and three pairs of layers, of relu with two initializers and tanh with one.
    assert layer_findings.theory_findings(study, 0.95) == [
        "The interval of the measured ratio lies in the predicted band for 17 of 18 ratios; outside"
        " are 1 of relu"
        " with he_uniform; for some layers of gelu theory predicts nothing (a moment overflows, or"
        " the weights have another mean than 0)."
    ]
