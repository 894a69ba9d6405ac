"""The section `data` of a configuration."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from actlab.data.datasets import DataSet, load_definition
from actlab.engine import presets
from actlab.engine.validation import Count, Real, Seed, Whole, one_of, only, section


def _find(name: str) -> str:
    if name not in (known := presets.list_presets("data")):
        raise ValueError(f"it has to be one of {', '.join(known)}, the files of conf/data/")
    load_definition(name)
    return name


def _check_preprocessing(given: Any) -> Any:
    if given is None or given == "standardize":
        return given
    if isinstance(given, dict) and all(type(value) in (int, float) for value in given.values()):
        values = {key: float(value) for key, value in given.items()}
        if (values.keys() == {"mean", "sd"} and values["sd"] > 0) or (
            values.keys() == {"low", "high"} and values["low"] < values["high"]
        ):
            return values
    raise ValueError(
        "it has to be null, standardize, {mean: ..., sd: ...} with sd above 0, or"
        " {low: ..., high: ...} with low below high"
    )


@section
class DataConfig:
    """The data set, and what is made of it: see `prepare`.

    Attributes
    ----------
    name
        A file of conf/data/.
    validation_size, split_seed
        How many training images are held out, and the seed of this choice and of label noise.
    validation
        Which are held out: stratified by class, random, or the first or last ones.
    images
        The first training images that are used; null: all.
    label_noise
        The share of training labels that are replaced by others; validation keeps its own.
    preprocessing
        null: grey levels divided by 255; or see `prepare.preprocess`.
    targets
        labels, or images: then a network of linear outputs learns to return its inputs.
    """

    name: Annotated[str, AfterValidator(_find)]
    validation_size: Annotated[Whole, Field(ge=0)]
    split_seed: Seed
    validation: Annotated[str, one_of(("stratified", "random", "first", "last"))] = "stratified"
    images: Count | None = None
    label_noise: Annotated[Real, only(lambda x: 0 <= x <= 1, "from 0 to 1")] = 0.0
    preprocessing: Annotated[Any, BeforeValidator(_check_preprocessing)] = None
    targets: Annotated[str, one_of(("labels", "images"))] = "labels"

    @field_validator("validation_size")
    @classmethod
    def _leave_one(cls, size: int, info: Any) -> int:
        if name := info.data.get("name"):  # it is valid
            definition = load_definition(name)
            # Of a user's own, `hold_out` knows the number.
            if isinstance(definition, DataSet) and size >= definition.training_images:
                raise ValueError(f"it has to be from 0 to {definition.training_images - 1}")
        return size
