"""Fill the tables of docs/results.md and docs/fashion_mnist.md from docs/study: `make lessons`.

A table stands between its marks, `<!-- name -->` and `<!-- /name -->`: see `TABLES`. What is
between them is replaced; the sentences around them are written by hand.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence.outcomes import VERDICTS
from actlab.stages.answer import compare_verdicts

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "docs/study"
ACCURACY = "test_accuracy"
WORDS = {"undecided": "not yet decided", "not measured": "not yet measured"}


def read(name: str) -> pd.DataFrame:
    """Read a table of docs/study, such as `settled/claims`."""
    return pd.read_csv(STUDY / f"{name}.csv")


def write_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write a table in Markdown; a first cell that repeats is left out."""
    lines, before = [header, ["---"] * len(header)], None
    for row in rows:
        lines.append(["" if row[0] == before else row[0], *row[1:]])
        before = row[0]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def write_accuracy(row: Any) -> str:
    """Write the mean test accuracy of a row of a summary, with its interval."""
    values = (100 * row[f"test_accuracy_{part}"] for part in ("mean", "ci_low", "ci_high"))
    return "{:.2f} % ({:.2f} to {:.2f})".format(*values)


def count_verdicts(verdicts: Sequence[str]) -> str:
    """Count the verdicts on claims, the decided ones first."""
    return ", ".join(
        f"{verdicts.count(word)} {WORDS.get(word, word)}" for word in VERDICTS if word in verdicts
    )


# --- docs/results.md ------------------------------------------------------------------------


def write_default() -> str:
    """Write the accuracies and gradients of the default study, compared with the settled one."""
    rows = []
    for row in read("summary").to_dict("records"):
        gradient = re.sub(r"e-0?", "e-", f"{row['gradient_first_layer_initial']:.1e}")
        rows.append((row["network"], row["activation"], write_accuracy(row), gradient))
    header = ("network", "activation", "test accuracy, 95 % interval", "first layer's gradient")
    params = json.loads((STUDY / "study.json").read_text(encoding="utf-8"))["params"]
    return "\n\n".join([write_table(header, rows), *compare_verdicts(STUDY, STUDY, params)])


def write_settled() -> str:
    """Write the accuracies of the settled study, and how many pairs are decided by them."""
    summary, pairs = read("settled/summary"), where(read("settled/comparisons"), metric=ACCURACY)
    parts = []
    for network, rows in pairs.groupby("network", sort=False):
        decided = len(rows) - len(where(rows, verdict="undecided"))
        parts.append(f"{decided} of {len(rows)} pairs on {network}")
    table = write_table(
        ("network", "activation", "seeds", "test accuracy, 95 % interval, valid at every look"),
        [
            (row["network"], row["activation"], row["seeds"], write_accuracy(row))
            for row in summary.to_dict("records")
        ],
    )
    seeds = f"{summary['seeds'].min()} to {summary['seeds'].max()} seeds per configuration"
    return (
        f"{summary['seeds'].sum():,} trainings, {seeds}. Decided by test accuracy:"
        f" {', '.join(parts)}.\n\n{table}"
    )


def write_claims() -> str:
    """Write the verdicts of the settled study on the notebook's claims."""
    primary = where(read("settled/claims"), role="primary")
    rows = [
        (row["claim"], f"**{WORDS.get(row['verdict'], row['verdict'])}**", row["seeds"])
        for row in primary.to_dict("records")
    ]
    counts = f"{len(primary)} claims: {count_verdicts(list(primary['verdict']))}."
    return f"{counts}\n\n{write_table(('claim', 'verdict', 'seeds, or processes'), rows)}"


def write_replication() -> str:
    """Write how many verdicts of the settled study its replication reaches too."""
    rows, others = [], []
    claims = _join("claims", ["name"])
    claims = where(claims, role="primary")
    compared = _join("comparisons", ["network", "key", "metric", "first", "second"])
    groups = {
        "claims of the notebook": claims,
        "pairs by test accuracy": where(compared, metric=ACCURACY),
        "pairs by another metric": compared[compared["metric"] != ACCURACY],
    }
    for title, table in groups.items():
        both = table[
            ~table["verdict"].isin(list(WORDS)) & ~table["verdict_again"].isin(list(WORDS))
        ]
        same = both["verdict"] == both["verdict_again"]
        apart = (both["low"] > both["high_again"]) | (both["high"] < both["low_again"])
        rows.append((title, len(table), len(both), same.sum(), apart.sum()))
        if title != "pairs by another metric":
            others += [_describe(row) for row in both[~same].to_dict("records")]
    header = ("", "all", "decided in both", "with the same verdict", "with intervals apart")
    listed = f"\n\nNot the same: {'; '.join(others)}." if others else ""
    return write_table(header, rows) + listed


def _join(table: str, keys: Sequence[str]) -> pd.DataFrame:
    first, again = (read(f"{study}/{table}") for study in ("settled", "replication"))
    return first.merge(again, on=list(keys), suffixes=("", "_again"), validate="1:1")


def _describe(row: Any) -> str:
    what = (
        row["claim"] if "claim" in row else f"{row['first']} and {row['second']}, {row['network']}"
    )
    return f"{what} ({row['verdict']}, then {row['verdict_again']})"


# --- docs/fashion_mnist.md ------------------------------------------------------------------


def write_both_accuracies() -> str:
    """Write the test accuracies on both data sets, next to each other."""
    keys, found = ["network", "activation"], read("summary")
    found = found.merge(read("fashion_mnist/summary"), on=keys, suffixes=("", "_fashion"))
    rows = []
    for row in found.to_dict("records"):
        fashion = {key.removesuffix("_fashion"): row[key] for key in row if "_fashion" in key}
        rows.append((*(row[key] for key in keys), write_accuracy(row), write_accuracy(fashion)))
    return write_table([*keys, "MNIST", "Fashion-MNIST"], rows)


def write_both_claims() -> str:
    """Write the verdicts on both: first those that differ, last those about MNIST alone."""
    mnist = where(read("claims"), role="primary")
    pairs = mnist.merge(
        read("fashion_mnist/claims"), on="name", suffixes=("", "_fashion"), validate="1:1"
    )
    alone = pairs["verdict_fashion"] == "not measured"
    same = ~alone & (pairs["verdict"] == pairs["verdict_fashion"])
    differs = ~alone & ~same
    counts = ", ".join(
        f"{count} {verdict}" for verdict, count in pairs.loc[same, "verdict"].value_counts().items()
    )
    rows = []
    for group in (differs, same, alone):
        mark = "**" if group is differs else ""
        for row in pairs.loc[group].to_dict("records"):
            verdicts = (f"{mark}{row[key]}{mark}" for key in ("verdict", "verdict_fashion"))
            rows.append([row["claim"], *verdicts, row["numbers_fashion"].replace("|", "\\|")])
    return (
        f"Of {len(pairs)} claims {alone.sum()} are about MNIST alone. Of the other"
        f" {(~alone).sum()}, {same.sum()} have the same verdict on both ({counts}),"
        f" {differs.sum()} another.\n\n"
        + write_table(["claim", "MNIST", "Fashion-MNIST", "numbers on Fashion-MNIST"], rows)
    )


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "docs/results.md": {
        "settled": write_settled,
        "claims": write_claims,
        "replication": write_replication,
        "default": write_default,
    },
    "docs/fashion_mnist.md": {"accuracies": write_both_accuracies, "claims": write_both_claims},
}


def fill(page: str, tables: dict[str, Callable[[], str]]) -> str:
    """Replace the tables of the text of a page."""
    for mark, write in tables.items():
        start, end = f"<!-- {mark} -->\n", f"\n<!-- /{mark} -->"
        before, _, rest = page.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            sys.exit(f"fill_pages: a page lacks {start.strip()} or {end.strip()}")
        page = f"{before}{start}{write()}{end}{after}"
    return page


if __name__ == "__main__":
    for name, tables in TABLES.items():
        path = ROOT / name
        path.write_text(fill(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
