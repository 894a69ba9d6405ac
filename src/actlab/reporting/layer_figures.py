"""Tables of a study's layers -> Matplotlib figures: gradients and theory."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from actlab.engine.csvs import where
from actlab.evidence.wording import counted, written
from actlab.reporting.look import (
    WIDTH,
    LineStyle,
    add_legend,
    escape,
    line_styles,
    log_axis,
    make_grid,
    make_handle,
    make_panels,
    name_layers,
    names_in,
    on_log,
    plot_dots,
    seed_columns,
    seed_handles,
    style_handles,
    styled,
    to_numbers,
)


@styled
def plot_first_layer_gradients(gradients: pd.DataFrame, confidence: float) -> Figure:
    """Draw the mean absolute gradient of the first layer, before and after training.

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
    for row, network in zip(rows, networks, strict=True):
        for axes, epoch in zip(row, epochs, strict=True):
            panel = where(means, network=network, epoch=epoch)
            # Of two seeds an interval can span dozens of decades: seeds alone settle the axis.
            foot = log_axis(axes, "x", to_numbers(panel, seed_columns(panel)), margin=3.0)
            plot_dots(axes, panel, written, foot=foot)
            when = "before training" if epoch == 0 else f"after {counted(epoch, 'epoch')}"
            axes.set_title(f"{escape(network)}: {when}", loc="left")
            axes.set_xlabel("Mean |gradient| of the first layer", loc="left")
    add_legend(figure, seed_handles(gradients, confidence, "geometric mean"))
    return figure


@styled
def plot_gradients_by_layer(gradients: pd.DataFrame) -> Figure:
    """Draw the gradient's norm by layer, one panel per network, one line per activation.

    Parameters
    ----------
    gradients
        `layer_summaries.gradients_by_layer` of one epoch.
    """
    networks, seeds = names_in(gradients, "network"), seed_columns(gradients)
    styles = line_styles(names_in(gradients, "activation"))
    figure, panels = make_panels(len(networks), 2, height=3.2)
    for axes, network in zip(panels, networks, strict=False):
        rows = where(gradients, network=network)
        foot = log_axis(axes, "y", to_numbers(rows, ["mean", *seeds]))
        for name, style in styles.items():
            line = where(rows, activation=name)
            place = np.arange(len(line))
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
        name_layers(axes, names_in(rows, "layer"))
        axes.set_title(escape(network), loc="left")
        axes.set_ylabel("L2 norm of the kernel's gradient")
    add_legend(figure, [*style_handles(styles), make_handle("one seed", linewidth=0.5)])
    return figure


@styled
def plot_gradients_through_training(gradients: pd.DataFrame) -> Figure:
    """Draw the gradient's mean norm by layer, one panel per configuration, one line per epoch.

    Parameters
    ----------
    gradients
        `layer_summaries.gradients_by_layer`.
    """
    epochs = sorted(set(gradients["epoch"]))
    # From dark to light, short of the yellow that white paper swallows.
    shades = colormaps["viridis"](np.linspace(0, 0.82, len(epochs)))
    looks = {
        epoch: {"color": shade, "marker": "osD^vP"[place % 6], "markersize": 3.5}
        for place, (epoch, shade) in enumerate(zip(epochs, shades, strict=True))
    }
    figure, grid, columns = make_grid(gradients, lambda _: 2.3)
    for place, ((network, name), axes) in enumerate(grid.items()):
        rows = where(gradients, network=network)
        foot = log_axis(axes, "y", to_numbers(rows, ["mean"]))  # one range for a network
        for epoch, look in looks.items():
            mean = to_numbers(where(rows, activation=name, epoch=epoch), ["mean"])
            axes.plot(range(len(mean)), on_log(mean, foot), linewidth=1.3, **look)
        name_layers(axes, names_in(rows, "layer"), small=columns > 2)
        if place % columns == 0:
            axes.set_ylabel("L2 norm of gradient")
    handles = [make_handle(str(epoch), **look) for epoch, look in looks.items()]
    add_legend(figure, handles, "Epochs trained")
    return figure


@styled
def plot_theory(ratios: pd.DataFrame, confidence: float) -> Figure:
    """Draw predicted ratios (lines with bands) and measured ones (points) of untrained layers.

    One row of panels per activation: pre-activations on the left, their gradient on the right.

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
    columns = ["predicted", "band_low", "band_high", "geometric_mean"]
    for row, name in zip(grid, names, strict=True):
        for axes, (direction, way) in zip(row, ways.items(), strict=True):
            panel = where(ratios, activation=name, direction=direction)
            log_axis(axes, "y", np.append(to_numbers(panel, columns), 1.0))
            axes.axhline(1, color="#555555", linewidth=0.8)
            for initializer, style in marks.items():
                line = where(panel, kernel_initializer=initializer).drop_duplicates("layer")
                layers = line["layer"].str.removeprefix("hidden_").astype(int).to_numpy()
                predicted, low, high, mean = to_numbers(line, columns).T
                axes.fill_between(layers, low, high, color=style.color, alpha=0.16, linewidth=0)
                axes.plot(layers, predicted, color=style.color, linestyle=style.dashes)
                axes.vlines(layers, *to_numbers(line, ["low", "high"]).T, color=style.color, lw=0.8)
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
    handles = style_handles(
        {_label_initializer(ratios, name): style for name, style in marks.items()}
    )
    handles.append(make_handle("band about the prediction", color="#cccccc", linewidth=6))
    if max(ratios["seeds"]) > 1:
        label = f"{100 * confidence:g} % interval over seeds"
        handles.append(make_handle(label, linewidth=0.8))
    add_legend(figure, handles, "Lines: predicted; points: measured")
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


def _label_initializer(ratios: pd.DataFrame, kernel_initializer: str) -> str:
    rows = where(ratios, kernel_initializer=kernel_initializer, initializer="recommended")
    names = names_in(rows, "activation")
    return kernel_initializer + (f" (recommended: {', '.join(names)})" if names else "")
