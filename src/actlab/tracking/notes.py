"""Descriptions on MLflow's pages, in Markdown, and the links between them.

MLflow's UI is one page, whose places follow a `#`: a link that begins with it leads to the same
server, whatever its address is.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from actlab.engine.progress import describe_divergence
from actlab.tracking.store import QUESTION

if TYPE_CHECKING:
    from mlflow.entities import Run
else:  # importing mlflow takes seconds
    Run = Any

#: Begins a link to the report, and the description of a run in it.
REPORT = "[The report]("

#: Opens the pages of trainings, not those of generative models.
TRAINING = "workflowType=machine_learning"

#: Rows of a configuration's table, by the metric: label, format.
_REACHED = {
    "test_accuracy": ("test accuracy", ".2%"),
    "test_loss": ("test loss", ".4f"),
    "val_accuracy": ("validation accuracy, last epoch", ".2%"),
    "loss": ("training loss, last epoch", ".4f"),
}

_HEADER = "mean | interval |\n| --- | --- | --- |"


def _row(label: str, metrics: Mapping[str, float], name: str) -> str:
    """Format a metric's mean and interval over seeds; a dash where one seed has no interval."""
    mean, *ends = (metrics.get(f"{name}_{which}") for which in ("mean", "ci_low", "ci_high"))
    form = _REACHED[name][1]
    interval = " to ".join(format(end, form) for end in ends if end is not None) or "–"
    return f"| {label} | {mean:{form}} | {interval} |"


def describe_configuration(
    name: str,
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    seeds: Sequence[int],
    divergences: Mapping[int, int],
) -> str:
    """Describe a configuration's run: what it is, and what it reached over its seeds."""
    held_out = int(str(params["data.validation_size"]))
    watched = f"{held_out:,} held-out images" if held_out else "the test images (none held out)"
    lines = [
        f"**{name}**: {int(str(params['network.parameters'])):,} parameters;"
        f" {params['training.epochs']} epochs of {params['data.name']}; `val_` is measured on"
        f" {watched}.",
        "",
        f"| seeds {', '.join(map(str, seeds))} | {_HEADER}",
        *(
            _row(label, metrics, key)
            for key, (label, _) in _REACHED.items()
            if f"{key}_mean" in metrics
        ),
        "",
        *([f"{describe_divergence(divergences, len(seeds))}.", ""] if divergences else []),
        "Metrics over seeds end in `_mean`, `_sd`, `_ci_low` and `_ci_high`. Each seed has a child"
        f" run; the logged model is that of seed {seeds[0]}.",
    ]
    return "\n".join(lines)


def run_link(experiment: str, run: str, file: str = "") -> str:
    """Return the address of a run's page, or of one of its files.

    >>> run_link("1", "0a", "report.html")
    '#/experiments/1/runs/0a/artifacts/report.html?workflowType=machine_learning'
    """
    place = f"/artifacts/{quote(file)}" if file else ""
    return f"#/experiments/{experiment}/runs/{run}{place}?{TRAINING}"


def view_link(experiment: str, view: str, charts: bool = True) -> str:
    """Return the address of a saved view of the runs, as charts or as a table."""
    shown = f"viewStateShareKey={quote(view)}&compareRunsMode={'CHART' if charts else 'TABLE'}"
    return f"#/experiments/{experiment}/runs?{shown}&{TRAINING}"


def model_link(name: str) -> str:
    """Return the address of a registered model."""
    return f"#/models/{quote(name)}?{TRAINING}"


def link_report(note: str, experiment: str, report: str) -> str:
    """Begin a run's description with a link to the report, in place of an older one.

    >>> older = link_report("A run.", "1", "0a")
    >>> link_report(older, "1", "0b") == link_report("A run.", "1", "0b")
    True
    """
    link = f"{REPORT}{run_link(experiment, report, 'report.html')}) includes this run."
    own = re.sub(rf"^{re.escape(REPORT)}.*\n\n", "", note)
    return f"{link}\n\n{own}"


def _count_verdicts(tags: Mapping[str, str]) -> str:
    """Count the verdicts on the notebook's claims.

    >>> _count_verdicts({"claim.a": "refuted", "claim.b": "supported", "claim.c": "refuted"})
    '3 claims of the teaching notebook: 2 refuted, 1 supported'
    """
    counts = Counter(verdict for tag, verdict in tags.items() if tag.startswith("claim."))
    listed = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return f"{counts.total()} claims of the teaching notebook: {listed}"


def describe_experiment(
    experiment: str, parents: Iterable[Run], view: str, model: str, report: Run | None
) -> str:
    """Describe the experiment: the answer, and where to look.

    `parents` are the runs of the pipeline's configurations, `view` and `model` the names of the
    saved view and of the registered model, `report` the run of the report, if there is one.
    """
    # The page shows only the first line until it is opened.
    first = QUESTION
    if report is not None:
        link = run_link(experiment, report.info.run_id, "report.html")
        first += f" **{REPORT}{link})**. {_count_verdicts(report.data.tags)}."
    has_accuracy = all("test_accuracy_mean" in run.data.metrics for run in parents)
    tested = "test_accuracy" if has_accuracy else "test_loss"
    rows = [
        _row(
            f"[{run.info.run_name}]({run_link(experiment, run.info.run_id)})",
            run.data.metrics,
            tested,
        )
        for run in parents
    ]
    places = [
        f"[configurations as a table]({view_link(experiment, view, charts=False)})",
        f"[as charts]({view_link(experiment, view)})",
        f"[model {model}]({model_link(model)})",
    ]
    return "\n".join(
        [first, "", " · ".join(places), "", f"| {_REACHED[tested][0]} | {_HEADER}", *rows]
    )
