import statistics
import time
from typing import Any

import numpy as np
import pytest
from planted import CONSTANTS, GLOROT, adam

from actlab.activations.config import ActivationConfig
from actlab.backend import keras, tf
from actlab.data.splits import Split
from actlab.models.config import NetworkConfig
from actlab.models.network import ModelSpec, build_model
from actlab.probes.epochs import time_epochs
from actlab.training.compiled import (
    as_numbers,
    compile_epoch,
    compile_evaluation,
    compile_step,
    shuffled_order,
    to_device,
)
from actlab.training.config import TrainingConfig
from actlab.training.trainer import Epoch, Fitted, Protocol, fit_seeds

ONE_EPOCH = Protocol(TrainingConfig(1, 64, []), adam(0.01))


def spec_of(function="relu", hidden=(128, 64)):
    return ModelSpec(
        ActivationConfig(function, function, CONSTANTS.get(function, {})),
        NetworkConfig("net", list(hidden)),
        GLOROT,
    )


def take(split, count):
    return Split(split.images[:count], split.labels[:count])


def compile_in_keras(model, optimizer) -> Any:
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


# With steps of SGD the changes are the gradients themselves; with those of Adam, rounding decides
# the direction of a gradient near zero. Where a pre-activation lies at a kink, it decides too: so
# there are few images and units where there are kinks. One activation of each kind: that all of
# them compute what NumPy and Keras do, test_model.py and test_activations.py show.
@pytest.mark.parametrize(
    ("function", "optimizer", "count", "hidden"),
    [
        ("tanh", keras.optimizers.Adam, 60_000, (128, 64)),
        ("exponential", keras.optimizers.Adam, 10_000, (128, 64)),
        ("tanh", keras.optimizers.SGD, 10_000, (128, 64)),
        ("relu", keras.optimizers.SGD, 1000, (16, 8)),
        ("prelu", keras.optimizers.SGD, 1000, (16, 8)),
        ("hard_shrink", keras.optimizers.SGD, 1000, (16, 8)),
        ("relu6", keras.optimizers.SGD, 1000, (16, 8)),
    ],
)
def test_an_epoch_equals_that_of_keras(function, optimizer, count, hidden, mnist):
    rate = 0.001 if optimizer is keras.optimizers.Adam else 0.1
    train, spec = take(mnist.train, count), spec_of(function, hidden)
    order = shuffled_order(0, 1, count)
    ours = build_model(spec, 0)
    loss, accuracy = compile_epoch(ours, optimizer(rate), to_device(train), 128)(order)
    theirs = compile_in_keras(build_model(spec, 0), optimizer(rate))
    images, labels = train.images[order], train.labels[order]
    history = theirs.fit(images, labels, batch_size=128, shuffle=False, verbose=0).history
    assert loss == pytest.approx(history["loss"][0], rel=1e-5)
    assert accuracy == pytest.approx(history["accuracy"][0], abs=1.5 / count)
    for our, their in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(our, their, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [32, 128])  # kernels are transposed meanwhile, or are not
def test_square_kernels_and_what_adam_has_for_them_equal_those_of_keras(batch_size, mnist):
    train, spec = take(mnist.train, 1000), spec_of("tanh", hidden=(16, 16, 16))
    orders = [shuffled_order(0, epoch, 1000) for epoch in (1, 2)]
    ours, optimizer = build_model(spec, 0), keras.optimizers.Adam(0.001)
    run_epoch = compile_epoch(ours, optimizer, to_device(train), batch_size)
    theirs = compile_in_keras(build_model(spec, 0), keras.optimizers.Adam(0.001))
    for order in orders:
        run_epoch(order)
        images, labels = train.images[order], train.labels[order]
        theirs.fit(images, labels, batch_size=batch_size, shuffle=False, verbose=0)
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

    protocol = Protocol(TrainingConfig(1, 100, [0, 1]), adam(0.01))
    events = fit_seeds(spec_of("prelu"), [0, 1], train, train, train, protocol, keep, 1)
    assert len(list(events)) == 4
    for seed in (0, 1):
        np.testing.assert_array_equal(slopes[seed, 0], np.full(128, np.float32(0.25)))
        assert np.abs(slopes[seed, 1] - 0.25).max() > 1e-3
    assert not np.array_equal(slopes[0, 1], slopes[1, 1])


def test_evaluation_is_that_of_keras(mnist):
    model = compile_in_keras(build_model(spec_of("tanh"), 0), keras.optimizers.Adam(0.001))
    split = take(mnist.test, 1000)
    loss, accuracy = model.evaluate(split.images, split.labels, verbose=0)
    ours = compile_evaluation(model)(to_device(split))
    assert ours.loss == pytest.approx(loss, rel=1e-5)
    assert ours.accuracy == pytest.approx(accuracy, abs=1e-6)
    np.testing.assert_allclose(ours.logits, model(split.images), rtol=1e-4, atol=1e-5)


LEVELS = np.arange(256, dtype=np.uint8).reshape(8, 32)
NUMBERS = LEVELS / np.float32(255)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("images", "dtype", "expected"),
    [
        (NUMBERS, tf.uint64, NUMBERS),
        (NUMBERS.reshape(64, 4), tf.uint8, NUMBERS.reshape(64, 4)),
        (LEVELS / 255, tf.uint64, NUMBERS),  # in double precision
        (np.asfortranarray(LEVELS), tf.uint64, NUMBERS),
        (np.asfortranarray(NUMBERS), tf.uint64, NUMBERS),
        *(
            (np.full((2, 8), value), tf.int64, np.full((2, 8), value, np.float32))
            for value in (0.3, np.nan, -1 / 255, 2.0)
        ),
        (np.full((2, 7), 0.3), tf.float32, np.full((2, 7), 0.3, np.float32)),
    ],
)
def test_images_on_the_device_are_the_same_to_the_bit(images, dtype, expected, jit_compile):
    held = to_device(Split(images, np.zeros(len(images), np.int32))).images
    assert held.dtype == dtype
    numbers = tf.function(as_numbers, jit_compile=jit_compile, autograph=False)(held)
    assert numbers.numpy().tobytes() == expected.tobytes()


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
            Protocol(TrainingConfig(2, 64, [0, 2]), adam(0.01)),
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


@pytest.fixture(scope="module")
def in_turn(mnist):
    """What a study of three seeds gives, one model after the other."""
    return small_study(mnist, 1)


def test_models_side_by_side_give_the_bits_of_models_in_turn(mnist, in_turn):
    events, kept = small_study(mnist, 2)
    assert bits(events, kept) == bits(*in_turn)
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert sorted((e.seed, e.epoch) for e in epochs) == [(s, e) for s in range(3) for e in (1, 2)]
    assert sorted(kept) == [(seed, epoch) for seed in range(3) for epoch in (0, 2)]
    assert {2} <= {e.models_at_once for e in epochs} <= {1, 2}
    assert all(e.epoch_seconds > 0 for e in epochs)
    assert statistics.median(e.epoch_seconds for e in epochs) < epochs[0].compile_seconds
    for seed in range(3):
        initial = build_model(spec_of(hidden=(16, 8)), seed).get_weights()
        for mine, other in zip(kept[seed, 0], initial, strict=True):
            np.testing.assert_array_equal(mine, other)


def test_a_seed_gives_the_same_bits_whatever_the_other_seeds(mnist, in_turn):
    epochs, tests, weights = bits(*small_study(mnist, 1, seeds=(2,)))
    all_epochs, all_tests, all_weights = bits(*in_turn)
    assert epochs == [row for row in all_epochs if row[0] == 2]
    assert tests == [row for row in all_tests if row[0] == 2]
    assert weights == {key: value for key, value in all_weights.items() if key[0] == 2}


def test_training_learns(mnist, in_turn):
    first, second = (e for e in in_turn[0] if isinstance(e, Epoch) and e.seed == 0)
    fitted = next(e for e in in_turn[0] if isinstance(e, Fitted) and e.seed == 0)
    assert second.loss < 0.8 * first.loss
    assert fitted.test_accuracy > 0.5
    predicted = fitted.test_logits.argmax(axis=1)
    assert fitted.test_accuracy == np.mean(predicted == mnist.test.labels[:200])


def test_every_block_times_every_model_once_in_an_order_of_its_own(mnist):
    specs = {name: spec_of(name, (8,)) for name in ("relu", "tanh", "sigmoid")}

    def time_blocks():
        train = take(mnist.train, 50)
        return [
            each for block in range(1, 9) for each in time_epochs(specs, train, ONE_EPOCH, block, 1)
        ]

    timed = time_blocks()
    assert [each.block for each in timed] == [block for block in range(1, 9) for _ in range(3)]
    assert [each.place for each in timed] == [0, 1, 2] * 8
    orders = {tuple(each.name for each in timed[at : at + 3]) for at in range(0, 24, 3)}
    assert {frozenset(order) for order in orders} == {frozenset(specs)}
    assert len(orders) > 3
    assert all(each.epoch_seconds > 0 for each in timed)
    assert [each.name for each in time_blocks()] == [each.name for each in timed]


def test_a_stall_in_one_epoch_of_a_turn_is_not_timed(mnist, monkeypatch):
    def stalling(*arguments):
        calls = iter(range(100))

        def run_epoch(batches):
            time.sleep(0.2 if next(calls) % 2 else 0.0)
            return 0.0, 0.0

        return run_epoch

    monkeypatch.setattr("actlab.probes.epochs.compile_epoch", stalling)
    of = {"relu": spec_of("relu", (8,))}, take(mnist.train, 50), ONE_EPOCH
    assert max(each.epoch_seconds for each in time_epochs(*of, block=3, epochs=2)) < 0.1


@pytest.mark.parametrize("when", ["compiling", "training"])
def test_a_failure_reaches_the_caller(when, mnist, monkeypatch):
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == (1 if when == "compiling" else 4):
            raise OSError(28, "No space left on device")
        return compile_epoch(*arguments) if when == "compiling" else None

    if when == "compiling":
        monkeypatch.setattr("actlab.training.trainer.compile_epoch", fail)
    with pytest.raises(OSError, match="No space left"):
        small_study(mnist, 2, keep=fail if when == "training" else None)


def norms_by_keras(model, optimizer, images, labels):
    """The update ratios of a step that Keras's `train_on_batch` takes."""
    before = [layer.kernel.numpy().astype(np.float64) for layer in model.layers]
    compile_in_keras(model, optimizer).train_on_batch(images, labels)
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


def test_training_is_the_same_to_the_bit_with_its_steps_measured(mnist, in_turn):
    kept, ratios = {}, {}

    def keep(seed, epoch, model, next_step):
        kept[seed, epoch] = model.get_weights()
        ratios[seed, epoch] = next_step()

    measured, _ = small_study(mnist, 2, keep=keep)
    assert bits(measured, kept) == bits(*in_turn)
    assert len(ratios) == 6
    # The step is that of the epoch's order: other images, another ratio.
    batch = shuffled_order(1, 1, 1000)[:64]
    model = build_model(spec_of(hidden=(16, 8)), 1)
    measure_step = compile_step(
        model, keras.optimizers.Adam(0.01), to_device(take(mnist.train, 1000)), 64
    )
    assert measure_step(batch) == ratios[1, 0]
    assert measure_step(shuffled_order(1, 2, 1000)[:64]) != ratios[1, 0]
