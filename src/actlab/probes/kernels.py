"""The times of one dense layer alone: forward, backward, and the activation without the layer."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from actlab.activations.config import ActivationConfig
from actlab.backend import tf
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.models.network import ModelSpec, build_model

Array = Float32[np.ndarray, "batches images units"]


class Batches(NamedTuple):
    """Two batches for a layer, which a program uses in turn.

    Inputs are standard normal, and so is `upstream`, the derivative of a loss with respect to the
    activations; `preactivations` are the inputs times the kernel.
    """

    inputs: Array
    preactivations: Array
    upstream: Array


def build_layer(activation: ActivationConfig, units: int) -> Any:
    """Build a Keras dense layer of as many inputs as units (`network.build_model`, seed 0)."""
    initializer = InitializerConfig.read("glorot_uniform")
    spec = ModelSpec(activation, NetworkConfig("layer", [units]), initializer, inputs=units)
    return build_model(spec, 0).layers[0]


def draw_batches(layer: Any, images: int) -> Batches:
    """Draw batches for a layer; layers of one kernel get the same ones."""
    rng = np.random.default_rng(0)
    shape = (2, images, layer.units)
    inputs, upstream = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    return Batches(inputs, (tf.constant(inputs) @ layer.kernel.value).numpy(), upstream)


def _forward(layer: Any, inputs: tf.Tensor, *_: tf.Tensor) -> list[tf.Tensor]:
    """Compute phi(x W + b)."""
    return [layer.activation(tf.matmul(inputs, layer.kernel.value) + layer.bias.value)]


def _backward(
    layer: Any, inputs: tf.Tensor, preactivations: tf.Tensor, upstream: tf.Tensor
) -> list[tf.Tensor]:
    """Compute the derivatives with respect to kernel, bias and inputs from the pre-activations."""
    with tf.GradientTape() as tape:
        tape.watch(preactivations)
        activations = layer.activation(preactivations)
    deltas: Any = tape.gradient(activations, [preactivations], output_gradients=[upstream])[0]
    return [
        tf.matmul(inputs, deltas, transpose_a=True),
        tf.reduce_sum(deltas, axis=0),
        tf.matmul(deltas, layer.kernel.value, transpose_b=True),
    ]


def _elementwise(layer: Any, _: tf.Tensor, preactivations: tf.Tensor, *__: tf.Tensor) -> list:
    """Compute phi(z) of the pre-activations, without the layer."""
    return [layer.activation(preactivations)]


#: What is timed of a layer, by the names of `tables.KERNELS`.
OPERATIONS: dict[str, Callable[..., list[tf.Tensor]]] = {
    "forward": _forward,
    "backward": _backward,
    "elementwise": _elementwise,
}


def compile_operation(
    operation: str, layer: Any, batches: Batches
) -> Callable[[int], list[np.ndarray]]:
    """Compile one of `OPERATIONS`, repeated, into a single XLA program.

    The result takes the number of repetitions, 1 or more, and gives the values of the last one; the
    first call compiles. The loop's length is known at run time only, and the two batches alternate:
    XLA can neither unroll it, nor move the work out of it, nor leave a repetition out.
    """
    compute = OPERATIONS[operation]
    given = [tf.constant(each) for each in batches]

    @tf.function(jit_compile=True, autograph=False)
    def program(repetitions: tf.Tensor, *pools: tf.Tensor) -> list[tf.Tensor]:
        def body(number: Any, *_: tf.Tensor) -> list[tf.Tensor]:
            return [number + 1, *compute(layer, *(pool[number % 2] for pool in pools))]

        before = [tf.zeros_like(each) for each in compute(layer, *(pool[0] for pool in pools))]
        _, *last = tf.while_loop(
            lambda number, *_: number < repetitions, body, [tf.constant(0), *before]
        )
        return last

    def run(repetitions: int) -> list[np.ndarray]:
        return [each.numpy() for each in program(tf.constant(repetitions), *given)]

    return run


@dataclass(frozen=True)
class TimedKernel:
    """The time of one repetition of an operation, in a block with every activation.

    `place` is the place in the order of the block, from 0; `seconds` those of a measurement divided
    by its repetitions; `load` the machine's average of the last minute, in processes that run or
    wait (NaN where the system has none).
    """

    operation: str
    block: int
    place: int
    activation: str
    repetitions: int
    seconds: float
    load: float


def time_kernels(
    activations: Mapping[str, ActivationConfig],
    images: int,
    units: int,
    repetitions: Mapping[str, int],
    block: int,
) -> Iterator[TimedKernel]:
    """Time `OPERATIONS` of a layer with each activation, in one process, which is one block.

    Each operation of every activation is measured once, the activations in an order drawn for the
    block and the operation. A first pass, which compiles, is not recorded.

    Parameters
    ----------
    activations
        By name.
    images
        Of a batch.
    units
        Of the layer, and its inputs.
    repetitions
        Of each operation in a measurement; they share the 0.3 ms of calling a program.
    block
        Its number, from 1.
    """
    layers = {name: build_layer(config, units) for name, config in activations.items()}
    batches = {name: draw_batches(layer, images) for name, layer in layers.items()}
    programs = {
        (operation, name): compile_operation(operation, layers[name], batches[name])
        for operation, name in product(OPERATIONS, activations)
    }
    names = np.array(list(activations), dtype=object)
    for program in programs.values():
        program(1)
    for number, operation in enumerate(OPERATIONS):
        order = np.random.default_rng([block, number]).permutation(len(names))
        count = repetitions[operation]
        for place, name in enumerate(names[order]):
            started = time.perf_counter()
            programs[operation, name](count)
            seconds = (time.perf_counter() - started) / count
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
            yield TimedKernel(operation, block, place, name, count, seconds, load)
