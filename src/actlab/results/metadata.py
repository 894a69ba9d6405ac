"""What is said of each activation, as files: so that a report needs no function to write of one.

The stage `activations` writes a folder for each configured activation; `key.json` there changes
when its function, its constants or a user's own sources do, and nothing else does: a training
depends on it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actlab.activations.config import ActivationConfig
from actlab.activations.definitions import Activation, Range
from actlab.activations.mean_field import Nonlinearity
from actlab.engine import csvs
from actlab.errors import UserError
from actlab.results import tables

#: Where curves are written: evenly within 30 of zero, then by equal factors.
GRID = np.concatenate(
    [
        -np.geomspace(1e6, 30, 91)[:-1],
        np.linspace(-30, 30, 2401),
        np.geomspace(30, 1e6, 91)[1:],
    ]
)


@dataclass
class Description(ActivationConfig):
    """An activation, and all that is said of it.

    Attributes
    ----------
    title
        Its function's name as it is written in a sentence.
    formula, derivative_formula
        In mathtext without the dollars.
    shown_constants
        Those that tell it from the plain function of its name.
    range
        The bounds of its values.
    steepest_slope
        The largest |phi'| between -10 and 10.
    value_gain, slope_gain
        E[phi(u)^2] and E[phi'(u)^2] for u standard normal (`theory.gains`).
    kernel_initializer
        Of the study's networks with it.
    chi_1
        With that initializer, in layers of one width (`mean_field.chi_at_fixed_point`).
    recommended_initializer, source
        As in `definitions.Activation`.
    curve
        x, value, derivative: one row per point of `GRID`.
    """

    title: str
    formula: str
    derivative_formula: str
    shown_constants: dict[str, Any]
    range: Range
    steepest_slope: float
    value_gain: float
    slope_gain: float
    kernel_initializer: str
    chi_1: float
    recommended_initializer: str
    source: str
    curve: pd.DataFrame

    def value_at(self, x: np.ndarray) -> np.ndarray:
        """Give phi at x, between the points of the curve by straight lines."""
        return np.interp(x, self.curve["x"], self.curve["value"])


def describe(
    activation: ActivationConfig,
    row: Activation,
    phi: Nonlinearity,
    gains: tuple[float, float],
    kernel_initializer: str,
    chi_1: float,
) -> Description:
    """Say of an activation what its row tells, beside what theory does.

    Parameters
    ----------
    activation
        Of which constants are taken.
    row, phi
        Its function's (`functions.get_activation`, `functions.nonlinearity_of`).
    gains, kernel_initializer, chi_1
        As in `Description`.
    """
    constants = activation.constants
    formula, derivative_formula = row.write_formulas(**constants)
    return Description(
        **asdict(activation),
        title=row.title,
        formula=formula,
        derivative_formula=derivative_formula,
        shown_constants=row.shown_constants(constants),
        range=row.range(**constants),
        steepest_slope=phi.steepest_slope(10),
        value_gain=gains[0],
        slope_gain=gains[1],
        kernel_initializer=kernel_initializer,
        chi_1=chi_1,
        recommended_initializer=row.recommended_initializer,
        source=row.source,
        curve=pd.DataFrame(
            {"x": GRID, "value": phi.value(GRID), "derivative": phi.derivative(GRID)}
        ),
    )


def save(description: Description, sources: str | None, folder: Path) -> None:
    """Write a description and its key into the folder of the activation.

    Parameters
    ----------
    description
        What is said.
    sources
        The SHA-256 of a user's own sources; None for a function of the table.
    folder
        Is made.
    """
    folder.mkdir(parents=True)
    key = {each.name: getattr(description, each.name) for each in fields(ActivationConfig)}
    _write_json(key | {"sources": sources}, folder / "key.json")
    said = {
        each.name: getattr(description, each.name)
        for each in fields(Description)
        if each.name != "curve"
    }
    _write_json(said | {"range": list(description.range)}, folder / "description.json")
    csvs.write_frame(description.curve, folder / "curve.csv")


def load(name: str, folder: Path) -> Description:
    """Read what `save` wrote of an activation into a folder of that name in `folder`.

    Raises
    ------
    UserError
        When a file is missing.
    """
    path = folder / name / "description.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro activations` to make it")
    said = json.loads(path.read_text(encoding="utf-8"))
    for key in ("steepest_slope", "value_gain", "slope_gain", "chi_1"):
        said[key] = float(said[key])
    low, high, *takes = said["range"]
    said["range"] = Range(float(low), float(high), *takes)
    curve = tables.read_table(folder / name / "curve.csv", tables.CURVE)
    return Description(**said, curve=curve)


def load_trained(trained: Sequence[ActivationConfig], folder: Path) -> list[Description]:
    """Read the descriptions of what was trained.

    Raises
    ------
    UserError
        When one is missing or is of another function or other constants.
    """
    described = [load(each.name, folder) for each in trained]
    for one, other in zip(trained, described, strict=True):
        if (one.function, one.constants) != (other.function, other.constants):
            raise UserError(
                f"{folder / one.name} describes another {one.name} than was trained:"
                " run `dvc repro` to make both alike"
            )
    return described


def join_curves(activations: Sequence[Description]) -> pd.DataFrame:
    """Tabulate activations over x from -5 to 5: activation, x, value, derivative."""
    parts = []
    for each in activations:
        curve = each.curve[each.curve["x"].abs() <= 5]
        parts.append(curve.assign(activation=each.name)[["activation", *tables.CURVE]])
    return pd.concat(parts, ignore_index=True)


def _write_json(values: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(_finite(values), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """Turn the numbers that JSON lacks into texts that `float` reads."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
