"""The layers of a study -> sentences: gradients, dead units, theory."""

import math
from typing import Any

import numpy as np
import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence import layer_summaries
from actlab.evidence.wording import capitalise, counted, join, percent, written
from actlab.results.study import Study


def first_layer_findings(study: Study, confidence: float) -> list[str]:
    """Name the largest and the smallest gradient of the first layer, before and after training."""
    means = layer_summaries.first_layer_gradients(study, confidence)
    ratios = layer_summaries.first_layer_ratios(study, confidence)
    lines = []
    for network in study.networks:
        for epoch in (0, study.epochs):
            rows: Any = where(means, network=network, epoch=epoch)
            rows = rows[np.isfinite(rows["geometric_mean"])].sort_values("geometric_mean")
            if len(rows) < 2:
                continue
            named = [
                f"{written(row['geometric_mean'])} with {row['activation']}"
                for row in (rows.iloc[-1], rows.iloc[0])
            ]
            pair = rows["activation"].iloc[[-1, 0]].tolist()
            low, high = _bounds(where(ratios, network=network, epoch=epoch), *pair)
            found = f"ratio {written(low)} to {written(high)}"
            if not math.isfinite(low):
                found = "no interval"
            elif low <= 1 <= high:
                found += ", no difference shown"
            lines.append(
                f"{_when(epoch)} the first layer's gradient on {network} ranges from {named[0]} to"
                f" {named[1]} ({found})."
            )
    return lines


def _bounds(ratios: pd.DataFrame, first: str, second: str) -> tuple[float, float]:
    """Look up the interval of the ratio of a pair, inverted where it is listed the other way."""
    rows = where(ratios, first=first, second=second)
    if len(rows):
        return float(rows["low"].iloc[0]), float(rows["high"].iloc[0])
    rows = where(ratios, first=second, second=first)
    with np.errstate(divide="ignore"):
        high, low = 1 / rows[["low", "high"]].to_numpy(dtype=float)[0]
    return float(low), float(high)


def depth_findings(study: Study, confidence: float) -> list[str]:
    """Write by which factor each layer changes the gradient, before training.

    Only networks with adjacent hidden layers of one shape: see `layer_summaries.layer_factors`.
    """
    factors = where(layer_summaries.layer_factors(study, confidence), epoch=0)
    lines = []
    for network, rows in factors.groupby("network", sort=False):
        parts = [
            f"{written(row['geometric_mean'], 3)}"
            + (f" ({_interval(row)})" if math.isfinite(row["low"]) else "")
            + f" with {row['activation']}"
            for row in rows.to_dict("records")
        ]
        first = rows.iloc[0]
        lines.append(
            f"Before training, from {first['last_layer']} back to {first['first_layer']} of"
            f" {network}, each layer multiplies the norm of the kernel's gradient by {join(parts)}."
        )
    return lines


def _interval(row: dict) -> str:
    return f"{written(row['low'], 3)} to {written(row['high'], 3)}"


def dead_findings(study: Study, confidence: float) -> list[str]:
    """Name, for each network, the layer with the most dead units after training."""
    dead = where(layer_summaries.dead_units(study, confidence), epoch=study.epochs)
    lines = []
    for network, rows in dead.groupby("network", sort=False):
        most = rows.loc[rows.groupby("activation", sort=False)["share"].idxmax()]
        parts = [
            f"{row['dead']} of {row['units']:,} in {row['layer']} with {row['activation']}"
            f" ({percent(row['share'])}"
            + (f", {100 * row['low']:.2f} to {100 * row['high']:.2f})" if row["low"] > 0 else ")")
            for row in most[most["dead"] > 0].to_dict("records")
        ]
        found = join(parts) if parts else "none"
        lines.append(f"{_when(study.epochs)} the most dead units of a layer of {network}: {found}.")
    return lines


def theory_findings(study: Study, confidence: float) -> list[str]:
    """Count the ratios of neighbouring layers that theory predicts, and name the others."""
    ratios: Any = layer_summaries.theory_ratios(study, confidence)
    # The recommended initializer may be listed by its own name too: count it once.
    once = ratios[ratios["layer"] != "all"].drop_duplicates(
        ["activation", "kernel_initializer", "layer", "direction"]
    )
    known = once[np.isfinite(once["band_low"])]
    inside = int((known["agrees"] == "yes").sum())
    line = f"The interval of the measured ratio lies in the predicted band for {inside} of"
    line += f" {counted(len(known), 'ratio')}"
    for verdict, words in (("no", "outside are"), ("undecided", "undecided are")):
        rows = known[known["agrees"] == verdict]
        if len(rows):
            counts = rows.groupby(["activation", "kernel_initializer"], sort=False).size()
            named = join(
                f"{count} of {name} with {kernel}" for (name, kernel), count in counts.items()
            )
            line += f"; {words} {named}"
    if len(known) < len(once):
        names = join(dict.fromkeys(once[~np.isfinite(once["band_low"])]["activation"]))
        line += f"; for some layers of {names} theory predicts nothing (a moment overflows, or the"
        line += " weights have another mean than 0)"
    return [f"{line}."]


def _when(epoch: int) -> str:
    return "Before training" if epoch == 0 else capitalise(f"after {counted(epoch, 'epoch')}")
