"""The data sets: what their files hold, by digest; raw idx bytes -> arrays -> splits.

`download` has the sources of the raw files. Whatever the source, a file is right when the SHA-256
of its uncompressed bytes is.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from actlab.errors import UserError


@dataclass(frozen=True)
class RawFile:
    """One idx file of unsigned bytes.

    Attributes
    ----------
    name
        What the file is called, uncompressed.
    shape
        Of the array that it holds.
    sha256
        Of its uncompressed bytes.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Its uncompressed bytes: a magic number, a number for each axis, the values."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)


@dataclass(frozen=True)
class DataSet:
    """A data set of labelled images, as four idx files.

    Attributes
    ----------
    title
        The name as it is written in a sentence.
    classes
        The name of each label, in the order of the labels.
    train_images, train_labels, test_images, test_labels
        The files.
    """

    title: str
    classes: tuple[str, ...]
    train_images: RawFile
    train_labels: RawFile
    test_images: RawFile
    test_labels: RawFile

    @property
    def files(self) -> tuple[RawFile, RawFile, RawFile, RawFile]:
        """The four files."""
        return self.train_images, self.train_labels, self.test_images, self.test_labels

    @property
    def training_images(self) -> int:
        """How many labelled images there are to train on."""
        return self.train_labels.shape[0]

    @property
    def pixels(self) -> int:
        """How many numbers an image is: what a network takes."""
        return math.prod(self.train_images.shape[1:])


#: Every data set that a configuration may name as `data.name`.
DATASETS: dict[str, DataSet] = {
    "mnist": DataSet(
        title="MNIST",
        classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
        train_images=RawFile(
            "train-images-idx3-ubyte",
            (60000, 28, 28),
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        train_labels=RawFile(
            "train-labels-idx1-ubyte",
            (60000,),
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        test_images=RawFile(
            "t10k-images-idx3-ubyte",
            (10000, 28, 28),
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        test_labels=RawFile(
            "t10k-labels-idx1-ubyte",
            (10000,),
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    # Xiao, Rasul & Vollgraf 2017: https://arxiv.org/abs/1708.07747
    "fashion_mnist": DataSet(
        title="Fashion-MNIST",
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        train_images=RawFile(
            "train-images-idx3-ubyte",
            (60000, 28, 28),
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        train_labels=RawFile(
            "train-labels-idx1-ubyte",
            (60000,),
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        test_images=RawFile(
            "t10k-images-idx3-ubyte",
            (10000, 28, 28),
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        test_labels=RawFile(
            "t10k-labels-idx1-ubyte",
            (10000,),
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


class RawSplit(NamedTuple):
    """Images and labels as the files hold them."""

    images: UInt8[np.ndarray, "image row column"]
    labels: UInt8[np.ndarray, "image"]


def explain_mismatch(content: bytes, name: str, file: RawFile) -> str | None:
    """Say what is wrong with a file's uncompressed bytes; None when their digest is right.

    Parameters
    ----------
    content
        The bytes.
    name
        The data set that they should be of, in `DATASETS`.
    file
        The file that they should be.

    Examples
    --------
    >>> file = DATASETS["mnist"].test_labels
    >>> explain_mismatch(b"<!DOCTYPE html>", "mnist", file)
    "is not a valid idx file: it begins with b'<!DOCTYP'"
    >>> explain_mismatch(bytes([0, 0, 8, 1, 0, 0, 0, 1, 5]), "mnist", file)
    'has 9 bytes instead of 10008'
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest == file.sha256:
        return None
    for other, dataset in DATASETS.items():
        for known in dataset.files:
            if digest == known.sha256 and known.name == file.name:
                return f"is {other}'s file, not {name}'s"
            if digest == known.sha256:
                return f"is {other}'s {known.name}, not {name}'s {file.name}"
    if not content:
        return "is empty"
    if not content.startswith(_MAGIC):
        return f"is not a valid idx file: it begins with {content[:8]!r}"
    if len(content) != file.size:
        return f"has {len(content)} bytes instead of {file.size}"
    return f"is corrupted: its SHA-256 begins with {digest[:12]} instead of {file.sha256[:12]}"


# Two zero bytes, then the type of the values: 8 is the unsigned byte.
_MAGIC = bytes([0, 0, 8])


def parse_idx(content: bytes) -> UInt8[np.ndarray, "..."]:
    """Give the array that an idx file of unsigned bytes holds.

    Raises
    ------
    ValueError
        When the bytes are not such a file, or fewer or more than its shape says.

    Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits", section
    "the IDX file format".

    >>> parse_idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    array([[7, 8, 9]], dtype=uint8)
    """
    if not content.startswith(_MAGIC) or len(content) < 4:
        raise ValueError(f"no idx file of unsigned bytes: it begins with {content[:4]!r}")
    axes = content[3]
    header = 4 + 4 * axes
    if len(content) < header:
        raise ValueError(f"the idx file ends within its header of {header} bytes")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", count=axes, offset=4))
    if len(content) - header != math.prod(shape):
        raise ValueError(
            f"the idx file holds {len(content) - header} values,"
            f" its shape {shape} has {math.prod(shape)}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def load_raw(name: str, folder: Path) -> tuple[RawSplit, RawSplit]:
    """Read a data set's training and test split from its four files.

    Raises
    ------
    UserError
        When a file is missing or unreadable, or its digest is not the data set's.
    """
    dataset = DATASETS[name]
    arrays = {}
    for file in dataset.files:
        path = folder / file.name
        if not path.is_file():
            raise UserError(f"{path} is missing: run `dvc repro fetch-data` to fetch it")
        fault, content = _read_raw(path, name, file)
        if fault is not None:
            # DVC takes what kept its size and time for unchanged, so that it has to be forced.
            raise UserError(f"{path} {fault}: run `dvc repro -f -s fetch-data` to fetch it again")
        arrays[file] = parse_idx(content)
    return (
        RawSplit(arrays[dataset.train_images], arrays[dataset.train_labels]),
        RawSplit(arrays[dataset.test_images], arrays[dataset.test_labels]),
    )


def _read_raw(path: Path, name: str, file: RawFile) -> tuple[str | None, bytes]:
    """Give what is wrong with a file, and its bytes, no more than the largest known file has."""
    largest = max(known.size for dataset in DATASETS.values() for known in dataset.files)
    try:
        with path.open("rb") as stream:
            content = stream.read(largest + 1)
    except OSError as error:
        return f"cannot be read ({error.strerror})", b""
    if len(content) > largest:
        return f"has more than {largest} bytes instead of {file.size}", b""
    return explain_mismatch(content, name, file), content
