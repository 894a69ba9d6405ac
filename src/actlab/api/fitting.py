"""Networks built, trained over seeds, and probed."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from actlab.activations.config import ActivationConfig
from actlab.api.arguments import (
    Named,
    require,
    resolve_activation,
    resolve_activations,
    resolve_network,
    resolve_optimizer,
    specify,
    specify_model,
)
from actlab.api.data import Data
from actlab.data.splits import first_images
from actlab.engine.csvs import where
from actlab.engine.progress import REMEDY, choose, describe_divergence, shown
from actlab.engine.validation import Count, Fraction, Seed, Seeds, validate
from actlab.errors import UserError
from actlab.evidence.comparisons import diverged_seeds
from actlab.evidence.statistics import mean_interval, share_interval
from actlab.evidence.summaries import over_seeds
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.results import layout, tables
from actlab.results.study import ACTIVATION, NETWORK, Study, describe_row
from actlab.training.config import OptimizerConfig, TrainingConfig

if TYPE_CHECKING:
    from actlab.backend import keras
    from actlab.models.network import ModelSpec

    Model = keras.Model
else:  # importing TensorFlow takes seconds
    ModelSpec = Model = Any

Curve = Literal["accuracy", "loss"]

#: What an argument has to be.
DATA = "the result of actlab.from_arrays(X, y) or actlab.load_data(name)"
FITTED = "the result of actlab.fit"

TestMetric = Literal["test_accuracy", "test_loss"]

#: Columns of `probe` by their names in `gradients.STATISTICS`.
GRADIENT = {
    "mean_abs": "gradient_mean_abs",
    "l2_norm": "gradient_norm",
    "relative_norm": "gradient_relative_norm",
}


def build(
    activation: Named,
    hidden: Sequence[int] | str = (128, 64),
    *,
    seed: int = 0,
    initializer: str | InitializerConfig = "glorot_uniform",
    inputs: int | Sequence[int] = 784,
    classes: int = 10,
    **network: Any,
) -> Model:
    """Build an untrained network: images (n, inputs) -> logits (n, classes).

    Networks of one seed that differ only in their activation start from the same weights.

    Parameters
    ----------
    activation
        Of every hidden layer: a function's name, or the result of `actlab.activation`.
    hidden
        Units of the hidden layers, or `8x64` for eight layers of 64.
    initializer
        The name of a file in `conf/initializer/`, such as `he_uniform`, or `recommended`: the one
        recommended in the activation's literature; or the result of `actlab.initializer`.
    inputs
        Pixels of an image, or for convolutions its shape, such as (28, 28).
    **network
        Keys of `actlab.models.config.NetworkConfig`, such as dropout.

    Raises
    ------
    UserError
        If a value is not allowed.

    Examples
    --------
    >>> build("relu", [128, 64]).count_params()
    109386
    """
    spec = specify_model(
        resolve_activation(activation),
        resolve_network(hidden, network),
        initializer,
        inputs,
        classes,
    )
    from actlab.models.network import build_model

    return build_model(spec, validate(Seed, seed, "seed"))


@dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """Trained networks: one per activation and seed, all else equal.

    Attributes
    ----------
    activations
        By name, in the order given.
    network
        The hidden layers.
    history
        One row per epoch and seed: activation, network, seed, epoch (from 1), loss (nats) and
        accuracy (a fraction) over the epoch, val_loss and val_accuracy after it (on the images
        held out, or on the test images where none are), epoch_seconds.
    test
        One row per seed: activation, network, seed, test_loss (nats), test_accuracy (a fraction).
    noise
        One row per seed and bound of the noise on the test images: activation, network, seed,
        noise, test_loss, test_accuracy.
    """

    activations: Mapping[str, ActivationConfig]
    network: NetworkConfig
    seeds: tuple[int, ...]
    epochs: int
    history: pd.DataFrame
    test: pd.DataFrame
    _specs: Mapping[str, ModelSpec]
    _weights: Mapping[tuple[str, int, int], list[np.ndarray]]
    noise: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __repr__(self) -> str:
        return (
            f"{', '.join(self.activations)} on {self.network.name}: seeds"
            f" {', '.join(map(str, self.seeds))}, {self.epochs} epochs"
        )

    def study(self) -> Study:
        """Return the tables as a study, for the functions that take one."""
        rows = [
            describe_row(
                self.network.name, name, {"activation": activation, "network": self.network}
            )
            for name, activation in self.activations.items()
        ]
        return Study(
            keys=(NETWORK, ACTIVATION),
            configurations=pd.DataFrame(rows).assign(**{"training.epochs": str(self.epochs)}),
            test=self.test,
            history=self.history,
            noise=self.noise,
        )

    def kept_epochs(self) -> list[int]:
        """Return the epochs after which weights were kept; 0 is before training."""
        return sorted({epoch for _, _, epoch in self._weights})

    def model(self, activation: str, seed: int, epoch: int | None = None) -> Model:
        """Return a trained network: images (n, pixels) -> logits (n, classes).

        `activation` is its name, `epoch` one of `kept_epochs`, by default the last.

        Raises
        ------
        UserError
            If there is no such network.
        """
        from actlab.models.network import build_model

        key = (activation, seed, self.epochs if epoch is None else epoch)
        if key not in list(self._weights):  # also what has no hash
            raise UserError(
                f"there is no {activation} of seed {seed} after epoch {key[-1]}: there are"
                f" {', '.join(self.activations)}, the seeds {', '.join(map(str, self.seeds))} and"
                f" the epochs {', '.join(map(str, self.kept_epochs()))}"
            )
        model = build_model(self._specs[activation], seed)
        model.set_weights(self._weights[key])
        return model

    def summarise(self, metric: TestMetric | None = None, confidence: float = 0.95) -> pd.DataFrame:
        """Return one row per activation: mean, sd and interval over seeds.

        By default of test_accuracy; of test_loss in a regression, which has no accuracy. Columns
        are activation, network, diverged_seeds (how many have a loss that is not finite;
        the mean counts what their networks predict), mean, sd, low, high (Student's t interval of
        the mean; of accuracies on the scale of log-odds, so that it stays in 0 to 1), then one per
        seed.
        """
        study = self.study()
        if metric is None:
            metric = "test_loss" if study.is_regression else "test_accuracy"
        validate(TestMetric, metric, "metric")
        validate(Fraction, confidence, "confidence")
        find_interval = share_interval if metric == "test_accuracy" else mean_interval
        table = over_seeds(self.test, ["activation", "network"], metric, confidence, find_interval)
        diverged = diverged_seeds(study)
        counts = [len(diverged.get((self.network.name, name), ())) for name in table["activation"]]
        table.insert(2, "diverged_seeds", counts)
        return table


def fit(
    activations: Named | Sequence[Named],
    data: Data,
    hidden: Sequence[int] | str = (128, 64),
    *,
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 5,
    batch_size: int = 128,
    optimizer: str | OptimizerConfig = "adam",
    learning_rate: float | None = None,
    initializer: str | InitializerConfig = "glorot_uniform",
    probe_epochs: Sequence[int] = (),
    steps: int | None = None,
    monitor: str = "val_loss",
    patience: int | None = None,
    min_delta: float = 0.0,
    tested: str = "last",
    train_metrics: str = "running",
    test_noise: Sequence[float] = (),
    progress: bool = True,
    **network: Any,
) -> Fit:
    """Train each activation over the same seeds, with the pipeline's compiled trainer.

    Within a seed, every activation starts from the same weights and sees the same batches in the
    same order, so differences can be paired.

    Parameters
    ----------
    activations
        One or a list: names such as relu, with the constants of `conf/activation/`, or results of
        `actlab.activation`.
    data
        Result of `load_data` or `from_arrays`.
    hidden, initializer
        As in `build`.
    seeds
        One network is trained per seed, which decides its initial weights, the order of its batches
        and its dropout.
    batch_size
        Images per step; the last step of an epoch takes the remainder.
    optimizer
        The name of a file in `conf/optimizer/`, such as `sgd`, or the result of `actlab.optimizer`.
    learning_rate
        In place of the optimizer's own.
    probe_epochs
        Epochs after which weights are kept for `probe`, in addition to those before the first and
        after the last.
    steps, monitor, patience, min_delta, tested, train_metrics, test_noise
        When training ends before `epochs`, which weights are tested, how training is measured, and
        noise on the test images: see `actlab.training.config.TrainingConfig`.
    progress
        Whether a bar per activation is shown on a terminal, or about five lines elsewhere.
    **network
        Keys of `actlab.models.config.NetworkConfig`: dropout, alpha_dropout, batch_norm,
        layer_norm, l1, l2, skip, activations, conv, pool, outputs.

    Raises
    ------
    UserError
        If a value is not allowed, or two activations share a name.

    Warns
    -----
    RuntimeWarning
        If a seed diverges: which, and in which epoch.
    """
    chosen = resolve_activations(activations)
    require(data, Data, "data", DATA)
    shared, distinct = resolve_network(hidden, network), tuple(validate(Seeds, seeds, "seeds"))
    training = TrainingConfig(
        epochs,
        batch_size,
        cast(list, probe_epochs),
        steps,
        monitor,
        patience,
        min_delta,
        tested,
        train_metrics,
        cast(list, test_noise),
    )
    held_out = len(data.validation.labels) if data.validation else 0
    training.check_monitor(held_out, shared.outputs)
    chosen_optimizer = resolve_optimizer(optimizer, learning_rate)
    specs = {name: specify(each, shared, initializer, data) for name, each in chosen.items()}
    from actlab.activations.functions import check
    from actlab.training.trainer import Epoch, Protocol, fit_seeds

    for activation in [*chosen.values(), *filter(None, shared.activations)]:
        if activation.is_own:
            check(activation)
    protocol = Protocol(training, chosen_optimizer)
    columns = ([*layout.HISTORY, "epoch_seconds"], list(layout.TEST))
    rows: tuple[list[tuple], list[tuple]] = ([], [])
    weights, noise = {}, []
    for name, spec in specs.items():

        def keep(seed: int, epoch: int, model: Any, next_step: Any, name: str = name) -> None:
            weights[name, seed, epoch] = model.get_weights()

        watched, events = data.validation or data.test, []
        bar = shown(name, len(distinct) * training.epochs, lines=max(1, 5 // len(specs)))
        with bar if progress else nullcontext() as advance:
            for event in fit_seeds(spec, distinct, data.train, watched, data.test, protocol, keep):
                events.append(event)
                if advance and isinstance(event, Epoch):
                    advance(**choose(event.loss, event.val_loss, event.val_accuracy))
        of_epochs = [event for event in events if isinstance(event, Epoch)]
        of_seeds = [event for event in events if not isinstance(event, Epoch)]
        for table, found, names in zip(rows, (of_epochs, of_seeds), columns, strict=True):
            table += [(name, shared.name, *row) for row in sorted(map(attrgetter(*names), found))]
        noise += [(name, shared.name, each.seed, *row) for each in of_seeds for row in each.noise]
    tables = [*rows, sorted(noise, key=lambda row: (list(specs).index(row[0]), *row[2:4]))]
    history, test, noisy = (
        pd.DataFrame(table, columns=["activation", "network", *names])
        for table, names in zip(tables, (*columns, list(layout.NOISE)), strict=True)
    )
    fitted = Fit(chosen, shared, distinct, training.epochs, history, test, specs, weights, noisy)
    for line in _describe_divergences(fitted):
        warnings.warn(line, RuntimeWarning, stacklevel=2)
    return fitted


def _describe_divergences(fitted: Fit) -> Iterator[str]:
    """Write a line for each activation of which a seed diverged."""
    for name in fitted.activations:
        history, test = (where(table, activation=name) for table in (fitted.history, fitted.test))
        if lost := layout.find_divergences(history, test):
            yield f"{name}: {describe_divergence(lost, len(fitted.seeds))}; {REMEDY}"


def probe(
    fitted: Fit, data: Data, *, images: int = 2048, saturated_below: float = 0.05
) -> pd.DataFrame:
    """Measure the gradients of every layer and the state of its units at each kept epoch.

    Parameters
    ----------
    fitted
        Result of `fit`.
    data
        The one that was fitted; its first `images` test images are the batch, or all if there are
        fewer.
    saturated_below
        A unit is saturated on an image if |phi'| is below this fraction of its maximum.

    Returns
    -------
    pd.DataFrame
        One row per layer, seed and epoch: activation, network, seed, epoch, layer, then

        - gradient_mean_abs, gradient_norm, gradient_relative_norm: mean absolute entry and
          Euclidean norm of the kernel's gradient, and that norm divided by the kernel's norm;
        - the statistics of `actlab.probes.gradients.summarise_health`: backprop_rms,
          dead_fraction (units with phi' = 0 on every image), saturated_fraction and others; NaN
          where the output layer has none.

    Raises
    ------
    UserError
        If the data set has other inputs or classes, or a value is not allowed.
    """
    require(fitted, Fit, "fitted", FITTED)
    require(data, Data, "data", DATA)
    shape = (data.test.images.shape[1], len(data.classes))
    for spec in fitted._specs.values():
        if shape != (spec.inputs, spec.classes):
            raise UserError(
                f"data has {shape[0]} pixels and {shape[1]} classes, the fitted networks take"
                f" {spec.inputs} and give {spec.classes}: probe them with the data that was fitted"
            )
    validate(Count, images, "images")
    validate(Fraction, saturated_below, "saturated_below")
    from actlab.probes.gradients import STATISTICS, compile_pass, summarise_passes

    batch = first_images(data.test, images)
    rows: dict[tuple[str, str, int, int, str], dict[str, float]] = {}
    for name in fitted.activations:
        model, spec = fitted.model(name, fitted.seeds[0]), fitted._specs[name]
        run_pass = compile_pass(model, spec.network.outputs)
        for seed in fitted.seeds:
            for epoch in fitted.kept_epochs():
                model.set_weights(fitted._weights[name, seed, epoch])
                for layer, statistic, value in summarise_passes(
                    model, run_pass(batch), spec, saturated_below
                ):
                    key = (name, fitted.network.name, seed, epoch, layer)
                    column = GRADIENT.get(statistic, statistic)
                    rows.setdefault(key, {})[column] = value
    columns = [GRADIENT[name] for name in STATISTICS] + list(tables.HEALTH)
    table = pd.DataFrame(list(rows), columns=["activation", "network", "seed", "epoch", "layer"])
    return pd.concat([table, pd.DataFrame(list(rows.values()), columns=columns)], axis=1)
