"""The model of a configuration's first seed, as MLflow keeps and serves it."""

import importlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from actlab.data.splits import as_scaled
from actlab.schema import Config
from actlab.tracking import notes
from actlab.tracking.store import NOTE, Store


def log_model(
    store: Store, run: str, name: str, config: Config, params: Mapping[str, object], models: Path
) -> tuple[str, int]:
    """Log the first seed's model, with probabilities as output; give its id and its parameters.

    `name` and `params` are those of the run that it belongs to.
    """
    from actlab.models.network import ModelSpec, load_model, with_probabilities

    spec = ModelSpec.load(models / "model.json")
    model = with_probabilities(load_model(models, config.seeds[0]), spec)
    images = Path(config.paths.processed) / "test_images.npy"
    example = np.zeros((1, spec.inputs), np.float32)
    if images.is_file():
        example[:] = as_scaled(np.load(images, mmap_mode="r")[:1])
    logged = store.client.create_logged_model(
        store.experiment,
        name=re.sub("[^A-Za-z0-9_-]", "-", name),  # MLflow refuses a few
        source_run_id=run,
        tags={
            "actlab.activation": config.activation.name,
            "actlab.network": config.network.name,
            NOTE: notes.of_model(name, config.seeds[0]),
        },
        params={key: str(value) for key, value in params.items()},
        model_type="classifier",
    )
    try:
        _write_model(store, run, logged, model, example)
    except BaseException:
        with suppress(Exception):  # what failed first is what is told
            store.client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    return logged.model_id, model.count_params()


def _write_model(store: Store, run: str, logged: Any, model: Any, example: np.ndarray) -> None:
    """Write the files of a model, which make it ready, and link it to its run."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, infer_signature
    from mlflow.tensorflow import save_model

    from actlab.backend import keras, tf

    identity = logged.model_id
    # MLflow's `log_model` does the same through a store that is global to the process.
    with tempfile.TemporaryDirectory() as folder, _requirements_as_given():
        save_model(
            model,
            f"{folder}/model",
            mlflow_model=Model(
                logged.artifact_location, run, model_uuid=identity, model_id=identity
            ),
            signature=infer_signature(example, np.asarray(model(example))),
            input_example=example,
            # MLflow would take 10 s to find these.
            pip_requirements=[
                f"tensorflow=={tf.__version__}",
                f"keras=={keras.__version__}",
                f"numpy=={np.__version__}",
            ],
        )
        store.client.log_model_artifacts(identity, f"{folder}/model")
    store.client.finalize_logged_model(identity, "READY")
    store.client.log_outputs(run, [LoggedModelOutput(identity, 0)])


@contextmanager
def _requirements_as_given() -> Iterator[None]:
    """Have MLflow take requirements without looking for them among all that is installed.

    It warns of versions that are not the running ones, which these are, and goes through the names
    of all files of all packages for it. A version of MLflow that does so elsewhere takes its time.
    """
    environment: Any = importlib.import_module("mlflow.utils.environment")
    name = "warn_dependency_requirement_mismatches"
    warn = getattr(environment, name, None)
    if warn is None:
        yield
        return
    setattr(environment, name, lambda requirements: None)
    try:
        yield
    finally:
        setattr(environment, name, warn)
