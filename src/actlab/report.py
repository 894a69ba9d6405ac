"""Tables and figures -> one report, as Markdown and as a self-contained HTML page.

`compose` gathers what is said, section by section, as plain text, tables and pictures; the
templates only lay it out, each escaping what it is given.
"""

import base64
import dataclasses
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast
from urllib.parse import quote

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from actlab import charts, figures, tables
from actlab.charts import Chart
from actlab.claims import VERDICTS
from actlab.comparisons import METRICS
from actlab.config import MATCHED, Config
from actlab.datasets import DATASETS
from actlab.descriptions import Description, join_curves
from actlab.findings import (
    answer_findings,
    comparison_findings,
    conclusion_findings,
    counted,
    depth_findings,
    difference_text,
    divergence_findings,
    first_layer_findings,
    fixed,
    health_findings,
    join,
    kernel_findings,
    loss_findings,
    matched_findings,
    percent,
    spread_findings,
    theory_findings,
)
from actlab.notes import TRAINING
from actlab.provenance import Fact
from actlab.tables import Study, where, written

#: Where `make ui` shows the runs of a fresh store, by their name.
MLFLOW = "http://127.0.0.1:5000/#/experiments/1/runs"


@dataclass(frozen=True)
class Text:
    """A paragraph, or a list of points."""

    kind: ClassVar[str] = "text"
    lines: tuple[str, ...]
    points: bool = False
    data: str | None = None


@dataclass(frozen=True)
class Grid:
    """A table of cells as they are shown; the first `words` columns are text, not numbers.

    The cells of `prose` are sentences, which may break into lines. `data` is the CSV behind it, in
    the report's folder; `runs` names the MLflow run of each row, where a row is of one.
    """

    kind: ClassVar[str] = "grid"
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    prose: bool = False
    data: str | None = None
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A figure, by its path in the report's folder, and the table behind it.

    `of_picture` goes on where the caption ends, `of_chart` in its place where a chart stands in.
    """

    kind: ClassVar[str] = "picture"
    path: str
    caption: str
    alt: str
    data: str | None = None
    of_picture: str = ""
    of_chart: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Text | Grid | Picture, ...]

    @property
    def anchor(self) -> str:
        """What links to it end in."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


class Entry(NamedTuple):
    """A claim of the notebook as it is shown; `badge` is the verdict as a word of CSS."""

    claim: str
    verdict: str
    badge: str
    numbers: str
    section: str


@dataclass(frozen=True)
class Ledger:
    """The claims of the notebook, each with its verdict."""

    title: ClassVar[str] = "The notebook's claims"
    anchor: ClassVar[str] = "claims"
    header: ClassVar[tuple[str, ...]] = ("Claim", "Verdict", "Numbers", "In the notebook")
    lead: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Report:
    """All that is said, in order."""

    title: str
    question: str
    brief: tuple[str, ...]
    ledger: Ledger | None
    answer: tuple[str, ...]
    sections: tuple[Section, ...]
    facts: tuple[Fact, ...] = ()

    @property
    def pictures(self) -> list[Picture]:
        """Every picture, in order."""
        return [
            block
            for section in self.sections
            for block in section.blocks
            if isinstance(block, Picture)
        ]


class Image(NamedTuple):
    """An image inside the page: a data URI, and its size in CSS pixels."""

    uri: str
    width: int
    height: int


class Drawing(NamedTuple):
    """What draws a figure, in this process or in another, and the table that it shows."""

    plot: Callable[[], Figure]
    table: pd.DataFrame

    @classmethod
    def of(cls, plot: Callable[..., Figure], table: pd.DataFrame, *others: Any) -> "Drawing":
        """Give the drawing that `plot` makes of the table and what else it takes."""
        return cls(partial(plot, table, *others), table)


def draw(
    study: Study,
    activations: Sequence[Description],
    confidence: float,
) -> dict[str, Drawing]:
    """Give what draws each figure of the study, by the name of its files.

    Parameters
    ----------
    study
        What was measured.
    activations
        The study's activations, in its order.
    confidence
        Of every interval.
    """
    curves = join_curves(activations)
    accuracy = tables.learning_curves(study, "accuracy", confidence)
    loss = tables.learning_curves(study, "loss", confidence)
    test = tables.over_seeds(study.test, ["activation", "network"], "test_accuracy", confidence)
    first_layer = tables.first_layer_gradients(study, confidence)
    by_layer = tables.gradients_by_layer(study, confidence)
    initial = where(by_layer, epoch=0)
    ratios = tables.theory_ratios(study, confidence)
    steps = cast(pd.DataFrame, ratios[ratios["layer"] != "all"])
    return {
        "activation_functions": Drawing.of(figures.plot_activation_functions, curves, activations),
        "accuracy_curves": Drawing.of(figures.plot_accuracy_curves, accuracy, confidence),
        "loss_curves": Drawing.of(figures.plot_loss_curves, loss, confidence),
        "test_accuracy": Drawing.of(figures.plot_test_accuracy, test, confidence),
        "epoch_seconds": Drawing.of(figures.plot_epoch_seconds, study.timings),
        "gradient_first_layer": Drawing.of(
            figures.plot_first_layer_gradients, first_layer, confidence
        ),
        "gradient_by_layer": Drawing.of(figures.plot_gradients_by_layer, initial),
        "gradient_through_training": Drawing.of(figures.plot_gradients_through_training, by_layer),
        "theory": Drawing.of(figures.plot_theory, steps, confidence),
        **_draw_health(study, activations, confidence),
    }


def draw_differences(study: Study, comparisons: pd.DataFrame, confidence: float) -> Drawing | None:
    """Give what draws `comparisons.compare` of it; None where there is nothing to compare."""
    if len(study.activations) < 2 or len(study.seeds) < 2:
        return None
    table = where(comparisons, metric="test_accuracy")
    return Drawing.of(figures.plot_accuracy_differences, table, confidence)


def compose(
    study: Study,
    activations: Sequence[Description],
    class_counts: pd.DataFrame,
    blocks: pd.DataFrame,
    scores: pd.DataFrame,
    comparisons: pd.DataFrame,
    claims: pd.DataFrame,
    config: Config,
) -> Report:
    """Write the report of a study, every number in it computed from the study's tables.

    Parameters
    ----------
    study
        What was measured.
    activations
        The study's activations, in its order.
    class_counts
        Columns `tables.CLASS_COUNTS`.
    blocks
        Columns `tables.BLOCKS`.
    scores, comparisons
        `comparisons.score` and `comparisons.compare` of the study.
    claims
        `claims.examine` of them all.
    config
        What was configured; its `activation` and `network` are not looked at.
    """
    confidence = config.report.confidence
    summary = tables.summarise(study, confidence)
    ends = (0, study.epochs)
    first_layer = [
        line
        for epoch in ends
        for line in first_layer_findings(study, activations, confidence, epoch)
    ]
    depth = {epoch: depth_findings(study, confidence, epoch) for epoch in ends}
    by_metric = {
        metric: comparison_findings(
            study, scores, comparisons, metric, confidence, config.report.target_accuracy
        )
        for metric in METRICS
    }
    conclusion = conclusion_findings(study, summary, comparisons, confidence)
    names, title = join(study.activations), DATASETS[config.data.name].title
    return Report(
        title="What does the choice of activation function do to a network?",
        question=(
            f"Compared: {names} on {title}, in the network{'s' if len(study.networks) > 1 else ''}"
            f" {join(_shape(study, network) for network in study.networks)};"
            f" {counted(len(study.seeds), 'seed')} and {counted(study.epochs, 'epoch')} each."
        ),
        brief=tuple(answer_findings(study, summary, comparisons)),
        ledger=_ledger(claims),
        answer=(*by_metric["test_accuracy"], *depth[0], *divergence_findings(study)),
        sections=(
            Section("Results", (_results(study, summary, confidence),)),
            _data(class_counts, config),
            _activations(activations, config.model.kernel_initializer),
            _networks(study, config.model.kernel_initializer == MATCHED),
            _curves(study, config),
            _test_accuracy(study, summary, config),
            _comparisons(study, comparisons, by_metric, config),
            _time(study, blocks, comparisons, by_metric, config),
            _gradients(
                study, config, first_layer, [line for each in depth.values() for line in each]
            ),
            _health(study, config),
            _theory(study, config),
            Section("Conclusion", (Text(tuple(conclusion), points=True),)),
            Section("What this cannot say", (Text(_limits(study, config), points=True),)),
            Section("How it was measured", (Text(_methods(study, config), points=True),)),
            _rules(claims, config),
        ),
    )


def _shape(study: Study, network: str) -> str:
    layers = where(study.layers, activation=study.activations[0], network=network)
    units = [*layers["inputs"].tolist()[:1], *layers["units"].tolist()]
    return f"{network} ({'-'.join(map(str, units))})"


def _results(study: Study, summary: pd.DataFrame, confidence: float) -> Grid:
    diverged = tables.diverged_seeds(study)
    caption = (
        f"Means over {counted(len(study.seeds), 'seed')}; the time is the median of the trainings'"
        " own epochs, under whatever load there was: the section Time compares times."
        " Gradient: mean absolute entry of the first layer's, on the first training images, before"
        " and after training, the arithmetic mean over seeds. The file summary.csv has all digits"
        " and the standard deviations."
    )
    if diverged:
        caption += " * A seed diverged; its accuracy is counted as measured."
    return Grid(
        caption=caption,
        header=(
            "Network",
            "Activation",
            "Test accuracy",
            f"{100 * confidence:g} % interval",
            "Test loss",
            "s/epoch",
            "Gradient before",
            "Gradient after",
        ),
        rows=tuple(
            (
                row["network"],
                row["activation"],
                percent(row["test_accuracy_mean"])
                + (" *" if (row["activation"], row["network"]) in diverged else ""),
                _bounds(row["test_accuracy_ci_low"], row["test_accuracy_ci_high"]),
                fixed(row["test_loss_mean"], 4),
                fixed(row["epoch_seconds_median"], 3),
                written(row["gradient_first_layer_initial"], 3),
                written(row["gradient_first_layer_notebook"], 3),
            )
            for row in summary.to_dict("records")
        ),
        words=2,
        data="summary.csv",
        runs=_runs(summary.to_dict("records")),
    )


def _bounds(low: float, high: float) -> str:
    """Write an interval of fractions in percent."""
    return f"{100 * low:.2f} to {100 * high:.2f}" if math.isfinite(low) else "n/a"


#: How wide a band about a prediction is (`theory.BAND_DEVIATIONS`).
BAND = "four standard deviations of the mean"

#: What a split's images are called.
_NOUNS = {"train": "training"}


def _data(class_counts: pd.DataFrame, config: Config) -> Section:
    data = DATASETS[config.data.name]
    rows, columns = data.train_images.shape[1:]
    splits: list[str] = list(dict.fromkeys(class_counts["split"].tolist()))
    counts = {
        split: dict(zip(rows["label"].tolist(), rows["images"].tolist(), strict=True))
        for split in splits
        for rows in [where(class_counts, split=split)]
    }
    sizes = [
        counted(sum(counts[split].values()), f"{_NOUNS.get(split, split)} image")
        for split in splits
    ]
    labels = sorted(set(class_counts["label"]))
    return Section(
        "Data",
        (
            Text(
                (
                    f"{data.title}: {join(sizes)}. An image is {rows} × {columns} grey"
                    f" pixels from 0 to 255; it becomes {rows * columns} numbers from 0 to 1, each"
                    " pixel divided by 255.",
                )
            ),
            Picture(
                "data/sample_images.png",
                "The first training images, each under its label.",
                f"Ten grey-scale images of {data.title} with their labels.",
            ),
            Grid(
                "Images of each class.",
                ("Split", *(data.classes[label] for label in labels), "All"),
                tuple(
                    (
                        _NOUNS.get(split, split),
                        *(f"{counts[split].get(label, 0):,}" for label in labels),
                        f"{sum(counts[split].values()):,}",
                    )
                    for split in splits
                ),
                data="data/class_counts.csv",
            ),
        ),
    )


def _activations(activations: Sequence[Description], kernel_initializer: str) -> Section:
    used = (
        "it is used" if kernel_initializer == MATCHED else f"{kernel_initializer} is used for all"
    )
    rows, formulas = [], []
    for each in activations:
        constants = ", ".join(f"{name} = {value}" for name, value in each.shown_constants.items())
        rows.append(
            (
                each.name,
                each.title + (f", {constants}" if constants else ""),
                str(each.range),
                f"{each.steepest_slope:.4g}",
                _unbounded(each.chi_1),
                each.recommended_initializer,
                each.source,
            )
        )
        formulas.append(
            f"{each.name}: value {each.formula}, derivative {each.derivative_formula},"
            f" range {each.range}"
        )
    untold = [each.name for each in activations if not math.isfinite(each.chi_1)]
    return Section(
        "Activation functions",
        (
            Picture(
                "figures/activation_functions.png",
                "Each activation function with its derivative, formula and range. What comes back"
                " through a layer is multiplied by the derivative: where it is small, little"
                " comes back.",
                "Curves of value and derivative from -5 to 5. " + "; ".join(formulas) + ".",
                "tables/activation_functions.csv",
            ),
            Grid(
                "The steepest slope is the largest derivative between −10 and 10. χ is the factor"
                " a layer of the gradient's variance, by mean-field theory, with the initialiser"
                " used here, in a deep network of one width. The recommended initialiser"
                f" (here {used}) is that of the"
                " activation's literature or, where that names none, the one with χ next to 1."
                + (f" Theory has no number for {join(untold)}: it overflows." if untold else ""),
                (
                    "Activation",
                    "Function",
                    "Range",
                    "Steepest slope",
                    "χ",
                    "Recommended initialiser",
                    "Source",
                ),
                tuple(rows),
                words=7,
            ),
        ),
    )


def _networks(study: Study, matched: bool) -> Section:
    blocks = []
    for network in study.networks:
        layers = where(study.layers, network=network)
        first = where(layers, activation=study.activations[0])
        functions = {
            row["layer"]: row["layer_activation"]
            if len(set(where(layers, layer=row["layer"])["layer_activation"])) == 1
            else "compared"
            for row in first.to_dict("records")
        }
        blocks.append(
            Grid(
                f"{_shape(study, network)}.",
                ("Layer", "Activation", "Inputs", "Units", "Parameters"),
                (
                    *(
                        (
                            row["layer"],
                            functions[row["layer"]],
                            f"{row['inputs']:,}",
                            f"{row['units']:,}",
                            f"{row['parameters']:,}",
                        )
                        for row in first.to_dict("records")
                    ),
                    ("total", "", "", "", f"{sum(first['parameters']):,}"),
                ),
                words=2,
            )
        )
    return Section(
        "Networks",
        (
            Text(
                (
                    "Every layer is dense. For one seed, all activations"
                    f" {'with one initialiser ' if matched else ''}start from the same weights, and"
                    " all see the same batches in the same order.",
                )
            ),
            *blocks,
        ),
    )


def _curves(study: Study, config: Config) -> Section:
    held = config.data.validation_size
    watched = (
        f"Validation is on {counted(held, 'training image')} held out."
        if held
        else "Validation is on the test images; nothing is selected on it."
    )
    band = (
        f" The band is the {100 * config.report.confidence:g} % interval of the mean."
        if len(study.seeds) > 1
        else ""
    )
    drawn = f"Lines are means over seeds.{band} {watched}"
    return Section(
        "Learning curves",
        (
            Picture(
                "figures/accuracy_curves.png",
                f"Accuracy by epoch. {drawn} Training accuracy is taken during the epoch, while"
                " the weights still change.",
                "Training and validation accuracy by epoch, a line for each of"
                f" {join(study.activations)} on {join(study.networks)}.",
                "tables/accuracy_curves.csv",
                "Thin lines are single seeds.",
            ),
            Picture(
                "figures/loss_curves.png",
                f"Cross-entropy by epoch. {drawn}",
                "Training and validation loss by epoch on a logarithmic axis, a line for each of"
                f" {join(study.activations)} on {join(study.networks)}.",
                "tables/loss_curves.csv",
                "Thin lines are single seeds.",
            ),
            *_points(loss_findings(study), "tables/loss_curves.csv"),
        ),
    )


def _points(lines: Iterable[str], data: str | None = None) -> list[Text]:
    lines = tuple(lines)
    return [Text(lines, points=True, data=data)] if lines else []


def _runs(rows: Iterable[Mapping[Any, Any]]) -> tuple[str, ...]:
    """Name the MLflow run of each row's configuration."""
    return tuple(f"{row['activation']}/{row['network']}" for row in rows)


def _test_accuracy(study: Study, summary: pd.DataFrame, config: Config) -> Section:
    measured = "; ".join(
        f"{row['activation']} on {row['network']} {percent(row['test_accuracy_mean'])}"
        for row in summary.to_dict("records")
    )
    blocks: list[Text | Grid | Picture] = [
        Picture(
            "figures/test_accuracy.png",
            f"Test accuracy after {counted(study.epochs, 'epoch')}. Each panel has an axis of its"
            " own.",
            f"Test accuracy of every seed with mean and interval: {measured}.",
            "tables/test_accuracy.csv",
            "One that does not start at zero says so.",
            "No axis is made to start at zero.",
        ),
        *_points(spread_findings(study, summary), "summary.csv"),
    ]
    if len(study.activations) > 1 and len(study.seeds) > 1:
        margin = 100 * config.report.equivalence_margin
        blocks.append(
            Picture(
                "figures/accuracy_differences.png",
                f"Differences of test accuracy within seeds. Below {margin:g} points a difference"
                " does not matter; that was declared beforehand.",
                "Mean difference of test accuracy with two intervals for each pair of"
                f" {join(study.activations)} on {join(study.networks)}, with the verdict.",
                "tables/accuracy_differences.csv",
                "Those points are dotted. Thick: the interval over new seeds, on these test images;"
                " thin: over new seeds and new images.",
                "Those points are shaded. Lines: intervals over new seeds, on these test images.",
            )
        )
    return Section("Test accuracy", tuple(blocks))


def _comparisons(
    study: Study,
    comparisons: pd.DataFrame,
    by_metric: Mapping[str, Sequence[str]],
    config: Config,
) -> Section:
    confidence = f"{100 * config.report.confidence:g} %"
    told = [
        line
        for metric in ("test_loss", "calibration_error", "epochs_to_target")
        for line in by_metric[metric]
    ]
    blocks: list[Text | Grid | Picture] = [*_points(told, "comparisons.csv")]
    if len(study.activations) > 1 and len(study.seeds) > 1:
        blocks.append(
            Grid(
                f"First minus second, with {confidence} interval; of times, first divided by"
                " second. The p-value is that of the paired t-test, adjusted for the pairs of"
                " its network and metric (Holm). The verdict is on the first. Seeds (of time per"
                " epoch: blocks) are how many would settle what is undecided with 80 % power, were"
                " these differences the true ones. The file comparisons.csv has all digits, effect"
                " sizes and tests of equivalence.",
                ("Network", "By", "First", "Second", "Difference", "p", "Verdict", "Seeds"),
                tuple(
                    (
                        row["network"],
                        METRICS[row["metric"]].title,
                        row["first"],
                        row["second"],
                        difference_text(row["metric"], row),
                        written(row["p_holm"]),
                        row["verdict"],
                        f"{row['pairs_needed']:,.0f}" if row["pairs_needed"] > 0 else "",
                    )
                    for row in comparisons.to_dict("records")
                ),
                words=4,
                data="comparisons.csv",
            )
        )
    return Section("Comparisons", tuple(blocks))


def _time(
    study: Study,
    blocks: pd.DataFrame,
    comparisons: pd.DataFrame,
    by_metric: Mapping[str, Sequence[str]],
    config: Config,
) -> Section:
    times = tables.epoch_seconds(study).to_dict("records")
    medians = (f"{row['activation']} on {row['network']} {row['median']:.3f} s" for row in times)
    return Section(
        "Time",
        (
            *_points(by_metric["epoch_seconds"], "comparisons.csv"),
            Text(
                (
                    "These times are of a run of their own: in one process, one model at a time on"
                    f" one thread, {counted(config.timing.blocks, 'block')} in which every"
                    " activation has its turn, in an order drawn for the block: the shortest of"
                    f" its {counted(config.timing.block_epochs, 'epoch')} counts."
                    f" {_loads(study, blocks)} The figure and the last table below are of the"
                    " trainings themselves, one activation after the other under whatever load the"
                    " machine had: no verdict rests on them.",
                )
            ),
            *_median_times(study, comparisons, config.report.confidence),
            *_points(
                kernel_findings(
                    study,
                    config.timing.kernel_units,
                    config.training.batch_size,
                    config.report.confidence,
                ),
                "tables/kernel_times.csv",
            ),
            _kernel_times(study, config),
            Picture(
                "figures/epoch_seconds.png",
                "Seconds that each epoch took: training alone, without compiling and without"
                " evaluation.",
                f"Time per epoch, median: {'; '.join(medians)}.",
                "tables/epoch_seconds.csv",
            ),
            Grid(
                "Seconds. Compiling is once a thread, before its first epoch. Models side by side"
                " share the machine, each on one thread.",
                (
                    "Network",
                    "Activation",
                    "Median epoch",
                    "Middle half",
                    "Compiling",
                    "Models at once",
                ),
                tuple(
                    (
                        row["network"],
                        row["activation"],
                        f"{row['median']:.3f}",
                        f"{row['quartile_low']:.3f} to {row['quartile_high']:.3f}",
                        f"{row['compile_seconds']:.1f}",
                        row["models_at_once"],
                    )
                    for row in times
                ),
                words=2,
                data="tables/epoch_seconds.csv",
                runs=_runs(times),
            ),
        ),
    )


def _loads(study: Study, blocks: pd.DataFrame) -> str:
    of = [f"on {name} {_load(where(blocks, network=name))}" for name in study.networks]
    return f"Load of the machine meanwhile: {'; '.join(of)}."


def _load(timed: pd.DataFrame) -> str:
    low, median, high = np.quantile(timed["load"].to_numpy(dtype=float), [0, 0.5, 1])
    return f"median {written(float(median))}, {written(float(low))} to {written(float(high))}"


def _median_times(study: Study, comparisons: pd.DataFrame, confidence: float) -> list[Grid]:
    """Set medians beside the means that the verdicts rest on."""
    if len(study.activations) == 1:
        return []
    rows = where(comparisons, metric="epoch_seconds")
    return [
        Grid(
            f"First divided by second, with {100 * confidence:g} % intervals: the geometric mean,"
            " which the verdict is on, and the median, over blocks. The median's interval lies"
            " between two of the ratios, whatever their distribution; few pairs do not allow one.",
            ("Network", "First", "Second", "Mean", "Median"),
            tuple(
                (
                    row["network"],
                    row["first"],
                    row["second"],
                    difference_text(row["metric"], row),
                    _median_ratio(row),
                )
                for row in rows.to_dict("records")
            ),
            words=3,
            data="comparisons.csv",
        )
    ]


def _median_ratio(row: Mapping[Any, Any]) -> str:
    median, low, high = (row[key] for key in ("median", "median_low", "median_high"))
    if not math.isfinite(median):
        return "not a number"
    bounds = f", {math.exp(low):.3f} to {math.exp(high):.3f}" if math.isfinite(low) else ""
    return f"× {math.exp(median):.3f}{bounds}"


def _kernel_times(study: Study, config: Config) -> Grid:
    rows = tables.kernel_times(study, config.report.confidence).to_dict("records")
    return Grid(
        f"One dense layer alone, {counted(config.timing.kernel_units, 'unit')} and as many inputs,"
        f" on a batch of {config.training.batch_size} inputs from a standard normal distribution,"
        " in one process on one thread: forward is the activation of inputs times kernel plus"
        " bias; backward gives the derivatives by kernel, bias and inputs from kept"
        " pre-activations; elementwise is the activation without the layer. Geometric means over"
        f" {counted(rows[0]['blocks'], 'block')}, a measurement divided by its repetitions, one"
        f" behind the other: {_repetitions(rows)}; ratios to {study.activations[0]} within blocks,"
        " their intervals widened for the number of activations. Load of the machine meanwhile:"
        f" {_load(study.kernels)}.",
        (
            "Operation",
            "Activation",
            "µs",
            "Ratio",
            f"{100 * config.report.confidence:g} % interval",
        ),
        tuple(
            (
                row["operation"],
                row["activation"],
                written(1e6 * row["seconds"], 3),
                written(row["geometric_mean"], 3),
                f"{written(row['low'], 3)} to {written(row['high'], 3)}"
                if math.isfinite(row["low"])
                else "",
            )
            for row in rows
        ),
        words=2,
        data="tables/kernel_times.csv",
    )


def _repetitions(rows: Iterable[Mapping[Any, Any]]) -> str:
    of = {row["operation"]: row["repetitions"] for row in rows}
    return join(f"{count:,} {operation}" for operation, count in of.items())


def _gradients(
    study: Study, config: Config, first_layer: Sequence[str], depth: Sequence[str]
) -> Section:
    images = counted(config.gradients.notebook_images, "training image")
    test_images = counted(config.gradients.test_images, "test image")
    probed = sorted(set(study.gradients["epoch"]))
    means = tables.first_layer_gradients(study, config.report.confidence)
    measured = "; ".join(
        f"{row['activation']} on {row['network']} {written(row['geometric_mean'])}"
        f" {'before training' if row['epoch'] == 0 else 'after'}"
        for row in means.to_dict("records")
    )
    return Section(
        "Gradients",
        (
            Picture(
                "figures/gradient_first_layer.png",
                "The gradient of the first layer's weights, as mean absolute entry, on the first"
                f" {images}: before training and after {counted(study.epochs, 'epoch')}. Gradients"
                " spread by factors, so the mean over seeds is the geometric mean. A larger"
                " gradient is not better learning by itself: after training it is small where the"
                " loss on these images is small.",
                "Mean absolute gradient of the first layer for every seed, with geometric mean:"
                f" {measured}.",
                "tables/gradient_first_layer.csv",
            ),
            *_points(first_layer, "tables/first_layer_ratios.csv"),
            Picture(
                "figures/gradient_by_layer.png",
                "Before training: the Euclidean norm of each layer's gradient, on"
                f" {test_images}, from the layer next to the images (1) to the output; thick lines"
                " are arithmetic means over seeds. A line that falls to the left is a gradient"
                " that vanishes on its way back.",
                "Gradient norm by layer before training on logarithmic axes, a line for each of"
                f" {join(study.activations)} on {join(study.networks)}.",
                "tables/gradient_by_layer.csv",
            ),
            *_points(depth, "tables/layer_factors.csv"),
            Picture(
                "figures/gradient_through_training.png",
                "The same norms, arithmetic means over seeds, after"
                f" {join(map(str, probed))} epochs. All panels of a network have one range. A"
                " kernel's gradient is what comes back times what came in: where it stays the same"
                " from layer to layer, both may shrink.",
                "Gradient norm by layer on logarithmic axes, a panel for each of"
                f" {join(study.activations)} on {join(study.networks)}, a line for each probed"
                " epoch.",
                "tables/gradient_through_training.csv",
            ),
        ),
    )


def _draw_health(
    study: Study, activations: Sequence[Description], confidence: float
) -> dict[str, Drawing]:
    """Give what there is: a network without hidden layers has no units that could be dead."""
    health = tables.layer_health(study, confidence)
    drawings = {}
    for statistic in figures.HEALTH_MAPS:
        rows = where(health, statistic=statistic)
        if len(rows):
            drawings[f"health_{statistic}"] = Drawing.of(figures.plot_health_map, rows)
    if len(study.preactivations):
        drawings["preactivations"] = Drawing.of(
            figures.plot_preactivations, study.preactivations, activations
        )
    return drawings


def _health(study: Study, config: Config) -> Section:
    images = counted(config.gradients.test_images, "test image")
    kept = join(map(str, sorted(set(study.gradients["epoch"]))))
    hidden = len(study.preactivations) > 0
    panels = (
        f"a panel for each of {join(study.activations)} on {join(study.networks)}: layers from"
        f" top to bottom, epochs {kept} from left to right"
    )
    captions = {
        "saturated_fraction": (
            "Saturation: of all pairs of a unit and an image, those where the size of the"
            f" activation's derivative is below {100 * config.gradients.saturated_below:g} % of"
            " its maximum; means over seeds. Where an activation is flat on one side, as ReLU is,"
            " these are the units that are off.",
            hidden,
        ),
        "dead_fraction": (
            f"Dead units: the derivative is exactly zero, in double precision, on every one of the"
            f" {images}; means over seeds. The table dead_units has the counts of all seeds"
            f" together with {100 * config.report.confidence:g} % intervals (Wilson), which take"
            " units to be independent: units of one network are not quite.",
            hidden,
        ),
        "backprop_rms": (
            "The signal that comes back: root mean square, over units and images, of the"
            " derivative of an image's cross-entropy by the pre-activation; geometric means over"
            " seeds. Unlike a norm of a kernel's gradient it can be compared between layers of"
            " any shape.",
            True,
        ),
        "update_ratio": (
            "How far a step goes: the norm of the change of a layer's kernel in the first step of"
            " Adam after the epoch, divided by the norm of the kernel; geometric means over"
            " seeds.",
            True,
        ),
        "one_sign_batch_fraction": (
            "Gradients of one sign: the share of units for which the gradient of the mean loss"
            f" over the {images} has one sign in all of its incoming weights that have any; means"
            " over seeds. Such a step moves all of them up or all down. On a single image every"
            " unit is so where what it reads is never of both signs; pixels never are.",
            True,
        ),
    }
    blocks: list[Text | Picture] = [
        Text(
            (
                f"Measured on {images}, held out from training, at initialisation (0) and after"
                " the epochs where weights are kept.",
            )
        )
    ]
    for statistic, (caption, drawn) in captions.items():
        if drawn:
            name = f"health_{statistic}"
            label = figures.HEALTH_MAPS[statistic].label
            blocks.append(
                Picture(
                    f"figures/{name}.png",
                    caption,
                    f"{label}, {panels}.",
                    f"tables/{name}.csv",
                    "All panels have one range of shades.",
                )
            )
    if hidden:
        blocks.append(
            Picture(
                "figures/preactivations.png",
                "Pre-activations of each hidden layer over all seeds, units and images, before"
                f" training and after {counted(study.epochs, 'epoch')}, each as high as its own"
                " peak; in grey behind them the activation, on the axis to the right. The"
                " outermost thousandths go on beyond the panel.",
                "Distributions of pre-activations by layer, a panel for each of"
                f" {join(study.activations)} on {join(study.networks)}.",
                "tables/preactivations.csv",
            )
        )
    return Section(
        "Health of the networks",
        (
            *blocks,
            *_points(health_findings(study, config.report.confidence), "tables/health.csv"),
        ),
    )


def _theory(study: Study, config: Config) -> Section:
    ratios = tables.theory_ratios(study, config.report.confidence)
    whole = where(ratios, layer="all")
    measured = "; ".join(
        f"{row['activation']} with {row['initializer']}, {row['direction']},"
        f" {written(row['geometric_mean'], 3)}"
        for row in whole.to_dict("records")
    )
    probe = config.theory
    return Section(
        "Theory and measurement",
        (
            Text(
                (
                    "Mean-field theory (Poole et al. 2016, Schoenholz et al. 2017) predicts, for"
                    " wide layers with random weights, by which factor each layer changes the"
                    " variance of the signal: of the pre-activations on the way up, of the"
                    " gradient with respect to them on the way back. Variances are means of"
                    " squares over a layer's units, ratios geometric means over images and"
                    f" networks. Measured: {probe.depth} hidden layers of"
                    f" {counted(probe.width, 'unit')} before any training, on"
                    f" {counted(probe.images, 'test image')},"
                    f" {counted(len(probe.seeds), 'network')} each. The band about a prediction is"
                    f" {BAND} of such networks, by the same theory, and an allowance of the order"
                    " 1 / width; it was fixed before anything was measured.",
                )
            ),
            Picture(
                "figures/theory.png",
                "The ratio of each two neighbouring layers; 1 is a signal that neither shrinks nor"
                " grows.",
                "Predicted and measured ratios by layer on logarithmic axes. Geometric means over"
                f" layers: {measured}.",
                "tables/theory.csv",
            ),
            *_points(theory_findings(study, config.report.confidence), "theory.csv"),
            Grid(
                "Per layer, as geometric means over all layers. The initialiser matched stands for"
                " the one that the activation's literature recommends. The file theory.csv has all"
                " layers.",
                ("Activation", "Initialiser", "Signal", "Predicted", "Band", "Measured", "Agree"),
                tuple(
                    (
                        row["activation"],
                        _named(row),
                        row["direction"],
                        written(row["predicted"], 3),
                        f"{written(row['band_low'], 3)} to {written(row['band_high'], 3)}",
                        written(row["geometric_mean"], 3),
                        "n/a"
                        if not math.isfinite(row["band_low"])
                        else ("yes" if row["agrees"] else "no"),
                    )
                    for row in whole.to_dict("records")
                ),
                words=3,
                data="theory.csv",
            ),
            Grid(
                "Of the theory, for layers of one width: the variance σ² of a layer's weights"
                " times its inputs; the gains E[φ²] and E[φ'²] of a standard normal; the variance"
                " q that the pre-activations of a deep network tend to (0: the signal vanishes;"
                " ∞: it diverges; where every variance stays as it is, that of the first layer);"
                " χ, the factor a layer of the gradient's variance there; and the depth ξ ="
                " −1 / ln χ in layers, over which it shrinks by e (negative: grows). q, χ and ξ"
                " speak of many more layers than a network has.",
                ("Activation", "Initialiser", "σ²", "E[φ²]", "E[φ'²]", "q", "χ", "ξ"),
                tuple(
                    (
                        row["activation"],
                        _named(row),
                        *(
                            _unbounded(row[column])
                            for column in (
                                *("sigma_w2", "value_gain", "slope_gain"),
                                *("q_star", "chi_1", "depth_scale"),
                            )
                        ),
                    )
                    for row in study.mean_field.to_dict("records")
                ),
                words=2,
                data="tables/mean_field.csv",
            ),
            *_matching(study, config),
            Grid(
                "Mean and variance of φ(z), z standard normal. Layers whose weights have the sum 0"
                " and the square sum 1 keep a signal of mean 0 and variance 1 where they are 0 and"
                " 1, as of SELU (Klambauer et al. 2017).",
                ("Activation", "Mean", "Variance"),
                tuple(
                    (row["activation"], _plain(row["mean"]), _plain(row["variance"]))
                    for row in study.moments.to_dict("records")
                ),
            ),
            *_born_dead(study),
        ),
    )


def _matching(study: Study, config: Config) -> list[Text | Grid]:
    """Show what the matched initialiser does to the configured networks before training."""
    if config.model.kernel_initializer == MATCHED:
        return [
            Text(
                (
                    "The networks of this study are trained with the matched initialisers: there"
                    " is nothing to compare them with.",
                )
            )
        ]
    changes = tables.matched_changes(study, config.report.confidence)
    blocks: list[Text | Grid] = [
        *_points(matched_findings(study, config.report.confidence), "tables/matched_changes.csv")
    ]
    if len(changes):
        blocks.append(
            Grid(
                "What the matched initialiser does to the networks of this study, before training,"
                f" on {counted(config.theory.images, 'test image')}, with"
                f" {counted(len(config.theory.seeds), 'network')} each: the Euclidean norm of the"
                " gradient of the first layer's kernel; and that norm by the output's, which"
                " depends on the shapes of both kernels, while its change does not. A kernel's"
                " gradient is what comes back times what went up: where both signals shrink alike"
                " on their ways, the quotient stays. Geometric means; changes with"
                f" {100 * config.report.confidence:g} % intervals, paired by network and widened"
                " for their number.",
                (
                    "Network",
                    "Activation",
                    "Configured",
                    "Matched",
                    "First layer",
                    "matched",
                    "Change",
                    "By output",
                    "matched",
                    "Change",
                ),
                tuple(
                    (
                        *(row[key] for key in ("network", "activation", "configured", "matched")),
                        *_changes(row, "norm"),
                        *_changes(row, "factor"),
                    )
                    for row in changes.to_dict("records")
                ),
                words=4,
            )
        )
    blocks.append(
        Text(
            (
                "One line of params.yaml trains every network so, kernel_initializer: matched"
                " under model; dvc exp run --temp -S model.kernel_initializer=matched does it in a"
                " copy, beside this study. What an initialiser does to accuracy, the sweep"
                " +experiment=initialiser measures.",
            )
        )
    )
    return blocks


def _changes(row: Mapping[Any, Any], of: str) -> tuple[str, str, str]:
    change, low, high = (written(row[f"{of}_{key}"], 3) for key in ("change", "low", "high"))
    bounds = f", {low} to {high}" if math.isfinite(row[f"{of}_low"]) else ""
    configured, matched = (written(row[f"{which}_{of}"], 3) for which in ("configured", "matched"))
    return configured, matched, f"× {change}{bounds}"


def _born_dead(study: Study) -> list[Grid]:
    if study.born_dead.empty:
        return []
    return [
        Grid(
            "Born dead: the probability that a network passes nothing on of an image before any"
            " training, because a whole layer gets a negative signal, 1 − ∏ (1 − 2⁻ᴺ) over the"
            " units N of its hidden layers. Of activations that are 0 below 0; exact for one image"
            " and biases of zero, for all of several images an upper bound (Lu et al. 2020).",
            ("Activation", "Network", "Probability"),
            tuple(
                (row["activation"], row["network"], written(row["probability"]))
                for row in study.born_dead.to_dict("records")
            ),
            words=2,
            data="tables/born_dead.csv",
        )
    ]


def _plain(value: float) -> str:
    """Write with four decimals; what rounds to zero has no sign."""
    return f"{round(value, 4) + 0.0:.4f}".replace("-", "−")


def _named(row: Mapping[str, Any]) -> str:
    """Name an initialiser, and what it stands for."""
    name, kernel = row["initializer"], row["kernel_initializer"]
    return name if name == kernel else f"{name} ({kernel})"


def _unbounded(value: float) -> str:
    return "∞" if value == math.inf else written(value, 3)


def _limits(study: Study, config: Config) -> tuple[str, ...]:
    lines = [
        f"It is one data set, {DATASETS[config.data.name].title}; dense networks of"
        f" {'one shape' if len(study.networks) == 1 else f'{len(study.networks)} shapes'}; one"
        f" optimiser, Adam, with one learning rate, {config.training.learning_rate:g};"
        f" {_initialiser(config)}. An activation may do better with settings of its own.",
        f"The intervals tell how results vary over seeds ({join(map(str, study.seeds))}): initial"
        " weights and order of batches, on these test images; where a sentence or a thin line"
        " speaks of new images, over them as well.",
        "Undecided does not mean equal: with more seeds a difference, or equivalence, could be"
        " shown. Equivalent means closer than a margin that somebody else may find too wide.",
        f"An order of {counted(len(study.activations), 'activation')} says little of activations in"
        " general: intervals over seeds speak of these alone.",
    ]
    if len(study.seeds) == 1:
        lines[1] = (
            f"There is one seed, {study.seeds[0]}: nothing here tells how results vary with"
            " initial weights and order of batches."
        )
    if config.data.validation_size == 0:
        lines.append(
            "The validation curve is the test split, watched every epoch. Nothing was selected on"
            " it, so the final test accuracy is not flattered; an epoch chosen by looking at the"
            " curve would be."
        )
    lines.append("Times hold for the machine and the load that they were taken on.")
    return tuple(lines)


def _initialiser(config: Config) -> str:
    name = config.model.kernel_initializer
    if name == MATCHED:
        return "the initialiser that each activation's literature recommends"
    return f"one initialiser, {name}, for every activation"


def _methods(study: Study, config: Config) -> tuple[str, ...]:
    training, margins = config.training, config.report
    confidence = f"{100 * margins.confidence:g} %"
    return (
        f"Seeds: {join(map(str, study.seeds))}; {counted(training.epochs, 'epoch')} of batches of"
        f" {training.batch_size}, the last one what is left; Adam, learning rate"
        f" {training.learning_rate:g}; mean cross-entropy of the softmax; kernels drawn by"
        f" {_initialiser(config)}, biases zero; float32.",
        f"Means over seeds have {confidence} intervals of Student's t distribution.",
        "Activations are compared within seeds: mean difference with t interval, paired t-test,"
        " Cohen's d_z, and two one-sided t-tests"
        f" against a margin: {100 * margins.equivalence_margin:g} points of accuracy and of"
        f" calibration error, {margins.equivalence_margin_nats:g} nats,"
        f" {margins.equivalence_margin_epochs:g} epochs, {100 * margins.equivalence_margin_ratio:g}"
        " % of time.",
        "A verdict is equivalent where equivalence is shown, else better or worse where the"
        " difference is, else undecided; p-values of the pairs of one metric on one network are"
        " adjusted by Holm's method, and what is shown is shown at"
        f" {100 * (1 - margins.confidence):.3g} %. Each metric on each network is a family of its"
        " own: all of them together err more often.",
        "Test NLL is the mean cross-entropy on the test images, in nats. Calibration error: images"
        " sorted by confidence into 15 bins of equal numbers, the mean gap between accuracy and"
        " confidence.",
        f"Epochs to target: the first epoch with {100 * margins.target_accuracy:g} % validation"
        " accuracy; a seed that never gets there counts one epoch more than were trained, and shows"
        " no equivalence.",
        "For new images, seeds and images are resampled independently of each other (the pigeonhole"
        " bootstrap, Owen 2007), with Student's t for the few seeds; verdicts by Bonferroni's"
        " method.",
        "Gradients are those of the mean cross-entropy with respect to a layer's kernel, on the"
        f" first {counted(config.gradients.notebook_images, 'training image')} (the first layer's"
        f" figure) and on {counted(config.gradients.test_images, 'test image')} (all others).",
        "Ratios of gradients are geometric means over seeds, paired by seed. Their intervals are"
        " those of the logarithms, widened for the number of pairs on a network; those of the"
        " factors a layer for the number of activations (Bonferroni).",
        "The factor a layer is taken over the hidden layers one behind the other whose kernels"
        " have one shape: norms of kernels of other shapes differ whatever comes back.",
        "Every table behind a figure or a sentence is in the folder tables, every figure as PNG and"
        " SVG in the folder figures, the sample images in the folder data.",
    )


def _ledger(claims: pd.DataFrame) -> Ledger:
    verdicts = claims["verdict"].tolist()
    counts = join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS)
    return Ledger(
        f"What the teaching notebook claims, in our words: of {counted(len(claims), 'claim')}"
        f" {counts}. Each is decided by a rule that the code applies to any study alike; the rules"
        " stand at the end.",
        tuple(
            Entry(
                row["claim"],
                row["verdict"],
                row["verdict"].replace(" ", "-"),
                row["numbers"],
                row["section"],
            )
            for row in claims.to_dict("records")
        ),
    )


def _rules(claims: pd.DataFrame, config: Config) -> Section:
    return Section(
        "How the claims were decided",
        (
            Text(
                (
                    "Intervals are over seeds, each claim at"
                    f" {100 * config.report.confidence:g} %. Where a claim rests on several"
                    " comparisons they are adjusted for their number; the"
                    f" {counted(len(claims), 'claim')} are not adjusted for theirs, so some verdict"
                    " among them errs more often than any one alone. Undecided does not mean"
                    " refuted. Thresholds are what the notebook names, or were fixed with the rules"
                    " and not fitted to these numbers; earlier runs of sigmoid, tanh and relu were"
                    " known by then.",
                )
            ),
            Grid(
                "The file claims.csv has all digits.",
                ("Claim", "On", "Measured", "Rule"),
                tuple(
                    (row["claim"], row["network"], row["measured"], row["rule"])
                    for row in claims.to_dict("records")
                ),
                words=4,
                prose=True,
                data="claims.csv",
            ),
        ),
    )


def render_markdown(report: Report) -> str:
    """Write the report as Markdown that links its figures by their paths."""
    return _environment().get_template("report.md.jinja").render(report=report)


def render_html(
    report: Report,
    images: Mapping[str, Image],
    interactive: Mapping[str, Chart] | None = None,
    activations: Sequence[str] = (),
    script: str | None = None,
) -> str:
    """Write the report as one HTML page that needs nothing else.

    Parameters
    ----------
    report
        What to say.
    images
        The image of each `Picture.path`.
    interactive
        What takes the place of some of them where scripts run.
    activations
        Those that a reader may choose from.
    script
        What `charts.vega` gives, where it is known; it takes a second.
    """
    of_figures = {path: dataclasses.asdict(chart) for path, chart in (interactive or {}).items()}
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            images=images,
            charts=of_figures,
            styles=charts.swatches(activations),
            vega=(script or charts.vega()) if of_figures else "",
        )
    )


def embed(png: Path) -> Image:
    """Read a figure for `render_html`: the SVG beside the PNG, or that where it is smaller.

    Parameters
    ----------
    png
        150 pixels are an inch of it.
    """
    pixels = png.read_bytes()
    width, height = struct.unpack(">II", pixels[16:24])
    drawing = png.with_suffix(".svg").read_bytes()
    # Lines are sharper at any size, but a crowd of them is larger than its picture.
    small = len(drawing) <= max(250_000, len(pixels))
    kind, content = ("svg+xml", drawing) if small else ("png", pixels)
    text = base64.b64encode(content).decode()
    return Image(f"data:image/{kind};base64,{text}", round(width * 0.64), round(height * 0.64))


def markdown(text: str) -> str:
    r"""Escape what Markdown would take for markup, in a paragraph or a cell of a table.

    >>> print(markdown("<b> | leaky_relu *x*"))
    \<b\> \| leaky_relu \*x\*
    """
    escaped = re.sub(r"([\\`*\[\]<>|#&$~])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", escaped)


def tied(text: str) -> str:
    r"""Keep a number on one line with its power of ten and its percent sign.

    >>> tied("1.8 × 10⁻⁵ of 95 %")
    '1.8\xa0×\xa010⁻⁵ of 95\xa0%'
    """
    return text.replace(" × ", "\u00a0×\u00a0").replace(" %", "\u00a0%")


def run_link(name: str) -> str:
    """Give the address of a run in the page that `make ui` opens, by its name.

    >>> run_link("relu/mlp").removeprefix(MLFLOW)
    '?searchFilter=attributes.run_name%20%3D%20%27relu%2Fmlp%27&workflowType=machine_learning'
    """
    asked = quote(f"attributes.run_name = '{name}'", safe="")
    return f"{MLFLOW}?searchFilter={asked}&{TRAINING}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("actlab"),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = markdown
    environment.filters["tied"] = tied
    environment.filters["run"] = run_link
    return environment
