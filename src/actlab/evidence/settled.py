"""The folder of a study that adds seeds: its declaration, scores, times and looks, as files.

==================  ============================================================================
declaration.yaml    the rules: `settling.Declaration`, with its digest
record.json         in which commit and when the rules were committed, when the first training began
scores.csv          one row per configuration and seed: `keys`, seed, each metric, and whether
                    epochs_to_target is a lower bound (censored) and the seed diverged
times.csv           `tables.BLOCKS`
looks.csv           `LOOKS`
==================  ============================================================================

The folder is all that a verdict needs: a copy of it goes on where the original stopped.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pandas as pd
import yaml

from actlab.engine import csvs
from actlab.engine.files import atomic_write
from actlab.errors import UserError
from actlab.evidence.comparisons import METRICS, SCORES
from actlab.evidence.layer_scores import LAYER_METRICS
from actlab.evidence.settling import Declaration
from actlab.results import tables
from actlab.results.study import NETWORK, Study

#: One row per look: when it ended, on what code and processor, its trainings, the seconds of the
#: command that finished it (other commands may have done a part), and what is still undecided.
LOOKS = (
    *("look", "ended", "commit", "processor", "trainings", "seconds"),
    *("fewest_seeds", "most_seeds", "undecided_pairs", "undecided_claims"),
)

#: The keys of record.json.
RECORD = ("declared_commit", "declared", "first_training")

_TIMES = "epoch_seconds"


class SettledFolder:
    """The folder of a study; what it holds is read anew at every call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def declared(self) -> Path:
        """The file of the rules."""
        return self.path / "declaration.yaml"

    # --- The declaration --------------------------------------------------------------------

    def read_declaration(self) -> Declaration | None:
        """Read the declaration; None if there is none.

        Raises
        ------
        UserError
            When the file was edited, or is of another version.
        """
        if not self.declared.is_file():
            return None
        again = f"restore it (git checkout {self.declared}), or give this study a folder of its own"
        try:
            content = yaml.safe_load(self.declared.read_text(encoding="utf-8"))
            digest = content.pop("digest")
            declaration = Declaration(**content)
        except (yaml.YAMLError, AttributeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise UserError(f"{self.declared} is not a declaration: {again}") from error
        if declaration.digest != digest:
            raise UserError(f"{self.declared} has changed since it was declared: {again}")
        return declaration

    def write_declaration(self, declaration: Declaration) -> None:
        """Write the declaration."""
        self.path.mkdir(parents=True, exist_ok=True)
        content = {"digest": declaration.digest, **asdict(declaration)}
        with atomic_write(self.declared) as path:
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
            path.write_text(text, encoding="utf-8")

    def read_record(self) -> dict[str, str]:
        """Read the record; empty before the first training."""
        path = self.path / "record.json"
        if not path.is_file():
            return {}
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return {key: str(record[key]) for key in RECORD}
        except (ValueError, LookupError, TypeError) as error:
            raise _explain(path, error) from error

    def write_record(self, record: dict[str, str]) -> None:
        """Write the record."""
        with atomic_write(self.path / "record.json") as path:
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    # --- What was measured ------------------------------------------------------------------

    @property
    def is_begun(self) -> bool:
        """Whether there are scores."""
        return (self.path / "scores.csv").is_file()

    def read_scores(self, declaration: Declaration) -> pd.DataFrame:
        """Read the scores of all seeds: the keys, then `comparisons.SCORES`, without times.

        Raises
        ------
        UserError
            When the file is damaged, or has seeds that were not declared.
        """
        keys, path = declaration.keys, self.path / "scores.csv"
        if not path.is_file():
            return pd.DataFrame(columns=[*keys, *SCORES])
        flags = {"True": True, "TRUE": True, "1": True, "False": False, "FALSE": False, "0": False}
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
            labels = [*keys, "seed", "censored", "diverged"]
            metrics = [name for name in table if name not in labels]
            for name in ("censored", "diverged"):
                table[name] = [flags[value] for value in table[name]]
            for name in metrics:
                table[name] = [float(value or "nan") for value in table[name]]
            table["seed"] = [int(value) for value in table["seed"]]
            rows = [*table[[*keys, "seed"]].itertuples(index=False, name=None)]
            if len(set(rows)) < len(rows):
                raise ValueError("a configuration has a seed twice")
            if unknown := {tuple(row[:-1]) for row in rows} - set(declaration.identities):
                raise ValueError(f"{', '.join(min(unknown))} was not declared")
            seeds = set(declaration.list_seeds(declaration.most_seeds))
            if foreign := {row[-1] for row in rows} - seeds:
                raise ValueError(f"seed {min(foreign)} was not declared")
        except (ValueError, LookupError) as error:
            raise _explain(path, error) from error
        long = table.melt([*keys, "seed", "censored", "diverged"], metrics, "metric", "value")
        long["censored"] &= long["metric"] == "epochs_to_target"
        return long.rename(columns={"seed": "pair"}).loc[:, [*keys, *SCORES]]

    def write_scores(self, declaration: Declaration, scores: pd.DataFrame) -> None:
        """Write the scores of all seeds, ordered by configuration and seed."""
        keys = declaration.keys
        measured: Any = scores[scores["metric"] != _TIMES]
        measured = measured.rename(columns={"pair": "seed"})
        rows = [*keys, "seed"]
        wide: Any = measured.pivot(index=rows, columns="metric", values="value")  # noqa: PD010
        flags: Any = measured.groupby(rows, sort=False)[["censored", "diverged"]].any()
        metrics = [name for name in (*METRICS, *LAYER_METRICS) if name in wide]
        table = wide[metrics].join(flags).reset_index()
        places = {known: place for place, known in enumerate(declaration.identities)}
        order = [places[tuple(row)] for row in table[keys].itertuples(index=False)]
        table = table.assign(place=order).sort_values(["place", "seed"]).drop(columns="place")
        with atomic_write(self.path / "scores.csv") as path:
            csvs.write_frame(table, path)

    def read_times(self) -> pd.DataFrame:
        """Read the times of epochs by process."""
        path = self.path / "times.csv"
        if not path.is_file():
            return pd.DataFrame()
        return tables.read_table(path, tables.BLOCKS)

    def write_times(self, times: pd.DataFrame) -> None:
        """Write the times of epochs by process."""
        with atomic_write(self.path / "times.csv") as path:
            csvs.write_frame(times.loc[:, list(tables.BLOCKS)], path)

    def read_looks(self) -> pd.DataFrame:
        """Read the looks so far."""
        path = self.path / "looks.csv"
        if not path.is_file():
            return pd.DataFrame(columns=list(LOOKS))
        try:
            return pd.read_csv(path).loc[:, list(LOOKS)]
        except (ValueError, LookupError) as error:
            raise _explain(path, error) from error

    def write_looks(self, looks: pd.DataFrame) -> None:
        """Write the looks so far."""
        with atomic_write(self.path / "looks.csv") as path:
            csvs.write_frame(looks.loc[:, list(LOOKS)], path)

    # --- The study --------------------------------------------------------------------------

    def load(self) -> tuple[Study, pd.DataFrame]:
        """Load the study and its scores.

        Raises
        ------
        UserError
            When nothing was declared here.
        """
        declaration = self.read_declaration()
        if declaration is None:
            raise UserError(f"{self.declared} is missing: nothing was declared there")
        scores, times = self.read_scores(declaration), self.read_times()
        study = make_study(declaration, scores, self.read_record(), times)
        if len(times):
            rows = times.rename(columns={"block": "pair", "epoch_seconds": "value"})
            rows = rows.assign(metric=_TIMES, censored=False, diverged=False)
            scores = pd.concat([scores, rows.loc[:, scores.columns]], ignore_index=True)
        return study, scores


def _explain(path: Path, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return UserError(f"{path} is damaged ({reason}): git checkout {path}, or a copy of it")


def make_study(
    declaration: Declaration,
    scores: pd.DataFrame,
    record: dict[str, str] | None = None,
    times: pd.DataFrame | None = None,
) -> Study:
    """Make the study of a declaration from its scores: the keys, then `comparisons.SCORES`."""
    keys = declaration.keys
    configurations = pd.DataFrame(declaration.configurations).assign(**declaration.fixed)
    by_seed = scores[scores["metric"] != _TIMES]
    wide: Any = by_seed.pivot(index=[*keys, "pair"], columns="metric", values="value")  # noqa: PD010
    lost: Any = by_seed.groupby([*keys, "pair"])["diverged"].any()
    test = wide.reindex(columns=["test_loss", "test_mse", "test_accuracy"])
    test["test_loss"] = test["test_loss"].fillna(test.pop("test_mse")).mask(lost.astype(bool))
    table = test.reset_index().rename(columns={"pair": "seed"}).rename_axis(columns=None)
    places = {known: place for place, known in enumerate(declaration.identities)}
    order = [places[tuple(row)] for row in table[keys].itertuples(index=False)]
    table = table.assign(place=order).sort_values(["place", "seed"], ignore_index=True)
    held_out = configurations.get("data.validation_size")
    return Study(
        keys=tuple(keys),
        configurations=configurations,
        test=cast(pd.DataFrame, table.drop(columns="place")),
        history=pd.DataFrame(columns=[*keys, "seed", "epoch"]),
        has_held_out=held_out is not None and bool((held_out != "0").all()),
        name=declaration.name,
        fixed=declaration.fixed,
        declaration={**asdict(declaration), "digest": declaration.digest, **(record or {})},
        blocks=times if times is not None and NETWORK in keys else pd.DataFrame(),
    )
