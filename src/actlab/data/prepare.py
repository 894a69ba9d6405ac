"""What the section `data` makes of a data set: images held out, label noise, preprocessing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32

from actlab.data.splits import Split, Splits, as_scaled, draw_held_out
from actlab.errors import UserError


def prepare(splits: Splits, data: Any) -> Splits:
    """Prepare a data set of which nothing is held out yet; `data` has the keys of `DataConfig`.

    Raises
    ------
    UserError
        If there are fewer images than are asked for.
    """
    count = len(splits.train.labels)
    if data.images:
        if data.images > count:
            raise UserError(f"data.images is {data.images}: it has to be from 1 to {count}")
        splits = splits._replace(train=_take(splits.train, slice(data.images)))
    splits = hold_out(splits, data)
    if data.label_noise:
        if splits.train.labels.ndim > 1 or data.targets == "images":
            raise UserError(f"data.label_noise is {data.label_noise}: there are no labels")
        images, labels = splits.train
        noisy = replace_labels(labels, len(splits.classes), data.label_noise, data.split_seed)
        splits = splits._replace(train=Split(images, noisy))
    if data.preprocessing is not None:
        splits = preprocess(splits, data.preprocessing)
    if data.targets == "images":
        pixels = tuple(f"pixel {place}" for place in range(splits.train.images.shape[1]))
        same = {
            name: Split(split.images, as_scaled(split.images)) for name, split in splits.items()
        }
        splits = splits._replace(**same, classes=pixels)
    return splits


def hold_out(splits: Splits, data: Any) -> Splits:
    """Move training images to a validation split; both parts keep their order.

    stratified: each class has its share, see `draw_held_out`; random: any; first and last: those at
    either end.
    """
    size, count = data.validation_size, len(splits.train.labels)
    if size == 0:
        return splits
    if size >= count:
        raise UserError(f"data.validation_size is {size}: it has to be from 0 to {count - 1}")
    held_out = _choose(splits.train.labels, data)
    return splits._replace(
        train=_take(splits.train, ~held_out), validation=_take(splits.train, held_out)
    )


def _choose(labels: np.ndarray, data: Any) -> Bool[np.ndarray, " image"]:
    size, places = data.validation_size, np.arange(len(labels))
    match data.validation:
        case "first":
            return places < size
        case "last":
            return places >= len(labels) - size
        case "random":
            return np.random.default_rng(data.split_seed).permutation(places) < size
    if labels.ndim > 1:
        raise UserError("data.validation is stratified: targets without classes need random")
    return draw_held_out(labels, size, data.split_seed)


def _take(split: Split, which: Any) -> Split:
    return Split(split.images[which], split.labels[which])


def replace_labels(
    labels: Int32[np.ndarray, " image"], classes: int, share: float, seed: int
) -> Int32[np.ndarray, " image"]:
    """Replace a share of the labels, each by one of the others at random.

    >>> replace_labels(np.zeros(8, np.int32), 2, 0.25, seed=0).sum()
    np.int64(2)
    """
    generator = np.random.default_rng([seed, 1])
    count = round(share * len(labels))
    chosen = generator.permutation(len(labels))[:count]
    replaced = labels.copy()
    replaced[chosen] = (labels[chosen] + generator.integers(1, classes, count)) % classes
    return replaced


def preprocess(splits: Splits, how: str | Mapping[str, float]) -> Splits:
    """Change the scale of all images, float32 in every case.

    Parameters
    ----------
    splits
        Images as loaded: grey levels from 0 to 1, other numbers as they are.
    how
        standardize: each pixel less its mean over the training images, divided by its standard
        deviation; one that is constant there becomes 0. `{mean: ..., sd: ...}`: all pixels less a
        mean, divided by an sd. `{low: ..., high: ...}`: 0 becomes `low`, and 1 `high`.
    """
    images = as_scaled(splits.train.images)
    if isinstance(how, str):
        mean, sd = (take(images, axis=0, dtype=np.float64) for take in (np.mean, np.std))
        scale = np.divide(1, sd, out=np.zeros_like(sd), where=np.ptp(images, axis=0) > 0)
        shift = -mean * scale
    elif "sd" in how:
        scale, shift = 1 / how["sd"], -how["mean"] / how["sd"]
    else:
        scale, shift = how["high"] - how["low"], how["low"]

    def rescale(split: Split) -> Split:
        images: Float32[np.ndarray, "image pixel"] = as_scaled(split.images)
        rescaled = np.empty_like(images)
        for start in range(0, len(images), 1000):  # in double precision, a part at a time
            part = images[start : start + 1000].astype(np.float64)
            rescaled[start : start + 1000] = part * scale + shift
        return Split(rescaled, split.labels)

    return splits._replace(**{name: rescale(split) for name, split in splits.items()})
