"""TensorFlow as actlab runs it: quiet, and one thread a model.

`from actlab.backend import keras, tf` in place of importing either: the settings below have
to be in the environment before TensorFlow reads it. One thread a model makes the result
independent of how many cores a machine has (two threads change the order of sums, and with
it the bits); the cores are kept busy by training several models side by side.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # announces itself at every start otherwise
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # or the first process takes all of it
# XLA would hand the kernels of a deep network to TensorFlow's one intra-op thread, which all
# models share: two trained side by side took turns (0.57 s an epoch each, against 0.30 s).
# With the sequential schedule each program stays on the thread that called it.
# Vectors as wide as the processor has: XLA stops at 256 bits. The same numbers, to the bit.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_cpu_enable_concurrency_optimized_scheduler=false",
        "--xla_cpu_prefer_vector_width=512",
    ]
).strip()


@contextmanager
def _absent(*names: str) -> Iterator[None]:
    """Let modules that nobody has imported be missing, as where they are not installed."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


# Keras imports both where it can, for its wrappers and galleries: a quarter of the time it takes.
# Who wants those in the same process imports keras, or the two, before actlab.
with _absent("sklearn", "matplotlib"):
    import keras
    import tensorflow as tf

# A warning at every second model that its programs are compiled anew, which is meant.
tf.get_logger().setLevel("ERROR")
try:
    tf.config.threading.set_intra_op_parallelism_threads(1)
except RuntimeError as error:  # TensorFlow was in use before actlab was imported
    if tf.config.threading.get_intra_op_parallelism_threads() != 1:
        raise RuntimeError(
            "TensorFlow already runs with several threads a model: import actlab before using it"
        ) from error

__all__ = ["keras", "tf"]
