"""Pairs of configurations, compared metric by metric, paired by seed.

The unit is the seed: a metric gives one value per seed of a configuration, and the difference of
two configurations is taken within a seed, since both started from the same weights and saw the same
batches. Times per epoch are compared within a block of epochs that were timed side by side.

Which pairs are compared follows from the keys of the study: all pairs of activations at equal
other keys where activations differ, and beside them values of each other key at equal others. The
pairs of one key are a family, whose p-values are adjusted together (Holm); each network, and each
phase of a fair sweep, has families of its own.
"""

import math
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from jaxtyping import Float, Int32
from scipy import special

from actlab.engine.csvs import where
from actlab.errors import UserError
from actlab.evidence.config import ReportConfig
from actlab.evidence.statistics import (
    Interval,
    calibration_error,
    decide,
    decide_by_interval,
    holm,
    mean_interval,
    median_interval,
    new_images_intervals,
    paired_tests,
    resample_images,
    seeds_needed,
)
from actlab.results.layout import RunFolder
from actlab.results.study import ACTIVATION, NETWORK, PHASE, Identity, Study, numbers, setting
from actlab.results.tables import COMPARED

#: By metric, what each seed of a configuration has on each test image: 1 where it is right;
#: cross-entropy in nats.
ByImage = Mapping[str, Mapping[Identity, Float[np.ndarray, "seeds images"]]]


@dataclass(frozen=True)
class Metric:
    """What two configurations are compared by.

    Attributes
    ----------
    title
        In a sentence.
    unit
        Of a difference: points (percentage points), nats, epochs, or ratio: then it is a ratio of
        times, and what is computed with is its logarithm.
    larger_is_better
        Whether more of it is better.
    margin
        The attribute of `ReportConfig` that holds the largest difference that does not matter.
    paired_by
        What two configurations are paired by: seed or block.
    at_equal
        The keys in which two configurations have to be equal to be compared by it.
    """

    title: str
    unit: str
    larger_is_better: bool
    margin: str
    paired_by: str = "seed"
    at_equal: tuple[str, ...] = ()


#: By their names in tables, in the order of the report.
METRICS = {
    "val_accuracy": Metric("validation accuracy", "points", True, "equivalence_margin"),
    "test_accuracy": Metric("test accuracy", "points", True, "equivalence_margin"),
    "test_loss": Metric("test NLL", "nats", False, "equivalence_margin_nats"),
    "calibration_error": Metric("calibration error", "points", False, "equivalence_margin"),
    # Who trains longer is censored later.
    "epochs_to_target": Metric(
        "epochs to target",
        "epochs",
        False,
        "equivalence_margin_epochs",
        at_equal=("training.epochs",),
    ),
    "epoch_seconds": Metric(
        "time per epoch", "ratio", False, "equivalence_margin_ratio", "block", (NETWORK,)
    ),
}

#: Families of more pairs get no medians and no number of seeds needed, which take long.
MANY_PAIRS = 64

#: Beside activations, keys of up to so many values are compared along too.
MOST_VALUES = 8

#: Not compared along beside activations: other networks, other test images, other questions.
_SETTINGS = (NETWORK, "data.name", "data.validation_size", "data.split_seed")

#: Characters that MLflow does not take in the name of a tag.
_NOT_IN_TAGS = r"[^\w\-. :/]"

#: Where no two configurations differ in one key alone, all are compared with all up to this many.
_MOST_UNMATCHED = 30


# --- Scores ---------------------------------------------------------------------------------


def read_predictions(
    study: Study, runs: Path, labels: Int32[np.ndarray, " images"]
) -> tuple[Study, ByImage]:
    """Score the logits of every configuration's `test.npz` image by image.

    Parameters
    ----------
    study
        The pipeline's.
    runs
        The folder of all runs.
    labels
        Of the test images.

    Returns
    -------
    tuple
        The study with its calibration; and of test_accuracy whether each seed is right on each
        image, of test_loss its cross-entropy there.

    Raises
    ------
    UserError
        When a file is missing, or its arrays are not logits of these images.
    """
    right, losses, errors = {}, {}, []
    images = np.arange(len(labels))
    for network, activation in study.identities():
        path = RunFolder.finished(runs, activation, network).logits
        try:
            with np.load(path) as file:
                logits = {seed: file[f"seed-{seed}"] for seed in study.seeds}
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing: run `dvc repro` to make it") from error
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{path} cannot be read: run `dvc repro` to make it again") from error
        for seed, array in logits.items():
            if array.shape[:1] != labels.shape:
                raise UserError(
                    f"{path} holds logits {array.shape} of seed {seed} for {len(labels)} test"
                    " images: run `dvc repro` to make it again"
                )
            errors.append((network, activation, seed, calibration_error(array, labels)))
        stacked = np.stack(list(logits.values())).astype(np.float64)
        right[network, activation] = (stacked.argmax(axis=2) == labels).astype(np.float64)
        with np.errstate(invalid="ignore"):  # a diverged seed
            losses[network, activation] = -special.log_softmax(stacked, axis=2)[:, images, labels]
    columns = [*study.keys, "seed", "calibration_error"]
    calibration = pd.DataFrame(errors, columns=columns)
    return replace(study, calibration=calibration), {"test_accuracy": right, "test_loss": losses}


def score(study: Study, target: float) -> pd.DataFrame:
    """Tabulate every value of each of `METRICS` that the study has.

    Parameters
    ----------
    study
        What was measured.
    target
        The validation accuracy that `epochs_to_target` counts the epochs to. A seed that never
        reaches it is censored: it counts as one epoch more than were trained, so that a mean is
        one restricted to that horizon (Royston & Parmar 2013).

    Returns
    -------
    pd.DataFrame
        `study.keys`, metric, pair (what is paired with the same of another configuration: the
        seed, for epoch_seconds the block), value (fractions, nats, epochs, seconds) and censored
        (whether the value is a lower bound).
    """
    keys = list(study.keys)
    at = [*keys, "seed"]
    history = study.history.loc[:, [*at, "epoch", "val_accuracy"]]
    last = history.sort_values("epoch", kind="stable").drop_duplicates(at, keep="last")
    reached = cast(pd.DataFrame, history[history["val_accuracy"] >= target])
    first = reached.groupby(at, as_index=False).agg(epochs_to_target=("epoch", "min"))
    horizon = pd.DataFrame(study.identities(), columns=keys).assign(
        horizon=study.configurations["training.epochs"].astype(float).to_numpy() + 1
    )
    table = study.test.merge(last, on=at, how="left").merge(first, on=at, how="left")
    table = table.merge(horizon, on=keys, how="left", validate="m:1")
    table["never"] = table["epochs_to_target"].isna() & table["epoch"].notna()
    table.loc[table["never"], "epochs_to_target"] = table["horizon"]
    if len(study.calibration):
        table = table.merge(study.calibration, on=at, validate="1:1")
    measured = [name for name in METRICS if name in table]
    long = table.melt([*at, "never"], measured, "metric", "value")
    counts = long["metric"] == "epochs_to_target"
    long["censored"] = long["never"] & counts
    long = long.loc[~counts | long["value"].notna()]  # a seed without history has none
    parts = [long.rename(columns={"seed": "pair"})]
    if len(study.blocks):
        blocks = study.blocks.rename(columns={"block": "pair", "epoch_seconds": "value"})
        parts.append(blocks.assign(metric="epoch_seconds", censored=False))
    columns = [*keys, "metric", "pair", "value", "censored"]
    return pd.concat([part.loc[:, columns] for part in parts], ignore_index=True)


def diverged_seeds(study: Study) -> dict[Identity, list[int]]:
    """Give the seeds of each configuration whose loss stopped being a finite number."""
    lost: dict[Identity, set[int]] = {}
    for table, names in ((study.history, ("loss", "val_loss")), (study.test, ("test_loss",))):
        losses = table[[name for name in names if name in table]]
        bad = ~np.isfinite(losses.to_numpy(dtype=float)).all(axis=1)
        for row in table.loc[bad].to_dict("records"):
            lost.setdefault(study.identify(row), set()).add(int(row["seed"]))
    return {known: sorted(lost[known]) for known in study.identities() if known in lost}


# --- Which pairs are compared ---------------------------------------------------------------


class Pair(NamedTuple):
    """Two configurations, and the key in which alone they differ; empty where in several."""

    key: str
    first: Identity
    second: Identity


def find_families(study: Study) -> list[list[Pair]]:
    """Find the pairs that are compared, by families whose p-values are adjusted together.

    Where activations differ: all pairs of activations at equal other keys; and a family for each
    other key of training with up to `MOST_VALUES` values: neighbours of numbers, all pairs of
    words. Each network has families of its own. In a fair sweep each phase has, and tuned against
    baseline is another. Without activations the pairs of all keys are one family: at equal other
    keys all pairs of up to four values, of more the neighbours. Where no two configurations differ
    in one key alone, all pairs, if they are few.
    """

    def is_few(key: str) -> bool:
        return len(study.values(key)) <= 4

    if study.is_fair:
        along = {key: key == ACTIVATION or is_few(key) for key in study.tuned_for}
    elif ACTIVATION in study.keys:
        along = {ACTIVATION: True} | {
            key: numbers(study.values(key)) is None
            for key in study.others
            if len(study.values(key)) <= MOST_VALUES and key not in _SETTINGS
        }
    else:
        pairs = [pair for key in study.keys for pair in _pair_along(study, key, is_few(key))]
        return [pairs] if pairs else _pair_all(study)
    apart = [study.keys.index(key) for key in (PHASE, NETWORK) if key in study.keys]
    families: dict[tuple, list[Pair]] = {}
    for key, every in along.items():
        for pair in _pair_along(study, key, every):
            at = tuple(pair.first[place] for place in apart if study.keys[place] != key)
            families.setdefault((key, *at), []).append(pair)
    if study.is_fair:
        tuned = _pair_along(study, PHASE, every=True)
        families[PHASE,] = [Pair(PHASE, second, first) for _, first, second in tuned]
    found = [family for family in families.values() if family]
    return found or ([] if len(study.activations) == 1 else _pair_all(study))


def _pair_along(study: Study, key: str, every: bool) -> list[Pair]:
    """Pair configurations that differ in one key alone: each with every other, or the next."""
    place, groups = study.keys.index(key), {}
    for known in study.identities():
        groups.setdefault((*known[:place], *known[place + 1 :]), []).append(known)
    found = []
    for group in groups.values():
        found += [Pair(key, *two) for two in (combinations(group, 2) if every else pairwise(group))]
    return found


def _pair_all(study: Study) -> list[list[Pair]]:
    known = study.identities()
    few = len(known) <= _MOST_UNMATCHED
    return [[Pair("", *two) for two in combinations(known, 2)]] if few and len(known) > 1 else []


# --- Comparisons ----------------------------------------------------------------------------


def compare(
    study: Study,
    scores: pd.DataFrame,
    config: ReportConfig,
    by_image: ByImage | None = None,
    thorough: bool = False,
) -> pd.DataFrame:
    """Compare the pairs of `find_families` by each metric, with verdicts on the first.

    Validation accuracy counts where it is neither the test's nor what was tuned by.

    Parameters
    ----------
    study
        What was measured.
    scores
        `score`; a pair of which one of two configurations lacks its part is dropped, and counted.
    config
        Confidence, and the margins of equivalence.
    by_image
        Of `read_predictions`: for statements about new images.
    thorough
        Whether medians and seeds needed are worked out of families of any size.

    Returns
    -------
    pd.DataFrame
        A column for each key in which the two of some pair are equal, then `tables.COMPARED`; one
        row per pair and metric. Differences are first minus second; those of a metric in ratios are
        of natural logarithms.
    """
    families = find_families(study)
    trained = dict(zip(study.identities(), study.configurations.to_dict("records"), strict=True))
    rows = []
    for name, metric in METRICS.items():
        if name == "val_accuracy" and (study.is_fair or not study.has_held_out):
            continue
        margin = getattr(config, metric.margin)
        values, censored = _values_by_pair(study, where(scores, metric=name), metric)
        for family in families:
            pairs = [
                pair
                for pair in family
                if pair.first in values
                and pair.second in values
                and all(
                    trained[pair.first].get(key) == trained[pair.second].get(key)
                    for key in metric.at_equal
                )
            ]
            compared = compare_family(
                [(pair.first, pair.second) for pair in pairs],
                values,
                censored,
                metric,
                math.log1p(margin) if metric.unit == "ratio" else margin,
                config.confidence,
                thorough=thorough or len(pairs) <= MANY_PAIRS,
            )
            on_new = _on_new_images(
                pairs, (by_image or {}).get(name, {}), metric, margin, config.confidence
            )
            for pair, row, new in zip(pairs, compared, on_new, strict=True):
                first, second = trained[pair.first], trained[pair.second]
                words = {
                    "first": first[pair.key] if pair.key else study.setting(first, study.keys),
                    "second": second[pair.key] if pair.key else study.setting(second, study.keys),
                }
                shared = {key: first[key] for key in study.keys if pair.key not in ("", key)}
                rows.append({**shared, **row, **new, "key": pair.key, "metric": name, **words})
    along = {pair.key for family in families for pair in family} - {""}
    shared = [key for key in study.keys if along - {key}]
    table = pd.DataFrame(rows, columns=[*shared, *COMPARED])
    return table.fillna(dict.fromkeys(shared, "")).astype({"pairs_needed": float})


def _values_by_pair(
    study: Study, scores: pd.DataFrame, metric: Metric
) -> tuple[dict[Identity, dict[int, float]], dict[Identity, set[int]]]:
    """Give each configuration's values, and which of them are lower bounds, by what is paired."""
    values: dict[Identity, dict[int, float]] = {}
    censored: dict[Identity, set[int]] = {}
    for known, rows in cast(Any, scores.groupby(list(study.keys), sort=False)):
        found = rows["value"].to_numpy(dtype=np.float64)
        found = np.log(found) if metric.unit == "ratio" else found
        values[known] = dict(zip(rows["pair"], found.tolist(), strict=True))
        censored[known] = set(rows.loc[rows["censored"].astype(bool), "pair"])
    return values, censored


def _on_new_images(
    pairs: Sequence[Pair],
    by_image: Mapping[Identity, Float[np.ndarray, "seeds images"]],
    metric: Metric,
    margin: float,
    confidence: float,
) -> list[dict[str, Any]]:
    """Give each pair's interval and verdict over new seeds and new images, where that is known."""
    if not by_image:
        return [{"new_images_verdict": ""}] * len(pairs)
    resampled = resample_images(next(iter(by_image.values())).shape[1])
    adjusted = 1 - (1 - confidence) / max(1, len(pairs))  # Bonferroni
    rows = []
    for pair in pairs:
        difference = by_image[pair.first] - by_image[pair.second]
        (low, high), wide = new_images_intervals(difference, resampled, (confidence, adjusted))
        verdict = decide_by_interval(*wide, margin, metric.larger_is_better)
        rows.append({"new_images_low": low, "new_images_high": high, "new_images_verdict": verdict})
    return rows


def compare_family(
    pairs: Sequence[tuple[Any, Any]],
    values: Mapping[Any, Mapping[int, float]],
    censored: Mapping[Any, Set[int]],
    metric: Metric,
    margin: float,
    confidence: float,
    thorough: bool = True,
) -> list[dict[str, Any]]:
    """Compare pairs by one metric; their p-values are adjusted together.

    Parameters
    ----------
    pairs
        The first and the second of each, by their keys in `values`.
    values
        Of each, its value a seed.
    censored
        Of each, the seeds whose value is only a lower bound.
    metric
        Which way is better.
    margin
        As in `statistics.paired_tests`.
    confidence
        Of the intervals; one minus it is the rate of errors of the family's verdicts.
    thorough
        Whether medians and the seeds needed are worked out too, which takes most of the time.

    Returns
    -------
    list
        One row per pair: what `tables.COMPARED` has from `first` on, without what is said of new
        images; NaN for what is not worked out.
    """
    alpha = 1 - confidence
    rows = []
    for first, second in pairs:
        both = sorted(values[first].keys() & values[second].keys())
        ends = np.array([[of[seed] for seed in both] for of in (values[first], values[second])])
        ends[~np.isfinite(ends)] = np.nan  # an infinite loss is as far from another as from any
        sample = ends[0] - ends[1]
        unreached = len((censored[first] | censored[second]) & set(both))
        test = paired_tests(sample, margin)
        median = median_interval(sample, confidence) if thorough else (math.nan,) * 3
        interval = mean_interval(sample, confidence) if both else Interval(*[math.nan] * 4)
        rows.append(
            {
                "first": first,
                "second": second,
                "pairs": len(both),
                "pairs_dropped": len(values[first].keys() ^ values[second].keys()),
                "pairs_censored": unreached,
                **interval._asdict(),
                **dict(zip(("median", "median_low", "median_high"), median, strict=True)),
                **test._asdict(),
                # What a censored seed would have taken is not known: it may be far from equal.
                "p_equivalence": 1.0 if unreached else test.p_equivalence,
                "margin": margin,
            }
        )
    for adjusted, key in (("p_holm", "p_t"), ("p_equivalence_holm", "p_equivalence")):
        for row, p_value in zip(rows, holm(np.array([row[key] for row in rows])), strict=True):
            row[adjusted] = float(p_value)
    for row in rows:
        tests = (row["mean"], row["p_holm"], row["p_equivalence_holm"])
        row["verdict"] = decide(*tests, alpha, metric.larger_is_better)
        row["pairs_needed"] = None
        if thorough and row["verdict"] == "undecided":
            within = 0.0 if row["pairs_censored"] else margin
            row["pairs_needed"] = seeds_needed(row["mean"], row["sd"], within, alpha / len(rows))
    return rows


def verdict_tags(compared: pd.DataFrame, most: int = 50) -> dict[str, str]:
    """Give the verdicts on test accuracy as tags of MLflow, where they are no more than `most`.

    >>> row = {"phase": "tuned", "key": "activation", "metric": "test_accuracy"}
    >>> row |= {"first": "relu", "second": "tanh", "verdict": "better"}
    >>> verdict_tags(pd.DataFrame([row]))
    {'verdict.test_accuracy.tuned: relu - tanh': 'better'}
    """
    rows = where(compared, metric="test_accuracy").to_dict("records")
    tags = {}
    for row in rows if len(rows) <= most else []:
        keys = [str(key) for key in compared.columns[: compared.columns.get_loc("key")] if row[key]]
        at = setting(row, keys, keys)
        key = "" if row["key"] in ("", ACTIVATION, PHASE) else f"{row['key']} "
        text = f"{f'{at}: ' if at else ''}{key}{row['first']} - {row['second']}"
        tags[f"verdict.test_accuracy.{re.sub(_NOT_IN_TAGS, '', text)}"[:250]] = str(row["verdict"])
    return tags
