"""README and docs give the committed study's numbers; what they link to is there."""

import json
import re
from typing import Any

import fill_pages
import numpy as np
import pandas as pd
import pytest
from studies import read_committed

from actlab.engine.csvs import where
from actlab.evidence import comparisons, summaries
from actlab.evidence.settled import SettledFolder
from actlab.results import tables
from actlab.stages.answer import read_answer


@pytest.fixture
def readme(root):
    return (root / "README.md").read_text()


@pytest.fixture
def results(root):
    return (root / "docs/results.md").read_text()


@pytest.fixture
def sweeps(root):
    return (root / "docs/sweeps.md").read_text()


def accuracy(row):
    mean, low, high = (
        f"{100 * row[f'test_accuracy_{key}']:.2f}" for key in ("mean", "ci_low", "ci_high")
    )
    return f"{mean} % ({low} to {high})"


def test_the_study_of_the_docs_is_the_committed_one(root):
    summary = pd.read_csv(root / "docs/study/summary.csv")
    assert summaries.metrics(summary) == json.loads(read_committed(root, "reports/metrics.json"))


def test_the_table_of_the_fair_sweep_holds_its_numbers(root, sweeps):
    summary = pd.read_csv(root / "docs/study/fair/summary.csv")
    rows = {(row["phase"], row["activation"]): row for row in summary.to_dict("records")}
    kernels = {"glorot_uniform": "Glorot", "he_uniform": "He"}
    for name in ("sigmoid", "tanh", "relu", "leaky_relu"):
        baseline, tuned = rows["baseline", name], rows["tuned", name]
        keys = ("optimizer.learning_rate", "initializer.name")
        assert [baseline[key] for key in keys] == [0.001, "glorot_uniform"]
        setting = f"{tuned[keys[0]]}, {kernels[tuned[keys[1]]]}"
        assert f"| {name} | {setting} | {accuracy(baseline)} | {accuracy(tuned)} |" in sweeps


def test_pages_hold_the_numbers_of_the_depth_sweep(root, sweeps, results):
    summary = pd.read_csv(root / "docs/study/depth/summary.csv")
    keys = ("network.depth", "activation", "initializer.name")
    reached = {
        tuple(row[key] for key in keys): f"{100 * row['test_accuracy_mean']:.2f} %"
        for row in summary.to_dict("records")
    }
    columns = [
        *((name, "glorot_uniform") for name in ("sigmoid", "tanh")),
        *(
            (name, kernel)
            for name in ("relu", "selu")
            for kernel in ("glorot_uniform", "recommended")
        ),
    ]
    rows = re.findall(r"^\| (\d+) \| (\d.*) \|$", sweeps, flags=re.MULTILINE)
    assert {int(depth): cells.split(" | ") for depth, cells in rows} == {
        depth: [reached[depth, *column] for column in columns] for depth in (2, 4, 8, 16, 32)
    }
    glorot, he = (
        [reached[depth, "relu", kernel] for depth in (8, 32)]
        for kernel in ("glorot_uniform", "recommended")
    )
    told = (
        f"{glorot[0]} with Glorot's and {he[0]} with He's at 8 layers, of {glorot[1]} and {he[1]}"
        " at 32 (three seeds, 10 epochs)"
    )
    assert told in " ".join(results.split())


def test_readme_gives_the_numbers_of_the_settled_study(root, readme, results):
    folder, words = root / "docs/study/settled", " ".join(readme.split())
    primary: Any = where(pd.read_csv(folder / "claims.csv"), role="primary")
    assert f"{len(primary)} claims of the teaching notebook" in words
    assert fill_pages.count_verdicts(list(primary["verdict"])) in words
    summary = pd.read_csv(folder / "summary.csv")
    assert f"{summary['seeds'].min()} to {summary['seeds'].max()} seeds" in words
    mlp: Any = where(summary, network="mlp")["test_accuracy_mean"]
    assert f"eight activations lie within {100 * (mlp.max() - mlp.min()):.2f} points" in words
    pairs: Any = where(pd.read_csv(folder / "comparisons.csv"), network="deep", first="sigmoid")
    pairs = where(pairs, metric="test_accuracy")
    assert set(pairs["verdict"]) == {"worse"}
    gaps = -100 * pairs["mean"]
    told = (
        f"sigmoid is worse than each of the others, by {gaps.min():.1f} to {gaps.max():.1f} points"
    )
    assert told in words
    assert told in " ".join(results.split())


def test_the_settled_study_is_what_its_scores_give(root):
    """No verdict of it is written by hand: scores.csv and the declaration give all of them."""
    folder = SettledFolder(root / "docs/study/settled")
    study, scores = folder.load()
    declaration = folder.read_declaration()
    assert declaration
    made = comparisons.compare(study, scores, declaration.report_config())
    committed = pd.read_csv(folder.path / "comparisons.csv")
    assert made["verdict"].tolist() == committed["verdict"].tolist()
    np.testing.assert_allclose(made["low"], committed["low"], rtol=1e-9)


def test_no_verdict_of_six_seeds_contradicts_the_settled_one(root):
    found = [
        tables.read_table(root / f"docs/study/{folder}claims.csv", tables.CLAIMS)
        for folder in ("", "settled/")
    ]
    six, settled = (table.set_index("name")["verdict"].to_dict() for table in found)
    contradicting = {"supported", "refuted"}
    both = [name for name in six if {six[name], settled[name]} <= contradicting]
    assert len(both) >= 7
    assert [name for name in both if six[name] != settled[name]] == []


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
    links = [
        (page, link)
        for page in found
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text())
    ]
    assert (root / "README.md", "docs/lessons/index.md") in links
    assert [str(link) for page, link in links if not (page.parent / link).is_file()] == []
