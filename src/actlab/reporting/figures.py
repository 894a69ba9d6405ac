"""Tables of a study -> Matplotlib figures: curves, accuracy, differences, tuning, time.

What is drawn follows from the keys of the study: accuracy as dots where a setting has a network or
a name, against a numeric key as lines, by two keys as a heat map. What would not be readable is
left out, evenly over the values; `shown_of` says how much.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from actlab.engine.csvs import where
from actlab.evidence.comparisons import Metric
from actlab.reporting.look import (
    NOTE,
    LineStyle,
    add_legend,
    draw_interval,
    escape,
    keep_percent,
    line_styles,
    log_axis,
    make_handle,
    make_panels,
    name_rows,
    names_in,
    on_log,
    plot_dots,
    seed_columns,
    seed_handles,
    style_handles,
    styled,
    title_panel,
    to_numbers,
    write_value,
)
from actlab.results.study import ACTIVATION, PHASE, label, line_key, numbers, setting

#: How many panels, lines or rows in a panel, and rows of differences a figure may have.
MOST_PANELS, MOST_LINES, MOST_ROWS = 12, 10, 50

#: Of more settings only the validation curves are drawn: each setting has a row of panels.
MOST_SPLIT = 4

_MARKERS = "os^vDPX*"


# --- Panels and lines -----------------------------------------------------------------------


def part(table: pd.DataFrame, keys: Sequence[str], among: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Split a table by the values of keys, in the order of its rows; by the text of the values."""
    if not keys:
        return {"": table}
    return {
        setting(rows.iloc[0].to_dict(), keys, among): rows
        for _, rows in table.groupby(list(keys), sort=False)
    }


def select_panels(
    table: pd.DataFrame, keys: Sequence[str], among: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Give the parts of a table that have a panel: all of few, some of many."""
    parts = part(table, keys, among)
    return {name: parts[name] for name in spread_evenly(list(parts), MOST_PANELS)}


def spread_evenly(values: Sequence[Any], most: int) -> list[Any]:
    """Choose at most so many of a sequence, its ends among them.

    >>> spread_evenly([1, 2, 3, 4, 5], 3), spread_evenly([1, 2], 3)
    ([1, 3, 5], [1, 2])
    """
    if len(values) <= most:
        return list(values)
    return [values[round(place)] for place in np.linspace(0, len(values) - 1, most)]


def shown_of(
    table: pd.DataFrame,
    keys: Sequence[str],
    panel_keys: Sequence[str],
    key: str | None = None,
    most: int = MOST_LINES,
) -> str:
    """Say how many panels and values of a key a figure shows, where it is not all of them."""
    left = []
    panels = len(part(table, panel_keys, keys))
    if panels > MOST_PANELS:
        left.append(f"{MOST_PANELS} of {panels} settings")
    if key is not None and (values := len(set(table[key]))) > most:
        left.append(f"{most} of {values} values of {label(key)}")
    return f" Shown: {' and '.join(left)}, evenly chosen; the data has all." if left else ""


def most_lines(key: str) -> int:
    """Give how many values of a key a panel has lines for; each activation has its style."""
    return 64 if key == ACTIVATION else MOST_LINES


def choose_styles(key: str, values: Sequence[str]) -> dict[str, LineStyle]:
    """Give each line its style: activations theirs, numbers shades from dark to light."""
    if key == ACTIVATION or not numbers(values):
        return line_styles(values)
    shades = colormaps["viridis"](np.linspace(0, 0.85, len(values)))
    dashes = ("-", (0, (5, 1.5)), (0, (2, 1.2)))
    return {
        value: LineStyle(
            "#" + "".join(f"{round(255 * channel):02x}" for channel in shades[place][:3]),
            dashes[place % len(dashes)],
            _MARKERS[place % len(_MARKERS)],
        )
        for place, value in enumerate(values)
    }


def legend_title(key: str) -> str | None:
    """Name the key whose values are lines, unless they are activations."""
    return None if key == ACTIVATION else escape(label(key))


def scatter(count: int) -> np.ndarray:
    """Spread dots over 0 to 1 in an order that leaves no pattern: multiples of the golden ratio."""
    return (np.arange(count) * 0.618033988749895) % 1


# --- Learning curves ------------------------------------------------------------------------


@styled
def plot_learning_curves(
    curves: pd.DataFrame,
    keys: Sequence[str],
    confidence: float,
    title: str,
    factor: int = 1,
    is_logarithmic: bool = False,
) -> Figure:
    """Draw a metric by epoch: one panel per setting and split, one line per value of a key.

    Thin lines are single seeds, where panels are few. Of more than `MOST_SPLIT` settings the
    training curves are left out.

    Parameters
    ----------
    curves
        `summaries.learning_curves`.
    keys
        Of the study.
    confidence
        Of the bands.
    title
        Of the vertical axis.
    factor
        100 for percentages.
    is_logarithmic
        Whether the vertical axis is.
    """
    key = line_key(keys)
    values = spread_evenly(names_in(curves, key), most_lines(key))
    settings = select_panels(
        where(curves, **{key: values}), [other for other in keys if other != key], keys
    )
    splits = names_in(curves, "split")
    if len(settings) > MOST_SPLIT:
        splits = splits[-1:]
    columns = len(splits) if len(splits) > 1 else 1 if len(settings) == 1 else 2
    columns = 3 if len(splits) == 1 and len(settings) > 4 else columns
    height = 2.7 if columns < 3 else 2.1
    figure, axes_of = make_panels(len(settings) * len(splits), columns, height)
    styles, seeds = choose_styles(key, values), seed_columns(curves)
    panels = [(name, split, rows) for name, rows in settings.items() for split in splits]
    for place, (axes, (name, split, rows)) in enumerate(zip(axes_of, panels, strict=True)):
        foot = None
        if is_logarithmic:
            foot = log_axis(axes, "y", to_numbers(rows, ["mean", "high", *seeds]))
        drawn = where(rows, split=split)
        diverged, count = _plot_lines(axes, drawn, key, styles, factor, foot, columns < 3)
        if diverged:
            note = f"{diverged} of {count} runs diverged"
            axes.text(0.02, 0.03, note, transform=axes.transAxes, **NOTE)
        heading = f"{name}: {split}" if name and len(splits) > 1 else name or split
        title_panel(axes, heading, 30 if columns == 3 else 60)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        if factor == 100:
            # The panels of a setting have one range, by the means: the bands of few seeds would
            # flatten the curves.
            means = factor * to_numbers(rows, ["mean"])
            finite = means[np.isfinite(means)]
            if finite.size:
                room = max(0.2, 0.12 * float(np.ptp(finite)))
                axes.set_ylim(max(0.0, finite.min() - room), min(100.5, finite.max() + room))
        if place >= len(axes_of) - columns:
            axes.set_xlabel("Epoch")
        if place % columns == 0:
            axes.set_ylabel(title)
    handles = style_handles(styles)
    if columns < 3:
        handles.append(make_handle("one seed", linewidth=0.5))
    if len(seeds) > 1:
        label = f"{100 * confidence:g} % band of the mean"
        handles.append(make_handle(label, color="#cccccc", linewidth=6))
    add_legend(figure, handles, legend_title(key))
    return figure


def _plot_lines(
    axes: Axes,
    rows: pd.DataFrame,
    key: str,
    styles: Mapping[str, LineStyle],
    factor: int,
    foot: float | None,
    shows_seeds: bool,
) -> tuple[int, int]:
    """Draw each line with its band; give how many seeds diverged, and of how many."""
    diverged = count = 0
    for place, (value, style) in enumerate(styles.items()):
        line = where(rows, **{key: value})
        if line.empty:
            continue
        epoch = line["epoch"].to_numpy()
        runs = to_numbers(line, seed_columns(line)) * factor
        mean, low, high = to_numbers(line, ["mean", "low", "high"]).T * factor
        trained = np.isfinite(runs).any(axis=0)
        diverged += int((trained & ~np.isfinite(runs).all(axis=0)).sum())
        count += int(trained.sum())
        if foot is not None:
            low = np.maximum(low, foot)
        if shows_seeds:
            axes.plot(epoch, on_log(runs, foot), color=style.color, linewidth=0.5, alpha=0.35)
        axes.fill_between(epoch, low, high, color=style.color, alpha=0.18, linewidth=0)
        axes.plot(
            epoch,
            on_log(mean, foot),
            color=style.color,
            linestyle=style.dashes,
            linewidth=1.7,
            marker=style.marker,
            markersize=4,
            markevery=(min(place, len(epoch) - 1), max(1, len(epoch) // 5)),
        )
    return diverged, count


# --- Accuracy -------------------------------------------------------------------------------


@styled
def plot_tests(
    tests: pd.DataFrame, keys: Sequence[str], metric: Metric, confidence: float
) -> Figure:
    """Draw the test result of every seed above mean and interval, one panel per setting.

    Parameters
    ----------
    tests
        `summaries.tabulate_tests`.
    keys
        Of the study.
    metric
        What was tested.
    confidence
        Of the intervals.
    """
    places = "{:.2f}" if metric.unit == "points" else "{:.4g}"
    key = line_key(keys)
    panels = {
        name: rows.loc[spread_evenly(rows.index.tolist(), MOST_ROWS)]
        for name, rows in select_panels(
            tests, [other for other in keys if other != key], keys
        ).items()
    }
    most = max(map(len, panels.values()))
    figure, axes_of = make_panels(len(panels), 2, height=0.8 + 0.5 * most)
    for axes, (name, rows) in zip(axes_of, panels.items(), strict=True):
        plot_dots(axes, rows, places.format, metric.factor, key=key)
        axes.set_title(escape(name), loc="left")
        axes.set_xlabel(metric.axis)
        axes.margins(x=0.12)
        if metric.unit == "points":
            keep_percent(axes, "x")
    add_legend(figure, seed_handles(tests, confidence))
    return figure


# --- Differences ----------------------------------------------------------------------------


def part_differences(
    compared: pd.DataFrame, keys: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Lay pairs out in panels: by setting, or by pair where a setting has one pair alone.

    Give the rows of `comparisons.compare` by the panel's title; `name` is what a row is called.
    """
    panels: dict[str, list[dict[str, Any]]] = {}
    for key, rows in compared.groupby("key", sort=False):
        single = len(rows[["first", "second"]].drop_duplicates()) == 1 and len(rows) > 1
        for row in rows.to_dict("records"):
            shared = [name for name in keys if row.get(name, "") != ""]
            at, pair = setting(row, shared, keys), f"{row['first']} − {row['second']}"
            title, name = (pair, at) if single and at else (at, pair)
            if key not in ("", ACTIVATION, PHASE):
                title = f"{label(str(key))}{f': {title}' if title else ''}"
            named = {str(column): value for column, value in row.items()} | {"name": name}
            panels.setdefault(title, []).append(named)
    return panels


@styled
def plot_differences(compared: pd.DataFrame, keys: Sequence[str], confidence: float) -> Figure:
    """Draw the difference of each pair with its intervals and verdict, one panel per setting.

    Parameters
    ----------
    compared
        Rows of `comparisons.compare` of test_accuracy.
    keys
        Of the study.
    confidence
        Of the intervals.
    """
    panels = part_differences(compared, keys)
    most = max(map(len, panels.values()))
    figure, axes_of = make_panels(len(panels), 2, height=0.8 + 0.38 * most)
    for axes, (title, rows) in zip(axes_of, panels.items(), strict=True):
        margin = 100 * rows[0]["margin"]
        axes.axvline(0, color="black", linewidth=0.8)
        for bound in (-margin, margin):
            axes.axvline(bound, color="#555555", linewidth=1, linestyle=(0, (1, 2)))
        for place, row in enumerate(rows):
            axes.text(
                1.02, place, row["verdict"], transform=axes.get_yaxis_transform(), va="center"
            )
            if not math.isfinite(row["mean"]):
                axes.text(0.0, place, "undefined", va="center", ha="center", **NOTE)
                continue
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
        name_rows(axes, [row["name"] for row in rows])
        title_panel(axes, title)
        axes.set_xlabel("Difference of test accuracy (points)")
    looks = [("over new seeds", 3.0)]
    if np.isfinite(to_numbers(compared, ["new_images_low"])).any():
        looks.append(("over new seeds and images", 1.0))
    handles = [
        make_handle(f"{100 * confidence:g} % {label}", color="#0072B2", linewidth=width)
        for label, width in looks
    ]
    add_legend(figure, [*handles, make_handle("margin", color="#555555", linestyle=(0, (1, 2)))])
    return figure


# --- Time -----------------------------------------------------------------------------------


@styled
def plot_epoch_seconds(blocks: pd.DataFrame) -> Figure:
    """Draw the time per epoch of every block; below, median and middle half.

    Parameters
    ----------
    blocks
        activation, network, epoch_seconds (in seconds): one row per timed block.
    """
    networks, names = names_in(blocks, "network"), names_in(blocks, "activation")
    styles = line_styles(names)
    figure, panels = make_panels(len(networks), 2, height=0.8 + 0.5 * len(names))
    for axes, network in zip(panels, networks, strict=False):
        for place, name in enumerate(names):
            rows = where(blocks, network=network, activation=name)
            seconds = rows["epoch_seconds"].to_numpy()
            axes.plot(
                seconds,
                place - 0.34 + 0.3 * scatter(len(seconds)),
                linestyle="none",
                marker="o",
                markersize=3,
                color=styles[name].color,
                alpha=0.6,
            )
            low, median, high = map(float, np.quantile(seconds, [0.25, 0.5, 0.75]))
            draw_interval(axes, low, high, place, styles[name].color)
            axes.plot([median] * 2, [place, place + 0.18], color="black", linewidth=1.6)
            write_value(axes, f"{median:.3f} s", median, place + 0.17)
        name_rows(axes, names)
        axes.set_xlim(0, 1.06 * max(blocks["epoch_seconds"]))
        axes.set_title(escape(network), loc="left")
        axes.set_xlabel("Time per epoch (s)")
    handles = [
        make_handle("one block", marker=".", linestyle="none"),
        make_handle("median", color="black", linewidth=1.6),
        make_handle("middle half", linewidth=2.2),
    ]
    add_legend(figure, handles)
    return figure
