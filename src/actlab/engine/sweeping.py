"""The jobs of a sweep: run, recover, repeat, report.

A job is one configuration. It never raises: its `Outcome` is returned through Hydra's launchers,
and is also saved in the job's folder. What a job does, and where its runs are recorded, is defined
by the `Project`.
"""

import hashlib
import json
import math
import os
import shlex
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import OmegaConf, open_dict

from actlab.engine import csvs, interrupts
from actlab.engine.composing import (
    compose,
    contract,
    explain,
    get_key,
    is_decisive,
    list_neutral,
    select_decisive,
)
from actlab.engine.files import atomic_write
from actlab.engine.launches import Launch, record_launch
from actlab.engine.parallel import available_cores
from actlab.engine.project import Outcome, Project
from actlab.errors import UserError

#: The file in a job's folder that holds its outcome.
OUTCOME = "outcome.json"

#: The longest name of a sweep, to which that of a job adds `.launch1.selection`.
LONGEST_NAME = 80


# --- A job --------------------------------------------------------------------------------


def run_job(stage: Callable[..., Any], composed: Any, project: Project, root: Path) -> Outcome:
    """Validate a job's configuration and run it, unless it is finished; return its outcome.

    An interrupt ends the process if it is a launcher's worker.
    """
    is_worker = not interrupts.is_listening()
    try:
        with interrupts.listening("", watch_parent=is_worker):
            return _run_job(stage, composed, project, root)
    except interrupts.Interrupted as interrupted:
        if is_worker:
            interrupts.leave(interrupted.number)
        raise


def _run_job(stage: Callable[..., Any], composed: Any, project: Project, root: Path) -> Outcome:
    started = time.monotonic()
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        config = compose(composed, project, root)
        name = f"job {HydraConfig.get().job.num + 1}"
        outcome = project.run_once(interrupts.reraising()(stage), config, name)
    except Exception as error:  # one job's failure does not stop the others
        outcome = Outcome("failed", None, 0.0, _explain_failure(error, folder, project))
    outcome = replace(outcome, seconds=time.monotonic() - started)
    with suppress(OSError):
        if folder.is_dir():
            with atomic_write(folder / OUTCOME) as path:
                path.write_text(json.dumps(asdict(outcome)) + "\n", encoding="utf-8")
    return outcome


def _explain_failure(error: Exception, folder: Path, project: Project) -> str:
    """Describe a failure in one line; save the traceback if it is not the user's mistake."""
    try:
        return explain(error, project)
    except Exception:
        path = folder / "traceback.txt"
        with suppress(OSError):
            path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
            return f"{format_error(error)} (the traceback is in {path})"
        return format_error(error)


def format_error(error: Exception) -> str:
    """Return the type and the first 200 characters of an error's message, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def count_cores() -> int:
    """Count the cores that belong to this job; `share_cores` divides them for joblib."""
    cores, launcher = available_cores(), HydraConfig.get().launcher
    if launcher._target_.endswith(".RayLauncher"):
        return int(OmegaConf.select(launcher, "ray.remote.num_cpus") or 1)
    return min(cores, int(os.environ.get("SLURM_CPUS_PER_TASK") or cores))


def share_cores(launcher: Any, config: Any, jobs: int) -> list[str]:
    """Return the override that divides this machine's cores among joblib's `jobs`, or none."""
    if not launcher._target_.endswith(".JoblibLauncher") or config.models_at_once is not None:
        return []
    from joblib import cpu_count, effective_n_jobs

    # An interrupted sweep would print warnings of loky's resource tracker.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    at_once = min(effective_n_jobs(launcher.n_jobs), jobs)
    return [f"models_at_once={max(1, min(available_cores(), cpu_count()) // at_once)}"]


# --- A sweep ------------------------------------------------------------------------------


def list_swept_keys(grid: Sequence[Sequence[str]]) -> list[str]:
    """List the keys that have several values in a grid, in their order.

    >>> list_swept_keys([["a=1", "b=1", "c=1"], ["a=1", "b=2", "c=2"]])
    ['b', 'c']
    """
    counts = Counter(map(get_key, dict.fromkeys(chain.from_iterable(grid))))
    return [key for key, count in counts.items() if count > 1]


@dataclass(frozen=True)
class Job:
    """A job of a sweep: its overrides and outcome."""

    overrides: tuple[str, ...]
    outcome: Outcome

    def command(self, project: Project) -> str:
        """Return the command that runs this job alone."""
        typed = contract(self.overrides, project, Path.cwd())
        return shlex.join(["python", "-m", project.train, "-m", *typed])


class Jobs:
    """The jobs of a sweep: launched in batches, reported at the end."""

    def __init__(
        self, config: Any, context: HydraContext, launcher: Launcher, project: Project
    ) -> None:
        self._config, self._context, self._launcher = config, context, launcher
        self._project = project
        self._neutral = list_neutral(config.hydra)
        self._launch: Launch | None = None
        self._launched = 0  # jobs, those that were launched again included
        self.name: str | None = config.sweep
        self.done: list[Job] = []

    def open(
        self, grid: Sequence[Sequence[str]], keys: Sequence[str], tuned_for: str | None = None
    ) -> None:
        """Open the store, close runs that a kill left open, and record the launch.

        `grid` describes all jobs by their overrides; for `keys` and `tuned_for` see
        `launches.Launch`. A single job is not a launch.
        """
        keys, tuned_for = [key.lstrip("+") for key in keys], tuned_for and tuned_for.lstrip("+")
        try:
            store = self._project.connect()
            for name in store.close_ended():
                print(f"{name}: FAILED, its process has ended", flush=True)
            if self.name and keys:
                digest = self._digest(grid, keys, tuned_for)
                self._launch = record_launch(store, self.name, keys, tuned_for, digest)
        except Exception as error:  # whatever MLflow's server or database raises
            line = self._project.explain_store(error, "the sweep has not begun")
            raise UserError(line) from error
        folder = Path(self._config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._config, folder / "multirun.yaml")  # as Hydra's own sweeper does

    def _digest(self, grid: Sequence[Sequence[str]], *others: Any) -> str:
        """Compute a digest of the jobs' overrides and of the values that these override."""
        values = select_decisive(self._config, self._neutral)
        jobs = sorted(
            [override for override in job if is_decisive(get_key(override), self._neutral)]
            for job in grid
        )
        return hashlib.sha256(json.dumps([values, jobs, others]).encode()).hexdigest()

    def check(self, grid: Sequence[Sequence[str]]) -> list[Any]:
        """Compose and validate jobs before any of them runs; return their configurations."""
        if self.name and len(self.name) > LONGEST_NAME:
            raise UserError(
                f"sweep is {self.name!r}: a sweep's name has at most {LONGEST_NAME} characters,"
                " since its jobs add .launch1 and a role to it"
            )
        if len(grid) > 100:  # a minute or more for a thousand
            print(f"validating {len(grid)} jobs", flush=True)
        configs, folders = [], {}
        for number, overrides in enumerate(grid):
            try:
                composed = self._compose(overrides, number)
                keys = [key for key in composed if key != "hydra"]
                config = OmegaConf.masked_copy(composed, keys)
                configs.append(compose(config, self._project, Path.cwd()))
                folder = _find_folder(composed)
                values = select_decisive(composed, self._neutral)
                if folders.setdefault(folder, values) != values:
                    raise UserError(
                        f"hydra.sweep.subdir gives two jobs one folder, {folder}: leave it out, or"
                        " use ${hydra.job.num} in it"
                    )
            except Exception as error:
                line = explain(error, self._project)
                typed = contract(overrides, self._project, Path.cwd())
                job = f" (job {number + 1} of {len(grid)}: {' '.join(typed)[:200]})"
                raise UserError(line + job * (len(grid) > 1)) from error
        return configs

    def require_objective(self, configs: Iterable[Any]) -> None:
        """Refuse to select by the test split."""
        if not all(map(self._project.has_objective, configs)):
            raise UserError(self._project.no_objective)

    def launch(
        self, batch: Sequence[Sequence[str]], roles: Sequence[str] | None = None
    ) -> list[Job]:
        """Run a batch, whose jobs may have roles in a fair sweep; return its jobs, in order.

        If a worker is killed, its launcher gives up the whole batch. Outcomes of finished jobs are
        then read from their folders; the rest run again, first together, then one by one, until two
        in a row fail in this way.
        """
        if launch := self._launch:
            names = [launch.name(role) for role in roles or [""] * len(batch)]
            batch = [
                [*(part for part in overrides if get_key(part) != "sweep"), f"sweep={name}"]
                for overrides, name in zip(batch, names, strict=True)
            ]
        outcomes: dict[int, Outcome] = {}

        def attempt(numbers: Sequence[int]) -> str:
            shared = share_cores(self._config.hydra.launcher, self._config, len(numbers))
            jobs, began = [[*batch[number], *shared] for number in numbers], time.time()
            first, self._launched = self._launched, self._launched + len(jobs)
            try:
                returns = self._launcher.launch(jobs, initial_job_idx=first)
            except Exception as error:
                for place, number in enumerate(numbers):
                    folder = _find_folder(self._compose(jobs[place], first + place))
                    if outcome := _read_outcome(folder, began):
                        outcomes[number] = outcome
                return format_error(error)
            outcomes.update(zip(numbers, map(_get_outcome, returns), strict=True))
            return ""

        reason, failures = attempt(range(len(batch))), 0
        if 0 < len(outcomes) < len(batch):
            reason = attempt([number for number in range(len(batch)) if number not in outcomes])
        for number in range(len(batch)):
            if number not in outcomes and len(batch) > 1 and failures < 2:
                reason = attempt([number]) or reason
                failures = 0 if number in outcomes else failures + 1
            cause = f"its process ended, says the launcher: {reason}"
            outcomes.setdefault(number, Outcome("failed", None, 0.0, cause))
        jobs = [Job(tuple(overrides), outcomes[number]) for number, overrides in enumerate(batch)]
        self.done += jobs
        return jobs

    def find_folder(self, job: Job) -> Path:
        """Find the folder of a job of this sweep."""
        return _find_folder(self._compose(job.overrides, 0))

    def close(self, command: str | None = None) -> None:
        """Print the table of all jobs; raise an error if one has failed.

        `command` repeats a failed job, if it has no command of its own.
        """
        project = self._project
        with suppress(Exception):  # the next sweep does it
            project.connect().close_ended()
        counts = Counter(job.outcome.status for job in self.done)
        counted = ", ".join(
            f"{counts[status]} {status}"
            for status in ("done", "diverged", "skipped", "failed")
            if counts[status]
        )
        print(f"\n{_format_table(self.done, project.objective)}\n")
        print(f"{len(self.done)} jobs: {counted}.", flush=True)
        if not command and counts["failed"] < len(self.done):
            print(_format_best(self.done, project), flush=True)
        if not counts["failed"]:
            if self.name:
                print(f"Compare them: python -m {project.compare} sweep={self.name}", flush=True)
            return
        causes = defaultdict(list)
        for number, job in enumerate(self.done, start=1):
            if job.outcome.status == "failed":
                causes[job.outcome.cause].append(number)
        for cause, numbers in causes.items():  # each is reported once
            again = command or self.done[numbers[0] - 1].command(project)
            jobs = f" (jobs {', '.join(map(str, numbers))})" * (len(numbers) > 1)
            print(f"actlab: {cause}{jobs}; again: {again}", file=sys.stderr)
        raise UserError(
            f"{counts['failed']} of {len(self.done)} jobs failed: the same command runs them again"
            " and skips what is finished"
        )

    def _compose(self, overrides: Sequence[str], number: int) -> Any:
        """Compose a job as its launcher does."""
        composed = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(composed):
            composed.hydra.job.num, composed.hydra.job.id = number, str(number)
        HydraConfig.instance().set_config(composed)  # its resolvers read it
        return composed


def _find_folder(composed: Any) -> Path:
    return Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir)


def _get_outcome(job_return: Any) -> Outcome:
    try:
        return job_return.return_value
    except Exception as error:  # Hydra's own, before the job began
        return Outcome("failed", None, 0.0, " ".join(str(error).split())[:300])


def _read_outcome(folder: Path, since: float) -> Outcome | None:
    path = folder / OUTCOME
    if not path.is_file() or path.stat().st_mtime < since:
        return None
    return Outcome(**json.loads(path.read_text(encoding="utf-8")))


def _format_table(jobs: Sequence[Job], objective: Callable[[float], tuple[str, str]]) -> str:
    title = ""
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    rows = []
    for number, job in enumerate(jobs, start=1):
        varied = " ".join(part.lstrip("+") for part in job.overrides if part not in shared)
        reached, seconds = job.outcome.objective, f"{job.outcome.seconds:.1f}"
        value = ""
        if reached is not None:
            title, value = objective(reached) if math.isfinite(reached) else (title, "n/a")
        is_lost = job.outcome.status == "diverged" and job.outcome.cause
        status = f"diverged: {job.outcome.cause}" if is_lost else job.outcome.status
        rows.append((number, varied, status, value, seconds))
    return csvs.as_text(rows, ("job", "configuration", "outcome", title or "objective", "seconds"))


def _format_best(jobs: Sequence[Job], project: Project) -> str:
    best = find_best(jobs)
    if best is not None:
        name, value = project.objective(best.outcome.objective or 0.0)
        return f"Best by {name} ({value}): {best.command(project)}"
    return f"None is best: {project.no_objective}."


def find_best(jobs: Iterable[Job]) -> Job | None:
    """Return the job with the greatest objective, the first of several; None if none has one."""
    measured = [
        job
        for job in jobs
        if job.outcome.objective is not None and math.isfinite(job.outcome.objective)
    ]
    return max(measured, key=lambda job: job.outcome.objective or 0.0, default=None)
