"""One comparison of two values, read from the table of comparisons and written as text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence.comparisons import METRICS
from actlab.evidence.wording import fixed


def orient(
    compared: pd.DataFrame, metric: str, best: str, other: str, **setting: str
) -> dict[str, Any]:
    """Look up the comparison of two values of a key, oriented as best minus other.

    `setting` holds the other keys of `compared`, the result of `comparisons.compare`. Raises a
    KeyError when the two were not compared.
    """
    rows = where(compared, metric=metric, **setting)
    named = {"best": best, "other": other}
    for found in where(rows, first=best, second=other).to_dict("records"):
        return {str(key): value for key, value in found.items()} | named
    for found in where(rows, first=other, second=best).to_dict("records"):
        return _reverse({str(key): value for key, value in found.items()}) | named
    raise KeyError(f"{best} and {other} were not compared by {metric}")


def _reverse(row: Mapping[str, Any]) -> dict[str, Any]:
    """Exchange the two sides of a comparison: every column that has a sign, and the verdicts."""
    opposite = {"better": "worse", "worse": "better"}
    reversed_row = {**row, "first": row["second"], "second": row["first"]}
    reversed_row |= {key: 0 - row[key] for key in ("mean", "effect_size")}  # no -0
    for low, high in (("low", "high"), ("least", "most"), ("new_images_low", "new_images_high")):
        reversed_row |= {low: 0 - row[high], high: 0 - row[low]}
    for key in ("verdict", "new_images_verdict"):
        reversed_row[key] = opposite.get(row[key], row[key])
    return reversed_row


def difference_text(metric: str, row: Mapping[Any, Any]) -> str:
    """Write a difference with its interval, in the metric's unit.

    Bounds are rounded so that none crosses 0 or a margin: what is written agrees with the verdict.
    """
    mean, low, high = (float(row[key]) for key in ("mean", "low", "high"))
    if not row["pairs"]:
        return "undefined: no seed in common"
    if not math.isfinite(mean):
        return "undefined: a training diverged, or lacks a value"
    unit, margin = METRICS[metric].unit, float(row["margin"])
    factor, digits = {"ratio": (1, 3), "points": (100, 2), "nats": (1, 4), "epochs": (1, 1)}[unit]

    def convert(value: float) -> float:
        with np.errstate(over="ignore"):
            return float(np.exp(value)) if unit == "ratio" else factor * value

    marks = tuple(map(convert, (0.0, margin, -margin)))
    start = _shorten(convert(mean), digits)
    start = f"× {start}" if unit == "ratio" else f"{start} {unit}"
    if math.isnan(low) or math.isnan(high):
        return f"{start}, no interval"
    lowest, highest = (round_apart(convert(bound), marks, digits) for bound in (low, high))
    if math.isinf(high):
        return f"{start} or more, at least {lowest}"
    if math.isinf(low):
        return f"{start} or less, at most {highest}"
    return f"{start}, {lowest} to {highest}"


def _shorten(value: float, digits: int) -> str:
    """Write a mean with so many decimals, or the first digit that counts."""
    is_small = 0 < abs(value) < 0.5 * 10.0**-digits
    return f"{value:.1g}".replace("-", "−") if is_small else fixed(value, digits)


def round_apart(bound: float, marks: Sequence[float], digits: int) -> str:
    """Write a bound with as many decimals as keep it on its side of every mark.

    >>> round_apart(0.2004, (0.0, 0.2), 2), round_apart(-0.0001, (0.0,), 2)
    ('0.2004', '−0.0001')
    """
    if not math.isfinite(bound):
        return fixed(bound, digits)
    for places in range(digits, digits + 12):
        rounded = round(bound, places)
        if all((rounded > mark) == (bound > mark) for mark in marks) and all(
            (rounded < mark) == (bound < mark) for mark in marks
        ):
            return fixed(rounded, places)
    return fixed(bound, digits)
