"""What each part of actlab may bring into a process, seen in fresh interpreters."""

import ast
import subprocess
import sys

import pytest

CORE = [
    "activations",
    "charts",
    "checkpoints",
    "claims",
    "comparisons",
    "config",
    "datasets",
    "descriptions",
    "drawings",
    "figures",
    "findings",
    "gradients",
    "initialisation",
    "kernels",
    "layer_figures",
    "layer_findings",
    "layer_sections",
    "layout",
    "library",
    "look",
    "meanfield",
    "model",
    "own",
    "provenance",
    "report",
    "runs",
    "runtime",
    "sections",
    "statistics",
    "study",
    "summaries",
    "tables",
    "theory",
    "training",
    "wording",
]
TRACKING = {"hydra", "mlflow", "dvc"}


def modules_after(*modules, root):
    """The top-level modules that a fresh interpreter holds after importing some."""
    return modules_held(f"import {', '.join(modules)}", root)


def modules_held(statements, root):
    """The same after running some statements."""
    command = f"{statements}\nimport sys; print(*{{m.split('.')[0] for m in sys.modules}})"
    finished = subprocess.run(
        [sys.executable, "-c", command],
        cwd=root / "src",
        capture_output=True,
        text=True,
        check=True,
    )
    return set(finished.stdout.split())


def test_the_core_needs_neither_hydra_nor_mlflow_nor_dvc(root):
    held = modules_after(*(f"actlab.{module}" for module in CORE), root=root)
    assert "keras" in held
    assert not held & TRACKING


KERAS_CAN_DO_WITHOUT = {"sklearn", "matplotlib"}


def test_keras_comes_without_what_it_can_do_without(root):
    # Nothing keeps them from being imported afterwards, or takes them away.
    without = "import actlab.models.backend, sys; assert 'keras' in sys.modules;"
    without += f"assert not {KERAS_CAN_DO_WITHOUT} & set(sys.modules);"
    assert modules_held(f"{without} import matplotlib, sklearn.base", root) >= KERAS_CAN_DO_WITHOUT
    assert modules_after("sklearn.base", "matplotlib", "actlab.models.backend", root=root) >= (
        KERAS_CAN_DO_WITHOUT
    )
    # What is tested is there to be hidden.
    assert modules_after("keras", root=root) >= KERAS_CAN_DO_WITHOUT


def test_importing_actlab_brings_nothing_heavy(root):
    assert not modules_after("actlab", root=root) & (TRACKING | {"tensorflow", "numpy", "pandas"})


HEAVY = {"tensorflow", "keras", "matplotlib", "numpy", "pandas", "scipy"}


def test_a_notebook_pays_for_what_it_uses(root):
    assert not modules_held("import actlab; dir(actlab); actlab.UserError", root) & HEAVY
    # Data and tables need no network, and nothing at all needs what runs the pipeline.
    named = modules_held("import actlab; actlab.load_data, actlab.compare", root)
    assert named & (TRACKING | HEAVY) == {"numpy", "pandas", "scipy"}
    built = modules_held("import actlab; actlab.build('relu')", root)
    assert "keras" in built
    assert not built & (TRACKING | {"matplotlib"})


def test_stages_without_a_network_need_no_tensorflow(root):
    stages = [
        f"actlab.stages.{name}"
        for name in ("fetch_data", "preprocess", "report", "sync", "compare")
    ]
    parts = [
        "actlab.publish",
        "actlab.publish_study",
        "actlab.tracking.tracking",
        "actlab.reporting.figures",
        "actlab.reporting.report",
        "actlab.reporting.sections",
        "actlab.data.download",
        "actlab.probes.metadata",
        "actlab.theory",
    ]
    assert not modules_after(*stages, *parts, root=root) & {"tensorflow", "keras", "mlflow"}


def test_training_is_described_without_tensorflow(root):
    names = ("activations", "train", "gradients", "timing", "theory")
    stages = [f"actlab.stages.{name}" for name in names]
    assert not modules_after(*stages, root=root) & {"tensorflow", "keras", "mlflow", "matplotlib"}


def test_these_tests_can_fail(root):
    assert modules_after("actlab.engine.command", root=root) & TRACKING == {"hydra"}
    assert "tensorflow" in modules_after("actlab.models.backend", root=root)


@pytest.mark.parametrize(
    ("package", "only"),
    [
        (
            "mlflow",
            {"logged_model.py", "publish.py", "publish_study.py", "store.py", "tracking.py"},
        ),
        ("keras", {"runtime.py"}),
    ],
)
def test_few_modules_import_a_package(package, only, root):
    importers = {
        path.name
        for path in (root / "src/actlab").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (
            isinstance(node, ast.Import)
            and any(n.name.split(".")[0] == package for n in node.names)
        )
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package)
    }
    assert importers == only


def test_packages_compute_nothing(root):
    # dvc.yaml leaves them out of its dependencies, so that the map can be edited freely.
    statements = {
        path.parent.name: ast.parse(path.read_text()).body
        for path in (root / "src/actlab").rglob("__init__.py")
    }
    docstring, first = statements["stages"]
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)
    assert ast.unparse(first) == "from actlab.stages import interrupts"  # which each stage names
    # The package imports its public names for type checkers alone, and where they are used.
    _, typing, guarded, public, *functions = statements["actlab"]
    assert ast.unparse(typing) == "from typing import TYPE_CHECKING"
    assert isinstance(guarded, ast.If)
    assert ast.unparse(guarded.test) == "TYPE_CHECKING"
    assert isinstance(public, ast.Assign)
    names = [
        alias.name
        for statement in guarded.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    ]
    assert sorted(names) == sorted(ast.literal_eval(public.value))
    for function in functions:
        assert isinstance(function, ast.FunctionDef)
        assert function.name in ("__getattr__", "__dir__")
