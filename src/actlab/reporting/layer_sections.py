"""The sections that only the pipeline has: data, activations, time, gradients, health, theory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from actlab.data.datasets import load_definition
from actlab.engine.csvs import where
from actlab.evidence import layer_summaries
from actlab.evidence.wording import counted, join, unbounded, written
from actlab.reporting.health_figures import HEALTH_MAPS
from actlab.reporting.layer_findings import dead_findings, first_layer_findings, theory_findings
from actlab.reporting.protocol import is_dense, list_extras, name_optimizer
from actlab.reporting.report import Block, Grid, Picture, Section, Text, points
from actlab.results.metadata import Description
from actlab.results.study import Study
from actlab.schema import Config


def describe_data(
    study: Study, class_counts: pd.DataFrame, config: Config, scaling: str, has_pictures: bool
) -> Section:
    """Describe the images and the networks.

    `scaling` says what was done to the images' values, `has_pictures` whether they were drawn.
    """
    counts: Any = class_counts.groupby("split", sort=False)["images"].sum()
    counts = counts.rename({"train": "training"})
    images = join(f"{count:,} {split} images" for split, count in counts.items())
    title, networks = load_definition(config.data.name).title, []
    for network in study.networks:
        layers = where(study.layers, activation=study.activations[0], network=network)
        units = "-".join(map(str, [layers["inputs"].iloc[0], *layers["units"]]))
        extras = "".join(f"; {extra}" for extra in list_extras(study, network))
        networks.append(f"{network} ({units}, {sum(layers['parameters']):,} parameters{extras})")
    kind = "Dense networks" if is_dense(study) else "Networks"
    text = f"{title}: {images}; {scaling}. {kind}: {join(networks)}."
    blocks: list[Block] = [Text((text,), data="data/class_counts.csv")]
    labels = "" if study.is_regression else " with their labels"
    if has_pictures:
        blocks.append(
            Picture(
                "data/sample_images.png",
                f"The first training images{labels}.",
                f"Ten images of {title}{labels}.",
            )
        )
    return Section("Data and networks", tuple(blocks))


def describe_activations(activations: Sequence[Description]) -> Section:
    """Show each activation function."""
    rows = []
    for activation in activations:
        constants = [f"{name} = {value}" for name, value in activation.shown_constants.items()]
        rows.append(
            (
                activation.name,
                ", ".join([activation.title, *constants]),
                str(activation.range),
                f"{activation.steepest_slope:.4g}",
                unbounded(activation.chi_1),
                activation.recommended_initializer,
                activation.source,
            )
        )
    return Section(
        "Activation functions",
        (
            Picture(
                "figures/activation_functions.png",
                "Each activation with its derivative, formula and range.",
                "Curves of value and derivative from -5 to 5 for each of"
                f" {join(activation.name for activation in activations)}.",
                "tables/activation_functions.csv",
            ),
            Grid(
                "χ: the factor by which a layer changes the gradient's variance, by mean-field"
                " theory, with the initializer used here (n/a: it overflows).",
                (
                    *("Activation", "Function", "Range", "Steepest slope", "χ"),
                    *("Recommended initializer", "Source"),
                ),
                tuple(rows),
                words=7,
                data="tables/mean_field.csv",
            ),
        ),
    )


def describe_time(study: Study, config: Config) -> Section:
    """Show how long epochs and single layers take."""
    low, median, high = np.quantile(study.blocks["load"], [0, 0.5, 1])
    blocks: list[Block] = [
        Picture(
            "figures/epoch_seconds.png",
            f"Time per epoch in {counted(len(set(study.blocks['block'])), 'process')}: in each,"
            " every activation trains in random order, one model on one thread, and the shortest"
            f" of {counted(config.timing.block_epochs, 'epoch')} counts. Load of the machine"
            f" meanwhile: median {written(median)}, {written(low)} to {written(high)}. The"
            " intervals cover other processes on this machine, not other machines.",
            "Time per epoch of every process, with median and middle half.",
            "tables/epoch_seconds.csv",
        )
    ]
    if len(study.kernels):
        blocks.append(_tabulate_kernels(study, config))
    return Section("Time", tuple(blocks))


def _tabulate_kernels(study: Study, config: Config) -> Grid:
    confidence = config.report.confidence
    rows = layer_summaries.kernel_times(study, confidence).to_dict("records")
    return Grid(
        f"One dense layer of {counted(config.timing.kernel_units, 'unit')} on a batch of"
        f" {config.training.batch_size}: geometric mean over"
        f" {counted(rows[0]['blocks'], 'process')}, and ratio to {study.activations[0]}."
        " Elementwise: the activation alone.",
        ("Operation", "Activation", "µs", "Ratio", f"{100 * confidence:g} % interval"),
        tuple(
            (
                row["operation"],
                row["activation"],
                written(1e6 * row["seconds"], 3),
                written(row["geometric_mean"], 3),
                f"{written(row['low'], 3)} to {written(row['high'], 3)}"
                if np.isfinite(row["low"])
                else "",
            )
            for row in rows
        ),
        words=2,
        data="tables/kernel_times.csv",
    )


def describe_gradients(study: Study, config: Config) -> Section:
    """Show the gradients of each layer, before, during and after training."""
    configurations = f"{join(study.activations)} on {join(study.networks)}"
    first = counted(config.gradients.notebook_images, "training image")
    images = counted(config.gradients.test_images, "test image")
    return Section(
        "Gradients",
        (
            Picture(
                "figures/gradient_first_layer.png",
                f"Mean absolute gradient of the first layer's weights on the first {first}, with"
                " geometric means over seeds. A larger gradient is not better learning: after"
                " training it is small where the loss is small.",
                "Mean absolute gradient of the first layer for every seed, with geometric mean.",
                "tables/gradient_first_layer.csv",
            ),
            *points(
                first_layer_findings(study, config.report.confidence),
                "tables/first_layer_ratios.csv",
            ),
            Picture(
                "figures/gradient_by_layer.png",
                f"Norm of each kernel's gradient before training, on {images}, from the layer next"
                " to the images (1) to the output, with arithmetic means over seeds. A line that"
                " falls to the left is a vanishing gradient.",
                f"Gradient norm by layer before training, a line for each of {configurations}.",
                "tables/gradient_by_layer.csv",
            ),
            Picture(
                "figures/gradient_through_training.png",
                "The same means through training.",
                f"Gradient norm by layer at each probed epoch, a panel for each of"
                f" {configurations}.",
                "tables/gradient_through_training.csv",
            ),
        ),
    )


def describe_health(study: Study, config: Config) -> Section:
    """Show which units are saturated or dead, and the size of signals and steps."""
    panels = f"by layer and epoch, a panel for each of {join(study.activations)}"
    captions = {
        "saturated_fraction": (
            "Saturation: unit-image pairs where the derivative is below"
            f" {100 * config.gradients.saturated_below:g} % of its maximum. Where an activation is"
            " flat on one side, as ReLU is, these are the units that are off."
        ),
        "dead_fraction": "Dead units: the derivative is exactly zero on every image.",
        "backprop_rms": (
            f"Backpropagated signal: root mean square of the derivative of the {study.loss.title}"
            " with respect to the pre-activations; geometric means. Unlike gradient norms it is"
            " comparable between layers of any shape."
        ),
        "update_ratio": (
            f"Size of a step: the change of a kernel in the next step of {name_optimizer(config)},"
            " divided by the kernel's norm; geometric means."
        ),
        "one_sign_batch_fraction": (
            "Gradients of one sign: units whose incoming weights all get a gradient of one sign."
        ),
    }
    hidden = len(study.preactivations) > 0
    images = counted(config.gradients.test_images, "test image")
    lead = f"Means over seeds on {images}, before training (0) and after the kept epochs."
    if not is_dense(study):
        lead += (
            " Pre-activations are what the activation is applied to, after a normalization before"
            " it; nothing is dropped, normalization uses its running statistics, and each place of"
            " a convolution counts as an image."
        )
    blocks: list[Block] = [Text((lead,))]
    blocks += [
        Picture(
            f"figures/health_{statistic}.png",
            caption,
            f"{HEALTH_MAPS[statistic].label}, {panels}.",
            f"tables/health_{statistic}.csv",
        )
        for statistic, caption in captions.items()
        if hidden or statistic not in ("saturated_fraction", "dead_fraction")
    ]
    if hidden:
        blocks.append(
            Picture(
                "figures/preactivations.png",
                "Pre-activations of each hidden layer over all seeds, units and images, before and"
                " after training, each scaled to its peak; in grey the activation (right axis).",
                f"Distributions of pre-activations {panels}.",
                "tables/preactivations.csv",
            )
        )
    found = dead_findings(study, config.report.confidence)
    return Section("Health of the networks", (*blocks, *points(found, "tables/dead_units.csv")))


def describe_theory(study: Study, config: Config) -> Section:
    """Compare mean-field theory with untrained networks."""
    theory, others = config.theory, ""
    if not is_dense(study):
        others = " It is of plain dense layers: it does not describe what else the networks have."
    return Section(
        "Theory and measurement",
        (
            Picture(
                "figures/theory.png",
                "Mean-field theory (Poole et al. 2016, Schoenholz et al. 2017) predicts the factor"
                " by which a layer changes the variance of pre-activations (going up) and of their"
                f" gradient (going back). Measured: {counted(len(theory.seeds), 'network')} of"
                f" {counted(theory.depth, 'layer')} of {counted(theory.width, 'unit')} before"
                f" training, on {counted(theory.images, 'test image')}. The band was fixed"
                " beforehand: four standard deviations of such networks, and an allowance of order"
                f" 1 / width.{others}",
                "Predicted and measured ratios of variances by layer, for each of"
                f" {join(study.activations)}.",
                "tables/theory.csv",
            ),
            *points(theory_findings(study, config.report.confidence), "theory.csv"),
        ),
    )
