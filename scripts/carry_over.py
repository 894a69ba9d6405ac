"""Which of the claims carry over from MNIST to Fashion-MNIST: docs/fashion_mnist.md.

    make fashion    # runs the pipeline on Fashion-MNIST as an experiment, then this

Reads docs/study/ and docs/study/fashion_mnist/, and writes what is between the page's marks.
"""

import csv
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/fashion_mnist.md"
STUDIES = {"MNIST": ROOT / "docs/study", "Fashion-MNIST": ROOT / "docs/study/fashion_mnist"}

Rows = list[dict[str, str]]


def read(name: str, file: str) -> Rows:
    """Read a table of a study."""
    with (STUDIES[name] / file).open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def accuracies() -> str:
    """Set test accuracies of both side by side, as Markdown."""
    lines = [
        f"| network | activation | {' | '.join(STUDIES)} |",
        "| --- | --- |" + " --- |" * len(STUDIES),
    ]
    studies = [read(name, "summary.csv") for name in STUDIES]
    for rows in zip(*studies, strict=True):
        keys = {(row["network"], row["activation"]) for row in rows}
        assert len(keys) == 1, keys
        cells = [_accuracy(row) for row in rows]
        lines.append(f"| {rows[0]['network']} | {rows[0]['activation']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _accuracy(row: dict[str, str]) -> str:
    mean, low, high = (
        100 * float(row[f"test_accuracy_{key}"]) for key in ("mean", "ci_low", "ci_high")
    )
    return f"{mean:.2f} % ({low:.2f} to {high:.2f})"


def claims() -> str:
    """Set the verdicts of both side by side, as Markdown: first what differs, last MNIST's own."""
    mnist, fashion = (read(name, "claims.csv") for name in STUDIES)
    pairs = list(zip(mnist, fashion, strict=True))
    assert all(one["name"] == other["name"] for one, other in pairs)
    alone = [pair for pair in pairs if pair[1]["verdict"] == "not measured"]
    both = [pair for pair in pairs if pair not in alone]
    same = [pair for pair in both if pair[0]["verdict"] == pair[1]["verdict"]]
    differ = [pair for pair in both if pair not in same]
    counts = Counter(one["verdict"] for one, _ in same)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    lines = [
        f"Of {len(pairs)} claims {len(alone)} are about MNIST alone. Of the other {len(both)},"
        f" {len(same)} have the same verdict on both ({told}), {len(differ)} another.",
        "",
        "| claim | MNIST | Fashion-MNIST | numbers on Fashion-MNIST |",
        "| --- | --- | --- | --- |",
    ]
    for one, other in (*differ, *same, *alone):
        verdicts = [one["verdict"], other["verdict"]]
        if (one, other) in differ:
            verdicts = [f"**{verdict}**" for verdict in verdicts]
        cells = [one["claim"], *verdicts, other["numbers"].replace("|", "\\|")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def written(page: str) -> str:
    """Give the page with its tables made anew."""
    for mark, text in (("accuracies", accuracies()), ("claims", claims())):
        start, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
        before, _, rest = page.partition(start)
        _, found, after = rest.partition(end)
        assert found, f"{PAGE.name} lacks {end}"
        page = f"{before}{start}{text}\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
