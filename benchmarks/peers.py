"""Train one epoch of the same network with each library, written for speed as its users would.

A peer takes a `Training` and returns a function from the number of an epoch (from 1) to its mean
loss, each batch measured before its own update. All start from the same weights and see the same
batches, except those in `OWN_ORDER`, which shuffle for themselves. `products` lists the matrix
products of an epoch.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

LEARNING_RATE, BETA_1, BETA_2, EPSILON = 0.001, 0.9, 0.999, 1e-7  # Keras's defaults for Adam
DECAY = 0.004  # AdamW's
SGD_RATE, MOMENTUM = 0.01, 0.9

Trainer = Callable[[int], float]
Weights = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Training:
    """A training of a ReLU network (784, convolutions, hidden, 10).

    `images` are (n, 784) float32, `labels` (n,) int32. `convolutions` are numbers of filters of
    5 x 5, each followed by ReLU and max pooling over 2 x 2. `dropout` follows each hidden layer's
    activation, `batch_norm` precedes it.
    """

    hidden: tuple[int, ...]
    batch_size: int
    images: np.ndarray
    labels: np.ndarray
    seed: int = 0
    optimizer: str = "Adam"
    dropout: float = 0.0
    batch_norm: bool = False
    convolutions: tuple[int, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it is of dense layers alone, by Adam."""
        return self.optimizer == "Adam" and not (
            self.dropout or self.batch_norm or self.convolutions
        )

    @cached_property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Places, inputs and outputs of each layer: a convolution is a product at each place."""
        side, channels, found = 28, 1, []
        for filters in self.convolutions:
            found.append(((side - 4) ** 2, 25 * channels, filters))
            side, channels = (side - 4) // 2, filters
        inputs = side * side * channels if self.convolutions else self.images.shape[1]
        return [*found, *((1, *pair) for pair in pairwise([inputs, *self.hidden, 10]))]

    def initial_weights(self) -> Weights:
        """Draw Glorot-uniform kernels, as Keras has them; biases are zero."""
        rng = np.random.default_rng(self.seed)
        weights = []
        for places, inputs, outputs in self.shapes:
            most = np.sqrt(6 / (inputs + outputs))
            kernel = rng.uniform(-most, most, (inputs, outputs)).astype(np.float32)
            if places > 1:
                kernel = kernel.reshape(5, 5, -1, outputs)
            weights.append((kernel, np.zeros(outputs, np.float32)))
        return weights

    def order(self, epoch: int) -> np.ndarray:
        """Shuffle the indices of the images."""
        rng = np.random.default_rng([self.seed, epoch])
        return rng.permutation(len(self.labels)).astype(np.int32)

    def batches(self, epoch: int) -> Sequence[np.ndarray]:
        """Split the order into batches, the last one possibly smaller."""
        count = len(self.labels)
        return np.split(self.order(epoch), range(self.batch_size, count, self.batch_size))


def actlab(training: Training, threads: int) -> Trainer:
    """Train by actlab's own program, which uses one thread whatever `threads` is."""
    from actlab.activations.config import ActivationConfig
    from actlab.backend import keras
    from actlab.data.splits import Split
    from actlab.models.config import InitializerConfig, NetworkConfig
    from actlab.models.network import ModelSpec, build_model
    from actlab.training.compiled import compile_epoch, to_device

    network = NetworkConfig(
        "benchmark",
        list(training.hidden),
        conv=[f"{filters}@5x5" for filters in training.convolutions],
        pool=2 if training.convolutions else None,
        dropout=training.dropout,
        batch_norm="before" if training.batch_norm else None,
    )
    initializer = InitializerConfig.read("glorot_uniform")
    spec = ModelSpec(ActivationConfig("relu", "relu", {}), network, initializer, shape=(28, 28))
    model = build_model(spec, training.seed)
    _set_weights(model, training)
    split = to_device(Split(training.images, training.labels))
    optimizer = _keras_optimizer(keras, training)
    run_epoch = compile_epoch(model, optimizer, split, training.batch_size)
    return lambda epoch: run_epoch(training.order(epoch))[0]


def _set_weights(model: Any, training: Training) -> None:
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    for layer, weights in zip(layers, training.initial_weights(), strict=True):
        layer.set_weights(weights)


def _keras_optimizer(keras: Any, training: Training) -> Any:
    if training.optimizer == "SGD":
        return keras.optimizers.SGD(SGD_RATE, MOMENTUM)
    return getattr(keras.optimizers, training.optimizer)(LEARNING_RATE)


def _keras_fit(training: Training, threads: int, **compiling: Any) -> Trainer:
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    layers: list[Any] = [keras.Input((training.images.shape[1],))]
    for place, filters in enumerate(training.convolutions):
        layers += [] if place else [keras.layers.Reshape((28, 28, 1))]
        layers.append(keras.layers.Conv2D(filters, 5, activation="relu"))
        layers.append(keras.layers.MaxPooling2D(2))
    layers += [keras.layers.Flatten()] if training.convolutions else []
    for units in training.hidden:
        layers.append(keras.layers.Dense(units))
        layers += [keras.layers.BatchNormalization()] if training.batch_norm else []
        layers.append(keras.layers.ReLU())
        layers += [keras.layers.Dropout(training.dropout)] if training.dropout else []
    model: Any = keras.Sequential([*layers, keras.layers.Dense(10)])
    _set_weights(model, training)
    model.compile(
        optimizer=_keras_optimizer(keras, training),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **compiling,
    )

    def train(epoch: int) -> float:
        history = model.fit(
            training.images, training.labels, batch_size=training.batch_size, verbose=0
        )
        return history.history["loss"][0]

    return train


def keras_fit(training: Training, threads: int) -> Trainer:
    """Train by `model.fit` with its defaults."""
    return _keras_fit(training, threads)


def keras_fit_tuned(training: Training, threads: int) -> Trainer:
    """Train by `model.fit` compiled by XLA, with 64 steps per execution."""
    return _keras_fit(training, threads, jit_compile=True, steps_per_execution=64)


def _torch(training: Training, threads: int, is_compiled: bool) -> Trainer:
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads)
    weights, convolutions = training.initial_weights(), len(training.convolutions)
    layers: list[Any] = [torch.nn.Unflatten(1, (1, 28, 28))] if convolutions else []
    for place, (kernel, bias) in enumerate(weights):
        if place < convolutions:
            layer = torch.nn.Conv2d(kernel.shape[2], kernel.shape[3], 5)
            kernel = kernel.transpose(3, 2, 0, 1)
        else:
            layer = torch.nn.Linear(*kernel.shape)
            if convolutions and place == convolutions:  # pixels of a channel are neighbours here
                layers.append(torch.nn.Flatten())
                channels = training.convolutions[-1]
                kernel = kernel.reshape(-1, channels, kernel.shape[1]).swapaxes(0, 1)
                kernel = kernel.reshape(-1, kernel.shape[2])
            kernel = kernel.T
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.copy()))
            layer.bias.copy_(torch.from_numpy(bias))
        layers.append(layer)
        if place < convolutions:
            layers += [torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
        elif place < len(weights) - 1:
            if training.batch_norm:
                layers.append(torch.nn.BatchNorm1d(len(bias), eps=0.001, momentum=0.01))
            layers.append(torch.nn.ReLU())
            layers += [torch.nn.Dropout(training.dropout)] if training.dropout else []
    model = torch.nn.Sequential(*layers)
    if training.optimizer == "SGD":
        optimizer = torch.optim.SGD(model.parameters(), SGD_RATE, MOMENTUM, fused=True)
    else:
        decay = {"weight_decay": DECAY} if training.optimizer == "AdamW" else {}
        optimizer = getattr(torch.optim, training.optimizer)(
            model.parameters(), LEARNING_RATE, (BETA_1, BETA_2), EPSILON, fused=True, **decay
        )
    images = torch.from_numpy(np.array(training.images))
    labels = torch.from_numpy(training.labels.astype(np.int64))

    def loss_of(batch: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])

    if is_compiled:
        loss_of = torch.compile(loss_of, dynamic=False)

    def train(epoch: int) -> float:
        total = torch.zeros(())
        for batch in torch.from_numpy(training.order(epoch)).split(training.batch_size):
            loss = loss_of(batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        return float(total) / len(labels)

    return train


def torch_eager(training: Training, threads: int) -> Trainer:
    """Train by PyTorch with fused Adam."""
    return _torch(training, threads, is_compiled=False)


def torch_compiled(training: Training, threads: int) -> Trainer:
    """Train by PyTorch, forward and backward pass compiled by `torch.compile`."""
    return _torch(training, threads, is_compiled=True)


def jax_scan(training: Training, threads: int) -> Trainer:
    """Train by JAX, one program per epoch: `lax.scan` over the batches, Adam written out."""
    import jax  # pyright: ignore[reportMissingImports]
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

    images, labels = jnp.asarray(training.images), jnp.asarray(training.labels)
    count, size = len(training.labels), training.batch_size

    def compute(weights: Any, values: Any, key: Any) -> tuple[Any, list[Any]]:
        moments, convolutions = [], len(training.convolutions)
        values = values.reshape(-1, 28, 28, 1) if convolutions else values
        for kernel, bias in weights[:convolutions]:
            values = jax.lax.conv_general_dilated(
                values, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            values = jax.lax.reduce_window(
                jax.nn.relu(values + bias), -jnp.inf, jax.lax.max, *[(1, 2, 2, 1)] * 2, "VALID"
            )
        values = values.reshape(len(values), -1)
        for kernel, bias, *scale in weights[convolutions:-1]:
            values = values @ kernel + bias
            if training.batch_norm:
                mean, variance = values.mean(axis=0), values.var(axis=0)
                values = (values - mean) * jax.lax.rsqrt(variance + 0.001) * scale[0] + scale[1]
                moments.append((mean, variance))
            values = jax.nn.relu(values)
            if training.dropout:
                key, drawn = jax.random.split(key)
                kept = jax.random.bernoulli(drawn, 1 - training.dropout, values.shape)
                values = jnp.where(kept, values / (1 - training.dropout), 0)
        kernel, bias = weights[-1]
        return values @ kernel + bias, moments

    def loss_of(weights: Any, batch: Any, key: Any) -> Any:
        logits, moments = compute(weights, images[batch], key)
        likely = jax.nn.log_softmax(logits)
        return -jnp.mean(jnp.take_along_axis(likely, labels[batch][:, None], axis=1)), moments

    def by_sgd(weights: Any, slope: Any, mean: Any, square: Any, number: Any) -> Any:
        mean = jax.tree.map(lambda m, g: MOMENTUM * m - SGD_RATE * g, mean, slope)
        return jax.tree.map(jnp.add, weights, mean), mean, square

    def by_adam(weights: Any, slope: Any, mean: Any, square: Any, number: Any) -> Any:
        rate = LEARNING_RATE * jnp.sqrt(1 - BETA_2**number) / (1 - BETA_1**number)
        kept = 1 - LEARNING_RATE * DECAY if training.optimizer == "AdamW" else 1
        mean = jax.tree.map(lambda m, g: m + (g - m) * (1 - BETA_1), mean, slope)
        square = jax.tree.map(lambda v, g: v + (g * g - v) * (1 - BETA_2), square, slope)
        weights = jax.tree.map(
            lambda w, m, v: kept * w - rate * m / (jnp.sqrt(v) + EPSILON), weights, mean, square
        )
        return weights, mean, square

    update = by_sgd if training.optimizer == "SGD" else by_adam

    def step(state: Any, batch: Any) -> Any:
        weights, mean, square, number, running, key = state
        key, drawn = jax.random.split(key) if training.dropout else (key, key)
        (loss, moments), slope = jax.value_and_grad(loss_of, has_aux=True)(weights, batch, drawn)
        number = number + 1
        running = jax.tree.map(lambda old, new: 0.99 * old + 0.01 * new, running, moments)
        weights, mean, square = update(weights, slope, mean, square, number)
        return (weights, mean, square, number, running, key), loss * batch.shape[0]

    def run(state: Any, order: Any) -> Any:
        whole = count // size * size
        state, losses = jax.lax.scan(step, state, order[:whole].reshape(-1, size))
        total = jnp.sum(losses)
        if count % size:
            state, loss = step(state, order[whole:])
            total += loss
        return state, total / count

    epoch_program = jax.jit(run, donate_argnums=0)
    weights, running = [], []
    for kernel, bias in training.initial_weights():
        weights.append([jnp.asarray(kernel), jnp.asarray(bias)])
    if training.batch_norm:
        for layer in weights[:-1]:
            running.append((jnp.zeros_like(layer[1]), jnp.ones_like(layer[1])))
            layer += [jnp.ones_like(layer[1]), jnp.zeros_like(layer[1])]
    state = (
        weights,
        jax.tree.map(jnp.zeros_like, weights),
        jax.tree.map(jnp.zeros_like, weights),
        jnp.zeros((), jnp.float32),
        running,
        jax.random.key(training.seed),
    )

    def train(epoch: int) -> float:
        nonlocal state
        state, loss = epoch_program(state, training.order(epoch))
        return float(loss)

    return train


def numpy_arrays(training: Training, threads: int) -> Trainer:
    """Train by NumPy: forward, backward and Adam written out, Adam on one flat array."""
    initial = training.initial_weights()
    flat = np.concatenate([array.ravel() for pair in initial for array in pair])
    slopes, mean, square, scratch = (np.zeros_like(flat) for _ in range(4))

    def views(array: np.ndarray) -> Weights:
        cuts = np.cumsum([part.size for pair in initial for part in pair])[:-1]
        parts = iter(np.split(array, cuts))
        return [(next(parts).reshape(kernel.shape), next(parts)) for kernel, _ in initial]

    weights, gradients = views(flat), views(slopes)
    number = 0

    def step(batch: np.ndarray) -> float:
        nonlocal number
        rows, labels = np.arange(len(batch)), training.labels[batch]
        inputs = [training.images[batch]]
        for kernel, bias in weights[:-1]:
            values = inputs[-1] @ kernel
            values += bias
            inputs.append(np.maximum(values, 0, out=values))
        kernel, bias = weights[-1]
        logits = inputs[-1] @ kernel + bias
        logits -= logits.max(axis=1, keepdims=True)
        likely = np.exp(logits)
        total = likely.sum(axis=1, keepdims=True)
        loss = float(np.sum(np.log(total[:, 0]) - logits[rows, labels]))
        likely /= total
        likely[rows, labels] -= 1
        likely /= np.float32(len(batch))
        back = likely
        for layer in reversed(range(len(weights))):
            np.matmul(inputs[layer].T, back, out=gradients[layer][0])
            back.sum(axis=0, out=gradients[layer][1])
            if layer:
                back = back @ weights[layer][0].T
                back *= inputs[layer] > 0
        number += 1
        rate = np.float32(LEARNING_RATE * np.sqrt(1 - BETA_2**number) / (1 - BETA_1**number))
        np.subtract(slopes, mean, out=scratch)
        np.multiply(scratch, np.float32(1 - BETA_1), out=scratch)
        np.add(mean, scratch, out=mean)
        np.square(slopes, out=scratch)
        np.subtract(scratch, square, out=scratch)
        np.multiply(scratch, np.float32(1 - BETA_2), out=scratch)
        np.add(square, scratch, out=square)
        np.sqrt(square, out=scratch)
        np.add(scratch, np.float32(EPSILON), out=scratch)
        np.divide(mean, scratch, out=scratch)
        np.multiply(scratch, rate, out=scratch)
        np.subtract(flat, scratch, out=flat)
        return loss

    return lambda epoch: sum(map(step, training.batches(epoch))) / len(training.labels)


def scikit_learn(training: Training, threads: int) -> Trainer:
    """Train by scikit-learn's MLPClassifier, without its weight decay."""
    from sklearn.neural_network import MLPClassifier  # pyright: ignore[reportMissingImports]

    model: Any = MLPClassifier(
        training.hidden,
        alpha=0,
        batch_size=training.batch_size,  # pyright: ignore[reportArgumentType]
        learning_rate_init=LEARNING_RATE,
        epsilon=EPSILON,
        random_state=training.seed,
    )
    first, classes = slice(training.batch_size), np.arange(10)
    model.partial_fit(training.images[first], training.labels[first], classes=classes)
    weights = training.initial_weights()
    model.coefs_ = [kernel for kernel, _ in weights]
    model.intercepts_ = [bias for _, bias in weights]
    del model._optimizer  # it creates a new one for these weights

    def train(epoch: int) -> float:
        model.partial_fit(training.images, training.labels)
        return model.loss_curve_[-1]

    return train


PEERS: dict[str, Callable[[Training, int], Trainer]] = {
    "Keras, model.fit": keras_fit,
    "Keras, model.fit tuned": keras_fit_tuned,
    "PyTorch": torch_eager,
    "PyTorch, compiled": torch_compiled,
    "JAX, lax.scan": jax_scan,
    "NumPy": numpy_arrays,
    "scikit-learn": scikit_learn,
}
#: Trained by these only if they are plain.
PLAIN_ONLY = {"NumPy", "scikit-learn"}
OWN_ORDER = {"Keras, model.fit", "Keras, model.fit tuned", "scikit-learn"}


# --- The limit ----------------------------------------------------------------------------


def products(training: Training) -> list[tuple[int, int, int, int]]:
    """List the matrix products of an epoch: rows, inner size, columns, and number of repetitions.

    A layer takes one forward, one for its kernel's gradient and, except the first, one for its
    inputs' gradient.
    """
    whole, rest = divmod(len(training.labels), training.batch_size)
    found = []
    for size, times in ((training.batch_size, whole), (rest, 1)):
        if not size or not times:
            continue
        for layer, (places, inputs, outputs) in enumerate(training.shapes):
            rows = size * places
            found += [(rows, inputs, outputs, times), (inputs, rows, outputs, times)]
            found += [(rows, outputs, inputs, times)] if layer else []
    return found


def flop(training: Training) -> int:
    """Count the multiplications and additions of an epoch's matrix products."""
    return sum(2 * m * k * n * times for m, k, n, times in products(training))


def _operands(m: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    left, right = rng.random((m, k), np.float32), rng.random((k, n), np.float32)
    return left, right, np.empty((m, n), np.float32)


def sgemm_numpy(training: Training, threads: int) -> Callable[[], None]:
    """Compute the matrix products of an epoch with NumPy, operands in cache."""
    work = [(*_operands(m, k, n), times) for m, k, n, times in products(training)]

    def multiply() -> None:
        for left, right, out, times in work:
            for _ in range(times):
                np.matmul(left, right, out=out)

    return multiply


def sgemm_torch(training: Training, threads: int) -> Callable[[], None]:
    """Compute the same with PyTorch."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads)
    work = [
        ([torch.from_numpy(operand) for operand in _operands(m, k, n)], times)
        for m, k, n, times in products(training)
    ]

    def multiply() -> None:
        for (left, right, out), times in work:
            for _ in range(times):
                torch.mm(left, right, out=out)

    return multiply


def sgemm_xla(training: Training, threads: int) -> Callable[[], None]:
    """Compute the same with XLA, through JAX, as one program per epoch.

    One value of each left operand changes at each step, since XLA hoists what is constant out of
    the loop.
    """
    import jax  # pyright: ignore[reportMissingImports]
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

    work: dict[int, list[Any]] = {}
    for m, k, n, times in products(training):
        work.setdefault(times, []).append(tuple(map(jnp.asarray, _operands(m, k, n))))

    @jax.jit
    def multiply_all(work: dict[int, list[Any]]) -> list[Any]:
        results = []
        for times, operands in work.items():
            lefts, rights, outs = zip(*operands, strict=True)

            def step(number: Any, state: Any, rights: Any = rights) -> Any:
                lefts = [left.at[0, 0].set(number.astype(jnp.float32)) for left in state[0]]
                return lefts, [left @ right for left, right in zip(lefts, rights, strict=True)]

            results.append(jax.lax.fori_loop(0, times, step, (list(lefts), list(outs))))
        return results

    return lambda: jax.block_until_ready(multiply_all(work))


SGEMM: dict[str, Callable[[Training, int], Callable[[], None]]] = {
    "NumPy": sgemm_numpy,
    "PyTorch": sgemm_torch,
    "JAX, lax.scan": sgemm_xla,
}
