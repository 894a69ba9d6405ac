"""Splits of a data set: held-out images, arrays on the disk, their digests."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, Integer, UInt8

from actlab.data.datasets import RawSplit
from actlab.errors import UserError


class Split(NamedTuple):
    """Images, flattened and scaled to 0..1, and their labels.

    Where a function says so, images may be their levels of grey instead, uint8 from 0 to 255.
    """

    images: Float32[np.ndarray, "image pixel"] | UInt8[np.ndarray, "image pixel"]
    labels: Int32[np.ndarray, "image"]


class Splits(NamedTuple):
    """What a network trains on, is selected on (None: nothing is held out), is tested on."""

    train: Split
    validation: Split | None
    test: Split


def scale_images(images: UInt8[np.ndarray, "image ..."]) -> Float32[np.ndarray, "image pixel"]:
    """Flatten each image, row after row, and scale levels of 0..255 to 0..1.

    >>> scale_images(np.array([[[0, 51], [204, 255]]], np.uint8))
    array([[0. , 0.2, 0.8, 1. ]], dtype=float32)
    """
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def to_uint8(
    images: Float32[np.ndarray, "image pixel"] | UInt8[np.ndarray, "image pixel"],
) -> UInt8[np.ndarray, "image pixel"] | None:
    """Give the levels of grey of scaled images; None where the images are others.

    What is uint8 already is given back as it is.

    >>> to_uint8(np.array([[0, 0.2, 0.8, 1]], np.float32))
    array([[  0,  51, 204, 255]], dtype=uint8)
    """
    if images.dtype == np.uint8:
        return images
    levels = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), 1000):  # which fit the processor's cache
        some = images[start : start + 1000]
        with np.errstate(invalid="ignore"):
            levels[start : start + 1000] = np.rint(some * np.float32(255))
        if not np.array_equal(scale_images(levels[start : start + 1000]), some):
            return None
    return levels


def as_scaled(images: Any) -> Float32[np.ndarray, "image pixel"]:
    """Give images (n, pixels) as numbers, scaled where they are levels of grey."""
    if images.dtype == np.uint8:
        return scale_images(images)
    return images.astype(np.float32, copy=False)


def first_images(split: Split, count: int) -> Split:
    """Give the first images of a split, scaled, and their labels; its images may be levels."""
    return Split(as_scaled(split.images[:count]), split.labels[:count])


def draw_held_out(
    labels: Integer[np.ndarray, "image"], size: int, seed: int
) -> Bool[np.ndarray, "image"]:
    """Draw the images to hold out: of each class its share, by largest remainder.

    Parameters
    ----------
    labels
        The label of each image.
    size
        How many images to hold out, 0 to all.
    seed
        The same seed draws the same images.

    Returns
    -------
    mask
        True for `size` images. A class with a fraction p of the images has p * size of
        them, rounded down or up; remainders that tie are given to the lower label.

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


def build_splits(
    train: RawSplit, test: RawSplit, validation_size: int = 0, split_seed: int = 0
) -> Splits:
    """Scale the images, and hold some of the training images out.

    Parameters
    ----------
    train, test
        From `load_raw`.
    validation_size
        How many training images to hold out, each class by its share; 0: none.
    split_seed
        Which ones. Those that stay keep their order, and so do those held out.
    """
    images, labels = scale_images(train.images), train.labels.astype(np.int32)
    tested = Split(scale_images(test.images), test.labels.astype(np.int32))
    if validation_size == 0:
        return Splits(Split(images, labels), None, tested)
    held_out = draw_held_out(labels, validation_size, split_seed)
    return Splits(
        Split(images[~held_out], labels[~held_out]),
        Split(images[held_out], labels[held_out]),
        tested,
    )


def count_classes(splits: Splits, classes: int) -> list[tuple[str, int, int]]:
    """Count the images of each label in each split: rows of `tables.CLASS_COUNTS`."""
    return [
        (name, label, int(images))
        for name, split in splits._asdict().items()
        if split is not None
        for label, images in enumerate(np.bincount(split.labels, minlength=classes))
    ]


def save_processed(splits: Splits, folder: Path, made_with: Mapping[str, Any]) -> None:
    """Write splits into a folder, and make it.

    Parameters
    ----------
    splits
        Become `<split>_images.npy` and `<split>_labels.npy`. Images that are levels of grey,
        scaled, are written as the levels: a quarter of the bytes.
    folder
        Need not be there.
    made_with
        The values that the splits depend on: `data.json`, for `load_processed` to compare. The
        SHA-256 of each file stands beside them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, split in splits._asdict().items():
        if split is not None:
            levels = to_uint8(split.images)
            images = split.images if levels is None else levels
            for kind, array in Split(images, split.labels)._asdict().items():
                path = folder / f"{name}_{kind}.npy"
                np.save(path, array)
                digests[path.name] = _digest(path)
    described = {**made_with, "sha256": digests}
    (folder / "data.json").write_text(json.dumps(described, indent=2) + "\n")


def load_processed(
    folder: Path, made_with: Mapping[str, Any] | None = None, *, is_scaled: bool = True
) -> Splits:
    """Read what `save_processed` wrote; the validation split is None where it wrote none.

    Parameters
    ----------
    folder
        Holds the files.
    made_with
        What the splits have to have been made with; None takes them as they are.
    is_scaled
        Whether images are scaled. Otherwise they are what the files hold: levels of grey, or
        numbers.

    Raises
    ------
    UserError
        When a file is missing, unreadable, or not the one that was written, or the splits were
        made with other values.
    """
    described, digests = _read_description(folder)
    for key, value in (made_with or {}).items():
        if described.get(key) != value:
            raise UserError(
                f"{folder} was made with data.{key}={described.get(key)}, asked for is"
                f" data.{key}={value}: set it in params.yaml and run `dvc repro preprocess`"
            )
    for path in sorted(folder.glob("*.npy")):
        if path.name not in digests:
            raise UserError(f"{path} is none of the files that {folder} was made with{_AGAIN}")
    splits = {
        split: Split(*(_load_array(folder, f"{split}_{kind}.npy", digests) for kind in _KINDS))
        for split in Splits._fields
        if split != "validation" or any(name.startswith("validation_") for name in digests)
    }
    if is_scaled:
        splits = {name: first_images(split, len(split.labels)) for name, split in splits.items()}
    return Splits(splits["train"], splits.get("validation"), splits["test"])


_KINDS = Split._fields

# DVC takes what kept its size and time for unchanged, so that it has to be forced.
_AGAIN = ": run `dvc repro -f -s preprocess` to make it again"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_description(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what data.json says, and the digests in it."""
    path = folder / "data.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro preprocess` to make it")
    try:
        described = json.loads(path.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} cannot be read{_AGAIN}") from error
    digests = described.get("sha256") if isinstance(described, dict) else None
    if not isinstance(digests, dict):
        raise UserError(f"{path} says no SHA-256 of the files beside it{_AGAIN}")
    return described, digests


def _load_array(folder: Path, name: str, digests: Mapping[str, Any]) -> np.ndarray:
    path = folder / name
    if name not in digests:
        raise UserError(f"{folder / 'data.json'} says no SHA-256 of {name}{_AGAIN}")
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro preprocess` to make it")
    try:
        digest = _digest(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}){_AGAIN}") from error
    if digest != digests[name]:
        raise UserError(
            f"{path} is not the file that was made: its SHA-256 begins with {digest[:12]} instead"
            f" of {str(digests[name])[:12]}{_AGAIN}"
        )
    return np.load(path, allow_pickle=False)
