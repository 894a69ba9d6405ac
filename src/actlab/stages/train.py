"""Train one configuration over its seeds: `python -m actlab.stages.train`."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from actlab.schema import Config
from actlab.stages.entry import run

if TYPE_CHECKING:
    from actlab.data.splits import Splits
    from actlab.models.network import ModelSpec
    from actlab.results.checkpoints import Checkpoints
    from actlab.results.layout import Run
else:  # importing TensorFlow takes seconds
    Checkpoints = Run = Splits = ModelSpec = Any


class Trained(NamedTuple):
    """The result of a training: see `layout.Run`, and whether MLflow has all of it."""

    objective: float | None
    diverged: list[int]
    is_logged: bool


def train(config: Config, job: str | None = None) -> Trained:
    """Train one model per seed; write the run folder and publish it to MLflow.

    A killed training resumes after the last epoch of each seed. `job` is its name within a sweep,
    where it prints less.
    """
    from actlab.activations.functions import check
    from actlab.engine.csvs import as_text
    from actlab.engine.locks import training_lock
    from actlab.models.network import build_model, describe_layers
    from actlab.results.checkpoints import Checkpoints
    from actlab.results.identity import code_of, fingerprint
    from actlab.results.layout import LAYERS

    activations = [config.activation, *filter(None, config.network.activations)]
    for activation in activations:
        if activation.is_own:
            check(activation)
    name = f"{config.activation.name}-{config.network.name}"
    title, splits = f"{job}, {name}" if job else name, load_splits(config)
    digest = fingerprint(config)
    with training_lock(config.paths.checkpoints, digest, title) as folder:
        spec = compose_spec(config, splits)
        layers = describe_layers(build_model(spec, config.seeds[0]), spec)
        if job is None:
            print(as_text(layers, LAYERS), flush=True)
        checkpoints = Checkpoints(folder, config.seeds, config.training.kept_epochs())
        checkpoints.run.write_config(config, asdict(spec), digest, code_of(*activations))
        checkpoints.run.write_table("layers", layers)
        trained = _train_seeds(config, spec, splits, checkpoints, title, job)
        # A sweep that resumes logs again what MLflow lacks.
        if trained.is_logged or job is None:
            checkpoints.remove()
    return trained


def _train_seeds(
    config: Config,
    spec: ModelSpec,
    splits: Splits,
    checkpoints: Checkpoints,
    title: str,
    job: str | None,
) -> Trained:
    """Train the unfinished seeds: events go to the run folder, and from there to MLflow."""
    from actlab.engine import progress
    from actlab.results.layout import RunFolder
    from actlab.tracking.publish import LivePublisher
    from actlab.training import trainer

    training = config.training
    protocol = trainer.Protocol(training, config.optimizer)
    finished = RunFolder.finished(config.paths.runs, config.activation.name, config.network.name)
    done = sum(map(len, checkpoints.epochs.values()))
    progress_bar = progress.shown(title, len(config.seeds) * training.epochs, done)
    with LivePublisher(config, checkpoints.run) as publisher, progress_bar as advance:
        if checkpoints.states:
            print(f"{title}: resuming: {checkpoints.describe_progress()}", flush=True)
        events = trainer.fit_seeds(
            spec,
            [seed for seed in config.seeds if seed not in checkpoints.fitted],
            splits.train,
            splits.validation or splits.test,
            splits.test,
            protocol,
            checkpoints.keep,
            config.models_at_once,
            {seed: (state, checkpoints.epochs[seed]) for seed, state in checkpoints.states.items()},
            checkpoints.save,
        )
        try:
            for event in events:
                if isinstance(event, trainer.Fitted):
                    checkpoints.finish(event)
                    continue
                advance(**progress.choose(event.loss, event.val_loss, event.val_accuracy))
                if publisher.is_due:
                    checkpoints.write()
                    publisher.publish()
        except BaseException as error:
            with suppress(BaseException):
                events.throw(error)  # stops the threads
            with suppress(Exception):  # the first failure is the one to report
                checkpoints.write()
            raise
        checkpoints.write()
        checkpoints.run.copy_to(finished)
        publisher.publish()
    result = checkpoints.run.read(config)
    if result.divergences or job is None:
        print(f"{title}: {describe_result(result)}; written to {finished.path}", flush=True)
    return Trained(result.objective, list(result.divergences), not publisher.is_lost)


def describe_result(result: Run) -> str:
    """Describe a training's result in one line: its mean accuracy, and which seeds diverged."""
    from actlab.engine.progress import REMEDY, describe_divergence

    lost, tests = result.divergences, result.test.set_index("seed")
    finite = tests.drop(list(result.divergences))
    mean = f"mean test accuracy {finite['test_accuracy'].mean():.2%}"
    if result.config.network.outputs == "linear":
        mean = f"mean test MSE {finite['test_loss'].mean():.4g}"
    if not lost:
        return mean
    others = f"{mean} of the others; " if len(finite) else ""
    return f"{describe_divergence(lost, len(tests))}; {others}{REMEDY}"


def compose_spec(config: Config, splits: Splits) -> ModelSpec:
    """Return the network of a configuration, for a data set."""
    from actlab.models.network import ModelSpec

    return ModelSpec(
        config.activation,
        config.network,
        config.initializer,
        splits.train.images.shape[1],
        len(splits.classes),
        splits.shape,
    )


def load_splits(config: Config) -> Splits:
    """Load the splits of data/processed, as bytes; a sweep's job splits the raw files itself.

    So jobs may have other data sets, or hold out other numbers of images, and DVC's outputs stay as
    they are.
    """
    from actlab.data.prepare import prepare
    from actlab.data.raw import provide_raw
    from actlab.data.splits import load_processed, load_whole

    data, paths = config.data, config.paths
    if paths.output == ".":
        return load_processed(Path(paths.processed), asdict(data), is_scaled=False)
    provide_raw(data.name, Path(paths.raw), paths.source)
    folder = Path(paths.raw, data.name)
    return prepare(load_whole(data.name, folder), data)


if __name__ == "__main__":
    run(train, sweepable=True)
