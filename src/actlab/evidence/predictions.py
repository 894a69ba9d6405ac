"""The logits of a study's networks -> what is right, how wrong, and how well calibrated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int32
from scipy import special

from actlab.errors import UserError
from actlab.evidence.comparisons import ByImage, diverged_seeds
from actlab.evidence.statistics import calibration_error
from actlab.results.layout import RunFolder
from actlab.results.study import Study


def read_predictions(
    study: Study, runs: Path, labels: Int32[np.ndarray, " images"] | Float32[np.ndarray, "n m"]
) -> tuple[Study, ByImage]:
    """Score the logits in every configuration's `test.npz` image by image.

    A regression is returned as it is: nothing of it is compared over new images.

    Parameters
    ----------
    study
        The pipeline's.
    runs
        The folder of all runs.
    labels
        Of the test images.

    Returns
    -------
    Study
        The same study with its calibration.
    ByImage
        Of test_accuracy and test_loss; NaN for a seed that diverged.

    Raises
    ------
    UserError
        When a file is missing, or its arrays are not logits of these images.
    """
    if study.is_regression:
        return study, {}
    right, losses, errors = {}, {}, []
    outputs = dict(zip(study.identities(), study.configurations["network.outputs"], strict=True))
    images, diverged = np.arange(len(labels)), diverged_seeds(study)
    for network, activation in study.identities():
        path = RunFolder.finished(runs, activation, network).logits
        try:
            with np.load(path) as file:
                logits = {seed: file[f"seed-{seed}"] for seed in study.seeds}
        except (OSError, KeyError, ValueError) as error:
            raise UserError(
                f"{path} is missing or cannot be read: run `dvc repro` to make it again"
            ) from error
        for seed, array in logits.items():
            if array.shape[:1] != labels.shape:
                raise UserError(
                    f"{path} holds logits {array.shape} of seed {seed} for {len(labels)} test"
                    " images: run `dvc repro` to make it again"
                )
            error = find_calibration(array, labels, outputs[network, activation])
            errors.append((network, activation, seed, error))
        stacked = np.stack(list(logits.values())).astype(np.float64)
        is_lost = np.isin(study.seeds, diverged.get((network, activation), []))[:, None]
        right[network, activation] = np.where(is_lost, np.nan, stacked.argmax(axis=2) == labels)
        with np.errstate(invalid="ignore"):
            if outputs[network, activation] == "logistic":
                signs = np.where(np.arange(stacked.shape[2]) == labels[:, None], -1, 1)
                entropies = np.logaddexp(0, signs * stacked).sum(axis=2)
            else:
                entropies = -special.log_softmax(stacked, axis=2)[:, images, labels]
        losses[network, activation] = np.where(is_lost, np.nan, entropies)
    columns = [*study.keys, "seed", "calibration_error"]
    calibration = pd.DataFrame(errors, columns=columns)
    return replace(study, calibration=calibration), {"test_accuracy": right, "test_loss": losses}


def find_calibration(
    logits: Float[np.ndarray, "images classes"],
    labels: Int32[np.ndarray, " images"],
    outputs: str,
) -> float:
    """Compute the calibration error of a classifier's logits; NaN of a diverged network."""
    return calibration_error(_find_confidence(logits, outputs), logits.argmax(axis=1) == labels)


def _find_confidence(
    logits: Float[np.ndarray, "images classes"], outputs: str
) -> Float[np.ndarray, " images"]:
    """Compute the probability of each image's most probable class; NaN of a diverged network."""
    values = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        likely = special.expit(values) if outputs == "logistic" else special.softmax(values, axis=1)
    return likely.max(axis=1)
