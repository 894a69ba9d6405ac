"""Commands, sweeps and files: knows nothing of activations."""
