"""Activation functions: definitions, values and derivatives of any of them, mean-field maps."""
