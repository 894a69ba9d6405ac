"""The progress of a training: a bar on a terminal, five plain lines elsewhere."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm


class Advance(Protocol):
    """Show that one more epoch of a model is finished, with its loss and accuracy."""

    def __call__(self, *, loss: float, val_accuracy: float) -> None:
        """Advance by one."""


_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


@contextmanager
def shown(title: str, model_epochs: int, done: int = 0) -> Iterator[Advance]:
    """Show a training's progress: finished of all epochs of all models, `done` at the start."""
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
