"""Tables -> Matplotlib figures; only `save_figure` writes.

Every figure is drawn on a `matplotlib.figure.Figure` of its own, with no state of pyplot's,
and reads without colour: an activation has its colour, its line style and its marker. An axis
that does not start at zero says so above its panel. What a logarithmic axis cannot show, zero,
lies on its foot as a hollow triangle.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer, UInt8
from matplotlib import colormaps
from matplotlib import style as looks
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from actlab.descriptions import Description
from actlab.tables import where, written

#: How every figure looks, whatever a user's matplotlibrc says.
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.use_mathtext": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Ids of the SVG come from its content and this salt, not from chance.
    "svg.hashsalt": "actlab",
    "svg.fonttype": "path",
}

#: Inches: what a page of A4 and a column of 48 rem leave to a figure.
_WIDTH = 7.6

#: Of the marks in a legend that stand for every activation's.
_GREY = "#777777"

_NOTE: dict[str, Any] = {"fontsize": 7, "color": "#555555"}

_Arguments = ParamSpec("_Arguments")


class LineStyle(NamedTuple):
    """How an activation is drawn, in every figure."""

    color: str
    dashes: Any
    marker: str


# Okabe & Ito 2008 without their yellow, too pale for a line; the wine red of Tol 2021 instead.
_STYLES = {
    "sigmoid": LineStyle("#D55E00", (0, (5, 2)), "o"),
    "tanh": LineStyle("#0072B2", (0, (6, 2, 1, 2)), "s"),
    "relu": LineStyle("#009E73", "-", "^"),
    "leaky_relu": LineStyle("#E69F00", (0, (1, 1.2)), "v"),
    "elu": LineStyle("#56B4E9", (0, (9, 2)), "D"),
    "selu": LineStyle("#CC79A7", (0, (4, 1, 1, 1, 1, 1)), "P"),
    "gelu": LineStyle("#000000", (0, (3, 1)), "X"),
    "silu": LineStyle("#882255", (0, (8, 1, 1, 1)), "*"),
}


def line_styles(names: Sequence[str]) -> dict[str, LineStyle]:
    """Give each activation its style; a name of its own takes one that none of the others has.

    Up to 64 differ; beyond eight, by the colour of one style with dashes and marker of another.

    >>> styles = line_styles(["relu", "my_own"])
    >>> styles["relu"].color, styles["my_own"].color
    ('#009E73', '#D55E00')
    """
    spare = [style for name, style in _STYLES.items() if name not in names]
    strangers = [name for name in names if name not in _STYLES]
    styles = list(_STYLES.values())
    crossed = [
        LineStyle(style.color, *styles[(place + turn) % len(styles)][1:])
        for turn in range(1, len(styles))
        for place, style in enumerate(styles)
    ]
    pool = spare + crossed
    drawn = {name: pool[at % len(pool)] for at, name in enumerate(strangers)}
    return {name: _STYLES.get(name) or drawn[name] for name in names}


def _look() -> AbstractContextManager[None]:
    return looks.context(["default", STYLE])


def save_figure(figure: Figure, stem: Path) -> None:
    """Write `stem`.png (150 dpi) and `stem`.svg; the same figure gives the same bytes.

    Parameters
    ----------
    figure
        What to save.
    stem
        The path without its suffix; its folder is made.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    with _look():
        # Straight to the canvases: `savefig` draws everything twice. Layout is settled by the
        # first drawing alone: it would move a little with the second.
        dpi = figure.dpi
        figure.set_dpi(150)
        FigureCanvasAgg(figure).print_png(f"{stem}.png", metadata={"Software": None})
        figure.set_layout_engine("none")
        FigureCanvasSVG(figure).print_svg(f"{stem}.svg", metadata={"Date": None, "Creator": None})
        figure.set_dpi(dpi)  # which an SVG leaves at 72


def plot_and_save(plot: Callable[[], Figure], stem: Path) -> None:
    """Draw a figure and write it as `save_figure` does."""
    save_figure(plot(), stem)


def _styled(plot: Callable[_Arguments, Figure]) -> Callable[_Arguments, Figure]:
    @wraps(plot)
    def styled(*arguments: _Arguments.args, **keywords: _Arguments.kwargs) -> Figure:
        with _look():
            return plot(*arguments, **keywords)

    return styled


@_styled
def plot_sample_images(
    images: UInt8[np.ndarray, "image row column"],
    labels: Integer[np.ndarray, "image"],
    names: Sequence[str],
) -> Figure:
    """Draw images in rows of five, each under its label.

    Parameters
    ----------
    images
        0 (black) to 255 (white).
    labels
        The label of each image.
    names
        The name of each label.
    """
    rows = max(1, math.ceil(len(images) / 5))
    figure = Figure(figsize=(6.4, 1.5 * rows))
    axes = list(figure.subplots(rows, 5, squeeze=False).flat)
    for each in axes:
        each.set_axis_off()
    for each, image, label in zip(axes, images, labels, strict=False):
        each.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        each.set_title(names[label])
    return figure


@_styled
def plot_activation_functions(curves: pd.DataFrame, activations: Sequence[Description]) -> Figure:
    """Draw each activation and its derivative, with formula and range.

    Parameters
    ----------
    curves
        `descriptions.join_curves`.
    activations
        Whose curves they are.
    """
    columns = 2 if len(activations) in (2, 4) else min(3, len(activations))
    figure, panels = _panels(len(activations), columns, height=3.1)
    styles = line_styles([each.name for each in activations])
    for axes, each in zip(panels, activations, strict=False):
        curve = where(curves, activation=each.name)
        values = curve["value"].to_numpy()
        axes.axhline(0, color="#aaaaaa", linewidth=0.8)
        axes.axvline(0, color="#aaaaaa", linewidth=0.8)
        for bound in each.range[:2]:
            if math.isfinite(bound):
                axes.axhline(bound, color="#555555", linewidth=1, linestyle=(0, (1, 2)))
        axes.plot(curve["x"], values, color=styles[each.name].color, linewidth=2)
        axes.plot(curve["x"], curve["derivative"], "--", color="#444444", linewidth=1.2)
        constants = ", ".join(f"{name} = {value}" for name, value in each.shown_constants.items())
        axes.set_title(_plain(each.name), fontweight="bold", pad=16 if constants else 6)
        if constants:
            axes.text(0.5, 1.02, constants, transform=axes.transAxes, ha="center", **_NOTE)
        axes.set_xlabel(
            f"$\\phi(x) = {each.formula}$\n$\\phi'(x) = {each.derivative_formula}$\n"
            f"range {each.range}",
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


@_styled
def plot_accuracy_curves(curves: pd.DataFrame, confidence: float) -> Figure:
    """Draw training and validation accuracy by epoch, a row of panels a network.

    Parameters
    ----------
    curves
        `tables.learning_curves` of accuracy.
    confidence
        Of the bands.
    """
    return _plot_learning_curves(curves, confidence, "Accuracy (%)", factor=100)


@_styled
def plot_loss_curves(curves: pd.DataFrame, confidence: float) -> Figure:
    """Draw training and validation loss by epoch, on a logarithmic axis.

    Parameters
    ----------
    curves
        `tables.learning_curves` of loss.
    confidence
        Of the bands.
    """
    return _plot_learning_curves(curves, confidence, "Cross-entropy (nats)", logarithmic=True)


def _plot_learning_curves(
    curves: pd.DataFrame,
    confidence: float,
    label: str,
    factor: int = 1,
    logarithmic: bool = False,
) -> Figure:
    networks, names = _names(curves, "network"), _names(curves, "activation")
    seeds = _seed_columns(curves)
    styles = line_styles(names)
    epochs = max(curves["epoch"])
    figure = Figure(figsize=(_WIDTH, 0.9 + 2.7 * len(networks)))
    rows = figure.subplots(len(networks), 2, squeeze=False, sharex=True, sharey="row")
    for row, network in zip(rows, networks, strict=True):
        of_network = where(curves, network=network)
        foot = None
        if logarithmic:
            foot = _log_axis(row[0], "y", _numbers(of_network, ["mean", "high", *seeds]))
        for axes, split in zip(row, ("training", "validation"), strict=True):
            diverged = 0
            for place, name in enumerate(names):
                line = where(of_network, activation=name, split=split)
                style, epoch = styles[name], line["epoch"].to_numpy()
                runs = _numbers(line, seeds) * factor
                mean, low, high = _numbers(line, ["mean", "low", "high"]).T * factor
                diverged += int((~np.isfinite(runs)).any(axis=0).sum())
                if foot is not None:
                    low = np.maximum(low, foot)
                axes.plot(epoch, _on_log(runs, foot), color=style.color, linewidth=0.5, alpha=0.35)
                axes.fill_between(epoch, low, high, color=style.color, alpha=0.18, linewidth=0)
                axes.plot(
                    epoch,
                    _on_log(mean, foot),
                    color=style.color,
                    linestyle=style.dashes,
                    linewidth=1.7,
                    marker=style.marker,
                    markersize=4,
                    markevery=(min(place, epochs - 1), max(1, epochs // 5)),
                )
                _mark_zeros(axes, epoch, runs, foot, style.color)
            axes.set_title(f"{_plain(network)}: {split}", loc="left")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
            if diverged:
                note = f"{diverged} of {len(names) * len(seeds)} runs diverged"
                axes.text(0.02, 0.03, note, transform=axes.transAxes, **_NOTE)
        row[0].set_ylabel(label)
        for axes in row:
            if factor == 100:
                _keep_percent(axes, "y")
            _say_start(axes, "y", " %" if factor == 100 else "")
    for axes in rows[-1]:
        axes.set_xlabel("Epoch")
    extra = [Line2D([], [], color=_GREY, linewidth=0.5, label="one seed")]
    if len(seeds) > 1:
        label = f"{100 * confidence:g} % band of the mean"
        if logarithmic and (_numbers(curves, ["low"]) <= 0).any():
            label += ", cut off where it reaches zero"
        extra.append(Line2D([], [], color="#cccccc", linewidth=6, label=label))
    if logarithmic:
        extra += _zero_handles(_numbers(curves, seeds))
    _legend(figure, styles, extra)
    return figure


@_styled
def plot_test_accuracy(accuracy: pd.DataFrame, confidence: float) -> Figure:
    """Draw the test accuracy of every seed above mean and interval, a panel a network.

    Parameters
    ----------
    accuracy
        activation, network, then the columns of `tables.over_seeds`.
    confidence
        Of the intervals.
    """
    networks, names = _names(accuracy, "network"), _names(accuracy, "activation")
    figure, panels = _panels(len(networks), 2, height=0.8 + 0.5 * len(names))
    for axes, network in zip(panels, networks, strict=False):
        _plot_dots(axes, where(accuracy, network=network), lambda value: f"{value:.2f}", 100)
        axes.set_title(_plain(network), loc="left")
        axes.set_xlabel("Test accuracy (%)")
        axes.margins(x=0.12)
        _keep_percent(axes, "x")
        _keep_inside(axes)
        _say_start(axes, "x", " %")
    _dots_legend(figure, accuracy, confidence)
    return figure


@_styled
def plot_accuracy_differences(comparisons: pd.DataFrame, confidence: float) -> Figure:
    """Draw the difference of each pair with two intervals and the verdict, a panel a network.

    Parameters
    ----------
    comparisons
        `tables.COMPARISONS` of test_accuracy, fractions.
    confidence
        Of the intervals.
    """
    networks = _names(comparisons, "network")
    pairs = len(where(comparisons, network=networks[0]))
    figure, panels = _panels(len(networks), 2, height=0.8 + 0.42 * pairs)
    for axes, network in zip(panels, networks, strict=False):
        rows = where(comparisons, network=network).to_dict("records")
        margin = 100 * rows[0]["margin"]
        axes.axvline(0, color="black", linewidth=0.8)
        for bound in (-margin, margin):
            axes.axvline(bound, color="#555555", linewidth=1, linestyle=(0, (1, 2)))
        for place, row in enumerate(rows):
            for low, high, width in (
                (row["new_images_low"], row["new_images_high"], 1.0),
                (row["low"], row["high"], 3.0),
            ):
                axes.plot([100 * low, 100 * high], [place] * 2, color="#0072B2", linewidth=width)
            axes.plot(
                [100 * row["mean"]],
                [place],
                marker="D",
                color="white",
                markersize=6,
                markeredgecolor="#0072B2",
            )
            axes.text(
                1.02, place, row["verdict"], transform=axes.get_yaxis_transform(), va="center"
            )
        _name_rows(axes, [f"{row['first']} − {row['second']}" for row in rows])
        axes.set_title(_plain(network), loc="left")
        axes.set_xlabel("Difference of test accuracy (points)")
    _legend_of_intervals(figure, confidence)
    return figure


def _legend_of_intervals(figure: Figure, confidence: float) -> None:
    styles = ((3.0, "over new seeds"), (1.0, "over new seeds and images"))
    handles = [
        Line2D([], [], color="#0072B2", linewidth=width, label=f"{100 * confidence:g} % {what}")
        for width, what in styles
    ]
    bound = Line2D([], [], color="#555555", linewidth=1, linestyle=(0, (1, 2)), label="margin")
    figure.legend(handles=[*handles, bound], loc="outside lower center", ncols=3)


@_styled
def plot_epoch_seconds(timings: pd.DataFrame) -> Figure:
    """Draw how long each epoch took; below, median and middle half, a panel a network.

    Parameters
    ----------
    timings
        activation, network, epoch_seconds (in seconds): one row an epoch of a seed.
    """
    networks, names = _names(timings, "network"), _names(timings, "activation")
    styles = line_styles(names)
    figure, panels = _panels(len(networks), 2, height=0.8 + 0.5 * len(names))
    for axes, network in zip(panels, networks, strict=False):
        for place, name in enumerate(names):
            rows = where(timings, network=network, activation=name)
            seconds = rows["epoch_seconds"].to_numpy()
            # Spread over the height in an order that leaves no pattern: multiples of the
            # golden ratio.
            spread = (np.arange(len(seconds)) * 0.618033988749895) % 1
            axes.plot(
                seconds,
                place - 0.36 + 0.4 * spread,
                linestyle="none",
                marker="o",
                markersize=2.2,
                markeredgewidth=0,
                color=styles[name].color,
                alpha=0.6,
            )
            low, median, high = map(float, np.quantile(seconds, [0.25, 0.5, 0.75]))
            _draw_interval(axes, low, high, place, styles[name].color)
            axes.plot([median] * 2, [place - 0.4, place + 0.14], color="black", linewidth=1.6)
            _write_value(axes, f"{median:.3f} s", median, place + 0.14)
        _name_rows(axes, names)
        axes.set_xlim(0, 1.06 * max(timings["epoch_seconds"]))
        _keep_inside(axes)
        axes.set_title(_plain(network), loc="left")
        axes.set_xlabel("Time per epoch (s)")
    figure.legend(
        handles=[
            Line2D([], [], color=_GREY, marker=".", linestyle="none", label="one epoch"),
            Line2D([], [], color="black", linewidth=1.6, label="median"),
            Line2D([], [], color=_GREY, linewidth=2.2, label="middle half"),
        ],
        loc="outside lower center",
        ncols=3,
    )
    return figure


@_styled
def plot_first_layer_gradients(gradients: pd.DataFrame, confidence: float) -> Figure:
    """Draw the mean absolute gradient of the first layer, before and after training.

    A panel is logarithmic where what it shows spans more than a factor of 20, or holds a zero;
    others start at zero. An interval is cut off where it would crowd the seeds, and says so.

    Parameters
    ----------
    gradients
        `tables.first_layer_gradients`.
    confidence
        Of the intervals.
    """
    networks, names = _names(gradients, "network"), _names(gradients, "activation")
    epochs = sorted(set(gradients["epoch"]))
    means = gradients.rename(columns={"geometric_mean": "mean"})
    figure = Figure(figsize=(_WIDTH, 0.6 + len(networks) * (0.8 + 0.5 * len(names))))
    rows = figure.subplots(len(networks), len(epochs), squeeze=False)
    beyond = False
    for row, network in zip(rows, networks, strict=True):
        for axes, epoch in zip(row, epochs, strict=True):
            panel = where(means, network=network, epoch=epoch)
            values = _to_show(panel)
            positive = values[values > 0]
            foot = None
            if (values == 0).any() or (positive.size and positive.max() > 20 * positive.min()):
                foot = _log_axis(axes, "x", values, margin=3.0)
            beyond |= _plot_dots(axes, panel, written, foot=foot)
            after = f"after {epoch} epoch{'s' if epoch > 1 else ''}"
            when = "at initialisation" if epoch == 0 else after
            axes.set_title(f"{_plain(network)}: {when}", loc="left")
            axes.set_xlabel("Mean |gradient| of the first layer", loc="left")
            if foot is None and positive.size:
                axes.set_xlim(0, 1.12 * positive.max())
            _keep_inside(axes)
            _say_start(axes, "x", "")
    extra = []
    if beyond:
        label = "interval goes on beyond the axis"
        extra.append(Line2D([], [], color=_GREY, marker="<", linestyle="none", label=label))
    extra += _zero_handles(_numbers(gradients, _seed_columns(gradients)))
    _dots_legend(figure, gradients, confidence, "geometric mean", extra)
    return figure


def _to_show(panel: pd.DataFrame) -> Float[np.ndarray, " value"]:
    """Give what an axis has to reach: all seeds, and of the intervals a decade beyond them."""
    seeds = _numbers(panel, _seed_columns(panel))
    ends = _numbers(panel, ["low", "high"])
    finite, ends = seeds[np.isfinite(seeds)], ends[~np.isnan(ends)]
    positive = finite[finite > 0]
    # Of two seeds an interval can span dozens of decades, and then its seeds lie on one point.
    shown = np.clip(ends, positive.min() / 10, 10 * positive.max()) if positive.size else []
    return np.concatenate([finite, shown])


@_styled
def plot_gradients_by_layer(gradients: pd.DataFrame) -> Figure:
    """Draw the gradient's norm by layer, a panel a network, a line an activation.

    Parameters
    ----------
    gradients
        `tables.gradients_by_layer` of one epoch.
    """
    networks, names = _names(gradients, "network"), _names(gradients, "activation")
    seeds = _seed_columns(gradients)
    styles = line_styles(names)
    figure, panels = _panels(len(networks), 2, height=3.2)
    for axes, network in zip(panels, networks, strict=False):
        of_network = where(gradients, network=network)
        foot = _log_axis(axes, "y", _numbers(of_network, ["mean", *seeds]))
        for name in names:
            line = where(of_network, activation=name)
            style, place = styles[name], np.arange(len(line))
            runs, mean = _numbers(line, seeds), _numbers(line, ["mean"])
            axes.plot(place, _on_log(runs, foot), color=style.color, linewidth=0.5, alpha=0.35)
            axes.plot(
                place,
                _on_log(mean, foot),
                color=style.color,
                linestyle=style.dashes,
                linewidth=1.7,
                marker=style.marker,
                markersize=5,
            )
            _mark_zeros(axes, place, runs, foot, style.color)
        _name_layers(axes, _names(of_network, "layer"))
        axes.set_title(_plain(network), loc="left")
        axes.set_ylabel("L2 norm of the kernel's gradient")
        _say_start(axes, "y", "")
    seed = Line2D([], [], color=_GREY, linewidth=0.5, label="one seed")
    _legend(figure, styles, [seed, *_zero_handles(_numbers(gradients, seeds))])
    return figure


@_styled
def plot_gradients_through_training(gradients: pd.DataFrame) -> Figure:
    """Draw the gradient's mean norm by layer, a panel a configuration, a line a probed epoch.

    Parameters
    ----------
    gradients
        `tables.gradients_by_layer`.
    """
    networks, names = _names(gradients, "network"), _names(gradients, "activation")
    epochs = sorted(set(gradients["epoch"]))
    columns = len(names) if len(names) < 4 else 4 if len(names) in (4, 7, 8) else 3
    rows_each = math.ceil(len(names) / columns)
    figure = Figure(figsize=(_WIDTH, 0.9 + 2.3 * rows_each * len(networks)))
    grid = figure.subplots(rows_each * len(networks), columns, squeeze=False)
    # From dark to light, short of the yellow that white paper swallows.
    shades = colormaps["viridis"](np.linspace(0, 0.82, len(epochs)))
    for at, network in enumerate(networks):
        panels = grid[at * rows_each : (at + 1) * rows_each].ravel()
        of_network = where(gradients, network=network)
        values = _numbers(of_network, ["mean"])
        for place, (axes, name) in enumerate(zip(panels, names, strict=False)):
            # One range for all panels of a network, so that they can be compared.
            foot = _log_axis(axes, "y", values)
            for epoch, shade, marker in zip(epochs, shades, _cycle("osD^vP", epochs), strict=True):
                line = where(of_network, activation=name, epoch=epoch)
                mean = _numbers(line, ["mean"])
                axes.plot(
                    range(len(line)),
                    _on_log(mean, foot),
                    color=shade,
                    marker=marker,
                    markersize=3.5,
                    linewidth=1.3,
                )
                _mark_zeros(axes, np.arange(len(line)), mean, foot, shade)
            if not np.isfinite(_numbers(where(of_network, activation=name), ["mean"])).any():
                axes.text(0.03, 0.03, "not a number", transform=axes.transAxes, **_NOTE)
            _name_layers(axes, _names(of_network, "layer"), small=columns > 2)
            axes.set_title(f"{_plain(network)}: {_plain(name)}", loc="left", fontsize=9)
            if place % columns == 0:
                axes.set_ylabel("L2 norm of gradient")
            else:
                axes.tick_params(labelleft=False, which="both")
        for axes in panels[len(names) :]:
            axes.set_axis_off()
    figure.legend(
        handles=[
            Line2D([], [], color=shade, marker=marker, markersize=4, label=str(epoch))
            for epoch, shade, marker in zip(epochs, shades, _cycle("osD^vP", epochs), strict=True)
        ]
        + _zero_handles(_numbers(gradients, ["mean"])),
        title="Epochs trained (0: initialisation); logarithmic axes",
        loc="outside lower center",
        ncols=min(8, len(epochs)),
    )
    return figure


@_styled
def plot_theory(ratios: pd.DataFrame, confidence: float) -> Figure:
    """Draw predicted (lines, with their bands) and measured ratios (points) of untrained layers.

    A row of panels an activation, the way there on the left, the way back on the right; an
    initialiser that stands for one already drawn is drawn once. Logarithmic axes.

    Parameters
    ----------
    ratios
        `tables.theory_ratios`, without the layer all.
    confidence
        Of the measured intervals.
    """
    names = _names(ratios, "activation")
    marks = dict(zip(_names(ratios, "kernel_initializer"), _THEORY_STYLES, strict=False))
    figure = Figure(figsize=(_WIDTH, 1.0 + 2.1 * len(names)))
    grid = figure.subplots(len(names), 2, squeeze=False, sharex=True)
    ways = {"forward": "pre-activations, going up", "backward": "gradient, going back"}
    for row, name in zip(grid, names, strict=True):
        for axes, (direction, way) in zip(row, ways.items(), strict=True):
            panel = where(ratios, activation=name, direction=direction)
            columns = ["predicted", "band_low", "band_high", "geometric_mean"]
            _log_axis(axes, "y", np.append(_numbers(panel, columns), 1.0))
            axes.axhline(1, color="#555555", linewidth=0.8)
            for initializer, style in marks.items():
                of = where(panel, kernel_initializer=initializer).drop_duplicates("layer")
                if of.empty:
                    continue
                layers = np.array([int(each.removeprefix("hidden_")) for each in of["layer"]])
                predicted, low, high, mean = _numbers(of, columns).T
                axes.fill_between(layers, low, high, color=style.color, alpha=0.16, linewidth=0)
                axes.plot(layers, predicted, color=style.color, linestyle=style.dashes)
                axes.vlines(layers, *_numbers(of, ["low", "high"]).T, color=style.color, lw=0.8)
                axes.plot(
                    layers,
                    mean,
                    linestyle="none",
                    marker=style.marker,
                    markersize=4,
                    color=style.color,
                    markerfacecolor="white",
                )
            axes.set_title(f"{_plain(name)}: {way}", loc="left", fontsize=9)
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
        handles.append(Line2D([], [], color=_GREY, linewidth=0.8, label=label))
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
    stands = _names(where(rows, initializer="matched"), "activation")
    matched = f" (matched: {', '.join(map(_plain, stands))})" if stands else ""
    return kernel_initializer + matched


def _panels(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(count, columns)
    rows = math.ceil(count / columns)
    width = _WIDTH if columns > 1 else 0.75 * _WIDTH
    figure = Figure(figsize=(width, 0.5 + height * rows))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def _names(table: pd.DataFrame, column: str) -> list[str]:
    return list(dict.fromkeys(table[column]))


def _seed_columns(table: pd.DataFrame) -> list[str]:
    return [column for column in table.columns if column.startswith("seed_")]


def _numbers(table: pd.DataFrame, columns: list[str]) -> Float[np.ndarray, "row column"]:
    return table[columns].to_numpy(dtype=np.float64)


def _plain(name: str) -> str:
    """Keep a name's dollars from being read as mathematics."""
    return name.replace("$", r"\$")


def _cycle(marks: str, along: Sequence[Any]) -> list[str]:
    return [marks[at % len(marks)] for at in range(len(along))]


def _log_axis(
    axes: Axes, which: str, values: Float[np.ndarray, "..."], margin: float = 1.5
) -> float:
    """Make an axis logarithmic, wide enough for the values; give its foot, where zeros are drawn.

    Where there are zeros that is more than half a decade below the smallest other value, and
    between two ticks, since no number stands for zero.

    Parameters
    ----------
    margin
        The factor that the axis reaches beyond the values.
    """
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (positive.min(), positive.max()) if positive.size else (1e-12, 1.0)
    foot = 10.0 ** (math.floor(math.log10(low)) - 0.6) if (values == 0).any() else low / margin
    axes.set(**{f"{which}scale": "log", f"{which}lim": (foot, margin * high)})
    axis = axes.xaxis if which == "x" else axes.yaxis
    decades = math.log10(margin * high / foot)
    axis.set_major_formatter(_power_text)
    if which == "x":
        axis.set_major_locator(LogLocator(numticks=6))
    if decades < 2:
        axis.set_minor_locator(LogLocator(subs=(2, 5) if decades > 0.8 else range(2, 10)))
        axis.set_minor_formatter(_power_text)
    else:
        axis.set_minor_formatter(NullFormatter())
    return float(foot)


def _power_text(value: float, _: Any = None) -> str:
    r"""Write a tick: 0.05 and 200 plainly, what is smaller or larger by its power of ten.

    >>> _power_text(0.05), _power_text(2e-6), _power_text(1e-9)
    ('0.05', '$2\\times10^{-6}$', '$10^{-9}$')
    """
    if 0.00099 <= value <= 1000:
        return f"{value:g}"
    power = math.floor(math.log10(value) + 1e-9)
    digit = round(value / 10.0**power)
    return f"$10^{{{power}}}$" if digit == 1 else f"${digit}\\times10^{{{power}}}$"


def _on_log(values: Float[np.ndarray, "*shape"], foot: float | None) -> Float[np.ndarray, "*shape"]:
    """Put zeros on the foot of a logarithmic axis."""
    return values if foot is None else np.where(values == 0, foot, values)


def _mark_zeros(
    axes: Axes,
    along: np.ndarray,
    values: Float[np.ndarray, "point seed"],
    foot: float | None,
    color: Any,
) -> None:
    """Mark on the foot the points where a seed is zero."""
    zero = (values == 0).any(axis=1)
    if foot is None or not zero.any():
        return
    axes.plot(
        along[zero],
        np.full(int(zero.sum()), foot),
        linestyle="none",
        marker="v",
        markersize=8,
        markerfacecolor="white",
        markeredgecolor=color,
        clip_on=False,
        zorder=5,
    )


def _plot_dots(
    axes: Axes,
    table: pd.DataFrame,
    text: Callable[[float], str],
    factor: int = 1,
    foot: float | None = None,
) -> bool:
    """Draw a row an activation: every seed a dot; below, mean and interval, with the mean.

    Give whether an interval goes on beyond the axis, which on a logarithmic one, with a foot,
    has to be settled before.
    """
    names = _names(table, "activation")
    styles = line_styles(names)
    limits = (-math.inf, math.inf) if foot is None else axes.get_xlim()
    beyond = False
    for place, name in enumerate(names):
        row = where(table, activation=name)
        style = styles[name]
        runs = _numbers(row, _seed_columns(row))[0] * factor
        mean, low, high = _numbers(row, ["mean", "low", "high"])[0] * factor
        height = place - 0.34 + 0.3 * (np.arange(len(runs)) + 0.5) / len(runs)
        zero = runs == 0 if foot is not None else np.zeros(len(runs), dtype=bool)
        for chosen, marker, face, alpha in (
            (~zero, "o", style.color, 0.75),
            (zero, "v", "white", 1),
        ):
            if not chosen.any():
                continue
            axes.plot(
                _on_log(runs, foot)[chosen],
                height[chosen],
                linestyle="none",
                marker=marker,
                markersize=4.5,
                markerfacecolor=face,
                markeredgecolor=style.color,
                alpha=alpha,
                clip_on=False,
                zorder=3,
            )
        if not math.isfinite(mean):
            lacking = "not a number"
            if zero.any() and np.isfinite(runs).all():
                lacking = f"no geometric mean: zero with {zero.sum()} of {len(runs)} seeds"
            axes.text(
                0.03,
                place + 0.1,
                lacking,
                transform=axes.get_yaxis_transform(),
                va="center",
                **_NOTE,
            )
            continue
        if not math.isnan(low):
            _draw_interval(axes, max(low, limits[0]), min(high, limits[1]), place, style.color)
            for end, cut, marker in zip(
                limits, (low < limits[0], high > limits[1]), "<>", strict=True
            ):
                if cut:
                    beyond = True
                    axes.plot(
                        [end],
                        [place + 0.1],
                        marker=marker,
                        markersize=6,
                        color=style.color,
                        clip_on=False,
                        zorder=5,
                    )
        axes.plot(
            [mean],
            [place + 0.1],
            marker=style.marker,
            markersize=7,
            color=style.color,
            markeredgecolor="white",
            markeredgewidth=0.8,
        )
        _write_value(axes, text(mean), mean, place + 0.17)
    _name_rows(axes, names)
    return beyond


def _draw_interval(axes: Axes, low: float, high: float, place: int, color: str) -> None:
    axes.plot(
        [low, high],
        [place + 0.1] * 2,
        color=color,
        linewidth=2.2,
        solid_capstyle="butt",
    )


def _write_value(axes: Axes, text: str, x: float, y: float) -> None:
    axes.annotate(
        text,
        (x, y),
        (0, -2),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=7.5,
    )


def _keep_inside(axes: Axes) -> None:
    """Move the texts beside the edges of a panel, whose limits are settled, into it."""
    for text in axes.texts:
        if isinstance(text, Annotation):
            x, _ = axes.transLimits.transform(axes.transScale.transform(text.xy))
            text.set_horizontalalignment("left" if x < 0.1 else "right" if x > 0.9 else "center")


def _keep_percent(axes: Axes, which: str) -> None:
    """Keep an axis of percentages from 0 to 100, though an interval of few seeds goes beyond."""
    low, high = getattr(axes, f"get_{which}lim")()
    getattr(axes, f"set_{which}lim")(max(low, 0), min(high, 101))


def _say_start(axes: Axes, which: str, unit: str) -> None:
    """Say above the panel where an axis starts, unless that is zero."""
    low, _ = getattr(axes, f"get_{which}lim")()
    if getattr(axes, f"get_{which}scale")() == "log":
        axes.set_title("logarithmic axis", loc="right", **_NOTE)
    elif low > 0:
        axes.set_title(f"{which} axis starts at {low:.4g}{unit}", loc="right", **_NOTE)


def _name_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), [_plain(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.55)
    axes.grid(visible=False, axis="y")


def _name_layers(axes: Axes, layers: list[str], small: bool = False) -> None:
    """Put layers on an axis: the hidden ones by number, the output by name, not too many."""
    last = len(layers) - 1
    step = max(1, math.ceil(last / (4 if small else 9)))
    # Where some are left out, so are neighbours of the output, which the name would touch.
    shown = [place for place in range(0, last, step) if step == 1 or place < last - step / 2]
    names = [layers[place].removeprefix("hidden_") for place in shown]
    axes.set_xticks([*shown, last], [*names, "out" if small or last > 7 else "output"])
    axes.set_xlabel("Layer")
    axes.margins(x=0.06)


def _legend(figure: Figure, styles: dict[str, LineStyle], extra: list[Line2D]) -> None:
    drawn = [
        Line2D(
            [],
            [],
            color=style.color,
            linestyle=style.dashes,
            marker=style.marker,
            markersize=5,
            linewidth=1.7,
            label=_plain(name),
        )
        for name, style in styles.items()
    ]
    handles = drawn + extra
    wide = figure.get_figwidth() == _WIDTH and all(
        len(str(line.get_label())) < 30 for line in extra
    )
    rows = math.ceil(len(handles) / (5 if wide else 3))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=math.ceil(len(handles) / rows),
        handlelength=3.6,
    )


def _dots_legend(
    figure: Figure,
    table: pd.DataFrame,
    confidence: float,
    mean: str = "mean",
    extra: Sequence[Line2D] = (),
) -> None:
    handles = [
        Line2D([], [], color=_GREY, marker="o", markersize=4.5, linestyle="none", label="one seed")
    ]
    if len(_seed_columns(table)) > 1:
        label = f"{mean} and {100 * confidence:g} % interval over seeds"
        handles.append(Line2D([], [], color=_GREY, marker="D", linewidth=2.2, label=label))
    handles += extra
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))


def _zero_handles(values: Float[np.ndarray, "..."]) -> list[Line2D]:
    """Explain the hollow triangles, where there are any."""
    if not (values == 0).any():
        return []
    label = "exactly zero, below the axis"
    return [
        Line2D(
            [],
            [],
            color=_GREY,
            marker="v",
            markerfacecolor="white",
            linestyle="none",
            label=label,
        )
    ]


class HealthMap(NamedTuple):
    """How a statistic of `tables.layer_health` is drawn: a share in percent, or by factors."""

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


@_styled
def plot_health_map(health: pd.DataFrame) -> Figure:
    """Draw a statistic of health as layer x epoch maps, a panel a configuration.

    All panels have one range of shades. Numbers stand in the cells where they have room; a cell
    without a number is white, with a dash.

    Parameters
    ----------
    health
        The rows of `tables.layer_health` of one of `HEALTH_MAPS`.
    """
    drawn = HEALTH_MAPS[health["statistic"].iloc[0]]
    factor = 100 if drawn.share else 1
    values = _numbers(health, ["mean"]) * factor
    norm, shades = _shades(values, drawn.share), colormaps["Blues"]
    figure, grid, columns = _grid(health, cell=0.17)
    epochs = sorted(set(health["epoch"]))
    for (network, name), axes in grid.items():
        rows = where(health, network=network, activation=name)
        layers = _names(where(health, network=network), "layer")
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
    """Lay out a panel a configuration, as high as its network is deep; give the columns too.

    Parameters
    ----------
    cell
        The height of a layer, in inches.
    """
    networks, names = _names(table, "network"), _names(table, "activation")
    columns = len(names) if len(names) < 4 else 4 if len(names) in (4, 7, 8) else 3
    rows_each = math.ceil(len(names) / columns)
    depths = [len(_names(where(table, network=network), "layer")) for network in networks]
    heights = [cell * max(4, depth) + 0.55 for depth in depths for _ in range(rows_each)]
    figure = Figure(figsize=(_WIDTH, 0.4 + sum(heights)))
    panels = figure.subplots(
        len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    grid = {}
    for at, network in enumerate(networks):
        of_network = panels[at * rows_each : (at + 1) * rows_each].ravel()
        for axes, name in zip(of_network, names, strict=False):
            grid[network, name] = axes
            axes.set_title(f"{_plain(network)}: {_plain(name)}", loc="left", fontsize=9)
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


@_styled
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
    styles = line_styles(_names(preactivations, "activation"))
    of = {each.name: each for each in activations}
    for (network, name), axes in grid.items():
        rows = where(preactivations, network=network, activation=name)
        layers = _names(where(preactivations, network=network), "layer")
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
            Line2D([], [], color=_GREY, alpha=0.5, linewidth=7, label=f"after {epochs[-1]} epochs"),
            Line2D([], [], color=_BEHIND, linewidth=2.2, label="activation (right axis)"),
        ],
        loc="outside lower center",
        ncols=3,
    )
    return figure


#: Of the curve behind distributions, and of the line of what was before training.
_BEHIND = "#c4c4c4"
_FIRST = (0, (2, 1))


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
                        **_NOTE,
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
