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

Metric = Literal["test_accuracy", "test_loss", "epochs_to_target"]

#: Differences that do not matter, as in params.yaml: of accuracies, nats, epochs.
MARGINS: Mapping[str, float] = {
    "test_accuracy": 0.002,
    "test_loss": 0.01,
    "epochs_to_target": 1.0,
}


def compare(
    fitted: Fit,
    metric: Metric = "test_accuracy",
    *,
    margin: float | None = None,
    confidence: float = 0.95,
    target: float = 0.97,
) -> pd.DataFrame:
    """Compare each pair of activations within seeds; the verdict is on the first of the pair.

    The family-wise error rate over all pairs is at most 1 - confidence (Holm's adjustment).

    Parameters
    ----------
    fitted
        Result of `fit`.
    metric
        test_accuracy, test_loss, or epochs_to_target: the first epoch whose val_accuracy reaches
        `target`; a seed that never does counts as one epoch more than were trained.
    margin
        The largest difference that does not matter; by default the pipeline's, `MARGINS`.

    Returns
    -------
    pd.DataFrame
        One row per pair: first, second, verdict (better, worse, equivalent, undecided), mean of
        first minus second (fractions, nats or epochs) with its interval low to high, seeds,
        diverged_seeds (in how many of them either diverged: then the pair is undecided),
        seeds_needed (how many would decide an undecided pair; NaN: decided, or more than 10,000),
        margin, effect_size (Cohen's d_z), p_holm (paired t-test), p_equivalence_holm (two one-sided
        tests).

    Raises
    ------
    UserError
        If there are fewer than two activations, or a value is not allowed.
    """
    require(fitted, Fit, "fitted", FITTED)
    validate(Metric, metric, "metric")
    within = validate(Positive, MARGINS[metric] if margin is None else margin, "margin")
    validate(Fraction, target, "target")
    validate(Fraction, confidence, "confidence")
    if len(fitted.activations) < 2:
        raise UserError(f"only {fitted} was fitted: give `fit` a list of two activations or more")
    scores = where(comparisons.score(fitted.study(), target), metric=metric)
    margins = {comparisons.METRICS[name].margin: value for name, value in MARGINS.items()}
    margins |= {comparisons.METRICS[metric].margin: within, "equivalence_margin_ratio": 0.05}
    config = ReportConfig(confidence, target, **margins)
    table = comparisons.compare(fitted.study(), scores, config, thorough=True)
    table = table.rename(columns={"pairs": "seeds", "pairs_needed": "seeds_needed"})
    diverged = comparisons.diverged_seeds(fitted.study())
    lost = {name: {*diverged.get((fitted.network.name, name), ())} for name in fitted.activations}
    pairs = zip(table["first"], table["second"], strict=True)
    table["diverged_seeds"] = [len(lost[first] | lost[second]) for first, second in pairs]
    return table.loc[:, list(_COMPARED)]


_COMPARED = (
    *("first", "second", "verdict", "mean", "low", "high", "seeds", "diverged_seeds"),
    *("seeds_needed", "margin", "effect_size", "p_holm", "p_equivalence_holm"),
)
