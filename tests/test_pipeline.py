"""dvc.yaml against the code, and the whole pipeline on 2,000 real images."""

import json
import os
import re
import sys

import numpy as np
import pytest
import yaml
from closure import import_closure
from studies import Study, read_committed, small_study

from actlab.results import tables
from actlab.results.identity import APART, CODE

STAGES = [
    "fetch-data",
    "preprocess",
    "activations",
    "train",
    "gradients",
    "timing",
    "theory",
    "report",
]


def definition(root, stage):
    return yaml.safe_load((root / "dvc.yaml").read_text())["stages"][stage]


def entry_of(root, stage):
    module = re.search(r"-m (actlab\.stages\.\w+)", definition(root, stage)["cmd"])
    assert module
    return root / "src" / f"{module[1].replace('.', '/')}.py"


def code_of(root, stage):
    """The files of src/ that a stage depends on."""
    return {dep for dep in definition(root, stage)["deps"] if dep.startswith("src/")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_computes_it(stage, root):
    named = code_of(root, stage)
    apart = () if stage == "report" else APART
    runs = import_closure(entry_of(root, stage), root / "src", apart)
    runs = {str(path.relative_to(root)) for path in runs}
    if "src/actlab/reporting/report.py" in runs:
        runs.add("src/actlab/templates")  # read, not imported
    assert named == runs


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
    assert code_of(root, "train") == {f"src/actlab/{name}" for name in CODE}


@pytest.mark.parametrize(
    ("edited", "stages"),
    [
        ("figures", {"preprocess", "report"}),
        ("layer_figures", {"report"}),
        ("findings", {"report"}),
        ("sections", {"report"}),
        ("claims", {"report"}),
        ("charts", {"report"}),
        ("wording", {"report"}),
        ("summaries", {"report"}),
        ("tracking", {"report"}),
        ("store", {"report"}),
        ("publish", set()),
        ("publish_study", {"report"}),
        ("logged_model", set()),
        ("notes", {"report"}),
        ("layout", {"train", "gradients", "timing", "theory", "report"}),
        ("progress", set()),
        ("locks", set()),
        ("fingerprint", set()),
        ("stages/command", {"report"}),
        ("stages/interrupts", {"report"}),
        ("sources", {"fetch-data"}),
        ("gradients", {"gradients", "theory"}),
        ("kernels", {"timing"}),
        ("initialisation", {"theory"}),
        ("theory", {"activations", "theory"}),
        ("training", {"train", "timing"}),
        ("model", {"train", "gradients", "timing", "theory"}),
        ("datasets", set(STAGES)),
        ("activations", set(STAGES)),
    ],
)
def test_what_runs_again_after_an_edit(edited, stages, root):
    path = f"src/actlab/{edited}.py"
    assert (root / path).is_file()
    assert {stage for stage in STAGES if path in code_of(root, stage)} == stages


def test_dvc_knows_every_stage(root):
    assert list(yaml.safe_load((root / "dvc.yaml").read_text())["stages"]) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_that_a_stage_names_is_there(stage, root):
    params = yaml.safe_load(read_committed(root, "params.yaml"))
    for entry in definition(root, stage)["params"]:
        if isinstance(entry, dict):
            (pattern,) = entry
            assert list(root.glob(re.sub(r"\$\{[^}]*\}", "*", pattern))), pattern
            continue
        value = params
        for key in entry.split("."):
            assert key in value, entry
            value = value[key]


@pytest.mark.parametrize("group", ["activation", "network"])
def test_a_configuration_bears_the_name_of_its_file(group, root):
    for path in (root / "conf" / group).glob("*.yaml"):
        assert yaml.safe_load(path.read_text())["name"] == path.stem


def test_every_activation_has_a_configuration(root):
    from actlab.activations.definitions.definitions import ACTIVATIONS

    functions = {
        yaml.safe_load(path.read_text())["function"]
        for path in (root / "conf/activation").glob("*.yaml")
    }
    own = {function for function in functions if "." in function}
    assert functions - own - {"???"} == set(ACTIVATIONS)
    assert "example.snake" in own
    assert "\ndef snake(" in (root / "custom/example.py").read_text()


@pytest.fixture(scope="module")
def study(root, mnist_raw, tmp_path_factory):
    """The pipeline run once on 2,000 training images; the other 58,000 are held out."""
    clone = small_study(root, tmp_path_factory.mktemp("clone") / "actlab", mnist_raw)
    clone.ran = clone.repro()
    return clone


def test_the_pipeline_runs_every_stage_once(study):
    trains = {"train@sigmoid-mlp", "train@leaky_relu-mlp"}
    analyses = {"gradients", "timing", "theory", "report"}
    assert study.ran == {"fetch-data", "preprocess", "activations"} | analyses | trains
    assert study.repro() == set()


def test_the_pipeline_trains_on_the_images_that_are_not_held_out(study):
    counts = study.rows("reports/data/class_counts.csv")
    images = dict.fromkeys(("train", "validation", "test"), 0)
    for row in counts:
        images[row["split"]] += int(row["images"])
    assert images == {"train": 2_000, "validation": 58_000, "test": 10_000}
    history = study.rows("results/sigmoid-mlp/history.csv")
    assert [(row["seed"], row["epoch"]) for row in history] == [
        ("0", "1"),
        ("0", "2"),
        ("1", "1"),
        ("1", "2"),
    ]
    # Accuracies are fractions of 2,000 and of 58,000 images.
    for row in history:
        for key, count in (("accuracy", 2_000), ("val_accuracy", 58_000)):
            right = float(row[key]) * count
            assert right == pytest.approx(round(right), abs=1e-6)


def test_logits_weights_and_table_of_a_seed_agree(study, mnist):
    from actlab.models.network import load_model

    logits = np.load(study.folder / "results/leaky_relu-mlp/test.npz")["seed-1"]
    model = load_model(study.folder / "models/leaky_relu-mlp", 1)
    np.testing.assert_allclose(model(mnist.test.images), logits, rtol=1e-4, atol=1e-5)
    row = study.rows("results/leaky_relu-mlp/test.csv")[1]
    right = (logits.argmax(axis=1) == mnist.test.labels).mean()
    assert float(row["test_accuracy"]) == right


def test_gradients_cover_what_was_trained(study):
    rows = study.rows("results/gradients.csv")
    keys = {
        (row["activation"], row["seed"], row["epoch"], row["layer"], row["probe"], row["statistic"])
        for row in rows
    }
    # Of three layers, the output has no health of an activation.
    hidden, gradient = len(tables.HEALTH), ("mean_abs", "l2_norm", "relative_norm")
    output = {row["statistic"] for row in rows if row["layer"] == "output"} - {*gradient}
    assert output < {*tables.HEALTH}
    assert len(rows) == len(keys) == 2 * 2 * 3 * (3 * 2 * 3 + 2 * hidden + len(output))
    steps = study.rows("results/sigmoid-mlp/updates.csv")
    assert [(row["seed"], row["epoch"], row["layer"]) for row in steps] == [
        (seed, epoch, layer)
        for seed in "01"
        for epoch in "012"
        for layer in ("hidden_1", "hidden_2", "output")
    ]
    assert all(0 < float(row["update_ratio"]) < 0.1 for row in steps)
    bins = study.rows("results/preactivations.csv")
    assert len(bins) == 2 * 3 * 2 * 60


def test_theory_is_held_to_every_configured_activation(study):
    rows = study.rows("results/theory/ratios.csv")
    # Activations, initialisers, directions, pairs of layers and all of them, seeds.
    assert len(rows) == 2 * 3 * 2 * (3 + 1) * 2
    assert len(study.rows("reports/theory.csv")) == len(rows) / 2
    assert len(study.rows("reports/tables/mean_field.csv")) == 2 * 3
    # Activations, configured and matched, three layers, seeds.
    assert len(study.rows("results/theory/matched.csv")) == 2 * 2 * 3 * 2
    assert len(study.rows("results/theory/moments.csv")) == 2
    assert study.rows("results/theory/born_dead.csv") == []


def test_every_activation_is_timed_in_every_block(study):
    blocks, kernels = (study.rows(f"timings/{name}.csv") for name in ("blocks", "kernels"))
    assert len(blocks) == 3 * 2
    assert len(kernels) == 3 * 2 * 3
    assert {row["repetitions"] for row in kernels} == {"20", "2000"}
    assert all(float(row["seconds"]) > 0 for row in kernels)
    assert len(study.rows("reports/tables/kernel_times.csv")) == 2 * 3


def test_the_summary_has_a_row_a_configuration(study):
    rows = study.rows("reports/summary.csv")
    assert [(row["activation"], row["network"], row["seeds"]) for row in rows] == [
        ("sigmoid", "mlp", "2"),
        ("leaky_relu", "mlp", "2"),
    ]
    tests = study.rows("results/sigmoid-mlp/test.csv")
    mean = sum(float(row["test_accuracy"]) for row in tests) / 2
    assert float(rows[0]["test_accuracy_mean"]) == pytest.approx(mean)


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
    assert re.search(r'"train@sigmoid-mlp" -> "gradients"', graph)


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
    outputs = ("data", "models", "results", "timings", "reports")
    assert pulled.digests(*outputs) == study.digests(*outputs)
    said = pulled.run("python", "-m", "actlab.stages.answer", PYTHONPATH="src")
    assert (
        f"{100 * float(study.rows('reports/summary.csv')[1]['test_accuracy_mean']):.2f} %" in said
    )
    assert pulled.repro() == set()
    sync = ("python", "-m", "actlab.stages.sync")
    written = pulled.run(*sync, PYTHONPATH="src")
    assert written.count("seeds\n") == 2
    assert "written: report\n" in written
    assert "left out" not in written
    assert pulled.run(*sync, PYTHONPATH="src") == "MLflow already has every run\n"
    assert json.loads(pulled.run("dvc", "status", "--json")) == {}
    assert pulled.run("git", "status", "--porcelain") == ""


def test_the_logged_model_reads_real_digits(study, mnist, tmp_path):
    found = study.run(
        "python",
        "-c",
        "import mlflow;mlflow.set_tracking_uri('sqlite:///mlflow.db');"
        "mlflow.set_experiment('actlab');"
        "print([m.model_uri for m in mlflow.search_logged_models(output_format='list')"
        " if m.name == 'leaky_relu-mlp'][0])",
    )
    images = mnist.test.images[:50]
    (tmp_path / "digits.json").write_text(json.dumps({"inputs": images.tolist()}))
    command = ["mlflow", "models", "predict", "--env-manager", "local"]
    command += ["--model-uri", found.splitlines()[-1], "--content-type", "json"]
    command += [
        "--input-path",
        str(tmp_path / "digits.json"),
        "--output-path",
        str(tmp_path / "out"),
    ]
    study.run(*command, MLFLOW_TRACKING_URI="sqlite:///mlflow.db")
    predicted = np.array(json.loads((tmp_path / "out").read_text())["predictions"])
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-5)
    assert (predicted.argmax(axis=1) == mnist.test.labels[:50]).mean() > 0.7


MINE = """
from keras import ops

def cubed_tanh(x, scale):
    \"\"\"Made up for this test.\"\"\"
    return scale * ops.tanh(x) ** 3
"""


def test_what_is_added_or_changed_is_trained_alone(study):
    """One with weights of its own, one of a user's own making; a constant."""

    def stale():
        return {stage for stage in json.loads(study.run("dvc", "status", "--json")) if "@" in stage}

    assert stale() == set()
    (study.folder / "custom/my_module.py").write_text(MINE)
    (study.folder / "conf/activation/mine.yaml").write_text(
        "name: mine\nfunction: my_module.cubed_tanh\nconstants: {scale: 2.0}\n"
    )
    more = "- leaky_relu\n- prelu\n- mine\n"
    study.replace("params.yaml", "- leaky_relu\ndata:", f"{more}data:")
    trained = {"train@prelu-mlp", "train@mine-mlp"}
    assert stale() == trained
    (study.folder / "conf/activation/leaky_relu.yaml").write_text(
        "name: leaky_relu\nfunction: leaky_relu\nconstants: {negative_slope: 0.2}\n"
    )
    trained |= {"train@leaky_relu-mlp"}
    assert stale() == trained
    analyses = {"activations", "gradients", "timing", "theory", "report"}
    assert study.repro() == trained | analyses


def test_a_users_own_function_is_in_every_table(study):
    for name, count in (
        ("results/gradients.csv", 2 * 2 * (3 * 2 * 3 + 2 * 9 + 5) + 2 * (3 * 2 * 3 + 2 * 9 + 5)),
        ("results/preactivations.csv", 3 * 2 * 60),
        ("results/theory/mean_field.csv", 3),
        ("reports/summary.csv", 1),
        ("reports/tables/activation_functions.csv", 401),
        ("timings/blocks.csv", 3),
    ):
        assert sum(row["activation"] == "mine" for row in study.rows(name)) == count, name
    rows = {row["activation"]: row for row in study.rows("results/theory/mean_field.csv")}
    # The slope 6 tanh^2 (1 - tanh^2) is steepest where tanh^2 = 1/2.
    assert float(rows["mine"]["steepest_slope"]) == pytest.approx(1.5)
    report = (study.folder / "reports/report.md").read_text()
    row = next(line for line in report.splitlines() if line.startswith("| mine | my_module"))
    assert "| (−2, 2) | 1.5 |" in row
    assert "Made up for this test." in row
    health = [
        float(row["value"])
        for row in study.rows("results/gradients.csv")
        if (row["activation"], row["statistic"]) == ("mine", "saturated_fraction")
    ]
    assert all(0 < value < 1 for value in health)


def test_slopes_of_prelu_are_trained(study):
    from actlab.models.network import load_model

    folder = study.folder / "models/prelu-mlp"
    first, last = (
        load_model(folder, 1, epoch=epoch).layers[1].activation.alpha.numpy() for epoch in (0, 2)
    )
    assert set(first) == {np.float32(0.25)}
    assert 0 < np.abs(last - first).max() < 0.25


def test_editing_a_users_own_function_trains_it_alone(study):
    study.replace("custom/my_module.py", "** 3", "** 3 + 0 * x")
    assert study.repro("activations") == {"activations"}
    changed = json.loads(study.run("dvc", "status", "--json"))
    assert set(changed) == {"train@mine-mlp", "theory", "report"}
    study.replace("custom/my_module.py", "** 3 + 0 * x", "** 3")
    study.repro("activations")
    assert json.loads(study.run("dvc", "status", "--json")) == {}
    study.run("python", "-m", "actlab.stages.sync", PYTHONPATH="src")


def test_a_function_that_cannot_be_trained_stops_the_pipeline_in_one_line(study):
    before = study.digests("results/activations")
    study.replace("custom/my_module.py", "ops.tanh(x)", "ops.softmax(x)")
    output = study.run("dvc", "repro", "activations", status=255)
    line = "actlab: activation.function is 'my_module.cubed_tanh': it takes numbers together"
    assert line in output
    assert "Traceback" not in output
    study.replace("custom/my_module.py", "ops.softmax(x)", "ops.tanh(x)")
    assert study.digests("results/activations") in ({}, before)  # DVC clears what it makes anew
    study.repro("activations")


NAMES = ("sigmoid", "leaky_relu", "prelu", "mine")


def test_editing_code_reruns_the_stages_that_depend_on_it(study):
    trainings = {f"train@{name}-mlp" for name in NAMES}
    for name, stages in (("tracking", {"report"}), ("training", trainings | {"timing"})):
        path = study.folder / f"src/actlab/{name}.py"
        path.write_text(path.read_text() + "\n# edited\n")
        status = json.loads(study.run("dvc", "status", "--json"))
        edited = {
            stage
            for stage, changes in status.items()
            if f"src/actlab/{name}.py" in json.dumps(changes)
        }
        assert edited == stages
        path.write_text(path.read_text().removesuffix("\n# edited\n"))


def test_run_again_on_one_core_stages_give_the_same_bits(study):
    before = study.digests("models", "results")
    core = str(min(os.sched_getaffinity(0)))
    for stage in ("train@sigmoid-mlp", "gradients", "theory"):
        study.run("taskset", "-c", core, "dvc", "repro", "-f", "-s", stage)
    assert study.digests("models", "results") == before
    assert {row["models_at_once"] for row in study.rows("timings/sigmoid-mlp.csv")} == {"1"}


def test_a_sweep_leaves_the_outputs_of_dvc_alone(study):
    before = study.digests("models", "results", "timings", "reports")
    output = study.run(
        "python",
        "-m",
        "actlab.stages.train",
        "-m",
        "activation=tanh,relu",
        "seeds=[3]",
        "training.epochs=1",
        "network.hidden=[8]",
        PYTHONPATH="src",
    )
    assert "tanh-mlp" in output
    assert study.digests("models", "results", "timings", "reports") == before
    folders = sorted(path.name for path in (study.folder / "multirun").glob("activation=*"))
    assert folders == [
        f"activation={name},network.hidden=[8],seeds=[3],training.epochs=1"
        for name in ("relu", "tanh")
    ]
    for folder, name in zip(folders, ("relu", "tanh"), strict=True):
        assert (study.folder / "multirun" / folder / f"results/{name}-mlp/history.csv").is_file()


def test_an_experiment_changes_a_parameter(study):
    commit(study)
    changes = ["-S", "training.epochs=1", "-S", "activations=[sigmoid]"]
    study.run("dvc", "exp", "run", "--temp", *changes, "-n", "short", "report")
    shown = json.loads(study.run("dvc", "metrics", "diff", "--json", "HEAD", "short"))
    assert '"sigmoid/mlp %": ' in json.dumps(shown)
    assert yaml.safe_load((study.folder / "params.yaml").read_text())["training"]["epochs"] == 2

    # What DVC's extension for VS Code asks: vscode-dvc, extension/src/cli/dvc/reader.ts.
    workspace, last = json.loads(study.run("dvc", "exp", "show", "--num", "1", "--json"))
    (experiment,) = last["experiments"]
    assert experiment["revs"][0]["name"] == "short"
    for revision in (workspace, last, experiment["revs"][0]):
        assert revision["error"] is None
        assert "sigmoid/mlp %" in revision["data"]["metrics"]["reports/metrics.json"]["data"]
    asked = ("dvc", "plots", "diff", "short", "workspace", "-o", "drawn", "--split", "--json")
    plots = json.loads(study.run(*asked).splitlines()[-1])
    (missing,) = plots["errors"]  # one activation has no differences
    assert (missing["name"], missing["rev"]) == (
        "reports/figures/accuracy_differences.png",
        "short",
    )
    for name in ("Validation accuracy", "reports/figures/test_accuracy.png"):
        revisions = [each for plot in plots["data"][name] for each in plot["revisions"]]
        assert sorted(revisions) == ["short", "workspace"]
    status = json.loads(study.run("dvc", "data", "status", "--granular", "--unchanged", "--json"))
    assert "reports/figures/test_accuracy.png" in status["unchanged"]
