"""Show what the last report found: `python -m actlab.stages.answer`, the end of `make repro`.

It reads the report's CSVs with the standard library, so that it starts at once, and compares the
verdicts with those of the committed study, in docs/study.
"""

import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from actlab.engine.surroundings import prepare
from actlab.errors import UserError
from actlab.reporting.provenance import processor

_OPPOSITE = {"better": "worse", "worse": "better"}


class Answer(NamedTuple):
    """The results table, and the sentences below it."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    sentences: Sequence[str]


def main() -> None:
    """Print the table, the sentences, and where report and runs are."""
    try:
        prepare(Path.cwd())
        params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
        answer = read_answer(Path("reports"), float(params["report"]["confidence"]))
        compared = compare_verdicts(Path("reports"), Path("docs/study"), params, processor())
    except UserError as error:
        sys.exit(f"actlab: {error}")
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"actlab: reports/ cannot be read ({error}): run `dvc repro -f report`")
    table = [answer.header, *answer.rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print()
    for row in table:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    print("", *answer.sentences, *compared, "", sep="\n")
    print("The report:  reports/report.html (and report.md, summary.csv, claims.csv)")
    print("The runs:    make ui")


def read_answer(reports: Path, confidence: float) -> Answer:
    """Read test results with their intervals, verdicts against the best, and the claims' verdicts.

    They are accuracies in percent; in a regression, mean squared errors.
    """
    summary, comparisons, claims = (
        _read_rows(reports / f"{name}.csv") for name in ("summary", "comparisons", "claims")
    )
    verdicts, is_regression = {}, "test_mse_mean" in summary[0]
    metric, title = (
        ("test_mse", "test MSE") if is_regression else ("test_accuracy", "test accuracy")
    )

    def read(row: dict[str, str], column: str) -> float:
        text = row[f"{metric}_{column}"]
        return (float(text) * (1 if is_regression else 100)) if text else math.nan

    def write(*values: float) -> str:
        places = ".4g" if is_regression else ".2f"
        joined = " to ".join(format(value, places) for value in values)
        return joined if is_regression else f"{joined} %"

    for row in comparisons:
        if row["metric"] == metric and row["key"] == "activation":
            network, first, second = row["network"], row["first"], row["second"]
            verdicts[network, first, second] = row["verdict"]
            verdicts[network, second, first] = _OPPOSITE.get(row["verdict"], row["verdict"])
    best: dict[str, dict[str, str]] = {}
    for row in summary:
        network = row["network"]
        choose = min if is_regression else max
        best[network] = choose(best.get(network, row), row, key=lambda row: read(row, "mean"))
    rows = []
    for place, row in enumerate(summary):
        network, name = row["network"], row["activation"]
        low, high = (read(row, f"ci_{end}") for end in ("low", "high"))
        rows.append(
            (
                network if place == 0 or network != summary[place - 1]["network"] else "",
                name,
                write(read(row, "mean")).rjust(len(title)),
                write(low, high) if math.isfinite(low + high) else "none",
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
        ("network", "activation", title, f"{100 * confidence:g} % interval", "vs. best"),
        rows,
        [
            f"Means over {' or '.join(map(str, seeds))} seed{'' if seeds == [1] else 's'};"
            " vs. best: verdicts of paired tests.",
            f"The teaching notebook's {len(claims)} claims: {counted or 'none'}.",
        ],
    )


def compare_verdicts(
    reports: Path, study: Path, params: dict[str, Any], here: str
) -> Sequence[str]:
    """Compare the verdicts on the claims with the committed study's, in a sentence.

    There is none if no study is committed, or one with other values in params.yaml. `here` is the
    processor, and the first to suspect where verdicts differ.
    """
    record = study / "study.json"
    if not record.is_file():
        return []
    try:
        committed = json.loads(record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{record} is not valid JSON: git checkout HEAD -- {record}") from error
    if committed["params"] != params:
        return []
    old, new = (
        {row["name"]: row["verdict"] for row in _read_rows(folder / "claims.csv")}
        for folder in (study, reports)
    )
    differing = {name: new.get(name, "missing") for name in old if old[name] != new.get(name)}
    start = f"Compared with the committed study, {len(old) - len(differing)} of {len(old)} verdicts"
    if not differing:
        return [f"{start} are the same."]
    listed = ", ".join(f"{name} ({now}, was {old[name]})" for name, now in differing.items())
    if committed["processor"] != here:
        reason = (
            f"it ran on an {committed['processor']}, this on an {here}, and another kind of"
            " processor rounds differently, which gives other weights"
        )
    else:
        reason = "edited code, other packages and measured times can change them"
    return [f"{start} are the same. These differ: {listed}; {reason}."]


def _read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
