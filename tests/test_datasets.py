import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from web import NAMES, SHAPES, TINY, format_idx, plant

from actlab.data.config import DataConfig
from actlab.data.datasets import (
    RawSplit,
    load_raw,
    parse_idx,
)
from actlab.data.prepare import hold_out
from actlab.data.splits import (
    Split,
    Splits,
    build_splits,
    draw_held_out,
    load_processed,
    save_processed,
    scale_images,
    to_uint8,
)
from actlab.errors import UserError


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A folder with the small data set of web.py; another one is known too."""
    plant(monkeypatch)
    for name, content in TINY.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


# The registry


# idx


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)))
def test_idx_round_trip(array):
    parsed = parse_idx(format_idx(array))
    assert parsed.dtype == np.uint8
    np.testing.assert_array_equal(parsed, array, strict=True)


WHOLE = format_idx(np.arange(8, dtype=np.uint8).reshape(2, 4))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        *((WHOLE[:length], "idx file") for length in (0, 3, 4, 11, 12, 19)),
        (WHOLE + b"\0", r"holds 9 values, its shape \(2, 4\) has 8"),
        (b"\x1f\x8b\x08\x00" + bytes(4), "no idx file of unsigned bytes"),
        (b"\0\0\x0d\x01" + bytes(4), "no idx file of unsigned bytes"),
    ],
)
def test_what_is_no_idx_file_is_refused(content, reason):
    with pytest.raises(ValueError, match=reason):
        parse_idx(content)


# Raw files; faults/test_data.py damages those of MNIST


def test_load_raw_gives_the_arrays(raw):
    train, test, classes = load_raw("tiny", raw)
    assert classes == ("a", "b")
    for name, shape, array in zip(NAMES, SHAPES, (*train, *test), strict=True):
        assert array.shape == shape
        assert format_idx(array) == TINY[name]


# Images


def test_scaling_takes_every_pixel_to_its_255th():
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    scaled = scale_images(images)
    assert scaled.shape == (4, 64)
    # Independent: exact fractions, rounded once to float32.
    expected = [np.float32(float(Fraction(pixel, 255))) for pixel in range(256)]
    np.testing.assert_array_equal(scaled.ravel(), np.array(expected), strict=True)


def test_levels_are_those_that_were_scaled_and_none_of_other_numbers():
    levels = np.arange(256, dtype=np.uint8).reshape(4, 64)
    np.testing.assert_array_equal(to_uint8(scale_images(levels)), levels, strict=True)
    assert to_uint8(levels) is levels
    many = np.tile(scale_images(levels), (300, 1))
    np.testing.assert_array_equal(to_uint8(many), np.tile(levels, (300, 1)), strict=True)
    for other in (0.3, np.nan, -1 / 255, 256 / 255):
        changed = many.copy()
        changed[-1, -1] = other
        assert to_uint8(changed) is None


# Holding out


@st.composite
def labels_and_size(draw):
    labels = draw(hnp.arrays(np.int32, st.integers(1, 60), elements=st.integers(0, 5)))
    return labels, draw(st.integers(0, len(labels)))


@given(labels_and_size(), st.integers(0, 3))
def test_each_class_is_held_out_by_its_share(drawn, seed):
    labels, size = drawn
    mask = draw_held_out(labels, size, seed)
    assert mask.shape == labels.shape
    assert mask.sum() == size
    # Largest remainder by exact fractions, one seat at a time.
    shares = {label: Fraction(int((labels == label).sum()) * size, len(labels)) for label in labels}
    seats = {label: math.floor(share) for label, share in shares.items()}
    by_remainder = sorted(shares, key=lambda label: (seats[label] - shares[label], label))
    for label in by_remainder[: size - sum(seats.values())]:
        seats[label] += 1
    assert {label: int(mask[labels == label].sum()) for label in seats} == seats


def test_the_seed_decides_which_are_held_out():
    labels = np.repeat(np.arange(10), 100)
    once = draw_held_out(labels, 200, seed=0)
    np.testing.assert_array_equal(draw_held_out(labels, 200, seed=0), once)
    assert (draw_held_out(labels, 200, seed=1) != once).any()


def numbered(labels):
    """Images whose pixels tell their place."""
    places = np.arange(len(labels), dtype=np.uint8)
    return RawSplit(np.broadcast_to(places[:, None, None], (len(labels), 2, 3)), labels)


@given(hnp.arrays(np.uint8, st.integers(2, 40), elements=st.integers(0, 9)), st.data())
def test_splits_part_the_images_and_keep_their_order(labels, data):
    size = data.draw(st.integers(1, len(labels) - 1))
    classes = tuple("0123456789")
    whole = build_splits(numbered(labels), numbered(labels[:1]), classes)
    splits = hold_out(whole, DataConfig("mnist", size, 3))
    assert splits.validation is not None
    places = [
        np.rint(split.images[:, 0] * 255).astype(int) for split in (splits.train, splits.validation)
    ]
    assert [len(each) for each in places] == [len(labels) - size, size]
    assert sorted(np.concatenate(places)) == list(range(len(labels)))
    for place, split in zip(places, (splits.train, splits.validation), strict=True):
        assert (np.diff(place) > 0).all()
        np.testing.assert_array_equal(split.labels, labels[place])


# Processed files; faults/test_data.py changes them in many more ways

MADE_WITH = {"name": "tiny", "validation_size": 4, "split_seed": 0}


@pytest.fixture
def splits(raw):
    return hold_out(build_splits(*load_raw("tiny", raw)), DataConfig("mnist", 4, 0))


@pytest.fixture
def processed(splits, tmp_path):
    folder = tmp_path / "processed"
    save_processed(splits, folder, MADE_WITH)
    return folder


def test_processed_round_trip(splits, processed):
    loaded = load_processed(processed)
    levels = load_processed(processed, is_scaled=False)
    assert (loaded.classes, loaded.shape) == (("a", "b"), (5, 5))
    for name, split in splits.items():
        for array, saved in zip(getattr(loaded, name), split, strict=True):
            np.testing.assert_array_equal(array, saved, strict=True)
            assert array.flags.c_contiguous
        images = np.load(processed / f"{name}_images.npy")
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(getattr(levels, name).images, images, strict=True)
    assert len(list(processed.iterdir())) == 7


def test_images_that_are_no_levels_stay_numbers(tmp_path):
    images = np.random.default_rng(0).random((5, 6), np.float32)
    split = Split(images, np.zeros(5, np.int32))
    save_processed(Splits(split, None, split, ("a", "b"), (6,)), tmp_path / "processed", MADE_WITH)
    for is_scaled in (True, False):
        loaded = load_processed(tmp_path / "processed", is_scaled=is_scaled)
        assert loaded.validation is None
        np.testing.assert_array_equal(loaded.test.images, images, strict=True)


def test_what_was_made_with_other_values_is_refused(processed):
    assert load_processed(processed, MADE_WITH).validation is not None
    with pytest.raises(UserError) as refused:
        load_processed(processed, MADE_WITH | {"validation_size": 5})
    assert str(refused.value) == (
        f"{processed} was made with data.validation_size=4, asked for is data.validation_size=5:"
        " set it in params.yaml and run `dvc repro preprocess`"
    )
