"""Sentences on mean-field theory, initializers and the times of a layer."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence import layer_summaries
from actlab.evidence.wording import counted, join, written
from actlab.models.config import RECOMMENDED
from actlab.reporting.layer_findings import _OPERATIONS
from actlab.results.study import Study


def theory_findings(study: Study, confidence: float) -> list[str]:
    """Say where theory and measurement of untrained networks agree, and what `recommended` changes.

    Parameters
    ----------
    study
        What was measured.
    confidence
        Of the intervals over seeds.
    """
    ratios = layer_summaries.theory_ratios(study, confidence)
    whole = where(ratios, layer="all")
    steps = [row for row in ratios.to_dict("records") if row["layer"] != "all"]
    return [
        _agreement(steps, "ratios of two neighbouring layers"),
        _agreement(whole.to_dict("records"), "geometric means over all layers"),
        *_untold(steps),
        *_changed_by_recommended(study, whole),
    ]


def _untold(rows: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Name the activations of which theory has no prediction for some layers."""
    names = dict.fromkeys(row["activation"] for row in rows if not math.isfinite(row["band_low"]))
    if not names:
        return []
    return [
        f"For some layers of {join(names)} theory has no prediction: a moment of the activation"
        " overflows or vanishes, or is not certain; those are not counted."
    ]


def _agreement(rows: Sequence[Mapping[Any, Any]], what: str) -> str:
    # The initializer that recommended stands for may be listed by its own name too: count it once.
    keys = ("activation", "kernel_initializer", "layer", "direction")
    once = {
        tuple(row[key] for key in keys): row for row in rows if math.isfinite(row["band_low"])
    }.values()
    outside = [row for row in once if not row["agrees"]]
    said = (
        f"What is measured lies in the band about the prediction for {len(once) - len(outside)} of"
        f" {len(once)} {what}"
    )
    if not outside:
        return f"{said}."
    of = Counter(f"{row['activation']} with {row['kernel_initializer']}" for row in outside)
    return f"{said}; outside it lie {join(f'{count} of {name}' for name, count in of.items())}."


def _changed_by_recommended(study: Study, whole: pd.DataFrame) -> list[str]:
    """Set the gradient's factor a layer with `recommended` beside that of the first initializer."""
    back = where(whole, direction="backward")
    steps = len(set(study.theory_ratios["layer"]) - {"all"})
    told, same = [], []
    for name in study.activations:
        rows = where(back, activation=name).to_dict("records")
        recommended = next((row for row in rows if row["initializer"] == RECOMMENDED), None)
        other = next((row for row in rows if row["initializer"] != RECOMMENDED), None)
        if recommended is None or other is None:
            continue
        if recommended["kernel_initializer"] == other["kernel_initializer"]:
            same.append((name, other["initializer"]))
            continue
        told.append(
            f"With {name}, the variance of the gradient changes on its way back by"
            f" {_factor(other)} a layer with {other['initializer']}, and by {_factor(recommended)}"
            f" with {recommended['kernel_initializer']}, its recommended initializer: over"
            f" {counted(steps, 'step')} by {written(other['geometric_mean'] ** steps)} and"
            f" {written(recommended['geometric_mean'] ** steps)}."
        )
    if same:
        names = join(name for name, _ in same)
        told.append(
            f"For {names} the recommended initializer is {same[0][1]} itself, and changes nothing."
        )
    return told


def _factor(row: Mapping[Any, Any]) -> str:
    return f"× {written(row['geometric_mean'], 3)} (predicted {written(row['predicted'], 3)})"


def kernel_findings(study: Study, units: int, images: int, confidence: float) -> list[str]:
    """Say how long the passes of a single layer take, and by how much longer than the first's.

    Parameters
    ----------
    study
        What was measured.
    units, images
        Of the layer, and of a batch.
    confidence
        Of all the ratios of an operation taken together.
    """
    times = layer_summaries.kernel_times(study, confidence)
    told = []
    for operation, rows in times.groupby("operation", sort=False):
        first, *others = rows.to_dict("records")
        ratios = [
            f"with {row['activation']} × {written(row['geometric_mean'], 3)} of that"
            f" ({written(row['low'], 3)} to {written(row['high'], 3)})"
            for row in others
        ]
        lead = f"{_OPERATIONS[str(operation)]} takes {written(1e6 * first['seconds'], 3)} µs with"
        told.append("; ".join([f"{lead} {first['activation']}", *ratios]))
    return [
        f"Of one layer of {counted(units, 'unit')} and a batch of {counted(images, 'image')},"
        f" {line}."
        for line in told
    ]
