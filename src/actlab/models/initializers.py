"""Initializers: how weights begin, as Keras's objects, and the variance that they give."""

import math
from collections.abc import Mapping
from typing import Any

from actlab.activations.config import ActivationConfig
from actlab.activations.functions import get_activation
from actlab.backend import keras
from actlab.engine.targets import instantiate
from actlab.models import config
from actlab.models.config import InitializerConfig

#: Keras's initializers that draw nothing.
_FIXED = ("Constant", "Zeros", "Ones", "Identity")

#: Scale and mode of those that are named after their authors.
_SCALED = {"Glorot": (1.0, "fan_avg"), "He": (2.0, "fan_in"), "Lecun": (1.0, "fan_in")}

#: The variance of a normal distribution of variance 1 that is cut at two standard deviations.
_CUT = 1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))


class UnitNorm(keras.initializers.Initializer):
    """Normal weights, the incoming ones of each unit scaled to a Euclidean norm of 1.

    Source: Hendrycks & Gimpel 2016, "Gaussian error linear units", section 3.1.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Draw a kernel (..., inputs, units)."""
        drawn = keras.random.normal(shape, dtype=dtype, seed=self.seed)
        axes = list(range(len(shape) - 1))
        return drawn / keras.ops.sqrt(keras.ops.sum(drawn**2, axis=axes, keepdims=True))


def resolve_initializer(
    initializer: InitializerConfig, activation: ActivationConfig
) -> InitializerConfig:
    """Replace `recommended`, which depends on the activation, and `mean_field` by what they mean.

    >>> relu = ActivationConfig("relu", "relu", {})
    >>> resolve_initializer(InitializerConfig.read("recommended"), relu).name
    'he_uniform'
    """
    values = initializer.settings
    match values["_target_"]:
        case config.RECOMMENDED:
            name = get_activation(activation).recommended_initializer
            kernel = {"_target_": f"keras.initializers.{name.title().replace('_', '')}"}
            return InitializerConfig(name, kernel | {"bias": values.get("bias")})
        case config.MEAN_FIELD:
            bias = {"_target_": "keras.initializers.RandomNormal", "stddev": values["sigma_b"]}
            kernel = _scale(values["sigma_w"] ** 2, "untruncated_normal")
            return InitializerConfig(
                initializer.name, kernel | {"bias": bias if values["sigma_b"] else None}
            )
    return initializer


def _scale(scale: float, distribution: str) -> dict[str, Any]:
    return {
        "_target_": "keras.initializers.VarianceScaling",
        "scale": scale,
        "mode": "fan_in",
        "distribution": distribution,
    }


def make_kernel_initializer(initializer: InitializerConfig, seed: int) -> Any:
    """Make Keras's initializer of a kernel; `initializer` is resolved."""
    kernel = {key: value for key, value in initializer.settings.items() if key != "bias"}
    return _instantiate(kernel, "initializer", seed)


def make_bias_initializer(
    initializer: InitializerConfig, seed: int, inputs: int, units: int
) -> Any:
    """Make Keras's initializer of the biases of a layer; None for zeros.

    Variance scaling counts the inputs and units of the kernel.
    """
    bias: Mapping[str, Any] | None = initializer.settings.get("bias")
    if bias and bias["_target_"].endswith("VarianceScaling"):
        variance = weight_moments(InitializerConfig("bias", dict(bias)), inputs, units)[1]
        bias = {**bias, "scale": variance * units, "mode": "fan_in"}  # of a vector: its length
    return _instantiate(bias, "initializer.bias", seed) if bias else None


def _instantiate(values: Mapping[str, Any], key: str, seed: int) -> Any:
    is_fixed = values["_target_"].rpartition(".")[2] in _FIXED
    return instantiate(values, key, **({} if is_fixed else {"seed": seed}))


def weight_moments(initializer: InitializerConfig, inputs: int, units: int) -> tuple[float, float]:
    """Compute the mean and the variance of a kernel's entries; `initializer` is resolved.

    Glorot & Bengio 2010 (equation 12), He et al. 2015 (equation 10), LeCun et al. 1998 (equation
    16). NaN for the identity, whose entries have no common distribution.

    >>> weight_moments(InitializerConfig.read("he_normal"), 512, 784)
    (0.0, 0.00390625)
    """
    values = initializer.settings
    target = values["_target_"].rpartition(".")[2]
    mean = float(values.get("mean", values.get("value", 0.0)))
    match target:
        case "RandomNormal":
            return mean, values.get("stddev", 0.05) ** 2
        case "TruncatedNormal":
            return mean, _CUT * values.get("stddev", 0.05) ** 2
        case "RandomUniform":
            low, high = values.get("minval", -0.05), values.get("maxval", 0.05)
            return (low + high) / 2, (high - low) ** 2 / 12
        case "UnitNorm":
            return 0.0, 1 / inputs
        case "Orthogonal":
            return 0.0, values.get("gain", 1.0) ** 2 / max(inputs, units)
        case "Constant" | "Zeros":
            return mean, 0.0
        case "Ones":
            return 1.0, 0.0
        case "Identity":
            return math.nan, math.nan
    family = target.removesuffix("Uniform").removesuffix("Normal")
    scale, mode = _SCALED.get(family, (values.get("scale", 1.0), values.get("mode", "fan_in")))
    count = {"fan_in": inputs, "fan_out": units, "fan_avg": (inputs + units) / 2}[mode]
    return 0.0, scale / count


def weight_variance(initializer: InitializerConfig, inputs: int, units: int) -> float:
    """Compute sigma_w^2, the variance of a kernel's entries times its inputs, as theory takes it.

    NaN where the entries have another mean than 0, or no variance: the theory does not apply.

    >>> weight_variance(InitializerConfig.read("glorot_uniform"), 512, 512)
    1.0
    """
    mean, variance = weight_moments(initializer, inputs, units)
    return inputs * variance if mean == 0 and variance > 0 else math.nan


def bias_variance(initializer: InitializerConfig, inputs: int, units: int) -> float:
    """Compute sigma_b^2, the variance of a layer's biases; NaN where their mean is not 0."""
    bias = initializer.settings.get("bias")
    if not bias:
        return 0.0
    mean, variance = weight_moments(InitializerConfig("bias", bias), inputs, units)
    return variance if mean == 0 else math.nan
