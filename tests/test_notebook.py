"""The notebook of the lessons, run on real MNIST as a student runs it."""

import json

import nbformat
import pytest
import run_notebook

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

MISTAKE = "actlab.activation('leaky_rellu')"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def ran(root, mnist_raw):
    """The code cells with their outputs; behind them, what they brought into the process."""
    more = [nbformat.v4.new_code_cell(source) for source in (HELD, RESULTS, MISTAKE)]
    more[-1].metadata["tags"] = ["raises-exception"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ACTLAB_DATA", str(mnist_raw))
        patched.setenv("PYTHONPATH", str(root / "src"))
        return code_cells(run_notebook.execute(run_notebook.NOTEBOOK, *more))


def test_it_brings_the_core_and_nothing_that_runs_the_pipeline(ran):
    held = set(json.loads(ran[-3].outputs[0].text))
    assert {"actlab", "keras", "matplotlib", "pandas"} <= held
    assert not held & {"hydra", "mlflow", "dvc", "omegaconf"}


def test_it_shows_what_it_says(ran):
    found = json.loads(ran[-2].outputs[0].text)
    assert len(found["shallow"]) == 9
    assert min(found["shallow"]) > 0.92
    assert found["deep"]["sigmoid"] < 0.8 < 0.9 < min(found["deep"]["relu"], found["deep"]["tanh"])
    first = found["first"]
    assert first["sigmoid"] < min(first["tanh"], first["relu"]) / 1000


def test_every_cell_shows_its_table_or_figure_and_warns_of_nothing(ran):
    shown = []
    for cell in ran[:-3]:
        assert not [each for each in cell.outputs if each.output_type == "error"]
        assert not [each for each in cell.outputs if each.get("name") == "stderr"]
        (result,) = [each for each in cell.outputs if each.output_type == "execute_result"]
        shown.append(result.data)
    assert len(shown) == 10
    assert len([data for data in shown if "image/png" in data]) == 5
    assert len([data for data in shown if "text/html" in data and "image/png" not in data]) == 3


def test_a_mistake_in_a_notebook_is_one_line(ran):
    (error,) = ran[-1].outputs
    assert error.ename == "UserError"
    assert error.traceback == [f"UserError: {error.evalue}"]


def test_the_committed_outputs_are_whole(ran):
    committed = nbformat.read(run_notebook.NOTEBOOK, as_version=4)
    nbformat.validate(committed)
    for place, (cell, now) in enumerate(zip(code_cells(committed), ran[:-3], strict=True), start=1):
        assert cell.execution_count == place
        kinds = [[each.output_type for each in outputs] for outputs in (cell.outputs, now.outputs)]
        assert kinds[0] == kinds[1]
    written = json.dumps(committed)
    assert "/tmp" not in written
    assert "seconds" not in written
