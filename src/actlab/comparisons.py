"""Every pair of activations on a network, compared metric by metric, paired by seed.

The unit is the seed: a metric gives one value a seed of a configuration, and the difference of
two activations is taken within a seed, since both started from the same weights and saw the
same batches. Times per epoch are compared within a block of epochs that were timed side by
side. All pairs of activations by one metric on one network are a family: its p-values are
adjusted together (Holm).
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int32
from scipy import special

from actlab.config import ReportConfig
from actlab.errors import UserError
from actlab.statistics import (
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
from actlab.tables import COMPARISONS, SCORES, Study, where

#: Of a seed of a configuration on each test image: 1 where it is right; cross-entropy in nats.
ByImage = Mapping[tuple[str, str], Float[np.ndarray, "seeds images"]]


@dataclass(frozen=True)
class Metric:
    """What two activations are compared by.

    Attributes
    ----------
    title
        In a sentence.
    unit
        What a difference is told in: points (percentage points), nats, epochs, or ratio: then
        it is a ratio of times, and what is computed with is its logarithm.
    larger_is_better
        Whether more of it is better.
    margin
        The attribute of `ReportConfig` that holds the largest difference that does not matter.
    """

    title: str
    unit: str
    larger_is_better: bool
    margin: str


#: By their names in `tables.SCORES`, in the order of the report.
METRICS = {
    "test_accuracy": Metric("test accuracy", "points", True, "equivalence_margin"),
    "test_loss": Metric("test NLL", "nats", False, "equivalence_margin_nats"),
    "calibration_error": Metric("calibration error", "points", False, "equivalence_margin"),
    "epochs_to_target": Metric("epochs to target", "epochs", False, "equivalence_margin_epochs"),
    "epoch_seconds": Metric("time per epoch", "ratio", False, "equivalence_margin_ratio"),
}


def read_by_image(
    study: Study, results: Path, labels: Int32[np.ndarray, " images"]
) -> tuple[ByImage, ByImage, pd.DataFrame]:
    """Score the logits of every configuration's `test.npz` image by image.

    Parameters
    ----------
    study
        Names configurations and seeds.
    results
        The folder of that name.
    labels
        Of the test images.

    Returns
    -------
    tuple
        Whether each seed is right on each image, its cross-entropy there, and a table
        activation, network, seed, calibration_error.

    Raises
    ------
    UserError
        When a file is missing, or its arrays are no logits of these images.
    """
    right, losses, errors = {}, {}, []
    images = np.arange(len(labels))
    for activation, network in study.configurations():
        path = results / f"{activation}-{network}" / "test.npz"
        try:
            with np.load(path) as file:
                logits = {seed: file[f"seed-{seed}"] for seed in study.seeds}
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing: run `dvc repro` to make it") from error
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{path} cannot be read: run `dvc repro` to make it again") from error
        for seed, of_seed in logits.items():
            if of_seed.shape[:1] != labels.shape:
                raise UserError(
                    f"{path} holds logits {of_seed.shape} of seed {seed} for {len(labels)} test"
                    " images: run `dvc repro` to make it again"
                )
            errors.append((activation, network, seed, calibration_error(of_seed, labels)))
        stacked = np.stack(list(logits.values())).astype(np.float64)
        right[activation, network] = (stacked.argmax(axis=2) == labels).astype(np.float64)
        with np.errstate(invalid="ignore"):  # a diverged seed
            losses[activation, network] = -special.log_softmax(stacked, axis=2)[:, images, labels]
    columns = ["activation", "network", "seed", "calibration_error"]
    return right, losses, pd.DataFrame(errors, columns=columns)


def score(
    study: Study, calibration: pd.DataFrame, blocks: pd.DataFrame, target: float
) -> pd.DataFrame:
    """Tabulate every value of every metric, in the columns `tables.SCORES`.

    Parameters
    ----------
    study
        What was measured.
    calibration
        Of `read_by_image`.
    blocks
        The columns `tables.BLOCKS`.
    target
        The validation accuracy that `epochs_to_target` counts the epochs to. A seed that never
        reaches it is censored: it counts as one epoch more than were trained, so that a mean is
        one restricted to that horizon (Royston & Parmar 2013).

    Raises
    ------
    UserError
        When a configuration was not timed.
    """
    keys = ["activation", "network", "seed"]
    table = with_epochs_to_target(study.test, study.history, study.epochs, target)
    table = table.merge(calibration, on=keys, validate="1:1")
    timed = set(zip(blocks["activation"], blocks["network"], strict=True))
    for activation, network in study.configurations():
        if (activation, network) not in timed:
            raise UserError(
                f"timings/blocks.csv lacks {activation} on {network}: run `dvc repro` to time it"
            )
    rows = []
    for row in table.to_dict("records"):
        at = (row["network"], row["activation"])
        for metric in ("test_accuracy", "test_loss", "calibration_error"):
            rows.append((*at, metric, row["seed"], row[metric], False))
        to_target = (row["seed"], row["epochs_to_target"], row["censored"])
        rows.append((*at, "epochs_to_target", *to_target))
    for row in blocks.to_dict("records"):
        at = (row["network"], row["activation"], "epoch_seconds", row["block"])
        rows.append((*at, row["epoch_seconds"], False))
    return pd.DataFrame(rows, columns=list(SCORES))


def with_epochs_to_target(
    test: pd.DataFrame, history: pd.DataFrame, epochs: int, target: float
) -> pd.DataFrame:
    """Add the first epoch that reaches the target, and whether none does.

    Parameters
    ----------
    test, history
        The columns `tables.TEST` and `tables.HISTORY` of each activation on each network.
    epochs
        How many each was trained for.
    target
        As in `score`.

    Returns
    -------
    pd.DataFrame
        `test` with the columns epochs_to_target and censored: where no epoch reaches the target,
        they are one epoch more than were trained, and True.
    """
    keys = ["activation", "network", "seed"]
    reached = history.loc[history["val_accuracy"] >= target]
    first = reached.groupby(keys, sort=False)["epoch"].min().rename("epochs_to_target")
    table = test.merge(first.reset_index(), on=keys, how="left", validate="1:1")
    table["censored"] = table["epochs_to_target"].isna()
    return table.fillna({"epochs_to_target": epochs + 1.0})


def compare(
    study: Study, scores: pd.DataFrame, right: ByImage, losses: ByImage, config: ReportConfig
) -> pd.DataFrame:
    """Compare each pair of activations on each network by each metric.

    Parameters
    ----------
    study
        Names activations and networks.
    scores
        `score`; a pair of which one of two activations lacks its part is dropped, and counted.
    right, losses
        Of `read_by_image`: for statements about new images.
    config
        Confidence, and the margins of equivalence.

    Returns
    -------
    pd.DataFrame
        The columns `tables.COMPARISONS`, a row a pair of a metric on a network. Differences are
        first minus second; those of a metric in ratios are of natural logarithms.
    """
    by_image = {"test_accuracy": right, "test_loss": losses}
    resampled = resample_images(next(iter(right.values())).shape[1])
    count = len(list(combinations(study.activations, 2)))
    each = 1 - (1 - config.confidence) / max(1, count)  # Bonferroni
    rows = []
    for (name, metric), network in product(METRICS.items(), study.networks):
        margin = getattr(config, metric.margin)
        if metric.unit == "ratio":
            margin = math.log1p(margin)
        of_network = where(scores, network=network, metric=name)
        values: dict[str, dict[int, float]] = {}
        censored: dict[str, set[int]] = {}
        for activation in study.activations:
            side = where(of_network, activation=activation)
            numbers = side["value"].to_numpy(dtype=np.float64)
            if metric.unit == "ratio":
                numbers = np.log(numbers)
            values[activation] = dict(zip(side["pair"], numbers, strict=True))
            censored[activation] = set(where(side, censored=True)["pair"])
        pairs = list(combinations(study.activations, 2))
        for row in compare_family(pairs, values, censored, metric, margin, config.confidence):
            about_new: dict[str, Any] = {}
            if name in by_image:
                first, second = (by_image[name][row[key], network] for key in ("first", "second"))
                (low, high), wide = new_images_intervals(
                    first - second, resampled, (config.confidence, each)
                )
                about_new = {
                    "new_images_low": low,
                    "new_images_high": high,
                    "new_images_verdict": decide_by_interval(
                        *wide, margin, metric.larger_is_better
                    ),
                }
            rows.append({"network": network, "metric": name, "margin": margin} | row | about_new)
    table = pd.DataFrame(rows, columns=list(COMPARISONS))
    return table.fillna({"new_images_verdict": ""}).astype({"pairs_needed": float})


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
        A row a pair: what `tables.COMPARISONS` has from `first` on, without `margin` and what is
        said of new images; NaN for what is not worked out.
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
