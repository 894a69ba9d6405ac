"""Training of several seeds in parallel: a whole epoch is one compiled XLA program.

`model.fit` spends most of a small network's epoch in Python and tf.data. Layers, loss and optimizer
are Keras's own, and the result equals that of `model.fit` for the same weights and batch order
(`tests/test_training.py`: to 1e-5).
"""

import math
import queue
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from actlab.backend import keras
from actlab.data.splits import Split, as_scaled
from actlab.engine.parallel import available_cores
from actlab.models.network import ModelSpec, build_model, draw_weights
from actlab.training.compiled import (
    compile_epoch,
    compile_evaluation,
    compile_step,
    make_optimizer,
    shuffled_order,
    to_device,
)
from actlab.training.config import OptimizerConfig, TrainingConfig


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch of one seed, with Keras's names of metrics.

    `epoch_seconds` is training only, `compile_seconds` compilation before the first epoch,
    `models_at_once` the number of models in parallel, `ended` a time in milliseconds since 1970.
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
    """The test result of a seed after its last epoch.

    `noise` has the amplitudes of noise on the test images, with loss and accuracy.
    """

    seed: int
    test_loss: float
    test_accuracy: float
    test_logits: Float32[np.ndarray, "n classes"]
    noise: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class State:
    """The state of a seed's training after an epoch.

    `variables` are the model's and optimizer's, then, where the best weights are tested, the
    model's after the best epoch. `is_last` says that no epoch follows.
    """

    seed: int
    epoch: int
    variables: list[np.ndarray]
    is_last: bool = False


class Protocol(NamedTuple):
    """How every model of a configuration is trained."""

    training: TrainingConfig
    optimizer: OptimizerConfig


class _Watch:
    """The epochs of a seed so far: which is the best, and whether another follows."""

    def __init__(self, training: TrainingConfig, most: int) -> None:
        self._training, self._most = training, most
        self._sign = -1.0 if training.monitor == "val_accuracy" else 1.0
        self.best, self._value = 0, math.inf
        self._improved, self._reference = 0, math.inf

    def add(self, epoch: Epoch) -> bool:
        """Take the result of an epoch; return whether it is the best so far."""
        value = self._sign * getattr(epoch, self._training.monitor)
        value = math.inf if math.isnan(value) else value
        is_best = value < self._value or not self.best
        # As Keras's EarlyStopping: slow improvements add up.
        if value < self._reference - self._training.min_delta or not self.best:
            self._improved, self._reference = epoch.epoch, value
        if is_best:
            self.best, self._value = epoch.epoch, value
        return is_best

    def is_over(self, epoch: int) -> bool:
        """Return whether an epoch is the last."""
        patience = self._training.patience
        return epoch >= self._most or (patience is not None and epoch - self._improved >= patience)


def epoch_lengths(images: int, training: TrainingConfig) -> list[int]:
    """Count the images of each epoch; `steps` may end the last one before its end.

    >>> epoch_lengths(100, TrainingConfig(5, 32, [], steps=6))
    [100, 64]
    """
    batches = -(-images // training.batch_size)
    steps = min(training.steps or training.epochs * batches, training.epochs * batches)
    whole, rest = divmod(steps, batches)
    return [images] * whole + [min(rest * training.batch_size, images)] * (rest > 0)


def _add_noise(split: Split, bound: float) -> Split:
    """Add uniform noise between -bound and bound to images; the same at every call."""
    images = as_scaled(split.images)
    noise = np.random.default_rng(0).uniform(-bound, bound, images.shape)
    return Split(images + noise.astype(np.float32), split.labels)


def fit_seeds(
    spec: ModelSpec,
    seeds: Sequence[int],
    train: Split,
    validation: Split,
    test: Split,
    protocol: Protocol,
    keep: Callable[
        [int, int, keras.Model, Callable[[], dict[str, float]]], None
    ] = lambda seed, epoch, model, next_step: None,
    models_at_once: int | None = None,
    resume_from: Mapping[int, tuple[State, Sequence[Epoch]]] | None = None,
    save: Callable[[State, Epoch], None] = lambda state, epoch: None,
) -> Generator[Epoch | Fitted, None, None]:
    """Train one model per seed, several in parallel, and yield their results.

    Parameters
    ----------
    spec
        The network.
    seeds
        Each determines the initial weights and the order of the batches.
    train, validation, test
        Images (n, inputs), float32 or uint8, and labels (n,) int32; validation is evaluated after
        every epoch, test after the last.
    protocol
        How models are trained.
    keep
        Called with seed, epoch and model after each kept epoch, on the thread that trains the
        model. The fourth argument returns what `compile_step` measures on the next batch.
    models_at_once
        Number of threads, by default the number of cores. It changes no result.
    resume_from
        By seed, the state from which training resumes with the same results, and all epochs so far.
    save
        Called with the state (copied arrays) and result of every epoch, after `keep`.

    Yields
    ------
    Epoch | Fitted
        `Epoch` after every epoch, `Fitted` after a seed's last, in the order in which they end.
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
    training_split, watched, tested = map(to_device, (train, validation, test))
    noisy = [to_device(_add_noise(test, bound)) for bound in protocol.training.test_noise]
    images, batch_size = len(train.labels), protocol.training.batch_size
    lengths = epoch_lengths(images, protocol.training)
    kept_epochs, final = protocol.training.kept_epochs(), protocol.training.epochs
    tests_best = protocol.training.tested == "best"
    measures_after = protocol.training.train_metrics == "inference"

    def work() -> None:
        model = build_model(spec, seeds[0])
        optimizer = make_optimizer(protocol.optimizer)
        outputs = spec.network.outputs
        started = time.perf_counter()
        programs = {
            length: compile_epoch(model, optimizer, training_split, batch_size, outputs, length)
            for length in {*lengths[:1], *lengths[-1:]}
        }
        variables = [*model.variables, *optimizer.variables]
        fresh = [variable.numpy() for variable in variables]
        evaluate = compile_evaluation(model, watched, tested, outputs=outputs)
        compile_seconds = time.perf_counter() - started
        measure_step = compile_step(model, optimizer, training_split, batch_size, outputs)

        def next_step(seed: int, epoch: int) -> dict[str, float]:
            return measure_step(shuffled_order(seed, epoch + 1, images)[:batch_size])

        all_compiled.wait()  # compiling takes every core, and would slow down another's first epoch
        while not stop.is_set():
            try:
                seed = waiting.get_nowait()
            except queue.Empty:
                break
            training.add(seed)
            for variable, value in zip(variables, fresh, strict=True):
                variable.assign(value)
            draw_weights(model, spec, seed)
            watch, best, epoch = _Watch(protocol.training, len(lengths)), [], 0
            state, past = (resume_from or {}).get(seed, (None, []))
            if state:
                epoch, best = state.epoch, state.variables[len(variables) :]
                for variable, value in zip(variables, state.variables, strict=False):
                    variable.assign(value)
                for result in past:
                    watch.add(result)
            elif 0 in kept_epochs:
                keep(seed, 0, model, partial(next_step, seed, 0))
            while not (state and state.is_last):
                epoch += 1
                order = shuffled_order(seed, epoch, images)[: lengths[epoch - 1]]
                in_parallel = len(training)
                started = time.perf_counter()
                loss, accuracy = programs[len(order)](order)
                epoch_seconds = time.perf_counter() - started
                if measures_after:
                    loss, accuracy, _ = evaluate(training_split)
                validated = evaluate(watched)
                result = Epoch(
                    seed=seed,
                    epoch=epoch,
                    loss=loss,
                    accuracy=accuracy,
                    val_loss=validated.loss,
                    val_accuracy=validated.accuracy,
                    epoch_seconds=epoch_seconds,
                    compile_seconds=compile_seconds,
                    models_at_once=in_parallel,
                    ended=time.time_ns() // 1_000_000,
                )
                if watch.add(result) and tests_best:
                    best = [variable.numpy() for variable in model.variables]
                is_last = watch.is_over(epoch)
                if is_last and tests_best:
                    for variable, value in zip(model.variables, best, strict=True):
                        variable.assign(value)
                if is_last or (epoch in kept_epochs and epoch != final):
                    named = final if is_last else epoch
                    keep(seed, named, model, partial(next_step, seed, epoch))
                arrays = [*(np.array(variable) for variable in variables), *best]
                state = State(seed, epoch, arrays, is_last)
                save(state, result)
                events.put(result)
                if stop.is_set():
                    return
            training.discard(seed)
            noise = [
                (bound, *evaluate(split)[:2])
                for bound, split in zip(protocol.training.test_noise, noisy, strict=True)
            ]
            events.put(Fitted(seed, *evaluate(tested), noise))

    def guarded_work() -> None:
        try:
            work()
            events.put(None)
        except BaseException as error:  # raised again by the consumer
            events.put(error)
            all_compiled.abort()

    # Daemons: an interrupt does not wait for the end of an epoch.
    threads = [threading.Thread(target=guarded_work, daemon=True) for _ in range(models_at_once)]
    running, is_interrupted = len(threads), False
    try:
        for thread in threads:
            thread.start()
        while running:
            event = events.get()
            if isinstance(event, BaseException):
                raise event
            if event is None:
                running -= 1
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
