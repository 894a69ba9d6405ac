"""The model of a configuration's first seed, as MLflow keeps and serves it."""

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
    """Log the first seed's model, which returns probabilities; return its id and parameter count.

    `run` is that of the configuration, `models` its folder of weights.
    """
    from actlab.models.network import ModelSpec, load_model, with_probabilities

    spec = ModelSpec.load(models / "model.json")
    model = with_probabilities(load_model(models, config.seeds[0]), spec)
    images = Path(config.paths.processed) / "test_images.npy"
    example = np.zeros((1, spec.inputs), np.float32)
    if images.is_file():
        example[:] = as_scaled(np.load(images, mmap_mode="r")[:1])
    note = (
        f"The network of {record.name}, seed {config.seeds[0]}: images (n, {spec.inputs}) from 0 to"
        f" 1 in, probabilities (n, {spec.classes}) out."
    )
    logged = store.client.create_logged_model(
        store.experiment,
        name=re.sub("[^A-Za-z0-9_-]", "-", record.name),  # MLflow refuses other characters
        source_run_id=run,
        tags={NOTE: note},
        params={key: str(value) for key, value in record.params.items()},
        model_type="classifier",
    )
    try:
        _write_model(store, run, logged, model, example)
    except BaseException:
        with suppress(Exception):  # the first failure is the one to report
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
