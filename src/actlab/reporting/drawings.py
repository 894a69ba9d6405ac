"""A study -> its figures, each as what draws it and the table that it shows."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from actlab.engine.csvs import where
from actlab.evidence import layer_summaries, summaries
from actlab.evidence.comparisons import METRICS, primary_metric
from actlab.evidence.wording import capitalise
from actlab.reporting import (
    activation_figures,
    figures,
    health_figures,
    layer_figures,
    response_figures,
)
from actlab.reporting.figures import MOST_PANELS, MOST_ROWS
from actlab.results.metadata import Description, join_curves
from actlab.results.study import ACTIVATION, NETWORK, Study, numbers


class Drawing(NamedTuple):
    """A figure to draw, in this process or another, and the table that it shows."""

    plot: Callable[[], Figure]
    table: pd.DataFrame

    @classmethod
    def of(cls, plot: Callable[..., Figure], table: pd.DataFrame, *others: Any) -> "Drawing":
        """Make the drawing of a table by `plot`, which takes `others` too."""
        return cls(partial(plot, table, *others), table)


def draw(study: Study, activations: Sequence[Description], confidence: float) -> dict[str, Drawing]:
    """Give the figures of what the study has measured, by name; a sweep has no `activations`."""
    drawings: dict[str, Drawing] = {}
    if activations:
        drawings["activation_functions"] = Drawing.of(
            activation_figures.plot_activation_functions, join_curves(activations), activations
        )
    if len(study.history):
        for metric, look in choose_curves(study).items():
            curves = summaries.learning_curves(study, metric, confidence)
            drawings[f"{metric}_curves"] = Drawing.of(
                figures.plot_learning_curves, curves, study.keys, confidence, *look
            )
    drawings[primary_metric(study)] = _draw_tests(study, confidence)
    if len(study.noise):
        noise = summaries.tabulate_noise(study, confidence)
        others = ([*study.keys, "noise"], METRICS[primary_metric(study)], "noise")
        drawings["noise"] = Drawing.of(response_figures.plot_response, noise, *others)
    if study.is_fair:
        tuning = summaries.tabulate_tuning(study)
        if len(tuning):
            others = (tuning, study.tuned_for, summaries.NEAR_BEST)
            drawings["tuning"] = Drawing.of(response_figures.plot_tuning, study.grid, *others)
    if len(study.blocks):
        drawings["epoch_seconds"] = Drawing.of(figures.plot_epoch_seconds, study.blocks)
    if len(study.gradients):
        first_layer = layer_summaries.first_layer_gradients(study, confidence)
        by_layer = layer_summaries.gradients_by_layer(study, confidence)
        drawings |= {
            "gradient_first_layer": Drawing.of(
                layer_figures.plot_first_layer_gradients, first_layer, confidence
            ),
            "gradient_by_layer": Drawing.of(
                layer_figures.plot_gradients_by_layer, where(by_layer, epoch=0)
            ),
            "gradient_through_training": Drawing.of(
                layer_figures.plot_gradients_through_training, by_layer
            ),
        }
        health = layer_summaries.layer_health(study, confidence)
        for statistic in health_figures.HEALTH_MAPS:
            rows = where(health, statistic=statistic)
            if len(rows):  # a network without hidden layers has no units that could be dead
                drawings[f"health_{statistic}"] = Drawing.of(health_figures.plot_health_map, rows)
    if len(study.preactivations):
        drawings["preactivations"] = Drawing.of(
            health_figures.plot_preactivations, study.preactivations, activations
        )
    if len(study.theory_ratios):
        ratios = layer_summaries.theory_ratios(study, confidence)
        steps = cast(pd.DataFrame, ratios[ratios["layer"] != "all"])
        drawings["theory"] = Drawing.of(layer_figures.plot_theory, steps, confidence)
    return drawings


def title_loss(study: Study) -> str:
    """Write the title of an axis of losses."""
    return capitalise(study.loss.title) + (f" ({study.loss.unit})" if study.loss.unit else "")


def choose_curves(study: Study) -> dict[str, tuple[Any, ...]]:
    """Choose the metrics that have curves, with the last arguments of `plot_learning_curves`."""
    looks = {"accuracy": ("Accuracy (%)", 100), "loss": (title_loss(study), 1, True)}
    return {name: look for name, look in looks.items() if name == "loss" or not study.is_regression}


def draw_differences(study: Study, compared: pd.DataFrame, confidence: float) -> Drawing | None:
    """Give the figure of differences of test accuracy; None where none, or too many, are compared.

    Where activations are compared, it shows their pairs alone.
    """
    table = where(compared, metric="test_accuracy")
    if not study.is_fair and ACTIVATION in set(table["key"]):
        table = where(table, key=ACTIVATION)
    if len(study.seeds) < 2 or not np.isfinite(table["low"].to_numpy(dtype=float)).any():
        return None
    panels = figures.part_differences(table, study.keys)
    if len(panels) > MOST_PANELS or max(map(len, panels.values())) > MOST_ROWS:
        return None
    return Drawing.of(figures.plot_differences, table, study.keys, confidence)


def swept_keys(study: Study) -> list[str]:
    """Select the keys along which test results are drawn as a response: one, two, or none.

    Of up to two keys besides the activation it is the numeric one, or else both.
    """
    others = [key for key in study.others if len(study.values(key)) > 1]
    if study.is_fair or len(others) > 2:
        return []
    numeric = [
        key
        for key in others
        if key != NETWORK and len(study.values(key)) > 2 and numbers(study.values(key))
    ]
    if len(numeric) == 1:
        return numeric
    return others if len(others) == 2 else []


def _draw_tests(study: Study, confidence: float) -> Drawing:
    tests, metric = summaries.tabulate_tests(study, confidence), METRICS[primary_metric(study)]
    along = swept_keys(study)
    if len(along) == 1:
        return Drawing.of(response_figures.plot_response, tests, study.keys, metric, along[0])
    if along:
        # The key with more values goes from left to right.
        x, y = sorted(along, key=lambda key: -len(study.values(key)))
        return Drawing.of(response_figures.plot_heat, tests, study.keys, metric, x, y)
    return Drawing.of(figures.plot_tests, tests, study.keys, metric, confidence)
