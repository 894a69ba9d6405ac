"""A configuration's fingerprint: a digest of all that determines the results of its training.

Two trainings with the same fingerprint give the same weights to the bit on the same machine: a
sweep that is started again skips what is finished.
"""

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actlab.activations.config import ActivationConfig
from actlab.data.datasets import list_files
from actlab.data.splits import read_digests
from actlab.engine.fingerprint import digest, digest_sources, find_versions

if TYPE_CHECKING:
    from actlab.schema import Config
else:
    Config = Any

#: The folders and files of the package that compute a training; the stage `train` in dvc.yaml
#: depends on the same.
CODE = (
    "activations",
    "backend.py",
    "data/config.py",
    "data/datasets.py",
    "data/prepare.py",
    "data/splits.py",
    "models",
    "results/checkpoints.py",
    "results/layout.py",
    "stages/train.py",
    "training",
)

#: The packages whose arithmetic it uses.
PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "scipy")


def fingerprint(config: Config) -> str:
    """Compute the SHA-256 of a configuration's values, its data, and the code that computes.

    Keys that change no result (paths, report options, models in parallel) are left out. Raw files
    count by the digests that they are verified against.
    """
    sections = ("data", "initializer", "optimizer", "training", "activation", "network")
    return digest(
        {
            **{name: asdict(getattr(config, name)) for name in sections},
            "seeds": list(config.seeds),
            "code": code_of(config.activation, *filter(None, config.network.activations)),
            "files": _digest_files(config),
        }
    )


def _digest_files(config: Config) -> dict[str, str]:
    """Return the SHA-256 of each raw file; of a user's own, those of their arrays."""
    if files := list_files(config.data.name):
        return {file.name: file.sha256 for file in files}
    paths = config.paths
    in_pipeline = paths.output == "."
    return read_digests(Path(paths.processed) if in_pipeline else Path(paths.raw, config.data.name))


def code_of(*activations: ActivationConfig) -> str:
    """Compute the SHA-256 of the code, its packages, and the sources of custom functions."""
    values: dict[str, object] = {"code": _digest_code(), "packages": find_versions(PACKAGES)}
    if own := sorted({each.function for each in activations if each.is_own}):
        # Imports the function, and TensorFlow with it.
        from actlab.activations import functions

        digests = [functions.digest_sources(function) for function in own]
        values["own"] = digests if len(digests) > 1 else digests[0]
    return digest(values)


@cache
def _digest_code() -> str:
    return digest_sources(Path(__file__).parents[1], CODE)
