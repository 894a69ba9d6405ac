"""What the engine needs to know about a project: its configurations, jobs and store of runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    Attributes
    ----------
    status
        done; diverged: done, but a loss is not finite; skipped: finished earlier; failed.
    objective
        What a sweep maximises; None if there is nothing to select by.
    seconds
        Duration of the job.
    cause
        Of a failure, in one line; of a divergence, how much of the job diverged.
    """

    status: str
    objective: float | None
    seconds: float
    cause: str = ""


class SeedChoice(Protocol):
    """What the sweeper `settle` asks a study that adds seeds until its verdicts are decided."""

    @property
    def tag(self) -> str:
        """Identifies the rules that were declared, in the key `declaration` of every job."""
        ...

    def declare(self) -> bool:
        """Write or verify the rules; return whether training may begin."""
        ...

    def plan(self) -> list[tuple[int, list[int]]]:
        """List the places of configurations in the grid that get more seeds, with these seeds."""
        ...

    def add(self, jobs: Sequence[tuple[int, Path]], trained: int) -> None:
        """Take the results of finished jobs: places of their configurations, and their folders.

        `trained` seeds of them were not finished earlier.
        """
        ...

    def conclude(self) -> None:
        """Compare all."""
        ...


@dataclass(frozen=True)
class Project:
    """A project whose commands the engine runs.

    Attributes
    ----------
    schema
        The dataclass of a whole configuration, made by `validation.section`, with the keys `sweep`,
        `force` and `models_at_once`, and with `choose_seeds` also `declaration`. conf/config.yaml
        lists the keys that change no result, in `hydra.job.config.override_dirname.exclude_keys`.
    run_once
        Runs a stage with a configuration and the name of a job, unless it is finished.
    connect
        Opens the store of runs, which has MLflow's `client` and `experiment`, and `close_ended()`:
        it ends the runs of killed processes and returns their names.
    explain_store
        Describes an error of the store, and its consequence, in one line.
    train, compare
        The modules that run a sweep and compare its jobs.
    check
        Validates a configuration, given the root of the repository, beyond its types.
    named_sections
        Keys of sections whose `name` is one of the files in a folder of conf/, for which the key
        alone is short: `data=mnist` is `data.name=mnist`.
    choose_seeds
        Makes the `SeedChoice` of a sweep from its configurations, the keys that have several
        values, its name, and the options of the sweeper; None: the project has none.
    objective, has_objective, no_objective
        The name and the text of a value that a sweep maximises; whether a configuration has one;
        one line for one that has not.
    """

    schema: type
    run_once: Callable[[Callable[..., Any], Any, str], Outcome]
    connect: Callable[[], Any]
    explain_store: Callable[[BaseException, str], str]
    train: str
    compare: str
    check: Callable[[Any, Path], None] = lambda config, root: None
    named_sections: Sequence[str] = ()
    choose_seeds: (
        Callable[[Sequence[Any], Sequence[str], str, Mapping[str, Any]], SeedChoice] | None
    ) = None
    objective: Callable[[float], tuple[str, str]] = lambda value: ("objective", f"{value:.2%}")
    has_objective: Callable[[Any], bool] = lambda config: False
    no_objective: str = "nothing is selected"
