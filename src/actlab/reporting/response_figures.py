"""Figures of how test results respond to the keys of a sweep, and of a tuning grid."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from actlab.engine.csvs import where
from actlab.evidence.comparisons import Metric
from actlab.reporting.figures import (
    choose_styles,
    legend_title,
    most_lines,
    scatter,
    select_panels,
    spread_evenly,
)
from actlab.reporting.look import (
    WIDTH,
    LineStyle,
    add_legend,
    escape,
    keep_percent,
    line_styles,
    make_handle,
    make_panels,
    name_rows,
    names_in,
    seed_columns,
    style_handles,
    styled,
    title_panel,
    to_numbers,
    write_value,
)
from actlab.results.study import ACTIVATION, label, line_key, numbers, setting


@styled
def plot_response(tests: pd.DataFrame, keys: Sequence[str], metric: Metric, key: str) -> Figure:
    """Draw a test result against a numeric key with bands over seeds.

    The axis is logarithmic where the largest number is eight times the smallest or more.

    Parameters
    ----------
    tests
        `summaries.tabulate_tests`.
    keys
        Of the study: up to three.
    metric
        What was tested.
    key
        The key on the axis.
    """
    lines, panel_keys = response_keys(keys, key)
    values = spread_evenly(names_in(tests, lines), most_lines(lines)) if lines else [""]
    panels = select_panels(tests, panel_keys, keys)
    columns = min(2, len(panels))
    figure, axes_of = make_panels(len(panels), columns, height=3.0 if columns == 1 else 2.7)
    styles = choose_styles(lines, values) if lines else {"": LineStyle("#0072B2", "-", "o")}
    spread = sorted(set(numbers(tests[key]) or []))
    logarithmic = spread[0] > 0 and spread[-1] >= 8 * spread[0]
    for axes, (title, table) in zip(axes_of, panels.items(), strict=True):
        if logarithmic:
            axes.set_xscale("log")
        for value in values:
            line = where(table, **{lines: value}) if lines else table
            if line.empty:
                continue
            style = styles[value]
            along = np.array(numbers(line[key]))
            mean, low, high = metric.factor * to_numbers(line, ["mean", "low", "high"]).T
            axes.fill_between(along, low, high, color=style.color, alpha=0.14, linewidth=0)
            axes.plot(
                along,
                metric.factor * to_numbers(line, seed_columns(line)),
                linestyle="none",
                marker=".",
                markersize=2.6,
                color=style.color,
                alpha=0.5,
            )
            axes.plot(
                along,
                mean,
                color=style.color,
                linestyle=style.dashes,
                linewidth=1.7,
                marker=style.marker,
                markersize=5,
            )
            lost = line["diverged_seeds"].to_numpy() > 0
            if lost.any():
                transform = axes.get_xaxis_transform()
                look = {"marker": "x", "color": style.color, "transform": transform}
                axes.plot(along[lost], 0.0 * along[lost], linestyle="none", clip_on=False, **look)
        title_panel(axes, title)
        _name_numbers(axes, spread, logarithmic)
        axes.set_xlabel(escape(label(key)).capitalize() + (" (log)" if logarithmic else ""))
    limits = [axes.get_ylim() for axes in axes_of]
    for axes in axes_of:  # one scale for all, so that they can be compared
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        if metric.unit == "points":
            keep_percent(axes, "y")
    for axes in axes_of[::columns]:
        axes.set_ylabel(metric.axis)
    handles = style_handles(styles) if lines else []
    handles.append(make_handle("one seed", marker=".", linestyle="none"))
    add_legend(figure, handles, legend_title(lines) if lines else None)
    return figure


def response_keys(keys: Sequence[str], axis: str) -> tuple[str | None, list[str]]:
    """Give the key whose values are lines, None where there is one line, and those of panels."""
    rest = [key for key in keys if key != axis]
    lines = line_key(rest) if rest else None
    return lines, [key for key in rest if key != lines]


def _name_numbers(axes: Axes, values: Sequence[float], logarithmic: bool) -> None:
    """Put a tick at each number that was tried, or at some where they are many."""
    shown = spread_evenly(values, 9)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(shown, [f"{value:g}" for value in shown])
    if not logarithmic:
        axes.margins(x=0.05)


@styled
def plot_heat(tests: pd.DataFrame, keys: Sequence[str], metric: Metric, x: str, y: str) -> Figure:
    """Draw a mean test result by two keys as shades with numbers, one panel per setting of others.

    Parameters
    ----------
    tests
        `summaries.tabulate_tests`.
    keys
        Of the study.
    metric
        What was tested.
    x, y
        The keys from left to right and from bottom to top.
    """
    panels = select_panels(tests, [key for key in keys if key not in (x, y)], keys)
    columns, rows = names_in(tests, x), names_in(tests, y)
    places = "{:.1f}" if metric.unit == "points" else "{:.2g}"
    across = 1 if len(panels) == 1 else 2 if len(columns) > 5 or len(panels) <= 4 else 3
    figure, axes_of = make_panels(len(panels), across, height=0.85 + 0.32 * max(3, len(rows)))
    grids = {}
    for title, table in panels.items():
        means = {(row[y], row[x]): metric.factor * row["mean"] for row in table.to_dict("records")}
        grids[title] = np.array(
            [[means.get((down, along), math.nan) for along in columns] for down in rows]
        )
    has = np.concatenate([grid[np.isfinite(grid)] for grid in grids.values()])
    # A few settings that do not train would leave the others one shade.
    cut, ends = (0.1, 1.0) if metric.larger_is_better else (0.0, 0.9)
    low, high = map(float, np.quantile(has, (cut, ends))) if has.size else (0.0, 0.0)
    norm = Normalize(low, max(low + 1e-4 * max(1.0, abs(low)), high))
    shades = colormaps["viridis"]
    room = (6.4 if across > 1 else 4.8) / across / len(columns)
    for axes, (title, grid) in zip(axes_of, grids.items(), strict=True):
        axes.pcolormesh(grid, cmap=shades, norm=norm, edgecolors="white", linewidth=0.6)
        if room > 0.24:
            for (down, along), value in np.ndenumerate(grid):
                dark = math.isfinite(value) and norm(value) < 0.6
                axes.text(
                    along + 0.5,
                    down + 0.5,
                    places.format(value) if math.isfinite(value) else "–",
                    ha="center",
                    va="center_baseline",
                    fontsize=7 if room > 0.4 else 5.5,
                    color="white" if dark else "black",
                )
        for values, set_ticks in ((columns, axes.set_xticks), (rows, axes.set_yticks)):
            step = math.ceil(len(values) / 12)
            set_ticks(np.arange(0, len(values), step) + 0.5, list(map(escape, values[::step])))
        axes.tick_params(length=0, labelsize=7)
        if max(map(len, columns)) > 6 and len(columns) > 4:
            axes.tick_params(axis="x", rotation=45)
        title_panel(axes, title)
        axes.set_xlabel(escape(label(x)).capitalize(), fontsize=8)
        if axes in axes_of[::across]:
            axes.set_ylabel(escape(label(y)).capitalize(), fontsize=8)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(
        ScalarMappable(norm, shades),
        ax=axes_of,
        extend="min" if metric.larger_is_better else "max",
        fraction=0.03,
        aspect=35,
    )
    bar.set_label(f"Mean {metric.axis[0].lower()}{metric.axis[1:]}", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


@styled
def plot_tuning(
    grid: pd.DataFrame, tuning: pd.DataFrame, keys: Sequence[str], near: float
) -> Figure:
    """Draw the validation accuracy of each setting of a tuning grid, one row per value tuned for.

    Parameters
    ----------
    grid
        `Study.grid` of a fair sweep.
    tuning
        `summaries.tabulate_tuning` of it.
    keys
        `Study.tuned_for`.
    near
        The difference from the best accuracy that is shaded, a fraction.
    """
    rows = tuning.to_dict("records")
    names = [setting(row, keys, keys) for row in rows]
    styles = line_styles([str(row.get(ACTIVATION, "")) for row in rows])
    figure = Figure(figsize=(WIDTH, 1.1 + 0.55 * len(rows)))
    axes = figure.subplots()
    for place, row in enumerate(rows):
        tried = where(grid, **{key: row[key] for key in keys})
        values = 100 * tried["val_accuracy"].fillna(0.0).to_numpy(dtype=float)
        style = styles[str(row.get(ACTIVATION, ""))]
        best, median = 100 * row["best"], 100 * row["median"]
        axes.fill_betweenx(
            [place - 0.35, place + 0.35],
            best - 100 * near,
            best,
            color=style.color,
            alpha=0.15,
            linewidth=0,
        )
        lost = (tried["outcome"] == "diverged").to_numpy()
        for chosen, marker in ((~lost, "o"), (lost, "x")):
            axes.plot(
                values[chosen],
                (place - 0.22 + 0.44 * scatter(len(values)))[chosen],
                linestyle="none",
                marker=marker,
                markersize=4.5,
                color=style.color,
                alpha=0.75,
            )
        axes.plot([median] * 2, [place - 0.33, place + 0.33], color="black", linewidth=1.5)
        axes.plot(
            [best],
            [place],
            marker="D",
            markersize=7,
            color=style.color,
            markeredgecolor="black",
            zorder=4,
        )
        write_value(axes, f"{best:.2f}", best, place + 0.3)
    name_rows(axes, names)
    keep_percent(axes, "x")
    axes.set_xlabel("Mean validation accuracy (%)")
    handles = [
        make_handle("one setting", marker="o", linestyle="none"),
        make_handle("chosen", marker="D", linestyle="none"),
        make_handle("median", color="black", marker="|", markersize=9, linestyle="none"),
    ]
    add_legend(figure, handles)
    return figure
