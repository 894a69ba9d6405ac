"""How a sweep chooses its jobs: every combination, one best setting per value, Optuna, or seeds.

`conf/hydra/sweeper/` names these classes; `sweeping` runs the jobs.
"""

import math
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext
from omegaconf import OmegaConf

from actlab.engine.composing import contract, expand, get_key, is_decisive, list_neutral
from actlab.engine.project import Project
from actlab.engine.sweeping import Jobs, find_best, list_swept_keys
from actlab.errors import UserError


class GridSweeper(Sweeper):
    """Every combination, in the order of Hydra's own sweeper."""

    def __init__(self, max_batch_size: int | None, params: Any) -> None:
        # Hydra loads this module again when it looks for plugins, which makes another class.
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        self._basic: Any = BasicSweeper(max_batch_size, params)

    def setup(self, *, hydra_context: HydraContext, task_function: Any, config: Any) -> None:
        """Prepare the sweep of a task that `command.run` made."""
        self.project = _get_project(task_function)
        self._basic.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.jobs = Jobs(config, hydra_context, self._basic.launcher, self.project)

    def sweep(self, arguments: list[str]) -> None:
        """Run every combination."""
        batches = self.list_batches(arguments)
        grid = [overrides for batch in batches for overrides in batch]
        self.jobs.check(grid)
        self.jobs.open(grid, list_swept_keys(grid))
        for batch in batches:
            self.jobs.launch(batch)
        self.jobs.close()

    def list_batches(self, arguments: list[str]) -> list[list[list[str]]]:
        """List the jobs of every combination as overrides, in batches for the launcher."""
        basic, size = self._basic, self._basic.max_batch_size
        if size is not None and size < 1:
            raise UserError(f"hydra.sweeper.max_batch_size is {size}: it has to be 1 or more")
        overrides = parse(basic.params, arguments, basic.hydra_context, self.project)
        for override in overrides:
            if override.is_interval_sweep():
                raise UserError(
                    f"{override.input_line}: only hydra/sweeper=optuna chooses from an interval;"
                    " give values, as in 1,2,3 or range(1,4)"
                )
            if override.is_sweep_override() and not [*override.sweep_string_iterator()]:
                raise UserError(f"{override.input_line} gives no value: there is nothing to run")
        return basic.split_arguments(overrides, size)


class FairSweeper(GridSweeper):
    """The best setting for each value of one key, then a comparison on fresh seeds.

    For each value of the key `tuned_for`, the grid of all other keys is run (jobs of the role
    selection), and the setting with the best validation accuracy chosen. Then each value is trained
    on `fresh_seeds` with its own setting (tuned) and with that of params.yaml (baseline).
    """

    def __init__(self, tuned_for: str, fresh_seeds: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._tuned_for, self._fresh_seeds = tuned_for, list(fresh_seeds)

    def sweep(self, arguments: list[str]) -> None:
        """Run the grid, choose the settings, and train on the fresh seeds."""
        jobs = self.jobs
        key = get_key(expand(f"{self._tuned_for}=", self.project, Path.cwd()))
        grid = [overrides for batch in self.list_batches(arguments) for overrides in batch]
        values = [_split(overrides).get(key) for overrides in grid]
        if None in values:
            raise UserError(
                f"{self._tuned_for} is not swept: each of its values gets a setting of its own"
            )
        swept = [name for name in list_swept_keys(grid) if name not in (key, "sweep")]
        jobs.name = jobs.name or "fair"
        configs = jobs.check(grid)
        jobs.require_objective(configs)
        for config in configs:
            if set(config.seeds) & set(self._fresh_seeds):
                raise UserError(
                    f"hydra.sweeper.fresh_seeds {self._fresh_seeds} and seeds {config.seeds} share"
                    " some: a choice is tested on seeds that it has not seen"
                )
        fresh = f"seeds=[{','.join(map(str, self._fresh_seeds))}]"

        def choose_fresh(overrides: Sequence[str], left_out: Sequence[str]) -> list[str]:
            kept = [part for part in overrides if get_key(part) not in ("seeds", *left_out)]
            return [*kept, fresh]

        baselines = dict(zip(values, grid, strict=True)).values()
        jobs.check([choose_fresh(overrides, swept) for overrides in baselines])
        jobs.open([*grid, [fresh]], [key, *swept], key)
        selection = jobs.launch(grid, ["selection"] * len(grid))
        # A failed job's own command would be another fair sweep.
        typed = contract(sys.argv[1:], self.project, Path.cwd())
        command = shlex.join(["python", "-m", self.project.train, *typed])
        if any(job.outcome.status == "failed" for job in selection):
            jobs.close(command)  # raises: every value has to choose from the same grid
        final = []
        for value in dict.fromkeys(values):
            best = find_best(job for job in selection if _split(job.overrides)[key] == value)
            assert best is not None
            chosen = [part.lstrip("+") for part in sorted(best.overrides) if get_key(part) in swept]
            print(f"{key.lstrip('+')}={value}: {', '.join(chosen)}", flush=True)
            final += [choose_fresh(best.overrides, []), choose_fresh(best.overrides, swept)]
        jobs.launch(final, ["tuned", "baseline"] * (len(final) // 2))
        jobs.close(command)


class SettleSweeper(GridSweeper):
    """Every combination, with more and more seeds until the verdicts on them are decided.

    The project says which configurations get which seeds (`project.SeedChoice`). What is finished
    is kept: the same command goes on with the next look.
    """

    def __init__(self, max_batch_size: int | None, params: Any, **options: Any) -> None:
        super().__init__(max_batch_size, params)
        self._options = options

    def sweep(self, arguments: list[str]) -> None:
        """Declare the rules, then train and look until the project plans nothing more."""
        jobs, project = self.jobs, self.project
        if project.choose_seeds is None:
            raise UserError("this project has no rules by which seeds are added")
        grid = [overrides for batch in self.list_batches(arguments) for overrides in batch]
        if any(get_key(part) == "seeds" for overrides in grid for part in overrides):
            raise UserError(
                "hydra/sweeper=settle chooses the seeds: leave out seeds=..., and give"
                " hydra.sweeper.first_seed and hydra.sweeper.most_seeds"
            )
        jobs.name = jobs.name or "settled"
        configs, swept = jobs.check(grid), list_swept_keys(grid)
        chosen = project.choose_seeds(configs, swept, jobs.name, self._options)
        if not chosen.declare():
            return
        declared = f"declaration={chosen.tag}"
        jobs.open([*grid, [declared]], swept)
        typed = contract(sys.argv[1:], project, Path.cwd())
        command = shlex.join(["python", "-m", project.train, *typed])
        while planned := chosen.plan():
            batch = [
                [*grid[place], f"seeds=[{','.join(map(str, seeds))}]", declared]
                for place, seeds in planned
            ]
            size = self._basic.max_batch_size or len(batch)
            done = [
                job
                for start in range(0, len(batch), size)
                for job in jobs.launch(batch[start : start + size])
            ]
            if any(job.outcome.status == "failed" for job in done):
                jobs.close(command)  # raises
            results, trained = [], 0
            for (place, seeds), job in zip(planned, done, strict=True):
                results.append((place, jobs.find_folder(job)))
                trained += len(seeds) if job.outcome.status != "skipped" else 0
            chosen.add(results, trained)
        chosen.conclude()


def _get_project(task_function: Any) -> Project:
    """Return the project of a task that `command.run` made, if it can be swept."""
    project: Project = vars(task_function)["project"]
    if not vars(task_function)["sweepable"]:
        raise UserError(
            f"only {project.train} can be swept: leave out -m, +experiment and hydra.mode"
        )
    return project


def parse(
    params: Mapping[str, Any] | None,
    arguments: Sequence[str],
    context: HydraContext,
    project: Project,
) -> list[Override]:
    """Parse a sweeper's `params` and the overrides of the command line, which come later."""
    texts = [
        f"{key}={value if isinstance(value, str) else _write(value)}"
        for key, value in (params or {}).items()
    ]
    parser = OverridesParser.create(config_loader=context.config_loader)
    return parser.parse_overrides(
        [*(expand(text, project, Path.cwd()) for text in texts), *arguments]
    )


def _write(value: Any) -> str:
    """Write a value of YAML in Hydra's grammar."""
    plain: Any = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return Override._get_value_element_as_str(plain)


def _split(overrides: Iterable[str]) -> dict[str, str]:
    return {get_key(override): override.partition("=")[2] for override in overrides}


def _join(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


class OptunaSweeper(Sweeper):
    """Optuna chooses the configurations, by the mean validation accuracy over seeds.

    Hydra's own plugin (1.3.0) requires Optuna below 3, whose storage fails with the SQLAlchemy that
    MLflow needs. A study resumes by its name: trials that a kill ended, or that failed, run first.
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
        self._params = params

    def setup(self, *, hydra_context: HydraContext, task_function: Any, config: Any) -> None:
        """Prepare the sweep of a task that `command.run` made."""
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self._context, self._project = hydra_context, _get_project(task_function)
        self._jobs = Jobs(config, hydra_context, launcher, self._project)
        self._study = self._study or config.sweep or "tuning"
        self._neutral = list_neutral(config.hydra)

    def sweep(self, arguments: list[str]) -> None:
        """Ask for trials and run them, until the study has `n_trials`."""
        try:
            import optuna
        except ImportError as error:
            raise UserError("optuna is missing: pip install 'actlab[optuna]'") from error

        for key, value in (("n_trials", self._trials), ("n_jobs", self._at_once)):
            if value < 1:
                raise UserError(f"hydra.sweeper.{key} is {value}: it has to be 1 or more")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        parsed = parse(self._params, arguments, self._context, self._project)
        overrides = {override.get_key_element(): override for override in parsed}
        fixed, space = [], {}
        for key, override in overrides.items():
            if override.is_sweep_override():
                try:
                    space[key] = make_distribution(override)
                except (ValueError, IndexError) as error:
                    raise UserError(
                        f"{override.input_line} is not a valid range of values: {error}"
                    ) from error
            else:
                fixed.append(f"{key}={override.get_value_element_as_str()}")
        if not space:
            raise UserError("nothing is tuned: give a key several values, or an interval(low,high)")
        self._jobs.require_objective(self._jobs.check(_list_examples(fixed, space)))
        described = {key: repr(distribution) for key, distribution in space.items()}
        self._jobs.open([[*fixed, *_join(described)]], list(space))
        with ExitStack() as locks:
            if self._storage.startswith("sqlite:///"):
                file = Path(self._storage.removeprefix("sqlite:///"))
                file.parent.mkdir(parents=True, exist_ok=True)
                try:
                    locks.enter_context(FileLock(f"{file}.lock", timeout=0))
                except Timeout as error:
                    raise UserError(
                        f"another process tunes with {self._storage}: wait for it, or give this one"
                        " a storage of its own, hydra.sweeper.storage=sqlite:///..."
                    ) from error
            self._tune(fixed, space)
        if self._jobs.done:
            self._jobs.close()

    def _tune(self, fixed: list[str], space: dict[str, Any]) -> None:
        import optuna

        study = optuna.create_study(
            storage=self._storage,
            study_name=self._study,
            direction="maximize",
            load_if_exists=True,
        )
        # With one seed, a resumed study would draw the same values again.
        drawn = len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(seed=self._seed + drawn)
        decisive = sorted(text for text in fixed if is_decisive(get_key(text), self._neutral))
        described = {key: repr(value) for key, value in space.items()} | {"fixed": decisive}
        if study.user_attrs.get("space", described) != described:
            raise UserError(
                f"the study {self._study!r} in {self._storage} has another space or other fixed"
                " values: give this one a name, hydra.sweeper.study=..."
            )
        study.set_user_attr("space", described)
        states = optuna.trial.TrialState
        repeated = list(study.user_attrs.get("repeated", []))
        for trial in study.get_trials(states=[states.RUNNING, states.FAIL]):
            if trial.number not in repeated:
                study.enqueue_trial(trial.params)
                repeated.append(trial.number)
                study.set_user_attr("repeated", repeated)
            if trial.state == states.RUNNING:
                study.tell(trial.number, state=states.FAIL)
        finished = len(study.get_trials(states=[states.COMPLETE]))
        if finished >= self._trials:
            best = study.best_trial
            print(f"The study {self._study!r} has its {finished} trials already.")
            name, value = self._project.objective(best.value or 0.0)
            print(f"Best by {name} ({value}): {best.params}", flush=True)
        while finished < self._trials:
            count = min(self._at_once, self._trials - finished)
            trials = [study.ask(space) for _ in range(count)]
            batch = [[*fixed, *_join(trial.params)] for trial in trials]
            for trial, job in zip(trials, self._jobs.launch(batch), strict=True):
                objective = job.outcome.objective
                if objective is None or not math.isfinite(objective):
                    study.tell(trial, state=states.FAIL)
                else:
                    study.tell(trial, objective)
            finished += count


def _list_examples(fixed: Sequence[str], space: Mapping[str, Any]) -> list[list[str]]:
    """List one job for each value of a category, the other keys being at their first or lowest."""
    first = {key: getattr(space[key], "choices", [None])[0] for key in space}
    first = {key: space[key].low if x is None else x for key, x in first.items()}
    examples = [
        first | {key: value} for key in space for value in getattr(space[key], "choices", [])
    ]
    return [[*fixed, *_join(example)] for example in examples or [first]]


def make_distribution(override: Override) -> Any:
    """Return Optuna's distribution of the values that an override sweeps.

    `a=1,2` and `choice(1,2)` are categories; `range(1,9,2)` integers or, with fractions,
    categories; `interval(low,high)` real numbers and `int(interval(low,high))` integers, on a
    logarithmic scale within `tag(log,...)`.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    kind = type(value)
    if kind is RangeSweep:
        steps = (value.start, value.stop, value.step)
        if all(isinstance(step, int) for step in steps):
            last = range(*steps)[-1]  # Hydra leaves out the end
            return IntDistribution(value.start, last, step=value.step)
    if override.is_discrete_sweep():
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    log = "log" in value.tags
    if isinstance(value.start, int) and isinstance(value.end, int):
        return IntDistribution(value.start, value.end, log=log)
    return FloatDistribution(float(value.start), float(value.end), log=log)
