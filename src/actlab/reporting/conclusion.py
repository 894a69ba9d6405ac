"""The first screen of a report: three sentences, one figure, the counts.

The sentences say what is true, how sure that is, and for how many seeds; the figure shows the mean
result of every configuration with its interval and its verdict against the best.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence.comparisons import METRICS, primary_metric
from actlab.evidence.decisions import MOST_SEEDS
from actlab.evidence.differences import difference_text, orient
from actlab.evidence.wording import counted, join
from actlab.reporting.findings import (
    describe_setting,
    find_settings,
    name_value,
    select_best,
)
from actlab.reporting.report import Bar, Lead, Panel
from actlab.results.study import ACTIVATION, NETWORK, Study, line_key
from actlab.schema import Config

#: Settings that the first sentence and the figure name, and configurations of a setting.
_MOST_SETTINGS, _MOST_ROWS = 2, 12


def find_ranks(
    study: Study, summary: pd.DataFrame, compared: pd.DataFrame
) -> list[tuple[dict[str, str], list[dict[str, Any]]]]:
    """Compare each configuration of a setting with the best: rows of the summary with `verdict`.

    `verdict` is best, or the verdict on the configuration; `row` its comparison with the best.
    Settings without a finite result are left out.
    """
    key, metric = line_key(study.keys), primary_metric(study)
    found = []
    for setting in find_settings(study):
        rows: Any = where(summary, **setting)
        finite = rows[np.isfinite(rows[f"{metric}_mean"])]
        if finite.empty or len(rows) < 2:
            continue
        best = finite.loc[select_best(finite[f"{metric}_mean"], metric)][key]
        ranked = []
        for row in rows.to_dict("records"):
            verdict, against = "best", None
            if row[key] != best:
                try:
                    pairs = where(compared, key=key)
                    against = orient(pairs, metric, row[key], best, **setting)
                    verdict = against["verdict"]
                except KeyError:  # too far along the key to be compared
                    verdict = ""
            ranked.append({**row, "name": row[key], "verdict": verdict, "row": against})
        found.append((setting, ranked))
    return found


def conclude(
    study: Study,
    summary: pd.DataFrame,
    compared: pd.DataFrame,
    claims: pd.DataFrame | None,
    config: Config,
) -> list[str]:
    """Write three sentences: what is true, how sure that is, and for how many seeds.

    Empty where configurations have one seed, or nothing is compared.
    """
    ranks = find_ranks(study, summary, compared)
    if not ranks or compared.empty or len(study.seeds) < 2:
        return []
    return [
        _say_what_is_true(study, ranks),
        _say_how_sure(study, compared, claims, config),
        _say_for_how_many_seeds(study, summary, compared),
    ]


def _say_what_is_true(
    study: Study, ranks: Sequence[tuple[Mapping[str, str], Sequence[Mapping[str, Any]]]]
) -> str:
    metric = METRICS[primary_metric(study)]
    most = "highest" if metric.larger_is_better else "lowest"
    parts = []
    for place, (setting, rows) in enumerate(ranks[:_MOST_SETTINGS]):
        best = next(row for row in rows if row["verdict"] == "best")
        value = metric.write(best[f"{primary_metric(study)}_mean"])
        name = name_value(line_key(study.keys), best["name"], study)
        lead = describe_setting(setting, study)
        lead = lead if place == 0 else lead[:1].lower() + lead[1:]
        verb = f"has the {most} mean {metric.title}, {value}" if place == 0 else f"has it, {value}"
        parts.append(f"{lead}{name} {verb}{_list_others(study, rows)}")
    left = len(ranks) - len(parts)
    more = f"; {counted(left, 'more setting')} below" if left else ""
    return f"{'; '.join(parts)}{more}."


def _list_others(study: Study, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write how the others compare with the best: worse by how much, alike, not yet decided."""
    by_verdict: dict[str, list[str]] = {}
    metric = METRICS[primary_metric(study)]
    for row in rows:
        text = row["name"]
        if row["verdict"] == "worse" and metric.unit == "points":
            text += f" by {abs(100 * row['row']['mean']):.2f} points"
        by_verdict.setdefault(row["verdict"], []).append(text)
    words = {
        "worse": "worse: ",
        "negligible": "negligibly worse: ",
        "equivalent": "equivalent: ",
        "undecided": "not yet decided: ",
    }
    shown = [
        f"{lead}{join(by_verdict[verdict])}"
        for verdict, lead in words.items()
        if verdict in by_verdict
    ]
    return f" ({'; '.join(shown)})" if shown else ""


def _say_how_sure(
    study: Study, compared: pd.DataFrame, claims: pd.DataFrame | None, config: Config
) -> str:
    decided = len(compared) - len(where(compared, verdict="undecided"))
    apart = " on a network" if NETWORK in study.keys else ""
    sentence = (
        f"Every verdict is read from a {100 * config.report.confidence:g} % interval that holds for"
        f" all pairs of a metric{apart} together; {decided} of"
        f" {counted(len(compared), 'comparison')} are decided"
    )
    if claims is not None and (primary := select_primary(claims)):
        undecided = [verdict for verdict in primary if verdict == "undecided"]
        sentence += (
            f", and, each by itself, {len(primary) - len(undecided)} of the teaching notebook's"
            f" {counted(len(primary), 'claim')}"
        )
    return f"{sentence}."


def select_primary(claims: pd.DataFrame) -> list[str]:
    """List the verdicts on the claims that count, without those that were not measured."""
    rows = where(claims, role="primary")
    return [verdict for verdict in rows["verdict"] if verdict != "not measured"]


def _say_for_how_many_seeds(study: Study, summary: pd.DataFrame, compared: pd.DataFrame) -> str:
    counts = sorted(set(summary["seeds"]))
    seeds = counted(counts[-1], "seed")
    if len(counts) > 1:
        seeds = f"{counts[0]} to {seeds}"
    first, last = min(study.seeds), max(study.seeds)
    how = "a number that was chosen beforehand"
    if study.is_sequential:
        how = f"added while verdicts were undecided, {describe_declaration(study)}"
    rows: Any = where(compared, metric=primary_metric(study), verdict="undecided")
    needed = [value for value in rows["pairs_needed"] if not math.isnan(value)]
    more = ""
    if needed:
        most = f"up to {max(needed):,.0f} seeds"
        if math.isinf(max(needed)):
            most = f"more than {MOST_SEEDS:,} seeds"
        more = (
            f"; deciding the other {counted(len(needed), 'pair')} by"
            f" {METRICS[primary_metric(study)].title} is estimated to take {most}"
        )
    if lost := len(rows) - len(needed):
        more += f"; {counted(lost, 'pair')} cannot be decided by more seeds"
    return f"That is for {seeds} of each configuration ({first} to {last}), {how}{more}."


def describe_declaration(study: Study) -> str:
    """Write whether the rules of a study that adds seeds are older than its data."""
    declared = study.declaration
    commit = declared.get("declared_commit")
    times = [declared.get(name, "") for name in ("declared", "first_training")]
    if (
        commit
        and all(times)
        and datetime.fromisoformat(times[0]) <= datetime.fromisoformat(times[1])
    ):
        return (
            f"by rules that are older than the data: committed in {commit[:10]} on"
            f" {declared['declared'][:10]}, before the first training"
        )
    return "by rules that nothing shows to be older than the data: they were not committed"


def define_verdicts(study: Study, config: Config) -> str:
    """Define the words of the verdicts, for the primary metric's margin."""
    margin = f"{100 * config.report.equivalence_margin:g} points"
    if study.is_regression:
        margin = f"{100 * config.report.equivalence_margin_ratio:g} %"
    return (
        "Better, worse: a difference is shown, which may exceed the margin of"
        f" {margin}. Negligible: a difference is shown, and is smaller. Equivalent: none is shown,"
        " and any is smaller. Undecided: these seeds show neither."
    )


def draw_lead(study: Study, summary: pd.DataFrame, compared: pd.DataFrame) -> Lead | None:
    """Make the figure of the first screen; None where there is too much, or nothing, to show."""
    ranks = find_ranks(study, summary, compared)
    if not ranks or len(ranks) > _MOST_SETTINGS or max(len(rows) for _, rows in ranks) > _MOST_ROWS:
        return None
    name = primary_metric(study)
    metric, panels = METRICS[name], []
    for setting, rows in ranks:
        columns = [f"{name}_{end}" for end in ("mean", "ci_low", "ci_high")]
        values = np.array([[row[column] for column in columns] for row in rows], dtype=float)
        finite = values[np.isfinite(values)]
        low, high = float(finite.min()), float(finite.max())
        width = (high - low) or 1.0
        low, width = low - 0.06 * width, 1.12 * width
        bars = [
            Bar(
                str(row["name"]),
                metric.write(row[columns[0]]),
                *(round(100 * float((value - low) / width), 2) for value in placed),
                verdict=row["verdict"] or "not compared",
                title=_title_bar(name, row),
            )
            for row, placed in zip(rows, values, strict=True)
        ]
        title = describe_setting(setting, study).strip(" ,")
        panels.append(Panel(title or metric.axis, tuple(bars)))
    picture = f"figures/{name}.png"
    along = "activation" if line_key(study.keys) == ACTIVATION else "configuration"
    return Lead(
        f"Mean {metric.title} of each {along} with its interval, and the verdict against the best."
        " Each panel has its own axis.",
        tuple(panels),
        picture,
    )


def _title_bar(metric: str, row: Mapping[str, Any]) -> str:
    if row["row"] is None:
        return row["verdict"]
    return f"{row['verdict']}: {difference_text(metric, row['row'])} against {row['row']['other']}"
