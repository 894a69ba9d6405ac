"""Files and folders that appear whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what the block writes there becomes `path`.

    The block may write a file or make a folder at the temporary path. When it
    ends, that takes the place of whatever `path` held before; when it raises,
    `path` stays as it was and nothing is left behind.

    Parameters
    ----------
    path
        Where the file or folder is to be; its parents are made.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "results" / "answer.txt"
    >>> with written_whole(target) as path:
    ...     _ = path.write_text("42")
    >>> target.read_text(), [each.name for each in target.parent.iterdir()]
    ('42', ['answer.txt'])
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A kill leaves this folder behind; .dvcignore and .gitignore know its name.
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    new, old = scratch / path.name, scratch / "before"
    try:
        yield new
        if path.is_dir():
            path.rename(old)
        try:
            new.replace(path)
        except BaseException:  # Ctrl-C too
            if old.is_dir():
                old.rename(path)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
