import json

import pandas as pd
import pytest
import yaml
from studies import read_committed

from actlab.stages.answer import compare_verdicts, read_answer


@pytest.fixture
def reports(root, tmp_path):
    """Return the CSVs of the committed study, where they may be changed."""
    for name in ("summary", "comparisons", "claims"):
        text = (root / f"docs/study/{name}.csv").read_text()
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


def test_the_answer_is_that_of_the_committed_study(root):
    answer = read_answer(root / "docs/study", 0.95)
    summary = pd.read_csv(root / "docs/study/summary.csv")
    assert answer.header[3] == "95 % interval"
    assert [row[1] for row in answer.rows] == list(summary["activation"])
    assert [row[2].strip() for row in answer.rows] == [
        f"{100 * mean:.2f} %" for mean in summary["test_accuracy_mean"]
    ]
    assert [row[0] for row in answer.rows if row[0]] == ["mlp", "deep"]
    claims = pd.read_csv(root / "docs/study/claims.csv")["verdict"].value_counts()
    counted = ", ".join(f"{claims[name]} {name}" for name in ("supported", "refuted", "undecided"))
    assert answer.sentences[-1] == f"The teaching notebook's {claims.sum()} claims: {counted}."


def test_verdicts_are_those_against_the_best_whichever_comes_first(root):
    answer = read_answer(root / "docs/study", 0.95)
    of_deep = {row[1]: row[4] for row in answer.rows[4:]}
    # The table has the pair (sigmoid, leaky_relu): sigmoid is worse.
    assert of_deep["leaky_relu"] == "best"
    assert of_deep["sigmoid"] == "worse"


def test_a_verdict_is_turned_round(reports):
    table = pd.read_csv(reports / "comparisons.csv")
    pair = (table["metric"] == "test_accuracy") & (table["network"] == "mlp")
    pair &= (table["first"] == "sigmoid") & (table["second"] == "tanh")
    table.loc[pair, "verdict"] = "better"
    table.to_csv(reports / "comparisons.csv", index=False)
    answer = read_answer(reports, 0.95)
    assert [row[4] for row in answer.rows[:2]] == ["best", "worse"]


def test_one_seed_has_no_interval(reports):
    table = pd.read_csv(reports / "summary.csv")
    table[["test_accuracy_ci_low", "test_accuracy_ci_high"]] = float("nan")
    table["seeds"] = 1
    table.to_csv(reports / "summary.csv", index=False)
    answer = read_answer(reports, 0.95)
    assert {row[3] for row in answer.rows} == {"none"}
    assert answer.sentences[0].startswith("Means over 1 seed;")


# --- The committed study --------------------------------------------------------------------


@pytest.fixture
def compare(root, reports):
    """Compare the reports with the committed study, verdicts of theirs changed."""
    study = root / "docs/study"
    committed = json.loads((study / "study.json").read_text())

    def compare(changed, here="", values=None):
        table = pd.read_csv(reports / "claims.csv", index_col="name")
        for name, verdict in changed.items():
            table.loc[name, "verdict"] = verdict
        table.to_csv(reports / "claims.csv")
        params = committed["params"] | (values or {})
        return compare_verdicts(reports, study, params, here or committed["processor"])

    return compare


START = "Compared with the committed study, "


def test_the_same_verdicts_are_one_line(compare):
    assert compare({}) == [f"{START}26 of 26 verdicts are the same."]


def test_verdicts_that_differ_are_named_with_the_other_processor(compare):
    (line,) = compare(
        {"accuracy_tanh": "undecided", "relu_passes_on": "not measured"}, here="Apple M4"
    )
    assert line.startswith(
        f"{START}24 of 26 verdicts are the same. These differ: accuracy_tanh (undecided, was"
        " supported), relu_passes_on (not measured, was "
    )
    assert line.endswith(
        ", this on an Apple M4, and another kind of processor rounds differently, which gives other"
        " weights."
    )


def test_on_the_same_processor_other_reasons_are_named(compare):
    (line,) = compare({"accuracy_tanh": "undecided"})
    assert line.endswith("; edited code, other packages and measured times can change them.")


def test_a_study_with_other_values_is_not_compared(compare, reports, tmp_path):
    assert compare({"accuracy_tanh": "undecided"}, values={"seeds": [0, 1]}) == []
    assert compare_verdicts(reports, tmp_path / "none", {}, "") == []


def test_the_committed_study_is_that_of_the_committed_values(root):
    study = json.loads((root / "docs/study/study.json").read_text())
    assert study["params"] == yaml.safe_load(read_committed(root, "params.yaml"))
    assert "family" in study["processor"]
