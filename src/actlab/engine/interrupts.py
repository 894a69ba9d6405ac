"""SIGINT, SIGTERM and SIGHUP end a command within two seconds; completed work is kept.

The first signal raises `Interrupted` in the main thread, so that runs are set to KILLED and
temporary files removed; what it does not reach in time is left to the actions of `at_the_latest`,
and the process ends. Workers of a sweep's launcher
and stages started by DVC end in the same way when their parent process ends.
"""

import atexit
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

#: The parent process, recorded early: it may end while packages are being imported.
PARENT = os.getppid()

#: Seconds from the signal to the end of the process.
GRACE = 1.6

#: Seconds that child processes have to clean up.
GRACE_OF_CHILDREN = 1.2

#: How to continue after an interrupt.
ADVICE = "completed work is kept; run the same command to resume"

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_actions: list[Callable[[], object]] = []
_received: int | None = None
_is_listening = False
_is_watching = False
_status: int | None = None


class Interrupted(KeyboardInterrupt):
    """The process was asked to end, by the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def leave(number: int, advice: str = "") -> NoReturn:
    """Print which signal stopped the process and `advice`, if any; end the process at once.

    Threads are abandoned: an epoch of a large network may take minutes.
    """
    with suppress(Exception):
        sys.stdout.flush()
    if advice:
        line = f"\nactlab: stopped by {signal.Signals(number).name}; {advice}\n"
        with suppress(OSError):
            os.write(2, line.encode())  # one write, so that other threads' lines stay apart
    os._exit(128 + number)


def _leave_early(number: int, frame: object) -> None:
    leave(number, ADVICE)


_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler, _leave_early)

# While `python -m` imports packages, Ctrl-C prints no traceback.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave_early)


def finish(status: int) -> None:
    """Ignore signals until the process has ended, with the status of a command that has finished.

    It ends after what others have registered for the exit. Python does not take its modules apart,
    which takes TensorFlow a second.
    """
    global _status
    _status = status
    for number in _SIGNALS:
        if signal.getsignal(number) in _DEFAULTS:
            signal.signal(number, signal.SIG_IGN)


def _end_at_once() -> None:
    if _status is not None:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(_status)


atexit.register(_end_at_once)  # registered first, it runs last


def is_listening() -> bool:
    """Return whether a block of `listening` is running in this process."""
    return _is_listening


@contextmanager
def reraising() -> Iterator[None]:
    """Raise `Interrupted` at the end of the block if a signal has arrived.

    A library may have swallowed it, or raised another error in its place: an interrupted import can
    end in ImportError.
    """
    try:
        yield
    finally:
        if _received is not None:
            raise Interrupted(_received)


@contextmanager
def listening(advice: str, watch_parent: bool) -> Iterator[None]:
    """Raise `Interrupted` in the block when a signal arrives; a nested block changes nothing.

    A signal that is ignored (nohup) or that a launcher handles (submitit requeues a preempted SLURM
    job on SIGTERM) keeps its meaning.

    Parameters
    ----------
    advice
        How to continue, printed when the block does not end in time.
    watch_parent
        Whether the end of the parent process counts as SIGTERM.
    """
    global _is_listening
    if threading.current_thread() is not threading.main_thread() or _is_listening:
        with reraising():
            yield
        return
    import psutil  # not in the handler: an import may be what is interrupted

    def end_children() -> None:
        with suppress(psutil.Error):
            children = [
                child
                for child in psutil.Process().children(recursive=True)
                if not any("resource_tracker" in word for word in child.cmdline())  # ends by itself
            ]
            for child in children:
                with suppress(psutil.Error):
                    child.terminate()
            psutil.wait_procs(children, timeout=GRACE_OF_CHILDREN)

    def interrupt(number: int, frame: object) -> None:
        global _received
        if _received is not None:
            return
        _received = number
        with suppress(Exception):
            end_children()
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    handled = [number for number, handler in before.items() if handler in _DEFAULTS]
    receiver, sender = socket.socketpair()
    with receiver, sender:
        # Python's handlers run in the main thread, which may be inside a long C call; the
        # wake-up socket reaches another thread at once.
        sender.setblocking(False)
        previous_sender = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        limit = threading.Thread(target=_end_in_time, args=(receiver, handled, advice), daemon=True)
        limit.start()
        for number in handled:
            signal.signal(number, interrupt)
        if watch_parent and signal.SIGTERM in handled:
            end_with_parent()
        _is_listening = True
        try:
            with reraising():
                yield
        finally:
            _is_listening = False
            if _received is None:
                for number in handled:
                    signal.signal(number, before[number])
                signal.set_wakeup_fd(previous_sender)
                sender.shutdown(socket.SHUT_RDWR)
                limit.join()


@contextmanager
def at_the_latest(action: Callable[[], object]) -> Iterator[None]:
    """Run an action on another thread if an interrupt finds the block's thread busy for too long.

    A library may be writing a file, or have caught the interrupt.
    """
    _actions.append(action)
    try:
        yield
    finally:
        _actions.remove(action)


def _end_in_time(receiver: socket.socket, signals: list[signal.Signals], advice: str) -> None:
    """Wait for a signal's byte, then for `GRACE`, and end the process."""

    def act() -> None:
        for action in [*_actions]:
            with suppress(Exception):  # the first failure is the one to report
                action()

    while received := receiver.recv(1):
        if received[0] in signals:
            time.sleep(GRACE_OF_CHILDREN)
            threading.Thread(target=act, daemon=True).start()  # it may have to wait for a lock
            time.sleep(GRACE - GRACE_OF_CHILDREN)
            leave(received[0], advice)


def end_with_parent() -> None:
    """Treat the end of the parent process as SIGTERM, from now on."""
    global _is_watching
    if _is_watching:
        return
    _is_watching = True

    def watch() -> None:
        while os.getppid() == PARENT:
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch the parent", daemon=True).start()
