"""A run folder as a training leaves it, or as far as it is, with planted numbers."""

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from actlab.results.layout import RunFolder, weights_path
from actlab.schema import Config

LAYERS = [("hidden_1", 784, 4, "relu", 3140), ("output", 4, 10, "linear", 50)]


def folder_of(config: Config) -> RunFolder:
    """Where its finished run lies."""
    return RunFolder.finished(config.paths.runs, config.activation.name, config.network.name)


def plant_run(
    config: Config,
    folder: RunFolder,
    accuracy: Callable[[int, int], float] | None = None,
    loss: float = 0.3,
    epochs: Mapping[int, int] | None = None,
    fingerprint: str = "digest",
    code: str = "code",
    began: int = 0,
) -> None:
    """Write a run; a second time its tables grow, or shrink, and the numbers are the same.

    `accuracy` is the validation accuracy of a seed after an epoch; of epoch 0, that of its test.
    `epochs` are those of each seed that has begun, all by default; one more, and it is finished.
    `began` is when, in seconds, an epoch taking one.
    Weights are bytes of the configuration's and the seed's own, unless real ones are there.
    """
    last = config.training.epochs
    kept = config.training.kept_epochs()
    reached = epochs if epochs is not None else dict.fromkeys(config.seeds, last + 1)
    history, timings, test, updates = [], [], [], []
    for seed in sorted(reached):
        draw = random.Random(seed).random
        for epoch in range(1, last + 1):
            drawn = [draw() for _ in range(4)]
            value = accuracy(seed, epoch) if accuracy else drawn[0]
            if epoch > reached[seed]:
                continue
            history.append((seed, epoch, loss + drawn[1] / 1e6, value, drawn[2], value))
            ended = 1_700_000_000_000 + 1000 * (began + epoch) + seed
            timings.append((seed, epoch, 0.1 + drawn[3] / 10, 1.5 + seed, 2, ended))
        if reached[seed] > last:
            test.append((seed, draw(), accuracy(seed, 0) if accuracy else draw()))
            path = weights_path(folder.models, seed, last)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes().startswith(b"planted"):
                path.write_bytes(f"planted {config} {seed}".encode())
        for epoch in kept:
            if epoch <= reached[seed]:
                names = [layer for layer, *_ in LAYERS]
                updates += [(seed, epoch, layer, 0.01 / (1 + seed + epoch)) for layer in names]
    model: dict[str, Any] = {
        name: asdict(getattr(config, name)) for name in ("activation", "network", "initializer")
    }
    model |= {"inputs": 784, "classes": 10, "shape": [28, 28]}
    folder.write_config(config, model, fingerprint, code)
    folder.write_table("layers", LAYERS)
    folder.write_table("history", history)
    folder.write_table("timings", timings)
    folder.write_table("test", test)
    folder.write_table("updates", updates)
