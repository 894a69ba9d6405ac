"""How every figure looks, and the parts that figures are made of; only `save_figure` writes.

Figures need no pyplot and are readable without colour: an activation has its colour, its line style
and its marker. On a logarithmic axis a zero lies on the foot.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple, ParamSpec

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib import style as looks
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from actlab.engine.csvs import where

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
WIDTH = 7.6

#: Of the marks in a legend that stand for every activation's.
GREY = "#777777"

NOTE: dict[str, Any] = {"fontsize": 7, "color": "#555555"}

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
    """Give each activation its style; a name without one takes one that no other has, up to 64.

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
    drawn = {name: pool[place % len(pool)] for place, name in enumerate(strangers)}
    return {name: _STYLES.get(name) or drawn[name] for name in names}


def _look() -> AbstractContextManager[None]:
    return looks.context(["default", STYLE])


def save_figure(figure: Figure, stem: Path) -> None:
    """Write `stem`.png (150 dpi) and `stem`.svg; the same figure gives the same bytes."""
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
    """Draw a figure and write it as `save_figure` does: what another process can be asked for."""
    save_figure(plot(), stem)


def styled(plot: Callable[_Arguments, Figure]) -> Callable[_Arguments, Figure]:
    """Draw with the look of `STYLE`, whatever is set elsewhere."""

    @wraps(plot)
    def styled(*arguments: _Arguments.args, **keywords: _Arguments.kwargs) -> Figure:
        with _look():
            return plot(*arguments, **keywords)

    return styled


def make_panels(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure of so many panels, in up to so many columns, each so many inches high."""
    columns = min(count, columns)
    rows = math.ceil(count / columns)
    width = WIDTH if columns > 1 else 0.75 * WIDTH
    figure = Figure(figsize=(width, 0.5 + height * rows))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def make_grid(
    table: pd.DataFrame, height: Callable[[int], float]
) -> tuple[Figure, dict[tuple[str, str], Axes], int]:
    """Make one panel per network and activation, titled; give them and how many columns they have.

    Parameters
    ----------
    table
        Columns network, activation, layer.
    height
        The height of a panel in inches, given the layers of its network.
    """
    networks, names = names_in(table, "network"), names_in(table, "activation")
    columns = len(names) if len(names) < 4 else 4 if len(names) in (4, 7, 8) else 3
    rows_each = math.ceil(len(names) / columns)
    depths = [len(names_in(where(table, network=network), "layer")) for network in networks]
    heights = [height(depth) for depth in depths for _ in range(rows_each)]
    figure = Figure(figsize=(WIDTH, 0.4 + sum(heights)))
    panels = figure.subplots(
        len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    grid = {}
    for place, network in enumerate(networks):
        row = panels[place * rows_each : (place + 1) * rows_each].ravel()
        for axes, name in zip(row, names, strict=False):
            grid[network, name] = axes
            axes.set_title(f"{escape(network)}: {escape(name)}", loc="left", fontsize=9)
        for axes in row[len(names) :]:
            axes.set_axis_off()
    return figure, grid, columns


def names_in(table: pd.DataFrame, column: str) -> list[str]:
    """Give the values of a column, in the order of their first rows."""
    return list(dict.fromkeys(table[column]))


def seed_columns(table: pd.DataFrame) -> list[str]:
    """Give the columns of a table that hold single seeds."""
    return [column for column in table.columns if column.startswith("seed_")]


def to_numbers(table: pd.DataFrame, columns: list[str]) -> Float[np.ndarray, "row column"]:
    """Give columns as an array of rows by columns."""
    return table[columns].to_numpy(dtype=np.float64)


def escape(name: str) -> str:
    """Keep a name's dollars from being read as mathematics."""
    return name.replace("$", r"\$")


def log_axis(
    axes: Axes, which: str, values: Float[np.ndarray, "..."], margin: float = 1.5
) -> float:
    """Make an axis logarithmic, wide enough for the values; give its foot, where zeros are drawn.

    Zeros lie at least half a decade below the smallest other value; the axis reaches beyond the
    others by the factor `margin`.
    """
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (positive.min(), positive.max()) if positive.size else (1e-12, 1.0)
    foot = 10.0 ** (math.floor(math.log10(low)) - 0.6) if (values == 0).any() else low / margin
    axes.set(**{f"{which}scale": "log", f"{which}lim": (foot, margin * high)})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(numticks=6))
    if margin * high / foot > 100:
        axis.set_minor_formatter(NullFormatter())
    elif foot > 1e-3:
        axis.set_minor_locator(LogLocator(subs=(2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    return float(foot)


def on_log(values: Float[np.ndarray, "*shape"], foot: float | None) -> Float[np.ndarray, "*shape"]:
    """Put zeros on the foot of a logarithmic axis."""
    return values if foot is None else np.where(values == 0, foot, values)


def plot_dots(
    axes: Axes,
    table: pd.DataFrame,
    text: Callable[[float], str],
    factor: int = 1,
    foot: float | None = None,
    key: str = "activation",
) -> None:
    """Draw one row per value of a key: every seed as a dot; below, mean and interval.

    On a logarithmic axis, with a foot, intervals end at its limits.
    """
    names = names_in(table, key)
    styles = line_styles(names)
    limits = (-math.inf, math.inf) if foot is None else axes.get_xlim()
    for place, name in enumerate(names):
        row, style = where(table, **{key: name}), styles[name]
        runs = to_numbers(row, seed_columns(row))[0] * factor
        mean, low, high = to_numbers(row, ["mean", "low", "high"])[0] * factor
        axes.plot(
            on_log(runs, foot),
            place - 0.34 + 0.3 * (np.arange(len(runs)) + 0.5) / len(runs),
            linestyle="none",
            marker="o",
            markersize=4.5,
            color=style.color,
            alpha=0.75,
            clip_on=False,
        )
        if not math.isfinite(mean):
            transform = axes.get_yaxis_transform()
            axes.text(0.03, place + 0.1, "no mean", transform=transform, va="center", **NOTE)
            continue
        if not math.isnan(low):
            draw_interval(axes, max(low, limits[0]), min(high, limits[1]), place, style.color)
        axes.plot(
            [mean],
            [place + 0.1],
            marker=style.marker,
            markersize=7,
            color=style.color,
            markeredgecolor="white",
        )
        write_value(axes, text(mean), mean, place + 0.17)
    name_rows(axes, names)


def draw_interval(axes: Axes, low: float, high: float, place: int, color: str) -> None:
    """Draw an interval as a bar below the dots of a row."""
    axes.plot([low, high], [place + 0.1] * 2, color=color, linewidth=2.2, solid_capstyle="butt")


def write_value(axes: Axes, text: str, x: float, y: float) -> None:
    """Write a value below its mark."""
    offset = {"xytext": (0, -2), "textcoords": "offset points"}
    axes.annotate(text, (x, y), ha="center", va="top", fontsize=7.5, **offset)


def title_panel(axes: Axes, title: str, width: int = 42) -> None:
    """Write the title of a panel at its left end, in up to three lines."""
    lines = wrap(title, width)
    if len(lines) > 3:
        lines = [*lines[:2], lines[2][: width - 1] + "…"]
    axes.set_title(escape("\n".join(lines)), loc="left", fontsize=9)


def keep_percent(axes: Axes, which: str) -> None:
    """Keep an axis of percentages from 0 to 100, though an interval of few seeds goes beyond."""
    low, high = getattr(axes, f"get_{which}lim")()
    getattr(axes, f"set_{which}lim")(max(low, 0), min(high, 101))


def name_rows(axes: Axes, names: list[str]) -> None:
    """Name the rows of a panel, from top to bottom."""
    axes.set_yticks(range(len(names)), [escape(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.55)
    axes.grid(visible=False, axis="y")


def name_layers(axes: Axes, layers: list[str], small: bool = False) -> None:
    """Put layers on an axis, not too many: the hidden ones by number, the output by name."""
    last = len(layers) - 1
    step = max(1, math.ceil(last / (4 if small else 9)))
    # Where some are left out, so are neighbours of the output, which the name would touch.
    shown = [place for place in range(0, last, step) if step == 1 or place < last - step / 2]
    names = [layers[place].removeprefix("hidden_") for place in shown]
    axes.set_xticks([*shown, last], [*names, "out"])
    axes.set_xlabel("Layer")
    axes.margins(x=0.06)


def make_handle(label: str, **look: Any) -> Line2D:
    """Make an entry of a legend, grey unless it has a colour."""
    look.setdefault("color", GREY)
    return Line2D([], [], label=label, **look)


def style_handles(styles: Mapping[str, LineStyle]) -> list[Line2D]:
    """Make an entry of a legend for each line."""
    return [
        make_handle(
            escape(name),
            color=style.color,
            linestyle=style.dashes,
            marker=style.marker,
            markersize=5,
            linewidth=1.7,
        )
        for name, style in styles.items()
    ]


def seed_handles(table: pd.DataFrame, confidence: float, mean: str = "mean") -> list[Line2D]:
    """Make the entries of a legend for the dots of `plot_dots`."""
    handles = [make_handle("one seed", marker="o", markersize=4.5, linestyle="none")]
    if len(seed_columns(table)) > 1:
        label = f"{mean} and {100 * confidence:g} % interval over seeds"
        handles.append(make_handle(label, marker="D", linewidth=2.2))
    return handles


def add_legend(figure: Figure, handles: Sequence[Line2D], title: str | None = None) -> None:
    """Put a legend below the panels, in as few rows as fit."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    fitting = max(1, int(16 * figure.get_figwidth() / (longest + 7)))
    rows = math.ceil(len(handles) / fitting)
    figure.legend(
        handles=handles,
        title=title,
        loc="outside lower center",
        ncols=max(1, math.ceil(len(handles) / max(1, rows))),
        handlelength=3.6,
    )
