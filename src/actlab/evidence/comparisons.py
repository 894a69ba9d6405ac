"""Pairs of configurations, compared metric by metric, paired by seed.

A metric gives one value per seed of a configuration, and a difference is taken within a seed: both
configurations started from the same weights and saw the same batches. Times per epoch are paired by
block. `find_families` lists the pairs; the intervals of a family are adjusted together, and each
verdict is read from its interval (`decisions`).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pandas as pd
from jaxtyping import Float

from actlab.engine.csvs import where
from actlab.evidence import decisions, layer_scores
from actlab.evidence.config import ReportConfig
from actlab.evidence.decisions import read_verdict
from actlab.evidence.statistics import bonferroni, new_images_interval, smallest_step
from actlab.evidence.wording import capitalise, percent, written
from actlab.results.layout import find_tested
from actlab.results.study import ACTIVATION, NETWORK, PHASE, Identity, Study, numbers, setting
from actlab.results.tables import COMPARED
from actlab.training.config import TrainingConfig

#: By metric, a value of each seed of a configuration on each test image: 1 where it is right, or
#: the cross-entropy in nats.
ByImage = Mapping[str, Mapping[Identity, Float[np.ndarray, "seeds images"]]]


@dataclass(frozen=True)
class Metric:
    """What two configurations are compared by.

    Attributes
    ----------
    title
        As in a sentence.
    unit
        Of a difference: points (percentage points), nats, epochs, or ratio: then logarithms are
        compared.
    margin
        The attribute of `ReportConfig` that holds the largest difference that does not matter.
    paired_by
        seed or block.
    at_equal
        Keys in which two configurations have to be equal to be compared by it.
    resolution
        The step between possible values, of a discrete metric; "seen": the smallest step between
        two values of a pair's seeds, as of a share of images.
    """

    title: str
    unit: str
    larger_is_better: bool
    margin: str
    paired_by: str = "seed"
    at_equal: tuple[str, ...] = ()
    resolution: float | Literal["seen"] = 0.0

    @property
    def factor(self) -> int:
        """The factor by which a value is shown: 100 for percentages."""
        return 100 if self.unit == "points" else 1

    @property
    def axis(self) -> str:
        """The title of an axis of values."""
        return f"{capitalise(self.title)}{' (%)' if self.unit == 'points' else ''}"

    def write(self, value: float) -> str:
        """Write a value with its unit."""
        return percent(value) if self.unit == "points" else written(value, 4)

    def write_interval(self, low: float, high: float) -> str:
        """Write an interval of values, without the unit."""
        if not math.isfinite(low + high):
            return "n/a"
        if self.unit == "points":
            return f"{100 * low:.2f} to {100 * high:.2f}"
        return f"{written(low, 4)} to {written(high, 4)}"


#: What decides the targets of a regression.
_TARGETS = ("data.name", "data.targets", "data.preprocessing")

#: By name, in the order of the report.
METRICS = {
    "val_accuracy": Metric(
        "validation accuracy", "points", True, "equivalence_margin", resolution="seen"
    ),
    "test_accuracy": Metric(
        "test accuracy", "points", True, "equivalence_margin", resolution="seen"
    ),
    "test_loss": Metric(
        "test NLL", "nats", False, "equivalence_margin_nats", at_equal=("network.outputs",)
    ),
    # Of regressions, whose targets have a unit of their own.
    "val_mse": Metric(
        "validation MSE", "ratio", False, "equivalence_margin_ratio", at_equal=_TARGETS
    ),
    "test_mse": Metric("test MSE", "ratio", False, "equivalence_margin_ratio", at_equal=_TARGETS),
    "calibration_error": Metric("calibration error", "points", False, "equivalence_margin"),
    # Trained longer, a seed is censored later.
    "epochs_to_target": Metric(
        "epochs to target",
        "epochs",
        False,
        "equivalence_margin_epochs",
        at_equal=("training.epochs", "training.steps", "training.patience"),
        resolution=1.0,
    ),
    "epoch_seconds": Metric(
        "time per epoch", "ratio", False, "equivalence_margin_ratio", "process", (NETWORK,)
    ),
}

#: The columns of scores after the keys of their study.
SCORES = ("metric", "pair", "value", "censored", "diverged")

#: What only classifiers have.
_OF_CLASSES = ["val_accuracy", "test_accuracy", "epochs_to_target"]

#: Next to activations, keys with up to this many values are compared.
MOST_VALUES = 8

#: Not compared next to activations: other networks, other test images, other questions.
_SETTINGS = (NETWORK, "data.name", "data.validation_size", "data.split_seed")

#: Where no two configurations differ in one key alone, up to this many are compared with all.
_MOST_UNMATCHED = 30


# --- Scores ---------------------------------------------------------------------------------


def primary_metric(study: Study) -> str:
    """Return the metric that answers first: test_accuracy, or test_mse in a regression."""
    return "test_mse" if study.is_regression else "test_accuracy"


def validation_metric(study: Study) -> str:
    """Return its counterpart on the validation images."""
    return "val_mse" if study.is_regression else "val_accuracy"


def score(study: Study, target: float) -> pd.DataFrame:
    """Tabulate every value of each of `METRICS` that the study has.

    Parameters
    ----------
    study
        What was measured.
    target
        The validation accuracy that `epochs_to_target` counts the epochs to. A seed that never
        reaches it is censored: it counts as one epoch more than the most that a seed of its
        configuration was trained, so that a mean is restricted to that horizon (Royston & Parmar
        2013).

    Returns
    -------
    pd.DataFrame
        `study.keys`, then `SCORES`: metric, pair (the seed, for epoch_seconds the process), value
        (fractions, nats, squares of the targets' unit, epochs, seconds), censored (whether the
        value is a lower bound) and diverged (whether that seed's loss stopped being finite).
    """
    keys = list(study.keys)
    by_seed = [*keys, "seed"]
    recorded = [name for name in ("val_accuracy", "val_loss") if name in study.history]
    history = study.history.loc[:, [*by_seed, "epoch", *recorded]]
    last = select_tested(study).loc[:, history.columns]
    reached = cast(pd.DataFrame, history[history["val_accuracy"] >= target])
    first = reached.groupby(by_seed, as_index=False).agg(epochs_to_target=("epoch", "min"))
    most: Any = history.groupby(keys, as_index=False, sort=False)
    horizon = most.agg(horizon=("epoch", "max")).assign(horizon=lambda rows: rows["horizon"] + 1.0)
    table = study.test.merge(last, on=by_seed, how="left").merge(first, on=by_seed, how="left")
    table = table.merge(horizon, on=keys, how="left", validate="m:1")
    table["never"] = table["epochs_to_target"].isna() & table["epoch"].notna()
    table.loc[table["never"], "epochs_to_target"] = table["horizon"]
    if len(study.calibration):
        table = table.merge(study.calibration, on=by_seed, validate="1:1")
    if study.is_regression:
        named = {"test_loss": "test_mse", "val_loss": "val_mse"}
        table = table.rename(columns=named).drop(columns=_OF_CLASSES)
    measured = [name for name in METRICS if name in table]
    long = table.melt([*by_seed, "never"], measured, "metric", "value")
    counts = long["metric"] == "epochs_to_target"
    long["censored"] = long["never"] & counts
    long = long.loc[~counts | long["value"].notna()]  # a seed without history has none
    lost = {(*known, seed) for known, seeds in diverged_seeds(study).items() for seed in seeds}
    names = [*map(tuple, long[keys].astype(str).to_numpy())]
    long["diverged"] = [
        (*known, seed) in lost for known, seed in zip(names, long["seed"], strict=True)
    ]
    parts = [long.rename(columns={"seed": "pair"})]
    if len(study.gradients):
        layers = layer_scores.measure_layers(study).rename(columns={"seed": "pair"})
        parts.append(layers.assign(censored=False, diverged=False))
    if len(study.blocks):
        blocks = study.blocks.rename(columns={"block": "pair", "epoch_seconds": "value"})
        parts.append(blocks.assign(metric="epoch_seconds", censored=False, diverged=False))
    return pd.concat([part.loc[:, [*keys, *SCORES]] for part in parts], ignore_index=True)


def select_tested(study: Study) -> pd.DataFrame:
    """Select the epoch of each seed whose weights were tested: see `layout.find_tested`."""
    rows = study.configurations.to_dict("records")
    if not any(row.get("training.tested") == "best" for row in rows):
        ordered = study.history.sort_values("epoch", kind="stable")
        return ordered.drop_duplicates([*study.keys, "seed"], keep="last")
    parts = []
    for row in rows:
        chosen = {name: row[f"training.{name}"] for name in ("tested", "monitor")}
        history = where(study.history, **{key: row[key] for key in study.keys})
        parts.append(find_tested(history, TrainingConfig(1, 1, [], **chosen)))
    return pd.concat(parts)


def diverged_seeds(study: Study) -> dict[Identity, list[int]]:
    """Find the seeds of each configuration whose loss stopped being finite."""
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
    """Find the pairs to compare, by families whose intervals are adjusted together.

    - Where activations differ: all pairs of activations at equal other keys, and a family for each
      other key of training with up to `MOST_VALUES` values: neighbours of numbers, all pairs of
      words. Each network has families of its own.
    - In a fair sweep: families of each phase, and one of tuned against baseline, without values
      whose best setting is the baseline: they are one run.
    - Without activations: the pairs of all keys are one family, at equal other keys all pairs of up
      to four values, of more the neighbours.
    - Where no two configurations differ in one key alone: all pairs, if they are few.
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
            group = tuple(pair.first[place] for place in apart if study.keys[place] != key)
            families.setdefault((key, *group), []).append(pair)
    if study.is_fair:
        chosen = study.configurations.set_index(list(study.keys))[list(study.settings)]
        families[PHASE,] = [
            Pair(PHASE, second, first)
            for _, first, second in _pair_along(study, PHASE, every=True)
            if not chosen.loc[first].equals(chosen.loc[second])  # else they are one run
        ]
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
) -> pd.DataFrame:
    """Compare the pairs of `find_families` by each metric, with verdicts on the first.

    Validation accuracy is compared where it is neither the test's nor what was tuned by. A pair of
    which a seed diverged is undecided, by every metric of that seed.

    Parameters
    ----------
    study
        What was measured.
    scores
        `score` of it; a pair counts where both configurations have it.
    config
        Confidence, and the largest differences that do not matter.
    by_image
        Of `predictions.read_predictions`: for statements about new images.

    Returns
    -------
    pd.DataFrame
        A column for each key in which the two of some pair are equal, then `tables.COMPARED`; one
        row per pair and metric. Differences are first minus second; for times, of natural
        logarithms.
    """
    families = find_families(study)
    trained = dict(zip(study.identities(), study.configurations.to_dict("records"), strict=True))
    rows = []
    for name, metric in METRICS.items():
        if name.startswith("val_") and (study.is_fair or not study.has_held_out):
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
            compared = _compare_family(
                pairs,
                values,
                censored,
                metric,
                math.log1p(margin) if metric.unit == "ratio" else margin,
                1 - config.confidence,
                study.is_sequential,
            )
            on_new = _compare_on_new_images(
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
    """Give each configuration's values by pair, and the pairs whose value is a lower bound.

    What a diverged network predicts by chance is no score: its value is NaN.
    """
    values: dict[Identity, dict[int, float]] = {}
    censored: dict[Identity, set[int]] = {}
    for known, rows in cast(Any, scores.groupby(list(study.keys), sort=False)):
        found = rows["value"].to_numpy(dtype=np.float64)
        found = np.log(found) if metric.unit == "ratio" else found
        found = np.where(rows["diverged"].astype(bool), math.nan, found)
        values[known] = dict(zip(rows["pair"], found.tolist(), strict=True))
        censored[known] = set(rows.loc[rows["censored"].astype(bool), "pair"])
    return values, censored


def _compare_on_new_images(
    pairs: Sequence[Pair],
    by_image: Mapping[Identity, Float[np.ndarray, "seeds images"]],
    metric: Metric,
    margin: float,
    confidence: float,
) -> list[dict[str, Any]]:
    """Give each pair's interval and verdict over new seeds and new images, where known."""
    if not by_image:
        return [{"new_images_verdict": ""}] * len(pairs)
    adjusted = bonferroni(confidence, max(1, len(pairs)))
    rows = []
    for pair in pairs:
        low, high = new_images_interval(by_image[pair.first] - by_image[pair.second], adjusted)
        verdict = read_verdict(low, high, margin, metric.larger_is_better)
        rows.append({"new_images_low": low, "new_images_high": high, "new_images_verdict": verdict})
    return rows


def _compare_family(
    pairs: Sequence[Pair],
    values: Mapping[Identity, Mapping[int, float]],
    censored: Mapping[Identity, set[int]],
    metric: Metric,
    margin: float,
    alpha: float,
    is_sequential: bool,
) -> list[dict[str, Any]]:
    """Compare pairs by one metric: the columns of `tables.COMPARED` from `pairs` on."""
    rows = []
    decide = decisions.sequential if is_sequential else decisions.fixed
    for _, first, second in pairs:
        both = sorted(values[first].keys() & values[second].keys())
        sides = np.array([[values[side][pair] for pair in both] for side in (first, second)])
        sides[~np.isfinite(sides)] = np.nan  # infinite losses have no difference
        differences = sides[0] - sides[1]
        bounds = [len(censored[side] & set(both)) for side in (first, second)]
        resolution = smallest_step(sides) if metric.resolution == "seen" else metric.resolution
        plain = decide(differences, margin, alpha, len(pairs), resolution)
        decision = decisions.bound(plain, *bounds)
        row = {"pairs": len(both), "pairs_censored": max(bounds), "margin": margin}
        row |= decision._asdict()
        if both:
            row |= {"least": differences.min(), "most": differences.max()}
        row["effect_size"] = _divide(decision.mean, decision.sd)
        row["verdict"] = read_verdict(decision.low, decision.high, margin, metric.larger_is_better)
        if row["verdict"] == "undecided" and decisions.is_decidable(decision, *bounds):
            row["pairs_needed"] = decisions.estimate_seeds(
                decision.mean,
                decision.sd,
                0.0 if any(bounds) else margin,
                alpha / len(pairs),
                resolution,
                is_sequential,
            )
        rows.append(row)
    return rows


def _divide(mean: float, sd: float) -> float:
    """Compute Cohen's d_z: the mean difference in standard deviations of the differences."""
    if sd:
        return mean / sd
    return math.copysign(math.inf, mean) if mean else 0.0


def verdict_tags(compared: pd.DataFrame, most: int = 50) -> dict[str, str]:
    """Write the verdicts on the primary metric as tags for MLflow; none where over `most`.

    >>> row = {"phase": "tuned", "key": "activation", "metric": "test_accuracy"}
    >>> row |= {"first": "relu", "second": "tanh", "verdict": "better"}
    >>> verdict_tags(pd.DataFrame([row]))
    {'verdict.test_accuracy.tuned: relu - tanh': 'better'}
    """
    metric = "test_mse" if "test_mse" in set(compared["metric"]) else "test_accuracy"
    rows = where(compared, metric=metric).to_dict("records")
    tags = {}
    for row in rows if len(rows) <= most else []:
        keys = [str(key) for key in compared.columns[: compared.columns.get_loc("key")] if row[key]]
        where_compared = setting(row, keys, keys)
        key = "" if row["key"] in ("", ACTIVATION, PHASE) else f"{row['key']} "
        text = f"{f'{where_compared}: ' if where_compared else ''}{key}"
        text += f"{row['first']} - {row['second']}"
        allowed = re.sub(r"[^\w\-. :/]", "", text)  # in the name of a tag
        tags[f"verdict.{metric}.{allowed}"[:250]] = str(row["verdict"])
    return tags
