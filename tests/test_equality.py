"""The trainer compared with Keras step by step, from the same state."""

import os
from typing import Any

import numpy as np
import pytest
from test_training import compile_in_keras, spec_of

from actlab.activations.definitions import ACTIVATIONS
from actlab.backend import keras, tf
from actlab.data.splits import Split, to_uint8
from actlab.engine.presets import list_presets
from actlab.models.network import build_model
from actlab.training.compiled import (
    DeviceSplit,
    compile_epoch,
    make_optimizer,
    shuffled_order,
    to_device,
)
from actlab.training.config import OptimizerConfig

#: Where the derivative of an activation jumps, its constants being those of `CONSTANTS`.
KINKS = {
    **dict.fromkeys(("relu", "leaky_relu", "prelu", "selu"), (0,)),
    **dict.fromkeys(("hard_sigmoid", "hard_silu"), (-3, 3)),
    **dict.fromkeys(("hard_shrink", "soft_shrink"), (-0.5, 0.5)),
    **dict.fromkeys(("hard_tanh", "sparse_sigmoid"), (-1, 1)),
    "relu6": (0, 6),
    "threshold": (1,),
}

#: Those of the default study, and one of each other kind; `make faults` takes all.
COMPARED = ["sigmoid", "tanh", "relu", "leaky_relu", "gelu", "prelu", "hard_shrink", "relu6"]
#: Steps with every optimizer other than Adam.
OF_OPTIMIZERS = 6
if os.environ.get("ACTLAB_FAULTS") == "all":
    COMPARED, OF_OPTIMIZERS = list(ACTIVATIONS), 60


def make_recording(chosen):
    """Make an optimizer that keeps the gradients of its last step, in variables of its own."""
    plain = make_optimizer(chosen)

    class Recording(type(plain)):
        def build(self, var_list):
            super().build(var_list)
            self.gradients = [
                self.add_variable_from_reference(variable, name="gradient") for variable in var_list
            ]

        def update_step(self, gradient, variable, learning_rate):
            self.assign(self.gradients[self._get_variable_index(variable)], gradient)
            super().update_step(gradient, variable, learning_rate)

    return Recording.from_config(plain.get_config())


class Replaceable:
    """A tensor that a compiled program reads anew at each call."""

    def __init__(self, value):
        self.variable = tf.Variable(value)

    def __len__(self):
        return self.variable.shape[0]

    def __tf_tensor__(self, dtype=None, name=None):
        return self.variable.read_value()


def is_near_a_kink(model, kinks, images):
    """Compute for each image whether a pre-activation comes within 1e-5 of a kink."""
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


def assert_close(ours, theirs, tolerances):
    """Compare tensors, each within a tolerance of its own."""
    for number, (our, their, most) in enumerate(zip(ours, theirs, tolerances, strict=True)):
        np.testing.assert_allclose(our, their, rtol=0, atol=most, err_msg=f"{number}")


def largest(tensors):
    return [float(np.abs(tensor).max()) for tensor in tensors]


def contributions(model, images, labels):
    """Return the scale of each gradient's rounding: the largest sum of absolute terms of an entry.

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
@pytest.mark.parametrize(
    ("function", "optimizer_name", "steps"),
    [
        *((function, "adam", 60) for function in COMPARED),
        *(("tanh", name, OF_OPTIMIZERS) for name in list_presets("optimizer") if name != "adam"),
    ],
)
def test_every_step_equals_that_of_keras_from_the_same_state(
    function, optimizer_name, steps, mnist
):
    spec, size, replaced = spec_of(function), 1000, 0
    chosen = OptimizerConfig.read(optimizer_name)
    train, levels = mnist.train, to_uint8(mnist.train.images)
    assert levels is not None
    whole = to_device(Split(levels, train.labels))
    held: list[Any] = [Replaceable(tensor[:size]) for tensor in whole]
    ours, optimizer = build_model(spec, 0), make_recording(chosen)
    run_epoch = compile_epoch(ours, optimizer, DeviceSplit(*held), size)  # of one batch
    theirs = compile_in_keras(build_model(spec, 0), make_recording(chosen))
    theirs.optimizer.build(theirs.trainable_variables)
    updated = [keras.Variable(weight) for weight in ours.get_weights()]
    plain = make_optimizer(chosen)
    plain.build(updated)
    apply = tf.function(lambda gradients: plain.apply(gradients, updated), autograph=False)
    our_state = [*ours.variables, *optimizer.variables]
    for batch in shuffled_order(0, 1, len(train.labels)).reshape(-1, size)[:steps]:
        is_near = is_near_a_kink(ours, KINKS.get(function, ()), train.images[batch])
        replaced += is_near.sum()
        batch = np.where(is_near, batch[~is_near][0], batch)
        images, labels = train.images[batch], train.labels[batch]
        scales, before = contributions(ours, images, labels), read(our_state)
        assign([*theirs.variables, *theirs.optimizer.variables], before)
        assign([*updated, *plain.variables], before[: -len(optimizer.gradients)])
        assign([each.variable for each in held], [tf.gather(tensor, batch) for tensor in whole])

        loss, accuracy = run_epoch(np.arange(size, dtype=np.int32))
        expected, right = theirs.train_on_batch(images, labels)
        assert loss == pytest.approx(expected, rel=1e-6)
        assert accuracy == pytest.approx(right, abs=1.5 / size)
        gradients = read(optimizer.gradients)
        tolerances = [1e-5 * scale for scale in scales]
        assert_close(gradients, read(theirs.optimizer.gradients), tolerances)
        # The update, from identical gradients. It is the difference of two float32 weights, whose
        # rounding is 2^-24 of the largest.
        apply([tf.constant(gradient) for gradient in gradients])
        changes, expected_changes = (
            [after - start for after, start in zip(read(state), before, strict=False)]
            for state in (our_state[: -len(gradients)], [*updated, *plain.variables])
        )
        tolerances = [
            1e-4 * change + 2.0**-23 * value
            for change, value in zip(largest(expected_changes), largest(before), strict=False)
        ]
        assert_close(changes, expected_changes, tolerances)
        theirs.reset_metrics()
    assert replaced < 0.01 * steps * size
