"""What a user's mistake leads to: one line, status 1, nothing written."""

import importlib
import logging
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from studies import read_committed

from actlab.errors import UserError
from actlab.stages import entry

CONF = Path(__file__).parents[1] / "conf"

#: The files of each group, as they are listed where another is asked for.
KNOWN = {
    group: ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
    for group in ("activation", "network")
}


@pytest.fixture
def study(root, tmp_path):
    """A folder with the configuration of the repository and nothing else."""
    for name in ("conf", "custom"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "params.yaml").write_text(read_committed(root, "params.yaml"))
    return tmp_path


@pytest.fixture
def run(study, monkeypatch, capsys):
    """Run a stage in this process, as its command does; return its status and what it printed."""
    monkeypatch.chdir(study)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("MLFLOW_TRACKING_URI", "ACTLAB_DATA", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    # Hydra shuts all handlers when it configures logging: absl's closes the stream pytest reads.
    monkeypatch.setattr(logging, "shutdown", lambda handlers=None: None)
    quiet = ("hydra/job_logging=disabled", "hydra/hydra_logging=disabled")

    def run(stage, *arguments, full_error=""):
        monkeypatch.setenv("HYDRA_FULL_ERROR", full_error)  # a command sets it for its own process
        monkeypatch.setattr(sys, "argv", [f"{stage}.py", *arguments, *quiet])
        function = getattr(importlib.import_module(f"actlab.stages.{stage}"), stage)
        status = 0
        try:
            entry.run(function, sweepable=stage == "train")
        except SystemExit as ended:
            status = ended.code
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    yield run
    HydraConfig.instance().cfg = None
    sys.modules.pop("example", None)


def files(folder):
    return {path.relative_to(folder) for path in folder.rglob("*")}


OWN = "activation=custom +activation.constants.a=1.0 activation.function="


# The bounds of every key are in test_config.py.
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("training.epohcs=3", "training.epohcs is unknown: training has epochs, batch_size,"),
        ("+training.foo=1", "training.foo is unknown: training has epochs, batch_size,"),
        ("+foo=1", "foo is unknown: the configuration has data, activations, networks,"),
        ("training.epochs=abc", "training.epochs: Value 'abc' of type 'str' could not be conv"),
        ("training.epochs=1.5", "training.epochs: Value '1.5' of type 'float' could not be conv"),
        ("training.epochs=null", "training.epochs: field 'training.epochs' is not Optional"),
        ("training.epochs=???", "training.epochs is missing: give it in params.yaml or conf/"),
        ("training.epochs=1,2", "Ambiguous value for argument 'training.epochs=1,2'; 1. To use"),
        ("training.epochs=0", "training.epochs is 0: it has to be at least 1"),
        ("seeds=3", "seeds: Invalid value assigned: int is not a ListConfig"),
        ("seeds=[a]", "seeds[0]: Value 'a' of type 'str' could not be converted to Integer"),
        ("seeds=[true]", "seeds[0]: Value 'True' of type 'bool' could not be converted to Integ"),
        ("compare.by=[[]]", "compare.by[0] is []: it has to be a valid string"),
        (
            "activations=[rulu]",
            f"activations has 'rulu': conf/activation/ has {KNOWN['activation']}",
        ),
        ("networks=[gru]", f"networks has 'gru': conf/network/ has {KNOWN['network']}"),
        ("activation=rulu", f"activation is 'rulu': it has to be one of {KNOWN['activation']}"),
        ("network=gru", f"network is 'gru': it has to be one of {KNOWN['network']}"),
        ("network.hidden=0x64", "network.hidden is '0x64': it has to be a list of whole num"),
        ("activation=custom", "activation.function is missing: give it in params.yaml or conf/"),
        (
            "run=stage activation.name=other",
            "activation.name is 'other' in conf/activation/relu.yaml: it",
        ),
        (
            f"{OWN}nothing.at_all",
            "activation.function is 'nothing.at_all': there is no module nothing in custom/ or",
        ),
        (
            f"{OWN}example.cosine",
            "activation.function is 'example.cosine': example (",
        ),
        (
            "activation=snake +activation.constants.a=1.0",
            "activation.constants: got an unexpected keyword argument 'a': example.snake takes (x",
        ),
    ],
)
def test_a_wrong_configuration_is_one_line(arguments, line, study, run):
    before = files(study)
    status, out, err = run("train", *arguments.split())
    assert (status, out) == (1, "")
    assert err.startswith(f"actlab: {line}")
    assert err.count("\n") == 1
    assert files(study) == before


def replace(name, old, new):
    """Return a change of a file of the study."""

    def change(study):
        text = (study / name).read_text()
        assert old in text
        (study / name).write_text(text.replace(old, new))

    return change


def write(name, text):
    return lambda study: (study / name).write_text(text)


@pytest.mark.parametrize(
    ("change", "stage", "line"),
    [
        (
            lambda study: None,
            "train",
            "data/processed/data.json is missing: run `dvc repro preprocess` to make it",
        ),
        (
            lambda study: shutil.rmtree(study / "conf"),
            "train",
            "{study} is not the root of the repository (no conf/config.yaml and params.yaml)",
        ),
        (
            replace("conf/config.yaml", "by: null", "by: {}"),
            "train",
            "compare.by is {{}}: it has to be a valid list (in conf/config.yaml)",
        ),
        (
            replace("params.yaml", "batch_size: 128", ""),
            "preprocess",
            "training.batch_size is missing: give it in params.yaml or conf/",
        ),
        (write("params.yaml", "training: {epochs: 3"), "preprocess", "params.yaml is not valid YA"),
        (write("params.yaml", "- a\n- b\n"), "preprocess", "params.yaml holds \"['a', 'b']\": it"),
        (
            write("params.yaml", "unknown: 1\n"),
            "preprocess",
            "unknown is unknown: the configuration has data, activations, networks,",
        ),
        (
            replace("params.yaml", "epochs: 20", "epohcs: 20"),
            "train",
            "training.epohcs is unknown: training has epochs, batch_size, probe_epochs",
        ),
        (
            replace("params.yaml", "epochs: 20", "epochs: many"),
            "train",
            "training.epochs: Value 'many' of type 'str' could not be converted to Integer (in par",
        ),
        (
            replace("conf/activation/relu.yaml", "name:", "nmae:"),
            "train",
            "activation.nmae is unknown: activation has name, function, constants, trained (in ",
        ),
        (write("data", "a file where a folder has to be"), "fetch_data", "data/raw: "),
    ],
)
def test_a_study_that_is_wrong_is_one_line(change, stage, line, study, run, mnist_raw, monkeypatch):
    monkeypatch.setenv("ACTLAB_DATA", str(mnist_raw))
    change(study)
    before = files(study)
    status, _, err = run(stage, "run=stage")
    assert status == 1
    assert err.startswith(f"actlab: {line.format(study=study)}")
    assert err.count("\n") == 1
    assert files(study) == before


def test_a_copy_for_an_experiment_says_what_it_leaves_out(study, run, monkeypatch):
    copy = study / ".dvc/tmp/exps/standalone/tmp1"
    shutil.copytree(study / "conf", copy / "conf")
    shutil.copy(study / "params.yaml", copy)
    monkeypatch.chdir(copy)
    status, _, err = run("preprocess", "activations=[mine]")
    assert status == 1
    assert err.endswith("; a copy for an experiment has what git tracks: git add the new files\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "data.name=mnist,fashion_mnist"],
        ["--multirun"],
        ["hydra.mode=MULTIRUN"],
        ["+experiment=smoke"],
    ],
)
def test_only_trainings_are_swept(arguments, study, run):
    before = files(study)
    _, _, err = run("preprocess", *arguments)
    assert err == (
        "actlab: only actlab.stages.train can be swept: leave out -m, +experiment and hydra.mode\n"
    )
    assert files(study) == before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("training.epochs=1,0,-1", "training.epochs is 0: it has to be at least 1 (job 2 of 3: tr"),
        ("activation=relu,rulu", "activation is 'rulu': it has to be one of"),
        ("activation=elu,relu activation.constants.alpha=2", "activation.constants.alpha is unkn"),
        (
            "training.epohcs=1,2",
            "training.epohcs is unknown: training has epochs, batch_size, probe_ep",
        ),
        ("hydra.sweep.subdir=a activation=relu,tanh", "hydra.sweep.subdir gives two jobs one fol"),
        (f"sweep={'x' * 81} activation=relu,tanh", f"sweep is '{'x' * 81}': a sweep's name has"),
    ],
)
def test_a_sweep_with_a_job_that_cannot_run_does_not_begin(arguments, line, study, run):
    before = files(study)
    status, out, err = run("train", "-m", *arguments.split())
    assert (status, out) == (1, "")
    assert err.startswith(f"actlab: {line}")
    assert err.count("\n") == 1
    assert files(study) == before


def test_a_cause_that_jobs_share_is_reported_once(run, monkeypatch):
    monkeypatch.setenv("ACTLAB_DATA", "nowhere")
    status, out, err = run("train", "-m", "training.epochs=2,1", "sweep=mine")
    assert status == 1
    cause, last = err.splitlines()
    assert cause.startswith("actlab: the folder nowhere")
    assert "(jobs 1, 2); again: python -m actlab.stages.train -m training.epochs=2" in cause
    assert last.startswith("actlab: 2 of 2 jobs failed: ")
    assert "2 jobs: 2 failed." in out
    assert "Compare" not in out
    assert "best" not in out


@pytest.mark.parametrize("key", ["reports", "results"])
def test_a_folder_with_other_files_is_not_replaced(key, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("thesis")
    (folder / "figures").mkdir()
    (folder / "thesis.tex").touch()
    status, _, err = run("report", f"paths.{key}={folder}")
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith(f"actlab: paths.{key} is {folder}, which holds ")
    assert {path.name for path in folder.iterdir()} == {"figures", "thesis.tex"}


def test_the_traceback_is_there_for_who_asks(run):
    with pytest.raises(UserError, match=r"training\.epochs is 0"):
        run("train", "run=stage", "training.epochs=0", full_error="1")


@pytest.mark.parametrize("stage", ["preprocess", "train"])
def test_help_names_groups_values_and_examples(stage, run):
    status, out, _ = run(stage, "--help")
    assert status == 0
    assert f"activation: {KNOWN['activation']}" in out
    assert "batch_size: 128" in out
    assert "python -m actlab.stages.train -m activation=" in out


def test_a_full_disk_is_one_line_and_leaves_nothing(root, study, mnist_raw):
    """In a process of its own, whose files may have a megabyte."""
    (study / "data/raw").mkdir(parents=True)
    (study / "data/raw/mnist").symlink_to(mnist_raw)
    before = files(study)
    finished = subprocess.run(
        [sys.executable, "-m", "actlab.stages.preprocess"],
        cwd=study,
        env=os.environ | {"PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)),
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("actlab: ")
    assert finished.stderr.endswith("free disk space or fix its permissions, then run this again\n")
    assert finished.stderr.count("\n") == 1
    assert files(study) == before
