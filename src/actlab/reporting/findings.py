"""The numbers of a study -> sentences that claim no more than the numbers show.

Nothing is assumed about what is compared. Whether one configuration is better than another by a
metric, equivalent or undecided is the verdict of `comparisons.compare`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from actlab.engine.csvs import where
from actlab.evidence.comparisons import METRICS, diverged_seeds
from actlab.evidence.differences import difference_text, orient
from actlab.evidence.statistics import mean_interval
from actlab.evidence.summaries import NEAR_BEST
from actlab.evidence.wording import capitalise, counted, fixed, in_points, join, percent
from actlab.results.study import ACTIVATION, NETWORK, PHASE, Study, label, line_key

#: Up to so many settings each has a sentence by every metric, and a short one by test accuracy.
_FEW_SETTINGS, _MANY_SETTINGS = 6, 24

#: Of any other key, up to so many pairs of values are reported.
_MANY_PAIRS = 10

_VERDICTS = {
    "better": "it is better than",
    "worse": "it is worse than",
    "equivalent": "equivalent to",
    "undecided": "undecided against",
}


# --- Settings and pairs ---------------------------------------------------------------------


def find_settings(study: Study) -> list[dict[str, str]]:
    """Give the settings in which the values of the line key are compared."""
    others = [key for key in study.keys if key != line_key(study.keys)]
    if not others:
        return [{}]
    rows = study.configurations.loc[:, others].drop_duplicates().to_dict("records")
    return [{str(key): str(value) for key, value in row.items()} for row in rows]


def place(setting: Mapping[str, str], study: Study, capital: bool = True) -> str:
    """Write a setting as where something is found: `On mlp `, `With depth 8, `."""
    on, held = "", []
    for key, value in setting.items():
        if key == NETWORK:
            on = f"on {value} "
        elif key == PHASE:
            held.append(f"{'tuned' if value == 'tuned' else 'the baseline'} settings")
        else:
            held.append(name_value(key, value, study))
    text = on + (f"with {join(held)}, " if held else "")
    return capitalise(text) if capital else text


def name_value(key: str, value: str, study: Study) -> str:
    """Name a value of a key: an activation by itself, others with their key."""
    return value if key in (ACTIVATION, NETWORK, PHASE) else f"{label(key, study.keys)} {value}"


def _pairs_with(
    study: Study, compared: pd.DataFrame, metric: str, best: str, setting: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Give the pairs of the best value of the line key with each that it was compared with."""
    key = line_key(study.keys)
    rows = where(compared, key=key)
    found = []
    for other in study.values(key):
        try:
            found.append(orient(rows, metric, best, other, **setting))
        except KeyError:
            continue
    return found


# --- Verdicts -------------------------------------------------------------------------------


def comparison_findings(
    study: Study,
    scores: pd.DataFrame,
    compared: pd.DataFrame,
    metric: str,
    confidence: float,
    target: float,
) -> list[str]:
    """Say for each setting, where they are few, what is the best by a metric and what is shown.

    Parameters
    ----------
    study
        What was measured.
    scores, compared
        `comparisons.score` and `comparisons.compare` of it.
    metric
        One of `comparisons.METRICS`.
    confidence
        Of the intervals.
    target
        What `epochs_to_target` counts to.
    """
    settings, rows = find_settings(study), where(scores, metric=metric)
    if rows.empty or len(settings) > _FEW_SETTINGS or not _is_compared_in_settings(study, compared):
        return []
    return [
        _comparison_finding(study, rows, compared, metric, setting, confidence, target)
        for setting in settings
    ]


def _comparison_finding(
    study: Study,
    scores: pd.DataFrame,
    compared: pd.DataFrame,
    metric: str,
    setting: Mapping[str, str],
    confidence: float,
    target: float,
) -> str:
    key, where_ = line_key(study.keys), place(setting, study)
    scores = where(scores, **setting)
    values = {
        str(name): rows["value"].to_numpy(dtype=float)
        for name, rows in scores.groupby(key, sort=False)
    }
    known = METRICS[metric]
    if all(scores["censored"]):
        return capitalise(f"{where_}no seed reaches {100 * target:g} % validation accuracy.")
    finite = {name: found for name, found in values.items() if np.isfinite(found).all()}
    if not finite:
        return capitalise(f"{where_}no {known.title} is a number.")
    sign = 1 if known.larger_is_better else -1
    best = max(finite, key=lambda name: sign * _centre(metric, finite[name]))
    value = _value(metric, finite[best], confidence)
    single = len(finite[best]) == 1
    noun = known.title
    if metric == "epochs_to_target":
        noun = f"number of epochs to {100 * target:g} % validation accuracy"
    noun = noun if single else f"mean {noun}"
    name = name_value(key, best, study)
    if len(values) == 1:
        without = "; with one seed no uncertainty can be given" if single else ""
        return f"{where_}{name} has a {noun} of {value}{without}."
    extreme = "highest" if known.larger_is_better else "lowest"
    lead = capitalise(f"{where_}the {extreme} {noun} is {value}, with {name}")
    if single:
        return f"{lead}; no uncertainty can be given, so no order is shown."
    pairs = _pairs_with(study, compared, metric, best, setting)
    verdicts = "; ".join(_verdicts(study, metric, pairs))
    said = f"{lead}; {verdicts}." if verdicts else f"{lead}."
    return said + _on_new_images(pairs) + _never_reached(study, scores)


def _is_compared_in_settings(study: Study, compared: pd.DataFrame) -> bool:
    """Tell whether values of the line key are compared, or are alone in their settings."""
    key = line_key(study.keys)
    return len(study.values(key)) == 1 or key in set(compared["key"])


def key_findings(study: Study, compared: pd.DataFrame) -> list[str]:
    """Report what is shown for every key but the line key, by test accuracy, over all settings.

    Where no two configurations differ in one key alone, say it of each pair.
    """
    said = []
    for key, rows in where(compared, metric="test_accuracy").groupby("key", sort=False):
        if key in (line_key(study.keys), PHASE) or len(study.seeds) == 1:
            continue
        parts = []
        pairs: Any = rows.groupby(["first", "second"], sort=False)
        for (first, second), found in pairs:
            counts = found["verdict"].value_counts()
            verdicts = [name for name in _VERDICTS if name in counts]
            if key == "":
                difference = difference_text("test_accuracy", found.to_dict("records")[0])
                parts.append(f"{first} against {second} {verdicts[0]} ({difference})")
                continue
            shown = join(f"{verdict} in {counts[verdict]}" for verdict in verdicts)
            parts.append(f"{first} against {second} {shown} of {counted(len(found), 'setting')}")
        if len(parts) <= _MANY_PAIRS:
            name = f"{label(str(key), study.keys)} " if key else ""
            said.append(f"By test accuracy, {name}{'; '.join(parts)}.")
    return said


def settings_findings(study: Study, summary: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Answer by test accuracy in one short sentence per setting, where they are not few."""
    settings = find_settings(study)
    if len(settings) <= _FEW_SETTINGS or not _is_compared_in_settings(study, compared):
        return []
    said = _answers(study, summary, compared, settings[:_MANY_SETTINGS])
    if left := len(settings) - len(said):
        said.append(f"Of {left} more settings comparisons.csv has the verdicts.")
    return said


def answer_findings(study: Study, summary: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Answer by test accuracy in one sentence per setting, of the first and of the last.

    Parameters
    ----------
    study
        What was measured.
    summary
        `summaries.summarise` of it.
    compared
        `comparisons.compare` of it.
    """
    if not _is_compared_in_settings(study, compared):
        return []
    settings = find_settings(study)
    return _answers(study, summary, compared, settings[:1] + settings[1:][-1:])


def _answers(
    study: Study,
    summary: pd.DataFrame,
    compared: pd.DataFrame,
    settings: Sequence[Mapping[str, str]],
) -> list[str]:
    key, said = line_key(study.keys), []
    for setting in settings:
        where_ = place(setting, study)
        rows = where(summary, **setting)
        count = len(rows)
        rows = [row for row in rows.to_dict("records") if math.isfinite(row["test_accuracy_mean"])]
        if not rows:
            said.append(capitalise(f"{where_}no test accuracy is a number."))
            continue
        best = max(rows, key=lambda row: row["test_accuracy_mean"])
        low, high = best["test_accuracy_ci_low"], best["test_accuracy_ci_high"]
        is_single = not math.isfinite(low)
        value = percent(best["test_accuracy_mean"])
        value += " (one seed)" if is_single else f" ({100 * low:.2f} to {100 * high:.2f})"
        name = where_ + name_value(key, best[key], study)
        if count == 1:
            said.append(f"{name} reaches a test accuracy of {value}.")
            continue
        lead = f"{name} has the highest mean test accuracy, {value}"
        if is_single:
            said.append(f"{lead}; one seed shows no order.")
            continue
        pairs = _pairs_with(study, compared, "test_accuracy", best[key], setting)
        verdicts = "; ".join(_briefly(pairs))
        said.append(f"{lead}: {verdicts}." if verdicts else f"{lead}.")
    return said


def _briefly(pairs: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for verdict, words in _VERDICTS.items():
        shown = verdict in ("better", "worse")
        names = [
            f"{row['other']} ({difference_text('test_accuracy', row)})" if shown else row["other"]
            for row in pairs
            if row["verdict"] == verdict
        ]
        if names:
            yield f"{words} {join(names)}"


def _never_reached(study: Study, scores: pd.DataFrame) -> str:
    """Say of how many seeds a value is a lower bound."""
    key = line_key(study.keys)
    said = [
        f"{sum(rows['censored'])} of {len(rows)} with {name_value(key, str(name), study)}"
        for name, rows in scores.groupby(key, sort=False)
        if any(rows["censored"])
    ]
    if not said:
        return ""
    return f" Seeds that never get there count one epoch more than were trained: {join(said)}."


def _centre(metric: str, values: Float[np.ndarray, " pairs"]) -> float:
    if METRICS[metric].unit == "ratio":
        return float(np.exp(np.log(values).mean()))
    return float(values.mean())


def _value(metric: str, values: Float[np.ndarray, " pairs"], confidence: float) -> str:
    centre, unit = _centre(metric, values), METRICS[metric].unit
    if metric == "test_accuracy":
        interval = mean_interval(values, confidence)
        if len(values) == 1:
            return f"{percent(centre)} (one seed)"
        return (
            f"{percent(centre)} ({100 * confidence:g} % interval {100 * interval.low:.2f} to"
            f" {100 * interval.high:.2f}, {counted(len(values), 'seed')})"
        )
    if unit == "points":
        return percent(centre)
    if unit == "ratio":
        paired_by = METRICS[metric].paired_by
        return f"{centre:.3f} s (geometric, {counted(len(values), paired_by)})"
    return f"{fixed(centre, 4)} nats" if unit == "nats" else fixed(centre, 1)


def _verdicts(study: Study, metric: str, pairs: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    key = line_key(study.keys)
    for verdict, words in _VERDICTS.items():
        said = [
            f"{name_value(key, row['other'], study)}"
            f" ({difference_text(metric, row)}{_needed(metric, row)})"
            for row in pairs
            if row["verdict"] == verdict
        ]
        if said:
            yield f"{words} {join(said)}"


def _needed(metric: str, row: Mapping[str, Any]) -> str:
    if row["verdict"] != "undecided" or not math.isfinite(row["pairs_needed"]):
        return ""
    return f"; about {counted(int(row['pairs_needed']), METRICS[metric].paired_by)} would settle it"


def _on_new_images(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Say what holds for other test images too, where that can be said of the metric."""
    said = []
    for verdict, words in _VERDICTS.items():
        names = [row["other"] for row in pairs if row["new_images_verdict"] == verdict]
        if names:
            said.append(f"{words} {join(names)}")
    return f" For new test images, not only these, {'; '.join(said)}." if said else ""


# --- The study as a whole -------------------------------------------------------------------


def best_finding(study: Study, summary: pd.DataFrame, confidence: float) -> list[str]:
    """Name the best configuration: by held-out images where there are some, and what that means.

    Empty for a fair sweep, and for a study that does not choose among settings.
    """
    if study.is_fair or not (study.has_held_out or set(study.others) - {NETWORK}):
        return []
    metric = "val_accuracy" if study.has_held_out else "test_accuracy"
    if not np.isfinite(summary[f"{metric}_mean"].to_numpy(dtype=float)).any():
        return []
    best = summary.loc[summary[f"{metric}_mean"].idxmax()].to_dict()
    name, total = study.setting(best, study.keys), counted(len(summary), "configuration")
    low, high = (100 * best[f"test_accuracy_ci_{end}"] for end in ("low", "high"))
    test, seeds = percent(best["test_accuracy_mean"]), counted(best["seeds"], "seed")
    test += (
        f" ({100 * confidence:g} % interval {low:.2f} to {high:.2f}, {seeds})"
        if math.isfinite(low)
        else f" ({seeds}, no uncertainty)"
    )
    if study.has_held_out:
        return [
            f"The best of {total} by held-out validation images is {name}, with"
            f" {percent(best['val_accuracy_mean'])} there and {test} on the test images."
        ]
    return [
        f"The highest mean test accuracy of {total} is {test}, with {name}. It was picked by these"
        " test images themselves, so it flatters: hold out validation images to choose by"
        " (data.validation_size=10000)."
    ]


def tuning_findings(study: Study, compared: pd.DataFrame, tuning: pd.DataFrame) -> list[str]:
    """Say what tuning changes of each value that was tuned, and which needs it most."""
    said = []
    rows = where(compared, metric="test_accuracy", key=PHASE).to_dict("records")
    if rows:
        parts = [
            f"{study.setting(row, study.tuned_for)} {difference_text('test_accuracy', row)}"
            f" ({row['verdict']})"
            for row in rows
        ]
        said.append(
            f"Test accuracy, tuned minus baseline on the same fresh seeds: {'; '.join(parts)}."
        )
    if len(tuning):
        ranked = tuning.sort_values("best_minus_median", ascending=False).to_dict("records")
        parts = [
            f"{study.setting(row, study.tuned_for)} {in_points(row['best_minus_median'])} points"
            f" ({100 * row['near_best']:.0f} % of {row['settings']} settings within"
            f" {100 * NEAR_BEST:g} points of its best)"
            for row in ranked
        ]
        said.append(
            "What tuning is worth, best minus median validation accuracy over the grid:"
            f" {'; '.join(parts)}."
        )
    return said


def divergence_findings(study: Study) -> list[str]:
    """Name what diverged: all of it where it is little, else how much."""
    lost = diverged_seeds(study)
    if not lost:
        return []
    if len(lost) > 6:
        return [
            f"{len(lost)} of {len(study.configurations)} configurations diverged with at least one"
            " seed: their loss is not a number, and their accuracies are counted as measured;"
            " summary.csv has them as diverged_seeds."
        ]
    named = [
        f"{study.setting(dict(zip(study.keys, known, strict=True)), study.keys)} with"
        f" {'seed' if len(seeds) == 1 else 'seeds'} {join(map(str, seeds))}"
        for known, seeds in lost.items()
    ]
    return [
        f"Diverged, the loss not a number, the accuracy counted as measured: {'; '.join(named)}."
    ]


def conclusion_findings(study: Study, summary: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Count for each setting the pairs of activations that are shown to differ, by metric."""
    if len(study.activations) < 2:
        return ["With one activation there is nothing to compare it with."]
    if len(study.seeds) == 1:
        return ["With one seed no difference between activations is shown."]
    said = []
    for setting in find_settings(study):
        rows = where(compared, key=ACTIVATION, **setting)
        apart, equal = [], []
        for name, metric in METRICS.items():
            verdicts = where(rows, metric=name)["verdict"].tolist()
            differ = verdicts.count("better") + verdicts.count("worse")
            for count, parts in ((differ, apart), (verdicts.count("equivalent"), equal)):
                if count:
                    parts.append(f"{count} by {metric.title}")
        parts = [f"{join(apart)} told apart" if apart else "none told apart"]
        if equal:
            parts.append(f"{join(equal)} shown to be equivalent")
        pairs = counted(len(where(rows, metric="test_accuracy")), "pair")
        means = where(summary, **setting)["test_accuracy_mean"].to_numpy()
        said.append(
            f"Of the {pairs} of activations {place(setting, study, capital=False).strip(' ,')}:"
            f" {'; '.join(parts)}; all else undecided. Mean test accuracies lie within"
            f" {in_points(float(np.ptp(means)))} points."
        )
    return said


def spread_findings(study: Study, summary: pd.DataFrame) -> list[str]:
    """Compare the spread between seeds with that between activations, for each setting."""
    if len(study.seeds) == 1:
        return ["With one seed nothing can be said of the spread between seeds."]
    said = []
    for setting in find_settings(study):
        rows = where(summary, **setting)
        sds, means = rows["test_accuracy_sd"].dropna(), rows["test_accuracy_mean"].dropna()
        if sds.empty:
            continue
        low, high = in_points(min(sds)), in_points(max(sds))
        spread = f"{low}" if low == high else f"{low} to {high}"
        sentence = (
            f"{place(setting, study)}the standard deviation of test accuracy between seeds is"
            f" {spread} percentage points"
        )
        if len(means) > 1:
            sentence += (
                f"; the means of the activations lie within"
                f" {in_points(max(means) - min(means))} points"
            )
        said.append(capitalise(f"{sentence}."))
    return said


def loss_findings(study: Study) -> list[str]:
    """Say for each setting after which epoch the mean validation loss was lowest."""
    if study.epochs == 1 or "val_loss" not in study.history:
        return []
    said, key = [], line_key(study.keys)
    for setting in find_settings(study):
        lowest = []
        for value, rows in where(study.history, **setting).groupby(key, sort=False):
            table = rows.pivot(index="epoch", columns="seed", values="val_loss")  # noqa: PD010
            means = table.to_numpy().mean(axis=1)
            if np.isfinite(means).all():
                lowest.append(f"{table.index[int(means.argmin())]} ({value})")
        if lowest:
            said.append(
                capitalise(
                    f"{place(setting, study)}the mean validation loss is lowest after epoch"
                    f" {join(lowest)}, of {study.epochs}."
                )
            )
    return said
