"""The sections of a configuration for measurements other than training."""

from typing import Annotated

from pydantic import Field

from actlab.engine.validation import DISTINCT, Count, Fraction, Name, Seeds, Whole, section


@section
class GradientsConfig:
    """The images of the two gradient probes, and when a unit counts as saturated."""

    notebook_images: Count
    test_images: Count
    saturated_below: Fraction
    preactivation_bins: Annotated[Whole, Field(ge=3, le=1000)]


@section
class TimingConfig:
    """How often epochs of the activations, and one layer alone, are timed.

    Attributes
    ----------
    blocks
        Processes; in each, every activation is timed once.
    block_epochs
        Epochs per activation and process; the shortest counts.
    kernel_units
        Inputs and units of the layer that is timed alone.
    kernel_repetitions, elementwise_repetitions
        Passes of that layer per measurement; of the activation without the layer.
    """

    blocks: Annotated[Whole, Field(ge=2, le=10_000)]
    block_epochs: Annotated[Count, Field(le=100)]
    kernel_units: Annotated[Count, Field(le=10_000)]
    kernel_repetitions: Annotated[Count, Field(le=1_000_000_000)]
    elementwise_repetitions: Annotated[Count, Field(le=1_000_000_000)]


@section
class TheoryConfig:
    """The untrained networks on which mean-field theory is verified against measurement."""

    initializers: Annotated[list[Name], DISTINCT]
    width: Annotated[Count, Field(le=10_000)]
    depth: Annotated[Whole, Field(ge=2, le=10_000)]
    images: Count
    seeds: Seeds
