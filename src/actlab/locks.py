"""One process a training."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone_with(folder: str, fingerprint: str, title: str) -> Iterator[Path]:
    """Give the folder of a training's checkpoints, once no other process here trains it.

    A process that has it already gets it again. The lock, a file beside the folder, ends with its
    process.

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
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{place}.lock", is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{title}: another process trains the same, waiting for it", flush=True)
        lock.acquire()
    try:
        yield place
    finally:
        if (
            lock.lock_counter == 1
        ):  # whoever waits finds that this file is no more, and makes another
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
