"""The evidence that a rule may use, the estimates that it rests on, and the outcome."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float

from actlab.activations.config import ActivationConfig
from actlab.engine.csvs import where
from actlab.evidence.config import ReportConfig
from actlab.evidence.decisions import FIRST_LOOK, choose_interval
from actlab.evidence.differences import round_apart
from actlab.evidence.statistics import bonferroni
from actlab.evidence.wording import counted, join, written
from actlab.results.study import Study

Verdict = Literal["supported", "refuted", "negligible", "undecided", "not measured"]

#: In the order in which they are counted.
VERDICTS = get_args(Verdict)


class UnmeasuredError(Exception):
    """The study lacks what a claim is about; the message says what to add to params.yaml."""


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
        listed = str(where(self.study.configurations, network=network)["network.hidden"].iloc[0])
        return tuple(map(int, listed.split("-"))) if listed else ()

    def get_scores(self, metric: str, network: str, name: str) -> pd.Series:
        """Get an activation's scores by a metric, indexed by its seeds, in ascending order.

        NaN where there is none, or the seed diverged.
        """
        rows: Any = where(self.scores, metric=metric, network=network, activation=name)
        if rows.empty:
            raise UnmeasuredError(f"The study has no {metric} of {name} on {network}.")
        rows = rows.set_index("pair")
        found = rows["value"].astype(float).mask(rows["diverged"].astype(bool))
        return found.reindex(
            sorted(where(self.study.test, network=network, activation=name)["seed"])
        )

    def share(self, *wanted: tuple[str, str, str]) -> list[Float[np.ndarray, " seeds"]]:
        """Get the scores of several (metric, network, activation) over the seeds of all of them."""
        found: list[Any] = [self.get_scores(*each) for each in wanted]
        shared = sorted(set.intersection(*(set(scores.index) for scores in found)))
        if not shared:
            named = join(dict.fromkeys(f"{name} on {network}" for _, network, name in wanted))
            raise UnmeasuredError(f"No seed was measured of all of {named}.")
        return [scores[shared].to_numpy() for scores in found]

    def estimate(
        self,
        values: Float[np.ndarray, " seeds"],
        comparisons: int = 1,
        kind: Literal["mean", "share", "ratio"] = "mean",
    ) -> "Estimate":
        """Estimate the mean over seeds with its interval, one of `comparisons` (Bonferroni).

        Of shares, the interval cannot leave 0 to 1; of ratios, the mean is geometric.
        """
        count, confidence = len(values), bonferroni(self.config.confidence, comparisons)
        lost = ~np.isfinite(values) | ((values <= 0) if kind == "ratio" else False)
        if lost.any():
            reason = "diverged, or a gradient is zero" if kind == "ratio" else "diverged"
            seeds = f"{np.count_nonzero(lost)} of {counted(count, 'seed')}"
            return NONE._replace(why=f"undefined with {seeds}: a training {reason}")
        sample = np.log(values) if kind == "ratio" else values
        find_interval = choose_interval(self.study.is_sequential, kind == "share")
        mean, _, low, high = find_interval(sample, confidence)
        why = ""
        if low > high:
            low = high = math.nan
            why = "no interval: the looks contradict each other"
        elif not math.isfinite(low):
            why = f"no interval: all {count} seeds give the same value"
            if count == 1:
                why = "with one seed no uncertainty can be given"
            elif self.study.is_sequential and count < FIRST_LOOK:
                why = f"no interval before {FIRST_LOOK} seeds"
        # A residue of rounding is 0.
        mean, low, high = (0.0 if abs(value) <= 1e-12 else value for value in (mean, low, high))
        if kind == "ratio":
            mean, low, high = (float(np.exp(value)) for value in (mean, low, high))
        return Estimate(mean, low, high, why)


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
        bounds = (factor * self.low, factor * self.high)
        low, high = bounds if factor > 0 else bounds[::-1]
        return Estimate(factor * self.mean, low, high, self.why)


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
        The number of seeds that it rests on; for times, of processes.
    """

    verdict: Verdict
    numbers: str
    decisive_estimate: Estimate = NONE
    unit: str = ""
    seeds: int = 0


def write_estimate(
    estimate: Estimate,
    marks: Sequence[float] = (),
    unit: str = "",
    digits: int | None = None,
) -> str:
    """Write the mean with its interval, or why there is none.

    Numbers have two decimals, or so many significant digits; bounds are rounded so that none
    crosses a mark, such as the bound that decides.

    >>> write_estimate(Estimate(1.3, 1.004, 1.6), [1.0], digits=2)
    '1.3 (1.004 to 1.6)'
    """
    if not math.isfinite(estimate.mean):
        return estimate.why

    def write(value: float) -> str:
        if digits is None:
            return round_apart(value, marks, 2)
        for more in range(12):
            shown = float(f"{value:.{digits - 1 + more}e}")
            if all((shown > mark, shown < mark) == (value > mark, value < mark) for mark in marks):
                return written(value, digits + more)
        return written(value)

    bounds = estimate.why or f"{write(estimate.low)} to {write(estimate.high)}"
    return f"{write(estimate.mean)}{unit} ({bounds})"


def decide_side(estimate: Estimate, bound: float, above: Verdict, below: Verdict) -> Verdict:
    """Decide by the side of a bound on which an interval lies."""
    sides: dict[int, Verdict] = {1: above, -1: below, 0: "undecided"}
    return sides[estimate.side_of(bound)]
