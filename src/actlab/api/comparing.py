"""Activations compared by the seeds that they share."""

from collections.abc import Mapping
from typing import Literal

import pandas as pd

from actlab.api.arguments import require
from actlab.api.fitting import FITTED, Fit
from actlab.engine.csvs import where
from actlab.engine.validation import Fraction, Positive, validate
from actlab.errors import UserError
from actlab.evidence import comparisons
from actlab.evidence.config import ReportConfig
from actlab.results.study import Study

Metric = Literal["test_accuracy", "test_loss", "test_mse", "epochs_to_target"]

#: Differences that do not matter, as in params.yaml: of accuracies, nats, epochs; of mean squared
#: errors, the part by which one is larger.
MARGINS: Mapping[str, float] = {
    "test_accuracy": 0.002,
    "test_loss": 0.01,
    "test_mse": 0.05,
    "epochs_to_target": 1.0,
}


def compare(
    fitted: Fit,
    metric: Metric | None = None,
    *,
    margin: float | None = None,
    confidence: float = 0.95,
    target: float = 0.97,
) -> pd.DataFrame:
    """Compare each pair of activations within seeds; the verdict is on the first of the pair.

    Each verdict is read from the interval, which is adjusted for the number of pairs (Bonferroni):
    all verdicts together err with a probability of at most 1 - confidence.

    Parameters
    ----------
    fitted
        Result of `fit`.
    metric
        test_accuracy, test_loss, or epochs_to_target: the first epoch whose val_accuracy reaches
        `target`; a seed that never does counts as one epoch more than were trained. Of a
        regression, test_mse, the mean squared error. By default test_accuracy or test_mse.
    margin
        The largest difference that does not matter; by default the pipeline's, `MARGINS`.

    Returns
    -------
    pd.DataFrame
        One row per pair: first, second, verdict (better, worse, equivalent: within the margin,
        negligible: a difference is shown that is within the margin, undecided), mean of
        first minus second (fractions, nats or epochs; of test_mse the natural logarithm of first
        divided by second) with its interval low to high, seeds,
        diverged_seeds (in how many of them either diverged: then the pair is undecided),
        seeds_needed (how many would decide an undecided pair; NaN: decided, or more than 10,000),
        margin, effect_size (Cohen's d_z), p (adjusted, of no difference), p_equivalence (adjusted,
        of a difference as large as the margin).

    Raises
    ------
    UserError
        If there are fewer than two activations, or a value is not allowed.
    """
    require(fitted, Fit, "fitted", FITTED)
    config, name = resolve_metric(fitted.study(), metric, margin, confidence, target)
    if len(fitted.activations) < 2:
        raise UserError(f"only {fitted} was fitted: give `fit` a list of two activations or more")
    return tabulate_pairs(fitted.study(), name, config)


def resolve_metric(
    study: Study, metric: str | None, margin: float | None, confidence: float, target: float
) -> tuple[ReportConfig, Metric]:
    """Validate what a comparison is made by; return its configuration and the metric's name."""
    chosen = comparisons.primary_metric(study) if metric is None else metric
    name: Metric = validate(Metric, chosen, "metric")
    if study.is_regression != (name == "test_mse"):
        kind = "a regression does" if study.is_regression else "classifiers do"
        raise UserError(f"metric is {name!r}, which {kind} not have: leave it out")
    within = validate(Positive, MARGINS[name] if margin is None else margin, "margin")
    validate(Fraction, target, "target")
    validate(Fraction, confidence, "confidence")
    margins = {comparisons.METRICS[each].margin: value for each, value in MARGINS.items()}
    margins |= {comparisons.METRICS[name].margin: within}
    return ReportConfig(confidence, target, **margins), name


def tabulate_pairs(study: Study, metric: str, config: ReportConfig) -> pd.DataFrame:
    """Compare the activations of a study on one network by a metric: see `compare`."""
    scores = where(comparisons.score(study, config.target_accuracy), metric=metric)
    table = comparisons.compare(study, scores, config)
    table = table.rename(columns={"pairs": "seeds", "pairs_needed": "seeds_needed"})
    diverged = comparisons.diverged_seeds(study)
    lost = {known[-1]: {*seeds} for known, seeds in diverged.items()}
    pairs = zip(table["first"], table["second"], strict=True)
    table["diverged_seeds"] = [
        len(lost.get(first, set()) | lost.get(second, set())) for first, second in pairs
    ]
    return table.loc[:, list(_COMPARED)]


_COMPARED = (
    *("first", "second", "verdict", "mean", "low", "high", "seeds", "diverged_seeds"),
    *("seeds_needed", "margin", "effect_size", "p", "p_equivalence"),
)
