"""Trainings that become NaN: refused beforehand where the function is the cause, else reported."""

import sys
from pathlib import Path

import pytest

from actlab.activations.config import ActivationConfig
from actlab.activations.functions import check, check_stability
from actlab.engine.presets import list_presets, load_preset
from actlab.errors import UserError

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
    builtin = sorted({*list_presets("activation")} - {"custom", "snake"})
    accepted = [*map(custom, STABLE)]
    accepted += [ActivationConfig(**load_preset("activation", name)) for name in builtin]
    lines = [refusal(activation) for activation in accepted]
    tally("divergence, functions that are stable", len(lines), list(filter(None, lines)))
