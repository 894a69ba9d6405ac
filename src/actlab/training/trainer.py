"""Training of several seeds in parallel: a whole epoch is one compiled XLA program.

`model.fit` spends most of a small network's epoch in Python and tf.data. Layers, loss and optimizer
are Keras's own, and the result equals that of `model.fit` for the same weights and batch order
(`tests/test_training.py`: to 1e-5).
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float32

from actlab.backend import keras
from actlab.data.splits import Split
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
from actlab.training.config import OptimizerConfig


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
    """The test result of a seed after its last epoch."""

    seed: int
    test_loss: float
    test_accuracy: float
    test_logits: Float32[np.ndarray, "n classes"]


@dataclass(frozen=True)
class State:
    """The state of a seed's training after an epoch: the model's and optimizer's variables."""

    seed: int
    epoch: int
    variables: list[np.ndarray]


@dataclass(frozen=True)
class Protocol:
    """How every model of a configuration is trained.

    Attributes
    ----------
    epochs, batch_size
        As in Keras.
    optimizer
        One of Keras.
    kept_epochs
        Epochs after which `keep` is called; 0 is before training.
    """

    epochs: int
    batch_size: int
    optimizer: OptimizerConfig
    kept_epochs: Sequence[int]


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
    resume_from: Mapping[int, State] | None = None,
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
        States, by seed, from which training resumes with the same results.
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
    train_images, watched, tested = map(to_device, (train, validation, test))
    images = len(train.labels)

    def work() -> None:
        model = build_model(spec, seeds[0])
        optimizer = make_optimizer(protocol.optimizer)
        started = time.perf_counter()
        batch_size, outputs = protocol.batch_size, spec.network.outputs
        run_epoch = compile_epoch(model, optimizer, train_images, batch_size, outputs)
        variables = [*model.variables, *optimizer.variables]
        fresh = [variable.numpy() for variable in variables]
        evaluate = compile_evaluation(model, watched, tested, outputs=outputs)
        compile_seconds = time.perf_counter() - started
        measure_step = compile_step(model, optimizer, train_images, batch_size, outputs)

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
            last = 0
            if state := (resume_from or {}).get(seed):
                last = state.epoch
                for variable, value in zip(variables, state.variables, strict=True):
                    variable.assign(value)
            elif 0 in protocol.kept_epochs:
                keep(seed, 0, model, partial(next_step, seed, 0))
            for epoch in range(last + 1, protocol.epochs + 1):
                order = shuffled_order(seed, epoch, images)
                in_parallel = len(training)
                started = time.perf_counter()
                loss, accuracy = run_epoch(order)
                epoch_seconds = time.perf_counter() - started
                validated = evaluate(watched)
                if epoch in protocol.kept_epochs:
                    keep(seed, epoch, model, partial(next_step, seed, epoch))
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
                save(State(seed, epoch, [np.array(variable) for variable in variables]), result)
                events.put(result)
                if stop.is_set():
                    return
            training.discard(seed)
            events.put(Fitted(seed, *evaluate(tested)))

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
