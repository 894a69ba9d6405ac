"""SIGINT and SIGTERM end a command within two seconds, and what it holds is kept.

The first signal raises `Interrupted` where the main thread stands, so that runs are set to KILLED
and temporary files removed; what has not ended by then is left. The processes of a sweep's
launcher, and a stage of DVC's, end likewise when the process that started them is no more.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

#: Seconds from the signal to the end of the process, whatever it is at.
GRACE = 1.6

#: Seconds that processes started by this one have for what they hold, before this one goes on.
GRACE_OF_CHILDREN = 0.8

#: Seconds between two looks at the parent.
_LOOKS = 0.2

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# The signal that this process is ending by.
_ending_by: signal.Signals | None = None
_is_listening = False
_is_watching = False


class Interrupted(KeyboardInterrupt):
    """The process was asked to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def leave(number: int, advice: str = "") -> NoReturn:
    """Say, with `advice`, that the process was interrupted and how to go on; end it at once.

    Threads are not waited for: an epoch of a large network may take minutes.
    """
    with suppress(Exception):
        sys.stdout.flush()
    if advice:
        line = f"\nactlab: stopped by {signal.Signals(number).name}; {advice}\n"
        with suppress(OSError):
            os.write(2, line.encode())  # at once, beside the bars and lines of other threads
    os._exit(128 + number)


def is_listening() -> bool:
    """Whether a block of `listening` is being run in this process."""
    return _is_listening


@contextmanager
def listening(advice: str, watch_parent: bool) -> Iterator[None]:
    """Let SIGINT and SIGTERM raise `Interrupted` in the block; inside another, do nothing.

    Parameters
    ----------
    advice
        How to go on, for the line that is said when the block does not end in time.
    watch_parent
        Whether the end of the parent counts as SIGTERM, from now on.
    """
    global _is_listening
    if threading.current_thread() is not threading.main_thread() or _is_listening:
        yield
        return
    if watch_parent:
        _watch_parent()

    def interrupt(number: int, frame: object) -> None:
        global _ending_by
        if _ending_by is not None:
            return
        _ending_by = signal.Signals(number)
        timer = threading.Timer(GRACE, leave, (number, advice))
        timer.daemon = True
        timer.start()
        _end_children()
        raise Interrupted(number)

    before = {each: signal.signal(each, interrupt) for each in _SIGNALS}
    _is_listening = True
    try:
        yield
    finally:
        _is_listening = False
        if _ending_by is None:
            for each, handler in before.items():
                signal.signal(each, handler)


def _end_children() -> None:
    """Ask the processes that this one has started to end, and wait a moment for those at work."""
    import psutil

    with suppress(psutil.Error):
        children = psutil.Process().children(recursive=True)
        for child in children:
            with suppress(psutil.Error):
                child.terminate()
        psutil.wait_procs(children, timeout=GRACE_OF_CHILDREN)


def _watch_parent() -> None:
    global _is_watching
    if _is_watching:
        return
    _is_watching = True
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch the parent", daemon=True).start()
