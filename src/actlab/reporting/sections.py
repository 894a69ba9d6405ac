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
from actlab.evidence import summaries
from actlab.evidence.claims import VERDICTS
from actlab.evidence.comparisons import MANY_PAIRS, METRICS, MOST_VALUES
from actlab.evidence.summaries import NEAR_BEST
from actlab.evidence.wording import capitalise, counted, fixed, in_points, join, percent, written
from actlab.models.config import MATCHED
from actlab.probes.metadata import Description
from actlab.reporting import layer_sections
from actlab.reporting.drawings import swept_keys
from actlab.reporting.figures import MOST_ROWS as DOTS
from actlab.reporting.figures import MOST_SPLIT, most_lines, response_keys, shown_of
from actlab.reporting.findings import (
    answer_findings,
    best_finding,
    comparison_findings,
    conclusion_findings,
    difference_text,
    divergence_findings,
    find_settings,
    key_findings,
    loss_findings,
    settings_findings,
    spread_findings,
    tuning_findings,
)
from actlab.reporting.layer_findings import depth_and_accuracy_findings, depth_findings
from actlab.reporting.report import (
    Entry,
    Grid,
    Ledger,
    Picture,
    Report,
    Section,
    Text,
    points,
    run_names,
)
from actlab.results.study import ACTIVATION, NETWORK, PHASE, Study, label, line_key
from actlab.results.tables import as_text, where
from actlab.stages.schema import Config

#: Rows that a table of the report shows, and lines of the terminal's; the CSV has all.
MOST_ROWS, MOST_LINES, _MOST_COMPARISONS = 60, 24, 240

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
            layer_sections.describe_networks(study, kernel == MATCHED),
        ]
    if "accuracy_curves" in names:
        sections.append(_curves(study, config))
    sections.append(_accuracy(study, summary, names, config))
    if study.is_fair:
        sections.append(_tuning(study, tuning, compared))
    sections.append(_comparisons(study, compared, by_metric, config))
    if len(study.blocks):
        sections.append(
            layer_sections.describe_time(study, compared, by_metric["epoch_seconds"], config)
        )
    if len(study.gradients):
        sections += [
            layer_sections.describe_gradients(study, activations, config),
            layer_sections.describe_health(study, config),
            layer_sections.describe_theory(study, config),
        ]
        concluded = conclusion_findings(study, summary, compared)
        if len(study.activations) > 1 and len(study.seeds) > 1:
            concluded += depth_and_accuracy_findings(study, compared, confidence)
        sections.append(Section("Conclusion", (Text(tuple(concluded), points=True),)))
    sections += [
        Section("What this cannot say", (Text(tuple(_limits(study, config)), points=True),)),
        Section("How it was measured", (Text(tuple(_methods(study, compared, config)), True),)),
    ]
    if claims is not None:
        sections.append(_rules(claims, config))
    return Report(
        title=_title(study),
        question=_question(study, config),
        brief=tuple(answer_findings(study, summary, compared)),
        ledger=None if claims is None else _ledger(claims),
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
        f"{label(key, study.keys)} ({', '.join(_listed(study.values(key)))})" for key in study.keys
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
    return join(_listed([str(seed) for seed in seeds]))


def _listed(values: Sequence[str], most: int = 12) -> list[str]:
    if len(values) <= most:
        return list(values)
    return [*values[: most - 2], "…", values[-1]]


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
    lines = join(_listed(study.values(key)))
    has_training = len(find_settings(study)) <= MOST_SPLIT
    training = (
        " Training accuracy is taken during the epoch, while the weights still change."
        if has_training
        else ""
    )
    thin = "Thin lines are single seeds." if has_training else ""
    blocks: list[Text | Grid | Picture] = [
        Picture(
            "figures/accuracy_curves.png",
            f"Accuracy by epoch. {drawn}{training}",
            f"Accuracy by epoch, a line for each of {lines}.",
            "tables/accuracy_curves.csv",
            thin,
        ),
        Picture(
            "figures/loss_curves.png",
            f"Cross-entropy by epoch. {drawn}",
            f"Loss by epoch on a logarithmic axis, a line for each of {lines}.",
            "tables/loss_curves.csv",
            thin,
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
        f"Test accuracy of every seed{after}. Each panel has an axis of its own."
        f"{shown_of(study.configurations, study.keys, settings, key, DOTS)}",
        f"Test accuracy of every seed with mean and interval: {measured}.",
        data,
        "One that does not start at zero says so.",
        "No axis is made to start at zero.",
    )


# --- Comparisons ----------------------------------------------------------------------------


def _comparisons(
    study: Study,
    compared: pd.DataFrame,
    by_metric: Mapping[str, Sequence[str]],
    config: Config,
) -> Section:
    confidence = f"{100 * config.report.confidence:g} %"
    rest = [name for name in METRICS if name not in ("test_accuracy", "epoch_seconds")]
    said = [
        line
        for name in rest
        if name != "val_accuracy" or name in set(compared["metric"])
        for line in by_metric[name]
    ]
    if compared.empty and len(study.configurations) > 1 and len(study.activations) != 1:
        said.append(
            "No pair that is compared differs in one key alone, and the configurations are too many"
            " to be compared all with all."
        )
    blocks: list[Text | Grid | Picture] = [*points(said, "comparisons.csv")]
    if compared.empty or len(study.seeds) == 1:
        return Section("Comparisons", tuple(blocks))
    rows = compared
    if len(rows) > _MOST_COMPARISONS:
        rows = where(compared, metric="test_accuracy").head(_MOST_COMPARISONS)
    timed = "epoch_seconds" in set(rows["metric"])
    shared = [key for key in study.keys if key in rows and set(rows[key]) != {""}]
    along = ["Along"] if len(set(rows["key"])) > 1 else []
    caption = (
        f"First minus second, with {confidence} interval"
        f"{'; of times, first divided by second' if timed else ''}. The p-value is that of the"
        " paired t-test, adjusted for all pairs of its family (Holm). The verdict is on the first."
        f" Seeds{' (of time per epoch: blocks)' if timed else ''} are how many would settle what is"
        " undecided with 80 % power, were these differences the true ones. The file"
        " comparisons.csv has all digits, effect sizes and tests of equivalence."
    )
    if len(rows) < len(compared):
        caption += f" Shown are {len(rows)} pairs by test accuracy; the file has all."
    header = [
        *(capitalise(label(key, study.keys)) for key in shared),
        *along,
        *("By", "First", "Second", "Difference", "p", "Verdict", "Seeds"),
    ]
    grid = Grid(
        caption,
        tuple(header),
        tuple(
            (
                *(row[key] for key in shared),
                *(label(row["key"], study.keys) for _ in along),
                METRICS[row["metric"]].title,
                row["first"],
                row["second"],
                difference_text(row["metric"], row),
                written(row["p_holm"]),
                row["verdict"],
                f"{row['pairs_needed']:,.0f}" if row["pairs_needed"] > 0 else "",
            )
            for row in rows.to_dict("records")
        ),
        words=header.index("Difference"),
        data="comparisons.csv",
    )
    return Section("Comparisons", (*blocks, grid))


def _each_tuned(study: Study) -> str:
    """Name what was tuned for: `activation`, `network and activation`."""
    return join(label(key, study.tuned_for) for key in study.tuned_for or [ACTIVATION])


def _tuning(study: Study, tuning: pd.DataFrame, compared: pd.DataFrame) -> Section:
    keys = study.tuned_for
    each = _each_tuned(study)
    named = tuple(capitalise(label(key, keys)) for key in keys)
    blocks: list[Text | Grid | Picture] = []
    if len(tuning):
        blocks += [
            Picture(
                "figures/tuning.png",
                "Mean validation accuracy of every setting that was tried: the diamond is the"
                " chosen one, the bar the median; the shaded part lies within"
                f" {100 * NEAR_BEST:g} points of the best. Crosses diverged.",
                f"Validation accuracy of each setting of the tuning grid, a row for each {each}.",
                "tables/tuning.csv",
            ),
            Grid(
                f"Mean validation accuracy over the tuning grid, the same for every {each}. The"
                f" last share is that of settings within {100 * NEAR_BEST:g} points of the best.",
                (
                    *named,
                    *("Chosen", "Settings", "Best", "Median", "Worst"),
                    *("Best − median", "Near best", "Diverged"),
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
                    for row in tuning.to_dict("records")
                ),
                words=len(keys) + 1,
                data="tuning.csv",
            ),
        ]
    rows = where(compared, key=PHASE)
    if len(rows):
        blocks.append(
            Grid(
                f"Tuned minus baseline of each {each}, on the same fresh seeds.",
                (*named, "By", "Difference", "p", "Verdict"),
                tuple(
                    (
                        *(row[key] for key in keys),
                        METRICS[row["metric"]].title,
                        difference_text(row["metric"], row),
                        written(row["p_holm"]),
                        row["verdict"],
                    )
                    for row in rows.to_dict("records")
                ),
                words=len(keys) + 1,
            )
        )
    return Section("Tuned and baseline", tuple(blocks))


# --- Limits and methods ---------------------------------------------------------------------


def _limits(study: Study, config: Config) -> Iterable[str]:
    if study.has_layers:
        shapes = "one shape" if len(study.networks) == 1 else f"{len(study.networks)} shapes"
        yield (
            f"It is one data set, {DATASETS[config.data.name].title}; dense networks of {shapes};"
            f" one optimiser, Adam, with one learning rate, {config.training.learning_rate:g};"
            f" {_initializer(config)}. An activation may do better with settings of its own."
        )
    seeds = join(_listed(list(map(str, study.seeds))))
    if len(study.seeds) == 1:
        yield (
            f"There is one seed, {seeds}: nothing here tells how results vary with initial weights"
            " and order of batches."
        )
    else:
        images = (
            "where a sentence or a thin line speaks of new images, over them as well."
            if len(study.calibration)
            else "what new images would change needs each image's logits, which MLflow does not"
            " hold; so does calibration. The pipeline's report has both."
        )
        yield (
            f"The intervals tell how results vary over seeds ({seeds}): initial weights and order"
            f" of batches, on these test images; {images}"
        )
    yield (
        "Undecided does not mean equal: with more seeds a difference, or equivalence, could be"
        " shown. The more pairs are compared, the more seeds it takes. Equivalent means closer than"
        " a margin that somebody else may find too wide."
    )
    if len(study.activations) > 1:
        yield (
            f"An order of {counted(len(study.activations), 'activation')} says little of"
            " activations in general: intervals over seeds speak of these alone."
        )
    if not study.has_held_out:
        chosen = (
            "Nothing was selected on it, so the final test accuracy is not flattered; an epoch"
            " chosen by looking at the curve would be."
            if study.has_layers
            else "A configuration chosen by these numbers looks better than it is."
        )
        yield (
            "The validation curve is that of the test images, watched every epoch, and epochs to"
            f" the target are counted on it. {chosen}"
        )
    if study.is_fair:
        each = _each_tuned(study)
        yield (
            f"Each {each} was tuned over a grid: outside of it, another setting may do better. The"
            " selection runs enter no comparison on the test images."
        )
    yield (
        "Times hold for the machine and the load that they were taken on."
        if len(study.blocks)
        else "No verdict is on times: trainings of a sweep run under whatever load there was, some"
        " at the same time."
    )


def _initializer(config: Config) -> str:
    name = config.model.kernel_initializer
    if name == MATCHED:
        return "the initialiser that each activation's literature recommends"
    return f"one initialiser, {name}, for every activation"


def _methods(study: Study, compared: pd.DataFrame, config: Config) -> Iterable[str]:
    training, margins = config.training, config.report
    confidence, level = f"{100 * margins.confidence:g} %", f"{100 * (1 - margins.confidence):.3g} %"
    if study.has_layers:
        yield (
            f"Seeds: {join(map(str, study.seeds))}; {counted(training.epochs, 'epoch')} of batches"
            f" of {training.batch_size}, the last one what is left; Adam, learning rate"
            f" {training.learning_rate:g}; mean cross-entropy of the softmax; kernels drawn by"
            f" {_initializer(config)}, biases zero; float32."
        )
    else:
        yield (
            "Runs with equal keys are one configuration; runs that differ in a key are never"
            " pooled. Of a seed that was trained more than once the newest run counts; seeds of"
            " runs of different code or packages are not pooled."
        )
    yield f"Means over seeds have {confidence} intervals of Student's t distribution."
    keys = list(dict.fromkeys(compared["key"]))
    beside = [key for key in keys if key not in (ACTIVATION, PHASE, "")]
    apart = [
        words
        for is_apart, words in (
            (NETWORK in study.keys, "on each network"),
            (study.is_fair, "in each phase"),
        )
        if is_apart
    ]
    within = f", {join(apart)}" if apart else ""
    if ACTIVATION in keys:
        yield f"Compared are all pairs of activations whose other keys are equal{within}."
    names = join(label(key, study.keys) for key in beside) if beside else ""
    if ACTIVATION in keys and beside and not study.is_fair:
        yield (
            f"Compared too are values of {names} at equal other keys: neighbours of numbers, all"
            f" pairs of words, of up to {MOST_VALUES} values. Each of these keys is a family of"
            " its own: its p-values are adjusted apart from those of activations."
        )
    elif beside:
        yield (
            f"Compared are values of {names} at equal other keys: all pairs of up to four values,"
            " of more the neighbours."
        )
    elif keys == [""]:
        yield "No two configurations differ in one key alone: all pairs are compared."
    if PHASE in keys:
        yield "Tuned is compared with baseline at equal other keys."
    family = "All pairs of a metric"
    if ACTIVATION in keys or study.is_fair:
        family = f"The pairs of one metric and key{within}{',' if within else ''}"
    many = (
        ""
        if study.has_layers
        else f" Where a family has more than {MANY_PAIRS} pairs, medians and the seeds that would"
        " settle it are not worked out."
    )
    of_calibration = " and of calibration error" if len(study.calibration) else ""
    of_time = f", {100 * margins.equivalence_margin_ratio:g} % of time" if len(study.blocks) else ""
    yield (
        "Pairs are compared within seeds: mean difference with t interval, paired t-test, Cohen's"
        f" d_z, and two one-sided t-tests against a margin: {100 * margins.equivalence_margin:g}"
        f" points of accuracy{of_calibration}, {margins.equivalence_margin_nats:g} nats,"
        f" {margins.equivalence_margin_epochs:g} epochs{of_time}."
    )
    yield (
        "A verdict is equivalent where equivalence is shown, else better or worse where the"
        f" difference is, else undecided. {family} are a family: their p-values are adjusted by"
        f" Holm's method, and what is shown is shown at {level}. Each family errs on its own: all"
        f" of them together err more often.{many}"
    )
    yield (
        "Test NLL is the mean cross-entropy on the test images, in nats."
        + (
            " Calibration error: images sorted by confidence into 15 bins of equal numbers, the"
            " mean gap between accuracy and confidence."
            if len(study.calibration)
            else ""
        )
    )
    yield (
        f"Epochs to target: the first epoch with {100 * margins.target_accuracy:g} % validation"
        " accuracy; a seed that never gets there counts one epoch more than were trained, and shows"
        " no equivalence. Configurations that trained for different numbers of epochs are not"
        " compared by it."
    )
    if study.has_layers:
        yield from layer_sections.methods(config)
    yield (
        "Every table behind a figure is in the folder tables, every figure as PNG and SVG in the"
        " folder figures; summary.csv and comparisons.csv lie beside the report."
    )


def _ledger(claims: pd.DataFrame) -> Ledger:
    verdicts = claims["verdict"].tolist()
    counts = join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS)
    return Ledger(
        f"What the teaching notebook claims, in our words: of {counted(len(claims), 'claim')}"
        f" {counts}. Each is decided by a rule that the code applies to any study alike; the rules"
        " stand at the end.",
        tuple(
            Entry(
                row["claim"],
                row["verdict"],
                row["verdict"].replace(" ", "-"),
                row["numbers"],
                row["section"],
            )
            for row in claims.to_dict("records")
        ),
    )


def _rules(claims: pd.DataFrame, config: Config) -> Section:
    return Section(
        "How the claims were decided",
        (
            Text(
                (
                    "Intervals are over seeds, each claim at"
                    f" {100 * config.report.confidence:g} %. Where a claim rests on several"
                    " comparisons they are adjusted for their number; the"
                    f" {counted(len(claims), 'claim')} are not adjusted for theirs, so some verdict"
                    " among them errs more often than any one alone. Undecided does not mean"
                    " refuted. Thresholds are what the notebook names, or were fixed with the rules"
                    " and not fitted to these numbers; earlier runs of sigmoid, tanh and relu were"
                    " known by then.",
                )
            ),
            Grid(
                "The file claims.csv has all digits.",
                ("Claim", "On", "Measured", "Rule"),
                tuple(
                    (row["claim"], row["network"], row["measured"], row["rule"])
                    for row in claims.to_dict("records")
                ),
                words=4,
                prose=True,
                data="claims.csv",
            ),
        ),
    )
