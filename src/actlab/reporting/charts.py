"""Tables -> the report's interactive charts, with Altair: hover, choose, step through epochs.

A chart replaces a figure where scripts run. Names of activations and networks are values in a
chart, never part of an expression.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import altair as alt
import numpy as np
import pandas as pd

from actlab.engine.csvs import where
from actlab.reporting.drawings import title_loss
from actlab.reporting.health_figures import HEALTH_MAPS
from actlab.reporting.look import line_styles, names_in
from actlab.reporting.report import Chart
from actlab.results.study import Study

#: Digits of a number in a chart.
DIGITS = 5

#: What draws the rows of one network, given the names of the activations.
Plot = Callable[[pd.DataFrame, list[str]], alt.LayerChart]


def build(study: Study, drawn: Mapping[str, pd.DataFrame]) -> dict[str, Chart]:
    """Make the charts of a study by the names of the figures that they replace.

    `drawn` holds the table behind each figure.
    """
    # Each with the columns of which the reader chooses a value.
    plots: dict[str, tuple[Plot, tuple[str, ...]]] = {
        "accuracy_curves": (partial(_plot_curves, title="Accuracy", form=".2%"), ()),
        "loss_curves": (partial(_plot_curves, title=title_loss(study), form=".4f"), ()),
        "accuracy_differences": (_plot_differences, ()),
        "gradient_through_training": (
            partial(_plot_layers, title="Norm of the gradient", share=False),
            ("epoch",),
        ),
        "preactivations": (_plot_distributions, ("epoch", "layer")),
    }
    for statistic, shown in HEALTH_MAPS.items():
        plot = partial(_plot_layers, title=shown.label, share=shown.share)
        plots[f"health_{statistic}"] = (plot, ("epoch",))
    return {
        name: _build_chart(*plots[name], table, study)
        for name, table in drawn.items()
        if name in plots
    }


def list_swatches(names: Sequence[str]) -> list[dict[str, Any]]:
    """Give each activation's look in the figures: its colour and, in pixels, its dashes."""
    return [
        {
            "name": name,
            "color": style.color,
            "dashes": [1, 0] if style.dashes == "-" else [2 * part for part in style.dashes[1]],
        }
        for name, style in line_styles(names).items()
    ]


def _build_chart(plot: Plot, chosen: Sequence[str], table: pd.DataFrame, study: Study) -> Chart:
    """Make one view per network, filtered by what the reader chooses."""
    if "layer" in table:
        table = table.assign(layer=table["layer"].str.removeprefix("hidden_"))
    by_epoch = table.sort_values("epoch", kind="stable") if chosen else table
    choices = {column: by_epoch[column].unique().tolist() for column in chosen}
    shown = alt.param(name="shown", value=study.activations)
    parameters = [alt.param(name=column, value=choices[column][0]) for column in chosen]
    filters = [
        *(
            alt.expr.indexof(shown, alt.datum[column]) >= 0
            for column in ("activation", "first", "second")
            if column in table
        ),
        *(alt.datum[parameter.name] == parameter for parameter in parameters),
    ]
    views = {}
    for network in study.networks:
        rows = where(table, network=network)
        if len(rows):
            chart = plot(rows, study.activations).properties(
                width="container",
                autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
                transform=[alt.FilterTransform(expression) for expression in filters],
            )
            views[network] = chart.add_params(shown, *parameters).to_dict()
    return Chart(views, choices)


# --- Plots --------------------------------------------------------------------------------


def _plot_curves(
    rows: pd.DataFrame, activations: list[str], title: str, form: str
) -> alt.LayerChart:
    """Plot means by epoch, on training images paler; the others with the band of the interval."""
    rows = _add_text(rows, form)
    is_training = alt.datum.split == "training"
    x = _encode(alt.X, "epoch", "Epoch", "d")
    y = partial(_encode, alt.Y, title=title, form=form)
    color, dashes = _encode_activations(activations)
    opacity = alt.when(is_training).then(alt.value(0.45)).otherwise(alt.value(1))
    lines = (
        alt.Chart()
        .mark_line()
        .encode(x, y("mean"), color, dashes, detail=alt.Detail("split:N"), opacity=opacity)
    )
    text = alt.Tooltip("text:N", title=f"{title} (interval)")
    layers = [lines, _points(lines, alt.Tooltip("split:N"), alt.Tooltip("epoch:Q"), text)]
    if np.isfinite(rows["low"].to_numpy(dtype=float)).any():  # else Vega warns of endless bands
        band = alt.Chart().mark_area(opacity=0.14).encode(x, y("low"), color, y2=alt.Y2("high"))
        layers.insert(0, band.transform_filter(~is_training))
    columns = ["activation", "split", "epoch", "mean", "low", "high", "text"]
    return alt.LayerChart(layer=layers, data=_csv(rows, columns), height=260)


def _plot_differences(rows: pd.DataFrame, activations: list[str]) -> alt.LayerChart:
    """Plot the difference of each pair with its interval, and behind them the margin."""
    rows = rows.assign(pair=rows["first"] + " − " + rows["second"])
    rows[["mean", "low", "high"]] *= 100
    rows = _add_text(rows, ".2f")
    margin = 100 * rows["margin"].max()
    x = partial(_encode, alt.X, title="Difference (points)", form=".2f", padding=8)
    text = alt.Tooltip("text:N", title="difference, points (interval)")
    pairs = alt.Chart().encode(
        alt.Y("pair:N", title=None, sort=rows["pair"].tolist()).axis(labelLimit=150),
        tooltip=[alt.Tooltip("pair:N"), text, alt.Tooltip("verdict:N")],
    )
    shade = alt.Chart(alt.InlineData([{"low": -margin, "high": margin}]))
    columns = ["pair", "first", "second", "mean", "low", "high", "text", "verdict"]
    layers = [
        shade.mark_rect(opacity=0.12).encode(x("low"), x2=alt.X2("high")),
        pairs.mark_rule(strokeWidth=2).encode(x("low"), x2=alt.X2("high")),
        pairs.mark_point(filled=True, size=90).encode(x("mean")),
    ]
    return alt.LayerChart(layer=layers, data=_csv(rows, columns), height=30 * len(rows) + 40)


def _plot_layers(
    rows: pd.DataFrame, activations: list[str], title: str, share: bool
) -> alt.LayerChart:
    """Plot a value of every layer, on an axis that is the same at every epoch."""
    form = ".1%" if share else ".2e"
    rows = _add_text(rows, form)
    layers = names_in(rows, "layer")
    is_drawn = np.isfinite(rows["mean"]) & (share | (rows["mean"] > 0))  # no zero on a log axis
    rows = cast(pd.DataFrame, rows[is_drawn])
    values = rows["mean"].tolist()
    y = alt.Y("mean:Q", title=title)
    if share:
        y = y.scale(domain=[0, max([0.01, *values])]).axis(format=form, tickCount=6)
    else:
        ends = [min(values, default=0.1), max(values, default=1.0)]
        y = y.scale(type="log", domain=ends, nice=True).axis(format=".0e", tickCount=5)
    x = alt.X("layer:N", title="Layer", sort=layers).axis(labelAngle=0)
    lines = alt.Chart().mark_line().encode(x, y, *_encode_activations(activations))
    text = alt.Tooltip("text:N", title="mean (interval)")
    points = _points(lines, alt.Tooltip("layer:N"), alt.Tooltip("epoch:Q"), text)
    columns = ["activation", "epoch", "layer", "mean", "text"]
    return alt.LayerChart(layer=[lines, points], data=_csv(rows, columns), height=260)


def _plot_distributions(rows: pd.DataFrame, activations: list[str]) -> alt.LayerChart:
    """Plot the distributions of a layer at an epoch, each as high as its own peak.

    A distribution is one record with a list of heights: a row per bin takes eight times the room.
    The outermost bins, which reach on to the extremes, are left out; the others are equally wide.
    """
    keys = ["activation", "epoch", "layer"]
    records = []
    for identity, group in rows.groupby(keys, sort=False):
        bins = group.iloc[1:-1]
        first = (bins["bin_low"].iloc[0] + bins["bin_high"].iloc[0]) / 2
        step = (bins["bin_high"].iloc[-1] - bins["bin_low"].iloc[0]) / len(bins)
        heights = (bins["density"] / bins["density"].max()).round(3).tolist()
        numbers = {"first": float(f"{first:.{DIGITS}g}"), "step": float(f"{step:.{DIGITS}g}")}
        records.append(
            dict(zip(keys, cast(tuple, identity), strict=True)) | numbers | {"height": heights}
        )
    end = alt.datum.first + alt.datum.step * (alt.expr.length(alt.datum.height) - 0.5)
    lines = (
        alt.Chart()
        .mark_line()
        .encode(
            _encode(alt.X, "x", "Pre-activation", ".3g"),
            alt.Y("height:Q", title="Share of the peak").scale(domain=[0, 1]),
            *_encode_activations(activations),
        )
        .transform_calculate(x=alt.expr.sequence(alt.datum.first, end, alt.datum.step))
        .transform_flatten(["x", "height"])
    )
    points = _points(lines, alt.Tooltip("x:Q", title="pre-activation", format=".3f"))
    return alt.LayerChart(layer=[lines, points], data=alt.InlineData(records), height=260)


# --- Their parts --------------------------------------------------------------------------


def _csv(table: pd.DataFrame, columns: list[str]) -> alt.InlineData:
    """Hold columns of a table as CSV, which is a third as long as records."""
    numbers = table.select_dtypes("number").columns
    parse = {column: "number" if column in numbers else "string" for column in columns}
    form = f"%.{DIGITS}g"
    values = table.to_csv(columns=columns, index=False, float_format=form, lineterminator="\n")
    return alt.InlineData(values, format=alt.CsvDataFormat(type="csv", parse=parse))


def _encode(channel: Any, column: str, title: str, form: str, padding: int = 0) -> Any:
    """Encode a number; `padding` is the room in pixels that marks need at the ends."""
    ticks = {"format": form if form == "d" else f"{form[:-1]}~{form[-1]}", "tickCount": 6}
    scale = {"zero": False, "nice": False, "padding": padding}
    return channel(f"{column}:Q", title=title).scale(**scale).axis(**ticks)


def _encode_activations(names: list[str]) -> tuple[alt.Color, alt.StrokeDash]:
    """Encode an activation by its colour and its dashes."""
    swatches = list_swatches(names)
    colors, dashes = ([swatch[key] for swatch in swatches] for key in ("color", "dashes"))
    return (
        alt.Color("activation:N", legend=None).scale(domain=names, range=colors),
        alt.StrokeDash("activation:N", legend=None).scale(domain=names, range=dashes),
    )


def _points(lines: alt.Chart, *tips: alt.Tooltip) -> alt.Chart:
    """Mark the point of a line that is under the pointer, and show its values."""
    under = alt.selection_point(
        name="under", encodings=["x", "y"], on="pointerover", clear="pointerout"
    )
    points = lines.mark_point(filled=True, size=150).encode(
        tooltip=[alt.Tooltip("activation:N"), *tips],
        opacity=alt.when(under, empty=False).then(alt.value(1)).otherwise(alt.value(0)),
    )
    return points.properties(name="points").add_params(under)


def _add_text(table: pd.DataFrame, form: str) -> pd.DataFrame:
    """Add mean and interval as text: for an interval that is missing, Vega would write zeros."""
    texts = [
        f"{mean:{form}} ({low:{form}} to {high:{form}})"
        if np.isfinite(low)
        else f"{mean:{form}} (none)"
        for mean, low, high in table[["mean", "low", "high"]].itertuples(index=False)
    ]
    return table.assign(text=texts)
