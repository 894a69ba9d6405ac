"""Cached metadata per activation, so that a report needs no activation's code.

The stage `activations` writes a folder for each configured activation. Trainings depend on its
`key.json` alone, which changes with the function, its constants or a user's own sources.
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

#: The points of curves: evenly spaced within 30 of zero, then by equal factors.
GRID = np.concatenate(
    [
        -np.geomspace(1e6, 30, 91)[:-1],
        np.linspace(-30, 30, 2401),
        np.geomspace(30, 1e6, 91)[1:],
    ]
)


@dataclass(kw_only=True)
class Description(ActivationConfig):
    """An activation's configuration and metadata.

    Attributes
    ----------
    title
        Its function's name as in a sentence.
    formula, derivative_formula
        In mathtext without the dollars.
    shown_constants
        Those that differ from the plain function of its name.
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
        """Interpolate phi at x linearly between the points of the curve."""
        return np.interp(x, self.curve["x"], self.curve["value"])


def describe(
    activation: ActivationConfig,
    row: Activation,
    phi: Nonlinearity,
    gains: tuple[float, float],
    kernel_initializer: str,
    chi_1: float,
) -> Description:
    """Describe an activation by its function's definition and by theory.

    `row` and `phi` are `functions.get_activation` and `functions.nonlinearity_of` of it.
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
    """Write a description and its key into a new folder.

    `sources` is the SHA-256 of a user's own sources; None for a built-in function.
    """
    folder.mkdir(parents=True)
    key = {field.name: getattr(description, field.name) for field in fields(ActivationConfig)}
    _write_json(key | {"sources": sources}, folder / "key.json")
    values = {
        field.name: getattr(description, field.name)
        for field in fields(Description)
        if field.name != "curve"
    }
    _write_json(values | {"range": list(description.range)}, folder / "description.json")
    csvs.write_frame(description.curve, folder / "curve.csv")


def load(name: str, folder: Path) -> Description:
    """Read the description of an activation from the folder of its name in `folder`.

    Raises
    ------
    UserError
        When a file is missing.
    """
    path = folder / name / "description.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro activations` to make it")
    values = json.loads(path.read_text(encoding="utf-8"))
    for key in ("steepest_slope", "value_gain", "slope_gain", "chi_1"):
        values[key] = float(values[key])
    low, high, *takes = values["range"]
    values["range"] = Range(float(low), float(high), *takes)
    curve = tables.read_table(folder / name / "curve.csv", tables.CURVE)
    return Description(**values, curve=curve)


def load_trained(trained: Sequence[ActivationConfig], folder: Path) -> list[Description]:
    """Read the descriptions of activations as they were trained.

    Raises
    ------
    UserError
        When one is missing, or is of another function or other constants.
    """
    described = [load(activation.name, folder) for activation in trained]
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
    for activation in activations:
        curve = activation.curve[activation.curve["x"].abs() <= 5]
        parts.append(curve.assign(activation=activation.name)[["activation", *tables.CURVE]])
    return pd.concat(parts, ignore_index=True)


def _write_json(values: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(_finite(values), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """Turn infinity and NaN, which JSON lacks, into strings that `float` reads."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
