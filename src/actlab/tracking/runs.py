"""Finished runs of MLflow -> a study: which of them count, and which keys tell them apart.

A run has its configuration as parameters: dotted keys with texts as values
(`training.learning_rate`, `0.001`). Runs with equal keys are one configuration; runs that differ in
a key are never pooled. A sweep's launch (`launches`) records which keys were swept.

In a fair sweep, each value of one key was tuned on validation images (phase selection), then
trained on fresh seeds with the best setting (tuned) and with one setting for all (baseline). The
selection runs enter no comparison; they show how sensitive a value is to its tuning.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from actlab.engine.launches import Launch
from actlab.errors import UserError
from actlab.results.study import ACTIVATION, NETWORK, PHASE, Study, numbers, varies

if TYPE_CHECKING:
    from actlab.tracking.reading import FoundRuns
else:  # the tables alone are needed, of whatever read them
    FoundRuns = Any

#: What MLflow calls the keys that name an activation and a network.
_NAMES = {"activation.name": ACTIVATION, "network.name": NETWORK}

#: What describes the hidden layers: depth and width, and their list only where these are equal.
_SHAPE = ("network.depth", "network.width", "network.hidden")

#: The keys that come first in tables and sentences; those of the activation come last.
_FIRST = (NETWORK, *_SHAPE, "initializer.name", "optimizer.name", "optimizer.learning_rate")

#: Parameters that change no training, or follow from others.
_NO_KEYS = {"network.parameters", "report.confidence", "training.probe_epochs"}


def parameter(key: str) -> str:
    """Name a key as MLflow's parameters do.

    >>> parameter("activation"), parameter("network.depth")
    ('activation.name', 'network.depth')
    """
    return f"{key}.name" if key in (ACTIVATION, NETWORK) else key


def gather(found: FoundRuns, name: str | None, by: Sequence[str] | None = None) -> Study:
    """Group finished runs into the configurations of a study.

    Parameters
    ----------
    found
        What was read from MLflow.
    name
        The sweep's; None for runs that were selected in another way.
    by
        The keys that tell groups apart. By default those that were swept, or all that differ where
        no launch is recorded, or the swept ones do not tell all configurations apart.

    Raises
    ------
    UserError
        When there are fewer than two configurations, or `by` has an unknown key or would pool runs
        that differ.
    """
    named = f"sweep {name}" if name else "what compare.filter selects"
    launch, (runs, known) = found.launch, _read_keys(found.parents)
    final = cast(pd.DataFrame, runs[runs[PHASE] != "selection"])
    if final.empty:
        raise UserError(
            f"{named} has selection runs of a fair sweep alone: run that sweep again, which trains"
            " what was chosen on fresh seeds"
        )
    tuned_for = _columns(launch.tuned_for, final) if launch and launch.tuned_for else []
    identity = [PHASE, *tuned_for] if tuned_for else known
    configurations, counting = _merge(final, identity, found.seeds)
    if len(configurations) < 2:
        raise UserError(
            f"{named} has one finished configuration, {configurations.iloc[0][ACTIVATION]} on"
            f" {configurations.iloc[0][NETWORK]}: a comparison takes two or more"
            + "".join(f"; {note.rstrip('.')}" for note in found.notes)
        )
    keys = _choose_keys(configurations, known, launch, tuned_for, by)
    configurations = _sort(configurations, keys)
    grid, settings = pd.DataFrame(), []
    if launch and tuned_for:
        grid = _tabulate_grid(runs, known, found)
        tuned = [key for key in launch.keys if key != launch.tuned_for]
        settings = [column for key in tuned for column in _columns(key, grid)]
    varying = [key for key in known if varies(configurations, key)]
    others = [key for key in known if key not in keys]
    study = Study(
        keys=tuple(keys),
        configurations=configurations.loc[:, [*keys, "outcome", *others]],
        test=_place(found.seeds, counting, configurations, keys),
        history=_place(found.history, counting, configurations, keys),
        noise=_place(found.noise, counting, configurations, keys),
        has_held_out=bool((configurations["data.validation_size"] != "0").all()),
        name=name or "",
        fixed={key: configurations[key].iloc[0] for key in known if key not in varying},
        tied=tuple(key for key in varying if key not in keys),
        grid=grid,
        settings=tuple(key for key in settings if varies(grid, key)),
    )
    return replace(study, notes=(*found.notes, *_compare_seeds(study)))


def tabulate_curves(found: FoundRuns) -> pd.DataFrame:
    """Tabulate every epoch of every seed: the newest where one was trained twice.

    Columns are activation, network, the other keys that tell runs apart, then those of the history.
    """
    runs, known = _read_keys(found.parents)
    configurations, counting = _merge(runs, [PHASE, *known], found.seeds)
    differing = [PHASE] if varies(configurations, PHASE) else []
    differing += _list_differing(configurations, known)
    keys = list(dict.fromkeys([ACTIVATION, NETWORK, *differing]))
    table = _place(found.history, counting, _sort(configurations, keys), keys)
    for key in differing:
        if key not in (ACTIVATION, NETWORK) and numbers(table[key]) is not None:
            table[key] = pd.to_numeric(table[key])
    return table


# --- Keys -----------------------------------------------------------------------------------


def _read_keys(parents: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Name the columns of runs as a study does; return them, and which are keys, as text."""
    runs = parents.rename(columns=_NAMES)
    known = sorted((column for column in runs if _is_key(column)), key=_rank)
    runs[known] = runs[known].astype(str).fillna("none")
    return runs, known


def _is_key(column: str) -> bool:
    """Return whether a column holds a key of the configuration."""
    return ("." in column or column in (ACTIVATION, NETWORK)) and column not in _NO_KEYS


def _rank(key: str) -> tuple[bool, int, str]:
    """Return the place of a key in tables and sentences."""
    place = _FIRST.index(key) if key in _FIRST else len(_FIRST)
    return key.partition(".")[0] == ACTIVATION, place, key


def _columns(key: str, table: pd.DataFrame) -> list[str]:
    """Find the columns that hold what an override calls `key`; none where no run has it."""
    key = key.lstrip("+").replace("activation.constants.", "activation.")
    if key == "network.hidden":
        return _tell_apart(table, _SHAPE) or [_SHAPE[0]]
    return [key] if key in table else []


def _choose_keys(
    configurations: pd.DataFrame,
    known: Sequence[str],
    launch: Launch | None,
    tuned_for: Sequence[str],
    by: Sequence[str] | None,
) -> list[str]:
    """Choose the keys that tell configurations apart, the activation last."""
    if tuned_for:
        keys = [PHASE, *tuned_for]
        if by is not None:
            raise UserError(
                f"a fair sweep is compared by {' and '.join(keys)}: leave out compare.by"
            )
        return keys
    differing = _list_differing(configurations, known)
    if by is not None:
        keys = list(dict.fromkeys(_NAMES.get(key, key) for key in by))
        if unknown := [key for key in keys if key not in known]:
            raise UserError(f"compare.by has {unknown[0]!r}: the runs have {', '.join(known)}")
        more = [key for key in _tell_apart(configurations, [*keys, *differing]) if key not in keys]
        if more:
            raise UserError(
                f"compare.by=[{','.join(keys)}] would pool runs that differ in {', '.join(more)}:"
                " add these to compare.by, or fix them by compare.filter"
            )
    else:
        swept = {
            column
            for key in (launch.keys if launch else [])
            for column in _columns(key, configurations)
        }
        keys = [key for key in known if key in swept and varies(configurations, key)]
        if not keys or configurations.duplicated(keys).any():
            keys = differing
    return sorted(keys, key=lambda key: key == ACTIVATION)


def _list_differing(table: pd.DataFrame, known: Sequence[str]) -> list[str]:
    """List the keys that differ, without those that an activation or a network decides.

    An activation's own keys, such as its constants, are listed only where they tell more rows apart
    than its name; likewise a network's. All others are listed: one that happens to vary with the
    activation would otherwise be taken for its effect.
    """
    differing = [key for key in known if varies(table, key)]
    needed: list[str] = []
    for group in (NETWORK, ACTIVATION):
        own = [key for key in differing if key.partition(".")[0] == group]
        needed += _tell_apart(table, own)
        differing = [key for key in differing if key not in own or key in needed]
    return differing


def _tell_apart(table: pd.DataFrame, keys: Iterable[str]) -> list[str]:
    """Choose the keys that tell more rows apart than the ones before them."""
    chosen: list[str] = []
    groups = 1
    for key in keys:
        if (finer := len(table[[*chosen, key]].drop_duplicates())) > groups:
            chosen, groups = [*chosen, key], finer
    return chosen


def describe_configurations(
    made_with: Sequence[Mapping[str, object]], swept: Sequence[str]
) -> tuple[list[str], list[dict[str, str]], dict[str, str]]:
    """Describe configurations as those of a study are, before any of them has been trained.

    Parameters
    ----------
    made_with
        `study.parameters` of each.
    swept
        The keys that have several values, as in Hydra's overrides.

    Returns
    -------
    keys, configurations, fixed
        As in `study.Study`: the rows have what differs, `fixed` what does not.
    """
    texts = pd.DataFrame([{key: str(value) for key, value in row.items()} for row in made_with])
    table, known = _read_keys(texts)
    launch = Launch("", 1, [key.lstrip("+") for key in swept], None, "")
    swept_columns = {
        column for key in launch.keys for column in _columns(_NAMES.get(f"{key}.name", key), table)
    }
    keys = [key for key in known if key in swept_columns and varies(table, key)]
    if not keys or table.duplicated(keys).any():
        keys = _list_differing(table, known)
    keys = sorted(keys, key=lambda key: key == ACTIVATION)
    names = [key for key in known if key in keys or varies(table, key)]
    columns = [*keys, *(key for key in names if key not in keys)]
    rows: Any = table.loc[:, columns].to_dict("records")
    fixed = {key: str(table[key].iloc[0]) for key in known if key not in columns}
    return keys, rows, fixed


# --- Which runs count -----------------------------------------------------------------------


def _merge(
    runs: pd.DataFrame, identity: Sequence[str], seeds: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Merge runs with equal keys into one configuration; the newest run of each seed counts.

    Runs of different code are not pooled: those of the newest run's code count. Returns the
    configurations, each as its newest run has it, and what counts: configuration, parent, seed.
    """
    runs = runs.assign(configuration=runs.groupby(list(identity), sort=False).ngroup())
    measured = runs.merge(seeds[["parent", "seed"]], left_on="run", right_on="parent")
    newest_code = measured.groupby("configuration")["code"].transform("last")
    counting = cast(pd.DataFrame, measured[measured["code"] == newest_code])
    counting = counting.drop_duplicates(["configuration", "seed"], keep="last")
    configurations = counting.drop_duplicates("configuration", keep="last")
    return (
        configurations.sort_values("configuration").drop(columns=["parent", "seed"]),
        counting.loc[:, ["configuration", "parent", "seed"]],
    )


def _tabulate_grid(runs: pd.DataFrame, known: Sequence[str], found: FoundRuns) -> pd.DataFrame:
    """Tabulate the selection runs with the mean validation accuracy that they were chosen by."""
    selection = cast(pd.DataFrame, runs[runs[PHASE] == "selection"])
    grid, counting = _merge(selection, known, found.seeds)
    objectives: Any = selection.set_index("run")["objective"]
    reached = counting.assign(objective=counting["parent"].map(objectives))
    means = cast(pd.Series, reached.groupby("configuration")["objective"].mean())
    grid["val_accuracy"] = [means[number] for number in grid["configuration"]]
    return _sort(
        grid.loc[:, ["outcome", *known, "val_accuracy"]],
        [key for key in known if varies(grid, key)],
    )


# --- The tables of a study ------------------------------------------------------------------


def _sort(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Sort by keys: numbers by size, words in the order in which they come."""

    def rank(column: pd.Series) -> pd.Series:
        values = list(dict.fromkeys(column))
        if column.name == PHASE:
            values.sort()
        elif (sizes := numbers(values)) is not None:
            values = [value for _, value in sorted(zip(sizes, values, strict=True))]
        return column.map({value: place for place, value in enumerate(values)})

    return table.sort_values(list(keys), key=rank, ignore_index=True)


def _place(
    table: pd.DataFrame, counting: pd.DataFrame, configurations: pd.DataFrame, keys: Sequence[str]
) -> pd.DataFrame:
    """Select the rows of a table that count, with the keys of their configuration, in its order."""
    places = configurations[["configuration", *keys]].assign(place=range(len(configurations)))
    joined = counting.merge(places, on="configuration").merge(table, on=["parent", "seed"])
    order = [column for column in ("place", "seed", "epoch") if column in joined]
    columns = [*keys, *(column for column in table if column != "parent")]
    return joined.sort_values(order, ignore_index=True).loc[:, columns]


def _compare_seeds(study: Study) -> Iterator[str]:
    """Report where seeds differ between configurations."""
    sets = study.test.groupby(list(study.keys))["seed"].agg(lambda seeds: tuple(sorted(seeds)))
    if len(set(sets)) > 1:
        counts = Counter(sets.tolist()).most_common()
        listed = "; ".join(f"{', '.join(map(str, seeds))} in {count}" for seeds, count in counts)
        yield (
            f"Seeds differ between configurations ({listed}): a pair is compared over the seeds"
            " that both have."
        )
