"""Finished runs of MLflow -> a study: what tells configurations apart, and which runs count.

A run has its configuration as parameters: dotted keys with texts as values
(`training.learning_rate`, `0.001`). Runs with equal keys are one configuration; runs that differ in
a key are never pooled.

In a fair sweep each value of one key, most often the activation, was tuned on validation images
(phase selection), then trained on fresh seeds with the best setting (tuned) and with one setting
for all (baseline). The selection runs enter no comparison; they show how sensitive an activation is
to its tuning.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd

from actlab.errors import UserError
from actlab.results.study import ACTIVATION, NETWORK, PHASE, Study, numbers, setting, varies
from actlab.results.tables import where

#: What MLflow calls the keys that name an activation and a network.
_NAMES = {"activation.name": ACTIVATION, "network.name": NETWORK}

#: The first that tells runs apart is taken, so a depth is a depth and not a list of layers.
_PREFERRED = (
    PHASE,
    ACTIVATION,
    NETWORK,
    "network.depth",
    "network.width",
    "network.hidden",
    "model.kernel_initializer",
    "training.learning_rate",
    "training.batch_size",
    "training.epochs",
)

#: Say nothing of what was trained, or follow from other keys.
_NO_KEYS = {"network.parameters", "report.confidence", "training.probe_epochs"}


def parameter(key: str) -> str:
    """Name a key as MLflow's parameters do.

    >>> parameter("activation"), parameter("network.depth")
    ('activation.name', 'network.depth')
    """
    return {short: name for name, short in _NAMES.items()}.get(key, key)


def is_key(name: str) -> bool:
    """Tell whether a column holds a key of the configuration."""
    return "." in name or name in (ACTIVATION, NETWORK)


def gather(
    parents: pd.DataFrame,
    seeds: pd.DataFrame,
    history: pd.DataFrame,
    name: str | None,
    by: Sequence[str] | None,
) -> Study:
    """Make configurations out of finished runs, and find the keys that tell them apart.

    Parameters
    ----------
    parents
        One row per finished run of a configuration, the oldest first: run, outcome, phase, `code`
        (a digest of what trained it, empty where it is not known), `seeds` (0,1,2), then a column
        for each dotted key, a text or, where the run lacks it, NaN.
    seeds
        parent, seed, test_accuracy, test_loss: one row per finished run of a seed.
    history
        parent, seed, epoch, val_accuracy.
    name
        Of the sweep; None for runs that were selected in another way.
    by
        The keys that tell groups apart; None for all that do.

    Raises
    ------
    UserError
        When there is no configuration or only one, when `by` names something that is not a key,
        and when it would pool runs that differ.
    """
    if seeds.empty:
        raise UserError(f"{_named(name)} has no run of a seed: delete its runs, and run it again")
    notes: list[str] = []
    parents = parents.rename(columns=_NAMES)
    known = [key for key in parents.columns if is_key(key) and key not in _NO_KEYS]
    parents[known] = parents[known].astype(object).fillna("none")
    parents, selection, fair = _split_phases(parents, name, notes)
    columns = [PHASE, *known] if fair else known
    if by is not None:
        by = [_NAMES.get(key, key) for key in by if key != PHASE]
        for key in by:
            if key not in columns:
                raise UserError(f"compare.by has {key!r}: the runs have {', '.join(columns)}")
    tuned_for = _tuned_for(parents, known, by) if fair else []
    if fair:
        parents = _keep_newest(parents, known, tuned_for, notes)
    merged = _merge(parents, columns, seeds, notes)
    if fair:
        merged = _complete(merged, tuned_for, selection, known, seeds, history)
    configurations, of_run = merged
    if len(configurations) < 2:
        raise UserError(
            f"{_named(name)} has one finished configuration,"
            f" {configurations.iloc[0][ACTIVATION]} on {configurations.iloc[0][NETWORK]}:"
            " a comparison takes two or more"
        )
    varying = [key for key in columns if varies(configurations, key)]
    if by is None:
        keys = (
            [PHASE, *tuned_for]
            if fair
            else _alone(_telling(configurations, _ordered(varying), []), varying)
        )
    else:
        keys = list(dict.fromkeys([PHASE, *by] if fair else by))
        if more := _telling(configurations, _ordered(varying), keys)[len(keys) :]:
            them = "it" if len(more) == 1 else "them"
            raise UserError(
                f"compare.by=[{','.join(by)}] would pool runs that differ in {', '.join(more)}: add"
                f" {them} to compare.by, or hold {them} fixed by compare.filter"
            )
    keys = [key for key in keys if key != ACTIVATION] + [key for key in keys if key == ACTIVATION]
    configurations = _sort(configurations, keys)
    place = {number: at for at, number in enumerate(configurations["configuration"])}
    places = pd.DataFrame(
        [(*run, number, place[number]) for run, held in of_run.items() for number in held],
        columns=["parent", "seed", "configuration", "place"],
    )

    def placed(table: pd.DataFrame) -> pd.DataFrame:
        joined = places.merge(table, on=["parent", "seed"], how="inner")
        joined = joined.merge(configurations[["configuration", *keys]], on="configuration")
        order = [column for column in ("place", "seed", "epoch") if column in joined]
        measured = [name for name in table.columns if name != "parent"]
        return joined.sort_values(order, ignore_index=True).loc[:, [*keys, *measured]]

    test = placed(seeds)
    sets = test.groupby(keys)["seed"].agg(lambda held: tuple(sorted(held)))
    if len(set(sets)) > 1:
        counts = Counter(sets.tolist()).most_common()
        listed = "; ".join(f"{', '.join(map(str, held))} in {count}" for held, count in counts)
        notes.append(
            f"Seeds differ between configurations ({listed}): a pair is compared over the seeds"
            " that both have."
        )
    grid = _grid(selection, known, seeds, history) if fair else pd.DataFrame()
    study = Study(
        keys=tuple(keys),
        configurations=configurations.loc[
            :, [*keys, "outcome", *(key for key in columns if key not in keys)]
        ],
        test=test,
        history=placed(history),
        has_held_out=bool((configurations["data.validation_size"] != "0").all()),
        name=name or "",
        fixed={key: configurations[key].iloc[0] for key in known if key not in varying},
        tied=tuple(key for key in varying if key not in keys),
        grid=grid,
    )
    sizes, whole = grid_sizes(study)
    if any(size < whole for size in sizes.values()):
        listed = ", ".join(f"{value} {size}" for value, size in sizes.items())
        notes.append(
            f"Not all settings of the grid finished: {listed} of {whole}. The more settings there"
            " are, the better the best of them: what lacks some may be tuned less well."
        )
    return replace(study, notes=tuple(notes))


def grid_sizes(study: Study) -> tuple[dict[str, int], int]:
    """Count the settings of the grid that finished for each value that was tuned, and for any."""
    keys = study.tuned_for
    if study.grid.empty or not keys:
        return {}, 0
    tuned = [key for key in swept_in(study.grid) if not _belongs(key, keys)]
    sizes = {}
    for at in cast(pd.DataFrame, study.configurations[keys]).drop_duplicates().to_dict("records"):
        rows = where(study.grid, **{str(key): value for key, value in at.items()})
        sizes[study.setting(at, keys)] = len(rows[tuned].drop_duplicates())
    return sizes, len(study.grid[tuned].drop_duplicates()) if tuned else 1


def _named(name: str | None) -> str:
    return f"sweep {name}" if name else "what compare.filter selects"


def _split_phases(
    parents: pd.DataFrame, name: str | None, notes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame, bool]:
    """Part the selection runs of a fair sweep from what is compared; tell whether it is one."""
    if name and name.endswith(".selection"):
        whole = name.removesuffix(".selection")
        raise UserError(
            f"the runs of {name} chose the settings of {whole}, and nothing is tested on them:"
            f" compare sweep={whole}"
        )
    phases = parents["phase"].fillna("").str.split(",")
    is_selection = phases.map(lambda of: of == ["selection"])
    final = phases.map(lambda of: bool({"baseline", "tuned"} & set(of)))
    if name and final.any():
        if left := int((~final & ~is_selection).sum()):
            notes.append(f"{_runs(left)} without a phase of the fair sweep: left out.")
        compared = parents.loc[final].copy()
        compared["phase"] = phases[final].map(lambda of: [one for one in of if one != "selection"])
        selected = phases.map(lambda of: "selection" in of)
        return compared.explode("phase"), cast(pd.DataFrame, parents[selected]), True
    if is_selection.all() and len(parents):
        raise UserError(
            f"{_named(name)} has selection runs of a fair sweep alone: run that sweep again, which"
            " trains what was chosen on fresh seeds"
        )
    if is_selection.any() and not name:
        left = int(is_selection.sum())
        notes.append(
            f"{_runs(left)} on which a fair sweep chose its settings: left out, nothing is tested"
            " on them."
        )
        parents = cast(pd.DataFrame, parents[~is_selection])
    return parents, parents.iloc[:0], False


def _tuned_for(final: pd.DataFrame, known: Sequence[str], by: Sequence[str] | None) -> list[str]:
    """Find the keys of whose values each was tuned: those in which the baselines differ.

    A baseline has the settings of params.yaml besides. Of a network's shape it may take several.
    """
    baseline = where(final, phase="baseline")
    table = baseline if any(varies(baseline, key) for key in known) else final
    of = [key for key in _ordered(known) if varies(table, key)][:1]
    if of and of[0].startswith("network."):
        shape = [key for key in _ordered(known) if key.partition(".")[0] == NETWORK]
        of = _telling(table, shape, [])
    return list(dict.fromkeys(by)) if by and {*of} <= {*by} else of


def _belongs(key: str, of: Sequence[str]) -> bool:
    """Tell whether a key says, with others, which of the values that are tuned a run has."""
    group = key.partition(".")[0]
    return key in of or (
        group in (ACTIVATION, NETWORK) and any(each.partition(".")[0] == group for each in of)
    )


def _keep_newest(
    final: pd.DataFrame, known: Sequence[str], of: Sequence[str], notes: list[str]
) -> pd.DataFrame:
    """Keep one setting of a value and a phase, that of its newest run.

    There are more where a sweep ran again under its name with another grid or other code.
    """
    rows = final.to_dict("records")
    newest = {(row[PHASE], *(row[key] for key in of)): [row[key] for key in known] for row in rows}
    kept = [
        newest[row[PHASE], *(row[key] for key in of)] == [row[key] for key in known] for row in rows
    ]
    if all(kept):
        return final
    told = _telling(final, _ordered(key for key in [PHASE, *known] if varies(final, key)), [])
    told = [key for key in told if key not in of] + [key for key in told if key in of]
    left = dict.fromkeys(
        setting(row, told, told) for row, keep in zip(rows, kept, strict=True) if not keep
    )
    notes.append(
        "The sweep ran more than once under its name, and other settings were chosen: of each value"
        " and phase the newest run counts. Of those before it are left out:"
        f" {'; '.join(left)}."
    )
    return cast(pd.DataFrame, final[kept])


def _runs(count: int) -> str:
    return f"There {'is 1 run' if count == 1 else f'are {count} runs'}"


def _merge(
    parents: pd.DataFrame, columns: Sequence[str], seeds: pd.DataFrame, notes: list[str]
) -> tuple[pd.DataFrame, dict[tuple[str, int], list[int]]]:
    """Make one configuration of all runs with equal keys; of a seed the newest run counts.

    Runs of different code are not pooled: the newest stands alone, unless no run has a seed that
    it lacks. Give the configurations, and which of them a parent's seed belongs to.
    """
    held: dict[tuple, list[dict[Hashable, Any]]] = {}
    for row in parents.to_dict("records"):
        held.setdefault(tuple(row[key] for key in columns), []).append(row)
    below = seeds.groupby("parent")["seed"].agg(lambda of: {int(seed) for seed in of}).to_dict()
    table: list[dict[Hashable, Any]] = []
    of_run: dict[tuple[str, int], list[int]] = {}
    again = parted = 0
    for number, runs in enumerate(held.values()):
        trained = {row["run"]: below.get(row["run"], set()) for row in runs}
        newest = next((row for row in reversed(runs) if trained[row["run"]]), runs[-1])
        like = [row for row in runs if row.get("code", "") == newest.get("code", "")]
        table.append(
            {"configuration": number, **{key: newest[key] for key in ("outcome", *columns)}}
        )
        takes = {seed: row["run"] for row in like for seed in trained[row["run"]]}
        for seed, run in takes.items():
            of_run.setdefault((run, seed), []).append(number)
        if set().union(*trained.values()) > takes.keys():
            parted += 1
        elif sum(map(len, trained.values())) > len(takes):
            again += 1
    if again:
        notes.append(
            f"{again} of {len(table)} configurations were trained more than once with the same"
            " seeds: the newest run counts."
        )
    if parted:
        notes.append(
            f"{parted} of {len(table)} configurations were trained with other seeds by other code"
            " or packages: their newest run alone counts, no seeds are pooled."
        )
    lacking = sum(
        below.get(row["run"], set()) != {int(seed) for seed in str(row["seeds"]).split(",")}
        for row in parents.to_dict("records")
    )
    if lacking:
        notes.append(f"Of {lacking} finished runs not every seed's is in the store.")
    return pd.DataFrame(table), of_run


def _complete(
    merged: tuple[pd.DataFrame, dict[tuple[str, int], list[int]]],
    of: Sequence[str],
    selection: pd.DataFrame,
    known: Sequence[str],
    seeds: pd.DataFrame,
    history: pd.DataFrame,
) -> tuple[pd.DataFrame, dict[tuple[str, int], list[int]]]:
    """Let one run be baseline and tuned both where the best setting is the baseline's.

    It is trained once, and its phase is whichever was written last.
    """
    table, of_run = merged
    tuned, baseline = (where(table, phase=phase) for phase in ("tuned", "baseline"))
    settings = [key for key in known if not _belongs(key, of) and varies(table, key)]
    grid = _grid(selection, known, seeds, history).dropna(subset=["val_accuracy"])
    shared = {tuple(row) for row in baseline[settings].to_numpy().tolist()}
    copies = []
    for value in cast(pd.DataFrame, table[list(of)]).drop_duplicates().to_dict("records"):
        at = {str(key): each for key, each in value.items()}
        if where(tuned, **at).empty:
            of_grid = where(grid, **at)
            if of_grid.empty:
                continue
            best = of_grid.loc[of_grid["val_accuracy"].idxmax()]
            chosen = [key for key in settings if key in swept_in(of_grid)]
            for row in where(baseline, **at).to_dict("records"):
                if all(row[key] == best[key] for key in chosen):
                    copies.append((row, "tuned"))
        elif where(baseline, **at).empty:
            for row in where(tuned, **at).to_dict("records"):
                if tuple(row[key] for key in settings) in shared:
                    copies.append((row, "baseline"))
    for row, phase in copies:
        number = len(table)
        table = pd.concat(
            [table, pd.DataFrame([{**row, "configuration": number, "phase": phase}])],
            ignore_index=True,
        )
        for numbers_ in of_run.values():
            if row["configuration"] in numbers_:
                numbers_.append(number)
    return table, of_run


def swept_in(grid: pd.DataFrame) -> list[str]:
    """Give the keys of whose values a tuning grid holds several."""
    return [key for key in grid.columns if is_key(key) and varies(grid, key)]


def settings_of(grid: pd.DataFrame) -> list[str]:
    """Give the keys that tell the settings of a tuning grid apart."""
    return _telling(grid, _ordered(swept_in(grid)), [])


def _grid(
    selection: pd.DataFrame, known: Sequence[str], seeds: pd.DataFrame, history: pd.DataFrame
) -> pd.DataFrame:
    """Tabulate the selection runs with their mean validation accuracy after the last epoch."""
    columns = ["outcome", *known]
    if selection.empty:
        return pd.DataFrame(columns=[*columns, "val_accuracy"])
    table, of_run = _merge(selection, known, seeds, [])
    last = history.sort_values("epoch").groupby(["parent", "seed"])["val_accuracy"].last().to_dict()
    means = {number: [] for number in table["configuration"]}
    for (parent, seed), (number,) in of_run.items():
        means[number].append(float(last.get((parent, seed), math.nan)))
    table["val_accuracy"] = [
        float(np.mean(means[number])) if means[number] else math.nan
        for number in table["configuration"]
    ]
    return _sort(table, [key for key in _ordered(known) if varies(table, key)])


def _ordered(keys: Iterable[str]) -> list[str]:
    """Put keys in the order in which they are preferred; constants of activations last."""
    keys = list(keys)
    first = [key for key in _PREFERRED if key in keys]
    rest = [key for key in keys if key not in first]
    return first + sorted(rest, key=lambda key: (key.startswith("activation."), key))


def _telling(table: pd.DataFrame, keys: Sequence[str], given: Sequence[str]) -> list[str]:
    """Add to the given keys those that tell more rows apart, one after the other."""
    chosen = list(given)
    groups = len(table[chosen].drop_duplicates()) if chosen else 1
    for key in keys:
        if key in chosen:
            continue
        if (finer := len(table[[*chosen, key]].drop_duplicates())) > groups:
            chosen, groups = [*chosen, key], finer
    return chosen


def _alone(telling: Sequence[str], varying: Sequence[str]) -> list[str]:
    """Add the keys that vary for themselves, though those given tell all rows apart.

    An activation decides its constants, a network its depth; nothing decides how many images were
    trained on: where no two rows contradict, that was chance, and would be taken for an effect.
    """
    groups = (ACTIVATION, NETWORK)
    return _ordered({*telling, *(key for key in varying if key.partition(".")[0] not in groups)})


def _sort(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Sort by keys: numbers by size, words in the order of their first runs."""
    ranks = pd.DataFrame(index=table.index)
    for key in keys:
        values = list(dict.fromkeys(table[key]))
        sizes = numbers(values)
        if sizes is not None:
            values = [value for _, value in sorted(zip(sizes, values, strict=True))]
        if key == PHASE:
            values = ["baseline", "tuned"]
        ranks[key] = [values.index(value) for value in table[key]]
    if not keys:
        return table.reset_index(drop=True)
    return table.loc[ranks.sort_values(list(keys), kind="stable").index].reset_index(drop=True)
