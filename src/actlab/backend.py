"""TensorFlow as actlab runs it: quiet, in float32, and with one thread per model.

Import `from actlab.backend import keras, tf`: the settings must be in the environment before
TensorFlow reads it. With one thread per model, results do not depend on the number of cores; these
are used by training several models in parallel. Where a process has set Keras or TensorFlow
otherwise, the import raises `UserError`.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from actlab.errors import UserError

if (_asked := os.environ.get("KERAS_BACKEND") or "tensorflow") != "tensorflow":
    raise UserError(f"KERAS_BACKEND is {_asked}, but actlab needs tensorflow: unset KERAS_BACKEND")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # or it prints a notice at every start
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # or the first process takes all of it
# XLA would hand the kernels of a deep network to TensorFlow's one intra-op thread, which all models
# share (0.57 s per epoch of two models, 0.30 s without). The second flag lifts XLA's limit of 256
# bits per vector. Neither changes a bit of the results.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_cpu_enable_concurrency_optimized_scheduler=false",
        "--xla_cpu_prefer_vector_width=512",
    ]
).strip()


@contextmanager
def _absent(*names: str) -> Iterator[None]:
    """Hide modules that are not imported yet, as if they were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


_was_in_use = "keras" in sys.modules
# Keras would import both, for wrappers that actlab does not use: a quarter of its import time.
with _absent("sklearn", "matplotlib"):
    try:
        import keras
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"Keras does not start ({' '.join(str(error).split())[:300]}): correct or remove"
            " keras.json, in ~/.keras or KERAS_HOME"
        ) from error
    import tensorflow as tf

if not _was_in_use:  # a user's keras.json holds for other programs
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
elif (_found := (keras.config.backend(), keras.config.dtype_policy().name)) != (
    "tensorflow",
    "float32",
):
    raise UserError(
        f"Keras already runs with {' in '.join(_found)}, but actlab needs tensorflow in float32:"
        " restart Python, and let actlab build a network before Keras is set otherwise"
    )

# It would warn that every second model compiles its programs again.
tf.get_logger().setLevel("ERROR")
try:
    tf.config.threading.set_intra_op_parallelism_threads(1)
except RuntimeError as error:  # TensorFlow was used before actlab was imported
    if tf.config.threading.get_intra_op_parallelism_threads() != 1:
        raise UserError(
            "TensorFlow was in use before actlab, with several threads per model, which actlab's"
            " results must not depend on: restart Python, and let actlab build a network first"
        ) from error

__all__ = ["keras", "tf"]
