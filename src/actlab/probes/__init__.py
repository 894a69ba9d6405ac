"""Measurements other than training: gradients, unit health, mean-field theory, layer times."""
