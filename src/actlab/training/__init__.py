"""Training: one compiled program per epoch, seeds in parallel, checkpoints."""
