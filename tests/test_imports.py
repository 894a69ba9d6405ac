"""What each part of actlab may bring into a process, seen in fresh interpreters."""

import ast
import subprocess
import sys

TRACKING = {"hydra", "mlflow", "dvc"}
HEAVY = {"tensorflow", "keras", "matplotlib", "numpy", "pandas", "scipy"}
#: Packages that belong to tracking and commands; `engine` composes configurations.
NOT_CORE = {"engine", "schema", "stages", "tracking"}
#: What Keras imports and can do without.
WITHOUT = {"sklearn", "matplotlib"}


def held_after(root, *statements):
    """The top-level modules that a fresh interpreter holds after each of some statements."""
    show = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    code = "\n".join(f"{statement}\n{show}" for statement in statements)
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, cwd=root / "src", capture_output=True, text=True, check=True)
    return [set(line.split()) for line in finished.stdout.splitlines()]


def test_the_core_needs_neither_hydra_nor_mlflow_nor_dvc(root):
    paths = (path.relative_to(root / "src") for path in (root / "src/actlab").rglob("[!_]*.py"))
    modules = {".".join(path.with_suffix("").parts) for path in paths}
    modules = {name for name in modules if name.split(".")[1] not in NOT_CORE}
    assert len(modules) > 30
    core = f"import {', '.join(sorted(modules))}"
    _, held = held_after(root, "import sklearn.base, matplotlib", core)
    assert not held & TRACKING
    assert held >= {"keras", *WITHOUT}  # what was there before stays


def test_keras_comes_without_what_it_can_do_without(root):
    alone, afterwards = held_after(root, "import actlab.backend", "import matplotlib, sklearn.base")
    assert "keras" in alone
    assert not alone & WITHOUT
    assert afterwards >= WITHOUT  # nothing keeps them from being imported


def test_a_notebook_pays_for_what_it_uses(root):
    bare, data, compare, built = held_after(
        root,
        "import actlab; dir(actlab); actlab.UserError",
        "import actlab.data.datasets",
        "actlab.load_data, actlab.compare",
        "actlab.build('relu')",
    )
    assert not bare & (TRACKING | HEAVY)
    assert data & (TRACKING | HEAVY | {"pooch", "requests", "tqdm"}) == {"numpy"}
    # Data and tables need no network, and nothing at all needs what runs the pipeline.
    assert compare & (TRACKING | HEAVY) == {"numpy", "pandas", "scipy"}
    assert "keras" in built
    assert not built & (TRACKING | {"matplotlib"})


def test_stages_start_without_what_they_may_not_need(root):
    """Training is described without TensorFlow; stages without a network never load it."""
    trained = ("activations", "train", "gradients", "timing", "theory")
    others = ("fetch_data", "preprocess", "report", "sync", "compare")
    first, then = held_after(
        root,
        *(f"import actlab.stages.{', actlab.stages.'.join(each)}" for each in (trained, others)),
    )
    assert "hydra" in first
    assert not first & {"tensorflow", "keras", "mlflow", "matplotlib"}
    (parts,) = held_after(
        root, "import actlab.tracking.publish, actlab.reporting.figures, actlab.reporting.report"
    )
    assert not (then | parts) & {"tensorflow", "keras", "mlflow"}


def test_packages_compute_nothing(root):
    # dvc.yaml leaves them out of its dependencies.
    for path in (root / "src/actlab").rglob("__init__.py"):
        for statement in ast.parse(path.read_text()).body:
            if isinstance(statement, ast.FunctionDef):
                assert statement.name in ("__getattr__", "__dir__")
            else:
                assert isinstance(
                    statement, ast.Expr | ast.Import | ast.ImportFrom | ast.If | ast.Assign
                )
