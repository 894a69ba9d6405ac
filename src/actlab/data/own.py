"""A user's own files -> arrays: .npz, .csv, idx files, a folder of images by class.

`conf/data/<name>.yaml` names them by `path`, see `datasets.OwnFiles`.
"""

import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from actlab.data.arrays import Part, split_arrays
from actlab.data.datasets import OwnFiles, parse_idx
from actlab.data.splits import FILES, Splits, load_own, save_processed
from actlab.engine import presets
from actlab.engine.files import atomic_write
from actlab.engine.fingerprint import digest_sources
from actlab.errors import UserError

#: The arrays of an .npz file, in lower case: images and labels, for training and for the test.
_KEYS = (("x_train", "y_train", "x_test", "y_test"), ("x_train", "y_train"), ("x", "y"))

#: The idx files, whose names end in the number of axes: `-idx3-ubyte` or `.idx3-ubyte`.
_IDX = tuple(f"{split}-{kind}" for split in ("train", "t10k") for kind in ("images", "labels"))

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def find_files(definition: OwnFiles) -> Path:
    """Return the path of a user's own files.

    In DVC's temporary experiments, which have no file that git and DVC do not track, it is relative
    to the main checkout, DVC_ROOT.
    """
    path = Path(definition.path).expanduser()
    root = presets.find_conf().parent
    if not (root / path).exists() and (checkout := os.environ.get("DVC_ROOT")):
        return Path(checkout, path)
    return root / path


def read_own(name: str, definition: OwnFiles) -> Splits:
    """Read a user's own files, convert and check them.

    Raises
    ------
    UserError
        One line that names the definition and what is wrong with the files.
    """
    path = find_files(definition)
    try:
        if not path.exists():
            raise UserError("there is no such file or folder")
        if definition.sha256 not in (None, digest := digest_files(path)):
            raise UserError(f"its SHA-256 is {digest}: sha256 is {definition.sha256}")
        return split_arrays(
            *_read(path, definition),
            definition.classes,
            definition.test_size,
            regression=definition.regression,
        )
    # What the readers of files raise; pandas' errors are ValueErrors, Pillow's OSErrors.
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = f"it cannot be read: {' '.join(str(error).split())[:200] or type(error).__name__}"
        raise UserError(f"conf/data/{name}.yaml, path {path}: {reason}") from error
    except UserError as error:
        raise UserError(f"conf/data/{name}.yaml, path {path}: {error}") from None


def digest_files(path: Path) -> str:
    """Compute the SHA-256 of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    names = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    parts = (f"{name}\0{digest_files(path / name)}\n" for name in names)
    return hashlib.sha256("".join(parts).encode()).hexdigest()


# --- The folder data/raw/<name>/ ------------------------------------------------------------


def convert(name: str, definition: OwnFiles, folder: Path) -> None:
    """Write a user's own files as arrays, with `data.json`, which has their digests."""
    splits = read_own(name, definition)
    with atomic_write(folder, replaces=FILES) as target:
        save_processed(splits, target, _made_with(definition))


def is_converted(definition: OwnFiles, folder: Path) -> bool:
    """Return whether a folder has what `convert` would write.

    Where the files themselves are missing, as in a clone that has pulled the folder, it is taken
    for right if the definition is the same.
    """
    try:
        load_own(folder)
        described = json.loads((folder / "data.json").read_text())
    except (UserError, OSError, ValueError):
        return False
    if definition.sha256 not in (None, described.get("source")):
        return False
    expected = _made_with(definition)
    return {key: described.get(key) for key in expected} == expected


def _made_with(definition: OwnFiles) -> dict[str, Any]:
    """Return what the arrays depend on, as JSON gives it back."""
    code = digest_sources(Path(__file__).parent, ["arrays.py", "own.py"])
    options = asdict(definition)
    for key in ("title", "path", "sha256"):
        del options[key]
    values = {"options": json.loads(json.dumps(options)), "code": code}
    path = find_files(definition)
    return values | ({"source": digest_files(path)} if path.exists() else {})


# --- Formats --------------------------------------------------------------------------------


def _read(path: Path, definition: OwnFiles) -> tuple[Part, Part | None]:
    """Read the training images and, if the files name them, the test images."""
    name = path.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        return _read_csv(path, definition.target), None
    if definition.target is not None:
        raise UserError("target is for a CSV file: leave it out")
    if name.endswith(".npz"):
        return _read_npz(path)
    if not path.is_dir():
        raise UserError(
            "it has to be an .npz, .csv or .csv.gz file, or a folder of idx files or of images by"
            " class"
        )
    return _read_idx(path) or _read_pictures(path, definition.color)


def _pair(parts: Sequence[tuple[str, Any]]) -> tuple[Part, Part | None]:
    """Pair images and labels, given as the names and arrays of one split or two."""
    names, arrays = zip(*parts, strict=True)
    train = Part(*arrays[:2], *names[:2])
    return train, Part(*arrays[2:], *names[2:]) if len(parts) > 2 else None


def _read_npz(path: Path) -> tuple[Part, Part | None]:
    # Opened here: NumPy leaves a file open that is not valid.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        names = {name.lower(): name for name in arrays.files}
        for keys in _KEYS:
            if set(keys) <= set(names):
                if unpaired := sorted({"x_test", "y_test"} & set(names) - set(keys)):
                    raise UserError(f"it has {unpaired[0]} alone: x_test and y_test go together")
                return _pair([(names[key], arrays[names[key]]) for key in keys])
    raise UserError(
        f"it has the arrays {', '.join(names.values()) or 'none'}: it has to have x_train, y_train,"
        " x_test and y_test, or X and y"
    )


def _read_csv(path: Path, target: str | None) -> Part:
    import pandas as pd

    table = pd.read_csv(path)
    if target not in table:
        raise UserError(
            f"target is {target}: it has to be one of the columns"
            f" {', '.join(map(str, table.columns[:20]))}"
        )
    if unnamed := [name for name in table.columns if str(name).startswith("Unnamed: ")]:
        raise UserError(
            f"column {list(table.columns).index(unnamed[0]) + 1} has no name: name it, or leave it"
            " out if it numbers the rows"
        )
    features = table.drop(columns=target)
    if features.empty:
        raise UserError(f"it has {len(table)} rows and {features.shape[1]} columns of features")
    return Part(features, table[target], "the features", f"the column {target}")


def _read_idx(path: Path) -> tuple[Part, Part | None] | None:
    """Read the idx files of a folder, if it has any."""
    present = {re.sub(r"[-.]idx\d-ubyte(\.gz)?$", "", file.name): file for file in path.iterdir()}
    if not set(present) & set(_IDX):
        return None
    wanted = _IDX if set(present) & set(_IDX[2:]) else _IDX[:2]
    for name in wanted:
        if name not in present:
            raise UserError(f"{name}-idx{1 if 'labels' in name else 3}-ubyte is missing")
    return _pair([(name, _parse(present[name])) for name in wanted])


def _parse(path: Path) -> np.ndarray:
    import gzip

    content = path.read_bytes()
    return parse_idx(gzip.decompress(content) if path.suffix == ".gz" else content)


def _read_pictures(path: Path, color: bool) -> tuple[Part, Part | None]:
    """Read `train/<class>/*.png` and `test/<class>/*.png`, or `<class>/*.png`."""
    train = path / "train" if (path / "train").is_dir() else path
    splits = [train]
    if train != path and (path / "test").is_dir():
        splits.append(path / "test")
    parts = []
    for split in splits:
        images, labels = [], []
        for label, file in _list_pictures(split):
            images.append(_open_picture(file, color))
            labels.append(label)
            if images[-1].shape != images[0].shape:
                raise UserError(
                    f"{file.relative_to(path)} has {images[-1].shape[:2]} pixels, the first image"
                    f" {images[0].shape[:2]}: it has to be the same"
                )
        if not images:
            raise UserError(
                f"{split.name} has no images in folders by class, such as {split.name}/cat/1.png"
            )
        parts += [(f"{split.name}/", np.stack(images)), (f"the folders in {split.name}/", labels)]
    return _pair(parts)


def _list_pictures(folder: Path) -> Iterator[tuple[str, Path]]:
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        for file in sorted(group.iterdir()):
            if file.suffix.lower() in _PICTURES:
                yield group.name, file


def _open_picture(file: Path, color: bool) -> np.ndarray:
    from PIL import Image

    with Image.open(file) as image:
        if image.mode.startswith(("I", "F")):
            raise UserError(f"{file.name} has more than 8 bits per pixel: convert it to 8")
        return np.asarray(image.convert("RGB" if color else "L"))
