"""Data sets as arrays."""

import os
from dataclasses import dataclass
from pathlib import Path

from actlab.data import download
from actlab.data.config import DataConfig
from actlab.data.datasets import DATASETS, RawSplit, explain_mismatch, parse_idx
from actlab.data.splits import Split, build_splits
from actlab.errors import UserError


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """A data set: the splits on which networks are trained, validated and tested.

    Attributes
    ----------
    title, classes
        Its name in prose, and that of each label.
    train, validation, test
        `images`, float32 (n, pixels) from 0 to 1, and `labels`, int32 (n,). `validation` are the
        images held out; None where none are.
    """

    title: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split

    def __repr__(self) -> str:
        held_out = f"{len(self.validation.labels):,} held out, " if self.validation else ""
        return (
            f"{self.title}: {len(self.train.labels):,} images to train on, {held_out}"
            f"{len(self.test.labels):,} to test on, {self.train.images.shape[1]} pixels each"
        )


def load_data(
    name: str = "mnist",
    folder: str | Path | None = None,
    *,
    validation_size: int = 0,
    split_seed: int = 0,
) -> Data:
    """Load a data set, downloading it the first time.

    The SHA-256 digests of the four files are verified wherever they come from.

    Parameters
    ----------
    name
        mnist or fashion_mnist.
    folder
        Folder of the four files, plain or gzipped; if it is empty or missing, they are downloaded
        to it. By default the folder in the environment variable `ACTLAB_DATA`, else one in the
        user's cache.
    validation_size, split_seed
        Number of training images held out, stratified by class, and the seed of their choice.

    Raises
    ------
    UserError
        If the data set is unknown, the folder holds something else, or no source works.
    """
    chosen = DataConfig(name, validation_size, split_seed)
    place = _data_folder(name) if folder is None else Path(folder).expanduser()
    if not place.is_dir() or not any(place.iterdir()):
        download.fetch_dataset(
            name, place, advice='Name a folder that has the files: load_data(..., folder="...")'
        )
    splits = build_splits(*_read_raw(name, place), chosen.validation_size, chosen.split_seed)
    dataset = DATASETS[name]
    return Data(dataset.title, dataset.classes, *splits)


def _data_folder(name: str) -> Path:
    if named := os.environ.get("ACTLAB_DATA"):
        return Path(named).expanduser()
    import pooch  # a third of a second

    return Path(pooch.os_cache("actlab")) / name


def _read_raw(name: str, folder: Path) -> tuple[RawSplit, RawSplit]:
    dataset, arrays = DATASETS[name], {}
    try:
        for file, content in download.Folder(folder).read(dataset.files):
            if fault := explain_mismatch(content, name, file):
                raise download.SourceError(f"{file.name} {fault}")
            arrays[file] = parse_idx(content)
    except download.SourceError as error:
        raise UserError(
            f"the folder {folder} does not hold {dataset.title}: {error}; name one that has its"
            " four files, or an empty one to download them to"
        ) from error
    return (
        RawSplit(arrays[dataset.train_images], arrays[dataset.train_labels]),
        RawSplit(arrays[dataset.test_images], arrays[dataset.test_labels]),
    )
