"""Tables of a study's layers -> Matplotlib figures: gradients, health, pre-activations, theory."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from actlab.evidence.wording import written
from actlab.reporting.look import (
    GREY,
    NOTE,
    WIDTH,
    LineStyle,
    add_dots_legend,
    add_legend,
    cycle,
    escape,
    keep_inside,
    line_styles,
    log_axis,
    make_panels,
    mark_zeros,
    name_layers,
    names_in,
    note_start,
    on_log,
    plot_dots,
    seed_columns,
    styled,
    to_numbers,
    zero_handles,
)
from actlab.results.metadata import Description
from actlab.results.tables import where


@styled
def plot_first_layer_gradients(gradients: pd.DataFrame, confidence: float) -> Figure:
    """Draw the mean absolute gradient of the first layer, before and after training.

    A panel is logarithmic where what it shows spans more than a factor of 20, or holds a zero;
    others start at zero. An interval is cut off where it would crowd the seeds, and says so.

    Parameters
    ----------
    gradients
        `summaries.first_layer_gradients`.
    confidence
        Of the intervals.
    """
    networks, names = names_in(gradients, "network"), names_in(gradients, "activation")
    epochs = sorted(set(gradients["epoch"]))
    means = gradients.rename(columns={"geometric_mean": "mean"})
    figure = Figure(figsize=(WIDTH, 0.6 + len(networks) * (0.8 + 0.5 * len(names))))
    rows = figure.subplots(len(networks), len(epochs), squeeze=False)
    beyond = False
    for row, network in zip(rows, networks, strict=True):
        for axes, epoch in zip(row, epochs, strict=True):
            panel = where(means, network=network, epoch=epoch)
            values = _to_show(panel)
            positive = values[values > 0]
            foot = None
            if (values == 0).any() or (positive.size and positive.max() > 20 * positive.min()):
                foot = log_axis(axes, "x", values, margin=3.0)
            beyond |= plot_dots(axes, panel, written, foot=foot)
            after = f"after {epoch} epoch{'s' if epoch > 1 else ''}"
            when = "at initialisation" if epoch == 0 else after
            axes.set_title(f"{escape(network)}: {when}", loc="left")
            axes.set_xlabel("Mean |gradient| of the first layer", loc="left")
            if foot is None and positive.size:
                axes.set_xlim(0, 1.12 * positive.max())
            keep_inside(axes)
            note_start(axes, "x", "")
    extra = []
    if beyond:
        label = "interval goes on beyond the axis"
        extra.append(Line2D([], [], color=GREY, marker="<", linestyle="none", label=label))
    extra += zero_handles(to_numbers(gradients, seed_columns(gradients)))
    add_dots_legend(figure, gradients, confidence, "geometric mean", extra)
    return figure


def _to_show(panel: pd.DataFrame) -> Float[np.ndarray, " value"]:
    """Give what an axis has to reach: all seeds, and of the intervals a decade beyond them."""
    seeds = to_numbers(panel, seed_columns(panel))
    ends = to_numbers(panel, ["low", "high"])
    finite, ends = seeds[np.isfinite(seeds)], ends[~np.isnan(ends)]
    positive = finite[finite > 0]
    # Of two seeds an interval can span dozens of decades, and then its seeds lie on one point.
    shown = np.clip(ends, positive.min() / 10, 10 * positive.max()) if positive.size else []
    return np.concatenate([finite, shown])


@styled
def plot_gradients_by_layer(gradients: pd.DataFrame) -> Figure:
    """Draw the gradient's norm by layer, one panel per network, one line per activation.

    Parameters
    ----------
    gradients
        `summaries.gradients_by_layer` of one epoch.
    """
    networks, names = names_in(gradients, "network"), names_in(gradients, "activation")
    seeds = seed_columns(gradients)
    styles = line_styles(names)
    figure, panels = make_panels(len(networks), 2, height=3.2)
    for axes, network in zip(panels, networks, strict=False):
        of_network = where(gradients, network=network)
        foot = log_axis(axes, "y", to_numbers(of_network, ["mean", *seeds]))
        for name in names:
            line = where(of_network, activation=name)
            style, place = styles[name], np.arange(len(line))
            runs, mean = to_numbers(line, seeds), to_numbers(line, ["mean"])
            axes.plot(place, on_log(runs, foot), color=style.color, linewidth=0.5, alpha=0.35)
            axes.plot(
                place,
                on_log(mean, foot),
                color=style.color,
                linestyle=style.dashes,
                linewidth=1.7,
                marker=style.marker,
                markersize=5,
            )
            mark_zeros(axes, place, runs, foot, style.color)
        name_layers(axes, names_in(of_network, "layer"))
        axes.set_title(escape(network), loc="left")
        axes.set_ylabel("L2 norm of the kernel's gradient")
        note_start(axes, "y", "")
    seed = Line2D([], [], color=GREY, linewidth=0.5, label="one seed")
    add_legend(figure, styles, [seed, *zero_handles(to_numbers(gradients, seeds))])
    return figure


@styled
def plot_gradients_through_training(gradients: pd.DataFrame) -> Figure:
    """Draw the gradient's mean norm by layer, one panel per configuration, one line per epoch.

    Parameters
    ----------
    gradients
        `summaries.gradients_by_layer`.
    """
    networks, names = names_in(gradients, "network"), names_in(gradients, "activation")
    epochs = sorted(set(gradients["epoch"]))
    columns = len(names) if len(names) < 4 else 4 if len(names) in (4, 7, 8) else 3
    rows_each = math.ceil(len(names) / columns)
    figure = Figure(figsize=(WIDTH, 0.9 + 2.3 * rows_each * len(networks)))
    grid = figure.subplots(rows_each * len(networks), columns, squeeze=False)
    # From dark to light, short of the yellow that white paper swallows.
    shades = colormaps["viridis"](np.linspace(0, 0.82, len(epochs)))
    for at, network in enumerate(networks):
        panels = grid[at * rows_each : (at + 1) * rows_each].ravel()
        of_network = where(gradients, network=network)
        values = to_numbers(of_network, ["mean"])
        for place, (axes, name) in enumerate(zip(panels, names, strict=False)):
            # One range for all panels of a network, so that they can be compared.
            foot = log_axis(axes, "y", values)
            for epoch, shade, marker in zip(epochs, shades, cycle("osD^vP", epochs), strict=True):
                line = where(of_network, activation=name, epoch=epoch)
                mean = to_numbers(line, ["mean"])
                axes.plot(
                    range(len(line)),
                    on_log(mean, foot),
                    color=shade,
                    marker=marker,
                    markersize=3.5,
                    linewidth=1.3,
                )
                mark_zeros(axes, np.arange(len(line)), mean, foot, shade)
            if not np.isfinite(to_numbers(where(of_network, activation=name), ["mean"])).any():
                axes.text(0.03, 0.03, "not a number", transform=axes.transAxes, **NOTE)
            name_layers(axes, names_in(of_network, "layer"), small=columns > 2)
            axes.set_title(f"{escape(network)}: {escape(name)}", loc="left", fontsize=9)
            if place % columns == 0:
                axes.set_ylabel("L2 norm of gradient")
            else:
                axes.tick_params(labelleft=False, which="both")
        for axes in panels[len(names) :]:
            axes.set_axis_off()
    figure.legend(
        handles=[
            Line2D([], [], color=shade, marker=marker, markersize=4, label=str(epoch))
            for epoch, shade, marker in zip(epochs, shades, cycle("osD^vP", epochs), strict=True)
        ]
        + zero_handles(to_numbers(gradients, ["mean"])),
        title="Epochs trained (0: initialisation); logarithmic axes",
        loc="outside lower center",
        ncols=min(8, len(epochs)),
    )
    return figure


@styled
def plot_theory(ratios: pd.DataFrame, confidence: float) -> Figure:
    """Draw predicted (lines, with their bands) and measured ratios (points) of untrained layers.

    A row of panels an activation, the way there on the left, the way back on the right; an
    initialiser that stands for one already drawn is drawn once. Logarithmic axes.

    Parameters
    ----------
    ratios
        `summaries.theory_ratios`, without the layer all.
    confidence
        Of the measured intervals.
    """
    names = names_in(ratios, "activation")
    marks = dict(zip(names_in(ratios, "kernel_initializer"), _THEORY_STYLES, strict=False))
    figure = Figure(figsize=(WIDTH, 1.0 + 2.1 * len(names)))
    grid = figure.subplots(len(names), 2, squeeze=False, sharex=True)
    ways = {"forward": "pre-activations, going up", "backward": "gradient, going back"}
    for row, name in zip(grid, names, strict=True):
        for axes, (direction, way) in zip(row, ways.items(), strict=True):
            panel = where(ratios, activation=name, direction=direction)
            columns = ["predicted", "band_low", "band_high", "geometric_mean"]
            log_axis(axes, "y", np.append(to_numbers(panel, columns), 1.0))
            axes.axhline(1, color="#555555", linewidth=0.8)
            for initializer, style in marks.items():
                of = where(panel, kernel_initializer=initializer).drop_duplicates("layer")
                if of.empty:
                    continue
                layers = np.array([int(each.removeprefix("hidden_")) for each in of["layer"]])
                predicted, low, high, mean = to_numbers(of, columns).T
                axes.fill_between(layers, low, high, color=style.color, alpha=0.16, linewidth=0)
                axes.plot(layers, predicted, color=style.color, linestyle=style.dashes)
                axes.vlines(layers, *to_numbers(of, ["low", "high"]).T, color=style.color, lw=0.8)
                axes.plot(
                    layers,
                    mean,
                    linestyle="none",
                    marker=style.marker,
                    markersize=4,
                    color=style.color,
                    markerfacecolor="white",
                )
            axes.set_title(f"{escape(name)}: {way}", loc="left", fontsize=9)
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        row[0].set_ylabel("Ratio of variances")
    for axes in grid[-1]:
        axes.set_xlabel("Upper layer of the pair")
    handles = [
        Line2D(
            [],
            [],
            color=style.color,
            linestyle=style.dashes,
            marker=style.marker,
            markerfacecolor="white",
            markersize=4,
            label=_initializer_label(ratios, initializer),
        )
        for initializer, style in marks.items()
    ]
    handles.append(Line2D([], [], color="#cccccc", linewidth=6, label="band about the prediction"))
    if max(ratios["seeds"]) > 1:
        label = f"{100 * confidence:g} % interval over seeds"
        handles.append(Line2D([], [], color=GREY, linewidth=0.8, label=label))
    figure.legend(
        handles=handles,
        title="Lines: predicted; points: measured. Logarithmic axes",
        loc="outside lower center",
        ncols=2,
        handlelength=3.6,
    )
    return figure


#: A line and a marker for each of the six initialisers that Keras has of the three families.
_THEORY_STYLES = (
    LineStyle("#0072B2", "-", "o"),
    LineStyle("#D55E00", (0, (5, 2)), "s"),
    LineStyle("#000000", (0, (1, 1.2)), "^"),
    LineStyle("#009E73", (0, (6, 2, 1, 2)), "D"),
    LineStyle("#882255", (0, (9, 2)), "v"),
    LineStyle("#56B4E9", (0, (4, 1, 1, 1, 1, 1)), "P"),
)


def _initializer_label(ratios: pd.DataFrame, kernel_initializer: str) -> str:
    rows = where(ratios, kernel_initializer=kernel_initializer)
    stands = names_in(where(rows, initializer="matched"), "activation")
    matched = f" (matched: {', '.join(map(escape, stands))})" if stands else ""
    return kernel_initializer + matched


class HealthMap(NamedTuple):
    """How a statistic of `summaries.layer_health` is drawn: a share in percent, or by factors."""

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


@styled
def plot_health_map(health: pd.DataFrame) -> Figure:
    """Draw a statistic of health as layer x epoch maps, one panel per configuration.

    All panels have one range of shades. Numbers stand in the cells where they have room; a cell
    without a number is white, with a dash.

    Parameters
    ----------
    health
        The rows of `summaries.layer_health` of one of `HEALTH_MAPS`.
    """
    drawn = HEALTH_MAPS[health["statistic"].iloc[0]]
    factor = 100 if drawn.share else 1
    values = to_numbers(health, ["mean"]) * factor
    norm, shades = _shades(values, drawn.share), colormaps["Blues"]
    figure, grid, columns = _grid(health, cell=0.17)
    epochs = sorted(set(health["epoch"]))
    for (network, name), axes in grid.items():
        rows = where(health, network=network, activation=name)
        layers = names_in(where(health, network=network), "layer")
        table = rows.pivot(index="layer", columns="epoch", values="mean")  # noqa: PD010
        cells = table.reindex(index=layers, columns=epochs).to_numpy(dtype=np.float64) * factor
        has = np.isfinite(cells) & (drawn.share | (cells > 0))
        axes.pcolormesh(
            np.ma.masked_array(cells, ~has),
            cmap=shades,
            norm=norm,
            edgecolors="white",
            linewidth=0.5,
        )
        _write_cells(axes, cells, has, drawn.share, shades, norm, columns)
        _name_cells(axes, layers, epochs)
    bar = figure.colorbar(
        ScalarMappable(norm, shades), ax=list(grid.values()), aspect=40, pad=0.015, shrink=0.9
    )
    bar.set_label(drawn.label + ("" if drawn.share else ", logarithmic"))
    bar.outline.set_visible(False)
    return figure


def _shades(values: Float[np.ndarray, "..."], share: bool) -> Normalize:
    """Give the range of shades: shares from 0, factors from the smallest."""
    has = values[np.isfinite(values) & (share | (values > 0))]
    if share:
        return Normalize(0, max(1.0, float(has.max(initial=0))))
    low, high = (float(has.min()), float(has.max())) if has.size else (0.1, 1.0)
    return LogNorm(low / 1.05, high * 1.05)


def _grid(table: pd.DataFrame, cell: float) -> tuple[Figure, dict[tuple[str, str], Axes], int]:
    """Lay out one panel per configuration, as high as its network is deep; give the columns too.

    Parameters
    ----------
    cell
        The height of a layer, in inches.
    """
    networks, names = names_in(table, "network"), names_in(table, "activation")
    columns = len(names) if len(names) < 4 else 4 if len(names) in (4, 7, 8) else 3
    rows_each = math.ceil(len(names) / columns)
    depths = [len(names_in(where(table, network=network), "layer")) for network in networks]
    heights = [cell * max(4, depth) + 0.55 for depth in depths for _ in range(rows_each)]
    figure = Figure(figsize=(WIDTH, 0.4 + sum(heights)))
    panels = figure.subplots(
        len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    grid = {}
    for at, network in enumerate(networks):
        of_network = panels[at * rows_each : (at + 1) * rows_each].ravel()
        for axes, name in zip(of_network, names, strict=False):
            grid[network, name] = axes
            axes.set_title(f"{escape(network)}: {escape(name)}", loc="left", fontsize=9)
        for axes in of_network[len(names) :]:
            axes.set_axis_off()
    return figure, grid, columns


def _write_cells(
    axes: Axes,
    cells: Float[np.ndarray, "layer epoch"],
    has: Bool[np.ndarray, "layer epoch"],
    share: bool,
    shades: Colormap,
    norm: Normalize,
    columns: int,
) -> None:
    """Write each cell's number where it has room."""
    # Inches that a panel leaves to a cell, and that a letter takes.
    room = (6.1 / columns - 0.25) / cells.shape[1] / 0.051
    for (row, column), known in np.ndenumerate(has):
        text = _in_a_cell(float(cells[row, column]), share, room) if known else "–"
        red, green, blue, _ = shades(norm(cells[row, column])) if known else (1, 1, 1, 1)
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
        axes.text(
            column + 0.5,
            row + 0.5,
            text,
            ha="center",
            va="center_baseline",
            fontsize=5.8,
            color="white" if dark else "black",
        )


def _in_a_cell(value: float, share: bool, room: float) -> str:
    """Write a number in at most so many letters, with two digits or one, or not at all.

    >>> _in_a_cell(53.8, True, 3.5), _in_a_cell(0.2, True, 3.5), _in_a_cell(0.2, True, 1.0)
    ('54', '<1', '')
    >>> [_in_a_cell(value, False, 5.0) for value in (0.0137, 0.00137, 2.13e-6, 1.04)]
    ['0.014', '0.001', '2e-6', '1.0']
    """
    if share:
        texts = [f"{value:.0f}" if value == 0 or value >= 0.5 else "<1"]
    elif 9.5e-4 <= value < 100:
        texts = [f"{value:#.{digits}g}".removesuffix(".") for digits in (2, 1)]
    else:
        texts = [
            f"{value:.{places}e}".replace("e-0", "e-").replace("e+0", "e") for places in (1, 0)
        ]
    return next((text for text in texts if len(text) <= room), "")


def _name_cells(axes: Axes, layers: list[str], epochs: list[int]) -> None:
    """Put the layers from the top down, and the epochs from left to right."""
    names = ["out" if layer == "output" else layer.removeprefix("hidden_") for layer in layers]
    step = math.ceil(len(epochs) / 10)
    axes.set_yticks(np.arange(len(layers)) + 0.5, names)
    axes.set_xticks(np.arange(0, len(epochs), step) + 0.5, [str(each) for each in epochs[::step]])
    axes.tick_params(length=0, labelsize=7)
    axes.set_ylim(len(layers), 0)
    axes.set_ylabel("Layer", fontsize=8)
    axes.set_xlabel("Epochs trained", fontsize=8)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


#: Of the curve behind distributions, and of the line of what was before training.
_BEHIND = "#c4c4c4"

_FIRST = (0, (2, 1))


@styled
def plot_preactivations(preactivations: pd.DataFrame, activations: Sequence[Description]) -> Figure:
    """Draw how the pre-activations of each hidden layer are distributed, before and after.

    A layer stands above the one behind it; every distribution is as high as its own peak, and
    lies on the curve of the activation, in grey, with an axis of its own on the right.

    Parameters
    ----------
    preactivations
        activation, network, epoch, layer, bin_low, bin_high, density; of the epochs the first and
        the last are drawn.
    activations
        Whose curves they are.
    """
    figure, grid, _ = _grid(preactivations, cell=0.34)
    kept = preactivations["epoch"].tolist()
    epochs = sorted({min(kept), max(kept)})
    styles = line_styles(names_in(preactivations, "activation"))
    of = {each.name: each for each in activations}
    for (network, name), axes in grid.items():
        rows = where(preactivations, network=network, activation=name)
        layers = names_in(where(preactivations, network=network), "layer")
        left, right = _draw_ridges(axes, rows, layers, epochs, styles[name].color)
        axes.set_yticks(
            np.arange(len(layers)) + 1.0, [layer.removeprefix("hidden_") for layer in layers]
        )
        axes.set_ylim(len(layers) + 0.05, -0.05)
        axes.set_xlim(left, right)
        axes.set_ylabel("Layer", fontsize=8)
        axes.set_xlabel("Pre-activation", fontsize=8)
        axes.tick_params(axis="both", labelsize=7)
        axes.grid(visible=False, axis="x")
        behind = axes.twinx()
        x = np.linspace(left, right, 400)
        behind.plot(x, of[name].value_at(x), color=_BEHIND, linewidth=2.2)
        behind.tick_params(axis="y", colors="#8a8a8a", labelsize=6, length=2)
        behind.grid(visible=False)
        behind.spines["right"].set(visible=True, color=_BEHIND)
        behind.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.set_zorder(behind.get_zorder() + 1)
        axes.patch.set_visible(False)
    figure.legend(
        handles=[
            Line2D([], [], color="black", linewidth=0.9, linestyle=_FIRST, label="before training"),
            Line2D([], [], color=GREY, alpha=0.5, linewidth=7, label=f"after {epochs[-1]} epochs"),
            Line2D([], [], color=_BEHIND, linewidth=2.2, label="activation (right axis)"),
        ],
        loc="outside lower center",
        ncols=3,
    )
    return figure


def _draw_ridges(
    axes: Axes, rows: pd.DataFrame, layers: list[str], epochs: list[int], color: str
) -> tuple[float, float]:
    """Draw a panel's distributions; give the ends of what their inner bins reach over."""
    ends = []
    for place, layer in enumerate(layers, start=1):
        for epoch in epochs:
            bins = where(rows, layer=layer, epoch=epoch)
            if bins.empty:
                if epoch == epochs[-1]:
                    axes.text(
                        0.02,
                        place - 0.1,
                        "not a number",
                        transform=axes.get_yaxis_transform(),
                        **NOTE,
                    )
                continue
            density = bins["density"].to_numpy()
            edges = np.append(bins["bin_low"].to_numpy(), bins["bin_high"].to_numpy()[-1])
            ends.append((edges[1], edges[-2]))
            heights = place - 0.9 * density / density.max()
            if epoch == epochs[0] and len(epochs) > 1:
                axes.stairs(
                    heights, edges, baseline=None, color="black", linewidth=0.9, linestyle=_FIRST
                )
            else:
                axes.stairs(
                    heights, edges, baseline=place, fill=True, color=color, alpha=0.5, linewidth=0
                )
                axes.stairs(heights, edges, baseline=None, color=color, linewidth=0.8)
    low, high = np.array(ends or [(-1.0, 1.0)]).T
    return float(low.min()), float(high.max())
