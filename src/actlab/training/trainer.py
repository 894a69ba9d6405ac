"""Models and images -> histories: a whole epoch is one compiled XLA program.

`model.fit` spends most of an epoch of a small network in Python and tf.data, as
`benchmarks/bench.py` measures. Layers, loss and optimiser are Keras's own, and the
result is that of `model.fit` for the same weights and order of batches, which
`tests/test_training.py` holds to 1e-5.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from actlab.data.datasets import Split, to_uint8
from actlab.evidence.statistics import euclidean_norm
from actlab.models.backend import keras, tf
from actlab.models.network import ModelSpec, build_model, draw_kernels


class Evaluation(NamedTuple):
    """Mean cross-entropy (nats), accuracy (fraction), and the logits they came from."""

    loss: float
    accuracy: float
    logits: Float32[np.ndarray, "n classes"]


@dataclass(frozen=True)
class Epoch:
    """What one epoch of one seed gave; metrics bear Keras's names.

    `epoch_seconds` is training alone. `compile_seconds` is what tracing and compiling the
    programs that run this seed took before; `models_at_once` trained side by side when the epoch
    began, this one among them, each on one thread. `ended` is when, in milliseconds since 1970.
    """

    seed: int
    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    epoch_seconds: float
    compile_seconds: float
    models_at_once: int
    ended: int


@dataclass(frozen=True)
class Fitted:
    """The model of a seed after its last epoch, on the test split."""

    seed: int
    test_loss: float
    test_accuracy: float
    test_logits: Float32[np.ndarray, "n classes"]


@dataclass(frozen=True)
class State:
    """A seed's training after an epoch: all that the rest of it depends on, but for the images.

    `variables` are the model's, then the optimiser's.
    """

    seed: int
    epoch: int
    variables: list[np.ndarray]


@dataclass(frozen=True)
class Protocol:
    """How every model of a configuration is trained.

    Attributes
    ----------
    epochs, batch_size, learning_rate
        As in Keras; the optimiser is Adam with Keras's other defaults.
    kept_epochs
        Epochs after which the weights are handed to `keep`; 0 is before training.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    kept_epochs: Sequence[int]


def shuffled_order(seed: int, epoch: int, images: int) -> Int32[np.ndarray, " images"]:
    """Give the order of the training images in an epoch; epochs count from 1.

    It depends on nothing but the arguments, so that every activation sees the same batches.

    >>> shuffled_order(seed=0, epoch=1, images=5)
    array([1, 4, 3, 0, 2], dtype=int32)
    """
    return np.random.default_rng([seed, epoch]).permutation(images).astype(np.int32)


# 1 / 255 in two numbers: times a level of grey the first is exact, and the sum of both products
# is level / 255 to the bit. XLA multiplies by a rounded 1 / 255 where it is told to divide.
_PART_OF_255TH = np.float32(round(2**23 / 255) / 2**23)
_REST_OF_255TH = np.float32(1 / 255 - float(_PART_OF_255TH))


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


# Images in a batch: in smaller ones it was no faster.
_TRANSPOSED_FROM = 64


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


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fit_seeds(
    spec: ModelSpec,
    seeds: Sequence[int],
    train: Split,
    validation: Split,
    test: Split,
    protocol: Protocol,
    keep: Callable[
        [int, int, keras.Sequential, Callable[[], dict[str, float]]], None
    ] = lambda seed, epoch, model, next_step: None,
    models_at_once: int | None = None,
    begun: Mapping[int, State] | None = None,
    save: Callable[[State, Epoch], None] = lambda state, epoch: None,
) -> Generator[Epoch | Fitted, None, None]:
    """Train one model a seed, several side by side, and give what happens as it happens.

    Parameters
    ----------
    spec
        What is trained.
    seeds
        Each gives the initial weights and the order of the batches.
    train, validation, test
        Images (n, inputs), float32 or their levels, and labels (n,) int32; validation is watched
        after every epoch, test is measured after the last.
    protocol
        How it is trained.
    keep
        Called with seed, epoch and model after each of the protocol's kept epochs, from the
        thread that trains the model, outside its times. The fourth argument, when called, gives
        what `compile_step` measures on the first batch of the epoch that comes next, or would.
    models_at_once
        One thread each; as many as there are cores by default. It changes no result.
    begun
        States, by seed, from which their seeds go on; they give what they would have given.
    save
        Called with a seed's state after every epoch, and what the epoch gave, from the thread that
        trains the model, after `keep`, outside its times. The state's arrays are copies.

    Yields
    ------
    Epoch | Fitted
        `Epoch` after every epoch, `Fitted` after a seed's last. The seeds' events come
        interleaved.
    """
    if not seeds:
        return
    models_at_once = min(models_at_once or available_cores(), len(seeds))
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for seed in seeds:
        waiting.put(seed)
    events: queue.SimpleQueue[Epoch | Fitted | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()
    all_compiled = threading.Barrier(models_at_once)
    training: set[int] = set()
    trained_on, watched, tested_on = map(to_device, (train, validation, test))
    images = len(train.labels)

    def work() -> None:
        model = build_model(spec, seeds[0])
        optimizer = keras.optimizers.Adam(protocol.learning_rate)
        started = time.perf_counter()
        run_epoch = compile_epoch(model, optimizer, trained_on, protocol.batch_size)
        variables = [*model.variables, *optimizer.variables]
        fresh = [variable.numpy() for variable in variables]
        evaluate = compile_evaluation(model, watched, tested_on)
        compile_seconds = time.perf_counter() - started
        measure_step = compile_step(model, optimizer, trained_on, protocol.batch_size)

        def next_step(seed: int, epoch: int) -> dict[str, float]:
            return measure_step(shuffled_order(seed, epoch + 1, images)[: protocol.batch_size])

        all_compiled.wait()  # compiling takes every core: it would slow another's first epoch
        while not stop.is_set():
            try:
                seed = waiting.get_nowait()
            except queue.Empty:
                break
            training.add(seed)
            for variable, value in zip(variables, fresh, strict=True):
                variable.assign(value)
            draw_kernels(model, spec, seed)
            last = 0
            if state := (begun or {}).get(seed):
                last = state.epoch
                for variable, value in zip(variables, state.variables, strict=True):
                    variable.assign(value)
            elif 0 in protocol.kept_epochs:
                keep(seed, 0, model, partial(next_step, seed, 0))
            for epoch in range(last + 1, protocol.epochs + 1):
                order = shuffled_order(seed, epoch, images)
                side_by_side = len(training)
                started = time.perf_counter()
                loss, accuracy = run_epoch(order)
                epoch_seconds = time.perf_counter() - started
                seen = evaluate(watched)
                if epoch in protocol.kept_epochs:
                    keep(seed, epoch, model, partial(next_step, seed, epoch))
                gave = Epoch(
                    seed=seed,
                    epoch=epoch,
                    loss=loss,
                    accuracy=accuracy,
                    val_loss=seen.loss,
                    val_accuracy=seen.accuracy,
                    epoch_seconds=epoch_seconds,
                    compile_seconds=compile_seconds,
                    models_at_once=side_by_side,
                    ended=time.time_ns() // 1_000_000,
                )
                save(State(seed, epoch, [np.array(variable) for variable in variables]), gave)
                events.put(gave)
                if stop.is_set():
                    return
            training.discard(seed)
            events.put(Fitted(seed, *evaluate(tested_on)))

    def guarded_work() -> None:
        try:
            work()
            events.put(None)
        except BaseException as error:  # handed to the thread that asked for the models
            events.put(error)
            all_compiled.abort()

    # Daemons: who interrupts the process is not to wait for the end of an epoch.
    threads = [threading.Thread(target=guarded_work, daemon=True) for _ in range(models_at_once)]
    at_work, is_interrupted = len(threads), False
    try:
        for thread in threads:
            thread.start()
        while at_work:
            event = events.get()
            if isinstance(event, BaseException):
                raise event
            if event is None:
                at_work -= 1
            else:
                yield event
    except (KeyboardInterrupt, SystemExit):
        is_interrupted = True
        raise
    finally:
        stop.set()
        all_compiled.abort()
        for thread in threads:
            if thread.ident is not None and not is_interrupted:  # it was started
                thread.join()


@dataclass(frozen=True)
class TimedEpoch:
    """How long an epoch took, in a block in which every model has its turn.

    `place` is its place in the order of the block, from 0; `load` the machine's average of the
    last minute, in processes that run or wait (NaN where the system does not tell).
    """

    block: int
    place: int
    name: str
    epoch_seconds: float
    load: float


def time_epochs(
    specs: Mapping[str, ModelSpec], train: Split, protocol: Protocol, blocks: int, epochs: int
) -> Iterator[TimedEpoch]:
    """Time epochs of several models in one process, one model at a time, in blocks.

    A block trains each model for some epochs, on the same batches, in an order drawn for the
    block; one block more, before the first, is not recorded. So neither order nor warm-up nor
    a slow minute of the machine tells the models apart; and of a model's epochs in a block the
    shortest counts, so that no single stall of the machine does.

    Parameters
    ----------
    specs
        What is timed, by name.
    train
        Images (n, inputs), float32 or their levels, and labels (n,) int32.
    protocol
        Batch size and learning rate.
    blocks
        How many are recorded.
    epochs
        Of each model in a block.

    Yields
    ------
    TimedEpoch
        As it happens.
    """
    images = to_device(train)
    programs = {
        name: compile_epoch(
            build_model(spec, 0),
            keras.optimizers.Adam(protocol.learning_rate),
            images,
            protocol.batch_size,
        )
        for name, spec in specs.items()
    }
    for block in range(blocks + 1):
        batches = shuffled_order(0, block + 1, len(train.labels))
        order = np.random.default_rng([block]).permutation(len(specs))
        for place, name in enumerate(np.array(list(specs), dtype=object)[order]):
            epoch_seconds = float("inf")
            for _ in range(epochs):
                started = time.perf_counter()
                programs[name](batches)
                epoch_seconds = min(epoch_seconds, time.perf_counter() - started)
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
            if block:
                yield TimedEpoch(block, place, name, epoch_seconds, load)
