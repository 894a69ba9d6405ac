"""What docs/fashion_mnist.md says is what the tables of both studies say."""

import importlib.util

import pytest


@pytest.fixture(scope="module")
def carry_over(root):
    spec = importlib.util.spec_from_file_location("carry_over", root / "scripts/carry_over.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_of_the_tables(carry_over):
    page = carry_over.PAGE.read_text(encoding="utf-8")
    assert page == carry_over.written(page)


def test_a_verdict_that_differs_comes_first_and_stands_out(carry_over, monkeypatch):
    def row(name, verdict):
        return {"name": name, "claim": name, "verdict": verdict, "numbers": "1 | 2"}

    tables = {
        "MNIST": [row("a", "supported"), row("b", "refuted"), row("c", "supported")],
        "Fashion-MNIST": [row("a", "supported"), row("b", "undecided"), row("c", "not measured")],
    }
    monkeypatch.setattr(carry_over, "read", lambda name, file: tables[name])
    said = carry_over.claims().splitlines()
    assert said[0] == (
        "Of 3 claims 1 are about MNIST alone. Of the other 2, 1 have the same verdict on both"
        " (1 supported), 1 another."
    )
    assert said[4:] == [
        "| b | **refuted** | **undecided** | 1 \\| 2 |",
        "| a | supported | supported | 1 \\| 2 |",
        "| c | supported | not measured | 1 \\| 2 |",
    ]


def test_what_stands_around_the_tables_stays(carry_over):
    page = "a\n<!-- accuracies -->\n<!-- /accuracies -->\nb\n"
    page += "<!-- claims -->\nold\n<!-- /claims -->\nc\n"
    lines = carry_over.written(page).splitlines()
    assert [line for line in lines if line in ("a", "b", "c", "old")] == ["a", "b", "c"]
    with pytest.raises(AssertionError, match="lacks <!-- /claims -->"):
        carry_over.written(page.replace("<!-- /claims -->", ""))
