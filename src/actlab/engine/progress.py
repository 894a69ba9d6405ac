"""The progress of a training: a bar on a terminal, plain lines elsewhere; its divergence."""

import math
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm


class Advance(Protocol):
    """Show that one more epoch of a model is finished, with some of its metrics."""

    def __call__(self, **metrics: float) -> None:
        """Advance by one."""


def choose(loss: float, val_loss: float, val_accuracy: float) -> dict[str, float]:
    """Choose the metrics to show for an epoch: the validation loss if it has no accuracy.

    >>> choose(0.1, 0.2, float("nan"))
    {'loss': 0.1, 'val_loss': 0.2}
    """
    watched = {"val_loss": val_loss} if math.isnan(val_accuracy) else {"val_accuracy": val_accuracy}
    return {"loss": loss, **watched}


_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


@contextmanager
def shown(title: str, model_epochs: int, done: int = 0, lines: int = 5) -> Iterator[Advance]:
    """Show a training's progress: finished of all epochs of all models, `done` at the start.

    `lines` are written where the output is not a terminal, evenly, the last at the end.
    """
    terminal = sys.stdout.isatty()
    lines_at = {round(model_epochs * line / lines) for line in range(1, lines + 1)}
    with tqdm(
        total=model_epochs,
        initial=done,
        desc=title,
        file=sys.stdout,
        disable=not terminal,
        ncols=shutil.get_terminal_size().columns,
        bar_format=_BAR,
    ) as bar:

        def advance(**metrics: float) -> None:
            nonlocal done
            done += 1
            written = {name: f"{value:.4f}" for name, value in metrics.items()}
            bar.set_postfix(written, refresh=False)
            bar.update()
            if not terminal and done in lines_at:
                listed = ", ".join(f"{name} {value}" for name, value in written.items())
                print(f"{title}: {done} of {model_epochs} model-epochs, {listed}", flush=True)

        yield advance


def describe_divergence(epochs: Mapping[int, int], seeds: int) -> str:
    """Write which of a number of seeds diverged, and in which epoch of each.

    >>> describe_divergence({0: 2, 3: 1, 4: 2}, seeds=6)
    '3 of 6 seeds diverged (the loss is not finite): seed 3 in epoch 1, seeds 0 and 4 in epoch 2'
    """
    parts = []
    for epoch in sorted(set(epochs.values())):
        *before, last = [str(seed) for seed, first in epochs.items() if first == epoch]
        names = f"seeds {', '.join(before)} and {last}" if before else f"seed {last}"
        parts.append(f"{names} in epoch {epoch}")
    noun = "seed" if seeds == 1 else "seeds"
    lost = f"{len(epochs)} of {seeds} {noun} diverged (the loss is not finite)"
    return f"{lost}: {', '.join(parts)}"


#: What may prevent a divergence.
REMEDY = "a lower learning rate or the recommended initializer may prevent it"
