"""Show what the last report found: `python -m actlab.stages.answer`, the end of `make repro`.

It reads the report's CSVs with the standard library, so that it starts at once.
"""

import csv
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

_OPPOSITE = {"better": "worse", "worse": "better"}


class Answer(NamedTuple):
    """The results table, and the sentences below it."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    sentences: Sequence[str]


def main() -> None:
    """Print the table, the sentences, and where report and runs are."""
    try:
        confidence = yaml.safe_load(Path("params.yaml").read_text())["report"]["confidence"]
        answer = read_answer(Path("reports"), float(confidence))
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"actlab: reports/ cannot be read ({error}): run `dvc repro -f report`")
    table = [answer.header, *answer.rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print()
    for row in table:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    print("", *answer.sentences, "", sep="\n")
    print("The report:  reports/report.html (and report.md, summary.csv, claims.csv)")
    print("The runs:    make ui")


def read_answer(reports: Path, confidence: float) -> Answer:
    """Read accuracies with their intervals, verdicts against the best, and the table of claims."""
    summary, comparisons, claims = (
        _read_rows(reports / f"{name}.csv") for name in ("summary", "comparisons", "claims")
    )
    verdicts = {}
    for row in comparisons:
        if row["metric"] == "test_accuracy" and row["key"] == "activation":
            network, first, second = row["network"], row["first"], row["second"]
            verdicts[network, first, second] = row["verdict"]
            verdicts[network, second, first] = _OPPOSITE.get(row["verdict"], row["verdict"])
    best: dict[str, dict[str, str]] = {}
    for row in summary:
        network = row["network"]
        best[network] = max(best.get(network, row), row, key=_accuracy)
    rows = []
    for place, row in enumerate(summary):
        network, name = row["network"], row["activation"]
        low, high = (_percentage(row[f"test_accuracy_ci_{end}"]) for end in ("low", "high"))
        rows.append(
            (
                network if place == 0 or network != summary[place - 1]["network"] else "",
                name,
                f"{_accuracy(row):.2f} %".rjust(len("test accuracy")),
                f"{low:.2f} to {high:.2f} %" if math.isfinite(low + high) else "none",
                "best"
                if row is best[network]
                else verdicts.get((network, name, best[network]["activation"]), ""),
            )
        )
    seeds = sorted({int(row["seeds"]) for row in summary})
    counts = Counter(row["verdict"] for row in claims)
    counted = ", ".join(
        f"{counts[verdict]} {verdict}"
        for verdict in ("supported", "refuted", "undecided", "not measured")
        if counts[verdict]
    )
    return Answer(
        ("network", "activation", "test accuracy", f"{100 * confidence:g} % interval", "vs. best"),
        rows,
        [
            f"Means over {' or '.join(map(str, seeds))} seed{'' if seeds == [1] else 's'};"
            " vs. best: verdicts of paired tests.",
            f"The teaching notebook's {len(claims)} claims: {counted or 'none'}.",
        ],
    )


def _accuracy(row: dict[str, str]) -> float:
    return _percentage(row["test_accuracy_mean"])


def _percentage(text: str) -> float:
    return 100 * float(text) if text else math.nan


def _read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
