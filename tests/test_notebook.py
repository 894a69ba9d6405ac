"""The notebook of the lessons, run on real MNIST as a student runs it."""

import base64
import json

import nbformat
import pytest
import run_notebook


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


HELD = "import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"

RESULTS = """
before = probed.query("epoch == 0 and layer == 'hidden_1'").groupby("activation")
print(
    json.dumps(
        {
            "shallow": shallow.test["test_accuracy"].tolist(),
            "deep": deep.test.groupby("activation")["test_accuracy"].mean().to_dict(),
            "first": before["gradient_norm"].mean().to_dict(),
        }
    )
)
"""

MISTAKE = "actlab.activation('leaky_relu')"


@pytest.fixture(scope="module")
def ran(root, mnist_raw):
    """The notebook with its outputs; behind its cells, what they brought into the process."""
    more = [nbformat.v4.new_code_cell(source) for source in (HELD, RESULTS, MISTAKE)]
    more[-1].metadata["tags"] = ["raises-exception"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ACTLAB_DATA", str(mnist_raw))
        patched.setenv("PYTHONPATH", str(root / "src"))
        return run_notebook.execute(run_notebook.NOTEBOOK, *more)


def test_it_brings_the_core_and_nothing_that_runs_the_pipeline(ran):
    held = set(json.loads(code_cells(ran)[10].outputs[0].text))
    assert {"actlab", "keras", "matplotlib", "pandas"} <= held
    assert not held & {"hydra", "mlflow", "dvc", "omegaconf"}


def test_it_shows_what_it_says(ran):
    found = json.loads(code_cells(ran)[11].outputs[0].text)
    assert len(found["shallow"]) == 9
    assert min(found["shallow"]) > 0.92
    assert found["deep"]["sigmoid"] < 0.8 < 0.9 < min(found["deep"]["relu"], found["deep"]["tanh"])
    first = found["first"]
    assert first["sigmoid"] < min(first["tanh"], first["relu"]) / 1000


def test_every_cell_shows_its_table_or_figure_and_warns_of_nothing(ran):
    kinds = []
    for cell in code_cells(ran)[:10]:
        assert not [output for output in cell.outputs if output.output_type == "error"]
        assert not [output for output in cell.outputs if output.get("name") == "stderr"]
        (shown,) = [each for each in cell.outputs if each.output_type == "execute_result"]
        kinds.append(next(kind for kind in KINDS if kind in shown.data))
        if "image/png" in shown.data:
            assert base64.b64decode(shown.data["image/png"]).startswith(b"\x89PNG")
    assert kinds.count("image/png") == 5
    assert kinds.count("text/html") == 3


KINDS = ("image/png", "text/html", "text/plain")


def test_a_mistake_in_a_notebook_is_one_line(ran):
    (error,) = code_cells(ran)[-1].outputs
    assert error.ename == "UserError"
    assert error.traceback == [f"UserError: {error.evalue}"]


def test_the_committed_outputs_are_whole(ran):
    committed = nbformat.read(run_notebook.NOTEBOOK, as_version=4)
    nbformat.validate(committed)
    assert len(committed.cells) == len(ran.cells) - 3
    assert len(code_cells(committed)) == 10
    for place, cell in enumerate(code_cells(committed), start=1):
        now = code_cells(ran)[place - 1]
        assert cell.execution_count == place
        kinds = [[each.output_type for each in of.outputs] for of in (cell, now)]
        assert kinds[0] == kinds[1]
    written = json.dumps(committed)
    assert "/tmp" not in written
    assert "seconds" not in written
