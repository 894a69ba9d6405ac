"""One process per training."""

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
    from filelock import FileLock, Timeout

    place = Path(os.environ.get("DVC_ROOT") or Path.cwd(), folder, fingerprint)
    locks = place.parent / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / fingerprint, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{title}: waiting for another process that trains the same", flush=True)
        lock.acquire()
    try:
        yield place
    finally:
        lock.release()
