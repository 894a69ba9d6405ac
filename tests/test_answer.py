import pandas as pd
import pytest

from actlab.stages.answer import read_answer


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
