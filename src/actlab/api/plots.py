"""Figures of what was fitted and probed."""

import io
import math
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
from pydantic import Field

from actlab.activations.config import ActivationConfig
from actlab.api.arguments import Named, require, resolve_activations
from actlab.api.data import Data
from actlab.api.fitting import DATA, FITTED, Curve, Fit
from actlab.engine.csvs import where
from actlab.engine.validation import Count, Fraction, one_of, validate
from actlab.errors import UserError
from actlab.evidence.statistics import geometric_interval, share_interval
from actlab.evidence.summaries import learning_curves, over_seeds
from actlab.results import tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actlab.results.metadata import Description
else:  # importing Matplotlib takes a second
    Description = Figure = Any


def plot_images(data: Data, count: int = 10) -> Figure:
    """Plot the first training images, each titled with its class."""
    from actlab.reporting.activation_figures import as_pictures, plot_sample_images

    require(data, Data, "data", DATA)
    validate(Annotated[Count, Field(le=len(data.train.labels))], count, "count")
    side = math.isqrt(math.prod(data.shape))
    is_square = len(data.shape) == 1 and side**2 == data.shape[0]
    shape = (side, side) if is_square else data.shape
    images = as_pictures(data.train.images[:count], shape)
    if images is None:
        raise UserError(f"images are of shape {shape}: it has to be (rows, columns)")
    return _shown(plot_sample_images(images, data.train.labels[:count], data.classes))


def plot_functions(*activations: Named) -> Figure:
    """Plot each activation and its derivative, with formula and range."""
    from actlab.reporting.activation_figures import plot_activation_functions
    from actlab.results.metadata import join_curves

    described = [_describe(chosen) for chosen in resolve_activations(activations).values()]
    return _shown(plot_activation_functions(join_curves(described), described))


def _describe(activation: ActivationConfig) -> Description:
    """Describe an activation for a figure, without theory."""
    from actlab.activations.functions import check, get_activation, nonlinearity_of
    from actlab.results.metadata import describe

    if activation.is_own:
        check(activation)
    row, phi = get_activation(activation), nonlinearity_of(activation)
    without_theory = (math.nan, math.nan)
    return describe(activation, row, phi, without_theory, row.recommended_initializer, math.nan)


def plot_curves(fitted: Fit, metric: Curve = "accuracy", confidence: float = 0.95) -> Figure:
    """Plot accuracy or loss by epoch for every seed, with the interval of the mean over seeds.

    Left: training images. Right: the images held out, or the test images where none are.
    """
    require(fitted, Fit, "fitted", FITTED)
    validate(Curve, metric, "metric")
    validate(Fraction, confidence, "confidence")
    from actlab.reporting.drawings import choose_curves
    from actlab.reporting.figures import plot_learning_curves

    study = fitted.study()
    if metric not in (looks := choose_curves(study)):
        raise UserError('a regression has no accuracy: plot_curves(fitted, "loss")')
    curves = learning_curves(study, metric, confidence)
    return _shown(plot_learning_curves(curves, study.keys, confidence, *looks[metric]))


def plot_gradients(probed: pd.DataFrame, epoch: int = 0) -> Figure:
    """Plot the norm of each kernel's gradient by layer for every seed, with the mean.

    `probed` is the result of `probe`, `epoch` one of its epochs; 0 is before training.
    """
    from actlab.reporting.layer_figures import plot_gradients_by_layer

    _require_probed(probed)
    validate(Annotated[Any, one_of(sorted(set(probed["epoch"])))], epoch, "epoch")
    keys = ["activation", "network", "epoch", "layer"]
    rows = where(probed, epoch=epoch)
    return _shown(plot_gradients_by_layer(over_seeds(rows, keys, "gradient_norm", 0.95)))


def plot_health(probed: pd.DataFrame, statistic: str = "dead_fraction") -> Figure:
    """Plot a statistic of each layer at each probed epoch, averaged over seeds, as a map.

    `probed` is the result of `probe`, `statistic` one of dead_fraction, saturated_fraction,
    one_sign_batch_fraction and backprop_rms.
    """
    from actlab.reporting.health_figures import HEALTH_MAPS, plot_health_map

    _require_probed(probed)
    known = [name for name in HEALTH_MAPS if name in tables.HEALTH]
    validate(Annotated[str, one_of(known)], statistic, "statistic")
    rows = probed.assign(statistic=statistic)
    if not HEALTH_MAPS[statistic].share:
        interval = geometric_interval
    else:
        # The output has no activation, and so no share.
        interval, rows = share_interval, rows.dropna(subset=[statistic])
    if rows.empty:
        raise UserError(f"there is no {statistic} of a network without hidden layers")
    keys = ["activation", "network", "statistic", "epoch", "layer"]
    return _shown(plot_health_map(over_seeds(rows, keys, statistic, 0.95, interval)))


def _require_probed(probed: Any) -> None:
    allowed = "the result of actlab.probe"
    require(probed, pd.DataFrame, "probed", allowed)
    if "gradient_norm" not in probed:
        raise UserError(f"probed has no column gradient_norm: it has to be {allowed}")


def _shown(figure: Figure) -> Figure:
    """Let a notebook display a figure, which pyplot does not manage."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def as_png() -> bytes:
        drawn = io.BytesIO()
        FigureCanvasAgg(figure).print_png(drawn, metadata={"Software": None})
        return drawn.getvalue()

    figure._repr_png_ = as_png  # pyright: ignore[reportAttributeAccessIssue]
    return figure
