"""Losses by the outputs of a network, and the predictions that are right."""

from collections.abc import Callable
from typing import Any

from actlab.backend import keras, tf

#: Targets and outputs of a batch -> the mean loss of its images.
Loss = Callable[[Any, Any], Any]


def make_loss(outputs: str) -> Loss:
    """Make the mean loss of a batch.

    Parameters
    ----------
    outputs
        softmax: the cross-entropy of the label, in nats. logistic: the sum over the classes of the
        cross-entropies of being the label or not, in nats. linear: the mean squared error over the
        outputs, of targets (n, outputs).
    """
    if outputs == "softmax":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if outputs == "linear":
        return keras.losses.MeanSquaredError()

    def logistic(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        targets = tf.one_hot(tf.cast(labels, tf.int32), logits.shape[-1])
        crossed = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
        return tf.reduce_mean(tf.reduce_sum(crossed, axis=1))

    return logistic


def count_right(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Count the images whose largest output is that of the label; NaN where targets are numbers."""
    if targets.dtype.is_floating:
        return tf.constant(float("nan"))
    predicted = tf.argmax(logits, axis=1, output_type=tf.int32)
    return tf.reduce_sum(tf.cast(tf.equal(predicted, targets), tf.float32))
