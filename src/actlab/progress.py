"""How far a training is: a bar on a terminal, plain lines elsewhere."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm


class Advance(Protocol):
    """Says that one more model-epoch is done, and what it gave."""

    def __call__(self, *, loss: float, val_accuracy: float) -> None:
        """Take in a model-epoch's training loss and validation accuracy."""


_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


@contextmanager
def shown(title: str, model_epochs: int, done: int = 0) -> Iterator[Advance]:
    """Show the progress of a configuration: model-epochs done, loss, accuracy, time left.

    Parameters
    ----------
    title
        Stands in front.
    model_epochs
        How many there will be: seeds x epochs.
    done
        How many there were before, when a training goes on.
    """
    terminal = sys.stdout.isatty()
    started = 0.0
    lines_at = {round(model_epochs * tenth / 5) for tenth in range(1, 6)}
    with tqdm(
        total=model_epochs,
        initial=done,
        desc=title,
        unit="epoch",
        file=sys.stdout,
        disable=not terminal,
        ncols=shutil.get_terminal_size().columns,
        bar_format=_BAR,
    ) as bar:
        first = done + 1

        def advance(*, loss: float, val_accuracy: float) -> None:
            nonlocal done, started
            done += 1
            if done == first:  # what came before was compiling
                started = time.perf_counter()
            bar.set_postfix(loss=f"{loss:.4f}", val_accuracy=f"{val_accuracy:.4f}", refresh=False)
            bar.update()
            if not terminal and done in lines_at:
                left = ""
                if done > first:
                    each = (time.perf_counter() - started) / (done - first)
                    left = f", {each * (model_epochs - done):.0f} s left"
                print(
                    f"{title}: {done} of {model_epochs} model-epochs, loss {loss:.4f},"
                    f" val_accuracy {val_accuracy:.4f}{left}",
                    flush=True,
                )

        yield advance
