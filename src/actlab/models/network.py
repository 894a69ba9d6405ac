"""Networks as Keras models: built, described, loaded."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from actlab.activations.config import ActivationConfig
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
from actlab.models.layers import AlphaDropout, Conv2D, Dropout, MaxPooling2D


@dataclass(frozen=True)
class ModelSpec:
    """All that `build_model` needs besides a seed.

    Attributes
    ----------
    activation, network
        The hidden layers' activation and units, and what is around them.
    initializer
        Of the kernels and biases of all layers.
    inputs, classes
        Pixels of an image, and logits.
    shape
        Of an image, such as (28, 28); needed for convolutions alone.
    """

    activation: ActivationConfig
    network: NetworkConfig
    initializer: InitializerConfig
    inputs: int = 784
    classes: int = 10
    shape: tuple[int, ...] = ()

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
            fields["shape"] = tuple(fields["shape"])
            return cls(**fields)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} cannot be read: run `dvc repro` to train that network again"
            ) from error

    def activation_at(self, place: int) -> ActivationConfig:
        """Return the activation of a layer, counted from 0, that is not the output."""
        hidden = place - len(self.network.conv)
        own = self.network.activations[hidden : hidden + 1] if hidden >= 0 else []
        return own[0] if own and own[0] else self.activation

    def layer_names(self) -> list[str]:
        """List the layers with kernels, from the images to the classes."""
        convolutions = [f"conv_{place}" for place, _ in enumerate(self.network.conv, start=1)]
        hidden = [f"hidden_{place}" for place, _ in enumerate(self.network.hidden, start=1)]
        return [*convolutions, *hidden, "output"]


class TrainedActivation(keras.layers.Layer):
    """A custom activation of which some constants are trained, one per layer or per unit."""

    #: Set once, before it is built: Keras inspects what a constructor takes.
    config: ActivationConfig

    def build(self, input_shape: Any) -> None:
        """Create the trained constants, with the values of the configuration."""
        self.learned = {
            name: self.add_weight(
                shape=(input_shape[-1],) if scope == "unit" else (),
                initializer=keras.initializers.Constant(self.config.constants[name]),
                name=name,
            )
            for name, scope in self.config.trained.items()
        }

    def call(self, x: Any) -> Any:
        """Apply the function with the constants as they are."""
        learned = {name: weight.value for name, weight in self.learned.items()}
        value = find_function(self.config.function)
        return value(x, **{**self.config.constants, **learned})


def keras_activation(
    activation: ActivationConfig, name: str = "", is_layer: bool = False, is_image: bool = False
) -> Callable[[Any], Any]:
    """Return Keras's function for an activation, with its constants.

    Where some are trained, or a layer is asked for, it is an unbuilt layer of a name. Pixels of an
    image share what is trained.

    >>> halved = keras_activation(ActivationConfig("x", "leaky_relu", {"negative_slope": 0.5}))
    >>> halved(keras.ops.convert_to_tensor([-2.0, 2.0])).numpy()
    array([-1.,  2.], dtype=float32)
    """
    constants = activation.constants
    if activation.function == "prelu":
        start: Any = keras.initializers.Constant(constants["slope"])
        shared = [1, 2] if is_image else None
        return keras.layers.PReLU(start, shared_axes=shared, name=name or None)
    if activation.trained:
        layer = TrainedActivation(name=name or None)
        layer.config = activation
        return layer
    apply = _bind(find_function(activation.function), json.dumps(constants, sort_keys=True))
    return keras.layers.Activation(apply, name=name) if is_layer else apply


@cache
def _bind(function: Callable[..., Any], constants: str) -> Callable[[Any], Any]:
    """Return a function of one argument, the same object for all layers of an activation."""
    keywords = json.loads(constants)

    def apply(x: Any) -> Any:  # a tensor, or Keras's symbol of one
        return function(x, **keywords)

    return apply


@dataclass(frozen=True)
class Block:
    """A layer with a kernel, dense or convolutional, with what is around its activation.

    Attributes
    ----------
    name
        conv_1, ..., hidden_1, ..., output.
    prepare, weights, before, activation, after
        In the order of the computation: a change of shape; the layer, whose own activation may be
        `activation`; normalization; the activation; normalization, pooling, dropout.
    is_added
        Whether the block's inputs are added to its outputs.
    """

    name: str
    prepare: list[Any]
    weights: Any
    before: list[Any]
    activation: Callable[[Any], Any]
    after: list[Any]
    is_added: bool = False

    @property
    def layers(self) -> list[Any]:
        """All of Keras's layers in order."""
        is_within = self.weights.activation is self.activation
        return [
            *(*self.prepare, self.weights, *self.before),
            *(() if is_within else (self.activation,)),
            *self.after,
        ]

    @property
    def learned(self) -> dict[str, Any]:
        """The trained constants of the activation, as NumPy arrays of one axis or none."""
        if isinstance(self.activation, keras.layers.PReLU):
            return {"slope": self.activation.alpha.numpy()}
        if isinstance(self.activation, TrainedActivation):
            learned = self.activation.learned.items()
            return {name: np.asarray(weight.numpy()) for name, weight in learned}
        return {}

    def run(self, inputs: Any) -> tuple[Any, Any, Any, Any]:
        """Compute the layer's inputs, its pre-activations, activations, and the block's outputs.

        As in an evaluation: nothing is dropped, and normalization uses its running statistics.
        """
        for layer in self.prepare:
            inputs = layer(inputs)
        kernel, bias = self.weights.kernel.value, self.weights.bias.value
        apply = keras.ops.conv if len(kernel.shape) == 4 else keras.ops.matmul
        values = keras.ops.add(apply(inputs, kernel), bias)
        for layer in self.before:
            values = layer(values, training=False)
        outputs = activations = self.activation(values)
        for layer in self.after:
            outputs = layer(outputs, training=False)
        return inputs, values, activations, outputs + inputs if self.is_added else outputs


def build_model(spec: ModelSpec, seed: int) -> keras.Model:
    """Build a network, float32 images (n, inputs) -> logits (n, classes).

    A layer's initial weights depend on the seed, its position, shape and initializer only, so that
    networks that differ in their activation start from the same weights. The layers with kernels
    are named conv_1, ..., hidden_1, ..., output; see `find_blocks`.

    >>> spec = ModelSpec(
    ...     ActivationConfig("relu", "relu", {}),
    ...     NetworkConfig("mlp", [128, 64]),
    ...     InitializerConfig.read("glorot_uniform"),
    ... )
    >>> build_model(spec, seed=0).count_params()
    109386
    """
    blocks = list(_make_blocks(spec, seed))
    images: Any = keras.Input((spec.inputs,), name="image")
    if not spec.network.skip:
        return keras.Sequential([images, *(layer for block in blocks for layer in block.layers)])
    values = images
    for block in blocks:
        inputs = values
        for layer in block.layers:
            values = layer(values)
        if block.is_added:
            values = keras.layers.Add(name=f"{block.name}_sum")([inputs, values])
    return keras.Model(images, values)


class _Draw(NamedTuple):
    """What a seed decides of a layer: its initializers, and the seed of its dropout."""

    name: str
    inputs: int
    units: int
    kernel: Any
    bias: Any
    dropout: int


def _draw(spec: ModelSpec, seed: int) -> list[_Draw]:
    names, sizes = spec.layer_names(), list(_list_sizes(spec))
    # Of each kind, a seed per layer, which does not depend on the layers behind it.
    kernels, biases, dropouts = (
        np.random.SeedSequence(seed, spawn_key=key).generate_state(len(names)).tolist()
        for key in ((), (1,), (2,))
    )
    found = []
    for at, (name, size) in enumerate(zip(names, sizes, strict=True)):
        activation = spec.activation if name == "output" else spec.activation_at(at)
        initializer = resolve_initializer(spec.initializer, activation)
        kernel = make_kernel_initializer(initializer, kernels[at])
        bias = make_bias_initializer(initializer, biases[at], *size)
        found.append(_Draw(name, *size, kernel, bias, dropouts[at]))
    return found


def _list_sizes(spec: ModelSpec) -> Iterator[tuple[int, int]]:
    """List the inputs of a unit, and the units, of every layer with a kernel."""
    inputs = spec.inputs
    if spec.network.conv:
        if len(spec.shape) not in (2, 3):
            raise UserError(
                f"network.conv is {', '.join(spec.network.conv)}: it needs images, and the inputs"
                f" have the shape {spec.shape or (spec.inputs,)}"
            )
        rows, columns, channels = (*spec.shape, 1)[:3]
        for filters, height, width in spec.network.filters:
            yield height * width * channels, filters
            pool = spec.network.pool or 1
            rows, columns = (rows - height + 1) // pool, (columns - width + 1) // pool
            channels = filters
            if rows < 1 or columns < 1:
                raise UserError(
                    f"network.conv is {', '.join(spec.network.conv)}: images of"
                    f" {' x '.join(map(str, spec.shape[:2]))} are too small for it"
                )
        inputs = rows * columns * channels
    yield from pairwise([inputs, *spec.network.hidden, spec.classes])


def _make_blocks(spec: ModelSpec, seed: int) -> Iterator[Block]:
    """Make the layers of a network, which are not connected yet."""
    network = spec.network
    penalty = keras.regularizers.L1L2(network.l1, network.l2) if network.l1 or network.l2 else None
    place = network.batch_norm or network.layer_norm
    for at, drawn in enumerate(_draw(spec, seed)):
        name, is_hidden = drawn.name, drawn.name.startswith("hidden")
        activation, normalization = None, []
        if name != "output":
            activation = keras_activation(
                spec.activation_at(at),
                f"{name}_activation",
                place == "before",
                is_image=not is_hidden,
            )
            normalization = [_normalization(network, f"{name}_normalization")] if place else []
        is_separate = bool(normalization) and place == "before"
        shared = {
            "activation": None if is_separate else activation,
            "kernel_initializer": drawn.kernel,
            "bias_initializer": drawn.bias or "zeros",
            "kernel_regularizer": penalty,
            "name": name,
        }
        prepare, after = [], [] if is_separate else normalization
        if name.startswith("conv"):
            number = int(name.rpartition("_")[2])
            filters, *size = network.filters[number - 1]
            weights = Conv2D(filters, tuple(size), **shared)
            if isinstance(activation, keras.layers.Layer) and not is_separate:
                activation.build((None, 1, 1, filters))  # its weights do not depend on the size
            if number == 1:
                shape = (*spec.shape, 1)[:3]
                prepare.append(keras.layers.Reshape(shape, name=f"{name}_reshape"))
            if network.pool:
                after.append(MaxPooling2D(network.pool, name=f"{name}_pool"))
            if number == len(network.conv):
                after.append(keras.layers.Flatten(name=f"{name}_flatten"))
        else:
            weights = keras.layers.Dense(drawn.units, **shared)
            if isinstance(activation, keras.layers.Layer) and not is_separate:
                activation.build((None, drawn.units))  # creates its weights
        if is_hidden:
            after += _dropouts(network, name, drawn.dropout)
        yield Block(
            name,
            prepare,
            weights,
            normalization if is_separate else [],
            weights.activation if activation is None or not is_separate else activation,
            after,
            network.skip and is_hidden and drawn.inputs == drawn.units,
        )


def _normalization(network: NetworkConfig, name: str) -> Any:
    if network.batch_norm:
        return keras.layers.BatchNormalization(name=name)
    return keras.layers.LayerNormalization(name=name)


def _dropouts(network: NetworkConfig, name: str, seed: int) -> list[Any]:
    if network.dropout:
        return [Dropout(network.dropout, seed=seed, name=f"{name}_dropout")]
    if network.alpha_dropout:
        rate = network.alpha_dropout
        return [AlphaDropout(rate, seed=seed, name=f"{name}_dropout")]
    return []


#: The name of a layer with a kernel.
_NAME = re.compile(r"(conv|hidden)_\d+|output")


def find_blocks(model: keras.Model) -> list[Block]:
    """Find the blocks of a model that `build_model` made, by the names of its layers."""
    layers = {layer.name: layer for layer in model.layers}
    blocks = []
    for name in filter(_NAME.fullmatch, layers):

        def pick(*parts: str, name: str = name) -> list[Any]:
            return [layers[f"{name}_{part}"] for part in parts if f"{name}_{part}" in layers]

        weights, separate, normalization = layers[name], pick("activation"), pick("normalization")
        blocks.append(
            Block(
                name,
                pick("reshape"),
                weights,
                normalization if separate else [],
                separate[0] if separate else weights.activation,
                ([] if separate else normalization) + pick("pool", "flatten", "dropout"),
                f"{name}_sum" in layers,
            )
        )
    return blocks


def draw_weights(model: keras.Model, spec: ModelSpec, seed: int) -> None:
    """Replace the weights that `build_model` draws by those of another seed, but faster.

    The other variables, such as those of normalization, stay as they are.
    """
    for block, drawn in zip(find_blocks(model), _draw(spec, seed), strict=True):
        block.weights.kernel.assign(drawn.kernel(block.weights.kernel.shape))
        if drawn.bias:
            block.weights.bias.assign(drawn.bias(block.weights.bias.shape))
        for layer in block.after:
            if isinstance(layer, Dropout | AlphaDropout):
                layer.seed_generator.state.assign([drawn.dropout, 0])


def describe_layers(model: keras.Model, spec: ModelSpec) -> list[tuple[Any, ...]]:
    """List each block's name, inputs, units and number of parameters: rows of `layout.LAYERS`."""
    rows = []
    for place, block in enumerate(find_blocks(model)):
        kernel = block.weights.kernel
        parameters = sum(layer.count_params() for layer in block.layers)
        rows.append(
            (
                block.name,
                math.prod(kernel.shape[:-1]),
                kernel.shape[-1],
                "linear" if block.name == "output" else spec.activation_at(place).name,
                parameters,
            )
        )
    return rows


def load_model(folder: Path, seed: int, epoch: int | None = None) -> keras.Model:
    """Load a seed's model after an epoch (the last by default) from a run's folder `models`."""
    model = build_model(ModelSpec.load(folder / "model.json"), seed)
    path = weights_path(folder, seed, kept_epochs(folder, seed)[-1] if epoch is None else epoch)
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro` to train it")
    read_weights(model, path)
    return model


def read_weights(model: keras.Model, path: Path) -> None:
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
