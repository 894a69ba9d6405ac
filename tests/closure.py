"""Which files of src/ a command runs."""

import ast
from collections.abc import Collection
from pathlib import Path

#: The folders and files of the package that compose, lock, describe or log: no result depends on
#: them, so no stage does.
APART = ("engine", "errors.py", "results/identity.py", "schema.py", "stages/entry.py", "tracking")

#: What provides the raw files: whoever reads them verifies their digests.
PROVIDES = "data/raw.py"


def import_closure(entry: Path, source: Path, apart: Collection[str] = ()) -> set[Path]:
    """The entry and every module of actlab that it imports, at any depth, lazily or not.

    Those apart, by their files or folders in the package, are left out, and what only they import.
    """
    closure: set[Path] = set()
    waiting = [entry]
    while waiting:
        path = waiting.pop()
        if path in closure:
            continue
        closure.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
                names += [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                module = source / f"{name.replace('.', '/')}.py"
                if not (name.startswith("actlab.") and module.is_file()):
                    continue
                place = module.relative_to(source / "actlab")
                if not {str(place), *map(str, place.parents)} & {*apart}:
                    waiting.append(module)
    return closure
