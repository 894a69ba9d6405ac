"""Data sets as arrays."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

from actlab.data import download
from actlab.data.arrays import Part, convert_parts, split_arrays
from actlab.data.config import DataConfig
from actlab.data.datasets import OwnFiles, RawSplit, list_files, load_definition, parse_idx
from actlab.data.own import read_own
from actlab.data.prepare import prepare
from actlab.data.splits import Split, Splits, as_scaled, build_splits
from actlab.engine.validation import validate
from actlab.errors import UserError


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Data:
    """A data set: the splits on which networks are trained, validated and tested.

    Attributes
    ----------
    title, classes
        Its name in prose, and that of each label, at least two.
    train, validation, test
        `images`, float32 (n, pixels), and `labels`, int32 (n,) from 0 on. `validation` are the
        images held out; None where none are. What is given may be a `Split` or a pair of images and
        labels as in `from_arrays`.
    shape
        That of an image before it was flattened.

    Raises
    ------
    UserError
        If an array cannot be right: one line that says which, its shape or value, what is allowed.
    """

    title: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split
    shape: tuple[int, ...]

    def __init__(
        self,
        title: str,
        classes: Sequence[str],
        train: Any,
        validation: Any,
        test: Any,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        given = {"train": train, "validation": validation, "test": test}
        parts = {
            name: _as_part(pair, name)
            for name, pair in given.items()
            if name != "validation" or pair is not None
        }
        splits, names, converted = convert_parts(list(parts.values()), classes)
        values = {"title": title, "classes": names, "shape": shape or converted, "validation": None}
        values |= {
            name: Split(as_scaled(images), labels)
            for name, (images, labels) in zip(parts, splits, strict=True)
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def _of(cls, title: str, splits: Splits) -> "Data":
        """Make it of splits that have been converted and checked."""
        data = object.__new__(cls)
        parts = {name: Split(as_scaled(x), y) for name, (x, y) in splits.items()}
        values = {"title": title, **splits._asdict(), **parts}
        for name, value in values.items():
            object.__setattr__(data, name, value)
        return data

    def __repr__(self) -> str:
        held_out = f"{len(self.validation.labels):,} held out, " if self.validation else ""
        return (
            f"{self.title}: {len(self.train.labels):,} images to train on, {held_out}"
            f"{len(self.test.labels):,} to test on, {self.train.images.shape[1]} pixels each"
        )


def _as_part(pair: Any, name: str) -> Part:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        shown = " ".join(repr(pair).split())[:50]
        raise UserError(
            f"{name} is {shown}: it has to be actlab.Split(images, labels) or (images, labels)"
        )
    return Part(pair[0], pair[1], f"{name}.images", f"{name}.labels")


def from_arrays(
    X: Any,  # noqa: N803 (as in scikit-learn)
    y: Any,
    X_test: Any = None,  # noqa: N803
    y_test: Any = None,
    *,
    test_size: float = 0.2,
    validation_size: int = 0,
    split_seed: int = 0,
    validation: str = "stratified",
    images: int | None = None,
    label_noise: float = 0.0,
    preprocessing: str | Mapping[str, float] | None = None,
    targets: str = "labels",
    regression: bool = False,
    classes: Sequence[str] | None = None,
    title: str = "Own data",
) -> Data:
    """Make a data set from arrays of your own: NumPy, pandas, or lists.

    Parameters
    ----------
    X
        Images or rows of features, (n, ...), of any shape. uint8 values are grey levels and are
        divided by 255; integers of another type, booleans and floats are kept as they are.
    y
        Labels, (n,) or (n, 1): whole numbers, booleans, or names; or one-hot rows (n, classes).
    X_test, y_test
        The test images; by default a fraction `test_size` is held out of `X`, stratified by class.
    validation_size, split_seed, validation, images, label_noise, preprocessing, targets
        As in `load_data`.
    regression
        Whether `y` holds numbers to predict, (n,) or (n, outputs), for a network of linear outputs.
    classes
        The names of the labels in their order; by default the labels themselves.
    title
        Its name in prose.

    Raises
    ------
    UserError
        If an array cannot be right: lengths that differ, NaN, a type other than numbers, a test
        label that training lacks, and the like.

    Examples
    --------
    >>> data = from_arrays([[0, 2], [0, 1], [5, 1], [6, 3]], list("aabb"), test_size=0.5)
    >>> data.classes, data.train.labels, data.test.images.shape
    (('a', 'b'), array([0, 1], dtype=int32), (2, 2))
    """
    if (X_test is None) != (y_test is None):
        given, lacks = ("y_test", "X_test") if X_test is None else ("X_test", "y_test")
        raise UserError(f"{given} is given without {lacks}: give both, or neither")
    test = None if X_test is None else Part(X_test, y_test, "X_test", "y_test")
    train = Part(X, y, "X", "y")
    splits = split_arrays(train, test, classes, test_size, split_seed, regression)
    return _prepare(
        title,
        splits,
        validation_size=validation_size,
        split_seed=split_seed,
        validation="random" if regression and validation == "stratified" else validation,
        images=images,
        label_noise=label_noise,
        preprocessing=preprocessing,
        targets=targets,
    )


def _prepare(title: str, splits: Splits, **options: Any) -> Data:
    """Make a `Data` of what `prepare` makes of splits; `options` are keys of `DataConfig`."""
    kinds = get_type_hints(DataConfig, include_extras=True)
    values = {key: validate(kinds[key], value, key) for key, value in options.items()}
    try:
        prepared = prepare(splits, SimpleNamespace(**values))
    except UserError as error:
        raise UserError(str(error).removeprefix("data.")) from None
    return Data._of(title, prepared)


def load_data(
    name: str = "mnist",
    folder: str | Path | None = None,
    *,
    validation_size: int = 0,
    split_seed: int = 0,
    validation: str = "stratified",
    images: int | None = None,
    label_noise: float = 0.0,
    preprocessing: str | Mapping[str, float] | None = None,
    targets: str = "labels",
) -> Data:
    """Load a data set, downloading it the first time.

    The SHA-256 digests of the four files are verified wherever they come from.

    Parameters
    ----------
    name
        mnist, fashion_mnist, or another file of conf/data/.
    folder
        Folder that holds the four files, in it or in folders within it, plain or gzipped; if it is
        empty or missing, they are downloaded to it. By default the folder in the environment
        variable `ACTLAB_DATA`, else one in the user's cache.
    validation_size, split_seed
        Number of training images held out, and the seed of this choice and of the label noise.
    validation
        Which images are held out: stratified by class, random, or the first or last ones.
    images
        How many training images are used, the first ones; all by default.
    label_noise
        The share of the training labels that are replaced by others.
    preprocessing
        standardize: each pixel to a mean of 0 and a standard deviation of 1 over the training
        images; `{"mean": 0.1307, "sd": 0.3081}` or `{"low": -1, "high": 1}`: all pixels alike. By
        default, grey levels from 0 to 1.
    targets
        labels; or images, which a network of linear outputs learns to return.

    Raises
    ------
    UserError
        If the data set is unknown, the folder holds something else, or no source works.
    """
    chosen, definition = DataConfig(name, validation_size, split_seed), load_definition(name)
    if not isinstance(definition, OwnFiles):
        splits = _load_published(name, folder)
    elif folder is None:
        splits = read_own(name, definition)
    else:
        raise UserError(f"folder is {folder}: {name} is in {definition.path}; leave folder out")
    return _prepare(
        definition.title,
        splits,
        validation_size=chosen.validation_size,
        split_seed=chosen.split_seed,
        validation=validation,
        images=images,
        label_noise=label_noise,
        preprocessing=preprocessing,
        targets=targets,
    )


def _load_published(name: str, folder: str | Path | None) -> Splits:
    place = _data_folder(name) if folder is None else Path(folder).expanduser()
    if place.is_file():
        raise UserError(f"folder is {place}, a file: name the folder that holds it")
    if not place.is_dir() or not any(place.iterdir()):
        download.fetch_dataset(
            name, place, advice='Name a folder that has the files: load_data(..., folder="...")'
        )
    definition = load_definition(name)
    try:
        found = download.Folder(place).read(list_files(name))
        arrays = [parse_idx(content) for _, content in found]
    except download.SourceError as error:
        raise UserError(
            f"the folder {place} does not hold {definition.title}: {error}; name one that has its"
            " four files, or an empty one to download them to"
        ) from error
    return build_splits(RawSplit(*arrays[:2]), RawSplit(*arrays[2:]), definition.classes or ())


def _data_folder(name: str) -> Path:
    if named := os.environ.get("ACTLAB_DATA"):
        return Path(named).expanduser()
    import pooch  # a third of a second

    return Path(pooch.os_cache("actlab")) / name
