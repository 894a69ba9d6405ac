"""One process per training."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def training_lock(folder: str, fingerprint: str, title: str) -> Iterator[Path]:
    """Give the folder of a training's checkpoints, once no other process here trains it.

    A process that has it already gets it again. The lock ends with its process; its file stays,
    since a file that is locked cannot be removed safely on a network file system.

    Parameters
    ----------
    folder
        Of all checkpoints, relative to the root of the main checkout: DVC's temporary
        experiments name that in DVC_ROOT.
    fingerprint
        Of a configuration.
    title
        Of the training, for the line that is said when there is to wait.
    """
    from filelock import FileLock, Timeout

    place = Path(os.environ.get("DVC_ROOT") or Path.cwd(), folder, fingerprint)
    locks = place.parent / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / fingerprint, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{title}: another process trains the same, waiting for it", flush=True)
        lock.acquire()
    try:
        yield place
    finally:
        lock.release()
