"""What a rule may look at, the estimates that it rests on, and what it decides."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from actlab.activations.config import ActivationConfig
from actlab.engine.csvs import where
from actlab.evidence.config import ReportConfig
from actlab.evidence.statistics import geometric_interval, mean_interval
from actlab.evidence.wording import counted
from actlab.results.study import Study

Verdict = Literal["supported", "refuted", "undecided", "not measured"]

#: In the order in which they are counted.
VERDICTS: tuple[Verdict, ...] = ("supported", "refuted", "undecided", "not measured")


class UnmeasuredError(Exception):
    """A claim is about something that the study does not have; says what to add to params.yaml."""


class UndecidableError(Exception):
    """The numbers that a rule needs are none; says why."""


@dataclass(frozen=True)
class Evidence:
    """All that a rule may look at.

    Attributes
    ----------
    study
        What was measured.
    scores, comparisons
        `comparisons.score` and `comparisons.compare` of it.
    activations
        The study's activations, in its order: a claim speaks of functions, not of names.
    dataset
        A name of `datasets.DATASETS`.
    config
        Confidence and margins.
    """

    study: Study
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    activations: Sequence[ActivationConfig]
    dataset: str
    config: ReportConfig

    def named(self, function: str) -> str:
        """Give the name of the activation with that function, of several that of this name."""
        names = [each.name for each in self.activations if each.function == function]
        if not names:
            raise UnmeasuredError(
                f"No configured activation is {function}: add {function} to activations in"
                " params.yaml."
            )
        return function if function in names else names[0]

    def hidden(self, network: str) -> tuple[int, ...]:
        """Give the units of a network's hidden layers."""
        rows = where(self.study.layers, activation=self.study.activations[0], network=network)
        return tuple(rows["units"].tolist()[:-1])

    def by_seed(self, metric: str, network: str, name: str) -> Float[np.ndarray, " seeds"]:
        """Give an activation's scores, one a seed of the study; NaN where there is none."""
        rows = where(self.scores, metric=metric, network=network, activation=name)
        values = dict(zip(rows["pair"], rows["value"], strict=True))
        return np.array([values.get(seed, math.nan) for seed in self.study.seeds], dtype=float)


class Estimate(NamedTuple):
    """A mean over seeds with its interval; where there is none, `why`."""

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
        """Give it in another unit."""
        return Estimate(factor * self.mean, factor * self.low, factor * self.high, self.why)


#: Where nothing can be estimated.
NONE = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Outcome:
    """What a rule makes of the evidence.

    Attributes
    ----------
    verdict
        On the claim.
    numbers
        A sentence with the numbers behind it, or with the reason why there are none.
    decisive_estimate
        The number on which the verdict hangs, of several the one least in the claim's favour;
        in `unit`.
    seeds
        How many that number is of; of times, how many blocks.
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
    """Give the mean over seeds with the t interval, or why there is none.

    Values that are all the same make a t interval without width, however few they are. Then it
    is kept only where the sign test, whose p-value is 2 ^ (1 - seeds), agrees with it.

    Parameters
    ----------
    values
        One a seed.
    confidence
        Of all the intervals of a claim taken together.
    comparisons
        How many intervals the claim has (Bonferroni).
    geometric
        Of ratios: the geometric mean, and the interval of the logarithms.

    Examples
    --------
    >>> estimate(np.array([0.1, 0.1, 0.1]), 0.95).why
    'all 3 seeds give the same value, which with so few shows nothing'
    """
    alpha = (1 - confidence) / comparisons
    interval = (geometric_interval if geometric else mean_interval)(values, 1 - alpha)
    lost = ~np.isfinite(values) | ((values <= 0) if geometric else False)
    if lost.any():
        of = f"{np.count_nonzero(lost)} of {counted(len(values), 'seed')}"
        reason = "diverged, or a gradient is zero" if geometric else "diverged"
        return NONE._replace(why=f"no number with {of}: a training {reason}")
    if len(values) == 1:
        return Estimate(interval.mean, math.nan, math.nan, _ONE_SEED)
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        if 2.0 ** (1 - len(values)) > alpha:
            why = f"all {len(values)} seeds give the same value, which with so few shows nothing"
            return Estimate(interval.mean, math.nan, math.nan, why)
        alike = float(values[0])
        return Estimate(alike, alike, alike)
    # What is left of the rounding of equal values is no difference.
    mean = interval.mean if geometric or abs(interval.mean) > 1e-12 else 0.0
    return Estimate(mean, interval.low, interval.high)


_ONE_SEED = "with one seed no uncertainty can be given"


def write_estimate(of: Estimate, write: Callable[[float], str], unit: str = "") -> str:
    """Write the mean with its interval, as far as there are numbers."""
    if not math.isfinite(of.mean):
        return of.why
    said = of.why if of.why else f"{write(of.low)} to {write(of.high)}"
    return f"{write(of.mean)}{unit} ({said})"


def decide_side(of: Estimate, bound: float, above: Verdict, below: Verdict) -> Verdict:
    """Give the verdict of the side of a bound on which an interval lies, or undecided."""
    sides: dict[int, Verdict] = {1: above, -1: below, 0: "undecided"}
    return sides[of.side_of(bound)]
