"""Networks beyond dense layers, and optimizers beyond Adam: against Keras, and to the bit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted import CONSTANTS, GLOROT, adam
from scipy import special
from test_training import compile_in_keras, take

from actlab.activations.config import ActivationConfig
from actlab.backend import keras, tf
from actlab.data.splits import Split
from actlab.engine.presets import list_presets
from actlab.errors import UserError
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.models.layers import Conv2D, MaxPooling2D, threefry
from actlab.models.losses import make_loss
from actlab.models.network import (
    ModelSpec,
    build_model,
    describe_layers,
    draw_weights,
    find_blocks,
)
from actlab.models.served import with_probabilities
from actlab.training.compiled import (
    compile_epoch,
    compile_evaluation,
    make_optimizer,
    shuffled_order,
    to_device,
)
from actlab.training.config import OptimizerConfig, TrainingConfig
from actlab.training.trainer import Fitted, Protocol, fit_seeds

SCHEDULES = "keras.optimizers.schedules"

#: What a network may have around its dense layers; all are smooth, for comparisons.
NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch_norm_before": {"batch_norm": "before"},
    "batch_norm_after": {"batch_norm": "after"},
    "layer_norm_before": {"layer_norm": "before"},
    "layer_norm_after": {"layer_norm": "after"},
    "penalties": {"l1": 1e-4, "l2": 1e-3},
    "skip": {"skip": True, "hidden": [12, 12, 12]},
    "skip_with_norm": {"skip": True, "hidden": [12, 12], "batch_norm": "before"},
    "activations": {"activations": ["sigmoid", None]},
    "logistic": {"outputs": "logistic"},
    "conv": {"conv": ["4@5x5", "6@3x3"], "pool": 2},
    "conv_with_norm": {"conv": ["4@5x5"], "batch_norm": "before"},
}
DROPPED: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.4},
    "alpha_dropout": {"alpha_dropout": 0.2},
    "dropout_and_norm": {"dropout": 0.4, "batch_norm": "after"},
}


def spec_of(function="tanh", initializer: Any = GLOROT, **network):
    given = {"hidden": [12, 8], **network}
    activation = ActivationConfig(function, function, CONSTANTS.get(function, {}))
    return ModelSpec(activation, NetworkConfig("net", **given), initializer, shape=(28, 28))


def images_of(count=7, seed=0):
    return np.random.default_rng(seed).random((count, 784), dtype=np.float32)


@pytest.mark.parametrize("name", [*NETWORKS, *DROPPED])
@pytest.mark.parametrize("function", ["tanh", "prelu", "leaky_relu"])
def test_blocks_and_the_served_copy_compute_what_the_model_does(name, function, tmp_path):
    spec = spec_of(function, **(NETWORKS | DROPPED)[name])
    model, images = build_model(spec, 3), images_of()
    for variable in model.non_trainable_variables:  # as after some training
        if variable.dtype == "float32":
            variable.assign(np.random.default_rng(1).uniform(0.5, 1.5, variable.shape))
    logits = values = model(images, training=False)
    values = tf.constant(images)
    for block in find_blocks(model):
        *_, values = block.run(values)
    np.testing.assert_allclose(values, logits, rtol=1e-5, atol=1e-6)
    with_probabilities(model, spec).save(tmp_path / "copy.keras")
    loaded: Any = keras.saving.load_model(tmp_path / "copy.keras", safe_mode=True)
    squash = special.expit if name == "logistic" else lambda x: special.softmax(x, axis=1)
    np.testing.assert_allclose(loaded(images), squash(np.array(logits)), rtol=1e-4, atol=1e-6)
    drawn = 2 * sum("dropout" in layer.name for layer in model.layers)
    parameters = sum(row[-1] for row in describe_layers(model, spec))
    assert parameters in (model.count_params(), model.count_params() - drawn)


OPTIMIZERS: dict[str, dict[str, Any]] = {
    **{name: {} for name in list_presets("optimizer")},
    "nesterov": {"name": "sgd", "momentum": 0.9, "nesterov": True},
    "amsgrad": {"name": "adam", "amsgrad": True},
    "centered": {"name": "rmsprop", "centered": True, "momentum": 0.5},
    "clipnorm": {"name": "sgd", "learning_rate": 0.5, "clipnorm": 0.1},
    "global_clipnorm": {"name": "sgd", "learning_rate": 0.5, "global_clipnorm": 0.1},
    "clipvalue": {"name": "adam", "clipvalue": 1e-3},
    "decay": {"name": "sgd", "weight_decay": 0.01},
    "exponential": {
        "name": "sgd",
        "learning_rate": {
            "_target_": f"{SCHEDULES}.ExponentialDecay",
            "initial_learning_rate": 0.3,
            "decay_steps": 5,
            "decay_rate": 0.5,
        },
    },
    "piecewise": {
        "name": "adam",
        "learning_rate": {
            "_target_": f"{SCHEDULES}.PiecewiseConstantDecay",
            "boundaries": [4, 9],
            "values": [0.01, 0.003, 0.001],
        },
    },
    "cosine": {
        "name": "adamw",
        "learning_rate": {
            "_target_": f"{SCHEDULES}.CosineDecay",
            "initial_learning_rate": 0.0,
            "warmup_target": 0.01,
            "warmup_steps": 5,
            "decay_steps": 10,
        },
    },
}


def assert_equal_to_keras(spec, chosen, mnist, count=1000, batch_size=128, epochs=2):
    """Train both for some epochs on the same batches; compare all variables."""
    train = take(mnist.train, count)
    ours, optimizer = build_model(spec, 0), make_optimizer(chosen)
    run_epoch = compile_epoch(ours, optimizer, to_device(train), batch_size, spec.network.outputs)
    theirs = compile_in_keras(build_model(spec, 0), make_optimizer(chosen))
    theirs.compile(
        optimizer=theirs.optimizer, loss=make_loss(spec.network.outputs), metrics=["accuracy"]
    )
    start = [variable.numpy() for variable in ours.trainable_variables]
    for epoch in range(1, epochs + 1):
        order = shuffled_order(0, epoch, count)
        loss, accuracy = run_epoch(order)
        images, labels = train.images[order], train.labels[order]
        history = theirs.fit(
            images, labels, batch_size=batch_size, shuffle=False, verbose=0
        ).history
        if not (spec.network.l1 or spec.network.l2):
            assert loss == pytest.approx(history["loss"][0], rel=1e-4)
        assert accuracy == pytest.approx(history["accuracy"][0], abs=3 / count)
    ours_all = [*ours.variables, *optimizer.variables]
    theirs_all = [*theirs.variables, *theirs.optimizer.variables]
    for our, their in zip(ours_all, theirs_all, strict=True):
        # A bias before batch normalization has no gradient but rounding: 1e-5 is allowed to it.
        largest = max(float(np.abs(np.asarray(their.numpy(), np.float64)).max()), 1e-2)
        np.testing.assert_allclose(our, their, rtol=0, atol=1e-3 * largest, err_msg=their.path)
    moved = [
        np.abs(variable.numpy() - begun).max()
        for variable, begun in zip(ours.trainable_variables, start, strict=True)
    ]
    return moved


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_does_what_it_does_in_keras(name, mnist):
    chosen = OptimizerConfig.read({"name": name, **OPTIMIZERS[name]})
    assert min(assert_equal_to_keras(spec_of(hidden=[12, 12]), chosen, mnist)) > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_trains_as_in_keras(name, mnist):
    chosen = OptimizerConfig.read({"name": "sgd", "learning_rate": 0.05, "momentum": 0.9})
    assert_equal_to_keras(spec_of(**NETWORKS[name]), chosen, mnist)


def test_a_convolution_gives_in_training_what_it_gives_in_an_evaluation():
    layer = Conv2D(6, (3, 2), activation="tanh", bias_initializer="random_normal")
    images = tf.constant(np.random.default_rng(0).random((5, 7, 9, 4)), tf.float32)
    np.testing.assert_allclose(layer(images, training=True), layer(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [2, 3])
def test_pooling_and_its_gradient_are_those_of_keras_also_where_values_are_equal(size):
    drawn = np.random.default_rng(0).integers(0, 3, (4, 7, 8, 5))  # many equal ones
    images, found = tf.constant(drawn, tf.float32), []
    for layer in (MaxPooling2D(size), keras.layers.MaxPooling2D(size)):
        with tf.GradientTape() as tape:
            tape.watch(images)
            pooled = layer(images)
            loss = tf.reduce_sum(pooled * tf.reshape(tf.range(1.0, 6.0), (1, 1, 1, 5)))
        found.append((pooled.numpy(), np.asarray(tape.gradient(loss, images))))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# --- Dropout ------------------------------------------------------------------------------


def masks_of(spec, seeds, steps, width=4000):
    """Draw what is dropped: by seed, step and layer, 1 where an output is kept."""
    model, masks = build_model(spec, 0), {}
    for seed in seeds:
        draw_weights(model, spec, seed)
        for step in range(steps):
            for block in find_blocks(model)[:-1]:
                dropped = block.after[-1](tf.ones((1, width)), training=True).numpy()[0]
                masks[seed, step, block.name] = dropped
    return masks


def test_masks_have_their_rate_and_differ_between_steps_layers_and_seeds():
    masks = masks_of(spec_of(dropout=0.3), seeds=[0, 1, 2**40], steps=3)
    assert len(masks) == 3 * 3 * 2
    for mask in masks.values():
        np.testing.assert_allclose(np.unique(mask), [0, 1 / 0.7], rtol=1e-6)
        assert (mask == 0).mean() == pytest.approx(0.3, abs=0.03)  # four standard deviations
    correlations = np.corrcoef(list(masks.values())) - np.eye(len(masks))
    assert np.abs(correlations).max() < 0.08  # five
    again = masks_of(spec_of(dropout=0.3), seeds=[2**40], steps=1)
    for key, mask in again.items():
        np.testing.assert_array_equal(mask, masks[key])


def test_an_epoch_draws_anew_in_every_step_and_an_evaluation_drops_nothing(mnist):
    spec, train = spec_of(dropout=0.5), take(mnist.train, 300)
    model, optimizer = build_model(spec, 0), make_optimizer(OptimizerConfig.read("sgd"))
    evaluate = compile_evaluation(model)
    plain = build_model(spec_of(), 0)  # the same weights
    expected = compile_evaluation(plain)(to_device(train))
    assert evaluate(to_device(train)).loss == expected.loss
    np.testing.assert_array_equal(evaluate(to_device(train)).logits, expected.logits)
    run_epoch = compile_epoch(model, optimizer, to_device(train), 100)
    run_epoch(shuffled_order(0, 1, 300))
    run_epoch(shuffled_order(0, 2, 300))
    states = [block.after[-1].seed_generator.state.numpy() for block in find_blocks(model)[:-1]]
    assert [state[1] for state in states] == [6, 6]
    assert len({state[0] for state in states}) == 2


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [  # Random123's test vectors, kat_vectors
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_numbers(key, counter, expected, jit_compile):
    program = tf.function(threefry, jit_compile=jit_compile, autograph=False)
    words = [tuple(tf.constant(word, tf.uint32) for word in pair) for pair in (key, counter)]
    assert tuple(int(word) for word in program(*words)) == expected


@pytest.mark.parametrize("kind", ["dropout", "alpha_dropout"])
def test_a_mask_is_the_same_in_a_compiled_program(kind):
    layer = find_blocks(build_model(spec_of("selu", **{kind: 0.3}), 0))[0].after[-1]
    values = tf.constant(np.random.default_rng(0).standard_normal((50, 12)), tf.float32)
    eager = layer(values, training=True)
    layer.seed_generator.state.assign_sub([0, 1])
    compiled = tf.function(lambda x: layer(x, training=True), jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(values), eager, rtol=0, atol=1e-6)


def test_alpha_dropout_keeps_mean_and_variance():
    spec = spec_of("selu", alpha_dropout=0.2, hidden=[4, 4])
    model = build_model(spec, 0)
    values = np.random.default_rng(0).standard_normal((1, 200_000)).astype(np.float32)
    dropped = find_blocks(model)[0].after[-1](tf.constant(values), training=True).numpy()
    assert dropped.mean() == pytest.approx(0, abs=0.02)
    assert dropped.var() == pytest.approx(1, abs=0.02)


# --- Others -------------------------------------------------------------------------------


def test_a_step_that_is_measured_leaves_dropout_and_statistics_as_they_were(mnist):
    spec, kept = spec_of(dropout=0.5, batch_norm="before"), []

    def keep(seed, epoch, model, next_step):
        before = [variable.numpy() for variable in model.variables]
        ratios = next_step()
        kept.append((before, [variable.numpy() for variable in model.variables], ratios))

    train = take(mnist.train, 300)
    protocol = Protocol(TrainingConfig(1, 100, [0, 1]), adam())
    events = fit_seeds(spec, [0], train, train, train, protocol, keep, 1)
    assert isinstance(list(events)[-1], Fitted)
    for before, after, ratios in kept:
        assert set(ratios) == {"hidden_1", "hidden_2", "output"}
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(kept[0][0], kept[1][0], strict=True))


@pytest.mark.parametrize(
    ("network", "line"),
    [
        ({"dropout": 0.5, "alpha_dropout": 0.1}, "network.dropout and network.alpha_dropout are"),
        ({"dropout": 1.0}, "dropout is 1.0: it has to be at least 0 and less than 1"),
        ({"batch_norm": "before", "layer_norm": "after"}, "network.batch_norm and network.layer"),
        ({"batch_norm": "first"}, "batch_norm is 'first': it has to be one of None, before, after"),
        ({"activations": ["relu"] * 3}, "network.activations has 3 entries: there are 2 hidden"),
        ({"activations": ["rulu"]}, "activation is 'rulu': it has to be one of "),
        ({"conv": ["20x5"]}, "conv is ['20x5']: it has to be a list of filters@heightxwidth"),
        ({"pool": 2}, "network.pool is 2: it needs network.conv"),
        ({"outputs": "tanh"}, "outputs is 'tanh': it has to be one of softmax, logistic, linear"),
        (
            {"conv": ["2@20x20", "2@20x20"]},
            "network.conv is 2@20x20, 2@20x20: images of 28 x 28 ar",
        ),
    ],
)
def test_a_network_that_cannot_be_is_one_line(network, line):
    with pytest.raises(UserError) as caught:
        build_model(spec_of(**network), 0)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list_presets("initializer"))
def test_an_initializer_draws_weights_of_the_variance_that_theory_takes(name):
    from actlab.models.initializers import bias_variance, resolve_initializer, weight_moments

    given: dict[str, Any] = {"sigma_w": 1.3, "sigma_b": 0.4} if name == "mean_field" else {}
    initializer = InitializerConfig.read({"name": name, **given})
    spec = spec_of(initializer=initializer, hidden=[300, 400])
    kernel, bias = build_model(spec, 5).get_layer("hidden_2").get_weights()
    resolved = resolve_initializer(initializer, spec.activation)
    mean, variance = weight_moments(resolved, 300, 400)
    assert kernel.mean() == pytest.approx(mean, abs=4 * kernel.std() / np.sqrt(kernel.size))
    assert kernel.var() == pytest.approx(variance, rel=0.02)
    assert bias.var() == pytest.approx(bias_variance(resolved, 300, 400), rel=0.3)
    if name == "unit_norm":
        np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-6)
    model = build_model(spec, 0)
    draw_weights(model, spec, 5)
    np.testing.assert_array_equal(model.get_layer("hidden_2").get_weights()[1], bias)


def test_weights_may_have_a_mean():
    initializer = InitializerConfig.read({"name": "normal", "mean": -0.1, "stddev": 0.05})
    kernel = build_model(spec_of(initializer=initializer, hidden=[300, 400]), 0).get_weights()[2]
    assert kernel.mean() == pytest.approx(-0.1, abs=0.001)


def test_an_activation_of_ones_own_learns_its_constants_per_unit_or_per_layer(mnist, tmp_path):
    activation = ActivationConfig(
        "snake", "example.snake", {"frequency": 1.0}, {"frequency": "unit"}
    )
    for scope, size in (("unit", 12), ("layer", 1)):
        activation = replace(activation, trained={"frequency": scope})
        spec = replace(spec_of(), activation=activation)
        model, optimizer = build_model(spec, 0), make_optimizer(adam(0.01))
        train = take(mnist.train, 300)
        run_epoch = compile_epoch(model, optimizer, to_device(train), 100)
        run_epoch(shuffled_order(0, 1, 300))
        learned = find_blocks(model)[0].learned["frequency"]
        assert learned.size == size
        assert (learned != 1).all()
        theirs = compile_in_keras(build_model(spec, 0), make_optimizer(adam(0.01)))
        order = shuffled_order(0, 1, 300)
        images, labels = train.images[order], train.labels[order]
        theirs.fit(images, labels, batch_size=100, shuffle=False, verbose=0)
        for our, their in zip(model.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(our, their, rtol=0, atol=1e-5)
        with_probabilities(model, spec).save(tmp_path / "copy.keras")
        loaded: Any = keras.saving.load_model(tmp_path / "copy.keras", safe_mode=True)
        expected = special.softmax(np.array(model(images_of())), axis=1)
        np.testing.assert_allclose(loaded(images_of()), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"name": "sgdd"}, "optimizer is 'sgdd': it has to be one of adadelta, adafactor, adagrad"),
        (
            {"name": "sgd", "momentum": 1.0},
            "optimizer.momentum is 1.0: it has to be at least 0 and",
        ),
        (
            {"name": "sgd", "beta_1": 0.9},
            "optimizer.beta_1 is unknown: conf/optimizer/sgd.yaml has",
        ),
        ({"name": "sgd", "nesterov": 1}, "optimizer.nesterov is 1: it has to be a valid boolean"),
        (
            {"name": "sgd", "clipnorm": 1.0, "clipvalue": 1.0},
            "optimizer.clipnorm and clipvalue are",
        ),
        (
            {"name": "sgd", "learning_rate": {"_target_": "keras.optimizers.schedules.Linear"}},
            "optimizer.learning_rate._target_ is 'keras.optimizers.schedules.Linear': it has to be",
        ),
        (
            {"name": "sgd", "learning_rate": {"decay_steps": 5}},
            "optimizer.learning_rate has no _target_: it has to be one of keras.optimizers.sched",
        ),
        ({"name": "sgd", "momentum": {"a": 1}}, "optimizer.momentum is {'a': 1}: it has to be a"),
        (
            {"name": "sgd", "learning_rate": {"_target_": f"{SCHEDULES}.CosineDecay"}},
            "optimizer.learning_rate: keras.optimizers.schedules.CosineDecay: ",
        ),
        (3, "optimizer.name is missing: optimizer is 3"),
    ],
)
def test_an_optimizer_that_cannot_be_is_one_line(given, line):
    with pytest.raises(UserError) as caught:
        make_optimizer(OptimizerConfig.read(given))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ({"name": "adamw", "weight_decay": None}, "weight_decay", None),
        ({"name": "sgd", "learning_rate": None}, "learning_rate", 0.01),
    ],
)
def test_null_replaces_the_value_of_a_file_but_a_learning_rate(given, key, value):
    assert OptimizerConfig.read(given).settings[key] == value
    assert InitializerConfig.read({"name": "torch", "bias": None}).settings["bias"] is None


# --- When training ends, and what is tested -----------------------------------------------


def train_with(mnist, training, save=None, resume=None, seed=0) -> tuple[list[Any], Any, Any]:
    """Train on 300 images; the epochs, the test result, and the weights kept at the end."""
    train, watched, tested = (
        Split(mnist.train.images[part], mnist.train.labels[part])
        for part in (slice(300), slice(300, 500), slice(500, 700))
    )
    kept = {}

    def keep(seed, epoch, model, next_step):
        kept[epoch] = model.get_weights()

    events = fit_seeds(
        spec_of(hidden=[8]),
        [seed],
        *(train, watched, tested),
        Protocol(training, adam(0.03)),
        keep,
        1,
        resume,
        save or (lambda state, epoch: None),
    )
    *epochs, fitted = events
    return epochs, fitted, kept


def test_steps_end_an_epoch_in_its_middle(mnist):
    epochs, fitted, kept = train_with(mnist, TrainingConfig(5, 100, [], steps=7))
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert sorted(kept) == [0, 5]  # what is left at the end counts as the last
    other, again, _ = train_with(mnist, TrainingConfig(2, 100, []))
    assert [epoch.loss for epoch in epochs[:2]] == [epoch.loss for epoch in other]
    assert fitted.test_loss != again.test_loss
    one, *rest = train_with(mnist, TrainingConfig(5, 100, [], steps=2))[0]
    assert not rest
    assert one.loss != epochs[0].loss


def test_a_seed_ends_when_it_no_longer_improves_and_its_best_epoch_is_tested(mnist):
    whole, last, kept = train_with(mnist, TrainingConfig(30, 100, list(range(31))))
    losses = [epoch.val_loss for epoch in whole]
    best = int(np.argmin(losses))
    assert best < 25  # it overfits
    patient = TrainingConfig(30, 100, [], patience=3, tested="best")
    epochs, fitted, ended = train_with(mnist, patient)
    stopped = next(
        place
        for place in range(3, 30)
        if min(losses[place - 2 : place + 1]) >= min(losses[: place - 2])
    )
    assert [epoch.val_loss for epoch in epochs] == losses[: stopped + 1]
    found = int(np.argmin(losses[: stopped + 1])) + 1
    for ours, theirs in zip(ended[30], kept[found], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert fitted.test_loss < last.test_loss


@pytest.mark.parametrize("cut", [2, 5])
def test_a_patient_training_resumes_to_the_bit(cut, mnist):
    training, states, results = TrainingConfig(30, 100, [], patience=3, tested="best"), [], []

    def save(state, epoch):
        states.append(state)
        results.append(epoch)

    whole, fitted, kept = train_with(mnist, training, save)
    resume = {0: (states[cut], results[: cut + 1])}
    rest, again, ended = train_with(mnist, training, resume=resume)
    assert [epoch.val_loss for epoch in rest] == [epoch.val_loss for epoch in whole[cut + 1 :]]
    assert again.test_loss == fitted.test_loss
    for ours, theirs in zip(ended[30], kept[30], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    done = {0: (states[-1], results)}  # killed before its test
    rest, again, _ = train_with(mnist, training, resume=done)
    assert not rest
    assert again.test_loss == fitted.test_loss


def test_training_metrics_may_be_those_of_the_epochs_end(mnist):
    running, _, _ = train_with(mnist, TrainingConfig(2, 100, []))
    inference, _, kept = train_with(mnist, TrainingConfig(2, 100, [1], train_metrics="inference"))
    assert [epoch.val_loss for epoch in running] == [epoch.val_loss for epoch in inference]
    model = build_model(spec_of(hidden=[8]), 0)
    for epoch in inference:
        model.set_weights(kept[epoch.epoch])
        expected = compile_evaluation(model)(to_device(take(mnist.train, 300)))
        assert (epoch.loss, epoch.accuracy) == (expected.loss, expected.accuracy)


def test_noise_on_the_test_images_is_the_same_for_all(mnist):
    training = TrainingConfig(2, 100, [], test_noise=[0.1, 2.0])
    _, fitted, _ = train_with(mnist, training)
    assert [bound for bound, *_ in fitted.noise] == [0.1, 2.0]
    assert fitted.test_loss < fitted.noise[1][1]
    assert abs(fitted.noise[0][2] - fitted.test_accuracy) < 0.1
    assert train_with(mnist, training)[1].noise == fitted.noise


def test_slow_improvements_add_up_to_one_that_counts(mnist):
    # As Keras: an improvement is counted from the last one that was.
    whole, _, _ = train_with(mnist, TrainingConfig(12, 100, []))
    losses = [epoch.val_loss for epoch in whole]
    steps = -np.diff(losses)[:3]
    assert (steps > 0).all()
    least = 0.9 * float(steps[:2].sum())
    assert steps.max() < least
    patient, _, _ = train_with(mnist, TrainingConfig(4, 100, [], patience=2, min_delta=least))
    assert len(patient) == 4


def test_an_accuracy_that_a_regression_lacks_decides_nothing():
    training = TrainingConfig(3, 100, [], patience=2, monitor="val_accuracy")
    with pytest.raises(UserError, match=r"training\.monitor is 'val_accuracy'"):
        training.check_monitor(10, "linear")
    training.check_monitor(10, "softmax")


@pytest.mark.parametrize("function", ["prelu", "example.snake"])
def test_what_an_activation_learns_is_built_on_a_convolution_too(function, mnist):
    constants = {"slope": 0.25} if function == "prelu" else {"frequency": 1.0}
    trained = {} if function == "prelu" else {"frequency": "unit"}
    activation = ActivationConfig("one", function, constants, trained)
    spec = replace(spec_of(conv=["3@5x5"], pool=2, hidden=[6]), activation=activation)
    model = build_model(spec, 0)
    sizes = [next(iter(block.learned.values())).size for block in find_blocks(model)[:-1]]
    assert sizes == [3, 6]
    run_epoch = compile_epoch(
        model, make_optimizer(adam(0.01)), to_device(take(mnist.train, 200)), 100
    )
    assert np.isfinite(run_epoch(shuffled_order(0, 1, 200))[0])


def test_a_layers_own_activation_has_the_initializer_recommended_for_it():
    recommended = InitializerConfig.read("recommended")
    spec = spec_of("relu", recommended, hidden=[400, 400], activations=[None, "sigmoid"])
    first, _, second, *_ = build_model(spec, 0).get_weights()
    assert first.var() == pytest.approx(2 / 784, rel=0.02)  # He's, for ReLU
    assert second.var() == pytest.approx(2 / 800, rel=0.02)  # Glorot's, for sigmoid


def test_biases_and_masks_of_a_layer_do_not_depend_on_the_layers_behind_it():
    torch = InitializerConfig.read("torch")
    shallow, deep = (
        build_model(spec_of(initializer=torch, hidden=hidden, dropout=0.5), 0)
        for hidden in ([8], [8, 8, 8])
    )
    for one, other in zip(shallow.layers[:2], deep.layers[:2], strict=True):
        for ours, theirs in zip(one.variables, other.variables, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"patience": 2}, "training.patience is 2: it needs data.validation_size"),
        ({"tested": "best"}, "training.tested is best: it needs data.validation_size"),
    ],
)
def test_nothing_is_selected_by_the_test_split(given: dict[str, Any], line):
    with pytest.raises(UserError, match=line):
        TrainingConfig(3, 100, [], **given).check_monitor(0, "softmax")
    TrainingConfig(3, 100, [], **given, monitor="loss").check_monitor(0, "softmax")
    TrainingConfig(3, 100, [], **given).check_monitor(10, "softmax")
