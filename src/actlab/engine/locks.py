"""One process at a time: per training, per folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def training_lock(folder: str, fingerprint: str, title: str) -> Iterator[Path]:
    """Lock a training, and yield the folder of its checkpoints; wait for another process first.

    The lock is reentrant within a process and ends with it. `folder` is relative to the root of the
    main checkout (DVC's temporary experiments name it in DVC_ROOT); `title` names the training in
    the line that is printed while waiting.
    """
    place = Path(os.environ.get("DVC_ROOT") or Path.cwd(), folder, fingerprint)
    locks = place.parent / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with file_lock(
        locks / fingerprint, f"{title}: waiting for another process that trains the same"
    ):
        yield place


@contextmanager
def file_lock(path: Path, waiting: str) -> Iterator[None]:
    """Lock a file; while another process holds the lock, print a line and wait for it."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(waiting, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
