"""The tables of docs/ are what docs/study gives."""

import fill_pages
import pandas as pd
import pytest


@pytest.mark.parametrize("name", fill_pages.TABLES)
def test_the_tables_of_a_page_are_those_of_the_study(root, name):
    page, tables = (root / name).read_text(), fill_pages.TABLES[name]
    assert fill_pages.fill(page, tables) == page, "run make lessons"
    last = [*tables][-1]
    with pytest.raises(SystemExit, match=f"lacks <!-- {last} --> or <!-- /{last} -->"):
        fill_pages.fill(page.replace(f"<!-- /{last} -->", ""), tables)


def test_a_verdict_that_differs_comes_first_and_stands_out(monkeypatch):
    def rows(**verdicts):
        table = pd.DataFrame(list(verdicts.items()), columns=["name", "verdict"])
        return table.assign(claim=table["name"], numbers="1 | 2", role="primary")

    tables = {
        "claims": rows(a="supported", b="refuted", c="supported"),
        "fashion_mnist/claims": rows(a="supported", b="undecided", c="not measured"),
    }
    monkeypatch.setattr(fill_pages, "read", tables.__getitem__)
    lines = fill_pages.write_both_claims().splitlines()
    assert lines[0] == (
        "Of 3 claims 1 are about MNIST alone. Of the other 2, 1 have the same verdict on both"
        " (1 supported), 1 another."
    )
    assert lines[4:] == [
        "| b | **refuted** | **undecided** | 1 \\| 2 |",
        "| a | supported | supported | 1 \\| 2 |",
        "| c | supported | not measured | 1 \\| 2 |",
    ]
