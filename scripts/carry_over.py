"""Compare the study on MNIST with that on Fashion-MNIST: the tables of docs/fashion_mnist.md.

    make fashion    # runs the pipeline on Fashion-MNIST as an experiment, then this

Reads docs/study/ and docs/study/fashion_mnist/, and writes between the page's marks.
"""

from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/fashion_mnist.md"
STUDIES = {"MNIST": ROOT / "docs/study", "Fashion-MNIST": ROOT / "docs/study/fashion_mnist"}


def read(name: str, file: str) -> pd.DataFrame:
    """Read a table of a study."""
    return pd.read_csv(STUDIES[name] / file)


def write_table(header: list[str], rows: list[list[str]]) -> str:
    """Write a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def write_accuracies() -> str:
    """Write the test accuracies of both studies, next to each other."""
    keys, cells = ["network", "activation"], []
    for name in STUDIES:
        summary = read(name, "summary.csv").set_index(keys)
        columns = [f"test_accuracy_{part}" for part in ("mean", "ci_low", "ci_high")]
        cells.append((100 * summary[columns]).apply(_write_interval, axis=1))
    table = pd.concat(cells, axis=1, keys=list(STUDIES)).reset_index()
    return write_table(list(table.columns), table.to_numpy().tolist())


def _write_interval(values: pd.Series) -> str:
    return "{:.2f} % ({:.2f} to {:.2f})".format(*values)


def write_claims() -> str:
    """Write the verdicts of both studies: first those that differ, last those on MNIST alone."""
    mnist, fashion = (read(name, "claims.csv") for name in STUDIES)
    mnist = mnist[mnist["role"] == "primary"]
    pairs = mnist.merge(fashion, on="name", suffixes=("", "_fashion"), validate="1:1")
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


def fill_page(page: str) -> str:
    """Replace the tables of the page."""
    for mark, text in (("accuracies", write_accuracies()), ("claims", write_claims())):
        start, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
        before, _, rest = page.partition(start)
        _, found, after = rest.partition(end)
        assert found, f"{PAGE.name} lacks {end}"
        page = f"{before}{start}{text}\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(fill_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
