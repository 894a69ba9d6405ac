"""The section on mean-field theory and initializers."""

import math
from collections.abc import Mapping
from typing import Any

from actlab.engine.csvs import where
from actlab.evidence import layer_summaries
from actlab.evidence.wording import counted, unbounded, written
from actlab.reporting.report import Grid, Picture, Section, Text, points
from actlab.reporting.theory_findings import theory_findings
from actlab.results.study import Study
from actlab.schema import Config

#: How wide a band about a prediction is (`theory.BAND_DEVIATIONS`).
_BAND = "four standard deviations of the mean"


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
                    f" {_BAND} of such networks, by the same theory, and an allowance of the order"
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
                "Per layer, as geometric means over all layers. The initializer recommended stands"
                " for the one that the activation's literature recommends; all layers are in"
                " theory.csv.",
                ("Activation", "Initializer", "Signal", "Predicted", "Band", "Measured", "Agree"),
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
                ("Activation", "Initializer", "σ²", "E[φ²]", "E[φ'²]", "q", "χ", "ξ"),
                tuple(
                    (
                        row["activation"],
                        _named(row),
                        *(
                            unbounded(row[column])
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
    """Name an initializer, and what it stands for."""
    name, kernel = row["initializer"], row["kernel_initializer"]
    return name if name == kernel else f"{name} ({kernel})"
