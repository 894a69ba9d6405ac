"""Train one configuration over its seeds: `python -m actlab.stages.train`."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from actlab.schema import Config
from actlab.stages.entry import run

if TYPE_CHECKING:
    from actlab.data.splits import Splits
    from actlab.models.network import ModelSpec
    from actlab.training.checkpoints import Begun, Checkpoints, Update
    from actlab.training.trainer import Epoch, Fitted, State
else:  # importing TensorFlow takes seconds
    Begun = Checkpoints = Update = Splits = ModelSpec = Epoch = Fitted = State = Any


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

    A training that a kill ended goes on after the last epoch of each seed. `job` is what a sweep
    calls it: it says less than a training that is alone.
    """
    from actlab.activations.functions import check
    from actlab.engine.locks import training_lock
    from actlab.results.identity import fingerprint
    from actlab.training.checkpoints import Checkpoints

    if config.activation.is_own:
        check(config.activation)
    name = f"{config.activation.name}-{config.network.name}"
    title, digest = f"{job}, {name}" if job else name, fingerprint(config)
    splits = load_splits(config)  # what they refuse leaves nothing
    with training_lock(config.paths.checkpoints, digest, title) as folder:
        checkpoints = Checkpoints(folder)
        trained = _train(config, splits, title, job is None, digest, checkpoints)
        # What a sweep's next start has to log is what it looks for in MLflow.
        if trained.is_logged or job is None:
            checkpoints.remove()
    return trained


def _train(
    config: Config,
    splits: Splits,
    title: str,
    is_alone: bool,
    digest: str,
    checkpoints: Checkpoints,
) -> Trained:
    from actlab.data.datasets import DATASETS
    from actlab.engine import progress
    from actlab.models.network import ModelSpec, build_model, describe_layers
    from actlab.results import tables
    from actlab.results.identity import code_of
    from actlab.tracking import tracking
    from actlab.training import trainer

    data, kernel_initializer = DATASETS[config.data.name], config.model.kernel_initializer
    spec = ModelSpec(
        config.activation, config.network, kernel_initializer, data.pixels, len(data.classes)
    )
    protocol = trainer.Protocol(
        config.training.epochs,
        config.training.batch_size,
        config.training.learning_rate,
        config.training.kept_epochs(),
    )
    layers = describe_layers(build_model(spec, config.seeds[0]), spec)
    if is_alone:
        print(tables.as_text(layers, tables.LAYERS), flush=True)

    loaded = {seed: checkpoints.load(seed, protocol.kept_epochs) for seed in config.seeds}
    begun = {seed: found for seed, found in loaded.items() if found}
    epochs: dict[int, list[Epoch]] = {seed: [] for seed in config.seeds}
    updates: dict[int, list[Update]] = {seed: [] for seed in config.seeds}
    for seed, found in begun.items():
        epochs[seed], updates[seed] = found.epochs, found.updates
    fitted = {seed: found.fitted for seed, found in begun.items() if found.fitted}

    def keep(seed: int, epoch: int, model: Any, next_step: Any) -> None:
        checkpoints.keep(seed, epoch, model)
        updates[seed].extend((epoch, *ratio) for ratio in next_step().items())

    def save(state: State, gave: Epoch) -> None:
        epochs[state.seed].append(gave)
        checkpoints.save(state, epochs[state.seed], updates[state.seed])

    source = "dvc" if config.paths.output == "." else "sweep"
    run = tracking.ConfigurationRun(
        config, source, fingerprint=digest, code=code_of(config.activation)
    )
    done = sum(map(len, epochs.values()))
    shown = progress.shown(title, len(config.seeds) * protocol.epochs, done)
    with run as tracked, shown as advance:

        def tell_epoch(event: Epoch) -> None:
            metrics = {key: getattr(event, key) for key in (*tables.HISTORY[2:], "epoch_seconds")}
            tracked.log_epoch(event.seed, event.epoch, metrics)

        def tell_fitted(event: Fitted) -> None:
            weights = checkpoints.weights(event.seed, protocol.epochs)
            metrics = {key: getattr(event, key) for key in (*tables.TEST[1:], "compile_seconds")}
            tracked.finish_seed(event.seed, metrics, weights, updates[event.seed])

        if begun:
            print(f"{title}: resuming: {_tell(begun)}", flush=True)
        for found in begun.values():
            for event in found.epochs:
                tell_epoch(event)
            if found.fitted:
                tell_fitted(found.fitted)
        left = [seed for seed in config.seeds if seed not in fitted]
        events = trainer.fit_seeds(
            spec,
            left,
            splits.train,
            splits.validation or splits.test,
            splits.test,
            protocol,
            keep,
            config.models_at_once,
            {seed: found.state for seed, found in begun.items()},
            save,
        )
        try:
            for event in events:
                if isinstance(event, trainer.Epoch):
                    advance(loss=event.loss, val_accuracy=event.val_accuracy)
                    tell_epoch(event)
                else:
                    checkpoints.finish(event)
                    fitted[event.seed] = event
                    tell_fitted(event)
        except BaseException as error:
            with suppress(BaseException):
                events.throw(error)  # so that no thread goes on
            raise
        in_order = [fitted[seed] for seed in sorted(fitted)]
        models, results = _write(config, layers, spec, checkpoints, epochs, in_order, updates)
        all_epochs = [event for seed in sorted(epochs) for event in epochs[seed]]
        objective = mean_accuracy(all_epochs, protocol.epochs) if splits.validation else None
        diverged = find_diverged(all_epochs, in_order)
        tracked.finish(models, results, objective, diverged)
    if is_alone:
        accuracy = fmean(each.test_accuracy for each in in_order)
        written = f"written to {models} and {results}"
        print(f"{title}: mean test accuracy {accuracy:.2%}; {written}", flush=True)
    return Trained(objective, diverged, not tracked.is_lost)


def _tell(begun: Mapping[int, Begun]) -> str:
    """Say how far the seeds are that had begun."""
    return ", ".join(
        f"seed {seed} {'finished' if found.fitted else f'from epoch {found.state.epoch}'}"
        for seed, found in begun.items()
    )


def _write(
    config: Config,
    layers: Sequence[tuple[Any, ...]],
    spec: ModelSpec,
    checkpoints: Checkpoints,
    epochs: Mapping[int, Sequence[Epoch]],
    fitted: Sequence[Fitted],
    updates: Mapping[int, Sequence[Update]],
) -> tuple[Path, Path]:
    """Write models, results and times of a configuration; give the folders of the first two."""
    import numpy as np

    from actlab.engine.files import atomic_write
    from actlab.models.network import weights_path
    from actlab.results import tables

    name = f"{config.activation.name}-{config.network.name}"
    models, results = Path(config.paths.models) / name, Path(config.paths.results) / name
    with atomic_write(models) as folder:
        for seed in config.seeds:
            for epoch in config.training.kept_epochs():
                path = weights_path(folder, seed, epoch)
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(checkpoints.weights(seed, epoch), path)
        spec.save(folder / "model.json")
        made_with = {"seeds": config.seeds} | {
            key: asdict(getattr(config, key)) for key in ("data", "training")
        }
        (folder / "training.json").write_text(json.dumps(made_with, indent=2) + "\n")
    rows = [event for seed in sorted(epochs) for event in epochs[seed]]
    steps = [(seed, *row) for seed in sorted(updates) for row in updates[seed]]
    with atomic_write(results) as folder:
        folder.mkdir()
        tables.write_table(layers, tables.LAYERS, folder / "layers.csv")
        tables.write_table(
            map(attrgetter(*tables.HISTORY), rows), tables.HISTORY, folder / "history.csv"
        )
        tables.write_table(map(attrgetter(*tables.TEST), fitted), tables.TEST, folder / "test.csv")
        tables.write_table(steps, tables.UPDATES, folder / "updates.csv")
        logits: dict[str, Any] = {f"seed-{each.seed}": each.test_logits for each in fitted}
        np.savez(folder / "test.npz", **logits)
    with atomic_write(Path(config.paths.timings) / f"{name}.csv") as path:
        tables.write_table(map(attrgetter(*tables.TIMINGS), rows), tables.TIMINGS, path)
    return models, results


def load_splits(config: Config) -> Splits:
    """Give the splits that DVC has made, images as in the files; a sweep's are of the raw files.

    Each job of a sweep may hold out as many images as it likes, and DVC's outputs stay.
    """
    from actlab.data.datasets import load_raw
    from actlab.data.splits import build_splits, load_processed

    data = config.data
    if config.paths.output == ".":
        return load_processed(Path(config.paths.processed), asdict(data), is_scaled=False)
    raw = load_raw(data.name, Path(config.paths.raw))
    return build_splits(*raw, data.validation_size, data.split_seed)


def mean_accuracy(epochs: Sequence[Epoch], last: int) -> float:
    """Give the mean validation accuracy over seeds after the last epoch."""
    return fmean(each.val_accuracy for each in epochs if each.epoch == last)


def find_diverged(epochs: Sequence[Epoch], fitted: Sequence[Fitted]) -> list[int]:
    """Give the seeds with a loss that is no finite number, of training, validation or test."""
    lost = {each.seed for each in epochs if not math.isfinite(each.loss + each.val_loss)}
    return sorted(lost | {each.seed for each in fitted if not math.isfinite(each.test_loss)})


if __name__ == "__main__":
    run(train, sweepable=True)
