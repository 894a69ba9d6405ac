"""Finished configurations of a sweep -> what tells them apart, their values, every verdict.

A configuration is a row of plain tables, its keys as MLflow holds them: dotted, with texts as
values (`training.learning_rate`, `0.001`). Runs with equal keys are one configuration; runs that
differ in a key are never pooled. Which pairs are compared follows from the keys that differ:
activations at equal other keys where activations differ, and values of each other key at equal
others. The tests and verdicts are those of `comparisons`, paired by seed.

In fair mode each value of one key, most often the activation, was tuned on validation images (phase
selection), then trained on fresh seeds with what was best (tuned) and, beside it, with one setting
for all (baseline). The selection runs enter no comparison; they tell how sensitive an activation is
to its tuning.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, cast

import numpy as np
import pandas as pd

from actlab import comparisons
from actlab.comparisons import Metric
from actlab.config import ReportConfig
from actlab.errors import UserError
from actlab.statistics import mean_interval
from actlab.tables import COMPARISONS, where

#: The key that tells activations apart.
ACTIVATION = "activation.name"

#: In fair mode: whether a configuration is tuned or the baseline. MLflow has it in a tag.
PHASE = "phase"

#: What configurations are compared by, in the order of the report. Times of trainings are no
#: measurement: jobs run beside each other.
METRICS = {
    "val_accuracy": Metric("validation accuracy", "points", True, "equivalence_margin"),
    **{
        name: comparisons.METRICS[name]
        for name in ("test_accuracy", "test_loss", "epochs_to_target")
    },
}

#: Differences from the best validation accuracy of a grid within which a setting does as well.
NEAR_BEST = 0.005

#: From how many pairs on a family does without the bootstrap and seeds needed, which take long.
MANY_PAIRS = 64

#: Beside activations, keys of up to so many values are compared along too.
MOST_VALUES = 8

#: Not compared along beside activations: other test images, and other questions.
_OTHER_IMAGES = ("data.name", "data.validation_size", "data.split_seed")

#: Where no two configurations differ in one key alone, all are compared with all up to this many.
_MOST_UNMATCHED = 30

#: The first that tells runs apart is taken, so a depth is a depth and not a list of layers.
_PREFERRED = (
    PHASE,
    ACTIVATION,
    "network.name",
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

_LABELS = {ACTIVATION: "activation", "model.kernel_initializer": "initialiser"}

#: A row a pair by a metric; `comparisons.csv` of a comparison has a column for each of the sweep's
#: keys before these. `key` is what the two differ in: `first` and `second` are its values, and its
#: own column is empty. The rest is as in `tables.COMPARISONS`.
COMPARED = (
    "key",
    *(
        name
        for name in COMPARISONS
        if name != "network" and not name.startswith(("median", "new_images"))
    ),
)


@dataclass(frozen=True)
class Sweep:
    """Configurations that are told apart by a few keys, with what each seed gave.

    Attributes
    ----------
    name
        Of the sweep; empty where runs were selected in another way.
    keys
        What tells the configurations apart, the activation last.
    fixed
        The keys in which all are equal, with the values.
    tied
        The keys that differ too, but follow from `keys`.
    configurations
        configuration (a number), outcome, then a column for each key of any run; in the order in
        which they are shown.
    tests
        configuration, seed, test_accuracy, test_loss; NaN where a diverged seed has none.
    history
        configuration, seed, epoch, val_accuracy.
    grid
        In fair mode, the selection runs: `configurations` with val_accuracy, the mean over seeds
        after the last epoch. Empty otherwise.
    notes
        What a reader has to know of the selection, in sentences.
    """

    name: str
    keys: list[str]
    fixed: dict[str, str]
    tied: list[str]
    configurations: pd.DataFrame
    tests: pd.DataFrame
    history: pd.DataFrame
    grid: pd.DataFrame
    notes: list[str]

    @property
    def is_fair(self) -> bool:
        """Whether tuned configurations stand beside a baseline."""
        return PHASE in self.keys

    @property
    def others(self) -> list[str]:
        """The keys besides the activation."""
        return [key for key in self.keys if key != ACTIVATION]

    @property
    def tuned_for(self) -> list[str]:
        """In fair mode, the keys of whose values each was tuned: all but the phase."""
        return [key for key in self.keys if key != PHASE]

    @property
    def has_held_out(self) -> bool:
        """Whether the validation images of all are held-out training images, not the test's."""
        return bool((self.configurations["data.validation_size"] != "0").all())

    @property
    def seeds(self) -> list[int]:
        """All seeds that any configuration has."""
        return sorted(int(seed) for seed in set(self.tests["seed"]))

    def metrics(self) -> dict[str, Metric]:
        """Give what the configurations are compared by.

        Validation accuracy counts where it is neither the test's nor what was tuned by.
        """
        without = set() if self.has_held_out and not self.is_fair else {"val_accuracy"}
        return {name: metric for name, metric in METRICS.items() if name not in without}

    def values(self, key: str) -> list[str]:
        """Give the values of a key, in order."""
        return list(dict.fromkeys(self.configurations[key]))

    def setting(self, configuration: Mapping[Any, Any], keys: Iterable[str]) -> str:
        """Say in words which values a configuration has: `depth 8, relu`."""
        return _in_words(configuration, keys, self.keys)


def label(key: str, among: Iterable[str] = ()) -> str:
    """Name a key as in a sentence; by all of it where another one would get the same name.

    >>> label("training.learning_rate"), label("model.kernel_initializer")
    ('learning rate', 'initialiser')
    >>> label("data.name", ["network.name", "data.name"])
    'data'
    """

    def short(of: str) -> str:
        group, _, last = of.rpartition(".")
        return _LABELS.get(of) or (group if last == "name" else last.replace("_", " "))

    return key if any(short(key) == short(other) for other in among if other != key) else short(key)


def _in_words(row: Mapping[Any, Any], keys: Iterable[str], among: Sequence[str]) -> str:
    return ", ".join(
        str(row[key]) if key in (PHASE, ACTIVATION) else f"{label(key, among)} {row[key]}"
        for key in keys
    )


def varies(table: pd.DataFrame, key: str) -> bool:
    """Tell whether a column holds more than one value."""
    return len(set(table[key])) > 1


def numbers(values: Iterable[str]) -> list[float] | None:
    """Give the values of a key as numbers, or None where one is none.

    >>> numbers(["0.001", "3e-4"]), numbers(["64-64", "64"])
    ([0.001, 0.0003], None)
    """
    try:
        parsed = [float(value) for value in values]
    except ValueError:
        return None
    return parsed if all(map(math.isfinite, parsed)) else None


# --- From runs to configurations ----------------------------------------------------------


def gather(
    parents: pd.DataFrame,
    seeds: pd.DataFrame,
    history: pd.DataFrame,
    name: str | None,
    by: Sequence[str] | None,
) -> Sweep:
    """Make configurations out of finished runs, and find the keys that tell them apart.

    Parameters
    ----------
    parents
        A row a finished run of a configuration, the oldest first: run, outcome, phase, `code`
        (a digest of what trained it, empty where it is not known), `seeds` (0,1,2), then a column
        for each dotted key, a text or, where the run lacks it, NaN.
    seeds
        parent, seed, test_accuracy, test_loss: a row a finished run of a seed.
    history
        parent, seed, epoch, val_accuracy.
    name
        Of the sweep; None for runs that were selected in another way.
    by
        The keys that tell groups apart; None for all that do.

    Raises
    ------
    UserError
        When there is no configuration or one alone, when `by` names what is no key, and when it
        would pool runs that differ.
    """
    notes: list[str] = []
    known = [key for key in parents.columns if "." in key and key not in _NO_KEYS]
    parents = parents.copy()
    parents[known] = parents[known].astype(object).fillna("none")
    parents, selection, fair = _split_phases(parents, name, notes)
    columns = [PHASE, *known] if fair else known
    for key in by or []:
        if key not in columns:
            raise UserError(f"compare.by has {key!r}: the runs have {', '.join(columns)}")
    of = _tuned_for(parents, known, by) if fair else []
    if fair:
        parents = _keep_newest(parents, known, of, notes)
    merged = _merge(parents, columns, seeds, notes)
    if fair:
        merged = _complete(merged, of, selection, known, seeds, history)
    configurations, of_run = merged
    if len(configurations) < 2:
        raise UserError(
            f"{_named(name)} has one finished configuration,"
            f" {configurations.iloc[0][ACTIVATION]} on {configurations.iloc[0]['network.name']}:"
            " a comparison takes two or more"
        )
    varying = [key for key in columns if varies(configurations, key)]
    if by is None:
        keys = (
            [PHASE, *of]
            if fair
            else _alone(_telling(configurations, _ordered(varying), []), varying)
        )
    else:
        keys = list(dict.fromkeys([PHASE, *by] if fair else by))
        if more := _telling(configurations, _ordered(varying), keys)[len(keys) :]:
            raise UserError(
                f"compare.by=[{','.join(by)}] would pool runs that differ in {', '.join(more)}: add"
                f" {'it' if len(more) == 1 else 'them'} to compare.by, or hold"
                f" {'it' if len(more) == 1 else 'them'} fixed by compare.filter"
            )
    keys = [key for key in keys if key != ACTIVATION] + [key for key in keys if key == ACTIVATION]
    configurations = _sort(configurations, keys)
    renumbered = {old: new for new, old in enumerate(configurations["configuration"])}
    configurations["configuration"] = range(len(configurations))
    places = pd.DataFrame(
        [
            (parent, seed, renumbered[old])
            for (parent, seed), olds in of_run.items()
            for old in olds
        ],
        columns=["parent", "seed", "configuration"],
    )

    def placed(table: pd.DataFrame) -> pd.DataFrame:
        joined = places.merge(table, on=["parent", "seed"], how="inner")
        return joined.drop(columns="parent").sort_values(
            [column for column in ("configuration", "seed", "epoch") if column in joined]
        )

    tests = placed(seeds)
    grid = _grid(selection, known, seeds, history) if fair else pd.DataFrame()
    sets = tests.groupby("configuration")["seed"].agg(lambda of: tuple(sorted(of)))
    if len(set(sets)) > 1:
        counts = Counter(sets.tolist()).most_common()
        told = "; ".join(f"{', '.join(map(str, of))} in {count}" for of, count in counts)
        notes.append(
            f"Seeds differ between configurations ({told}): a pair is compared over the seeds that"
            " both have."
        )
    fixed = {key: configurations[key].iloc[0] for key in known if key not in varying}
    sweep = Sweep(
        name=name or "",
        keys=keys,
        fixed=fixed,
        tied=[key for key in varying if key not in keys],
        configurations=configurations,
        tests=tests,
        history=placed(history),
        grid=grid,
        notes=notes,
    )
    sizes, whole = grid_sizes(sweep)
    if any(size < whole for size in sizes.values()):
        told = ", ".join(f"{value} {size}" for value, size in sizes.items())
        notes.append(
            f"Not all settings of the grid finished: {told} of {whole}. The more settings there"
            " are, the better the best of them: what lacks some may be tuned less well."
        )
    return sweep


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
    if of and of[0].startswith("network.") and of[0] != "network.name":
        shape = [key for key in _ordered(known) if key.startswith("network.")]
        of = _telling(table, shape, [])
    return list(dict.fromkeys(by)) if by and {*of} <= {*by} else of


def _belongs(key: str, of: Sequence[str]) -> bool:
    """Tell whether a key says, with others, which of the values that are tuned a run has."""
    group = key.partition(".")[0]
    return key in of or (
        group in ("activation", "network") and any(each.startswith(f"{group}.") for each in of)
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
        _in_words(row, told, told) for row, keep in zip(rows, kept, strict=True) if not keep
    )
    notes.append(
        "The sweep ran more than once under its name, and other settings were chosen: of each value"
        " and phase the newest run counts. Of those before it are left out:"
        f" {'; '.join(left)}."
    )
    return cast(pd.DataFrame, final[kept])


def grid_sizes(sweep: Sweep) -> tuple[dict[str, int], int]:
    """Count the settings of the grid that finished for each value that was tuned, and for any."""
    keys = sweep.tuned_for
    if sweep.grid.empty or not keys:
        return {}, 0
    tuned = [key for key in _tuned_keys(sweep.grid) if not _belongs(key, keys)]
    sizes = {}
    for at in cast(pd.DataFrame, sweep.configurations[keys]).drop_duplicates().to_dict("records"):
        of = where(sweep.grid, **{str(key): value for key, value in at.items()})
        sizes[sweep.setting(at, keys)] = len(of[tuned].drop_duplicates())
    of_any = len(sweep.grid[tuned].drop_duplicates()) if tuned else 1
    return sizes, of_any


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
            chosen = [key for key in settings if key in _tuned_keys(of_grid)]
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


def _tuned_keys(grid: pd.DataFrame) -> list[str]:
    return [key for key in grid.columns if "." in key and varies(grid, key)]


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
    groups = ("activation", "network")
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


# --- Values, summary, comparisons ---------------------------------------------------------


def score(sweep: Sweep, target: float) -> pd.DataFrame:
    """Tabulate each seed's value by each of `METRICS`.

    Parameters
    ----------
    sweep
        What was measured.
    target
        The validation accuracy that epochs are counted to; a seed that never gets there counts
        one epoch more than were trained, and is censored.

    Returns
    -------
    pd.DataFrame
        configuration, metric, seed, value, censored.
    """
    at = ["configuration", "seed"]
    last = sweep.history.groupby(at)["val_accuracy"].last().to_dict()
    reached = sweep.history.loc[sweep.history["val_accuracy"] >= target]
    first = reached.groupby(at)["epoch"].min().to_dict()
    epochs = dict(
        zip(
            sweep.configurations["configuration"],
            sweep.configurations["training.epochs"].astype(int),
            strict=True,
        )
    )
    rows = []
    for row in sweep.tests.to_dict("records"):
        here = (row["configuration"], row["seed"])
        never = here not in first
        taken = float(epochs[here[0]] + 1 if never else first[here])
        rows += [
            (here[0], "val_accuracy", here[1], float(last.get(here, math.nan)), False),
            (here[0], "test_accuracy", here[1], row["test_accuracy"], False),
            (here[0], "test_loss", here[1], row["test_loss"], False),
            (here[0], "epochs_to_target", here[1], taken, never),
        ]
    return pd.DataFrame(rows, columns=["configuration", "metric", "seed", "value", "censored"])


def summarise(sweep: Sweep, scores: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Reduce every configuration to a row: its keys, then seeds and what they gave.

    Returns
    -------
    pd.DataFrame
        Columns `sweep.keys` and `sweep.tied`, seeds, diverged_seeds, unreached_seeds (those that
        never get to the target), then mean, sd, ci_low and ci_high of each of `METRICS`.
    """
    by = dict(iter(scores.groupby(["configuration", "metric"])))
    diverged = diverged_seeds(sweep)
    rows = []
    for configuration in sweep.configurations.to_dict("records"):
        number = configuration["configuration"]
        row: dict[str, Any] = {key: configuration[key] for key in [*sweep.keys, *sweep.tied]}
        row["seeds"] = len(where(sweep.tests, configuration=number))
        row["diverged_seeds"] = len(diverged.get(number, []))
        for name in METRICS:
            of = by.get((number, name))
            if name == "epochs_to_target":
                row["unreached_seeds"] = (
                    0 if of is None else int(of["censored"].to_numpy(dtype=bool).sum())
                )
            for column in ("mean", "sd", "ci_low", "ci_high"):
                row[f"{name}_{column}"] = math.nan
            if of is not None:
                interval = mean_interval(of["value"].to_numpy(dtype=float), confidence)
                for column, value in zip(
                    ("mean", "sd", "ci_low", "ci_high"), interval, strict=True
                ):
                    row[f"{name}_{column}"] = value
        rows.append(row)
    return pd.DataFrame(rows)


def diverged_seeds(sweep: Sweep) -> dict[int, list[int]]:
    """Give each configuration's seeds whose test loss is no number, where there are any."""
    lost = sweep.tests.loc[~np.isfinite(sweep.tests["test_loss"].to_numpy(dtype=float))]
    return {
        int(cast(int, number)): sorted(int(seed) for seed in of["seed"])
        for number, of in lost.groupby("configuration")
    }


@dataclass(frozen=True)
class Family:
    """Pairs of configurations whose p-values are adjusted together.

    `key` is what the two of a pair differ in; empty where they differ in several keys.
    """

    key: str
    pairs: list[tuple[int, int]]


def families(sweep: Sweep) -> list[Family]:
    """Find the pairs that are compared.

    Where activations differ: all pairs of activations at equal other keys; and a family for each
    other key of training with up to `MOST_VALUES` values: neighbours of numbers, all pairs of
    words. Else, at equal other keys, all pairs of up to four values of a key, of more the
    neighbours. In fair mode the pairs of each phase are a family, and tuned against baseline of
    each value another. Where no two configurations differ in one key alone, all pairs, if they are
    few.
    """
    if sweep.is_fair:
        phases = sweep.configurations.set_index("configuration")[PHASE].to_dict()
        along = [
            (key, _pairs_along(sweep, key, key == ACTIVATION or _is_few(sweep, key)))
            for key in sweep.tuned_for
        ]
        found = [
            Family(key, [pair for pair in pairs if phases[pair[0]] == phase])
            for phase in ("baseline", "tuned")
            for key, pairs in along
        ]
        turned = [(second, first) for first, second in _pairs_along(sweep, PHASE, every=True)]
        found.append(Family(PHASE, turned))
    elif ACTIVATION in sweep.keys and len(sweep.values(ACTIVATION)) > 1:
        found = [Family(ACTIVATION, _pairs_along(sweep, ACTIVATION, every=True))]
        found += [
            Family(key, _pairs_along(sweep, key, every=numbers(sweep.values(key)) is None))
            for key in sweep.others
            if len(sweep.values(key)) <= MOST_VALUES and key not in _OTHER_IMAGES
        ]
    else:
        found = [Family(key, _pairs_along(sweep, key, _is_few(sweep, key))) for key in sweep.keys]
    found = [family for family in found if family.pairs]
    if not found and len(sweep.configurations) <= _MOST_UNMATCHED:
        found = [Family("", list(combinations(sweep.configurations["configuration"], 2)))]
    return found


def _is_few(sweep: Sweep, key: str) -> bool:
    return len(sweep.values(key)) <= 4


def _pairs_along(sweep: Sweep, key: str, every: bool) -> list[tuple[int, int]]:
    """Pair configurations that differ in one key alone: each with every other, or the next."""
    others = [other for other in sweep.keys if other != key]
    table = sweep.configurations
    groups = [of for _, of in table.groupby(others, sort=False)] if others else [table]
    pairs = []
    for of in groups:
        held = of["configuration"].tolist()
        pairs += list(combinations(held, 2)) if every else list(pairwise(held))
    return pairs


def compare(sweep: Sweep, scores: pd.DataFrame, config: ReportConfig) -> pd.DataFrame:
    """Compare the pairs of `families` by each metric, with verdicts on the first.

    Epochs to the target are left out where no seed gets there.

    Returns
    -------
    pd.DataFrame
        A column for each of `sweep.keys`, then `COMPARED`; differences are first minus second.
    """
    values: dict[str, dict[int, dict[int, float]]] = {}
    censored: dict[str, dict[int, set[int]]] = {}
    for (metric, number), of in cast(Any, scores.groupby(["metric", "configuration"])):
        held = dict(zip(of["seed"], of["value"].astype(float), strict=True))
        values.setdefault(str(metric), {})[int(cast(int, number))] = held
        lost = set(of.loc[of["censored"].astype(bool), "seed"])
        censored.setdefault(str(metric), {})[int(cast(int, number))] = lost
    by_number = {row["configuration"]: row for row in sweep.configurations.to_dict("records")}
    found = families(sweep)
    # Of a sweep without activations, the pairs along all keys are one family.
    apart = ACTIVATION in sweep.keys or sweep.is_fair
    joint = [[family] for family in found] if apart else [found]
    rows = []
    for name, metric in sweep.metrics().items():
        if all(where(scores, metric=name)["censored"].tolist()):
            continue  # no seed gets to the target: nothing tells them apart
        margin = getattr(config, metric.margin)
        for group in joint:
            pairs = [(family.key, pair) for family in group for pair in family.pairs]
            if name == "epochs_to_target":  # who trains longer is censored later
                pairs = [
                    (key, pair)
                    for key, pair in pairs
                    if len({by_number[number]["training.epochs"] for number in pair}) == 1
                ]
            compared = comparisons.compare_family(
                [pair for _, pair in pairs],
                values[name],
                censored[name],
                metric,
                margin,
                config.confidence,
                thorough=len(pairs) <= MANY_PAIRS,
            )
            for (key, pair), row in zip(pairs, compared, strict=True):
                first, second = (by_number[number] for number in pair)
                words = {
                    "first": first[key] if key else sweep.setting(first, sweep.keys),
                    "second": second[key] if key else sweep.setting(second, sweep.keys),
                }
                at = {other: first[other] if key and other != key else "" for other in sweep.keys}
                rows.append({**at, **row, "key": key, "metric": name, "margin": margin, **words})
    table = pd.DataFrame(rows, columns=[*sweep.keys, *COMPARED])
    return table.astype({"pairs_needed": float})


def count_verdicts(compared: pd.DataFrame) -> pd.DataFrame:
    """Count over settings how often the first of a pair of values is better, worse and so on.

    Returns
    -------
    pd.DataFrame
        key, phase (fair mode), metric, first, second, settings, better, worse, equivalent,
        undecided, then the smallest and the largest mean difference, low and high.
    """
    by = ["key", *([PHASE] if PHASE in compared else []), "metric", "first", "second"]
    rows = []
    for names, of in cast(Any, compared.groupby(by, sort=False)):
        verdicts = of["verdict"].tolist()
        rows.append(
            {
                **dict(zip(by, names, strict=True)),
                "settings": len(of),
                **{
                    verdict: verdicts.count(verdict)
                    for verdict in ("better", "worse", "equivalent", "undecided")
                },
                "low": float(of["mean"].to_numpy(dtype=float).min()),
                "high": float(of["mean"].to_numpy(dtype=float).max()),
            }
        )
    columns = ["settings", "better", "worse", "equivalent", "undecided", "low", "high"]
    return pd.DataFrame(rows, columns=[*by, *columns])


def count_by_value(compared: pd.DataFrame) -> pd.DataFrame:
    """Count over all others and settings how often a value is better, worse and so on.

    Returns
    -------
    pd.DataFrame
        value, better, worse, equivalent, undecided, comparisons; what is better most and worse
        least comes first.
    """
    turned = {"better": "worse", "worse": "better"}
    seen: dict[str, list[str]] = {}
    for row in compared.to_dict("records"):
        seen.setdefault(row["first"], []).append(row["verdict"])
        verdict = str(row["verdict"])
        seen.setdefault(row["second"], []).append(turned.get(verdict, verdict))
    rows = [
        {
            "value": value,
            **{
                verdict: verdicts.count(verdict)
                for verdict in ("better", "worse", "equivalent", "undecided")
            },
            "comparisons": len(verdicts),
        }
        for value, verdicts in seen.items()
    ]
    rows.sort(key=lambda row: row["worse"] - row["better"])
    return pd.DataFrame(rows)


def sensitivity(sweep: Sweep) -> pd.DataFrame:
    """Tell how much tuning matters to each value that is tuned, from a fair sweep's grid.

    Returns
    -------
    pd.DataFrame
        A column for each of `sweep.keys` but the phase; settings (of the grid), best, median and
        worst mean validation accuracy, best_minus_median, near_best (the part of the settings
        within `NEAR_BEST` of the best), diverged (settings), and `chosen` in words. A setting
        whose validation accuracy is no number counts as 0.
    """
    if sweep.grid.empty:
        return pd.DataFrame()
    keys = sweep.tuned_for
    tuned = _tuned_keys(sweep.grid)
    rows = []
    for at in cast(pd.DataFrame, sweep.configurations[keys]).drop_duplicates().to_dict("records"):
        of = where(sweep.grid, **{str(key): value for key, value in at.items()})
        if of.empty:
            continue
        accuracy = of["val_accuracy"].fillna(0.0).to_numpy(dtype=float)
        best = of.iloc[int(accuracy.argmax())]
        settings = [key for key in _telling(of, _ordered(tuned), []) if varies(of, key)]
        rows.append(
            {
                **at,
                "settings": len(of),
                "best": float(accuracy.max()),
                "median": float(np.median(accuracy)),
                "worst": float(accuracy.min()),
                "best_minus_median": float(accuracy.max() - np.median(accuracy)),
                "near_best": float((accuracy >= accuracy.max() - NEAR_BEST).mean()),
                "diverged": of["outcome"].tolist().count("diverged"),
                "chosen": ", ".join(f"{label(key)} {best[key]}" for key in settings),
            }
        )
    return pd.DataFrame(rows)


def curves(sweep: Sweep, confidence: float) -> pd.DataFrame:
    """Average the validation accuracy of each epoch over the seeds that have it.

    Returns
    -------
    pd.DataFrame
        configuration, `sweep.keys`, epoch, seeds, mean, low, high.
    """
    rows = []
    for number, of in sweep.history.groupby("configuration"):
        epochs = of.pivot(index="epoch", columns="seed", values="val_accuracy")  # noqa: PD010
        for epoch, values in zip(epochs.index, epochs.to_numpy(dtype=float), strict=True):
            held = values[np.isfinite(values)]
            if held.size:
                interval = mean_interval(held, confidence)
                rows.append(
                    (number, int(epoch), held.size, interval.mean, interval.low, interval.high)
                )
    table = pd.DataFrame(rows, columns=["configuration", "epoch", "seeds", "mean", "low", "high"])
    names = sweep.configurations[["configuration", *sweep.keys]]
    return names.merge(table, on="configuration")
