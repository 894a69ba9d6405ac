"""Sweeps with real Hydra and a real MLflow store, and planted trainings where they are not it."""

import logging
import math
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from published import of_ended_process
from studies import read_committed

from actlab.engine import launches, sweeping
from actlab.engine.project import Outcome
from actlab.engine.sweeping import find_best
from actlab.results.identity import fingerprint
from actlab.stages import entry
from actlab.stages.train import Trained
from actlab.tracking.store import OBJECTIVE, connect, sweep_tags

pytestmark = [
    # MLflow's own models of its tables use what SQLAlchemy 2.1 calls deprecated.
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy:DeprecationWarning:mlflow.store.tracking"
    ),
    # MLflow's own agents have type hints that it finds too wide, when it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning:mlflow"),
]

HELD_OUT = "data.validation_size=10000"


class Sweep:
    """Runs sweeps in a folder of their own; `trained` holds what was trained, in order.

    A training gives what `accuracy` says of its configuration: a number, or an error to raise.
    """

    def __init__(self, folder, monkeypatch, capsys):
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        self.trained: list[Any] = []
        self.accuracy = lambda config: 0.5
        self.diverges = lambda config: False
        self.logs = True  # to MLflow

    def train(self, config, job):
        self.trained.append(config)
        reached = self.accuracy(config)
        if isinstance(reached, BaseException):
            raise reached
        if not self.logs:
            return Trained(reached, [], True)
        store = connect()
        tags = {"actlab.kind": "configuration", "actlab.fingerprint": fingerprint(config)}
        diverged = [0] if self.diverges(config) else []
        tags["actlab.outcome"] = "diverged" if diverged else "trained"
        run = store.create_run(job, tags | sweep_tags(config.sweep))
        objective = reached if config.data.validation_size else None
        if objective is not None:
            store.client.log_metric(run, OBJECTIVE, objective)
        store.client.set_terminated(run, "FINISHED")
        return Trained(objective, diverged, True)

    def run(self, *arguments, status=0):
        """Run `train -m` with some arguments; return what it printed, and on the standard error."""
        self._monkeypatch.setattr(sys, "argv", ["train.py", "-m", *arguments])
        self._monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # a command sets it for its own process
        ended = 0
        try:
            entry.run(self.train, sweepable=True)
        except SystemExit as error:
            ended = error.code
        printed = self._capsys.readouterr()
        assert ended == status, printed
        return printed.out, printed.err

    def launch(self, name):
        """What the store has recorded of a sweep's latest launch."""
        return launches.load_launch(connect(), name)

    def runs(self, status="FINISHED", **tags):
        return connect().search(status, {"actlab.kind": "configuration", **tags})


@pytest.fixture
def sweep(root, empty_store, tmp_path, monkeypatch, capsys):
    shutil.copytree(root / "conf", tmp_path / "conf")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    (tmp_path / "params.yaml").write_text(read_committed(root, "params.yaml"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # Who configures logging, Hydra or MLflow's alembic, shuts all handlers first: absl's closes the
    # stream that pytest reads.
    monkeypatch.setattr(logging, "shutdown", lambda handlers=None: None)
    config = tmp_path / "conf/config.yaml"
    grid = "  - override hydra/sweeper: grid\n"
    quiet = "".join(f"  - override hydra/{name}_logging: disabled\n" for name in ("job", "hydra"))
    config.write_text(config.read_text().replace(grid, grid + quiet))
    yield Sweep(tmp_path, monkeypatch, capsys)
    HydraConfig.instance().cfg = None


def test_a_sweep_ends_with_a_table_and_its_best(sweep):
    sweep.accuracy = lambda config: {"relu": 0.75, "tanh": 0.9, "gelu": 0.8}[config.activation.name]
    out, err = sweep.run("activation=relu,tanh,gelu", HELD_OUT, "sweep=mine")
    table = [line.split()[:4] for line in out.splitlines() if line[:4].strip().isdigit()]
    assert table == [
        ["1", "activation=relu", "done", "75.00%"],
        ["2", "activation=tanh", "done", "90.00%"],
        ["3", "activation=gelu", "done", "80.00%"],
    ]
    assert "3 jobs: 3 done." in out
    assert (
        "Best by validation accuracy (90.00%): python -m actlab.stages.train -m"
        f" activation=tanh {HELD_OUT} sweep=mine.launch1"
    ) in out
    assert "python -m actlab.stages.compare sweep=mine" in out
    assert err == ""
    assert len(sweep.runs(**{"sweep.mine": "yes"})) == 3


def test_a_custom_activation_is_called_by_its_function(sweep, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (sweep.folder / "custom").mkdir()
    for name in ("sea", "land"):
        (sweep.folder / f"custom/{name}.py").write_text("def snake(x):\n    return x\n")
    own = "activation=custom"
    sweep.run(own, "activation.function=sea.snake,land.snake")
    assert [config.activation.name for config in sweep.trained] == ["snake", "snake"]
    assert {config.activation.function for config in sweep.trained} == {"sea.snake", "land.snake"}
    assert len({run.data.tags["actlab.fingerprint"] for run in sweep.runs()}) == 2
    sweep.run(own, "activation.function=sea.snake", "activation.name=mine")
    assert sweep.trained[-1].activation.name == "mine"
    _, err = sweep.run(own, status=1)
    assert "activation.function is missing: give it in params.yaml or conf/" in err


def test_what_is_not_finite_is_not_the_best():
    def job(objective):
        return sweeping.Job((), Outcome("done", objective, 0.0))

    jobs = [job(math.nan), job(None), job(-0.2), job(-0.1)]
    assert find_best(jobs) is jobs[3]
    assert find_best(jobs[:2]) is None
    nothing_right = [job(0.0)]
    assert find_best(nothing_right) is nothing_right[0]


def test_nothing_is_best_by_the_test_split(sweep):
    out, _ = sweep.run("activation=relu,tanh")
    assert "2 jobs: 2 done." in out
    assert "None is best: no validation images are held out" in out
    assert HELD_OUT in out


def test_what_is_finished_is_skipped_and_its_objective_given(sweep):
    sweep.accuracy = lambda config: 0.8125
    sweep.run("activation=relu,tanh", HELD_OUT)
    out, _ = sweep.run("activation=relu,tanh,gelu", HELD_OUT, "sweep=second")
    assert [config.activation.name for config in sweep.trained] == ["relu", "tanh", "gelu"]
    assert "3 jobs: 1 done, 2 skipped." in out
    assert "job 1: skipped, MLflow has it finished (force=true trains again)" in out
    assert out.count("81.25%") == 4  # three rows and the best
    assert len(sweep.runs(**{"sweep.second.launch1": "yes"})) == 3
    out, _ = sweep.run("activation=relu", HELD_OUT, "force=true")
    assert [config.activation.name for config in sweep.trained[3:]] == ["relu"]
    assert "1 jobs: 1 done." in out


def test_a_launch_is_recorded_and_continued_by_the_same_grid(sweep):
    def interrupt(config):
        return KeyboardInterrupt() if config.activation.name == "tanh" else 0.5

    grid = ["activation=relu,tanh", "training.epochs=2", "sweep=mine"]
    sweep.accuracy = interrupt
    sweep.run(*grid, status=130)
    first = sweep.launch("mine")
    assert (first.number, first.keys, first.tuned_for) == (1, ["activation"], None)
    sweep.accuracy = lambda config: 0.5
    sweep.run(*grid, "models_at_once=1")
    assert sweep.launch("mine") == first
    # Another value, whether it is given here or in params.yaml, makes another launch.
    sweep.run(*grid, "training.batch_size=64")
    file = sweep.folder / "params.yaml"
    file.write_text(file.read_text().replace("batch_size: 128", "batch_size: 32"))
    sweep.run(*grid)
    assert sweep.launch("mine").number == 3
    counts = [len(sweep.runs(**{f"sweep.mine.launch{number}": "yes"})) for number in (1, 2, 3)]
    assert counts == [2, 2, 2]


def test_a_failure_leaves_the_others_alone_and_is_told(sweep):
    def accuracy(config):
        return ValueError("broken\nin two lines") if config.activation.name == "tanh" else 0.5

    sweep.accuracy = accuracy
    out, err = sweep.run("activation=relu,tanh,gelu", HELD_OUT, "sweep=mine", status=1)
    assert "3 jobs: 2 done, 1 failed." in out
    assert "Compare" not in out
    failure, last = err.splitlines()
    assert last == (
        "actlab: 1 of 3 jobs failed: the same command runs them again and skips what is finished"
    )
    cause, _, again = failure.partition("; again: ")
    assert cause.startswith("actlab: ValueError: broken in two lines (the traceback is in ")
    written = cause.rpartition(" ")[2].rstrip(")")
    assert "raise reached\nValueError: broken\nin two lines" in Path(written).read_text()
    # The printed command runs that job, and no other.
    sweep.accuracy = lambda config: 0.5
    sweep.trained.clear()
    sweep.run(*shlex.split(again)[4:])
    assert [config.activation.name for config in sweep.trained] == ["tanh"]
    out, _ = sweep.run("activation=relu,tanh,gelu", HELD_OUT)
    assert "3 jobs: 3 skipped." in out


def test_a_diverged_job_is_a_result(sweep):
    sweep.diverges = lambda config: rate_of(config) > 1
    out, _ = sweep.run("optimizer.learning_rate=0.001,100", HELD_OUT)
    assert "2 jobs: 1 done, 1 diverged." in out
    assert re.search(r"learning_rate=100 +diverged: 1 of 6 seeds +50.00%", out)
    out, _ = sweep.run("optimizer.learning_rate=0.001,100", HELD_OUT)
    assert "2 jobs: 2 skipped." in out


def test_a_store_that_cannot_be_opened_stops_the_sweep_before_it_begins(sweep, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    _, err = sweep.run("activation=relu,tanh", status=1)
    assert err.startswith("actlab: MLflow at http://127.0.0.1:9 does not answer (")
    assert err.endswith("the sweep has not begun\n")
    assert err.count("\n") == 1
    assert not sweep.trained


def test_what_a_killed_process_left_running_is_closed(sweep):
    sweep.run("activation=relu", HELD_OUT)
    (config,) = sweep.trained
    store = connect()
    tags = {"actlab.kind": "configuration", "actlab.fingerprint": fingerprint(config)}
    parent = store.create_run("cut short", tags | of_ended_process())
    below = {"mlflow.parentRunId": parent, **of_ended_process()}
    store.create_run("its seed", tags | below | {"actlab.kind": "seed"})
    sweep.run("activation=relu", HELD_OUT, "force=true")
    assert not store.search("RUNNING", {})
    assert {run.info.run_name for run in store.search("FAILED", {})} == {"cut short", "its seed"}


class Dying:
    """A launcher that dies of some jobs: what it had run before lies in the folders."""

    def __init__(self, monkeypatch, deadly):
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher

        self.launched: list[list[str]] = []
        launch = BasicLauncher.launch

        def dies(launcher, job_overrides, initial_job_idx):
            names = [overrides[0].removeprefix("activation=") for overrides in job_overrides]
            self.launched.append(names)
            before = next((n for n, name in enumerate(names) if name in deadly), len(names))
            returns = launch(launcher, job_overrides[:before], initial_job_idx)
            if before < len(names):
                raise RuntimeError("a process was\nkilled")
            return returns

        monkeypatch.setattr(BasicLauncher, "launch", dies)


def test_jobs_go_on_after_their_launcher_gave_up(sweep, monkeypatch):
    """As joblib does when one of its processes is killed."""
    dying = Dying(monkeypatch, {"tanh"})
    out, err = sweep.run("activation=relu,tanh,gelu,selu", HELD_OUT, status=1)
    assert dying.launched == [
        ["relu", "tanh", "gelu", "selu"],
        ["tanh", "gelu", "selu"],  # relu's outcome lies in its folder
        ["tanh"],
        ["gelu"],
        ["selu"],
    ]
    assert "4 jobs: 3 done, 1 failed." in out
    assert err.startswith(
        "actlab: its process ended, says the launcher: RuntimeError: a process was killed; again:"
    )
    trained = Counter(config.activation.name for config in sweep.trained)
    assert trained == {"relu": 1, "gelu": 1, "selu": 1}


def test_a_failed_job_is_a_failed_run_with_its_cause(sweep):
    sweep.accuracy = lambda config: ValueError("broken")
    sweep.run("activation=relu", "optimizer.learning_rate=0.5", status=1)
    (run,) = connect().search("FAILED", {})
    assert run.data.tags["actlab.fingerprint"] == fingerprint(sweep.trained[0])
    assert run.data.tags["mlflow.note.content"] == "Failed: ValueError: broken"
    assert run.data.params["optimizer.learning_rate"] == "0.5"
    assert connect().search("RUNNING", {}) == []


HOLD = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(6)
    print(time.monotonic(), flush=True)
"""


def test_a_job_waits_for_the_process_that_trains_the_same(sweep):
    sweep.run("activation=relu", HELD_OUT)
    lock = sweep.folder / "checkpoints/.locks" / fingerprint(sweep.trained[0])
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    began = []

    def accuracy(config):
        began.append(time.monotonic())
        return 0.5

    sweep.accuracy = accuracy
    out, _ = sweep.run("activation=relu", HELD_OUT, "force=true")
    released = float(holder.stdout.readline())
    assert holder.wait() == 0
    holder.stdout.close()
    assert "job 1: waiting for another process that trains the same" in out
    assert len(began) == 1
    assert began[0] > released


def rate_of(config):
    """The learning rate of a job."""
    return config.optimizer.settings["learning_rate"]


# --- Fair mode ----------------------------------------------------------------------------

FAIR = ["+experiment=fair", "hydra.sweeper.fresh_seeds=[8,9]", "seeds=[0,1]"]
FAIR += ["initializer.name=he_uniform"]


def test_fair_mode_chooses_for_each_and_tests_on_fresh_seeds(sweep):
    best = {"relu": 0.01, "tanh": 0.001}  # 0.001 is what params.yaml has

    def accuracy(config):
        return 0.9 - abs(rate_of(config) - best[config.activation.name])

    sweep.accuracy = accuracy
    grid = ["activation=relu,tanh", "optimizer.learning_rate=0.01,0.001,0.1"]
    out, _ = sweep.run(*FAIR, *grid, "training.epochs=3", "sweep=mine")
    assert "activation=relu: optimizer.learning_rate=0.01" in out
    assert "activation=tanh: optimizer.learning_rate=0.001" in out
    settings = [
        (
            each.activation.name,
            each.optimizer.settings["learning_rate"],
            each.seeds,
            each.training.epochs,
        )
        for each in sweep.trained
    ]
    assert settings[:6] == [
        (name, rate, [0, 1], 3) for name in ("relu", "tanh") for rate in (0.01, 0.001, 0.1)
    ]
    assert settings[6:] == [  # tanh's own setting is the one for all: it is trained once
        ("relu", 0.01, [8, 9], 3),
        ("relu", 0.001, [8, 9], 3),
        ("tanh", 0.001, [8, 9], 3),
    ]
    counts = {
        name: len(sweep.runs(**{f"sweep.{name}": "yes"}))
        for name in ("mine", *(f"mine.launch1.{role}" for role in launches.ROLES))
    }
    assert counts == {
        "mine": 9,
        "mine.launch1.selection": 6,
        "mine.launch1.tuned": 2,
        "mine.launch1.baseline": 2,
    }
    launch = sweep.launch("mine")
    assert (launch.keys, launch.tuned_for) == (
        ["activation", "optimizer.learning_rate"],
        "activation",
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([*FAIR, "data.validation_size=0"], "no validation images are held out, and nothing is"),
        (
            [*FAIR, "hydra.sweeper.tuned_for=network"],
            "network is not swept: each of its values gets a",
        ),
        ([*FAIR, "seeds=[1,8]"], "hydra.sweeper.fresh_seeds [8, 9] and seeds [1, 8] share some"),
    ],
)
def test_an_unfair_comparison_is_refused(arguments, line, sweep):
    _, err = sweep.run(*arguments, status=1)
    assert err.startswith(f"actlab: {line}")
    assert err.count("\n") == 1
    assert not sweep.trained


def test_fair_mode_tests_nothing_that_was_chosen_from_less(sweep):
    """And the printed command is that of the whole sweep, which completes it."""

    def accuracy(config):
        broken = config.activation.name == "tanh" and rate_of(config) == 0.1
        return ValueError("broken") if broken else 0.5

    sweep.accuracy = accuracy
    grid = ["activation=relu,tanh", "optimizer.learning_rate=0.01,0.1", "sweep=mine"]
    out, err = sweep.run(*FAIR, *grid, status=1)
    assert {config.sweep for config in sweep.trained} == {"mine.launch1.selection"}
    assert "4 jobs: 3 done, 1 failed." in out
    assert "Best" not in out
    again = shlex.split(err.splitlines()[0].partition("; again: ")[2])
    assert again[3:] == ["-m", *FAIR, *grid]
    sweep.accuracy = lambda config: 0.5
    out, _ = sweep.run(*again[4:])
    assert "8 jobs: 5 done, 3 skipped." in out


# --- Tuning -------------------------------------------------------------------------------

TUNED = ["hydra/sweeper=optuna", HELD_OUT, "optimizer.learning_rate=tag(log,interval(1e-4,1e-1))"]


def test_tuning_goes_on_where_it_was_killed(sweep):
    sweep.accuracy = lambda config: 1 - abs(rate_of(config) - 0.01)
    out, _ = sweep.run(*TUNED, "activation=relu,tanh", "hydra.sweeper.n_trials=3")
    assert "3 jobs: 3 done." in out
    rates = [rate_of(config) for config in sweep.trained]
    assert len(set(rates)) == 3
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)

    def killed(config):
        return KeyboardInterrupt()

    sweep.accuracy = killed
    sweep.run(*TUNED, "activation=relu,tanh", "hydra.sweeper.n_trials=5", status=130)
    cut_short = sweep.trained[-1]
    sweep.accuracy = lambda config: 1 - abs(rate_of(config) - 0.01)
    sweep.trained.clear()
    out, _ = sweep.run(*TUNED, "activation=relu,tanh", "hydra.sweeper.n_trials=5")
    assert "2 jobs: 2 done." in out
    assert fingerprint(sweep.trained[0]) == fingerprint(cut_short)
    out, _ = sweep.run(*TUNED, "activation=relu,tanh", "hydra.sweeper.n_trials=5")
    assert "The study 'tuning' has its 5 trials already." in out


def test_a_trial_that_failed_is_asked_for_again(sweep):
    sweep.accuracy = lambda config: ValueError("broken")
    sweep.run(*TUNED, "hydra.sweeper.n_trials=2", status=1)
    failed = [fingerprint(config) for config in sweep.trained]
    sweep.accuracy = lambda config: 0.5
    sweep.trained.clear()
    sweep.run(*TUNED, "hydra.sweeper.n_trials=2", "force=true", "models_at_once=1")
    assert [fingerprint(config) for config in sweep.trained] == failed


def test_two_processes_do_not_share_a_study(sweep):
    from filelock import FileLock

    (sweep.folder / "multirun").mkdir()
    with FileLock(sweep.folder / "multirun/optuna.db.lock"):
        _, err = sweep.run(*TUNED, "hydra.sweeper.n_trials=1", status=1)
    assert err.startswith("actlab: another process tunes with sqlite:///multirun/optuna.db: wait")
    assert err.count("\n") == 1


def test_a_study_keeps_to_its_space(sweep):
    sweep.run(*TUNED, "hydra.sweeper.n_trials=1")
    _, err = sweep.run(*TUNED, "training.epochs=7", "hydra.sweeper.n_trials=2", status=1)
    assert err.startswith("actlab: the study 'tuning' in sqlite:///multirun/optuna.db has another")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["hydra/sweeper=optuna", "activation=relu,tanh"], "no validation images are held out"),
        (["hydra/sweeper=optuna", HELD_OUT], "nothing is tuned: give a key several values"),
        (
            [*TUNED, "training.epochs=range(9,1)"],
            "training.epochs=range(9,1) is not a valid range",
        ),
        ([*TUNED[:1], "data.validation_size=0,10000"], "no validation images are held out"),
        ([*TUNED, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials is 0: it has to be 1 or"),
    ],
)
def test_a_tuning_that_cannot_be_is_one_line(arguments, line, sweep):
    _, err = sweep.run(*arguments, status=1)
    assert err.startswith(f"actlab: {line}")
    assert err.count("\n") == 1
    assert not sweep.trained


@pytest.mark.parametrize(
    ("override", "kind", "fields"),
    [
        ("a=1,2", "Categorical", {"choices": ("1", "2")}),
        ("a=choice(x,y)", "Categorical", {"choices": ("x", "y")}),
        ("a=range(1,9,2)", "Int", {"low": 1, "high": 7, "step": 2, "log": False}),
        ("a=range(0,1,0.5)", "Categorical", {"choices": ("0.0", "0.5")}),
        ("a=int(interval(1,8))", "Int", {"low": 1, "high": 8, "step": 1, "log": False}),
        ("a=tag(log,int(interval(1,8)))", "Int", {"low": 1, "high": 8, "step": 1, "log": True}),
        ("a=interval(1,8)", "Float", {"low": 1.0, "high": 8.0, "log": False}),
        ("a=tag(log,interval(1e-4,1e-1))", "Float", {"low": 1e-4, "high": 0.1, "log": True}),
    ],
)
def test_hydras_sweeps_are_optunas_distributions(override, kind, fields):
    from actlab.engine.sweepers import make_distribution

    (parsed,) = OverridesParser.create().parse_overrides([override])
    distribution = make_distribution(parsed)
    assert type(distribution).__name__ == f"{kind}Distribution"
    assert {key: getattr(distribution, key) for key in fields} == fields


# --- The presets --------------------------------------------------------------------------


def presets(root):
    return sorted(path.stem for path in (root / "conf/experiment").glob("*.yaml"))


def test_every_preset_says_what_it_asks(root):
    assert {"smoke", "depth", "width", "initializer", "learning_rate", "fair"} <= set(presets(root))
    for name in presets(root):
        header = (root / f"conf/experiment/{name}.yaml").read_text().split("sweep:")[0]
        for word in ("# Question: ", "# Cost: ", "# Expected: "):
            assert word in header, name


def test_the_fair_preset_chooses_and_tests(sweep):
    sweep.accuracy = lambda config: rate_of(config)
    sweep.logs = False
    out, _ = sweep.run("+experiment=fair")
    assert "40 jobs: 40 done." in out
    tuned = [config for config in sweep.trained if config.sweep == "fair.launch1.tuned"]
    assert {rate_of(config) for config in tuned} == {0.01}
    assert {tuple(config.seeds) for config in tuned} == {tuple(range(100, 106))}


# --- Cores --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("launcher", "environment", "cores", "at_once"),
    [
        ({"_target_": "x.BasicLauncher"}, {}, 8, 8),
        ({"_target_": "x.SlurmLauncher"}, {"SLURM_CPUS_PER_TASK": "2"}, 8, 2),
        ({"_target_": "x.SlurmLauncher"}, {"SLURM_CPUS_PER_TASK": "2"}, 1, 1),
        ({"_target_": "x.RayLauncher", "ray": {"remote": {"num_cpus": 3}}}, {}, 8, 3),
        ({"_target_": "x.RayLauncher", "ray": {"remote": {}}}, {}, 8, 1),
    ],
)
def test_a_job_trains_a_model_a_core_of_its_own(launcher, environment, cores, at_once, monkeypatch):

    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(sweeping, "available_cores", lambda: cores)
    held = OmegaConf.create({"launcher": launcher})
    monkeypatch.setattr(HydraConfig, "get", lambda: held)
    assert sweeping.count_cores() == at_once


@pytest.mark.parametrize(
    ("workers", "jobs", "each"),
    [(-1, 8, 1), (-1, 2, 4), (2, 5, 4), (16, 8, 1), (2, 1, 8), (1, 9, 8)],
)
def test_joblibs_jobs_share_the_cores(workers, jobs, each, monkeypatch):
    import joblib

    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    monkeypatch.setattr(sweeping, "available_cores", lambda: 8)
    monkeypatch.setattr(joblib, "effective_n_jobs", lambda count: 8 if count == -1 else count)
    launcher = OmegaConf.create({"_target_": "x.JoblibLauncher", "n_jobs": workers})
    free, fixed = (OmegaConf.create({"models_at_once": count}) for count in (None, 3))
    assert sweeping.share_cores(launcher, free, jobs) == [f"models_at_once={each}"]
    assert sweeping.share_cores(launcher, fixed, jobs) == []


# --- Kills --------------------------------------------------------------------------------


def test_a_sweep_killed_at_any_moment_is_completed_each_job_once(root, tmp_path, mnist_raw):
    """Real trainings, two at a time; what a kill leaves running goes on beside the next sweep."""
    shutil.copytree(root / "conf", tmp_path / "conf")
    (tmp_path / "params.yaml").write_text(read_committed(root, "params.yaml"))
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/mnist").symlink_to(mnist_raw)
    arguments = ["activation=sigmoid,tanh,relu", "network=uniform", "network.hidden=1x4,1x8"]
    arguments += [
        "seeds=[0]",
        "training.epochs=1",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
    ]
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    run = [sys.executable, "-m", "actlab.stages.train", "-m", *arguments]
    moments = random.Random(4)
    for _ in range(2):
        process = subprocess.Popen(
            run, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(8, 25))
        process.kill()
        assert process.wait() in (-signal.SIGKILL, 0)
    last = subprocess.run(
        run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert last.returncode == 0, last.stderr
    assert "6 jobs: " in last.stdout
    import sqlite3

    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        finished = database.execute(
            "SELECT t.value, r.status FROM tags t JOIN runs r ON r.run_uuid = t.run_uuid"
            " JOIN tags k ON k.run_uuid = t.run_uuid AND k.value = 'configuration'"
            " WHERE t.key = 'actlab.fingerprint'"
        ).fetchall()
        running = database.execute("SELECT COUNT(*) FROM runs WHERE status = 'RUNNING'").fetchone()
    assert running == (0,)
    counts = Counter(digest for digest, status in finished if status == "FINISHED")
    assert len(counts) == 6
    assert set(counts.values()) == {1}
    folders = [path for path in (tmp_path / "multirun").glob("activation*") if path.is_dir()]
    assert len(folders) == 6
    assert all((folder / "runs").is_dir() for folder in folders)
