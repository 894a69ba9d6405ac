"""How every figure looks, and the parts that figures are made of; only `save_figure` writes.

Every figure is drawn on a `matplotlib.figure.Figure` of its own, with no state of pyplot's, and
reads without colour: an activation has its colour, its line style and its marker. An axis that does
not start at zero says so above its panel. What a logarithmic axis cannot show, zero, lies on its
foot as a hollow triangle.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
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
from matplotlib.text import Annotation
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


def cycle(marks: str, along: Sequence[Any]) -> list[str]:
    """Give each of a sequence a mark, from the first again where there are more."""
    return [marks[at % len(marks)] for at in range(len(along))]


def log_axis(
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


def on_log(values: Float[np.ndarray, "*shape"], foot: float | None) -> Float[np.ndarray, "*shape"]:
    """Put zeros on the foot of a logarithmic axis."""
    return values if foot is None else np.where(values == 0, foot, values)


def mark_zeros(
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


def plot_dots(
    axes: Axes,
    table: pd.DataFrame,
    text: Callable[[float], str],
    factor: int = 1,
    foot: float | None = None,
    key: str = "activation",
) -> bool:
    """Draw one row per value of a key: every seed a dot; below, mean and interval.

    Give whether an interval goes on beyond the axis, which on a logarithmic one, with a foot,
    has to be settled before.
    """
    names = names_in(table, key)
    styles = line_styles(names)
    limits = (-math.inf, math.inf) if foot is None else axes.get_xlim()
    beyond = False
    for place, name in enumerate(names):
        row = where(table, **{key: name})
        style = styles[name]
        runs = to_numbers(row, seed_columns(row))[0] * factor
        mean, low, high = to_numbers(row, ["mean", "low", "high"])[0] * factor
        height = place - 0.34 + 0.3 * (np.arange(len(runs)) + 0.5) / len(runs)
        zero = runs == 0 if foot is not None else np.zeros(len(runs), dtype=bool)
        for chosen, marker, face, alpha in (
            (~zero, "o", style.color, 0.75),
            (zero, "v", "white", 1),
        ):
            if not chosen.any():
                continue
            axes.plot(
                on_log(runs, foot)[chosen],
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
                **NOTE,
            )
            continue
        if not math.isnan(low):
            draw_interval(axes, max(low, limits[0]), min(high, limits[1]), place, style.color)
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
        write_value(axes, text(mean), mean, place + 0.17)
    name_rows(axes, names)
    return beyond


def draw_interval(axes: Axes, low: float, high: float, place: int, color: str) -> None:
    """Draw an interval as a bar below the dots of a row."""
    axes.plot(
        [low, high],
        [place + 0.1] * 2,
        color=color,
        linewidth=2.2,
        solid_capstyle="butt",
    )


def write_value(axes: Axes, text: str, x: float, y: float) -> None:
    """Write a value below its mark."""
    axes.annotate(
        text,
        (x, y),
        (0, -2),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=7.5,
    )


def keep_inside(axes: Axes) -> None:
    """Move the texts beside the edges of a panel, whose limits are settled, into it."""
    for text in axes.texts:
        if isinstance(text, Annotation):
            x, _ = axes.transLimits.transform(axes.transScale.transform(text.xy))
            text.set_horizontalalignment("left" if x < 0.1 else "right" if x > 0.9 else "center")


def keep_percent(axes: Axes, which: str) -> None:
    """Keep an axis of percentages from 0 to 100, though an interval of few seeds goes beyond."""
    low, high = getattr(axes, f"get_{which}lim")()
    getattr(axes, f"set_{which}lim")(max(low, 0), min(high, 101))


def note_start(axes: Axes, which: str, unit: str) -> None:
    """Say above the panel where an axis starts, unless that is zero."""
    low, _ = getattr(axes, f"get_{which}lim")()
    if getattr(axes, f"get_{which}scale")() == "log":
        axes.set_title("logarithmic axis", loc="right", **NOTE)
    elif low > 0:
        axes.set_title(f"{which} axis starts at {low:.4g}{unit}", loc="right", **NOTE)


def name_rows(axes: Axes, names: list[str]) -> None:
    """Name the rows of a panel, from top to bottom."""
    axes.set_yticks(range(len(names)), [escape(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.55)
    axes.grid(visible=False, axis="y")


def name_layers(axes: Axes, layers: list[str], small: bool = False) -> None:
    """Put layers on an axis: the hidden ones by number, the output by name, not too many."""
    last = len(layers) - 1
    step = max(1, math.ceil(last / (4 if small else 9)))
    # Where some are left out, so are neighbours of the output, which the name would touch.
    shown = [place for place in range(0, last, step) if step == 1 or place < last - step / 2]
    names = [layers[place].removeprefix("hidden_") for place in shown]
    axes.set_xticks([*shown, last], [*names, "out" if small or last > 7 else "output"])
    axes.set_xlabel("Layer")
    axes.margins(x=0.06)


def add_legend(figure: Figure, styles: dict[str, LineStyle], extra: list[Line2D]) -> None:
    """Put a legend of line styles below the panels, with other handles behind them."""
    drawn = [
        Line2D(
            [],
            [],
            color=style.color,
            linestyle=style.dashes,
            marker=style.marker,
            markersize=5,
            linewidth=1.7,
            label=escape(name),
        )
        for name, style in styles.items()
    ]
    handles = drawn + extra
    wide = figure.get_figwidth() == WIDTH and all(len(str(line.get_label())) < 30 for line in extra)
    rows = math.ceil(len(handles) / (5 if wide else 3))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=math.ceil(len(handles) / rows),
        handlelength=3.6,
    )


def add_dots_legend(
    figure: Figure,
    table: pd.DataFrame,
    confidence: float,
    mean: str = "mean",
    extra: Sequence[Line2D] = (),
) -> None:
    """Explain dots, means and intervals below the panels."""
    handles = [
        Line2D([], [], color=GREY, marker="o", markersize=4.5, linestyle="none", label="one seed")
    ]
    if len(seed_columns(table)) > 1:
        label = f"{mean} and {100 * confidence:g} % interval over seeds"
        handles.append(Line2D([], [], color=GREY, marker="D", linewidth=2.2, label=label))
    handles += extra
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))


def zero_handles(values: Float[np.ndarray, "..."]) -> list[Line2D]:
    """Explain the hollow triangles, where there are any."""
    if not (values == 0).any():
        return []
    label = "exactly zero, below the axis"
    return [
        Line2D(
            [],
            [],
            color=GREY,
            marker="v",
            markerfacecolor="white",
            linestyle="none",
            label=label,
        )
    ]
