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
from actlab.evidence.config import ReportConfig
from actlab.evidence.decisions import FIRST_LOOK, choose_interval
from actlab.evidence.statistics import bonferroni
from actlab.evidence.wording import counted
from actlab.results.study import Study

Verdict = Literal["supported", "refuted", "negligible", "undecided", "not measured"]

#: What each verdict on a claim means, in the order in which they are counted.
MEANINGS: dict[Verdict, str] = {
    "supported": "the numbers show it",
    "refuted": "they show the contrary, or that there is nothing to it",
    "negligible": "they show it, and that it is smaller than what matters",
    "undecided": "these seeds show neither",
    "not measured": "the study lacks what it is about",
}
VERDICTS = tuple(MEANINGS)


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
        if not math.isfinite(low):
            why = f"all {count} seeds give the same value, which with so few shows nothing"
            if count == 1:
                why = "with one seed no uncertainty can be given"
            elif self.study.is_sequential and count < FIRST_LOOK:
                why = f"no interval before {FIRST_LOOK} seeds"
        mean = 0.0 if abs(mean) <= 1e-12 else mean  # a residue of rounding
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
        low, high = sorted((factor * self.low, factor * self.high))
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
