"""What the engine needs to know about a project: its configurations, jobs and store of runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        Of a failure, in one line.
    """

    status: str
    objective: float | None
    seconds: float
    cause: str = ""


@dataclass(frozen=True)
class Project:
    """A project whose commands the engine runs.

    Attributes
    ----------
    schema
        The dataclass of a whole configuration, made by `validation.section`, with the keys `sweep`,
        `force` and `models_at_once`.
    check
        Validates a configuration, given the root of the repository, beyond its types.
    run_once
        Runs a stage with a configuration and the name of a job, unless it is finished.
    connect
        Opens the store of runs, which has MLflow's `client` and `experiment`, and `close_ended()`:
        it ends the runs of killed processes and returns their names.
    explain_store
        Describes an error of the store, and its consequence, in one line.
    has_objective, no_objective
        Whether a configuration has something to select by; one line for one that has not.
    sections
        The keys of a configuration that determine results.
    train, compare
        The modules that run a sweep and compare its jobs.
    objective
        Its name.
    """

    schema: type
    check: Callable[[Any, Path], None]
    run_once: Callable[[Callable[..., Any], Any, str], Outcome]
    connect: Callable[[], Any]
    explain_store: Callable[[BaseException, str], str]
    has_objective: Callable[[Any], bool]
    no_objective: str
    sections: Sequence[str]
    train: str
    compare: str
    objective: str
