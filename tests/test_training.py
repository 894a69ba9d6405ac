import os
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from planted import CONSTANTS

from actlab.activations.config import ActivationConfig
from actlab.activations.definitions import ACTIVATIONS
from actlab.backend import keras, tf
from actlab.data.splits import Split, to_uint8
from actlab.models.config import NetworkConfig
from actlab.models.network import ModelSpec, build_model
from actlab.training.compiled import (
    DeviceSplit,
    as_numbers,
    compile_epoch,
    compile_evaluation,
    compile_step,
    shuffled_order,
    to_device,
)
from actlab.training.timing import time_epochs
from actlab.training.trainer import Epoch, Fitted, Protocol, fit_seeds


def spec_of(function="relu", hidden=(128, 64)):
    return ModelSpec(
        ActivationConfig(function, function, CONSTANTS.get(function, {})),
        NetworkConfig("net", list(hidden)),
        "glorot_uniform",
    )


def take(split, count):
    return Split(split.images[:count], split.labels[:count])


#: Where the derivative of an activation jumps, its constants being those of `CONSTANTS`.
KINKS = {
    **dict.fromkeys(("relu", "leaky_relu", "prelu", "selu"), (0,)),
    **dict.fromkeys(("hard_sigmoid", "hard_silu"), (-3, 3)),
    **dict.fromkeys(("hard_shrink", "soft_shrink"), (-0.5, 0.5)),
    **dict.fromkeys(("hard_tanh", "sparse_sigmoid"), (-1, 1)),
    "relu6": (0, 6),
    "threshold": (1,),
}
SMOOTH = [function for function in ACTIVATIONS if function not in KINKS]


class RecordingAdam(keras.optimizers.Adam):
    """Adam that keeps the gradients of its last step, in variables of its own."""

    def build(self, var_list):
        super().build(var_list)
        self.gradients = [
            self.add_variable_from_reference(variable, name="gradient") for variable in var_list
        ]

    def update_step(self, gradient, variable, learning_rate):
        self.assign(self.gradients[self._get_variable_index(variable)], gradient)
        super().update_step(gradient, variable, learning_rate)


class Replaceable:
    """A tensor that a compiled program reads anew at each call."""

    def __init__(self, value):
        self.variable = tf.Variable(value)

    def __len__(self):
        return self.variable.shape[0]

    def __tf_tensor__(self, dtype=None, name=None):
        return self.variable.read_value()


def is_near_a_kink(model, kinks, images):
    """Tell of each image whether a pre-activation comes within 1e-5 of a kink."""
    near = np.zeros(len(images), bool)
    for layer in model.layers[:-1]:
        preactivations = images @ layer.kernel.numpy() + layer.bias.numpy()
        near |= (np.abs(preactivations[..., None] - np.array(kinks)) < 1e-5).any(axis=(1, 2))
        images = np.asarray(layer.activation(tf.constant(preactivations)))
    return near


def read(variables):
    return [variable.numpy() for variable in variables]


def assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def assert_close(ours, theirs, scales, relative):
    """Compare tensors, each to a part of its scale."""
    for number, (our, their, scale) in enumerate(zip(ours, theirs, scales, strict=True)):
        np.testing.assert_allclose(our, their, rtol=0, atol=relative * scale, err_msg=f"{number}")


def largest(tensors):
    return [float(np.abs(tensor).max()) for tensor in tensors]


def contributions(model, images, labels):
    """Give the scale of each gradient's rounding: the largest sum of absolute terms of an entry.

    A gradient is the sum of what the images contribute to it. Its rounding error is relative to
    these terms, not to their sum, which is smaller where they cancel: a bias's often does. The
    order is that of the weights; slopes of PReLU have the bias's scale.
    """
    values, inputs, preactivations = tf.constant(images), [], []
    with tf.GradientTape() as tape:
        for layer in model.layers:
            inputs.append(values)
            preactivations.append(values @ layer.kernel + layer.bias)
            tape.watch(preactivations[-1])
            values = layer.activation(preactivations[-1])
        loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, values)
    scales = []
    signals: Any = tape.gradient(loss, preactivations)
    for layer, value, signal in zip(model.layers, inputs, signals, strict=True):
        signal = np.abs(signal)
        kernel, bias = (np.abs(value).T @ signal).max(), signal.sum(axis=0).max()
        scales += [kernel, bias, bias][: len(layer.get_weights())]
    return scales


# Two programs that round differently part for good where a pre-activation falls on one side of a
# kink in the one and on the other side in the other. So both take each step from the same state,
# and an image that comes that close to a kink is replaced. 60 steps see all 60,000 images.
@pytest.mark.parametrize("function", list(ACTIVATIONS))
def test_every_step_equals_that_of_keras_from_the_same_state(function, mnist):
    spec, size, replaced = spec_of(function), 1000, 0
    train, levels = mnist.train, to_uint8(mnist.train.images)
    assert levels is not None
    whole = to_device(Split(levels, train.labels))
    held: list[Any] = [Replaceable(tensor[:size]) for tensor in whole]
    ours, optimizer = build_model(spec, 0), RecordingAdam(0.001)
    run_epoch = compile_epoch(ours, optimizer, DeviceSplit(*held), size)  # of one batch
    theirs = compile_in_keras(build_model(spec, 0), RecordingAdam(0.001))
    theirs.optimizer.build(theirs.trainable_variables)
    updated = [keras.Variable(weight) for weight in ours.get_weights()]
    adam = keras.optimizers.Adam(0.001)
    adam.build(updated)
    apply = tf.function(lambda gradients: adam.apply(gradients, updated), autograph=False)
    our_state = [*ours.variables, *optimizer.variables]
    for batch in shuffled_order(0, 1, len(train.labels)).reshape(-1, size):
        is_near = is_near_a_kink(ours, KINKS.get(function, ()), train.images[batch])
        replaced += is_near.sum()
        batch = np.where(is_near, batch[~is_near][0], batch)
        images, labels = train.images[batch], train.labels[batch]
        scales, before = contributions(ours, images, labels), read(our_state)
        assign([*theirs.variables, *theirs.optimizer.variables], before)
        assign([*updated, *adam.variables], before[: -len(optimizer.gradients)])
        assign([each.variable for each in held], [tf.gather(tensor, batch) for tensor in whole])

        loss, accuracy = run_epoch(np.arange(size, dtype=np.int32))
        expected, right = theirs.train_on_batch(images, labels)
        assert loss == pytest.approx(expected, rel=1e-6)
        assert accuracy == pytest.approx(right, abs=1.5 / size)
        gradients = read(optimizer.gradients)
        assert_close(gradients, read(theirs.optimizer.gradients), scales, 1e-5)
        # The update, from identical gradients. It is the difference of two float32 weights: where
        # these are near 1, rounding alone is 6e-5 of a step of 0.001.
        apply([tf.constant(gradient) for gradient in gradients])
        changes, expected_changes = (
            [after - start for after, start in zip(read(state), before, strict=False)]
            for state in (our_state[: -len(gradients)], [*updated, *adam.variables])
        )
        assert_close(changes, expected_changes, largest(expected_changes), 1e-4)
        theirs.reset_metrics()
    assert replaced < 0.01 * len(train.labels)


def compile_in_keras(model, optimizer) -> Any:
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


@pytest.mark.parametrize("function", SMOOTH)
def test_an_epoch_of_a_smooth_activation_equals_that_of_keras(function, mnist):
    train, spec = mnist.train, spec_of(function)
    order = shuffled_order(0, 1, len(train.labels))
    ours = build_model(spec, 0)
    run_epoch = compile_epoch(ours, keras.optimizers.Adam(0.001), to_device(train), 128)
    loss, accuracy = run_epoch(order)
    theirs = compile_in_keras(build_model(spec, 0), keras.optimizers.Adam(0.001))
    history = theirs.fit(
        train.images[order], train.labels[order], batch_size=128, shuffle=False, verbose=0
    ).history
    assert loss == pytest.approx(history["loss"][0], rel=1e-5)
    assert accuracy == pytest.approx(history["accuracy"][0], abs=1.5 / len(order))
    for our, their in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(our, their, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [32, 128])  # kernels are transposed meanwhile, or are not
def test_square_kernels_and_what_adam_has_for_them_equal_those_of_keras(batch_size, mnist):
    train, spec = take(mnist.train, 1000), spec_of("tanh", hidden=(16, 16, 16))
    orders = [shuffled_order(0, epoch, 1000) for epoch in (1, 2)]
    ours, optimizer = build_model(spec, 0), keras.optimizers.Adam(0.001)
    run_epoch = compile_epoch(ours, optimizer, to_device(train), batch_size)
    theirs: Any = build_model(spec, 0)
    theirs.compile(
        optimizer=keras.optimizers.Adam(0.001),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    for order in orders:
        run_epoch(order)
        theirs.fit(
            train.images[order],
            train.labels[order],
            batch_size=batch_size,
            shuffle=False,
            verbose=0,
        )
    variables = [*theirs.variables, *theirs.optimizer.variables]
    assert int(optimizer.iterations) == 2 * -(-1000 // batch_size)
    for our, their in zip([*ours.variables, *optimizer.variables], variables, strict=True):
        largest = float(np.abs(their.numpy()).max())
        np.testing.assert_allclose(our, their, rtol=0, atol=1e-4 * largest, err_msg=their.path)


def test_an_epoch_begins_with_what_the_model_has_then(mnist):
    spec, order = spec_of("tanh", hidden=(16, 16)), shuffled_order(0, 1, 300)
    model, optimizer = build_model(spec, 0), keras.optimizers.Adam(0.01)
    state = [*model.variables]
    before = [variable.numpy() for variable in state]
    run_epoch = compile_epoch(model, optimizer, to_device(take(mnist.train, 300)), 128)
    state += optimizer.variables
    fresh = [variable.numpy() for variable in state]
    for variable, value in zip(fresh, before, strict=False):
        np.testing.assert_array_equal(variable, value)  # nothing was trained yet
    assert int(optimizer.iterations) == 0
    first = run_epoch(order)
    after = [variable.numpy() for variable in state]
    assert run_epoch(order) != first
    for variable, value in zip(state, fresh, strict=True):
        variable.assign(value)
    assert run_epoch(order) == first
    for variable, value in zip(state, after, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_slopes_of_prelu_are_trained_and_start_again_with_each_seed(mnist):
    train, slopes = take(mnist.train, 300), {}

    def keep(seed, epoch, model, next_step):
        slopes[seed, epoch] = model.layers[0].activation.alpha.numpy()

    protocol = Protocol(1, 100, 0.01, [0, 1])
    events = fit_seeds(spec_of("prelu"), [0, 1], train, train, train, protocol, keep, 1)
    assert len(list(events)) == 4
    for seed in (0, 1):
        np.testing.assert_array_equal(slopes[seed, 0], np.full(128, np.float32(0.25)))
        assert np.abs(slopes[seed, 1] - 0.25).max() > 1e-3
    assert not np.array_equal(slopes[0, 1], slopes[1, 1])


def test_the_last_short_batch_is_trained_on(mnist):
    # 130 images in batches of 128: the order decides which two images are the short batch.
    train, spec = to_device(take(mnist.train, 130)), spec_of(hidden=(8,))
    weights = []
    for last in ([128, 129], [128, 128]):
        model = build_model(spec, 0)
        order = np.concatenate([np.arange(128), last]).astype(np.int32)
        compile_epoch(model, keras.optimizers.Adam(0.01), train, 128)(order)
        weights.append(model.get_weights()[0])
    assert not np.array_equal(*weights)


def test_batches_larger_than_the_data_are_one_short_batch(mnist):
    train, spec = to_device(take(mnist.train, 50)), spec_of(hidden=(8,))
    results = []
    for batch_size in (50, 4096):
        model = build_model(spec, 0)
        run_epoch = compile_epoch(model, keras.optimizers.Adam(0.01), train, batch_size)
        results.append(run_epoch(np.arange(50, dtype=np.int32)))
    assert results[0] == pytest.approx(results[1], rel=1e-6)


def test_evaluation_is_that_of_keras(mnist):
    model: Any = build_model(spec_of("tanh"), 0)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    split = take(mnist.test, 1000)
    loss, accuracy = model.evaluate(split.images, split.labels, verbose=0)
    ours = compile_evaluation(model)(to_device(split))
    assert ours.loss == pytest.approx(loss, rel=1e-5)
    assert ours.accuracy == pytest.approx(accuracy, abs=1e-6)
    np.testing.assert_allclose(ours.logits, model(split.images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("rows", "dtype"), [(8, tf.uint64), (64, tf.uint8)])
def test_every_level_of_grey_is_itself_to_the_bit_on_the_device(rows, dtype, jit_compile):
    images = np.arange(256, dtype=np.float32).reshape(rows, -1) / np.float32(255)
    held = to_device(Split(images, np.zeros(rows, np.int32))).images
    assert held.dtype == dtype
    numbers = tf.function(as_numbers, jit_compile=jit_compile, autograph=False)(held)
    assert numbers.numpy().tobytes() == images.tobytes()


@pytest.mark.parametrize(
    "images",
    [np.full((2, 8), 0.3), np.full((2, 8), np.nan), np.full((2, 8), -1 / 255), np.full((2, 8), 2)],
)
def test_other_images_are_left_as_they_are(images):
    images = images.astype(np.float32)
    held = to_device(Split(images, np.zeros(2, np.int32))).images
    assert held.dtype == tf.float32
    np.testing.assert_array_equal(as_numbers(held), images)


def test_images_of_double_precision_and_of_another_layout_are_the_same_images():
    levels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    numbers = levels / np.float32(255)
    for images in (levels / 255, np.asfortranarray(levels), np.asfortranarray(numbers)):
        held = to_device(Split(images, np.zeros(8, np.int32))).images
        assert as_numbers(held).numpy().tobytes() == numbers.tobytes()
    held = to_device(Split(np.full((2, 8), 0.3), np.zeros(2, np.int32))).images
    np.testing.assert_array_equal(as_numbers(held), np.full((2, 8), np.float32(0.3)), strict=True)


def test_images_held_as_bytes_train_to_the_bit_as_numbers_do(mnist):
    some, results = take(mnist.train, 700), []
    plain = DeviceSplit(tf.constant(some.images), tf.constant(some.labels))
    for train in (to_device(some), plain):
        model = build_model(spec_of(), 0)
        told = compile_epoch(model, keras.optimizers.Adam(0.01), train, 128)(
            shuffled_order(0, 1, 700)
        )
        evaluated = compile_evaluation(model)(train)
        results.append([*map(np.asarray, (told, *evaluated)), *model.get_weights()])
    for of_bytes, of_numbers in zip(*results, strict=True):
        np.testing.assert_array_equal(of_bytes, of_numbers)


def test_every_epoch_has_an_order_of_its_own():
    orders = [tuple(shuffled_order(seed, epoch, 50)) for seed in (0, 1) for epoch in (1, 2)]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(50)) for order in orders)


def small_study(mnist, models_at_once=None, seeds=(0, 1, 2), keep=None):
    kept = {}

    def remember(seed, epoch, model, next_step):
        kept[seed, epoch] = model.get_weights()

    events = list(
        fit_seeds(
            spec_of(hidden=(16, 8)),
            list(seeds),
            take(mnist.train, 1000),
            take(mnist.test, 300),
            take(mnist.test, 200),
            Protocol(epochs=2, batch_size=64, learning_rate=0.01, kept_epochs=[0, 2]),
            keep or remember,
            models_at_once,
        )
    )
    return events, kept


def bits(events, kept):
    """All that a study gives, other than times, in an order of its own."""
    epochs = sorted(
        (e.seed, e.epoch, e.loss, e.accuracy, e.val_loss, e.val_accuracy)
        for e in events
        if isinstance(e, Epoch)
    )
    tests = sorted(
        (e.seed, e.test_loss, e.test_accuracy, e.test_logits.tobytes())
        for e in events
        if isinstance(e, Fitted)
    )
    weights = {key: b"".join(w.tobytes() for w in value) for key, value in sorted(kept.items())}
    return epochs, tests, weights


def test_models_side_by_side_give_the_bits_of_models_in_turn(mnist):
    assert bits(*small_study(mnist, 1)) == bits(*small_study(mnist, 3))


def test_a_seed_gives_the_same_bits_whatever_the_other_seeds(mnist):
    epochs, tests, weights = bits(*small_study(mnist, 1, seeds=(2,)))
    all_epochs, all_tests, all_weights = bits(*small_study(mnist, 1, seeds=(0, 1, 2)))
    assert epochs == [row for row in all_epochs if row[0] == 2]
    assert tests == [row for row in all_tests if row[0] == 2]
    assert weights == {key: value for key, value in all_weights.items() if key[0] == 2}


def test_a_study_gives_every_epoch_and_keeps_what_was_asked_for(mnist):
    events, kept = small_study(mnist, 2)
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert sorted((e.seed, e.epoch) for e in epochs) == [(s, e) for s in range(3) for e in (1, 2)]
    assert sorted(kept) == [(seed, epoch) for seed in range(3) for epoch in (0, 2)]
    at_once = {e.models_at_once for e in epochs}
    assert 2 in at_once
    assert at_once <= {1, 2}
    assert all(e.epoch_seconds > 0 for e in epochs)
    assert statistics.median(e.epoch_seconds for e in epochs) < epochs[0].compile_seconds
    for seed in range(3):
        initial = build_model(spec_of(hidden=(16, 8)), seed).get_weights()
        for mine, other in zip(kept[seed, 0], initial, strict=True):
            np.testing.assert_array_equal(mine, other)


def test_training_learns(mnist):
    events, _ = small_study(mnist, 1, seeds=(0,))
    first, second = (event for event in events if isinstance(event, Epoch))
    (fitted,) = (event for event in events if isinstance(event, Fitted))
    assert second.loss < 0.8 * first.loss
    assert fitted.test_accuracy > 0.5
    predicted = fitted.test_logits.argmax(axis=1)
    assert fitted.test_accuracy == np.mean(predicted == mnist.test.labels[:200])


def test_every_block_times_every_model_once_in_an_order_of_its_own(mnist):
    specs = {name: spec_of(name, (8,)) for name in ("relu", "tanh", "sigmoid")}
    timed = list(time_epochs(specs, take(mnist.train, 500), Protocol(1, 64, 0.01, []), 8, 2))
    assert [each.block for each in timed] == [block for block in range(1, 9) for _ in range(3)]
    assert [each.place for each in timed] == [0, 1, 2] * 8
    orders = {tuple(each.name for each in timed[at : at + 3]) for at in range(0, 24, 3)}
    assert {frozenset(order) for order in orders} == {frozenset(specs)}
    assert len(orders) > 3
    assert all(each.epoch_seconds > 0 for each in timed)
    again = time_epochs(specs, take(mnist.train, 500), Protocol(1, 64, 0.01, []), 8, 2)
    assert [each.name for each in again] == [each.name for each in timed]


def test_a_stall_in_one_epoch_of_a_turn_is_not_timed(mnist, monkeypatch):
    def stalling(*arguments):
        calls = iter(range(100))

        def run_epoch(batches):
            time.sleep(0.2 if next(calls) % 2 else 0.0)
            return 0.0, 0.0

        return run_epoch

    monkeypatch.setattr("actlab.training.compiled.compile_epoch", stalling)
    of = {"relu": spec_of("relu", (8,))}, take(mnist.train, 50), Protocol(1, 64, 0.01, [])
    assert max(each.epoch_seconds for each in time_epochs(*of, blocks=3, epochs=2)) < 0.1
    assert max(each.epoch_seconds for each in time_epochs(*of, blocks=3, epochs=1)) > 0.1


def test_a_failure_while_compiling_reaches_the_caller(mnist, monkeypatch):
    first = iter([True])

    def fail_once(*arguments):
        if next(first, False):
            raise MemoryError("no room for the program")
        return compile_epoch(*arguments)

    monkeypatch.setattr("actlab.training.compiled.compile_epoch", fail_once)
    with pytest.raises(MemoryError, match="no room"):
        small_study(mnist, 2)


def test_a_thread_that_cannot_start_reaches_the_caller(mnist, monkeypatch):
    start = threading.Thread.start

    def fail(thread):
        if threading.active_count() > before:
            raise RuntimeError("can't start new thread")
        start(thread)

    before = threading.active_count()
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start"):
        small_study(mnist, 2)
    assert threading.active_count() == before


def test_a_failure_while_training_reaches_the_caller(mnist):
    def keep(seed, epoch, model, next_step):
        if epoch == 2:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        small_study(mnist, 2, keep=keep)


def norms_by_keras(model, optimizer, images, labels):
    """The update ratios of a step that Keras's `train_on_batch` takes."""
    before = [layer.kernel.numpy().astype(np.float64) for layer in model.layers]
    model.compile(
        optimizer=optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.train_on_batch(images, labels)
    return [
        np.linalg.norm(layer.kernel.numpy() - kernel) / np.linalg.norm(kernel)
        for layer, kernel in zip(model.layers, before, strict=True)
    ]


@pytest.mark.parametrize("steps_before", [0, 3])
def test_a_measured_step_is_the_one_that_keras_takes_next(mnist, steps_before):
    train, batch = take(mnist.train, 500), np.arange(200, 264, dtype=np.int32)
    model: Any = build_model(spec_of("tanh", (16, 8)), 0)
    optimizer = keras.optimizers.Adam(0.01)
    run_epoch = compile_epoch(model, optimizer, to_device(take(mnist.train, 64)), 64)
    for _ in range(steps_before):
        run_epoch(np.arange(64, dtype=np.int32))
    measure_step = compile_step(model, optimizer, to_device(train), len(batch))
    state = [*model.variables, *optimizer.variables]
    before = [variable.numpy() for variable in state]
    ratios = measure_step(batch)
    for variable, value in zip(state, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert measure_step(batch) == ratios
    expected = norms_by_keras(model, optimizer, train.images[batch], train.labels[batch])
    assert list(ratios) == ["hidden_1", "hidden_2", "output"]
    np.testing.assert_allclose(list(ratios.values()), expected, rtol=1e-4)


def test_the_first_step_of_adam_moves_every_weight_by_the_learning_rate(mnist):
    # Kingma & Ba 2015, section 2.1: with the moments' bias corrected, lr * g / |g|.
    model = build_model(spec_of("tanh", (16,)), 0)
    optimizer = keras.optimizers.Adam(0.01)
    ratio = compile_step(model, optimizer, to_device(take(mnist.train, 64)), 64)(
        np.arange(64, dtype=np.int32)
    )["output"]
    kernel = model.layers[-1].kernel.numpy()
    assert ratio == pytest.approx(0.01 * np.sqrt(kernel.size) / np.linalg.norm(kernel), rel=1e-3)


def test_training_is_the_same_to_the_bit_with_its_steps_measured(mnist):
    kept, ratios = {}, {}

    def keep(seed, epoch, model, next_step):
        kept[seed, epoch] = model.get_weights()
        ratios[seed, epoch] = next_step()

    measured, _ = small_study(mnist, 2, keep=keep)
    assert bits(measured, kept) == bits(*small_study(mnist, 2))
    assert len(ratios) == 6
    # The step is that of the epoch's order: other images, another ratio.
    batch = shuffled_order(1, 1, 1000)[:64]
    model = build_model(spec_of(hidden=(16, 8)), 1)
    measure_step = compile_step(
        model, keras.optimizers.Adam(0.01), to_device(take(mnist.train, 1000)), 64
    )
    assert measure_step(batch) == ratios[1, 0]
    assert measure_step(shuffled_order(1, 2, 1000)[:64]) != ratios[1, 0]


ONE_EPOCH = """
import hashlib, sys
from pathlib import Path
from actlab.data import splits
from actlab.activations.config import ActivationConfig
from actlab.models.config import NetworkConfig
from actlab.models.network import ModelSpec, build_model
from actlab.backend import keras
from actlab.training.compiled import compile_epoch, shuffled_order, to_device

train = splits.build_splits(*datasets.load_raw("mnist", Path(sys.argv[1]))).train
train = splits.Split(train.images[:2000], train.labels[:2000])
tanh = ActivationConfig("tanh", "tanh", {})
model = build_model(ModelSpec(tanh, NetworkConfig("mlp", [128, 64]), "glorot_uniform"), 0)
run_epoch = compile_epoch(model, keras.optimizers.Adam(0.001), to_device(train), 128)
loss, _ = run_epoch(shuffled_order(0, 1, 2000))
print(loss, hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest())
"""
LIMITS = ("XLA_FLAGS", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES")


def test_a_processor_with_narrower_vectors_gives_other_bits(root, mnist_raw):
    """What is the same to the bit on one kind of processor is not on another, but close."""
    plain = {name: value for name, value in os.environ.items() if name not in LIMITS}
    limited = ["sh", str(root / "scripts/limited.sh")]
    results = []
    for prefix in ([], limited):
        finished = subprocess.run(
            [*prefix, sys.executable, "-c", ONE_EPOCH, str(mnist_raw)],
            env=plain | {"PYTHONPATH": str(root / "src"), "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
        )
        if prefix and finished.returncode == 2:
            pytest.skip(f"no narrower instruction set to limit to: {finished.stderr}")
        assert finished.returncode == 0, finished.stderr
        loss, digest = finished.stdout.split()
        results.append((float(loss), digest))
    (loss, digest), (limited_loss, limited_digest) = results
    assert digest != limited_digest
    assert limited_loss == pytest.approx(loss, rel=1e-4)
