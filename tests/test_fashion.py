"""What docs/fashion_mnist.md says is what the tables of both studies say."""

import carry_over
import pandas as pd
import pytest


def test_the_page_is_of_the_tables_and_keeps_its_words():
    page = carry_over.PAGE.read_text(encoding="utf-8")
    assert carry_over.fill_page(page) == page
    with pytest.raises(AssertionError, match="lacks <!-- /claims -->"):
        carry_over.fill_page(page.replace("<!-- /claims -->", ""))


def test_a_verdict_that_differs_comes_first_and_stands_out(monkeypatch):
    def rows(**verdicts):
        table = pd.DataFrame(list(verdicts.items()), columns=["name", "verdict"])
        return table.assign(claim=table["name"], numbers="1 | 2", role="primary")

    tables = {
        "MNIST": rows(a="supported", b="refuted", c="supported"),
        "Fashion-MNIST": rows(a="supported", b="undecided", c="not measured"),
    }
    monkeypatch.setattr(carry_over, "read", lambda name, file: tables[name])
    lines = carry_over.write_claims().splitlines()
    assert lines[0] == (
        "Of 3 claims 1 are about MNIST alone. Of the other 2, 1 have the same verdict on both"
        " (1 supported), 1 another."
    )
    assert lines[4:] == [
        "| b | **refuted** | **undecided** | 1 \\| 2 |",
        "| a | supported | supported | 1 \\| 2 |",
        "| c | supported | not measured | 1 \\| 2 |",
    ]
