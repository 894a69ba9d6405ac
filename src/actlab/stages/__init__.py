"""The commands: thin Hydra entry points that read files, call the core and write files."""

# First: it looks at who started this process, and answers Ctrl-C while packages are imported.
from actlab.engine import interrupts  # noqa: F401
