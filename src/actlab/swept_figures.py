"""Tables of a sweep -> Matplotlib figures, in the look of `figures`.

What is drawn follows from what was swept: accuracy against one numeric key, a heat map of two keys,
parallel coordinates of more, rows of dots where only activations differ. A panel that would not be
readable is left out, evenly over the values, and the caption says so.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from actlab.figures import (
    _GREY,
    _NOTE,
    _WIDTH,
    LineStyle,
    _keep_percent,
    _legend,
    _name_rows,
    _panels,
    _plain,
    _say_start,
    _styled,
    _write_value,
    line_styles,
    plot_test_accuracy,
)
from actlab.swept import ACTIVATION, NEAR_BEST, PHASE, Sweep, diverged_seeds, label, numbers, varies
from actlab.tables import over_seeds, where

#: How many panels, lines in a panel and rows of differences a figure may have.
MOST_PANELS, MOST_LINES, MOST_ROWS = 12, 10, 40

_MARKERS = "os^vDPX*"


class Drawing(NamedTuple):
    """A figure, the table that it shows, and what stands below it and for those who do not see."""

    figure: Figure
    table: pd.DataFrame
    caption: str
    alt: str


def draw(
    sweep: Sweep,
    scores: pd.DataFrame,
    curves: pd.DataFrame,
    compared: pd.DataFrame,
    sensitivity: pd.DataFrame,
    confidence: float,
) -> dict[str, Drawing]:
    """Draw the figures that fit what was swept, by the names of their files.

    Parameters
    ----------
    sweep
        What was measured.
    scores, curves, compared, sensitivity
        Of `swept`, by the functions `score`, `curves`, `compare` and `sensitivity`.
    confidence
        Of every band and interval.
    """
    accuracy = tabulate_accuracy(sweep, scores, confidence)
    others = [key for key in sweep.others if len(sweep.values(key)) > 1]
    numeric = [key for key in others if len(sweep.values(key)) > 2 and numbers(sweep.values(key))]
    band = f"{100 * confidence:g} % interval over seeds"
    drawings: dict[str, Drawing] = {}
    if not sweep.is_fair and len(others) == 1 and numeric:
        drawings["accuracy"] = _against(sweep, accuracy, numeric[0], None, band)
    elif not sweep.is_fair and len(others) == 2 and len(numeric) == 1:
        (panel,) = set(others) - set(numeric)
        drawings["accuracy"] = _against(sweep, accuracy, numeric[0], panel, band)
    elif len(others) == 2 and not sweep.is_fair:
        drawings["accuracy"] = _heat(sweep, accuracy, others)
    elif len(others) > 2 and not sweep.is_fair:
        drawings["accuracy"] = _parallel(sweep, accuracy)
    else:
        drawings["accuracy"] = _dots(sweep, accuracy, confidence)
    if not curves.empty:
        drawings["curves"] = _curves(sweep, curves, confidence)
    tests = where(compared, metric="test_accuracy")
    if not sweep.is_fair and ACTIVATION in set(tests["key"]):  # the tables have the other keys
        tests = where(tests, key=ACTIVATION)
    if 0 < len(tests) <= MOST_ROWS and np.isfinite(tests["low"]).any():
        drawings["differences"] = _differences(sweep, tests, confidence)
    if not sensitivity.empty:
        drawings["sensitivity"] = _sensitivity(sweep, sensitivity)
    return drawings


def tabulate_accuracy(sweep: Sweep, scores: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Tabulate test accuracy over seeds: `sweep.keys`, mean, sd, low, high, then every seed's."""
    values = where(scores, metric="test_accuracy")
    reduced = over_seeds(values, ["configuration"], "value", confidence)
    held = reduced.drop(columns=["configuration"])
    if held.isna().to_numpy().any():  # seeds that a configuration lacks take no part in its mean
        from actlab.statistics import mean_interval

        for place, number in enumerate(reduced["configuration"]):
            own = where(values, configuration=number)["value"].to_numpy(dtype=float)
            reduced.loc[place, ["mean", "sd", "low", "high"]] = list(mean_interval(own, confidence))
    names = sweep.configurations[["configuration", *sweep.keys]]
    return names.merge(reduced, on="configuration")


def spread_evenly(values: Sequence[Any], most: int) -> list[Any]:
    """Choose at most so many of a sequence, its ends among them.

    >>> spread_evenly([1, 2, 3, 4, 5], 3), spread_evenly([1, 2], 3)
    ([1, 3, 5], [1, 2])
    """
    if len(values) <= most:
        return list(values)
    return [values[round(at)] for at in np.linspace(0, len(values) - 1, most)]


def _line_key(sweep: Sweep) -> str:
    """Give the key whose values are lines in a panel: the activation, or the last one."""
    return ACTIVATION if ACTIVATION in sweep.keys else sweep.keys[-1]


def _styles(key: str, values: Sequence[str]) -> dict[str, LineStyle]:
    """Give each line its style: activations theirs, numbers shades from dark to light."""
    if key == ACTIVATION or not numbers(values):
        return line_styles(values)
    shades = colormaps["viridis"](np.linspace(0, 0.85, len(values)))
    dashes = ("-", (0, (5, 1.5)), (0, (2, 1.2)))
    return {
        value: LineStyle(
            "#" + "".join(f"{round(255 * part):02x}" for part in shades[at][:3]),
            dashes[at % len(dashes)],
            _MARKERS[at % len(_MARKERS)],
        )
        for at, value in enumerate(values)
    }


def _groups(sweep: Sweep, table: pd.DataFrame, keys: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Part a table by the values of keys; by what is said of them."""
    if not keys:
        return {"": table}
    return {
        sweep.setting(dict(of.iloc[0]), keys): of for _, of in table.groupby(list(keys), sort=False)
    }


def _title_legend(figure: Figure, key: str | None) -> None:
    """Say above a legend whose values its lines are, unless they are activations."""
    if key is not None and key != ACTIVATION:
        figure.legends[-1].set_title(_plain(label(key)))


# --- Learning curves ----------------------------------------------------------------------


def _curves(sweep: Sweep, curves: pd.DataFrame, confidence: float) -> Drawing:
    key = _line_key(sweep)
    panels = _groups(sweep, curves, [other for other in sweep.keys if other != key])
    shown = spread_evenly(list(panels), MOST_PANELS)
    values = spread_evenly(sweep.values(key), MOST_LINES)
    left = []
    if len(shown) < len(panels):
        left.append(f"{len(shown)} of {len(panels)} settings")
    if len(values) < len(sweep.values(key)):
        left.append(f"{len(values)} of {len(sweep.values(key))} values of {label(key)}")
    figure = plot_curves({name: panels[name] for name in shown}, key, values, confidence)
    what = "validation" if sweep.has_held_out else "test"
    caption = (
        f"Accuracy on the {what} images by epoch: mean over seeds with its"
        f" {100 * confidence:g} % band."
    )
    if len(shown) > 4:
        caption += " No axis starts at zero."
    if left:
        caption += f" Shown: {' and '.join(left)}, evenly chosen; the data has all."
    return Drawing(
        figure,
        curves,
        caption,
        f"Accuracy on {what} images by epoch, a line for each of {', '.join(values)}.",
    )


@_styled
def plot_curves(
    panels: Mapping[str, pd.DataFrame], key: str, values: Sequence[str], confidence: float
) -> Figure:
    """Draw validation accuracy by epoch with bands, a panel a setting, a line a value of a key.

    Parameters
    ----------
    panels
        Rows of `swept.curves`, by the panel's title.
    key
        Whose values are lines.
    values
        Those that are drawn.
    confidence
        Of the bands.
    """
    columns = 1 if len(panels) == 1 else 2 if len(panels) <= 4 else 3
    figure, axes_of = _panels(len(panels), columns, height=2.6 if columns < 3 else 2.1)
    styles = _styles(key, values)
    for axes, (title, table) in zip(axes_of, panels.items(), strict=True):
        for place, value in enumerate(values):
            line = where(table, **{key: value})
            if line.empty:
                continue
            style, epoch = styles[value], line["epoch"].to_numpy()
            mean, low, high = 100 * line[["mean", "low", "high"]].to_numpy(dtype=float).T
            axes.fill_between(epoch, low, high, color=style.color, alpha=0.16, linewidth=0)
            axes.plot(
                epoch,
                mean,
                color=style.color,
                linestyle=style.dashes,
                linewidth=1.5,
                marker=style.marker,
                markersize=3.6,
                markevery=(min(place, len(epoch) - 1), max(1, len(epoch) // 4)),
            )
        means = 100 * where(table, **{key: list(values)})["mean"].to_numpy(dtype=float)
        if means.size:  # the bands of few seeds would flatten the curves
            room = max(0.2, 0.12 * float(np.ptp(means)))
            axes.set_ylim(max(0.0, float(means.min()) - room), float(means.max()) + room)
        _keep_percent(axes, "y")
        if columns < 3:
            axes.set_title(_plain(title), loc="left", fontsize=9)
            _say_start(axes, "y", " %")
        else:
            axes.set_title(_plain(fill(title, 30)), loc="left", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    for at, axes in enumerate(axes_of):
        if at >= len(axes_of) - columns:
            axes.set_xlabel("Epoch")
        if at % columns == 0:
            axes.set_ylabel("Accuracy (%)")
    extra = []
    if any((of["seeds"] > 1).any() for of in panels.values()):
        text = f"{100 * confidence:g} % band"
        extra = [Line2D([], [], color="#cccccc", linewidth=6, label=text)]
    _legend(figure, styles, extra)
    _title_legend(figure, key)
    return figure


# --- Accuracy against a key ---------------------------------------------------------------


def _against(
    sweep: Sweep, accuracy: pd.DataFrame, key: str, panel: str | None, band: str
) -> Drawing:
    lines = ACTIVATION if ACTIVATION in sweep.keys else None
    if lines is None and panel is not None:
        lines, panel = panel, None
    panels = _groups(sweep, accuracy, [panel] if panel else [])
    shown = spread_evenly(list(panels), MOST_PANELS)
    names = sweep.values(lines) if lines else [""]
    values = spread_evenly(names, MOST_LINES)
    caption = f"Test accuracy against {label(key)}: means with {band}; each small dot is a seed."
    if diverged_seeds(sweep):
        caption += (
            " A cross on the lower edge marks a configuration of which a seed diverged; its"
            " accuracy is counted as measured."
        )
    if len(shown) < len(panels) or len(values) < len(names):
        caption += " Not all are shown, chosen evenly; the data has all."
    of = f", a line for each of {', '.join(values)}" if lines else ""
    marked = accuracy.copy()
    marked["diverged_seeds"] = [
        len(diverged_seeds(sweep).get(number, [])) for number in marked["configuration"]
    ]
    figure = plot_against(
        {name: marked.loc[panels[name].index] for name in shown},
        key,
        lines,
        values,
    )
    return Drawing(figure, marked, caption, f"Mean test accuracy against {label(key)}{of}.")


@_styled
def plot_against(
    panels: Mapping[str, pd.DataFrame], key: str, lines: str | None, values: Sequence[str]
) -> Figure:
    """Draw test accuracy against a numeric key with bands over seeds, a line a value of another.

    The axis is logarithmic where the largest number is eight times the smallest or more.

    Parameters
    ----------
    panels
        Rows of `tabulate_accuracy` with diverged_seeds, by the panel's title.
    key
        Whose numbers the axis has.
    lines
        The key whose values are lines; None for one line alone.
    values
        Those that are drawn.
    """
    columns = min(2, len(panels))
    figure, axes_of = _panels(len(panels), columns, height=3.0 if columns == 1 else 2.7)
    styles = _styles(lines or key, values) if lines else {"": LineStyle("#0072B2", "-", "o")}
    everything = pd.concat(list(panels.values()))
    spread = sorted(set(numbers(everything[key]) or []))
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
            mean, low, high = 100 * line[["mean", "low", "high"]].to_numpy(dtype=float).T
            seeds = [column for column in line.columns if column.startswith("seed_")]
            axes.fill_between(along, low, high, color=style.color, alpha=0.14, linewidth=0)
            axes.plot(
                along,
                100 * line[seeds].to_numpy(dtype=float),
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
                axes.plot(
                    along[lost],
                    np.full(int(lost.sum()), 0.0),
                    linestyle="none",
                    marker="x",
                    markersize=6,
                    color=style.color,
                    transform=axes.get_xaxis_transform(),
                    clip_on=False,
                    zorder=5,
                )
        axes.set_title(_plain(title), loc="left", fontsize=9)
        _name_numbers(axes, spread, logarithmic)
        axes.set_xlabel(_plain(label(key)).capitalize() + (" (log)" if logarithmic else ""))
    limits = [axes.get_ylim() for axes in axes_of]
    for axes in axes_of:  # one scale for all, so that they can be compared
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        _keep_percent(axes, "y")
        _say_start(axes, "y", " %")
    for axes in axes_of[::columns]:
        axes.set_ylabel("Test accuracy (%)")
    extra = [Line2D([], [], color=_GREY, marker=".", linestyle="none", label="one seed")]
    _legend(figure, styles if lines else {}, extra)
    _title_legend(figure, lines)
    return figure


def _name_numbers(axes: Axes, values: Sequence[float], logarithmic: bool) -> None:
    """Put a tick at each number that was tried, or at some where they are many."""
    shown = spread_evenly(values, 9)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(shown, [f"{value:g}" for value in shown])
    if not logarithmic:
        axes.margins(x=0.05)


# --- Heat map, parallel coordinates -------------------------------------------------------


def _heat(sweep: Sweep, accuracy: pd.DataFrame, others: Sequence[str]) -> Drawing:
    lines = [ACTIVATION] if ACTIVATION in sweep.keys else []
    panels = _groups(sweep, accuracy, lines)
    shown = spread_evenly(list(panels), MOST_PANELS)
    # The key with more values goes from left to right.
    x, y = sorted(others, key=lambda key: -len(sweep.values(key)))
    chosen = {name: panels[name] for name in shown}
    figure = plot_heat(chosen, x, y, sweep.values(x), sweep.values(y))
    caption = (
        f"Mean test accuracy in percent by {label(x)} and {label(y)}. White: nothing finished, or"
        " no number."
    )
    if len(shown) < len(panels):
        caption += f" {len(shown)} of {len(panels)} are shown; the data has all."
    return Drawing(
        figure, accuracy, caption, f"Heat map of mean test accuracy by {label(x)} and {label(y)}."
    )


@_styled
def plot_heat(
    panels: Mapping[str, pd.DataFrame],
    x: str,
    y: str,
    columns: Sequence[str],
    rows: Sequence[str],
) -> Figure:
    """Draw mean test accuracy by two keys as shades with numbers, a panel an activation.

    Parameters
    ----------
    panels
        Rows of `tabulate_accuracy`, by the panel's title.
    x, y
        The keys from left to right and from bottom to top.
    columns, rows
        Their values, in order.
    """
    across = 1 if len(panels) == 1 else 2 if len(columns) > 5 or len(panels) <= 4 else 3
    figure, axes_of = _panels(len(panels), across, height=0.85 + 0.32 * max(3, len(rows)))
    grids = {}
    for title, table in panels.items():
        means = {(row[y], row[x]): 100 * row["mean"] for row in table.to_dict("records")}
        grids[title] = np.array(
            [[means.get((down, along), math.nan) for along in columns] for down in rows]
        )
    has = np.concatenate([grid[np.isfinite(grid)] for grid in grids.values()])
    # A few settings that do not train would leave the others one shade.
    low = float(np.quantile(has, 0.1)) if has.size else 0.0
    norm = Normalize(low, max(low + 0.01, float(has.max(initial=0.0))))
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
                    f"{value:.1f}" if math.isfinite(value) else "–",
                    ha="center",
                    va="center_baseline",
                    fontsize=7 if room > 0.4 else 5.5,
                    color="white" if dark else "black",
                )
        for place, values, set_ticks in (
            (columns, columns, axes.set_xticks),
            (rows, rows, axes.set_yticks),
        ):
            step = max(1, math.ceil(len(values) / 12))
            set_ticks(
                np.arange(0, len(place), step) + 0.5, [_plain(each) for each in place[::step]]
            )
        long = max(map(len, columns)) > 6 and len(columns) > 4
        axes.tick_params(length=0, labelsize=7)
        if long:
            axes.tick_params(axis="x", rotation=45)
        axes.set_title(_plain(title), loc="left", fontsize=9)
        axes.set_xlabel(_plain(label(x)).capitalize(), fontsize=8)
        if axes in axes_of[::across]:
            axes.set_ylabel(_plain(label(y)).capitalize(), fontsize=8)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(
        ScalarMappable(norm, shades), ax=axes_of, extend="min", fraction=0.03, aspect=35
    )
    bar.set_label("Mean test accuracy (%)", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def _parallel(sweep: Sweep, accuracy: pd.DataFrame) -> Drawing:
    keys = [*(key for key in sweep.keys if len(sweep.values(key)) > 1)]
    keys = [
        *(key for key in keys if key == ACTIVATION),
        *(key for key in keys if key != ACTIVATION),
    ]
    values = {key: sweep.values(key) for key in keys}
    return Drawing(
        plot_parallel(accuracy, keys, values),
        accuracy,
        "Each line is a configuration: its values, and at the right its mean test accuracy, which"
        " its shade shows too; the ten best are thick and red. Lines that would lie on each other"
        " are moved apart a little. Values stand at equal distances.",
        "Parallel coordinates of "
        + ", ".join(label(key) for key in keys)
        + " and mean test accuracy.",
    )


@_styled
def plot_parallel(
    accuracy: pd.DataFrame, keys: Sequence[str], values: Mapping[str, Sequence[str]]
) -> Figure:
    """Draw a line a configuration through the values of its keys to its mean test accuracy.

    Parameters
    ----------
    accuracy
        `tabulate_accuracy`.
    keys
        The axes from left to right.
    values
        Of each key, in order.
    """
    figure = Figure(figsize=(_WIDTH, 4.4))
    axes = figure.subplots()
    table = accuracy.loc[np.isfinite(accuracy["mean"].to_numpy(dtype=float))]
    means = 100 * table["mean"].to_numpy(dtype=float)
    low, high = (float(means.min()), float(means.max())) if means.size else (0.0, 1.0)
    room = max(high - low, 0.1)
    # A few configurations that do not train would leave the others one shade.
    tenth = float(np.quantile(means, 0.1)) if means.size else 0.0
    norm = Normalize(tenth, max(tenth + 0.1, high), clip=True)
    shades = colormaps["viridis"]
    order = np.argsort(means)
    best = set(order[-10:].tolist())
    across = np.linspace(0, 1, 200)
    smooth = 3 * across**2 - 2 * across**3
    for at in order:
        row = table.iloc[int(at)]
        # Lines through one value would lie on each other: multiples of the golden ratio part them.
        shift = 0.05 * (((int(at) * 0.618033988749895) % 1) - 0.5)
        heights = []
        for key in keys:
            places = list(values[key])
            each = places.index(row[key]) / max(1, len(places) - 1) if len(places) > 1 else 0.5
            heights.append(each + shift)
        heights.append((means[at] - low) / room)
        along = np.concatenate([place + across for place in range(len(keys))])
        drawn = np.concatenate([start + (end - start) * smooth for start, end in pairwise(heights)])
        axes.plot(
            along,
            drawn,
            color="#D55E00" if int(at) in best else shades(0.9 * norm(means[at])),
            linewidth=1.6 if int(at) in best else 0.7,
            alpha=0.95 if int(at) in best else 0.45,
        )
    for place, key in enumerate(keys):
        axes.axvline(place, color="#333333", linewidth=0.8)
        places = list(values[key])
        for rank in spread_evenly(range(len(places)), 14):
            axes.text(
                place - 0.03,
                rank / max(1, len(places) - 1) if len(places) > 1 else 0.5,
                _plain(places[rank]),
                ha="right",
                va="center",
                fontsize=7,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
            )
    axes.axvline(len(keys), color="#333333", linewidth=0.8)
    for share in (0, 0.25, 0.5, 0.75, 1):
        text = f"{low + share * room:.2f}"
        axes.text(len(keys) + 0.03, share, text, ha="left", va="center", fontsize=7)
    axes.set_xticks(
        range(len(keys) + 1), [*(_plain(label(key, keys)) for key in keys), "test accuracy (%)"]
    )
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlim(-0.45, len(keys) + 0.35)
    return figure


# --- Dots, differences, sensitivity -------------------------------------------------------


def _dots(sweep: Sweep, accuracy: pd.DataFrame, confidence: float) -> Drawing:
    key = _line_key(sweep)
    groups = _groups(sweep, accuracy, [other for other in sweep.keys if other != key])
    shown = spread_evenly(list(groups), 8)
    parts = []
    for name in shown:
        of = groups[name].copy()
        chosen = spread_evenly(of.index.tolist(), 30)
        of = of.loc[chosen]
        of.insert(0, "network", name or "all")
        of.insert(1, "activation", of[key])
        parts.append(of.drop(columns=["configuration", *sweep.keys]))
    figure = plot_test_accuracy(pd.concat(parts), confidence)
    caption = (
        "Test accuracy of every seed, mean and interval. Each panel has an axis of its own; one"
        " that does not start at zero says so."
    )
    if len(shown) < len(groups) or sum(map(len, parts)) < len(accuracy):
        caption += f" {sum(map(len, parts))} of {len(accuracy)} are shown; the data has all."
    return Drawing(figure, accuracy, caption, "Test accuracy of every seed with mean and interval.")


def _differences(sweep: Sweep, tests: pd.DataFrame, confidence: float) -> Drawing:
    return Drawing(
        plot_differences(sweep, tests, confidence),
        tests,
        "Differences of test accuracy within seeds, with"
        f" {100 * confidence:g} % interval over seeds. Between the dotted lines a difference does"
        " not matter; that was declared beforehand.",
        "Mean difference of test accuracy of each pair with its interval and verdict.",
    )


def part_differences(sweep: Sweep, tests: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Lay pairs out in panels: by setting, or by pair where a setting has one pair alone.

    Give the rows of `tests` by the panel's title; `name` is what a row is called in it.
    """
    panels: dict[str, list[dict[str, Any]]] = {}
    for key, of in tests.groupby("key", sort=False):
        single = len(of[["first", "second"]].drop_duplicates()) == 1
        for row in of.to_dict("records"):
            setting = sweep.setting(row, [name for name in sweep.keys if row[name] != ""])
            pair = f"{row['first']} − {row['second']}"
            title, name = (pair, setting) if single and setting else (setting, pair)
            if key not in ("", ACTIVATION, PHASE):
                title = f"{label(str(key))}{f': {title}' if title else ''}"
            named = {str(column): value for column, value in row.items()} | {"name": name}
            panels.setdefault(title, []).append(named)
    return panels


@_styled
def plot_differences(sweep: Sweep, tests: pd.DataFrame, confidence: float) -> Figure:
    """Draw the difference of each pair with its interval and verdict, a panel a setting.

    Parameters
    ----------
    sweep
        Whose keys say what a setting is.
    tests
        `swept.compare` of it, by test accuracy.
    confidence
        Of the intervals.
    """
    panels = part_differences(sweep, tests)
    most = max(map(len, panels.values()))
    figure, axes_of = _panels(len(panels), 2, height=0.85 + 0.3 * most)
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
                axes.text(0.0, place, "not a number", va="center", ha="center", **_NOTE)
                continue
            axes.plot(
                [100 * row["low"], 100 * row["high"]], [place] * 2, color="#0072B2", linewidth=2.4
            )
            axes.plot(
                [100 * row["mean"]],
                [place],
                marker="D",
                color="white",
                markersize=5,
                markeredgecolor="#0072B2",
            )
        _name_rows(axes, [row["name"] for row in rows])
        axes.set_title(_plain(title), loc="left", fontsize=9)
        axes.set_xlabel("Difference of test accuracy (points)", fontsize=8)
    handles = [
        Line2D([], [], color="#0072B2", linewidth=2.4, label=f"{100 * confidence:g} % over seeds"),
        Line2D([], [], color="#555555", linewidth=1, linestyle=(0, (1, 2)), label="margin"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _sensitivity(sweep: Sweep, sensitivity: pd.DataFrame) -> Drawing:
    keys = [key for key in sweep.keys if key != PHASE]
    columns = ["outcome", *keys, *_swept_in(sweep.grid, keys), "val_accuracy"]
    table = sweep.grid.loc[:, columns]
    return Drawing(
        plot_sensitivity(sweep, sensitivity),
        table,
        "Mean validation accuracy of every setting that was tried: the diamond is the chosen one,"
        " the bar the median; the shaded part lies within"
        f" {100 * NEAR_BEST:g} points of the best. Crosses diverged.",
        "Validation accuracy of each setting of the tuning grid, a row for each"
        f" {' and '.join(label(key, keys) for key in keys)}.",
    )


def _swept_in(grid: pd.DataFrame, without: Iterable[str]) -> list[str]:
    return [
        key
        for key in grid.columns
        if "." in key
        and key not in without
        and not key.startswith("activation.")
        and varies(grid, key)
    ]


@_styled
def plot_sensitivity(sweep: Sweep, sensitivity: pd.DataFrame) -> Figure:
    """Draw the validation accuracy of each setting of the grid, a row each that was tuned.

    Parameters
    ----------
    sweep
        A fair one, with its grid.
    sensitivity
        `swept.sensitivity` of it.
    """
    keys = [key for key in sweep.keys if key != PHASE]
    rows = sensitivity.to_dict("records")
    names = [
        ", ".join(str(row[key]) for key in (ACTIVATION, *keys) if key in row and key != ACTIVATION)
        for row in rows
    ]
    names = [
        f"{row[ACTIVATION]}{f', {name}' if name else ''}" if ACTIVATION in row else name
        for row, name in zip(rows, names, strict=True)
    ]
    styles = line_styles([str(row.get(ACTIVATION, "")) for row in rows])
    figure = Figure(figsize=(_WIDTH, 1.1 + 0.55 * len(rows)))
    axes = figure.subplots()
    for place, row in enumerate(rows):
        of = where(sweep.grid, **{key: row[key] for key in keys})
        values = 100 * of["val_accuracy"].fillna(0.0).to_numpy(dtype=float)
        style = styles[str(row.get(ACTIVATION, ""))]
        best, median = 100 * row["best"], 100 * row["median"]
        axes.fill_betweenx(
            [place - 0.35, place + 0.35],
            best - 100 * NEAR_BEST,
            best,
            color=style.color,
            alpha=0.15,
            linewidth=0,
        )
        spread = (np.arange(len(values)) * 0.618033988749895) % 1
        lost = (of["outcome"] == "diverged").to_numpy()
        for chosen, marker in ((~lost, "o"), (lost, "x")):
            axes.plot(
                values[chosen],
                (place - 0.22 + 0.44 * spread)[chosen],
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
        _write_value(axes, f"{best:.2f}", best, place + 0.3)
    _name_rows(axes, names)
    _keep_percent(axes, "x")
    _say_start(axes, "x", " %")
    axes.set_xlabel("Mean validation accuracy (%)")
    handles = [
        Line2D([], [], color=_GREY, marker="o", linestyle="none", label="one setting"),
        Line2D([], [], color=_GREY, marker="D", linestyle="none", label="chosen"),
        Line2D([], [], color="black", marker="|", markersize=9, linestyle="none", label="median"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
