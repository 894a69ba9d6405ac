"""Measurements beside training: gradients, unit health, signal propagation, times of a layer."""
