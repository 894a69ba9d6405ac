"""What a terminal shows of the report at the end of a run, from the CSVs that it wrote."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_OPPOSITE = {"better": "worse", "worse": "better"}

Row = dict[str, str]


class Answer(NamedTuple):
    """The results table, and sentences below it."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    sentences: Sequence[str]


def read_answer(reports: Path, confidence: float) -> Answer:
    """Read accuracies with their intervals, verdicts beside the most accurate, and the ledger.

    `confidence` is the intervals'.

    Raises
    ------
    OSError
        When a CSV is not there.
    """
    summary, comparisons, claims = (
        _rows(reports / f"{name}.csv") for name in ("summary", "comparisons", "claims")
    )
    verdicts = {
        (row["network"], row["first"], row["second"]): row["verdict"]
        for row in comparisons
        if row["metric"] == "test_accuracy" and row["key"] == "activation"
    }
    of_networks: dict[str, list[Row]] = {}
    for row in summary:
        of_networks.setdefault(row["network"], []).append(row)
    rows = []
    for network, trained in of_networks.items():
        highest = max(trained, key=lambda row: _number(row["test_accuracy_mean"]))["activation"]
        for row in trained:
            name = row["activation"]
            verdict = "highest" if name == highest else _verdict(verdicts, network, name, highest)
            place = network if row is trained[0] else ""
            rows.append((place, name, *_accuracy(row), verdict))
    header = (
        "network",
        "activation",
        "test accuracy",
        f"{confidence:.0%} interval".replace("%", " %"),
        "beside the highest",
    )
    seeds = sorted({int(row["seeds"]) for row in summary})
    counted = Counter(row["verdict"] for row in claims)
    told = ", ".join(f"{count} {verdict}" for verdict, count in _in_order(counted))
    return Answer(
        header,
        rows,
        [
            f"Means over {' or '.join(map(str, seeds))} seed{'' if seeds == [1] else 's'};"
            " beside the highest: verdicts of paired tests.",
            f"The notebook's {len(claims)} claims: {told or 'none'}.",
        ],
    )


def _verdict(
    verdicts: dict[tuple[str, str, str], str], network: str, name: str, highest: str
) -> str:
    if (network, name, highest) in verdicts:
        return verdicts[network, name, highest]
    verdict = verdicts.get((network, highest, name), "")
    return _OPPOSITE.get(verdict, verdict)


def _accuracy(row: Row) -> tuple[str, str]:
    mean, low, high = (
        100 * _number(row[f"test_accuracy_{key}"]) for key in ("mean", "ci_low", "ci_high")
    )
    interval = f"{low:.2f} to {high:.2f} %" if math.isfinite(low + high) else "none"
    return f"{mean:.2f} %", interval


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _in_order(counted: Counter[str]) -> list[tuple[str, int]]:
    order = ("supported", "refuted", "undecided", "not measured")
    return [(verdict, counted[verdict]) for verdict in order if counted[verdict]]


def _rows(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
