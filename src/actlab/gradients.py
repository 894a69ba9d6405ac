"""A model and a batch -> the gradient of the loss with respect to every kernel."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from actlab.datasets import Split
from actlab.model import ModelSpec, build_model, kept_epochs, weights_path
from actlab.runtime import keras, tf

#: What is said of a kernel's gradient: the mean absolute entry, the Euclidean norm, and the
#: norm divided by the kernel's own.
STATISTICS = ("mean_abs", "l2_norm", "relative_norm")


def compile_gradients(model: keras.Sequential) -> Callable[[Split], dict[str, np.ndarray]]:
    """Give a function: images (n, inputs) and labels (n,) -> each layer's kernel gradient.

    The loss is the mean cross-entropy of the batch, as in training. The gradient has the
    kernel's shape (units below, units).
    """
    kernels = [layer.kernel.value for layer in model.layers]
    cross_entropy: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function(autograph=False)
    def program(images: tf.Tensor, labels: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            loss = cross_entropy(labels, model(images, training=True))
        return tape.gradient(loss, kernels)

    def gradients(batch: Split) -> dict[str, np.ndarray]:
        values = program(tf.constant(batch.images), tf.constant(batch.labels))
        return {
            layer.name: value.numpy() for layer, value in zip(model.layers, values, strict=True)
        }

    return gradients


def summarise_gradient(gradient: np.ndarray, kernel: np.ndarray) -> dict[str, float]:
    """Reduce a kernel's gradient to `STATISTICS`, summed in double precision.

    >>> summarise_gradient(np.array([[3.0, -4.0]]), np.array([[0.0, 2.0]]))
    {'mean_abs': 3.5, 'l2_norm': 5.0, 'relative_norm': 2.5}
    """
    entries = gradient.astype(np.float64)
    norm = float(np.linalg.norm(entries))
    kernel_norm = float(np.linalg.norm(kernel.astype(np.float64)))
    return {
        "mean_abs": float(np.abs(entries).mean()),
        "l2_norm": norm,
        "relative_norm": norm / kernel_norm if kernel_norm else float("nan"),
    }


def probe_configuration(
    folder: Path, seeds: Sequence[int], probes: Mapping[str, Split]
) -> Iterator[tuple[int, int, str, str, str, float]]:
    """Measure the gradients of the models of `models/<activation>-<network>`.

    Parameters
    ----------
    folder
        Holds model.json and each seed's weights at the kept epochs.
    seeds
        Which models.
    probes
        The batches by name.

    Yields
    ------
    tuple
        seed, epoch, layer, probe, statistic, value: a row of `tables.GRADIENTS` behind
        activation and network.
    """
    model = build_model(ModelSpec.load(folder / "model.json"), seed=0)
    gradients_of = compile_gradients(model)
    for seed in seeds:
        for epoch in kept_epochs(folder, seed):
            model.load_weights(weights_path(folder, seed, epoch))
            kernels = {layer.name: layer.kernel.numpy() for layer in model.layers}
            for probe, batch in probes.items():
                for layer, gradient in gradients_of(batch).items():
                    for statistic, value in summarise_gradient(gradient, kernels[layer]).items():
                        yield seed, epoch, layer, probe, statistic, value
