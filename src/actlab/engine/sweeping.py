"""Jobs of Hydra's multirun: what fails, what runs again, what is reported at the end.

A job is one configuration. It never raises: whatever becomes of it is an `Outcome`, which Hydra's
launchers carry back from their processes and which lies in the job's folder too. What a job does,
and where its runs are recorded, is the project's (`project.Project`).
"""

import hashlib
import json
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import OmegaConf

from actlab.engine import csvs, interrupts
from actlab.engine.composing import compose, explain, remove_untouched
from actlab.engine.files import atomic_write
from actlab.engine.launches import Launch, record_launch
from actlab.engine.parallel import available_cores
from actlab.engine.project import Outcome, Project
from actlab.errors import UserError

#: The file of a job's folder that says what became of it.
OUTCOME = "outcome.json"

#: The keys that change no result.
CONTROL = ("sweep", "force", "models_at_once")


# --- A job --------------------------------------------------------------------------------


def run_job(stage: Callable[..., Any], composed: Any, project: Project, root: Path) -> Outcome:
    """Check a job's configuration and train it, unless MLflow has it; say what became of it.

    In a process of a launcher's it ends that process when it is interrupted.
    """
    in_launchers = not interrupts.is_listening()
    try:
        with interrupts.listening("", watch_parent=in_launchers):
            return _run_job(stage, composed, project, root)
    except interrupts.Interrupted as interrupted:
        if in_launchers:
            interrupts.leave(interrupted.number)
        raise


def _run_job(stage: Callable[..., Any], composed: Any, project: Project, root: Path) -> Outcome:
    started = time.monotonic()
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        config = compose(composed, project, root)
        outcome = project.run_once(stage, config, f"job {HydraConfig.get().job.num + 1}")
    except Exception as error:  # one job's failure leaves the others alone
        outcome = Outcome("failed", None, 0.0, _cause(error, folder, project))
        with suppress(OSError):  # the cause is what is told
            remove_untouched(root)
    outcome = replace(outcome, seconds=time.monotonic() - started)
    with suppress(OSError):
        if folder.is_dir():
            with atomic_write(folder / OUTCOME) as path:
                path.write_text(json.dumps(asdict(outcome)) + "\n", encoding="utf-8")
    return outcome


def _cause(error: Exception, folder: Path, project: Project) -> str:
    """Say in one line why a job failed; a traceback goes to a file beside what the job wrote."""
    try:
        return explain(error, project)
    except Exception:  # no mistake of the user's
        written, said = folder / "traceback.txt", format_error(error)
        with suppress(OSError):
            written.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
            said += f" (the traceback is in {written})"
        return said


def format_error(error: Exception) -> str:
    """Give the type and the first 200 characters of an error's message, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def count_cores() -> int:
    """Give the cores that are this job's own; `Jobs.launch` shares out those of joblib's jobs."""
    cores, launcher = available_cores(), HydraConfig.get().launcher
    if launcher._target_.endswith(".RayLauncher"):
        return int(OmegaConf.select(launcher, "ray.remote.num_cpus") or 1)
    if given := os.environ.get("SLURM_CPUS_PER_TASK"):
        return min(cores, int(given))
    return cores


def share_cores(launcher: Any, config: Any, jobs: int) -> list[str]:
    """Give the override that shares this machine's cores out among joblib's jobs; else none.

    `jobs` are those that are launched together: fewer jobs than cores have several each.
    """
    if not launcher._target_.endswith(".JoblibLauncher") or config.models_at_once is not None:
        return []
    from joblib import cpu_count, effective_n_jobs

    # What loky's tracker says when a sweep is interrupted is of no use to a user.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    at_once = min(effective_n_jobs(launcher.n_jobs), jobs)
    return [f"models_at_once={max(1, cpu_count() // at_once)}"]


# --- A sweep ------------------------------------------------------------------------------


def key_of(override: str) -> str:
    """Give the key of an override, with a + before it where the override adds it."""
    return override.partition("=")[0]


def swept_keys(grid: Sequence[Sequence[str]]) -> list[str]:
    """Give the keys that have several values in a grid, in their order.

    >>> swept_keys([["a=1", "b=1", "c=1"], ["a=1", "b=2", "c=2"]])
    ['b', 'c']
    """
    values: dict[str, set[str]] = {}
    for override in chain.from_iterable(grid):
        values.setdefault(key_of(override), set()).add(override)
    return [key for key, given in values.items() if len(given) > 1]


@dataclass(frozen=True)
class Job:
    """A job of a sweep: its overrides, its folder, and what became of it."""

    overrides: tuple[str, ...]
    folder: Path
    outcome: Outcome

    def command(self, module: str) -> str:
        """Give the command of a module that runs this job alone."""
        return shlex.join(["python", "-m", module, "-m", *self.overrides])


class Jobs:
    """Launches jobs in batches, and tells at the end what became of them all.

    `default` is the sweep's name where the configuration gives none.
    """

    def __init__(
        self,
        config: Any,
        context: HydraContext,
        launcher: Launcher,
        project: Project,
        default: str | None = None,
    ) -> None:
        self._config, self._context, self._launcher = config, context, launcher
        self._project = project
        self._sweep = config.sweep or default
        self._launch: Launch | None = None
        self.done: list[Job] = []

    def open(
        self,
        grid: Sequence[Sequence[str]],
        keys: Sequence[str],
        tuned_for: str | None = None,
    ) -> None:
        """Open the store before any job does, and record what is launched.

        A new store needs the first; what a kill left running is closed. `grid` describes all jobs
        by their overrides, `keys` and `tuned_for` are those of `launches.Launch`. A job alone is
        no launch: it bears the name that it is given.
        """
        try:
            store = self._project.connect()
            for name in store.close_ended():
                print(f"{name}: FAILED, its process has ended", flush=True)
            if self._sweep and keys:
                digest = self._digest(grid, keys, tuned_for)
                self._launch = record_launch(store, self._sweep, keys, tuned_for, digest)
        except Exception as error:  # the store lets through what its server or database raises
            line = self._project.explain_store(error, "the sweep has not begun")
            raise UserError(line) from error

    def _digest(self, grid: Sequence[Sequence[str]], *others: Any) -> str:
        """Digest what jobs are asked for: their overrides, and the values that these override."""
        decisive = OmegaConf.masked_copy(self._config, list(self._project.sections))
        values = OmegaConf.to_container(decisive)
        jobs = [[each for each in job if key_of(each) not in CONTROL] for job in grid]
        return hashlib.sha256(json.dumps([values, jobs, others]).encode()).hexdigest()

    def require_objective(self, batch: Iterable[Sequence[str]]) -> None:
        """Refuse to select by the test split."""
        for overrides in batch:
            if not self._project.has_objective(self.compose(overrides)):
                raise UserError(self._project.no_objective)

    def launch(
        self, batch: Sequence[Sequence[str]], roles: Sequence[str] | None = None
    ) -> list[Job]:
        """Run a batch; what each job came to, in the order of the batch.

        `roles` are those of its jobs in a fair sweep, one per job.

        A launcher gives up all when one process dies: killed, or out of memory. What the others had
        done lies in their folders; the rest runs again, together, then each for itself, until two
        in a row end in the same way.
        """
        if launch := self._launch:
            names = [launch.name(role) for role in roles or [""] * len(batch)]
            batch = [
                [*(each for each in overrides if key_of(each) != "sweep"), f"sweep={name}"]
                for overrides, name in zip(batch, names, strict=True)
            ]
        folders = [self._folder(overrides) for overrides in batch]
        known: dict[int, Outcome] = {}

        def attempt(numbers: Sequence[int]) -> str:
            shared = share_cores(self._config.hydra.launcher, self._config, len(numbers))
            jobs, began = [[*batch[number], *shared] for number in numbers], time.time()
            try:
                returns = self._launcher.launch(jobs, initial_job_idx=len(self.done) + numbers[0])
            except Exception as error:
                found = {number: _read_outcome(folders[number], began) for number in numbers}
                known.update({number: each for number, each in found.items() if each})
                return format_error(error)
            known.update(zip(numbers, map(_returned, returns), strict=True))
            return ""

        said, alone = attempt(range(len(batch))), 0
        if 0 < len(known) < len(batch):
            said = attempt([number for number in range(len(batch)) if number not in known])
        for number in range(len(batch)):
            if number not in known and len(batch) > 1 and alone < 2:
                said = attempt([number]) or said
                alone = 0 if number in known else alone + 1
            ended = f"its process ended, says the launcher: {said}"
            known.setdefault(number, Outcome("failed", None, 0.0, ended))
        jobs = [
            Job(tuple(overrides), folder, known[number])
            for number, (overrides, folder) in enumerate(zip(batch, folders, strict=True))
        ]
        self.done += jobs
        return jobs

    def close(self, told: str | None = None) -> None:
        """Show the table of all jobs; raise when one has failed.

        `told` is the command that runs a failed job again, where that is no command of its own.
        """
        project = self._project
        with suppress(Exception):  # the next sweep does it
            project.connect().close_ended()
        best = "" if told else f"\n{_best(self.done, project)}"
        table = _table(self.done, project.objective)
        print(f"\n{table}\n\n{_counts(self.done)}{best}", flush=True)
        if self._sweep:
            print(f"Compare them: python -m {project.compare} sweep={self._sweep}", flush=True)
        failed = [job for job in self.done if job.outcome.status == "failed"]
        for job in failed:
            again = told or job.command(project.train)
            print(f"actlab: {job.outcome.cause}; again: {again}", file=sys.stderr)
        if failed:
            raise UserError(
                f"{len(failed)} of {len(self.done)} jobs failed: the same command runs them again"
                " and skips what is finished"
            )

    def compose(self, overrides: Sequence[str]) -> Any:
        """Give the configuration of a job, as Hydra composes it."""
        return self._context.config_loader.load_sweep_config(self._config, list(overrides))

    def _folder(self, overrides: Sequence[str]) -> Path:
        sweep = self.compose(overrides).hydra.sweep
        return Path(sweep.dir) / sweep.subdir


def _returned(job_return: Any) -> Outcome:
    try:
        return job_return.return_value
    except Exception as error:  # of Hydra itself, before the job began
        return Outcome("failed", None, 0.0, " ".join(str(error).split())[:300])


def _read_outcome(folder: Path, since: float) -> Outcome | None:
    path = folder / OUTCOME
    if not path.is_file() or path.stat().st_mtime < since:
        return None
    return Outcome(**json.loads(path.read_text(encoding="utf-8")))


def _table(jobs: Sequence[Job], objective: str) -> str:
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    rows = []
    for number, job in enumerate(jobs, start=1):
        told = " ".join(each for each in job.overrides if each not in shared)
        reached = job.outcome.objective
        accuracy = "" if reached is None else f"{reached:.2%}"
        rows.append((number, told, job.outcome.status, accuracy, f"{job.outcome.seconds:.1f}"))
    columns = ("job", "configuration", "outcome", objective, "seconds")
    return csvs.as_text(rows, columns)


def _counts(jobs: Sequence[Job]) -> str:
    statuses = [job.outcome.status for job in jobs]
    counted = [
        f"{statuses.count(status)} {status}"
        for status in ("done", "diverged", "skipped", "failed")
        if status in statuses
    ]
    return f"{len(jobs)} jobs: {', '.join(counted)}." if counted else "No jobs."


def _best(jobs: Sequence[Job], project: Project) -> str:
    best = best_of(jobs)
    if best is not None:
        assert best.outcome.objective is not None
        told = f"Best by {project.objective} ({best.outcome.objective:.2%}):"
        return f"{told} {best.command(project.train)}"
    if all(job.outcome.status == "failed" for job in jobs):
        return "None is best."
    return f"None is best: {project.no_objective}."


def best_of(jobs: Iterable[Job]) -> Job | None:
    """Give the job with the greatest objective, the first of several; None where none has one."""
    reached = [job for job in jobs if job.outcome.objective is not None]
    return max(reached, key=lambda job: job.outcome.objective or 0.0, default=None)
