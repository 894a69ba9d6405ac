"""Arrays of a user's own: right, or refused in one line before anything is trained."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import actlab
from actlab.errors import UserError

NAMES = ("ant", "bee", "cow")
#: 60 and 12 images of 3 x 4 pixels, of three classes.
LABELS, TEST_LABELS = np.arange(60) % 3, np.arange(12) % 3
IMAGES, TEST_IMAGES = (
    np.random.default_rng(0).integers(0, 100, (count, 3, 4)) for count in (60, 12)
)


@dataclass(frozen=True)
class Given:
    """What a user gives."""

    X: Any
    y: Any
    X_test: Any = None
    y_test: Any = None
    classes: Any = None

    def make(self) -> actlab.Data:
        return actlab.from_arrays(self.X, self.y, self.X_test, self.y_test, classes=self.classes)

    def make_by_hand(self) -> actlab.Data:
        test = (self.X_test, self.y_test)
        return actlab.Data("Mine", self.classes or NAMES, (self.X, self.y), None, test)


# --- Accepted -----------------------------------------------------------------------------

KEPT_IMAGES: dict[str, Callable[[np.ndarray], Any]] = {
    "int64": lambda images: images,
    "int16": lambda images: images.astype(np.int16),
    "big-endian": lambda images: images.astype(">i4"),
    "uint64": lambda images: images.astype(np.uint64),
    "float16": lambda images: images.astype(np.float16),
    "float64": lambda images: images.astype(np.float64),
    "Fortran's order": lambda images: np.asfortranarray(images.astype(np.float32)),
    "every second of a view": lambda images: np.repeat(images, 2, axis=0)[::2],
    "flat": lambda images: images.reshape(len(images), -1),
    "a channel": lambda images: images[..., None],
    "a list": lambda images: images.tolist(),
    "a tuple of arrays": tuple,
    "objects": lambda images: images.astype(object),
    "a DataFrame": lambda images: pd.DataFrame(images.reshape(len(images), -1)),
    "nullable": lambda images: pd.DataFrame(images.reshape(len(images), -1), dtype="Int64"),
}
KEPT_LABELS: dict[str, Callable[[np.ndarray], Any]] = {
    "int64": lambda labels: labels,
    "int8": lambda labels: labels.astype(np.int8),
    "uint8": lambda labels: labels.astype(np.uint8),
    "whole floats": lambda labels: labels.astype(float),
    "a column": lambda labels: labels[:, None],
    "from 1 on": lambda labels: labels + 1,
    "with holes": lambda labels: 10 * labels - 5,
    "beyond 63 bits": lambda labels: labels.astype(np.uint64) + np.uint64(2**63),
    "one-hot": lambda labels: np.eye(3)[labels],
    "one-hot booleans": lambda labels: np.eye(3, dtype=bool)[labels],
    "a list": lambda labels: labels.tolist(),
    "a Series": lambda labels: pd.Series(labels, index=labels + 7),
    "nullable": lambda labels: pd.Series(labels, dtype="Int64"),
    "a DataFrame": lambda labels: pd.DataFrame({"label": labels}),
}
NAMED_LABELS: dict[str, Callable[[np.ndarray], Any]] = {
    "names": lambda labels: np.array(NAMES)[labels],
    "bytes": lambda labels: np.array(NAMES, "S")[labels],
    "objects": lambda labels: np.array(NAMES, object)[labels],
    "a list": lambda labels: [NAMES[label] for label in labels],
    "a Series": lambda labels: pd.Series(np.array(NAMES)[labels]),
    "categories": lambda labels: pd.Series(np.array(NAMES)[labels]).astype("category"),
    "a column": lambda labels: np.array(NAMES)[labels][:, None],
}


def fault_of(data: actlab.Data, images: np.ndarray, test_images: np.ndarray) -> str:
    """What is not right of a data set that was accepted, given the images as numbers."""
    for split, pixels, labels in (
        (data.train, images, LABELS),
        (data.test, test_images, TEST_LABELS),
    ):
        expected = pixels.reshape(len(pixels), -1)
        if (split.images.dtype, split.labels.dtype) != (np.float32, np.int32):
            return f"{split.images.dtype}, {split.labels.dtype}"
        if not np.array_equal(split.images, expected) or not np.array_equal(split.labels, labels):
            return "other images or labels"
    return "" if len(data.classes) == 3 else f"classes {data.classes}"


@pytest.mark.parametrize("how", KEPT_IMAGES)
def test_numbers_of_any_type_and_shape_are_kept(how):
    convert = KEPT_IMAGES[how]
    given = Given(convert(IMAGES), LABELS, convert(TEST_IMAGES), TEST_LABELS)
    for data in (given.make(), given.make_by_hand()):
        assert fault_of(data, IMAGES, TEST_IMAGES) == ""
    assert given.make().classes == ("0", "1", "2")


@pytest.mark.parametrize("shape", [(12,), (3, 4), (3, 4, 1), (2, 2, 3)])
def test_grey_levels_are_scaled(shape):
    images, test_images = (
        array.astype(np.uint8).reshape(-1, *shape) for array in (IMAGES, TEST_IMAGES)
    )
    data = Given(images, LABELS, test_images, TEST_LABELS).make()
    scaled = [array / np.float32(255) for array in (images, test_images)]
    assert fault_of(data, *scaled) == ""
    assert data.shape == shape


@pytest.mark.parametrize("how", KEPT_LABELS)
def test_whole_labels_of_any_kind_are_numbered(how):
    labels, test_labels = map(KEPT_LABELS[how], (LABELS, TEST_LABELS))
    given = Given(IMAGES, labels, TEST_IMAGES, test_labels)
    for data in (given.make(), given.make_by_hand(), replace(given, classes=NAMES).make()):
        assert fault_of(data, IMAGES, TEST_IMAGES) == ""
    assert replace(given, classes=NAMES).make().classes == NAMES


@pytest.mark.parametrize("how", NAMED_LABELS)
def test_names_are_numbered_by_their_order_or_that_of_classes(how):
    labels, test_labels = map(NAMED_LABELS[how], (LABELS, TEST_LABELS))
    given = Given(IMAGES, labels, TEST_IMAGES, test_labels)
    assert given.make().classes == NAMES
    assert fault_of(given.make(), IMAGES, TEST_IMAGES) == ""
    turned = replace(given, classes=("cow", "bee", "ant")).make()
    np.testing.assert_array_equal(turned.train.labels, 2 - LABELS)


def test_a_test_split_is_held_out_by_class_and_every_image_stays():
    data = actlab.from_arrays(IMAGES, LABELS, test_size=0.25, validation_size=9, split_seed=3)
    assert data.validation is not None
    splits = (data.train, data.validation, data.test)
    assert [np.bincount(split.labels).tolist() for split in splits] == [[12] * 3, [3] * 3, [5] * 3]
    rows = np.concatenate([np.c_[split.images, split.labels] for split in splits])
    given = np.c_[IMAGES.reshape(60, -1), LABELS]
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, given.tolist()))


def test_features_are_standardized_by_the_training_images_alone():
    features = np.c_[IMAGES.reshape(60, -1), np.full(60, 0.1)]
    others = np.c_[TEST_IMAGES.reshape(12, -1), np.full(12, 5.0)]
    data = actlab.from_arrays(features, LABELS, others, TEST_LABELS, preprocessing="standardize")
    mean, sd = features[:, :-1].mean(axis=0), features[:, :-1].std(axis=0)
    for split, given in ((data.train, features), (data.test, others)):
        np.testing.assert_allclose(split.images[:, :-1], (given[:, :-1] - mean) / sd, atol=1e-5)
        assert (split.images[:, -1] == 0).all()  # constant in training


# --- Refused ------------------------------------------------------------------------------


def put(array: Any, place: int, value: Any, dtype: Any = None) -> np.ndarray:
    changed = np.array(array, dtype or np.asarray(array).dtype)
    changed.reshape(-1)[place] = value
    return changed


def change(**changes: Callable[[Any], Any]) -> Callable[[Given], Given]:
    return lambda given: replace(
        given, **{name: make(getattr(given, name)) for name, make in changes.items()}
    )


#: What is done to good data, and what the line begins with; {i} and {l} stand for the names of the
#: images and the labels, {I} and {L} for those of the test split.
FAULTS: dict[str, tuple[Callable[[Given], Given], str]] = {
    "NaN": (change(X=lambda x: put(x, 41, np.nan, float)), "{i}[3, 1, 1] is nan: it has to be fin"),
    "infinite": (
        change(X_test=lambda x: put(x, 0, -np.inf, float)),
        "{I}[0, 0, 0] is -inf: it has",
    ),
    "beyond float32": (change(X=lambda x: x * 1e300), "{i}[0, 0, 0] is "),
    "complex": (change(X=lambda x: x * 1j), "{i} holds complex128: it has to hold numbers"),
    "dates": (change(X=lambda x: x.astype("M8[s]")), "{i} holds datetime64[s]: it has to hold"),
    "text": (change(X=lambda x: x.astype(str)), "{i} holds text: it has to hold numbers"),
    "a column of text": (
        change(X=lambda x: pd.DataFrame(x[:, 0]).assign(city="Rome")),
        "{i} holds no numbers in city: encode them as numbers",
    ),
    "missing": (change(X=lambda x: put(x, 41, None, object)), "{i}[3, 1, 1] is missing: fill it"),
    "Python's long integers": (change(X=lambda x: put(x, 0, 10**400, object)), "{i} holds objects"),
    "ragged": (change(X=lambda x: [*x[1:].tolist(), [[1, 2]]]), "{i} is not an array with rows of"),
    "flat": (change(X=lambda x: x[:, 0, 0]), "{i} has shape (60,): it has to have one row per im"),
    "one number": (change(X=lambda x: 5), "{i} has shape (): it has to have one row per image"),
    "no image": (change(X=lambda x: x[:0], y=lambda y: y[:0]), "{i} has shape (0, 3, 4): it is em"),
    "no pixel": (change(X=lambda x: x[:, :0]), "{i} has shape (60, 0, 4): it is empty"),
    "one image": (
        change(X=lambda x: x[:1], y=lambda y: y[:1]),
        "{i} has one image: it has to be t",
    ),
    "no test image": (
        change(X_test=lambda x: x[:0], y_test=lambda y: y[:0]),
        "{I} has shape (0, 3, 4): it is empty",
    ),
    "other features": (
        change(X_test=lambda x: x[:, :2]),
        "{I} has images of shape (2, 4), {i} of (3, 4): it has to be the same",
    ),
    "one split of levels": (
        change(X_test=lambda x: x.astype(np.uint8)),
        "{i} is float32 and {I} uint8: uint8 images are divided by 255",
    ),
    "sparse": (change(X=lambda x: sparse.csr_array(x[:, 0])), "{i} is a sparse matrix: give"),
    "masked": (
        change(X=lambda x: np.ma.masked_equal(x, x[0, 0, 0])),
        "{i} has masked values: fill",
    ),
    "None": (change(X=lambda x: None), "{i} is None: it has to be an array"),
    "a path": (change(X=lambda x: "mine.npz"), "{i} is 'mine.npz': it has to be an array"),
    "a dictionary": (change(y=lambda y: {0: 1}), "{l} is {{0: 1}}: it has to be an array"),
    "fewer labels": (
        change(y=lambda y: y[:30]),
        "{i} has 60 images, {l} 30 labels: it has to be o",
    ),
    "fewer test labels": (
        change(y_test=lambda y: y[:-1]),
        "{I} has 12 images, {L} 11 labels: it ha",
    ),
    "no labels": (change(y=lambda y: y[:0]), "{l} is empty"),
    "one class": (change(y=lambda y: 0 * y), "{l} has one label, 0: it has to be two or more"),
    "fractions": (
        change(y=lambda y: y / 2),
        "{l}[1] is 0.5: a label has to be a whole number or a",
    ),
    "NaN as a label": (
        change(y=lambda y: put(y, 4, np.nan, float)),
        "{l}[4] is nan: a label has to",
    ),
    "a missing name": (
        change(y=lambda y: [*(NAMES[label] for label in y[:-1]), float("nan")]),
        "{l}[59] is missing: fill it in, or leave that row out",
    ),
    "dates as labels": (
        change(y=lambda y: y.astype("M8[s]")),
        "{l} holds datetime64[s]: labels ha",
    ),
    "complex labels": (change(y=lambda y: y * 1j), "{l} holds complex128: labels have to be whole"),
    "three axes": (
        change(y=lambda y: y[:, None, None]),
        "{l} has shape (60, 1, 1): it has to have ",
    ),
    "two hot": (
        change(y=lambda y: np.ones((60, 3))),
        "{l} has shape (60, 3): it has to have one lab",
    ),
    "an unknown test label": (
        change(y_test=lambda y: put(y, 5, 7)),
        "{L}[5] is 7: it has to be a label that {l} has (0, 1, 2)",
    ),
    "names in one split": (
        change(y_test=lambda y: np.array(NAMES)[y]),
        "{L}[0] is 'ant': it has to be a label that {l} has",
    ),
    "a gap": (
        change(y=lambda y: np.where(y == 1, 2, y), classes=lambda _: NAMES),
        "{l} has no label 1, the class 'bee': each class needs images to train on",
    ),
    "beyond the classes": (
        change(y=lambda y: y, classes=lambda _: NAMES[:2]),
        "{l} has the label 2: with 2 classes it has to be from 0 to 1",
    ),
    "negative": (
        change(y=lambda y: np.where(y == 2, -1, y), classes=lambda _: (*NAMES, "dog")),
        "{l} has the label -1: with 4 classes it has to be from 0 to 3",
    ),
    "classes twice": (
        change(classes=lambda _: ("a", "a", "b")),
        "classes is ('a', 'a', 'b'): it has",
    ),
}
BY_HAND = {"i": "train.images", "l": "train.labels", "I": "test.images", "L": "test.labels"}
BY_ARRAYS = {"i": "X", "l": "y", "I": "X_test", "L": "y_test"}
GOOD = Given(IMAGES, LABELS, TEST_IMAGES, TEST_LABELS)


def refusal_of(make: Callable[[], object]) -> str:
    try:
        make()
    except UserError as error:
        return str(error)
    except BaseException as error:
        return f"\n{type(error).__name__}: {error}"
    return "\nIt was not refused"


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_right_is_one_line_that_names_the_array(fault):
    spoil, line = FAULTS[fault]
    given = spoil(GOOD)
    for make, names in ((given.make, BY_ARRAYS), (given.make_by_hand, BY_HAND)):
        told = refusal_of(make)
        assert told.startswith(line.format(**names))
        assert "\n" not in told


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: actlab.from_arrays(IMAGES, LABELS, TEST_IMAGES), "X_test is given without y_test"),
        (
            lambda: actlab.from_arrays(IMAGES, LABELS, test_size=1.0),
            "test_size is 1.0: it has to be between 0 and 1",
        ),
        (
            lambda: actlab.from_arrays(IMAGES, LABELS, test_size=0.001),
            "test_size is 0.001: of 60 images, 0 would be tested",
        ),
        (
            lambda: actlab.from_arrays(IMAGES, np.arange(60)),
            "y has too few labels '",
        ),
        (
            lambda: actlab.from_arrays(IMAGES, LABELS, validation_size=48),
            "validation_size is 48: it has to be from 0 to 47",
        ),
        (
            lambda: actlab.Data("Mine", NAMES, (IMAGES, LABELS), None, None),
            "test is None: it has to be actlab.Split(images, labels)",
        ),
        (
            lambda: actlab.Data("Mine", NAMES, IMAGES, None, IMAGES),
            "train is array([[[",
        ),
        (
            lambda: actlab.Data("Mine", "abc", (IMAGES, LABELS), None, (IMAGES, LABELS)),
            "classes is 'abc': it has to be a list",
        ),
    ],
)
def test_other_mistakes_are_one_line(make, line):
    told = refusal_of(make)
    assert told.startswith(line)
    assert "\n" not in told


def test_random_data_sets_are_right_or_refused(tally):
    """Each is given in a random way; half of them have one to three faults."""
    failures, accepted = [], 0
    for number in range(500):
        generator = random.Random(number)
        images, test_images = IMAGES, TEST_IMAGES
        as_images = generator.choice([*KEPT_IMAGES.values()])
        as_labels = generator.choice([*KEPT_LABELS.values()])
        faults = generator.sample([*FAULTS], generator.choice([0, 0, 0, 1, 2, 3]))
        if not faults:
            given = Given(
                *(as_images(images), as_labels(LABELS)),
                *(as_images(test_images), as_labels(TEST_LABELS)),
                generator.choice([None, NAMES]),
            )
        else:
            given = GOOD
            for fault in faults:
                try:
                    given = FAULTS[fault][0](given)
                except Exception:  # it cannot be done to what the one before left
                    continue
        make = generator.choice([given.make, given.make_by_hand])
        if faults:
            line = refusal_of(make)
            wrong = line if "\n" in line else ""
        else:
            accepted += 1
            try:
                wrong = fault_of(make(), images, test_images)
            except BaseException as error:
                wrong = f"{type(error).__name__}: {error}"
        if wrong:
            failures.append(f"{number}, {faults}: {wrong}")
    assert 200 < accepted < 300
    tally(f"Random data sets of a user's own ({accepted} right, the others refused)", 500, failures)


# --- Trained ------------------------------------------------------------------------------


def test_what_is_given_in_any_way_trains_to_the_same_bits():
    """int64 labels in a column, images of rows and columns, pairs in the place of splits."""
    scaled = [
        array.reshape(len(array), -1).astype(np.float32) / 128 for array in (IMAGES, TEST_IMAGES)
    ]
    plain = actlab.Data(
        "Mine",
        NAMES,
        actlab.Split(scaled[0], LABELS.astype(np.int32)),
        None,
        actlab.Split(scaled[1], TEST_LABELS.astype(np.int32)),
    )
    other = actlab.Data(
        "Mine",
        list(NAMES),
        (scaled[0].reshape(-1, 3, 4).tolist(), LABELS[:, None] + 1),
        None,
        (pd.DataFrame(scaled[1].astype(float)), TEST_LABELS.tolist() + np.ones(12)),
    )
    fits = [
        actlab.fit(names, data, [4], seeds=[0, 1], epochs=2, batch_size=100)
        for names, data in (("relu", plain), (["relu", "tanh"], other))
    ]
    history, other_history = (fit.history.drop(columns="epoch_seconds") for fit in fits)
    pd.testing.assert_frame_equal(history, other_history.head(4))
    pd.testing.assert_frame_equal(fits[0].test, fits[1].test.head(2))
    assert fits[0].test["test_accuracy"].between(0, 1).all()
    assert len(actlab.compare(fits[1])) == 1
    probed = actlab.probe(fits[0], other, images=12)
    assert np.isfinite(probed["gradient_norm"]).all()
    line = refusal_of(lambda: actlab.probe(fits[0], actlab.from_arrays(IMAGES[:, 0], LABELS)))
    assert line.startswith(
        "data has 4 pixels and 3 classes, the fitted networks take 12 and give 3"
    )


def test_tables_and_labels_of_other_libraries():
    class Table:
        """As polars and pyarrow: columns, and types in a list or none."""

        columns, dtypes = ("a", "b"), ["f8", "f8"]

        def __array__(self, dtype=None, copy=None):
            return np.arange(12.0).reshape(6, 2)

    names = ["é", "a", "é", "a", "é", "a"]
    data = actlab.from_arrays(Table(), np.array([name.encode() for name in names]), test_size=0.4)
    assert data.classes == ("a", "é")
