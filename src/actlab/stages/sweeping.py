"""Jobs of Hydra's multirun: what is skipped, what fails, what is said at the end.

A job is one configuration trained over its seeds. It never raises: whatever becomes of it is an
`Outcome`, which Hydra's launchers carry back from their processes and which lies in the job's
folder too. A job whose fingerprint MLflow has finished is skipped; a lock a fingerprint keeps two
processes from training the same, such as a resumed sweep and what a kill left running.
"""

import json
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import OmegaConf

from actlab.config import Config
from actlab.errors import UserError
from actlab.outputs import written_whole
from actlab.stages.command import check, explain, remove_untouched

#: The file of a job's folder that says what became of it.
OUTCOME = "outcome.json"

#: What a sweep says that has nothing to select by.
NO_OBJECTIVE = (
    "no validation images are held out, and nothing is selected by the test split:"
    " data.validation_size=10000 holds out 10,000"
)


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    status
        done; diverged: done, and the loss of a seed stopped being a number; skipped: MLflow has
        it finished; failed.
    objective
        The mean validation accuracy over seeds after the last epoch; None where there is none.
    seconds
        What the job took.
    cause
        Of a failure, in one line; empty otherwise.
    """

    status: str
    objective: float | None
    seconds: float
    cause: str = ""


# --- A job --------------------------------------------------------------------------------


def run_job(train: Callable[[Config, str], Any], composed: Any, root: Path) -> Outcome:
    """Check a job's configuration and train it, unless MLflow has it; say what became of it."""
    started = time.monotonic()
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        config = check(composed, root)
        outcome = _train_once(train, config)
    except Exception as error:  # one job's failure leaves the others alone
        outcome = Outcome("failed", None, 0.0, _cause(error, folder))
        remove_untouched(root)
    outcome = replace(outcome, seconds=time.monotonic() - started)
    if folder.is_dir():
        with written_whole(folder / OUTCOME) as path:
            path.write_text(json.dumps(asdict(outcome)) + "\n", encoding="utf-8")
    return outcome


def _cause(error: Exception, folder: Path) -> str:
    """Say in one line why a job failed; a traceback goes to a file beside what the job wrote."""
    try:
        return explain(error)
    except Exception:  # no mistake of the user's
        written = folder / "traceback.txt"
        written.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        said = " ".join(str(error).split())[:200]
        return f"{type(error).__name__}: {said} (the traceback is in {written})"


def _train_once(train: Callable[[Config, str], Any], config: Config) -> Outcome:
    from filelock import FileLock

    from actlab import tracking
    from actlab.fingerprint import fingerprint

    job = f"job {HydraConfig.get().job.num + 1}"
    digest = fingerprint(config)
    locks = Path(HydraConfig.get().sweep.dir) / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / digest):  # ends with its process
        try:
            store = tracking.connect()
            found = None if config.force else store.find_finished(digest)
            if found:
                store.write(found.run, tags=tracking.sweep_tags(config.sweep))
                print(f"{job}: skipped, MLflow has it finished (force=true trains again)")
                return Outcome("skipped", found.objective, 0.0)
            store.close_unfinished(digest)
        except Exception as error:  # MLflow lets through what its server or its database raises
            raise UserError(tracking.said(error, "nothing is trained", advice=False)) from error
        if config.models_at_once is None:
            config = replace(config, models_at_once=_models_at_once())
        trained = train(config, job)
    if not trained.is_logged:
        raise UserError("trained, but MLflow lacks it: run this again when the store is well")
    return Outcome("diverged" if trained.diverged else "done", trained.objective, 0.0)


def _models_at_once() -> int:
    """Share this machine's cores out among the jobs that the launcher runs at once."""
    import os

    from actlab.training import available_cores

    cores, launcher = available_cores(), HydraConfig.get().launcher
    if launcher._target_.endswith(".JoblibLauncher"):
        from joblib import effective_n_jobs

        return max(1, cores // effective_n_jobs(launcher.n_jobs))
    if launcher._target_.endswith(".RayLauncher"):
        return int(OmegaConf.select(launcher, "ray.remote.num_cpus") or 1)
    if given := os.environ.get("SLURM_CPUS_PER_TASK"):
        return min(cores, int(given))
    return cores


# --- A sweep ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A job of a sweep: its overrides, its folder, and what became of it."""

    overrides: tuple[str, ...]
    folder: Path
    outcome: Outcome

    def command(self) -> str:
        """Give the command that runs this job alone."""
        return shlex.join(["python", "-m", "actlab.stages.train", "-m", *self.overrides])


class Jobs:
    """Launches jobs in batches, and tells at the end what became of them all."""

    def __init__(self, config: Any, context: HydraContext, launcher: Launcher) -> None:
        self._config, self._context, self._launcher = config, context, launcher
        self.done: list[Job] = []

    def open(self) -> None:
        """Open the store before any job does, which a new one needs; close what a kill left."""
        from actlab import tracking

        try:
            for name in tracking.connect().close_ended():
                print(f"{name}: FAILED, its process has ended", flush=True)
        except Exception as error:  # as in `_train_once`
            raise UserError(
                tracking.said(error, "the sweep has not begun", advice=False)
            ) from error

    def require_objective(self, batch: Iterable[Sequence[str]]) -> None:
        """Refuse to select by the test split."""
        for overrides in batch:
            if self._compose(overrides).data.validation_size == 0:
                raise UserError(NO_OBJECTIVE)

    def launch(self, batch: Sequence[Sequence[str]]) -> list[Job]:
        """Run a batch; what each job came to, in the order of the batch."""
        began = time.time()
        folders = [self._folder(overrides) for overrides in batch]
        try:
            returns = self._launcher.launch(batch, initial_job_idx=len(self.done))
        except Exception as error:
            # A launcher gives up all when one process dies: killed, or out of memory. What the
            # others had done lies in their folders; the rest runs again, each for itself.
            jobs = []
            for overrides, folder in zip(batch, folders, strict=True):
                outcome = _read_outcome(folder, began)
                if outcome is None and len(batch) > 1:
                    jobs += self.launch([overrides])
                    continue
                said = f"its process ended ({type(error).__name__}): see what it has printed"
                outcome = outcome or Outcome("failed", None, time.time() - began, said)
                jobs.append(Job(tuple(overrides), folder, outcome))
                self.done.append(jobs[-1])
            return jobs
        jobs = [
            Job(tuple(overrides), folder, _returned(each))
            for overrides, folder, each in zip(batch, folders, returns, strict=True)
        ]
        self.done += jobs
        return jobs

    def close(self) -> None:
        """Show the table of all jobs; raise when one has failed."""
        print(f"\n{_table(self.done)}\n\n{_summary(self.done)}", flush=True)
        if name := self._config.sweep:
            print(f"Compare them: python -m actlab.stages.compare sweep={name}", flush=True)
        failed = [job for job in self.done if job.outcome.status == "failed"]
        for job in failed:
            print(f"actlab: {job.outcome.cause}; again: {job.command()}", file=sys.stderr)
        if failed:
            raise UserError(
                f"{len(failed)} of {len(self.done)} jobs failed: the same command runs them again"
                " and skips what is finished"
            )

    def _compose(self, overrides: Sequence[str]) -> Any:
        return self._context.config_loader.load_sweep_config(self._config, list(overrides))

    def _folder(self, overrides: Sequence[str]) -> Path:
        sweep = self._compose(overrides).hydra.sweep
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


def _table(jobs: Sequence[Job]) -> str:
    from actlab import tables  # and pandas: Hydra's search for plugins imports this module

    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    rows = []
    for number, job in enumerate(jobs, start=1):
        told = " ".join(each for each in job.overrides if each not in shared)
        reached = job.outcome.objective
        accuracy = "" if reached is None else f"{reached:.2%}"
        rows.append((number, told, job.outcome.status, accuracy, f"{job.outcome.seconds:.1f}"))
    columns = ("job", "configuration", "outcome", "validation accuracy", "seconds")
    return tables.as_text(rows, columns)


def _summary(jobs: Sequence[Job]) -> str:
    statuses = [job.outcome.status for job in jobs]
    counted = [
        f"{statuses.count(status)} {status}"
        for status in ("done", "diverged", "skipped", "failed")
        if status in statuses
    ]
    best = best_of(jobs)
    said = f"{len(jobs)} jobs: {', '.join(counted)}." if counted else "No jobs."
    if best is not None:
        assert best.outcome.objective is not None
        told = f"Best by validation accuracy ({best.outcome.objective:.2%}):"
        return f"{said}\n{told} {best.command()}"
    if set(statuses) <= {"failed"}:
        return said
    return f"{said}\nNone is best: {NO_OBJECTIVE}."


def best_of(jobs: Iterable[Job]) -> Job | None:
    """Give the job with the greatest objective, the first of several; None where none has one."""
    reached = [job for job in jobs if job.outcome.objective is not None]
    return max(reached, key=lambda job: job.outcome.objective or 0.0, default=None)
