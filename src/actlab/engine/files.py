"""Files and folders that appear whole or not at all."""

import errno
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from actlab.errors import UserError

#: Seconds after which a process that cannot be observed counts as ended.
_UNSEEN = 24 * 3600


@contextmanager
def atomic_write(
    path: Path, sync: bool = True, replaces: Iterable[str] | None = None
) -> Iterator[Path]:
    """Yield a temporary path next to `path`; what the block writes there replaces `path`.

    The block may write a file or make a folder. When it raises, `path` stays as it was and nothing
    is left behind; an OSError names the file by its final place. Leftovers of killed processes for
    the same `path` are removed.

    Parameters
    ----------
    path
        The file or folder; its parents are made.
    sync
        Whether to sync to disk first, so that `path` is complete after a power failure too.
    replaces
        The names that a folder may hold to be replaced, where the user chooses `path`; None: any.

    Raises
    ------
    UserError
        If `path` is a folder that holds something else.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "results" / "answer.txt"
    >>> with atomic_write(target) as path:
    ...     _ = path.write_text("42")
    >>> target.read_text(), [file.name for file in target.parent.iterdir()]
    ('42', ['answer.txt'])
    """
    if replaces is not None and path.is_dir():
        held = {entry.name for entry in path.iterdir()}
        if others := sorted(held.difference(replaces)):
            raise UserError(
                f"{path} would be replaced, and holds {others[0]}, which actlab did not write:"
                " name a folder that is new or empty"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
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
    except OSError as error:  # name the file by its final place
        named = Path(os.fsdecode(error.filename or new))
        if named.is_relative_to(new):
            error.filename = str(path / named.relative_to(new))
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@cache
def this_machine() -> str:
    """Return the host, its boot and, since containers number processes separately, the namespace.

    Machines made from one image have one host name, and often one machine id; the kernel draws the
    id of a boot at random.
    """
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}-{boot[:8]}-{''.join(filter(str.isdigit, namespace))}"


def has_ended(machine: str, process: int, seen: Callable[[], float]) -> bool:
    """Return whether a process has ended.

    One that cannot be observed, on another machine or before a reboot, counts as ended a day after
    `seen()`, the time of what it last did, in seconds since 1970.
    """
    if machine == this_machine():
        return not is_alive(process)
    return time.time() - seen() > _UNSEEN


def is_alive(process: int) -> bool:
    """Return whether a process of this machine is running."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def remove_abandoned(path: Path, is_locked: bool = False) -> None:
    """Remove partial files of processes that have ended.

    `is_locked` says that whoever writes `path` holds a lock, which is the caller's: then all are
    abandoned, also those of another machine, or of a process whose number runs again.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.(.+)\.(\d+)\.[^.]+\.partial")
    for entry in os.scandir(path.parent):
        found = name.fullmatch(entry.name)
        if not found:
            continue
        try:
            began = entry.stat().st_mtime
        except FileNotFoundError:  # it has just been finished
            continue
        if is_locked or has_ended(found[1], int(found[2]), lambda began=began: began):
            # Killed between two renames: restore the previous content.
            before = Path(entry.path, "before")
            if before.is_dir() and not path.exists():
                with suppress(OSError):
                    before.rename(path)
            shutil.rmtree(entry.path, ignore_errors=True)


def _sync(path: Path) -> None:
    """Sync a file, or a folder with its content, to disk."""
    for content in path.rglob("*"):
        _sync_one(content)
    _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)
