"""Splits of a data set: held-out images, arrays on disk, their digests."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, Integer, UInt8

from actlab.data.datasets import OwnFiles, RawSplit, load_definition, load_raw
from actlab.errors import UserError


class Split(NamedTuple):
    """Images, flattened and scaled to 0..1 or (where stated) as uint8 from 0 to 255; labels.

    In a regression, `labels` are the targets, float32 (image, output).
    """

    images: Float32[np.ndarray, "image pixel"] | UInt8[np.ndarray, "image pixel"]
    labels: Int32[np.ndarray, "image"] | Float32[np.ndarray, "image output"]


class Splits(NamedTuple):
    """Training, validation (None: nothing is held out) and test split of a data set.

    `classes` are the names of its labels, `shape` is that of an image before it is flattened.
    """

    train: Split
    validation: Split | None
    test: Split
    classes: tuple[str, ...]
    shape: tuple[int, ...]

    def items(self) -> list[tuple[str, Split]]:
        """List the names and splits, leaving out a validation split that there is not."""
        named = (("train", self.train), ("validation", self.validation), ("test", self.test))
        return [(name, split) for name, split in named if split is not None]


#: The files of `save_processed`.
FILES = (
    "data.json",
    *(f"{split}_{kind}.npy" for split in ("train", "validation", "test") for kind in Split._fields),
)


def scale_images(images: UInt8[np.ndarray, "image ..."]) -> Float32[np.ndarray, "image pixel"]:
    """Flatten each image and scale it from 0..255 to 0..1.

    >>> scale_images(np.array([[[0, 51], [204, 255]]], np.uint8))
    array([[0. , 0.2, 0.8, 1. ]], dtype=float32)
    """
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def to_uint8(
    images: Float32[np.ndarray, "image pixel"] | UInt8[np.ndarray, "image pixel"],
) -> UInt8[np.ndarray, "image pixel"] | None:
    """Return the uint8 levels of scaled images; None if they are not multiples of 1/255.

    >>> to_uint8(np.array([[0, 0.2, 0.8, 1]], np.float32))
    array([[  0,  51, 204, 255]], dtype=uint8)
    """
    if images.dtype == np.uint8:
        return images
    levels = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), 1000):  # small enough for the processor's cache
        chunk = images[start : start + 1000]
        with np.errstate(invalid="ignore"):
            levels[start : start + 1000] = np.rint(chunk * np.float32(255))
        if not np.array_equal(scale_images(levels[start : start + 1000]), chunk):
            return None
    return levels


def as_scaled(images: Any) -> Float32[np.ndarray, "image pixel"]:
    """Return images (n, pixels) as float32, scaled if they are uint8."""
    if images.dtype == np.uint8:
        return scale_images(images)
    return images.astype(np.float32, copy=False)


def first_images(split: Split, count: int) -> Split:
    """Return the first `count` images of a split, scaled, and their labels."""
    return Split(as_scaled(split.images[:count]), split.labels[:count])


def draw_held_out(
    labels: Integer[np.ndarray, "image"], size: int, seed: int
) -> Bool[np.ndarray, "image"]:
    """Draw the images to hold out, stratified by class.

    Returns
    -------
    mask
        True for `size` images. Each class has its share, rounded by largest remainder; ties go to
        the lower label.

    >>> labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    >>> np.bincount(labels[draw_held_out(labels, 5, seed=0)])
    array([2, 3])
    """
    classes, counts = np.unique(labels, return_counts=True)
    shares, remainders = np.divmod(counts * size, max(len(labels), 1))
    left = size - shares.sum()
    shares[np.argsort(-remainders, kind="stable")[:left]] += 1
    generator = np.random.default_rng(seed)
    mask = np.zeros(len(labels), bool)
    for label, share in zip(classes, shares, strict=True):
        mask[generator.permutation(np.flatnonzero(labels == label))[:share]] = True
    return mask


def build_splits(train: RawSplit, test: RawSplit, classes: tuple[str, ...]) -> Splits:
    """Scale the images of `load_raw`."""
    trained, tested = (
        Split(as_scaled(images.reshape(len(images), -1)), labels.astype(np.int32))
        for images, labels in (train, test)
    )
    return Splits(trained, None, tested, classes, train.images.shape[1:])


def load_whole(name: str, folder: Path) -> Splits:
    """Load the raw files of a data set in its folder, with nothing held out."""
    if isinstance(load_definition(name), OwnFiles):
        return load_own(folder)
    return build_splits(*load_raw(name, folder))


def read_digests(folder: Path) -> dict[str, str]:
    """Read the SHA-256 of each array that `own.convert` wrote.

    Those of data/processed are the ones of the arrays that it was made of.
    """
    try:
        described, digests = _read_description(folder)
    except _DamagedError as error:
        raise UserError(f"{error}: run `dvc repro preprocess`") from None
    return described.get("files", digests)


def load_own(folder: Path) -> Splits:
    """Load what `own.convert` wrote, scaled, and verify it."""
    return load_processed(folder, stage="fetch-data")


def count_classes(splits: Splits) -> list[tuple[str, int, int]]:
    """Count the images per label and split: rows of `tables.CLASS_COUNTS`.

    Where targets are numbers, a split is one row, of label -1.
    """
    rows = []
    for name, split in splits.items():
        if split.labels.ndim == 1:
            counts = np.bincount(split.labels, minlength=len(splits.classes))
            rows += [(name, label, int(count)) for label, count in enumerate(counts)]
        else:
            rows.append((name, -1, len(split.labels)))
    return rows


def save_processed(splits: Splits, folder: Path, made_with: Mapping[str, Any]) -> None:
    """Write splits as `<split>_images.npy` and `<split>_labels.npy`, and `data.json`.

    Scaled images are written as uint8 if possible. `data.json` holds `made_with`, the values that
    the splits depend on, the classes, the shape of an image, and the SHA-256 of each file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, split in splits.items():
        levels = to_uint8(split.images)
        images = split.images if levels is None else levels
        for kind, array in Split(images, split.labels)._asdict().items():
            path = folder / f"{name}_{kind}.npy"
            np.save(path, array)
            digests[path.name] = _digest(path)
    about = {"classes": splits.classes, "shape": splits.shape}
    described = {**made_with, **about, "sha256": digests}
    (folder / "data.json").write_text(json.dumps(described, indent=2) + "\n")


def load_processed(
    folder: Path,
    made_with: Mapping[str, Any] | None = None,
    *,
    is_scaled: bool = True,
    stage: str = "preprocess",
) -> Splits:
    """Load what `save_processed` wrote, and verify it.

    Parameters
    ----------
    folder
        Where the files are.
    made_with
        Values that the splits must have been made with; None accepts any.
    is_scaled
        Whether to scale images; otherwise they are as in the files, uint8 or float32.
    stage
        The stage of the pipeline that writes the folder, for errors.

    Raises
    ------
    UserError
        When a file is missing, unreadable or modified, or the splits were made with other values.
    """
    try:
        return _load_arrays(folder, made_with or {}, is_scaled)
    except _MissingError as error:
        raise UserError(f"{error}: run `dvc repro {stage}` to make it") from None
    except _DamagedError as error:
        # DVC considers a file of the same size and time unchanged: it must be forced.
        again = f"run `dvc repro -f -s {stage}` to make it again"
        raise UserError(f"{error}: {again}") from None


def _load_arrays(folder: Path, made_with: Mapping[str, Any], is_scaled: bool) -> Splits:
    described, digests = _read_description(folder)
    for key, value in made_with.items():
        if described.get(key) != value:
            raise UserError(
                f"{folder} was made with data.{key}={described.get(key)}, asked for is"
                f" data.{key}={value}: set it in params.yaml and run `dvc repro preprocess`"
            )
    for path in sorted(folder.glob("*.npy")):
        if path.name not in digests:
            raise _DamagedError(f"{path} is not one of the files in {folder / 'data.json'}")
    splits = {
        split: Split(*(_load_array(folder, f"{split}_{kind}.npy", digests) for kind in _KINDS))
        for split in ("train", "validation", "test")
        if split != "validation" or any(name.startswith("validation_") for name in digests)
    }
    if is_scaled:
        splits = {name: first_images(split, len(split.labels)) for name, split in splits.items()}
    return Splits(
        splits["train"],
        splits.get("validation"),
        splits["test"],
        tuple(described["classes"]),
        tuple(described["shape"]),
    )


_KINDS = Split._fields


class _DamagedError(Exception):
    """What is wrong with a folder of arrays."""


class _MissingError(_DamagedError):
    """Which file a folder of arrays lacks."""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_description(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what data.json holds, and the digests in it."""
    path = folder / "data.json"
    if not path.is_file():
        raise _MissingError(f"{path} is missing")
    try:
        described = json.loads(path.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise _DamagedError(f"{path} cannot be read") from error
    if not isinstance(described, dict):
        raise _DamagedError(f"{path} does not hold keys")
    for key, kind in (("sha256", dict), ("classes", list), ("shape", list)):
        if not isinstance(described.get(key), kind):
            raise _DamagedError(f"{path} has no {key}")
    return described, described["sha256"]


def _load_array(folder: Path, name: str, digests: Mapping[str, Any]) -> np.ndarray:
    path = folder / name
    if name not in digests:
        raise _DamagedError(f"{folder / 'data.json'} has no SHA-256 of {name}")
    if not path.is_file():
        raise _MissingError(f"{path} is missing")
    try:
        digest = _digest(path)
    except OSError as error:
        raise _DamagedError(f"{path} cannot be read ({error.strerror})") from error
    if digest != digests[name]:
        raise _DamagedError(
            f"{path} was modified: its SHA-256 begins with {digest[:12]} instead"
            f" of {str(digests[name])[:12]}"
        )
    return np.load(path, allow_pickle=False)
