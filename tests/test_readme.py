"""README and docs/results.md give the committed study's numbers; what they link to is there."""

import json
import re
import tomllib
from itertools import combinations

import pandas as pd
import pytest
from studies import read_committed

from actlab.evidence import summaries
from actlab.results import tables
from actlab.stages.answer import read_answer


@pytest.fixture
def readme(root):
    return (root / "README.md").read_text()


@pytest.fixture
def results(root):
    return (root / "docs/results.md").read_text()


def test_the_table_of_results_holds_the_numbers_of_the_study(root, results):
    summary = pd.read_csv(root / "docs/study/summary.csv")
    expected = []
    for row in summary.to_dict("records"):
        mean, low, high = (f"{100 * row[f'test_accuracy_{key}']:.2f}" for key in KEYS)
        coefficient, exponent = f"{row['gradient_first_layer_initial']:.1e}".split("e")
        gradient = f"{coefficient}e{int(exponent)}"
        expected.append((row["activation"], f"{mean} % ({low} to {high})", gradient))
    rows = re.findall(r"^\| [^|]*\| (\w+) \| (.+?) \| (\S+) \|$", results, flags=re.MULTILINE)
    assert rows == expected


KEYS = ("mean", "ci_low", "ci_high")


def test_the_table_of_the_fair_sweep_holds_its_numbers(root):
    summary = pd.read_csv(root / "docs/study/fair/summary.csv")
    cells = {}
    for row in summary.to_dict(orient="records"):
        mean, low, high = (
            f"{100 * row[f'test_accuracy_{which}']:.2f}" for which in ("mean", "ci_low", "ci_high")
        )
        kernel = {"glorot_uniform": "Glorot", "he_uniform": "He"}[row["model.kernel_initializer"]]
        setting = f"{row['training.learning_rate']}, {kernel}"
        cells[row["phase"], row["activation"]] = (setting, f"{mean} % ({low} to {high})")
    names = ("sigmoid", "tanh", "relu", "leaky_relu")
    assert {cells["baseline", name][0] for name in names} == {"0.001, Glorot"}
    text = (root / "docs/sweeps.md").read_text()
    for name in names:
        setting, tuned = cells["tuned", name]
        assert f"| {name} | {setting} | {cells['baseline', name][1]} | {tuned} |" in text


def test_pages_hold_the_numbers_of_the_depth_sweep(root, results):
    page = (root / "docs/sweeps.md").read_text()
    summary = pd.read_csv(root / "docs/study/depth/summary.csv")
    columns = [("sigmoid", "glorot_uniform"), ("tanh", "glorot_uniform")]
    columns += [
        (name, kernel) for name in ("relu", "selu") for kernel in ("glorot_uniform", "matched")
    ]
    reached = {
        (row["network.depth"], row["activation"], row["model.kernel_initializer"]): (
            f"{100 * row['test_accuracy_mean']:.2f} %"
        )
        for row in summary.to_dict("records")
    }
    rows = re.findall(r"^\| (\d+) \| (\d.*) \|$", page, flags=re.MULTILINE)
    assert {int(depth): cells.split(" | ") for depth, cells in rows} == {
        depth: [reached[depth, *column] for column in columns] for depth in (2, 4, 8, 16, 32)
    }
    glorot, he = (
        [reached[depth, "relu", kernel] for depth in (8, 32)]
        for kernel in ("glorot_uniform", "matched")
    )
    told = (
        f"{glorot[0]} with Glorot's and {he[0]} with He's at 8 layers, of {glorot[1]} and {he[1]}"
        " at 32 (three seeds, 10 epochs)"
    )
    assert told in " ".join(results.split())
    for name in ("sigmoid", "tanh"):  # whose matched initialiser is Glorot's
        for depth in (2, 4, 8, 16, 32):
            assert reached[depth, name, "matched"] == reached[depth, name, "glorot_uniform"]


def test_the_study_of_the_docs_is_the_committed_one(root):
    summary = pd.read_csv(root / "docs/study/summary.csv")
    assert summaries.metrics(summary) == json.loads(read_committed(root, "reports/metrics.json"))


def test_the_study_shows_what_the_pipeline_has_to_show(root):
    summary = pd.read_csv(root / "docs/study/summary.csv")
    for mean in tables.where(summary, network="mlp")["test_accuracy_mean"]:
        assert 0.975 <= mean <= 0.983
    deep = tables.where(summary, network="deep")
    initial = dict(zip(deep["activation"], deep["gradient_first_layer_initial"], strict=True))
    assert initial["sigmoid"] < initial["relu"] / 1000


def test_the_verdicts_of_the_results_are_those_of_the_study(root):
    table = pd.read_csv(root / "docs/study/comparisons.csv")
    verdicts = {
        (row["metric"], row["network"], row["first"], row["second"]): row["verdict"]
        for row in table.to_dict("records")
    }
    names = ["sigmoid", "tanh", "relu", "leaky_relu"]
    for pair in combinations(names, 2):
        assert verdicts["test_accuracy", "mlp", *pair] == "undecided"
        assert verdicts["epoch_seconds", "mlp", *pair] == "equivalent"
    for other in names[1:]:
        assert verdicts["calibration_error", "mlp", "sigmoid", other] == "better"
        assert verdicts["epochs_to_target", "mlp", "sigmoid", other] == "worse"
        assert verdicts["test_accuracy", "deep", "sigmoid", other] == "worse"
    row = tables.where(table, metric="test_accuracy", network="mlp", first="sigmoid", second="relu")
    assert row["pairs_needed"].item() == 152


def test_the_claims_of_the_results_are_those_of_the_study(root, readme, results):
    ledger = tables.read_table(root / "docs/study/claims.csv", tables.CLAIMS)
    rows = re.findall(r"^\| ([^|]+) \| \*\*(.+?)\*\* \|$", results, flags=re.MULTILINE)
    assert rows == list(zip(ledger["claim"], ledger["verdict"], strict=True))
    counts = ledger["verdict"].value_counts()
    supported, refuted, undecided = (counts[key] for key in ("supported", "refuted", "undecided"))
    counted = f"{supported} supported, {refuted} refuted, {undecided} undecided"
    assert f"{len(ledger)} claims: {counted}." in results
    assert f"{supported} are supported, {refuted} refuted and {undecided} undecided" in readme
    assert set(counts.index) == {"supported", "refuted", "undecided"}


def test_the_answer_that_is_shown_is_that_of_the_study(root, readme):
    answer = read_answer(root / "docs/study", 0.95)
    pipeline = (root / "docs/pipeline.md").read_text()
    for text, sentences in ((readme, []), (pipeline, answer.sentences)):
        shown = [re.split(r" {2,}", line.strip()) for line in text.splitlines()]
        for row in (answer.header, *answer.rows):
            assert [cell.strip() for cell in row if cell] in shown
        for sentence in sentences:
            assert [sentence] in shown


def test_every_file_that_a_page_links_is_there(root):
    found = [*root.glob("*.md"), *root.glob("docs/**/*.md")]
    assert len(found) > 5
    for page in found:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / link).is_file(), f"{page.name}: {link}"


def test_links_are_found(readme):
    assert "docs/study/gradient_by_layer.png" in re.findall(r"\]\(([^)]+)\)", readme)


def test_every_dependency_has_its_reason(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *extras["pipeline"], *extras["docs"], *extras["dev"]]
    packages = {name for each in named for name in re.findall(r"^[\w.-]+", each)}
    table = (root / "docs/dependencies.md").read_text()
    assert packages - set(re.findall(r"`([\w.-]+)`", table)) == set()
