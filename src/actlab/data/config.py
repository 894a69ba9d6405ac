"""The section `data` of a configuration."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator

from actlab.data.datasets import DataSet, load_definition
from actlab.engine import presets
from actlab.engine.validation import Seed, Whole, section


def _find(name: str) -> str:
    if name not in (known := presets.list_presets("data")):
        raise ValueError(f"it has to be one of {', '.join(known)}, the files of conf/data/")
    load_definition(name)
    return name


@section
class DataConfig:
    """The data set, a file of conf/data/, and how many training images are held out."""

    name: Annotated[str, AfterValidator(_find)]
    validation_size: Annotated[Whole, Field(ge=0)]
    split_seed: Seed

    @field_validator("validation_size")
    @classmethod
    def _leave_one(cls, size: int, info: Any) -> int:
        if name := info.data.get("name"):  # it is valid
            definition = load_definition(name)
            # Of a user's own, `hold_out` knows the number.
            if isinstance(definition, DataSet) and size >= definition.training_images:
                raise ValueError(f"it has to be from 0 to {definition.training_images - 1}")
        return size
