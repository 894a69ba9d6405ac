"""Models and images -> histories: a whole epoch is one compiled XLA program.

`model.fit` spends most of an epoch of a small network in Python and tf.data, as
`benchmarks/bench.py` measures. Layers, loss and optimiser are Keras's own, and the
result is that of `model.fit` for the same weights and order of batches, which
`tests/test_training.py` holds to 1e-5.
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
from actlab.models.network import ModelSpec, build_model, draw_kernels
from actlab.training.compiled import (
    compile_epoch,
    compile_evaluation,
    compile_step,
    shuffled_order,
    to_device,
)


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
