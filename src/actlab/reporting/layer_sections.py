"""The sections of a report that the pipeline alone has: data, layers, gradients, health, theory."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from actlab.activations.config import ActivationConfig
from actlab.data.datasets import DATASETS
from actlab.evidence import layer_summaries, summaries
from actlab.evidence.differences import difference_text
from actlab.evidence.wording import counted, join, written
from actlab.models.config import MATCHED
from actlab.reporting.health_figures import HEALTH_MAPS
from actlab.reporting.layer_findings import depth_findings, first_layer_findings, health_findings
from actlab.reporting.report import Grid, Picture, Section, Text, points, run_names
from actlab.reporting.theory_findings import kernel_findings, matched_findings, theory_findings
from actlab.results.metadata import Description
from actlab.results.study import ACTIVATION, Study
from actlab.results.tables import where
from actlab.schema import Config

#: How wide a band about a prediction is (`theory.BAND_DEVIATIONS`).
BAND = "four standard deviations of the mean"

#: What a split's images are called.
_NOUNS = {"train": "training"}


def describe_data(class_counts: pd.DataFrame, config: Config) -> Section:
    """Tell what the images are."""
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


def describe_activations(activations: Sequence[Description], kernel_initializer: str) -> Section:
    """Show each activation function."""
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


def describe_networks(study: Study, matched: bool) -> Section:
    """Show the layers of each network."""
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
                f"{shape(study, network)}.",
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


def describe_time(
    study: Study, compared: pd.DataFrame, findings: Sequence[str], config: Config
) -> Section:
    """Tell how long epochs and layers take."""
    times = summaries.epoch_seconds(study).to_dict("records")
    medians = (f"{row['activation']} on {row['network']} {row['median']:.3f} s" for row in times)
    return Section(
        "Time",
        (
            *points(findings, "comparisons.csv"),
            Text(
                (
                    "These times are of a run of their own: in one process, one model at a time on"
                    f" one thread, {counted(config.timing.blocks, 'block')} in which every"
                    " activation has its turn, in an order drawn for the block: the shortest of"
                    f" its {counted(config.timing.block_epochs, 'epoch')} counts."
                    f" {_loads(study)} The figure and the last table below are of the"
                    " trainings themselves, one activation after the other under whatever load the"
                    " machine had: no verdict rests on them.",
                )
            ),
            *_median_times(study, compared, config.report.confidence),
            *points(
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
                runs=run_names(times),
            ),
        ),
    )


def _loads(study: Study) -> str:
    parts = [f"on {name} {_load(where(study.blocks, network=name))}" for name in study.networks]
    return f"Load of the machine meanwhile: {'; '.join(parts)}."


def _load(timed: pd.DataFrame) -> str:
    low, median, high = np.quantile(timed["load"].to_numpy(dtype=float), [0, 0.5, 1])
    return f"median {written(float(median))}, {written(float(low))} to {written(float(high))}"


def _median_times(study: Study, compared: pd.DataFrame, confidence: float) -> list[Grid]:
    """Compare medians with the means that the verdicts rest on."""
    if len(study.activations) == 1:
        return []
    rows = where(compared, metric="epoch_seconds", key=ACTIVATION)
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
    rows = layer_summaries.kernel_times(study, config.report.confidence).to_dict("records")
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


def describe_gradients(
    study: Study, activations: Sequence[ActivationConfig], config: Config
) -> Section:
    """Show the gradients of each layer, before, during and after training."""
    confidence, ends = config.report.confidence, (0, study.epochs)
    first_layer = [
        line
        for epoch in ends
        for line in first_layer_findings(study, activations, confidence, epoch)
    ]
    depth = [line for epoch in ends for line in depth_findings(study, confidence, epoch)]
    images = counted(config.gradients.notebook_images, "training image")
    test_images = counted(config.gradients.test_images, "test image")
    probed = sorted(set(study.gradients["epoch"]))
    means = layer_summaries.first_layer_gradients(study, config.report.confidence)
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
            *points(first_layer, "tables/first_layer_ratios.csv"),
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
            *points(depth, "tables/layer_factors.csv"),
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


def describe_health(study: Study, config: Config) -> Section:
    """Show which units are saturated or dead, and how signals and steps go."""
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
            label = HEALTH_MAPS[statistic].label
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
            *points(health_findings(study, config.report.confidence), "tables/health.csv"),
        ),
    )


def describe_theory(study: Study, config: Config) -> Section:
    """Compare mean-field theory with what untrained networks do."""
    ratios = layer_summaries.theory_ratios(study, config.report.confidence)
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
            *points(theory_findings(study, config.report.confidence), "theory.csv"),
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
    changes = layer_summaries.matched_changes(study, config.report.confidence)
    blocks: list[Text | Grid] = [
        *points(matched_findings(study, config.report.confidence), "tables/matched_changes.csv")
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


def shape(study: Study, network: str) -> str:
    """Write a network with its inputs and units: `mlp (784-128-64-10)`."""
    layers = where(study.layers, activation=study.activations[0], network=network)
    units = [*layers["inputs"].tolist()[:1], *layers["units"].tolist()]
    return f"{network} ({'-'.join(map(str, units))})"


def methods(config: Config) -> tuple[str, ...]:
    """Tell how new images, gradients and factors were measured."""
    return (
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
    )
