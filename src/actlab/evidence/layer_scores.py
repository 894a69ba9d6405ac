"""The layers of a study -> scores: one value per configuration and seed, as claims need them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from actlab.engine.csvs import where
from actlab.results.study import ACTIVATION, NETWORK, Study

_BY_SEED = [NETWORK, ACTIVATION, "seed"]


class Moment(NamedTuple):
    """When the first layer's gradient is taken: in words, probe, kept epochs, what is measured."""

    words: str
    probe: str
    is_kept: Callable[[int, int], bool]
    measured: str


#: By the ending of a metric's name, `gradient_<moment>`.
MOMENTS = {
    # The images of the notebook are learned by heart after training: what is left of their gradient
    # varies over seeds by factors of ten.
    "after_on_test_images": Moment(
        "after training, on test images",
        "test",
        lambda epoch, last: epoch == last,
        "Mean absolute entry of the first layer's gradient, of the trained networks as in the"
        " notebook, on test images",
    ),
    "after": Moment(
        "after training",
        "notebook",
        lambda epoch, last: epoch == last,
        "The notebook's own measure: the same on its first training images",
    ),
    "before": Moment(
        "before training",
        "notebook",
        lambda epoch, last: epoch == 0,
        "The same mean absolute entry, of the networks before training",
    ),
    "through": Moment(
        "through training",
        "notebook",
        lambda epoch, last: epoch > 0,
        "The same mean absolute entry, the geometric mean over the kept epochs after the first step"
        " of training",
    ),
    "through_on_test_images": Moment(
        "through training, on test images",
        "test",
        lambda epoch, last: epoch > 0,
        "The same mean over the kept epochs, of the gradient on test images",
    ),
}

#: The factor by which a layer divides the backpropagated signal before training, from the last
#: hidden layer to the first; the share of dead hidden units before and after training; the share of
#: units with gradients of one sign, in layers that read hidden units, the mean of the kept epochs.
DIVIDED_BY, DEAD_BEFORE, DEAD_AFTER, ONE_SIGN = (
    *("gradient_divided_by", "dead_before", "dead_after"),
    "one_sign_share",
)

#: Every metric of `measure_layers`.
LAYER_METRICS = (
    *(f"gradient_{when}" for when in MOMENTS),
    DIVIDED_BY,
    DEAD_BEFORE,
    DEAD_AFTER,
    ONE_SIGN,
)


def measure_layers(study: Study) -> pd.DataFrame:
    """Reduce the gradients of a study to network, activation, metric, seed, value.

    `metric` is one of `LAYER_METRICS`. A value is NaN where one of those that it is made of is.
    """
    tables, last = [], study.epochs
    epochs = sorted(set(study.gradients["epoch"]))
    first = {network: study.layers_of(network)[0] for network in study.networks}
    places = [first[network] for network in study.gradients[NETWORK]]
    firsts = cast(pd.DataFrame, study.gradients[study.gradients["layer"] == places])
    for when, moment in MOMENTS.items():
        kept = [epoch for epoch in epochs if moment.is_kept(epoch, last)]
        rows = where(firsts, probe=moment.probe, statistic="mean_abs", epoch=kept)
        tables.append(_reduce(rows, f"gradient_{when}", _geometric_mean))
    on_test = where(study.gradients, probe="test")
    for network in study.networks:
        rows = where(on_test, network=network)
        hidden = study.layers_of(network)[:-1]
        if len(hidden) > 1:
            tables.append(_divide_ends(where(rows, statistic="backprop_rms", epoch=0), hidden))
        if hidden:
            units: Any = where(study.layers, network=network).drop_duplicates("layer")
            units = units.set_index("layer")["units"]
            dead = where(rows, statistic="dead_fraction")
            for metric, epoch in ((DEAD_BEFORE, 0), (DEAD_AFTER, last)):
                tables.append(_weigh(where(dead, epoch=epoch), hidden, units, metric))
            shares = where(rows, statistic="one_sign_batch_fraction")
            reading = study.layers_of(network)[1:]
            by_epoch = [
                _weigh(where(shares, epoch=epoch), reading, units, ONE_SIGN) for epoch in epochs
            ]
            tables.append(_reduce(pd.concat(by_epoch), ONE_SIGN, np.mean))
    return pd.concat(tables, ignore_index=True).loc[:, [*_BY_SEED[:2], "metric", "seed", "value"]]


def _reduce(rows: pd.DataFrame, metric: str, average: Callable[[np.ndarray], Any]) -> pd.DataFrame:
    """Average the values of each configuration and seed; NaN where one of them is."""
    groups: Any = rows.groupby(_BY_SEED, sort=False)["value"]
    reduced = groups.agg(lambda values: float(average(values.to_numpy(dtype=float))))
    return reduced.reset_index().assign(metric=metric)


def _geometric_mean(values: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.exp(np.log(values).mean()))


def _widen(rows: pd.DataFrame) -> Any:
    """Bring rows to one per configuration and seed, one column per layer."""
    return rows.pivot(index=_BY_SEED, columns="layer", values="value").astype(float)  # noqa: PD010


def _divide_ends(rows: pd.DataFrame, hidden: Sequence[str]) -> pd.DataFrame:
    wide = _widen(rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = (wide[hidden[-1]] / wide[hidden[0]]) ** (1 / (len(hidden) - 1))
    return factors.rename("value").reset_index().assign(metric=DIVIDED_BY)


def _weigh(rows: pd.DataFrame, layers: Sequence[str], units: Any, metric: str) -> pd.DataFrame:
    """Average the shares of layers by their units; layers without any gradient are left out."""
    wide = _widen(rows)[list(layers)]
    sizes = units[list(layers)].to_numpy()
    counted = wide.notna() if metric == ONE_SIGN else wide.notna() | True
    summed = (wide * sizes).sum(axis=1, skipna=metric == ONE_SIGN)
    shares = summed / (counted * sizes).sum(axis=1)
    return shares.rename("value").reset_index().assign(metric=metric)
