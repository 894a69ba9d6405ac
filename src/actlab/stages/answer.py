"""Show what the last report found: `python -m actlab.stages.answer`, the end of `make repro`.

It reads the report's CSVs with the standard library, so that it takes no time.
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

Row = dict[str, str]


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
    """Read accuracies with their intervals, verdicts against the best, and the table of claims.

    Parameters
    ----------
    reports
        The folder of the report's CSVs.
    confidence
        The confidence level of the intervals there.

    Raises
    ------
    OSError
        When a CSV is missing.
    """
    summary, comparisons, claims = (
        _rows(reports / f"{name}.csv") for name in ("summary", "comparisons", "claims")
    )
    verdicts = {
        (row["network"], row["first"], row["second"]): row["verdict"]
        for row in comparisons
        if row["metric"] == "test_accuracy" and row["key"] == "activation"
    }
    by_network: dict[str, list[Row]] = {}
    for row in summary:
        by_network.setdefault(row["network"], []).append(row)
    rows = []
    for network, trained in by_network.items():
        best = max(trained, key=lambda row: _number(row["test_accuracy_mean"]))["activation"]
        for row in trained:
            name = row["activation"]
            verdict = "best" if name == best else _verdict(verdicts, network, name, best)
            place = network if row is trained[0] else ""
            rows.append((place, name, *_accuracy(row), verdict))
    interval = f"{confidence:.0%} interval".replace("%", " %")
    seeds = sorted({int(row["seeds"]) for row in summary})
    counts = Counter(row["verdict"] for row in claims)
    counted = ", ".join(
        f"{counts[verdict]} {verdict}"
        for verdict in ("supported", "refuted", "undecided", "not measured")
        if counts[verdict]
    )
    return Answer(
        ("network", "activation", "test accuracy", interval, "vs. best"),
        rows,
        [
            f"Means over {' or '.join(map(str, seeds))} seed{'' if seeds == [1] else 's'};"
            " vs. best: verdicts of paired tests.",
            f"The teaching notebook's {len(claims)} claims: {counted or 'none'}.",
        ],
    )


def _verdict(verdicts: dict[tuple[str, str, str], str], network: str, name: str, best: str) -> str:
    if (network, name, best) in verdicts:
        return verdicts[network, name, best]
    verdict = verdicts.get((network, best, name), "")
    return _OPPOSITE.get(verdict, verdict)


def _accuracy(row: Row) -> tuple[str, str]:
    mean, low, high = (
        100 * _number(row[f"test_accuracy_{key}"]) for key in ("mean", "ci_low", "ci_high")
    )
    interval = f"{low:.2f} to {high:.2f} %" if math.isfinite(low + high) else "none"
    return f"{mean:.2f} %".rjust(len("test accuracy")), interval


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _rows(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
