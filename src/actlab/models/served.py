"""A trained network as a model of its own, which returns probabilities and loads without actlab."""

from typing import Any

import numpy as np

from actlab.activations.config import ActivationConfig
from actlab.activations.definitions import ACTIVATIONS
from actlab.activations.functions import find_function
from actlab.backend import keras
from actlab.models.network import Block, ModelSpec, find_blocks


def with_probabilities(model: keras.Model, spec: ModelSpec) -> keras.Model:
    """Copy a trained model into one that returns probabilities (n, classes).

    Where the outputs are linear, it returns them. It consists of Keras's own operations, so that a
    saved copy loads without actlab.
    """
    images = values = keras.Input((spec.inputs,), name="image")
    blocks = find_blocks(model)
    for place, block in enumerate(blocks):
        inputs = values
        for layer in block.prepare:
            values = _copy(layer, values)
        values = _copy(block.weights, values)
        for layer in block.before:
            values = _copy(layer, values)
        if block is not blocks[-1]:
            values = _apply_symbolically(spec.activation_at(place), values, block)
        for layer in block.after:
            if not isinstance(layer, keras.layers.Dropout | keras.layers.AlphaDropout):
                values = _copy(layer, values)
        if block.is_added:
            values = keras.layers.Add(name=f"{block.name}_sum")([inputs, values])
    if spec.network.outputs == "softmax":
        values = keras.layers.Softmax(name="probabilities")(values)
    elif spec.network.outputs == "logistic":
        values = keras.layers.Activation("sigmoid", name="probabilities")(values)
    return keras.Model(images, values)


def _copy(layer: Any, values: Any) -> Any:
    """Apply a copy of a layer, with its weights but without its activation, to symbolic values."""
    settings = layer.get_config()
    if "kernel_regularizer" in settings:
        kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
        plain = {"activation": "linear", "kernel_regularizer": None}
        kind = keras.layers.Dense if "units" in settings else keras.layers.Conv2D
        made = kind(**{key: settings[key] for key in _KEPT if key in settings}, **plain)
        outputs = made(values)
        made.set_weights([kernel, bias])
        return outputs
    # Keras's own class, which loads without actlab.
    made = getattr(keras.layers, type(layer).__name__).from_config(settings)
    outputs = made(values)
    made.set_weights(layer.get_weights())
    return outputs


#: The settings of a dense or convolutional layer that decide its shape.
_KEPT = ("units", "filters", "kernel_size", "name")


def _apply_symbolically(activation: ActivationConfig, outputs: Any, block: Block) -> Any:
    """Apply an activation to symbolic outputs, with the constants that the block has learned."""
    if activation.function == "prelu":
        learned: Any = block.activation
        prelu = keras.layers.PReLU(shared_axes=learned.shared_axes)
        outputs = prelu(outputs)
        prelu.set_weights(learned.get_weights())
        return outputs
    if activation.function in ACTIVATIONS and not activation.constants:
        # Some of Keras's functions (mish, hard_silu) take symbolic tensors in a layer only.
        return keras.layers.Activation(activation.function)(outputs)
    learned = {name: _as_symbol(value, outputs) for name, value in block.learned.items()}
    value = find_function(activation.function)
    return value(outputs, **{**activation.constants, **learned})


def _as_symbol(value: np.ndarray, outputs: Any) -> Any:
    """Return a constant, or one per unit, as an operation can be saved with it."""
    if not value.ndim:
        return float(value)
    layer = keras.layers.Dense(len(value), kernel_initializer="zeros")
    constants = layer(outputs)
    layer.set_weights([layer.get_weights()[0], value])  # 0 times the outputs, plus the value
    return constants
