"""Limits, methods and the table of claims."""

import re
from collections.abc import Iterable, Mapping

import pandas as pd

from actlab.data.datasets import load_definition
from actlab.evidence.comparisons import MOST_VALUES
from actlab.evidence.outcomes import VERDICTS
from actlab.evidence.wording import abridge, counted, join
from actlab.models.config import RECOMMENDED
from actlab.reporting.protocol import (
    describe_initializer,
    describe_optimizer,
    is_dense,
    leave_out_defaults,
    name_optimizer,
)
from actlab.reporting.report import Claim, Claims
from actlab.results.study import ACTIVATION, NETWORK, PHASE, Study, label, parameters
from actlab.schema import Config

#: Values of every configuration that the report writes elsewhere.
_SAID = (
    *("data.name", "data.validation_size", "data.split_seed", "data.preprocessing"),
    *("training.epochs", "training.batch_size", "training.probe_epochs"),
)


def list_limits(study: Study, config: Config) -> Iterable[str]:
    """List the limits of the study."""
    title = load_definition(config.data.name).title
    seeds = join(abridge(list(map(str, study.seeds))))
    if study.has_layers:
        is_fixed = not isinstance(config.optimizer.settings["learning_rate"], Mapping)
        rate = "learning rate" if is_fixed else "learning-rate schedule"
        kind = "dense networks" if is_dense(study) else "these networks"
        yield (
            f"One data set, {title}; {kind}; one optimizer,"
            f" {name_optimizer(config)}, with one {rate}; {describe_initializer(config)}. An"
            " activation may do better with settings of its own."
        )
    if len(study.seeds) == 1:
        yield f"There is one seed, {seeds}: no variation over seeds is known."
    else:
        images = ", and over new test images where stated" if len(study.calibration) else ""
        yield (
            f"Intervals are over seeds ({seeds}): initial weights and order of batches{images}."
            " They say nothing about other activations or settings."
        )
    yield (
        "Undecided does not mean equal: more seeds could show a difference, or equivalence."
        " Equivalent and negligible mean closer than a margin that others may find too wide."
    )
    if not study.has_held_out:
        yield (
            "Validation uses the test images, and epochs to the target are counted on it: a"
            " configuration chosen by these numbers scores too high."
        )
    if study.is_fair:
        tuned = join(label(key, study.tuned_for) for key in study.tuned_for or [ACTIVATION])
        yield f"Each {tuned} was tuned over one grid; a setting outside it may do better."
    if len(study.blocks):
        yield "Times hold for this machine."
    else:
        yield "No verdict is on times: the runs of a sweep shared the machine."


def list_methods(study: Study, compared: pd.DataFrame, config: Config) -> Iterable[str]:
    """List how the study was made, measured and decided."""
    training, margins = config.training, config.report
    confidence, level = f"{100 * margins.confidence:g} %", f"{100 * (1 - margins.confidence):.3g} %"
    if study.has_layers:
        is_shared = config.initializer.name != RECOMMENDED
        start = " and start from the same weights" if is_shared else ""
        most = "at most " if training.may_end_early else ""
        values = {key: str(value) for key, value in parameters(vars(config)).items()}
        unusual = [
            f"; {key} {value}"
            for key, value in leave_out_defaults(values).items()
            if key.partition(".")[0] in ("data", "training") and key not in _SAID
        ]
        others = "".join(unusual)
        yield (
            f"Training: {most}{counted(training.epochs, 'epoch')} of {describe_optimizer(config)},"
            f" batches of {training.batch_size}, {_name_losses(study)};"
            f" {describe_initializer(config)}; float32{others}. For one seed, all activations see"
            f" the same batches{start}."
        )
    else:
        yield (
            "Runs with equal keys are one configuration. Of a seed that was trained more than once"
            " the newest run counts; runs of different code or packages are not pooled."
        )
    keys = [label(key, study.keys) for key in dict.fromkeys(compared["key"]) if key]
    pairs = f"pairs that differ in {' or '.join(keys)} alone" if keys else "all pairs"
    if set(compared["key"]) - {ACTIVATION, PHASE, ""}:
        pairs += f" (of numbers the neighbours, of up to {MOST_VALUES} values)"
    ratio = f"{100 * margins.equivalence_margin_ratio:g} %"
    points = f"{100 * margins.equivalence_margin:g} points of accuracy"
    points += " and calibration error" if len(study.calibration) else ""
    of_time = f", {ratio} of time" if len(study.blocks) else ""
    within = (
        f"{ratio} of the mean squared error{of_time}"
        if study.is_regression
        else f"{points}, {margins.equivalence_margin_nats:g} nats,"
        f" {margins.equivalence_margin_epochs:g} epochs{of_time}"
    )
    yield (f"Compared: {pairs}, within seeds, against a margin of what matters: {within}.")
    apart = " on a network" if NETWORK in study.keys else ""
    interval = "t interval, adjusted by Bonferroni's method"
    if study.is_sequential:
        interval = (
            "confidence sequence (Wang & Ramdas 2023), which holds however often it is looked at,"
            " adjusted by Bonferroni's method"
        )
    yield (
        f"Each verdict is read from one interval, a {confidence} {interval} for all pairs of one"
        f" metric and key{apart}: equivalent where it lies within the margin and contains 0,"
        " negligible where it lies within and excludes 0, else better or worse where it excludes"
        f" 0, else undecided. So the verdicts by one metric{apart} together err with at most"
        f" {level}, and each claim by itself."
    )
    if study.is_regression:
        yield "Test MSE: mean squared error over outputs and test images, compared by logarithms."
    else:
        yield (
            f"Test NLL: {_name_losses(study)} on the test images, in nats. Epochs to target: the"
            f" first epoch with {100 * margins.target_accuracy:g} % validation accuracy."
            + (
                " Calibration error: mean gap between accuracy and confidence in 15 equal bins."
                if len(study.calibration)
                else ""
            )
        )
    if study.has_layers:
        images = (
            "Intervals over new test images too are of a two-way analysis of variance, seeds and"
            " images random, with Satterthwaite's degrees of freedom. "
        )
        yield (images if len(study.calibration) else "") + (
            "Ratios of gradients are geometric means over seeds, with intervals of the logarithms,"
            " adjusted by Bonferroni's method."
        )


def _name_losses(study: Study) -> str:
    titles = [loss.title for loss in study.losses]
    return " or ".join(title if title.startswith("mean") else f"mean {title}" for title in titles)


def list_claims(claims: pd.DataFrame) -> Claims:
    """Give the table of claims with its verdicts."""
    rows: list[Claim] = []
    for row in claims.to_dict("records"):
        claim = Claim(row["claim"], row["verdict"], row["numbers"])
        if row["role"] == "primary":
            rows.append(claim)
        else:
            other = claim._replace(claim=drop_shared_part(claim.claim, rows[-1].claim))
            rows[-1] = rows[-1]._replace(others=(*rows[-1].others, other))
    verdicts = [claim.verdict for claim in rows]
    counts = [(verdict, verdicts.count(verdict)) for verdict in VERDICTS if verdict in verdicts]
    listed = join(f"{count} {write_verdict(verdict)}" for verdict, count in counts)
    return Claims(
        f"Of {counted(len(rows), 'claim')} of the teaching notebook that the project started from,"
        f" {listed}. Each is decided by one rule; other ways of measuring the same claim are listed"
        " below it and do not count. Rules, measures and places in the notebook are in claims.csv.",
        tuple(counts),
        tuple(rows),
    )


def drop_shared_part(text: str, before: str) -> str:
    """Leave out the clauses with which a text begins as another does.

    >>> drop_shared_part("Tanh is better, before training", "Tanh is better, after training")
    'before training'
    """
    clauses, others = (re.split("(?<=[,:]) ", each) for each in (text, before))
    while len(clauses) > 1 and others and clauses[0].rstrip(",:") == others[0].rstrip(",:"):
        clauses, others = clauses[1:], others[1:]
    return " ".join(clauses)


def write_verdict(verdict: str) -> str:
    """Write a verdict on a claim in a sentence: what is undecided may yet be decided."""
    return "not yet decided" if verdict == "undecided" else verdict
