"""The data sets and the digests of their files; raw idx bytes -> arrays.

Wherever a raw file comes from (`download`), the SHA-256 of its uncompressed bytes decides.
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
    """One idx file of unsigned bytes: the shape of its array, the SHA-256 of its bytes."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Number of bytes: a magic number, the length of each axis, the values."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)


@dataclass(frozen=True)
class DataSet:
    """A data set of labelled images: its title in a sentence, class names, four idx files."""

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
        """Number of training images."""
        return self.train_labels.shape[0]

    @property
    def pixels(self) -> int:
        """Number of pixels of an image, the inputs of a network."""
        return math.prod(self.train_images.shape[1:])


def _idx_files(*digests: str) -> list[RawFile]:
    """List the files of a data set in MNIST's format."""
    shapes = {
        "train-images-idx3-ubyte": (60000, 28, 28),
        "train-labels-idx1-ubyte": (60000,),
        "t10k-images-idx3-ubyte": (10000, 28, 28),
        "t10k-labels-idx1-ubyte": (10000,),
    }
    return [
        RawFile(name, shape, digest)
        for (name, shape), digest in zip(shapes.items(), digests, strict=True)
    ]


#: The allowed values of `data.name`.
DATASETS: dict[str, DataSet] = {
    "mnist": DataSet(
        "MNIST",
        tuple("0123456789"),
        *_idx_files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    # Xiao, Rasul & Vollgraf 2017: https://arxiv.org/abs/1708.07747
    "fashion_mnist": DataSet(
        "Fashion-MNIST",
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        *_idx_files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


class RawSplit(NamedTuple):
    """Images and labels as in the raw files."""

    images: UInt8[np.ndarray, "image row column"]
    labels: UInt8[np.ndarray, "image"]


def explain_mismatch(content: bytes, name: str, file: RawFile) -> str | None:
    """Explain why bytes are not a file of the data set `name`; None if their digest is right.

    >>> file = DATASETS["mnist"].test_labels
    >>> explain_mismatch(b"<!DOCTYPE html>", "mnist", file)
    "is not a valid idx file: it begins with b'<!DOCTYP'"
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest == file.sha256:
        return None
    for other, dataset in DATASETS.items():
        for known in dataset.files:
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
    """Return the array in an idx file of unsigned bytes; `ValueError` if it is not valid.

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
    """Load a data set's training and test split from its four files, and verify their digests."""
    dataset = DATASETS[name]
    arrays = {}
    for file in dataset.files:
        path = folder / file.name
        if not path.is_file():
            raise UserError(f"{path} is missing: run `dvc repro fetch-data` to fetch it")
        fault, content = _read_raw(path, name, file)
        if fault is not None:
            # DVC considers a file of the same size and time unchanged: it must be forced.
            raise UserError(f"{path} {fault}: run `dvc repro -f -s fetch-data` to fetch it again")
        arrays[file] = parse_idx(content)
    return (
        RawSplit(arrays[dataset.train_images], arrays[dataset.train_labels]),
        RawSplit(arrays[dataset.test_images], arrays[dataset.test_labels]),
    )


def _read_raw(path: Path, name: str, file: RawFile) -> tuple[str | None, bytes]:
    """Return what is wrong with a file, if anything, and its bytes."""
    largest = max(known.size for dataset in DATASETS.values() for known in dataset.files)
    try:
        with path.open("rb") as stream:
            content = stream.read(largest + 1)
    except OSError as error:
        return f"cannot be read ({error.strerror})", b""
    if len(content) > largest:
        return f"has more than {largest} bytes instead of {file.size}", b""
    return explain_mismatch(content, name, file), content
