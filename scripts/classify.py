#!/usr/bin/env python
"""Ask a served model which digits are in pictures: `python scripts/classify.py *.png`.

Each picture is converted to MNIST's format: grey, white on black, the digit in a box of 20 x 20
pixels, its centre of mass in the middle of 28 x 28. A picture with a bright border is inverted.

The server is that of `make serve`. `--sample 5` writes five test images of MNIST as PNGs instead.
Nothing of actlab is imported: this is all that a client has to do.
"""

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

SIDE, BOX = 28, 20


class ClientError(Exception):
    """A user's error, in one line."""


def read_picture(path: Path) -> np.ndarray:
    """Read a picture as grey from 0 to 1, with a background where it is transparent."""
    try:
        with Image.open(path) as picture:
            if "A" in picture.getbands() or "transparency" in picture.info:
                whole = picture.convert("RGBA")
                ground = Image.new("RGBA", whole.size, _find_background(whole))
                picture = Image.alpha_composite(ground, whole)
            return np.asarray(picture.convert("L"), np.float32) / 255
    except FileNotFoundError as error:
        raise ClientError(f"{path} is not there") from error
    except UnidentifiedImageError as error:
        raise ClientError(f"{path} is no picture that Pillow can read") from error
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ClientError(f"{path} cannot be read: {error}") from error


def _find_background(picture: Image.Image) -> str:
    """Find the background that a transparent picture contrasts with."""
    grey, opaque = (np.asarray(picture.convert("LA"), float)[..., band] for band in (0, 1))
    ink = np.average(grey, weights=opaque) if opaque.any() else 255.0
    return "black" if ink > 127 else "white"


def to_mnist(picture: np.ndarray) -> np.ndarray:
    """Convert a picture to MNIST's format: (28, 28), white on black, centred by its mass.

    >>> to_mnist(np.pad(np.ones((40, 10), np.float32), 30)).round().sum(axis=0).nonzero()[0]
    array([12, 13, 14, 15, 16])
    """
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    if np.median(border) > 0.5:
        picture = 1 - picture
    picture = picture - np.median(picture.min(axis=0))  # a grey background becomes black
    picture = np.clip(picture / max(picture.max(), 1e-6), 0, 1)
    rows, columns = (np.flatnonzero((picture > 0.1).any(axis=axis)) for axis in (1, 0))
    if rows.size == 0 or picture.std() < 1e-3:
        raise ClientError("there is nothing in it")
    digit = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = BOX / max(digit.shape)
    size = [max(1, round(length * scale)) for length in reversed(digit.shape)]
    scaled = np.asarray(
        Image.fromarray(digit).resize((size[0], size[1]), Image.Resampling.BILINEAR)
    )
    return _centred(np.clip(scaled / scaled.max(), 0, 1))


def _centred(digit: np.ndarray) -> np.ndarray:
    """Place a digit with its centre of mass in the middle, as far as it has room."""
    weights = digit.sum()
    place = []
    for axis, length in enumerate(digit.shape):
        mass = (digit.sum(axis=1 - axis) * np.arange(length)).sum() / weights
        place.append(int(np.clip(round(SIDE / 2 - mass), 0, SIDE - length)))
    image = np.zeros((SIDE, SIDE), np.float32)
    image[place[0] : place[0] + digit.shape[0], place[1] : place[1] + digit.shape[1]] = digit
    return image


def read_digit(path: Path) -> np.ndarray:
    """Read a picture in MNIST's format."""
    try:
        return to_mnist(read_picture(path))
    except ClientError as error:
        text = str(error)
        raise ClientError(text if str(path) in text else f"{path}: {text}") from error


def ask(server: str, images: Sequence[np.ndarray], seconds: float = 60) -> np.ndarray:
    """Send images to the server; the result is probabilities, one row per image."""
    body = json.dumps({"inputs": [image.ravel().tolist() for image in images]}).encode()
    address = f"{server.rstrip('/')}/invocations"
    try:
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return np.asarray(json.load(answer)["predictions"], float)
    except urllib.error.HTTPError as error:
        raise ClientError(f"{server} refuses the images: {error.read()[:200].decode()}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ClientError(f"{server} does not answer ({reason}): `make serve` starts it") from error


def write_table(names: Sequence[str], probabilities: np.ndarray) -> str:
    """Write the label of each picture, its probability and the next two labels.

    >>> print(write_table(["a.png"], np.array([[0.2, 0.7, 0.1]])))
    picture  label  probability  next
    a.png    1      0.7000       0 (0.2000), 2 (0.1000)
    """
    rows = [("picture", "label", "probability", "next")]
    for name, row in zip(names, probabilities, strict=True):
        first, *others = np.argsort(row)[::-1][:3]
        following = ", ".join(f"{label} ({row[label]:.4f})" for label in others)
        rows.append((name, str(first), f"{row[first]:.4f}", following))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def write_sample(count: int, folder: Path, processed: Path) -> list[Path]:
    """Write the first test images as PNGs, named by their positions and labels."""
    try:
        images = np.load(processed / "test_images.npy", mmap_mode="r")[:count]
        labels = np.load(processed / "test_labels.npy")[:count]
        if images.dtype != np.uint8:
            raise ClientError(f"{processed} holds no levels of grey: run `dvc repro preprocess`")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClientError(f"{error.filename} is not there: run `dvc repro preprocess`") from error
    paths = []
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        paths.append(folder / f"test-{place}-is-{label}.png")
        Image.fromarray(image.reshape(SIDE, SIDE)).save(paths[-1])
    return paths


def main() -> None:
    """Read, send, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("--server", default="http://127.0.0.1:5001")
    parser.add_argument("--sample", type=int, metavar="N", help="write N test images, ask nothing")
    parser.add_argument("--folder", type=Path, default=Path("digits"), help="where to write them")
    parser.add_argument("--processed", type=Path, default=Path("data/processed"))
    given = parser.parse_args()
    try:
        if given.sample is not None:
            print(*write_sample(given.sample, given.folder, given.processed), sep="\n")
        elif given.pictures:
            images = [read_digit(path) for path in given.pictures]
            print(write_table([str(path) for path in given.pictures], ask(given.server, images)))
        else:
            parser.error("name the pictures, or --sample 5 to make some")
    except ClientError as error:
        sys.exit(f"classify: {error}")


if __name__ == "__main__":
    main()
