"""Tables as CSV files, and as lines of a terminal."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from actlab.errors import UserError

#: Columns with a total.
_SUMMED = {"parameters"}


def read_table(path: Path, columns: tuple[str, ...], text: Collection[str]) -> pd.DataFrame:
    """Read a CSV to the same bits that were written, and verify its columns.

    `text` are columns of strings, such as a name that reads "nan".
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro` to make it")
    numbers = [column for column in columns if column not in text]
    try:
        table = pd.read_csv(
            path,
            dtype={column: str for column in columns if column in text},
            keep_default_na=False,
            na_values={column: ["", "nan", "NaN"] for column in numbers},
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(
            f"{path} is not a valid CSV ({reason}): run `dvc repro` to make it again"
        ) from error
    if tuple(table.columns) != columns:
        raise UserError(
            f"{path} has the columns {', '.join(table.columns)}, expected"
            f" {', '.join(columns)}: run `dvc repro` to make it again"
        )
    return table


def write_table(rows: Iterable[tuple], columns: tuple[str, ...], path: Path) -> None:
    """Write rows as a CSV whose numbers read back to the same bits."""
    write_frame(pd.DataFrame(list(rows), columns=list(columns)), path)


def write_frame(table: pd.DataFrame, path: Path) -> None:
    """Write a table as a CSV whose numbers read back to the same bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, lineterminator="\n")


def as_text(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> str:
    """Format rows for a terminal: words to the left, numbers to the right, a total of parameters.

    >>> print(as_text([("hidden_1", 100480), ("output", 650)], ("layer", "parameters")))
    layer     parameters
    hidden_1     100,480
    output           650
    total        101,130
    """
    body = [list(row) for row in rows]
    right = [
        any(isinstance(cell, int | float) for cell in cells)
        for cells in zip(columns, *body, strict=True)
    ]
    if body and _SUMMED & set(columns):
        sums = [
            sum(cells) if name in _SUMMED else ""
            for name, *cells in zip(columns, *body, strict=True)
        ]
        body.append(["total", *sums[1:]])
    cells = [
        [f"{cell:,}" if isinstance(cell, int | float) else str(cell) for cell in row]
        for row in [list(columns), *body]
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )


def where(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Select the rows with a given value, or one of a list of values, in each named column.

    >>> table = pd.DataFrame({"epoch": [0, 1, 2], "loss": [3.0, 2.0, 1.0]})
    >>> where(table, epoch=[0, 2])["loss"].tolist()
    [3.0, 1.0]
    """
    chosen = np.ones(len(table), dtype=bool)
    for column, value in values.items():
        allowed = value if isinstance(value, list) else [value]
        chosen &= table[column].isin(allowed).to_numpy()
    return cast(pd.DataFrame, table[chosen])
