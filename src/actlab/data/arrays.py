"""A user's own arrays -> images and labels to train on, or one line that says what is wrong.

Grey levels are uint8 images, and are divided by 255; all other numbers are kept, as float32. Labels
are whole numbers, names or one-hot rows, and become 0, 1, ... in the order of their classes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from actlab.data.splits import Split, Splits, draw_held_out
from actlab.engine.validation import Fraction, Seed, validate
from actlab.errors import UserError


class Part(NamedTuple):
    """Images and labels as a user gives them, and the names by which errors call them."""

    images: Any
    labels: Any
    images_name: str
    labels_name: str


def split_arrays(
    train: Part,
    test: Part | None,
    classes: Sequence[str] | None = None,
    test_size: float = 0.2,
    split_seed: int = 0,
    regression: bool = False,
) -> Splits:
    """Convert and check arrays, and divide them into a training and a test split.

    Parameters
    ----------
    train, test
        See `convert_parts`. Without `test`, a fraction `test_size` of the images is held out of
        `train`, stratified by class.
    classes
        The names of the labels; by default the labels themselves.

    Returns
    -------
    Splits
        Images (n, features), uint8 or float32, and labels (n,) int32, or in a `regression` targets
        (n, outputs) float32.
    """
    validate(Fraction, test_size, "test_size")
    if test is not None:
        (trained, tested), names, shape = convert_parts([train, test], classes, regression)
    else:
        ((images, labels),), names, shape = convert_parts([train], classes, regression)
        size = round(test_size * len(labels))
        if not 0 < size < len(labels):
            raise UserError(
                f"test_size is {test_size}: of {len(labels)} images, {size} would be tested; give"
                " another one, or test images"
            )
        groups = np.zeros(len(labels), np.int32) if regression else labels
        held_out = draw_held_out(groups, size, validate(Seed, split_seed, "split_seed"))
        trained = Split(images[~held_out], labels[~held_out])
        tested = Split(images[held_out], labels[held_out])
        left = np.bincount(groups[~held_out], minlength=1 if regression else len(names))
        if not left.all():
            raise UserError(
                f"{train.labels_name} has too few labels {names[left.argmin()]!r}: with test_size"
                f" {test_size} none is left to train on; give more of them, or test images"
            )
    return Splits(trained, None, tested, names, shape)


def convert_parts(
    parts: Sequence[Part], classes: Sequence[str] | None = None, regression: bool = False
) -> tuple[list[Split], tuple[str, ...], tuple[int, ...]]:
    """Convert and check the splits of a data set, the training split first.

    Returns
    -------
    splits, classes, shape
        Images (n, features) uint8 or float32 and labels (n,) int32; the names of the labels; the
        shape of a training image. In a `regression`, targets (n, outputs) float32 and their names.

    Raises
    ------
    UserError
        One line: which array, its shape or the value in it, what is allowed.

    Examples
    --------
    >>> [(images, labels)], classes, shape = convert_parts(
    ...     [Part([[0.5, 1], [2, 3]], ["dog", "cat"], "X", "y")]
    ... )
    >>> images, labels, classes
    (array([[0.5, 1. ],
           [2. , 3. ]], dtype=float32), array([1, 0], dtype=int32), ('cat', 'dog'))
    """
    images = [convert_images(part.images, part.images_name) for part in parts]
    convert: Any = convert_targets if regression else convert_labels
    labels = [convert(part.labels, part.labels_name) for part in parts]
    first, shape = parts[0], images[0].shape[1:]
    for part, pixels, values in zip(parts, images, labels, strict=True):
        if len(pixels) != len(values):
            raise UserError(
                f"{part.images_name} has {len(pixels)} images, {part.labels_name} {len(values)}"
                " labels: it has to be one label per image"
            )
        if pixels[0].size != images[0][0].size:
            raise UserError(
                f"{part.images_name} has images of shape {pixels.shape[1:]}, {first.images_name} of"
                f" {shape}: it has to be the same"
            )
        if (pixels.dtype == np.uint8) != (images[0].dtype == np.uint8):
            raise UserError(
                f"{first.images_name} is {images[0].dtype} and {part.images_name} {pixels.dtype}:"
                " uint8 images are divided by 255 and others are not; give both the same type"
            )
    if len(images[0]) < 2:
        raise UserError(f"{first.images_name} has one image: it has to be two or more")
    codes, names = (_name_targets if regression else _encode)(parts, labels, classes)
    flat = (pixels.reshape(len(pixels), -1) for pixels in images)
    return [Split(*pair) for pair in zip(flat, codes, strict=True)], names, shape


def convert_images(
    values: Any, name: str
) -> UInt8[np.ndarray, "image ..."] | Float32[np.ndarray, "image ..."]:
    """Return images (n, ...) as uint8 if that is what they are, else as float32."""
    if hasattr(getattr(values, "dtypes", None), "items"):  # a DataFrame of pandas
        others = [str(key) for key, dtype in values.dtypes.items() if dtype.kind not in "buif"]
        if others:
            raise UserError(
                f"{name} holds no numbers in {', '.join(others[:5])}: encode them as numbers, or"
                " leave them out"
            )
    array = _as_array(values, name)
    if array.dtype.kind not in "buif":
        raise UserError(f"{name} holds {_describe_type(array)}: it has to hold numbers")
    if array.ndim < 2:
        raise UserError(f"{name} has shape {array.shape}: it has to have one row per image")
    if array.size == 0:
        raise UserError(f"{name} has shape {array.shape}: it is empty")
    if array.dtype == np.uint8:
        return array
    with np.errstate(over="ignore"):
        images = array.astype(np.float32, copy=False)
    if not np.isfinite(images).all():
        place = tuple(map(int, np.argwhere(~np.isfinite(images))[0]))
        raise UserError(
            f"{name}{list(place)} is {array[place]}: it has to be finite, and at most"
            f" {np.finfo(np.float32).max:.3g}"
        )
    return images


def convert_labels(values: Any, name: str) -> np.ndarray:
    """Return labels (n,) as integers or as text; those of one-hot rows are their columns."""
    array = _as_array(values, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 2 and _is_one_hot(array):
        array = array.argmax(axis=1)
    if array.ndim != 1:
        raise UserError(
            f"{name} has shape {array.shape}: it has to have one label per image, or one-hot rows"
        )
    if array.size == 0:
        raise UserError(f"{name} is empty")
    match array.dtype.kind:
        case "S":
            return np.char.decode(array, "utf-8", "replace")
        case "U" | "T":
            return array.astype(str)
        case "b":
            return array.astype(np.int64)
        case "i" | "u":
            return array
        case "f":
            wrong = ~(np.abs(array) < 2**53) | (array != np.rint(array))
            if wrong.any():
                raise UserError(
                    f"{name}[{wrong.argmax()}] is {array[wrong.argmax()]}: a label has to be a"
                    " whole number or a name"
                )
            return array.astype(np.int64)
    raise UserError(
        f"{name} holds {_describe_type(array)}: labels have to be whole numbers or names"
    )


def convert_targets(values: Any, name: str) -> np.ndarray:
    """Return the targets of a regression as float32 (n, outputs)."""
    array = _as_array(values, name)
    if array.dtype.kind not in "buif":
        raise UserError(f"{name} holds {_describe_type(array)}: targets have to be numbers")
    if array.ndim not in (1, 2) or array.size == 0:
        raise UserError(f"{name} has shape {array.shape}: it has to be (n,) or (n, outputs)")
    with np.errstate(over="ignore"):
        targets = array.reshape(len(array), -1).astype(np.float32)
    if not np.isfinite(targets).all():
        place = np.argwhere(~np.isfinite(targets))[0].tolist()
        raise UserError(f"{name}{place} is {targets[tuple(place)]}: it has to be finite")
    return targets


def _name_targets(
    parts: Sequence[Part], targets: Sequence[np.ndarray], names: Sequence[str] | None
) -> tuple[Sequence[np.ndarray], tuple[str, ...]]:
    """Check that all splits have the same outputs, and name these."""
    counts = [array.shape[1] for array in targets]
    for part, count in zip(parts, counts, strict=True):
        if count != counts[0]:
            raise UserError(
                f"{part.labels_name} has {count} outputs, {parts[0].labels_name} {counts[0]}: it"
                " has to be the same"
            )
    named = tuple(map(str, names or [f"y {place}" for place in range(1, counts[0] + 1)]))
    if len(named) != counts[0]:
        raise UserError(f"classes has {len(named)} names: there are {counts[0]} outputs")
    return targets, named


def _as_array(values: Any, name: str) -> np.ndarray:
    """Return an array of numbers or text, from what NumPy, pandas or a list holds."""
    if hasattr(values, "toarray"):
        raise UserError(f"{name} is a sparse matrix: give {name}.toarray()")
    if isinstance(values, str | bytes | dict | set) or values is None:
        raise UserError(f"{name} is {_show(values)}: it has to be an array")
    try:
        array = np.asarray(values)
        if array.dtype == object:  # pandas' mixed columns and missing values, and lists of both
            array = np.array(array.tolist())
        if array.dtype.kind in "OUT":
            missing = _find_missing(np.asarray(values, dtype=object))
            if missing is not None:
                raise UserError(f"{name}{missing} is missing: fill it in, or leave that row out")
    except UserError:
        raise
    except Exception as error:  # of any library's object
        reason = " ".join(str(error).split())[:150]
        raise UserError(
            f"{name} is not an array with rows of one length: {type(error).__name__}: {reason}"
        ) from None
    if np.ma.is_masked(values):
        raise UserError(f"{name} has masked values: fill them in, or leave these rows out")
    return array


def _find_missing(array: np.ndarray) -> list[int] | None:
    """Find the first missing value: None, NaN or pandas' NA."""
    import pandas as pd

    places = np.argwhere(pd.isna(array))
    return list(map(int, places[0])) if len(places) else None


def _show(value: Any) -> str:
    """Write a value in one line, and not too long."""
    if isinstance(value, np.generic):
        value = value.item()
    return " ".join(repr(value).split())[:100]


def _describe_type(array: np.ndarray) -> str:
    if array.dtype == object:
        return f"objects, such as {array.flat[0]!r:.50}" if array.size else "objects"
    return "text" if array.dtype.kind in "UST" else str(array.dtype)


def _is_one_hot(array: np.ndarray) -> bool:
    if array.dtype.kind not in "buif" or array.shape[1] < 2:
        return False
    return bool(np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all())


def _encode(
    parts: Sequence[Part], labels: Sequence[np.ndarray], classes: Sequence[str] | None
) -> tuple[list[Int32[np.ndarray, "image"]], tuple[str, ...]]:
    """Return the labels of all splits, numbered by their classes, and the names of these."""
    name, known = parts[0].labels_name, np.unique(labels[0])
    if len(known) < 2:
        raise UserError(f"{name} has one label, {_show(known[0])}: it has to be two or more")
    names = tuple(map(str, known)) if classes is None else _check_classes(classes)
    values = known if classes is None else _values_of_classes(known, names, name)
    lacking = ~np.isin(values, known)
    if lacking.any():
        value, lacks = values[lacking][0], names[lacking.argmax()]
        raise UserError(
            f"{name} has no label {_show(value)}, the class {lacks!r}: each class needs images to"
            " train on"
        )
    order = np.argsort(values)
    codes = []
    for part, given in zip(parts, labels, strict=True):
        is_same = (given.dtype.kind == "U") == (known.dtype.kind == "U")
        strange = ~np.isin(given, known) if is_same else np.ones(len(given), bool)
        if strange.any():
            place, known_ones = strange.argmax(), ", ".join(map(_show, known[:10]))
            more = ", ..." if len(known) > 10 else ""
            raise UserError(
                f"{part.labels_name}[{place}] is {_show(given[place])}: it has to be a label that"
                f" {name} has ({known_ones}{more})"
            )
        codes.append(order[np.searchsorted(values, given, sorter=order)].astype(np.int32))
    return codes, names


def _check_classes(classes: Any) -> tuple[str, ...]:
    if isinstance(classes, Sequence | np.ndarray) and not isinstance(classes, str):
        names = tuple(map(str, classes))
        if 1 < len(names) == len(set(names)):
            return names
    raise UserError(
        f"classes is {_show(classes)}: it has to be a list of two names or more, without"
        " repetitions"
    )


def _values_of_classes(known: np.ndarray, names: tuple[str, ...], name: str) -> np.ndarray:
    """Return the label of each class that is named."""
    if known.dtype.kind == "U":
        values, allowed = np.array(names), f"one of {', '.join(names)}"
    elif len(known) == len(names):  # such as 1 to 3
        return known
    else:
        values, allowed = np.arange(len(names)), f"from 0 to {len(names) - 1}"
    strange = known[~np.isin(known, values)]
    if len(strange):
        raise UserError(
            f"{name} has the label {_show(strange[0])}: with {len(names)} classes it has to be"
            f" {allowed}"
        )
    return values
