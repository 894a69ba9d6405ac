import math

import numpy as np
import pytest
from planted import activations_of, all_of, compared, plant, spoil, summarised
from scipy import stats

from actlab.engine import csvs
from actlab.evidence import layer_summaries, wording
from actlab.reporting import findings, layer_findings, theory_findings

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
        ((8, 8, 8, 16, 16), ("hidden_2", "hidden_3")),
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
    assert len(layer_findings.depth_findings(study, 0.95, epoch=0)) == (1 if ends else 0)


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


LEAD = (
    "on the way back from hidden_5 to hidden_2 of deep (kernels of 8 × 8), the norm of a kernel's"
)
DEAD_SEED = spoil("gradients", "value", 0.0, activation="sigmoid", seed=2, layer="hidden_2")


@pytest.mark.parametrize(
    ("epoch", "planted", "said"),
    [
        (
            0,
            {"changed": all_of(norms({"sigmoid": 4.0, "relu": 0.5}), norms({"tanh": 1.0}, 0.1))},
            f"Before training, {LEAD} gradient shrinks with sigmoid, × 0.250 a layer (0.250 to"
            " 0.250); grows with relu, × 2.00 a layer (2.00 to 2.00); no change is shown with tanh,"
            " × 1.00 a layer (0.86",
        ),
        (
            1,
            {"activations": ["relu"], "seeds": [4], "changed": norms({"relu": 8.0})},
            f"After 1 epoch, {LEAD} gradient changes with relu, × 0.125 a layer; with one seed no"
            " uncertainty can be given.",
        ),
        (
            0,
            {"activations": ["sigmoid"], "changed": DEAD_SEED},
            f"Before training, {LEAD} gradient: no number with sigmoid (a norm is zero or not"
            " finite).",
        ),
    ],
)
def test_a_change_with_depth_is_claimed_where_its_interval_excludes_1(
    tmp_path, epoch, planted, said
):
    study = plant(tmp_path, networks=DEEP, epochs=1, **planted)
    (line,) = layer_findings.depth_findings(study, 0.95, epoch)
    assert line.startswith(said)


# --- The first layer ---------------------------------------------------------------------------


def planted_first_layers(folder, values):
    """A study with these gradients of the first layer, seed by seed, and its sentences."""
    changes = [
        spoil("gradients", "value", value, activation=name, seed=seed, layer="hidden_1")
        for name, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    ]
    seeds = range(len(next(iter(values.values()))))
    study = plant(folder, list(values), MLP, seeds=seeds, epochs=1, changed=all_of(*changes))
    return study, layer_findings.first_layer_findings(study, activations_of(study), 0.95, 0)


SAME = np.ones(6)
SWING = np.array([3.0, 1 / 3] * 3)
ON_MLP = "Before training the first layer's gradient on mlp is"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"relu": [4.0, 16.0, 8.0], "tanh": [1.0, 4.0, 2.0]},
            [
                f"{ON_MLP} largest with relu, 8.0, and smallest with tanh, 2.0 (geometric means"
                " over seeds): that of tanh is 0.25 times that of relu (0.25 to 0.25)."
            ],
        ),
        # By arithmetic means tanh would be the largest, 67.5; the seeds disagree.
        (
            {"relu": [8.0, 2.0, 8.0, 2.0, 4.0, 4.0], "tanh": [1.0, 1, 1, 1, 1, 400]},
            [
                "Before training no order of the first layer's gradients on mlp is shown: relu has"
                " 4.0 and tanh 2.7, geometric means over seeds (1.5 times, "
            ],
        ),
        # An end is named only where it is told from every other.
        (
            {"relu": 100 * SAME, "tanh": 2 * SWING, "elu": 1 / SWING},
            [
                f"{ON_MLP} largest with relu, 100 (geometric mean over seeds); no smallest is"
                " shown: elu has 1.0, with no difference shown to tanh ("
            ],
        ),
        (
            {"relu": 100 * SWING, "tanh": 90 / SWING, "elu": SAME},
            [
                f"{ON_MLP} smallest with elu, 1.0 (geometric mean over seeds); no largest is"
                " shown: relu has 100, with no difference shown to tanh ("
            ],
        ),
        # relu and elu are told apart, but each overlaps with tanh between them.
        (
            {"relu": 1.5 * SAME, "tanh": SWING, "elu": SAME / 1.5},
            ["Before training no largest and no smallest of the first layer's gradients on mlp is"],
        ),
        # Sigmoid and ReLU are compared wherever they lie.
        (
            {"tanh": 8 * SAME, "sigmoid": 2 * SAME, "relu": 4 * SAME, "elu": SAME},
            [
                f"{ON_MLP} largest with tanh, 8.0, and smallest with elu, 1.0 (",
                "Before training, on mlp, that of sigmoid is 0.50 times that of relu (0.50 to"
                " 0.50).",
            ],
        ),
        (
            {
                "relu": [0.0, 0.0, 4.0],
                "tanh": [1, math.nan, 1],
                "elu": [8.0] * 3,
                "selu": [1.0] * 3,
            },
            [
                "Before training the gradient of relu in the first layer of mlp is exactly zero"
                " with 2 of 3 seeds: it has no geometric mean and no place in the order.",
                "Before training the gradient of tanh in the first layer of mlp is no number.",
                f"{ON_MLP} largest with elu, 8.0, and smallest with selu, 1.0 (",
            ],
        ),
        (
            {"relu": [0.0, 0.0]},
            [
                "Before training the gradient of relu in the first layer of mlp is exactly zero"
                " with 2 of 2 seeds: it has no geometric mean and no place in the order."
            ],
        ),
        (
            {"relu": [4.0], "tanh": [1.0], "elu": [2.0]},
            [
                f"{ON_MLP} 4.0 with relu, 1.0 with tanh and 2.0 with elu; with one seed no order is"
                " shown."
            ],
        ),
        ({"relu": [4.0, 1.0]}, [f"{ON_MLP} 2.0 with relu (geometric mean over seeds)."]),
    ],
    ids=[
        "an order",
        "none",
        "no smallest",
        "no largest",
        "neither",
        "sigmoid and relu",
        "not finite",
        "nothing but zeros",
        "one seed",
        "one activation",
    ],
)
def test_first_layers_are_ordered_by_geometric_means_as_far_as_seeds_show_it(
    tmp_path, values, said
):
    _, lines = planted_first_layers(tmp_path, values)
    assert len(lines) == len(said)
    for line, start in zip(lines, said, strict=True):
        assert line.startswith(start)


def test_ratios_are_paired_and_widened_for_their_number(tmp_path):
    # Alone the interval excludes 1, as one of three it does not.
    ratio = np.exp(np.array([0.2, 0.3, 0.5, 0.6]))
    alone = stats.ttest_1samp(np.log(ratio), 0)
    widened = alone.confidence_interval(1 - 0.05 / 3)
    assert alone.confidence_interval(0.95).low > 0 > widened.low
    scale = np.array([1.0, 100.0, 0.01, 1e4])  # which pairing by seed takes away
    values = {"relu": ratio * scale, "tanh": scale, "elu": scale / 1000}
    study, (said,) = planted_first_layers(tmp_path, values)
    ratios = layer_summaries.first_layer_ratios(study, 0.95)
    row = csvs.where(ratios, epoch=0, first="relu", second="tanh")
    assert row["geometric_mean"].item() == pytest.approx(np.exp(0.4))
    assert row["low"].item() == pytest.approx(np.exp(widened.low))
    assert "is smallest with elu" in said
    assert "no largest is shown: relu has" in said


# --- Comparisons -------------------------------------------------------------------------------


CLOSE = {
    "sigmoid": [0.9700, 0.9712, 0.9706],
    "tanh": [0.9801, 0.9790, 0.9803],
    "relu": [0.9804, 0.9789, 0.9803],
}
TWO = {name: CLOSE[name] for name in ("sigmoid", "tanh")}


def points(first, second):
    """The paired difference with its interval, in points, as a sentence has it."""
    sample = 100 * np.subtract(first, second)
    low, high = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    texts = [wording.in_points(value / 100) for value in (sample.mean(), low, high)]
    return f"{texts[0]} points, {texts[1]} to {texts[2]}"


@pytest.mark.parametrize(
    ("metric", "accuracies", "changed", "said"),
    [
        (
            "test_accuracy",
            CLOSE,
            (),
            [
                "On mlp the highest mean test accuracy is 97.99 % (95 % interval ",
                # In the table sigmoid comes first and is worse.
                f"with relu; it is better than sigmoid ({points(CLOSE['relu'], CLOSE['sigmoid'])})",
                f"equivalent to tanh ({points(CLOSE['relu'], CLOSE['tanh'])})",
            ],
        ),
        # Differences of 0.1, 0.5 and 0.3 points: neither zero nor the margin is excluded.
        (
            "test_accuracy",
            {"tanh": [0.970, 0.980, 0.975], "relu": [0.971, 0.985, 0.978]},
            (),
            [
                "undecided against tanh (0.30 points, −0.20 to 0.80; about ",
                " seeds would settle it)",
            ],
        ),
        (
            "test_loss",
            TWO,
            (
                spoil("test", "test_loss", lambda rows: 0.3 + 0.003 * rows["seed"]),
                spoil(
                    "test",
                    "test_loss",
                    lambda rows: 0.1 + 0.001 * rows["seed"],
                    activation="tanh",
                ),
            ),
            [
                "On mlp the lowest mean test NLL is 0.1010 nats, with tanh; it is better than"
                " sigmoid (−0.2020 nats, −0.2070 to −0.1970)."
            ],
        ),
        (
            "epoch_seconds",
            TWO,
            (
                spoil("timings", "epoch_seconds", lambda rows: 0.2 + 0.001 * rows["epoch"]),
                spoil(
                    "timings",
                    "epoch_seconds",
                    lambda rows: 2 * rows["epoch_seconds"],
                    activation="sigmoid",
                ),
            ),
            [
                "On mlp the lowest mean time per epoch is 0.201 s (geometric, 2 blocks), with tanh;"
                " undecided against sigmoid (× 0.500, 0.500 to 0.500",
            ],
        ),
        # The planted curves never come to 97 % in two epochs.
        ("epochs_to_target", CLOSE, (), ["On mlp no seed reaches 97 % validation accuracy."]),
        (
            "epochs_to_target",
            CLOSE,
            (spoil("history", "val_accuracy", 0.98, activation="tanh", seed=1, epoch=2),),
            [
                "On mlp the lowest mean number of epochs to 97 % validation accuracy is 2.7, with"
                " tanh; undecided ",
                " Seeds that never get there count one epoch more than were trained: 3 of 3 with"
                " sigmoid, 2 of 3 with tanh and 3 of 3 with relu.",
            ],
        ),
    ],
    ids=["verdicts", "seeds needed", "a loss", "times", "never reached", "reached by one"],
)
def test_the_best_by_a_metric_is_told_with_its_verdicts(
    tmp_path, metric, accuracies, changed, said
):
    study = plant(
        tmp_path,
        list(accuracies),
        MLP,
        seeds=range(3),
        epochs=2,
        accuracies={(name, "mlp"): values for name, values in accuracies.items()},
        changed=all_of(*changed),
    )
    (line,) = findings.comparison_findings(study, *compared(study), metric, 0.95, 0.97)
    for part in said:
        assert part in line


# --- The conclusion ----------------------------------------------------------------------------

LOW, HIGH = [0.90, 0.91, 0.905], [0.95, 0.961, 0.9525]


def test_the_conclusion_counts_what_was_shown(tmp_path):
    study = plant(
        tmp_path,
        networks={"mlp": (4,), "deep": (4,) * 3},
        seeds=[0, 1, 2],
        epochs=1,
        accuracies={
            (name, network): LOW if (name, network) == ("sigmoid", "deep") else HIGH
            for name in ("sigmoid", "tanh", "relu")
            for network in ("mlp", "deep")
        },
    )
    mlp, deep = findings.conclusion_findings(study, summarised(study), compared(study)[1])
    assert mlp.startswith("Of the 3 pairs of activations on mlp: ")
    assert "3 by test accuracy" in mlp.split("; ")[1]
    assert mlp.endswith("Mean test accuracies lie within 0.00 points.")
    assert "2 by test accuracy" in deep.split("; ")[0]
    assert deep.endswith("Mean test accuracies lie within 4.95 points.")


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"seeds": [0]}, "With one seed no difference between activations is shown."),
        ({"activations": ["relu"]}, "With one activation there is nothing to compare it with."),
    ],
)
def test_nothing_is_concluded_where_nothing_is_compared(tmp_path, shape, said):
    study = plant(tmp_path, networks=MLP, epochs=1, **shape)
    both = summarised(study), compared(study)[1]
    assert findings.conclusion_findings(study, *both) == [said]


SHRINKS = "On deep the kernels' gradient shrinks layer by layer before training with"


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (
            4.0,
            "sigmoid and relu, most with sigmoid; the test accuracy of sigmoid is shown to be below"
            " that of relu. That both come together does not show that one causes the other.",
        ),
        (2.0, "sigmoid and relu."),
        (
            0.5,
            "relu, and is not shown to with another, but the test accuracy of relu is not shown to"
            " be below that of sigmoid.",
        ),
    ],
)
def test_the_gradient_that_shrinks_most_is_set_beside_the_accuracy(tmp_path, factor, said):
    study = plant(
        tmp_path,
        ["sigmoid", "relu"],
        DEEP,
        seeds=[0, 1, 2],
        epochs=1,
        accuracies={("sigmoid", "deep"): LOW, ("relu", "deep"): HIGH},
        changed=norms({"sigmoid": factor, "relu": 2.0}, wobble=0.01),
    )
    (line,) = layer_findings.depth_and_accuracy_findings(study, compared(study)[1], 0.95)
    assert line == f"{SHRINKS} {said}"


# --- Health, theory, times ---------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        (
            all_of(
                spoil("gradients", "value", math.nan), spoil("updates", "update_ratio", math.nan)
            ),
            0,
            "On mlp no pre-activation is a number.",
        ),
        # Units come back to life.
        (
            spoil("gradients", "value", 0.0, statistic="dead_fraction", epoch=2),
            1,
            "Units of mlp that are dead, all seeds together: with relu none after 2 epochs; the"
            " highest share at any probe is 25.00 %, in hidden_1 after 1 epoch.",
        ),
    ],
)
def test_health_at_its_edges(tmp_path, change, place, said):
    study = plant(tmp_path, ["relu"], MLP, seeds=[0, 1], epochs=2, changed=change)
    assert layer_findings.health_findings(study, 0.95)[place] == said


def test_theory_is_said_to_fail_where_it_does(tmp_path):
    def change(ratios):
        chosen = {"activation": "relu", "initializer": "recommended", "layer": "hidden_3"}
        off = csvs.where(ratios, direction="backward", **chosen).index
        ratios.loc[off, "ratio"] = 1.2
        ratios.loc[ratios["activation"] == "gelu", ["predicted", "band_low", "band_high"]] = (
            math.nan
        )
        ratios.loc[ratios["activation"] == "tanh", "kernel_initializer"] = "glorot_uniform"

    study = plant(tmp_path, ["tanh", "relu", "gelu"], DEEP, epochs=1, theory_changed=change)
    layers, whole, untold, relu, gelu, tanh = theory_findings.theory_findings(study, 0.95)
    # Two directions and three pairs of layers, of relu with two initializers and tanh with one;
    # what theory cannot predict is not counted.
    assert layers.endswith(
        "for 17 of 18 ratios of two neighbouring layers; outside it lie 1 of relu with he_uniform."
    )
    assert whole.endswith("for 6 of 6 geometric means over all layers.")
    assert untold.startswith("For some layers of gelu theory has no prediction: ")
    assert relu == (
        "With relu, the variance of the gradient changes on its way back by × 0.510 (predicted"
        " 0.500) a layer with glorot_uniform, and by × 1.02 (predicted 1.00) with he_uniform, its"
        " recommended initializer: over 3 steps by 0.13 and 1.1."
    )
    assert gelu.startswith("With gelu, the variance")
    assert (
        tanh
        == "For tanh the recommended initializer is glorot_uniform itself, and changes nothing."
    )


def test_the_times_of_a_layer_are_those_of_the_table(tmp_path):
    # The planted activations take a tenth more each than the one before.
    study = plant(tmp_path, ["tanh", "relu", "gelu"], MLP, epochs=1)
    layer = "Of one layer of 64 units and a batch of 32 images, the"
    others = "; with relu × 1.10 of that (1.10 to 1.10); with gelu × 1.21 of that (1.21 to 1.21)."
    assert theory_findings.kernel_findings(study, 64, 32, 0.95) == [
        f"{layer} pass forward takes 184 µs with tanh{others}",
        f"{layer} pass back takes 368 µs with tanh{others}",
        f"{layer} activation without the layer takes 18.4 µs with tanh{others}",
    ]


# --- The answer in brief -----------------------------------------------------------------------


def answer(folder, accuracies, networks, seeds):
    names = list(dict.fromkeys(name for name, _ in accuracies))
    study = plant(folder, names, networks, seeds=seeds, epochs=1, accuracies=accuracies)
    return findings.answer_findings(study, summarised(study), compared(study)[1])


def test_the_answer_in_brief_is_a_sentence_for_the_first_network_and_the_last(tmp_path):
    good, bad = [0.970, 0.971, 0.972], [0.930, 0.932, 0.931]
    networks = dict.fromkeys(("mlp", "wide", "deep"), (4,))
    accuracies = {("sigmoid", network): bad for network in networks}
    accuracies["sigmoid", "mlp"] = [0.969, 0.972, 0.971]
    accuracies |= {("relu", network): good for network in networks}
    mlp, deep = answer(tmp_path, accuracies, networks, range(3))
    low, high = stats.ttest_1samp(good, 0).confidence_interval(0.95)
    lead = f"relu has the highest mean test accuracy, 97.10 % ({100 * low:.2f} to {100 * high:.2f})"
    assert mlp == f"On mlp {lead}: undecided against sigmoid."
    assert deep == f"On deep {lead}: it is better than sigmoid ({points(good, bad)})."


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        (
            {("sigmoid", "mlp"): [0.96], ("relu", "mlp"): [0.97]},
            "On mlp relu has the highest mean test accuracy, 97.00 % (one seed); one seed shows no"
            " order.",
        ),
        ({("relu", "mlp"): [0.97]}, "On mlp relu reaches a test accuracy of 97.00 % (one seed)."),
    ],
)
def test_the_answer_in_brief_claims_no_order_of_one(tmp_path, accuracies, said):
    assert answer(tmp_path, accuracies, MLP, seeds=[0]) == [said]
