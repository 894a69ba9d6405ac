"""Runs of equal layers as loops: against Keras, and to the bit where that is promised."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted import adam
from test_networks import SCHEDULES, assert_equal_to_keras, spec_of
from test_training import norms_by_keras, take

from actlab.activations.config import ActivationConfig
from actlab.backend import keras
from actlab.models.network import build_model
from actlab.training.compiled import (
    compile_epoch,
    compile_evaluation,
    compile_step,
    make_optimizer,
    to_device,
)
from actlab.training.config import ELEMENTWISE, OptimizerConfig, TrainingConfig
from actlab.training.deep import find_run, pair_variables
from actlab.training.trainer import Epoch, Protocol, fit_seeds

LAYERS = 20

TRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("tanh", {"learning_rate": 0.05, "momentum": 0.9}),
    "adam": ("selu", {"learning_rate": 0.001}),
    "rmsprop": ("tanh", {"learning_rate": 0.001}),
    "adamw": ("selu", {"learning_rate": 0.001, "weight_decay": 0.1}),
    "nadam": (
        "tanh",
        {
            "learning_rate": {
                "_target_": f"{SCHEDULES}.ExponentialDecay",
                "initial_learning_rate": 0.003,
                "decay_steps": 2,
                "decay_rate": 0.5,
            }
        },
    ),
}


def deep_spec(function="tanh", **network):
    return spec_of(function, **{"hidden": [12] * LAYERS, **network})


@pytest.mark.parametrize("name", TRAINED)
def test_a_deep_network_trains_as_in_keras(name, mnist):
    function, values = TRAINED[name]
    spec, chosen = deep_spec(function), OptimizerConfig.read({"name": name, **values})
    run = find_run(build_model(spec, 0), make_optimizer(chosen))
    assert run
    assert [layer.name for layer in run.layers] == [f"hidden_{n}" for n in range(2, LAYERS + 1)]
    assert min(assert_equal_to_keras(spec, chosen, mnist, count=300, batch_size=64)) > 0


def test_layers_around_a_run_train_as_in_keras(mnist):
    """A convolution with pooling, layers of other sizes, outputs of another kind, small batches."""
    spec = deep_spec(
        hidden=[16, *[8] * (LAYERS - 2), 6], conv=["4@5x5"], pool=4, outputs="logistic"
    )
    run = find_run(build_model(spec, 0))
    assert run
    assert len(run.layers) == LAYERS - 3
    chosen = OptimizerConfig.read({"name": "sgd", "learning_rate": 0.05})
    assert_equal_to_keras(spec, chosen, mnist, count=300, batch_size=32)


@pytest.mark.parametrize(
    ("function", "network", "optimizer"),
    [
        ("tanh", {"hidden": [12] * 17}, {}),
        ("tanh", {"hidden": [12, 8] * 10}, {}),
        ("tanh", {"hidden": [12] * 30, "activations": [None] * 15 + ["relu"]}, {}),
        ("tanh", {"dropout": 0.1}, {}),
        ("tanh", {"layer_norm": "before"}, {}),
        ("tanh", {"batch_norm": "after"}, {}),
        ("tanh", {"l2": 0.01}, {}),
        ("tanh", {"skip": True}, {}),
        ("prelu", {}, {}),
        ("tanh", {}, {"name": "adafactor"}),
        ("tanh", {}, {"clipnorm": 1.0}),
        ("tanh", {}, {"global_clipnorm": 1.0}),
    ],
)
def test_other_networks_and_optimizers_keep_the_unrolled_program(function, network, optimizer):
    made = make_optimizer(OptimizerConfig.read({"name": "adam", **optimizer}))
    assert find_run(build_model(deep_spec(function, **network), 0), made) is None


def test_trained_constants_keep_the_unrolled_program():
    own = ActivationConfig("snake", "example.snake", {"frequency": 1.0}, {"frequency": "unit"})
    assert find_run(build_model(replace(deep_spec(), activation=own), 0)) is None


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("values", [{}, {"amsgrad": True}, {"centered": True, "momentum": 0.5}])
def test_each_variable_of_an_optimizer_is_paired_with_those_of_its_name(name, values):
    kind = getattr(keras.optimizers, name)
    if not values.keys() <= kind().get_config().keys():
        pytest.skip("the optimizer has no such setting")
    model = build_model(deep_spec(), 0)
    run = find_run(model)
    assert run
    outer, inner = kind(**values), kind(**values)
    outer.build(model.trainable_variables)
    inner.build(
        [
            keras.Variable(np.array([one.numpy() for one in group]), name=group[0].name)
            for group in run.group(model.trainable_variables)
        ]
    )
    pairs = pair_variables(inner, outer, run.group)
    assert {id(one) for one, _ in pairs} == {id(one) for one in inner.variables}
    paired = [id(other) for _, others in pairs for other in others]
    assert sorted(paired) == sorted(id(one) for one in outer.variables)
    for one, others in pairs:
        for other in others:
            assert other.name.endswith(one.name) or one.name.startswith("variable")  # unnamed
            assert one.shape in {(), (len(others), *other.shape)}


def test_an_evaluation_and_a_step_are_those_of_keras(mnist):
    train, spec = take(mnist.train, 300), deep_spec("selu")
    model: Any = build_model(spec, 0)
    evaluated = compile_evaluation(model)(to_device(train))
    np.testing.assert_allclose(evaluated.logits, model(train.images), rtol=1e-4, atol=1e-5)
    optimizer = make_optimizer(adam(0.01))
    run_epoch = compile_epoch(model, optimizer, to_device(train), 64)
    run_epoch(np.arange(300, dtype=np.int32))
    measure_step = compile_step(model, optimizer, to_device(train), 64)
    state = [*model.variables, *optimizer.variables]
    before = [variable.numpy() for variable in state]
    ratios = measure_step(np.arange(64, dtype=np.int32))
    for variable, value in zip(state, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert list(ratios) == [*(f"hidden_{n}" for n in range(1, LAYERS + 1)), "output"]
    expected = norms_by_keras(model, optimizer, train.images[:64], train.labels[:64])
    np.testing.assert_allclose(list(ratios.values()), expected, rtol=1e-3)


def test_resumed_and_parallel_trainings_have_the_same_bits(mnist):
    split = take(mnist.train, 300)

    def train(models_at_once, resume_from=None):
        states = {}
        events = fit_seeds(
            deep_spec(),
            [0, 1],
            split,
            split,
            split,
            Protocol(TrainingConfig(2, 64, []), adam(0.01)),
            models_at_once=models_at_once,
            resume_from=resume_from,
            save=lambda state, epoch: states.update({(state.seed, state.epoch): state}),
        )
        results = {}
        for event in events:
            is_epoch = isinstance(event, Epoch)
            loss = (event.loss, event.val_loss) if is_epoch else event.test_loss
            results[event.seed, event.epoch if is_epoch else None] = loss
        return results, states

    results, states = train(1)
    again, kept = train(2, {seed: (states[seed, 1], []) for seed in (0, 1)})
    assert again == {key: results[key] for key in ((0, 2), (1, 2), (0, None), (1, None))}
    for key, state in kept.items():
        for one, other in zip(state.variables, states[key].variables, strict=True):
            np.testing.assert_array_equal(one, other)
