"""What a run of the pipeline has before it, how far it is, and how long the rest will take.

It follows DVC by what DVC says: a line a stage, as it turns to it.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

#: Seconds of a stage of the default study, by its kind: what is assumed of one that has never run.
SECONDS = {
    "fetch-data": 5.0,
    "preprocess": 3.0,
    "activations": 4.0,
    "train": 20.0,
    "gradients": 25.0,
    "timing": 35.0,
    "theory": 15.0,
    "report": 10.0,
}
RAN, CACHED, UNCHANGED, FAILED = "ran", "from the cache", "unchanged", "failed"

_SAID = {
    UNCHANGED: re.compile(r"Stage '(.+)' didn't change, skipping"),
    CACHED: re.compile(r"Stage '(.+)' is cached - skipping run, checking out outputs"),
    RAN: re.compile(r"Running stage '(.+)':"),
}
#: As a training says it (`progress`).
_LEFT = re.compile(r"\d+ of \d+ model-epochs, .*, (\d+) s left")


class Ended(NamedTuple):
    """A stage that DVC is done with: its place among all, its name, what came of it, seconds."""

    place: int
    stage: str
    outcome: str
    seconds: float


def _heard(line: str) -> tuple[str, str] | None:
    """Give outcome and stage of a line with which DVC turns to a stage."""
    for outcome, pattern in _SAID.items():
        if said := pattern.fullmatch(line):
            return outcome, said[1]
    return None


def kind_of(stage: str) -> str:
    """Give a stage's name without the item of a matrix.

    >>> kind_of("train@relu-mlp")
    'train'
    """
    return stage.partition("@")[0]


def _is_training(stage: str) -> bool:
    return kind_of(stage) == "train"


def with_downstream(changed: Iterable[str], trainings: Iterable[str]) -> set[str]:
    """Add the stages that take in what a changed one gives: DVC learns of them when it has run.

    >>> sorted(with_downstream(["train@relu-mlp"], ["train@relu-mlp", "train@tanh-mlp"]))
    ['gradients', 'report', 'timing', 'train@relu-mlp']
    """
    stale, trainings = set(changed), set(trainings)
    if "fetch-data" in stale:
        stale.add("preprocess")
    if stale & {"preprocess", "activations"}:
        stale |= trainings | {"theory"}
    if any(_is_training(stage) for stage in stale):
        stale |= {"gradients", "timing"}
    if stale & {"gradients", "timing", "theory"}:
        stale.add("report")
    return stale


@dataclass
class Plan:
    """The stages of a run, and what has become of them so far.

    Attributes
    ----------
    stages
        Their names, those that need not run too.
    stale
        Those that will run, as far as is known before.
    last
        Seconds that stages took when they last ran.
    ended
        What DVC is done with.
    current
        The stage that DVC is at.
    """

    stages: list[str]
    stale: set[str]
    last: Mapping[str, float] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    current: str | None = None
    _outcome: str = RAN
    _began: float = 0.0
    _told: float | None = None

    @classmethod
    def of(cls, stages: Iterable[str], changed: Iterable[str], last: Mapping[str, float]) -> "Plan":
        """Plan a run from the names of all stages and of those that DVC finds changed."""
        stages = list(stages)
        trainings = filter(_is_training, stages)
        return cls(stages, with_downstream(changed, trainings) & set(stages), last)

    def take_in(self, line: str, now: float) -> list[Ended]:
        """Follow a line of `dvc repro`; give the stages that have ended with it."""
        if said := _LEFT.search(line):
            self._told = now - self._began + float(said[1])
        heard = _heard(line)
        if heard is None:
            return []
        before = len(self.ended)
        self.finish(now)
        self._outcome, self.current = heard
        self._began, self._told = now, None
        if self._outcome == UNCHANGED:
            self.finish(now)
        return self.ended[before:]

    def finish(self, now: float, failed: bool = False) -> None:
        """End the stage that DVC is at."""
        if self.current is not None:
            outcome = FAILED if failed else self._outcome
            seconds = now - self._began
            self.ended.append(Ended(self.place(), self.current, outcome, seconds))
        self.current = None

    def place(self) -> int:
        """Give the place among all stages, from 1, of the one that DVC is at."""
        return min(len(self.ended) + 1, len(self.stages))

    def seconds_left(self, now: float) -> float:
        """Estimate the seconds to the end of the run.

        A stage takes as long as when it last ran, times the pace of this run: what its kind has
        taken so far, or all stages where none of its kind has run, to what they took before.
        """
        done = {each.stage for each in self.ended} | {self.current}
        left = sum(self._expected(stage) for stage in self.stale - done)
        if self.current is not None:
            expected = self._told or self._expected(self.current)
            left += max(expected - (now - self._began), 0)
        return left

    def outcomes(self) -> dict[str, int]:
        """Count the stages by what came of them."""
        counts: dict[str, int] = dict.fromkeys((RAN, CACHED, UNCHANGED, FAILED), 0)
        for each in self.ended:
            counts[each.outcome] += 1
        return counts

    def seconds_of_stages(self) -> dict[str, float]:
        """Give the seconds of every stage that has run, in this run or before."""
        return dict(self.last) | {
            each.stage: round(each.seconds, 1) for each in self.ended if each.outcome == RAN
        }

    def _expected(self, stage: str) -> float:
        measured = [
            (each.seconds, self._before(each.stage), kind_of(each.stage))
            for each in self.ended
            if each.outcome == RAN
        ]
        if self.current is not None and self._told is not None:
            measured.append((self._told, self._before(self.current), kind_of(self.current)))
        alike = [each for each in measured if each[2] == kind_of(stage)] or measured
        took = math.fsum(seconds for seconds, _, _ in alike)
        took_before = math.fsum(seconds for _, seconds, _ in alike)
        pace = took / took_before if took_before else 1.0
        return self._before(stage) * pace

    def _before(self, stage: str) -> float:
        """Give what a stage took when it last ran; else its like on its network, else its kind."""
        if stage in self.last:
            return self.last[stage]
        kind, network = kind_of(stage), stage.rpartition("-")[2]
        alike = {each: took for each, took in self.last.items() if kind_of(each) == kind}
        closer = [took for each, took in alike.items() if each.rpartition("-")[2] == network]
        found = closer or list(alike.values()) or [SECONDS.get(kind, 10.0)]
        return math.fsum(found) / len(found)
