"""What a user's mistake leads to: one line, status 1, nothing written."""

import logging
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from studies import read_committed

from actlab.errors import UserError
from actlab.stages.entry import run
from actlab.training.config import TrainingConfig

CONF = Path(__file__).parents[1] / "conf"

#: The files of each group, as they are listed where another is asked for.
KNOWN = {
    group: ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
    for group in ("activation", "network")
}


@pytest.fixture
def study(root, tmp_path):
    """A folder with the configuration of the repository and nothing else."""
    shutil.copytree(root / "conf", tmp_path / "conf")
    (tmp_path / "params.yaml").write_text(read_committed(root, "params.yaml"))
    return tmp_path


@pytest.fixture
def command(root):
    """Run a stage in a folder, as a user would; gives the finished process."""

    def run(folder, stage, *arguments, preexec_fn=None, **environment):
        environment = {"PYTHONPATH": str(root / "src"), **environment}
        return subprocess.run(
            [sys.executable, "-m", f"actlab.stages.{stage}", *arguments],
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=preexec_fn,
        )

    return run


@pytest.fixture
def refused(study, monkeypatch, capsys):
    """Give `train` a configuration in this process; gives the line that refuses it."""
    monkeypatch.chdir(study)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # a command sets it for its own process
    # Hydra shuts all handlers when it configures logging: absl's closes the stream pytest reads.
    monkeypatch.setattr(logging, "shutdown", lambda handlers=None: None)

    def refuse(*arguments):
        quiet = ("hydra/job_logging=disabled", "hydra/hydra_logging=disabled")
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments, *quiet])
        with pytest.raises(SystemExit) as ended:
            run(lambda config: pytest.fail("it trained"), sweepable=True)
        assert ended.value.code == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    yield refuse
    HydraConfig.instance().cfg = None


def files(folder):
    return {path.relative_to(folder) for path in folder.rglob("*")}


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
        ("training.epochs=0", "training.epochs is 0: it has to be at least 1"),
        ("training.batch_size=-1", "training.batch_size is -1: it has to be at least 1"),
        (
            "training.learning_rate=0",
            "training.learning_rate is 0.0: it has to be from 1e-45",
        ),
        (
            "training.learning_rate=nan",
            "training.learning_rate is nan: it has to be a finite",
        ),
        ("training.probe_epochs=[-1]", "training.probe_epochs[0] is -1: it has to be at least 0"),
        ("seeds=3", "seeds: Invalid value assigned: int is not a ListConfig"),
        ("seeds=[a]", "seeds[0]: Value 'a' of type 'str' could not be converted to Integer"),
        ("seeds=[]", "seeds is []: it has to be a list of at least one entry"),
        ("seeds=[1,1]", "seeds is [1, 1]: it has to be a list of at least one entry, without rep"),
        ("seeds=[[]]", "seeds[0] is []: it has to be a valid integer"),
        ("seeds=[true]", "seeds[0]: Value 'True' of type 'bool' could not be converted to Integ"),
        ("compare.by=[[]]", "compare.by[0] is []: it has to be a valid string"),
        ("seeds=[-1]", "seeds[0] is -1: it has to be at least 0"),
        ("activations=[]", "activations is []: it has to be a list of at least one entry"),
        ("activations=[relu,relu]", "activations is ['relu', 'relu']: it has to be a list of"),
        (
            "activations=[rulu]",
            f"activations has 'rulu': conf/activation/ has {KNOWN['activation']}",
        ),
        ("networks=[gru]", f"networks has 'gru': conf/network/ has {KNOWN['network']}"),
        ("activation=rulu", f"activation is 'rulu': it has to be one of {KNOWN['activation']}"),
        ("network=gru", f"network is 'gru': it has to be one of {KNOWN['network']}"),
        ("network.hidden=[0]", "network.hidden is [0]: it has to be a list of whole numbers"),
        ("network.hidden=[1.5]", "network.hidden is [1.5]: it has to be a list of whole num"),
        ("network.hidden=0x64", "network.hidden is '0x64': it has to be a list of whole num"),
        ("network.hidden=8", "network.hidden is 8: it has to be a list of whole numbers from 1 to"),
        ("models_at_once=0", "models_at_once is 0: it has to be at least 1"),
        ("sweep=a/b", "sweep is 'a/b': it has to be at most 100 letters, digits, _ an"),
        ("activation.function=f", "activation.function is 'f': it has to be one of sigmoid,"),
        ("activation.function=softmax", "activation.function is 'softmax': it takes all units of"),
        ("activation=custom", "activation.function is missing: give it in params.yaml or conf/"),
        ("activation.name=a-b", "activation.name is 'a-b': it has to be at most 100 letters"),
        ("activation.name=other", "activation.name is 'other' in conf/activation/relu.yaml: it"),
        ("+activation.constants.x=1", "activation.constants.x is unknown: ReLU has the constan"),
        ("data.name=cifar", "data.name is 'cifar': it has to be one of mnist, fashion_mnist"),
        ("data.validation_size=60000", "data.validation_size is 60000: it has to be from 0 to"),
        ("model.kernel_initializer=z", "model.kernel_initializer is 'z': it has to be one of"),
        ("gradients.test_images=0", "gradients.test_images is 0: it has to be at least 1"),
        ("theory.width=0", "theory.width is 0: it has to be at least 1"),
        ("theory.depth=1", "theory.depth is 1: it has to be at least 2"),
        ("theory.images=0", "theory.images is 0: it has to be at least 1"),
        ("theory.seeds=[]", "theory.seeds is []: it has to be a list of at least one entry"),
        ("theory.seeds=[-1]", "theory.seeds[0] is -1: it has to be at least 0"),
        ("theory.initializers=[he]", "theory.initializers[0] is 'he': it has to be one of gloro"),
        ("theory.initializers=[]", "theory.initializers is []: it has to be a list of at least"),
        (
            "gradients.saturated_below=1.5",
            "gradients.saturated_below is 1.5: it has to be between 0 and 1",
        ),
        (
            "gradients.preactivation_bins=2",
            "gradients.preactivation_bins is 2: it has to be at least 3",
        ),
        ("report.confidence=95", "report.confidence is 95.0: it has to be between 0 and 1"),
        ("report.target_accuracy=97", "report.target_accuracy is 97.0: it has to be between 0"),
        ("report.equivalence_margin=0", "report.equivalence_margin is 0.0: it has to be greater"),
        ("report.equivalence_margin_ratio=inf", "report.equivalence_margin_ratio is inf: it has"),
        ("timing.blocks=1", "timing.blocks is 1: it has to be at least 2"),
        ("timing.block_epochs=0", "timing.block_epochs is 0: it has to be at least 1"),
        ("timing.kernel_units=0", "timing.kernel_units is 0: it has to be at least 1"),
        ("timing.kernel_repetitions=0", "timing.kernel_repetitions is 0: it has to be at least 1"),
        (
            "timing.elementwise_repetitions=0",
            "timing.elementwise_repetitions is 0: it has to be at least 1",
        ),
        ("training.epochs=1,2", "Ambiguous value for argument 'training.epochs=1,2'; 1. To use"),
    ],
)
def test_a_wrong_configuration_is_one_line(arguments, line, study, refused):
    before = files(study)
    assert refused("run=stage", *arguments.split()).startswith(f"actlab: {line}")
    assert files(study) == before


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("nothing.at_all", "there is no module nothing in custom/ or among Python's"),
        ("example.cosine", "example has no cosine: it has snake"),
    ],
)
def test_an_own_function_that_cannot_be_trained_is_one_line(function, said, study, root, command):
    shutil.copytree(root / "custom", study / "custom")
    before = files(study)
    arguments = ["activation=custom", f"activation.function={function}"]
    arguments.append("+activation.constants.a=1.0")
    finished = command(study, "train", *arguments, PYTHONDONTWRITEBYTECODE="1")
    assert finished.returncode == 1
    assert finished.stderr == f"actlab: activation.function is '{function}': {said}\n"
    assert files(study) == before


def test_a_constant_that_an_own_function_does_not_take_is_one_line(study, root, command):
    shutil.copytree(root / "custom", study / "custom")
    arguments = ["activation=snake", "+activation.constants.a=1.0"]
    finished = command(study, "train", *arguments, PYTHONDONTWRITEBYTECODE="1")
    assert finished.returncode == 1
    assert finished.stderr == (
        "actlab: activation.constants.a is unknown: example.snake has the constants frequency\n"
    )


def test_missing_data_names_the_command_that_makes_it(study, command):
    before = files(study)
    finished = command(study, "train", "run=stage")
    assert finished.returncode == 1
    assert finished.stderr == (
        "actlab: data/processed/data.json is missing: run `dvc repro preprocess` to make it\n"
    )
    assert files(study) == before


def test_a_list_that_may_be_missing_is_one_all_the_same(study, command):
    path = study / "conf/config.yaml"
    path.write_text(path.read_text().replace("by: null", "by: {}"))
    assert command(study, "train").stderr == (
        "actlab: compare.by is {}: it has to be a valid list (in conf/config.yaml)\n"
    )


def test_a_key_missing_from_params_is_named(study, command):
    params = yaml.safe_load((study / "params.yaml").read_text())
    del params["training"]["batch_size"]
    (study / "params.yaml").write_text(yaml.safe_dump(params))
    finished = command(study, "preprocess")
    assert finished.stderr == (
        "actlab: training.batch_size is missing: give it in params.yaml or conf/\n"
    )


def test_a_refused_configuration_leaves_no_folder(study, command):
    before = files(study)
    finished = command(study, "train", "training.epochs=0")
    assert finished.stderr == "actlab: training.epochs is 0: it has to be at least 1\n"
    assert files(study) == before


@pytest.mark.parametrize("text", ["training: {epochs: 3", "- a\n- b\n", "unknown: 1\n"])
def test_a_broken_params_file_is_one_line(text, study, command):
    (study / "params.yaml").write_text(text)
    finished = command(study, "preprocess")
    assert finished.returncode == 1
    assert finished.stderr.startswith("actlab: ")
    assert finished.stderr.count("\n") == 1


def test_another_folder_is_refused(tmp_path, command):
    finished = command(tmp_path, "train")
    assert finished.returncode == 1
    assert "is not the root of the repository" in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert not files(tmp_path)


def test_a_full_disk_is_one_line_and_leaves_nothing(study, mnist_raw, command):
    (study / "data").mkdir()
    (study / "data/raw").symlink_to(mnist_raw)
    before = files(study)

    def allow_files_of_a_megabyte():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    finished = command(study, "preprocess", preexec_fn=allow_files_of_a_megabyte)
    assert finished.returncode == 1
    assert finished.stderr.startswith("actlab: ")
    assert finished.stderr.endswith("free disk space or fix its permissions, then run this again\n")
    assert finished.stderr.count("\n") == 1
    assert files(study) == before


def test_a_folder_in_the_way_is_named(study, mnist_raw, command):
    (study / "data").write_text("a file where a folder has to be")
    finished = command(study, "fetch_data", ACTLAB_DATA=str(mnist_raw))
    assert finished.returncode == 1
    assert finished.stderr.startswith("actlab: data: ")
    assert finished.stderr.count("\n") == 1


def test_only_trainings_are_swept(study, command):
    finished = command(study, "preprocess", "-m", "data.name=mnist,fashion_mnist")
    assert finished.stderr == "actlab: this command cannot be swept: leave out -m\n"


def test_a_sweep_goes_on_after_a_job_that_cannot_run(study, command):
    before = files(study)
    finished = command(study, "train", "-m", "training.epochs=0,-1,1")
    assert finished.returncode == 1
    *failures, last = finished.stderr.splitlines()
    assert [line.removeprefix("actlab: ").partition(":")[0] for line in failures] == [
        "training.epochs is 0",
        "training.epochs is -1",
        "data/raw/train-images-idx3-ubyte is missing",
    ]
    assert last.startswith("actlab: 3 of 3 jobs failed: ")
    left = {path for path in files(study) - before if path.suffix != ".lock"}
    left = {path for path in left if ".locks" not in path.parts}
    names = {path.name for path in left}
    # Of the jobs no folder.
    assert names == {"multirun", "multirun.yaml", "mlflow.db", "checkpoints"}


def test_the_traceback_is_there_for_who_asks(study, command):
    finished = command(study, "train", "run=stage", "training.epochs=0", HYDRA_FULL_ERROR="1")
    assert "Traceback" in finished.stderr
    assert "training.epochs is 0" in finished.stderr


@pytest.mark.parametrize("stage", ["fetch_data", "preprocess", "train", "theory", "report"])
def test_help_names_groups_values_and_examples(stage, study, command):
    finished = command(study, stage, "--help")
    assert finished.returncode == 0
    assert f"activation: {KNOWN['activation']}" in finished.stdout
    assert "batch_size: 128" in finished.stdout
    assert "python -m actlab.stages.train -m activation=" in finished.stdout


def test_conf_holds_no_values(root):
    # params.yaml is the one source of values; DVC does not see what config.yaml says.
    config = yaml.safe_load((root / "conf/config.yaml").read_text())
    assert set(config) == {
        "defaults",
        "paths",
        "hydra",
        *("sweep", "force", "models_at_once", "compare"),  # none of these changes a result
    }


def test_every_kernel_initialiser_is_one_of_keras():
    from actlab.activations.definitions import ACTIVATIONS
    from actlab.backend import keras
    from actlab.models.config import KERNEL_INITIALIZERS, MATCHED

    recommended = {row.recommended_initializer for row in ACTIVATIONS.values()}
    assert recommended < set(KERNEL_INITIALIZERS) - {MATCHED}
    for name in set(KERNEL_INITIALIZERS) - {MATCHED}:
        assert isinstance(keras.initializers.get(name), keras.initializers.Initializer)


@pytest.mark.parametrize(
    ("epochs", "probes", "kept"),
    [(20, [0, 1, 5], [0, 1, 5, 20]), (2, [0, 1, 5], [0, 1, 2]), (1, [], [0, 1])],
)
def test_kept_epochs_begin_before_training_and_end_with_it(epochs, probes, kept):
    assert TrainingConfig(epochs, 128, 0.001, probes).kept_epochs() == kept


def test_infinite_learning_rate_is_refused():
    with pytest.raises(UserError, match=r"^learning_rate is inf: it has to be a finite number$"):
        TrainingConfig(1, 1, float("inf"), [])
