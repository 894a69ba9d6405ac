"""A study and what follows from it -> a report, section by section.

A section is there when its tables are. Those that need the layers of networks are in
`layer_sections`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from actlab.data.datasets import load_definition
from actlab.engine import presets
from actlab.engine.csvs import as_text
from actlab.evidence import summaries
from actlab.evidence.comparisons import METRICS, primary_metric, validation_metric
from actlab.evidence.wording import abridge, capitalise, counted, fixed, in_points, join, percent
from actlab.reporting import layer_sections
from actlab.reporting.comparison_sections import describe_comparisons
from actlab.reporting.conclusion import conclude, define_verdicts, draw_lead
from actlab.reporting.drawings import swept_keys
from actlab.reporting.figures import MOST_ROWS as DOTS
from actlab.reporting.figures import most_lines, shown_of
from actlab.reporting.findings import (
    best_finding,
    divergence_findings,
    key_findings,
    test_findings,
    tuning_findings,
)
from actlab.reporting.layer_findings import depth_findings
from actlab.reporting.method_sections import (
    list_claims,
    list_limits,
    list_methods,
)
from actlab.reporting.protocol import leave_out_defaults
from actlab.reporting.report import (
    Block,
    Grid,
    Picture,
    Report,
    Section,
    Text,
)
from actlab.reporting.response_figures import response_keys
from actlab.results.metadata import Description
from actlab.results.study import Study, label, line_key
from actlab.schema import Config

#: Rows of the table of results, and of the terminal's; the CSV has all.
MOST_ROWS, MOST_LINES = 60, 24

#: Of a terminal, in columns.
WIDTH = 100

GREY_LEVELS = "grey levels divided by 255"


def compose(
    study: Study,
    summary: pd.DataFrame,
    compared: pd.DataFrame,
    drawn: Iterable[str],
    config: Config,
    *,
    activations: Sequence[Description] = (),
    class_counts: pd.DataFrame | None = None,
    scaling: str = GREY_LEVELS,
    has_pictures: bool = True,
    claims: pd.DataFrame | None = None,
    unfinished: Sequence[str] = (),
) -> Report:
    """Write the report of a study, every number in it computed from the study's tables.

    Parameters
    ----------
    study
        What was measured.
    summary, compared
        `summaries.summarise` and `comparisons.compare` of it.
    drawn
        The names of the figures.
    config
        The configuration; `activation` and `network` are not used.
    activations
        The activations of the pipeline's study, in its order.
    class_counts
        Columns `tables.CLASS_COUNTS`.
    scaling, has_pictures
        See `layer_sections.describe_data`.
    claims
        `claims.examine` of the study.
    unfinished
        Names of runs that were selected and left out.
    """
    confidence, names = config.report.confidence, set(drawn)
    answer = [
        *best_finding(study, summary),
        *test_findings(study, summary, compared),
        *key_findings(study, compared),
        *(depth_findings(study, confidence) if len(study.gradients) else []),
        *tuning_findings(study, compared),
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
        sections.append(
            layer_sections.describe_data(study, class_counts, config, scaling, has_pictures)
        )
    if activations:
        sections.append(layer_sections.describe_activations(activations))
    if "loss_curves" in names:
        sections.append(_curves(study, names, config))
    sections.append(_tests(study, summary, names, config))
    if study.is_fair:
        sections.append(_tuning(study))
    if len(compared) and len(study.seeds) > 1:
        sections.append(describe_comparisons(study, compared, config))
    if len(study.blocks):
        sections.append(layer_sections.describe_time(study, config))
    if len(study.gradients):
        sections += [
            layer_sections.describe_gradients(study, config),
            layer_sections.describe_health(study, config),
            layer_sections.describe_theory(study, config),
        ]
    sections += [
        Section("Limits", (Text(tuple(list_limits(study, config)), points=True),)),
        Section("Methods", (Text(tuple(list_methods(study, compared, config)), points=True),)),
    ]
    return Report(
        title=_title(study),
        question=_question(study, config),
        conclusion=tuple(conclude(study, summary, compared, claims, config)),
        words=define_verdicts(study, config),
        lead=draw_lead(study, summary, compared),
        answer=tuple(answer),
        claims=None if claims is None or study.is_regression else list_claims(claims),
        sections=tuple(sections),
    )


def _title(study: Study) -> str:
    if study.has_layers:
        return "What does the choice of activation function do to a network?"
    return f"Comparison of the sweep {study.name}" if study.name else "Comparison of runs"


def _question(study: Study, config: Config) -> str:
    if study.has_layers:
        return (
            f"Compared: {join(study.activations)} on {load_definition(config.data.name).title} in"
            f" {counted(len(study.networks), 'network')}, with {counted(len(study.seeds), 'seed')}"
            f" and {counted(study.epochs, 'epoch')} each."
        )
    differ = join(
        f"{label(key, study.keys)} ({', '.join(abridge(study.values(key)))})" for key in study.keys
    )
    held = leave_out_defaults(study.fixed)
    data = held.pop("data.name", None)
    on = f" on {load_definition(data).title}" if data in presets.list_presets("data") else ""
    parts = [
        f"Compared: {counted(len(study.configurations), 'configuration')}{on}, which differ in"
        f" {differ}; seeds {_ranged(sorted(study.seeds))}."
    ]
    if config.compare.filter:
        parts.append(f"Selected by {config.compare.filter}.")
    if shown := [f"{key} {value}" for key, value in held.items()]:
        parts.append(f"Held fixed: {', '.join(shown)}; all else by default.")
    if tied := [key for key in study.tied if not key.startswith("activation.")]:
        parts.append(f"These keys differ with them: {', '.join(tied)}.")
    return " ".join(parts)


def _ranged(seeds: Sequence[int]) -> str:
    """List seeds; of more than two consecutive ones, the first and the last.

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
    """Give the columns of the results table after the keys: how each writes a row's value."""
    columns: dict[str, Callable[[Mapping[Any, Any]], str]] = {}
    if len(set(summary["seeds"])) > 1:
        columns["Seeds"] = lambda row: str(row["seeds"])
    tested = primary_metric(study)
    metric = METRICS[tested]
    validation = f"{validation_metric(study)}_mean"
    if validation in summary and study.has_held_out:
        columns["Validation"] = lambda row: metric.write(row[validation])
    columns |= {
        capitalise(metric.title): lambda row: (
            metric.write(row[f"{tested}_mean"]) + (" *" if row["diverged_seeds"] else "")
        ),
        f"{100 * confidence:g} % interval": lambda row: metric.write_interval(
            row[f"{tested}_ci_low"], row[f"{tested}_ci_high"]
        ),
    }
    if not study.is_regression:
        columns |= {
            "Test NLL": lambda row: fixed(row["test_loss_mean"], 4),
        }
    if "epochs_to_target_mean" in summary:
        columns["Epochs"] = _epochs
    return columns


def _epochs(row: Mapping[Any, Any]) -> str:
    epochs = row["epochs_to_target_mean"]
    unreached = f" ({row['unreached_seeds']})" if row["unreached_seeds"] else ""
    return f"{epochs:.1f}{unreached}" if math.isfinite(epochs) else "n/a"


def _select_best(study: Study, summary: pd.DataFrame, most: int) -> pd.DataFrame:
    """Select the best configurations, in the table's order where all fit."""
    if len(summary) <= most:
        return summary
    name = primary_metric(study)
    ascending = not METRICS[name].larger_is_better
    return summary.sort_values(f"{name}_mean", ascending=ascending, kind="stable").head(most)


def _results(study: Study, summary: pd.DataFrame, confidence: float) -> Grid:
    columns = _columns(study, summary, confidence)
    shown, title = _select_best(study, summary, MOST_ROWS), METRICS[primary_metric(study)].title
    counts = sorted(set(summary["seeds"]))
    seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else counted(counts[0], "seed")
    caption = f"Means over {seeds}, with the interval of the {title}."
    if "Epochs" in columns:
        caption += (
            " Epochs: to the target accuracy; in brackets, how many seeds never reach it and count"
            " one epoch more than were trained."
        )
    if len(shown) < len(summary):
        caption += f" The {len(shown)} with the best {title} of {len(summary)}."
    if any(summary["diverged_seeds"]):
        caption += " * A seed diverged; the mean counts its result as measured."
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
        runs=tuple(f"{row['activation']}/{row['network']}" for row in rows)
        if study.has_layers
        else (),
    )


def render_text(study: Study, summary: pd.DataFrame, confidence: float) -> str:
    """Write the results table for a terminal, without the columns for which there is no room."""
    columns = _columns(study, summary, confidence)
    shown = _select_best(study, summary, MOST_LINES)

    def render() -> str:
        header = [*(capitalise(label(key, study.keys)) for key in study.keys), *columns]
        rows = [
            [
                *(_shorten(str(row[key])) for key in study.keys),
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
        title = METRICS[primary_metric(study)].title
        text += f"\n({left} more, of worse {title}, in summary.csv)"
    return text


def _shorten(text: str, most: int = 18) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


# --- Curves and tests -----------------------------------------------------------------------


def _curves(study: Study, names: set[str], config: Config) -> Section:
    images = "held-out training images" if study.has_held_out else "the test images"
    key = line_key(study.keys)
    settings = [other for other in study.keys if other != key]
    left = shown_of(study.configurations, study.keys, settings, key, most_lines(key))
    drawn = "Lines are of one seed."
    if len(study.seeds) > 1:
        drawn = f"Means over seeds with the {100 * config.report.confidence:g} % interval."
    if summaries.end_apart(study):
        drawn += " A seed that ended before others counts on with its last epoch."
    lines = join(abridge(study.values(key)))
    pictures = [
        Picture(
            f"figures/{name}_curves.png",
            f"{title} by epoch. {drawn} Validation is on {images}.{left}",
            f"{title} by epoch, a line for each of {lines}.",
            f"tables/{name}_curves.csv",
        )
        for name, title in (("accuracy", "Accuracy"), ("loss", capitalise(study.loss.title)))
        if f"{name}_curves" in names
    ]
    return Section("Learning curves", tuple(pictures))


def _tests(study: Study, summary: pd.DataFrame, names: set[str], config: Config) -> Section:
    blocks: list[Block] = [_tests_picture(study, summary, config)]
    if "accuracy_differences" in names:
        images = ""
        if study.has_layers:
            images = " Thin lines: the intervals over new seeds and new test images."
        blocks.append(
            Picture(
                "figures/accuracy_differences.png",
                "Differences of test accuracy within seeds, with their intervals. The equivalence"
                f" margin, {100 * config.report.equivalence_margin:g} points, was declared"
                f" beforehand.{images}",
                "Mean difference of test accuracy of each pair with its intervals and verdict.",
                "tables/accuracy_differences.csv",
            )
        )
    if "noise" in names:
        title = METRICS[primary_metric(study)].title
        blocks.append(
            Picture(
                "figures/noise.png",
                f"Mean {title} with uniform noise on the test images, from minus to plus the bound"
                " on the axis, in units of the inputs.",
                f"Mean {title} against the bound of the noise.",
                "tables/noise.csv",
            )
        )
    return Section(capitalise(METRICS[primary_metric(study)].title), tuple(blocks))


def _tests_picture(study: Study, summary: pd.DataFrame, config: Config) -> Picture:
    name = primary_metric(study)
    metric = METRICS[name]
    along, key, most = swept_keys(study), line_key(study.keys), DOTS
    panel_keys = [other for other in study.keys if other != key]
    title = f"{capitalise(metric.title)} of every seed"
    caption = f"{title}, with means and intervals. Each panel has its own axis."
    if len(along) == 1:
        key, panel_keys = response_keys(study.keys, along[0])
        most = most_lines(key) if key else 1
        title = f"Mean {metric.title} against {label(along[0])}"
        caption = f"{title}, with {100 * config.report.confidence:g} % intervals; dots are seeds."
        if any(summary["diverged_seeds"]):
            caption += " A cross on the lower edge: a seed diverged."
    elif along:
        key, panel_keys = None, [other for other in study.keys if other not in along]
        title = f"Mean {metric.title} by {label(along[0])} and {label(along[1])}"
        caption = f"{title}. White: not finished or diverged."
    caption += shown_of(study.configurations, study.keys, panel_keys, key, most)
    return Picture(f"figures/{name}.png", caption, f"{title}.", f"tables/{name}.csv")


# --- Comparisons and tuning -----------------------------------------------------------------


def _tuning(study: Study) -> Section:
    tuning = summaries.tabulate_tuning(study)
    if tuning.empty:
        text = "The selection runs are missing: only tuned and baseline runs are compared."
        if study.is_regression:
            text = "Settings were chosen by the validation loss."
        return Section("Tuning", (Text((text,)),))
    keys, near = study.tuned_for, f"{100 * summaries.NEAR_BEST:g} points"
    tuned = join(label(key, keys) for key in keys)
    return Section(
        "Tuning",
        (
            Picture(
                "figures/tuning.png",
                "Mean validation accuracy of every setting: the diamond is the chosen one, the bar"
                f" the median, the shaded part within {near} of the best. Crosses diverged.",
                f"Validation accuracy of each setting of the tuning grid, a row for each {tuned}.",
                "tables/tuning.csv",
            ),
            Grid(
                f"The same tuning grid for every {tuned}. Near best: settings within {near} of it.",
                (
                    *(capitalise(label(key, keys)) for key in keys),
                    *("Chosen", "Settings", "Best", "Best − median", "Near best", "Diverged"),
                ),
                tuple(
                    (
                        *(row[key] for key in keys),
                        row["chosen"],
                        str(row["settings"]),
                        percent(row["best"]),
                        f"{in_points(row['best_minus_median'])} points",
                        f"{100 * row['near_best']:.0f} %",
                        str(row["diverged"]),
                    )
                    for row in tuning.to_dict("records")
                ),
                words=len(keys) + 1,
                data="tuning.csv",
            ),
        ),
    )
