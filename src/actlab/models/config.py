"""The sections `initializer` and `network` of a configuration."""

import re
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from actlab.activations.config import ActivationConfig
from actlab.engine.presets import load_preset
from actlab.engine.targets import Group
from actlab.engine.validation import (
    Count,
    Name,
    Positive,
    Real,
    Truth,
    one_of,
    only,
    section,
    validate,
)
from actlab.errors import UserError

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


#: A convolution: its filters, and their height and width.
_CONVOLUTION = re.compile(r"([1-9]\d{0,3})@([1-9]\d?)x([1-9]\d?)")

_Rate = Annotated[Real, only(lambda x: 0 <= x < 1, "at least 0 and less than 1")]
_Place = Annotated[
    str | None, one_of((None, "before", "after")), BeforeValidator(lambda x: x or None)
]


def _list_convolutions(given: Any) -> list[str]:
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not all(
        isinstance(entry, str) and _CONVOLUTION.fullmatch(entry) for entry in listed
    ):
        raise ValueError("it has to be a list of filters@heightxwidth such as 20@5x5")
    return list(listed)


def _read_activations(given: Any) -> list[ActivationConfig | None]:
    """Read the activations of single layers: names of conf/activation/, or null."""
    if not isinstance(given, list | tuple):
        raise ValueError("it has to be a list of names of conf/activation/, or null, one per layer")
    read: list[ActivationConfig | None] = []
    for entry in given:
        if isinstance(entry, str) and entry != "custom":
            entry = load_preset("activation", entry)
        if isinstance(entry, dict):
            entry = validate(ActivationConfig, entry, "network.activations")
        elif not isinstance(entry, ActivationConfig | None):
            raise ValueError("it has to be a list of names of conf/activation/, or null")
        read.append(entry)
    return read


@section
class NetworkConfig:
    """The hidden layers of a network, and what is around them; by default, dense layers alone.

    A hidden layer is dense -> normalization (before) -> activation -> normalization (after) ->
    dropout -> plus its inputs (skip).

    Attributes
    ----------
    hidden
        The units of each hidden layer: a list, or `8x64` for eight layers of 64 units.
    conv
        Convolutions before the dense layers, `20@5x5` for 20 filters of 5 x 5; each is followed by
        the activation, and by max pooling over `pool` x `pool` pixels, if that is given.
    dropout, alpha_dropout
        The share of a layer's outputs that a training step replaces: by 0 (Srivastava et al. 2014),
        or by SELU's negative limit with mean and variance kept (Klambauer et al. 2017).
    batch_norm, layer_norm
        null, or where each hidden layer is normalized: before or after its activation.
    l1, l2
        Penalties on kernels: the factor of the sum of absolute values, and of squares.
    skip
        Whether a layer's inputs are added to its outputs, where both have one size.
    activations
        Of single hidden layers, from the first on: names of conf/activation/; null is the
        configuration's. Empty: the configuration's for all.
    outputs
        softmax, with the cross-entropy of the class; logistic, with the cross-entropies of all
        outputs summed; linear, with the mean squared error.

    >>> NetworkConfig("uniform", "3x16").hidden
    [16, 16, 16]
    """

    name: Name
    hidden: Annotated[Any, AfterValidator(_list_units)]
    conv: Annotated[Any, AfterValidator(_list_convolutions)] = field(default_factory=list)
    pool: Annotated[Count, Field(le=16)] | None = None
    dropout: _Rate = 0.0
    alpha_dropout: _Rate = 0.0
    batch_norm: _Place = None
    layer_norm: _Place = None
    l1: _NotNegative = 0.0
    l2: _NotNegative = 0.0
    skip: Truth = False
    activations: Annotated[Any, AfterValidator(_read_activations)] = field(default_factory=list)
    outputs: Annotated[str, one_of(("softmax", "logistic", "linear"))] = "softmax"

    def __post_init__(self) -> None:
        if self.dropout and self.alpha_dropout:
            raise UserError("network.dropout and network.alpha_dropout are given: one has to be 0")
        if self.batch_norm and self.layer_norm:
            raise UserError("network.batch_norm and network.layer_norm are given: only one may be")
        if len(self.activations) > len(self.hidden):
            raise UserError(
                f"network.activations has {len(self.activations)} entries: there are"
                f" {len(self.hidden)} hidden layers"
            )
        if self.pool and not self.conv:
            raise UserError(f"network.pool is {self.pool}: it needs network.conv")

    @property
    def filters(self) -> list[tuple[int, int, int]]:
        """The filters, height and width of each convolution.

        >>> NetworkConfig("lenet", [500], conv=["20@5x5"]).filters
        [(20, 5, 5)]
        """
        found = [_CONVOLUTION.fullmatch(entry) for entry in self.conv]
        return [(int(each[1]), int(each[2]), int(each[3])) for each in found if each]
