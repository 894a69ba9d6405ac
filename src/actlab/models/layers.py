"""Layers of Keras, computed so that they cost little in an epoch's program.

XLA's CPU compiler multiplies matrices fast, but not convolutions in a loop, and it recomputes the
random numbers of TensorFlow's own dropout for every value: an epoch took fifteen times as long. Its
gradient of max pooling is slow as well.
"""

from functools import reduce
from typing import Any

from actlab.backend import keras, tf

#: SELU's limit for negative numbers, times -1: alpha * scale.
_SELU_LIMIT = 1.6732632423543772 * 1.0507009873554805

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


class Conv2D(keras.layers.Conv2D):
    """A convolution with stride 1 and without padding; in training, a product per kernel row."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Convolve images (n, height, width, channels)."""
        if not training:  # of more images, whose neighbours would need too much memory
            return super().call(inputs)
        own: Any = self
        kernel, bias = own.kernel.value, own.bias.value
        rows, columns, channels, filters = kernel.shape
        height, width = inputs.shape[1] - rows + 1, inputs.shape[2] - columns + 1
        # All rows of the kernel at once would need one concatenation of rows x columns parts, for
        # which two models at the same time wait for each other.
        neighbours = [inputs[:, :, column : column + width] for column in range(columns)]
        wide, products = tf.concat(neighbours, axis=-1), []
        for row in range(rows):
            part = tf.reshape(wide[:, row : row + height], [-1, columns * channels])
            products.append(tf.matmul(part, tf.reshape(kernel[row], [-1, filters])))
        sums = reduce(tf.add, products) + bias
        return own.activation(tf.reshape(sums, [-1, height, width, filters]))


class MaxPooling2D(keras.layers.MaxPooling2D):
    """Max pooling without padding, with strides as long as the pool; the first of equals counts."""

    def call(self, inputs: Any) -> Any:
        """Reduce images (n, height, width, channels); what does not fill a pool is left out."""
        size: int = self.pool_size[0]
        height, width = (inputs.shape[axis] // size * size for axis in (1, 2))
        places = [(row, column) for row in range(size) for column in range(size)]
        return reduce(
            tf.maximum, [inputs[:, row:height:size, column:width:size] for row, column in places]
        )


def threefry(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    """Encrypt a counter by Threefry-2x32 with 20 rounds (Salmon et al. 2011, section 3.3).

    Key and counter are two uint32 tensors each, of shapes that broadcast; so is the result.

    Examples
    --------
    >>> zero = tf.zeros((), tf.uint32)
    >>> [hex(word.numpy()) for word in threefry((zero, zero), (zero, zero))]
    ['0x6b200159', '0x99ba4efe']
    """
    keys = (*key, key[0] ^ key[1] ^ _word(_PARITY))
    one, two = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            one += two
            left = tf.bitwise.left_shift(two, _word(rotation))
            two = (left | tf.bitwise.right_shift(two, _word(32 - rotation))) ^ one
        one += keys[(group + 1) % 3]
        two += keys[(group + 2) % 3] + _word(group + 1)
    return one, two


def _word(value: int) -> Any:
    return tf.constant(value, tf.uint32)


def _draw_kept(layer: Any, inputs: Any) -> Any:
    """Draw for every value whether it is kept: booleans in the shape of the inputs.

    They depend on the layer's seed, the step and the place alone, on any device.
    """
    seed, step = tf.unstack(layer.seed_generator.next())  # int64
    key = tf.cast(seed, tf.uint32), tf.cast(tf.bitwise.right_shift(seed, 32), tf.uint32)
    places = tf.cast(tf.range(tf.size(inputs)), tf.uint32)
    drawn, _ = threefry(key, (places, tf.cast(step, tf.uint32)))
    return tf.reshape(drawn >= _word(int(layer.rate * 2**32)), tf.shape(inputs))


class Dropout(keras.layers.Dropout):
    """Replaces a share of the values by 0, and divides the others by the share that is kept."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Drop values in training."""
        if not training:
            return inputs
        return tf.where(_draw_kept(self, inputs), inputs / (1 - self.rate), 0.0)


class AlphaDropout(keras.layers.AlphaDropout):
    """Replaces a share of the values by SELU's negative limit, with mean and variance kept."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Drop values in training."""
        if not training:
            return inputs
        scale = ((1 - self.rate) * (1 + self.rate * _SELU_LIMIT**2)) ** -0.5
        kept = tf.where(_draw_kept(self, inputs), inputs, -_SELU_LIMIT)
        return scale * kept + scale * _SELU_LIMIT * self.rate
