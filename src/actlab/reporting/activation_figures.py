"""Figures of the images and of the activations themselves."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float32, Integer, UInt8
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from actlab.data.splits import to_uint8
from actlab.engine.csvs import where
from actlab.reporting.look import (
    NOTE,
    escape,
    line_styles,
    make_panels,
    styled,
)
from actlab.results.metadata import Description


def as_pictures(
    images: UInt8[np.ndarray, "image pixel"] | Float32[np.ndarray, "image pixel"],
    shape: Sequence[int],
) -> UInt8[np.ndarray, "image row column ..."] | None:
    """Return images as grey levels or colours; None if their shape is not that of pictures.

    Numbers that are not grey levels are drawn from the least (black) to the greatest (white).
    """
    rows_and_columns = tuple(shape[:2] if shape[2:] == (1,) else shape)
    if len(rows_and_columns) != 2 and rows_and_columns[2:] != (3,):
        return None
    levels = to_uint8(images)
    if levels is None:
        low, high = float(images.min()), float(images.max())
        levels = np.rint(255 * (images.astype(np.float64) - low) / (high - low or 1))
    return levels.astype(np.uint8).reshape(-1, *rows_and_columns)


@styled
def plot_sample_images(
    images: UInt8[np.ndarray, "image row column ..."],
    labels: Integer[np.ndarray, "image"] | Float32[np.ndarray, "image target"],
    names: Sequence[str],
) -> Figure:
    """Draw images, 0 (black) to 255 (white), in rows of five, each under the name of its label.

    Targets that are numbers are not written.
    """
    rows = max(1, math.ceil(len(images) / 5))
    figure = Figure(figsize=(6.4, 1.5 * rows))
    axes = list(figure.subplots(rows, 5, squeeze=False).flat)
    for panel in axes:
        panel.set_axis_off()
    for panel, image, index in zip(axes, images, labels, strict=False):
        panel.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        if labels.ndim == 1:
            panel.set_title(names[index])
    return figure


@styled
def plot_activation_functions(curves: pd.DataFrame, activations: Sequence[Description]) -> Figure:
    """Draw the `metadata.join_curves` of activations: values and derivatives, formula and range."""
    columns = 2 if len(activations) in (2, 4) else min(3, len(activations))
    figure, panels = make_panels(len(activations), columns, height=3.1)
    styles = line_styles([activation.name for activation in activations])
    for axes, activation in zip(panels, activations, strict=False):
        curve = where(curves, activation=activation.name)
        values = curve["value"].to_numpy()
        axes.axhline(0, color="#aaaaaa", linewidth=0.8)
        axes.axvline(0, color="#aaaaaa", linewidth=0.8)
        for bound in activation.range[:2]:
            if math.isfinite(bound):
                axes.axhline(bound, color="#555555", linewidth=1, linestyle=(0, (1, 2)))
        axes.plot(curve["x"], values, color=styles[activation.name].color, linewidth=2)
        axes.plot(curve["x"], curve["derivative"], "--", color="#444444", linewidth=1.2)
        constants = [f"{name} = {value}" for name, value in activation.shown_constants.items()]
        axes.set_title(escape(activation.name), fontweight="bold", pad=16 if constants else 6)
        axes.text(0.5, 1.02, ", ".join(constants), transform=axes.transAxes, ha="center", **NOTE)
        axes.set_xlabel(
            f"$\\phi(x) = {activation.formula}$\n$\\phi'(x) = {activation.derivative_formula}$\n"
            f"range {activation.range}",
            linespacing=1.7,
        )
        reach = np.concatenate([values, curve["derivative"].to_numpy()])
        axes.set_ylim(reach.min() - 0.3, reach.max() + 0.3)
    figure.legend(
        handles=[
            Line2D([], [], color="#000000", linewidth=2, label="value $\\phi(x)$"),
            Line2D([], [], color="#444444", linestyle="--", label="derivative $\\phi'(x)$"),
            Line2D([], [], color="#555555", linestyle=(0, (1, 2)), label="bound of the range"),
        ],
        loc="outside upper center",
        ncols=3,
    )
    return figure
