"""The commands: thin Hydra entry points that read files, call the core and write files."""

import os

#: The process that started this one, as early as can be: it may end while packages are imported.
PARENT = os.getppid()
