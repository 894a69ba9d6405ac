"""What the engine asks of a project: its configurations, its jobs, the store of their runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    status
        done; diverged: done, but a seed's loss is not finite; skipped: finished before; failed.
    objective
        What a sweep maximises; None where there is nothing to select by.
    seconds
        How long the job took.
    cause
        Of a failure, in one line; empty otherwise.
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
        The dataclass of a whole configuration, made by `validation.section`. It has the keys
        `sweep`, `force` and `models_at_once`.
    check
        Takes a valid configuration and the root of the repository; raises `UserError` for what
        the types cannot refuse.
    run_once
        Takes what a command runs, a valid configuration and the name of a job; runs it, unless it
        is finished.
    connect
        Opens the store of runs. It has `close_ended()`, which ends the runs of killed processes
        and gives their names, and MLflow's `client` and `experiment`.
    explain_store
        Gives one line for an error of the store and what was lost by it.
    has_objective
        Tells whether a configuration has something to select by.
    no_objective
        One line for one that has not.
    sections
        The keys of a configuration that decide results.
    train, compare
        The modules whose commands run a sweep, and compare its jobs.
    objective
        What it is called.
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
