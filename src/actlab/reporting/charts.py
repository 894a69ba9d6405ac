"""Tables -> the report's interactive charts, as Vega-Lite: hover, choose, step through epochs.

A chart stands in for a figure of `figures` where scripts run and nothing is printed. The tables
are those of the figures, as CSV, their numbers shortened to what a screen shows. Names of
activations and networks are values in a chart, never part of an expression.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from actlab.reporting.health_figures import HEALTH_MAPS
from actlab.reporting.look import line_styles
from actlab.results.study import Study
from actlab.results.tables import where

#: Digits of a number in a chart.
DIGITS = 5

Spec = dict[str, Any]


@dataclass(frozen=True)
class View:
    """A chart of one network, or of something that all have."""

    title: str
    spec: Spec


class Tip(NamedTuple):
    """What is told of the point under the pointer; a number has a format of d3's."""

    column: str
    title: str
    form: str = ""


@dataclass(frozen=True)
class Control:
    """What a reader chooses for all views of a chart: the value of a parameter of theirs."""

    parameter: str
    label: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Chart:
    """What takes a figure's place: its views, and what can be chosen."""

    views: tuple[View, ...]
    controls: tuple[Control, ...] = field(default=())


def build(study: Study, drawn: Mapping[str, pd.DataFrame]) -> dict[str, Chart]:
    """Give the charts of a report by the names of the figures whose place they take.

    Parameters
    ----------
    study
        Names activations and networks, in order.
    drawn
        The table behind each figure, by its name; what is not there has no chart.
    """
    names = study.activations
    makers: dict[str, Callable[[pd.DataFrame], Chart]] = {
        "activation_functions": lambda table: _functions(table, names),
        "accuracy_curves": lambda table: _curves(table, study, "Accuracy", ".1%"),
        "loss_curves": lambda table: _curves(table, study, "Loss (nats)", ".1f"),
        "test_accuracy": lambda table: _test_accuracy(table, study),
        "accuracy_differences": lambda table: _differences(table, study),
        "gradient_through_training": lambda table: _by_layer(
            table, study, "Norm of the gradient", share=False
        ),
        "preactivations": lambda table: _preactivations(table, study),
    }
    for statistic, of in HEALTH_MAPS.items():
        makers[f"health_{statistic}"] = lambda table, of=of: _by_layer(
            table, study, of.label, of.share
        )
    return {name: makers[name](table) for name, table in drawn.items() if name in makers}


# --- Views --------------------------------------------------------------------------------


def _functions(table: pd.DataFrame, names: Sequence[str]) -> Chart:
    thinned = table.iloc[:: max(1, len(table) // len(names) // 200)]
    views = []
    for column, title in (("value", "Value φ(x)"), ("derivative", "Derivative φ′(x)")):
        spec = _spec(thinned, ["activation", "x", column], names)
        x, y = _axis("x", "x", ".1f"), _axis(column, title, ".1f")
        tips = [Tip("x", "x", ".2f"), Tip(column, title, ".4f")]
        spec["layer"] = [_line({"x": x, "y": y}, names), _hovered(x, y, names, tips)]
        views.append(View(title, spec))
    return Chart(tuple(views))


def _curves(table: pd.DataFrame, study: Study, title: str, form: str) -> Chart:
    views = []
    for network in study.networks:
        rows = where(table, network=network)
        columns = ["activation", "split", "epoch", "mean", "low", "high"]
        spec = _spec(rows, columns, study.activations)
        x = _axis("epoch", "Epoch", "d")
        y = _axis("mean", title, form)
        band = _line({"x": x, "y": _axis("low", title, form), "y2": {"field": "high"}}, [])
        band["mark"] = {"type": "area", "opacity": 0.14}
        band["encoding"]["color"] = _color(study.activations)
        band["transform"] = [{"filter": "datum.split != 'training'"}]
        line = _line({"x": x, "y": y}, study.activations)
        line["encoding"]["opacity"] = {
            "condition": {"test": "datum.split == 'training'", "value": 0.45},
            "value": 1,
        }
        line["encoding"]["detail"] = {"field": "split"}
        exact = form.replace("1", "2" if "%" in form else "4")
        tips = [Tip("split", "split"), Tip("epoch", "epoch", "d"), Tip("mean", title, exact)]
        hovered = _hovered(x, y, study.activations, [*tips, *_interval(exact)])
        spec["layer"] = [*([band] if _has_intervals(rows) else []), line, hovered]
        views.append(View(f"{network} (paler: on training images)", spec))
    return Chart(tuple(views))


def _test_accuracy(table: pd.DataFrame, study: Study) -> Chart:
    seeds = [column for column in table.columns if column.startswith("seed_")]
    views = []
    for network in study.networks:
        rows = where(table, network=network)
        long = rows.melt(["activation", "mean", "low", "high"], seeds, "seed", "accuracy")
        long["seed"] = long["seed"].str.removeprefix("seed_")
        height = 34 * len(study.activations) + 40
        spec = _spec(long, list(long.columns), study.activations, height)
        y = {"field": "activation", "type": "nominal", "title": None, "sort": study.activations}
        x = _axis("accuracy", "Test accuracy", ".1%", 8)
        color = _color(study.activations)
        interval: Spec = {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {
                "y": y,
                "x": _axis("low", "Test accuracy", ".1%", 8),
                "x2": {"field": "high"},
                "color": color,
            },
        }
        spec["layer"] = [
            *([interval] if _has_intervals(rows) else []),
            {
                "mark": {"type": "point", "filled": True, "size": 110, "shape": "diamond"},
                "encoding": {
                    "y": y,
                    "x": _axis("mean", "Test accuracy", ".1%", 8),
                    "color": color,
                    "tooltip": _tips([Tip("mean", "mean of seeds", ".2%"), *_interval(".2%")]),
                },
            },
            {
                "mark": {"type": "point", "size": 45, "opacity": 0.75},
                "encoding": {
                    "y": y,
                    "x": x,
                    "color": color,
                    "tooltip": _tips(
                        [Tip("seed", "seed"), Tip("accuracy", "test accuracy", ".2%")]
                    ),
                },
            },
        ]
        views.append(View(network, spec))
    return Chart(tuple(views))


def _differences(table: pd.DataFrame, study: Study) -> Chart:
    views = []
    for network in study.networks:
        rows = where(table, network=network).copy()
        rows["pair"] = rows["first"] + " − " + rows["second"]
        for column in ("mean", "low", "high", "margin"):
            rows[column] = 100 * rows[column]
        columns = ["pair", "first", "second", "mean", "low", "high", "margin", "verdict"]
        spec = _spec(rows, columns, [], height=30 * len(rows) + 40)
        spec["transform"] = [
            {"filter": "indexof(shown, datum.first) >= 0 && indexof(shown, datum.second) >= 0"}
        ]
        spec["params"] = _parameters(study.activations)
        order = rows["pair"].tolist()
        y = {"field": "pair", "type": "nominal", "title": None, "sort": order}
        y["axis"] = {"labelLimit": 150}
        x = _axis("mean", "Difference (points)", ".2f", 8)
        tips = _tips(
            [Tip("mean", "difference, points", ".2f"), *_interval(".2f"), Tip("verdict", "verdict")]
        )
        low = _axis("low", "Difference (points)", ".2f", 8)
        spec["layer"] = [
            {
                "mark": {"type": "rect", "opacity": 0.12},
                "transform": [
                    {"aggregate": [{"op": "max", "field": "margin", "as": "to"}]},
                    {"calculate": "-datum.to", "as": "from"},
                ],
                "encoding": {
                    "x": _axis("from", "Difference (points)", ".2f", 8),
                    "x2": {"field": "to"},
                },
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"y": y, "x": low, "x2": {"field": "high"}, "tooltip": tips},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90},
                "encoding": {"y": y, "x": x, "tooltip": tips},
            },
        ]
        views.append(View(network, spec))
    return Chart(tuple(views))


def _by_layer(table: pd.DataFrame, study: Study, title: str, share: bool) -> Chart:
    """Draw a value of every layer at the epoch that is chosen, one range for all epochs."""
    views = []
    for network in study.networks:
        rows = where(table, network=network)
        if not share:  # a logarithmic axis has no zero
            rows = cast(pd.DataFrame, rows[rows["mean"] > 0])
        layers = list(dict.fromkeys(rows["layer"]))
        columns = ["activation", "epoch", "layer", "mean", "low", "high"]
        spec = _spec(rows, columns, study.activations, epoch=True)
        form = ".1%" if share else ".2e"
        y = _axis("mean", title, form)
        values = rows["mean"].to_numpy(dtype=float)
        finite = values[np.isfinite(values)].tolist()
        if share:
            y["scale"] = {"domain": [0, max([0.01, *finite])]}
        else:
            ends = [min(finite, default=0.1), max(finite, default=1.0)]
            y["scale"] = {"type": "log", "domain": ends, "nice": True}
            y["axis"] = {"format": ".0e", "tickCount": 5}
        x = {"field": "layer", "type": "nominal", "title": "Layer", "sort": layers}
        x["axis"] = {"labelAngle": 0, "labelExpr": "replace(datum.label, 'hidden_', '')"}
        tips = [Tip("layer", "layer"), Tip("epoch", "epoch", "d"), Tip("mean", "mean", form)]
        spec["layer"] = [
            _line({"x": x, "y": y}, study.activations),
            _hovered(x, y, study.activations, [*tips, *_interval(form)]),
        ]
        views.append(View(network, spec))
    return Chart(tuple(views), (_epochs(table),))


def _preactivations(table: pd.DataFrame, study: Study) -> Chart:
    """Draw the distributions of a layer at an epoch, each as high as its own peak."""
    keys = ["activation", "network", "epoch", "layer"]
    bins = table.groupby(keys)
    # The outermost reach on to the extremes.
    is_inner = (bins.cumcount() > 0) & (bins.cumcount(ascending=False) > 0)
    drawn = cast(pd.DataFrame, table[is_inner])
    drawn = drawn.assign(
        x=(drawn["bin_low"] + drawn["bin_high"]) / 2,
        height=drawn["density"] / drawn.groupby(keys)["density"].transform("max"),
    )
    layers = list(dict.fromkeys(drawn["layer"]))
    views = []
    for network in study.networks:
        rows = where(drawn, network=network)
        if rows.empty:
            continue
        columns = ["activation", "epoch", "layer", "x", "height"]
        spec = _spec(rows, columns, study.activations, epoch=True)
        spec["params"].append({"name": "layer", "value": layers[0]})
        spec["transform"].append({"filter": "datum.layer == layer"})
        x = _axis("x", "Pre-activation", ".3~g")
        y = _axis("height", "Share of the peak", ".1f")
        y["scale"] = {"domain": [0, 1]}
        spec["layer"] = [
            _line({"x": x, "y": y}, study.activations),
            _hovered(x, y, study.activations, [Tip("x", "pre-activation", ".3f")]),
        ]
        views.append(View(network, spec))
    return Chart(tuple(views), (_epochs(table), Control("layer", "Layer", tuple(layers))))


# --- What they are made of ----------------------------------------------------------------


def _epochs(table: pd.DataFrame) -> Control:
    return Control("epoch", "After epoch", tuple(sorted(set(table["epoch"].tolist()))))


def _parameters(names: Sequence[str]) -> list[Spec]:
    return [{"name": "shown", "value": list(names)}]


def _spec(
    table: pd.DataFrame,
    columns: Sequence[str],
    names: Sequence[str],
    height: int = 260,
    epoch: bool = False,
) -> Spec:
    """Begin a view of a table's columns, of which the activations that are chosen are shown."""
    table = cast(pd.DataFrame, table[list(columns)])
    numbers = {
        column: "number" for column in table.columns if pd.api.types.is_numeric_dtype(table[column])
    }
    texts = {column: "string" for column in table.columns if column not in numbers}
    spec: Spec = {
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {
            "values": table.to_csv(index=False, float_format=f"%.{DIGITS}g", lineterminator="\n"),
            "format": {"type": "csv", "parse": numbers | texts},
        },
        "params": _parameters(names),
        "transform": [{"filter": "indexof(shown, datum.activation) >= 0"}] if names else [],
    }
    if epoch:
        spec["params"].append({"name": "epoch", "value": min(table["epoch"].tolist(), default=0)})
        spec["transform"].append({"filter": "datum.epoch == epoch"})
    return spec


def _axis(column: str, title: str, form: str, padding: int = 0) -> Spec:
    """Encode a number; `padding` is the room in pixels that marks need at the ends."""
    return {
        "field": column,
        "type": "quantitative",
        "title": title,
        "scale": {"zero": False, "nice": False, "padding": padding},
        "axis": {"format": form, "tickCount": 6},
    }


def _color(names: Sequence[str]) -> Spec:
    styles = line_styles(list(names))
    return {
        "field": "activation",
        "type": "nominal",
        "scale": {"domain": list(names), "range": [styles[name].color for name in names]},
        "legend": None,
    }


class Swatch(NamedTuple):
    """How an activation's lines look: a colour of CSS, and the dashes of an SVG."""

    name: str
    color: str
    dashes: str


def swatches(names: Sequence[str]) -> list[dict[str, str]]:
    """Tell how the lines of each activation look."""
    styles = line_styles(list(names))
    return [
        Swatch(name, styles[name].color, " ".join(f"{each:g}" for each in of))._asdict()
        for name, of in zip(names, dashes(names), strict=True)
    ]


@cache
def vega() -> str:
    """Give the script of Vega, Vega-Lite and vega-embed, which offers `vegaEmbed` to the page."""
    import vl_convert

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", r"<\/script")


def dashes(names: Sequence[str]) -> list[list[float]]:
    """Give each activation the dashes that it has in the figures; solid is [1, 0]."""
    styles = line_styles(list(names))
    given = [styles[name].dashes for name in names]
    return [[1.0, 0.0] if each == "-" else [2 * float(part) for part in each[1]] for each in given]


def _line(encoding: Spec, names: Sequence[str]) -> Spec:
    """Draw a line for each activation, in its colour and its dashes."""
    if names:
        encoding = encoding | {
            "color": _color(names),
            "strokeDash": {
                "field": "activation",
                "type": "nominal",
                "scale": {"domain": list(names), "range": dashes(names)},
                "legend": None,
            },
        }
    return {"mark": {"type": "line", "strokeWidth": 2}, "encoding": encoding}


def _hovered(x: Spec, y: Spec, names: Sequence[str], tips: Sequence[Tip]) -> Spec:
    """Mark the point that is nearest to the pointer, and tell its values."""
    nearest = {"type": "point", "on": "pointerover", "clear": "pointerout", "nearest": True}
    # Written out: Vega-Lite looks for texts, not for numbers, in the wrong place near a point.
    told = ", ".join(
        f"'{tip.title}': "
        + (f"isValid({value}) ? format({value}, '{tip.form}') : 'none'" if tip.form else value)
        for tip in (Tip("activation", "activation"), *tips)
        for value in [f"(datum.datum || datum).{tip.column}"]
    )
    return {
        "params": [{"name": "near", "select": nearest}],
        "mark": {"type": "point", "filled": True, "size": 90, "tooltip": {"expr": f"{{{told}}}"}},
        "encoding": {
            "x": x,
            "y": y,
            "color": _color(names),
            "opacity": {"condition": {"param": "near", "empty": False, "value": 1}, "value": 0},
        },
    }


def _has_intervals(rows: pd.DataFrame) -> bool:
    """Tell whether a row has an interval: where none has, Vega warns of a range without an end."""
    return bool(np.isfinite(rows["low"].to_numpy(dtype=float)).any())


def _interval(form: str) -> list[Tip]:
    return [Tip("low", "interval from", form), Tip("high", "to", form)]


def _tips(of: Sequence[Tip]) -> list[Spec]:
    return [
        {"field": tip.column, "title": tip.title, "type": "quantitative", "format": tip.form}
        if tip.form
        else {"field": tip.column, "title": tip.title, "type": "nominal"}
        for tip in of
    ]
