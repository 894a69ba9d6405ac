"""A user's own function, from its file to what is said of it; and every way it can be wrong."""

import json
import math
import sys
from typing import Any

import numpy as np
import pytest
from scipy import special

from actlab.activations import functions
from actlab.activations.config import ActivationConfig
from actlab.backend import keras
from actlab.errors import UserError
from actlab.models.config import RECOMMENDED, InitializerConfig, NetworkConfig
from actlab.models.initializers import resolve_initializer
from actlab.models.network import ModelSpec, build_model
from actlab.models.served import with_probabilities
from actlab.results import metadata
from actlab.stages.activations import describe, read_configured

GOOD = '''
import keras
from keras import ops

def bump(x, width=1.0):
    """A source, 2026: exp(-x^2 / w).

    And more of it.
    """
    return ops.exp(-(x**2) / width)

def my_selu(x):
    below = 1.6732632423543772 * (ops.exp(ops.minimum(x, 0)) - 1)
    return 1.0507009873554805 * ops.where(x > 0, x, below)

def identity(x):
    return x

def wave(x):
    return ops.sin(x)

def bent(x):
    return ops.log1p(ops.abs(x))

def arctan(x):
    return ops.arctan(x)
'''

BAD = """
import keras
import numpy as np
import tensorflow as tf
from keras import ops

tau = 6.28

def raises(x):
    raise RuntimeError("of no use\\nat all")

def summed(x):
    return ops.sum(x)

def leaves(x):
    raise SystemExit(3)

def halved(x):
    return ops.cast(x, "float16")

def root(x):
    return ops.sqrt(x)

def centred(x):
    return x - ops.mean(x)

def noisy(x):
    return x + tf.random.uniform(tf.shape(x), dtype=x.dtype)

def by_numpy(x):
    return ops.convert_to_tensor(np.tanh(x), dtype=x.dtype)

def by_tensorflow(x):
    return tf.nn.relu(x)

def rounded(x):
    return ops.round(x)

def flat(x):
    return ops.ones_like(x)

@tf.custom_gradient
def _straight(x):
    return tf.sign(x) * x * x, lambda upstream: upstream

def straight_through(x):
    return _straight(x) if isinstance(x, tf.Tensor) else ops.sign(x) * x * x

class Squared(keras.layers.Layer):
    def call(self, x):
        return x * x

def layered(x):
    return Squared()(x) if not isinstance(x, tf.Tensor) else x * x

def needing(x, slope):
    return slope * x
"""


@pytest.fixture
def custom(tmp_path, monkeypatch):
    """A root with a folder custom/ that holds a module of its own name; return a configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / "custom"
    folder.mkdir()
    name = f"own_{abs(hash(tmp_path)):x}"

    def configure(function, text=GOOD, **constants):
        (folder / f"{name}.py").write_text(text)
        return ActivationConfig("mine", f"{name}.{function}", constants)

    yield configure
    sys.modules.pop(name, None)


def test_a_bump_is_described_as_calculus_has_it(custom):
    activation = custom("bump", width=2.0)
    assert functions.check(activation) < 1e-8
    described = describe(activation, InitializerConfig.read("recommended"))
    # exp(-x^2 / 2): steepest at 1, where it is exp(-1/2); E[phi^2] = 1 / sqrt(3), E[phi'^2] =
    # E[u^2 exp(-u^2)] = 3^(-3/2).
    assert str(described.range) == "(0, 1]"
    assert described.steepest_slope == pytest.approx(math.exp(-0.5), rel=1e-9)
    assert described.value_gain == pytest.approx(1 / math.sqrt(3), rel=1e-9)
    assert described.slope_gain == pytest.approx(3**-1.5, rel=1e-9)
    assert described.source == "A source, 2026: exp(-x^2 / w)."
    assert described.shown_constants == {"width": 2.0}
    assert described.value_at(np.array([0.0, 1.0, 50.0])) == pytest.approx([1, math.exp(-0.5), 0])


def test_a_custom_copy_of_selu_has_the_same_metadata(custom):
    mine, theirs = custom("my_selu"), ActivationConfig("selu", "selu", {})
    functions.check(mine)
    one, other = (
        describe(activation, InitializerConfig.read("he_uniform")) for activation in (mine, theirs)
    )
    assert one.range == pytest.approx(other.range)
    for name in ("steepest_slope", "value_gain", "slope_gain", "chi_1"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-8), name
    np.testing.assert_allclose(one.curve["value"], other.curve["value"], rtol=1e-12)
    away = other.curve["x"] != 0
    np.testing.assert_allclose(one.curve["derivative"][away], other.curve["derivative"][away])
    # By theory alone Glorot's and LeCun's variance is next to critical for SELU.
    assert one.recommended_initializer == "glorot_uniform"
    assert resolve_initializer(InitializerConfig.read(RECOMMENDED), mine).name == "glorot_uniform"


@pytest.mark.parametrize(
    ("function", "written"),
    [
        ("identity", "(−∞, ∞)"),
        ("wave", "[−1, 1]"),
        ("bent", "[0, ∞)"),
        ("arctan", "(−1.571, 1.571)"),
    ],
)
def test_ranges_are_found(function, written, custom):
    activation = custom(function)
    functions.check(activation)
    assert str(functions.get_activation(activation).range()) == written


@pytest.mark.parametrize("name", ["sigmoid", "relu", "silu", "exponential", "relu6", "linear"])
def test_ranges_that_are_found_are_those_of_the_table(name):
    activation = ActivationConfig(name, name, {})
    found = functions.find_range(functions.nonlinearity_of(activation))
    stated = functions.get_activation(activation).range()
    assert found[:2] == pytest.approx(stated[:2], abs=1e-6)
    assert found[2:] == stated[2:]


def test_a_model_of_it_loads_where_it_is_not(custom, tmp_path):
    activation = custom("bump", width=2.0)
    spec = ModelSpec(
        activation,
        NetworkConfig("net", [4]),
        InitializerConfig.read(RECOMMENDED),
        inputs=3,
        classes=2,
    )
    model = build_model(spec, 0)
    images = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    kernel, bias = model.layers[0].get_weights()
    hidden = np.exp(-((images @ kernel + bias) ** 2) / 2)
    logits = hidden @ model.layers[1].kernel.numpy()
    np.testing.assert_allclose(model(images), logits, rtol=1e-5, atol=1e-6)
    with_probabilities(model, spec).save(tmp_path / "copy.keras")
    (tmp_path / f"custom/{activation.function.split('.')[0]}.py").unlink()
    del sys.modules[activation.function.split(".")[0]]
    loaded: Any = keras.saving.load_model(tmp_path / "copy.keras", safe_mode=True)
    np.testing.assert_allclose(
        loaded(images), special.softmax(logits, axis=1), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("function", "line"),
    [
        ("missing", " has no missing: it has raises, summed, leaves, halved"),
        ("leaves", "it raises SystemExit: 3$"),
        ("tau", "tau of .* is not a function"),
        ("raises", "it raises RuntimeError: of no use$"),
        ("summed", r"it turns float32 \(1024,\) into float32 \(\): it has to keep sh"),
        ("halved", r"it turns float32 \(1024,\) into float16 \(1024,\): it has to keep"),
        ("root", "it is not finite at -10: it has to be from -10 to 10"),
        ("centred", "it has to be elementwise, and combines several numbers"),
        ("noisy", "it gives different values when called again"),
        ("by_numpy", "TensorFlow cannot compile it: "),
        ("by_tensorflow", "Keras cannot trace it, write it with keras.ops: ValueError: "),
        ("flat", "it has no derivative by automatic differentiation"),
        ("rounded", "it has no derivative|give different derivatives"),
        ("straight_through", "automatic differentiation and central differences give different"),
        ("layered", "Squared is not an operation of Keras: write it with keras.ops|cannot trace"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(function, line, custom):
    activation = custom(function, BAD)
    with pytest.raises(UserError, match=line) as refused:
        functions.check(activation)
    message = str(refused.value)
    assert message.startswith(f"activation.function is '{activation.function}': ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("function", "text", "constants", "line"),
    [
        (
            "needing",
            BAD,
            {},
            r"^activation\.constants: missing a required argument: 'slope': own_\w+\.needing takes",
        ),
        (
            "needing",
            BAD,
            {"slop": 1.0},
            r"^activation\.constants: .*: own_\w+\.needing takes \(x, slope\)$",
        ),
        ("flat", BAD, {"x": 1.0}, r"multiple values for argument 'x': own_\w+\.flat takes \(x\)$"),
        ("f", "def f(x:", {}, "importing own_.* raises SyntaxError: "),
        ("f", "import nowhere", {}, "importing own_.* raises ModuleNotFoundError: No module"),
        ("f", "1 / 0", {}, "importing own_.* raises ZeroDivisionError: division by zero"),
    ],
)
def test_constants_and_modules_that_fail_are_named(function, text, constants, line, custom):
    with pytest.raises(UserError, match=line):
        functions.check(custom(function, text, **constants))


def test_a_name_that_another_module_bears_is_refused(custom, tmp_path):
    custom("bump")
    (tmp_path / "custom/random.py").write_text("def f(x): return x")
    with pytest.raises(UserError, match=r"random \(.*random.py\) has no f: it has "):
        functions.check(ActivationConfig("mine", "random.f", {}))


def test_a_digest_follows_every_source_in_custom(custom, tmp_path):
    function = custom("bump").function
    first = functions.digest_sources(function)
    assert functions.digest_sources(function) == first
    (tmp_path / "custom/shared.py").write_text("a = 1")
    second = functions.digest_sources(function)
    assert second != first
    (tmp_path / "custom/shared.py").write_text("a = 2")
    assert functions.digest_sources(function) != second


def test_a_description_is_read_as_it_was_written(custom, tmp_path):
    for activation in (custom("bump", width=2.0), ActivationConfig("exp", "exponential", {})):
        described = describe(activation, InitializerConfig.read("glorot_uniform"))
        metadata.save(described, "digest", tmp_path / "results" / described.name)
        read = metadata.load(described.name, tmp_path / "results")
        for name in vars(described):
            if name != "curve":
                one, other = getattr(read, name), getattr(described, name)
                assert one == other or (math.isnan(one) and math.isnan(other)), name
        np.testing.assert_array_equal(read.curve, described.curve)
        key = json.loads((tmp_path / "results" / described.name / "key.json").read_text())
        assert key["sources"] == "digest"
        assert key["constants"] == activation.constants
    other = ActivationConfig("mine", activation.function, {})
    with pytest.raises(UserError, match="describes another mine than was trained"):
        metadata.load_trained([other], tmp_path / "results")
    with pytest.raises(UserError, match=r"description.json is missing: run `dvc repro activ"):
        metadata.load("none", tmp_path)


def test_a_function_of_keras_that_is_another_than_is_described_is_refused(monkeypatch):
    relu = ActivationConfig("relu", "relu", {})
    assert functions.check(relu) < 1e-8
    monkeypatch.setattr(keras.activations, "relu", lambda x: keras.ops.relu(x) + 0.01 * x)
    with pytest.raises(UserError, match=r"'relu': automatic differentiation .* 0.01"):
        functions.check(relu)


def test_the_example_is_an_activation(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", [*sys.path])
    snake = read_configured("snake", root / "conf/activation")
    assert functions.check(snake) < 1e-6
    phi = functions.nonlinearity_of(snake)
    x = np.linspace(-3, 3, 61)
    # Ziyin, Hartwig & Ueda 2020, equations 4 and 5: x + (1 - cos 2ax) / 2a, slope 1 + sin 2ax.
    np.testing.assert_allclose(phi.value(x), x + (1 - np.cos(2 * x)) / 2, atol=1e-12)
    np.testing.assert_allclose(phi.derivative(x), 1 + np.sin(2 * x), atol=1e-12)
    assert phi.steepest_slope(10) == pytest.approx(2)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: mine\nfunction: ???\nconstants: {}", r"activation.function is '\?\?\?': it has to"),
        ("name: mine\nfunction: relu", "activation.constants is missing"),
        ("name: mine\nfunction: f\nconstants: {}", "activation.function is 'f': it has to be one"),
        ("name: other\nfunction: a.f\nconstants: {}", "activation.name is 'other': it has to be"),
        ("name: mine\nfunction: a.f\nconstants: {a: [1]}", "activation.constants.a is "),
        ("name: mine\nfunction: softmax\nconstants: {}", "it combines all units of a layer"),
        ("name: mine\nfuncton: a.f", "funct"),
        ("name: [", "while parsing"),
    ],
)
def test_a_file_that_is_wrong_is_named(text, line, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"mine.yaml: .*({line})"):
        read_configured("mine", tmp_path)
