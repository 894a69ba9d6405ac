"""Settings of Keras and TensorFlow that a process was given before actlab: one line each."""

import json
import os
import runpy
import subprocess
import sys

import pytest

from actlab import backend
from actlab.backend import keras, tf
from actlab.errors import UserError


@pytest.fixture
def begin(monkeypatch):
    """Run the module again, as in a process in which Keras and TensorFlow are there already."""
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])  # restored afterwards
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    return lambda: runpy.run_path(backend.__file__)


@pytest.mark.parametrize("asked", ["jax", "torch", "numpy", "Tensorflow"])
def test_another_backend_is_refused_by_its_variable(asked, begin, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", asked)
    line = f"KERAS_BACKEND is {asked}, but actlab needs tensorflow: unset KERAS_BACKEND"
    with pytest.raises(UserError, match=f"^{line}$"):
        begin()


@pytest.mark.parametrize("asked", ["", "tensorflow"])
def test_keras_that_is_set_as_actlab_needs_it_is_taken(asked, begin, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", asked)
    assert begin()["keras"] is keras


@pytest.mark.parametrize("policy", ["float16", "float64", "bfloat16", "mixed_float16"])
def test_keras_that_a_notebook_set_otherwise_is_refused(policy, begin):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        with pytest.raises(UserError, match=f"^Keras already runs with tensorflow in {policy}, "):
            begin()
    finally:
        keras.config.set_dtype_policy(before)


def test_a_tensorflow_that_runs_already_is_refused(begin, monkeypatch):
    def refuse(threads):
        raise RuntimeError("Intra op parallelism cannot be modified after initialization.")

    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", refuse)
    assert begin()["tf"] is tf  # it has one thread
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 0)
    with pytest.raises(UserError, match=r"^TensorFlow was in use before actlab, with several"):
        begin()


SHOW = """
from actlab.errors import UserError
try:
    from actlab.backend import keras
    print(keras.Sequential([keras.layers.Dense(1)]).dtype, keras.config.epsilon())
    print(keras.config.backend(), keras.config.image_data_format())
except UserError as error:
    print(error)
"""
OTHER = {
    "floatx": "float64",
    "epsilon": 0.5,
    "backend": "jax",
    "image_data_format": "channels_first",
}


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (OTHER, ["float32 1e-07", "tensorflow channels_last"]),
        ({"floatx": "float8"}, ["Keras does not start (Invalid `floatx` configuration."]),
    ],
)
def test_a_users_keras_json_changes_nothing(content, lines, root, tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps(content))
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    finished = subprocess.run(
        [sys.executable, "-c", SHOW],
        env=environment | {"KERAS_HOME": str(tmp_path), "PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    printed = finished.stdout.splitlines()
    assert len(printed) == len(lines)
    assert all(line.startswith(start) for line, start in zip(printed, lines, strict=True))
