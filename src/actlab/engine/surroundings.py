"""What every command requires of its surroundings: output that takes any text, its own source."""

import io
import sys
from pathlib import Path

from actlab.errors import UserError

#: The folder of the package that runs.
PACKAGE = Path(__file__).parents[1]


def prepare(root: Path) -> None:
    r"""Let standard output take any text, and require that a clone at `root` runs its own source.

    Characters that the output's encoding lacks are printed as escapes: `\u03c7` for χ.

    Raises
    ------
    UserError
        If `root` is a clone, but the package was imported from elsewhere: an environment that was
        copied with its clone still imports the original's source.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    own = root / "src" / PACKAGE.name
    if own.is_dir() and not own.samefile(PACKAGE):
        raise UserError(
            f"this clone is {root}, but {PACKAGE.name} is imported from {PACKAGE.parent}:"
            " run `make setup` here, or set PYTHONPATH=src"
        )
