"""What MLflow's pages say of the experiment, its runs and models, in Markdown; links are relative.

MLflow's own page is one page, whose places stand behind a `#`: a link that begins with it leads to
the same server, whatever its address is.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

#: Begins the description of the experiment; one that begins otherwise is a person's, and stays.
QUESTION = "What the choice of activation function does to a network."

#: What a link to the report begins with.
REPORT = "[The report]("

#: Begins a run's description once there is a report: the page shows its first lines alone.
_REPORT = re.compile(r"^\[The report\]\([^)]*\) speaks of this run\.\n\n")

#: Opens the pages of trainings, not those of generative models.
TRAINING = "workflowType=machine_learning"

#: Rows of a configuration's table, by the metric.
_REACHED = {
    "test_accuracy": ("test accuracy", True),
    "test_loss": ("test loss", False),
    "val_accuracy": ("validation accuracy, last epoch", True),
    "accuracy": ("training accuracy, last epoch", True),
    "loss": ("training loss, last epoch", False),
}


class Shown(NamedTuple):
    """A finished configuration, as the pages show it: its run's name, id, metrics, parameters."""

    name: str
    run: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]

    @property
    def network(self) -> str:
        """Its network's name."""
        return self.name.partition("/")[2]


def _number(value: float, is_share: bool) -> str:
    return f"{value:.2%}".replace("%", " %") if is_share else f"{value:.4f}"


def _interval(metrics: Mapping[str, float], name: str, is_share: bool) -> str:
    """Give the interval over seeds; a dash where one seed has none.

    >>> _interval({"loss_ci_low": 0.1, "loss_ci_high": 0.2}, "loss", False)
    '0.1000 to 0.2000'
    """
    ends = [metrics.get(f"{name}_ci_{which}") for which in ("low", "high")]
    return " to ".join(_number(end, is_share) for end in ends if end is not None) or "–"


def _setting(params: Mapping[str, object]) -> str:
    held_out = int(str(params["data.validation_size"]))
    watched = (
        f"{held_out:,} held-out images" if held_out else "the test images: nothing is held out"
    )
    return (
        f"{params['training.epochs']} epochs of {params['data.name']}, batches of"
        f" {params['training.batch_size']}, Adam at {params['training.learning_rate']}, initializer"
        f" {params['model.kernel_initializer']}. After each epoch `val_` is measured on {watched}."
    )


def of_configuration(
    name: str,
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    seeds: Sequence[int],
    diverged: Sequence[int],
    command: str,
) -> str:
    """Describe a configuration's run: what it is, what it reached, how to read it, what made it."""
    some = "seed" if len(seeds) == 1 else "seeds"
    lines = [
        f"**{name}**: {int(str(params['network.parameters'])):,} parameters, {len(seeds)} {some}."
        f" {_setting(params)}",
        "",
        f"| over {len(seeds)} {some} | mean | interval |",
        "| --- | --- | --- |",
        *(
            f"| {label} | {_number(metrics[f'{key}_mean'], is_share)}"
            f" | {_interval(metrics, key, is_share)} |"
            for key, (label, is_share) in _REACHED.items()
            if f"{key}_mean" in metrics
        ),
        "",
        *([f"Diverged: seed {', '.join(map(str, diverged))}.", ""] if diverged else []),
        "`…_mean` is the mean over seeds, `…_sd` their standard deviation, `…_ci_low` and"
        " `…_ci_high` the interval; those of `accuracy`, `loss`, `val_accuracy` and `val_loss` are"
        " curves, the epoch as step. Below this run is one run a seed. The model is that of seed"
        f" {seeds[0]}.",
        "",
        f"Made by `{command}`.",
    ]
    return "\n".join(lines)


def of_seed(name: str, seed: int, metrics: Mapping[str, float]) -> str:
    """Describe the run of one seed.

    >>> of_seed("relu/mlp", 3, {"test_accuracy": 0.975, "test_loss": 0.1})
    '**relu/mlp**, seed 3: test accuracy 97.50 %, test loss 0.1000. Its parent has all seeds.'
    """
    reached = ", ".join(
        f"{_REACHED[key][0]} {_number(metrics[key], _REACHED[key][1])}"
        for key in ("test_accuracy", "test_loss")
        if key in metrics
    )
    return f"**{name}**, seed {seed}: {reached}. Its parent has all seeds."


def of_model(name: str, seed: int) -> str:
    """Describe a run's model."""
    return (
        f"The network of **{name}**, seed {seed}: images (n, 784) from 0 to 1 in, probabilities"
        " (n, 10) out. What the other seeds reached stands at its source run."
    )


# --- Links --------------------------------------------------------------------------------


def run_link(experiment: str, run: str, file: str = "") -> str:
    """Give the address of a run's page, or of one of its files.

    >>> run_link("1", "0a", "report.html")
    '#/experiments/1/runs/0a/artifacts/report.html?workflowType=machine_learning'
    """
    place = f"/artifacts/{quote(file)}" if file else ""
    return f"#/experiments/{experiment}/runs/{run}{place}?{TRAINING}"


def view_link(experiment: str, view: str, charts: bool = True) -> str:
    """Give the address of a saved view of the runs, as charts or as a table."""
    shown = f"viewStateShareKey={quote(view)}&compareRunsMode={'CHART' if charts else 'TABLE'}"
    return f"#/experiments/{experiment}/runs?{shown}&{TRAINING}"


def comparison_link(experiment: str, runs: Iterable[str]) -> str:
    """Give the address of the page that compares runs."""
    compared, of = (quote(json.dumps(each)) for each in (list(runs), [experiment]))
    return f"#/compare-runs?runs={compared}&experiments={of}&{TRAINING}"


def logged_model_link(experiment: str, model: str) -> str:
    """Give the address of the page of a run's model."""
    return f"#/experiments/{experiment}/models/{model}?{TRAINING}"


def model_link(name: str) -> str:
    """Give the address of a registered model."""
    return f"#/models/{quote(name)}?{TRAINING}"


def with_report(note: str, experiment: str, report: str) -> str:
    """Give a run's description with a link to the report before it, in place of an older one.

    >>> older = with_report("A run.", "1", "0a")
    >>> with_report(older, "1", "0b") == with_report("A run.", "1", "0b")
    True
    """
    link = f"{REPORT}{run_link(experiment, report, 'report.html')}) speaks of this run."
    return f"{link}\n\n{_REPORT.sub('', note)}"


# --- Tables of configurations -------------------------------------------------------------


def _rows(experiment: str, shown: Iterable[Shown]) -> list[str]:
    """Give a table of configurations, each with a link to its run."""
    return [
        "| configuration | test accuracy | interval over seeds | test loss | training loss |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| [{each.name}]({run_link(experiment, each.run)})"
            f" | {_number(each.metrics['test_accuracy_mean'], True)}"
            f" | {_interval(each.metrics, 'test_accuracy', True)}"
            f" | {_number(each.metrics['test_loss_mean'], False)}"
            f" | {_number(each.metrics['loss_mean'], False)} |"
            for each in shown
        ),
    ]


def _verdicts(tags: Mapping[str, str]) -> str:
    """Count the verdicts on the notebook's claims.

    >>> _verdicts({"claim.a": "refuted", "claim.b": "supported", "claim.c": "refuted"})
    '3 claims of the notebook: 1 supported, 2 refuted'
    """
    verdicts = [verdict for tag, verdict in tags.items() if tag.startswith("claim.")]
    counts = [
        f"{verdicts.count(each)} {each}"
        for each in ("supported", "refuted", "undecided", "not measured")
        if each in verdicts
    ]
    return f"{len(verdicts)} claims of the notebook: {', '.join(counts)}"


def of_report(
    experiment: str, run: str, shown: Sequence[Shown], verdicts: Mapping[str, str]
) -> str:
    """Describe the report's run."""
    lines = [
        f"**[Open the report]({run_link(experiment, run, 'report.html')})**, or its"
        f" [Markdown]({run_link(experiment, run, 'report.md')}),"
        f" [ledger of claims]({run_link(experiment, run, 'claims.csv')}) and"
        f" [comparisons]({run_link(experiment, run, 'comparisons.csv')}). {_verdicts(verdicts)}.",
        "",
        *(_rows(experiment, shown) if shown else ["Its trainings are not in this store."]),
        "",
        "Made by `dvc repro report`.",
    ]
    return "\n".join(lines)


def of_experiment(
    experiment: str,
    shown: Sequence[Shown],
    views: Mapping[str, str],
    models: Iterable[str],
    report: str | None,
    verdicts: Mapping[str, str],
) -> str:
    """Describe the experiment: the answer, and where to look.

    Parameters
    ----------
    experiment, shown
        Its id, and the configurations of the pipeline that it holds.
    views
        The saved views, what they show by their keys; the first as a table.
    models
        The registered models.
    report, verdicts
        The run of the report on these configurations, if there is one, and its tags.
    """
    # The page shows the first line alone until it is asked for more.
    first = [QUESTION]
    if report is not None:
        first.append(f"**{REPORT}{run_link(experiment, report, 'report.html')})**.")
    if verdicts:
        first.append(f"{_verdicts(verdicts)}.")
    lines = [" ".join(first), ""]
    places = [
        f"[{said}]({view_link(experiment, key, charts=place > 0)})"
        for place, (key, said) in enumerate(views.items())
    ]
    networks = dict.fromkeys(each.network for each in shown)
    for network in networks:
        runs = [each.run for each in shown if each.network == network]
        if len(runs) > 1:
            places.append(f"[{network}: side by side]({comparison_link(experiment, runs)})")
    places += [f"[model {name}]({model_link(name)})" for name in models]
    lines += ["Look at: " + " · ".join(places) + ".", ""]
    lines += _rows(experiment, shown)
    return "\n".join(lines)
