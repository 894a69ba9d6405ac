"""A user's own files: read, converted, checked, and converted again when they change."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from planted import configured
from web import NAMES, format_idx, plant_data

import actlab
from actlab.data.config import DataConfig
from actlab.data.own import digest_files
from actlab.data.splits import load_processed
from actlab.errors import UserError
from actlab.results.identity import fingerprint
from actlab.stages.fetch_data import fetch_data
from actlab.stages.jobs import provide_own
from actlab.stages.preprocess import preprocess
from actlab.stages.train import compose_spec, load_splits

RNG = np.random.default_rng(0)
FEATURES, LABELS = RNG.normal(size=(40, 6)), np.arange(40) % 2
LEVELS = RNG.integers(0, 256, (40, 5, 3), np.uint8)


def write_npz(path, **arrays):
    np.savez(path, **arrays)


def write_table(path, **columns):
    table = pd.DataFrame(FEATURES, columns=list("abcdef")).assign(**columns)
    table.to_csv(path, index=False)


def write_pictures(folder, images, labels, mode=None):
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / str(label) / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).convert(mode).save(path)


@pytest.fixture
def define(tmp_path, monkeypatch):
    """Define a data set named mine, of a file or folder; returns its path."""

    def define(name, **options):
        path = tmp_path / name
        plant_data(monkeypatch, mine={"title": "Mine", "path": str(path), **options})
        return path

    return define


# Formats


def test_an_npz_file_has_both_splits_or_one(define):
    path = define("mine.npz")
    write_npz(
        path, x_train=LEVELS[:30], y_train=LABELS[:30], x_test=LEVELS[30:], y_test=LABELS[30:]
    )
    data = actlab.load_data("mine", validation_size=4)
    assert (data.title, data.classes, data.shape) == ("Mine", ("0", "1"), (5, 3))
    assert data.validation is not None
    assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [26, 4, 10]
    np.testing.assert_array_equal(data.test.images, LEVELS[30:].reshape(10, -1) / np.float32(255))
    write_npz(path, X=FEATURES, y=LABELS)
    assert len(actlab.load_data("mine").test.labels) == 8


@pytest.mark.parametrize("end", ["csv", "csv.gz"])
def test_a_csv_file_has_its_labels_in_a_column(define, end):
    path = define(f"mine.{end}", target="kind", test_size=0.25)
    write_table(path, kind=np.array(["sun", "rain"])[LABELS])
    data = actlab.load_data("mine", preprocessing="standardize")
    assert (data.classes, len(data.test.labels), data.shape) == (("rain", "sun"), 10, (6,))
    np.testing.assert_allclose(data.train.images.mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_may_have_any_shape(define, zipped):
    path = define("mine", classes=["no", "yes"])
    path.mkdir()
    labels = LABELS.astype(np.uint8)
    for name, array in zip(NAMES, (LEVELS, labels, LEVELS[:7], labels[:7]), strict=True):
        content = format_idx(array)
        written = path / (f"{name}.gz" if zipped else name.replace("-idx", ".idx"))
        written.write_bytes(gzip.compress(content) if zipped else content)
    data = actlab.load_data("mine")
    assert (data.classes, data.shape, len(data.test.labels)) == (("no", "yes"), (5, 3), 7)


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("splits", [("train", "test"), ("train",), (".",)])
def test_images_lie_in_a_folder_per_class(define, color, splits):
    path = define("pictures", color=color)
    kinds = np.array(["sun", "rain"])[LABELS]
    for split in splits:
        write_pictures(path / split, LEVELS, kinds)
    (path / splits[0] / "sun/.DS_Store").write_text("not an image")
    data = actlab.load_data("mine")
    assert data.classes == ("rain", "sun")
    assert data.shape == ((5, 3, 3) if color else (5, 3))
    assert len(data.train.labels) == (40 if len(splits) == 2 else 32)
    if len(splits) == 2:
        expected = LEVELS[LABELS == 1].reshape(20, -1) / np.float32(255)
        if color:
            expected = expected.repeat(3, axis=1)
        np.testing.assert_array_equal(data.train.images[data.train.labels == 0], expected)


def write_small(path):
    write_pictures(path, LEVELS, LABELS)
    Image.new("L", (4, 4)).save(path / "1/more.png")


def write_deep(path):
    (path / "a").mkdir(parents=True)
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(path / "a/deep.png")


def write_broken(path):
    (path / "a").mkdir(parents=True)
    (path / "a/x.png").write_bytes(b"not a PNG")


MISTAKES = {
    "no file": ("mine.npz", {}, lambda path: None, "there is no such file or folder"),
    "another format": (
        "mine.mat",
        {},
        lambda path: path.write_bytes(b""),
        "it has to be an .npz, .csv or .csv.gz file, or a folder of idx files or of images by",
    ),
    "other keys": (
        "mine.npz",
        {},
        lambda path: write_npz(path, images=LEVELS),
        "it has the arrays images: it has to have x_train, y_train, x_test and y_test, or X and y",
    ),
    "objects": (
        "mine.npz",
        {},
        lambda path: write_npz(path, X=np.array([{}, None]), y=LABELS[:2]),
        "it cannot be read: Object arrays cannot be loaded",
    ),
    "no zip": ("mine.npz", {}, lambda path: path.write_bytes(b"PK\3\4"), "it cannot be read: "),
    "NaN": (
        "mine.npz",
        {},
        lambda path: write_npz(path, X=FEATURES * np.nan, y=LABELS),
        "X[0, 0] is nan: it has to be finite",
    ),
    "no target": (
        "mine.csv",
        {},
        lambda path: write_table(path, kind=LABELS),
        "target is None: it has to be one of the columns a, b, c, d, e, f, kind",
    ),
    "a target of an npz file": (
        "mine.npz",
        {"target": "y"},
        lambda path: write_npz(path, X=FEATURES, y=LABELS),
        "target is for a CSV file: leave it out",
    ),
    "text": (
        "mine.csv",
        {"target": "kind"},
        lambda path: write_table(path, kind=LABELS, town="Rome"),
        "the features holds no numbers in town: encode them",
    ),
    "a gap": (
        "mine.csv",
        {"target": "kind"},
        lambda path: path.write_text("a,kind\n1,x\n,y\n2,x\n3,y\n"),
        "the features[1, 0] is nan: it has to be finite",
    ),
    "a column that numbers the rows": (
        "mine.csv",
        {"target": "kind"},
        lambda path: pd.DataFrame({"a": FEATURES[:, 0], "kind": LABELS}).to_csv(path),
        "column 1 has no name: name it, or leave it out if it numbers the rows",
    ),
    "an empty file": ("mine.csv", {"target": "kind"}, lambda path: path.touch(), "it cannot be re"),
    "no features": (
        "mine.csv",
        {"target": "kind"},
        lambda path: path.write_text("kind\n1\n2\n"),
        "it has 2 rows and 0 columns of features",
    ),
    "an idx file missing": (
        "mine",
        {},
        lambda path: (path.mkdir(), (path / NAMES[0]).write_bytes(format_idx(LEVELS))),
        "train-labels-idx1-ubyte is missing",
    ),
    "test images without labels": (
        "mine.npz",
        {},
        lambda path: write_npz(path, x_train=FEATURES, y_train=LABELS, x_test=FEATURES),
        "it has x_test alone: x_test and y_test go together",
    ),
    "no images": ("mine", {}, lambda path: path.mkdir(), "mine has no images in folders by class"),
    "another size": (
        "mine",
        {},
        write_small,
        "1/more.png has (4, 4) pixels, the first image (5, 3)",
    ),
    "16 bits": ("mine", {}, write_deep, "deep.png has more than 8 bits per pixel: convert it"),
    "a broken image": ("mine", {}, write_broken, "it cannot be read: cannot identify image file"),
    "another digest": (
        "mine.npz",
        {"sha256": "0" * 64},
        lambda path: write_npz(path, X=FEATURES, y=LABELS),
        "its SHA-256 is ",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_files_that_cannot_be_right_are_one_line(define, mistake, tmp_path):
    name, options, write, line = MISTAKES[mistake]
    path = define(name, **options)
    write(path)
    config = configured(tmp_path / "study", data=DataConfig("mine", 0, 0))
    for make in (lambda: actlab.load_data("mine"), lambda: fetch_data(config)):
        with pytest.raises(UserError) as caught:
            make()
        assert str(caught.value).startswith(f"conf/data/mine.yaml, path {path}: {line}")
        assert "\n" not in str(caught.value)
    assert {file.name for file in (tmp_path / "study/raw").iterdir()} == {".mine.lock"}


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"title": "Mine"}, " has neither path, of your own files, nor train_images"),
        ({"path": "x"}, ": title is missing"),
        ({"title": "Mine", "path": "x", "targte": "y"}, ": targte is unknown: "),
        ({"title": "Mine", "path": "x", "test_size": 2}, ": test_size is 2: it has to be between"),
        ({"title": "Mine", "path": "x", "sha256": "ab"}, ": sha256 is 'ab': it has to be 64"),
        ({"title": "Mine", "path": "x", "classes": ["a"]}, ": classes is ['a']: it has to be two"),
    ],
)
def test_a_definition_that_is_wrong_is_one_line(monkeypatch, values, line):
    plant_data(monkeypatch, mine=values)
    with pytest.raises(UserError) as caught:
        DataConfig("mine", 0, 0)
    assert str(caught.value).startswith(f"conf/data/mine.yaml{line}")


# From the files to a training


@pytest.fixture
def config(define, tmp_path):
    path = define("mine.npz")
    write_npz(path, X=FEATURES, y=np.array(["sun", "rain", "snow"])[np.arange(40) % 3])
    return configured(tmp_path / "study", data=DataConfig("mine", 6, 0))


def test_they_are_converted_once_and_again_when_they_change(config, define, capsys):
    path, place = define("mine.npz"), f"{config.paths.raw}/mine"
    for _ in range(2):
        fetch_data(config)
    converted, there = capsys.readouterr().out.splitlines()
    assert converted == f"Mine: converted from {path}"
    assert there == f"{place}: there, SHA-256 verified"
    before = fingerprint(config)
    path.rename(f"{path}.away")  # a clone that has pulled data/raw has no more
    fetch_data(config)
    assert capsys.readouterr().out == f"{there}\n"
    write_npz(path, X=FEATURES + 1, y=np.array(["sun", "rain", "snow"])[np.arange(40) % 3])
    provide_own(config)
    assert capsys.readouterr().out == f"{converted}\n"
    assert fingerprint(config) != before
    define("mine.npz", test_size=0.3)
    fetch_data(config)
    assert capsys.readouterr().out == f"{converted}\n"


def test_pipeline_and_sweep_train_on_the_same(config):
    swept = load_splits(config)
    preprocess(config)
    processed = load_processed(Path(config.paths.processed))
    for (name, split), (_, other) in zip(swept.items(), processed.items(), strict=True):
        np.testing.assert_array_equal(split.images, other.images, err_msg=name)
        np.testing.assert_array_equal(split.labels, other.labels, err_msg=name)
    assert processed.classes == swept.classes == ("rain", "snow", "sun")
    assert (len(swept.train.labels), processed.shape) == (26, (6,))
    spec = compose_spec(config, swept)
    assert (spec.inputs, spec.classes) == (6, 3)


def test_more_images_than_there_are_cannot_be_held_out(config):
    config.data.validation_size = 32
    with pytest.raises(UserError, match=r"data.validation_size is 32: it has to be from 0 to 31"):
        load_splits(config)


def test_a_damaged_array_is_named_and_converted_again(config):
    fetch_data(config)
    path = Path(config.paths.raw, "mine/train_labels.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    with pytest.raises(UserError, match=r"train_labels.npy was modified: .* -s fetch-data`"):
        preprocess(config)
    fetch_data(config)
    preprocess(config)


def test_the_digest_of_a_folder_is_of_its_names_and_contents(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_text("1")
    before = digest_files(tmp_path)
    (tmp_path / "a/x").rename(tmp_path / "a/y")
    assert digest_files(tmp_path) != before
    (tmp_path / "a/y").rename(tmp_path / "a/x")
    assert digest_files(tmp_path) == before
    (tmp_path / "a/x").write_text("2")
    assert digest_files(tmp_path) != before
