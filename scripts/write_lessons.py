"""Write the pages of docs/lessons from templates that hold no measured number: `make lessons`.

A template (`scripts/lessons/*.md.jinja`) takes numbers and verdicts from the tables of docs/study
and shows what its Python prints. It states what its text presumes with `expect`: if a new study
says otherwise, nothing is written, and the error names the text to rewrite.
"""

import contextlib
import io
import math
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from actlab.engine.csvs import where
from actlab.evidence import differences
from actlab.evidence.wording import percent, written

ROOT = Path(__file__).parents[1]
TEMPLATES = ROOT / "scripts/lessons"
PAGES = ROOT / "docs/lessons"
STUDY = ROOT / "docs/study"

#: What a verdict of the table of claims means for the notebook.
JUDGED = {
    "supported": "right",
    "refuted": "wrong",
    "negligible": "right, by less than matters",
    "undecided": "not proved",
    "not measured": "not measured",
}


class LessonError(Exception):
    """The text of a lesson contradicts its study."""


class Numbers:
    """The numbers of a study, for the templates.

    Attributes
    ----------
    folder
        The folder of the study's tables, such as `docs/study`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables: dict[str, pd.DataFrame] = {}

    def rows(self, table: str, **values: Any) -> list[dict[str, Any]]:
        """Get the rows of a table with these values."""
        if table not in self._tables:
            self._tables[table] = pd.read_csv(self.folder / f"{table}.csv")
        records: Any = where(self._tables[table], **values).to_dict("records")
        return records

    def row(self, table: str, **values: Any) -> dict[str, Any]:
        """Get the one row with these values."""
        found = self.rows(table, **values)
        if len(found) != 1:
            raise LessonError(f"{table}.csv has {len(found)} rows with {values}: one is needed")
        return found[0]

    def claim(self, name: str) -> dict[str, Any]:
        """Give a row of the settled study's table of claims."""
        settled = self.row("settled/claims", name=name)
        # Times are the pipeline's, until the settled study has timed its epochs.
        return settled if settled["verdict"] != "not measured" else self.row("claims", name=name)

    def claims_table(self, *names: str) -> str:
        """Render rows of the table of claims."""
        lines = ["| the notebook says | it is | because |", "| --- | --- | --- |"]
        for name in names:
            row = self.claim(name)
            judged = f"{JUDGED[row['verdict']]} (**{row['verdict']}**)"
            lines.append(f"| {row['claim']} | {judged} | {row['numbers']} `{name}` |")
        return "\n".join(lines)

    def counts(self) -> dict[str, int]:
        """Count the verdicts in the table of claims."""
        claims = self.rows("settled/claims", role="primary")
        counted = dict.fromkeys(JUDGED, 0)
        for row in claims:
            counted[row["verdict"]] += 1
        return counted | {"all": len(claims)}

    def accuracy(self, activation: str, network: str) -> str:
        """Write a mean test accuracy with its interval."""
        return test_accuracy(self.row("summary", activation=activation, network=network))

    def by_depth(self, layers: int, activation: str, kernel_initializer: str) -> dict[str, Any]:
        """Get a row of the sweep over depths."""
        keys = ("network.depth", "activation", "initializer.name")
        values = dict(zip(keys, (layers, activation, kernel_initializer), strict=True))
        return self.row("depth/summary", **values)

    def in_fair(self, phase: str, activation: str) -> dict[str, Any]:
        """Get a row of the fair sweep, of the phase `baseline` or `tuned`."""
        return self.row("fair/summary", phase=phase, activation=activation)

    def pair(self, metric: str, network: str, first: str, second: str) -> dict[str, Any]:
        """Get the settled study's comparison of two activations, first minus second."""
        table = (
            "settled/comparisons"
            if self.rows("settled/comparisons", metric=metric)
            else "comparisons"
        )
        comparisons = pd.DataFrame(self.rows(table))
        return differences.orient(comparisons, metric, first, second, network=network)

    def difference(self, metric: str, network: str, first: str, second: str) -> str:
        """Write the difference of two activations with its interval."""
        return differences.difference_text(metric, self.pair(metric, network, first, second))

    def score(self, metric: str, network: str, activation: str) -> float:
        """Give the mean over seeds of a metric by which activations are compared."""
        found = self.rows("scores", metric=metric, network=network, activation=activation)
        return sum(row["value"] for row in found) / len(found)


def test_accuracy(row: dict[str, Any]) -> str:
    """Write the mean test accuracy of a summary's row with its interval.

    >>> keys = ("mean", "ci_low", "ci_high")
    >>> test_accuracy({f"test_accuracy_{key}": 0.97 for key in keys})
    '97.00 % (97.00 to 97.00)'
    """
    mean, low, high = (row[f"test_accuracy_{key}"] for key in ("mean", "ci_low", "ci_high"))
    return f"{percent(mean)} ({100 * low:.2f} to {100 * high:.2f})"


def with_spread(row: dict[str, Any]) -> str:
    """Write the mean test accuracy of a summary's row with its standard deviation over seeds.

    >>> with_spread({"test_accuracy_mean": 0.55187, "test_accuracy_sd": 0.37971})
    '55.19 % (37.97)'
    """
    return f"{percent(row['test_accuracy_mean'])} ({100 * row['test_accuracy_sd']:.2f})"


def times(row: dict[str, Any], digits: int = 2) -> str:
    """Write a ratio, or another geometric mean, with its interval.

    >>> times({"geometric_mean": 0.22691, "low": 0.21688, "high": 0.23742}, 3)
    '0.227 (0.217 to 0.237)'
    """
    mean, low, high = (written(row[key], digits) for key in ("geometric_mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def share(row: dict[str, Any], key: str = "share", digits: int = 1) -> str:
    """Write a share in percent with its interval.

    >>> share({"share": 0.16146, "low": 0.12804, "high": 0.20163})
    '16.1 % (12.8 to 20.2)'
    """
    mean, low, high = (f"{100 * row[each]:.{digits}f}" for each in (key, "low", "high"))
    return f"{mean} % ({low} to {high})" if math.isfinite(row["low"]) else f"{mean} %"


def thousands(value: float) -> str:
    """Write a large number rounded to thousands.

    >>> thousands(24_830.2)
    '25,000'
    """
    return f"{1000 * round(value / 1000):,}"


def expect(holds: bool, words: str) -> None:
    """Stop if the study does not support a template's text."""
    if not holds:
        raise LessonError(f"the study does not say that {words}: rewrite this")


def run(code: str) -> str:
    """Run Python at the root of the repository; render the code and its output."""
    printed = io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(printed):
        exec(compile(code.strip(), "a lesson", "exec"), {})
    return f"```python\n{code.strip()}\n```\n\n```\n{printed.getvalue().rstrip()}\n```\n"


def reflow(text: str, width: int = 105) -> str:
    r"""Rewrap paragraphs and list items, as inserted numbers have any length.

    >>> print(reflow("one two\nthree\n\n| a | table |\n\n- four five\n", width=9))
    one two
    three
    <BLANKLINE>
    | a | table |
    <BLANKLINE>
    - four
      five
    <BLANKLINE>
    """
    fenced, blocks = False, []
    for block in re.sub(r"\n{3,}", "\n\n", text).split("\n\n"):
        is_code = fenced or block.startswith("```")
        fenced ^= block.count("```") % 2 == 1
        if is_code or block.lstrip("\n").startswith(("|", "!", "<", "#")):
            blocks.append(block)
            continue
        end = "\n" if block.endswith("\n") else ""
        parts = re.split(r"^(?=- )", block.strip("\n"), flags=re.MULTILINE)
        blocks.append("\n".join(_fill(part, width) for part in parts if part) + end)
    return "\n\n".join(blocks)


#: Never split over lines: code, a number with its sign or unit, one that would look like a list's.
_TIED = re.compile(r"`[^`]+`|× [\d(]|\d (?:%|×)|\S+ \d+[.)](?=\s|$)")


def _fill(paragraph: str, width: int) -> str:
    tied = _TIED.sub(lambda found: found[0].replace(" ", "\0"), " ".join(paragraph.split()))
    return textwrap.fill(
        tied,
        width,
        subsequent_indent="  " if paragraph.startswith("- ") else "",
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\0", " ")


def templates() -> list[str]:
    """List the pages that have a template."""
    return sorted(path.name.removesuffix(".jinja") for path in TEMPLATES.glob("*.md.jinja"))


def render(page: str, study: Path = STUDY) -> str:
    """Render a page from its template and a study.

    Raises
    ------
    LessonError
        If the study does not support the template's text.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        extensions=["jinja2.ext.do"],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    numbers = Numbers(study)
    environment.globals |= {
        name: getattr(numbers, name) for name in vars(Numbers) if not name.startswith("_")
    }
    environment.globals["expect"] = expect
    shown = (math.sqrt, percent, run, share, test_accuracy, thousands, times, with_spread, written)
    environment.filters |= {each.__name__: each for each in shown}
    try:
        return reflow(environment.get_template(f"{page}.jinja").render())
    except LessonError as error:
        raise LessonError(f"scripts/lessons/{page}.jinja: {error}") from error


def main(arguments: Sequence[str]) -> None:
    """Write every page, or those that are named."""
    try:
        pages = {page: render(page) for page in arguments or templates()}
    except LessonError as error:
        sys.exit(f"actlab: {error}")
    for page, text in pages.items():
        (PAGES / page).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
