"""Trainings that become NaN: refused beforehand where the function is the cause, else reported."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted import configured

import actlab
from actlab.activations.config import ActivationConfig
from actlab.activations.definitions import ACTIVATIONS
from actlab.activations.functions import check, check_stability
from actlab.data.splits import Split
from actlab.engine.presets import list_presets, load_preset
from actlab.errors import UserError
from actlab.models.config import NetworkConfig
from actlab.results.layout import Run
from actlab.stages.train import describe_result

# --- Functions that overflow ------------------------------------------------------------------

#: Each is finite with a finite slope from -10 to 10; what is refused, and where.
UNSTABLE = {
    "ops.where(x > 0, x, ops.exp(x) - 1)": "slope in single precision is NaN at 88.92, not 1,",
    "ops.where(x < 0, ops.expm1(x), x)": "slope in single precision is NaN at 88.92, not 1,",
    "ops.log(1 + ops.exp(x))": "value in single precision is infinite at 88.92, not 88.92,",
    "ops.where(x > 20, x, ops.log1p(ops.exp(x)))": "slope in single precision is NaN at 88.92",
    "1 / (1 + ops.exp(-x))": "slope in single precision is NaN at -88.92, not 2.413e-39,",
    "x / (1 + ops.exp(-x))": "slope in single precision is NaN at -88.92",
    "ops.exp(x) / (1 + ops.exp(x))": "value in single precision is NaN at 88.92, not 1,",
    "x * ops.tanh(ops.log1p(ops.exp(x)))": "slope in single precision is NaN at 88.92, not 1,",
    "ops.log(ops.cosh(x))": "value in single precision is infinite at 89.54, not 88.84,",
    "1000 * ops.log(1 + ops.exp(x / 1000))": "value in single precision is infinite at 8.892e+04",
    "ops.where(x > 0, ops.sqrt(x), 0 * x)": "slope in single precision is NaN at 0, and",
    "x * ops.sqrt(ops.abs(x))": "slope in single precision is NaN at 0, and",
}

#: Finite wherever single precision can be, or beyond it because the function is.
STABLE = (
    "ops.where(x > 0, x, ops.exp(ops.minimum(x, 0)) - 1)",
    "ops.maximum(x, 0) + ops.log1p(ops.exp(-ops.abs(x)))",
    "ops.logaddexp(x, 0.0)",
    "ops.exp(-(x**2))",
    "0.5 * x * (1 + ops.tanh(0.7978845608 * (x + 0.044715 * x**3)))",
    "x / ops.sqrt(1 + x**2)",
    "ops.exp(x)",
    "ops.sinh(x)",
    "x**3",
    "x**9",
    "ops.exp(x) - ops.exp(x / 2)",
    "ops.exp(x) * ops.sin(x)",
)


@pytest.fixture
def custom(tmp_path, monkeypatch):
    """Return what makes an activation of a formula, in a module of the folder custom/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(formula):
        name = f"formula_{abs(hash((tmp_path, formula))):x}"
        Path("custom").mkdir(exist_ok=True)
        Path("custom", f"{name}.py").write_text(
            f"from keras import ops\n\ndef f(x):\n    return {formula}\n"
        )
        return ActivationConfig("mine", f"{name}.f", {})

    return write


def refusal(activation, verify=check_stability):
    """Return the line that refuses an activation; empty if it is accepted."""
    try:
        verify(activation)
    except UserError as error:
        return str(error)
    return ""


def test_a_function_that_overflows_where_it_need_not_is_refused(custom, tally):
    lines = {formula: refusal(custom(formula)) for formula in UNSTABLE}
    failures = [
        f"{formula}: {line}"
        for formula, line in lines.items()
        if f"its {UNSTABLE[formula]}" not in line or "exp(minimum(x, 0))" not in line
    ]
    assert not any("\n" in line for line in lines.values())
    tally("divergence, functions that overflow", len(lines), failures)


def test_a_training_is_refused_by_the_check_of_its_function(custom):
    assert "its slope in single precision is NaN" in refusal(custom(next(iter(UNSTABLE))), check)


def test_a_function_that_is_stable_or_truly_infinite_is_accepted(custom, tally):
    presets = [load_preset("activation", name) for name in list_presets("activation")]
    builtin = [values for values in presets if values["function"] in ACTIVATIONS]
    accepted = [*map(custom, STABLE), *(ActivationConfig(**values) for values in builtin)]
    lines = [refusal(activation) for activation in accepted]
    tally("divergence, functions that are stable", len(lines), list(filter(None, lines)))


# --- Trainings that diverge -------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    """Twenty images to train on and ten to test on, at random."""
    rng = np.random.default_rng(0)
    train, test = (
        Split(rng.random((count, 16), np.float32), rng.integers(0, 4, count).astype(np.int32))
        for count in (20, 10)
    )
    return actlab.Data("noise", tuple("abcd"), train, None, test)


@pytest.fixture(scope="module")
def diverged(data):
    """A fit of two activations whose every loss is NaN, and the warnings that it gave."""
    with pytest.warns(RuntimeWarning) as given:
        fitted = actlab.fit(["relu", "elu"], data, [4], seeds=[0, 1], epochs=2, learning_rate=1e30)
    lines = [str(warning.message) for warning in given]
    return fitted, [line for line in lines if "diverged" in line]  # Keras has warnings of its own


def test_a_fit_warns_of_its_diverged_seeds_and_counts_them(diverged):
    fitted, lines = diverged
    assert lines == [
        f"{name}: 2 of 2 seeds diverged (the loss is not finite): seeds 0 and 1 in epoch 1;"
        " a lower learning rate or the recommended initializer may prevent it"
        for name in ("relu", "elu")
    ]
    assert fitted.summarise()["diverged_seeds"].tolist() == [2, 2]


METRICS = ("test_accuracy", "test_loss", "epochs_to_target")


def test_a_pair_of_diverged_fits_is_undecided(diverged):
    for metric in METRICS:
        (row,) = actlab.compare(diverged[0], metric).to_dict("records")
        assert (row["verdict"], row["diverged_seeds"]) == ("undecided", 2)
        assert np.isnan(row["mean"])


def test_one_seed_that_diverged_leaves_the_pair_undecided(tally):
    losses, values = ("loss", "val_loss", "test_loss"), (np.nan, np.inf)
    lost_seeds = ({("relu", 1)}, {("relu", 0), ("tanh", 1)}, {("tanh", 3)})
    tried, failures = list(product(lost_seeds, losses, values, METRICS)), []
    for lost, column, value, metric in tried:
        # Seeds differ a little: equal differences would be undecided of themselves.
        accuracies = {"relu": [0.901, 0.904, 0.902, 0.908], "tanh": [0.101, 0.102, 0.103, 0.101]}
        fitted = planted_fit(accuracies, lost, column, value)
        (row,) = actlab.compare(fitted, metric, target=0.5).to_dict("records")
        if (row["verdict"], row["diverged_seeds"]) != ("undecided", len(lost)):
            failures.append(f"{lost}, {column} {value}: {metric} is {row['verdict']}")
    tally("divergence, comparisons with a loss that is not finite", len(tried), failures)


def test_equal_scores_of_a_few_seeds_show_no_equivalence():
    for seeds, verdict in ((2, "undecided"), (5, "undecided"), (6, "equivalent")):
        fitted = planted_fit({"relu": [0.1] * seeds, "tanh": [0.1] * seeds})
        assert actlab.compare(fitted)["verdict"].item() == verdict
    assert actlab.compare(planted_fit({"relu": [0.1] * 2, "tanh": [0.1] * 2}))[
        "seeds_needed"
    ].tolist() == [6]


@pytest.mark.parametrize(
    ("losses", "line"),
    [
        ([1.0, 1.0], "mean test accuracy 40.00%"),
        (
            [1.0, np.nan],
            "1 of 2 seeds diverged (the loss is not finite): seed 1 in epoch 1; mean test accuracy"
            " 30.00% of the others; a lower learning rate or the recommended initializer may"
            " prevent it",
        ),
        (
            [np.inf, np.nan],
            "2 of 2 seeds diverged (the loss is not finite): seeds 0 and 1 in epoch 1; a lower"
            " learning rate or the recommended initializer may prevent it",
        ),
    ],
)
def test_a_training_says_at_its_end_which_seeds_diverged_and_counts_them_out(losses, line):
    epochs = pd.DataFrame({"seed": [0, 1], "epoch": 1, "loss": losses, "val_loss": losses})
    test = pd.DataFrame({"seed": [0, 1], "test_loss": losses, "test_accuracy": [0.3, 0.5]})
    assert describe_result(Run(configured(Path()), "", "", epochs, test, epochs)) == line


def planted_fit(accuracies, lost=(), column="loss", value=np.nan):
    """A fit of one epoch with given accuracies; a loss of the lost seeds is not finite."""
    rows = [
        {"activation": name, "network": "4", "seed": seed, "epoch": 1, "loss": 1.0, "val_loss": 1.0}
        | {"test_loss": 1.0, "accuracy": accuracy, "val_accuracy": accuracy}
        | {"test_accuracy": accuracy}
        | ({column: value} if (name, seed) in lost else {})
        for name, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    table = pd.DataFrame(rows)
    return actlab.Fit(
        {name: ActivationConfig(name, "relu", {}) for name in accuracies},
        NetworkConfig("4", [4]),
        tuple(sorted(set(table["seed"]))),
        1,
        table.drop(columns=["test_loss", "test_accuracy"]),
        table.loc[:, ["activation", "network", "seed", "test_loss", "test_accuracy"]],
        {},
        {},
    )
