import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import pytest
from filelock import FileLock
from planted import configured
from web import TINY, define, format_idx, plant_data

from actlab.data.config import DataConfig
from actlab.data.splits import load_processed
from actlab.engine import locks
from actlab.engine.files import this_machine
from actlab.errors import UserError
from actlab.stages.fetch_data import fetch_data
from actlab.stages.preprocess import preprocess

CLASSES = ("coat", "bag", "shoe")


def make_config(name, root, source=None):
    config = configured(root, data=DataConfig(name, validation_size=6, split_seed=0))
    config.paths.source = source
    return config


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with the files of two data sets that are planted, each in a folder within it."""
    folders = {}
    for name, change in (("tiny", lambda content: content), ("other", lambda x: x[:-1] + b"\1")):
        folders[name] = {file: change(content) for file, content in TINY.items()}
        (tmp_path / "mine" / name).mkdir(parents=True)
        for file, content in folders[name].items():
            (tmp_path / "mine" / name / file).write_bytes(content)
    titled = {name: define(name.title(), "ab", contents) for name, contents in folders.items()}
    plant_data(monkeypatch, **titled)
    return tmp_path / "mine"


def test_each_data_set_has_a_folder_of_its_own_and_is_fetched_once(tmp_path, mine, capsys):
    for name in ("tiny", "other", "tiny"):
        fetch_data(make_config(name, tmp_path, str(mine)))
    title, raw = f"four files from the folder {mine}, SHA-256 verified", tmp_path / "raw"
    assert capsys.readouterr().out.splitlines() == [
        f"Tiny: {title}",
        f"Other: {title}",
        f"{raw / 'tiny'}: there, SHA-256 verified",
    ]
    assert (raw / "tiny/t10k-labels-idx1-ubyte").read_bytes() == TINY["t10k-labels-idx1-ubyte"]


def test_a_label_without_a_class_is_one_line(tmp_path, monkeypatch):
    labels = TINY["train-labels-idx1-ubyte"]
    contents = {**TINY, "train-labels-idx1-ubyte": labels[:-1] + b"\2"}
    plant_data(monkeypatch, strange=define("Strange", "ab", contents))
    for file, content in contents.items():
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match="has the label 2: with 2 classes it has to be from 0 to 1"):
        fetch_data(make_config("strange", tmp_path, str(tmp_path)))


def test_a_damaged_file_is_fetched_again(tmp_path, mine, capsys):
    config = make_config("tiny", tmp_path, str(mine))
    fetch_data(config)
    path = tmp_path / "raw/tiny/t10k-labels-idx1-ubyte"
    path.write_bytes(b"")
    capsys.readouterr()
    fetch_data(config)
    assert capsys.readouterr().out.startswith(f"{path} is empty: fetching Tiny again\n")
    assert path.read_bytes() == TINY[path.name]


def test_who_comes_second_waits_and_uses_what_was_fetched(tmp_path, mine, monkeypatch):
    said: SimpleQueue[str] = SimpleQueue()
    monkeypatch.setattr(locks, "print", lambda line, flush: said.put(line), raising=False)
    (tmp_path / "raw").mkdir()
    lock = FileLock(tmp_path / "raw/.tiny.lock")
    lock.acquire()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(fetch_data, make_config("tiny", tmp_path, "nowhere"))
        assert said.get(timeout=30) == "Tiny: waiting for another process that fetches it"
        (mine / "tiny").rename(tmp_path / "raw/tiny")
        lock.release()
    waiting.result()


def test_what_a_kill_has_left_is_removed_whoever_left_it(tmp_path, mine):
    config = make_config("tiny", tmp_path, str(mine))
    for _ in range(2):  # when it is fetched, and when it is there
        for machine in (this_machine(), "elsewhere"):  # the number of a process that runs
            (tmp_path / f"raw/.tiny.{machine}.{os.getpid()}.x.partial/tiny").mkdir(parents=True)
        fetch_data(config)
        assert {path.name for path in (tmp_path / "raw").iterdir()} == {"tiny", ".tiny.lock"}


# Thirty training and six test images of three classes; each image has its place as value.
LABELS = np.tile(np.arange(3, dtype=np.uint8), 10)
IMAGES = np.broadcast_to(np.arange(30, dtype=np.uint8)[:, None, None], (30, 28, 28))
ARRAYS = {"ti": IMAGES, "tl": LABELS, "ei": IMAGES[:6], "el": LABELS[:6]}


@pytest.fixture
def config(tmp_path, monkeypatch):
    raw = tmp_path / "raw/tiny"
    raw.mkdir(parents=True)
    contents = {name: format_idx(array) for name, array in ARRAYS.items()}
    for name, content in contents.items():
        (raw / name).write_bytes(content)
    plant_data(monkeypatch, tiny=define("Tiny", CLASSES, contents))
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
    (tmp_path / "raw/tiny/el").write_bytes(b"")
    with pytest.raises(UserError, match="el is empty: run `dvc repro -f -s fetch-data`"):
        preprocess(config)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
