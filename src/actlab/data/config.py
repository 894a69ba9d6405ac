"""The section `data` of a configuration."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from actlab.data.datasets import DATASETS
from actlab.engine.validation import Seed, Whole, one_of, section


@section
class DataConfig:
    """The data set, and how many training images are held out."""

    name: Annotated[str, one_of(DATASETS)]
    validation_size: Annotated[Whole, Field(ge=0)]
    split_seed: Seed

    @field_validator("validation_size")
    @classmethod
    def _leave_one(cls, size: int, info: Any) -> int:
        dataset = DATASETS.get(info.data.get("name"))
        if dataset and size >= dataset.training_images:
            raise ValueError(f"it has to be from 0 to {dataset.training_images - 1}")
        return size
