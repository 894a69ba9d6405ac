import hashlib
from pathlib import Path

import numpy as np
import pytest
from planted import configured

from actlab.data import download
from actlab.data.config import DataConfig
from actlab.data.datasets import DATASETS, DataSet, RawFile
from actlab.data.splits import load_processed
from actlab.errors import UserError
from actlab.stages.fetch_data import fetch_data
from actlab.stages.preprocess import preprocess

CLASSES = ("coat", "bag", "shoe")


def make_config(name, root, source=None):
    config = configured(root, data=DataConfig(name, validation_size=6, split_seed=0))
    config.paths.source = source
    return config


@pytest.mark.parametrize("source", [None, "", "mine"])
def test_the_configuration_says_what_is_fetched_whither(tmp_path, monkeypatch, capsys, source):
    asked = []

    def fetch_dataset(*arguments, say):
        asked.append(arguments)
        say("served")

    monkeypatch.setattr(download, "fetch_dataset", fetch_dataset)
    fetch_data(make_config("fashion_mnist", tmp_path, source))
    assert asked == [("fashion_mnist", tmp_path / "raw", Path("mine") if source else None)]
    assert capsys.readouterr().out == "served\n"


# Thirty training and six test images of three classes; each image has its place as value.
LABELS = np.tile(np.arange(3, dtype=np.uint8), 10)
IMAGES = np.broadcast_to(np.arange(30, dtype=np.uint8)[:, None, None], (30, 28, 28))
ARRAYS = {"ti": IMAGES, "tl": LABELS, "ei": IMAGES[:6], "el": LABELS[:6]}


@pytest.fixture
def config(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    raw.mkdir()
    files = []
    for name, array in ARRAYS.items():
        header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        (raw / name).write_bytes(header + array.tobytes())
        digest = hashlib.sha256(header + array.tobytes()).hexdigest()
        files.append(RawFile(name, array.shape, digest))
    monkeypatch.setitem(DATASETS, "tiny", DataSet("Tiny", CLASSES, *files))
    return make_config("tiny", tmp_path)


def test_preprocess_writes_splits_and_counts_classes(config, tmp_path, capsys):
    preprocess(config)
    splits = load_processed(tmp_path / "processed")
    assert splits.validation is not None
    assert splits.train.images.shape == (24, 784)
    assert splits.validation.images.shape == (6, 784)
    assert splits.test.images.max() == np.float32(5) / np.float32(255)
    assert capsys.readouterr().out.splitlines() == [
        "train: images (24, 784), of each class 8, 8, 8",
        "validation: images (6, 784), of each class 2, 2, 2",
        "test: images (6, 784), of each class 2, 2, 2",
    ]


def test_preprocess_gives_the_same_bytes_again(config, tmp_path):
    def digests():
        preprocess(config)
        return {
            path.relative_to(tmp_path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(tmp_path.rglob("*"))
            if path.is_file()
        }

    first = digests()
    assert len(first) == 4 + 7
    assert digests() == first


def test_no_validation_file_stays_when_nothing_is_held_out(config, tmp_path):
    preprocess(config)
    config.data.validation_size = 0
    preprocess(config)
    assert load_processed(tmp_path / "processed").validation is None


def test_preprocess_writes_nothing_of_a_damaged_file(config, tmp_path):
    (tmp_path / "raw" / "el").write_bytes(b"")
    with pytest.raises(UserError, match="el is empty: run `dvc repro -f -s fetch-data`"):
        preprocess(config)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
