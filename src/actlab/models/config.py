"""The sections `initializer` and `network` of a configuration."""

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from actlab.engine.targets import Group
from actlab.engine.validation import Count, Name, Positive, Real, one_of, only, section

#: Stands for the initializer recommended in each activation's literature.
RECOMMENDED = "recommended"

#: Stands for normal weights of variance sigma_w^2 / inputs and biases of variance sigma_b^2.
MEAN_FIELD = "mean_field"

_KERAS = (
    *("GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal"),
    *("RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Constant", "Zeros"),
    *("Ones", "Orthogonal", "Identity"),
)
_OF_BIASES = ("RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Constant")
_NotNegative = Annotated[Real, Field(ge=0)]

_GROUP = Group(
    "initializer",
    {
        "": (
            *(f"keras.initializers.{name}" for name in _KERAS),
            "actlab.models.initializers.UnitNorm",
            RECOMMENDED,
            MEAN_FIELD,
        ),
        "bias": tuple(f"keras.initializers.{name}" for name in _OF_BIASES),
    },
    {
        **dict.fromkeys(("mean", "minval", "maxval", "value", "gain"), Real),
        **dict.fromkeys(("stddev", "sigma_b"), _NotNegative),
        **dict.fromkeys(("scale", "sigma_w"), Positive),
        "mode": Annotated[str, one_of(("fan_in", "fan_out", "fan_avg"))],
        "distribution": Annotated[
            str, one_of(("untruncated_normal", "truncated_normal", "uniform"))
        ],
        "bias": Annotated[
            Any, only(lambda x: x is None, "null, or an initializer: _target_ and its values")
        ],
        "seed": Annotated[Any, only(lambda x: x is None, "left out: seeds decide it")],
    },
)


@section
class InitializerConfig:
    """How weights begin: the name of a file in conf/initializer/, `_target_` and its values.

    `bias` is null for zeros, or an initializer of the biases.
    """

    name: Name
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        _GROUP.check(self.settings)

    @classmethod
    def read(cls, given: Any) -> "InitializerConfig":
        """Complete a name, or a mapping with `name`, by the values of its file.

        >>> InitializerConfig.read({"name": "normal", "stddev": 0.1}).settings["stddev"]
        0.1
        """
        return given if isinstance(given, InitializerConfig) else cls(*_GROUP.read(given))


if TYPE_CHECKING:
    Initializer = InitializerConfig
else:  # Hydra takes any keys, which the file of the name decides
    Initializer = Annotated[Any, BeforeValidator(InitializerConfig.read)]

#: Equal hidden layers: their number and units.
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
    """The units of each hidden layer: a list, or `8x64` for eight layers of 64 units.

    >>> NetworkConfig("uniform", "3x16").hidden
    [16, 16, 16]
    """

    name: Name
    hidden: Annotated[Any, AfterValidator(_list_units)]
