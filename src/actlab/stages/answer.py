"""Show what the last report found: `python -m actlab.stages.answer`, the end of `make repro`.

It reads the report's CSVs with the standard library, so that it starts at once, and compares the
verdicts with those of the settled study, in docs/study/settled.
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
        try:
            compared = compare_verdicts(Path("reports"), Path("docs/study"), params)
        except (OSError, LookupError, TypeError, ValueError) as error:
            raise UserError(
                f"docs/study cannot be read ({error}): git checkout HEAD -- docs/study"
            ) from error
    except UserError as error:
        sys.exit(f"actlab: {error}")
    except (OSError, LookupError, TypeError, ValueError) as error:
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
        if not math.isnan(read(row, "mean")):
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
                if row is best.get(network)
                else verdicts.get((network, name, best.get(network, row)["activation"]), ""),
            )
        )
    seeds = sorted({int(row["seeds"]) for row in summary})
    counts = Counter(row["verdict"] for row in claims if row["role"] == "primary")
    counted = ", ".join(
        f"{counts[verdict]} {name}"
        for verdict, name in (
            ("supported", "supported"),
            ("refuted", "refuted"),
            ("negligible", "negligible"),
            ("undecided", "not yet decided"),
            ("not measured", "not measured"),
        )
        if counts[verdict]
    )
    return Answer(
        ("network", "activation", title, f"{100 * confidence:g} % interval", "vs. best"),
        rows,
        [
            f"Means over {' or '.join(map(str, seeds))} seed{'' if seeds == [1] else 's'};"
            " vs. best: verdicts read from intervals that hold for all pairs.",
            f"The teaching notebook's {counts.total()} claims: {counted or 'none'}.",
        ],
    )


def compare_verdicts(reports: Path, study: Path, params: dict[str, Any]) -> Sequence[str]:
    """Compare the verdicts on the claims with the settled study's, in a sentence.

    There is none if no settled study is committed, or if params.yaml has other values than those of
    the committed study.
    """
    record, settled = study / "study.json", study / "settled"
    if not (record.is_file() and (settled / "claims.csv").is_file()):
        return []
    try:
        committed = json.loads(record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{record} is not valid JSON: git checkout HEAD -- {record}") from error
    if committed["params"] != params:
        return []
    there, here = (
        {row["name"]: row["verdict"] for row in _read_rows(path) if row["role"] == "primary"}
        for path in (settled / "claims.csv", reports / "claims.csv")
    )
    both = [name for name in here if _is_decided(here[name]) and _is_decided(there[name])]
    differing = [name for name in both if here[name] != there[name]]
    later = [name for name in here if not _is_decided(here[name]) and _is_decided(there[name])]
    seeds = sorted({int(row["seeds"]) for row in _read_rows(settled / "summary.csv")})
    counts = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    line = (
        f"Compared with the settled study of {counts} seeds (docs/study/settled),"
        f" {len(both) - len(differing)} of {len(both)} decided verdicts on the claims are the same"
    )
    if differing:
        named = (f"{name} ({here[name]}, settled: {there[name]})" for name in differing)
        line += f"; these differ: {', '.join(named)}"
    if later:
        line += f"; {len(later)} that are not yet decided here are decided there"
    return [f"{line}."]


def _is_decided(verdict: str) -> bool:
    return verdict in ("supported", "refuted", "negligible")


def _read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
