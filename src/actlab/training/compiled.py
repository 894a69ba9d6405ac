"""One epoch, one evaluation and one step, each as a compiled XLA program."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from actlab.backend import keras, tf
from actlab.data.splits import Split, to_uint8
from actlab.engine.targets import instantiate
from actlab.models.losses import count_right, make_loss
from actlab.models.network import euclidean_norm
from actlab.training.config import ELEMENTWISE, OptimizerConfig
from actlab.training.deep import find_run, pair_variables

# 1 / 255 in two parts: the product of a level and the first is exact, and the sum of both products
# is level / 255 to the bit. XLA would replace a division by multiplying with a rounded 1 / 255.
_PART_OF_255TH = np.float32(round(2**23 / 255) / 2**23)
_REST_OF_255TH = np.float32(1 / 255 - float(_PART_OF_255TH))
# The batch size from which transposed kernels are faster.
_TRANSPOSED_FROM = 64


class Evaluation(NamedTuple):
    """Mean cross-entropy (nats), accuracy (fraction), and logits of a split."""

    loss: float
    accuracy: float
    logits: Float32[np.ndarray, "n classes"]


def shuffled_order(seed: int, epoch: int, images: int) -> Int32[np.ndarray, " images"]:
    """Draw the order of the training images in an epoch, from 1; the same for every activation.

    >>> shuffled_order(seed=0, epoch=1, images=5)
    array([1, 4, 3, 0, 2], dtype=int32)
    """
    return np.random.default_rng([seed, epoch]).permutation(images).astype(np.int32)


class DeviceSplit(NamedTuple):
    """A split in TensorFlow's memory, shared by all models.

    Images are stored as uint8 if possible, a quarter of the memory; if the number of pixels
    allows, eight of them as one uint64, or two float32 as one int64, since XLA gathers value by
    value.
    """

    images: tf.Tensor
    labels: tf.Tensor


def to_device(split: Split) -> DeviceSplit:
    """Copy a split (images float32 or uint8) into TensorFlow's memory."""
    original = np.ascontiguousarray(split.images)
    if original.dtype != np.uint8:
        original = original.astype(np.float32, copy=False)
    images = to_uint8(original)
    if images is None:
        images = original.view(np.int64) if original.shape[1] % 2 == 0 else original
    elif images.shape[1] % 8 == 0:
        images = images.view(np.uint64)
    return DeviceSplit(tf.constant(images), tf.constant(split.labels))


def as_numbers(images: tf.Tensor) -> tf.Tensor:
    """Return rows of a `DeviceSplit` as float32 images (n, inputs), equal to the originals."""
    if images.dtype == tf.float32:
        return images
    if images.dtype == tf.int64:
        pairs = tf.bitcast(images, tf.float32)  # (n, inputs / 2, 2)
        return tf.reshape(pairs, [-1, pairs.shape[1:].num_elements()])
    if images.dtype == tf.uint64:
        levels = tf.bitcast(images, tf.uint8)  # (n, inputs / 8, 8)
        images = tf.reshape(levels, [-1, levels.shape[1:].num_elements()])
    levels = tf.cast(images, tf.float32)
    return levels * _PART_OF_255TH + levels * _REST_OF_255TH


def make_optimizer(optimizer: OptimizerConfig) -> keras.Optimizer:
    """Make Keras's optimizer of a configuration.

    >>> make_optimizer(OptimizerConfig.read("sgd")).learning_rate.numpy()
    np.float32(0.01)
    """
    return instantiate(optimizer.settings, "optimizer")


class _Copy(NamedTuple):
    """Functions of a copy of a training's variables: load it, train it on a batch, store it.

    `step` maps indices of images to the sum of their losses, and how many are classified right.
    """

    load: Callable[[], None]
    step: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    store: Callable[[], None]


def _copy_state(
    model: keras.Model,
    optimizer: keras.Optimizer,
    train: DeviceSplit,
    batch_size: int,
    outputs: str,
) -> _Copy:
    """Copy the variables of a model and its optimizer, as `compile_epoch` describes."""
    optimizer.build(model.trainable_variables)
    is_transposed = batch_size >= _TRANSPOSED_FROM and type(optimizer).__name__ in ELEMENTWISE
    run = find_run(model, optimizer)

    def transpose(value: Any) -> Any:
        return tf.transpose(value) if is_transposed and len(value.shape) == 2 else value

    def group(values: Sequence[Any]) -> list[list[Any]]:
        return run.group(values) if run else [[value] for value in values]

    def join(values: Sequence[Any]) -> Any:
        return transpose(values[0]) if len(values) == 1 else tf.stack(values)

    def split(value: Any, count: int) -> list[Any]:
        return [transpose(value)] if count == 1 else tf.unstack(value)

    groups = group(model.trainable_variables)
    inner = [keras.Variable(join([weight.numpy() for weight in weights])) for weights in groups]
    # Running statistics of normalization, and the states from which dropout draws.
    statistics = [
        keras.Variable(value.numpy(), dtype=value.dtype, trainable=False)
        for value in model.non_trainable_variables
    ]
    inner_optimizer = type(optimizer).from_config(optimizer.get_config())
    inner_optimizer.build(inner)
    pairs = [
        *zip(inner, groups, strict=True),
        *pair_variables(inner_optimizer, optimizer, group),
        *zip(statistics, ([value] for value in model.non_trainable_variables), strict=True),
    ]
    find_loss, has_penalties = make_loss(outputs), bool(model.losses)
    weights = [variable.value for variable in inner]
    images, labels = train

    def load_state() -> None:
        for variable, values in pairs:
            joined = join([value.value for value in values])
            variable.value.assign(joined, read_value=False)

    def store_state() -> None:
        for variable, values in pairs:
            parts = split(variable.value, len(values))
            for value, part in zip(values, parts, strict=True):
                value.value.assign(part, read_value=False)

    if not run:  # to trace hundreds of variables would take longer than it saves
        load_state, store_state = (
            tf.function(move, autograph=False) for move in (load_state, store_state)
        )

    def compute(images: tf.Tensor) -> Any:
        given = [
            transpose(weight) if len(values) == 1 else weight
            for weight, values in zip(weights, groups, strict=True)
        ]
        if run:
            return run.compute(given, images, is_training=True), []
        return model.stateless_call(
            given,
            [variable.value for variable in statistics],
            images,
            training=True,
            return_losses=has_penalties,
        )

    def step(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch_labels = tf.gather(labels, batch)
        with tf.GradientTape() as tape:
            logits, changed, *penalties = compute(as_numbers(tf.gather(images, batch)))
            loss = find_loss(batch_labels, logits)
            penalized = tf.add_n([loss, *penalties[0]]) if has_penalties else loss
        inner_optimizer.apply(tape.gradient(penalized, weights), inner)
        for variable, value in zip(statistics, changed, strict=True):
            variable.assign(value)
        size = tf.cast(tf.shape(batch)[0], tf.float32)
        return loss * size, count_right(logits, batch_labels)

    return _Copy(load_state, step, store_state)


def compile_epoch(
    model: keras.Model,
    optimizer: keras.Optimizer,
    train: DeviceSplit,
    batch_size: int,
    outputs: str = "softmax",
    count: int | None = None,
) -> Callable[[Int32[np.ndarray, " n"]], tuple[float, float]]:
    """Compile one epoch of training into a single XLA program, without training yet.

    XLA computes the gradient of a transposed kernel faster, so that, unless batches are small, the
    program holds kernels and their optimizer state transposed during an epoch, if the optimizer
    treats every entry by itself. Many equal layers become one loop, see `deep`.

    Parameters
    ----------
    model, optimizer
        Updated in place by every epoch.
    train
        Images (n, inputs) and labels (n,).
    batch_size
        The last batch has the remaining n % batch_size images.
    outputs
        Of the network, see `losses.make_loss`.
    count
        How many images an epoch has, n; by default all.

    Returns
    -------
    Callable
        Order of the images (n,) -> mean loss and accuracy over the epoch, where each batch is
        measured before its update, as in Keras.
    """
    load_state, step, store_state = _copy_state(model, optimizer, train, batch_size, outputs)
    count = count or len(train.labels)
    whole_batches = count // batch_size

    def add_step(batch: tf.Tensor, loss: tf.Tensor, right: tf.Tensor) -> list[tf.Tensor]:
        batch_loss, batch_right = step(batch)
        return [loss + batch_loss, right + batch_right]

    @tf.function(jit_compile=True, autograph=False)
    def epoch_program(order: tf.Tensor, batches: tf.Tensor) -> list[tf.Tensor]:
        totals = [tf.constant(0.0), tf.constant(0.0)]
        if whole_batches:

            def body(number: tf.Tensor, *totals: tf.Tensor) -> list[tf.Tensor]:
                batch = tf.slice(order, [number * batch_size], [batch_size])
                return [number + 1, *add_step(batch, *totals)]

            _, *totals = tf.while_loop(
                lambda number, *_: number < batches, body, [tf.constant(0), *totals]
            )
        if count % batch_size:
            totals = add_step(order[whole_batches * batch_size :], *totals)
        return totals

    def run_epoch(order: Int32[np.ndarray, " n"]) -> tuple[float, float]:
        load_state()
        loss, right = epoch_program(tf.constant(order), tf.constant(whole_batches))
        store_state()
        return float(loss) / count, float(right) / count

    # First calls compile; `load_state` later undoes what the last one changes.
    load_state()
    store_state()
    epoch_program(tf.range(count), tf.constant(0))
    return run_epoch


def compile_evaluation(
    model: keras.Model, *splits: DeviceSplit, outputs: str = "softmax"
) -> Callable[[DeviceSplit], Evaluation]:
    """Compile the evaluation of a whole split in one batch, for `splits` right away."""
    find_loss, run = make_loss(outputs), find_run(model)

    @tf.function(jit_compile=True, autograph=False)
    def evaluation_program(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if run:
            groups = run.group([variable.value for variable in model.trainable_variables])
            weights = [tf.stack(group) if len(group) > 1 else group[0] for group in groups]
            logits = run.compute(weights, as_numbers(images), is_training=False)
        else:
            logits = model(as_numbers(images), training=False)
        return find_loss(labels, logits), count_right(logits, labels), logits

    def evaluate(split: DeviceSplit) -> Evaluation:
        loss, right, logits = evaluation_program(*split)
        return Evaluation(float(loss), float(right) / len(split.labels), logits.numpy())

    for split in splits:
        evaluate(split)
    return evaluate


def compile_step(
    model: keras.Model,
    optimizer: keras.Optimizer,
    train: DeviceSplit,
    batch_size: int,
    outputs: str = "softmax",
) -> Callable[[Int32[np.ndarray, " images"]], dict[str, float]]:
    """Compile a function that measures a step of training and undoes it, to the bit.

    Parameters
    ----------
    model, optimizer, train, batch_size, outputs
        As in `compile_epoch`.

    Returns
    -------
    Callable
        Indices of a batch's images -> for each layer, the Euclidean norm of the change of its
        kernel divided by the kernel's norm; NaN if that is zero.
    """
    optimizer.build(model.trainable_variables)
    find_loss = make_loss(outputs)
    copy = None
    if find_run(model, optimizer):
        copy = _copy_state(model, optimizer, train, batch_size, outputs)
    weights = [variable.value for variable in model.trainable_variables]
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    state = [*model.variables, *optimizer.variables]
    images, labels = train

    @tf.function(autograph=False)
    def step_program(batch: tf.Tensor) -> None:
        if copy:
            copy.load()
            copy.step(batch)
            copy.store()
            return
        with tf.GradientTape() as tape:
            logits = model(as_numbers(tf.gather(images, batch)), training=True)
            loss = tf.add_n([find_loss(tf.gather(labels, batch), logits), *model.losses])
        optimizer.apply(tape.gradient(loss, weights), model.trainable_variables)

    def measure_step(batch: Int32[np.ndarray, " images"]) -> dict[str, float]:
        before = [variable.numpy() for variable in state]
        kernels = [layer.kernel.numpy().astype(np.float64) for layer in layers]
        ratios = {}
        try:
            step_program(tf.constant(batch))
            for layer, kernel in zip(layers, kernels, strict=True):
                norm = euclidean_norm(kernel)
                change = euclidean_norm(layer.kernel.numpy().astype(np.float64) - kernel)
                ratios[layer.name] = change / norm if norm else float("nan")
        finally:
            for variable, value in zip(state, before, strict=True):
                variable.assign(value)
        return ratios

    measure_step(np.arange(min(batch_size, len(labels)), dtype=np.int32))
    return measure_step
