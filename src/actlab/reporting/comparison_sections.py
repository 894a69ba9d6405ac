"""The sections on comparisons and on tuning."""

from collections.abc import Mapping, Sequence

import pandas as pd

from actlab.engine.csvs import where
from actlab.evidence.comparisons import METRICS
from actlab.evidence.differences import difference_text
from actlab.evidence.summaries import NEAR_BEST
from actlab.evidence.wording import capitalise, in_points, join, percent, written
from actlab.reporting.report import (
    Grid,
    Picture,
    Section,
    Text,
    points,
)
from actlab.results.study import ACTIVATION, PHASE, Study, label
from actlab.schema import Config

#: Rows of the table of comparisons.
_MOST_COMPARISONS = 240


def describe_comparisons(
    study: Study,
    compared: pd.DataFrame,
    by_metric: Mapping[str, Sequence[str]],
    config: Config,
) -> Section:
    """Give the section on comparisons by metrics other than test accuracy and time."""
    confidence = f"{100 * config.report.confidence:g} %"
    rest = [name for name in METRICS if name not in ("test_accuracy", "epoch_seconds")]
    said = [
        line
        for name in rest
        if name != "val_accuracy" or name in set(compared["metric"])
        for line in by_metric[name]
    ]
    if compared.empty and len(study.configurations) > 1 and len(study.activations) != 1:
        said.append(
            "No pair that is compared differs in one key alone, and the configurations are too many"
            " to be compared all with all."
        )
    blocks: list[Text | Grid | Picture] = [*points(said, "comparisons.csv")]
    if compared.empty or len(study.seeds) == 1:
        return Section("Comparisons", tuple(blocks))
    rows = compared
    if len(rows) > _MOST_COMPARISONS:
        rows = where(compared, metric="test_accuracy").head(_MOST_COMPARISONS)
    timed = "epoch_seconds" in set(rows["metric"])
    shared = [key for key in study.keys if key in rows and set(rows[key]) != {""}]
    along = ["Along"] if len(set(rows["key"])) > 1 else []
    caption = (
        f"First minus second, with {confidence} interval"
        f"{'; of times, first divided by second' if timed else ''}. The p-value is that of the"
        " paired t-test, adjusted for all pairs of its family (Holm). The verdict is on the first."
        f" Seeds{' (of time per epoch: blocks)' if timed else ''} are how many would settle what is"
        " undecided with 80 % power, were these differences the true ones. The file"
        " comparisons.csv has all digits, effect sizes and tests of equivalence."
    )
    if len(rows) < len(compared):
        caption += f" Shown are {len(rows)} pairs by test accuracy; the file has all."
    header = [
        *(capitalise(label(key, study.keys)) for key in shared),
        *along,
        *("By", "First", "Second", "Difference", "p", "Verdict", "Seeds"),
    ]
    grid = Grid(
        caption,
        tuple(header),
        tuple(
            (
                *(row[key] for key in shared),
                *(label(row["key"], study.keys) for _ in along),
                METRICS[row["metric"]].title,
                row["first"],
                row["second"],
                difference_text(row["metric"], row),
                written(row["p_holm"]),
                row["verdict"],
                f"{row['pairs_needed']:,.0f}" if row["pairs_needed"] > 0 else "",
            )
            for row in rows.to_dict("records")
        ),
        words=header.index("Difference"),
        data="comparisons.csv",
    )
    return Section("Comparisons", (*blocks, grid))


def name_tuned(study: Study) -> str:
    """Name what was tuned for: `activation`, `network and activation`."""
    return join(label(key, study.tuned_for) for key in study.tuned_for or [ACTIVATION])


def describe_tuning(study: Study, tuning: pd.DataFrame, compared: pd.DataFrame) -> Section:
    """Give the section on the tuning grid of a fair sweep."""
    keys = study.tuned_for
    each = name_tuned(study)
    named = tuple(capitalise(label(key, keys)) for key in keys)
    blocks: list[Text | Grid | Picture] = []
    if len(tuning):
        blocks += [
            Picture(
                "figures/tuning.png",
                "Mean validation accuracy of every setting that was tried: the diamond is the"
                " chosen one, the bar the median; the shaded part lies within"
                f" {100 * NEAR_BEST:g} points of the best. Crosses diverged.",
                f"Validation accuracy of each setting of the tuning grid, a row for each {each}.",
                "tables/tuning.csv",
            ),
            Grid(
                f"Mean validation accuracy over the tuning grid, the same for every {each}. The"
                f" last share is that of settings within {100 * NEAR_BEST:g} points of the best.",
                (
                    *named,
                    *("Chosen", "Settings", "Best", "Median", "Worst"),
                    *("Best − median", "Near best", "Diverged"),
                ),
                tuple(
                    (
                        *(row[key] for key in keys),
                        row["chosen"],
                        str(row["settings"]),
                        percent(row["best"]),
                        percent(row["median"]),
                        percent(row["worst"]),
                        f"{in_points(row['best_minus_median'])} points",
                        f"{100 * row['near_best']:.0f} %",
                        str(row["diverged"]),
                    )
                    for row in tuning.to_dict("records")
                ),
                words=len(keys) + 1,
                data="tuning.csv",
            ),
        ]
    rows = where(compared, key=PHASE)
    if len(rows):
        blocks.append(
            Grid(
                f"Tuned minus baseline of each {each}, on the same fresh seeds.",
                (*named, "By", "Difference", "p", "Verdict"),
                tuple(
                    (
                        *(row[key] for key in keys),
                        METRICS[row["metric"]].title,
                        difference_text(row["metric"], row),
                        written(row["p_holm"]),
                        row["verdict"],
                    )
                    for row in rows.to_dict("records")
                ),
                words=len(keys) + 1,
            )
        )
    return Section("Tuned and baseline", tuple(blocks))
