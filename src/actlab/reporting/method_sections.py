"""Limits, methods, the table of claims and its rules."""

from collections.abc import Iterable

import pandas as pd

from actlab.data.datasets import DATASETS
from actlab.evidence.comparisons import MANY_PAIRS, MOST_VALUES
from actlab.evidence.outcomes import VERDICTS
from actlab.evidence.wording import abridge, counted, join
from actlab.models.config import RECOMMENDED
from actlab.reporting import layer_sections
from actlab.reporting.comparison_sections import name_tuned
from actlab.reporting.report import (
    Entry,
    Grid,
    Ledger,
    Section,
    Text,
)
from actlab.results.study import ACTIVATION, NETWORK, PHASE, Study, label
from actlab.schema import Config


def list_limits(study: Study, config: Config) -> Iterable[str]:
    """List the limits of the study."""
    if study.has_layers:
        shapes = "one shape" if len(study.networks) == 1 else f"{len(study.networks)} shapes"
        yield (
            f"It is one data set, {DATASETS[config.data.name].title}; dense networks of {shapes};"
            f" one optimiser, Adam, with one learning rate, {config.training.learning_rate:g};"
            f" {_initializer(config)}. An activation may do better with settings of its own."
        )
    seeds = join(abridge(list(map(str, study.seeds))))
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
        each = name_tuned(study)
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
    if name == RECOMMENDED:
        return "the initializer that each activation's literature recommends"
    return f"one initializer, {name}, for every activation"


def list_methods(study: Study, compared: pd.DataFrame, config: Config) -> Iterable[str]:
    """List how the study was made, measured and decided."""
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
        else f" Where a family has more than {MANY_PAIRS} pairs, the seeds that would settle it"
        " are not computed."
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


def list_claims(claims: pd.DataFrame) -> Ledger:
    """Give the table of claims with its verdicts."""
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


def describe_rules(claims: pd.DataFrame, config: Config) -> Section:
    """Give the section with the rule of each claim."""
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
