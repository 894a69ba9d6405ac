import hashlib
import json
import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import actlab
from actlab.data.datasets import (
    DATASETS,
    DataSet,
    RawFile,
    RawSplit,
    explain_mismatch,
    load_raw,
    parse_idx,
)
from actlab.data.splits import (
    Split,
    Splits,
    build_splits,
    count_classes,
    draw_held_out,
    first_images,
    load_labels,
    load_processed,
    save_processed,
    scale_images,
    to_uint8,
)
from actlab.errors import UserError


def format_idx(array):
    """Write an idx file by its definition: the independent half of the round trip."""
    header = bytes([0, 0, 8, array.ndim])
    return header + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def draw_arrays(seed):
    """Twelve training and five test images of 3 x 4 pixels, of three classes."""
    generator = np.random.default_rng(seed)
    arrays = []
    for count in (12, 5):
        arrays.append(generator.integers(0, 256, (count, 3, 4), np.uint8))
        arrays.append(generator.integers(0, 3, count).astype(np.uint8))
    return dict(zip(NAMES, arrays, strict=True))


def register(monkeypatch, name, arrays):
    files = [
        RawFile(each, array.shape, hashlib.sha256(format_idx(array)).hexdigest())
        for each, array in arrays.items()
    ]
    monkeypatch.setitem(DATASETS, name, DataSet(name.title(), ("a", "b", "c"), *files))


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A folder with a small data set that is registered as "tiny"; "other" is another."""
    register(monkeypatch, "other", draw_arrays(1))
    arrays = draw_arrays(0)
    register(monkeypatch, "tiny", arrays)
    for name, array in arrays.items():
        (tmp_path / name).write_bytes(format_idx(array))
    return tmp_path


# The registry


@pytest.mark.parametrize("name", DATASETS)
def test_files_of_a_known_data_set(name):
    dataset = DATASETS[name]
    assert len({file.name for file in dataset.files}) == 4
    for images, labels in (dataset.files[:2], dataset.files[2:]):
        assert images.shape[0] == labels.shape[0]
        assert images.shape[1:] == dataset.train_images.shape[1:]
        assert len(labels.shape) == 1
    assert dataset.pixels == math.prod(dataset.test_images.shape[1:])
    assert len(dataset.classes) == len(set(dataset.classes)) > 1


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_two_that_come_with_actlab_have_files_of_one_size(name):
    dataset = DATASETS[name]
    assert tuple(file.name for file in dataset.files) == NAMES
    # Sizes as the sites of both data sets give them.
    assert [file.size for file in dataset.files] == [47040016, 60008, 7840016, 10008]
    assert (dataset.training_images, dataset.pixels, len(dataset.classes)) == (60000, 784, 10)


def test_every_digest_is_another():
    digests = {file.sha256 for dataset in DATASETS.values() for file in dataset.files}
    assert len(digests) == 4 * len(DATASETS)
    assert all(len(bytes.fromhex(digest)) == 32 for digest in digests)


def test_importing_is_cheap():
    heavy = {"tensorflow", "keras", "mlflow", "hydra", "dvc", "pooch", "requests", "pandas"}
    heavy |= {"matplotlib", "scipy", "tqdm"}
    program = "import sys, {}; print(*sys.modules)"

    def imported(module):
        command = [sys.executable, "-c", program.format(module)]
        environment = os.environ | {"PYTHONPATH": str(Path(actlab.__file__).parents[1])}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return heavy & set(done.stdout.split())

    assert imported("actlab.data.datasets") == set()
    assert imported("tqdm") == {"tqdm"}  # the test can fail


# idx


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)))
def test_idx_round_trip(array):
    parsed = parse_idx(format_idx(array))
    assert parsed.dtype == np.uint8
    np.testing.assert_array_equal(parsed, array, strict=True)


@pytest.mark.parametrize("length", range(20))
def test_parse_idx_refuses_every_shorter_file(length):
    whole = format_idx(np.arange(8, dtype=np.uint8).reshape(2, 4))
    assert len(whole) == 20
    with pytest.raises(ValueError, match="idx file"):
        parse_idx(whole[:length])


def test_parse_idx_refuses_what_is_too_long():
    with pytest.raises(ValueError, match=r"holds 7 values, its shape \(2, 3\) has 6"):
        parse_idx(format_idx(np.zeros((2, 3), np.uint8)) + b"\0")


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08\x00", b"\0\0\x0d\x01", b"<htm"])
def test_parse_idx_refuses_another_magic_number(start):
    with pytest.raises(ValueError, match="no idx file of unsigned bytes"):
        parse_idx(start + bytes([0, 0, 0, 0]))


# Raw files


def test_load_raw_gives_the_arrays(raw):
    train, test = load_raw("tiny", raw)
    expected = draw_arrays(0)
    for name, array in zip(NAMES, (*train, *test), strict=True):
        np.testing.assert_array_equal(array, expected[name], strict=True)


def flip_a_bit(content):
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


FAULTS = {
    "empty": (lambda content: b"", "is empty"),
    "truncated": (lambda content: content[:-1], "instead of"),
    "too long": (lambda content: content + b"\0", "instead of"),
    "one bit": (flip_a_bit, "is corrupted: its SHA-256 begins with"),
    "a web page": (
        lambda content: b"<html>no</html>",
        "is no idx file: it begins with b'<html>no'",
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", FAULTS)
def test_load_raw_names_the_file_and_its_fault(raw, name, fault):
    damage, reason = FAULTS[fault]
    path = raw / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError) as caught:
        load_raw("tiny", raw)
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert reason in message
    assert message.endswith("run `dvc repro -f -s fetch-data` to fetch it again")
    assert "\n" not in message


def test_load_raw_reads_no_more_than_the_largest_file_has(raw):
    path = raw / NAMES[2]
    with path.open("ab") as file:
        file.truncate(1 << 40)  # a hole of a terabyte
    with pytest.raises(UserError, match=rf"{NAMES[2]} has more than 47040016 bytes instead of 76"):
        load_raw("tiny", raw)


@pytest.mark.skipif(
    not Path("/proc/self/mem").is_file(),
    reason="only Linux has a file that is there and cannot be read, by root neither",
)
def test_load_raw_says_why_a_file_cannot_be_read(raw):
    path = raw / NAMES[1]
    path.unlink()
    path.symlink_to("/proc/self/mem")  # nothing is mapped at its beginning
    with pytest.raises(UserError) as caught:
        load_raw("tiny", raw)
    assert str(caught.value) == (
        f"{path} cannot be read (Input/output error):"
        " run `dvc repro -f -s fetch-data` to fetch it again"
    )


@pytest.mark.parametrize("name", NAMES)
def test_load_raw_names_a_missing_file(raw, name):
    (raw / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing: run `dvc repro fetch-data`"):
        load_raw("tiny", raw)


@pytest.mark.parametrize("name", NAMES)
def test_load_raw_recognises_another_data_set(raw, name):
    (raw / name).write_bytes(format_idx(draw_arrays(1)[name]))
    with pytest.raises(UserError, match=f"{name} is other's file, not tiny's"):
        load_raw("tiny", raw)


def test_load_raw_recognises_swapped_files(raw):
    first, second = raw / NAMES[0], raw / NAMES[2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(UserError, match=f"is tiny's {NAMES[2]}, not tiny's {NAMES[0]}"):
        load_raw("tiny", raw)


def test_nothing_is_wrong_with_the_right_bytes(raw):
    for file in DATASETS["tiny"].files:
        assert explain_mismatch((raw / file.name).read_bytes(), "tiny", file) is None


# Images


def test_scaling_takes_every_pixel_to_its_255th():
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    scaled = scale_images(images)
    assert scaled.shape == (4, 64)
    # Independent: exact fractions, rounded once to float32.
    expected = [np.float32(float(Fraction(pixel, 255))) for pixel in range(256)]
    np.testing.assert_array_equal(scaled.ravel(), np.array(expected), strict=True)
    np.testing.assert_array_equal(np.rint(scaled * 255).astype(np.uint8), images.reshape(4, 64))


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


def test_the_first_images_of_levels_are_scaled_and_of_numbers_are_not():
    labels = np.arange(4, dtype=np.int32)
    levels = np.arange(256, dtype=np.uint8).reshape(4, 64)
    numbers = scale_images(levels)
    for images in (levels, numbers):
        first = first_images(Split(images, labels), 3)
        np.testing.assert_array_equal(first.images, numbers[:3], strict=True)
        np.testing.assert_array_equal(first.labels, labels[:3], strict=True)


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


def test_every_image_of_a_class_is_drawn_as_often():
    labels = np.repeat([0, 1], [8, 4])
    drawn = sum(draw_held_out(labels, 6, seed).astype(int) for seed in range(2000))
    # Each image stays or goes with probability 1/2: five standard deviations of 2,000 tosses.
    assert np.abs(drawn - 1000).max() < 5 * math.sqrt(2000 / 4)


def numbered(labels):
    """Images whose pixels tell their place."""
    places = np.arange(len(labels), dtype=np.uint8)
    return RawSplit(np.broadcast_to(places[:, None, None], (len(labels), 2, 3)), labels)


@given(hnp.arrays(np.uint8, st.integers(2, 40), elements=st.integers(0, 9)), st.data())
def test_splits_part_the_images_and_keep_their_order(labels, data):
    size = data.draw(st.integers(1, len(labels) - 1))
    splits = build_splits(numbered(labels), numbered(labels[:1]), size, split_seed=3)
    assert splits.validation is not None
    places = [
        np.rint(split.images[:, 0] * 255).astype(int) for split in (splits.train, splits.validation)
    ]
    assert [len(each) for each in places] == [len(labels) - size, size]
    assert sorted(np.concatenate(places)) == list(range(len(labels)))
    for place, split in zip(places, (splits.train, splits.validation), strict=True):
        assert (np.diff(place) > 0).all()
        np.testing.assert_array_equal(split.labels, labels[place])


def test_nothing_held_out_is_all_training_images():
    train, test = numbered(np.array([2, 0, 1, 2], np.uint8)), numbered(np.array([1], np.uint8))
    splits = build_splits(train, test)
    assert splits.validation is None
    np.testing.assert_array_equal(splits.train.images, scale_images(train.images), strict=True)
    np.testing.assert_array_equal(
        splits.train.labels, np.array([2, 0, 1, 2], np.int32), strict=True
    )
    np.testing.assert_array_equal(splits.test.labels, np.array([1], np.int32), strict=True)


def test_counts_name_every_class_of_every_split():
    images = np.zeros((3, 1), np.float32)
    train = Split(images, np.array([2, 0, 2], np.int32))
    test = Split(images[:1], np.array([1], np.int32))
    rows = count_classes(Splits(train, None, test), classes=4)
    assert rows[:4] == [("train", 0, 1), ("train", 1, 0), ("train", 2, 2), ("train", 3, 0)]
    assert rows[4:] == [("test", 0, 0), ("test", 1, 1), ("test", 2, 0), ("test", 3, 0)]
    assert [row[0] for row in count_classes(Splits(train, test, test), 4)][4] == "validation"


# Processed files

MADE_WITH = {"name": "tiny", "validation_size": 4, "split_seed": 0}


@pytest.fixture
def splits(raw):
    return build_splits(*load_raw("tiny", raw), validation_size=4, split_seed=0)


@pytest.fixture
def processed(splits, tmp_path):
    folder = tmp_path / "processed"
    save_processed(splits, folder, MADE_WITH)
    return folder


def test_processed_round_trip(splits, processed):
    loaded = load_processed(processed)
    for name, split in splits._asdict().items():
        for array, saved in zip(getattr(loaded, name), split, strict=True):
            np.testing.assert_array_equal(array, saved, strict=True)
            assert array.flags.c_contiguous
    assert {path.name for path in processed.iterdir()} == {
        "data.json",
        *(
            f"{split}_{kind}.npy"
            for split in ("train", "validation", "test")
            for kind in ("images", "labels")
        ),
    }


def test_no_validation_split_where_none_was_saved(splits, tmp_path):
    save_processed(splits._replace(validation=None), tmp_path / "none", MADE_WITH)
    assert load_processed(tmp_path / "none").validation is None


def test_images_are_levels_in_their_files_and_where_that_is_asked_for(splits, processed):
    loaded = load_processed(processed, is_scaled=False)
    for name in ("train", "validation", "test"):
        images = np.load(processed / f"{name}_images.npy")
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(getattr(loaded, name).images, images, strict=True)
        np.testing.assert_array_equal(scale_images(images), getattr(splits, name).images)


def test_images_that_are_no_levels_stay_numbers(tmp_path):
    images = np.random.default_rng(0).random((5, 6), np.float32)
    split = Split(images, np.zeros(5, np.int32))
    save_processed(Splits(split, None, split), tmp_path / "processed", MADE_WITH)
    for is_scaled in (True, False):
        loaded = load_processed(tmp_path / "processed", is_scaled=is_scaled)
        np.testing.assert_array_equal(loaded.test.images, images, strict=True)


def test_load_processed_says_which_command_makes_what_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"data\.json is missing: run `dvc repro preprocess` to"):
        load_processed(tmp_path / "nowhere")


def test_what_was_made_with_other_values_is_refused(processed):
    assert load_processed(processed, MADE_WITH).validation is not None
    with pytest.raises(UserError) as refused:
        load_processed(processed, MADE_WITH | {"validation_size": 5})
    assert str(refused.value) == (
        f"{processed} was made with data.validation_size=4, asked for is data.validation_size=5:"
        " set it in params.yaml and run `dvc repro preprocess`"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read"),
        ("[]", "says no SHA-256 of the files beside it"),
        (json.dumps(MADE_WITH), "says no SHA-256 of the files beside it"),
        (json.dumps(MADE_WITH | {"sha256": []}), "says no SHA-256 of the files beside it"),
    ],
)
def test_a_description_without_digests_is_refused(processed, text, reason):
    (processed / "data.json").write_text(text)
    for load in (load_processed, lambda folder: load_labels(folder, "test")):
        with pytest.raises(UserError) as refused:
            load(processed)
        assert str(refused.value) == (
            f"{processed / 'data.json'} {reason}: run `dvc repro -f -s preprocess` to make it again"
        )


@pytest.mark.parametrize("name", ["train_labels", "validation_images", "test_images"])
def test_load_processed_misses_each_file(processed, name):
    (processed / f"{name}.npy").unlink()
    with pytest.raises(UserError, match=rf"{name}\.npy is missing: run `dvc repro preprocess`"):
        load_processed(processed)


def test_a_digest_that_is_not_there_is_missed(processed):
    described = json.loads((processed / "data.json").read_text())
    del described["sha256"]["validation_images.npy"]
    (processed / "data.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match=r"validation_images\.npy is none of the files that"):
        load_processed(processed)
    (processed / "validation_images.npy").unlink()
    with pytest.raises(UserError, match=r"says no SHA-256 of validation_images\.npy: run"):
        load_processed(processed)


def test_a_validation_split_that_none_made_is_refused(splits, tmp_path):
    folder = tmp_path / "none"
    save_processed(splits._replace(validation=None), folder, MADE_WITH)
    np.save(folder / "validation_images.npy", splits.train.images)
    with pytest.raises(UserError, match=r"validation_images\.npy is none of the files that"):
        load_processed(folder)


WRONG_ARRAYS = {
    "train_images": np.zeros((8, 12)),
    "test_images": np.zeros((5, 3, 4), np.float32),
    "test_labels": np.zeros(5, np.int64),
    "train_labels": np.zeros(7, np.int32),
    "validation_labels": np.array([{"a": 1}]),  # a pickle
}


@pytest.mark.parametrize("name", WRONG_ARRAYS)
def test_load_processed_refuses_other_arrays(processed, name):
    np.save(processed / f"{name}.npy", WRONG_ARRAYS[name])
    with pytest.raises(UserError) as refused:
        load_processed(processed)
    message = str(refused.value)
    assert message.startswith(f"{processed / name}.npy is not the file that was made: its SHA-256")
    assert message.endswith(": run `dvc repro -f -s preprocess` to make it again")


def test_load_labels_holds_its_file_to_its_digest(splits, processed):
    np.testing.assert_array_equal(load_labels(processed, "test"), splits.test.labels, strict=True)
    (processed / "test_labels.npy").write_bytes((processed / "train_labels.npy").read_bytes())
    with pytest.raises(UserError, match=r"test_labels\.npy is not the file that was made"):
        load_labels(processed, "test")
