"""Saved views of MLflow's page of runs: columns and charts, behind a link.

MLflow 3.17 keeps a view as a tag of the experiment, `mlflow.sharedViewState.<key>`: a name, dates,
and the state of its page as JSON, deflated. Its page opens one by `?viewStateShareKey=<key>` and
lists them under *Views*. The state is not documented; it was read from that page's own source, and
a key that another version does not know is ignored there.
"""

import base64
import json
import zlib
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from actlab.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run
else:  # importing mlflow takes seconds
    Run = Any

#: The metrics that are columns and axes, and those that are drawn as curves.
_REACHED = ("test_accuracy_mean", "test_accuracy_ci_low", "test_accuracy_ci_high", "test_loss_mean")
_CURVES = ("val_accuracy_mean", "val_loss_mean", "accuracy_mean", "loss_mean")
_PARALLEL = ("val_accuracy_mean", "test_accuracy_mean")

_RUN_NAME = "attributes.`Run Name`"


def tag_of(key: str) -> str:
    """Return the experiment's tag that holds a view."""
    return f"mlflow.sharedViewState.{key}"


def save_view(
    store: Store,
    key: str,
    title: str,
    selected: str,
    keys: Iterable[str],
    runs: Iterable[Run],
    group: Iterable[str] = (),
) -> bool:
    """Save the view of some configurations, unless it is saved; return whether it was not.

    Parameters
    ----------
    key, title
        Its name in links, and on the page.
    selected
        The condition that selects its runs.
    keys
        The parameters that tell configurations apart: columns, and axes of a chart.
    runs
        What is selected now.
    group
        Parameters: curves are means over the configurations with the same values, with a band from
        their least to their greatest.
    """
    metrics = sorted({name for run in runs for name in run.data.metrics})
    # Of the runs that it shows: a view that is saved again is the same.
    changed = max(run.info.end_time or 0 for run in runs)
    state = _compose(selected, [*keys], metrics)
    if by := [{"mode": "param", "groupByData": name} for name in group]:
        state["groupBy"] = {"aggregateFunction": "average", "groupByKeys": by}
        state["useGroupedValuesInCharts"] = True
    view = _pack(title, changed, state)
    if store.client.get_experiment(store.experiment).tags.get(tag_of(key)) == view:
        return False
    store.client.set_experiment_tag(store.experiment, tag_of(key), view)
    return True


def _pack(title: str, changed: int, state: Mapping[str, Any]) -> str:
    deflated = zlib.compress(json.dumps(state, separators=(",", ":")).encode(), 9)
    packed = f"deflate;{base64.b64encode(deflated).decode()}"
    return json.dumps({"name": title, "createdAt": changed, "updatedAt": changed, "state": packed})


def _compose(selected: str, keys: list[str], metrics: Collection[str]) -> dict[str, Any]:
    """Compose the state of the page: a table, and charts of curves and of results."""

    def choose(names: Iterable[str]) -> list[str]:
        """Choose losses in place of accuracies, where no run has one."""
        if any("accuracy" in name for name in metrics):
            return [*names]
        return list(dict.fromkeys(name.replace("accuracy", "loss") for name in names))

    columns = [f"params.`{key}`" for key in keys]
    columns += [f"metrics.`{name}`" for name in choose(_REACHED)]
    section = "Configurations"
    common = {"metricSectionId": section, "deleted": False, "isGenerated": False}
    common |= {"runsCountToCompare": 50}
    charts = [
        {
            "type": "LINE",
            "metricKey": name,
            "selectedMetricKeys": [name],
            "displayName": name,
            "scaleType": "log" if "loss" in name else "linear",
            "xAxisScaleType": "linear",
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "range": {},
            "yAxisKey": "metric",
            "yAxisExpressions": [],
            "ignoreOutliers": False,
            "useGlobalXaxisKey": True,
            "useGlobalLineSmoothing": True,
        }
        for name in choose(_CURVES)
    ]
    charts.append(
        {
            "type": "PARALLEL",
            "selectedParams": keys,
            "selectedMetrics": choose(_PARALLEL),
            "showAllRuns": True,
        }
    )
    # The page adds a chart for each other metric, in a section by the name before its last slash:
    # hundreds, which take seconds where the section is open.
    closed = {name.rpartition("/")[0] or "Model metrics" for name in metrics}
    sections = {section: {"display": True, "columns": 2, "cardHeight": 420}}
    sections |= {name: {"display": False} for name in sorted(closed | {"System metrics"})}
    return {
        "searchFilter": selected,
        "orderByKey": f"params.`{keys[0]}`",
        "orderByAsc": True,
        "selectedColumns": columns,
        "columnOrder": [_RUN_NAME, *columns],
        "columnWidths": {_RUN_NAME: 300},
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,
        "compareRunCharts": [
            {"uuid": f"{section}-{place}", **common, **chart} for place, chart in enumerate(charts)
        ],
        "compareRunSections": [
            {"uuid": name, "name": name, "isReordered": True, "deleted": False, **given}
            for name, given in sections.items()
        ],
    }
