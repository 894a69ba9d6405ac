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
    claims = pd.read_csv(root / "docs/study/claims.csv").query("role == 'primary'")["verdict"]
    counts = claims.replace("undecided", "not yet decided").value_counts()
    counted = ", ".join(
        f"{counts[name]} {name}"
        for name in ("supported", "refuted", "negligible", "not yet decided")
        if name in counts
    )
    assert answer.sentences[-1] == f"The teaching notebook's 16 claims: {counted}."


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


# --- The settled study ----------------------------------------------------------------------


@pytest.fixture
def compare(root, reports):
    """Compare the reports, some verdicts changed, with a settled study that has the others."""
    study = reports / "study"
    (study / "settled").mkdir(parents=True)
    committed = json.loads((root / "docs/study/study.json").read_text())
    (study / "study.json").write_text(json.dumps(committed))
    table = pd.read_csv(reports / "claims.csv", index_col="name")
    table["verdict"] = [
        "supported" if verdict == "undecided" else verdict for verdict in table["verdict"]
    ]
    table.to_csv(study / "settled/claims.csv")
    pd.DataFrame({"seeds": [12, 60, 18]}).to_csv(study / "settled/summary.csv")
    here = table.copy()

    def compare(changed, values=None):
        for name, verdict in changed.items():
            here.loc[name, "verdict"] = verdict
        here.to_csv(reports / "claims.csv")
        return compare_verdicts(reports, study, committed["params"] | (values or {}))

    return compare


START = "Compared with the settled study of 12 to 60 seeds (docs/study/settled), "


def test_the_same_verdicts_are_one_line(compare):
    assert compare({}) == [f"{START}16 of 16 decided verdicts on the claims are the same."]


def test_verdicts_that_differ_are_named_and_open_ones_counted(compare):
    (line,) = compare({"accuracy_tanh": "undecided", "relu_passes_on": "supported"})
    assert line == (
        f"{START}14 of 15 decided verdicts on the claims are the same; these differ:"
        " relu_passes_on (supported, settled: refuted); 1 that are not yet decided here are"
        " decided there."
    )


def test_a_sensitivity_row_is_not_compared(compare):
    assert compare({"gradient_order_after": "refuted"}) == compare({})


def test_a_study_with_other_values_is_not_compared(compare, tmp_path):
    assert compare({"accuracy_tanh": "undecided"}, values={"seeds": [0, 1]}) == []
    assert compare_verdicts(tmp_path, tmp_path / "none", {}) == []


# --- The committed study --------------------------------------------------------------------


def test_the_committed_study_is_that_of_the_committed_values(root):
    study = json.loads((root / "docs/study/study.json").read_text())
    assert study["params"] == yaml.safe_load(read_committed(root, "params.yaml"))
    assert "family" in study["processor"]
