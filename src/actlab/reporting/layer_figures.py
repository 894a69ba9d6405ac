"""Tables of a study's layers -> Matplotlib figures: gradients, health, pre-activations, theory."""

import math

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from actlab.engine.csvs import where
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


@styled
def plot_first_layer_gradients(gradients: pd.DataFrame, confidence: float) -> Figure:
    """Draw the mean absolute gradient of the first layer, before and after training.

    A panel is logarithmic where what it shows spans more than a factor of 20, or holds a zero;
    others start at zero. An interval is cut off where it would crowd the seeds, and says so.

    Parameters
    ----------
    gradients
        `layer_summaries.first_layer_gradients`.
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
            when = "at initialization" if epoch == 0 else after
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
        `layer_summaries.gradients_by_layer` of one epoch.
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
        `layer_summaries.gradients_by_layer`.
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
        title="Epochs trained (0: initialization); logarithmic axes",
        loc="outside lower center",
        ncols=min(8, len(epochs)),
    )
    return figure


@styled
def plot_theory(ratios: pd.DataFrame, confidence: float) -> Figure:
    """Draw predicted (lines, with their bands) and measured ratios (points) of untrained layers.

    A row of panels an activation, the way there on the left, the way back on the right; an
    initializer that stands for one already drawn is drawn once. Logarithmic axes.

    Parameters
    ----------
    ratios
        `layer_summaries.theory_ratios`, without the layer all.
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


#: A line and a marker for each of the six initializers that Keras has of the three families.
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
    stands = names_in(where(rows, initializer="recommended"), "activation")
    recommended = f" (recommended: {', '.join(map(escape, stands))})" if stands else ""
    return kernel_initializer + recommended


#: Of the curve behind distributions, and of the line of what was before training.
_BEHIND = "#c4c4c4"

_FIRST = (0, (2, 1))
