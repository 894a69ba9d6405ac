"""The sections of a report that the pipeline alone has: data, layers, gradients, health, theory."""

import math
from collections.abc import Sequence

import pandas as pd

from actlab.activations.config import ActivationConfig
from actlab.data.datasets import DATASETS
from actlab.engine.csvs import where
from actlab.evidence import layer_summaries
from actlab.evidence.wording import counted, join, unbounded, written
from actlab.models.config import RECOMMENDED
from actlab.reporting.health_figures import HEALTH_MAPS
from actlab.reporting.layer_findings import depth_findings, first_layer_findings, health_findings
from actlab.reporting.report import Grid, Picture, Section, Text, points
from actlab.results.metadata import Description
from actlab.results.study import Study
from actlab.schema import Config

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
        "it is used"
        if kernel_initializer == RECOMMENDED
        else f"{kernel_initializer} is used for all"
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
                unbounded(each.chi_1),
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
                " a layer of the gradient's variance, by mean-field theory, with the initializer"
                " used here, in a deep network of one width. The recommended initializer"
                f" (here {used}) is that of the"
                " activation's literature or, where that names none, the one with χ next to 1."
                + (f" Theory has no number for {join(untold)}: it overflows." if untold else ""),
                (
                    "Activation",
                    "Function",
                    "Range",
                    "Steepest slope",
                    "χ",
                    "Recommended initializer",
                    "Source",
                ),
                tuple(rows),
                words=7,
            ),
        ),
    )


def describe_networks(study: Study, recommended: bool) -> Section:
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
                    f" {'with one initializer ' if recommended else ''}start from the same weights,"
                    " and all see the same batches in the same order.",
                )
            ),
            *blocks,
        ),
    )


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
                f"Measured on {images}, held out from training, at initialization (0) and after"
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
