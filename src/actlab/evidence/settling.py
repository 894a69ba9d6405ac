"""Studies that add seeds until their verdicts are decided: the rules, and which seeds come next.

The rules are declared before the first training (`Declaration`). After each look, `find_targets`
says how many seeds each configuration gets.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence.comparisons import METRICS, find_families
from actlab.evidence.config import ReportConfig
from actlab.evidence.decisions import FIRST_LOOK, STEP
from actlab.evidence.wording import counted
from actlab.results.study import ACTIVATION, NETWORK, Identity, Study, label

RULE = (
    "Each verdict is read from a confidence sequence of the mean difference within seeds (Wang &"
    " Ramdas 2023, arXiv 2310.03722, t-mixture, c^2 = 2), the intersection of its looks at the"
    f" first {FIRST_LOOK} seeds and at every {STEP} more, at level 1 - (1 - confidence) / pairs of"
    " the family. A configuration gets more seeds while a pair that it belongs to is undecided by"
    " one of the metrics, or a primary claim about it is, until the most."
)


@dataclass(frozen=True)
class Declaration:
    """What is declared before the first training.

    Attributes
    ----------
    name
        Of the study.
    metrics
        What a pair has to be decided by.
    claims
        The primary claims that have to be decided, with their rules; empty: none.
    first_seed, most_seeds
        Seeds are first_seed, first_seed + 1, ..., at most so many of a configuration.
    timed, processes
        The networks whose epochs are timed, and in how many processes; in more where a primary
        claim about times is undecided with these.
    report
        Confidence, target and margins: `ReportConfig`.
    families
        The number of pairs by key and setting, for which intervals are adjusted.
    keys, configurations, fixed
        As in `Study`.
    rule
        In words.
    """

    name: str
    metrics: list[str]
    claims: dict[str, str]
    first_seed: int
    most_seeds: int
    timed: list[str]
    processes: int
    report: dict[str, float]
    families: dict[str, int]
    keys: list[str]
    configurations: list[dict[str, str]]
    fixed: dict[str, str]
    rule: str = field(default=RULE)

    @property
    def digest(self) -> str:
        """The SHA-256 of all of it."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def identities(self) -> list[Identity]:
        """Every configuration, by its values of the keys."""
        return [tuple(row[key] for key in self.keys) for row in self.configurations]

    def report_config(self) -> ReportConfig:
        """Return confidence, target and margins."""
        return ReportConfig(**self.report)

    def list_seeds(self, count: int) -> list[int]:
        """List the first so many seeds."""
        return list(range(self.first_seed, self.first_seed + count))


def count_families(study: Study) -> dict[str, int]:
    """Count the pairs of each family, by the key that differs and the setting."""
    families = {}
    for pairs in find_families(study):
        key = pairs[0].key
        settings = {
            ", ".join(
                f"{name} {value}"
                for name, value in zip(study.keys, pair.first, strict=True)
                if name != key
            )
            for pair in pairs
        }
        place = settings.pop() if len(settings) == 1 else "all settings"
        families[f"{key or 'configurations'}{f' ({place})' if place else ''}"] = len(pairs)
    return families


def next_look(count: int) -> int:
    """Return how many seeds follow an undecided look: `STEP` more, or a quarter more where many.

    >>> next_look(0), next_look(12), next_look(96)
    (12, 18, 120)
    """
    return count + STEP * max(1, count // (4 * STEP)) if count else FIRST_LOOK


def find_targets(
    study: Study,
    compared: pd.DataFrame,
    undecided_claims: Iterable[Sequence[Identity]],
    counts: Mapping[Identity, int],
    metrics: Sequence[str],
    most: int,
) -> dict[Identity, int]:
    """Find how many seeds each configuration gets before the next look; those that get more.

    Parameters
    ----------
    study, compared
        `compared` is `comparisons.compare` of the study.
    undecided_claims
        For each undecided claim, the configurations that it is about.
    counts
        The seeds that each configuration has.
    metrics
        What a pair has to be decided by.
    most
        Seeds of a configuration.
    """
    groups = [[*group] for group in undecided_claims]
    groups += [[*pair] for pair in list_undecided(study, compared, metrics)]
    targets: dict[Identity, int] = {}
    for known in study.identities():
        if counts.get(known, 0) < FIRST_LOOK:
            targets[known] = FIRST_LOOK
    for group in groups:
        wanted = min(most, next_look(min(counts.get(known, 0) for known in group)))
        for known in group:
            if wanted > counts.get(known, 0):
                targets[known] = max(wanted, targets.get(known, 0))
    return targets


def list_undecided(
    study: Study, compared: pd.DataFrame, metrics: Sequence[str]
) -> list[tuple[Identity, Identity]]:
    """List the undecided pairs that more seeds may decide (`decisions.is_decidable`)."""
    found = _find_undecided(study, compared, metrics)
    return [(first, second) for first, second, _ in found]


def _find_undecided(
    study: Study, compared: pd.DataFrame, metrics: Sequence[str]
) -> list[tuple[Identity, Identity, float]]:
    """Find the undecided pairs that more seeds may decide, with the estimated number of seeds."""
    rows = where(compared, metric=list(metrics), verdict="undecided").to_dict("records")
    return [
        (_identify(study, row, "first"), _identify(study, row, "second"), row["pairs_needed"])
        for row in rows
        if not math.isnan(row["pairs_needed"])
    ]


def _identify(study: Study, row: Mapping[Any, Any], side: str) -> Identity:
    if row["key"]:
        return study.identify({**row, row["key"]: row[side]})
    by_setting = {
        study.setting(each, study.keys): study.identify(each)
        for each in study.configurations.to_dict("records")
    }
    return by_setting[row[side]]


def estimate_trainings(
    study: Study,
    compared: pd.DataFrame,
    counts: Mapping[Identity, int],
    metrics: Sequence[str],
    most: int,
) -> int:
    """Estimate how many more trainings decide the pairs, were their means and sds the true ones."""
    wanted = dict(counts)
    for *sides, needed in _find_undecided(study, compared, metrics):
        for known in sides:
            wanted[known] = max(wanted.get(known, 0), int(min(most, needed)))
    return sum(wanted[known] - counts.get(known, 0) for known in wanted)


def describe_look(
    study: Study, compared: pd.DataFrame, metrics: Sequence[str], counts: Mapping[Identity, int]
) -> list[str]:
    """Write how many seeds there are, and what is decided by each metric in each setting."""
    least, most = min(counts.values()), max(counts.values())
    seeds = counted(most, "seed") if least == most else f"{least} to {counted(most, 'seed')}"
    lines = [f"{counted(sum(counts.values()), 'training')}, {seeds} per configuration"]
    places = ["key", *([NETWORK] if NETWORK in compared and NETWORK in study.keys else [])]
    for metric in metrics:
        groups: Any = where(compared, metric=metric).groupby(places, sort=False)
        for (key, *network), found in groups:
            decided = int((found["verdict"] != "undecided").sum())
            named = [label(key, study.keys) if key else "", *network]
            along = ", ".join(name for name in named if name and name != ACTIVATION)
            place = f" ({along})" if along else ""
            pairs = counted(len(found), "pair")
            lines.append(f"{METRICS[metric].title}{place}: {decided} of {pairs} decided")
    return lines
