"""The evidence that a rule may use, the estimates that it rests on, and the outcome."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from actlab.activations.config import ActivationConfig
from actlab.engine.csvs import where
from actlab.evidence.comparisons import diverged_seeds
from actlab.evidence.config import ReportConfig
from actlab.evidence.statistics import bonferroni, geometric_interval, mean_interval
from actlab.evidence.wording import counted
from actlab.results.study import ACTIVATION, NETWORK, Study

Verdict = Literal["supported", "refuted", "undecided", "not measured"]

#: In the order in which they are counted.
VERDICTS: tuple[Verdict, ...] = ("supported", "refuted", "undecided", "not measured")


class UnmeasuredError(Exception):
    """The study lacks what a claim is about; the message says what to add to params.yaml."""


class UndecidableError(Exception):
    """A number that a rule needs is NaN; the message says why."""


@dataclass(frozen=True)
class Evidence:
    """All that a rule may use.

    Attributes
    ----------
    study
        What was measured.
    scores, comparisons
        `comparisons.score` and `comparisons.compare` of it.
    activations
        The study's, in its order: claims are about functions, not names.
    dataset
        A name of conf/data/.
    config
        Confidence and margins.
    """

    study: Study
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    activations: Sequence[ActivationConfig]
    dataset: str
    config: ReportConfig

    @property
    def seeds_text(self) -> str:
        """The number of seeds, in words."""
        return counted(len(self.study.seeds), "seed")

    def get_name(self, function: str) -> str:
        """Get the name of the activation with that function; of several, the one of that name."""
        names = [one.name for one in self.activations if one.function == function]
        if not names:
            raise UnmeasuredError(
                f"No configured activation is {function}: add {function} to activations in"
                " params.yaml."
            )
        return function if function in names else names[0]

    def get_hidden(self, network: str) -> tuple[int, ...]:
        """Get the units of a network's hidden layers."""
        rows = where(self.study.layers, activation=self.study.activations[0], network=network)
        return tuple(rows["units"].tolist()[:-1])

    def get_scores(self, metric: str, network: str, name: str) -> Float[np.ndarray, " seeds"]:
        """Get an activation's scores, one per seed of the study.

        NaN where there is none, or the seed diverged.
        """
        rows = where(self.scores, metric=metric, network=network, activation=name)
        by_seed = rows.set_index("pair")["value"].astype(float).reindex(self.study.seeds)
        known = self.study.identify({NETWORK: network, ACTIVATION: name})
        is_lost = by_seed.index.isin(diverged_seeds(self.study).get(known, []))
        return by_seed.mask(is_lost).to_numpy()

    def get_gradients(self, columns: str, **rows: Any) -> pd.DataFrame:
        """Get some rows of the gradients as one row per seed, one column per layer or epoch."""
        chosen = where(self.study.gradients, **rows)
        wide = chosen.pivot(index="seed", columns=columns, values="value")  # noqa: PD010
        return wide.astype(float).reindex(self.study.seeds)


class Estimate(NamedTuple):
    """A mean over seeds with its interval; `why` it has none."""

    mean: float
    low: float
    high: float
    why: str = ""

    def side_of(self, bound: float) -> int:
        """Give 1 where the interval lies wholly above the bound, -1 wholly below, else 0.

        >>> Estimate(2.0, 1.5, 2.5).side_of(1.0), Estimate(2.0, 1.5, 2.5).side_of(2.0)
        (1, 0)
        """
        return int(self.low > bound) - int(self.high < bound)

    def scaled(self, factor: float) -> "Estimate":
        """Convert it to another unit."""
        return Estimate(factor * self.mean, factor * self.low, factor * self.high, self.why)


#: Where nothing can be estimated.
NONE = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Outcome:
    """The verdict on a claim.

    Attributes
    ----------
    verdict
        On the claim.
    numbers
        A sentence with the numbers behind it, or the reason why there are none.
    decisive_estimate
        The number that the verdict rests on, in `unit`; of several, the least favourable one.
    seeds
        The number of seeds that it rests on; for times, of timing blocks.
    """

    verdict: Verdict
    numbers: str
    decisive_estimate: Estimate = NONE
    unit: str = ""
    seeds: int = 0


def estimate(
    values: Float[np.ndarray, " seeds"],
    confidence: float,
    comparisons: int = 1,
    geometric: bool = False,
) -> Estimate:
    """Estimate the mean over seeds with a t interval, one of `comparisons` (Bonferroni).

    Equal values have an interval without width, however few they are. It is kept only where the
    sign test, whose p-value is 2 ^ (1 - seeds), agrees. `geometric` is for ratios.

    >>> estimate(np.array([0.1, 0.1, 0.1]), 0.95).why
    'all 3 seeds give the same value, which with so few shows nothing'
    """
    adjusted = bonferroni(confidence, comparisons)
    interval = (geometric_interval if geometric else mean_interval)(values, adjusted)
    count = len(values)
    lost = ~np.isfinite(values) | ((values <= 0) if geometric else False)
    if lost.any():
        reason = "diverged, or a gradient is zero" if geometric else "diverged"
        seeds = f"{np.count_nonzero(lost)} of {counted(count, 'seed')}"
        return NONE._replace(why=f"undefined with {seeds}: a training {reason}")
    if count == 1:
        why = "with one seed no uncertainty can be given"
        return Estimate(interval.mean, math.nan, math.nan, why)
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        if 2.0 ** (1 - count) > (1 - confidence) / comparisons:
            why = f"all {count} seeds give the same value, which with so few shows nothing"
            return Estimate(interval.mean, math.nan, math.nan, why)
        value = float(values[0])
        return Estimate(value, value, value)
    # Equal values leave a residue of rounding.
    mean = interval.mean if geometric or abs(interval.mean) > 1e-12 else 0.0
    return Estimate(mean, interval.low, interval.high)


def write_estimate(estimate: Estimate, write: Callable[[float], str], unit: str = "") -> str:
    """Write the mean with its interval, or why there is none."""
    if not math.isfinite(estimate.mean):
        return estimate.why
    bounds = estimate.why or f"{write(estimate.low)} to {write(estimate.high)}"
    return f"{write(estimate.mean)}{unit} ({bounds})"


def decide_side(estimate: Estimate, bound: float, above: Verdict, below: Verdict) -> Verdict:
    """Decide by the side of a bound on which an interval lies."""
    sides: dict[int, Verdict] = {1: above, -1: below, 0: "undecided"}
    return sides[estimate.side_of(bound)]
