"""Saved views of MLflow's page of runs: columns, groups and charts, behind a link.

MLflow 3.17 keeps a view as a tag of the experiment, `mlflow.sharedViewState.<key>`: a name, dates,
and the state of its page as JSON, deflated. Its page opens one by `?viewStateShareKey=<key>` and
lists them under *Views*. Nothing documents the state: it is read from that page's own source, and
a key that another version does not know is left out there.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

_PREFIX = "mlflow.sharedViewState."

#: The columns of configurations, from the left, and how wide they are in pixels.
_COLUMNS = {
    "params.`network.name`": 90,
    "params.`activation.name`": 110,
    "metrics.`test_accuracy_mean`": 150,
    "metrics.`test_accuracy_ci_low`": 165,
    "metrics.`test_accuracy_ci_high`": 165,
    "metrics.`test_loss_mean`": 120,
    "metrics.`loss_mean`": 100,
    "params.`model.kernel_initializer`": 170,
    "params.`training.learning_rate`": 160,
    "params.`training.epochs`": 130,
    "attributes.`Description`": 300,
}

#: The metrics of a seed that its charts show.
_CURVES = ("val_accuracy", "val_loss", "accuracy", "loss")

_PARAMETERS = ["activation.name", "model.kernel_initializer", "training.learning_rate"]
_REACHED = ["loss_mean", "test_loss_mean", "test_accuracy_mean"]


def tag(key: str) -> str:
    """Give the experiment's tag that holds a view."""
    return f"{_PREFIX}{key}"


def _saved(name: str, changed: int, state: Mapping[str, Any]) -> str:
    """Give the value of that tag; `changed` is in milliseconds."""
    deflated = zlib.compress(json.dumps(state, separators=(",", ":")).encode(), 9)
    packed = f"deflate;{base64.b64encode(deflated).decode()}"
    return json.dumps({"name": name, "createdAt": changed, "updatedAt": changed, "state": packed})


def read(value: str) -> tuple[str, dict[str, Any]]:
    """Give the name and the state of a view that a tag holds.

    >>> read(_saved("Curves", 0, {"groupBy": None}))
    ('Curves', {'groupBy': None})
    """
    held = json.loads(value)
    packed = held["state"].removeprefix("deflate;")
    return held["name"], json.loads(zlib.decompress(base64.b64decode(packed)))


def _sections(titles: Iterable[str], metrics: Iterable[str]) -> list[dict[str, Any]]:
    """Give sections that are open, by their titles; those of all other metrics are closed.

    The page adds a chart for each metric of its runs that has none, below the name before the
    metric's last slash: hundreds, which take seconds where they are open.
    """
    others = {name.rpartition("/")[0] or "Model metrics" for name in metrics}
    shown = {title: {"display": True, "columns": 2, "cardHeight": 420} for title in titles}
    for title in ("Model metrics", *sorted(others), "System metrics"):
        shown.setdefault(title, {"display": False})
    return [
        {"uuid": name, "name": name, "isReordered": True, "deleted": False, **given}
        for name, given in shown.items()
    ]


def _chart(kind: str, section: str, place: int, **given: Any) -> dict[str, Any]:
    common = {"type": kind, "uuid": f"{section}-{place}", "metricSectionId": section}
    return common | {"deleted": False, "isGenerated": False, "runsCountToCompare": 50} | given


def _line(section: str, place: int, metric: str, floor: float | None = None) -> dict[str, Any]:
    """Give a chart over epochs: from a floor to 1, or where there is none on a scale of logs."""
    return _chart(
        "LINE",
        section,
        place,
        metricKey=metric,
        selectedMetricKeys=[metric],
        displayName=metric,
        scaleType="log" if floor is None else "linear",
        xAxisScaleType="linear",
        xAxisKey="step",
        lineSmoothness=0,
        range={} if floor is None else {"yMin": floor, "yMax": 1.0},
        yAxisKey="metric",
        yAxisExpressions=[],
        ignoreOutliers=False,
        useGlobalXaxisKey=True,
        useGlobalLineSmoothing=True,
    )


def of_configurations(selected: str, metrics: Iterable[str], changed: int) -> str:
    """Give the view of configurations: a table, or charts that show their differences.

    Parameters
    ----------
    selected, metrics
        The condition that selects their runs, and the names of all metrics that these have.
    changed
        When the view was made, in milliseconds since 1970.
    """
    section = "Configurations"
    charts = [
        _chart(
            "DIFFERENCE",
            section,
            0,
            chartName="What differs",
            compareGroups=["Parameters", "Model metrics"],
            showChangeFromBaseline=False,
            showDifferencesOnly=True,
            baselineColumnUuid="",
        ),
        _chart(
            "SCATTER",
            section,
            1,
            displayName="Test accuracy against training loss",
            xaxis={"key": "loss_mean", "type": "METRIC"},
            yaxis={"key": "test_accuracy_mean", "type": "METRIC"},
        ),
        _chart(
            "PARALLEL",
            section,
            2,
            selectedParams=["network.name", *_PARAMETERS],
            selectedMetrics=_REACHED,
            showAllRuns=False,
        ),
    ]
    return _saved(
        section,
        changed,
        {
            "searchFilter": selected,
            "orderByKey": "params.`network.name`",
            "orderByAsc": True,
            "selectedColumns": list(_COLUMNS),
            "columnOrder": ["attributes.`Run Name`", *_COLUMNS],
            "columnWidths": {"attributes.`Run Name`": 190, **_COLUMNS},
            "runsHiddenMode": "SHOW_ALL",
            "isAccordionReordered": True,
            "compareRunCharts": charts,
            "compareRunSections": _sections([section], metrics),
        },
    )


def of_curves(
    network: str,
    selected: str,
    activations: Iterable[str],
    metrics: Iterable[str],
    floor: float,
    changed: int,
) -> str:
    """Give the view of seeds' curves on a network, grouped by activation.

    A line is the mean over an activation's seeds, its band from the least to the greatest.

    Parameters
    ----------
    network, activations
        What is shown, by name.
    selected, metrics, changed
        As in `of_configurations`; the runs are those of seeds.
    floor
        Where the axis of accuracies begins: from 0 on, the curves would be one.
    """
    names = list(metrics)
    section, gradients = "Curves", "First layer's gradient, first 32 training images"
    charts = [
        _line(section, place, metric, floor if metric.endswith("accuracy") else None)
        for place, metric in enumerate(_CURVES)
    ]
    probe = "gradient/notebook/mean_abs/hidden_1"
    titles = [section]
    if probe in names:
        titles.append(gradients)
        charts.append(_line(gradients, 0, probe))
    columns = ["metrics.`test_accuracy`", "metrics.`test_loss`", "metrics.`loss`", "params.`seed`"]
    group = {"mode": "param", "groupByData": "activation.name"}
    return _saved(
        f"Curves on {network}, by activation",
        changed,
        {
            "searchFilter": selected,
            "orderByKey": "params.`activation.name`",
            "orderByAsc": True,
            "selectedColumns": columns,
            "columnOrder": ["attributes.`Run Name`", *columns],
            "groupBy": {"aggregateFunction": "average", "groupByKeys": [group]},
            "groupsExpanded": {f"param.activation.name.{name}": False for name in activations},
            "useGroupedValuesInCharts": True,
            "runsHiddenMode": "SHOW_ALL",
            "isAccordionReordered": True,
            "compareRunCharts": charts,
            "compareRunSections": _sections(titles, names),
        },
    )


def of_sweep(sweep: str, keys: Iterable[str], metrics: Iterable[str], changed: int) -> str:
    """Give the view of a sweep's configurations, grouped by activation.

    A line is the mean of an activation's configurations, each a mean over seeds; its band goes
    from the least to the greatest of them. `keys` are the parameters that tell configurations
    apart; otherwise as `of_configurations`.
    """
    parameters = [key for key in keys if "." in key]
    columns = [f"params.`{key}`" for key in parameters]
    columns += [f"metrics.`{name}_mean`" for name in ("val_accuracy", "test_accuracy", "test_loss")]
    section = "Sweep"
    charts = [
        _line(section, 0, "val_accuracy_mean", 0.0),
        _line(section, 1, "val_loss_mean"),
        _chart(
            "PARALLEL",
            section,
            2,
            selectedParams=parameters,
            selectedMetrics=["val_accuracy_mean", "test_accuracy_mean"],
            showAllRuns=True,
        ),
    ]
    group = {"mode": "param", "groupByData": "activation.name"}
    return _saved(
        f"Sweep {sweep}",
        changed,
        {
            "searchFilter": f"tags.`sweep.{sweep}` = 'yes' AND tags.actlab.kind = 'configuration'",
            "orderByKey": "params.`activation.name`",
            "orderByAsc": True,
            "selectedColumns": columns,
            "columnOrder": ["attributes.`Run Name`", *columns],
            "columnWidths": {"attributes.`Run Name`": 320},
            "groupBy": {"aggregateFunction": "average", "groupByKeys": [group]},
            "useGroupedValuesInCharts": True,
            "runsHiddenMode": "SHOW_ALL",
            "isAccordionReordered": True,
            "compareRunCharts": charts,
            "compareRunSections": _sections([section], metrics),
        },
    )
