"""What `import actlab` gives: equal to the core, and one line for each mistake of the user's."""

import inspect
import math
import re
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from planted import GLOROT, adam, configured
from planted_run import folder_of, plant_run
from scipy import stats
from studies import read_committed
from web import NAMES, TINY, plant, serve_from

import actlab
from actlab.activations.config import ActivationConfig
from actlab.api.comparing import MARGINS
from actlab.backend import keras, tf
from actlab.data import download
from actlab.data.splits import Split
from actlab.errors import UserError
from actlab.models.config import NetworkConfig
from actlab.models.network import ModelSpec
from actlab.probes import gradients
from actlab.reporting.figures import Figure
from actlab.results.tables import HEALTH
from actlab.training import trainer
from actlab.training.config import TrainingConfig


@pytest.fixture(scope="module")
def small(mnist):
    """The first images of real MNIST."""
    train, test = (
        Split(split.images[:count], split.labels[:count])
        for split, count in ((mnist.train, 2_000), (mnist.test, 500))
    )
    return actlab.Data("MNIST", tuple("0123456789"), train, None, test)


LEAKY = ActivationConfig("leaky", "leaky_relu", {"negative_slope": 0.1})


@pytest.fixture(scope="module")
def fitted(small):
    return actlab.fit(["relu", LEAKY], small, [16, 8], seeds=[3, 1], epochs=2, probe_epochs=[1])


@pytest.fixture(scope="module")
def probed(fitted, small):
    return actlab.probe(fitted, small, images=200)


def planted(accuracies):
    """A fit with given test accuracies, one list per name."""
    names = list(accuracies)
    seeds = tuple(range(len(accuracies[names[0]])))
    rows = [
        (name, "4x8", seed, 1 - value, value)
        for name, values in accuracies.items()
        for seed, value in zip(seeds, values, strict=True)
    ]
    columns = ["activation", "network", "seed", "test_loss", "test_accuracy"]
    history = pd.DataFrame(columns=["activation", "network", "seed", "epoch", "val_accuracy"])
    activations = {name: ActivationConfig(name, "relu", {}) for name in names}
    network = NetworkConfig("4x8", "4x8")
    table = pd.DataFrame(rows, columns=columns)
    return actlab.Fit(activations, network, seeds, 3, history, table, {}, {})


# Fit


def test_a_fit_is_that_of_the_core(fitted, small):
    spec = ModelSpec(LEAKY, NetworkConfig("16_8", [16, 8]), GLOROT)
    protocol = trainer.Protocol(TrainingConfig(2, 128, [0, 2]), adam())
    weights = {}
    events = trainer.fit_seeds(
        spec,
        [1],
        small.train,
        small.test,
        small.test,
        protocol,
        lambda seed, epoch, model, next_step: weights.update({epoch: model.get_weights()}),
    )
    *epochs, last = events
    assert isinstance(last, trainer.Fitted)
    rows = fitted.history.query("activation == 'leaky' and seed == 1")
    assert list(rows["epoch"]) == [1, 2]
    for column in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert list(rows[column]) == [getattr(epoch, column) for epoch in epochs]
    row = fitted.test.query("activation == 'leaky' and seed == 1")
    assert row["test_accuracy"].item() == last.test_accuracy
    assert row["test_loss"].item() == last.test_loss
    for mine, core in zip(fitted.model("leaky", 1).get_weights(), weights[2], strict=True):
        np.testing.assert_array_equal(mine, core)


def test_the_tables_have_one_row_per_epoch_and_per_seed(fitted):
    assert len(fitted.history) == 2 * 2 * 2
    assert list(fitted.test["seed"]) == [1, 3, 1, 3]
    assert repr(fitted) == "relu, leaky on 16_8: seeds 3, 1, 2 epochs"
    row = fitted.summarise(confidence=0.9).iloc[1]
    values = fitted.test.query("activation == 'leaky'")["test_accuracy"]
    assert (row["activation"], row["mean"]) == ("leaky", pytest.approx(values.mean()))


def test_before_training_a_model_is_what_build_gives(fitted):
    assert fitted.kept_epochs() == [0, 1, 2]
    for name in ("relu", "leaky"):  # of one seed, both start alike
        begun = fitted.model(name, 3, epoch=0)
        built = actlab.build("tanh", [16, 8], seed=3)
        for one, other in zip(begun.get_weights(), built.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_build_takes_constants_and_shapes():
    model = actlab.build(LEAKY, "3x5", inputs=4, classes=2, initializer="recommended")
    assert [layer.units for layer in model.layers] == [5, 5, 5, 2]
    assert model.layers[0].activation(tf.constant([-1.0])).numpy() == pytest.approx([-0.1])
    limit = math.sqrt(6 / 4)  # He's uniform, of 4 inputs
    kernel = model.layers[0].kernel.numpy()
    assert 0.5 * limit < np.abs(kernel).max() <= limit


def test_a_name_has_the_constants_of_its_file(root):
    for name in ("leaky_relu", "gelu", "elu", "relu", "threshold"):
        preset = yaml.safe_load((root / f"conf/activation/{name}.yaml").read_text())
        assert vars(actlab.activation(name)) == preset | {"trained": {}}
    assert actlab.build("leaky_relu", [2]).layers[0].activation(tf.constant(-1.0)) == -0.01


@pytest.mark.parametrize(
    ("function", "constants", "name"),
    [
        ("elu", {"alpha": 0.5}, "elu_alpha_0.5"),
        ("elu", {"alpha": 1.0}, "elu"),
        ("gelu", {"approximate": True}, "gelu_approximate_True"),
        ("relu", {"max_value": 6.0}, "relu_max_value_6.0"),
        ("threshold", {"threshold": -1.0}, "threshold_threshold__1.0"),
        ("my_module.bump", {"width": 2.0}, "bump"),
    ],
)
def test_a_name_says_which_constants_differ_from_its_file(function, constants, name):
    activation = actlab.activation(function, **constants)
    assert activation.name == name
    assert activation.constants.items() >= constants.items()


def test_progress_is_a_line_per_activation_or_nothing(small, capsys):
    actlab.fit(["relu", "tanh", "elu"], small, [2], seeds=[0, 1], epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["relu", "tanh", "elu"]
    assert lines[0].startswith("relu: 4 of 4 model-epochs, loss ")
    actlab.fit("relu", small, [2], seeds=[0], epochs=1, progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_probe_measures_the_gradient_that_keras_gives(fitted, small, probed):
    model = fitted.model("leaky", 1)
    with tf.GradientTape() as tape:
        cross_entropy: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        loss = cross_entropy(small.test.labels[:200], model(small.test.images[:200]))
    kernels: Any = [layer.kernel.value for layer in model.layers]
    by_keras = [each.numpy() for each in tape.gradient(loss, kernels)]
    rows = probed.query("activation == 'leaky' and seed == 1 and epoch == 2")
    assert list(rows["layer"]) == ["hidden_1", "hidden_2", "output"]
    norms = [np.linalg.norm(each) for each in by_keras]
    np.testing.assert_allclose(rows["gradient_norm"], norms, rtol=1e-5)
    means = [np.abs(each).mean() for each in by_keras]
    np.testing.assert_allclose(rows["gradient_mean_abs"], means, rtol=1e-5)


def test_a_probe_has_a_row_a_layer_and_the_statistics_of_the_core(probed):
    assert len(probed) == 2 * 2 * 3 * 3
    keys = ["activation", "network", "seed", "epoch", "layer"]
    assert len(probed.columns) == len(keys) + len(gradients.STATISTICS) + len(HEALTH)
    assert not probed.duplicated(keys).any()
    outputs = probed["layer"] == "output"
    assert probed["dead_fraction"].isna().equals(outputs)
    leaky = probed[(probed["activation"] == "leaky") & ~outputs]
    assert (leaky["dead_fraction"] == 0).all()


# Compare


def test_a_difference_that_is_plain_is_found():
    first, second = [0.97, 0.972, 0.968, 0.971], [0.93, 0.934, 0.929, 0.932]
    row = actlab.compare(planted({"tanh": first, "sigmoid": second})).iloc[0]
    assert (row["first"], row["second"], row["verdict"]) == ("tanh", "sigmoid", "better")
    assert row["p"] == pytest.approx(stats.ttest_rel(first, second).pvalue)
    interval = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert [row["low"], row["high"]] == pytest.approx([interval.low, interval.high])
    assert math.isnan(row["seeds_needed"])
    wide = actlab.compare(planted({"tanh": first, "sigmoid": second}), margin=0.1).iloc[0]
    assert wide["verdict"] == "negligible"
    losses = actlab.compare(planted({"tanh": first, "sigmoid": second}), "test_loss").iloc[0]
    assert losses["verdict"] == "better"  # the smaller loss
    assert losses["mean"] == pytest.approx(-row["mean"])


@pytest.fixture
def shown():
    """Hold a figure to what a notebook asks of it; gives its first panel."""

    def check(figure):
        assert isinstance(figure, Figure)
        draw: Any = figure
        assert draw._repr_png_().startswith(b"\x89PNG")
        return figure.axes[0]

    return check


def test_curves_show_the_history(fitted, shown):
    panel = shown(actlab.plot_curves(fitted))
    drawn = [line.get_ydata() for line in panel.lines]
    for (_, seed), rows in fitted.history.groupby(["activation", "seed"]):
        expected = 100 * rows["accuracy"].to_numpy()
        assert any(np.allclose(line, expected) for line in drawn if len(line) == 2), seed
    assert panel.get_ylabel() == "Accuracy (%)"
    assert shown(actlab.plot_curves(fitted, "loss")).get_yscale() == "log"


def test_gradients_are_drawn_layer_by_layer(probed, shown):
    panel = shown(actlab.plot_gradients(probed, epoch=2))
    means = probed[probed["epoch"] == 2].groupby(["activation", "layer"])["gradient_norm"].mean()
    drawn = [line.get_ydata() for line in panel.lines if line.get_marker() != "None"]
    for name in ("relu", "leaky"):
        assert any(np.allclose(line, means[name].to_numpy()) for line in drawn)


def test_health_has_its_map(probed, shown):
    panel = shown(actlab.plot_health(probed, "saturated_fraction"))
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["1", "2"]
    panel = shown(actlab.plot_health(probed, "backprop_rms"))
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["1", "2", "out"]


def test_images_are_those_of_the_data(small, shown):
    figure = actlab.plot_images(small, 7)
    shown(figure)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [str(label) for label in small.train.labels[:7]]
    drawn = np.asarray(figure.axes[2].images[0].get_array())
    assert figure.axes[2].images[0].get_clim() == (0, 255)  # not an image's own range
    np.testing.assert_array_equal(drawn.ravel(), np.rint(255 * small.train.images[2]))


def test_functions_are_drawn_with_their_formulas(shown):
    figure = actlab.plot_functions("tanh", LEAKY)
    assert shown(figure).get_title() == "tanh"
    assert [axes.get_title() for axes in figure.axes] == ["tanh", "leaky"]
    line = figure.axes[1].lines[-2]
    x, y = (np.asarray(each, float) for each in line.get_data())
    np.testing.assert_allclose(y, np.where(x > 0, x, 0.1 * x))


# Data


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A small data set whose one source is a folder; gives that folder."""
    plant(monkeypatch)
    folder = tmp_path / "source"
    folder.mkdir()
    for name, content in TINY.items():
        (folder / name).write_bytes(content)
    serve_from(monkeypatch, download.Folder(folder))
    monkeypatch.delenv("ACTLAB_DATA", raising=False)
    return folder


def test_data_is_downloaded_once_into_the_folder_that_is_named(tiny, tmp_path, capsys):
    data = actlab.load_data("tiny", tmp_path / "mine" / "tiny")
    assert data.train.images.shape == (20, 25)
    assert "SHA-256 verified" in capsys.readouterr().out
    again = actlab.load_data("tiny", str(tmp_path / "mine" / "tiny"), validation_size=5)
    assert capsys.readouterr().out == ""
    assert again.validation
    assert len(again.validation.labels) == 5
    np.testing.assert_array_equal(data.test.images, again.test.images)
    assert repr(again) == "Tiny: 15 images to train on, 5 held out, 10 to test on, 25 pixels each"


def test_data_goes_to_the_users_cache_by_default(tiny, tmp_path, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    actlab.load_data("tiny")
    assert {path.name for path in (tmp_path / "cache/actlab/tiny").iterdir()} == set(NAMES)
    monkeypatch.setenv("ACTLAB_DATA", str(tiny))  # a folder that is read in its place
    serve_from(monkeypatch)
    shutil.rmtree(tmp_path / "cache")
    assert actlab.load_data("tiny").title == "Tiny"
    assert not (tmp_path / "cache").exists()


def test_a_folder_with_something_else_is_left_alone(tiny, tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years")
    with pytest.raises(UserError, match=r"home does not hold Tiny: neither train-.* is in it"):
        actlab.load_data("tiny", folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def plain(function):
    """The function without beartype, which the tests alone have before the library."""
    return inspect.unwrap(function)


MISTAKES = [
    (lambda _: actlab.load_data("mnits"), "name is 'mnits': it has to be one of fashion_mnist,"),
    (
        lambda _: actlab.load_data("mnist", validation_size=60_000),
        "validation_size is 60000: it has to be from 0 to 59999",
    ),
    (
        lambda _: actlab.build("rellu"),
        "activation is 'rellu': the closest names are relu, relu6, prelu; a",
    ),
    (
        lambda _: actlab.build("LeakyReLU"),
        "activation is 'LeakyReLU': the closest names are leaky_relu",
    ),
    (lambda _: actlab.build("custom"), "activation is 'custom': there are "),
    (
        lambda _: actlab.build("swish"),
        "activation is 'swish': it is another name of silu; a",
    ),
    (lambda _: actlab.activation("elu", alpha=-1.0), "elu: alpha is -1.0: it has to be a number"),
    (lambda _: actlab.activation("elu", beta=1.0), "elu: beta is unknown: ELU has the constants"),
    (lambda _: actlab.build("relu", inputs=0), "inputs is 0: it has to be at least 1"),
    (lambda _: actlab.build("relu", classes=0), "classes is 0: it has to be at least 1"),
    (
        lambda _: actlab.activation("__main__.mine"),
        "__main__.mine exists in this session only",
    ),
    (
        lambda _: actlab.build("relu", initializer="he"),
        "initializer is 'he': it has to be one of glorot_normal,",
    ),
    (
        lambda data: plain(actlab.fit)("relu", data, seeds=3),
        "seeds is 3: it has to be a valid list",
    ),
    *(
        (
            lambda data, name=name, value=value: plain(actlab.fit)("relu", data, **{name: value}),
            line,
        )
        for name, value, line in (
            ("seeds", [], "seeds is []: it has to be a list of at least one entry"),
            ("seeds", [0.5], "seeds[0] is 0.5: it has to be a valid integer"),
            ("seeds", [-1], "seeds[0] is -1: it has to be at least 0"),
            ("seeds", "abc", "seeds is 'abc': it has to be a valid list"),
            ("epochs", 0, "epochs is 0: it has to be at least 1"),
            ("epochs", 1.5, "epochs is 1.5: it has to be a valid integer"),
            ("epochs", True, "epochs is True: it has to be a valid integer"),
            ("hidden", 4, "hidden is 4: it has to be a list of whole numbers"),
            ("hidden", [0], "hidden is [0]: it has to be a list of whole numbers"),
            ("hidden", "8x", "hidden is '8x': it has to be a list of whole numbers"),
            ("batch_size", 0, "batch_size is 0: it has to be at least 1"),
            (
                "learning_rate",
                math.nan,
                "optimizer.learning_rate is nan: it has to be a finite number",
            ),
            ("learning_rate", "a", "optimizer.learning_rate is 'a': it has to be a valid number"),
            ("initializer", None, "initializer.name is missing: initializer is None"),
            ("probe_epochs", 3, "probe_epochs is 3: it has to be a valid list"),
            ("probe_epochs", [-1], "probe_epochs[0] is -1: it has to be at least 0"),
        )
    ),
    (
        lambda _: plain(actlab.fit)("relu", None),
        "data is of type NoneType: it has to be the result",
    ),
    (lambda data: plain(actlab.fit)(3, data), "activations is of type int: it has to be a list"),
    (lambda data: plain(actlab.fit)([3], data), "activation is of type int: it has to be a name"),
    (lambda _: plain(actlab.compare)("x"), "fitted is 'x': it has to be the result of actlab.fit"),
    (
        lambda data: plain(actlab.probe)(data, data),
        "fitted is of type Data: it has to be the",
    ),
    (
        lambda data: plain(actlab.plot_curves)(data),
        "fitted is of type Data: it has to be the",
    ),
    (lambda _: plain(actlab.plot_images)(3), "data is of type int: it has to be the result"),
    (
        lambda _: plain(actlab.plot_gradients)(3),
        "probed is of type int: it has to be the result",
    ),
    (
        lambda _: plain(actlab.plot_health)(pd.DataFrame()),
        "probed has no column gradient_norm: it has to be the result of actlab.probe",
    ),
    (lambda data: actlab.fit("relu", data, seeds=[1, 1]), "seeds is [1, 1]: it has to be"),
    (lambda data: actlab.fit([], data), "activations are none: give the name of one"),
    (
        lambda data: actlab.fit(["relu", "relu"], data),
        "activations are relu, relu: each needs a name of its own",
    ),
    (
        lambda _: actlab.compare(planted({"relu": [0.9, 0.8]})),
        "only relu on 4x8: seeds 0, 1, 3 epochs was fitted: give `fit` a list of two",
    ),
    (
        lambda _: actlab.compare(planted({"a": [0.9], "b": [0.8]}), margin=0.0),
        "margin is 0.0: it has to be greater than 0",
    ),
    (lambda data: actlab.plot_images(data, 2001), "count is 2001: it has to be at most 2000"),
]


@pytest.mark.parametrize(("make", "line"), MISTAKES)
def test_a_mistake_is_one_line(make, line, small):
    with pytest.raises(UserError) as caught:
        make(small)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert caught.value._render_traceback_() == [f"UserError: {caught.value}"]


def test_a_model_that_is_not_there_says_which_are(fitted, probed, small):
    with pytest.raises(UserError, match="there is no gelu of seed 3 after epoch 2: there are"):
        fitted.model("gelu", 3)
    with pytest.raises(UserError, match="epoch is 7: it has to be one of 0, 1, 2"):
        actlab.plot_gradients(probed, epoch=7)
    other = actlab.from_arrays(np.eye(784, dtype=np.float32)[:9], [*"abcabcabc"], test_size=0.4)
    with pytest.raises(UserError, match="data has 784 pixels and 3 classes, the fitted networks"):
        actlab.probe(fitted, other)
    with pytest.raises(UserError, match="images is 0: it has to be at least 1"):
        actlab.probe(fitted, small, images=0)
    with pytest.raises(UserError, match="statistic is 'dead': it has to be one of satur"):
        actlab.plot_health(probed, "dead")
    with pytest.raises(UserError, match="there is no dead_fraction of a network without hidden"):
        actlab.plot_health(probed[probed["layer"] == "output"])


# Names and defaults


def test_the_public_names_are_there():
    assert set(actlab.__all__) <= set(dir(actlab))
    assert all(hasattr(actlab, name) for name in actlab.__all__)
    with pytest.raises(AttributeError, match="module 'actlab' has no attribute 'train'"):
        actlab.train  # noqa: B018


def test_the_defaults_are_those_of_the_pipeline(root):
    params = yaml.safe_load(read_committed(root, "params.yaml"))
    defaults = {
        name: parameter.default
        for function in (actlab.fit, actlab.probe, actlab.compare)
        for name, parameter in inspect.signature(function).parameters.items()
    }
    assert defaults["batch_size"] == params["training"]["batch_size"]
    assert defaults["learning_rate"] == params["optimizer"]["learning_rate"]
    for name in ("initializer", "optimizer"):
        assert defaults[name] == params[name]["name"]
    assert defaults["images"] == params["gradients"]["test_images"]
    assert defaults["saturated_below"] == params["gradients"]["saturated_below"]
    assert defaults["confidence"] == params["report"]["confidence"]
    assert defaults["target"] == params["report"]["target_accuracy"]
    assert dict(MARGINS) == {
        "test_accuracy": params["report"]["equivalence_margin"],
        "test_loss": params["report"]["equivalence_margin_nats"],
        "test_mse": params["report"]["equivalence_margin_ratio"],
        "epochs_to_target": params["report"]["equivalence_margin_epochs"],
    }
    network = yaml.safe_load((root / "conf/network/mlp.yaml").read_text())
    assert list(defaults["hidden"]) == network["hidden"]


def test_held_out_images_are_what_is_watched(small):
    watched = Split(small.test.images[:50], small.test.labels[:50])
    data = replace(small, validation=watched)
    fit = actlab.fit("linear", data, [], seeds=[0], epochs=1)
    logits = fit.model("linear", 0)(watched.images).numpy()
    right = float((logits.argmax(axis=1) == watched.labels).mean())
    assert fit.history["val_accuracy"].item() == pytest.approx(right, abs=1e-7)
    assert fit.network.name == "no_hidden_layer"


# Curves


HISTORY = ["loss", "accuracy", "val_loss", "val_accuracy"]


def test_curves_of_a_fit_are_its_history(fitted):
    curves = actlab.curves(fitted)
    pd.testing.assert_frame_equal(curves, fitted.history)
    keys = ["activation", "network", "seed", "epoch"]
    assert list(curves.columns) == [*keys, *HISTORY, "epoch_seconds"]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The repository's folder with runs of two activations at two rates, some trained twice."""
    monkeypatch.chdir(tmp_path)
    made = []
    for began, (name, rate) in enumerate([*product(("relu", "tanh"), (0.1, 0.01)), ("tanh", 0.01)]):
        folder = "runs" if rate == 0.1 else f"multirun/{began}/runs"
        config = configured(
            tmp_path,
            activation=actlab.activation(name),
            seeds=[0, 1],
            training=TrainingConfig(2, 128, [0]),
            optimizer=adam(rate),
            paths=replace(configured(tmp_path).paths, runs=folder),
        )
        plant_run(config, folder_of(config), lambda seed, epoch: 0.5 + seed / 10 + epoch / 100)
        made.append(config)
    return made


def test_curves_of_folders_have_what_differs(trained):
    curves = actlab.curves("multirun")
    assert len(curves) == 2 * 2 * 2  # a configuration that was trained twice counts once
    keys = ["activation", "network", "seed", "epoch"]
    assert list(curves.columns) == [*keys, *HISTORY, "epoch_seconds"]
    pipeline = actlab.curves(".")
    assert (len(pipeline), set(pipeline["activation"])) == (8, {"relu", "tanh"})
    pd.testing.assert_frame_equal(pipeline, actlab.curves(Path("runs")))
    one = actlab.curves("runs/relu-mlp")
    assert one["val_accuracy"].tolist() == pytest.approx([0.51, 0.52, 0.61, 0.62])
    assert one["epoch_seconds"].between(0.1, 0.2).all()
    Path("runs").rename("multirun/pipeline")
    rates = actlab.curves("multirun")
    assert list(rates.columns)[2] == "optimizer.learning_rate"
    assert rates.groupby("optimizer.learning_rate").size().to_dict() == {0.01: 8, 0.1: 8}


def test_curves_from_mlflow_are_those_of_the_folders(trained, empty_store, monkeypatch):
    from actlab.tracking import publish
    from actlab.tracking.store import connect

    shutil.copy(empty_store, "mlflow.db")
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(publish, "log_model", lambda *_: (None, 100))
    for config in trained:
        tagged = replace(config, sweep="rates")
        publish.publish(tagged, folder_of(config), connect())
    Path("runs").rename("multirun/pipeline")
    by_folder, by_store = actlab.curves("multirun"), actlab.curves(sweep="rates")
    assert by_store["epoch_seconds"].isna().to_numpy().all()
    order = ["activation", "optimizer.learning_rate", "seed", "epoch"]
    first, second = (
        table.drop(columns="epoch_seconds").sort_values(order, ignore_index=True)
        for table in (by_folder, by_store)
    )
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(by_store, actlab.curves())
    with pytest.raises(UserError, match="has no run of a sweep named 'depth': it has rates"):
        actlab.curves(sweep="depth")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nowhere",), "nowhere holds no run: `dvc repro` writes them to runs/, sweeps to"),
        (([1],), "curves takes the result of actlab.fit, or a folder of runs, or sweep="),
        (
            (pd.DataFrame(),),
            "curves takes the result of actlab.fit, or a folder of runs, or sweep=",
        ),
    ],
)
def test_curves_of_nothing_are_one_line(arguments, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(line)):
        plain(actlab.curves)(*arguments)
    monkeypatch.setattr("actlab.api.histories.find_spec", lambda name: None)
    with pytest.raises(UserError, match="MLflow, from which a sweep is read, is not installed"):
        actlab.curves(sweep="depth")
