"""What `import actlab` gives to a person in a notebook: load, build, fit, probe, compare, plot.

Thin: each function checks its arguments, calls the core that the pipeline calls, and gives a table,
a model or a figure. Nothing is written to the disk but a data set, once.
"""

import io
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import combinations
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from actlab import comparisons, sources, tables
from actlab.config import (
    ActivationConfig,
    Count,
    DataConfig,
    Fraction,
    ModelConfig,
    NetworkConfig,
    Positive,
    Seed,
    Seeds,
    TrainingConfig,
    one_of,
    validate,
)
from actlab.datasets import (
    DATASETS,
    RawSplit,
    Split,
    build_splits,
    explain_mismatch,
    first_images,
    parse_idx,
)
from actlab.errors import UserError
from actlab.statistics import geometric_interval, mean_interval
from actlab.tables import where

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actlab.descriptions import Description
    from actlab.model import ModelSpec
    from actlab.runtime import keras
    from actlab.training import Protocol

    Model = keras.Sequential
else:  # importing TensorFlow takes seconds, Matplotlib one
    Figure = Description = ModelSpec = Model = Protocol = Any

#: An activation by the name of its function, or of `activation`.
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
    """A data set: what networks train on, are watched on, and are tested on.

    Attributes
    ----------
    title
        The name as it is written in a sentence.
    classes
        The name of each label.
    train
        Has `images`, float32 (n, pixels) from 0 to 1, and `labels`, int32 (n,).
    validation
        Likewise; None where no images are held out.
    test
        Likewise.
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
    """Load a data set; the first time, download it.

    Downloads come from the sources of the pipeline (`actlab.sources`), and wherever the four files
    come from, their SHA-256 has to be right.

    Parameters
    ----------
    name
        mnist or fashion_mnist.
    folder
        Where the four files are, plain or gzipped, or where they are to be: they are downloaded if
        the folder is empty or not there. By default the folder that the environment names as
        `ACTLAB_DATA`, else one in the user's cache.
    validation_size
        How many of the training images are held out, each class by its share.
    split_seed
        Which ones.

    Raises
    ------
    UserError
        When there is no such data set, the folder holds something else, or no source serves.

    Examples
    --------
        mnist = actlab.load_data("mnist")
        mnist.train.images.shape    # (60000, 784)
    """
    chosen = DataConfig(name, validation_size, split_seed)
    place = _data_folder(name) if folder is None else Path(folder).expanduser()
    if not place.is_dir() or not any(place.iterdir()):
        sources.fetch_dataset(
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
        for file, content in sources.Folder(folder).read(dataset.files):
            if fault := explain_mismatch(content, name, file):
                raise sources.SourceError(f"{file.name} {fault}")
            arrays[file] = parse_idx(content)
    except sources.SourceError as error:
        raise UserError(
            f"the folder {folder} does not hold {dataset.title}: {error}; name one that has its"
            " four files, or one that is empty, for them to be downloaded to"
        ) from error
    return (
        RawSplit(arrays[dataset.train_images], arrays[dataset.train_labels]),
        RawSplit(arrays[dataset.test_images], arrays[dataset.test_labels]),
    )


def activation(function: str, /, name: str | None = None, **constants: Any) -> ActivationConfig:
    """Give an activation with its constants, for `build` and `fit`.

    Parameters
    ----------
    function
        A function of Keras's that takes one number to one number, or prelu; or one of a module of
        your own, `my_module.my_function`, written with `keras.ops`.
    name
        What tables and figures call it; by default as the function. Two with other constants need
        two names.
    constants
        What the function takes besides its number; none has a default, since libraries differ in
        them: Keras's leaky ReLU has a slope of 0.2 as a function and 0.3 as a layer.

    Raises
    ------
    UserError
        When there is no such function, or a constant is missing, unknown or out of range.

    Examples
    --------
    >>> activation("leaky_relu", negative_slope=0.01).constants
    {'negative_slope': 0.01}
    >>> activation("leaky_relu")
    Traceback (most recent call last):
    actlab.errors.UserError: leaky_relu: negative_slope is missing: it has to be a number from 0 \
to 1; say so by actlab.activation("leaky_relu", negative_slope=...)
    """
    if function.startswith("__main__."):
        # What is defined anew under the same name would not be found anew.
        raise UserError(f"{function} lives in this session alone: put it into a module of its own")
    try:
        return ActivationConfig(name or function.rpartition(".")[2], function, constants)
    except UserError as error:
        line = str(error).removeprefix("activation.constants.")
        if lacking := re.match(r"(\w+) is missing", line):
            hint = f'say so by actlab.activation("{function}", {lacking[1]}=...)'
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
    """Build an untrained dense network that gives logits.

    For one seed, networks that differ in their activation alone start from the same weights.

    Parameters
    ----------
    activation
        Of every hidden layer: a function's name, or what `actlab.activation` gives.
    hidden
        Units of the hidden layers, or `8x64` for eight layers of 64.
    seed
        Of the initial kernels; biases start at zero.
    kernel_initializer
        Of Keras's Glorot, He and LeCun initialisers, such as `he_uniform`, or `matched`: the one
        that the activation's literature recommends.
    inputs
        Pixels of an image.
    classes
        How many logits it gives.

    Returns
    -------
    keras.Sequential
        Images (n, inputs) -> logits (n, classes); layers hidden_1, ..., output.

    Raises
    ------
    UserError
        When a value is none that is allowed.

    Examples
    --------
    >>> build("relu", [128, 64]).count_params()
    109386
    """
    spec = _spec(_activation(activation), _network(hidden), kernel_initializer, inputs, classes)
    from actlab.model import build_model

    return build_model(spec, validate(Seed, seed, "seed"))


@dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """Networks that were trained: some activations over some seeds, all else equal.

    Attributes
    ----------
    activations
        By their names, in the order in which they were given.
    network
        The hidden layers.
    seeds
        As they were given.
    epochs
        Likewise.
    history
        A row an epoch of a seed: activation, network, seed, epoch (from 1), loss (nats) and
        accuracy (a fraction) over the epoch, val_loss and val_accuracy after it (of the images that
        are held out; of the test images where none are), epoch_seconds.
    test
        A row a seed: activation, network, seed, test_loss (nats), test_accuracy (a fraction).
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

    def kept_epochs(self) -> list[int]:
        """Give the epochs after which weights were kept: 0 is before training."""
        return sorted({epoch for _, _, epoch in self._weights})

    def model(self, activation: str, seed: int, epoch: int | None = None) -> Model:
        """Give a trained network.

        Parameters
        ----------
        activation
            By its name.
        seed
            Which of its networks.
        epoch
            After which of `kept_epochs`; the last by default.

        Returns
        -------
        keras.Sequential
            Images (n, pixels) -> logits (n, classes).

        Raises
        ------
        UserError
            When there is no such network.
        """
        from actlab.model import build_model

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
        """Give mean, standard deviation and interval over seeds, a row an activation.

        Returns
        -------
        pd.DataFrame
            Columns activation, network, mean, sd, low, high (Student's t interval of the mean),
            then a column a seed.
        """
        validate(TestMetric, metric, "metric")
        validate(Fraction, confidence, "confidence")
        return tables.over_seeds(self.test, ["activation", "network"], metric, confidence)


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

    Adam, cross-entropy. For one seed, every activation starts from the same weights and sees the
    same batches in the same order, so that differences can be taken within a seed.

    Parameters
    ----------
    activations
        One, or a list: each a function's name, or what `actlab.activation` gives.
    data
        Of `load_data`.
    hidden
        As in `build`.
    seeds
        Each gives a network: its initial weights and the order of its batches.
    epochs
        How often a network sees each training image.
    batch_size
        Images a step; the last step of an epoch takes those that are left.
    learning_rate
        Of Adam, whose other values are Keras's.
    kernel_initializer
        As in `build`.
    probe_epochs
        After which epochs weights are kept for `probe`, besides before the first and after the
        last.

    Raises
    ------
    UserError
        When a value is none that is allowed, or two activations have one name.
    """
    chosen = _activations(activations)
    network, distinct = _network(hidden), tuple(validate(Seeds, seeds, "seeds"))
    inputs, classes = data.train.images.shape[1], len(data.classes)
    training = TrainingConfig(epochs, batch_size, learning_rate, list(probe_epochs))
    specs = {
        name: _spec(each, network, kernel_initializer, inputs, classes)
        for name, each in chosen.items()
    }
    from actlab.own import check
    from actlab.training import Protocol

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
    """Train one activation: rows of history and test, and weights by seed and epoch."""
    from actlab.training import Epoch, fit_seeds

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
    from actlab.progress import shown

    return shown(title, model_epochs)


def probe(
    fitted: Fit, data: Data, *, images: int = 2048, saturated_below: float = 0.05
) -> pd.DataFrame:
    """Measure what comes back through every layer, and in which state its units are.

    Parameters
    ----------
    fitted
        Of `fit`; measured at its `kept_epochs`, before training (0) and after it among them.
    data
        Its first test images are the batch.
    images
        How many.
    saturated_below
        A unit is saturated on an image where the size of phi' is below this part of its maximum.

    Returns
    -------
    pd.DataFrame
        A row a layer of a seed at an epoch: activation, network, seed, epoch, layer, then

        - gradient_mean_abs, gradient_norm, gradient_relative_norm: of the kernel's gradient, the
          mean absolute entry, the Euclidean norm, and that by the kernel's own norm;
        - what `actlab.gradients.summarise_health` says: backprop_rms, dead_fraction (units with
          phi' = 0 on every image), saturated_fraction and others; NaN where the output has no such.

    Raises
    ------
    UserError
        When there are not so many test images, or `saturated_below` is not between 0 and 1.
    """
    validate(Annotated[Count, Field(le=len(data.test.labels))], images, "images")
    validate(Fraction, saturated_below, "saturated_below")
    from actlab.gradients import STATISTICS, compile_pass, probe_model

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


#: The columns of `probe` for what `gradients.STATISTICS` says of a kernel's gradient.
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
    """Compare each pair of activations within seeds, and give the verdict on the first.

    The verdicts of all pairs err together in at most 1 - confidence: p-values are adjusted (Holm).

    Parameters
    ----------
    fitted
        Of `fit`.
    metric
        test_accuracy, test_loss, or epochs_to_target: the first epoch whose val_accuracy reaches
        the target; a seed that never does counts as one epoch more than were trained.
    margin
        The largest difference that does not matter; by default that of the pipeline, `MARGINS`.
    confidence
        Of the intervals.
    target
        Of epochs_to_target, a fraction.

    Returns
    -------
    pd.DataFrame
        A row a pair: first, second, verdict (better, worse, equivalent, undecided), mean of first
        minus second (fractions, nats or epochs) with its interval low to high, seeds, seeds_needed
        (how many would settle what is undecided; NaN: decided, or 10,000 would not), margin,
        effect_size (Cohen's d_z), p_holm (of the paired t-test), p_equivalence_holm (of two
        one-sided tests).

    Raises
    ------
    UserError
        When there are less than two activations, or a value is none that is allowed.
    """
    validate(Metric, metric, "metric")
    within = validate(Positive, MARGINS[metric] if margin is None else margin, "margin")
    validate(Fraction, target, "target")
    validate(Fraction, confidence, "confidence")
    if len(fitted.activations) < 2:
        raise UserError(f"only {fitted} was fitted: give `fit` a list of two activations or more")
    scores = comparisons.with_epochs_to_target(fitted.test, fitted.history, fitted.epochs, target)
    if metric != "epochs_to_target":
        scores["censored"] = False
    values, censored = {}, {}
    for name in fitted.activations:
        of = where(scores, activation=name)
        values[name] = dict(zip(of["seed"], map(float, of[metric]), strict=True))
        censored[name] = set(where(of, censored=True)["seed"])
    rows = comparisons.compare_family(
        list(combinations(fitted.activations, 2)),
        values,
        censored,
        comparisons.METRICS[metric],
        within,
        confidence,
    )
    names = {"pairs": "seeds", "pairs_needed": "seeds_needed"}
    table = pd.DataFrame(rows).rename(columns=names).assign(margin=within)
    return table.reindex(columns=list(_COMPARED)).astype({"seeds_needed": float})


_COMPARED = (
    *("first", "second", "verdict", "mean", "low", "high", "seeds", "seeds_needed"),
    *("margin", "effect_size", "p_holm", "p_equivalence_holm"),
)


def plot_images(data: Data, count: int = 10) -> Figure:
    """Draw the first training images, each under its class.

    Raises
    ------
    UserError
        When there are not so many, or images are not square.
    """
    from actlab.figures import plot_sample_images

    validate(Annotated[Count, Field(le=len(data.train.labels))], count, "count")
    side = math.isqrt(data.train.images.shape[1])
    if side**2 != data.train.images.shape[1]:
        raise UserError(f"images of {data.train.images.shape[1]} pixels are not square")
    levels = np.rint(255 * data.train.images[:count]).astype(np.uint8)
    images = levels.reshape(count, side, side)
    return _shown(plot_sample_images(images, data.train.labels[:count], data.classes))


def plot_functions(*activations: Named) -> Figure:
    """Draw each activation and its derivative, with formula and range."""
    from actlab.descriptions import join_curves
    from actlab.figures import plot_activation_functions

    described = [_describe(each) for each in _activations(activations).values()]
    return _shown(plot_activation_functions(join_curves(described), described))


def _describe(activation: ActivationConfig) -> Description:
    """Say of an activation what a figure shows of it, and leave theory out."""
    from actlab.activations import ACTIVATIONS
    from actlab.descriptions import describe

    row = ACTIVATIONS.get(activation.function)
    if row is None:
        _import_tensorflow()
        from actlab.own import check, row_of

        check(activation)
        row = row_of(activation)
    untold = (math.nan, math.nan)
    return describe(activation, row, untold, row.recommended_initializer, math.nan)


def plot_curves(fitted: Fit, metric: Curve = "accuracy", confidence: float = 0.95) -> Figure:
    """Draw accuracy or loss by epoch, every seed, with the mean's band over seeds.

    Left of the training images, right of those that are watched: held out, or else the test images.
    """
    validate(Curve, metric, "metric")
    validate(Fraction, confidence, "confidence")
    from actlab import figures

    nothing = pd.DataFrame()
    study = tables.Study(
        tuple(fitted.activations),
        (fitted.network.name,),
        fitted.seeds,
        fitted.epochs,
        fitted.history,
        fitted.test,
        layers=nothing,
        timings=nothing,
        gradients=nothing,
    )
    curves = tables.learning_curves(study, metric, confidence)
    plot = figures.plot_accuracy_curves if metric == "accuracy" else figures.plot_loss_curves
    return _shown(plot(curves, confidence))


def plot_gradients(probed: pd.DataFrame, epoch: int = 0) -> Figure:
    """Draw the norm of each kernel's gradient by layer, every seed, with the mean.

    Parameters
    ----------
    probed
        Of `probe`.
    epoch
        One that was probed; 0 is before training.

    Raises
    ------
    UserError
        When that epoch was not probed.
    """
    from actlab.figures import plot_gradients_by_layer

    validate(Annotated[Any, one_of(sorted(set(probed["epoch"])))], epoch, "epoch")
    keys = ["activation", "network", "epoch", "layer"]
    rows = where(probed, epoch=epoch)
    return _shown(plot_gradients_by_layer(tables.over_seeds(rows, keys, "gradient_norm", 0.95)))


def plot_health(probed: pd.DataFrame, statistic: str = "dead_fraction") -> Figure:
    """Draw a statistic of each layer at each probed epoch, the mean over seeds, as a map.

    Parameters
    ----------
    probed
        Of `probe`.
    statistic
        dead_fraction, saturated_fraction, one_sign_batch_fraction or backprop_rms.

    Raises
    ------
    UserError
        When there is no map of that statistic.
    """
    from actlab.figures import HEALTH_MAPS, plot_health_map

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
    return _shown(plot_health_map(tables.over_seeds(rows, keys, statistic, 0.95, interval)))


def _shown(figure: Figure) -> Figure:
    """Let a notebook show a figure, which pyplot does not know of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def as_png() -> bytes:
        drawn = io.BytesIO()
        FigureCanvasAgg(figure).print_png(drawn, metadata={"Software": None})
        return drawn.getvalue()

    figure._repr_png_ = as_png  # pyright: ignore[reportAttributeAccessIssue]
    return figure


def _activations(given: Named | Sequence[Named]) -> dict[str, ActivationConfig]:
    each = [given] if isinstance(given, str | ActivationConfig) else given
    if not isinstance(each, Sequence) or not all(
        isinstance(one, str | ActivationConfig) for one in each
    ):
        raise UserError(
            f"activations are {given!r}: give names, such as relu, or what actlab.activation gives"
        )
    if not each:
        raise UserError("activations are none: give the name of one, such as relu")
    chosen = [_activation(one) for one in each]
    named = {one.name: one for one in chosen}
    if len(named) < len(chosen):
        raise UserError(
            f"activations are {', '.join(one.name for one in chosen)}: each needs a name of its"
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
    from actlab.model import ModelSpec

    return ModelSpec(activation, network, kernel_initializer, inputs, classes)


def _import_tensorflow() -> None:
    try:
        import actlab.runtime  # noqa: F401
    except RuntimeError as error:
        raise UserError(
            "TensorFlow was in use before actlab, with several threads a model, which actlab's"
            " results must not depend on: restart Python, and let actlab build a network first"
        ) from error
