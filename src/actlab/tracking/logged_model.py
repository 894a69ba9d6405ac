"""The model of a configuration's first seed, as MLflow keeps and serves it."""

import json
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from actlab.data.splits import as_scaled
from actlab.schema import Config
from actlab.tracking.publisher import Record
from actlab.tracking.store import NOTE, Store


def log_model(
    store: Store, run: str, record: Record, config: Config, models: Path
) -> tuple[str, int]:
    """Log the first seed's model; return its id and parameter count.

    It returns probabilities, or in a regression the outputs themselves.

    `run` is that of the configuration, `models` its folder of weights.
    """
    from actlab.models.network import ModelSpec, load_model
    from actlab.models.served import with_probabilities

    spec = ModelSpec.load(models / "model.json")
    model = with_probabilities(load_model(models, config.seeds[0]), spec)
    example = _find_example(Path(config.paths.processed), config.data.name)
    if example is None or example.shape != (1, spec.inputs):
        example = np.zeros((1, spec.inputs), np.float32)
    is_regression = spec.network.outputs == "linear"
    note = (
        f"The network of {record.name}, seed {config.seeds[0]}: images (n, {spec.inputs}) in,"
        f" {'numbers' if is_regression else 'probabilities'} (n, {spec.classes}) out."
    )
    if config.data.preprocessing is not None:
        note += f" Images have to be preprocessed as in training: {config.data.preprocessing}."
    logged = store.client.create_logged_model(
        store.experiment,
        name=re.sub("[^A-Za-z0-9_-]", "-", record.name),  # MLflow refuses other characters
        source_run_id=run,
        tags={NOTE: note},
        params={key: str(value) for key, value in record.params.items()},
        model_type="regressor" if is_regression else "classifier",
    )
    try:
        _write_model(store, run, logged, model, example)
    except BaseException:
        with suppress(Exception):  # the first failure is the one to report
            store.client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    return logged.model_id, model.count_params()


def _find_example(processed: Path, name: str) -> np.ndarray | None:
    """Return the first test image, if data/processed is of this data set, and not a sweep's."""
    images, described = processed / "test_images.npy", processed / "data.json"
    if not (images.is_file() and described.is_file()):
        return None
    if json.loads(described.read_text(encoding="utf-8")).get("name") != name:
        return None
    return as_scaled(np.load(images, mmap_mode="r")[:1])


def _write_model(store: Store, run: str, logged: Any, model: Any, example: np.ndarray) -> None:
    """Write the files of a model, which make it ready, and link it to its run."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, infer_signature
    from mlflow.tensorflow import save_model

    from actlab.backend import keras, tf

    identity = logged.model_id
    # MLflow's `log_model` does the same through a store that is global to the process.
    with tempfile.TemporaryDirectory() as folder:
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
