"""The numbers of a study -> sentences that claim no more than the numbers show.

Nothing is assumed about what is compared. Whether one configuration is better than another by a
metric, equivalent or undecided is the verdict of `comparisons.compare`.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence.comparisons import (
    METRICS,
    diverged_seeds,
    primary_metric,
    validation_metric,
)
from actlab.evidence.differences import difference_text, orient
from actlab.evidence.wording import capitalise, counted, join
from actlab.results.study import ACTIVATION, NETWORK, PHASE, Study, label, line_key

#: Settings that have a sentence, pairs of values of a key, and diverged configurations by name.
_MOST_SETTINGS, _MOST_PAIRS, _MOST_DIVERGED = 24, 10, 6

_VERDICTS = {
    "better": "better than",
    "worse": "worse than",
    "negligible": "negligibly different from",
    "equivalent": "equivalent to",
    "undecided": "undecided against",
}


def find_settings(study: Study) -> list[dict[str, str]]:
    """List the settings in which the values of the line key are compared."""
    others = [key for key in study.keys if key != line_key(study.keys)]
    if not others:
        return [{}]
    rows = study.configurations.loc[:, others].drop_duplicates().to_dict("records")
    return [{str(key): str(value) for key, value in row.items()} for row in rows]


def describe_setting(setting: Mapping[str, str], study: Study) -> str:
    """Write a setting as the beginning of a sentence: `On mlp `, `With depth 8, `."""
    on, held = "", []
    for key, value in setting.items():
        if key == NETWORK:
            on = f"on {value} "
        elif key == PHASE:
            held.append(f"{'tuned' if value == 'tuned' else 'the baseline'} settings")
        else:
            held.append(name_value(key, value, study))
    return capitalise(on + (f"with {join(held)}, " if held else ""))


def name_value(key: str, value: str, study: Study) -> str:
    """Name a value of a key: an activation by itself, others with their key."""
    return value if key in (ACTIVATION, NETWORK, PHASE) else f"{label(key, study.keys)} {value}"


def test_findings(study: Study, summary: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Write, for each setting, which test result is best and how the others compare.

    Parameters
    ----------
    study
        What was measured.
    summary, compared
        `summaries.summarise` and `comparisons.compare` of it.
    """
    key = line_key(study.keys)
    if len(study.values(key)) > 1 and key not in set(compared["key"]):
        return []
    settings = find_settings(study)
    lines = [
        _test_finding(study, where(summary, **setting), compared, setting)
        for setting in settings[:_MOST_SETTINGS]
    ]
    if left := len(settings) - len(lines):
        lines.append(f"The verdicts of {left} more settings are in comparisons.csv.")
    return lines


def _test_finding(
    study: Study, rows: pd.DataFrame, compared: pd.DataFrame, setting: Mapping[str, str]
) -> str:
    key, lead, tested = (
        line_key(study.keys),
        describe_setting(setting, study),
        primary_metric(study),
    )
    metric = METRICS[tested]
    finite: Any = rows[np.isfinite(rows[f"{tested}_mean"])]
    if finite.empty:
        return capitalise(f"{lead}no {metric.title} is finite.")
    best = finite.loc[select_best(finite[f"{tested}_mean"], tested)]
    low, high = best[f"{tested}_ci_low"], best[f"{tested}_ci_high"]
    is_single = best["seeds"] == 1
    value = metric.write(best[f"{tested}_mean"])
    interval = metric.write_interval(low, high)
    if not math.isfinite(low):
        interval = f"{'one seed, ' if is_single else ''}no interval"
    value += f" ({interval})"
    name = lead + name_value(key, best[key], study)
    if len(rows) == 1:
        return f"{name} reaches a {metric.title} of {value}."
    verdicts: dict[str, list[str]] = {}
    for other in study.values(key) if not is_single else ():
        try:
            row = orient(where(compared, key=key), tested, best[key], other, **setting)
        except KeyError:  # itself, or too far along the key to be compared
            continue
        shown = f" ({difference_text(tested, row)})"
        is_decided = row["verdict"] in ("better", "worse", "negligible")
        verdicts.setdefault(row["verdict"], []).append(other + (shown if is_decided else ""))
    parts = [
        f"{words} {join(verdicts[verdict])}"
        for verdict, words in _VERDICTS.items()
        if verdict in verdicts
    ]
    most = "highest" if metric.larger_is_better else "lowest"
    answer = f"{name} has the {most} mean {metric.title}, {value}"
    return f"{answer}: {'; '.join(parts)}." if parts else f"{answer}."


def key_findings(study: Study, compared: pd.DataFrame) -> list[str]:
    """Write the verdicts by `primary_metric` on every key but the line key, over all settings.

    Where no two configurations differ in one key alone, each pair has its own.
    """
    lines, tested = [], primary_metric(study)
    for key, rows in where(compared, metric=tested).groupby("key", sort=False):
        pairs: Any = rows.groupby(["first", "second"], sort=False)
        skipped = key in (line_key(study.keys), PHASE) or len(study.seeds) == 1
        if skipped or len(pairs) > _MOST_PAIRS:
            continue
        parts = []
        for (first, second), found in pairs:
            if key == "":
                row = found.iloc[0].to_dict()
                shown = f"{row['verdict']} ({difference_text(tested, row)})"
            else:
                counts = found["verdict"].value_counts()
                shown = join(f"{name} in {counts[name]}" for name in _VERDICTS if name in counts)
                shown += f" of {counted(len(found), 'setting')}"
            parts.append(f"{first} vs. {second} {shown}")
        name = f"{label(str(key), study.keys)} " if key else ""
        lines.append(f"By {METRICS[tested].title}, {name}{'; '.join(parts)}.")
    return lines


def count_findings(study: Study, compared: pd.DataFrame) -> list[str]:
    """Count, for each setting, the pairs of activations with each verdict that is decided."""
    settings = find_settings(study)
    if ACTIVATION not in set(compared["key"]) or len(settings) > _MOST_SETTINGS:
        return []
    lines = []
    for setting in settings:
        rows = where(compared, key=ACTIVATION, **setting)
        decided = rows[rows["verdict"] != "undecided"].replace({"verdict": {"worse": "better"}})
        counts = decided.groupby(["verdict", "metric"]).size()
        parts = []
        for verdict, words in (
            ("better", "different"),
            ("negligible", "negligibly different"),
            ("equivalent", "equivalent"),
        ):
            if verdict == "negligible" and verdict not in set(decided["verdict"]):
                continue
            found = [
                f"{counts[verdict, name]} by {metric.title}"
                for name, metric in METRICS.items()
                if (verdict, name) in counts
            ]
            parts.append(f"{join(found) if found else 'no pair is'} shown to be {words}")
        pairs = counted(len(where(rows, metric=primary_metric(study))), "pair")
        if len(rows):
            lead = describe_setting(setting, study).strip(" ,")
            lines.append(capitalise(f"{lead}: {'; '.join(parts)} (of {pairs}).".removeprefix(": ")))
    return lines


def best_finding(study: Study, summary: pd.DataFrame) -> list[str]:
    """Name the best configuration, by held-out images where there are some.

    Empty for a fair sweep, and for a study that does not choose among settings.
    """
    tested = primary_metric(study)
    metric, chosen = METRICS[tested], validation_metric(study) if study.has_held_out else tested
    has_settings = study.has_held_out or set(study.others) - {NETWORK}
    values = summary.get(f"{chosen}_mean")
    if study.is_fair or not has_settings or values is None or not np.isfinite(values).any():
        return []
    best = summary.loc[select_best(values, chosen)].to_dict()
    name, total = study.setting(best, study.keys), counted(len(summary), "configuration")
    test = metric.write(best[f"{tested}_mean"])
    if study.has_held_out:
        return [
            f"The best of {total} by held-out validation images is {name}, with"
            f" {metric.write(best[f'{chosen}_mean'])} there and {test} on the test images."
        ]
    most, too = ("highest", "high") if metric.larger_is_better else ("lowest", "low")
    return [
        f"The {most} mean {metric.title} of {total} is {test}, with {name}. It was selected on the"
        f" test images themselves and is therefore too {too}: hold out validation images to select"
        " on (data.validation_size=10000)."
    ]


def select_best(values: pd.Series, metric: str) -> Any:
    """Return the index of the best value of a metric."""
    return values.idxmax() if METRICS[metric].larger_is_better else values.idxmin()


def tuning_findings(study: Study, compared: pd.DataFrame) -> list[str]:
    """Write what tuning changes for each value that was tuned."""
    tested = primary_metric(study)
    rows = where(compared, metric=tested, key=PHASE).to_dict("records")
    parts = [
        f"{study.setting(row, study.tuned_for)} {difference_text(tested, row)} ({row['verdict']})"
        for row in rows
    ]
    tuned = {study.setting(row, study.tuned_for) for row in rows}
    phases: dict[str, set[str]] = {}
    for row in study.configurations.to_dict("records") if study.is_fair else ():
        phases.setdefault(study.setting(row, study.tuned_for), set()).add(row[PHASE])
    if kept := [name for name in phases if name not in tuned and len(phases[name]) == 2]:
        parts.append(f"for {join(kept)} the best setting is the baseline")
    how = "divided by" if METRICS[tested].unit == "ratio" else "minus"
    lead = f"{capitalise(METRICS[tested].title)}, tuned {how} baseline on the same fresh seeds"
    return [f"{lead}: {'; '.join(parts)}."] if parts else []


def divergence_findings(study: Study) -> list[str]:
    """Name the configurations of which a seed diverged, or count them where they are many."""
    diverged = diverged_seeds(study)
    if not diverged:
        return []
    named = "; ".join(
        f"{study.setting(dict(zip(study.keys, known, strict=True)), study.keys)} with"
        f" {'seed' if len(seeds) == 1 else 'seeds'} {join(map(str, seeds))}"
        for known, seeds in list(diverged.items())[:_MOST_DIVERGED]
    )
    if len(diverged) > _MOST_DIVERGED:
        named += f"; and {len(diverged) - _MOST_DIVERGED} more (diverged_seeds in summary.csv)"
    return [
        "Diverged (the loss is not finite; means count the accuracy as measured, comparisons leave"
        f" the pair undecided): {named}."
    ]
