"""Kernel initializers by name."""

from actlab.activations.config import ActivationConfig
from actlab.activations.functions import get_activation
from actlab.models.config import RECOMMENDED


def resolve_initializer(kernel_initializer: str, activation: ActivationConfig) -> str:
    """Give Keras's name of the kernel initializer of an activation's networks.

    >>> resolve_initializer(RECOMMENDED, ActivationConfig("relu", "relu", {}))
    'he_uniform'
    >>> resolve_initializer("glorot_normal", ActivationConfig("relu", "relu", {}))
    'glorot_normal'
    """
    if kernel_initializer == RECOMMENDED:
        return get_activation(activation).recommended_initializer
    return kernel_initializer
