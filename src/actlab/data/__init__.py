"""Data sets: where the raw files come from, their digests, splits."""
