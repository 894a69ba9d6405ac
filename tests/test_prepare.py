"""What the section `data` makes of a data set."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import actlab
from actlab.data.config import DataConfig
from actlab.data.prepare import prepare, preprocess, replace_labels
from actlab.data.splits import Split, Splits
from actlab.errors import UserError


@pytest.fixture
def splits():
    generator = np.random.default_rng(0)
    images = generator.random((90, 6)).astype(np.float32)
    images[:, 5] = 0.5  # constant
    labels = np.arange(90, dtype=np.int32) % 3
    return Splits(
        Split(images[:60], labels[:60]),
        None,
        Split(images[60:], labels[60:]),
        ("a", "b", "c"),
        (2, 3),
    )


def prepared(splits, **given: Any) -> Any:
    options = vars(DataConfig("mnist", 0, 0)) | given
    return prepare(splits, SimpleNamespace(**options))


def test_nothing_is_changed_by_default(splits):
    assert prepared(splits) is splits


@pytest.mark.parametrize("validation", ["stratified", "random", "first", "last"])
def test_images_are_held_out_in_the_way_asked_for(validation, splits):
    found = prepared(splits, validation_size=15, validation=validation)
    assert (len(found.train.labels), len(found.validation.labels)) == (45, 15)
    given = splits.train.images
    places = [int(np.flatnonzero((given == row).all(axis=1))[0]) for row in found.validation.images]
    rest = [int(np.flatnonzero((given == row).all(axis=1))[0]) for row in found.train.images]
    assert sorted(places + rest) == list(range(60))
    assert places == sorted(places)
    expected = {"first": list(range(15)), "last": list(range(45, 60))}
    assert places == expected.get(validation, places)
    if validation in ("stratified", "random"):
        assert places not in expected.values()
        other = prepared(splits, validation_size=15, validation=validation, split_seed=1)
        assert not np.array_equal(found.validation.images, other.validation.images)
    counts = np.bincount(found.validation.labels, minlength=3).tolist()
    assert (counts == [5, 5, 5]) or validation == "random"


def test_the_first_images_are_taken_before_others_are_held_out(splits):
    found = prepared(splits, images=20, validation_size=5, validation="last")
    np.testing.assert_array_equal(found.train.images, splits.train.images[:15])
    np.testing.assert_array_equal(found.validation.images, splits.train.images[15:20])
    with pytest.raises(UserError, match=r"^data.images is 61: it has to be from 1 to 60$"):
        prepared(splits, images=61)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_share_of_the_training_labels_is_replaced_by_others(share, splits):
    found = prepared(splits, label_noise=share, validation_size=12)
    clean = prepared(splits, validation_size=12)
    assert (found.train.labels != clean.train.labels).sum() == round(share * 48)
    assert set(found.train.labels) <= {0, 1, 2}
    for part in ("validation", "test"):
        np.testing.assert_array_equal(getattr(found, part).labels, getattr(clean, part).labels)
    replaced = replace_labels(np.zeros(3000, np.int32), 4, share, seed=0)
    counts = np.bincount(replaced, minlength=4)[1:]  # each of the others as often
    assert np.abs(counts - 1000 * share).max() < 4 * np.sqrt(1000 * share)


def test_pixels_are_standardized_over_the_training_images(splits):
    found = prepared(splits, preprocessing="standardize", validation_size=15)
    assert found.train.images.dtype == np.float32
    np.testing.assert_allclose(found.train.images[:, :5].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(found.train.images[:, :5].std(axis=0), 1, rtol=1e-6)
    for part in ("train", "validation", "test"):
        assert (getattr(found, part).images[:, 5] == 0).all()
    whole = prepared(splits, validation_size=15)
    mean, sd = (f(whole.train.images[:, 0].astype(np.float64)) for f in (np.mean, np.std))
    expected = (whole.test.images[:, 0] - mean) / sd
    np.testing.assert_allclose(found.test.images[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_all_pixels_are_rescaled_alike(splits):
    levels = splits._replace(
        train=Split(np.array([[0, 51, 255]], np.uint8), splits.train.labels[:1])
    )
    ranged = preprocess(levels, {"low": -1.0, "high": 1.0}).train.images
    np.testing.assert_allclose(ranged, [[-1, -0.6, 1]], rtol=1e-6)
    normalized = preprocess(levels, {"mean": 0.1307, "sd": 0.3081}).train.images
    np.testing.assert_allclose(normalized, (np.array([[0, 0.2, 1]]) - 0.1307) / 0.3081, rtol=1e-6)


def test_an_autoencoder_has_its_images_as_targets(splits):
    found = prepared(splits, targets="images", preprocessing={"low": -1.0, "high": 1.0})
    np.testing.assert_array_equal(found.train.labels, found.train.images)
    assert len(found.classes) == 6


@pytest.mark.parametrize(
    "given",
    [
        "scale",
        {"mean": 0},
        {"mean": 0, "sd": 0},
        {"low": 1, "high": 1},
        {"low": "a", "high": 1},
        3,
        [],
    ],
)
def test_another_preprocessing_is_refused(given):
    with pytest.raises(UserError, match=r"preprocessing is .*: it has to be null, standardize"):
        DataConfig("mnist", 0, 0, preprocessing=given)


def test_numbers_are_predicted_as_they_are_by_a_network_of_linear_outputs():
    x = np.linspace(-1, 1, 60, dtype=np.float32)[:, None]
    data = actlab.from_arrays(x, np.sin(3 * x), regression=True, validation_size=5)
    assert (data.classes, data.train.labels.shape) == (("y 1",), (43, 1))
    fitted = actlab.fit(
        "tanh",
        data,
        [16],
        seeds=[0],
        epochs=150,
        learning_rate=0.01,
        batch_size=8,
        outputs="linear",
        progress=False,
    )
    assert fitted.test["test_loss"].item() < 0.05
    assert np.isnan(fitted.test["test_accuracy"].to_numpy()).all()
    model = fitted.model("tanh", 0)
    expected = np.mean((np.array(model(data.test.images)) - data.test.labels) ** 2)
    assert fitted.test["test_loss"].item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UserError, match=r"^outputs is 'softmax': for targets that are numbers it"):
        actlab.fit("tanh", data, [4], progress=False)
    for wrong, line in (([["a"]] * 60, "y holds text"), (np.full(60, np.nan), r"y\[0, 0\] is nan")):
        with pytest.raises(UserError, match=line):
            actlab.from_arrays(x, wrong, regression=True)
