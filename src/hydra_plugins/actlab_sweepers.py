"""How a sweep chooses its jobs; Hydra finds sweepers in this package alone.

`conf/hydra/sweeper/` names them. What a job is, and how a sweep ends, is `actlab.engine.sweeping`.
"""

import math
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from actlab.engine.project import Project
from actlab.engine.sweeping import CONTROL, Jobs, best_of, key_of, swept_keys
from actlab.errors import UserError


class GridSweeper(BasicSweeper):
    """Hydra's own grid, with a table and an exit status at its end."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take in what Hydra gives; the task is one of `engine.command.run`."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.project: Project = vars(task_function)["project"]

    def sweep(self, arguments: list[str]) -> None:
        """Run every combination."""
        batches = self.grid(arguments)
        grid = [overrides for batch in batches for overrides in batch]
        jobs = self.jobs()
        jobs.open(grid, swept_keys(grid))
        for batch in batches:
            jobs.launch(batch)
        jobs.close()

    def grid(self, arguments: list[str]) -> list[list[list[str]]]:
        """Give the batches of every combination, each a list of overrides."""
        assert self.hydra_context is not None
        assert self.config is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        for each in overrides:
            if each.is_sweep_override() and not [*each.sweep_string_iterator()]:
                raise UserError(f"{each.input_line} gives no value: there is nothing to run")
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        return self.split_arguments(overrides, self.max_batch_size)

    def jobs(self, default: str | None = None) -> Jobs:
        """Give what launches jobs and tells of them; see `Jobs`."""
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        return Jobs(self.config, self.hydra_context, self.launcher, self.project, default)


class FairSweeper(GridSweeper):
    """Each value of one key at its best setting, then all on seeds that the choice has not seen.

    The grid of all other keys is run for each value of `of`, and the setting with the best
    validation accuracy chosen. Then each value is trained with its own setting, and with that of
    params.yaml, on `fresh_seeds`. The three roles of a job are selection, tuned and baseline. The
    choice knows nothing of the test images.
    """

    def __init__(self, of: str, fresh_seeds: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._of, self._fresh_seeds = of, list(fresh_seeds)

    def sweep(self, arguments: list[str]) -> None:
        """Run the grid, choose, and train on the fresh seeds."""
        grid = [overrides for batch in self.grid(arguments) for overrides in batch]
        values = [_split(overrides) for overrides in grid]
        if not all(self._of in each for each in values):
            raise UserError(
                f"{self._of} is not swept: each of its values gets a setting of its own"
            )
        swept = [key for key in swept_keys(grid) if key not in (self._of, "sweep")]
        jobs = self.jobs("fair")
        jobs.require_objective(grid)
        for overrides in grid:
            seeds = list(jobs.compose(overrides).seeds)
            if set(seeds) & set(self._fresh_seeds):
                raise UserError(
                    f"hydra.sweeper.fresh_seeds {self._fresh_seeds} and seeds {seeds} share some:"
                    " a choice is tested on seeds that it has not seen"
                )
        fresh = f"seeds=[{','.join(map(str, self._fresh_seeds))}]"
        jobs.open([*grid, [fresh]], [self._of, *swept], self._of)
        selection = jobs.launch(grid, ["selection"] * len(grid))
        # A job of it alone would be another sweep of this kind.
        again = shlex.join(["python", "-m", self.project.train, *sys.argv[1:]])
        if any(job.outcome.status == "failed" for job in selection):
            jobs.close(again)  # raises: each is to choose from the same grid
        final = []
        for value in dict.fromkeys(each[self._of] for each in values):
            best = best_of(job for job in selection if _split(job.overrides)[self._of] == value)
            assert best is not None
            chosen = {key: each for key, each in _split(best.overrides).items() if key != "seeds"}
            print(f"{self._of}={value}: {_told(chosen, swept)}", flush=True)
            base = {key: each for key, each in chosen.items() if key not in swept}
            for setting in (chosen, base):
                final.append([*(f"{key}={each}" for key, each in setting.items()), fresh])
        jobs.launch(final, ["tuned", "baseline"] * (len(final) // 2))
        jobs.close(again)


def _split(overrides: Iterable[str]) -> dict[str, str]:
    return dict(each.split("=", 1) for each in overrides)


def _told(setting: Mapping[str, str], keys: Iterable[str]) -> str:
    return ", ".join(f"{key}={setting[key]}" for key in sorted(keys))


class OptunaSweeper(Sweeper):
    """Optuna chooses the configurations, by the mean validation accuracy over seeds.

    Hydra's own plugin for Optuna (1.3.0) takes Optuna below 3, whose storage does not work with
    the SQLAlchemy that MLflow needs, so that a study would not survive its process.

    A study is resumed by its name: what was running when it was killed is asked for again first.
    """

    def __init__(
        self,
        study: str | None,
        storage: str,
        n_trials: int,
        n_jobs: int,
        seed: int,
        params: Mapping[str, Any] | None,
    ) -> None:
        self._study, self._storage, self._seed = study, storage, seed
        self._trials, self._at_once = n_trials, n_jobs
        self._params = dict(params or {})

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take in what Hydra gives."""
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        project: Project = vars(task_function)["project"]
        self._context, self._jobs = hydra_context, Jobs(config, hydra_context, launcher, project)
        self._study = self._study or config.sweep or "tuning"

    def sweep(self, arguments: list[str]) -> None:
        """Ask for trials and run them, until the study has as many as it is to have."""
        try:
            import optuna
        except ImportError as error:
            raise UserError("optuna is missing: pip install 'actlab[optuna]'") from error

        for key, value in (("n_trials", self._trials), ("n_jobs", self._at_once)):
            if value < 1:
                raise UserError(f"hydra.sweeper.{key} is {value}: it has to be 1 or more")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        parser = OverridesParser.create(config_loader=self._context.config_loader)
        given = [f"{key}={value}" for key, value in self._params.items()]
        overrides = {
            each.get_key_element(): each for each in parser.parse_overrides([*given, *arguments])
        }
        fixed = [
            f"{key}={each.get_value_element_as_str()}"
            for key, each in overrides.items()
            if not each.is_sweep_override()
        ]
        space = {
            key: self._distribution(each)
            for key, each in overrides.items()
            if each.is_sweep_override()
        }
        if not space:
            raise UserError("nothing is tuned: give a key several values, or an interval(low,high)")
        self._jobs.require_objective([fixed])
        drawn_from = [f"{key}={each!r}" for key, each in space.items()]
        self._jobs.open([[*fixed, *drawn_from]], list(space))
        with ExitStack() as held:
            if self._storage.startswith("sqlite:///"):
                file = Path(self._storage.removeprefix("sqlite:///"))
                file.parent.mkdir(parents=True, exist_ok=True)
                try:
                    held.enter_context(FileLock(f"{file}.lock", timeout=0))
                except Timeout as error:
                    raise UserError(
                        f"another process tunes with {self._storage}: wait for it, or give this one"
                        " a storage of its own, hydra.sweeper.storage=sqlite:///..."
                    ) from error
            self._tune(fixed, space)

    def _distribution(self, override: Override) -> Any:
        try:
            return distribution_of(override)
        except (ValueError, IndexError) as error:
            raise UserError(f"{override.input_line} is no space to choose from: {error}") from error

    def _tune(self, fixed: list[str], space: dict[str, Any]) -> None:
        import optuna

        study = optuna.create_study(
            storage=self._storage,
            study_name=self._study,
            direction="maximize",
            load_if_exists=True,
        )
        # A seed alone would draw again what a resumed study has drawn already.
        drawn = len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(seed=self._seed + drawn)
        decides = [each for each in fixed if key_of(each) not in CONTROL]
        held = {key: repr(each) for key, each in space.items()} | {"fixed": sorted(decides)}
        if study.user_attrs.get("space", held) != held:
            raise UserError(
                f"the study {self._study!r} in {self._storage} has another space or other fixed"
                " values: give this one a name, hydra.sweeper.study=..."
            )
        study.set_user_attr("space", held)
        states = optuna.trial.TrialState
        asked_again = list(study.user_attrs.get("asked_again", []))
        for trial in study.get_trials(states=[states.RUNNING, states.FAIL]):
            if trial.number not in asked_again:  # cut short by a kill, or failed
                study.enqueue_trial(trial.params)
                asked_again.append(trial.number)
                study.set_user_attr("asked_again", asked_again)
            if trial.state == states.RUNNING:
                study.tell(trial.number, state=states.FAIL)
        over = len(study.get_trials(states=[states.COMPLETE]))
        while over < self._trials:
            trials = [study.ask(space) for _ in range(min(self._at_once, self._trials - over))]
            batch = [
                [*fixed, *(f"{key}={value}" for key, value in trial.params.items())]
                for trial in trials
            ]
            self._jobs.require_objective(batch)
            for trial, job in zip(trials, self._jobs.launch(batch), strict=True):
                reached = job.outcome.objective
                if reached is None or not math.isfinite(reached):
                    study.tell(trial, state=states.FAIL)
                else:
                    study.tell(trial, reached)
            over += len(trials)
        if not self._jobs.done:
            best = study.best_trial
            print(f"The study {self._study!r} has its {over} trials already.")
            print(f"Best by validation accuracy ({best.value:.2%}): {best.params}", flush=True)
            return
        self._jobs.close()


def distribution_of(override: Override) -> Any:
    """Give Optuna's distribution of what an override sweeps.

    `a=1,2` and `choice(1,2)` are one of these; `range(1,9,2)` whole numbers or, with a fraction in
    it, numbers that far apart; `interval(low,high)` any number between, `int(interval(low,high))`
    any whole one; `tag(log,interval(...))` takes its logarithm.
    """
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    value = override.value()
    log = "log" in getattr(value, "tags", ())
    if isinstance(value, ChoiceSweep):
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    if isinstance(value, RangeSweep):
        assert value.start is not None
        assert value.stop is not None
        if all(isinstance(each, int) for each in (value.start, value.stop, value.step)):
            # Hydra leaves out the end.
            last = range(int(value.start), int(value.stop), int(value.step))[-1]
            return IntDistribution(int(value.start), last, step=int(value.step))
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    assert isinstance(value, IntervalSweep)
    low, high = value.start, value.end
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    assert low is not None
    assert high is not None
    return FloatDistribution(float(low), float(high), log=log)
