"""Kernel initializers by name."""

from actlab.activations.config import ActivationConfig
from actlab.activations.functions import get_activation
from actlab.models.config import RECOMMENDED


def resolve_initializer(kernel_initializer: str, activation: ActivationConfig) -> str:
    """Return Keras's name of the kernel initializer; `recommended` depends on the activation.

    >>> resolve_initializer(RECOMMENDED, ActivationConfig("relu", "relu", {}))
    'he_uniform'
    """
    if kernel_initializer == RECOMMENDED:
        return get_activation(activation).recommended_initializer
    return kernel_initializer
