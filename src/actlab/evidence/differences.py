"""One comparison of two values, read from the table of comparisons and written as text."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence.comparisons import METRICS
from actlab.evidence.wording import fixed, in_points


def orient(
    compared: pd.DataFrame, metric: str, best: str, other: str, **setting: str
) -> dict[str, Any]:
    """Look up the comparison of two values of a key, oriented as best minus other.

    `setting` holds the other keys of `compared`, the result of `comparisons.compare`. Raises a
    KeyError when the two were not compared.
    """
    rows = where(compared, metric=metric, **setting)
    for found in where(rows, first=best, second=other).to_dict("records"):
        return {str(key): value for key, value in found.items()} | {"other": other}
    for found in where(rows, first=other, second=best).to_dict("records"):
        opposite = {"better": "worse", "worse": "better"}
        row = {str(key): value for key, value in found.items()}
        row |= {"other": other, "mean": -row["mean"]}
        for low, high in (("low", "high"), ("new_images_low", "new_images_high")):
            row |= {low: -row[high], high: -row[low]}
        for key in ("verdict", "new_images_verdict"):
            row[key] = opposite.get(row[key], row[key])
        return row
    raise KeyError(f"{best} and {other} were not compared by {metric}")


def difference_text(metric: str, row: Mapping[Any, Any]) -> str:
    """Write a difference with its interval, in the metric's unit."""
    values = [row[key] for key in ("mean", "low", "high")]
    if not math.isfinite(row["mean"]):
        return "undefined: a training diverged"
    if not np.isfinite(values).all():
        return "undefined"
    unit = METRICS[metric].unit
    if unit == "ratio":
        mean, low, high = (f"{math.exp(value):.3f}" for value in values)
        return f"× {mean}, {low} to {high}"
    if unit == "points":
        mean, low, high = map(in_points, values)
    else:
        digits = 4 if unit == "nats" else 1
        mean, low, high = (fixed(value, digits) for value in values)
    return f"{mean} {unit}, {low} to {high}"
