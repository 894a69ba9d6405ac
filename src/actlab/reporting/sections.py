"""A study and what follows from it -> a report, section by section.

A section is there when the tables are that it needs. Those that need the layers of networks are in
`layer_sections`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from actlab.data.datasets import DATASETS
from actlab.engine.csvs import as_text
from actlab.evidence import summaries
from actlab.evidence.comparisons import METRICS
from actlab.evidence.wording import abridge, capitalise, counted, fixed, join, percent, written
from actlab.models.config import RECOMMENDED
from actlab.reporting import layer_sections, theory_sections, time_sections
from actlab.reporting.comparison_sections import describe_comparisons, describe_tuning
from actlab.reporting.drawings import swept_keys
from actlab.reporting.figures import MOST_ROWS as DOTS
from actlab.reporting.figures import MOST_SPLIT, most_lines, shown_of
from actlab.reporting.findings import (
    answer_findings,
    best_finding,
    comparison_findings,
    conclusion_findings,
    divergence_findings,
    find_settings,
    key_findings,
    loss_findings,
    settings_findings,
    spread_findings,
    tuning_findings,
)
from actlab.reporting.layer_findings import depth_and_accuracy_findings, depth_findings
from actlab.reporting.method_sections import describe_rules, list_claims, list_limits, list_methods
from actlab.reporting.report import (
    Grid,
    Picture,
    Report,
    Section,
    Text,
    points,
    run_names,
)
from actlab.reporting.response_figures import response_keys
from actlab.results.metadata import Description
from actlab.results.study import Study, label, line_key
from actlab.schema import Config

#: Rows that a table of the report shows, and lines of the terminal's; the CSV has all.
MOST_ROWS, MOST_LINES = 60, 24

#: Of a terminal, in columns.
WIDTH = 100


def compose(
    study: Study,
    summary: pd.DataFrame,
    scores: pd.DataFrame,
    compared: pd.DataFrame,
    drawn: Iterable[str],
    config: Config,
    *,
    activations: Sequence[Description] = (),
    class_counts: pd.DataFrame | None = None,
    claims: pd.DataFrame | None = None,
    unfinished: Sequence[str] = (),
) -> Report:
    """Write the report of a study, every number in it computed from the study's tables.

    Parameters
    ----------
    study
        What was measured.
    summary, scores, compared
        `summaries.summarise`, `comparisons.score` and `comparisons.compare` of it.
    drawn
        The names of the figures that there are.
    config
        What was configured; its `activation` and `network` are not looked at.
    activations
        The activations of the pipeline's study, in its order.
    class_counts
        Columns `tables.CLASS_COUNTS`.
    claims
        `claims.examine` of them all.
    unfinished
        Names of runs that were selected and left out.
    """
    confidence, names = config.report.confidence, set(drawn)
    tuning = summaries.tabulate_tuning(study)
    by_metric = {
        metric: comparison_findings(
            study, scores, compared, metric, confidence, config.report.target_accuracy
        )
        for metric in METRICS
    }
    answer = [
        *best_finding(study, summary, confidence),
        *by_metric["test_accuracy"],
        *settings_findings(study, summary, compared),
        *key_findings(study, compared),
        *(depth_findings(study, confidence, 0) if len(study.gradients) else []),
        *tuning_findings(study, compared, tuning),
        *divergence_findings(study),
        *study.notes,
    ]
    if unfinished:
        shown = join(unfinished[:6]) + (" and others" if len(unfinished) > 6 else "")
        verb = "is" if len(unfinished) == 1 else "are"
        answer.append(
            f"{counted(len(unfinished), 'run')} {verb} not finished, and left out: {shown}."
        )
    sections = [Section("Results", (_results(study, summary, confidence),))]
    if class_counts is not None:
        sections.append(layer_sections.describe_data(class_counts, config))
    if activations:
        kernel = config.model.kernel_initializer
        sections += [
            layer_sections.describe_activations(activations, kernel),
            layer_sections.describe_networks(study, kernel == RECOMMENDED),
        ]
    if "accuracy_curves" in names:
        sections.append(_curves(study, config))
    sections.append(_accuracy(study, summary, names, config))
    if study.is_fair:
        sections.append(describe_tuning(study, tuning, compared))
    sections.append(describe_comparisons(study, compared, by_metric, config))
    if len(study.blocks):
        sections.append(time_sections.describe_time(study, by_metric["epoch_seconds"], config))
    if len(study.gradients):
        sections += [
            layer_sections.describe_gradients(study, activations, config),
            layer_sections.describe_health(study, config),
            theory_sections.describe_theory(study, config),
        ]
        concluded = conclusion_findings(study, summary, compared)
        if len(study.activations) > 1 and len(study.seeds) > 1:
            concluded += depth_and_accuracy_findings(study, compared, confidence)
        sections.append(Section("Conclusion", (Text(tuple(concluded), points=True),)))
    sections += [
        Section("What this cannot say", (Text(tuple(list_limits(study, config)), points=True),)),
        Section("How it was measured", (Text(tuple(list_methods(study, compared, config)), True),)),
    ]
    if claims is not None:
        sections.append(describe_rules(claims, config))
    return Report(
        title=_title(study),
        question=_question(study, config),
        brief=tuple(answer_findings(study, summary, compared)),
        ledger=None if claims is None else list_claims(claims),
        answer=tuple(answer),
        sections=tuple(sections),
    )


def _title(study: Study) -> str:
    if study.has_layers:
        return "What does the choice of activation function do to a network?"
    return f"Comparison of the sweep {study.name}" if study.name else "Comparison of runs"


def _question(study: Study, config: Config) -> str:
    if study.has_layers:
        shapes = join(layer_sections.shape(study, network) for network in study.networks)
        return (
            f"Compared: {join(study.activations)} on {DATASETS[config.data.name].title}, in the"
            f" network{'s' if len(study.networks) > 1 else ''} {shapes};"
            f" {counted(len(study.seeds), 'seed')} and {counted(study.epochs, 'epoch')} each."
        )
    differ = join(
        f"{label(key, study.keys)} ({', '.join(abridge(study.values(key)))})" for key in study.keys
    )
    held = {key: value for key, value in study.fixed.items() if value != "none"}
    data = held.pop("data.name", None)
    on = f" on {DATASETS[data].title}" if data in DATASETS else ""
    shown = ", ".join(
        f"{key} {value}" for key, value in held.items() if not key.startswith("activation.f")
    )
    text = (
        f"Compared: {counted(len(study.configurations), 'configuration')}{on}, which differ in"
        f" {differ}; seeds {_ranged(sorted(study.seeds))}."
    )
    if config.compare.filter:
        text += f" Selected by {config.compare.filter}."
    if shown:
        text += f" Held fixed: {shown}."
    tied = [key for key in study.tied if not key.startswith("activation.")]
    if tied:
        text += f" These keys differ with them: {', '.join(tied)}."
    return text


def _ranged(seeds: Sequence[int]) -> str:
    """Write seeds out; of more than two in a row, the first and the last.

    >>> _ranged([0, 1, 2]), _ranged([0, 2**62])
    ('0 to 2', '0 and 4611686018427387904')
    """
    in_a_row = all(after == before + 1 for before, after in pairwise(seeds))
    if in_a_row and len(seeds) > 2:
        return f"{seeds[0]} to {seeds[-1]}"
    return join(abridge([str(seed) for seed in seeds]))


# --- Results --------------------------------------------------------------------------------


def _columns(
    study: Study, summary: pd.DataFrame, confidence: float
) -> dict[str, Callable[[Mapping[Any, Any]], str]]:
    """Give the columns of the results table behind the keys: what each shows of a row."""
    columns: dict[str, Callable[[Mapping[Any, Any]], str]] = {}
    if len(set(summary["seeds"])) > 1:
        columns["Seeds"] = lambda row: str(row["seeds"])
    if study.has_held_out:
        columns["Validation"] = lambda row: percent(row["val_accuracy_mean"])
    columns |= {
        "Test accuracy": lambda row: (
            percent(row["test_accuracy_mean"]) + (" *" if row["diverged_seeds"] else "")
        ),
        f"{100 * confidence:g} % interval": lambda row: _bounds(
            row["test_accuracy_ci_low"], row["test_accuracy_ci_high"]
        ),
        "Test NLL": lambda row: fixed(row["test_loss_mean"], 4),
        "Epochs": _epochs,
    }
    if "epoch_seconds_median" in summary:
        columns["s/epoch"] = lambda row: fixed(row["epoch_seconds_median"], 3)
    if "gradient_first_layer_initial" in summary:
        columns["Gradient before"] = lambda row: written(row["gradient_first_layer_initial"], 3)
        columns["Gradient after"] = lambda row: written(row["gradient_first_layer_notebook"], 3)
    return columns


def _bounds(low: float, high: float) -> str:
    """Write an interval of fractions in percent."""
    return f"{100 * low:.2f} to {100 * high:.2f}" if math.isfinite(low) else "n/a"


def _epochs(row: Mapping[Any, Any]) -> str:
    epochs = row["epochs_to_target_mean"]
    unreached = f" ({row['unreached_seeds']})" if row["unreached_seeds"] else ""
    return f"{epochs:.1f}{unreached}" if math.isfinite(epochs) else "n/a"


def _shown(summary: pd.DataFrame, most: int) -> pd.DataFrame:
    """Give the rows that a table shows: the most accurate, where not all fit."""
    if len(summary) <= most:
        return summary
    return summary.sort_values("test_accuracy_mean", ascending=False, kind="stable").head(most)


def _results(study: Study, summary: pd.DataFrame, confidence: float) -> Grid:
    columns = _columns(study, summary, confidence)
    shown = _shown(summary, MOST_ROWS)
    caption = (
        f"Means over {_seeds(summary)}; the interval is the test accuracy's. Epochs: to the target,"
        " one more than were trained where a seed never gets there (in brackets, how many)."
    )
    if "s/epoch" in columns:
        caption += (
            " The time is the median of the trainings' own epochs, under whatever load there was:"
            " the section Time compares times. Gradient: mean absolute entry of the first layer's,"
            " on the first training images, before and after training, the arithmetic mean over"
            " seeds."
        )
    caption += " The file summary.csv has all digits and the standard deviations."
    if len(shown) < len(summary):
        caption += f" The {len(shown)} with the highest test accuracy of {len(summary)}."
    if any(summary["diverged_seeds"]):
        caption += " * A seed diverged; its accuracy is counted as measured."
    rows = shown.to_dict("records")
    return Grid(
        caption,
        (*(capitalise(label(key, study.keys)) for key in study.keys), *columns),
        tuple(
            (*(row[key] for key in study.keys), *(show(row) for show in columns.values()))
            for row in rows
        ),
        words=len(study.keys),
        data="summary.csv",
        runs=run_names(rows) if study.has_layers else (),
    )


def _seeds(summary: pd.DataFrame) -> str:
    counts = sorted(set(summary["seeds"]))
    return counted(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def render_text(study: Study, summary: pd.DataFrame, confidence: float) -> str:
    """Write the results table for a terminal, without columns that have no room there."""
    columns = _columns(study, summary, confidence)
    shown = _shown(summary, MOST_LINES)

    def render() -> str:
        header = [*(capitalise(label(key, study.keys)) for key in study.keys), *columns]
        rows = [
            [
                *(_short(str(row[key])) for key in study.keys),
                *(show(row) for show in columns.values()),
            ]
            for row in shown.to_dict("records")
        ]
        return as_text(rows, header)

    text = render()
    for name in ("Test NLL", "Epochs", "Validation"):
        if max(map(len, text.splitlines())) <= WIDTH:
            break
        columns.pop(name, None)
        text = render()
    if left := len(summary) - len(shown):
        text += f"\n({left} more, with lower test accuracy, in summary.csv)"
    return text


def _short(text: str, most: int = 18) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


# --- Curves and accuracy --------------------------------------------------------------------


def _curves(study: Study, config: Config) -> Section:
    held = config.data.validation_size
    if not study.has_layers:
        watched = f"Validation is on {'held-out' if study.has_held_out else 'the test'} images."
    elif held:
        watched = f"Validation is on {counted(held, 'training image')} held out."
    else:
        watched = "Validation is on the test images; nothing is selected on it."
    band = (
        f" The band is the {100 * config.report.confidence:g} % interval of the mean."
        if len(study.seeds) > 1
        else ""
    )
    key = line_key(study.keys)
    settings = [other for other in study.keys if other != key]
    left = shown_of(study.configurations, study.keys, settings, key, most_lines(key))
    means = "Lines are means over seeds." if len(study.seeds) > 1 else "Lines are of one seed."
    drawn = f"{means}{band} {watched}{left}"
    lines = join(abridge(study.values(key)))
    has_training = len(find_settings(study)) <= MOST_SPLIT
    training = (
        " Training accuracy is taken during the epoch, while the weights still change."
        if has_training
        else ""
    )
    shown = (
        ("Thin lines are single seeds.", "Paler lines are on training images.")
        if has_training
        else ()
    )
    blocks: list[Text | Grid | Picture] = [
        Picture(
            "figures/accuracy_curves.png",
            f"Accuracy by epoch. {drawn}{training}",
            f"Accuracy by epoch, a line for each of {lines}.",
            "tables/accuracy_curves.csv",
            *shown,
        ),
        Picture(
            "figures/loss_curves.png",
            f"Cross-entropy by epoch. {drawn}",
            f"Loss by epoch on a logarithmic axis, a line for each of {lines}.",
            "tables/loss_curves.csv",
            *shown,
        ),
    ]
    found = loss_findings(study) if has_training else []
    return Section("Learning curves", (*blocks, *points(found, "tables/loss_curves.csv")))


def _accuracy(study: Study, summary: pd.DataFrame, names: set[str], config: Config) -> Section:
    blocks: list[Text | Grid | Picture] = [
        _accuracy_picture(study, summary, config),
        *points(spread_findings(study, summary) if study.has_layers else [], "summary.csv"),
    ]
    if "accuracy_differences" in names:
        margin = 100 * config.report.equivalence_margin
        thin = " thin: over new seeds and new images." if study.has_layers else ""
        blocks.append(
            Picture(
                "figures/accuracy_differences.png",
                f"Differences of test accuracy within seeds. Below {margin:g} points a difference"
                " does not matter; that was declared beforehand.",
                "Mean difference of test accuracy of each pair with its intervals and verdict.",
                "tables/accuracy_differences.csv",
                "Those points are dotted. Thick: the interval over new seeds, on these test"
                f" images;{thin}"
                if thin
                else "Those points are dotted.",
                "Those points are shaded. Lines: intervals over new seeds, on these test images.",
            )
        )
    return Section("Test accuracy", tuple(blocks))


def _accuracy_picture(study: Study, summary: pd.DataFrame, config: Config) -> Picture:
    along, path = swept_keys(study), "figures/test_accuracy.png"
    data = "tables/test_accuracy.csv"
    if len(along) == 1:
        (key,) = along
        lines, panel_keys = response_keys(study.keys, key)
        caption = f"Test accuracy against {label(key)}; each small dot is a seed." + (
            f" Lines are means with {100 * config.report.confidence:g} % intervals over seeds."
            if len(study.seeds) > 1
            else ""
        )
        if any(summary["diverged_seeds"]):
            caption += (
                " A cross on the lower edge marks a configuration of which a seed diverged; its"
                " accuracy is counted as measured."
            )
        if lines:
            most = most_lines(lines)
            caption += shown_of(study.configurations, study.keys, panel_keys, lines, most)
        return Picture(path, caption, f"Mean test accuracy against {label(key)}.", data)
    if along:
        x, y = map(label, along)
        panel_keys = [key for key in study.keys if key not in along]
        left = shown_of(study.configurations, study.keys, panel_keys)
        return Picture(
            path,
            f"Mean test accuracy in percent by {x} and {y}. White: nothing finished, or not a"
            f" number.{left}",
            f"Heat map of mean test accuracy by {x} and {y}.",
            data,
        )
    key = line_key(study.keys)
    settings = [other for other in study.keys if other != key]
    epochs = set(study.configurations["training.epochs"])
    after = f" after {counted(study.epochs, 'epoch')}" if len(epochs) == 1 else ""
    measured = "; ".join(
        f"{study.setting(row, study.keys)} {percent(row['test_accuracy_mean'])}"
        for row in summary.head(MOST_ROWS).to_dict("records")
    )
    return Picture(
        path,
        f"Test accuracy of every seed{after}. Each panel has an axis of its own; one that does not"
        f" start at zero says so.{shown_of(study.configurations, study.keys, settings, key, DOTS)}",
        f"Test accuracy of every seed with mean and interval: {measured}.",
        data,
    )


# --- Comparisons ----------------------------------------------------------------------------


# --- Limits and methods ---------------------------------------------------------------------
