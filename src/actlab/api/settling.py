"""Activations compared with as many seeds as their verdicts need."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from actlab.api.arguments import Named, resolve_activations
from actlab.api.comparing import Metric, resolve_metric, tabulate_pairs
from actlab.api.data import Data
from actlab.api.fitting import Fit, fit
from actlab.engine.validation import Seed, Whole, validate
from actlab.errors import UserError
from actlab.evidence import comparisons, settling
from actlab.evidence.decisions import FIRST_LOOK, STEP
from actlab.results.study import Study

_AtLeastOneLook = Annotated[Whole, Field(ge=FIRST_LOOK)]


@dataclass(frozen=True, repr=False)
class Settled:
    """Activations with the verdicts on every pair.

    Attributes
    ----------
    comparisons
        As of `compare`; low to high is valid at every look (Wang & Ramdas 2023).
    looks
        One row per look: look, trainings so far, fewest_seeds and most_seeds of an activation,
        undecided pairs, seconds so far.
    history, test
        As of `Fit`, over all seeds.
    """

    comparisons: pd.DataFrame
    looks: pd.DataFrame
    history: pd.DataFrame
    test: pd.DataFrame

    def __repr__(self) -> str:
        last = self.looks.iloc[-1]
        return (
            f"{len(self.comparisons)} pairs, {int(last['undecided'])} undecided, after"
            f" {int(last['trainings'])} trainings"
        )


def settle(
    activations: Sequence[Named],
    data: Data,
    hidden: Sequence[int] | str = (128, 64),
    *,
    max_seeds: int = 120,
    first_seed: int = 1000,
    metric: Metric | None = None,
    margin: float | None = None,
    confidence: float = 0.95,
    target: float = 0.97,
    progress: bool = True,
    **options: Any,
) -> Settled:
    """Train each activation on more and more seeds until the verdict on every pair is decided.

    The first look is at 12 seeds. An activation gets more while a pair that it belongs to is
    undecided, up to `max_seeds`; the verdicts are valid however often they are looked at
    (`actlab.evidence.decisions.sequential`). All that decides them is in the arguments: choose
    these before the first call.

    Parameters
    ----------
    activations
        Two or more, as in `fit`.
    data, hidden
        As in `fit`.
    max_seeds, first_seed
        Seeds are first_seed, first_seed + 1, ..., at most so many of each activation; looks are at
        12 seeds and every 6 more.
    metric, margin, confidence, target
        As in `compare`.
    progress
        Whether a line is printed after each look: what is decided, and what is expected to follow.
    **options
        Other arguments of `fit`, such as epochs and optimizer.

    Raises
    ------
    UserError
        If a value is not allowed.

    Examples
    --------
    >>> mnist = actlab.load_data("mnist")  # doctest: +SKIP
    >>> actlab.settle(["relu", "gelu"], mnist, max_seeds=200).comparisons  # doctest: +SKIP
    """
    if "seeds" in options:
        raise UserError("settle chooses the seeds: leave out seeds, and give first_seed, max_seeds")
    chosen = resolve_activations(activations)
    if len(chosen) < 2:
        raise UserError(f"only {', '.join(chosen)} is given: a comparison takes two or more")
    most, first = (
        validate(_AtLeastOneLook, max_seeds, "max_seeds"),
        validate(Seed, first_seed, "first_seed"),
    )
    most -= (most - FIRST_LOOK) % STEP  # seeds after the last look would decide nothing
    began, rows, fits = time.monotonic(), [], []
    counts = dict.fromkeys(chosen, 0)
    targets = dict.fromkeys(chosen, FIRST_LOOK)
    while True:
        # Those that have equally many seeds and get equally many more are fitted together.
        for group in dict.fromkeys((counts[name], targets[name]) for name in targets):
            names = [name for name in targets if (counts[name], targets[name]) == group]
            seeds = range(first + group[0], first + group[1])
            fits.append(
                fit(
                    [chosen[name] for name in names],
                    data,
                    hidden,
                    seeds=seeds,
                    progress=False,
                    **options,
                )
            )
        counts |= targets
        study = _join(fits, list(chosen))
        config, name = resolve_metric(study, metric, margin, confidence, target)
        scores = comparisons.score(study, target)
        compared = comparisons.compare(study, scores, config)
        known = {(fits[0].network.name, each): count for each, count in counts.items()}
        undecided = settling.list_undecided(study, compared, [name])
        seconds = time.monotonic() - began
        fewest, trained = min(counts.values()), sum(counts.values())
        rows.append((len(rows) + 1, trained, fewest, max(counts.values()), len(undecided), seconds))
        found = settling.find_targets(study, compared, [], known, [name], most)
        targets = {identity[-1]: count for identity, count in found.items()}
        if progress:
            lines = settling.describe_look(study, compared, [name], known)
            more = settling.estimate_trainings(study, compared, known, [name], most)
            minutes = more * seconds / trained / 60
            expected = f"; expected: {more} more trainings, {minutes:.0f} min" if targets else ""
            print(f"look {len(rows)}: {'; '.join(lines)}{expected}", flush=True)
        if not targets:
            break
    columns = ["look", "trainings", "fewest_seeds", "most_seeds", "undecided", "seconds"]
    return Settled(
        tabulate_pairs(study, name, config),
        pd.DataFrame(rows, columns=columns),
        study.history,
        study.test,
    )


def _join(fits: Sequence[Fit], names: Sequence[str]) -> Study:
    """Join fits of different seeds into one study, its activations in the order given."""
    studies = [each.study() for each in fits]
    order = {name: place for place, name in enumerate(names)}

    def stack(name: str) -> pd.DataFrame:
        table = pd.concat([getattr(each, name) for each in studies], ignore_index=True)
        columns = [column for column in ("activation", "seed", "epoch") if column in table]
        return table.sort_values(
            columns, key=lambda values: values.map(order) if values.name == "activation" else values
        ).reset_index(drop=True)

    configurations = stack("configurations").drop_duplicates("activation", ignore_index=True)
    return replace(
        studies[0],
        configurations=configurations,
        test=stack("test"),
        history=stack("history"),
        declaration={"declared": "by the arguments of the call"},
    )
