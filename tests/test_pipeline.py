"""dvc.yaml against the code, and the whole pipeline on 2,000 real images."""

import json
import os
import re
import shutil
import sys

import numpy as np
import pytest
import yaml
from closure import APART, PROVIDES, import_closure
from studies import Study, small_study

from actlab.activations.definitions import ACTIVATIONS
from actlab.engine.fingerprint import list_sources
from actlab.results import identity, tables

STAGES = ["fetch-data", "preprocess", "activations", "train", "collect", "gradients", "timing"]
STAGES += ["theory", "report"]


def stages_of(root):
    return yaml.safe_load((root / "dvc.yaml").read_text())["stages"]


def dependencies(root, stage):
    """The folders and files of the package that a stage depends on."""
    deps = stages_of(root)[stage]["deps"]
    return [dep.removeprefix("src/actlab/") for dep in deps if dep.startswith("src/")]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_computes_it(stage, root):
    package, named = root / "src/actlab", dependencies(root, stage)
    module = re.search(r"-m (actlab\.stages\.\w+)", stages_of(root)[stage]["cmd"])
    assert module
    entry = root / "src" / f"{module[1].replace('.', '/')}.py"
    apart = APART if stage == "fetch-data" else (*APART, PROVIDES)
    runs = import_closure(entry, root / "src", apart)
    assert runs <= set(list_sources(package, named))
    for name in named:
        assert any(path.is_relative_to(package / name) for path in runs), f"nothing runs of {name}"


def test_the_closure_follows_lazy_imports(tmp_path):
    package = tmp_path / "actlab"
    package.mkdir()
    (package / "a.py").write_text("def f():\n    from actlab import b\n")
    (package / "b.py").write_text("import actlab.c\nimport os\n")
    (package / "c.py").write_text("")
    (package / "d.py").write_text("")
    found = import_closure(package / "a.py", tmp_path)
    assert {path.name for path in found} == {"a.py", "b.py", "c.py"}
    found = import_closure(package / "a.py", tmp_path, ["b.py"])
    assert {path.name for path in found} == {"a.py"}


def test_a_training_depends_on_what_its_fingerprint_holds(root):
    assert dependencies(root, "train") == sorted(identity.CODE)


@pytest.mark.parametrize(
    ("edited", "stages"),
    [
        ("reporting/figures", {"report"}),
        ("reporting/findings", {"report"}),
        ("reporting/sections", {"report"}),
        ("evidence/claims", {"report"}),
        ("evidence/config", {"report"}),
        ("tracking/notes", set()),
        ("engine/progress", set()),
        ("engine/files", set()),
        ("engine/command", set()),
        ("schema", set()),
        ("stages/compare", set()),
        ("data/download", {"fetch-data"}),
        ("data/raw", {"fetch-data"}),
        ("data/own", {"fetch-data"}),
        ("data/arrays", {"fetch-data"}),
        ("data/config", {"train", "report"}),
        ("probes/gradients", {"gradients", "theory"}),
        ("probes/kernels", {"timing"}),
        ("probes/untrained", {"theory"}),
        ("probes/theory", {"activations", "theory"}),
        ("probes/config", set()),
        ("training/trainer", {"train", "timing"}),
        ("models/network", {"train", "gradients", "timing", "theory"}),
        ("data/splits", set(STAGES) - {"activations", "collect"}),
        ("activations/functions", set(STAGES) - {"fetch-data", "preprocess", "collect"}),
    ],
)
def test_what_runs_again_after_an_edit(edited, stages, root):
    package = root / "src/actlab"
    path = package / f"{edited}.py"
    assert path.is_file()
    assert list(stages_of(root)) == STAGES
    rerun = {stage for stage in STAGES if path in list_sources(package, dependencies(root, stage))}
    assert rerun == stages


def test_every_activation_has_a_configuration_and_each_the_name_of_its_file(root):
    functions = set()
    for path in (root / "conf/activation").glob("*.yaml"):
        configured = yaml.safe_load(path.read_text())
        assert configured["name"] == path.stem or path.stem == "custom"
        functions.add(configured["function"])
    users = {function for function in functions if "." in function}
    assert functions - users == {*ACTIVATIONS, "???"}
    assert "example.snake" in users
    for path in (root / "conf/network").glob("*.yaml"):
        assert yaml.safe_load(path.read_text())["name"] == path.stem


MINE = """
from keras import ops

def cubed_tanh(x, scale):
    \"\"\"Made up for this test.\"\"\"
    return scale * ops.tanh(x) ** 3
"""


@pytest.fixture(scope="module")
def study(root, mnist_raw, tmp_path_factory):
    """The pipeline run once on 2,000 training images; the other 58,000 are held out.

    One of its activations is of a user's own making.
    """
    names = ["sigmoid", "leaky_relu", "mine"]
    folder = tmp_path_factory.mktemp("clone") / "actlab"
    clone = small_study(root, folder, mnist_raw, activations=names)
    (folder / "custom/my_module.py").write_text(MINE)
    (folder / "conf/activation/mine.yaml").write_text(
        "name: mine\nfunction: my_module.cubed_tanh\nconstants: {scale: 2.0}\n"
    )
    clone.ran = clone.repro()
    return clone


TRAINS = {"train@sigmoid-mlp", "train@leaky_relu-mlp", "train@mine-mlp"}


def test_the_pipeline_runs_every_stage_once(study):
    assert study.ran == {*STAGES} - {"train"} | TRAINS
    assert study.repro() == set()


def test_the_pipeline_trains_on_the_images_that_are_not_held_out(study):
    counts = study.rows("reports/data/class_counts.csv")
    images = dict.fromkeys(("train", "validation", "test"), 0)
    for row in counts:
        images[row["split"]] += int(row["images"])
    assert images == {"train": 2_000, "validation": 58_000, "test": 10_000}
    history = study.rows("runs/sigmoid-mlp/results/history.csv")
    assert [row["seed"] + row["epoch"] for row in history] == ["01", "02", "11", "12"]
    # Accuracies are fractions of 2,000 and of 58,000 images.
    for row in history:
        for key, count in (("accuracy", 2_000), ("val_accuracy", 58_000)):
            right = float(row[key]) * count
            assert right == pytest.approx(round(right), abs=1e-6)


def test_logits_weights_and_table_of_a_seed_agree(study, mnist):
    from actlab.models.network import load_model

    logits = np.load(study.folder / "runs/leaky_relu-mlp/results/test.npz")["seed-1"]
    model = load_model(study.folder / "runs/leaky_relu-mlp/models", 1)
    np.testing.assert_allclose(model(mnist.test.images), logits, rtol=1e-4, atol=1e-5)
    row = study.rows("runs/leaky_relu-mlp/results/test.csv")[1]
    right = (logits.argmax(axis=1) == mnist.test.labels).mean()
    assert float(row["test_accuracy"]) == right


# Of three layers, the output has no health of an activation: four of the statistics.
HEALTH = 3 * len(tables.HEALTH) - 4


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        # Seeds, epochs; layers, probes and statistics of the gradient.
        ("results/gradients.csv", 2 * 3 * (3 * 2 * 3 + HEALTH)),
        ("results/preactivations.csv", 3 * 2 * 60),  # epochs, layers, bins
        # Initializers, directions, pairs of layers and all of them, seeds.
        ("results/theory/ratios.csv", 3 * 2 * (3 + 1) * 2),
        ("reports/theory.csv", 3 * 2 * (3 + 1)),
        ("results/theory/moments.csv", 1),
        ("results/theory/mean_field.csv", 3),  # initializers
        ("timings/blocks.csv", 3),
        ("timings/kernels.csv", 3 * 3),
        ("reports/tables/kernel_times.csv", 3),
        ("reports/tables/activation_functions.csv", 401),
        ("reports/summary.csv", 1),
    ],
)
def test_every_table_has_the_rows_of_every_activation(study, name, rows):
    counts = dict.fromkeys(("sigmoid", "leaky_relu", "mine"), 0)
    for row in study.rows(name):
        counts[row["activation"]] += 1
    assert counts == dict.fromkeys(counts, rows)


def test_what_is_measured_is_plausible(study):
    steps = study.rows("runs/sigmoid-mlp/results/updates.csv")
    assert len(steps) == 2 * 3 * 3  # seeds, epochs, layers
    assert all(0 < float(row["update_ratio"]) < 0.1 for row in steps)
    kernels = study.rows("timings/kernels.csv")
    assert {row["repetitions"] for row in kernels} == {"20", "2000"}
    assert all(float(row["seconds"]) > 0 for row in kernels)
    tests = study.rows("runs/sigmoid-mlp/results/test.csv")
    mean = sum(float(row["test_accuracy"]) for row in tests) / 2
    summary = study.rows("reports/summary.csv")[0]
    assert (summary["activation"], summary["seeds"]) == ("sigmoid", "2")
    assert float(summary["test_accuracy_mean"]) == pytest.approx(mean)


def test_a_users_own_function_is_described(study):
    rows = {row["activation"]: row for row in study.rows("results/theory/mean_field.csv")}
    # The slope 6 tanh^2 (1 - tanh^2) is steepest where tanh^2 = 1/2.
    assert float(rows["mine"]["steepest_slope"]) == pytest.approx(1.5)
    report = (study.folder / "reports/report.md").read_text()
    row = next(line for line in report.splitlines() if line.startswith("| mine | my_module"))
    assert "| (−2, 2) | 1.5 |" in row
    assert "Made up for this test." in row


def test_dvc_plots_curves_of_every_configuration_and_figures(study):
    plots = json.loads(study.run("dvc", "plots", "show", "--json"))
    data = plots["data"]
    curves = json.dumps(data["Validation accuracy"])
    assert "sigmoid-mlp" in curves
    assert "leaky_relu-mlp" in curves
    study.run("dvc", "plots", "show", "--out", "dvc_plots")
    page = (study.folder / "dvc_plots/index.html").read_text()
    assert page.count("<img") == 6
    study.run("python", "scripts/plots_page.py")
    study.run("dvc", "plots", "show", "--out", "dvc_plots")
    page = (study.folder / "dvc_plots/index.html").read_text()
    head, _, body = page.rpartition("</head>")
    assert "vegaEmbed" in head
    assert not re.findall(r"<script[^>]+src=|<link", page)  # nothing comes from the web
    assert (body.count("vegaEmbed("), body.count("<img")) == (3, 6)


def test_dvc_shows_metrics_and_stages(study):
    metrics = json.loads(study.run("dvc", "metrics", "show", "--json"))
    assert '"leaky_relu/mlp %": ' in json.dumps(metrics)
    graph = study.run("dvc", "dag", "--dot")
    assert re.search(r'"train@sigmoid-mlp" -> "collect"', graph)


def test_every_run_is_in_mlflow_and_sync_adds_nothing(study):
    command = [
        sys.executable,
        "-c",
        "import mlflow;mlflow.set_tracking_uri('sqlite:///mlflow.db');"
        "runs=mlflow.search_runs(experiment_names=['actlab']);"
        "print('RUNS',*sorted(runs['tags.mlflow.runName']));"
        "print('STATUS',*set(runs['status']))",
    ]
    before = study.run(*command)
    assert (
        "RUNS leaky_relu/mlp leaky_relu/mlp/seed-0 leaky_relu/mlp/seed-1"
        " mine/mlp mine/mlp/seed-0 mine/mlp/seed-1"
        " report sigmoid/mlp sigmoid/mlp/seed-0 sigmoid/mlp/seed-1\n"
    ) in before
    assert "STATUS FINISHED\n" in before
    synced = study.run("python", "-m", "actlab.stages.sync", PYTHONPATH="src")
    assert synced.splitlines()[-1] == "MLflow already has every run"
    assert study.run(*command) == before


def commit(study):
    study.run("git", "add", "--all")
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    study.run("git", *identity, "commit", "--quiet", "--allow-empty", "--message", "study")


def test_a_pulled_study_trains_nothing_and_fills_mlflow(study, mnist_raw, tmp_path):
    commit(study)
    folder, remote = tmp_path / "pulled", ("remote", "add", "--default", "--local", "-f", "there")
    study.run("git", "clone", "--quiet", ".", str(folder))
    pulled = Study(folder, mnist_raw)
    for each in (study, pulled):
        each.run("dvc", *remote, str(tmp_path / "remote"))
    study.run("dvc", "push")
    pulled.run("dvc", "pull")
    outputs = ("data", "runs", "results", "timings", "reports")
    assert pulled.digests(*outputs) == study.digests(*outputs)
    said = pulled.run("python", "-m", "actlab.stages.answer", PYTHONPATH="src")
    assert (
        f"{100 * float(study.rows('reports/summary.csv')[1]['test_accuracy_mean']):.2f} %" in said
    )
    assert pulled.repro() == set()
    sync = ("python", "-m", "actlab.stages.sync")
    written = pulled.run(*sync, PYTHONPATH="src")
    assert written.count("seeds\n") == 3
    assert "written: report\n" in written
    assert "left out" not in written
    assert pulled.run(*sync, PYTHONPATH="src") == "MLflow already has every run\n"
    assert json.loads(pulled.run("dvc", "status", "--json")) == {}
    assert pulled.run("git", "status", "--porcelain") == ""


EDITS = {
    "a constant": (
        ("conf/activation/leaky_relu.yaml", "0.01", "0.2"),
        {"train@leaky_relu-mlp"},
    ),
    "one more activation": (
        ("params.yaml", "- leaky_relu\n", "- leaky_relu\n- prelu\n"),
        {"train@prelu-mlp"},
    ),
    "the title of the data set": (("conf/data/mnist.yaml", "title: MNIST", "title: Digits"), set()),
    "the trainer": (("src/actlab/training/trainer.py", "import", "import"), TRAINS),
    "what MLflow is sent": (("src/actlab/tracking/publish.py", "import", "import"), set()),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_makes_the_trainings_stale_that_it_concerns(study, edit):
    (name, old, new), stale = EDITS[edit]
    path = study.folder / name
    before = path.read_text()
    path.write_text(before.replace(old, new, 1) + "\n# edited\n")
    try:
        status = json.loads(study.run("dvc", "status", "--json"))
    finally:
        path.write_text(before)
    assert {stage for stage in status if "@" in stage} == stale
    assert not stale or status


def test_a_run_that_has_left_params_makes_nothing_stale_but_the_list_of_runs(study):
    left = study.folder / "runs/gone-mlp/models"
    shutil.copytree(study.folder / "runs/sigmoid-mlp/models", left)
    try:
        assert set(json.loads(study.run("dvc", "status", "--json"))) == {"collect"}
        assert study.repro() == {"collect"}
        assert json.loads(study.run("dvc", "status", "--json")) == {}
    finally:
        shutil.rmtree(left.parent)
        study.repro("collect")


def test_a_users_own_function_is_trained_again_alone_and_a_wrong_one_is_one_line(study):
    study.replace("custom/my_module.py", "** 3", "** 3 + 0 * x")
    assert study.repro("activations") == {"activations"}
    changed = json.loads(study.run("dvc", "status", "--json"))
    assert set(changed) >= {"train@mine-mlp", "theory", "report"}
    study.replace("custom/my_module.py", "ops.tanh(x) ** 3 + 0 * x", "ops.softmax(x)")
    output = study.run("dvc", "repro", "activations", status=255)
    line = "actlab: activation.function is 'my_module.cubed_tanh': it has to be elementwise"
    assert line in output
    assert "Traceback" not in output
    (study.folder / "custom/my_module.py").write_text(MINE)
    study.repro("activations")
    assert json.loads(study.run("dvc", "status", "--json")) == {}


def test_run_again_on_one_core_stages_give_the_same_bits(study):
    before = study.digests("runs/sigmoid-mlp/models", "runs/sigmoid-mlp/results")
    core = str(min(os.sched_getaffinity(0)))
    stages = ("train activation=sigmoid network=mlp", "gradients", "theory")
    study.run_stages(*stages, before=("taskset", "-c", core))
    assert study.digests("runs/sigmoid-mlp/models", "runs/sigmoid-mlp/results") == before
    assert {row["models_at_once"] for row in study.rows("runs/sigmoid-mlp/timings.csv")} == {"1"}


def test_a_sweep_leaves_the_outputs_of_dvc_alone(study):
    before = study.digests("runs", "results", "timings", "reports")
    overrides = ("activation=tanh", "network.hidden=[8]", "seeds=[3]", "training.epochs=1")
    train = (sys.executable, "-m", "actlab.stages.train", "-m")
    assert "tanh-mlp" in study.run(*train, *overrides, PYTHONPATH="src")
    assert study.digests("runs", "results", "timings", "reports") == before
    (folder,) = study.folder.glob("multirun/activation=tanh,*")
    assert (folder / "runs/tanh-mlp/results/history.csv").is_file()


def test_an_experiment_changes_a_parameter(study):
    commit(study)
    params = (study.folder / "params.yaml").read_text()
    change = ("-S", "report.confidence=0.9")  # one that needs no training
    study.run("dvc", "exp", "run", "--temp", *change, "-n", "short", "report")
    shown = json.loads(study.run("dvc", "params", "diff", "--json", "HEAD", "short"))
    assert shown["params.yaml"]["report.confidence"]["new"] == 0.9
    shown = json.loads(study.run("dvc", "metrics", "diff", "--all", "--json", "HEAD", "short"))
    assert shown["reports/metrics.json"]["sigmoid/mlp %"]["diff"] == 0
    assert (study.folder / "params.yaml").read_text() == params

    # What DVC's extension for VS Code asks: vscode-dvc, extension/src/cli/dvc/reader.ts.
    workspace, last = json.loads(study.run("dvc", "exp", "show", "--num", "1", "--json"))
    (experiment,) = last["experiments"]
    assert experiment["revs"][0]["name"] == "short"
    for revision in (workspace, last, experiment["revs"][0]):
        assert revision["error"] is None
        assert "sigmoid/mlp %" in revision["data"]["metrics"]["reports/metrics.json"]["data"]
    asked = ("dvc", "plots", "diff", "short", "workspace", "-o", "drawn", "--split", "--json")
    plots = json.loads(study.run(*asked).splitlines()[-1])
    assert not plots.get("errors")
    for name in ("Validation accuracy", "reports/figures/test_accuracy.png"):
        revisions = [each for plot in plots["data"][name] for each in plot["revisions"]]
        assert sorted(revisions) == ["short", "workspace"]
    status = json.loads(study.run("dvc", "data", "status", "--granular", "--unchanged", "--json"))
    assert "reports/figures/test_accuracy.png" in status["unchanged"]
