"""The commands: thin Hydra entry points that read files, call the core and write files."""

# First: it records the parent process, and handles Ctrl-C while packages are imported.
from actlab.engine import interrupts  # noqa: F401
