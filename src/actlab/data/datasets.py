"""The data sets: their definitions in conf/data/, digests, raw idx bytes -> arrays.

Wherever a raw file comes from (`download`), the SHA-256 of its uncompressed bytes decides.
"""

import hashlib
import math
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from pydantic import BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass

from actlab.engine import presets
from actlab.engine.validation import Count, Fraction, only, validate
from actlab.errors import UserError

#: A SHA-256 in hexadecimal.
Digest = Annotated[str, only(re.compile("[0-9a-f]{64}").fullmatch, "64 hexadecimal digits")]

#: The name of each label, from 0 on.
Classes = Annotated[
    tuple[Annotated[str, BeforeValidator(lambda x: str(x) if type(x) is int else x)], ...],
    only(lambda names: 1 < len(names) == len(set(names)), "two names or more, without repetitions"),
]

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class RawFile:
    """One idx file of unsigned bytes: the shape of its array, the SHA-256 of its bytes."""

    name: str
    shape: tuple[Count, ...]
    sha256: Digest

    @property
    def size(self) -> int:
        """Number of bytes: a magic number, the length of each axis, the values."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)


@dataclass(frozen=True, config=_STRICT)
class DataSet:
    """A published data set of labelled images, such as `conf/data/mnist.yaml`.

    Attributes
    ----------
    title, classes
        Its name in a sentence, and that of each label.
    train_images, train_labels, test_images, test_labels
        The four idx files.
    sources
        Where they may be had, see `download.list_sources`.
    """

    title: str
    classes: Classes
    train_images: RawFile
    train_labels: RawFile
    test_images: RawFile
    test_labels: RawFile
    sources: tuple[dict[str, str], ...] = ()

    @property
    def files(self) -> tuple[RawFile, RawFile, RawFile, RawFile]:
        """The four files."""
        return self.train_images, self.train_labels, self.test_images, self.test_labels

    @property
    def training_images(self) -> int:
        """Number of training images."""
        return self.train_labels.shape[0]


@dataclass(frozen=True, config=_STRICT)
class OwnFiles:
    """A data set in files of the user's own, see `own`.

    Attributes
    ----------
    title
        Its name in a sentence.
    path
        A file (.npz, .csv, .csv.gz) or a folder (of idx files, or of images by class): absolute,
        from ~ on, or relative to the root of the repository.
    target
        The column of a CSV file that holds the labels.
    test_size
        The fraction of the images that is tested, where the files name no test split.
    color
        Whether images are read as red, green and blue; otherwise as grey levels.
    regression
        Whether the targets are numbers to predict, and no labels.
    classes
        The names of the labels, or of the outputs; by default the labels themselves.
    sha256
        The digest of the file or folder, if it has to be verified.
    """

    title: str
    path: str
    target: str | None = None
    test_size: Fraction = 0.2
    color: bool = False
    regression: bool = False
    classes: Classes | None = None
    sha256: Digest | None = None


def load_definition(name: str) -> DataSet | OwnFiles:
    """Load the definition of a data set, `conf/data/<name>.yaml`.

    Raises
    ------
    UserError
        If there is no such file, or a key of it is missing, unknown or not valid.

    Examples
    --------
    >>> load_definition("fashion_mnist").title
    'Fashion-MNIST'
    """
    values: Any = presets.load_preset("data", name)
    if not isinstance(values, dict) or not {"path", "train_images"} & set(values):
        raise UserError(
            f"conf/data/{name}.yaml has neither path, of your own files, nor train_images, of a"
            " published data set"
        )
    try:
        return validate(OwnFiles if "path" in values else DataSet, values)
    except UserError as error:
        raise UserError(f"conf/data/{name}.yaml: {error}") from None


class RawSplit(NamedTuple):
    """Images and labels as in the raw files."""

    images: UInt8[np.ndarray, "image row column"]
    labels: UInt8[np.ndarray, "image"]


def list_files(name: str) -> tuple[RawFile, ...]:
    """List the idx files of a published data set; those of a user's own have none."""
    definition = load_definition(name)
    return definition.files if isinstance(definition, DataSet) else ()


def explain_mismatch(content: bytes, file: RawFile) -> str | None:
    """Explain why bytes are not those of a file; None if their digest is right.

    >>> explain_mismatch(b"<!DOCTYPE html>", list_files("mnist")[-1])
    "is not a valid idx file: it begins with b'<!DOCTYP'"
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest == file.sha256:
        return None
    if known := _find_known(digest):
        return f"is {known}"
    if not content:
        return "is empty"
    if not content.startswith(_MAGIC):
        return f"is not a valid idx file: it begins with {content[:8]!r}"
    if len(content) != file.size:
        return f"has {len(content)} bytes instead of {file.size}"
    return f"is corrupted: its SHA-256 begins with {digest[:12]} instead of {file.sha256[:12]}"


def _find_known(digest: str) -> str:
    """Name the file of a data set that has a digest; empty if there is none."""
    for name in presets.list_presets("data"):
        with suppress(UserError):  # a definition that is not valid
            for file in list_files(name):
                if file.sha256 == digest:
                    return f"{name}'s {file.name}"
    return ""


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


class Raw(NamedTuple):
    """The raw arrays of a data set, and the name of each label."""

    train: RawSplit
    test: RawSplit
    classes: tuple[str, ...]


def load_raw(name: str, folder: Path) -> Raw:
    """Load a published data set from its files in a folder, and verify their digests."""
    arrays = []
    for file in list_files(name):
        fault, content = read_raw(folder / file.name, file)
        if fault:
            # DVC considers a file of the same size and time unchanged: it must be forced.
            raise UserError(f"{fault}: run `dvc repro -f -s fetch-data` to fetch it again")
        arrays.append(parse_idx(content))
    return Raw(RawSplit(*arrays[:2]), RawSplit(*arrays[2:]), load_definition(name).classes or ())


def read_raw(path: Path, file: RawFile) -> tuple[str | None, bytes]:
    """Return what is wrong with a raw file, if anything, and its bytes."""
    if not path.is_file():
        return f"{path} is missing", b""
    try:
        with path.open("rb") as stream:
            content = stream.read(file.size + 1)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})", b""
    if len(content) > file.size:
        return f"{path} has more than {file.size} bytes", b""
    fault = explain_mismatch(content, file)
    return fault and f"{path} {fault}", content
