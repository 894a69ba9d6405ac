"""Train one configuration over its seeds: `python -m actlab.stages.train`."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from operator import attrgetter, itemgetter
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from actlab.config import Config
from actlab.stages import command

if TYPE_CHECKING:
    from actlab.datasets import Splits
    from actlab.training import Epoch, Fitted


class Trained(NamedTuple):
    """What came of a training.

    Attributes
    ----------
    objective
        The mean validation accuracy over seeds after the last epoch; None where no validation
        images were held out, since nothing is selected by the test split.
    diverged
        The seeds whose loss stopped being a finite number.
    is_logged
        Whether MLflow has all of it.
    """

    objective: float | None
    diverged: list[int]
    is_logged: bool


def train(config: Config, job: str | None = None) -> Trained:
    """Train an activation on a network, one model a seed; write and log all that they give.

    `job` is what a sweep calls it: it says less than a training that is alone.
    """
    import numpy as np

    from actlab import progress, tables, tracking
    from actlab.fingerprint import code_of, fingerprint
    from actlab.model import ModelSpec, build_model, describe_layers, weights_path
    from actlab.outputs import written_whole
    from actlab.own import check
    from actlab.training import Epoch, Fitted, Protocol, fit_seeds

    if config.activation.is_own:
        check(config.activation)
    splits = load_splits(config)
    spec = ModelSpec(config.activation, config.network, config.model.kernel_initializer)
    protocol = Protocol(
        config.training.epochs,
        config.training.batch_size,
        config.training.learning_rate,
        config.training.kept_epochs(),
    )
    layers = describe_layers(build_model(spec, config.seeds[0]), spec)
    name = f"{config.activation.name}-{config.network.name}"
    title = f"{job}, {name}" if job else name
    if job is None:
        print(tables.as_text(layers, tables.LAYERS), flush=True)

    models, results = Path(config.paths.models) / name, Path(config.paths.results) / name
    epoch_metrics = (*tables.HISTORY[2:], "epoch_seconds")
    final_metrics = (*tables.TEST[1:], "compile_seconds")
    epochs: list[Epoch] = []
    fitted: list[Fitted] = []
    updates: list[tuple[int, int, str, float]] = []
    source = "dvc" if config.paths.output == "." else "sweep"
    run = tracking.ConfigurationRun(
        config, source, fingerprint=fingerprint(config), code=code_of(config)
    )
    with run as tracked:
        with (
            written_whole(models) as folder,
            progress.shown(title, len(config.seeds) * protocol.epochs) as advance,
        ):

            def keep(seed: int, epoch: int, model: Any, next_step: Any) -> None:
                path = weights_path(folder, seed, epoch)
                path.parent.mkdir(parents=True, exist_ok=True)
                model.save_weights(path)
                updates.extend((seed, epoch, *ratio) for ratio in next_step().items())

            watched = splits.validation or splits.test
            for event in fit_seeds(
                spec,
                config.seeds,
                splits.train,
                watched,
                splits.test,
                protocol,
                keep,
                config.models_at_once,
            ):
                if isinstance(event, Epoch):
                    epochs.append(event)
                    advance(loss=event.loss, val_accuracy=event.val_accuracy)
                    metrics = {key: getattr(event, key) for key in epoch_metrics}
                    tracked.log_epoch(event.seed, event.epoch, metrics)
                else:
                    fitted.append(event)
                    weights = weights_path(folder, event.seed, protocol.epochs)
                    metrics = {key: getattr(event, key) for key in final_metrics}
                    of_seed = [row[1:] for row in updates if row[0] == event.seed]
                    tracked.finish_seed(event.seed, metrics, weights, of_seed)
            spec.save(folder / "model.json")
            made_with = {"seeds": config.seeds} | {
                key: asdict(getattr(config, key)) for key in ("data", "training")
            }
            (folder / "training.json").write_text(json.dumps(made_with, indent=2) + "\n")

        epochs.sort(key=attrgetter("seed", "epoch"))
        fitted.sort(key=attrgetter("seed"))
        updates.sort(key=itemgetter(0, 1))
        with written_whole(results) as folder:
            folder.mkdir()
            tables.write_table(layers, tables.LAYERS, folder / "layers.csv")
            tables.write_table(
                map(attrgetter(*tables.HISTORY), epochs), tables.HISTORY, folder / "history.csv"
            )
            tables.write_table(
                map(attrgetter(*tables.TEST), fitted), tables.TEST, folder / "test.csv"
            )
            tables.write_table(updates, tables.UPDATES, folder / "updates.csv")
            logits: dict[str, Any] = {f"seed-{each.seed}": each.test_logits for each in fitted}
            np.savez(folder / "test.npz", **logits)
        with written_whole(Path(config.paths.timings) / f"{name}.csv") as path:
            tables.write_table(map(attrgetter(*tables.TIMINGS), epochs), tables.TIMINGS, path)
        objective = mean_accuracy(epochs, protocol.epochs) if splits.validation else None
        diverged = find_diverged(epochs, fitted)
        tracked.finish(models, results, objective, diverged)
    if job is None:
        accuracy = fmean(each.test_accuracy for each in fitted)
        written = f"written to {models} and {results}"
        print(f"{name}: mean test accuracy {accuracy:.2%}; {written}", flush=True)
    return Trained(objective, diverged, not tracked.is_lost)


def load_splits(config: Config) -> "Splits":
    """Give the splits that DVC has made; those of a sweep are made of the raw files.

    Each job of a sweep may hold out as many images as it likes, and DVC's outputs stay.
    """
    from actlab.datasets import build_splits, load_processed, load_raw

    data = config.data
    if config.paths.output == ".":
        return load_processed(Path(config.paths.processed), asdict(data))
    raw = load_raw(data.name, Path(config.paths.raw))
    return build_splits(*raw, data.validation_size, data.split_seed)


def mean_accuracy(epochs: Sequence["Epoch"], last: int) -> float:
    """Give the mean validation accuracy over seeds after the last epoch."""
    return fmean(each.val_accuracy for each in epochs if each.epoch == last)


def find_diverged(epochs: Sequence["Epoch"], fitted: Sequence["Fitted"]) -> list[int]:
    """Give the seeds with a loss that is no finite number, of training, validation or test."""
    lost = {each.seed for each in epochs if not math.isfinite(each.loss + each.val_loss)}
    return sorted(lost | {each.seed for each in fitted if not math.isfinite(each.test_loss)})


if __name__ == "__main__":
    command.run(train, sweepable=True)
