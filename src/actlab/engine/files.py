"""Files and folders that appear whole or not at all."""

import errno
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path


@contextmanager
def atomic_write(path: Path, sync: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`; what the block writes there becomes `path`.

    The block may write a file or make a folder at the temporary path. When it
    ends, that takes the place of whatever `path` held before; when it raises,
    `path` stays as it was and nothing is left behind; an OSError that it raises names the file or
    folder by its place at `path`. What a killed process left behind here,
    the next call for the same `path` removes.

    Parameters
    ----------
    path
        Where the file or folder is to be; its parents are made.
    sync
        Whether what was written is on the disk before it becomes `path`, so that it is whole
        after a power failure too.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "results" / "answer.txt"
    >>> with atomic_write(target) as path:
    ...     _ = path.write_text("42")
    >>> target.read_text(), [each.name for each in target.parent.iterdir()]
    ('42', ['answer.txt'])
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    # .dvcignore and .gitignore know the name.
    prefix = f".{path.name}.{this_machine()}.{os.getpid()}."
    scratch = Path(tempfile.mkdtemp(prefix=prefix, suffix=".partial", dir=path.parent))
    new, old = scratch / path.name, scratch / "before"
    try:
        yield new
        if sync:
            _sync(new)
        try:
            if path.is_dir():
                path.rename(old)
            new.replace(path)
        except BaseException:  # Ctrl-C too
            if old.is_dir() and not path.exists():
                old.rename(path)
            raise
        if sync:
            _sync_one(path.parent)
    except OSError as error:  # what `write` raises names no file, and what names one, a passing one
        told = Path(os.fsdecode(error.filename or new))
        if told.is_relative_to(new):
            error.filename = str(path / told.relative_to(new))
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@cache
def this_machine() -> str:
    """Name what the numbers of processes hold for: a host, and a namespace where there are such.

    Containers on one host, or of one host's name, number their processes each for itself.
    """
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}-{''.join(filter(str.isdigit, namespace))}"


def is_alive(process: int) -> bool:
    """Tell whether a process of this machine has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def _remove_abandoned(path: Path) -> None:
    """Remove what processes of this machine that have ended were writing."""
    name = re.compile(rf"\.{re.escape(path.name)}\.(.+)\.(\d+)\.[^.]+\.partial")
    for entry in os.scandir(path.parent):
        found = name.fullmatch(entry.name)
        if found and found[1] == this_machine() and not is_alive(int(found[2])):
            # A kill between two renames: what was there before is there no more.
            before = Path(entry.path, "before")
            if before.is_dir() and not path.exists():
                with suppress(OSError):
                    before.rename(path)
            shutil.rmtree(entry.path, ignore_errors=True)


def _sync(path: Path) -> None:
    """Have a file, or a folder with all that is in it, on the disk."""
    if path.is_dir():
        for each in path.iterdir():
            _sync(each)
    _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems know no such thing of a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)
