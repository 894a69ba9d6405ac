"""Figures of unit health: maps over layers and epochs, distributions of pre-activations."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from actlab.engine.csvs import where
from actlab.reporting.look import (
    GREY,
    NOTE,
    add_legend,
    line_styles,
    make_grid,
    make_handle,
    names_in,
    styled,
    to_numbers,
)
from actlab.results.metadata import Description


class HealthMap(NamedTuple):
    """How a statistic of `layer_health` is drawn: a share in percent, or by factors."""

    label: str
    share: bool = True


#: The statistics that have a map, in the report's order.
HEALTH_MAPS = {
    "saturated_fraction": HealthMap("Saturated (% of units and images)"),
    "dead_fraction": HealthMap("Dead units (%)"),
    "backprop_rms": HealthMap("RMS of the backpropagated signal", share=False),
    "update_ratio": HealthMap("Norm of a step / norm of the kernel", share=False),
    "one_sign_batch_fraction": HealthMap("Units with a gradient of one sign (%)"),
}

#: The curve behind distributions, and the line of what was before training.
_BEHIND, _FIRST = "#c4c4c4", (0, (2, 1))


@styled
def plot_health_map(health: pd.DataFrame) -> Figure:
    """Draw a statistic of health as layer x epoch maps, one panel per configuration.

    All panels have one range of shades; a share stands in its cell. What is NaN is a dash.

    Parameters
    ----------
    health
        The rows of `layer_summaries.layer_health` of one of `HEALTH_MAPS`.
    """
    drawn = HEALTH_MAPS[health["statistic"].iloc[0]]
    factor = 100 if drawn.share else 1
    norm = _scale_shades(to_numbers(health, ["mean"]) * factor, drawn.share)
    shades = colormaps["Blues"]
    figure, grid, columns = make_grid(health, lambda depth: 0.17 * max(4, depth) + 0.55)
    epochs = sorted(set(health["epoch"]))
    for (network, name), axes in grid.items():
        rows = where(health, network=network, activation=name)
        layers = names_in(where(health, network=network), "layer")
        table = rows.pivot(index="layer", columns="epoch", values="mean")  # noqa: PD010
        cells = table.reindex(index=layers, columns=epochs).to_numpy(dtype=np.float64) * factor
        is_shown = np.isfinite(cells) & (drawn.share | (cells > 0))
        cells = np.ma.masked_array(cells, ~is_shown)
        axes.pcolormesh(cells, cmap=shades, norm=norm, edgecolors="white", linewidth=0.5)
        for (row, column), value in np.ndenumerate(np.ma.filled(cells, math.nan)):
            text = "–"
            if math.isfinite(value):
                text = f"{value:.0f}" if value == 0 or value >= 0.5 else "<1"
                text = text if drawn.share and len(epochs) * columns <= 40 else ""
            axes.text(
                column + 0.5,
                row + 0.5,
                text,
                ha="center",
                va="center_baseline",
                fontsize=5.8,
                color="white" if norm(value) > 0.55 else "black",
            )
        _name_cells(axes, layers, epochs)
    bar = figure.colorbar(
        ScalarMappable(norm, shades), ax=list(grid.values()), aspect=40, pad=0.015, shrink=0.9
    )
    bar.set_label(drawn.label)
    return figure


def _scale_shades(values: Float[np.ndarray, "..."], share: bool) -> Normalize:
    """Give the range of shades: shares from 0, factors from the smallest."""
    known = values[np.isfinite(values) & (share | (values > 0))]
    if share:
        return Normalize(0, max(1.0, float(known.max(initial=0))))
    low, high = (float(known.min()), float(known.max())) if known.size else (0.1, 1.0)
    return LogNorm(low / 1.05, high * 1.05)


def _name_cells(axes: Axes, layers: list[str], epochs: list[int]) -> None:
    """Put the layers from the top down, and the epochs from left to right."""
    names = ["out" if layer == "output" else layer.removeprefix("hidden_") for layer in layers]
    step = math.ceil(len(epochs) / 10)
    axes.set_yticks(np.arange(len(layers)) + 0.5, names)
    axes.set_xticks(np.arange(0, len(epochs), step) + 0.5, list(map(str, epochs[::step])))
    axes.tick_params(length=0, labelsize=7)
    axes.set_ylim(len(layers), 0)
    axes.set_ylabel("Layer", fontsize=8)
    axes.set_xlabel("Epochs trained", fontsize=8)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


@styled
def plot_preactivations(preactivations: pd.DataFrame, activations: Sequence[Description]) -> Figure:
    """Draw how the pre-activations of each hidden layer are distributed, before and after.

    Every distribution is scaled to its peak and lies on the curve of the activation, in grey, with
    an axis of its own on the right.

    Parameters
    ----------
    preactivations
        activation, network, epoch, layer, bin_low, bin_high, density; of the epochs the first and
        the last are drawn.
    activations
        Whose curves they are.
    """
    figure, grid, _ = make_grid(preactivations, lambda depth: 0.34 * max(4, depth) + 0.55)
    epochs = sorted({min(preactivations["epoch"]), max(preactivations["epoch"])})
    styles = line_styles(names_in(preactivations, "activation"))
    described = {activation.name: activation for activation in activations}
    for (network, name), axes in grid.items():
        rows = where(preactivations, network=network, activation=name)
        layers = names_in(where(preactivations, network=network), "layer")
        left, right = _draw_ridges(axes, rows, layers, epochs, styles[name].color)
        numbers = [layer.removeprefix("hidden_") for layer in layers]
        axes.set_yticks(np.arange(len(layers)) + 1.0, numbers)
        axes.set_ylim(len(layers) + 0.05, -0.05)
        axes.set_xlim(left, right)
        axes.set_ylabel("Layer", fontsize=8)
        axes.set_xlabel("Pre-activation", fontsize=8)
        axes.tick_params(axis="both", labelsize=7)
        axes.grid(visible=False, axis="x")
        behind = axes.twinx()
        x = np.linspace(left, right, 400)
        behind.plot(x, described[name].value_at(x), color=_BEHIND, linewidth=2.2)
        behind.tick_params(axis="y", colors="#8a8a8a", labelsize=6, length=2)
        behind.grid(visible=False)
        behind.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.set_zorder(behind.get_zorder() + 1)
        axes.patch.set_visible(False)
    handles = [
        make_handle("before training", color="black", linewidth=0.9, linestyle=_FIRST),
        make_handle(f"after {epochs[-1]} epochs", color=GREY, alpha=0.5, linewidth=7),
        make_handle("activation (right axis)", color=_BEHIND, linewidth=2.2),
    ]
    add_legend(figure, handles)
    return figure


def _draw_ridges(
    axes: Axes, rows: pd.DataFrame, layers: list[str], epochs: list[int], color: str
) -> tuple[float, float]:
    """Draw a panel's distributions; give the ends of their inner bins."""
    ends = []
    for place, layer in enumerate(layers, start=1):
        for epoch in epochs:
            bins = where(rows, layer=layer, epoch=epoch)
            if bins.empty:
                if epoch == epochs[-1]:
                    transform = axes.get_yaxis_transform()
                    axes.text(0.02, place - 0.1, "not finite", transform=transform, **NOTE)
                continue
            density = bins["density"].to_numpy()
            edges = np.append(bins["bin_low"].to_numpy(), bins["bin_high"].to_numpy()[-1])
            ends.append((edges[1], edges[-2]))
            heights = place - 0.9 * density / density.max()
            if epoch == epochs[0] and len(epochs) > 1:
                look = {"color": "black", "linewidth": 0.9, "linestyle": _FIRST}
                axes.stairs(heights, edges, baseline=None, **look)
            else:
                axes.stairs(heights, edges, baseline=place, fill=True, color=color, alpha=0.5)
    low, high = np.array(ends or [(-1.0, 1.0)]).T
    return float(low.min()), float(high.max())
