"""SIGINT, SIGTERM and SIGHUP end a command within two seconds, and what it holds is kept.

The first signal raises `Interrupted` where the main thread stands, so that runs are set to KILLED
and temporary files removed; what has not ended by then is left. The processes of a sweep's
launcher, and a stage of DVC's, end likewise when the process that started them is no more.
"""

import atexit
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import NoReturn

#: The process that started this one, as early as can be: it may end while packages are imported.
PARENT = os.getppid()


def _is_orphan_of_birth() -> bool:
    """Whether the parent had ended already, and process 1, of another session, is in its place."""
    try:
        return PARENT == 1 and os.getsid(0) != os.getsid(1)
    except OSError:
        return False


PARENT_HAD_ENDED = _is_orphan_of_birth()

#: Seconds from the signal to the end of the process, whatever it is at.
GRACE = 1.6

#: Seconds that processes started by this one have for what they hold, before this one goes on.
GRACE_OF_CHILDREN = 1.2

#: Seconds between two looks at the parent.
_LOOKS = 0.2

#: How to go on after an interrupt of any command.
ADVICE = "completed work is kept; run the same command to resume"

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_is_ending = False
_is_listening = False
_is_watching = False
_status: int | None = None


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


def _leave_early(number: int, frame: object) -> None:
    leave(number, ADVICE)


_USUAL = (signal.SIG_DFL, signal.default_int_handler, _leave_early)

# While `python -m` looks for a command: Ctrl-C shows no traceback of a second of imports.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave_early)


def finish(status: int) -> None:
    """Let a command that has done its work end with its own status, whatever comes now.

    And soon: where the process is one of ours from its start, it ends behind what others have
    registered for its end, and its modules are not taken apart, which takes TensorFlow a second.
    """
    global _status
    atexit.register(_ignore)  # runs before those of others, which may take a while
    main = getattr(sys.modules["__main__"], "__spec__", None)
    if main and main.name.startswith("actlab.stages."):
        _status = status


def _ignore() -> None:
    for each in _SIGNALS:
        if signal.getsignal(each) in _USUAL:
            signal.signal(each, signal.SIG_IGN)


def _end_at_once() -> None:
    if _status is not None:
        try:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(_status)


atexit.register(_end_at_once)  # as the first, so that it runs as the last


def is_listening() -> bool:
    """Whether a block of `listening` is being run in this process."""
    return _is_listening


@contextmanager
def listening(advice: str, watch_parent: bool) -> Iterator[None]:
    """Let the signals raise `Interrupted` in the block; inside another, do nothing.

    A signal that is ignored (nohup) or that a launcher has taken for itself (submitit's SIGTERM,
    so that a preempted job of SLURM's is queued again) keeps its meaning.

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
    import psutil  # not in the handler: an import may be what is interrupted

    def end_children() -> None:
        """Ask what this process has started to end, and wait a moment for those at work."""
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
        global _is_ending
        if _is_ending:
            return
        _is_ending = True
        with suppress(Exception):
            end_children()
        raise Interrupted(number)

    before = {each: signal.getsignal(each) for each in _SIGNALS}
    taken = [each for each, handler in before.items() if handler in _USUAL]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        # Python's own handlers wait for the main thread, which may be in a long call of C's.
        theirs.setblocking(False)
        woken_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        limit = threading.Thread(target=_end_in_time, args=(ours, taken, advice), daemon=True)
        limit.start()
        for each in taken:
            signal.signal(each, interrupt)
        if watch_parent and signal.SIGTERM in taken:
            end_with_parent()
        _is_listening = True
        try:
            yield
        finally:
            _is_listening = False
            if not _is_ending:
                for each in taken:
                    signal.signal(each, before[each])
                signal.set_wakeup_fd(woken_before)
                theirs.shutdown(socket.SHUT_RDWR)
                limit.join()


@contextmanager
def process_beside(imports: Sequence[str] = (), collects: bool = True) -> Iterator[Executor]:
    """Give a process that works beside this one, and ends with it however that ends.

    SIGINT, which a terminal sends to both, is this one's to answer. Behind the block it ends by
    itself when it has done what it was given; nobody waits for it before this process ends.

    Parameters
    ----------
    imports
        Modules that it imports before there is anything to do.
    collects
        Whether the two look for garbage meanwhile.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    beside = ProcessPoolExecutor(
        1, get_context("spawn"), initializer=_begin_beside, initargs=(imports, collects)
    )
    was_collecting = gc.isenabled()
    if not collects:
        gc.disable()
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        beside.submit(os.getpid)  # starts it now
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        yield beside
    except BaseException:
        beside.shutdown(cancel_futures=True)
        raise
    else:
        beside.shutdown(wait=False)
    finally:
        if was_collecting:
            gc.enable()


def _begin_beside(imports: Sequence[str], collects: bool) -> None:
    global _status
    _status = 0  # it ends at once too; its status is nobody's concern
    end_with_parent()
    if not collects:
        gc.disable()
    for name in imports:
        import_module(name)


def _end_in_time(woken: socket.socket, signals: list[signal.Signals], advice: str) -> None:
    """Wait for the byte of a signal, then a while, and end the process."""
    while numbers := woken.recv(1):
        if numbers[0] in signals:
            time.sleep(GRACE)
            leave(numbers[0], advice)


def end_with_parent() -> None:
    """From now on, take the end of the process that started this one for a SIGTERM."""
    global _is_watching
    if _is_watching:
        return
    _is_watching = True

    def watch() -> None:
        while os.getppid() == PARENT and not PARENT_HAD_ENDED:
            time.sleep(_LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch the parent", daemon=True).start()
