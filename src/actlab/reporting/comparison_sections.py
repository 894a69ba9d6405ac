"""The section of a report that compares all pairs."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence.comparisons import METRICS, primary_metric
from actlab.evidence.decisions import MOST_SEEDS
from actlab.evidence.differences import difference_text, orient
from actlab.evidence.wording import capitalise, counted
from actlab.reporting.findings import count_findings, describe_setting, find_settings
from actlab.reporting.report import Block, Cell, Fold, Grid, Matrix, Section, Text, points
from actlab.results.study import Study, label, line_key
from actlab.schema import Config

#: Rows of the table of pairs; the CSV has all.
MOST_PAIRS = 100

#: Settings, and values of the key that is compared, of which matrices are shown.
MOST_MATRICES, MOST_NAMES = 4, 12

#: The signs of verdicts in a matrix.
SIGNS = {"better": "▲", "worse": "▼", "equivalent": "=", "negligible": "≈", "undecided": "?"}


def describe_comparisons(study: Study, compared: pd.DataFrame, config: Config) -> Section:
    """Show the comparisons: of one key, a matrix of all pairs for each metric and setting."""
    matrices = _make_matrices(study, compared)
    grid = _make_grid(study, compared, config)
    blocks: list[Block] = [*points(count_findings(study, compared))]
    if matrices:
        signs = ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())
        seeds = sorted({int(row) for row in where(compared, metric=primary_metric(study))["pairs"]})
        counts = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
        blocks.append(
            Text(
                (
                    f"Row minus column ({_divided(study)}: row divided by column) over {counts}"
                    f" seeds, with the verdict on the row: {signs}.",
                )
            )
        )
        blocks += [*matrices, Fold("All differences, with intervals", grid)]
    else:
        blocks.append(grid)
    return Section("Comparisons", tuple(blocks))


def _divided(study: Study) -> str:
    return "mean squared errors" if study.is_regression else "times"


def _make_matrices(study: Study, compared: pd.DataFrame) -> list[Matrix]:
    """Make a matrix of each metric and setting; none where not all pairs are compared."""
    key = line_key(study.keys)
    settings, names = find_settings(study), study.values(key)
    if len(settings) > MOST_MATRICES or not 2 < len(names) <= MOST_NAMES:
        return []
    if set(compared["key"]) != {key}:
        return []
    found = []
    for name, metric in METRICS.items():
        for setting in settings:
            rows = where(compared, metric=name, key=key, **setting)
            if not len(rows):
                continue
            cells = [
                tuple(_make_cell(name, rows, first, second) for second in names) for first in names
            ]
            place = describe_setting(setting, study).strip(" ,")
            title = (
                f"{capitalise(metric.title)}{f', {place[:1].lower()}{place[1:]}' if place else ''}"
            )
            found.append(Matrix(title, tuple(names), tuple(cells)))
    return found


def _make_cell(metric: str, rows: pd.DataFrame, first: str, second: str) -> Cell | None:
    if first == second:
        return None
    try:
        row = orient(rows, metric, first, second)
    except KeyError:
        return None
    text = difference_text(metric, row)
    short, _, _ = text.partition(", ")
    unit = METRICS[metric].unit
    verdict, count = row["verdict"], counted(int(row["pairs"]), METRICS[metric].paired_by)
    title = f"{first} minus {second}: {text}; {verdict}, {count}"
    return Cell(verdict, SIGNS[verdict], short.replace(f" {unit}", "").partition(":")[0], title)


def _make_grid(study: Study, compared: pd.DataFrame, config: Config) -> Grid:
    shared = [key for key in study.keys if key in compared and set(compared[key]) != {""}]
    along = ["key"] if len(set(compared["key"])) > 1 else []
    names = [*shared, *along, "first", "second"]
    cells = compared.assign(
        key=[label(key, study.keys) if key else "" for key in compared["key"]],
        cell=list(map(_write_verdict, compared.to_dict("records"))),
    )
    rows: Any = cells.groupby(names, sort=False)
    metrics = [name for name in METRICS if name in set(compared["metric"])]
    confidence = f"{100 * config.report.confidence:g} %"
    caption = (
        f"First minus second ({_divided(study)}: first divided by second), with the {confidence}"
        " interval for all pairs and the verdict on the first; in brackets, how many seeds (of"
        " times: processes) are estimated to decide what is undecided. All digits, p-values and"
        " effect sizes are in comparisons.csv."
    )
    if len(rows) > MOST_PAIRS:
        caption += f" The first {MOST_PAIRS} of {len(rows)} pairs."
    shown = []
    for values, found in list(rows)[:MOST_PAIRS]:
        by_metric = dict(zip(found["metric"], found["cell"], strict=True))
        shown.append((*values, *(by_metric.get(name, "") for name in metrics)))
    header = [
        *(capitalise(label(key, study.keys)) for key in shared),
        *("Along" for _ in along),
        *("First", "Second"),
        *(capitalise(METRICS[name].title) for name in metrics),
    ]
    return Grid(caption, tuple(header), tuple(shown), words=len(names), data="comparisons.csv")


def _write_verdict(row: Mapping[Any, Any]) -> str:
    needed, text = row["pairs_needed"], ""
    if needed > 0:
        text = f" ({needed:,.0f})" if math.isfinite(needed) else f" (over {MOST_SEEDS:,})"
    return f"{difference_text(row['metric'], row)}: {row['verdict']}{text}"
