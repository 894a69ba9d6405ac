"""Dense networks as Keras models: built, saved, loaded."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from actlab.activations.config import ActivationConfig
from actlab.activations.definitions import ACTIVATIONS
from actlab.activations.functions import find_function
from actlab.backend import keras
from actlab.errors import UserError
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.models.files import kept_epochs, weights_path
from actlab.models.initializers import (
    make_bias_initializer,
    make_kernel_initializer,
    resolve_initializer,
)


@dataclass(frozen=True)
class ModelSpec:
    """All that `build_model` needs besides a seed.

    Attributes
    ----------
    activation, network
        The hidden layers' activation and units.
    initializer
        Of the kernels and biases of all layers.
    inputs, classes
        Pixels of an image, and logits.
    """

    activation: ActivationConfig
    network: NetworkConfig
    initializer: InitializerConfig
    inputs: int = 784
    classes: int = 10

    def save(self, path: Path) -> None:
        """Write the specification as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> "ModelSpec":
        """Load what `save` wrote."""
        if not path.is_file():
            raise UserError(f"{path} is missing: run `dvc repro` to train that network")
        try:
            fields = json.loads(path.read_text())
            fields["activation"] = ActivationConfig(**fields["activation"])
            fields["network"] = NetworkConfig(**fields["network"])
            fields["initializer"] = InitializerConfig(**fields["initializer"])
            return cls(**fields)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} cannot be read: run `dvc repro` to train that network again"
            ) from error


def keras_activation(function: str, constants: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return Keras's function for an activation, with its constants; for PReLU an unbuilt layer.

    >>> halved = keras_activation("leaky_relu", {"negative_slope": 0.5})
    >>> halved(keras.ops.convert_to_tensor([-2.0, 2.0])).numpy()
    array([-1.,  2.], dtype=float32)
    """
    if function == "prelu":
        start: Any = keras.initializers.Constant(constants["slope"])
        return keras.layers.PReLU(alpha_initializer=start)
    value = find_function(function)

    def activation(x: Any) -> Any:  # a tensor, or Keras's symbol of one
        return value(x, **constants)

    return activation


def build_model(spec: ModelSpec, seed: int) -> keras.Sequential:
    """Build a dense network, float32 images (n, inputs) -> logits (n, classes).

    A layer's initial weights depend on the seed, its position, shape and initializer only, so that
    networks that differ in their activation start from the same weights. The layers are named
    hidden_1, ..., output.

    >>> spec = ModelSpec(
    ...     ActivationConfig("relu", "relu", {}),
    ...     NetworkConfig("mlp", [128, 64]),
    ...     InitializerConfig.read("glorot_uniform"),
    ... )
    >>> build_model(spec, seed=0).count_params()
    109386
    """
    units = [*spec.network.hidden, spec.classes]
    layers = []
    for place, (count, (kernel, bias)) in enumerate(
        zip(units, _list_initializers(spec, seed), strict=True), start=1
    ):
        is_hidden = place < len(units)
        activation = None
        if is_hidden:
            activation = keras_activation(spec.activation.function, spec.activation.constants)
        if isinstance(activation, keras.layers.Layer):
            activation.build((None, count))  # creates its weights
        layers.append(
            keras.layers.Dense(
                count,
                activation=activation,
                kernel_initializer=kernel,
                bias_initializer=bias or "zeros",
                name=f"hidden_{place}" if is_hidden else "output",
            )
        )
    return keras.Sequential([keras.Input((spec.inputs,), name="image"), *layers])


def _list_initializers(spec: ModelSpec, seed: int) -> list[tuple[Any, Any]]:
    """List Keras's initializers of each layer's kernel and biases; None for zeros."""
    sizes = list(pairwise([spec.inputs, *spec.network.hidden, spec.classes]))
    draws = np.random.SeedSequence(seed).generate_state(2 * len(sizes)).tolist()
    initializer = resolve_initializer(spec.initializer, spec.activation)
    return [
        (
            make_kernel_initializer(initializer, draws[place]),
            make_bias_initializer(initializer, draws[len(sizes) + place], *size),
        )
        for place, size in enumerate(sizes)
    ]


def draw_weights(model: keras.Sequential, spec: ModelSpec, seed: int) -> None:
    """Replace a model's weights by those that `build_model` draws from another seed, but faster."""
    for layer, (kernel, bias) in zip(model.layers, _list_initializers(spec, seed), strict=True):
        layer.kernel.assign(kernel(layer.kernel.shape))
        if bias:
            layer.bias.assign(bias(layer.bias.shape))


def with_probabilities(model: keras.Sequential, spec: ModelSpec) -> keras.Model:
    """Copy a trained model into one that returns probabilities (n, classes).

    It consists of Keras's own operations, so that a saved copy loads without actlab.
    """
    images = outputs = keras.Input((spec.inputs,), name="image")
    for layer in model.layers:
        kernel, bias, *trained = layer.get_weights()
        dense = keras.layers.Dense(layer.units, name=layer.name)
        outputs = dense(outputs)
        dense.set_weights([kernel, bias])
        if layer is not model.layers[-1]:
            outputs = _apply_symbolically(spec.activation, outputs, trained)
    return keras.Model(images, keras.layers.Softmax(name="probabilities")(outputs))


def _apply_symbolically(
    activation: ActivationConfig, outputs: Any, trained: list[np.ndarray]
) -> Any:
    """Apply an activation to symbolic outputs; `trained` are PReLU's slopes."""
    if activation.function == "prelu":
        prelu = keras.layers.PReLU()
        outputs = prelu(outputs)
        prelu.set_weights(trained)
        return outputs
    if activation.function in ACTIVATIONS and not activation.constants:
        # Some of Keras's functions (mish, hard_silu) take symbolic tensors in a layer only.
        return keras.layers.Activation(activation.function)(outputs)
    return keras_activation(activation.function, activation.constants)(outputs)


def describe_layers(model: keras.Sequential, spec: ModelSpec) -> list[tuple[Any, ...]]:
    """List each dense layer's name, shape and number of parameters: rows of `layout.LAYERS`."""
    names = [spec.activation.name] * len(spec.network.hidden) + ["linear"]
    return [
        (layer.name, layer.kernel.shape[0], layer.units, name, layer.count_params())
        for layer, name in zip(model.layers, names, strict=True)
    ]


def load_model(folder: Path, seed: int, epoch: int | None = None) -> keras.Sequential:
    """Load a seed's model after an epoch (the last by default) from a run's folder `models`."""
    model = build_model(ModelSpec.load(folder / "model.json"), seed)
    path = weights_path(folder, seed, kept_epochs(folder, seed)[-1] if epoch is None else epoch)
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro` to train it")
    read_weights(model, path)
    return model


def read_weights(model: keras.Sequential, path: Path) -> None:
    """Load weights from a file into a model."""
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read: run `dvc repro` to train it again") from error


def euclidean_norm(values: Float[np.ndarray, "..."]) -> float:
    """Compute the square root of the sum of squares, in double precision.

    NumPy's norm sums in BLAS, whose order, and so the last bit, depends on the number of cores.

    >>> euclidean_norm(np.array([[3.0], [4.0]]))
    5.0
    """
    return math.sqrt(float(np.square(values, dtype=np.float64).sum()))
