"""One epoch, one evaluation and one step, each as a compiled XLA program."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from actlab.backend import keras, tf
from actlab.data.splits import Split, to_uint8
from actlab.models.network import euclidean_norm

# 1 / 255 in two numbers: times a level of grey the first is exact, and the sum of both products
# is level / 255 to the bit. XLA multiplies by a rounded 1 / 255 where it is told to divide.
_PART_OF_255TH = np.float32(round(2**23 / 255) / 2**23)
_REST_OF_255TH = np.float32(1 / 255 - float(_PART_OF_255TH))
# Images in a batch: in smaller ones it was no faster.
_TRANSPOSED_FROM = 64


class Evaluation(NamedTuple):
    """Mean cross-entropy (nats), accuracy (fraction), and the logits they came from."""

    loss: float
    accuracy: float
    logits: Float32[np.ndarray, "n classes"]


def shuffled_order(seed: int, epoch: int, images: int) -> Int32[np.ndarray, " images"]:
    """Give the order of the training images in an epoch; epochs count from 1.

    It depends on nothing but the arguments, so that every activation sees the same batches.

    >>> shuffled_order(seed=0, epoch=1, images=5)
    array([1, 4, 3, 0, 2], dtype=int32)
    """
    return np.random.default_rng([seed, epoch]).permutation(images).astype(np.int32)


class DeviceSplit(NamedTuple):
    """A split in TensorFlow's memory, one copy for every model that reads it.

    Images whose values are levels of grey, divided by 255, are held as the levels, one byte each:
    a quarter of the memory. Where their number allows, eight levels are one uint64: XLA fetches
    the rows of a batch value by value.
    """

    images: tf.Tensor
    labels: tf.Tensor


def to_device(split: Split) -> DeviceSplit:
    """Copy a split, whose images may be their levels of grey, into TensorFlow's memory."""
    given = np.ascontiguousarray(split.images)
    if given.dtype != np.uint8:
        given = given.astype(np.float32, copy=False)
    images = to_uint8(given)
    if images is None:
        images = given
    elif images.shape[1] % 8 == 0:
        images = images.view(np.uint64)
    return DeviceSplit(tf.constant(images), tf.constant(split.labels))


def as_numbers(images: tf.Tensor) -> tf.Tensor:
    """Give images (n, inputs) of a `DeviceSplit`, or some of its rows, as they were, to the bit."""
    if images.dtype == tf.float32:
        return images
    if images.dtype == tf.uint64:
        levels = tf.bitcast(images, tf.uint8)  # (n, inputs / 8, 8)
        images = tf.reshape(levels, [-1, levels.shape[1:].num_elements()])
    levels = tf.cast(images, tf.float32)
    return levels * _PART_OF_255TH + levels * _REST_OF_255TH


def compile_epoch(
    model: keras.Sequential, optimizer: keras.Optimizer, train: DeviceSplit, batch_size: int
) -> Callable[[Int32[np.ndarray, " n"]], tuple[float, float]]:
    """Compile one epoch of training into a single XLA program; nothing is trained yet.

    XLA takes less time for the gradient of a kernel where that comes out transposed. So while an
    epoch lasts, the program holds kernels, and what the optimiser has for them, transposed; but for
    small batches.

    Parameters
    ----------
    model
        Gives logits, and has no weights but those that are trained; an epoch updates them in place.
    optimizer
        Updated in place.
    train
        Images (n, inputs) and labels (n,).
    batch_size
        The last batch has the n % batch_size images that are left.

    Returns
    -------
    Callable
        Order of the images (n,) -> mean loss and accuracy over the epoch, each batch measured
        before its own update, as Keras does.
    """
    optimizer.build(model.trainable_variables)

    def turn(value: Any) -> Any:
        is_turned = len(value.shape) == 2 and batch_size >= _TRANSPOSED_FROM
        return tf.transpose(value) if is_turned else value

    turned = [keras.Variable(turn(weight.numpy())) for weight in model.trainable_variables]
    turned_optimizer = type(optimizer).from_config(optimizer.get_config())
    turned_optimizer.build(turned)
    state = [*model.trainable_variables, *optimizer.variables]
    turned_state = [*turned, *turned_optimizer.variables]
    cross_entropy: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = [variable.value for variable in turned]
    images, labels = train
    count = len(labels)
    whole_batches = count // batch_size

    @tf.function(autograph=False)
    def take_state() -> None:
        for variable, value in zip(turned_state, state, strict=True):
            variable.value.assign(turn(value.value), read_value=False)

    @tf.function(autograph=False)
    def give_state() -> None:
        for variable, value in zip(state, turned_state, strict=True):
            variable.value.assign(turn(value.value), read_value=False)

    def step(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch_labels = tf.gather(labels, batch)
        with tf.GradientTape() as tape:
            logits: Any = model.stateless_call(
                [turn(weight) for weight in weights],
                model.non_trainable_variables,
                as_numbers(tf.gather(images, batch)),
                training=True,
            )[0]
            loss = cross_entropy(batch_labels, logits)
        turned_optimizer.apply(tape.gradient(loss, weights), turned)
        size = tf.cast(tf.shape(batch)[0], tf.float32)
        return loss * size, _count_right(logits, batch_labels)

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
        take_state()
        loss, right = epoch_program(tf.constant(order), tf.constant(whole_batches))
        give_state()
        return float(loss) / count, float(right) / count

    # First calls compile. The last changes what `take_state` replaces before an epoch.
    take_state()
    give_state()
    epoch_program(tf.range(count), tf.constant(0))
    return run_epoch


def compile_evaluation(
    model: keras.Sequential, *splits: DeviceSplit
) -> Callable[[DeviceSplit], Evaluation]:
    """Compile the evaluation of a whole split in one batch, for those that are given at once."""
    cross_entropy: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function(jit_compile=True, autograph=False)
    def evaluation_program(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        logits = model(as_numbers(images), training=False)
        return cross_entropy(labels, logits), _count_right(logits, labels), logits

    def evaluate(split: DeviceSplit) -> Evaluation:
        loss, right, logits = evaluation_program(*split)
        return Evaluation(float(loss), float(right) / len(split.labels), logits.numpy())

    for split in splits:
        evaluate(split)
    return evaluate


def compile_step(
    model: keras.Sequential, optimizer: keras.Optimizer, train: DeviceSplit, batch_size: int
) -> Callable[[Int32[np.ndarray, " images"]], dict[str, float]]:
    """Give a function that measures a step of training and takes it back, to the bit.

    Parameters
    ----------
    model, optimizer
        Those of `compile_epoch`, as they stand when the function is called.
    train
        Images (n, inputs) and labels (n,).
    batch_size
        Of the batches that the function will be called with: it is compiled at once.

    Returns
    -------
    Callable
        The images of a batch, by their places -> of each layer, the Euclidean norm of the
        change of its kernel divided by the kernel's own; NaN where that is zero.
    """
    optimizer.build(model.trainable_variables)
    cross_entropy: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = [variable.value for variable in model.trainable_variables]
    state = [*model.variables, *optimizer.variables]
    images, labels = train

    @tf.function(autograph=False)
    def step_program(batch: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = model(as_numbers(tf.gather(images, batch)), training=True)
            loss = cross_entropy(tf.gather(labels, batch), logits)
        optimizer.apply(tape.gradient(loss, weights), model.trainable_variables)

    def measure_step(batch: Int32[np.ndarray, " images"]) -> dict[str, float]:
        before = [variable.numpy() for variable in state]
        kernels = [layer.kernel.numpy().astype(np.float64) for layer in model.layers]
        ratios = {}
        try:
            step_program(tf.constant(batch))
            for layer, kernel in zip(model.layers, kernels, strict=True):
                norm = euclidean_norm(kernel)
                change = euclidean_norm(layer.kernel.numpy().astype(np.float64) - kernel)
                ratios[layer.name] = change / norm if norm else float("nan")
        finally:
            for variable, value in zip(state, before, strict=True):
                variable.assign(value)
        return ratios

    measure_step(np.arange(min(batch_size, len(labels)), dtype=np.int32))
    return measure_step


def _count_right(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    predicted = tf.argmax(logits, axis=1, output_type=tf.int32)
    return tf.reduce_sum(tf.cast(tf.equal(predicted, labels), tf.float32))
