"""What a sweep showed -> sentences, tables and one report, in the manner of the pipeline's.

`compose` makes a `report.Report` without a ledger of claims, which the templates of the pipeline's
report lay out. Every number comes from the tables of `swept`.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from actlab import tables
from actlab.config import ReportConfig
from actlab.datasets import DATASETS
from actlab.findings import counted, difference_text, fixed, in_points, join, percent
from actlab.report import Grid, Picture, Report, Section, Text
from actlab.swept import (
    ACTIVATION,
    MANY_PAIRS,
    METRICS,
    MOST_VALUES,
    NEAR_BEST,
    PHASE,
    Sweep,
    count_by_value,
    count_verdicts,
    diverged_seeds,
    grid_sizes,
    label,
)
from actlab.swept_figures import Drawing
from actlab.tables import where, written

#: Rows that a table of the report shows, and lines of the terminal's; the CSV has all.
MOST_ROWS, MOST_LINES = 60, 24

#: Of a terminal, in columns.
WIDTH = 100

#: Up to so many settings each has its own sentence; of more, verdicts are counted.
_FEW_SETTINGS = 4

#: Of more pairs of activations, each activation's verdicts are counted together.
_FEW_PAIRS = 10

_WORDS = {
    "better": "better than",
    "worse": "worse than",
    "equivalent": "equivalent to",
    "undecided": "undecided against",
}


# --- Sentences ----------------------------------------------------------------------------


def best_finding(sweep: Sweep, summary: pd.DataFrame, confidence: float) -> list[str]:
    """Name the best configuration: by held-out images where there are some, and what that means."""
    by = "val_accuracy" if sweep.has_held_out else "test_accuracy"
    if sweep.is_fair or not np.isfinite(summary[f"{by}_mean"].to_numpy(dtype=float)).any():
        return []
    best = summary.loc[summary[f"{by}_mean"].idxmax()].to_dict()
    name = sweep.setting(best, sweep.keys)
    test = _accuracy(best, "test_accuracy", confidence)
    total = counted(len(summary), "configuration")
    if sweep.has_held_out:
        return [
            f"The best of {total} by held-out validation images is {name}, with"
            f" {percent(best['val_accuracy_mean'])} there and {test} on the test images."
        ]
    return [
        f"The highest mean test accuracy of {total} is {test}, with {name}. It was picked by these"
        " test images themselves, so it flatters: hold out validation images to choose by"
        " (data.validation_size=10000)."
    ]


def _accuracy(row: Mapping[Any, Any], metric: str, confidence: float) -> str:
    mean, low, high = (row[f"{metric}_{which}"] for which in ("mean", "ci_low", "ci_high"))
    if not math.isfinite(low):
        return f"{percent(mean)} ({counted(row['seeds'], 'seed')}, no uncertainty)"
    return (
        f"{percent(mean)} ({100 * confidence:g} % interval {100 * low:.2f} to {100 * high:.2f},"
        f" {counted(row['seeds'], 'seed')})"
    )


def verdict_findings(sweep: Sweep, compared: pd.DataFrame, metric: str) -> list[str]:
    """Say what is shown by a metric: setting by setting where they are few, else counted.

    Beside activations, what is shown of another key is a counted sentence. The rows of a pair hold
    the verdict on its first.
    """
    rows = where(compared, metric=metric)
    if rows.empty or not np.isfinite(rows["p_t"].to_numpy(dtype=float)).any():
        return []
    beside = _keys_beside(sweep, rows)
    rest = [_counted_along(sweep, where(rows, key=key), metric) for key in beside]
    rows = rows.loc[~rows["key"].isin(beside)]
    if len(_settings(sweep, rows)) > _FEW_SETTINGS:
        return [*_counted_findings(sweep, rows, metric), *rest]
    told = []
    for (key, where_), of in _settings(sweep, rows).items():
        lead = f"{where_}: " if where_ else ""
        if key not in ("", ACTIVATION):
            lead += f"by {label(key, sweep.keys)}, "
        parts = [
            f"{row['first']} is {_WORDS[row['verdict']]} {row['second']}"
            f" ({difference_text(_as_known(metric), row)}{_needed(row)})"
            for row in of
        ]
        told.append(_sentence(f"{lead}by {METRICS[metric].title}, {'; '.join(parts)}."))
    return [*told, *rest]


def _keys_beside(sweep: Sweep, compared: pd.DataFrame) -> list[str]:
    """Give the keys whose values are compared beside activations, each a family of its own."""
    keys = list(dict.fromkeys(compared["key"]))
    if sweep.is_fair or ACTIVATION not in keys:
        return []
    return [key for key in keys if key != ACTIVATION]


def _counted_along(sweep: Sweep, rows: pd.DataFrame, metric: str) -> str:
    """Count the verdicts on the values of one key over all settings in a sentence."""
    counts, name = count_verdicts(rows), label(rows["key"].iloc[0], sweep.keys)
    if len(counts) > _FEW_PAIRS:
        return _by_value(rows, metric, f"{name} ")
    parts = [
        f"{row['first']} against {row['second']} {_verdicts(row)} of"
        f" {counted(row['settings'], 'setting')}"
        for row in counts.to_dict("records")
    ]
    same = len(where(rows, mean=0.0, sd=0.0))
    told = f" In {same} of these the two are the same in every seed." if same else ""
    return f"By {METRICS[metric].title}, {name} {'; '.join(parts)}.{told}"


def _verdicts(row: Mapping[Any, Any]) -> str:
    return join(f"{verdict} in {row[verdict]}" for verdict in _WORDS if row[verdict])


def _settings(sweep: Sweep, rows: pd.DataFrame) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Part pairs by what they differ in and by the setting that they share."""
    parted: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows.to_dict("records"):
        shared = [key for key in sweep.keys if row[key] != ""]
        at = (str(row["key"]), sweep.setting(row, shared))
        parted.setdefault(at, []).append({str(name): value for name, value in row.items()})
    return parted


def _counted_findings(sweep: Sweep, rows: pd.DataFrame, metric: str) -> list[str]:
    told = []
    counts = count_verdicts(rows)
    if len(counts) > _FEW_PAIRS and set(rows["key"]) == {ACTIVATION} and PHASE not in sweep.keys:
        return [_by_value(rows, metric)]
    for row in counts.to_dict("records"):
        lead = "" if row["key"] in ("", ACTIVATION) else f"{label(row['key'], sweep.keys)} "
        lead = f"{row[PHASE]}, {lead}" if row.get(PHASE) else lead
        told.append(
            f"By {METRICS[metric].title}, {lead}{row['first']} against {row['second']}:"
            f" {_verdicts(row)} of {counted(row['settings'], 'setting')}."
        )
    return told


def _by_value(rows: pd.DataFrame, metric: str, of: str = "") -> str:
    """Count each value's verdicts against all others in one sentence."""
    told = [
        f"{row['value']} is better in {row['better']}, worse in {row['worse']}"
        f"{f', equivalent in {equal}' if (equal := row['equivalent']) else ''} of"
        f" {row['comparisons']}"
        for row in count_by_value(rows).to_dict("records")
    ]
    return (
        f"By {METRICS[metric].title}, {of}over all settings and against all others, the rest"
        f" undecided: {'; '.join(told)}."
    )


def _needed(row: Mapping[str, Any]) -> str:
    if row["verdict"] != "undecided" or not row["pairs_needed"] > 0:
        return ""
    return f"; about {counted(int(row['pairs_needed']), 'seed')} would settle it"


def _as_known(metric: str) -> str:
    """Give the metric of `comparisons.METRICS` that has the same unit."""
    return "test_accuracy" if metric == "val_accuracy" else metric


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def divergence_findings(sweep: Sweep) -> list[str]:
    """Name what diverged: all of it where it is little, else how much."""
    lost = diverged_seeds(sweep)
    if not lost:
        return []
    by_number = {row["configuration"]: row for row in sweep.configurations.to_dict("records")}
    if len(lost) > 6:
        return [
            f"{len(lost)} of {len(by_number)} configurations diverged with at least one seed: their"
            " loss is no number, and their accuracies are counted as measured; summary.csv has them"
            " as diverged_seeds."
        ]
    named = [
        f"{sweep.setting(by_number[number], sweep.keys)} with"
        f" {'seed' if len(seeds) == 1 else 'seeds'} {join(map(str, seeds))}"
        for number, seeds in lost.items()
    ]
    return [f"Diverged, its loss no number, its accuracy counted as measured: {'; '.join(named)}."]


def fair_findings(sweep: Sweep, compared: pd.DataFrame, sensitivity: pd.DataFrame) -> list[str]:
    """Say what tuning changes of each value that was tuned, and which needs it most."""
    told = []
    rows = where(compared, metric="test_accuracy", key=PHASE).to_dict("records")
    if rows:
        parts = [
            f"{sweep.setting(row, sweep.tuned_for)} {difference_text('test_accuracy', row)}"
            f" ({row['verdict']})"
            for row in rows
        ]
        told.append(
            f"Test accuracy, tuned minus baseline on the same fresh seeds: {'; '.join(parts)}."
        )
    if len(sensitivity):
        ranked = sensitivity.sort_values("best_minus_median", ascending=False).to_dict("records")
        parts = [
            f"{sweep.setting(row, sweep.tuned_for)} {in_points(row['best_minus_median'])} points"
            f" ({100 * row['near_best']:.0f} % of {row['settings']} settings within"
            f" {100 * NEAR_BEST:g} points of its best)"
            for row in ranked
        ]
        told.append(
            "What tuning is worth, best minus median validation accuracy over the grid:"
            f" {'; '.join(parts)}."
        )
    return told


# --- The report ---------------------------------------------------------------------------


def answer(
    sweep: Sweep,
    summary: pd.DataFrame,
    compared: pd.DataFrame,
    sensitivity: pd.DataFrame,
    confidence: float,
) -> list[str]:
    """Answer in sentences: the best, what is shown of test accuracy, what diverged."""
    verdicts = verdict_findings(sweep, where(compared, key=_no_phase(compared)), "test_accuracy")
    if len(sweep.seeds) == 1:
        verdicts = ["With one seed no uncertainty can be given, so no order is shown."]
    elif compared.empty:
        verdicts = ["No two configurations differ in one key alone, so none were compared."]
    return [
        *best_finding(sweep, summary, confidence),
        *verdicts,
        *fair_findings(sweep, compared, sensitivity),
        *divergence_findings(sweep),
    ]


def _no_phase(compared: pd.DataFrame) -> list[str]:
    return [key for key in dict.fromkeys(compared["key"]) if key != PHASE]


def compose(
    sweep: Sweep,
    summary: pd.DataFrame,
    compared: pd.DataFrame,
    sensitivity: pd.DataFrame,
    drawings: Mapping[str, Drawing],
    unfinished: Sequence[str],
    selected: str,
    config: ReportConfig,
) -> Report:
    """Write the report of a sweep.

    Parameters
    ----------
    sweep
        What was measured.
    summary, compared, sensitivity
        Of `swept`, by the functions `summarise`, `compare` and `sensitivity`.
    drawings
        `swept_figures.draw` of them.
    unfinished
        Names of runs that were selected and left out.
    selected
        The conditions that selected the runs besides the sweep's name; may be empty.
    config
        Confidence, target and margins.
    """
    pictures = {
        name: Picture(f"figures/{name}.png", each.caption, each.alt, f"tables/{name}.csv")
        for name, each in drawings.items()
    }
    notes = list(sweep.notes)
    if unfinished:
        shown = join(unfinished[:6]) + (" and others" if len(unfinished) > 6 else "")
        notes.append(f"{_not_finished(len(unfinished))}, and left out: {shown}.")
    sections = [
        Section("Results", (_results(sweep, summary, config.confidence),)),
        Section("Accuracy", (pictures["accuracy"],)),
    ]
    if sweep.is_fair:
        sections.append(_tuning(sweep, sensitivity, compared, pictures))
    if "curves" in pictures:
        sections.append(Section("Learning curves", (pictures["curves"],)))
    sections += [
        _comparisons(sweep, summary, compared, pictures, config.confidence),
        Section("What this cannot say", (Text(tuple(_limits(sweep)), points=True),)),
        Section(
            "How it was measured", (Text(tuple(_methods(sweep, compared, config)), points=True),)
        ),
    ]
    return Report(
        title=f"Comparison of the sweep {sweep.name}" if sweep.name else "Comparison of runs",
        question=_question(sweep, selected),
        brief=(),
        ledger=None,
        answer=(*answer(sweep, summary, compared, sensitivity, config.confidence), *notes),
        sections=tuple(sections),
    )


def _not_finished(count: int) -> str:
    return f"{counted(count, 'run')} {'is' if count == 1 else 'are'} not finished"


def _told(seeds: Sequence[int]) -> str:
    """Write seeds out; of more than two in a row, the first and the last.

    >>> _told([0, 1, 2]), _told([0, 2**62])
    ('0 to 2', '0 and 4611686018427387904')
    """
    in_a_row = all(after == before + 1 for before, after in pairwise(seeds))
    if in_a_row and len(seeds) > 2:
        return f"{seeds[0]} to {seeds[-1]}"
    return join(_listed([str(seed) for seed in seeds]))


def _question(sweep: Sweep, selected: str) -> str:
    differ = join(
        f"{label(key, sweep.keys)} ({', '.join(_listed(sweep.values(key)))})" for key in sweep.keys
    )
    fixed = {key: value for key, value in sweep.fixed.items() if value != "none"}
    data = fixed.pop("data.name", None)
    on = f" on {DATASETS[data].title}" if data in DATASETS else ""
    shown = ", ".join(
        f"{key} {value}" for key, value in fixed.items() if not key.startswith("activation.f")
    )
    text = (
        f"Compared: {counted(len(sweep.configurations), 'configuration')}{on}, which differ in"
        f" {differ}; seeds {_told(sweep.seeds)}."
    )
    if selected:
        text += f" Selected by {selected}."
    if shown:
        text += f" Held fixed: {shown}."
    tied = [key for key in sweep.tied if not key.startswith("activation.")]
    if tied:
        text += f" Differing with these keys, not beside them: {', '.join(tied)}."
    return text


def _listed(values: Sequence[str], most: int = 12) -> list[str]:
    if len(values) <= most:
        return list(values)
    return [*values[: most - 2], "…", values[-1]]


def _results(sweep: Sweep, summary: pd.DataFrame, confidence: float) -> Grid:
    shown, left = _shown(summary, MOST_ROWS)
    caption = (
        "Means over seeds; the interval is the test accuracy's. Epochs: to the target, one more"
        " than were trained where a seed never gets there (in brackets, how many). The file"
        " summary.csv has all digits, standard deviations and intervals."
    )
    if left:
        caption += f" The {len(shown)} with the highest test accuracy of {len(summary)}."
    if any(summary["diverged_seeds"]):
        caption += " * A seed diverged; its accuracy is counted as measured."
    return Grid(
        caption,
        (
            *(_sentence(label(key, sweep.keys)) for key in sweep.keys),
            "Seeds",
            "Validation" if sweep.has_held_out else "Last epoch",
            "Test accuracy",
            f"{100 * confidence:g} % interval",
            "Test NLL",
            "Epochs",
        ),
        tuple(
            (*(row[key] for key in sweep.keys), *_cells(row)) for row in shown.to_dict("records")
        ),
        words=len(sweep.keys),
    )


def _shown(summary: pd.DataFrame, most: int) -> tuple[pd.DataFrame, int]:
    """Give the rows that a table shows, the best where not all fit, and how many are left out."""
    if len(summary) <= most:
        return summary, 0
    best = summary.sort_values("test_accuracy_mean", ascending=False, kind="stable").head(most)
    return best, len(summary) - most


def _cells(row: Mapping[Any, Any]) -> tuple[str, ...]:
    low, high = row["test_accuracy_ci_low"], row["test_accuracy_ci_high"]
    loss, epochs = row["test_loss_mean"], row["epochs_to_target_mean"]
    unreached = f" ({row['unreached_seeds']})" if row["unreached_seeds"] else ""
    return (
        str(row["seeds"]),
        percent(row["val_accuracy_mean"]),
        percent(row["test_accuracy_mean"]) + (" *" if row["diverged_seeds"] else ""),
        f"{100 * low:.2f} to {100 * high:.2f}" if math.isfinite(low) else "",
        fixed(loss, 4),
        f"{epochs:.1f}{unreached}" if math.isfinite(epochs) else "",
    )


def _comparisons(
    sweep: Sweep,
    summary: pd.DataFrame,
    compared: pd.DataFrame,
    pictures: Mapping[str, Picture],
    confidence: float,
) -> Section:
    blocks: list[Text | Grid | Picture] = []
    rest = [name for name in sweep.metrics() if name != "test_accuracy"]
    told = [line for name in rest for line in verdict_findings(sweep, compared, name)]
    told = told if len(sweep.seeds) > 1 and len(told) <= 6 else []  # the table has them too
    if (summary["unreached_seeds"] == summary["seeds"]).to_numpy().all():
        told.append("No seed gets to the target: epochs to it are not compared.")
    if told:
        blocks.append(Text(tuple(told), points=True))
    if "differences" in pictures:
        blocks.append(pictures["differences"])
    if compared.empty or len(sweep.seeds) == 1:
        why = (
            "There is one seed: nothing can be said of differences."
            if len(sweep.seeds) == 1
            else "No two configurations differ in one key alone, and they are too many to be"
            " compared all with all."
        )
        return Section("Comparisons", (*blocks, Text((why,))))
    pairs = len(where(compared, metric="test_accuracy"))
    if pairs > MOST_ROWS:
        blocks.append(_count_grid(sweep, compared, pairs))
        return Section("Comparisons", tuple(blocks))
    rows = compared if len(compared) <= MOST_ROWS else where(compared, metric="test_accuracy")
    along = ["Along"] if _keys_beside(sweep, rows) else []
    caption = (
        f"First minus second, with {100 * confidence:g} % interval. The p-value is that of the"
        " paired t-test, adjusted for all pairs of its family (Holm). The verdict is on the first."
        " Seeds are how many would settle what is undecided with 80 % power, were these differences"
        " the true ones. The file comparisons.csv has all digits, effect sizes and tests"
        " of equivalence."
    )
    if len(rows) < len(compared):
        caption += " Shown is test accuracy; the other metrics are in the file."
    blocks.append(
        Grid(
            caption,
            (
                *(_sentence(label(key, sweep.keys)) for key in _shared(sweep, rows)),
                *along,
                "By",
                "First",
                "Second",
                "Difference",
                "p",
                "Verdict",
                "Seeds",
            ),
            tuple(
                (
                    *(row[key] for key in _shared(sweep, rows)),
                    *(label(row["key"], sweep.keys) for _ in along),
                    METRICS[row["metric"]].title,
                    row["first"],
                    row["second"],
                    difference_text(_as_known(row["metric"]), row),
                    written(row["p_holm"]),
                    row["verdict"],
                    f"{row['pairs_needed']:,.0f}" if row["pairs_needed"] > 0 else "",
                )
                for row in rows.to_dict("records")
            ),
            words=len(_shared(sweep, rows)) + len(along) + 3,
        )
    )
    return Section("Comparisons", tuple(blocks))


def _shared(sweep: Sweep, rows: pd.DataFrame) -> list[str]:
    """Give the keys in which some pairs are equal: columns that are not empty."""
    return [key for key in sweep.keys if set(rows[key]) != {""}]


def _count_grid(sweep: Sweep, compared: pd.DataFrame, pairs: int) -> Grid:
    counts = count_verdicts(compared)
    where_ = [PHASE] if sweep.is_fair else []
    along = ["Along"] if len(set(compared["key"])) > 1 else []
    caption = (
        f"What was compared: {pairs:,} pairs a metric, each pair of values at every setting of the"
        " other keys. The verdicts on the first, counted over settings; and the smallest and"
        " largest mean difference, first minus second. The file comparisons.csv has a row a pair."
    )
    if len(counts) > MOST_ROWS:
        counts = where(counts, metric="test_accuracy")
        caption += " Shown is test accuracy; the other metrics are in the file."
    return Grid(
        caption,
        (
            *(_sentence(key) for key in where_),
            *along,
            "By",
            "First",
            "Second",
            "Settings",
            "Better",
            "Worse",
            "Equivalent",
            "Undecided",
            "Differences",
        ),
        tuple(
            (
                *(row[key] for key in where_),
                *(label(row["key"], sweep.keys) for _ in along),
                METRICS[row["metric"]].title,
                row["first"],
                row["second"],
                *(
                    str(row[name])
                    for name in ("settings", "better", "worse", "equivalent", "undecided")
                ),
                _range_text(row),
            )
            for row in counts.to_dict("records")
        ),
        words=3 + len(where_) + len(along),
    )


def _range_text(row: Mapping[Any, Any]) -> str:
    low, high = row["low"], row["high"]
    if not (math.isfinite(low) and math.isfinite(high)):
        return "not a number"
    unit = METRICS[row["metric"]].unit
    if unit == "points":
        return f"{in_points(low)} to {in_points(high)} points"
    digits = 4 if unit == "nats" else 1
    return f"{low:.{digits}f} to {high:.{digits}f} {unit}".replace("-", "−")


def _tuning(
    sweep: Sweep,
    sensitivity: pd.DataFrame,
    compared: pd.DataFrame,
    pictures: Mapping[str, Picture],
) -> Section:
    blocks: list[Text | Grid | Picture] = []
    keys = sweep.tuned_for
    each = join(label(key, keys) for key in keys)
    sizes, whole = grid_sizes(sweep)
    same = (
        f"the same for every {each}"
        if all(size == whole for size in sizes.values())
        else f"of which not all settings finished for every {each}"
    )
    if len(sensitivity):
        blocks += [
            pictures["sensitivity"],
            Grid(
                f"Mean validation accuracy over the tuning grid, {same}. The last share is that of"
                f" settings within {100 * NEAR_BEST:g} points of the best.",
                (
                    *(_sentence(label(key, keys)) for key in keys),
                    "Chosen",
                    "Settings",
                    "Best",
                    "Median",
                    "Worst",
                    "Best − median",
                    "Near best",
                    "Diverged",
                ),
                tuple(
                    (
                        *(row[key] for key in keys),
                        row["chosen"],
                        str(row["settings"]),
                        percent(row["best"]),
                        percent(row["median"]),
                        percent(row["worst"]),
                        f"{in_points(row['best_minus_median'])} points",
                        f"{100 * row['near_best']:.0f} %",
                        str(row["diverged"]),
                    )
                    for row in sensitivity.to_dict("records")
                ),
                words=len(keys) + 1,
            ),
        ]
    rows = where(compared, key=PHASE)
    if len(rows):
        blocks.append(
            Grid(
                f"Tuned minus baseline of each {each}, on the same fresh seeds.",
                (
                    *(_sentence(label(key, keys)) for key in keys),
                    "By",
                    "Difference",
                    "p",
                    "Verdict",
                ),
                tuple(
                    (
                        *(row[key] for key in keys),
                        METRICS[row["metric"]].title,
                        difference_text(_as_known(row["metric"]), row),
                        written(row["p_holm"]),
                        row["verdict"],
                    )
                    for row in rows.to_dict("records")
                ),
                words=len(keys) + 1,
            )
        )
    return Section("Tuned and baseline", tuple(blocks))


def _limits(sweep: Sweep) -> Iterable[str]:
    yield (
        "The intervals tell how results vary over seeds: initial weights and order of batches, on"
        " these test images. What new images would change needs each image's logits, which MLflow"
        " does not hold; so does calibration. The pipeline's report has both."
    )
    yield (
        "No verdict is on times: trainings of a sweep run under whatever load there was, some"
        " beside each other."
    )
    yield (
        "Undecided does not mean equal: with more seeds a difference, or equivalence, could be"
        " shown. The more pairs are compared, the more seeds it takes."
    )
    if not sweep.has_held_out:
        yield (
            "The validation curve is that of the test images, so epochs to target are counted on"
            " them. A configuration chosen by these numbers looks better than it is."
        )
    if sweep.is_fair:
        yield (
            f"Each {join(label(key, sweep.tuned_for) for key in sweep.tuned_for)} was tuned over a"
            " grid: outside of it, another setting may do better. The selection runs enter no"
            " comparison on the test images."
        )


def _methods(sweep: Sweep, compared: pd.DataFrame, config: ReportConfig) -> Iterable[str]:
    beside = _keys_beside(sweep, compared)
    confidence = f"{100 * config.confidence:g} %"
    yield (
        "Runs with equal keys are one configuration; runs that differ in a key are never pooled. Of"
        " a seed that was trained more than once the newest run counts; seeds of runs of different"
        " code or packages are not pooled."
    )
    yield f"Means over seeds have {confidence} intervals of Student's t distribution."
    if ACTIVATION in sweep.keys and len(sweep.values(ACTIVATION)) > 1:
        yield (
            "Compared are all pairs of activations whose other keys are equal"
            + (
                ", within baseline and within tuned, and tuned with baseline"
                if sweep.is_fair
                else ""
            )
            + "."
        )
        if beside:
            names = join(label(key, sweep.keys) for key in beside)
            yield (
                f"Compared too are values of {names} at equal other keys: neighbours of numbers,"
                f" all pairs of words, of up to {MOST_VALUES} values. Each of these keys is a"
                " family of its own: its p-values are adjusted apart from those of activations."
            )
    else:
        yield (
            "Compared are pairs that differ in one key: all values of a key where it has up to"
            " four, else neighbouring ones."
        )
    yield (
        "Pairs are compared within seeds: mean difference with t interval, paired t-test, Cohen's"
        " d_z, and two one-sided t-tests against a"
        f" margin: {100 * config.equivalence_margin:g} points of accuracy,"
        f" {config.equivalence_margin_nats:g} nats, {config.equivalence_margin_epochs:g} epochs."
    )
    yield (
        "A verdict is equivalent where equivalence is shown, else better or worse where the"
        " difference is, else undecided. All pairs of a metric"
        + (" and phase" if sweep.is_fair else " and key" if beside else "")
        + " are a family: their p-values are adjusted by Holm's method, and what is shown is shown"
        f" at {100 * (1 - config.confidence):.3g} %. Where a family has more than {MANY_PAIRS}"
        " pairs the bootstrap's intervals and the seeds that would settle it are not worked out."
    )
    yield (
        f"Epochs to target: the first epoch with {100 * config.target_accuracy:g} % validation"
        " accuracy; a seed that never gets there counts one epoch more than were trained, and shows"
        " no equivalence. Configurations that trained for different numbers of epochs are not"
        " compared by it."
    )
    yield (
        "Every table behind a figure is in the folder tables, every figure as PNG and SVG in the"
        " folder figures."
    )


def render_text(sweep: Sweep, summary: pd.DataFrame) -> str:
    """Write the summary for a terminal, without what has no room there."""
    shown, left = _shown(summary, MOST_LINES)
    header = [
        *(label(key, sweep.keys) for key in sweep.keys),
        "seeds",
        "validation" if sweep.has_held_out else "last epoch",
        "test",
        "interval",
        "NLL",
        "epochs",
    ]
    rows = [
        [*(_short(str(row[key])) for key in sweep.keys), *_cells(row)]
        for row in shown.to_dict("records")
    ]
    text = tables.as_text(rows, header)
    for name in ("NLL", "epochs", header[len(sweep.keys) + 1]):
        if max(map(len, text.splitlines())) <= WIDTH:
            break
        place = header.index(name)
        header.pop(place)
        for row in rows:
            row.pop(place)
        text = tables.as_text(rows, header)
    if left:
        text += f"\n({left} more, with lower test accuracy, in summary.csv)"
    return text


def _short(text: str, most: int = 18) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def verdict_tags(compared: pd.DataFrame) -> dict[str, str]:
    """Give the verdicts on test accuracy as tags of MLflow: of one setting, or counted.

    What a pair differs in is named too, unless it is the activation or the phase.

    >>> row = {"key": "activation.name", "metric": "test_accuracy", "mean": 0.01}
    >>> row |= {"first": "relu", "second": "tanh", "verdict": "better"}
    >>> verdict_tags(pd.DataFrame([row]))
    {'verdict.test_accuracy.relu - tanh': 'better'}
    """
    tags = {}
    for row in count_verdicts(where(compared, metric="test_accuracy")).to_dict("records"):
        pair = re.sub(r"[^\w\-. :/]", "", f"{row['first']} - {row['second']}")
        key = "" if row["key"] in ("", ACTIVATION, PHASE) else f"{row['key']} "
        phase = f"{row[PHASE]}." if row.get(PHASE) else ""
        counts = {verdict: row[verdict] for verdict in _WORDS if row[verdict]}
        told = ", ".join(f"{verdict} {count}" for verdict, count in counts.items())
        tags[f"verdict.test_accuracy.{phase}{key}{pair}"[:250]] = (
            next(iter(counts)) if row["settings"] == 1 else told
        )
    return tags
