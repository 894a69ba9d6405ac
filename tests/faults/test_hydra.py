"""What Hydra documents: it works in every sweeper, or is refused in one line; names of folders."""

import logging
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from studies import read_committed

from actlab.engine import command
from actlab.engine.composing import escape, list_overrides, name_folder
from actlab.engine.files import atomic_write
from actlab.engine.project import Outcome
from actlab.errors import UserError
from actlab.stages.entry import PROJECT
from actlab.tracking.publish import run_name


class Commands:
    """Runs commands in a folder of their own, where nothing is trained and no store is opened."""

    def __init__(self, folder: Path, monkeypatch: Any, capsys: Any) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        self.configs: list[Any] = []
        self.stage = lambda config: self.configs.append(config)

    def run(self, *arguments: str, sweepable: bool = True) -> tuple[int, str, str]:
        """Run a command; return its status and what it printed. `configs` are what it ran."""
        tags: dict[str, str] = {}
        experiment = SimpleNamespace(tags=tags)
        client = SimpleNamespace(
            get_experiment=lambda name: experiment,
            set_experiment_tag=lambda name, key, value: tags.update({key: value}),
        )
        store = SimpleNamespace(close_ended=lambda: [], experiment="1", client=client)

        def run_once(stage: Any, config: Any, job: str) -> Outcome:
            stage(config)
            return Outcome("done", 0.5, 0.0)

        project = replace(PROJECT, connect=lambda: store, run_once=run_once)
        self.configs = []
        self._monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        self._monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # a command sets it for its own process
        status: Any = 0
        try:
            command.run(self.stage, project, sweepable)
        except SystemExit as error:
            status = error.code
        printed = self._capsys.readouterr()
        return status, printed.out, printed.err

    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}


@pytest.fixture
def commands(root, tmp_path, monkeypatch, capsys) -> Iterator[Commands]:
    folder = tmp_path / "study"
    for name in ("conf", "custom"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / name, folder / name, ignore=ignored)
    (folder / "params.yaml").write_text(read_committed(root, "params.yaml"))
    monkeypatch.chdir(folder)
    monkeypatch.delenv("ACTLAB_DATA", raising=False)
    # Hydra shuts all handlers when it configures logging: absl's closes the stream pytest reads.
    monkeypatch.setattr(logging, "shutdown", lambda handlers=None: None)
    config = folder / "conf/config.yaml"
    grid = "  - override hydra/sweeper: grid\n"
    quiet = "".join(f"  - override hydra/{name}_logging: disabled\n" for name in ("job", "hydra"))
    config.write_text(config.read_text().replace(grid, grid + quiet))
    yield Commands(folder, monkeypatch, capsys)
    HydraConfig.instance().cfg = None


def values(config: Any, keys: str) -> str:
    """Write the values of some keys, separated by spaces."""
    found = []
    for key in keys.split():
        value = config
        for name in key.split("."):
            value = value[name] if isinstance(value, dict) else getattr(value, name)
        found.append(str(value).replace(" ", ""))
    return " ".join(found)


FAIR = "-m +experiment=fair hydra.sweeper.params=null hydra.sweeper.fresh_seeds=[8] seeds=[0]"
OPTUNA = "-m hydra/sweeper=optuna data.validation_size=9 hydra.sweeper.n_trials=1"
ALPHA = "activation.name activation.constants.alpha"
OWN = "activation=custom activation.function=example.snake"

#: A preset of a user's, whose values are YAML's.
PRESET = """# @package _global_
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      data: mnist,fashion_mnist
      seeds: [1, 2]
      activation.constants: {threshold: 0.5, max_value: null}
"""


@pytest.mark.parametrize(
    ("arguments", "keys", "expected"),
    [
        # A folder as in Hydra's own default.
        ("-m hydra.sweep.subdir=${hydra.job.num} activation=relu,elu", "activation.name", "relu e"),
        ("-m hydra.sweep.dir=other/${now:%Y} hydra.sweep.subdir=${hydra.job.id}/a", "seeds", ""),
        # What is fixed belongs to the options that are swept.
        ("-m activation=elu,celu activation.constants.alpha=2", ALPHA, "elu 2 celu 2"),
        ("-m activation=celu +activation.constants={alpha:2}", ALPHA, "celu 2"),
        ("+experiment=mine data=mnist activation=elu activation.constants={alpha:2}", ALPHA, "elu"),
        (f"{OPTUNA} activation=elu activation.constants.alpha=2,2", ALPHA, "elu 2"),
        (f"{FAIR} activation=elu activation.constants.alpha=2,3", ALPHA, "elu 2 elu 3 elu 2"),
        (f"-m {OWN} activation.constants.frequency=2", "activation.constants.frequency", "2"),
        # The name of a data set alone.
        ("data=fashion_mnist", "data.name", "fashion_mnist"),
        ("-m data=glob(*)", "data.name", "fashion_mnist mnist"),
        ("data={validation_size:7}", "data.name data.validation_size", "mnist 7"),
        ("+experiment=mine", "data.name seeds", "mnist [1,2] fashion_mnist [1,2]"),
        (f"{FAIR} hydra.sweeper.tuned_for=data data=choice(mnist)", "data.name", "mnist mnist mn"),
        # Hydra's grammar.
        ("-m training.epochs=sort(range(2,4))", "training.epochs", "2 3"),
        ("-m activation='relu','tanh'", "activation.name", "relu tanh"),
        ("-m activation=glob(tanh*,exclude=*shrink) seeds=[0,1],[2]", "seeds", "[0,1] [2]"),
        (f"{OPTUNA} activation=glob(sel*) ++training.batch_size=7", "activation.name", "selu"),
        (f"{OPTUNA} seeds=[0],[0] ~activation.constants.threshold", "seeds", "[0]"),
        (f"{FAIR} activation=glob(sel*) training.epochs=range(1,2)", "training.epochs", "1 1 1"),
        (f"{FAIR} activation=choice(relu) ~activation.constants.threshold", "seeds", "[0]"),
        # The rest of Hydra.
        ("hydra.job.chdir=true", "paths.raw", "data/raw"),
        ("-m hydra.job.chdir=true hydra.output_subdir=null", "paths.raw", "data/raw"),
        ("hydra.mode=MULTIRUN activation=relu,tanh", "activation.name", "relu tanh"),
        ("-m hydra/sweeper=basic hydra.sweeper.max_batch_size=1 seeds=[0],[1]", "seeds", "[0] [1]"),
        ("-cn config --config-dir extra activation=mine", "activation.name", "mine"),
        ("paths.raw=/other/raw", "paths.raw", "/other/raw"),
    ],
)
def test_ordinary_hydra_works(arguments, keys, expected, commands):
    conf = commands.folder / "conf"
    (conf / "data").mkdir(exist_ok=True)
    for name in ("mnist", "fashion_mnist"):
        (conf / f"data/{name}.yaml").touch()
    (conf / "experiment/mine.yaml").write_text(PRESET)
    (commands.folder / "extra/activation").mkdir(parents=True)
    own = (conf / "activation/elu.yaml").read_text().replace("name: elu", "name: mine")
    (commands.folder / "extra/activation/mine.yaml").write_text(own)
    status, _, err = commands.run(*arguments.split())
    assert (status, err) == (0, "")
    assert " ".join(values(config, keys) for config in commands.configs).startswith(expected)
    assert Path.cwd() == commands.folder


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("-m training.epochs=interval(1,3)", "training.epochs=interval(1,3): only hydra/sweeper="),
        (f"{FAIR} activation=relu,elu seeds=interval(1,3)", "seeds=interval(1,3): only hydra/sw"),
        ("-m hydra.sweeper.max_batch_size=0", "hydra.sweeper.max_batch_size is 0: it has to be 1"),
        ("-m data=glob(q*)", "data=glob(q*) gives no value: conf/data/ has "),
        ("-cn nothing", "Cannot find primary config 'nothing'. Check that it's in your config se"),
        ("+experiment=smoke training.epohcs=3 activation=relu,elu", "training.epohcs is unknown:"),
        ("activation=relu,elu", "Ambiguous value for argument 'activation=relu,elu'; 1. To use"),
        ("hydra.run.dir=${hydra.job.num}", "hydra.run.dir=${hydra.job.num}: MissingMandatoryVal"),
        (f"{FAIR} ~network activation=relu,elu", "network is missing: give it in params.yaml or"),
        (f"{FAIR} hydra.sweeper.fresh_seeds=[-1] activation=relu,elu", "seeds[0] is -1: it has"),
        (f"{OPTUNA} activation=relu,rulu", "activation is 'rulu': it has to be one of "),
        (f"{OPTUNA} activation=relu,elu activation.constants.alpha=2", "activation.constants.alp"),
    ],
)
def test_other_hydra_is_refused_in_one_line(arguments, line, commands):
    (commands.folder / "conf/data").mkdir(exist_ok=True)
    before = commands.files()
    status, out, err = commands.run(*arguments.split())
    assert (status, out) == (1, "")
    assert err.startswith(f"actlab: {line}")
    assert err.count("\n") == 1
    assert commands.files() == before


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("--cfg job --resolve", r"runs: multirun/single/defaults-\w{8}/runs"),
        ("--cfg hydra --resolve", r"dir: multirun/single/defaults-\w{8}"),
        ("--cfg all", r"output: \$\{output_folder:\}"),
        ("--cfg job --package training", "# @package training\nepochs: 20"),
        ("--help --resolve", r"runs: multirun/single/defaults-\w{8}/runs"),
        ("--hydra-help", "Config"),
    ],
)
def test_hydras_flags_print(arguments, shown, commands):
    before = commands.files()
    status, out, err = commands.run(*arguments.split())
    assert (status, err) == (0, "")
    assert re.search(shown, out)
    assert commands.files() == before


@pytest.mark.parametrize(
    "condition", ["tags.experiment='x'", "params.`training.epochs` = '20'", 'a = "b"']
)
def test_a_condition_is_taken_or_its_quotes_are_given(condition, commands):
    """The printed argument, pasted into a shell, is the condition."""
    status, _, err = commands.run(f"compare.filter={condition}", sweepable=False)
    assert status == 1
    assert err.startswith(f"actlab: compare.filter={condition} is not a valid override")
    (quoted,) = shlex.split(err.rpartition(": quote the value, ")[2])
    assert commands.run(quoted, sweepable=False)[0] == 0
    assert commands.configs[0].compare.filter == condition


# --- Names --------------------------------------------------------------------------------

ODD = ["a/b", "..", "../../b", "it's", 'a "b"', "a b", "C:", "*?", "a\nb", "größe", "名前", "-x"]
ODD += [
    ".x",
    "~",
    "x" * 300,
    "x" * 300 + "y",
    "$HOME",
    "`id`",
    "a;b",
    "a=b,c",
    "",
    "\\",
    "%41",
    "|",
]


def test_names_of_folders_hold_what_every_file_system_takes():
    names = [name_folder([f"activation.constants.mode={text}"], text) for text in ODD]
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._,=+\[\]-]{0,160}", name) for name in names)
    assert len(set(names)) == len(ODD)
    assert name_folder([], 1).startswith("defaults-")
    assert [escape(escape(text)) for text in ODD] == [escape(text) for text in ODD]


def test_a_job_has_one_folder_and_a_run_name_whatever_its_values(commands):
    some = ["../../b", "it's", "größe *\n", "x" * 300, "\\"]
    quoted = ",".join(QuotedString(text, Quote.single).with_quotes() for text in some)
    status, _, err = commands.run("-m", *OWN.split(), f"activation.constants.mode={quoted}")
    assert (status, err) == (0, "")
    assert [config.activation.constants["mode"] for config in commands.configs] == some
    folders = [Path(config.paths.output) for config in commands.configs]
    assert {folder.parent for folder in folders} == {commands.folder / "multirun"}
    assert len({folder.name for folder in folders}) == len(some)
    for config in commands.configs:
        assert re.fullmatch(r"[\w.,=/ \[\]-]{1,200}", run_name(config), re.ASCII)


def test_keys_that_change_no_result_are_in_no_name(commands):
    names = set()
    neutral = "paths.raw=/other/raw paths.reports=a/b sweep=x force=true models_at_once=1"
    for arguments in ("", neutral, f"{neutral} report.confidence=0.9 timing.blocks=3"):
        assert commands.run("activation=tanh", *arguments.split())[0] == 0
        names.add(Path(commands.configs[0].paths.output).name)
    (name,) = names
    assert list_overrides(name) == ["activation=tanh"]
    assert run_name(commands.configs[0]) == "tanh/mlp"


def test_another_configuration_has_another_folder(commands):
    """Two sweeps with different values in params.yaml do not overwrite each other's jobs."""
    file = commands.folder / "params.yaml"
    folders = []
    for old, new in (("", ""), ("batch_size: 128", "batch_size: 64"), ("blocks: 12", "blocks: 9")):
        file.write_text(file.read_text().replace(old, new))
        assert commands.run("-m", "activation=tanh")[0] == 0
        folders.append([config.paths.output for config in commands.configs])
    assert not set(folders[0]) & set(folders[1])
    assert folders[1] == folders[2]  # timing changes no training


# --- What is deleted ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        "hydra.run.dir={}/deeper",
        "hydra.run.dir={}/full",
        "hydra.run.dir={}/own_hydra",
        "hydra.run.dir={}/link/new/deep",
        "hydra.run.dir={}/link hydra.output_subdir=null",
        "hydra.run.dir={}/a/../b hydra.output_subdir=x/y",
        "-m hydra.sweep.dir={}/deeper",
        "-m hydra.sweep.dir={}/new/deep training.batch_size=1,2",
        "+experiment=fair hydra.sweep.dir={}/deeper",
        "-m hydra/sweeper=optuna data.validation_size=9 hydra.sweep.dir={}/deeper seeds=[1],[2]",
    ],
)
def test_a_refused_command_removes_what_it_made_and_nothing_else(arguments, commands, tmp_path):
    mine = tmp_path / "mine"
    for folder in ("deeper", "full", "own_hydra/.hydra", "real"):
        (mine / folder).mkdir(parents=True)
    (mine / "full/notes.txt").touch()
    (mine / "link").symlink_to("real")
    before = {path: path.is_dir() for path in tmp_path.rglob("*")}
    status, _, err = commands.run(*arguments.format(mine).split(), "training.epochs=0")
    assert status == 1
    assert err.startswith("actlab: training.epochs is 0: it has to be at least 1")
    assert {path: path.is_dir() for path in tmp_path.rglob("*")} == before


def test_what_a_run_has_written_is_kept(commands, tmp_path):
    def fail(config: Any) -> None:
        Path(config.paths.output, "result.csv").touch()
        raise OSError("no space")

    commands.stage = fail
    folder = tmp_path / "new/deep"
    status, _, err = commands.run(f"hydra.run.dir={folder}")
    assert (status, err.count("\n")) == (1, 1)
    assert (folder / "result.csv").is_file()
    assert (folder / ".hydra/config.yaml").is_file()


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path):
    target = tmp_path / "photos"
    target.mkdir()
    (target / "data.json").touch()
    for name in ("cat.jpg", ".hidden"):
        (target / name).touch()
        with (
            pytest.raises(UserError, match=rf"photos would be replaced, and holds {name}, which"),
            atomic_write(target, replaces=["data.json"]),
        ):
            pass
        assert {path.name for path in target.iterdir()} == {"data.json", name}
        (target / name).unlink()
    with atomic_write(target, replaces=["data.json"]) as new:
        new.mkdir()
    assert not any(target.iterdir())
