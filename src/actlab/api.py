"""The functions of `import actlab`, for notebooks: load, build, fit, probe, compare, plot.

Each function validates its arguments, calls the same core as the pipeline, and returns a table, a
model or a figure. Only a data set that is downloaded is written to disk.
"""

import io
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from actlab.activations.config import ActivationConfig
from actlab.data import download
from actlab.data.config import DataConfig
from actlab.data.datasets import (
    DATASETS,
    RawSplit,
    Split,
    build_splits,
    explain_mismatch,
    first_images,
    parse_idx,
)
from actlab.engine.validation import Count, Fraction, Positive, Seed, Seeds, one_of, validate
from actlab.errors import UserError
from actlab.evidence import comparisons
from actlab.evidence.config import ReportConfig
from actlab.evidence.statistics import geometric_interval, mean_interval
from actlab.evidence.summaries import learning_curves, over_seeds
from actlab.models.config import ModelConfig, NetworkConfig
from actlab.results import tables
from actlab.results.study import ACTIVATION, NETWORK, Study
from actlab.results.tables import where
from actlab.training.config import TrainingConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actlab.backend import keras
    from actlab.models.network import ModelSpec
    from actlab.results.metadata import Description
    from actlab.training.trainer import Protocol

    Model = keras.Sequential
else:  # importing TensorFlow takes seconds, Matplotlib one
    Figure = Description = ModelSpec = Model = Protocol = Any

#: An activation: the name of its function, or the result of `activation`.
Named = str | ActivationConfig

TestMetric = Literal["test_accuracy", "test_loss"]
Metric = Literal["test_accuracy", "test_loss", "epochs_to_target"]
Curve = Literal["accuracy", "loss"]

#: Differences that do not matter, as in params.yaml: of accuracies, nats, epochs.
MARGINS: Mapping[str, float] = {
    "test_accuracy": 0.002,
    "test_loss": 0.01,
    "epochs_to_target": 1.0,
}


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """A data set: the splits on which networks are trained, validated and tested.

    Attributes
    ----------
    title
        Its name in prose.
    classes
        The name of each label.
    train
        `images`, float32 (n, pixels) from 0 to 1, and `labels`, int32 (n,).
    validation
        The same for the images held out; None where none are.
    test
        The same for the test images.
    """

    title: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split

    def __repr__(self) -> str:
        held_out = f"{len(self.validation.labels):,} held out, " if self.validation else ""
        return (
            f"{self.title}: {len(self.train.labels):,} images to train on, {held_out}"
            f"{len(self.test.labels):,} to test on, {self.train.images.shape[1]} pixels each"
        )


def load_data(
    name: str = "mnist",
    folder: str | Path | None = None,
    *,
    validation_size: int = 0,
    split_seed: int = 0,
) -> Data:
    """Load a data set, downloading it the first time.

    Downloads come from the pipeline's sources (`actlab.data.download`). The SHA-256
    digests of the four files are verified wherever they come from.

    Parameters
    ----------
    name
        mnist or fashion_mnist.
    folder
        Folder of the four files, plain or gzipped; if it is empty or missing, they are downloaded
        to it. By default the folder in the environment variable `ACTLAB_DATA`, else one in the
        user's cache.
    validation_size
        Number of training images held out, stratified by class.
    split_seed
        Seed of the choice of these images.

    Raises
    ------
    UserError
        If the data set is unknown, the folder holds something else, or no source works.

    Examples
    --------
        mnist = actlab.load_data("mnist")
        mnist.train.images.shape    # (60000, 784)
    """
    chosen = DataConfig(name, validation_size, split_seed)
    place = _data_folder(name) if folder is None else Path(folder).expanduser()
    if not place.is_dir() or not any(place.iterdir()):
        download.fetch_dataset(
            name, place, otherwise='Name a folder that has the files: load_data(..., folder="...")'
        )
    splits = build_splits(*_read_raw(name, place), chosen.validation_size, chosen.split_seed)
    dataset = DATASETS[name]
    return Data(dataset.title, dataset.classes, *splits)


def _data_folder(name: str) -> Path:
    if named := os.environ.get("ACTLAB_DATA"):
        return Path(named).expanduser()
    import pooch  # a third of a second

    return Path(pooch.os_cache("actlab")) / name


def _read_raw(name: str, folder: Path) -> tuple[RawSplit, RawSplit]:
    dataset, arrays = DATASETS[name], {}
    try:
        for file, content in download.Folder(folder).read(dataset.files):
            if fault := explain_mismatch(content, name, file):
                raise download.SourceError(f"{file.name} {fault}")
            arrays[file] = parse_idx(content)
    except download.SourceError as error:
        raise UserError(
            f"the folder {folder} does not hold {dataset.title}: {error}; name one that has its"
            " four files, or an empty one to download them to"
        ) from error
    return (
        RawSplit(arrays[dataset.train_images], arrays[dataset.train_labels]),
        RawSplit(arrays[dataset.test_images], arrays[dataset.test_labels]),
    )


def activation(function: str, /, name: str | None = None, **constants: Any) -> ActivationConfig:
    """Return an activation with its constants, for `build` and `fit`.

    Parameters
    ----------
    function
        An elementwise Keras activation, or prelu; or a function from a module of your own,
        `my_module.my_function`, written with `keras.ops`.
    name
        Its name in tables and figures; by default that of the function. Two activations that
        differ in their constants need two names.
    constants
        The function's constants. None has a default, since libraries differ: Keras's leaky ReLU
        has a slope of 0.2 as a function and 0.3 as a layer.

    Raises
    ------
    UserError
        If there is no such function, or a constant is missing, unknown or out of range.

    Examples
    --------
    >>> activation("leaky_relu", negative_slope=0.01).constants
    {'negative_slope': 0.01}
    >>> activation("leaky_relu")
    Traceback (most recent call last):
    actlab.errors.UserError: leaky_relu: negative_slope is missing: it has to be a number from 0 \
to 1; write actlab.activation("leaky_relu", negative_slope=...)
    """
    if function.startswith("__main__."):
        # A new definition under the same name would not be noticed.
        raise UserError(f"{function} exists in this session only: put it into a module")
    try:
        return ActivationConfig(name or function.rpartition(".")[2], function, constants)
    except UserError as error:
        line = str(error).removeprefix("activation.constants.")
        if lacking := re.match(r"(\w+) is missing", line):
            hint = f'write actlab.activation("{function}", {lacking[1]}=...)'
            line = f"{function}: {line}; {hint}"
        raise UserError(line) from None


def build(
    activation: Named,
    hidden: Sequence[int] | str = (128, 64),
    *,
    seed: int = 0,
    kernel_initializer: str = "glorot_uniform",
    inputs: int = 784,
    classes: int = 10,
) -> Model:
    """Build an untrained dense network that returns logits.

    Networks of one seed that differ only in their activation start from the same weights.

    Parameters
    ----------
    activation
        Activation of every hidden layer: a function's name, or the result of `actlab.activation`.
    hidden
        Units of the hidden layers, or `8x64` for eight layers of 64.
    seed
        Seed of the initial kernels; biases start at zero.
    kernel_initializer
        A Glorot, He or LeCun initialiser by its Keras name, such as `he_uniform`, or `matched`:
        the one recommended in the activation's literature.
    inputs
        Pixels per image.
    classes
        Number of logits.

    Returns
    -------
    keras.Sequential
        Images (n, inputs) -> logits (n, classes); layers hidden_1, ..., output.

    Raises
    ------
    UserError
        If a value is not allowed.

    Examples
    --------
    >>> build("relu", [128, 64]).count_params()
    109386
    """
    spec = _spec(_activation(activation), _network(hidden), kernel_initializer, inputs, classes)
    from actlab.models.network import build_model

    return build_model(spec, validate(Seed, seed, "seed"))


@dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """Trained networks: one per activation and seed, all else equal.

    Attributes
    ----------
    activations
        Activations by name, in the order given.
    network
        The hidden layers.
    seeds
        Seeds, in the order given.
    epochs
        Number of epochs.
    history
        One row per epoch and seed: activation, network, seed, epoch (from 1), loss (nats) and
        accuracy (a fraction) over the epoch, val_loss and val_accuracy after it (on the images
        held out, or on the test images where none are), epoch_seconds.
    test
        One row per seed: activation, network, seed, test_loss (nats), test_accuracy (a fraction).
    """

    activations: Mapping[str, ActivationConfig]
    network: NetworkConfig
    seeds: tuple[int, ...]
    epochs: int
    history: pd.DataFrame
    test: pd.DataFrame
    _specs: Mapping[str, ModelSpec]
    _weights: Mapping[tuple[str, int, int], list[np.ndarray]]

    def __repr__(self) -> str:
        return (
            f"{', '.join(self.activations)} on {self.network.name}: seeds"
            f" {', '.join(map(str, self.seeds))}, {self.epochs} epochs"
        )

    def study(self) -> Study:
        """Return the tables as a study, for the functions that take one."""
        names = [(self.network.name, name) for name in self.activations]
        table = pd.DataFrame(names, columns=[NETWORK, ACTIVATION])
        return Study(
            keys=(NETWORK, ACTIVATION),
            configurations=table.assign(**{"training.epochs": str(self.epochs)}),
            test=self.test,
            history=self.history,
        )

    def kept_epochs(self) -> list[int]:
        """Return the epochs after which weights were kept; 0 is before training."""
        return sorted({epoch for _, _, epoch in self._weights})

    def model(self, activation: str, seed: int, epoch: int | None = None) -> Model:
        """Return a trained network.

        Parameters
        ----------
        activation
            Name of its activation.
        seed
            Its seed.
        epoch
            One of `kept_epochs`; the last by default.

        Returns
        -------
        keras.Sequential
            Images (n, pixels) -> logits (n, classes).

        Raises
        ------
        UserError
            If there is no such network.
        """
        from actlab.models.network import build_model

        chosen = self.epochs if epoch is None else epoch
        if (activation, seed, chosen) not in self._weights:
            raise UserError(
                f"there is no {activation} of seed {seed} after epoch {chosen}: there are"
                f" {', '.join(self.activations)}, the seeds {', '.join(map(str, self.seeds))} and"
                f" the epochs {', '.join(map(str, self.kept_epochs()))}"
            )
        model = build_model(self._specs[activation], seed)
        model.set_weights(self._weights[activation, seed, chosen])
        return model

    def summarise(
        self,
        metric: TestMetric = "test_accuracy",
        confidence: float = 0.95,
    ) -> pd.DataFrame:
        """Return mean, standard deviation and interval over seeds, one row per activation.

        Returns
        -------
        pd.DataFrame
            Columns activation, network, mean, sd, low, high (Student's t interval of the mean),
            then one column per seed.
        """
        validate(TestMetric, metric, "metric")
        validate(Fraction, confidence, "confidence")
        return over_seeds(self.test, ["activation", "network"], metric, confidence)


def fit(
    activations: Named | Sequence[Named],
    data: Data,
    hidden: Sequence[int] | str = (128, 64),
    *,
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 5,
    batch_size: int = 128,
    learning_rate: float = 0.001,
    kernel_initializer: str = "glorot_uniform",
    probe_epochs: Sequence[int] = (),
) -> Fit:
    """Train each activation over the same seeds, with the pipeline's compiled trainer.

    The optimizer is Adam, the loss cross-entropy. Within a seed, every activation starts from the
    same weights and sees the same batches in the same order, so differences can be paired.

    Parameters
    ----------
    activations
        One or a list: function names, or results of `actlab.activation`.
    data
        Result of `load_data`.
    hidden
        As in `build`.
    seeds
        One network is trained per seed, which decides its initial weights and the order of its
        batches.
    epochs
        Number of passes over the training images.
    batch_size
        Images per step; the last step of an epoch takes the remainder.
    learning_rate
        Adam's learning rate; its other values are Keras's defaults.
    kernel_initializer
        As in `build`.
    probe_epochs
        Epochs after which weights are kept for `probe`, in addition to those before the first and
        after the last.

    Raises
    ------
    UserError
        If a value is not allowed, or two activations share a name.
    """
    chosen = _activations(activations)
    network, distinct = _network(hidden), tuple(validate(Seeds, seeds, "seeds"))
    inputs, classes = data.train.images.shape[1], len(data.classes)
    training = TrainingConfig(epochs, batch_size, learning_rate, list(probe_epochs))
    specs = {
        name: _spec(each, network, kernel_initializer, inputs, classes)
        for name, each in chosen.items()
    }
    from actlab.activations.functions import check
    from actlab.training.trainer import Protocol

    for each in chosen.values():
        if each.is_own:
            check(each)
    protocol = Protocol(
        training.epochs, training.batch_size, training.learning_rate, training.kept_epochs()
    )
    history, test, weights = [], [], {}
    for name, spec in specs.items():
        rows, tested, kept = _fit_one(name, spec, distinct, data, protocol)
        history += [(name, network.name, *row) for row in rows]
        test += [(name, network.name, *row) for row in tested]
        weights |= {(name, *key): arrays for key, arrays in kept.items()}
    labels = ["activation", "network"]
    return Fit(
        chosen,
        network,
        distinct,
        training.epochs,
        pd.DataFrame(history, columns=[*labels, *tables.HISTORY, "epoch_seconds"]),
        pd.DataFrame(test, columns=[*labels, *tables.TEST]),
        specs,
        weights,
    )


def _fit_one(
    name: str, spec: ModelSpec, seeds: tuple[int, ...], data: Data, protocol: Protocol
) -> tuple[list[tuple], list[tuple], dict[tuple[int, int], list[np.ndarray]]]:
    """Train one activation; return rows of history and test, and weights by seed and epoch."""
    from actlab.training.trainer import Epoch, fit_seeds

    weights: dict[tuple[int, int], list[np.ndarray]] = {}

    def keep(seed: int, epoch: int, model: Any, next_step: Any) -> None:
        weights[seed, epoch] = model.get_weights()

    epochs, fitted = [], []
    watched = data.validation or data.test
    events = fit_seeds(spec, seeds, data.train, watched, data.test, protocol, keep)
    with _progress(name, len(seeds) * protocol.epochs) as advance:
        for event in events:
            if isinstance(event, Epoch):
                epochs.append(event)
                advance(loss=event.loss, val_accuracy=event.val_accuracy)
            else:
                fitted.append(event)
    history = sorted(map(attrgetter(*tables.HISTORY, "epoch_seconds"), epochs))
    test = sorted(map(attrgetter(*tables.TEST), fitted))
    return history, test, weights


def _progress(title: str, model_epochs: int) -> AbstractContextManager[Any]:
    """Show a bar on a terminal; nothing in a notebook, whose outputs are kept."""
    if not sys.stdout.isatty():
        return nullcontext(lambda **_: None)
    from actlab.engine.progress import shown

    return shown(title, model_epochs)


def probe(
    fitted: Fit, data: Data, *, images: int = 2048, saturated_below: float = 0.05
) -> pd.DataFrame:
    """Measure the gradients of every layer and the state of its units.

    Parameters
    ----------
    fitted
        Result of `fit`; measured at its `kept_epochs`, which include before training (0).
    data
        Its first test images are the batch.
    images
        Number of test images.
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
        If there are fewer test images, or `saturated_below` is not between 0 and 1.
    """
    validate(Annotated[Count, Field(le=len(data.test.labels))], images, "images")
    validate(Fraction, saturated_below, "saturated_below")
    from actlab.probes.gradients import STATISTICS, compile_pass, probe_model

    batch = {"test": first_images(data.test, images)}
    rows: dict[tuple[str, str, int, int, str], dict[str, float]] = {}
    for name, chosen in fitted.activations.items():
        model = fitted.model(name, fitted.seeds[0])
        run_pass = compile_pass(model)
        for seed in fitted.seeds:
            for epoch in fitted.kept_epochs():
                model.set_weights(fitted._weights[name, seed, epoch])
                for layer, _, statistic, value in probe_model(
                    model, run_pass, chosen, batch, "test", saturated_below
                ):
                    key = (name, fitted.network.name, seed, epoch, layer)
                    column = _GRADIENT.get(statistic, statistic)
                    rows.setdefault(key, {})[column] = value
    columns = [_GRADIENT[each] for each in STATISTICS] + list(tables.HEALTH)
    table = pd.DataFrame(list(rows), columns=["activation", "network", "seed", "epoch", "layer"])
    return pd.concat([table, pd.DataFrame(list(rows.values()), columns=columns)], axis=1)


#: Columns of `probe` by their names in `gradients.STATISTICS`.
_GRADIENT = {
    "mean_abs": "gradient_mean_abs",
    "l2_norm": "gradient_norm",
    "relative_norm": "gradient_relative_norm",
}


def compare(
    fitted: Fit,
    metric: Metric = "test_accuracy",
    *,
    margin: float | None = None,
    confidence: float = 0.95,
    target: float = 0.97,
) -> pd.DataFrame:
    """Compare each pair of activations within seeds; the verdict is on the first of the pair.

    The family-wise error rate over all pairs is at most 1 - confidence (Holm's adjustment).

    Parameters
    ----------
    fitted
        Result of `fit`.
    metric
        test_accuracy, test_loss, or epochs_to_target: the first epoch whose val_accuracy reaches
        the target; a seed that never does counts as one epoch more than were trained.
    margin
        The largest difference that does not matter; by default the pipeline's, `MARGINS`.
    confidence
        Level of the intervals.
    target
        Accuracy to reach in epochs_to_target, a fraction.

    Returns
    -------
    pd.DataFrame
        One row per pair: first, second, verdict (better, worse, equivalent, undecided), mean of
        first minus second (fractions, nats or epochs) with its interval low to high, seeds,
        seeds_needed (how many would decide an undecided pair; NaN: decided, or more than 10,000),
        margin, effect_size (Cohen's d_z), p_holm (paired t-test), p_equivalence_holm (two one-sided
        tests).

    Raises
    ------
    UserError
        If there are fewer than two activations, or a value is not allowed.
    """
    validate(Metric, metric, "metric")
    within = validate(Positive, MARGINS[metric] if margin is None else margin, "margin")
    validate(Fraction, target, "target")
    validate(Fraction, confidence, "confidence")
    if len(fitted.activations) < 2:
        raise UserError(f"only {fitted} was fitted: give `fit` a list of two activations or more")
    scores = where(comparisons.score(fitted.study(), target), metric=metric)
    margins = {comparisons.METRICS[name].margin: value for name, value in MARGINS.items()}
    margins |= {comparisons.METRICS[metric].margin: within, "equivalence_margin_ratio": 0.05}
    config = ReportConfig(confidence, target, **margins)
    table = comparisons.compare(fitted.study(), scores, config, thorough=True)
    table = table.rename(columns={"pairs": "seeds", "pairs_needed": "seeds_needed"})
    return table.loc[:, list(_COMPARED)]


_COMPARED = (
    *("first", "second", "verdict", "mean", "low", "high", "seeds", "seeds_needed"),
    *("margin", "effect_size", "p_holm", "p_equivalence_holm"),
)


def plot_images(data: Data, count: int = 10) -> Figure:
    """Plot the first training images, each titled with its class.

    Raises
    ------
    UserError
        If there are fewer, or images are not square.
    """
    from actlab.reporting.figures import plot_sample_images

    validate(Annotated[Count, Field(le=len(data.train.labels))], count, "count")
    side = math.isqrt(data.train.images.shape[1])
    if side**2 != data.train.images.shape[1]:
        raise UserError(f"images of {data.train.images.shape[1]} pixels are not square")
    pixels = np.rint(255 * data.train.images[:count]).astype(np.uint8)
    images = pixels.reshape(count, side, side)
    return _shown(plot_sample_images(images, data.train.labels[:count], data.classes))


def plot_functions(*activations: Named) -> Figure:
    """Plot each activation and its derivative, with formula and range."""
    from actlab.reporting.figures import plot_activation_functions
    from actlab.results.metadata import join_curves

    described = [_describe(each) for each in _activations(activations).values()]
    return _shown(plot_activation_functions(join_curves(described), described))


def _describe(activation: ActivationConfig) -> Description:
    """Describe an activation for a figure, without theory."""
    from actlab.results.metadata import describe

    _import_tensorflow()
    from actlab.activations.functions import check, get_activation, nonlinearity_of

    if activation.is_own:
        check(activation)
    row, phi, nan_prediction = (
        get_activation(activation),
        nonlinearity_of(activation),
        (math.nan, math.nan),
    )
    return describe(activation, row, phi, nan_prediction, row.recommended_initializer, math.nan)


def plot_curves(fitted: Fit, metric: Curve = "accuracy", confidence: float = 0.95) -> Figure:
    """Plot accuracy or loss by epoch for every seed, with the interval of the mean over seeds.

    Left: training images. Right: the images held out, or the test images where none are.
    """
    validate(Curve, metric, "metric")
    validate(Fraction, confidence, "confidence")
    from actlab.reporting.figures import plot_learning_curves

    curves = learning_curves(fitted.study(), metric, confidence)
    drawn = {"accuracy": ("Accuracy (%)", 100), "loss": ("Cross-entropy (nats)", 1, True)}[metric]
    return _shown(plot_learning_curves(curves, fitted.study().keys, confidence, *drawn))


def plot_gradients(probed: pd.DataFrame, epoch: int = 0) -> Figure:
    """Plot the norm of each kernel's gradient by layer for every seed, with the mean.

    Parameters
    ----------
    probed
        Result of `probe`.
    epoch
        A probed epoch; 0 is before training.

    Raises
    ------
    UserError
        If that epoch was not probed.
    """
    from actlab.reporting.layer_figures import plot_gradients_by_layer

    validate(Annotated[Any, one_of(sorted(set(probed["epoch"])))], epoch, "epoch")
    keys = ["activation", "network", "epoch", "layer"]
    rows = where(probed, epoch=epoch)
    return _shown(plot_gradients_by_layer(over_seeds(rows, keys, "gradient_norm", 0.95)))


def plot_health(probed: pd.DataFrame, statistic: str = "dead_fraction") -> Figure:
    """Plot a statistic of each layer at each probed epoch, averaged over seeds, as a map.

    Parameters
    ----------
    probed
        Result of `probe`.
    statistic
        dead_fraction, saturated_fraction, one_sign_batch_fraction or backprop_rms.

    Raises
    ------
    UserError
        If there is no map of that statistic.
    """
    from actlab.reporting.layer_figures import HEALTH_MAPS, plot_health_map

    known = [each for each in HEALTH_MAPS if each in tables.HEALTH]
    validate(Annotated[str, one_of(known)], statistic, "statistic")
    rows = probed.assign(statistic=statistic)
    if not HEALTH_MAPS[statistic].share:
        interval = geometric_interval
    else:
        # The output has no activation, and so no share.
        interval, rows = mean_interval, rows.dropna(subset=[statistic])
    if rows.empty:
        raise UserError(f"there is no {statistic} of a network without hidden layers")
    keys = ["activation", "network", "statistic", "epoch", "layer"]
    return _shown(plot_health_map(over_seeds(rows, keys, statistic, 0.95, interval)))


def _shown(figure: Figure) -> Figure:
    """Let a notebook display a figure, which pyplot does not manage."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def as_png() -> bytes:
        drawn = io.BytesIO()
        FigureCanvasAgg(figure).print_png(drawn, metadata={"Software": None})
        return drawn.getvalue()

    figure._repr_png_ = as_png  # pyright: ignore[reportAttributeAccessIssue]
    return figure


def _activations(given: Named | Sequence[Named]) -> dict[str, ActivationConfig]:
    listed = [given] if isinstance(given, str | ActivationConfig) else given
    if not isinstance(listed, Sequence) or not all(
        isinstance(entry, str | ActivationConfig) for entry in listed
    ):
        raise UserError(
            f"activations are {given!r}: give names, such as relu, or results of actlab.activation"
        )
    if not listed:
        raise UserError("activations are none: give the name of one, such as relu")
    chosen = [_activation(entry) for entry in listed]
    named = {entry.name: entry for entry in chosen}
    if len(named) < len(chosen):
        raise UserError(
            f"activations are {', '.join(entry.name for entry in chosen)}: each needs a name of its"
            ' own, such as actlab.activation("leaky_relu", name="steep", negative_slope=0.3)'
        )
    return named


def _activation(given: Named) -> ActivationConfig:
    return activation(given) if isinstance(given, str) else given


def _network(hidden: Sequence[int] | str) -> NetworkConfig:
    units = NetworkConfig("network", hidden).hidden
    if not units:
        return NetworkConfig("no_hidden_layer", [])
    alike = len(set(units)) == 1
    name = f"{len(units)}x{units[0]}" if alike else "_".join(map(str, units))
    return NetworkConfig(name[:100], units)


def _spec(
    activation: ActivationConfig,
    network: NetworkConfig,
    kernel_initializer: str,
    inputs: int,
    classes: int,
) -> ModelSpec:
    ModelConfig(kernel_initializer)
    _import_tensorflow()
    from actlab.models.network import ModelSpec

    return ModelSpec(activation, network, kernel_initializer, inputs, classes)


def _import_tensorflow() -> None:
    try:
        import actlab.backend  # noqa: F401
    except RuntimeError as error:
        raise UserError(
            "TensorFlow was in use before actlab, with several threads per model, which actlab's"
            " results must not depend on: restart Python, and let actlab build a network first"
        ) from error
