"""Many equal layers as one loop over stacked weights, which compiles as fast as a single layer.

A program that lists 100 layers one by one compiles ten times as long as one with three.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from actlab.backend import keras, tf
from actlab.training.config import ELEMENTWISE

#: Up to so many equal layers are listed one by one.
MOST_UNROLLED = 16

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """Consecutive dense layers of a model that differ in their weights only.

    Attributes
    ----------
    before, layers, after
        All layers of the model, in order.
    """

    before: list[Any]
    layers: list[Any]
    after: list[Any]

    def group(self, values: Sequence[T]) -> list[list[T]]:
        """Group one value per trainable variable: the run's kernels, its biases, others alone."""
        first = sum(len(layer.trainable_variables) for layer in self.before)
        end = first + 2 * len(self.layers)
        return [
            *([value] for value in values[:first]),
            list(values[first:end:2]),
            list(values[first + 1 : end : 2]),
            *([value] for value in values[end:]),
        ]

    def compute(self, weights: Sequence[Any], images: Any, is_training: bool) -> Any:
        """Compute the logits (n, classes) of images (n, inputs).

        `weights` has one tensor per group: the run's kernels are (layers, units, units), its biases
        (layers, units).
        """
        alone = [*self.before, *self.after]
        variables = [variable for layer in alone for variable in layer.trainable_variables]
        first = sum(len(layer.trainable_variables) for layer in self.before)
        values = [*weights[:first], *weights[first + 2 :]]
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            for layer in self.before:
                images = layer(images, training=is_training)
            kernels, biases = weights[first : first + 2]
            run = _run_with_gradient if is_training else _run
            images = run(images, kernels, biases, self.layers[0].activation)
            for layer in self.after:
                images = layer(images)
        return images


def find_run(model: keras.Model, optimizer: keras.Optimizer | None = None) -> Run | None:
    """Find the longest run of equal layers; None where all are listed one by one.

    That is so in networks with penalties, dropout, normalization or sums, and if the optimizer's
    update of a kernel depends on the whole of it.
    """
    if not isinstance(model, keras.Sequential) or model.losses or model.non_trainable_variables:
        return None
    if optimizer and (
        type(optimizer).__name__ not in ELEMENTWISE
        or optimizer.clipnorm is not None
        or optimizer.global_clipnorm is not None
    ):
        return None
    runs = [list(layers) for _, layers in groupby(model.layers, _kind)]
    longest = max(runs, key=len)
    if len(longest) <= MOST_UNROLLED:
        return None
    start = model.layers.index(longest[0])
    return Run(model.layers[:start], longest, model.layers[start + len(longest) :])


def _kind(layer: Any) -> Any:
    """Describe a plain dense layer by what has to be equal in a run; others by themselves."""
    is_plain = type(layer) is keras.layers.Dense
    is_plain = is_plain and not isinstance(layer.activation, keras.layers.Layer)
    return (layer.kernel.shape, layer.activation) if is_plain else layer


def pair_variables(
    inner: keras.Optimizer,
    outer: keras.Optimizer,
    group: Callable[[Sequence[Any]], list[list[Any]]],
) -> list[tuple[Any, list[Any]]]:
    """Pair each variable of an optimizer of groups with those that it stands for in another.

    Both are built and equal in their settings. Keras's optimizers keep a list for each kind of
    state, with one variable per trainable variable; the others, such as the number of iterations,
    are paired in order.
    """
    inner_lists, outer_lists = map(_state_lists, (inner, outer))
    pairs = [
        pair
        for few, many in zip(inner_lists, outer_lists, strict=True)
        for pair in zip(few, group(many), strict=True)
    ]
    others = [
        [one for one in optimizer.variables if id(one) not in {id(x) for y in lists for x in y}]
        for optimizer, lists in ((inner, inner_lists), (outer, outer_lists))
    ]
    return [*pairs, *((one, [other]) for one, other in zip(*others, strict=True))]


def _state_lists(optimizer: Any) -> list[list[Any]]:
    count, own = len(optimizer._trainable_variables), {id(one) for one in optimizer.variables}
    return [
        value
        for value in vars(optimizer).values()
        if isinstance(value, list) and len(value) == count and {id(one) for one in value} <= own
    ]


def _run(inputs: Any, kernels: Any, biases: Any, activation: Any) -> Any:
    return _run_forward(inputs, kernels, biases, activation)[0]


def _run_forward(
    inputs: Any, kernels: Any, biases: Any, activation: Any, *kept: Any
) -> tuple[Any, ...]:
    """Compute the outputs (n, units); write inputs and pre-activations to two arrays, if given."""

    def body(place: Any, values: Any, *kept: Any) -> tuple[Any, ...]:
        sums = tf.matmul(values, kernels[place]) + biases[place]
        written = [array.write(place, x) for array, x in zip(kept, (values, sums), strict=False)]
        return place + 1, activation(sums), *written

    layers = kernels.shape[0]
    _, *results = tf.while_loop(
        lambda place, *_: place < layers, body, (0, inputs, *kept), maximum_iterations=layers
    )
    return tuple(results)


def _run_with_gradient(inputs: Any, kernels: Any, biases: Any, activation: Any) -> Any:
    """Compute the outputs of the layers (n, units), with a loop for their gradient as well."""
    layers = kernels.shape[0]

    def new_array(shape: Any) -> Any:
        return tf.TensorArray(tf.float32, layers, element_shape=shape)

    @tf.custom_gradient
    def run(inputs: Any, kernels: Any, biases: Any) -> Any:
        arrays = [new_array(inputs.shape) for _ in range(2)]
        outputs, *kept = _run_forward(inputs, kernels, biases, activation, *arrays)

        def find_gradients(change: Any) -> tuple[Any, Any, Any]:
            def body(place: Any, change: Any, *gradients: Any) -> tuple[Any, ...]:
                values, sums = (array.read(place) for array in kept)
                with tf.GradientTape() as tape:
                    tape.watch(sums)
                    activated = activation(sums)
                change = tape.gradient(activated, sums, change)
                found = tf.matmul(values, change, transpose_a=True), tf.reduce_sum(change, axis=0)
                written = [array.write(place, x) for array, x in zip(gradients, found, strict=True)]
                return place - 1, tf.matmul(change, kernels[place], transpose_b=True), *written

            arrays = [new_array(kernels.shape[1:]), new_array(biases.shape[1:])]
            _, change, *gradients = tf.while_loop(
                lambda place, *_: place >= 0,
                body,
                (layers - 1, change, *arrays),
                maximum_iterations=layers,
            )
            return change, *(array.stack() for array in gradients)

        return outputs, find_gradients

    return run(inputs, kernels, biases)
