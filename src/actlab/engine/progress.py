"""How far a training is: a bar on a terminal, five plain lines elsewhere."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm


class Advance(Protocol):
    """Shows that one more model-epoch is finished, and its result."""

    def __call__(self, *, loss: float, val_accuracy: float) -> None:
        """Take in a model-epoch's training loss and validation accuracy."""


_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


@contextmanager
def shown(title: str, model_epochs: int, done: int = 0) -> Iterator[Advance]:
    """Show the progress of a configuration: model-epochs finished, loss, accuracy.

    Parameters
    ----------
    title
        Stands in front.
    model_epochs
        How many there will be: seeds x epochs.
    done
        How many there were before, when a training resumes.
    """
    terminal = sys.stdout.isatty()
    lines_at = {round(model_epochs * fifth / 5) for fifth in range(1, 6)}
    with tqdm(
        total=model_epochs,
        initial=done,
        desc=title,
        file=sys.stdout,
        disable=not terminal,
        ncols=shutil.get_terminal_size().columns,
        bar_format=_BAR,
    ) as bar:

        def advance(*, loss: float, val_accuracy: float) -> None:
            nonlocal done
            done += 1
            bar.set_postfix(loss=f"{loss:.4f}", val_accuracy=f"{val_accuracy:.4f}", refresh=False)
            bar.update()
            if not terminal and done in lines_at:
                print(
                    f"{title}: {done} of {model_epochs} model-epochs, loss {loss:.4f},"
                    f" val_accuracy {val_accuracy:.4f}",
                    flush=True,
                )

        yield advance
