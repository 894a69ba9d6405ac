"""The dataclasses that every configuration is validated against, by pydantic.

They import neither Hydra nor TensorFlow: a notebook may build them by hand. No field
has a default: params.yaml and conf/ hold the values, and OmegaConf says which is missing.
Hydra reads the same classes as its schema; it sees the plain types within `Annotated`.
"""

import inspect
import re
from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

import numpy as np
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
    field_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from actlab.activations.definitions.definitions import ACTIVATIONS, REFUSED
from actlab.data.datasets import DATASETS
from actlab.errors import UserError

#: Stands for the initialiser recommended in each activation's literature.
MATCHED = "matched"

#: Kernel initialisers by their Keras names, and `MATCHED`.
KERNEL_INITIALIZERS = (
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    MATCHED,
)

#: The greatest seed: tables and MLflow hold integers of 64 bits.
GREATEST_SEED = 2**63 - 1


# --- Validation ---------------------------------------------------------------------------

#: pydantic's error types for a key that a dataclass does not have; the second: not a string.
_UNKNOWN = ("unexpected_keyword_argument", "invalid_key")


def validate(kind: Any, value: Any, key: str = "") -> Any:
    """Validate a value against a type; `key` is its name for the user.

    Raises
    ------
    UserError
        If it is not valid; the message is the line of `explain_fault`.

    >>> validate(Count, 0, "epochs")
    Traceback (most recent call last):
    actlab.errors.UserError: epochs is 0: it has to be at least 1
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        # An unknown key first: it may be a missing one, misspelled.
        fault = max(error.errors(), key=lambda fault: fault["type"] in _UNKNOWN)
        raise UserError(explain_fault(fault, kind, key)) from None


def explain_fault(fault: ErrorDetails, kind: Any, key: str = "") -> str:
    """Describe in one line what pydantic found: the key, its value, what is allowed."""
    parent = key
    for part in fault["loc"]:
        parent = key
        key = f"{key}[{part}]" if key and isinstance(part, int) else f"{key}.{part}".lstrip(".")
    match fault["type"]:
        case "missing":
            return f"{key} is missing"
        case unknown if unknown in _UNKNOWN:
            known = list_keys(kind, *fault["loc"][:-1])
            return f"{key} is unknown: {parent or 'the configuration'} has {known}"
        case "dataclass_type":
            allowed = f"it has to hold {list_keys(kind, *fault['loc'])}"
        case "value_error":
            allowed = str(fault.get("ctx", {})["error"])
        case _:
            allowed = fault["msg"].replace("Input should", "it has to")
            allowed = allowed.replace("greater than or equal to", "at least")
            allowed = allowed.replace("less than or equal to", "at most")
    return f"{key} is {fault['input']!r:.200}: {allowed}"


def list_keys(kind: Any, *sections: int | str) -> str:
    """List the keys that a section of a dataclass may have."""
    for name in sections:
        kind = next((field.type for field in fields(kind) if field.name == name), None)
        if not is_dataclass(kind):
            return "other keys, see --help and --hydra-help"
    return ", ".join(field.name for field in fields(kind))


Class = TypeVar("Class", bound=type)


@dataclass_transform()
def section(cls: Class) -> Class:
    """Make a class a dataclass that validates its fields when it is constructed.

    An invalid value raises a `UserError`, which names the field without its section.
    """
    validated: Any = dataclass(cls, config=ConfigDict(extra="forbid"))
    construct, signature = validated.__init__, inspect.signature(validated)

    @wraps(construct)
    def construct_or_refuse(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            construct(self, **signature.bind(*args, **kwargs).arguments)
        except ValidationError as error:
            raise UserError(explain_fault(error.errors()[0], cls)) from None

    validated.__init__ = construct_or_refuse
    return validated


# --- What a value may be ------------------------------------------------------------------


def only(holds: Callable[[Any], object], allowed: str) -> AfterValidator:
    """Allow the values for which a condition holds."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(f"it has to be {allowed}")
        return value

    return AfterValidator(check)


def one_of(allowed: Collection[Any]) -> AfterValidator:
    """Allow only the given values."""
    return only(allowed.__contains__, f"one of {', '.join(map(str, allowed))}")


DISTINCT = only(
    lambda values: 0 < len(values) == len(set(values)),
    "a list of at least one entry, without repetitions",
)

_FROM_NUMPY = BeforeValidator(lambda x: x.item() if isinstance(x, np.generic) else x)

#: An integer of Python's or NumPy's: true, 2.0 and "2" are refused.
Whole = Annotated[int, Strict(), _FROM_NUMPY]
Count = Annotated[Whole, Field(ge=1)]
Seed = Annotated[Whole, Field(ge=0, le=GREATEST_SEED)]
Seeds = Annotated[list[Seed], DISTINCT]

Real = Annotated[float, Strict(), AllowInfNan(False), _FROM_NUMPY]
Positive = Annotated[Real, Field(gt=0)]
Fraction = Annotated[Real, only(lambda x: 0 < x < 1, "between 0 and 1")]
#: Beyond these bounds it is 0 or infinite where it is used, in float32.
LearningRate = Annotated[Real, only(lambda x: 1e-45 <= x <= 3.4e38, "from 1e-45 to 3.4e38")]

#: Names become folders, <activation>-<network>, and file systems take 255 bytes.
Name = Annotated[
    str,
    only(
        re.compile(r"[A-Za-z0-9_.]{0,99}[A-Za-z0-9_]").fullmatch,
        "at most 100 letters, digits, _ and .",
    ),
]
Initializer = Annotated[str, one_of(KERNEL_INITIALIZERS)]


# --- The sections -------------------------------------------------------------------------
# Upper bounds refuse what would take days or terabytes, or does not fit XLA's counters of 32 bits.


@section
class DataConfig:
    """Which images, and how many of the training images are held out."""

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


#: A function of a user's own: one or more modules, then the function.
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

_OwnConstant = Annotated[
    Any,
    only(
        lambda x: isinstance(x, bool | int | float | str | None),
        "a number, a text, true, false or null",
    ),
]


@section
class ActivationConfig:
    """One activation: the name it goes by, its function, the function's constants.

    The function is a row of `activations.ACTIVATIONS`, or a user's own by its dotted name
    (`my_module.my_function`): that one is checked by `own.check`, and not here.
    """

    name: Name
    function: str
    constants: dict[str, Any]

    @field_validator("function")
    @classmethod
    def _find_function(cls, function: str) -> str:
        if function in REFUSED:
            raise ValueError(REFUSED[function])
        if function not in ACTIVATIONS and not _DOTTED.fullmatch(function):
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"it has to be one of {known}, or your own: my_module.my_function")
        return function

    def __post_init__(self) -> None:
        if self.is_own:
            validate(dict[str, _OwnConstant], self.constants, "activation.constants")
        else:
            ACTIVATIONS[self.function].check_constants(self.constants)

    @property
    def is_own(self) -> bool:
        """Whether the function is a user's own, and not a row of the table.

        >>> ActivationConfig("mine", "example.snake", {"frequency": 1.0}).is_own
        True
        """
        return _DOTTED.fullmatch(self.function) is not None


#: Equal hidden layers: how many, and the units of each.
_EQUAL_LAYERS = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,5})")

_UNITS = TypeAdapter(list[Annotated[Count, Field(le=999_999)]])


def _list_units(hidden: Any) -> list[int]:
    if isinstance(hidden, str) and (equal := _EQUAL_LAYERS.fullmatch(hidden)):
        return [int(equal[2])] * int(equal[1])
    try:
        return _UNITS.validate_python(hidden)
    except ValidationError:
        raise ValueError(
            "it has to be a list of whole numbers from 1 to 999999, or layers x units such as 8x64"
        ) from None


@section
class NetworkConfig:
    """The hidden layers of a network, by their units.

    `hidden` is a list of whole numbers, or `8x64` for eight layers of 64 units, which becomes
    that list.

    >>> NetworkConfig("uniform", "3x16").hidden
    [16, 16, 16]
    """

    name: Name
    hidden: Annotated[Any, AfterValidator(_list_units)]


@section
class ModelConfig:
    """What every network of a study has in common."""

    kernel_initializer: Initializer


@section
class TrainingConfig:
    """How a network is trained (Adam, cross-entropy), and when its weights are kept."""

    epochs: Annotated[Count, Field(le=1_000_000)]
    batch_size: Count
    learning_rate: LearningRate
    probe_epochs: list[Annotated[Whole, Field(ge=0)]]

    def kept_epochs(self) -> list[int]:
        """Return the epochs after which weights are kept: 0, the probe epochs, the last.

        >>> TrainingConfig(3, 128, 0.001, [1, 20]).kept_epochs()
        [0, 1, 3]
        """
        within = {epoch for epoch in self.probe_epochs if epoch <= self.epochs}
        return sorted(within | {0, self.epochs})


@section
class GradientsConfig:
    """How many images the two gradient probes look at, and which units count as saturated."""

    notebook_images: Count
    test_images: Count
    saturated_below: Fraction
    preactivation_bins: Annotated[Whole, Field(ge=3, le=1000)]


@section
class TimingConfig:
    """How often the activations are timed next to each other, and the layer timed by itself.

    Attributes
    ----------
    blocks
        Rounds; in each, every activation is timed once.
    block_epochs
        Epochs per activation and round; the shortest counts.
    kernel_units
        Inputs and units of the layer that is timed by itself.
    kernel_repetitions
        Passes of that layer per measurement, back to back.
    elementwise_repetitions
        The same for the activation without the layer, which takes far less time.
    """

    blocks: Annotated[Whole, Field(ge=2, le=10_000)]
    block_epochs: Annotated[Count, Field(le=100)]
    kernel_units: Annotated[Count, Field(le=10_000)]
    kernel_repetitions: Annotated[Count, Field(le=1_000_000_000)]
    elementwise_repetitions: Annotated[Count, Field(le=1_000_000_000)]


@section
class TheoryConfig:
    """The untrained networks on which mean-field theory is verified against measurement."""

    initializers: Annotated[list[Initializer], DISTINCT]
    width: Annotated[Count, Field(le=10_000)]
    depth: Annotated[Whole, Field(ge=2, le=10_000)]
    images: Count
    seeds: Seeds


@section
class ReportConfig:
    """How the report quantifies uncertainty, and which differences do not matter.

    Attributes
    ----------
    confidence
        Level of every interval; one minus it bounds the error rate of the verdicts.
    target_accuracy
        Validation accuracy, a fraction: epochs are counted until it is reached.
    equivalence_margin
        Largest difference in test accuracy and calibration error that does not matter.
    equivalence_margin_nats, equivalence_margin_epochs
        The same for test losses, and for epochs to the target.
    equivalence_margin_ratio
        The same for times, as a fraction: 0.05 is 5 % more.
    """

    confidence: Fraction
    target_accuracy: Fraction
    equivalence_margin: Positive
    equivalence_margin_nats: Positive
    equivalence_margin_epochs: Positive
    equivalence_margin_ratio: Positive


@section
class CompareConfig:
    """Which MLflow runs are compared, and which keys distinguish them.

    Attributes
    ----------
    filter
        Conditions on the configurations' runs in MLflow's search language; empty: all runs of
        the sweep.
    by
        Keys of the configuration that define the groups; None: all keys that differ.
    """

    filter: str
    by: list[str] | None


@section
class PathsConfig:
    """Where files are, relative to the root of the repository.

    `checkpoints` holds the state of trainings that have not finished.
    """

    source: str | None
    raw: str
    processed: str
    output: str
    models: str
    results: str
    timings: str
    reports: str
    checkpoints: str


@section
class Config:
    """A whole configuration: params.yaml, one activation, one network, the paths.

    Attributes
    ----------
    sweep
        Name by which MLflow finds the jobs of a sweep; None: no name.
    force
        Whether to train a configuration again that MLflow holds as finished.
    models_at_once
        How many models train in parallel; None: one per core, with the cores divided among the
        jobs that run at the same time. It changes no result.
    """

    data: DataConfig
    activations: Annotated[list[str], DISTINCT]
    networks: Annotated[list[str], DISTINCT]
    seeds: Seeds
    model: ModelConfig
    training: TrainingConfig
    gradients: GradientsConfig
    timing: TimingConfig
    theory: TheoryConfig
    report: ReportConfig
    activation: ActivationConfig
    network: NetworkConfig
    sweep: Name | None
    force: bool
    models_at_once: Count | None
    compare: CompareConfig
    paths: PathsConfig
